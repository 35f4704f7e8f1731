//! Which key is reconciled when: each at most once at a time, failures later and later, nobody behind somebody
//! else's failure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue;

/// First delay after a failure.
const BASE: Duration = Duration::from_millis(100);

/// Longest delay after repeated failures.
const MAX: Duration = Duration::from_mins(2);

/// Longest delay after a failure during which the key was touched.
const SOON: Duration = Duration::from_secs(1);

/// A queue of keys that one task owns.
#[derive(Debug)]
pub(super) struct Queue<K> {
    ready: VecDeque<K>,
    /// What `ready` holds.
    waiting: HashSet<K>,
    running: HashSet<K>,
    /// Keys that came again while they ran.
    again: HashSet<K>,
    delayed: DelayQueue<K>,
    timers: HashMap<K, delay_queue::Key>,
    failures: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub(super) fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            delayed: DelayQueue::new(),
            timers: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Wants `key` reconciled now: whatever it waited for may have come.
    pub(super) fn add(&mut self, key: K) {
        if self.running.contains(&key) {
            self.again.insert(key);
            return;
        }
        if let Some(timer) = self.timers.remove(&key) {
            self.delayed.remove(&timer);
        }
        if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// The next key to reconcile, with the number of times in a row that it failed. It counts as running until
    /// [`Queue::done`] or [`Queue::failed`].
    pub(super) fn next(&mut self) -> Option<(K, u32)> {
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.running.insert(key.clone());
        let failures = self.failures.get(&key).copied().unwrap_or(0);
        Some((key, failures))
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
        if self.again.remove(key) {
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

    fn end(&mut self, key: &K, after: Option<Duration>) {
        self.running.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
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

    #[test]
    fn a_key_runs_once_at_a_time_and_again_if_it_came_meanwhile() {
        let mut queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next(), Some(("a", 0)));
        assert_eq!(queue.next(), None);
        queue.add("a");
        assert_eq!(queue.next(), None, "it is running");
        queue.done(&"a", None);
        assert_eq!(queue.next(), Some(("a", 0)));
        queue.done(&"a", None);
        assert_eq!(queue.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_delay_their_own_key_only() {
        let mut queue = Queue::new();
        queue.add("bad");
        queue.next();
        queue.failed(&"bad");
        queue.add("good");
        assert_eq!(queue.next(), Some(("good", 0)));
        assert_eq!(queue.next(), None);
        queue.due().await;
        assert_eq!(queue.next(), Some(("bad", 1)));
        queue.done(&"bad", None);
        queue.add("bad");
        assert_eq!(queue.next(), Some(("bad", 0)), "success forgets the failures");
    }

    #[tokio::test(start_paused = true)]
    async fn news_cut_a_wait_short() {
        let mut queue = Queue::new();
        queue.add("a");
        queue.next();
        queue.done(&"a", Some(Duration::from_hours(1)));
        queue.add("a");
        assert_eq!(queue.next(), Some(("a", 0)));
        queue.done(&"a", None);
        assert!(queue.timers.is_empty() && queue.delayed.is_empty());
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
