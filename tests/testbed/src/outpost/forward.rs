//! Forward auth: a data plane asks whether a request may pass.

use super::answers::{text, value};
use super::app::App;
use super::original::Original;
use super::session::{Cookie, random};
use super::{CALLBACK, Flavour, LOGOUT, User, token};
use anyhow::Result;
use axum::http::header::{AUTHORIZATION, SET_COOKIE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

/// A user whose request may pass.
pub(super) struct LoggedIn {
    user: User,
    /// A cookie, if the request itself has just logged in.
    cookie: Option<String>,
}

impl App<'_> {
    /// `/auth/nginx`: 200 or 401, since nginx sends the visitor to `/start` itself.
    pub(super) fn nginx(&self, headers: &HeaderMap) -> Result<Response> {
        let Some(original) = Original::of_nginx(self.flavour, self.provider, headers) else {
            return Ok(self.configuration_error());
        };
        if let Some(pass) = self.pass(headers, &original)? {
            return Ok(pass);
        }
        if original.is_of_outpost() {
            return Ok(StatusCode::OK.into_response());
        }
        Ok(text(self.flavour, StatusCode::UNAUTHORIZED, "unauthorized request"))
    }

    /// `/auth/traefik` and `/auth/caddy`: 200, or a redirect that the data plane hands to the visitor.
    ///
    /// The path of the URL frees nobody here, in neither flavour: authentik before the callback came to any URL of
    /// the app let pass an `X-Forwarded-Uri` below `/outpost.goauthentik.io`.
    pub(super) fn traefik(&self, parts: &Parts) -> Result<Response> {
        let original = Original::of_traefik(self.flavour, &parts.headers);
        match &original {
            Some(url) if url.has_flag(CALLBACK) => self.callback(&parts.headers, url.query()),
            Some(url) if url.has_flag(LOGOUT) => self.sign_out(parts),
            url => self.forward(&parts.headers, url.as_ref()),
        }
    }

    /// 200, or a redirect to authentik.
    pub(super) fn forward(&self, headers: &HeaderMap, original: Option<&Original>) -> Result<Response> {
        let Some(original) = original else { return Ok(self.configuration_error()) };
        match self.pass(headers, original)? {
            Some(pass) => Ok(pass),
            None => self.start(headers, &original.full),
        }
    }

    fn configuration_error(&self) -> Response {
        text(self.flavour, StatusCode::INTERNAL_SERVER_ERROR, "configuration error")
    }

    /// 200, if the visitor is logged in or needs no login for this URL.
    fn pass(&self, headers: &HeaderMap, original: &Original) -> Result<Option<Response>> {
        if let Some(logged_in) = self.logged_in(headers)? {
            return self.identity(headers, &logged_in).map(Some);
        }
        Ok(original.is_skipped_by(self.provider).then(|| StatusCode::OK.into_response()))
    }

    /// Who sends this request: by the session cookie, or by a bearer token, which begins a session.
    pub(super) fn logged_in(&self, headers: &HeaderMap) -> Result<Option<LoggedIn>> {
        let session = Cookie(self.provider).session(headers);
        if let Some(user) = session.and_then(|session| self.sessions.user(&session)) {
            return Ok(Some(LoggedIn { user, cookie: None }));
        }
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let tokens = &self.provider.bearer_tokens;
        let Some((_, user)) = tokens.iter().find(|(token, _)| Some(token.as_str()) == sent) else {
            return Ok(None);
        };
        let session = random();
        self.sessions.insert(&session, user.clone());
        let cookie = Cookie(self.provider).set(self.flavour, &session)?;
        Ok(Some(LoggedIn { user: user.clone(), cookie: Some(cookie) }))
    }

    /// 200 with all that the app may learn about the user.
    fn identity(&self, request: &HeaderMap, LoggedIn { user, cookie }: &LoggedIn) -> Result<Response> {
        let mut headers = HeaderMap::new();
        for (name, content) in self.identity_headers(user)? {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, value(&content)?);
        }
        if let Some((name, password)) = &self.provider.basic_auth {
            let encoded = BASE64_STANDARD.encode(format!("{name}:{password}"));
            headers.insert(AUTHORIZATION, value(&format!("Basic {encoded}"))?);
        }
        if let Some(cookie) = cookie {
            headers.insert(SET_COOKIE, value(cookie)?);
        }
        if let Some(agent) = request.get(USER_AGENT) {
            headers.insert(USER_AGENT, agent.clone());
        }
        Ok((StatusCode::OK, headers).into_response())
    }

    fn identity_headers(&self, user: &User) -> Result<[(&'static str, String); 12]> {
        let version = match self.flavour {
            Flavour::Rust => "goauthentik.io/outpost/2026.8.0",
            Flavour::Go => "goauthentik.io/outpost/2026.5.0",
        };
        let jwks = format!("/application/o/{}/jwks/", self.provider.name);
        Ok([
            ("x-authentik-username", user.username.clone()),
            ("x-authentik-groups", user.groups.join("|")),
            ("x-authentik-entitlements", user.entitlements.join("|")),
            ("x-authentik-email", user.email.clone()),
            ("x-authentik-name", user.name.clone()),
            ("x-authentik-uid", user.uid.clone()),
            ("x-authentik-jwt", self.id_token(user)?),
            ("x-authentik-meta-jwks", self.provider.authentik.join(&jwks)?.into()),
            ("x-authentik-meta-outpost", "outpost-double".to_owned()),
            ("x-authentik-meta-provider", self.provider.name.clone()),
            ("x-authentik-meta-app", self.provider.name.clone()),
            ("x-authentik-meta-version", version.to_owned()),
        ])
    }

    /// A token that says who the user is, of about the size that the provider asks for.
    pub(super) fn id_token(&self, user: &User) -> Result<String> {
        let of_size = |padding: usize| {
            let claims = json!({
                "aud": self.provider.client_id,
                "sub": user.uid,
                "preferred_username": user.username,
                "padding": "x".repeat(padding),
            });
            token::sign(&self.provider.cookie_secret, &claims)
        };
        // Four characters of a token carry three of its claims.
        let missing = self.provider.jwt_bytes.saturating_sub(of_size(0)?.len());
        of_size(missing.div_ceil(4) * 3)
    }
}
