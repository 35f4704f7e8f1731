//! What can happen next, and what becomes of it.

use super::super::candidate::{Candidate, Step};
use super::super::{AGAIN, DURATION, RENEWAL, RETRY, TIMEOUT};
use super::verdict::is_held;
use super::{Answer, Doing, NAMES, Purpose, Question, Replica, Request, Second, State, at};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
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
pub(super) enum Meddling {
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

/// What a replica may do, and what may become of it and its request.
pub(super) fn actions_of(state: &State, replica: usize) -> Vec<Action> {
    let Replica { doing, is_stopped, .. } = &state.replicas[replica];
    let is_running = !is_stopped && !matches!(doing, Doing::Nothing);
    let mut actions = Vec::new();
    match doing {
        Doing::Nothing => return vec![Action::Restart(replica)],
        Doing::Waiting(until) if is_running && *until <= state.now => actions.push(Action::Wake(replica)),
        Doing::Asking(Question { answer: None, .. }) => actions.push(Action::Arrive(replica)),
        Doing::Asking(_) if is_running => actions.push(Action::Hear(replica)),
        Doing::Waiting(_) | Doing::Asking(_) => {}
    }
    if *is_stopped {
        actions.push(Action::Continue(replica));
    } else if matches!(doing, Doing::Asking(question) if state.now >= question.sent + TIMEOUT.as_secs()) {
        actions.push(Action::GiveUp(replica));
    }
    if state.mishaps > 0 && is_running {
        actions.extend([Action::Crash(replica), Action::Stop(replica), Action::ShutDown(replica)]);
        let is_stuck = matches!(doing, Doing::Asking(question) if !question.is_stuck);
        actions.extend(is_stuck.then_some(Action::Stick(replica)));
    }
    actions
}

/// Lets it happen.
pub(super) fn happen(state: &mut State, action: Action) {
    match action {
        Action::Tick => tick(state),
        Action::Wake(replica) => begin_round(state, replica),
        Action::Arrive(replica) => {
            if let Doing::Asking(question) = &state.replicas[replica].doing {
                let answer = serve(&mut state.lease, &mut state.version, &question.request);
                if let Doing::Asking(question) = &mut state.replicas[replica].doing {
                    question.answer = Some(answer);
                }
            }
        }
        Action::Hear(replica) => hear(state, replica),
        Action::Stick(replica) => {
            state.mishaps -= 1;
            if let Doing::Asking(question) = &mut state.replicas[replica].doing {
                question.is_stuck = true;
            }
        }
        Action::GiveUp(replica) => {
            abandon(state, replica);
            let now = state.now;
            let replica = &mut state.replicas[replica];
            replica.candidate.failed();
            let is_ending =
                matches!(&replica.doing, Doing::Asking(question) if question.purpose == Purpose::Release);
            replica.doing = if is_ending { Doing::Nothing } else { Doing::Waiting(now + RETRY.as_secs()) };
        }
        Action::ArriveLate(which) => {
            let request = state.late.remove(which);
            serve(&mut state.lease, &mut state.version, &request);
        }
        Action::Crash(replica) => {
            state.mishaps -= 1;
            abandon(state, replica);
            state.replicas[replica].doing = Doing::Nothing;
        }
        Action::Restart(replica) => {
            let name = NAMES[replica];
            let candidate = Candidate::new("ingress-sso", name, DURATION);
            let doing = Doing::Waiting(state.now);
            state.replicas[replica] = Replica { candidate, doing, ..state.replicas[replica].clone() };
            // It knows nothing of a holder before that.
            state.meddled = state.moved.max(state.meddled);
        }
        Action::Stop(replica) => {
            state.mishaps -= 1;
            state.replicas[replica].is_stopped = true;
        }
        Action::Continue(replica) => {
            state.replicas[replica].is_stopped = false;
            // What it knows is old.
            state.meddled = state.moved.max(state.meddled);
        }
        Action::ShutDown(replica) => {
            state.mishaps -= 1;
            shut_down(state, replica);
        }
        Action::Meddle(meddling) => {
            state.mishaps -= 1;
            let when = Some(state.now);
            let is_seen = matches!(meddling, Meddling::Delete | Meddling::Give(_));
            if is_seen && is_holder_known_to_all(state) {
                state.moved = when;
            } else {
                state.meddled = when;
            }
            meddle(state, meddling);
        }
    }
    // A write in place of a version that is gone comes to nothing whenever it arrives.
    let version = state.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
    state.late.retain(|request| match request {
        Request::Get => false,
        Request::Create(_) => true,
        Request::Replace(lease) => lease.metadata.resource_version == version,
    });
    for replica in 0..state.replicas.len() {
        if is_held(state, replica) {
            state.replicas[replica].held_until = Some(state.now);
        }
    }
}

fn tick(state: &mut State) {
    let held: Vec<bool> = (0..state.replicas.len()).map(|replica| is_held(state, replica)).collect();
    state.now += 1;
    for (replica, _) in state.replicas.iter_mut().zip(held).filter(|(_, is_held)| *is_held) {
        replica.held_until = Some(state.now);
    }
}

/// Does what [`super::super::Election::round`] does until it waits for the API server.
fn begin_round(state: &mut State, replica: usize) {
    let now = state.now;
    if state.replicas[replica].candidate.has_to_look(at(now)) {
        ask(state, replica, now, Purpose::Look, Request::Get);
    } else {
        take_step(state, replica, now);
    }
}

fn take_step(state: &mut State, replica: usize, start: Second) {
    match state.replicas[replica].candidate.step(at(state.now)) {
        // The program waits for what is left of a second as well.
        Step::Wait { pause, .. } => {
            let pause = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            state.replicas[replica].doing = Doing::Waiting(start + pause);
        }
        Step::Create(lease) => ask(state, replica, start, Purpose::Write, Request::Create(*lease)),
        Step::Replace(lease) => ask(state, replica, start, Purpose::Write, Request::Replace(*lease)),
    }
}

fn ask(state: &mut State, replica: usize, start: Second, purpose: Purpose, request: Request) {
    let sent = state.now;
    state.replicas[replica].doing =
        Doing::Asking(Question { start, sent, purpose, request, is_stuck: false, answer: None });
}

/// Does what comes after an answer.
fn hear(state: &mut State, replica: usize) {
    let Doing::Asking(question) = &state.replicas[replica].doing else { return };
    let Question { start, purpose, answer: Some(answer), .. } = question.clone() else { return };
    let candidate = &mut state.replicas[replica].candidate;
    match (purpose, answer) {
        (Purpose::Release, _) => state.replicas[replica].doing = Doing::Nothing,
        (Purpose::Look, Answer::Found(lease)) => {
            candidate.found(lease);
            take_step(state, replica, start);
        }
        (Purpose::LookAfterMiss, Answer::Found(lease)) => {
            candidate.missed(lease);
            state.replicas[replica].doing = Doing::Waiting(start + AGAIN.as_secs());
        }
        (Purpose::Write, Answer::Written(lease)) => {
            candidate.won(lease, at(start));
            state.replicas[replica].doing = Doing::Waiting(start + RENEWAL.as_secs());
        }
        _ => ask(state, replica, start, Purpose::LookAfterMiss, Request::Get),
    }
}

/// Leaves the request of a replica to itself.
fn abandon(state: &mut State, replica: usize) {
    if let Doing::Asking(Question { request, answer: None, .. }) = &state.replicas[replica].doing {
        state.late.push(request.clone());
    }
}

/// Ends as the controller does: no more writes, then the Lease is given up.
fn shut_down(state: &mut State, replica: usize) {
    abandon(state, replica);
    state.replicas[replica].held_until = None;
    match state.replicas[replica].candidate.release(at(state.now)) {
        Some(lease) => ask(state, replica, state.now, Purpose::Release, Request::Replace(lease)),
        None => state.replicas[replica].doing = Doing::Nothing,
    }
}

/// Whether each replica that runs has the Lease, or has seen it as it is.
fn is_holder_known_to_all(state: &State) -> bool {
    let Some(lease) = &state.lease else { return true };
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    let version = lease.metadata.resource_version.as_deref();
    let knows = |(replica, name): (&Replica, &str)| {
        let seen = replica.candidate.outlook(at(state.now)).seen;
        Some(name) == holder
            || !replica.is_stopped
                && seen.is_some_and(|(name, seen, ..)| (Some(name), seen) == (holder, version))
    };
    let running = |(replica, _): &(&Replica, &str)| !matches!(replica.doing, Doing::Nothing);
    state.replicas.iter().zip(NAMES).filter(running).all(knows)
}

fn meddle(state: &mut State, meddling: Meddling) {
    let Some(mut lease) = state.lease.clone() else { return };
    let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
    match meddling {
        Meddling::Delete => {
            state.lease = None;
            return;
        }
        Meddling::Clear => spec.holder_identity = None,
        Meddling::Give(replica) => spec.holder_identity = Some(NAMES[replica].to_owned()),
        Meddling::GiveToStranger => spec.holder_identity = Some("stranger".to_owned()),
        Meddling::Live(seconds) => spec.lease_duration_seconds = Some(seconds),
    }
    serve(&mut state.lease, &mut state.version, &Request::Replace(lease));
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
