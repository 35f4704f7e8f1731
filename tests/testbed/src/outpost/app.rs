//! The application behind a host: where its paths lead.

use super::answers::not_found;
use super::original::Original;
use super::provider::{Mode, Provider};
use super::service::Codes;
use super::session::Sessions;
use super::{CALLBACK, Flavour, LOGOUT, has_flag};
use anyhow::Result;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

const ENVOY: &str = "/outpost.goauthentik.io/auth/envoy";

/// A provider that serves a request.
pub(super) struct App<'a> {
    pub(super) flavour: Flavour,
    pub(super) provider: &'a Provider,
    pub(super) sessions: &'a Sessions,
    pub(super) codes: &'a Codes,
}

/// What has an address of its own.
#[derive(Clone, Copy)]
enum Route {
    Start,
    Callback,
    SignOut,
    Nginx,
    Traefik,
    Envoy,
    Backend,
}

impl App<'_> {
    fn route(&self, path: &str) -> Option<Route> {
        let is_proxy = self.provider.mode == Mode::Proxy;
        let route = match path.strip_prefix("/outpost.goauthentik.io/") {
            Some("start") => Route::Start,
            Some("callback") => Route::Callback,
            Some("sign_out") => Route::SignOut,
            _ if is_proxy => Route::Backend,
            Some("auth/nginx") => Route::Nginx,
            Some("auth/traefik" | "auth/caddy") => Route::Traefik,
            Some(rest) if rest.starts_with("auth/envoy") => Route::Envoy,
            _ => return None,
        };
        Some(route)
    }

    /// Whether an embedded outpost takes this request; else authentik's core does.
    pub(super) fn takes(&self, parts: &Parts) -> bool {
        let query = parts.uri.query().unwrap_or_default();
        self.provider.mode == Mode::Proxy
            || parts.uri.path().starts_with("/outpost.goauthentik.io")
            || has_flag(query, CALLBACK)
            || has_flag(query, LOGOUT)
    }

    /// Answers. A path of no route is 404, also outside `/outpost.goauthentik.io`: with forward auth the outpost is
    /// no proxy. The two signals in the query count on every path in Rust, on those with a route in Go (`handle` in
    /// handlers/mod.rs; a middleware of gorilla/mux).
    pub(super) fn answer(&self, parts: &Parts) -> Result<Response> {
        let (headers, query) = (&parts.headers, parts.uri.query().unwrap_or_default());
        let route = self.route(parts.uri.path());
        let are_signals_read = route.is_some() || self.flavour == Flavour::Rust;
        if are_signals_read && has_flag(query, CALLBACK) {
            return self.callback(headers, query);
        }
        if are_signals_read && has_flag(query, LOGOUT) {
            return self.sign_out(parts);
        }
        match route {
            Some(Route::Start) => self.start_for(headers, query),
            Some(Route::Callback) => self.callback(headers, query),
            Some(Route::SignOut) => self.sign_out(parts),
            Some(Route::Nginx) => self.nginx(headers),
            Some(Route::Traefik) => self.traefik(parts),
            Some(Route::Envoy) => {
                self.forward(headers, Original::of_envoy(self.flavour, parts, ENVOY).as_ref())
            }
            Some(Route::Backend) => self.backend(parts),
            None => Ok(not_found(self.flavour)),
        }
    }

    /// The reverse proxy of [`Mode::Proxy`]. It has no app behind it here, so that whoever is let through gets 502.
    fn backend(&self, parts: &Parts) -> Result<Response> {
        let is_skipped = self.provider.skip_paths.iter().any(|regex| regex.is_match(parts.uri.path()));
        if is_skipped || self.logged_in(&parts.headers)?.is_some() {
            return Ok((StatusCode::BAD_GATEWAY, "Failed to connect to backend.").into_response());
        }
        self.redirect_to_start(parts)
    }
}
