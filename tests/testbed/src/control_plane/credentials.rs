//! Keys, certificates and tokens of one control plane, as files in its directory.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Paths of the files.
#[derive(Debug)]
pub(super) struct Credentials {
    /// Certificate of the authority, in PEM.
    pub(super) authority: PathBuf,
    /// Certificate of the API server.
    pub(super) certificate: PathBuf,
    /// Key to it.
    pub(super) key: PathBuf,
    /// Key that signs service account tokens.
    pub(super) service_account_key: PathBuf,
    /// Key that verifies them.
    pub(super) service_account_public_key: PathBuf,
    /// The API server's static tokens, a line each.
    pub(super) tokens: PathBuf,
}

impl Credentials {
    /// Makes them all, with `admin_token` for a user `admin` in the group `system:masters`.
    pub(super) fn write(dir: &Path, admin_token: &str) -> Result<Self> {
        let (authority, issuer) = authority().context("make a certificate authority")?;
        let key = KeyPair::generate().context("make a key")?;
        let certificate = serving()?.signed_by(&key, &issuer).context("make a serving certificate")?;
        let service_account_key = KeyPair::generate().context("make a key")?;
        let write = |name: &str, content: &str| {
            let path = dir.join(name);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Self {
            authority: write("authority.crt", &authority)?,
            certificate: write("server.crt", &certificate.pem())?,
            key: write("server.key", &key.serialize_pem())?,
            service_account_key: write("service-account.key", &service_account_key.serialize_pem())?,
            service_account_public_key: write("service-account.pub", &service_account_key.public_key_pem())?,
            tokens: write("tokens.csv", &format!("{admin_token},admin,admin,system:masters\n"))?,
        })
    }
}

fn authority() -> Result<(String, Issuer<'static, KeyPair>)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "testbed authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Issuer::new(params, key)))
}

fn serving() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(["localhost".to_owned(), "kubernetes.default.svc".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}
