//! Sessions, and the cookie that names one.

use super::provider::Provider;
use super::{Flavour, User, token};
use crate::echo::hex;
use crate::record::lock;
use anyhow::Result;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Mutex;

/// How long a session lasts in seconds: `access_token_validity` is an hour unless an admin changes it.
const VALIDITY: u32 = 3600;

/// Who is logged in. They survive a restart, as the outpost's files do.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, User>>);

impl Sessions {
    pub(super) fn user(&self, session: &str) -> Option<User> {
        lock(&self.0).get(session).cloned()
    }

    pub(super) fn insert(&self, session: &str, user: User) {
        lock(&self.0).insert(session.to_owned(), user);
    }

    /// Ends all sessions of a user: a sign-out is for all apps.
    pub(super) fn end_all(&self, uid: &str) {
        lock(&self.0).retain(|_, user| user.uid != uid);
    }
}

/// A word that nobody guesses.
pub(super) fn random() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// The session cookie of one provider.
pub(super) struct Cookie<'a>(pub(super) &'a Provider);

impl Cookie<'_> {
    /// `authentik_proxy_` and eight hexadecimal digits of the SHA-256 of the client id.
    pub(super) fn name(&self) -> String {
        format!("authentik_proxy_{}", &hex(&Sha256::digest(&self.0.client_id))[..8])
    }

    /// The session that the request names, if this provider's secret signed its cookie.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<String> {
        let name = self.name();
        let lines = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut values = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(other, _)| *other == name);
        values.find_map(|(_, value)| {
            let (seal, session) = value.split_at_checked(43)?;
            (token::seal(&self.0.cookie_secret, session).ok()? == seal).then(|| session.to_owned())
        })
    }

    /// `Set-Cookie` for a session.
    pub(super) fn set(&self, flavour: Flavour, session: &str) -> Result<String> {
        let seal = token::seal(&self.0.cookie_secret, session)?;
        Ok(self.line(flavour, &format!("{seal}{session}"), VALIDITY))
    }

    /// `Set-Cookie` that makes a browser forget the session.
    pub(super) fn removal(&self, flavour: Flavour) -> String {
        self.line(flavour, "", 0)
    }

    fn line(&self, flavour: Flavour, value: &str, seconds: u32) -> String {
        let name = self.name();
        let secure = if self.0.external_host.scheme() == "https" { "; Secure" } else { "" };
        let domain = self.0.domain().map(|domain| format!("; Domain={domain}")).unwrap_or_default();
        match flavour {
            Flavour::Rust => {
                format!("{name}={value}; HttpOnly; SameSite=Lax{secure}; Path=/{domain}; Max-Age={seconds}")
            }
            Flavour::Go => {
                format!("{name}={value}; Path=/{domain}; Max-Age={seconds}; HttpOnly{secure}; SameSite=Lax")
            }
        }
    }
}
