//! One outpost and the hosts that it is asked about, apart from all other outposts: one that is dead delays nobody else.

use super::pace::{CONCURRENCY, Throttle, pause};
use super::steady::Steady;
use super::{Ask, Progress, Shared};
use crate::plan::outpost::Outpost;
use crate::probe::{Conclusion, Findings, Hole, Target};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::time::DelayQueue;
use tracing::{debug, error, info, warn};

/// News for a lane.
#[derive(Debug)]
pub(super) enum Message {
    /// A host to ask about from now on, and what is said of it before.
    Add(Arc<Target>, Option<Conclusion>),
    /// A host that nobody wants to know about any more.
    Remove(Arc<Target>),
}

/// See the module's documentation.
pub(super) struct Lane {
    outpost: Outpost,
    asker: Arc<dyn Ask>,
    shared: Weak<Shared>,
    messages: UnboundedReceiver<Message>,
    hosts: HashMap<Arc<Target>, Asked>,
    reach: Reach,
    ready: VecDeque<Arc<Target>>,
    resting: DelayQueue<Arc<Target>>,
    running: JoinSet<Answered>,
    /// What is running.
    targets: HashMap<Id, Arc<Target>>,
    throttle: Throttle,
    holes: Vec<Hole>,
}

/// What came of asking about a host, and how long it took.
struct Answered {
    findings: Findings,
    time: Duration,
}

/// A host, between two times that it is asked about.
#[derive(Debug, Default)]
struct Asked {
    steady: Steady,
    /// How many times in a row it was not served.
    wanting: u32,
    turn: Turn,
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    /// Nothing is to be done.
    #[default]
    Idle,
    /// In the queue of those to ask about now.
    Ready,
    /// Being asked about.
    Running,
    /// Asked again when its time comes.
    Resting,
}

/// Whether the outpost can be talked to.
#[derive(Debug)]
enum Reach {
    Unknown,
    Up,
    /// Found out with this host, which alone is asked about until there is an answer.
    Down(Arc<Target>, Conclusion),
}

impl Lane {
    pub(super) fn new(
        outpost: Outpost,
        asker: Arc<dyn Ask>,
        shared: Weak<Shared>,
        messages: UnboundedReceiver<Message>,
    ) -> Self {
        Self {
            outpost,
            asker,
            shared,
            messages,
            hosts: HashMap::new(),
            reach: Reach::Unknown,
            ready: VecDeque::new(),
            resting: DelayQueue::new(),
            running: JoinSet::new(),
            targets: HashMap::new(),
            throttle: Throttle::new(),
            holes: Vec::new(),
        }
    }

    /// Runs until nobody wants to know anything of the outpost any more.
    pub(super) async fn run(mut self) {
        loop {
            let blocked = self.start_ready();
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(Message::Add(target, said)) => self.add(&target, said),
                    Some(Message::Remove(target)) => self.remove(&target),
                    None => break,
                },
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                Some(rested) = poll_fn(|context| self.resting.poll_expired(context)) => {
                    self.make_ready(rested.into_inner(), Turn::Resting);
                }
                () = sleep_until(blocked.unwrap_or_else(Instant::now)), if blocked.is_some() => {}
            }
        }
        self.tell(|shared| shared.forget_outpost(&self.outpost));
    }

    fn add(&mut self, target: &Arc<Target>, said: Option<Conclusion>) {
        self.hosts.insert(Arc::clone(target), Asked { steady: Steady::new(said), ..Asked::default() });
        if let Reach::Down(_, conclusion) = &self.reach {
            let conclusion = conclusion.clone();
            return self.observe(target, &conclusion);
        }
        self.make_ready(Arc::clone(target), Turn::Idle);
        self.start_ready();
        if self.hosts.get(target).is_some_and(|asked| asked.turn == Turn::Ready) {
            self.tell(|shared| shared.note_progress(target, Progress::Queued));
        }
    }

    fn remove(&mut self, target: &Arc<Target>) {
        self.hosts.remove(target);
        if let Reach::Down(scout, conclusion) = &self.reach
            && scout == target
            && let Some(other) = self.hosts.keys().next().cloned()
        {
            self.reach = Reach::Down(Arc::clone(&other), conclusion.clone());
            self.make_ready(other, Turn::Idle);
        }
    }

    /// Puts a host into the queue, if it is still where it was when that became due.
    fn make_ready(&mut self, target: Arc<Target>, from: Turn) {
        if let Some(asked) = self.hosts.get_mut(&target).filter(|asked| asked.turn == from) {
            asked.turn = Turn::Ready;
            self.ready.push_back(target);
        }
    }

    /// Asks about as many hosts as may be asked about at once. The answer is when the next one may, where that is later.
    fn start_ready(&mut self) -> Option<Instant> {
        // Whether it answers at all, one host is enough to find out.
        let concurrency = if matches!(self.reach, Reach::Up) { CONCURRENCY } else { 1 };
        while self.running.len() < concurrency
            && let Some(target) = self.ready.front()
        {
            let Some(asked) = self.hosts.get_mut(target).filter(|asked| asked.turn == Turn::Ready) else {
                self.ready.pop_front();
                continue;
            };
            if let Err(due) = self.throttle.turn(Instant::now()) {
                return Some(due);
            }
            asked.turn = Turn::Running;
            let target = self.ready.pop_front()?;
            self.tell(|shared| shared.note_progress(&target, Progress::Asking));
            let answer = self.asker.ask(Arc::clone(&target));
            let start = Instant::now();
            let task =
                self.running.spawn(async move { Answered { findings: answer.await, time: start.elapsed() } });
            self.targets.insert(task.id(), target);
        }
        None
    }

    fn end(&mut self, ended: Result<(Id, Answered), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(target) = self.targets.remove(&id) else { return };
        let Answered { findings, time } = match ended {
            Ok((_, answered)) => answered,
            Err(panic) => {
                error!(%panic, host = %target.host, "asking an outpost ended in a bug; please report it");
                return self.end_in_a_bug(target);
            }
        };
        let reason = findings.conclusion.reason();
        debug!(outpost = self.outpost.name, host = %target.host, reason, ?time, "asked");
        self.tell(|shared| shared.metrics.probed(&self.outpost.name, reason, time));
        if let Some(asked) = self.hosts.get_mut(&target) {
            asked.turn = Turn::Idle;
        }
        if !findings.is_reached {
            return self.end_unreachable(target, &findings.conclusion);
        }
        if !matches!(self.reach, Reach::Up) {
            self.come_up();
        }
        self.learn_holes(findings.holes);
        self.observe(&target, &findings.conclusion);
        self.rest(target);
    }

    /// Nothing is known of the host then. It is asked about again like one that is not served, or when the outpost answers.
    fn end_in_a_bug(&mut self, target: Arc<Target>) {
        let Some(asked) = self.hosts.get_mut(&target) else { return };
        asked.turn = Turn::Idle;
        asked.wanting = asked.wanting.saturating_add(1);
        if !matches!(&self.reach, Reach::Down(scout, _) if *scout != target) {
            self.rest(target);
        }
    }

    /// What is true of the outpost is true of all its hosts, without asking about each.
    fn end_unreachable(&mut self, target: Arc<Target>, conclusion: &Conclusion) {
        match &self.reach {
            // One of several that were under way when the first of them found out.
            Reach::Down(scout, _) if *scout != target => return,
            Reach::Down(..) => {}
            Reach::Unknown | Reach::Up => {
                warn!(outpost = self.outpost.name, address = %self.outpost.address, "{conclusion}");
                self.ready.clear();
                self.resting.clear();
                for asked in self.hosts.values_mut().filter(|asked| asked.turn != Turn::Running) {
                    asked.turn = Turn::Idle;
                }
            }
        }
        self.tell(|shared| shared.metrics.set_outpost_up(&self.outpost.name, false));
        self.reach = Reach::Down(Arc::clone(&target), conclusion.clone());
        for host in self.known() {
            self.observe(&host, conclusion);
        }
        if self.hosts.contains_key(&target) {
            self.rest(target);
        } else {
            self.remove(&target);
        }
    }

    fn come_up(&mut self) {
        info!(outpost = self.outpost.name, address = %self.outpost.address, "the outpost answers");
        self.tell(|shared| shared.metrics.set_outpost_up(&self.outpost.name, true));
        self.reach = Reach::Up;
        for host in self.known() {
            self.make_ready(host, Turn::Idle);
        }
    }

    fn known(&self) -> Vec<Arc<Target>> {
        self.hosts.keys().cloned().collect()
    }

    fn observe(&mut self, target: &Arc<Target>, conclusion: &Conclusion) {
        let Some(asked) = self.hosts.get_mut(target) else { return };
        asked.wanting = if conclusion.is_served() { 0 } else { asked.wanting.saturating_add(1) };
        if asked.steady.observe(conclusion, Instant::now()) {
            let said = asked.steady.said().cloned();
            self.tell(|shared| shared.say(target, said));
        }
    }

    fn rest(&mut self, target: Arc<Target>) {
        let hosts = if matches!(self.reach, Reach::Up) { self.hosts.len() } else { 1 };
        let Some(asked) = self.hosts.get_mut(&target) else { return };
        asked.turn = Turn::Resting;
        self.resting.insert(target, pause(&asked.steady, asked.wanting, hosts));
    }

    fn learn_holes(&mut self, holes: Option<Vec<Hole>>) {
        let Some(holes) = holes.filter(|holes| *holes != self.holes) else { return };
        for hole in holes.iter().filter(|hole| !self.holes.contains(hole)) {
            warn!(outpost = self.outpost.name, reason = hole.reason(), "the outpost has a hole: {hole}");
        }
        self.holes = holes;
    }

    fn tell(&self, tell: impl FnOnce(&Shared)) {
        if let Some(shared) = self.shared.upgrade() {
            tell(&shared);
        }
    }
}
