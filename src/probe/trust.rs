//! Whose certificates are accepted from outposts that are reached over TLS.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use thiserror::Error;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// The authorities of the system, and those that the admin adds. Read when the first outpost needs them: most are reached
/// without TLS, and a hundred certificates are worth half a megabyte.
#[derive(Debug, Default)]
pub struct Trust {
    added: Vec<CertificateDer<'static>>,
    client: OnceLock<Result<Arc<ClientConfig>, Error>>,
}

/// Why a file of certificates is of no use.
#[derive(Debug, Error)]
pub enum TrustError {
    /// It cannot be read, or is no PEM.
    #[error("--outpost-ca {}: {error}; give a file of certificates in PEM", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// There is no certificate in it.
    #[error("--outpost-ca {}: it holds no certificate; give a file of certificates in PEM", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Trust {
    /// The authorities of the system and those in the PEM file `added`.
    pub fn new(added: Option<&Path>) -> Result<Self, TrustError> {
        let Some(path) = added else { return Ok(Self::default()) };
        let unreadable = |error: &dyn std::fmt::Display| TrustError::Unreadable {
            path: path.to_owned(),
            error: error.to_string(),
        };
        let text = std::fs::read(path).map_err(|error| unreadable(&error))?;
        let added: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| unreadable(&error))?;
        let mut roots = RootCertStore::empty();
        for certificate in &added {
            roots.add(certificate.clone()).map_err(|error| unreadable(&error))?;
        }
        if added.is_empty() {
            return Err(TrustError::Empty { path: path.to_owned() });
        }
        Ok(Self { added, client: OnceLock::new() })
    }

    /// Settings of a TLS client that accepts these authorities.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, Error> {
        self.client.get_or_init(|| self.make_client()).clone()
    }

    fn make_client(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = RootCertStore::empty();
        // A system without any, as in an image of nothing but this program, is as good as one that trusts nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.added.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}
