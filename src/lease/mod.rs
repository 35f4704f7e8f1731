//! Which of several replicas writes: the one that holds a Lease.
//!
//! A [`candidate`] knows the rules and no API; the [`Election`] carries them out; a [`Claim`] says to everybody else whether
//! this process may write now. The design is that of linkerd's kubert: each change of the Lease is conditioned on the version
//! that was seen, and a claim ends by itself when it is not renewed, so that two never write at the same time. A model of it
//! tries that in small worlds.

pub mod candidate;
mod claim;
#[cfg(test)]
mod model;

pub use claim::Claim;

use crate::errors::brief;
use candidate::{Candidate, Step};
use claim::Holder;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// For how long others believe in a holder that they do not hear of.
pub const DURATION: Duration = Duration::from_secs(15);

/// So much earlier the holder stops to believe in itself: what it has begun to write then has [`LAST_WRITES`] to end, and
/// clocks may run at a different pace.
const MARGIN: Duration = Duration::from_secs(4);

/// How long a write that is under way when the claim ends may go on.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// Pause between two renewals.
const RENEWAL: Duration = Duration::from_secs(4);

/// Pause before the next look at a Lease that another holds, and after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Pause before the next look where the Lease was not as it was seen.
const AGAIN: Duration = Duration::from_millis(100);

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where a Lease is, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who this process is among those that want it.
    pub identity: String,
}

/// Tries to get the Lease and to keep it.
pub struct Election {
    api: Api<Lease>,
    name: LeaseName,
    candidate: Candidate,
    holder: Holder,
}

impl Election {
    /// One for `name`, and the claim that comes of it.
    pub fn new(client: Client, name: LeaseName) -> (Self, Claim) {
        let (holder, claim) = claim::new();
        let api = Api::namespaced(client, &name.namespace);
        let candidate = Candidate::new(&name.name, &name.identity, DURATION);
        (Self { api, name, candidate, holder }, claim)
    }

    /// Runs until `shutdown`, and then lets go of the Lease for the next one to take it at once.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let LeaseName { namespace, name, identity } = &self.name;
        info!(namespace, name, identity, "asking for the lease");
        let mut failures = 0_u32;
        loop {
            let start = Instant::now();
            let next = match self.round().await {
                Ok(pause) => {
                    failures = 0;
                    start + pause
                }
                Err(error) => {
                    if failures.is_power_of_two() || failures == 0 {
                        warn!(failures = failures + 1, %error, "cannot ask for the lease, trying again");
                    }
                    failures += 1;
                    self.candidate.failed();
                    Instant::now() + jittered(RETRY)
                }
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = shutdown.cancelled() => break,
            }
        }
        self.release().await;
    }

    /// Looks at the Lease, and takes or renews it if that is due. The answer is when to look again.
    async fn round(&mut self) -> Result<Duration, String> {
        let start = Instant::now();
        if self.candidate.has_to_look(start) {
            let found = self.look().await?;
            self.candidate.found(found);
        }
        let params = PostParams::default();
        let (written, misses) = match self.candidate.step(Instant::now()) {
            Step::Wait { holder, pause } => {
                self.holder.lose(&holder);
                return Ok(jittered(pause));
            }
            Step::Create(lease) => (self.call(self.api.create(&params, &lease)).await?, &[409][..]),
            Step::Replace(lease) => {
                (self.call(self.api.replace(&self.name.name, &params, &lease)).await?, &[404, 409][..])
            }
        };
        match written {
            Ok(lease) => {
                self.holder.hold(self.candidate.won(lease, start));
                Ok(RENEWAL)
            }
            // Somebody else was faster, or has edited or deleted it.
            Err(kube::Error::Api(status)) if misses.contains(&status.code) => {
                let found = self.look().await?;
                if let Some(other) = self.candidate.missed(found) {
                    self.holder.lose(other);
                }
                Ok(AGAIN)
            }
            Err(error) => Err(brief(&error)),
        }
    }

    /// The Lease as it is.
    async fn look(&self) -> Result<Option<Lease>, String> {
        self.call(self.api.get_opt(&self.name.name)).await?.map_err(|error| brief(&error))
    }

    /// Gives the Lease up, if it is ours. Nothing is to be written any more by then.
    async fn release(mut self) {
        let released = self.candidate.release(Instant::now());
        self.holder.lose("nobody, it is shutting down");
        let Some(released) = released else { return };
        match self.call(self.api.replace(&self.name.name, &PostParams::default(), &released)).await {
            Ok(Ok(_)) => info!("gave up the lease"),
            Ok(Err(error)) => warn!(error = %brief(&error), "cannot give up the lease, it will expire"),
            Err(error) => warn!(%error, "cannot give up the lease, it will expire"),
        }
    }

    async fn call<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Result<T, kube::Error>, String> {
        let LeaseName { namespace, name, .. } = &self.name;
        let no_answer = |_| format!("no answer about Lease {namespace}/{name} within {TIMEOUT:?}");
        timeout(TIMEOUT, request).await.map_err(no_answer)
    }
}

/// Up to a quarter more by chance, so that those who wait do not all ask at the same time.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + fastrand::f64() / 4.0)
}
