//! Everything that can happen to an election among few replicas, tried in every order, with the [`Candidate`] that the program
//! runs.
//!
//! Requests take their time, and they or their answers are lost; processes crash and come back, are stopped (`SIGSTOP`) and go on
//! later where they were, or end in order; people delete and edit the Lease. Each of these is a mishap, of which a world has few.
//! Time passes in seconds, and the durations are the program's. Nobody compares clocks, so where one stands is of no account; all
//! go at the same pace, for which [`MARGIN`] leaves a second.
//!
//! What holds is that nobody may write while another does, nor while something may be under way that another began to write in
//! its time. Two things cannot be had. The API server knows nothing of the Lease when it takes a write, so a process that is
//! stopped between its look at the claim and its request writes when it goes on: such a request is conditioned on what was seen,
//! like all. And people who take the Lease from its holder are believed at once, while the holder learns of it with its next
//! renewal, and writes no longer than until the end of its claim.
//!
//! Threads are not in it, and loom would find little to try: all that they share is a `tokio::sync::watch` channel with one
//! sender, of which each reader takes the newest value.

mod action;
mod fingerprint;
mod verdict;

use super::candidate::Candidate;
use super::{DURATION, MARGIN, TIMEOUT};
use action::{Action, Meddling, actions_of, happen};
use ingress_sso_testbed::environment::number;
use ingress_sso_testbed::model::explore;
use k8s_openapi::api::coordination::v1::Lease;
use stateright::{Model, Property};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use verdict::{are_two, is_held, is_long_ago};

/// Who wants the Lease.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// How long a claim lasts that is not renewed.
const CLAIM: Duration = DURATION.saturating_sub(MARGIN);

/// Steps of one replica that is left in peace after which it must hold the Lease.
const ENOUGH: usize = 500;

/// Seconds since the world began.
type Second = u64;

/// What is tried.
struct World {
    replicas: usize,
    /// How many mishaps there may be.
    mishaps: u8,
    /// For how many seconds an answer may be on its way without being a mishap, and by how many a pause may be longer than it is
    /// meant to be: by chance, or since the machine is busy.
    slack: Second,
    /// Whether people meddle with the Lease.
    has_meddlers: bool,
    /// Replicas that hold the Lease in the end if they are left in peace, by what decides about it.
    known_to_recover: Mutex<HashSet<u64>>,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
struct State {
    now: Second,
    /// The Lease at the API server.
    lease: Option<Lease>,
    version: u32,
    replicas: Vec<Replica>,
    /// Writes that nobody waits for any more, and that may be done yet.
    late: Vec<Request>,
    mishaps: u8,
    /// See [`World::slack`].
    slack: Second,
    /// When somebody took the Lease from its holder in a way that another one cannot know of, the last time.
    meddled: Option<Second>,
    /// When somebody deleted the Lease or gave it to another, after all replicas had seen who holds it.
    moved: Option<Second>,
}

#[derive(Clone, Debug)]
struct Replica {
    candidate: Candidate,
    doing: Doing,
    is_stopped: bool,
    /// The end of the time during which it held the Lease, as far as that has passed.
    held_until: Option<Second>,
}

#[expect(clippy::large_enum_variant, reason = "most replicas ask most of the time")]
#[derive(Clone, Debug)]
enum Doing {
    /// It does not run.
    Nothing,
    /// The next round begins then.
    Waiting(Second),
    Asking(Question),
}

/// A request under way.
#[derive(Clone, Debug)]
struct Question {
    /// When the round began that it belongs to.
    start: Second,
    sent: Second,
    purpose: Purpose,
    request: Request,
    /// Whether it may take so long that the replica gives it up.
    is_stuck: bool,
    /// What the API server has said, and the replica has not heard yet.
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Purpose {
    Look,
    Write,
    LookAfterMiss,
    Release,
}

#[derive(Clone, Debug)]
enum Request {
    Get,
    Create(Lease),
    Replace(Lease),
}

#[derive(Clone, Debug)]
enum Answer {
    Found(Option<Lease>),
    Written(Lease),
    Missed,
}

impl World {
    /// Whether a replica that runs gets the Lease if from now on the API server answers, and nobody else does anything.
    fn recovers(&self, state: &State, replica: usize) -> bool {
        let mut passed = Vec::new();
        let mut later = Cow::Borrowed(state);
        for _ in 0..ENOUGH {
            let fingerprint = fingerprint::of(&later, &[replica]);
            let mut known = self.known_to_recover.lock().unwrap();
            if is_held(&later, replica) || known.contains(&fingerprint) {
                known.extend(passed);
                return true;
            }
            drop(known);
            passed.push(fingerprint);
            let action = match &later.replicas[replica].doing {
                Doing::Nothing => Action::Restart(replica),
                Doing::Waiting(until) if *until <= later.now => Action::Wake(replica),
                Doing::Waiting(_) => Action::Tick,
                Doing::Asking(Question { answer: None, .. }) => Action::Arrive(replica),
                Doing::Asking(_) => Action::Hear(replica),
            };
            happen(later.to_mut(), action);
        }
        false
    }

    /// Whether a replica has something to do before time can pass.
    fn is_overdue(&self, state: &State, replica: usize) -> bool {
        let Replica { doing, is_stopped, .. } = &state.replicas[replica];
        !is_stopped
            && match doing {
                Doing::Nothing => false,
                Doing::Waiting(until) => *until + self.slack <= state.now,
                Doing::Asking(question) => {
                    let patience = if question.is_stuck { TIMEOUT.as_secs() } else { self.slack };
                    question.sent + patience <= state.now
                }
            }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let candidate = |name: &&str| Candidate::new("ingress-sso", name, DURATION);
        let doing = Doing::Waiting(0);
        let replicas = NAMES.iter().take(self.replicas).map(candidate).map(|candidate| Replica {
            candidate,
            doing: doing.clone(),
            is_stopped: false,
            held_until: None,
        });
        vec![State {
            now: 0,
            lease: None,
            version: 0,
            replicas: replicas.collect(),
            late: Vec::new(),
            mishaps: self.mishaps,
            slack: self.slack,
            meddled: None,
            moved: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..state.late.len()).map(Action::ArriveLate));
        for replica in 0..self.replicas {
            actions.extend(actions_of(state, replica));
        }
        if !(0..self.replicas).any(|replica| self.is_overdue(state, replica)) {
            actions.push(Action::Tick);
        }
        if state.mishaps > 0 && self.has_meddlers && state.lease.is_some() {
            let given = (0..self.replicas).map(Meddling::Give);
            let rest = [
                Meddling::Delete,
                Meddling::Clear,
                Meddling::GiveToStranger,
                Meddling::Live(1),
                Meddling::Live(-1),
                Meddling::Live(60),
            ];
            actions.extend(given.chain(rest).map(Action::Meddle));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        happen(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one writes", |_, state: &State| !are_two(state) || !is_long_ago(state)),
            Property::always("one can write", |world: &Self, state: &State| {
                let is_alive =
                    |replica: &Replica| !replica.is_stopped && !matches!(replica.doing, Doing::Nothing);
                let alive = (0..world.replicas).filter(|replica| is_alive(&state.replicas[*replica]));
                alive.into_iter().all(|replica| world.recovers(state, replica))
            }),
            // Or the worlds are not what they are taken for.
            Property::sometimes("a replica takes over", |_, state: &State| {
                let transitions =
                    state.lease.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_transitions);
                transitions.is_some_and(|transitions| transitions > 0)
            }),
            Property::sometimes("a write is late", |world: &Self, state: &State| {
                let holders = (0..world.replicas).filter(|replica| is_held(state, *replica));
                holders.count() > 0 && !state.late.is_empty()
            }),
        ]
    }
}

fn at(second: Second) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + Duration::from_secs(second)
}

/// Tries everything in a world with so many mishaps, and as many more as `DEPTH` says.
fn check(name: &str, world: World) {
    let more: u8 = number("DEPTH", 0).unwrap();
    explore(name, World { mishaps: world.mishaps + more, ..world }, |_| None).unwrap();
}

/// A world with so many mishaps.
fn world(replicas: usize, mishaps: u8, slack: Second) -> World {
    World { replicas, mishaps, slack, has_meddlers: false, known_to_recover: Mutex::default() }
}

#[test]
fn of_two_replicas_one_writes() {
    check("two replicas", world(2, 1, 1));
}

#[test]
fn of_three_replicas_one_writes() {
    check("three replicas", world(3, 1, 0));
}

#[test]
fn people_who_meddle_with_the_lease_are_made_good() {
    check("two replicas, and people", World { has_meddlers: true, ..world(2, 1, 0) });
}
