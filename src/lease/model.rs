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

use super::candidate::{Candidate, Step};
use super::{AGAIN, DURATION, LAST_WRITES, MARGIN, RENEWAL, RETRY, TIMEOUT};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use stateright::{Checker, Expectation, Model, Property};
use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;
use tokio::time::Instant;

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
struct Moment {
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

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// A second passes.
    Tick,
    /// A replica begins a round.
    Wake(usize),
    /// The API server does what a replica asked for.
    Arrive(usize),
    /// A replica hears the answer.
    Hear(usize),
    /// A request or its answer makes no progress.
    Stick(usize),
    /// A replica waits no longer for an answer.
    GiveUp(usize),
    /// The API server does what nobody waits for any more.
    ArriveLate(usize),
    Crash(usize),
    Restart(usize),
    /// SIGSTOP.
    Stop(usize),
    /// SIGCONT.
    Continue(usize),
    /// SIGTERM.
    ShutDown(usize),
    Meddle(Meddling),
}

/// What people do with the Lease.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meddling {
    Delete,
    /// It is nobody's.
    Clear,
    /// It is this replica's.
    Give(usize),
    /// It is of somebody who does not exist.
    GiveToStranger,
    /// Its holder counts as alive for so many seconds.
    Live(i32),
}

impl World {
    /// Whether a replica that runs gets the Lease if from now on the API server answers, and nobody else does anything.
    fn recovers(&self, moment: &Moment, replica: usize) -> bool {
        let mut passed = Vec::new();
        let mut later = Cow::Borrowed(moment);
        for _ in 0..ENOUGH {
            let print = fingerprint(&later, &[replica]);
            let mut known = self.known_to_recover.lock().unwrap();
            if is_held(&later, replica) || known.contains(&print) {
                known.extend(passed);
                return true;
            }
            drop(known);
            passed.push(print);
            let event = match &later.replicas[replica].doing {
                Doing::Nothing => Event::Restart(replica),
                Doing::Waiting(until) if *until <= later.now => Event::Wake(replica),
                Doing::Waiting(_) => Event::Tick,
                Doing::Asking(Question { answer: None, .. }) => Event::Arrive(replica),
                Doing::Asking(_) => Event::Hear(replica),
            };
            happen(later.to_mut(), event);
        }
        false
    }

    /// Whether a replica has something to do before time can pass.
    fn is_overdue(&self, moment: &Moment, replica: usize) -> bool {
        let Replica { doing, is_stopped, .. } = &moment.replicas[replica];
        !is_stopped
            && match doing {
                Doing::Nothing => false,
                Doing::Waiting(until) => *until + self.slack <= moment.now,
                Doing::Asking(question) => {
                    let patience = if question.is_stuck { TIMEOUT.as_secs() } else { self.slack };
                    question.sent + patience <= moment.now
                }
            }
    }
}

impl Model for World {
    type State = Moment;
    type Action = Event;

    fn init_states(&self) -> Vec<Moment> {
        let candidate = |name: &&str| Candidate::new("ingress-sso", name, DURATION);
        let doing = Doing::Waiting(0);
        let replicas = NAMES.iter().take(self.replicas).map(candidate).map(|candidate| Replica {
            candidate,
            doing: doing.clone(),
            is_stopped: false,
            held_until: None,
        });
        vec![Moment {
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

    fn actions(&self, moment: &Moment, events: &mut Vec<Event>) {
        events.extend((0..moment.late.len()).map(Event::ArriveLate));
        for replica in 0..self.replicas {
            events.extend(events_of(moment, replica));
        }
        if !(0..self.replicas).any(|replica| self.is_overdue(moment, replica)) {
            events.push(Event::Tick);
        }
        if moment.mishaps > 0 && self.has_meddlers && moment.lease.is_some() {
            let given = (0..self.replicas).map(Meddling::Give);
            let rest = [
                Meddling::Delete,
                Meddling::Clear,
                Meddling::GiveToStranger,
                Meddling::Live(1),
                Meddling::Live(-1),
                Meddling::Live(60),
            ];
            events.extend(given.chain(rest).map(Event::Meddle));
        }
    }

    fn next_state(&self, moment: &Moment, event: Event) -> Option<Moment> {
        let mut next = moment.clone();
        happen(&mut next, event);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one writes", |_, moment: &Moment| !are_two(moment) || !is_long_ago(moment)),
            Property::always("one can write", |world: &Self, moment: &Moment| {
                let is_alive =
                    |replica: &Replica| !replica.is_stopped && !matches!(replica.doing, Doing::Nothing);
                let alive = (0..world.replicas).filter(|replica| is_alive(&moment.replicas[*replica]));
                alive.into_iter().all(|replica| world.recovers(moment, replica))
            }),
            // Or the worlds are not what they are taken for.
            Property::sometimes("a replica takes over", |_, moment: &Moment| {
                let transitions =
                    moment.lease.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_transitions);
                transitions.is_some_and(|transitions| transitions > 0)
            }),
            Property::sometimes("a write is late", |world: &Self, moment: &Moment| {
                let holders = (0..world.replicas).filter(|replica| is_held(moment, *replica));
                holders.count() > 0 && !moment.late.is_empty()
            }),
        ]
    }
}

/// What a replica may do, and what may become of it and its request.
fn events_of(moment: &Moment, replica: usize) -> Vec<Event> {
    let Replica { doing, is_stopped, .. } = &moment.replicas[replica];
    let is_running = !is_stopped && !matches!(doing, Doing::Nothing);
    let mut events = Vec::new();
    match doing {
        Doing::Nothing => return vec![Event::Restart(replica)],
        Doing::Waiting(until) if is_running && *until <= moment.now => events.push(Event::Wake(replica)),
        Doing::Asking(Question { answer: None, .. }) => events.push(Event::Arrive(replica)),
        Doing::Asking(_) if is_running => events.push(Event::Hear(replica)),
        Doing::Waiting(_) | Doing::Asking(_) => {}
    }
    if *is_stopped {
        events.push(Event::Continue(replica));
    } else if matches!(doing, Doing::Asking(question) if moment.now >= question.sent + TIMEOUT.as_secs()) {
        events.push(Event::GiveUp(replica));
    }
    if moment.mishaps > 0 && is_running {
        events.extend([Event::Crash(replica), Event::Stop(replica), Event::ShutDown(replica)]);
        let is_stuck = matches!(doing, Doing::Asking(question) if !question.is_stuck);
        events.extend(is_stuck.then_some(Event::Stick(replica)));
    }
    events
}

/// Lets it happen.
fn happen(moment: &mut Moment, event: Event) {
    match event {
        Event::Tick => tick(moment),
        Event::Wake(replica) => begin_round(moment, replica),
        Event::Arrive(replica) => {
            if let Doing::Asking(question) = &moment.replicas[replica].doing {
                let answer = serve(&mut moment.lease, &mut moment.version, &question.request);
                if let Doing::Asking(question) = &mut moment.replicas[replica].doing {
                    question.answer = Some(answer);
                }
            }
        }
        Event::Hear(replica) => hear(moment, replica),
        Event::Stick(replica) => {
            moment.mishaps -= 1;
            if let Doing::Asking(question) = &mut moment.replicas[replica].doing {
                question.is_stuck = true;
            }
        }
        Event::GiveUp(replica) => {
            abandon(moment, replica);
            let now = moment.now;
            let replica = &mut moment.replicas[replica];
            replica.candidate.failed();
            let is_ending =
                matches!(&replica.doing, Doing::Asking(question) if question.purpose == Purpose::Release);
            replica.doing = if is_ending { Doing::Nothing } else { Doing::Waiting(now + RETRY.as_secs()) };
        }
        Event::ArriveLate(which) => {
            let request = moment.late.remove(which);
            serve(&mut moment.lease, &mut moment.version, &request);
        }
        Event::Crash(replica) => {
            moment.mishaps -= 1;
            abandon(moment, replica);
            moment.replicas[replica].doing = Doing::Nothing;
        }
        Event::Restart(replica) => {
            let name = NAMES[replica];
            let candidate = Candidate::new("ingress-sso", name, DURATION);
            let doing = Doing::Waiting(moment.now);
            moment.replicas[replica] = Replica { candidate, doing, ..moment.replicas[replica].clone() };
            // It knows nothing of a holder before that.
            moment.meddled = moment.moved.max(moment.meddled);
        }
        Event::Stop(replica) => {
            moment.mishaps -= 1;
            moment.replicas[replica].is_stopped = true;
        }
        Event::Continue(replica) => {
            moment.replicas[replica].is_stopped = false;
            // What it knows is old.
            moment.meddled = moment.moved.max(moment.meddled);
        }
        Event::ShutDown(replica) => {
            moment.mishaps -= 1;
            shut_down(moment, replica);
        }
        Event::Meddle(meddling) => {
            moment.mishaps -= 1;
            let when = Some(moment.now);
            let is_seen = matches!(meddling, Meddling::Delete | Meddling::Give(_));
            if is_seen && is_holder_known_to_all(moment) {
                moment.moved = when;
            } else {
                moment.meddled = when;
            }
            meddle(moment, meddling);
        }
    }
    // A write in place of a version that is gone comes to nothing whenever it arrives.
    let version = moment.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
    moment.late.retain(|request| match request {
        Request::Get => false,
        Request::Create(_) => true,
        Request::Replace(lease) => lease.metadata.resource_version == version,
    });
    for replica in 0..moment.replicas.len() {
        if is_held(moment, replica) {
            moment.replicas[replica].held_until = Some(moment.now);
        }
    }
}

fn tick(moment: &mut Moment) {
    let held: Vec<bool> = (0..moment.replicas.len()).map(|replica| is_held(moment, replica)).collect();
    moment.now += 1;
    for (replica, _) in moment.replicas.iter_mut().zip(held).filter(|(_, is_held)| *is_held) {
        replica.held_until = Some(moment.now);
    }
}

/// Does what [`super::Election::round`] does until it waits for the API server.
fn begin_round(moment: &mut Moment, replica: usize) {
    let now = moment.now;
    if moment.replicas[replica].candidate.has_to_look(at(now)) {
        ask(moment, replica, now, Purpose::Look, Request::Get);
    } else {
        take_step(moment, replica, now);
    }
}

fn take_step(moment: &mut Moment, replica: usize, start: Second) {
    match moment.replicas[replica].candidate.step(at(moment.now)) {
        // The program waits for what is left of a second as well.
        Step::Wait { pause, .. } => {
            let pause = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            moment.replicas[replica].doing = Doing::Waiting(start + pause);
        }
        Step::Create(lease) => ask(moment, replica, start, Purpose::Write, Request::Create(*lease)),
        Step::Replace(lease) => ask(moment, replica, start, Purpose::Write, Request::Replace(*lease)),
    }
}

fn ask(moment: &mut Moment, replica: usize, start: Second, purpose: Purpose, request: Request) {
    let sent = moment.now;
    moment.replicas[replica].doing =
        Doing::Asking(Question { start, sent, purpose, request, is_stuck: false, answer: None });
}

/// Does what comes after an answer.
fn hear(moment: &mut Moment, replica: usize) {
    let Doing::Asking(question) = &moment.replicas[replica].doing else { return };
    let Question { start, purpose, answer: Some(answer), .. } = question.clone() else { return };
    let candidate = &mut moment.replicas[replica].candidate;
    match (purpose, answer) {
        (Purpose::Release, _) => moment.replicas[replica].doing = Doing::Nothing,
        (Purpose::Look, Answer::Found(lease)) => {
            candidate.found(lease);
            take_step(moment, replica, start);
        }
        (Purpose::LookAfterMiss, Answer::Found(lease)) => {
            candidate.missed(lease);
            moment.replicas[replica].doing = Doing::Waiting(start + AGAIN.as_secs());
        }
        (Purpose::Write, Answer::Written(lease)) => {
            candidate.won(lease, at(start));
            moment.replicas[replica].doing = Doing::Waiting(start + RENEWAL.as_secs());
        }
        _ => ask(moment, replica, start, Purpose::LookAfterMiss, Request::Get),
    }
}

/// Leaves the request of a replica to itself.
fn abandon(moment: &mut Moment, replica: usize) {
    if let Doing::Asking(Question { request, answer: None, .. }) = &moment.replicas[replica].doing {
        moment.late.push(request.clone());
    }
}

/// Ends as the controller does: no more writes, then the Lease is given up.
fn shut_down(moment: &mut Moment, replica: usize) {
    abandon(moment, replica);
    moment.replicas[replica].held_until = None;
    match moment.replicas[replica].candidate.release(at(moment.now)) {
        Some(lease) => ask(moment, replica, moment.now, Purpose::Release, Request::Replace(lease)),
        None => moment.replicas[replica].doing = Doing::Nothing,
    }
}

/// Whether each replica that runs has the Lease, or has seen it as it is.
fn is_holder_known_to_all(moment: &Moment) -> bool {
    let Some(lease) = &moment.lease else { return true };
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    let version = lease.metadata.resource_version.as_deref();
    let knows = |(replica, name): (&Replica, &str)| {
        let seen = replica.candidate.outlook(at(moment.now)).seen;
        Some(name) == holder
            || !replica.is_stopped
                && seen.is_some_and(|(name, seen, ..)| (Some(name), seen) == (holder, version))
    };
    let running = |(replica, _): &(&Replica, &str)| !matches!(replica.doing, Doing::Nothing);
    moment.replicas.iter().zip(NAMES).filter(running).all(knows)
}

fn meddle(moment: &mut Moment, meddling: Meddling) {
    let Some(mut lease) = moment.lease.clone() else { return };
    let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
    match meddling {
        Meddling::Delete => {
            moment.lease = None;
            return;
        }
        Meddling::Clear => spec.holder_identity = None,
        Meddling::Give(replica) => spec.holder_identity = Some(NAMES[replica].to_owned()),
        Meddling::GiveToStranger => spec.holder_identity = Some("stranger".to_owned()),
        Meddling::Live(seconds) => spec.lease_duration_seconds = Some(seconds),
    }
    serve(&mut moment.lease, &mut moment.version, &Request::Replace(lease));
}

/// Does as the API server does: nothing is replaced but the version that the request names.
fn serve(found: &mut Option<Lease>, version: &mut u32, request: &Request) -> Answer {
    let mut lease = match (request, &*found) {
        (Request::Get, found) => return Answer::Found(found.clone()),
        (Request::Create(lease), None) => lease.clone(),
        (Request::Replace(lease), Some(found))
            if lease.metadata.resource_version == found.metadata.resource_version =>
        {
            lease.clone()
        }
        _ => return Answer::Missed,
    };
    *version += 1;
    lease.metadata.resource_version = Some(version.to_string());
    *found = Some(lease.clone());
    Answer::Written(lease)
}

fn at(second: Second) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + Duration::from_secs(second)
}

fn is_held(moment: &Moment, replica: usize) -> bool {
    let Replica { candidate, doing, .. } = &moment.replicas[replica];
    !matches!(doing, Doing::Nothing) && candidate.is_held(at(moment.now))
}

/// Whether a write may be under way that a replica began when it held the Lease.
fn may_be_writing(moment: &Moment, replica: usize) -> bool {
    let ended = moment.replicas[replica].held_until;
    is_held(moment, replica) || ended.is_some_and(|end| moment.now < end + LAST_WRITES.as_secs())
}

/// Whether one holds the Lease while another does, or may still be writing on account of having held it.
fn are_two(moment: &Moment) -> bool {
    let all = 0..moment.replicas.len();
    let mut holders = all.clone().filter(|replica| is_held(moment, *replica));
    holders.any(|one| all.clone().any(|two| two != one && may_be_writing(moment, two)))
}

/// Whether what people did to the Lease is long enough ago that everybody who did not know of it must know.
fn is_long_ago(moment: &Moment) -> bool {
    let longest = (CLAIM + LAST_WRITES).as_secs();
    moment.meddled.is_none_or(|meddled| moment.now >= meddled + longest)
}

impl Moment {
    /// The same for moments after which the same can happen: times are relative, versions count only as far as they are the
    /// same or not, and one replica is as good as another.
    fn essence(&self) -> (u8, [Option<Second>; 2], Option<u64>) {
        let longest = (CLAIM + LAST_WRITES).as_secs();
        let age = |when: Option<Second>| when.map(|when| self.now - when).filter(|age| *age < longest);
        let meddled = [age(self.meddled), age(self.moved)];
        let orders = permutations(self.replicas.len());
        (self.mishaps, meddled, orders.iter().map(|order| fingerprint(self, order)).min())
    }
}

impl Hash for Moment {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.essence().hash(hasher);
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.essence() == other.essence()
    }
}

fn permutations(length: usize) -> Vec<Vec<usize>> {
    match length {
        0 => vec![Vec::new()],
        _ => permutations(length - 1)
            .into_iter()
            .flat_map(|shorter| {
                (0..length).map(move |place| {
                    let mut longer = shorter.clone();
                    longer.insert(place, length - 1);
                    longer
                })
            })
            .collect(),
    }
}

/// What decides about what can happen to `replicas`, in this order.
fn fingerprint(moment: &Moment, replicas: &[usize]) -> u64 {
    let mut glossary = Glossary { replicas, versions: Vec::new() };
    let hasher = &mut DefaultHasher::new();
    moment.lease.as_ref().map(|lease| glossary.lease(lease)).hash(hasher);
    for replica in replicas {
        let Replica { candidate, doing, is_stopped, held_until } = &moment.replicas[*replica];
        let busy = held_until.map(|end| (end + LAST_WRITES.as_secs()).saturating_sub(moment.now));
        (is_stopped, busy.filter(|left| *left > 0)).hash(hasher);
        std::mem::discriminant(doing).hash(hasher);
        match doing {
            Doing::Nothing => continue,
            Doing::Waiting(until) => (until + moment.slack).saturating_sub(moment.now).hash(hasher),
            Doing::Asking(Question { start, sent, purpose, request, is_stuck, answer }) => {
                // How old the round is matters as long as it can win the claim.
                let age = (moment.now - start).min(CLAIM.as_secs());
                let left = (sent + TIMEOUT.as_secs()).saturating_sub(moment.now);
                (age, left, purpose, is_stuck).hash(hasher);
                let answered = answer.as_ref().map(|answer| match answer {
                    Answer::Found(lease) => (0, lease.as_ref().map(|lease| glossary.lease(lease))),
                    Answer::Written(lease) => (1, Some(glossary.lease(lease))),
                    Answer::Missed => (2, None),
                });
                answered.hash(hasher);
                if answer.is_none() {
                    glossary.request(request).hash(hasher);
                }
            }
        }
        let outlook = candidate.outlook(at(moment.now));
        (outlook.left, outlook.lease.map(|lease| glossary.lease(lease))).hash(hasher);
        let seen = outlook.seen.map(|(holder, version, age, lifetime)| {
            (glossary.name(Some(holder)), glossary.version(version), age, lifetime)
        });
        seen.hash(hasher);
    }
    moment.late.iter().map(|request| glossary.request(request)).collect::<Vec<_>>().hash(hasher);
    hasher.finish()
}

/// Short for what is the same whatever it is called.
struct Glossary<'a> {
    replicas: &'a [usize],
    versions: Vec<u32>,
}

/// Version, holder and lifetime.
type LeaseInShort = (Option<usize>, Option<usize>, Option<i32>);

impl Glossary<'_> {
    fn lease(&mut self, lease: &Lease) -> LeaseInShort {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        let version = self.version(lease.metadata.resource_version.as_deref());
        (version, self.name(holder), spec.and_then(|spec| spec.lease_duration_seconds))
    }

    fn request(&mut self, request: &Request) -> Option<(bool, LeaseInShort)> {
        match request {
            Request::Get => None,
            Request::Create(lease) => Some((true, self.lease(lease))),
            Request::Replace(lease) => Some((false, self.lease(lease))),
        }
    }

    /// The place of a replica; those who are none are all the same.
    fn name(&self, name: Option<&str>) -> Option<usize> {
        let place = |name| self.replicas.iter().position(|replica| NAMES[*replica] == name);
        name.map(|name| place(name).unwrap_or(NAMES.len()))
    }

    fn version(&mut self, version: Option<&str>) -> Option<usize> {
        let version: u32 = version?.parse().ok()?;
        let known = self.versions.iter().position(|known| *known == version);
        Some(known.unwrap_or_else(|| {
            self.versions.push(version);
            self.versions.len() - 1
        }))
    }
}

/// Tries everything; what it says of it goes to the test's output.
fn check(name: &str, world: World) {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let start = std::time::Instant::now();
    let checker = world.checker().threads(threads).spawn_bfs().join();
    eprintln!(
        "{name}: {} moments, {} ways to get there, {} events deep, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed()
    );
    let problems: Vec<String> = checker
        .model()
        .properties()
        .iter()
        .filter_map(|property| {
            let found = checker.discovery(property.name);
            match (&property.expectation, found) {
                (Expectation::Sometimes, None) => Some(format!("{}: never", property.name)),
                (Expectation::Sometimes, Some(_)) | (_, None) => None,
                (_, Some(path)) => Some(format!("not {}: {:?}", property.name, path.into_actions())),
            }
        })
        .collect();
    assert!(problems.is_empty(), "{name}: {problems:#?}");
}

/// A world with so many mishaps, and as many more as `DEPTH` says.
fn world(replicas: usize, mishaps: u8, slack: Second) -> World {
    let more = std::env::var("DEPTH").ok().and_then(|more| more.parse().ok()).unwrap_or(0_u8);
    World {
        replicas,
        mishaps: mishaps + more,
        slack,
        has_meddlers: false,
        known_to_recover: Mutex::default(),
    }
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
