//! A proxy provider of authentik, as an outpost is told of it.

use anyhow::{Context, Result, ensure};
use regex::Regex;
use sha2::{Digest, Sha256};
use url::{Position, Url};

use super::User;
use crate::echo::hex;

/// What a provider does with the requests of its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward auth for one app: its `external_host` is the app.
    ForwardSingle,
    /// Forward auth for all hosts below a domain.
    ForwardDomain {
        /// The domain. A dot in front changes nothing.
        cookie_domain: String,
    },
    /// The outpost is a reverse proxy itself, and has no `/auth/*` for others.
    Proxy,
}

/// A provider with its application. All of it may be changed: `Provider { jwt_bytes: 12_000, ..provider }`.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name, sent as `X-authentik-meta-provider`; that of its application is the same.
    pub name: String,
    /// Where users find the app, or in [`Mode::ForwardDomain`] where they log in.
    pub external_host: Url,
    /// What it does.
    pub mode: Mode,
    /// Paths that need no login. Tried on the path; in [`Mode::ForwardDomain`] on the whole URL.
    pub skip_paths: Vec<Regex>,
    /// About the size of `X-authentik-jwt`; it is never smaller than its claims need.
    pub jwt_bytes: usize,
    /// Whether a client's own `X-Original-URI` goes before `X-Original-URL` at `/auth/nginx`: authentik before
    /// 2025.12.5 and 2026.2.3 (GHSA-5wcc-hf24-rf5h).
    pub believes_x_original_uri: bool,
    /// User name and password sent to the app as `Authorization: Basic …`; `basic_auth_enabled` in authentik.
    pub basic_auth: Option<(String, String)>,
    /// Bearer tokens that count as a login of their user, and make a session; `intercept_header_auth` in authentik.
    pub bearer_tokens: Vec<(String, User)>,
    /// Where browsers find authentik.
    pub authentik: Url,
    /// OAuth client id, which also names the session cookie.
    pub client_id: String,
    /// Signs the `state` and the session cookie.
    pub cookie_secret: String,
}

impl Provider {
    /// A provider for one app at this URL, in [`Mode::ForwardSingle`], named after its host.
    ///
    /// Fails when it is not an absolute URL with a host.
    pub fn forward_single(external_host: &str) -> Result<Self> {
        Self::new(external_host, Mode::ForwardSingle)
    }

    /// A provider for all hosts below `cookie_domain`, with logins at `external_host`.
    ///
    /// Fails when that is not an absolute URL with a host.
    pub fn forward_domain(external_host: &str, cookie_domain: &str) -> Result<Self> {
        Self::new(external_host, Mode::ForwardDomain { cookie_domain: cookie_domain.to_owned() })
    }

    /// A provider in [`Mode::Proxy`]: for forward auth the wrong one. Fails like the others.
    pub fn proxy(external_host: &str) -> Result<Self> {
        Self::new(external_host, Mode::Proxy)
    }

    fn new(external_host: &str, mode: Mode) -> Result<Self> {
        let external_host = Url::parse(external_host).with_context(|| format!("URL {external_host:?}"))?;
        ensure!(external_host.has_host(), "{external_host} has no host");
        let name = external_host.host_str().unwrap_or_default().to_owned();
        Ok(Self {
            client_id: hex(&Sha256::digest(external_host.as_str()))[..40].to_owned(),
            cookie_secret: (0..50).map(|_| fastrand::alphanumeric()).collect(),
            name,
            external_host,
            mode,
            skip_paths: Vec::new(),
            jwt_bytes: 0,
            believes_x_original_uri: false,
            basic_auth: None,
            bearer_tokens: Vec::new(),
            authentik: Url::parse("https://authentik.example.test/")?,
        })
    }

    /// The host, with a port if it is not the usual one, that selects this provider.
    pub(super) fn host(&self) -> &str {
        &self.external_host[Position::BeforeHost..Position::AfterPort]
    }

    /// The external host as an admin would write it: without a slash at its end.
    pub(super) fn external(&self) -> &str {
        self.external_host.as_str().trim_end_matches('/')
    }

    /// The domain of [`Mode::ForwardDomain`], without a dot in front.
    pub(super) fn domain(&self) -> Option<&str> {
        match &self.mode {
            Mode::ForwardDomain { cookie_domain } => Some(cookie_domain.trim_start_matches('.')),
            Mode::ForwardSingle | Mode::Proxy => None,
        }
    }

    /// Where authentik sends the user back to.
    pub(super) fn redirect_uri(&self) -> Result<Url> {
        let mut url = self.external_host.join("/outpost.goauthentik.io/callback")?;
        url.query_pairs_mut().append_pair(super::CALLBACK, "true");
        Ok(url)
    }

    /// Where users log in.
    pub(super) fn authorize_url(&self) -> Result<Url> {
        Ok(self.authentik.join("/application/o/authorize/")?)
    }

    /// Where users log out.
    pub(super) fn end_session_url(&self) -> Result<Url> {
        Ok(self.authentik.join(&format!("/application/o/{}/end-session/", self.name))?)
    }
}
