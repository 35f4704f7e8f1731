//! Which key is reconciled when: each at most once at a time, failures later and later, nobody behind somebody
//! else's failure, and nobody behind all that another namespace has to do.

use crate::telemetry::metrics::QueueLengths;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue;

/// First delay after a failure.
const BASE: Duration = Duration::from_millis(100);

/// Longest delay after repeated failures.
const MAX: Duration = Duration::from_mins(2);

/// Longest delay after a failure during which the key was touched.
const SOON: Duration = Duration::from_secs(1);

/// Whose a key is.
pub(super) trait Owned {
    /// The namespace, of whatever kind.
    type Owner: Clone + Debug + Eq + Hash;

    /// The namespace of the key.
    fn owner(&self) -> Self::Owner;
}

/// A queue of keys that one task owns.
#[derive(Debug)]
pub(super) struct Queue<K: Owned> {
    ready: Ready<K>,
    /// What `ready` holds.
    waiting: HashSet<K>,
    running: HashSet<K>,
    /// Keys that came again while they ran, and when.
    again: HashMap<K, Instant>,
    delayed: DelayQueue<K>,
    timers: HashMap<K, delay_queue::Key>,
    failures: HashMap<K, u32>,
}

/// Keys that wait for their turn, with the time since when each does. Owners take turns, or whoever has ten thousand Ingresses
/// would keep all others waiting with each of his edits.
#[derive(Debug)]
struct Ready<K: Owned> {
    lanes: HashMap<K::Owner, VecDeque<(K, Instant)>>,
    /// Those who have a lane.
    turns: VecDeque<K::Owner>,
}

impl<K: Owned> Ready<K> {
    fn push(&mut self, key: K, since: Instant) {
        let owner = key.owner();
        if !self.lanes.contains_key(&owner) {
            self.turns.push_back(owner.clone());
        }
        self.lanes.entry(owner).or_default().push_back((key, since));
    }

    fn pop(&mut self) -> Option<(K, Instant)> {
        let owner = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&owner)?;
        let first = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        first
    }
}

/// A key whose turn it is.
#[derive(Debug)]
pub(super) struct Turn<K> {
    /// The key.
    pub(super) key: K,
    /// How many times in a row it failed.
    pub(super) failures: u32,
    /// When it came.
    pub(super) since: Instant,
}

impl<K: Clone + Eq + Hash + Owned> Queue<K> {
    pub(super) fn new() -> Self {
        Self {
            ready: Ready { lanes: HashMap::new(), turns: VecDeque::new() },
            waiting: HashSet::new(),
            running: HashSet::new(),
            again: HashMap::new(),
            delayed: DelayQueue::new(),
            timers: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Wants `key` reconciled now: whatever it waited for may have come.
    pub(super) fn add(&mut self, key: K) {
        if self.running.contains(&key) {
            self.again.entry(key).or_insert_with(Instant::now);
        } else {
            self.add_since(key, Instant::now());
        }
    }

    fn add_since(&mut self, key: K, since: Instant) {
        if let Some(timer) = self.timers.remove(&key) {
            self.delayed.remove(&timer);
        }
        if self.waiting.insert(key.clone()) {
            self.ready.push(key, since);
        }
    }

    /// The next key to reconcile. It counts as running until [`Queue::done`] or [`Queue::failed`].
    pub(super) fn next(&mut self) -> Option<Turn<K>> {
        let (key, since) = self.ready.pop()?;
        self.waiting.remove(&key);
        self.running.insert(key.clone());
        let failures = self.failures.get(&key).copied().unwrap_or(0);
        Some(Turn { key, failures, since })
    }

    /// Ends a run that succeeded; with `after`, the key comes again by itself.
    pub(super) fn done(&mut self, key: &K, after: Option<Duration>) {
        self.failures.remove(key);
        self.end(key, after);
    }

    /// Ends a run that failed. Returns when the key comes again.
    pub(super) fn failed(&mut self, key: &K) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let mut delay = backoff(*failures);
        *failures = failures.saturating_add(1);
        // A change in between may be the cure or the noise of the failing attempt itself: soon, but no spinning.
        if self.again.remove(key).is_some() {
            delay = delay.min(SOON);
        }
        self.end(key, Some(delay));
        delay
    }

    /// Waits until a delayed key is due, which is then ready. Never returns while nothing is delayed.
    pub(super) async fn due(&mut self) {
        let expired = std::future::poll_fn(|context| match self.delayed.poll_expired(context) {
            std::task::Poll::Ready(None) => std::task::Poll::Pending,
            other => other,
        })
        .await;
        if let Some(expired) = expired {
            let key = expired.into_inner();
            self.timers.remove(&key);
            self.add(key);
        }
    }

    /// Whether nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// How many keys are where.
    pub(super) fn lengths(&self) -> QueueLengths {
        QueueLengths { ready: self.waiting.len(), running: self.running.len(), delayed: self.timers.len() }
    }

    fn end(&mut self, key: &K, after: Option<Duration>) {
        self.running.remove(key);
        if let Some(since) = self.again.remove(key) {
            self.add_since(key.clone(), since);
        } else if let Some(after) = after {
            let timer = self.delayed.insert(key.clone(), after);
            if let Some(old) = self.timers.insert(key.clone(), timer) {
                self.delayed.remove(&old);
            }
        }
    }
}

/// The delay after `failures` earlier failures: doubling, capped, and at least half of it by chance, so that keys
/// that failed together do not come back together.
pub(super) fn backoff(failures: u32) -> Duration {
    let full = BASE.saturating_mul(1 << failures.min(16)).min(MAX);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);

    /// What stands before the slash.
    impl Owned for &'static str {
        type Owner = &'static str;

        fn owner(&self) -> &'static str {
            self.split_once('/').map_or("", |(owner, _)| owner)
        }
    }

    fn turn(queue: &mut Queue<&'static str>) -> Option<(&'static str, u32)> {
        queue.next().map(|turn| (turn.key, turn.failures))
    }

    #[test]
    fn a_key_runs_once_at_a_time_and_again_if_it_came_meanwhile() {
        let mut queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(turn(&mut queue), Some(("a", 0)));
        assert_eq!(turn(&mut queue), None);
        queue.add("a");
        assert_eq!(turn(&mut queue), None, "it is running");
        queue.done(&"a", None);
        assert_eq!(turn(&mut queue), Some(("a", 0)));
        queue.done(&"a", None);
        assert_eq!(turn(&mut queue), None);
    }

    #[test]
    fn namespaces_take_turns_and_keys_of_one_go_in_order() {
        let mut queue = Queue::new();
        for key in ["many/1", "many/2", "many/3", "many/4", "few/1"] {
            queue.add(key);
        }
        let mut order = vec![queue.next().unwrap().key, queue.next().unwrap().key];
        queue.add("late/1");
        order.extend(std::iter::from_fn(|| queue.next()).map(|turn| turn.key));
        assert_eq!(order, ["many/1", "few/1", "many/2", "late/1", "many/3", "many/4"]);
        assert!(queue.ready.lanes.is_empty() && queue.ready.turns.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_delay_their_own_key_only() {
        let mut queue = Queue::new();
        queue.add("bad");
        queue.next();
        queue.failed(&"bad");
        queue.add("good");
        assert_eq!(turn(&mut queue), Some(("good", 0)));
        assert_eq!(turn(&mut queue), None);
        queue.due().await;
        assert_eq!(turn(&mut queue), Some(("bad", 1)));
        queue.done(&"bad", None);
        queue.add("bad");
        assert_eq!(turn(&mut queue), Some(("bad", 0)), "success forgets the failures");
    }

    #[tokio::test(start_paused = true)]
    async fn news_cut_a_wait_short() {
        let mut queue = Queue::new();
        queue.add("a");
        queue.next();
        queue.done(&"a", Some(Duration::from_hours(1)));
        queue.add("a");
        assert_eq!(turn(&mut queue), Some(("a", 0)));
        queue.done(&"a", None);
        assert!(queue.timers.is_empty() && queue.delayed.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_tells_since_when_it_waits() {
        let mut queue = Queue::new();
        let start = Instant::now();
        queue.add("a");
        advance(SECOND).await;
        queue.add("a");
        assert_eq!(queue.next().unwrap().since, start, "it was there already");
        queue.add("a");
        advance(SECOND).await;
        queue.add("a");
        queue.done(&"a", None);
        assert_eq!(queue.next().unwrap().since, start + SECOND, "it came while it ran");
        queue.failed(&"a");
        queue.due().await;
        assert_eq!(queue.next().unwrap().since, Instant::now(), "it is due");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_counted_where_they_are() {
        let mut queue = Queue::new();
        for key in ["a", "b", "c"] {
            queue.add(key);
        }
        queue.next();
        queue.next();
        queue.failed(&"b");
        assert_eq!(queue.lengths(), QueueLengths { ready: 1, running: 1, delayed: 1 });
        queue.add("b");
        queue.done(&"a", None);
        assert_eq!(queue.lengths(), QueueLengths { ready: 2, running: 0, delayed: 0 });
    }

    #[test]
    fn backoff_grows_with_jitter_up_to_the_cap() {
        for failures in 0..40 {
            let full = BASE.saturating_mul(1 << failures.min(16)).min(MAX);
            let delay = backoff(failures);
            assert!(delay >= full / 2 && delay <= full, "{failures}: {delay:?}");
        }
        assert!(backoff(u32::MAX) <= MAX);
    }
}
