//! A model of claims: small worlds, in which everything that users, the controller and the API server can do is tried in every
//! order, with events that come late and a controller that crashes.
//!
//! The index, the plans and the changes are those of the program (`src/index`, `src/plan`), the API server is the one of
//! `tests/properties`; only what sends the changes is played, in `tests/model/moment.rs`, as `src/controller` does it. The model
//! of who of several replicas may send them is in `src/lease/model.rs`.
//!
//! At every moment: no write of the controller changes what is a user's; none takes the route from an app that asks for protection
//! and has its visitors sent there, but for one that became another while the write was under way; and `Protected` is said of no
//! app of which the controller knows that it is not. Where nothing happens any more: the index wants nothing, a restart would write
//! nothing, no host is routed twice or to elsewhere, every app is told what has become of it, and what failed does not fail for ever.
//!
//! Left out are times (a wait is never long, and a key that failed may be tried again at any moment), the requests of one stage in
//! any order but their own, and the loss of a `ConfigMap` of headers, by whose times the index decides.

#![allow(
    clippy::expect_used,
    reason = "what a world is made of is fixed text, and a mistake in it should end the test"
)]

#[path = "properties/cluster.rs"]
#[allow(dead_code, reason = "worlds of apps on one data plane need no more of it")]
mod cluster;
#[path = "properties/controller.rs"]
#[allow(dead_code, reason = "the moments have a controller of their own, which does one thing at a time")]
mod controller;
#[path = "model/deed.rs"]
mod deed;
#[path = "model/essence.rs"]
mod essence;
#[path = "model/moment.rs"]
mod moment;
#[path = "properties/ownership.rs"]
#[allow(dead_code, reason = "that is the smaller part of it")]
mod ownership;
#[path = "properties/world.rs"]
#[allow(dead_code, reason = "these worlds have no dice")]
mod world;

use anyhow::{Result, ensure};
use cluster::Cluster;
use deed::{App, Deed};
use moment::{Event, Moment};
use stateright::{Checker, Expectation, Model, Property};
use std::num::NonZeroUsize;
use std::time::Instant;

/// A small world.
struct World {
    apps: &'static [App],
    /// What users may do, each as often as there are deeds left.
    deeds: &'static [Deed],
    /// Whether the admission webhook tolerates one route for a host only.
    has_webhook: bool,
    /// How many deeds there may be, and how many crashes.
    deeds_left: u8,
    crashes_left: u8,
    /// How many keys the controller works on at once.
    concurrency: usize,
}

impl Model for World {
    type State = Moment;
    type Action = Event;

    fn init_states(&self) -> Vec<Moment> {
        let cluster = if self.has_webhook { Cluster::with_webhook() } else { Cluster::default() };
        vec![Moment::settled(cluster, self.apps, self.deeds_left, self.crashes_left)]
    }

    fn actions(&self, moment: &Moment, events: &mut Vec<Event>) {
        events.extend(moment.events(self.deeds, self.concurrency));
    }

    fn next_state(&self, moment: &Moment, event: Event) -> Option<Moment> {
        let mut next = moment.clone();
        next.happen(&event);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("right", |_, moment: &Moment| moment.wrong().is_none()),
            // Or the world is not what it is taken for.
            Property::sometimes("quiet in the end", |world: &Self, moment: &Moment| {
                moment.is_quiet() && moment.deeds < world.deeds_left
            }),
        ]
    }
}

/// Tries everything; how much that was goes to the test's output.
fn check(name: &str, world: World) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let start = Instant::now();
    let checker = world.checker().threads(threads).spawn_bfs().join();
    eprintln!(
        "{name}: {} moments, {} ways to get there, {} events deep, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed()
    );
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        if property.expectation == Expectation::Sometimes {
            ensure!(found.is_some(), "{name}: never {}", property.name);
        } else if let Some(path) = found {
            let wrong = path.last_state().wrong().unwrap_or_default();
            let events: Vec<String> = path.into_actions().iter().map(Event::to_string).collect();
            anyhow::bail!("{name}: {wrong}, after\n{}", events.join("\n"));
        }
    }
    Ok(())
}

/// As many more deeds than usual.
fn more() -> u8 {
    std::env::var("DEPTH").ok().and_then(|more| more.parse().ok()).unwrap_or_default()
}

const ONE: &[App] = &[App::on("a.example.com")];
const OLD_AND_NEW: &[App] = &[App::on("a.example.com"), App::on("a.example.com").off()];
const TWO: &[App] = &[App::on("a.example.com"), App::on("a.example.com")];
const THREE: &[App] = &[App::on("a.example.com"), App::on("a.example.com"), App::on("a.example.com")];

/// Everything, to two apps.
const ANY: &[Deed] = &[
    Deed::Put(0, App::on("a.example.com")),
    Deed::Put(0, App::on("b.example.com")),
    Deed::Put(0, App::on("a.example.com").off()),
    Deed::Put(0, App::on("a.example.com").behind("beta")),
    Deed::Put(1, App::on("b.example.com")),
    Deed::Put(1, App::on("a.example.com").off()),
    Deed::Put(1, App::on("a.example.com").behind("beta")),
    Deed::Delete(0),
    Deed::Delete(1),
    Deed::DeleteRoute(0),
    Deed::EditRoute(0),
    Deed::DeleteService,
];

/// What takes the route from an app and leaves it to another.
const SUCCESSION: &[Deed] =
    &[Deed::Put(0, App::on("b.example.com")), Deed::Put(0, App::on("a.example.com").off()), Deed::Delete(0)];

/// The one leaves its route to the other, which goes before it has one of its own.
const PARTING: &[Deed] = &[Deed::Put(0, App::on("b.example.com")), Deed::Delete(1)];

/// An app that opts out or moves, while somebody is at its route.
const WAVERING: &[Deed] = &[
    Deed::Put(0, App::on("a.example.com").off()),
    Deed::Put(0, App::on("b.example.com")),
    Deed::ReplaceRoute(0),
];

/// One that joins another, whose route somebody deletes.
const JOINING: &[Deed] = &[Deed::Put(1, App::on("a.example.com")), Deed::DeleteRoute(0)];

/// The one goes and comes back before its route is collected.
const RETURNING: &[Deed] = &[Deed::Delete(0), Deed::Put(0, App::on("a.example.com"))];

/// An app that makes a mistake, while somebody is at its route.
const MISTAKEN: &[Deed] = &[
    Deed::Put(0, App::on("a.example.com").refused()),
    Deed::Put(0, App::on("a.example.com")),
    Deed::TurnRoute(0),
    Deed::EditRoute(0),
];

impl World {
    /// Two apps on a host, to which users do one thing, or as many more as `DEPTH` says.
    ///
    /// With more, the controller works on one key at a time. Two can cross where an app moves and comes back at once: a request
    /// that narrows its route is under way while the other app, which sees the route as it was, gives up its own. That is made
    /// good with the answer to the first.
    fn of_two(has_webhook: bool) -> Self {
        let (apps, concurrency) = (TWO, if more() == 0 { 2 } else { 1 });
        Self { apps, deeds: ANY, has_webhook, deeds_left: 1 + more(), crashes_left: 1, concurrency }
    }
}

#[test]
fn two_apps_on_a_host() -> Result<()> {
    check("two apps on a host", World::of_two(false))
}

#[test]
fn two_apps_on_a_host_of_which_a_webhook_tolerates_one_route() -> Result<()> {
    check("two apps on a host, with a webhook", World::of_two(true))
}

#[test]
fn three_apps_that_succeed_each_other() -> Result<()> {
    let world = World { apps: THREE, deeds: SUCCESSION, crashes_left: 0, ..World::of_two(true) };
    check("three apps that succeed each other", world)
}

#[test]
fn two_apps_that_part() -> Result<()> {
    let world = World { deeds: PARTING, deeds_left: 2 + more(), crashes_left: 0, ..World::of_two(true) };
    check("two apps that part", world)
}

#[test]
fn one_app_that_wavers() -> Result<()> {
    let world = World {
        apps: ONE,
        deeds: WAVERING,
        deeds_left: 2 + more(),
        crashes_left: more(),
        concurrency: 1,
        ..World::of_two(false)
    };
    check("one app that wavers", world)
}

#[test]
fn one_of_two_apps_that_joins_the_other() -> Result<()> {
    let world = World { apps: OLD_AND_NEW, deeds: JOINING, deeds_left: 2 + more(), ..World::of_two(false) };
    check("one of two apps that joins the other", world)
}

#[test]
fn one_of_two_apps_that_goes_and_comes_back() -> Result<()> {
    let world = World {
        deeds: RETURNING,
        deeds_left: 2 + more(),
        crashes_left: 0,
        concurrency: 1,
        ..World::of_two(true)
    };
    check("one of two apps that goes and comes back", world)
}

#[test]
fn one_of_two_apps_that_is_refused() -> Result<()> {
    let world = World {
        deeds: MISTAKEN,
        deeds_left: 2 + more(),
        crashes_left: more(),
        concurrency: 1,
        ..World::of_two(false)
    };
    check("one of two apps that is refused", world)
}
