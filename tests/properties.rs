//! What holds in every world: whatever apps there are, whatever people do to them, in whatever order it is seen.

#![allow(
    clippy::expect_used,
    reason = "what a world is made of is fixed text, and a mistake in it should end the test"
)]

#[path = "properties/checks.rs"]
mod checks;
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

use checks::{check_middlewares, check_nothing_is_left, check_promises, check_routes, check_users_own, fail};
use cluster::{Cluster, Event};
use controller::{
    Controller, Dice, all_objects, complete, index_of, observe, observe_classes, plan_of, still_to_do,
};
use ingress_sso::config::Settings;
use ingress_sso::facts::ObjectKey;
use ingress_sso::index::{Index, Key, Source};
use ingress_sso::plan::changes::Kind;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use world::{OPT_IN, Step, any_settings, middleware_that_nobody_needs, settings, steps};

/// Random worlds show it once in some thousand.
#[test]
fn a_restart_makes_no_middleware_that_nobody_needs() -> Result<(), TestCaseError> {
    let (mut cluster, dice) = (Cluster::default(), Dice(0));
    let mut controller = Controller::start(&cluster, settings(), dice);
    for step in middleware_that_nobody_needs() {
        let events = step.carry_out(&mut cluster);
        controller.notice(events);
        settle(&mut controller, &mut cluster)?;
    }
    check_quiet(&cluster, &controller, dice)
}

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
