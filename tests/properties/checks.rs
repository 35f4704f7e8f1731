//! What has to hold of a cluster when nothing happens any more.

use super::cluster::{Cluster, STATUS, places};
use super::controller::CLASSES;
use super::ownership;
use super::validators::unacceptable_to_ingress_nginx;
use super::world::{OPT_IN, is_ours, ours};
use ingress_sso::config::Settings;
use ingress_sso::contract::{
    AUTH_URL, Keys, MANAGER, OUTPOST_PATH, ROUTER_MIDDLEWARES, middleware_name, middleware_reference,
    outpost_ingress_name, own_middleware_in,
};
use ingress_sso::facts::{IngressFacts, MiddlewareFacts, ObjectKey};
use ingress_sso::plan::outpost::Outpost;
use k8s_openapi::api::networking::v1::Ingress;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// Nothing that a user wrote is changed or removed, and nothing but ours is added.
pub(crate) fn check_users_own(cluster: &Cluster) -> Result<(), TestCaseError> {
    for (key, written) in &cluster.written {
        let Some(found) = cluster.ingresses.get(key) else {
            return Err(fail(format!("{key} is gone")));
        };
        prop_assert_eq!(&found.spec, &written.spec, "the spec of {}", key);
        prop_assert_eq!(&found.metadata.labels, &written.metadata.labels, "the labels of {}", key);
        prop_assert_eq!(
            &found.metadata.owner_references,
            &written.metadata.owner_references,
            "the owners of {}",
            key
        );
        let owned = ownership::owned_by(&found.metadata, MANAGER);
        let mut theirs = written.metadata.annotations.clone().unwrap_or_default();
        let mut found = found.metadata.annotations.clone().unwrap_or_default();
        let lists = [&mut theirs, &mut found].map(|all| all.remove(ROUTER_MIDDLEWARES).unwrap_or_default());
        let [before, after] = lists.map(|list| entries_of_users(&key.namespace, &list));
        prop_assert_eq!(after, before, "the list of {}", key);
        for (name, value) in &theirs {
            prop_assert_eq!(found.get(name), Some(value), "annotation {} of {}", name, key);
        }
        for name in found.keys().filter(|name| !theirs.contains_key(*name)) {
            prop_assert!(owned.contains(name), "annotation {name} of {key} belongs to nobody");
        }
    }
    for (key, written) in &cluster.written_services {
        prop_assert_eq!(cluster.services.get(key), Some(written), "Service {}", key);
    }
    for (key, written) in &cluster.written_middlewares {
        prop_assert_eq!(cluster.middlewares.get(key), Some(written), "Middleware {}", key);
    }
    Ok(())
}

/// The entries of a list of Middlewares.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Those that only users write.
pub(crate) fn entries_of_users(namespace: &str, list: &str) -> Vec<String> {
    let theirs = entries(list).filter(|entry| own_middleware_in(namespace, entry).is_none());
    theirs.map(str::to_owned).collect()
}

/// Whoever asks for protection and is sent through a Middleware of ours would get nothing but errors without it.
pub(crate) fn check_middlewares(cluster: &Cluster) -> Result<(), TestCaseError> {
    for (key, app) in cluster.ingresses.iter().filter(|_| !cluster.lacks_middlewares) {
        let annotations = app.metadata.annotations.clone().unwrap_or_default();
        let is_written = ownership::owned_by(&app.metadata, MANAGER).contains(ROUTER_MIDDLEWARES);
        let is_on_traefik =
            IngressFacts::extract(app, &Keys::default()).map_err(fail)?.class.name() == Some("traefik");
        let is_off = annotations.get(OPT_IN).is_none_or(|value| value == "false");
        if !is_written || !is_on_traefik || is_off {
            continue;
        }
        let list = annotations.get(ROUTER_MIDDLEWARES).map(String::as_str).unwrap_or_default();
        let own = entries(list).filter_map(|entry| own_middleware_in(&key.namespace, entry));
        for name in own {
            let stands = cluster.middlewares.contains_key(&ObjectKey::new(key.namespace.clone(), name));
            prop_assert!(stands, "{key} is sent through {name}, which is not there");
        }
    }
    Ok(())
}

/// At most one route of ours for each class and host, and it leads somewhere.
pub(crate) fn check_routes(cluster: &Cluster) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for (_, route) in cluster.our_routes() {
        for place in places(route) {
            prop_assert!(!seen.contains(&place), "{place:?} is routed twice");
            seen.insert(place);
        }
        for backend in backends(route) {
            let stands = cluster.services.contains_key(&backend);
            prop_assert!(stands, "a route leads through {backend}, which is not there: {route:?}");
        }
    }
    Ok(())
}

/// Who asks for protection is told what became of it, and who is called protected is protected.
pub(crate) fn check_promises(cluster: &Cluster, settings: &Settings) -> Result<(), TestCaseError> {
    for (key, app) in cluster.ingresses.iter().filter(|(_, app)| is_opted_in(app)) {
        let Some(status) = annotation(app, STATUS[0]) else {
            return Err(fail(format!("{key} has no status")));
        };
        let message = annotation(app, STATUS[1]);
        prop_assert_ne!(status, "Pending", "{} waits for nobody: {:?}", key, message);
        if status == "Protected" {
            check_promise(cluster, settings, app)?;
        }
    }
    Ok(())
}

/// `app`, which is called protected, is protected: the annotations are in, the route stands, and what it leads through too.
pub(crate) fn check_promise(
    cluster: &Cluster,
    settings: &Settings,
    app: &Ingress,
) -> Result<(), TestCaseError> {
    let facts = IngressFacts::extract(app, &settings.keys).map_err(fail)?;
    let class = CLASSES.into_iter().find(|(name, _)| Some(*name) == facts.class.name());
    let (class, controller) = class.ok_or_else(|| fail(format!("{} is of no known class", facts.key)))?;
    let outpost = annotation(app, "sso.djieno.com/outpost").unwrap_or("alpha");
    let outpost = Outpost {
        name: outpost.to_owned(),
        address: settings.outposts.get(outpost).cloned().ok_or_else(|| fail(format!("no {outpost}")))?,
    };
    match controller {
        "traefik.io/ingress-controller" => check_by_middleware(cluster, settings, app, &outpost)?,
        "rke2.cattle.io/ingress-nginx-migration" => check_by_url_on_traefik(app, &outpost)?,
        _ => check_by_url_on_nginx(cluster, app, &facts, &outpost)?,
    }
    let has_route = class != "traefik" || settings.traefik.allows_external_name;
    for host in facts.hosts.iter().filter(|_| has_route) {
        let serves = |route: &&Ingress| {
            places(route).iter().any(|(class, at, path)| {
                Some(class.as_str()) == facts.class.name() && at == host.as_str() && path == OUTPOST_PATH
            })
        };
        // Beside a route that stands, somebody may make another that leads nowhere: the older one is in force.
        let leads =
            |route: &Ingress| backends(route).iter().all(|backend| cluster.services.contains_key(backend));
        let stands = cluster.ingresses.values().filter(serves).any(leads);
        prop_assert!(stands, "{} is protected without a route on {host} that leads somewhere", facts.key);
    }
    Ok(())
}

/// ingress-nginx asks the outpost, by what it takes for valid, and with the headers that the client may not choose.
fn check_by_url_on_nginx(
    cluster: &Cluster,
    app: &Ingress,
    facts: &IngressFacts,
    outpost: &Outpost,
) -> Result<(), TestCaseError> {
    let key = &facts.key;
    let problems = unacceptable_to_ingress_nginx(&injected(app));
    prop_assert!(problems.is_empty(), "{key}: {problems:?}");
    let by_host = |host: &str| format!("https://{host}{OUTPOST_PATH}/auth/nginx");
    let mut urls: Vec<String> = facts.hosts.iter().map(|host| by_host(host.as_str())).collect();
    urls.extend([by_host("$host"), format!("{}{OUTPOST_PATH}/auth/nginx", outpost.address)]);
    let url = annotation(app, AUTH_URL).unwrap_or_default();
    prop_assert!(urls.iter().any(|expected| expected == url), "{key} asks {url}");
    let signin = annotation(app, "nginx.ingress.kubernetes.io/auth-signin").unwrap_or_default();
    prop_assert!(signin.contains(OUTPOST_PATH), "{key} sends to {signin} to log in");
    let headers = annotation(app, "nginx.ingress.kubernetes.io/auth-proxy-set-headers").unwrap_or_default();
    let has_headers = cluster.config_maps.keys().any(|key| key.to_string() == *headers);
    prop_assert!(has_headers, "{key} is protected without the headers {headers:?}");
    Ok(())
}

/// Traefik in the place of ingress-nginx asks the outpost.
fn check_by_url_on_traefik(app: &Ingress, outpost: &Outpost) -> Result<(), TestCaseError> {
    let direct = format!("{}{OUTPOST_PATH}/auth/traefik", outpost.address);
    let key = ObjectKey::of(&app.metadata);
    prop_assert_eq!(annotation(app, AUTH_URL), Some(direct.as_str()), "{}", key);
    let headers = annotation(app, "nginx.ingress.kubernetes.io/auth-response-headers");
    prop_assert!(headers.is_some_and(|list| list.contains("X-authentik-jwt")), "{key}: {headers:?}");
    Ok(())
}

/// Our Middleware is the first in the list, it exists, it asks the outpost and does nothing else, and Traefik cannot take
/// another for it.
fn check_by_middleware(
    cluster: &Cluster,
    settings: &Settings,
    app: &Ingress,
    outpost: &Outpost,
) -> Result<(), TestCaseError> {
    let app_key = ObjectKey::of(&app.metadata);
    let (namespace, name) = (&app_key.namespace, middleware_name(&app_key.namespace, &outpost.name));
    let reference = middleware_reference(namespace, &name, settings.traefik.safe_naming);
    let list = annotation(app, ROUTER_MIDDLEWARES).unwrap_or_default();
    prop_assert_eq!(entries(list).next(), Some(reference.as_str()), "{}", app_key);
    let key = ObjectKey::new(namespace.clone(), name);
    let Some(middleware) = cluster.middlewares.get(&key) else {
        return Err(fail(format!("{app_key} is protected without {key}")));
    };
    prop_assert!(middleware.spec.others.is_empty(), "{} does more: {:?}", key, middleware.spec.others);
    let auth = middleware.spec.forward_auth.clone().unwrap_or_default();
    prop_assert_eq!(auth.address, format!("{}{OUTPOST_PATH}/auth/traefik", outpost.address));
    prop_assert!(auth.others.is_empty(), "{key}: {:?}", auth.others);
    prop_assert_eq!(auth.trust_forward_header, Some(false));
    let called = |key| MiddlewareFacts::spelling(key);
    let twin = cluster.middlewares.keys().find(|other| **other != key && called(other) == called(&key));
    prop_assert_eq!(twin.filter(|_| !settings.traefik.safe_naming), None, "Traefik takes either for {}", key);
    Ok(())
}

/// Nothing of ours is left but what somebody else's object still needs.
pub(crate) fn check_nothing_is_left(cluster: &Cluster) -> Result<(), TestCaseError> {
    for (key, written) in &cluster.written {
        let mut found = cluster.ingresses[key].clone();
        let mut written = written.clone();
        let stamp = &mut found.metadata;
        prop_assert!(ours(stamp).is_empty(), "{key} still has annotations of ours");
        let is_edited = ownership::owned_by(stamp, MANAGER).contains(ROUTER_MIDDLEWARES);
        let lists = [stamp.annotations.as_mut(), written.metadata.annotations.as_mut()];
        let [list, theirs] = lists.map(|all| all?.remove(ROUTER_MIDDLEWARES)).map(Option::unwrap_or_default);
        let has_ours =
            |list: &str| entries(list).any(|entry| own_middleware_in(&key.namespace, entry).is_some());
        prop_assert!(!has_ours(&list) || !is_edited, "{key} still has our entry: {list}");
        prop_assert!(!has_ours(&list) || has_ours(&theirs), "nobody wrote the entry of {key}: {list}");
        stamp.managed_fields = None;
        (stamp.uid, stamp.resource_version) = Default::default();
        stamp.annotations = stamp.annotations.take().filter(|all| !all.is_empty());
        written.metadata.annotations = written.metadata.annotations.take().filter(|all| !all.is_empty());
        prop_assert_eq!(found, written);
    }
    let needs_route = |route: &ObjectKey| {
        cluster.written.values().any(|app| {
            let key = ObjectKey::of(&app.metadata);
            let uses = |value: &String| {
                let calls = |entry| own_middleware_in(&key.namespace, entry).is_some();
                value.contains(OUTPOST_PATH) || entries(value).any(calls)
            };
            let needs = app.metadata.annotations.iter().flatten().any(|(_, value)| uses(value));
            needs && key.namespace == route.namespace && outpost_ingress_name(&key.name) == *route.name
        })
    };
    for (key, route) in cluster.our_routes() {
        prop_assert!(needs_route(key), "{key} is left: {route:?}");
    }
    let used: BTreeSet<_> = cluster.ingresses.values().flat_map(backends).collect();
    for (key, service) in cluster.services.iter().filter(|(_, service)| is_ours(&service.metadata)) {
        prop_assert!(used.contains(key), "Service {key} is left: {service:?}");
    }
    let named: BTreeSet<_> =
        cluster.written.values().flat_map(|app| app.metadata.annotations.iter().flatten()).collect();
    for key in cluster.config_maps.keys() {
        let is_named = named.iter().any(|(_, value)| **value == key.to_string());
        prop_assert!(is_named, "ConfigMap {key} is left");
    }
    for (key, _) in cluster.middlewares.iter().filter(|(_, object)| is_ours(&object.metadata)) {
        let is_called = named.iter().any(|(_, list)| {
            entries(list).any(|entry| own_middleware_in(&key.namespace, entry) == Some(&*key.name))
        });
        prop_assert!(is_called, "Middleware {key} is left");
    }
    Ok(())
}

/// The annotations of ingress-nginx that protect `app`, whoever put them there: on a copy of it they are its maker's.
fn injected(app: &Ingress) -> BTreeMap<String, String> {
    let mut annotations = app.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key.starts_with("nginx.ingress.kubernetes.io/auth-"));
    annotations
}

/// The Services that `ingress` leads to.
fn backends(ingress: &Ingress) -> Vec<ObjectKey> {
    let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    let names = paths.filter_map(|path| Some(path.backend.service.as_ref()?.name.clone()));
    names.map(|name| ObjectKey::new(namespace.as_str(), name)).collect()
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(crate) fn fail(reason: impl Display) -> TestCaseError {
    TestCaseError::fail(format!("{reason}"))
}

/// Whether the owner of `app` asks for protection, in whatever words.
pub(crate) fn is_opted_in(app: &Ingress) -> bool {
    annotation(app, OPT_IN).is_some_and(|value| value != "false")
}

/// The value of an annotation.
pub(crate) fn annotation<'a>(app: &'a Ingress, name: &str) -> Option<&'a str> {
    app.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
