//! Logging in and out: the outpost's side of OAuth.

use super::answers::redirect;
use super::app::App;
use super::original::GoUrl;
use super::provider::Mode;
use super::session::{Cookie, random};
use super::{Flavour, parameter, token};
use anyhow::Result;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use url::Url;

impl App<'_> {
    /// `/start?rd=…`: to authentik, and then back to `rd` if that is a place of this provider.
    pub(super) fn start_for(&self, headers: &HeaderMap, query: &str) -> Result<Response> {
        let wanted = parameter(query, "rd").and_then(|wanted| self.allowed(&wanted));
        self.start(headers, &wanted.unwrap_or_default())
    }

    /// `rd`, if a login may lead there. For one app: the same host and port; a mere path is one of the app.
    fn allowed(&self, wanted: &str) -> Option<String> {
        if wanted.is_empty() {
            return None;
        }
        let external = &self.provider.external_host;
        if let Some(domain) = self.provider.domain() {
            let url = Url::parse(wanted).ok()?;
            return url.host_str()?.ends_with(domain).then(|| url.into());
        }
        let url = external.join(wanted).ok()?;
        let is_same = match self.flavour {
            Flavour::Rust => url.host_str() == external.host_str() && url.port() == external.port(),
            // As text: `:443` is another host, and so is one in upper case.
            Flavour::Go => {
                let host = GoUrl::parse(wanted)?.host;
                host.is_empty() || host == self.provider.host()
            }
        };
        is_same.then(|| url.into())
    }

    /// 302 to authentik, with a cookie; afterwards the visitor gets to `redirect`, or if that is empty to the
    /// external host.
    pub(super) fn start(&self, headers: &HeaderMap, redirect_to: &str) -> Result<Response> {
        let cookie = Cookie(self.provider);
        let session = cookie.session(headers).unwrap_or_else(random);
        let state = json!({
            "iss": self.issuer(), "sid": session, "state": random(), "redirect": redirect_to,
        });
        let mut url = self.provider.authorize_url()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.provider.client_id)
            .append_pair("redirect_uri", self.provider.redirect_uri()?.as_str())
            .append_pair("response_type", "code")
            .append_pair("scope", "openid profile email ak_proxy")
            .append_pair("state", &token::sign(&self.provider.cookie_secret, &state)?);
        redirect(self.flavour, url.as_str(), Some(&cookie.set(self.flavour, &session)?))
    }

    fn issuer(&self) -> String {
        format!("goauthentik.io/outpost/{}", self.provider.client_id)
    }

    /// Whether this outpost made the `state` for this provider; its `sid` and `redirect`.
    pub(super) fn state(&self, text: &str) -> Option<(String, String)> {
        let claims = token::verify(&self.provider.cookie_secret, text)?;
        let claim = |name: &str| claims[name].as_str().map(str::to_owned);
        (claims["iss"] == self.issuer().as_str()).then_some(())?;
        Some((claim("sid")?, claim("redirect")?))
    }

    /// `/callback`: authentik sends the visitor back, with a code. Without a cookie and a `state` that belong
    /// together, 400; with a code that authentik does not take, back to the page, and so to the next login.
    /// No code at all is 400 in Rust, in Go (`redeemCallback`) one that authentik does not take.
    pub(super) fn callback(&self, headers: &HeaderMap, query: &str) -> Result<Response> {
        let refused = || Ok(StatusCode::BAD_REQUEST.into_response());
        let cookie = Cookie(self.provider);
        let state = parameter(query, "state").and_then(|state| self.state(&state));
        let (Some(session), Some((of_session, target))) = (cookie.session(headers), state) else {
            return refused();
        };
        let code = parameter(query, "code").unwrap_or_default();
        if session != of_session || (code.is_empty() && self.flavour == Flavour::Rust) {
            return refused();
        }
        let target = if target.is_empty() { self.provider.external() } else { &target };
        let Some(user) = self.codes.redeem(&code, &self.provider.client_id) else {
            return redirect(self.flavour, target, None);
        };
        self.sessions.insert(&session, user);
        redirect(self.flavour, target, Some(&cookie.set(self.flavour, &session)?))
    }

    /// `/sign_out`: ends all sessions of the user, and goes to authentik to end its own. For a stranger the opposite:
    /// `/start`.
    pub(super) fn sign_out(&self, parts: &Parts) -> Result<Response> {
        let cookie = Cookie(self.provider);
        let session = cookie.session(&parts.headers);
        let Some(user) = session.and_then(|session| self.sessions.user(&session)) else {
            return self.redirect_to_start(parts);
        };
        self.sessions.end_all(&user.uid);
        let mut url = self.provider.end_session_url()?;
        url.query_pairs_mut().append_pair("id_token_hint", &self.id_token(&user)?);
        let removal = (self.flavour == Flavour::Rust).then(|| cookie.removal(self.flavour));
        redirect(self.flavour, url.as_str(), removal.as_deref())
    }

    /// 302 to `/start` for the path that was asked for, on the external host.
    pub(super) fn redirect_to_start(&self, parts: &Parts) -> Result<Response> {
        let external = &self.provider.external_host;
        let wanted = match (&self.provider.mode, self.flavour) {
            (Mode::ForwardDomain { .. }, _) => self.provider.external().to_owned(),
            (_, Flavour::Rust) => {
                let asked = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
                external.join(asked)?.into()
            }
            (_, Flavour::Go) => external.join(parts.uri.path())?.into(),
        };
        let mut url = external.join("/outpost.goauthentik.io/start")?;
        url.query_pairs_mut().append_pair("rd", &wanted);
        redirect(self.flavour, url.as_str(), None)
    }
}
