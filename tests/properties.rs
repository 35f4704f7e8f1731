//! What holds in every world: whatever apps there are, whatever people do to them, in whatever order it is seen.

#![allow(
    clippy::expect_used,
    reason = "what a world is made of is fixed text, and a mistake in it should end the test"
)]

#[path = "properties/cluster.rs"]
mod cluster;
#[path = "properties/controller.rs"]
mod controller;
#[path = "specification/validators.rs"]
mod validators;
#[path = "properties/world.rs"]
mod world;

use cluster::{Cluster, Event, places};
use controller::{Controller, Dice, all_objects, index_of, observe, plan_of, still_to_do};
use ingress_sso::commands::render_text;
use ingress_sso::contract::{OUTPOST_PATH, outpost_ingress_name};
use ingress_sso::facts::{IngressFacts, ObjectKey};
use ingress_sso::index::{Index, Key, Source};
use ingress_sso::plan::Decision;
use ingress_sso::plan::changes::Kind;
use ingress_sso_testbed::builders::{ingress, ingress_class};
use k8s_openapi::api::networking::v1::Ingress;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use validators::unacceptable_to_ingress_nginx;
use world::{Step, is_ours, ours, settings, steps};

/// Annotations that only the controller may write.
const STATUS: [&str; 3] = ["sso.djieno.com/status", "sso.djieno.com/message", "sso.djieno.com/headers-uid"];

proptest! {
    // A failure prints the smallest world that shows it, which is worth more as a case of the specification.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_the_same_however_often_and_in_whatever_order_events_come(
        steps in steps(),
        settled in any::<bool>(),
        dice in any::<u64>(),
    ) {
        let cluster = unsettled(&steps, settled, Dice(dice))?;
        let straight = index_of(settings(), all_objects(&cluster));
        let again = index_of(settings(), all_objects(&cluster));
        prop_assert_eq!(all_plans(&straight), all_plans(&again));
        let roundabout = index_by_detours(&cluster, Dice(dice));
        prop_assert_eq!(all_plans(&straight), all_plans(&roundabout));
    }

    #[test]
    fn after_each_step_the_cluster_grows_quiet_and_a_restart_writes_nothing(
        steps in steps(),
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::default();
        let mut controller = Controller::start(&cluster, settings(), Dice(dice));
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
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::default();
        let mut controller = Controller::start(&cluster, settings(), Dice(dice));
        for step in &steps {
            let events = step.carry_out(&mut cluster);
            controller.notice(events);
        }
        settle(&mut controller, &mut cluster)?;
        check_quiet(&cluster, &controller, Dice(dice))?;
    }

    #[test]
    fn under_an_admission_webhook_that_allows_one_route_the_cluster_grows_quiet_as_well(
        steps in steps(),
        dice in any::<u64>(),
    ) {
        let mut cluster = Cluster::with_webhook();
        // Routes made by hand beside ours are what such a webhook prevents.
        let steps = steps.iter().filter(|step| !matches!(step, Step::Make(_)));
        let mut controller = Controller::start(&cluster, settings(), Dice(dice));
        for step in steps {
            let events = step.carry_out(&mut cluster);
            controller.notice(events);
            settle(&mut controller, &mut cluster)?;
        }
        check_quiet(&cluster, &controller, Dice(dice))?;
    }

    #[test]
    fn opting_everything_out_leads_back_to_what_users_wrote(steps in steps(), dice in any::<u64>()) {
        let mut cluster = Cluster::default();
        let mut controller = Controller::start(&cluster, settings(), Dice(dice));
        for step in &steps {
            let events = step.carry_out(&mut cluster);
            controller.notice(events);
        }
        settle(&mut controller, &mut cluster)?;
        let apps: Vec<_> = cluster.written.values().cloned().collect();
        for mut app in apps {
            app.metadata.annotations.get_or_insert_default().remove("sso.djieno.com/authentik");
            let events = cluster.put(app);
            controller.notice(events);
        }
        settle(&mut controller, &mut cluster)?;
        check_quiet(&cluster, &controller, Dice(dice))?;
        check_nothing_is_left(&cluster)?;
    }

    #[test]
    fn hostile_words_reach_no_annotation(words in hostile_ingress()) {
        check_hostile(&words.ingress("default", "app"))?;
    }

    #[test]
    fn hostile_names_reach_no_annotation(namespace in hostile(), name in hostile()) {
        let plain = HostileIngress::default();
        check_hostile(&plain.ingress(&namespace, &name))?;
    }

    #[test]
    fn render_survives_hostile_words(words in hostile_ingress(), name in hostile(), namespace in hostile()) {
        let yaml = serde_saphyr::to_string(&words.ingress(&namespace, &name)).map_err(fail)?;
        _ = render_text(&yaml, settings(), None);
    }

    #[test]
    fn render_survives_any_text(text in any::<String>(), cut in 0..400_usize) {
        _ = render_text(&text, settings(), None);
        let yaml = serde_saphyr::to_string(&HostileIngress::default().ingress("default", "app")).map_err(fail)?;
        let broken: String = yaml.chars().take(cut).chain(text.chars()).collect();
        _ = render_text(&broken, settings(), Some("default"));
    }
}

/// A cluster in the middle of something.
fn unsettled(steps: &[Step], settled: bool, dice: Dice) -> Result<Cluster, TestCaseError> {
    let mut cluster = Cluster::default();
    let (before, after) = steps.split_at(if settled { steps.len() / 2 } else { 0 });
    for step in before {
        step.carry_out(&mut cluster);
    }
    if settled {
        let mut controller = Controller::start(&cluster, settings(), dice);
        settle(&mut controller, &mut cluster)?;
    }
    for step in after {
        step.carry_out(&mut cluster);
    }
    Ok(cluster)
}

/// An index that has seen the objects of `cluster` in some order, earlier versions of them, and others that are gone.
fn index_by_detours(cluster: &Cluster, mut dice: Dice) -> Index {
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
    let mut index = Index::new(Arc::new(settings()));
    let mut lists = vec![Source::Ingresses, Source::Classes, Source::Services, Source::Outposts];
    for event in events {
        if dice.roll(3) == 0
            && let Some(source) = lists.pop()
        {
            index.complete(source);
        }
        observe(&mut index, event);
    }
    for class in controller::CLASSES {
        let class = ingress_class(class, "k8s.io/ingress-nginx");
        index.observe_class(ingress_sso::facts::IngressClassFacts::extract(&class));
    }
    for source in Source::ALL {
        index.complete(source);
    }
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
        Event::Gone(..) => {}
    }
    ghost
}

/// The end of the object of `event`.
fn gone(event: &Event) -> Event {
    let (kind, metadata) = match event {
        Event::Ingress(object) => (Kind::Ingress, &object.metadata),
        Event::Service(object) => (Kind::Service, &object.metadata),
        Event::ConfigMap(object) => (Kind::ConfigMap, &object.metadata),
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
    let restarted = index_of(settings(), events);
    prop_assert_eq!(still_to_do(&restarted), nothing, "a restart writes this");
    check_users_own(cluster)?;
    check_routes(cluster)?;
    check_promises(cluster)
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
        let owned = ours(&found.metadata);
        let theirs = written.metadata.annotations.clone().unwrap_or_default();
        let found = found.metadata.annotations.clone().unwrap_or_default();
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
    Ok(())
}

/// At most one route of ours for each class and host.
fn check_routes(cluster: &Cluster) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for route in cluster.ingresses.values().filter(|ingress| is_ours(&ingress.metadata)) {
        for place in places(route) {
            prop_assert!(!seen.contains(&place), "{place:?} is routed twice");
            seen.insert(place);
        }
    }
    Ok(())
}

/// Who is called protected is protected: the route stands, what it leads through too, and the annotations are in.
fn check_promises(cluster: &Cluster) -> Result<(), TestCaseError> {
    for (key, app) in &cluster.ingresses {
        let annotations = app.metadata.annotations.clone().unwrap_or_default();
        let is_opted_in = annotations.get("sso.djieno.com/authentik").is_some_and(|value| value != "false");
        let Some(status) = annotations.get(STATUS[0]).filter(|_| is_opted_in) else {
            prop_assert!(!is_opted_in, "{key} has no status");
            continue;
        };
        if status != "Protected" {
            continue;
        }
        let problems = unacceptable_to_ingress_nginx(&injected(app));
        prop_assert!(problems.is_empty(), "{key}: {problems:?}");
        let headers = &annotations["nginx.ingress.kubernetes.io/auth-proxy-set-headers"];
        let has_headers = cluster.config_maps.keys().any(|key| key.to_string() == *headers);
        prop_assert!(has_headers, "{key} is protected without {headers}");
        let facts = IngressFacts::extract(app, &settings().keys).map_err(fail)?;
        for host in &facts.hosts {
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

/// Nothing of ours is left but what somebody else's object still needs.
fn check_nothing_is_left(cluster: &Cluster) -> Result<(), TestCaseError> {
    for (key, written) in &cluster.written {
        let mut found = cluster.ingresses[key].clone();
        let stamp = &mut found.metadata;
        prop_assert!(ours(stamp).is_empty(), "{key} still has annotations of ours");
        stamp.managed_fields = None;
        (stamp.uid, stamp.resource_version) = Default::default();
        stamp.annotations = stamp.annotations.take().filter(|all| !all.is_empty());
        let mut written = written.clone();
        written.metadata.annotations = written.metadata.annotations.take().filter(|all| !all.is_empty());
        prop_assert_eq!(found, written);
    }
    let needs_route = |route: &ObjectKey| {
        cluster.written.values().any(|app| {
            let key = ObjectKey::of(&app.metadata);
            let needs =
                app.metadata.annotations.iter().flatten().any(|(_, value)| value.contains(OUTPOST_PATH));
            needs && key.namespace == route.namespace && outpost_ingress_name(&key.name) == *route.name
        })
    };
    for (key, route) in cluster.ingresses.iter().filter(|(_, ingress)| is_ours(&ingress.metadata)) {
        prop_assert!(needs_route(key), "{key} is left: {route:?}");
    }
    let used: BTreeSet<_> = cluster.ingresses.values().flat_map(backends).collect();
    for (key, service) in cluster.services.iter().filter(|(_, service)| is_ours(&service.metadata)) {
        prop_assert!(used.contains(key), "Service {key} is left: {service:?}");
    }
    prop_assert!(cluster.config_maps.is_empty(), "ConfigMaps are left: {:?}", cluster.config_maps.keys());
    Ok(())
}

/// The annotations of ingress-nginx that the controller put on `app`.
fn injected(app: &Ingress) -> BTreeMap<String, String> {
    let owned = ours(&app.metadata);
    let annotations = app.metadata.annotations.clone().unwrap_or_default();
    annotations.into_iter().filter(|(key, _)| owned.contains(key)).collect()
}

/// The Services that `ingress` leads to.
fn backends(ingress: &Ingress) -> Vec<ObjectKey> {
    let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    let names = paths.filter_map(|path| Some(path.backend.service.as_ref()?.name.clone()));
    names.map(|name| ObjectKey::new(namespace.as_str(), name)).collect()
}

/// Words that an owner of an Ingress may put where the controller reads.
#[derive(Clone, Debug, Default)]
struct HostileIngress {
    hosts: Vec<String>,
    path: Option<String>,
    annotations: Vec<(&'static str, String)>,
}

impl HostileIngress {
    fn ingress(&self, namespace: &str, name: &str) -> Ingress {
        let builder = ingress(namespace, name)
            .host("a.example.com")
            .hosts(&self.hosts)
            .annotation("sso.djieno.com/authentik", "true");
        let builder =
            self.path.iter().fold(builder, |builder, path| builder.path(path, "ImplementationSpecific"));
        let annotations = self.annotations.iter();
        annotations.fold(builder, |builder, (key, value)| builder.annotation(key, value)).build()
    }
}

/// Text that means something to YAML, nginx or a shell, and some that means nothing.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        r#"[\r\n"'`$;{}#%\\ a-z0-9.*/:-]{0,30}"#,
        any::<String>(),
        Just("a.example.com\"; return 200; #".to_owned()),
        Just("a.example.com\nb".to_owned()),
        Just("$http_x.example.com".to_owned()),
    ]
}

fn hostile_ingress() -> impl Strategy<Value = HostileIngress> {
    let keys = prop::sample::select(vec![
        "sso.djieno.com/authentik",
        "sso.djieno.com/outpost",
        "sso.djieno.com/auth-route",
        "sso.djieno.com/scheme",
        "sso.djieno.com/status",
        "sso.djieno.com/headers-uid",
        "kubernetes.io/ingress.class",
        "nginx.ingress.kubernetes.io/auth-url",
        "nginx.ingress.kubernetes.io/proxy-buffer-size",
        "nginx.ingress.kubernetes.io/custom-http-errors",
    ]);
    let path = prop::option::of(hostile());
    (vec(hostile(), 0..2), path, vec((keys, hostile()), 0..3))
        .prop_map(|(hosts, path, annotations)| HostileIngress { hosts, path, annotations })
}

/// Whatever `app` holds, what the controller would write on it is what ingress-nginx takes.
fn check_hostile(app: &Ingress) -> Result<(), TestCaseError> {
    let index = index_of(settings(), [Event::Ingress(Box::new(app.clone()))]);
    if let (Decision::Protect(protection), _) = plan_of(&index, &ObjectKey::of(&app.metadata), true) {
        // What is the user's own already is no news to him.
        let users = app.metadata.annotations.clone().unwrap_or_default();
        let mut injected = protection.annotations;
        injected.retain(|key, value| users.get(key) != Some(value));
        let problems: Vec<_> = unacceptable_to_ingress_nginx(&injected);
        prop_assert!(problems.is_empty(), "{problems:?}");
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn fail(reason: impl Display) -> TestCaseError {
    TestCaseError::fail(format!("{reason}"))
}
