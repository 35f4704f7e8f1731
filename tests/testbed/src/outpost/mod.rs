//! A double of authentik's proxy outpost, strict where the real one is; and of authentik itself at a login.
//!
//! | path below `/outpost.goauthentik.io`  | answer                                                              |
//! |---------------------------------------|---------------------------------------------------------------------|
//! | `/ping`                               | 204, for any host                                                   |
//! | `/auth/nginx`                         | 200, or 401 by `X-Original-URL`                                     |
//! | `/auth/traefik`, `/auth/caddy`        | 200, or 302 by `X-Forwarded-Proto`, `-Host` and `-Uri`              |
//! | `/auth/envoy/…`                       | 200, or 302 by the path and the `Host`                              |
//! | `/start?rd=…`                         | 302 to authentik, with a cookie                                     |
//! | `/callback`                           | 302 to the page, logged in                                          |
//! | `/sign_out`                           | 302 to authentik, logged out                                        |
//!
//! Which provider answers is a matter of the host alone, as forwarded headers or `Host` say; without one, 400. The
//! rules were read in goauthentik/authentik: src/outpost/proxy for [`Flavour::Rust`], internal/outpost/proxyv2 for
//! [`Flavour::Go`]. Left out are what no data plane sees: static files, metrics, the expiry of sessions; and the
//! redirects by which gorilla/mux cleans the paths of requests to the outpost itself.

mod answers;
mod app;
mod forward;
mod login;
mod oauth;
mod original;
mod provider;
mod select;
mod service;
mod session;
mod token;

pub use provider::{Mode, Provider};

use crate::record::{Arrived, Log, lock};
use crate::server::Server;
use crate::tls;
use anyhow::{Context, Result};
use service::{Codes, Service};
use session::Sessions;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsAcceptor;
use url::{Url, form_urlencoded};

/// In a query: this is the callback, whatever the path.
const CALLBACK: &str = "X-authentik-auth-callback";

/// In a query: this is a sign-out, whatever the path.
const LOGOUT: &str = "X-authentik-logout";

/// Which of the two outposts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// authentik from 2026.8.
    Rust,
    /// authentik up to 2026.5.
    Go,
}

/// A user of authentik.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `X-authentik-username`.
    pub username: String,
    /// `X-authentik-groups`, joined with `|`.
    pub groups: Vec<String>,
    /// `X-authentik-entitlements`, joined with `|`.
    pub entitlements: Vec<String>,
    /// `X-authentik-email`.
    pub email: String,
    /// `X-authentik-name`.
    pub name: String,
    /// `X-authentik-uid`, which tells users apart.
    pub uid: String,
}

impl User {
    /// A user with this name, and all else made from it.
    pub fn new(username: &str, groups: &[&str]) -> Self {
        Self {
            username: username.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            entitlements: Vec::new(),
            email: format!("{username}@example.test"),
            name: format!("User {username}"),
            uid: format!("uid-of-{username}"),
        }
    }
}

/// A request to the outpost, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The request.
    pub request: Arrived,
    /// The host it was for, by the rules of the flavour. If `request.headers("x-forwarded-host")` are several, it is
    /// the first of them.
    pub host: String,
    /// Name of the provider that answered it.
    pub provider: Option<String>,
    /// Status of the answer.
    pub status: u16,
}

/// The outpost, served until it is dropped or stopped.
pub struct Outpost {
    service: Arc<Service>,
    server: Server,
}

impl Outpost {
    /// Serves these providers as a standalone outpost on `listen`; port 0 takes a free one.
    ///
    /// Fails when the address is taken.
    pub async fn start(listen: SocketAddr, flavour: Flavour, providers: Vec<Provider>) -> Result<Self> {
        Self::build(listen, None, flavour, false, providers).await
    }

    /// The same over TLS, with a self-signed certificate: an outpost's port 9443. The certificate, which also names
    /// `localhost`, comes in PEM.
    pub async fn start_tls(
        listen: SocketAddr,
        flavour: Flavour,
        providers: Vec<Provider>,
    ) -> Result<(Self, String)> {
        let (tls, certificate) = tls::self_signed()?;
        Ok((Self::build(listen, Some(tls), flavour, false, providers).await?, certificate))
    }

    /// The outpost embedded in authentik's server: what it does not serve gets a 404 from authentik's core.
    pub async fn start_embedded(
        listen: SocketAddr,
        flavour: Flavour,
        providers: Vec<Provider>,
    ) -> Result<Self> {
        Self::build(listen, None, flavour, true, providers).await
    }

    async fn build(
        listen: SocketAddr,
        tls: Option<TlsAcceptor>,
        flavour: Flavour,
        is_embedded: bool,
        providers: Vec<Provider>,
    ) -> Result<Self> {
        let service = Arc::new(Service {
            flavour,
            is_embedded,
            providers: Mutex::new(providers.into_iter().map(Arc::new).collect()),
            sessions: Sessions::default(),
            codes: Codes::default(),
            log: Log::default(),
        });
        let server = Server::start(listen, tls, service.router()).await?;
        Ok(Self { service, server })
    }

    /// Where it listens, or did until it was stopped.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Closes the listener and all connections; when this returns, whoever connects is refused.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }

    /// Serves on the same address again, after a stop or without one. Sessions stay.
    ///
    /// Fails when the address was taken meanwhile.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart().await
    }

    /// Serves these providers from now on, and no others.
    pub fn set_providers(&self, providers: Vec<Provider>) {
        *lock(&self.service.providers) = providers.into_iter().map(Arc::new).collect();
    }

    /// Plays authentik: the user logs in at the URL that an outpost redirected to. Returns the URL of the callback
    /// with a one-time code, where authentik would send the browser.
    ///
    /// Fails when anything in the URL is not as authentik needs it: where it leads, its parameters, a client id that
    /// no provider has, another `redirect_uri` than that provider's, a `state` that this outpost did not make for it.
    pub fn log_in(&self, authorize_location: &str, user: &User) -> Result<String> {
        let what = || format!("log {} in at {authorize_location:?}", user.username);
        self.service.log_in(authorize_location, user).with_context(what)
    }

    /// Whether this is the URL of a login page, where [`Outpost::log_in`] takes over.
    pub fn is_authorize(&self, url: &Url) -> bool {
        self.service.is_authorize(url)
    }

    /// All requests since the start or the last [`Outpost::clear`], in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.service.log.all()
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.service.log.clear();
    }
}

/// Value of the first parameter of this name in a query.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

/// Whether a query says that this is so.
fn has_flag(query: &str, name: &str) -> bool {
    parameter(query, name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
