//! Watches and writes: the only part that talks to the API.

#[cfg(test)]
mod api_double;
mod confirm;
mod in_flight;
mod lookout;
mod observe;
mod probes;
mod question;
mod queue;
mod reconcile;
mod report;
mod watch;
pub mod withdraw;
mod write;

use crate::config::{Scope, Settings};
use crate::index::{Index, Key, Source};
use crate::lease::{Claim, Election, LeaseName};
use crate::probe::Trust;
use crate::telemetry::metrics::{Metrics, QueueLengths, Reconciled};
use crate::telemetry::{Health, Telemetry};
use kube::Client;
use probes::Probes;
use queue::{Owned, Queue};
use reconcile::{Outcome, Reconciler};
use report::Reporter;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch::{Sender, channel};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use write::Writer;

/// How long one request to the API may take.
const API_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait for the first lists of everything but Ingresses: a watch that may not be made (for want of RBAC,
/// say) must not keep all apps waiting for ever.
const LIST_GRACE: Duration = Duration::from_secs(10);

/// How long a shutdown waits for writes under way, and then for Events.
const DRAIN: Duration = Duration::from_secs(5);

/// Says whether something is so to all who wait for it, if that is news.
fn announce(said: &Sender<bool>, is_so: bool) {
    said.send_if_modified(|said| std::mem::replace(said, is_so) != is_so);
}

/// What the controller needs beyond [`Settings`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where apps are looked for.
    pub scope: Scope,
    /// Where discovered outposts may live.
    pub outpost_scope: Scope,
    /// How many keys are reconciled at once.
    pub concurrency: usize,
    /// Whether outposts are asked if they serve the hosts of apps, and whose certificates are accepted then.
    pub probe: Option<Arc<Trust>>,
    /// The Lease that the replica which writes has to hold; `None` where there is one replica only.
    pub lease: Option<LeaseName>,
}

/// The index, for all who feed and ask it. The lock is never held across an await.
#[derive(Clone)]
struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    fn with<T>(&self, use_index: impl FnOnce(&mut Index) -> T) -> T {
        use_index(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs until `shutdown`, then drains within seconds.
pub async fn run(
    client: Client,
    settings: Arc<Settings>,
    options: Options,
    telemetry: Telemetry,
    shutdown: CancellationToken,
) {
    let Telemetry { health, metrics } = telemetry;
    let index = SharedIndex(Arc::new(Mutex::new(Index::new(Arc::clone(&settings)))));
    let (touched, mut keys) = unbounded_channel();
    let probes = match options.probe {
        Some(trust) => Probes::start(settings, trust, touched.clone(), metrics.clone()),
        None => Probes::off(),
    };
    let mut watches =
        watch::start(&client, &index, &touched, &metrics, &options.scope, &options.outpost_scope);
    let (busy, is_busy) = channel(false);
    let (reporter, lane) = Reporter::start(client.clone(), is_busy, metrics.clone());
    let (claim, election) = match options.lease {
        None => (Claim::always(), None),
        Some(name) => {
            let (election, claim) = Election::new(client.clone(), name);
            (claim, Some(election))
        }
    };
    let has_stopped = CancellationToken::new();
    let election = election.map(|election| tokio::spawn(election.run(has_stopped.clone())));
    let writer = Writer::new(client, index.clone(), touched, claim.clone(), metrics.clone());
    let reconciler = Arc::new(Reconciler::new(index.clone(), writer, reporter, probes, metrics.clone()));

    let has_lists = tokio::select! {
        has_lists = first_lists(&index, &mut keys, &health) => has_lists,
        () = shutdown.cancelled() => false,
    };
    while has_lists && wait_for_claim(&claim, &index, &mut keys, &health, &shutdown).await {
        metrics.set_leader(true);
        let workers =
            Workers::new(Arc::clone(&reconciler), options.concurrency, busy.clone(), metrics.clone());
        workers.run(&index, &mut keys, &health, &claim, &shutdown).await;
        reconciler.forget_all();
        metrics.set_leader(false);
    }
    // Only now may another replica begin.
    has_stopped.cancel();
    if let Some(election) = election {
        // It gives up by itself, whatever becomes of its last request.
        let _ = election.await;
    }
    drop(reconciler);
    watches.shutdown().await;
    if tokio::time::timeout(DRAIN, lane).await.is_err() {
        warn!("leaving Events behind");
    }
    info!("stopped");
}

/// Waits until this process is the one that writes, and keeps up with what happens. The answer is false if it is to stop.
async fn wait_for_claim(
    claim: &Claim,
    index: &SharedIndex,
    touches: &mut UnboundedReceiver<Vec<Key>>,
    health: &Health,
    shutdown: &CancellationToken,
) -> bool {
    let mut held = std::pin::pin!(claim.held());
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            () = &mut held => return true,
            // What has changed is in the index; all keys are planned when it is time.
            keys = touches.recv() => if keys.is_none() { return false },
        }
        if index.with(|index| index.is_complete()) {
            health.set_ready();
        }
    }
}

/// Waits until planning can begin: with all lists, or with the Ingresses at least and the rest overdue.
async fn first_lists(
    index: &SharedIndex,
    touches: &mut UnboundedReceiver<Vec<Key>>,
    health: &Health,
) -> bool {
    let mut deadline = std::pin::pin!(tokio::time::sleep(LIST_GRACE));
    let mut poll = tokio::time::interval(Duration::from_millis(5));
    let mut is_overdue = false;
    loop {
        tokio::select! {
            // What changed before the first plan is in the index; all keys are planned then.
            keys = touches.recv() => if keys.is_none() { return false },
            _ = poll.tick() => {}
            () = &mut deadline, if !is_overdue => {
                is_overdue = true;
                let missing: Vec<Source> = Source::ALL
                    .into_iter()
                    .filter(|source| !index.with(|index| index.has_complete(*source)))
                    .collect();
                warn!(?missing, "some lists are not there yet; apps that need none of them are served meanwhile");
            }
        }
        let (is_complete, has_ingresses) =
            index.with(|index| (index.is_complete(), index.has_complete(Source::Ingresses)));
        if is_complete {
            health.set_ready();
        }
        if is_complete || (is_overdue && has_ingresses) {
            return true;
        }
    }
}

/// Reconciles keys, many at once and each at most once.
struct Workers {
    reconciler: Arc<Reconciler>,
    concurrency: usize,
    queue: Queue<Key>,
    running: JoinSet<Outcome>,
    /// What is running, and since when.
    keys: HashMap<Id, (Key, Instant)>,
    /// Says whether anything is running.
    busy: Sender<bool>,
    metrics: Metrics,
}

impl Workers {
    fn new(reconciler: Arc<Reconciler>, concurrency: usize, busy: Sender<bool>, metrics: Metrics) -> Self {
        let (queue, running, keys) = (Queue::new(), JoinSet::new(), HashMap::new());
        Self { reconciler, concurrency, queue, running, keys, busy, metrics }
    }

    async fn run(
        mut self,
        index: &SharedIndex,
        touches: &mut UnboundedReceiver<Vec<Key>>,
        health: &Health,
        claim: &Claim,
        shutdown: &CancellationToken,
    ) {
        let mut lost = std::pin::pin!(claim.lost());
        let mut is_complete = index.with(|index| index.is_complete());
        self.add_all(index);
        loop {
            if !is_complete && index.with(|index| index.is_complete()) {
                is_complete = true;
                health.set_ready();
                self.add_all(index);
            }
            self.start_ready();
            announce(&self.busy, !self.running.is_empty());
            self.metrics.set_queue(self.queue.lengths());
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = &mut lost => break,
                Some(keys) = touches.recv() => keys.into_iter().for_each(|key| self.queue.add(key)),
                Some(ended) = self.running.join_next_with_id(), if !self.queue.is_idle() => self.end(ended),
                () = self.queue.due() => {}
            }
        }
        info!(running = self.running.len(), "no more writes");
        announce(&self.busy, false);
        self.metrics.set_queue(QueueLengths::default());
        let drained = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            warn!("some writes did not end in time");
        }
    }

    /// Everything is looked at once when planning begins, and once more when lists that were late have come.
    fn add_all(&mut self, index: &SharedIndex) {
        let keys = index.with(|index| index.all_keys());
        info!(keys = keys.len(), "looking at everything");
        for key in keys {
            self.queue.add(key);
        }
    }

    fn start_ready(&mut self) {
        while self.running.len() < self.concurrency
            && let Some(turn) = self.queue.next()
        {
            let (reconciler, key) = (Arc::clone(&self.reconciler), turn.key.clone());
            let task = self.running.spawn(async move { reconciler.reconcile(&turn).await });
            self.keys.insert(task.id(), (key, Instant::now()));
        }
    }

    fn end(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(panic) => {
                error!(%panic, "a reconcile ended in a bug; please report it");
                (panic.id(), Outcome::Failed)
            }
        };
        let Some((key, start)) = self.keys.remove(&id) else { return };
        self.metrics.reconciled((&key).into(), outcome.into(), start.elapsed());
        match outcome {
            Outcome::Done => self.queue.done(&key, None),
            Outcome::Again(after) => self.queue.done(&key, Some(after)),
            Outcome::Failed => {
                let delay = self.queue.failed(&key);
                info!(%key, ?delay, "trying again later");
            }
        }
    }
}

impl Owned for Key {
    type Owner = Arc<str>;

    fn owner(&self) -> Arc<str> {
        Arc::clone(&self.object().namespace)
    }
}

impl From<Outcome> for Reconciled {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Again(_) => Self::Again,
            Outcome::Failed => Self::Failed,
        }
    }
}
