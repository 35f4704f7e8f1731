//! What holds in every world: whatever apps there are, whatever people do to them, in whatever order it is seen.

#![allow(
    clippy::expect_used,
    reason = "what a world is made of is fixed text, and a mistake in it should end the test"
)]

#[path = "properties/cluster.rs"]
mod cluster;
#[path = "properties/controller.rs"]
mod controller;
#[path = "properties/ownership.rs"]
mod ownership;
#[path = "specification/validators.rs"]
mod validators;
#[path = "properties/world.rs"]
mod world;

use cluster::{Cluster, Event, STATUS, places};
use controller::{
    CLASSES, Controller, Dice, all_objects, complete, index_of, observe, observe_classes, plan_of,
    still_to_do,
};
use ingress_sso::config::Settings;
use ingress_sso::contract::{
    Keys, MANAGER, OUTPOST_PATH, ROUTER_MIDDLEWARES, middleware_name, middleware_reference,
    outpost_ingress_name, own_middleware_in,
};
use ingress_sso::facts::{IngressFacts, MiddlewareFacts, ObjectKey};
use ingress_sso::index::{Index, Key, Source};
use ingress_sso::plan::changes::Kind;
use k8s_openapi::api::networking::v1::Ingress;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use validators::unacceptable_to_ingress_nginx;
use world::{OPT_IN, Step, any_settings, is_ours, ours, steps};

proptest! {
    // A failure prints the smallest world that shows it, which is worth more as a case of the specification.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_the_same_however_often_and_in_whatever_order_events_come(
        steps in steps(),
        settings in any_settings(),
        settled in any::<bool>(),
        dice in any::<u64>(),
    ) {
        let cluster = unsettled(&steps, &settings, settled, Dice(dice))?;
        let straight = index_of(settings.clone(), all_objects(&cluster));
        let again = index_of(settings.clone(), all_objects(&cluster));
        prop_assert_eq!(all_plans(&straight), all_plans(&again));
        let roundabout = index_by_detours(&cluster, settings, Dice(dice));
        prop_assert_eq!(all_plans(&straight), all_plans(&roundabout));
    }

    #[test]
    fn after_each_step_the_cluster_grows_quiet_and_a_restart_writes_nothing(
        steps in steps(),
        settings in any_settings(),
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::default();
        let mut controller = Controller::start(&cluster, settings.clone(), Dice(dice));
        for step in &steps {
            let events = step.carry_out(&mut cluster);
            controller.notice(events);
            settle(&mut controller, &mut cluster)?;
            check_quiet(&cluster, &controller, Dice(dice))?;
        }
    }

    #[test]
    fn steps_that_come_faster_than_the_controller_works_end_in_quiet_as_well(
        steps in steps(),
        settings in any_settings(),
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::default();
        let mut controller = Controller::start(&cluster, settings.clone(), Dice(dice));
        for step in &steps {
            let events = step.carry_out(&mut cluster);
            controller.notice(events);
        }
        settle(&mut controller, &mut cluster)?;
        check_quiet(&cluster, &controller, Dice(dice))?;
    }

    #[test]
    fn what_happens_while_the_controller_is_down_is_made_good_when_it_starts(
        before in steps(),
        meanwhile in steps(),
        settings in any_settings(),
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::default();
        for step in &before {
            step.carry_out(&mut cluster);
        }
        let mut first = Controller::start(&cluster, settings.clone(), Dice(dice));
        settle(&mut first, &mut cluster)?;
        for step in &meanwhile {
            step.carry_out(&mut cluster);
        }
        let mut second = Controller::start(&cluster, settings, Dice(dice));
        settle(&mut second, &mut cluster)?;
        check_quiet(&cluster, &second, Dice(dice))?;
    }

    #[test]
    fn under_an_admission_webhook_that_allows_one_route_the_cluster_grows_quiet_as_well(
        steps in steps(),
        settings in any_settings(),
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::with_webhook();
        // Routes made by hand beside ours are what such a webhook prevents.
        let steps = steps.iter().filter(|step| !matches!(step, Step::Make(_)));
        let mut controller = Controller::start(&cluster, settings.clone(), Dice(dice));
        for step in steps {
            let events = step.carry_out(&mut cluster);
            controller.notice(events);
            settle(&mut controller, &mut cluster)?;
        }
        check_quiet(&cluster, &controller, Dice(dice))?;
    }

    #[test]
    fn opting_everything_out_leads_back_to_what_users_wrote(
        steps in steps(),
        settings in any_settings(),
        by_annotation in any::<bool>(),
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::default();
        let mut controller = Controller::start(&cluster, settings.clone(), Dice(dice));
        for step in &steps {
            let events = step.carry_out(&mut cluster);
            controller.notice(events);
        }
        settle(&mut controller, &mut cluster)?;
        let apps: Vec<_> = cluster.written.values().cloned().collect();
        for mut app in apps {
            let events = if by_annotation {
                cluster.annotate(&ObjectKey::of(&app.metadata), OPT_IN, None)
            } else {
                app.metadata.annotations.get_or_insert_default().remove(OPT_IN);
                cluster.put(app)
            };
            controller.notice(events);
        }
        settle(&mut controller, &mut cluster)?;
        check_quiet(&cluster, &controller, Dice(dice))?;
        check_nothing_is_left(&cluster)?;
    }
}

/// A cluster in the middle of something.
fn unsettled(
    steps: &[Step],
    settings: &Settings,
    settled: bool,
    dice: Dice,
) -> Result<Cluster, TestCaseError> {
    let mut cluster = Cluster::default();
    let (before, after) = steps.split_at(if settled { steps.len() / 2 } else { 0 });
    for step in before {
        step.carry_out(&mut cluster);
    }
    if settled {
        let mut controller = Controller::start(&cluster, settings.clone(), dice);
        settle(&mut controller, &mut cluster)?;
    }
    for step in after {
        step.carry_out(&mut cluster);
    }
    Ok(cluster)
}

/// An index that has seen the objects of `cluster` in some order, earlier versions of them, and others that are gone.
fn index_by_detours(cluster: &Cluster, settings: Settings, mut dice: Dice) -> Index {
    let mut last = all_objects(cluster);
    dice.shuffle(&mut last);
    let mut events = Vec::new();
    for event in last {
        match dice.roll(4) {
            0 => events.extend([ghost(&event, "0"), event]),
            1 => events.extend([ghost(&event, "0"), gone(&event), event]),
            2 => events.extend([event.clone(), ghost(&event, "0")]),
            _ => events.push(event),
        }
    }
    // The controller reads meaning into a ConfigMap that goes and comes back, but only after its first list.
    let mut index = Index::new(Arc::new(settings));
    let mut lists = vec![Source::Ingresses, Source::Classes, Source::Services, Source::Outposts];
    for event in events {
        if dice.roll(3) == 0
            && let Some(source) = lists.pop()
        {
            index.complete(source);
        }
        observe(&mut index, event);
    }
    observe_classes(&mut index);
    complete(&mut index);
    index
}

/// The object of `event` as it may have been in an earlier version.
fn ghost(event: &Event, version: &str) -> Event {
    let mut ghost = event.clone();
    match &mut ghost {
        Event::Ingress(ingress) => {
            ingress.metadata.resource_version = Some(version.to_owned());
            ingress.metadata.annotations =
                Some(BTreeMap::from([("sso.djieno.com/authentik".to_owned(), "true".to_owned())]));
            for rule in ingress.spec.iter_mut().flat_map(|spec| spec.rules.iter_mut().flatten()) {
                rule.host = Some("a.example.com".to_owned());
            }
        }
        Event::Service(service) => {
            service.metadata.resource_version = Some(version.to_owned());
            service.spec = None;
        }
        Event::ConfigMap(config_map) => {
            config_map.metadata.resource_version = Some(version.to_owned());
            config_map.data = None;
        }
        Event::Middleware(middleware) => {
            middleware.metadata.resource_version = Some(version.to_owned());
            middleware.spec.forward_auth = None;
        }
        Event::MiddlewareKind(_) | Event::Gone(..) => {}
    }
    ghost
}

/// The end of the object of `event`.
fn gone(event: &Event) -> Event {
    let (kind, metadata) = match event {
        Event::Ingress(object) => (Kind::Ingress, &object.metadata),
        Event::Service(object) => (Kind::Service, &object.metadata),
        Event::ConfigMap(object) => (Kind::ConfigMap, &object.metadata),
        Event::Middleware(object) => (Kind::Middleware, &object.metadata),
        Event::MiddlewareKind(is_known) => return Event::MiddlewareKind(*is_known),
        Event::Gone(kind, key, uid) => return Event::Gone(*kind, key.clone(), uid.clone()),
    };
    Event::Gone(kind, ObjectKey::of(metadata), metadata.uid.clone().unwrap_or_default())
}

/// Every plan of `index`, as text by key.
fn all_plans(index: &Index) -> BTreeMap<Key, String> {
    let keys = index.all_keys().into_iter();
    keys.map(|key| {
        let plan = match &key {
            Key::App(app) => format!("{:#?}", plan_of(index, app, true)),
            shared => format!("{:#?}", index.plan_shared(shared)),
        };
        (key, plan)
    })
    .collect()
}

fn settle(controller: &mut Controller, cluster: &mut Cluster) -> Result<(), TestCaseError> {
    controller.settle(cluster).map_err(fail)
}

/// All that has to hold when nothing happens.
fn check_quiet(cluster: &Cluster, controller: &Controller, mut dice: Dice) -> Result<(), TestCaseError> {
    let nothing = Vec::<String>::new();
    prop_assert_eq!(still_to_do(&controller.index), nothing.clone(), "nobody was told to look at this");
    let mut events = all_objects(cluster);
    dice.shuffle(&mut events);
    let settings = controller.index.settings().as_ref().clone();
    let restarted = index_of(settings.clone(), events);
    prop_assert_eq!(still_to_do(&restarted), nothing, "a restart writes this");
    check_users_own(cluster)?;
    check_routes(cluster)?;
    check_middlewares(cluster)?;
    check_promises(cluster, &settings)
}

/// Nothing that a user wrote is changed or removed, and nothing but ours is added.
fn check_users_own(cluster: &Cluster) -> Result<(), TestCaseError> {
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
fn entries_of_users(namespace: &str, list: &str) -> Vec<String> {
    let theirs = entries(list).filter(|entry| own_middleware_in(namespace, entry).is_none());
    theirs.map(str::to_owned).collect()
}

/// Whoever asks for protection and is sent through a Middleware of ours would get nothing but errors without it.
fn check_middlewares(cluster: &Cluster) -> Result<(), TestCaseError> {
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
fn check_routes(cluster: &Cluster) -> Result<(), TestCaseError> {
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

/// Who is called protected is protected: the route stands, what it leads through too, and the annotations are in.
fn check_promises(cluster: &Cluster, settings: &Settings) -> Result<(), TestCaseError> {
    for (key, app) in &cluster.ingresses {
        let annotations = app.metadata.annotations.clone().unwrap_or_default();
        let is_opted_in = annotations.get(OPT_IN).is_some_and(|value| value != "false");
        let Some(status) = annotations.get(STATUS[0]).filter(|_| is_opted_in) else {
            prop_assert!(!is_opted_in, "{key} has no status");
            continue;
        };
        prop_assert_ne!(
            status.as_str(),
            "Pending",
            "{} waits for nobody: {:?}",
            key,
            annotations.get(STATUS[1])
        );
        if status != "Protected" {
            continue;
        }
        let facts = IngressFacts::extract(app, &settings.keys).map_err(fail)?;
        let class = CLASSES.into_iter().find(|(name, _)| Some(*name) == facts.class.name());
        let (class, controller) = class.ok_or_else(|| fail(format!("{key} is of no known class")))?;
        let outpost = annotations.get("sso.djieno.com/outpost").map_or("alpha", String::as_str);
        let direct = format!("{}{OUTPOST_PATH}/auth/traefik", settings.outposts[outpost]);
        match controller {
            "traefik.io/ingress-controller" => {
                check_protected_by_middleware(cluster, settings, &facts, &annotations, outpost, &direct)?;
            }
            "rke2.cattle.io/ingress-nginx-migration" => {
                let auth_url = annotations.get("nginx.ingress.kubernetes.io/auth-url");
                prop_assert_eq!(auth_url, Some(&direct), "{}", key);
                let headers = annotations.get("nginx.ingress.kubernetes.io/auth-response-headers");
                prop_assert!(
                    headers.is_some_and(|list| list.contains("X-authentik-jwt")),
                    "{key}: {headers:?}"
                );
            }
            _ => {
                let problems = unacceptable_to_ingress_nginx(&injected(app));
                prop_assert!(problems.is_empty(), "{key}: {problems:?}");
                let urls =
                    ["auth-url", "auth-signin"].map(|name| format!("nginx.ingress.kubernetes.io/{name}"));
                prop_assert!(urls.iter().all(|key| annotations.contains_key(key)), "{key}: {annotations:?}");
                let headers = &annotations["nginx.ingress.kubernetes.io/auth-proxy-set-headers"];
                let has_headers = cluster.config_maps.keys().any(|key| key.to_string() == *headers);
                prop_assert!(has_headers, "{key} is protected without {headers}");
            }
        }
        let has_route = class != "traefik" || settings.traefik.allows_external_name;
        for host in facts.hosts.iter().filter(|_| has_route) {
            let serves = |route: &&Ingress| {
                places(route).iter().any(|(class, at, path)| {
                    Some(class.as_str()) == facts.class.name() && at == host.as_str() && path == OUTPOST_PATH
                })
            };
            // Beside a route that stands, somebody may make another that leads nowhere: the older one is in force.
            let leads = |route: &Ingress| {
                backends(route).iter().all(|backend| cluster.services.contains_key(backend))
            };
            let stands = cluster.ingresses.values().filter(serves).any(leads);
            prop_assert!(stands, "{key} is protected without a route on {host} that leads somewhere");
        }
    }
    Ok(())
}

/// Our Middleware is the first in the list, it exists, it asks the outpost and does nothing else, and Traefik cannot take
/// another for it.
fn check_protected_by_middleware(
    cluster: &Cluster,
    settings: &Settings,
    app: &IngressFacts,
    annotations: &BTreeMap<String, String>,
    outpost: &str,
    address: &str,
) -> Result<(), TestCaseError> {
    let (namespace, name) = (&app.key.namespace, middleware_name(&app.key.namespace, outpost));
    let reference = middleware_reference(namespace, &name, settings.traefik.safe_naming);
    let list = annotations.get(ROUTER_MIDDLEWARES).map(String::as_str).unwrap_or_default();
    prop_assert_eq!(entries(list).next(), Some(reference.as_str()), "{}", app.key);
    let key = ObjectKey::new(namespace.clone(), name);
    let middleware = cluster.middlewares.get(&key);
    let Some(middleware) = middleware else {
        return Err(fail(format!("{} is protected without {key}", app.key)));
    };
    prop_assert!(middleware.spec.others.is_empty(), "{} does more: {:?}", key, middleware.spec.others);
    let auth = middleware.spec.forward_auth.clone().unwrap_or_default();
    prop_assert_eq!(auth.address, address);
    prop_assert!(auth.others.is_empty(), "{key}: {:?}", auth.others);
    prop_assert_eq!(auth.trust_forward_header, Some(false));
    let called = |key| MiddlewareFacts::spelling(key);
    let twin = cluster.middlewares.keys().find(|other| **other != key && called(other) == called(&key));
    prop_assert_eq!(twin.filter(|_| !settings.traefik.safe_naming), None, "Traefik takes either for {}", key);
    Ok(())
}

/// Nothing of ours is left but what somebody else's object still needs.
fn check_nothing_is_left(cluster: &Cluster) -> Result<(), TestCaseError> {
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
fn fail(reason: impl Display) -> TestCaseError {
    TestCaseError::fail(format!("{reason}"))
}
