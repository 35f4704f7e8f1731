//! Whether this process may write.

use super::LAST_WRITES;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

/// The right to write, for a time. Clones share it.
#[derive(Clone, Debug)]
pub struct Claim(Option<Receiver<Option<Instant>>>);

/// The other end of a [`Claim`].
#[derive(Debug)]
pub(super) struct Holder(Sender<Option<Instant>>);

/// A claim that is not held yet, with the end that says when it is.
pub(super) fn new() -> (Holder, Claim) {
    let (sender, receiver) = channel(None);
    (Holder(sender), Claim(Some(receiver)))
}

impl Claim {
    /// Of a process that has nobody beside it.
    pub fn always() -> Self {
        Self(None)
    }

    /// Whether it is held now.
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|until| is_held(*until.borrow()))
    }

    /// Waits until it is held. Never returns if it will not be.
    pub async fn held(&self) {
        let Some(mut until) = self.0.clone() else { return };
        if until.wait_for(|until| is_held(*until)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it is not held: because another has it, or because it was not renewed in time.
    pub async fn lost(&self) {
        let Some(mut claim) = self.0.clone() else { return std::future::pending().await };
        loop {
            let until = *claim.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                changed = claim.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits until a write has to end that was begun while it was held: some time after that, and yet before another may hold
    /// it.
    pub async fn overdue(&self) {
        self.lost().await;
        sleep(LAST_WRITES).await;
    }
}

impl Holder {
    pub(super) fn is_held(&self) -> bool {
        is_held(*self.0.borrow())
    }

    /// Holds the claim until then.
    pub(super) fn hold(&self, until: Instant) {
        if !self.is_held() {
            info!("holding the lease, so this is the replica that writes");
        }
        self.0.send_replace(Some(until));
    }

    /// Gives the claim up, since `other` has the Lease.
    pub(super) fn lose(&self, other: &str) {
        if self.0.send_replace(None).is_some() {
            warn!(holder = other, "the lease is lost, so this replica writes no longer");
        }
    }
}

fn is_held(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

#[cfg(test)]
mod tests {
    use super::super::{DURATION, MARGIN};
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_not_renewed_ends_by_itself() {
        let (holder, claim) = new();
        assert!(!claim.is_held());
        let start = Instant::now();
        holder.hold(start + Duration::from_secs(10));
        claim.held().await;
        let renewal = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            holder.hold(start + Duration::from_secs(14));
        };
        tokio::join!(claim.lost(), renewal);
        assert_eq!(start.elapsed(), Duration::from_secs(14));
        assert!(!claim.is_held() && !holder.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_another_has_ends_at_once() {
        let (holder, claim) = new();
        holder.hold(Instant::now() + Duration::from_secs(10));
        let start = Instant::now();
        let loss = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            holder.lose("other");
        };
        tokio::join!(claim.lost(), loss);
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_has_to_end_before_another_may_begin_one() {
        let (holder, claim) = new();
        let start = Instant::now();
        holder.hold(start + DURATION.saturating_sub(MARGIN));
        claim.overdue().await;
        let ended = start.elapsed();
        assert!(ended > DURATION.saturating_sub(MARGIN) && ended < DURATION, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_on_its_own_may_always_write() {
        let claim = Claim::always();
        claim.held().await;
        assert!(claim.is_held());
        assert!(tokio::time::timeout(Duration::from_hours(1), claim.lost()).await.is_err());
    }
}
