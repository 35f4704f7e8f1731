//! A kind that the API server does not know yet: of the watches on it in many namespaces one goes on asking, and the
//! others wait for what it finds.

use super::announce;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a watch waits for another one at most before it asks again: that one may be forbidden to.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// What one watch knows of its kind, and shares with those on the same kind.
#[derive(Clone, Debug)]
pub(super) struct Lookout {
    is_known: Arc<watch::Sender<bool>>,
    asks: bool,
}

impl Lookout {
    /// One for the watch that asks.
    pub(super) fn new() -> Self {
        Self { is_known: Arc::new(watch::Sender::new(true)), asks: true }
    }

    /// One for another watch on the same kind.
    pub(super) fn of_another(&self) -> Self {
        Self { asks: false, ..self.clone() }
    }

    /// Notes that the API server knows the kind.
    pub(super) fn found(&self) {
        if self.asks {
            announce(&self.is_known, true);
        }
    }

    /// Notes that the API server does not know the kind, and waits until it is time to ask again: after `delay` for the
    /// watch that asks, and for the others not before that has found it.
    pub(super) async fn missed(&self, delay: Duration) {
        if self.asks {
            announce(&self.is_known, false);
            return sleep(delay).await;
        }
        sleep(delay).await;
        // However that ends, it is time to ask again.
        let _ = timeout(MAX_WAIT, self.is_known.subscribe().wait_for(|is_known| *is_known)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const DELAY: Duration = Duration::from_secs(10);

    async fn waited(lookout: &Lookout) -> Duration {
        let start = Instant::now();
        lookout.missed(DELAY).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_and_the_others_wait() {
        let asking = Lookout::new();
        let other = asking.of_another();
        let found = async {
            for _ in 0..3 {
                assert_eq!(waited(&asking).await, DELAY);
            }
            asking.found();
        };
        let (waited_for_it, ()) = tokio::join!(waited(&other), found);
        assert_eq!(waited_for_it, 3 * DELAY);
        assert_eq!(waited(&other).await, DELAY, "the kind is known, so it is worth asking");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let asking = Lookout::new();
        asking.missed(DELAY).await;
        assert_eq!(waited(&asking.of_another()).await, DELAY + MAX_WAIT);
    }
}
