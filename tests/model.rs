//! A model of claims: small worlds, in which everything that users, the controller and the API server can do is tried in every
//! order, with events that come late and a controller that crashes.
//!
//! The index, the plans and the changes are those of the program (`src/index`, `src/plan`), the API server is the one of
//! `tests/properties`; only what sends the changes is played, in `tests/model/run.rs`, as `src/controller` does it. The model
//! of who of several replicas may send them is in `src/lease/model`.
//!
//! In every state: no write of the controller changes what is a user's; none takes the route from an app that asks for protection
//! and has its visitors sent there, but for one that became another while the write was under way; and `Protected` is said of no
//! app of which the controller knows that it is not. Where nothing happens any more: the index wants nothing, a restart would write
//! nothing, no host is routed twice or to elsewhere, every app is told what has become of it, and what failed does not fail for ever.
//!
//! Left out are times (a wait is never long, and a key that failed may be tried again at any time), the requests of one stage in
//! any order but their own, and the loss of a `ConfigMap` of headers, by whose times the index decides.

#![allow(
    clippy::expect_used,
    reason = "what a world is made of is fixed text, and a mistake in it should end the test"
)]

#[path = "properties/cluster.rs"]
#[allow(dead_code, reason = "worlds of apps on one data plane need no more of it")]
mod cluster;
#[path = "properties/controller.rs"]
#[allow(dead_code, reason = "the states have a controller of their own, which does one thing at a time")]
mod controller;
#[path = "properties/ownership.rs"]
#[allow(dead_code, reason = "that is the smaller part of it")]
mod ownership;
#[path = "model/state.rs"]
mod state;
#[path = "model/user_action.rs"]
mod user_action;
#[path = "properties/world.rs"]
#[allow(dead_code, reason = "these worlds have no dice")]
mod world;

use anyhow::Result;
use cluster::Cluster;
use ingress_sso_testbed::environment::number;
use ingress_sso_testbed::model::explore;
use state::{Action, State};
use stateright::{Model, Property};
use user_action::{App, UserAction};

/// A small world.
struct World {
    apps: &'static [App],
    /// What users may do, as often as there are user actions left.
    user_actions: &'static [UserAction],
    /// Whether the admission webhook tolerates one route for a host only.
    has_webhook: bool,
    /// How much of that there may be, and how many crashes.
    user_actions_left: u8,
    crashes_left: u8,
    /// How many keys the controller works on at once.
    concurrency: usize,
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let cluster = if self.has_webhook { Cluster::with_webhook() } else { Cluster::default() };
        vec![State::settled(cluster, self.apps, self.user_actions_left, self.crashes_left)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.actions(self.user_actions, self.concurrency));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.happen(&action);
        Some(next)
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("right", |_, state: &State| state.wrong().is_none()),
            // Or the world is not what it is taken for.
            Property::sometimes("quiet in the end", |world: &Self, state: &State| {
                state.is_quiet() && state.user_actions_left < world.user_actions_left
            }),
        ]
    }
}

/// Tries everything.
fn check(name: &str, world: World) -> Result<()> {
    explore(name, world, State::wrong)
}

/// How much more users may do than they usually do.
fn more() -> Result<u8> {
    number("DEPTH", 0)
}

const ONE: &[App] = &[App::on("a.example.com")];
const OLD_AND_NEW: &[App] = &[App::on("a.example.com"), App::on("a.example.com").off()];
const TWO: &[App] = &[App::on("a.example.com"), App::on("a.example.com")];
const THREE: &[App] = &[App::on("a.example.com"), App::on("a.example.com"), App::on("a.example.com")];

/// Everything, to two apps.
const ANY: &[UserAction] = &[
    UserAction::Put(0, App::on("a.example.com")),
    UserAction::Put(0, App::on("b.example.com")),
    UserAction::Put(0, App::on("a.example.com").off()),
    UserAction::Put(0, App::on("a.example.com").behind("beta")),
    UserAction::Put(1, App::on("b.example.com")),
    UserAction::Put(1, App::on("a.example.com").off()),
    UserAction::Put(1, App::on("a.example.com").behind("beta")),
    UserAction::Delete(0),
    UserAction::Delete(1),
    UserAction::DeleteRoute(0),
    UserAction::EditRoute(0),
    UserAction::DeleteService,
];

/// What takes the route from an app and leaves it to another.
const SUCCESSION: &[UserAction] = &[
    UserAction::Put(0, App::on("b.example.com")),
    UserAction::Put(0, App::on("a.example.com").off()),
    UserAction::Delete(0),
];

/// The one leaves its route to the other, which goes before it has one of its own.
const PARTING: &[UserAction] = &[UserAction::Put(0, App::on("b.example.com")), UserAction::Delete(1)];

/// An app that opts out or moves, while somebody is at its route.
const WAVERING: &[UserAction] = &[
    UserAction::Put(0, App::on("a.example.com").off()),
    UserAction::Put(0, App::on("b.example.com")),
    UserAction::ReplaceRoute(0),
];

/// One that joins another, whose route somebody deletes.
const JOINING: &[UserAction] = &[UserAction::Put(1, App::on("a.example.com")), UserAction::DeleteRoute(0)];

/// The one goes and comes back before its route is collected.
const RETURNING: &[UserAction] = &[UserAction::Delete(0), UserAction::Put(0, App::on("a.example.com"))];

/// An app that makes a mistake, while somebody is at its route.
const MISTAKEN: &[UserAction] = &[
    UserAction::Put(0, App::on("a.example.com").refused()),
    UserAction::Put(0, App::on("a.example.com")),
    UserAction::TurnRoute(0),
    UserAction::EditRoute(0),
];

impl World {
    /// Two apps on a host, to which users do one thing, or as many more as `DEPTH` says.
    ///
    /// With more, the controller works on one key at a time. Two can cross where an app moves and comes back at once: a request
    /// that narrows its route is under way while the other app, which sees the route as it was, gives up its own. That is made
    /// good with the answer to the first.
    fn of_two(has_webhook: bool) -> Result<Self> {
        let (apps, more) = (TWO, more()?);
        let concurrency = if more == 0 { 2 } else { 1 };
        let user_actions_left = 1 + more;
        Ok(Self { apps, user_actions: ANY, has_webhook, user_actions_left, crashes_left: 1, concurrency })
    }
}

#[test]
fn two_apps_on_a_host() -> Result<()> {
    check("two apps on a host", World::of_two(false)?)
}

#[test]
fn two_apps_on_a_host_of_which_a_webhook_tolerates_one_route() -> Result<()> {
    check("two apps on a host, with a webhook", World::of_two(true)?)
}

#[test]
fn three_apps_that_succeed_each_other() -> Result<()> {
    let world = World { apps: THREE, user_actions: SUCCESSION, crashes_left: 0, ..World::of_two(true)? };
    check("three apps that succeed each other", world)
}

#[test]
fn two_apps_that_part() -> Result<()> {
    let world = World {
        user_actions: PARTING,
        user_actions_left: 2 + more()?,
        crashes_left: 0,
        ..World::of_two(true)?
    };
    check("two apps that part", world)
}

#[test]
fn one_app_that_wavers() -> Result<()> {
    let world = World {
        apps: ONE,
        user_actions: WAVERING,
        user_actions_left: 2 + more()?,
        crashes_left: more()?,
        concurrency: 1,
        ..World::of_two(false)?
    };
    check("one app that wavers", world)
}

#[test]
fn one_of_two_apps_that_joins_the_other() -> Result<()> {
    let world = World {
        apps: OLD_AND_NEW,
        user_actions: JOINING,
        user_actions_left: 2 + more()?,
        ..World::of_two(false)?
    };
    check("one of two apps that joins the other", world)
}

#[test]
fn one_of_two_apps_that_goes_and_comes_back() -> Result<()> {
    let world = World {
        user_actions: RETURNING,
        user_actions_left: 2 + more()?,
        crashes_left: 0,
        concurrency: 1,
        ..World::of_two(true)?
    };
    check("one of two apps that goes and comes back", world)
}

#[test]
fn one_of_two_apps_that_is_refused() -> Result<()> {
    let world = World {
        user_actions: MISTAKEN,
        user_actions_left: 2 + more()?,
        crashes_left: more()?,
        concurrency: 1,
        ..World::of_two(false)?
    };
    check("one of two apps that is refused", world)
}
