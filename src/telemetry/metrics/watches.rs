//! Whether the watches of a source work.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How one watch of a source fares. The source is up when all of its watches are.
#[derive(Clone, Debug)]
pub struct WatchHealth {
    errors: Counter,
    up: Gauge,
    /// How many watches of the source are not up.
    down: Arc<AtomicUsize>,
    is_up: bool,
}

impl WatchHealth {
    /// For a source of `count` watches: each gets a clone of this, which is not up yet.
    pub(super) fn new(count: usize, errors: Counter, up: Gauge) -> Self {
        Self { errors, up, down: Arc::new(AtomicUsize::new(count)), is_up: false }
    }

    /// Whether it works.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Notes that it works.
    pub fn works(&mut self) {
        if !std::mem::replace(&mut self.is_up, true) && self.down.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.up.set(1);
        }
    }

    /// Notes that it failed.
    pub fn failed(&mut self) {
        self.errors.inc();
        if std::mem::replace(&mut self.is_up, false) {
            self.down.fetch_add(1, Ordering::AcqRel);
            self.up.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_up_when_all_its_watches_are() {
        let (errors, up) = (Counter::default(), Gauge::default());
        let mut first = WatchHealth::new(2, errors.clone(), up.clone());
        let mut second = first.clone();
        first.works();
        first.works();
        assert_eq!(up.get(), 0, "the second has not delivered yet");
        second.works();
        assert_eq!(up.get(), 1);
        first.failed();
        first.failed();
        assert_eq!((up.get(), errors.get()), (0, 2));
        second.failed();
        first.works();
        assert_eq!(up.get(), 0, "the second still fails");
        second.works();
        assert_eq!((up.get(), errors.get()), (1, 3));
    }
}
