//! The dialect of ingress-nginx: which annotations and request headers protect an app there.
//!
//! Values and limits were read from the source of ingress-nginx 1.15.1 and tried on it.

use super::companions;
use super::dialect::DataPlane;
use super::outpost::Outpost;
use super::refusal::Refusal;
use super::request::Request;
use super::warning::Warning;
use crate::config::{AuthRoute, Scheme, Settings};
pub(super) use crate::contract::AUTH_URL;
use crate::contract::{IDENTITY_HEADERS, OUTPOST_PATH};
use crate::facts::{AppFacts, IngressFacts};
use std::collections::BTreeMap;

/// What the keys of all its annotations begin with.
pub(super) const PREFIX: &str = "nginx.ingress.kubernetes.io/";
pub(super) const AUTH_RESPONSE_HEADERS: &str = "nginx.ingress.kubernetes.io/auth-response-headers";
pub(super) const CLIENT_CERTIFICATES: &str = "nginx.ingress.kubernetes.io/auth-tls-secret";
const AUTH_SIGNIN: &str = "nginx.ingress.kubernetes.io/auth-signin";
const AUTH_PROXY_SET_HEADERS: &str = "nginx.ingress.kubernetes.io/auth-proxy-set-headers";
/// The annotations without any one of which the check is gone, or not what it was.
pub(crate) const CHECK: [&str; 4] = [AUTH_URL, AUTH_SIGNIN, AUTH_RESPONSE_HEADERS, AUTH_PROXY_SET_HEADERS];
const AUTH_SNIPPET: &str = "nginx.ingress.kubernetes.io/auth-snippet";
const AUTH_METHOD: &str = "nginx.ingress.kubernetes.io/auth-method";
const BACKEND_PROTOCOL: &str = "nginx.ingress.kubernetes.io/backend-protocol";
const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const CUSTOM_HTTP_ERRORS: &str = "nginx.ingress.kubernetes.io/custom-http-errors";
const ENABLE_GLOBAL_AUTH: &str = "nginx.ingress.kubernetes.io/enable-global-auth";
const PROXY_BUFFER_SIZE: &str = "nginx.ingress.kubernetes.io/proxy-buffer-size";
pub(super) const REWRITE_TARGET: &str = "nginx.ingress.kubernetes.io/rewrite-target";
const SATISFY: &str = "nginx.ingress.kubernetes.io/satisfy";
const SSL_PASSTHROUGH: &str = "nginx.ingress.kubernetes.io/ssl-passthrough";
const REDIRECTS: [&str; 2] =
    ["nginx.ingress.kubernetes.io/permanent-redirect", "nginx.ingress.kubernetes.io/temporal-redirect"];

/// authentik's identity headers with a JWT outgrow nginx's default of 4k, and the answer is then 500.
const BUFFER_SIZE: &str = "16k";

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
        check_common(ingress, app)?;
        if app.annotation(AUTH_METHOD).is_some() {
            return Err(Refusal::AuthMethod { key: AUTH_METHOD.to_owned() });
        }
        if request.auth_route == AuthRoute::Host && app.annotation(CLIENT_CERTIFICATES).is_some() {
            let auth_route = settings.keys.auth_route.clone();
            return Err(Refusal::ClientCertificates { key: CLIENT_CERTIFICATES.to_owned(), auth_route });
        }
        if let Some(found) = app.annotation(REWRITE_TARGET).filter(|_| !settings.nginx_rejects_dot_segments) {
            return Err(Refusal::Rewrite { key: REWRITE_TARGET.to_owned(), found: found.to_owned() });
        }
        Ok(())
    }

    fn warnings(&self, _ingress: &IngressFacts, app: &AppFacts, _request: &Request) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if app.annotation(SATISFY) == Some("any") {
            warnings.push(Warning::SatisfyAny { key: SATISFY.to_owned() });
        }
        warnings.extend(redirect_warnings(app));
        let errors = app.annotation(CUSTOM_HTTP_ERRORS).unwrap_or_default();
        if errors.split(',').any(|code| code.trim() == "401") {
            warnings.push(Warning::InterceptsLogin { key: CUSTOM_HTTP_ERRORS.to_owned() });
        }
        if app.annotation(AUTH_SNIPPET).is_some() {
            warnings.push(Warning::AuthSnippet { key: AUTH_SNIPPET.to_owned() });
        }
        warnings
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
        let headers =
            companions::headers_key(&ingress.key.namespace, &self.request_headers(request.auth_route));
        let mut annotations = BTreeMap::from([
            (AUTH_URL.to_owned(), auth_url),
            (AUTH_SIGNIN.to_owned(), sign_in),
            (AUTH_RESPONSE_HEADERS.to_owned(), [&[SET_COOKIE], &IDENTITY_HEADERS[..]].concat().join(",")),
            (AUTH_PROXY_SET_HEADERS.to_owned(), headers.to_string()),
        ]);
        if app.foreign_annotation(PROXY_BUFFER_SIZE).is_none() {
            annotations.insert(PROXY_BUFFER_SIZE.to_owned(), BUFFER_SIZE.to_owned());
        }
        annotations
    }

    /// Old outposts believe `X-Original-URI` (GHSA-5wcc-hf24-rf5h), and the Rust outpost reads `Forwarded`.
    fn request_headers(&self, auth_route: AuthRoute) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::from([("Forwarded", ""), ("X-Original-URI", "")]);
        if auth_route == AuthRoute::Direct {
            // The outpost picks the app by it. Always the server that nginx selected, or a user of one app could pass
            // for a visitor of another by sending the header himself.
            headers.insert("X-Forwarded-Host", "$host");
        }
        headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn outpost_ingress_annotations(&self, _app: &AppFacts, outpost: &Outpost) -> BTreeMap<String, String> {
        let mut annotations = route_annotations(outpost);
        annotations.insert(PROXY_BUFFER_SIZE.to_owned(), BUFFER_SIZE.to_owned());
        annotations
    }

    fn may_be_on_route(&self, key: &str, value: &str, outpost: &Outpost) -> bool {
        (key, value) == (PROXY_BUFFER_SIZE, BUFFER_SIZE)
            || route_annotations(outpost).get(key).is_some_and(|own| own == value)
    }

    fn annotation_using_outpost(&self, _ingress: &IngressFacts, app: &AppFacts) -> Option<&'static str> {
        auth_url_to_outpost(app)
    }
}

/// What nobody who reads these annotations can protect.
pub(super) fn check_common(ingress: &IngressFacts, app: &AppFacts) -> Result<(), Refusal> {
    let is_true = |key: &str| app.annotation(key).filter(|value| is_go_true(value)).map(str::to_owned);
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

/// Whether Go's `strconv.ParseBool`, with which these annotations are read, takes `value` for true.
pub(super) fn is_go_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True")
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
    app.annotation(AUTH_URL).filter(|url| url.contains(OUTPOST_PATH)).map(|_| AUTH_URL)
}
