//! The dialect of Traefik itself: a Middleware that asks the outpost, named first on the app's Ingress.
//!
//! Values and limits were read from Traefik 3.7.9 and tried on 3.7.15.

use super::dialect::DataPlane;
use super::outpost::Outpost;
use super::refusal::Refusal;
use super::request::Request;
use super::warning::Warning;
use super::{challenge, companions};
use crate::config::{AuthRoute, Settings};
use crate::contract::{IDENTITY_HEADERS, OUTPOST_PATH, ROUTER_MIDDLEWARES, own_middleware_in};
use crate::facts::{AppFacts, IngressFacts};
use crate::middleware::ForwardAuth;
use std::collections::BTreeMap;

const ROUTER_ENTRYPOINTS: &str = "traefik.ingress.kubernetes.io/router.entrypoints";
const ROUTER_PRIORITY: &str = "traefik.ingress.kubernetes.io/router.priority";
const ROUTER_TLS: &str = "traefik.ingress.kubernetes.io/router.tls";

/// Priority of the outpost route. Without one Traefik takes the length of the rule, so a long regular expression among
/// the app's paths would win; no rule is as long as this.
const ROUTE_PRIORITY: i64 = 100_000;

/// Every header whose name an app could read as one of the outpost's. WSGI, CGI and PHP turn dashes, underscores and dots
/// into the same character, so all three spellings of a forged header have to go.
const IDENTITY_HEADERS_REGEX: &str = "^(?i:x[-_.]authentik[-_.])";

/// Longest answer of the outpost in bytes; the ones it gives are pages of a few kilobytes at most.
const MAX_ANSWER: i64 = 65_536;

/// See the module's documentation.
pub(super) struct Traefik;

impl DataPlane for Traefik {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn controller(&self) -> &'static str {
        "traefik.io/ingress-controller"
    }

    fn auth_route(&self, _asked: AuthRoute) -> AuthRoute {
        AuthRoute::Direct
    }

    /// Only where Traefik takes `ExternalName` Services. The login needs no route: on any path of the app the outpost
    /// is asked, and it completes the callback there.
    fn routes_outpost_path(&self, settings: &Settings) -> bool {
        settings.traefik.allows_external_name
    }

    /// The route has a priority of its own.
    fn lets_long_regex_win(&self) -> bool {
        false
    }

    /// It looks at no annotation for that.
    fn lets_others_pass_tls_through(&self) -> bool {
        false
    }

    fn check(
        &self,
        _ingress: &IngressFacts,
        app: &AppFacts,
        _request: &Request,
        _settings: &Settings,
    ) -> Result<(), Refusal> {
        challenge::check(app)
    }

    fn warnings(&self, ingress: &IngressFacts, app: &AppFacts, request: &Request) -> Vec<Warning> {
        let is_shared = app.foreign_annotation(ROUTER_MIDDLEWARES).is_some();
        let is_edited = app.has_edited(ROUTER_MIDDLEWARES) || ingress.middlewares.is_empty();
        let shared = (is_shared && is_edited)
            .then(|| Warning::SharedMiddlewares { key: ROUTER_MIDDLEWARES.to_owned() });
        let unrouted = (!request.has_route).then_some(Warning::NoOutpostPath);
        shared.into_iter().chain(unrouted).collect()
    }

    /// Nothing where somebody else has entries in the list: it is then edited in place.
    fn annotations(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        request: &Request,
        settings: &Settings,
    ) -> BTreeMap<String, String> {
        if app.foreign_annotation(ROUTER_MIDDLEWARES).is_some() {
            return BTreeMap::new();
        }
        let reference = companions::middleware_reference(&ingress.key.namespace, request, settings);
        BTreeMap::from([(ROUTER_MIDDLEWARES.to_owned(), reference)])
    }

    fn edits(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        request: &Request,
        settings: &Settings,
    ) -> BTreeMap<String, Option<String>> {
        let namespace = &ingress.key.namespace;
        let reference = companions::middleware_reference(namespace, request, settings);
        let found = app.foreign_annotation(ROUTER_MIDDLEWARES);
        let wanted = found.and_then(|found| with_first(found, namespace, Some(&reference)));
        wanted.map(|list| (ROUTER_MIDDLEWARES.to_owned(), Some(list))).into_iter().collect()
    }

    fn forward_auth(&self) -> Option<fn(&Outpost, &Settings) -> ForwardAuth> {
        Some(forward_auth)
    }

    /// The entry points and the TLS of the app's routers: on others the route would not be where the app is.
    fn route_annotations_for(&self, app: &AppFacts) -> BTreeMap<String, String> {
        let copied = app.annotations.iter().filter(|(key, _)| is_copied(key));
        let mut annotations: BTreeMap<_, _> =
            copied.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let of_app = app.annotation(ROUTER_PRIORITY).and_then(|text| text.trim().parse::<i64>().ok());
        let priority = of_app.map_or(ROUTE_PRIORITY, |of_app| of_app.saturating_add(1).max(ROUTE_PRIORITY));
        annotations.insert(ROUTER_PRIORITY.to_owned(), priority.to_string());
        annotations
    }

    fn depends_on_app(&self, key: &str) -> bool {
        key == ROUTER_PRIORITY || is_copied(key)
    }

    fn annotation_using_outpost(&self, ingress: &IngressFacts, _app: &AppFacts) -> Option<&'static str> {
        (!ingress.middlewares.is_empty()).then_some(ROUTER_MIDDLEWARES)
    }
}

/// Whether the annotation `key` of an app says where its routers listen, so that its route needs it as well.
fn is_copied(key: &str) -> bool {
    key == ROUTER_ENTRYPOINTS || key.starts_with(ROUTER_TLS)
}

fn forward_auth(outpost: &Outpost, settings: &Settings) -> ForwardAuth {
    ForwardAuth {
        address: format!("{}{OUTPOST_PATH}/auth/traefik", outpost.address),
        // Written out, since without it Traefik passes on some of the client's headers, and says so in its log.
        trust_forward_header: Some(settings.traefik.trusts_forward_headers),
        auth_response_headers: IDENTITY_HEADERS.map(str::to_owned).into(),
        auth_response_headers_regex: IDENTITY_HEADERS_REGEX.to_owned(),
        max_response_body_size: Some(MAX_ANSWER),
        others: BTreeMap::new(),
    }
}

/// The change after which the list of Middlewares holds only what others wrote, if it was this controller that put its own
/// entry there. A list that people wrote themselves, with our entry or without, is theirs.
pub(super) fn without_ours(ingress: &IngressFacts, app: &AppFacts) -> BTreeMap<String, Option<String>> {
    let found = app.foreign_annotation(ROUTER_MIDDLEWARES).filter(|_| app.has_edited(ROUTER_MIDDLEWARES));
    let wanted = found.and_then(|found| with_first(found, &ingress.key.namespace, None));
    let wanted = wanted.map(|list| Some(list).filter(|list| !list.is_empty()));
    wanted.map(|list| (ROUTER_MIDDLEWARES.to_owned(), list)).into_iter().collect()
}

/// The list of Middlewares `found` with `reference` as its first entry and without any others of ours, in the order in
/// which people wrote the rest; `None` where it is so already.
///
/// First, because what comes before the login could change the path that the outpost is asked about.
fn with_first(found: &str, namespace: &str, reference: Option<&str>) -> Option<String> {
    let entries = || found.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let others = entries().filter(|entry| own_middleware_in(namespace, entry).is_none());
    let wanted: Vec<&str> = reference.into_iter().chain(others).collect();
    (!entries().eq(wanted.iter().copied())).then(|| wanted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{middleware_name, middleware_reference};

    #[test]
    fn ours_comes_first_once_and_the_rest_stays_as_it_was() {
        let reference = |outpost| middleware_reference("shop", &middleware_name("shop", outpost), false);
        let (ours, old) = (reference("proxy"), reference("old"));
        let first = |found: &str| with_first(found, "shop", Some(&ours));
        assert_eq!(first("b@file, a@file").as_deref(), Some(format!("{ours},b@file,a@file").as_str()));
        assert_eq!(first(&format!("a@file,{ours}")), Some(format!("{ours},a@file")));
        assert_eq!(first(&format!("{ours},{old},a@file,{ours}")), Some(format!("{ours},a@file")));
        assert_eq!(first(&format!("{ours}, a@file")), None);
        assert_eq!(first(""), Some(ours.clone()));
        let without = |found: &str| with_first(found, "shop", None);
        assert_eq!(without(&format!("{ours},a@file")).as_deref(), Some("a@file"));
        assert_eq!(without(&ours).as_deref(), Some(""));
        assert_eq!(without("a@file"), None);
    }
}
