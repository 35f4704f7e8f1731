//! When a revision was written, as closely as it can be known: etcd does not note the time.

use ingress_sso_testbed::control_plane::Etcd;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pause between two looks at the revision.
const PACE: Duration = Duration::from_millis(50);

/// How high the revision was between which times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Vec<Look>);

#[derive(Clone, Copy, Debug)]
struct Look {
    asked: Instant,
    answered: Instant,
    revision: u64,
}

impl Clock {
    /// Notes revisions for ever. While etcd does not answer, nothing is written.
    pub(crate) async fn run(&mut self, etcd: Etcd) {
        loop {
            let asked = Instant::now();
            if let Ok(revision) = etcd.revision().await {
                self.0.push(Look { asked, answered: Instant::now(), revision });
            }
            sleep(PACE).await;
        }
    }

    /// Between which times `revision` was written.
    pub(crate) fn when(&self, revision: u64) -> (Option<Instant>, Option<Instant>) {
        let next = self.0.partition_point(|look| look.revision < revision);
        let before = next.checked_sub(1).map(|last| self.0[last].asked);
        (before, self.0.get(next).map(|look| look.answered))
    }

    /// A revision that was written before the time that lies `span` before `revision` was.
    pub(crate) fn earlier(&self, revision: u64, span: Duration) -> u64 {
        let time = self.when(revision).0.and_then(|time| time.checked_sub(span));
        let next = self.0.partition_point(|look| time.is_some_and(|time| look.answered < time));
        next.checked_sub(1).map_or(0, |last| self.0[last].revision)
    }
}
