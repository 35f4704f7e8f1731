//! The dialect of ingress-nginx: which annotations and request headers protect an app there.
//!
//! Values and limits were read from the source of ingress-nginx 1.15.1 and tried on it.

mod catches;
mod values;

use super::companions;
use super::dialect::DataPlane;
use super::outpost::Outpost;
use super::refusal::Refusal;
use super::request::Request;
use super::warning::Warning;
use crate::config::{AuthRoute, Scheme, Settings};
pub(super) use crate::contract::AUTH_URL;
use crate::contract::{
    AUTH_PROXY_SET_HEADERS, CANARY, IDENTITY_HEADERS, OUTPOST_PATH, SSL_PASSTHROUGH, leads_to_outpost,
};
use crate::facts::{AppFacts, IngressFacts, is_go_true};
use std::collections::BTreeMap;

/// What the keys of all its annotations begin with.
pub(super) const PREFIX: &str = "nginx.ingress.kubernetes.io/";
pub(super) const AUTH_RESPONSE_HEADERS: &str = "nginx.ingress.kubernetes.io/auth-response-headers";
pub(super) const CLIENT_CERTIFICATES: &str = "nginx.ingress.kubernetes.io/auth-tls-secret";
const AUTH_SIGNIN: &str = "nginx.ingress.kubernetes.io/auth-signin";
/// The annotations that make up the check: without any of them it is gone or weaker.
pub(crate) const CHECK: [&str; 4] = [AUTH_URL, AUTH_SIGNIN, AUTH_RESPONSE_HEADERS, AUTH_PROXY_SET_HEADERS];
/// Annotations by which an app can be reached past its check, or the check be asked about something else, here or on Traefik in
/// place of ingress-nginx.
pub(crate) const BYPASSES: [&str; 15] = [
    AUTH_CACHE_KEY,
    AUTH_METHOD,
    CANARY,
    CUSTOM_HTTP_ERRORS,
    DEFAULT_BACKEND,
    REWRITE_TARGET,
    SSL_PASSTHROUGH,
    UPSTREAM_VHOST,
    catches::AUTH_SNIPPET,
    catches::SATISFY,
    catches::SNIPPETS[0],
    catches::SNIPPETS[1],
    values::AUTH_ALWAYS_SET_COOKIE,
    values::AUTH_CACHE_DURATION,
    values::AUTH_REQUEST_REDIRECT,
];
const AUTH_CACHE_KEY: &str = "nginx.ingress.kubernetes.io/auth-cache-key";
const AUTH_METHOD: &str = "nginx.ingress.kubernetes.io/auth-method";
const BACKEND_PROTOCOL: &str = "nginx.ingress.kubernetes.io/backend-protocol";
const CUSTOM_HTTP_ERRORS: &str = "nginx.ingress.kubernetes.io/custom-http-errors";
const DEFAULT_BACKEND: &str = "nginx.ingress.kubernetes.io/default-backend";
const ENABLE_GLOBAL_AUTH: &str = "nginx.ingress.kubernetes.io/enable-global-auth";
const PROXY_BUFFER_SIZE: &str = "nginx.ingress.kubernetes.io/proxy-buffer-size";
const PROXY_BUSY_BUFFERS_SIZE: &str = "nginx.ingress.kubernetes.io/proxy-busy-buffers-size";
pub(super) const REWRITE_TARGET: &str = "nginx.ingress.kubernetes.io/rewrite-target";
pub(super) const UPSTREAM_VHOST: &str = "nginx.ingress.kubernetes.io/upstream-vhost";
const REDIRECTS: [&str; 2] =
    ["nginx.ingress.kubernetes.io/permanent-redirect", "nginx.ingress.kubernetes.io/temporal-redirect"];

/// What of nginx's buffers has to be set. authentik's identity headers with a JWT outgrow the default of 4k, and the answer is then 500.
///
/// Both or neither: nginx takes no configuration at all, of any app, in which not `proxy_buffer_size` <= `proxy_busy_buffers_size` <=
/// all `proxy_buffers` but one, and the `ConfigMap` of ingress-nginx may have another value for the second. Equal, they are right with
/// any number of buffers.
const BUFFERS: [(&str, &str); 2] = [(PROXY_BUFFER_SIZE, "16k"), (PROXY_BUSY_BUFFERS_SIZE, "16k")];

/// An answer that no outpost gives. An Ingress with a list of such answers of its own, whatever is in it, is exempt from
/// `custom-http-errors` in ingress-nginx's `ConfigMap`, by which a page of errors would take the place of the outpost's answers. On the
/// route `host` the check goes through this Ingress, and a page in place of 401 that comes with 200 would let everybody in.
const NO_ANSWER: &str = "418";

/// Header of the outpost's answers that is for the browser and not for the app.
const SET_COOKIE: &str = "Set-Cookie";

/// See the module's documentation.
pub(super) struct Nginx;

impl DataPlane for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn controller(&self) -> &'static str {
        "k8s.io/ingress-nginx"
    }

    fn check(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        request: &Request,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        check_common(ingress, app, is_go_true)?;
        if app.annotation(AUTH_METHOD).is_some() {
            return Err(Refusal::AuthMethod { key: AUTH_METHOD.to_owned() });
        }
        if let Some(found) = values::text(app, AUTH_CACHE_KEY) {
            return Err(Refusal::CachedLogin { key: AUTH_CACHE_KEY.to_owned(), found: found.to_owned() });
        }
        if let Some((key, found)) = values::dropping_the_check(app) {
            return Err(Refusal::LoginDropped { key: key.to_owned(), found: found.to_owned() });
        }
        if request.auth_route == AuthRoute::Host && app.annotation(CLIENT_CERTIFICATES).is_some() {
            let auth_route = settings.keys.auth_route.clone();
            return Err(Refusal::ClientCertificates { key: CLIENT_CERTIFICATES.to_owned(), auth_route });
        }
        let wildcard = request.hosts.iter().find(|host| host.is_wildcard());
        if let Some(host) = wildcard.filter(|_| request.auth_route == AuthRoute::Host) {
            let (key, host) = (settings.keys.auth_route.clone(), host.clone());
            return Err(Refusal::WildcardThroughHost { key, host });
        }
        if let Some(found) = app.annotation(REWRITE_TARGET).filter(|_| !settings.nginx_rejects_dot_segments) {
            return Err(Refusal::Rewrite { key: REWRITE_TARGET.to_owned(), found: found.to_owned() });
        }
        Ok(())
    }

    fn passes_raw_host(&self, settings: &Settings) -> bool {
        !settings.nginx_rejects_dot_segments
    }

    fn warnings(&self, _ingress: &IngressFacts, app: &AppFacts, _request: &Request) -> Vec<Warning> {
        catches::of(app)
    }

    fn annotations(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        request: &Request,
        _settings: &Settings,
    ) -> BTreeMap<String, String> {
        let scheme = request.scheme;
        // A literal for one host, as the admin would write it; nginx's own variable for several. Never $http_host,
        // which is the client's word even where the request line selects another server.
        let host = match request.hosts.as_slice() {
            [only] if !only.is_wildcard() => only.as_str(),
            _ => "$host",
        };
        let auth_url = match request.auth_route {
            AuthRoute::Host => format!("{scheme}://{host}{OUTPOST_PATH}/auth/nginx"),
            AuthRoute::Direct => format!("{}{OUTPOST_PATH}/auth/nginx", request.outpost.address),
        };
        // $request_uri unescaped would cut a deep link at its first ampersand.
        let sign_in =
            format!("{scheme}://{host}{OUTPOST_PATH}/start?rd=$scheme://$best_http_host$escaped_request_uri");
        let headers = companions::headers_key(&ingress.key.namespace, &self.request_headers());
        let mut annotations = BTreeMap::from([
            (AUTH_URL.to_owned(), auth_url),
            (AUTH_SIGNIN.to_owned(), sign_in),
            (AUTH_RESPONSE_HEADERS.to_owned(), [&[SET_COOKIE], &IDENTITY_HEADERS[..]].concat().join(",")),
            (AUTH_PROXY_SET_HEADERS.to_owned(), headers.to_string()),
        ]);
        if BUFFERS.iter().all(|(key, _)| app.foreign_annotation(key).is_none()) {
            annotations.extend(buffers());
        }
        annotations
    }

    /// Old outposts believe `X-Original-URI` (GHSA-5wcc-hf24-rf5h), and the Rust outpost reads `Forwarded`. By `X-Forwarded-Host`
    /// the outpost picks the app, and on the route `host` nginx itself does, where `use-forwarded-headers` is on: always the
    /// server that nginx selected, or a user of one app could pass for a visitor of another by sending the header himself.
    fn request_headers(&self) -> BTreeMap<String, String> {
        let headers = [("Forwarded", ""), ("X-Forwarded-Host", "$host"), ("X-Original-URI", "")];
        headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn route_annotations(&self, outpost: &Outpost) -> BTreeMap<String, String> {
        let mut annotations = route_annotations(outpost);
        annotations.insert(CUSTOM_HTTP_ERRORS.to_owned(), NO_ANSWER.to_owned());
        annotations.extend(buffers());
        annotations
    }

    fn annotation_using_outpost(&self, _ingress: &IngressFacts, app: &AppFacts) -> Option<&'static str> {
        auth_url_to_outpost(app)
    }
}

fn buffers() -> impl Iterator<Item = (String, String)> {
    BUFFERS.into_iter().map(|(key, size)| (key.to_owned(), size.to_owned()))
}

/// What nobody who reads these annotations can protect; `reads_true` is how it reads truth.
pub(super) fn check_common(
    ingress: &IngressFacts,
    app: &AppFacts,
    reads_true: fn(&str) -> bool,
) -> Result<(), Refusal> {
    let is_true = |key: &str| app.annotation(key).filter(|value| reads_true(value)).map(str::to_owned);
    if let Some(found) = is_true(CANARY) {
        return Err(Refusal::Canary { key: CANARY.to_owned(), found });
    }
    if let Some(found) = is_true(SSL_PASSTHROUGH) {
        return Err(Refusal::TlsPassthrough { key: SSL_PASSTHROUGH.to_owned(), found });
    }
    if let Some((host, path)) = ingress.swallowing_paths.first() {
        let (ingress, host, path) = (ingress.key.clone(), host.clone(), path.clone());
        return Err(Refusal::SwallowedPath { ingress, host, path });
    }
    Ok(())
}

/// A redirect comes before the login.
pub(super) fn redirect_warnings(app: &AppFacts) -> Vec<Warning> {
    let redirects = REDIRECTS.iter().filter(|key| app.annotation(key).is_some());
    redirects.map(|key| Warning::Redirect { key: (*key).to_owned() }).collect()
}

/// Annotations that every route to the outpost needs.
pub(super) fn route_annotations(outpost: &Outpost) -> BTreeMap<String, String> {
    // Under a cluster-wide login the login page itself would need a login.
    let mut annotations = BTreeMap::from([(ENABLE_GLOBAL_AUTH.to_owned(), "false".to_owned())]);
    if outpost.address.scheme == Scheme::Https {
        annotations.insert(BACKEND_PROTOCOL.to_owned(), "HTTPS".to_owned());
    }
    annotations
}

/// `auth-url`, where it leads to an outpost.
pub(super) fn auth_url_to_outpost(app: &AppFacts) -> Option<&'static str> {
    app.annotation(AUTH_URL).filter(|url| leads_to_outpost(url)).map(|_| AUTH_URL)
}
