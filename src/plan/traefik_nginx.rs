//! The dialect of Traefik in place of ingress-nginx: which of that one's annotations protect an app there.
//!
//! Values and limits were read from the provider `kubernetesIngressNGINX` of Traefik 3.7.9 and tried on 3.7.15.

use super::dialect::DataPlane;
use super::outpost::Outpost;
use super::refusal::Refusal;
use super::request::Request;
use super::warning::Warning;
use super::{challenge, nginx};
use crate::config::{AuthRoute, Settings};
use crate::contract::{IDENTITY_HEADERS, OUTPOST_PATH};
use crate::facts::{AppFacts, IngressFacts, is_true_to_some};
use std::collections::BTreeMap;

/// The annotations without any one of which the check is gone, or not what it was.
pub(super) const CHECK: [&str; 2] = [nginx::AUTH_URL, nginx::AUTH_RESPONSE_HEADERS];
const SERVER_ALIAS: &str = "nginx.ingress.kubernetes.io/server-alias";

/// What the keys of annotations with pieces of nginx's configuration end in.
const SNIPPET: &str = "-snippet";

/// See the module's documentation.
pub(super) struct TraefikNginx;

impl DataPlane for TraefikNginx {
    fn name(&self) -> &'static str {
        "traefik-nginx"
    }

    fn controller(&self) -> &'static str {
        "rke2.cattle.io/ingress-nginx-migration"
    }

    /// Traefik's own requests come from outside to Traefik, which then takes their `X-Forwarded-Uri` away: through the
    /// app's host the outpost would never learn what was asked for.
    fn auth_route(&self, _asked: AuthRoute) -> AuthRoute {
        AuthRoute::Direct
    }

    fn check(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        _request: &Request,
        _settings: &Settings,
    ) -> Result<(), Refusal> {
        challenge::check(app)?;
        nginx::check_common(ingress, app, is_true_to_some)?;
        let found = |key: &str| app.annotation(key).map(str::to_owned);
        if let Some(found) = found(nginx::UPSTREAM_VHOST) {
            return Err(Refusal::UpstreamHost { key: nginx::UPSTREAM_VHOST.to_owned(), found });
        }
        if found(nginx::CLIENT_CERTIFICATES).is_some() {
            return Err(Refusal::ClientCertificatesDropped { key: nginx::CLIENT_CERTIFICATES.to_owned() });
        }
        let mut keys = app.annotations.keys();
        if let Some(key) = keys.find(|key| key.starts_with(nginx::PREFIX) && key.ends_with(SNIPPET)) {
            return Err(Refusal::Snippet { key: key.to_string() });
        }
        Ok(())
    }

    fn warnings(&self, _ingress: &IngressFacts, app: &AppFacts, _request: &Request) -> Vec<Warning> {
        let mut warnings = nginx::redirect_warnings(app);
        if app.annotation(nginx::REWRITE_TARGET).is_some() {
            warnings.push(Warning::RewrittenDeepLink { key: nginx::REWRITE_TARGET.to_owned() });
        }
        if app.annotation(SERVER_ALIAS).is_some() {
            warnings.push(Warning::ServerAlias { key: SERVER_ALIAS.to_owned() });
        }
        warnings
    }

    /// Never `/auth/nginx`: Traefik sends no `X-Original-URL` of its own, so a client's would decide what the outpost is
    /// asked about. No sign-in address either, since the outpost answers with its own redirect to the login.
    fn annotations(
        &self,
        _ingress: &IngressFacts,
        _app: &AppFacts,
        request: &Request,
        _settings: &Settings,
    ) -> BTreeMap<String, String> {
        BTreeMap::from([
            (nginx::AUTH_URL.to_owned(), format!("{}{OUTPOST_PATH}/auth/traefik", request.outpost.address)),
            (nginx::AUTH_RESPONSE_HEADERS.to_owned(), IDENTITY_HEADERS.join(",")),
        ])
    }

    fn route_annotations(&self, outpost: &Outpost) -> BTreeMap<String, String> {
        nginx::route_annotations(outpost)
    }

    fn annotation_using_outpost(&self, _ingress: &IngressFacts, app: &AppFacts) -> Option<&'static str> {
        nginx::auth_url_to_outpost(app)
    }
}
