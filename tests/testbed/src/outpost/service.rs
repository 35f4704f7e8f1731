//! The outpost behind its listener.

use super::answers::{core_not_found, text, unknown_host};
use super::app::App;
use super::provider::Provider;
use super::session::{Sessions, random};
use super::{Flavour, Recorded, User, select};
use crate::record::{Arrived, Log, lock};
use crate::server::Peer;
use anyhow::Result;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What lives through a restart.
pub(super) struct Service {
    pub(super) flavour: Flavour,
    pub(super) is_embedded: bool,
    pub(super) providers: Mutex<Vec<Arc<Provider>>>,
    pub(super) sessions: Sessions,
    pub(super) codes: Codes,
    pub(super) log: Log<Recorded>,
}

/// One-time codes that authentik has given out, each for a client id and a user.
#[derive(Debug, Default)]
pub(super) struct Codes(Mutex<HashMap<String, (String, User)>>);

impl Codes {
    pub(super) fn issue(&self, client_id: &str, user: &User) -> String {
        let code = random();
        lock(&self.0).insert(code.clone(), (client_id.to_owned(), user.clone()));
        code
    }

    /// The user of a code, once.
    pub(super) fn redeem(&self, code: &str, client_id: &str) -> Option<User> {
        let (of_client, user) = lock(&self.0).remove(code)?;
        (of_client == client_id).then_some(user)
    }
}

/// An answer, and how it came to be.
struct Outcome {
    response: Response,
    host: String,
    provider: Option<String>,
}

impl Service {
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }

    pub(super) fn app<'a>(&'a self, provider: &'a Provider) -> App<'a> {
        App { flavour: self.flavour, provider, sessions: &self.sessions, codes: &self.codes }
    }

    fn answer(&self, Peer(peer): Peer, parts: &Parts) -> Result<Outcome> {
        let Some(host) = select::host(self.flavour, peer.ip(), parts) else {
            let response = text(self.flavour, StatusCode::BAD_REQUEST, "missing host header");
            return Ok(Outcome { response, host: String::new(), provider: None });
        };
        if self.is_ping(parts.uri.path()) {
            return Ok(Outcome { response: StatusCode::NO_CONTENT.into_response(), host, provider: None });
        }
        let lets_one_serve_all = self.flavour == Flavour::Go && !self.is_embedded;
        let provider = select::provider(&lock(&self.providers), &host, lets_one_serve_all);
        let response = match &provider {
            Some(provider) if self.is_embedded && !self.app(provider).takes(parts) => core_not_found(),
            Some(provider) => self.app(provider).answer(parts)?,
            None if self.is_embedded => core_not_found(),
            None => unknown_host(self.flavour, &host),
        };
        Ok(Outcome { response, host, provider: provider.map(|provider| provider.name.clone()) })
    }

    fn is_ping(&self, path: &str) -> bool {
        match path.strip_prefix("/outpost.goauthentik.io/ping") {
            Some(rest) => self.flavour == Flavour::Go || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

async fn handle(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = service.answer(peer, &parts).unwrap_or_else(|error| {
        // The double is wrong, or was configured so: the record shows it, and the test says why.
        let response = (StatusCode::INTERNAL_SERVER_ERROR, format!("the double failed: {error:#}"));
        Outcome { response: response.into_response(), host: String::new(), provider: None }
    });
    let Outcome { response, host, provider } = outcome;
    let status = response.status().as_u16();
    let request = Arrived::new(peer.0, &parts);
    service.log.push(Recorded { request, host, provider, status });
    response
}
