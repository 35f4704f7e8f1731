//! Keeps asking outposts whether they serve the hosts of apps, beside all reconciling: what is not known yet is never waited for
//! for long, and what is asked is bounded for each outpost.

mod lane;
mod pace;
mod steady;
#[cfg(test)]
mod tests;

use crate::config::Settings;
use crate::facts::ObjectKey;
use crate::index::Key;
use crate::plan::outpost::Outpost;
use crate::plan::status::Assurance;
use crate::probe::{Conclusion, Direct, Findings, Target, Trust, ask};
use crate::telemetry::metrics::Metrics;
use futures::FutureExt;
use futures::future::BoxFuture;
use lane::{Lane, Message};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// How long an app's annotations wait at most for an answer that is on its way, so that one write can say all.
const GRACE: Duration = Duration::from_millis(50);

/// Asks about one host.
pub(super) trait Ask: Send + Sync {
    /// Asks the target's outpost; ends in bounded time.
    fn ask(&self, target: Arc<Target>) -> BoxFuture<'static, Findings>;
}

/// Asks outposts themselves.
struct Asker {
    settings: Arc<Settings>,
    trust: Arc<Trust>,
}

impl Ask for Asker {
    fn ask(&self, target: Arc<Target>) -> BoxFuture<'static, Findings> {
        let (settings, trust) = (Arc::clone(&self.settings), Arc::clone(&self.trust));
        async move {
            let mut line = Direct::new(target.outpost.address.clone(), trust);
            ask(&mut line, &target, &settings.cluster_domain).await
        }
        .boxed()
    }
}

/// What is asked about an app.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Its hosts.
    pub(super) targets: Vec<Target>,
    /// Whether its outpost served it when a controller asked last, maybe one that has ended since.
    pub(super) is_believed: bool,
}

/// What outposts have said. `None` where nobody asks.
#[derive(Clone)]
pub(super) struct Probes(Option<Arc<Shared>>);

/// What reconciles and lanes share.
pub(super) struct Shared {
    asker: Arc<dyn Ask>,
    touched: UnboundedSender<Vec<Key>>,
    metrics: Metrics,
    board: Mutex<Board>,
    /// Something on the board has changed.
    news: Notify,
}

#[derive(Default)]
struct Board {
    hosts: HashMap<Arc<Target>, Posted>,
    of_apps: HashMap<ObjectKey, Box<[Arc<Target>]>>,
    lanes: HashMap<Outpost, Staffed>,
}

/// A lane, and how many hosts it has.
struct Staffed {
    sender: UnboundedSender<Message>,
    hosts: usize,
}

/// What is known of a host.
#[derive(Default)]
struct Posted {
    said: Option<Conclusion>,
    progress: Progress,
    /// Whose host it is.
    apps: BTreeSet<ObjectKey>,
}

/// How far the first answer about a host has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// Its lane has yet to take notice of it.
    #[default]
    New,
    /// It has to wait for its turn.
    Queued,
    /// The outpost is being asked.
    Asking,
}

impl Probes {
    /// Nobody is asked.
    pub(super) fn off() -> Self {
        Self(None)
    }

    /// Outposts are asked themselves. Apps of which there is news go to `touched`.
    pub(super) fn start(
        settings: Arc<Settings>,
        trust: Arc<Trust>,
        touched: UnboundedSender<Vec<Key>>,
        metrics: Metrics,
    ) -> Self {
        Self::with(Arc::new(Asker { settings, trust }), touched, metrics)
    }

    fn with(asker: Arc<dyn Ask>, touched: UnboundedSender<Vec<Key>>, metrics: Metrics) -> Self {
        let (board, news) = (Mutex::default(), Notify::new());
        Self(Some(Arc::new(Shared { asker, touched, metrics, board, news })))
    }

    /// What is known of the hosts of `app`, of which those in `asked` are asked about from now on, and no others. Where nobody is
    /// asked, `asked` is not called.
    pub(super) fn assurance(&self, app: &ObjectKey, asked: impl FnOnce() -> Option<Asked>) -> Assurance {
        let Some(shared) = &self.0 else { return Assurance::NotAsked };
        let Asked { targets: wanted, is_believed } = asked().unwrap_or_default();
        let mut board = shared.board();
        shared.want(&mut board, app, &wanted, is_believed);
        board.assurance(&wanted)
    }

    /// Asks about no app any more.
    pub(super) fn forget_all(&self) {
        if let Some(shared) = &self.0 {
            // A lane ends when nobody can send it anything.
            *shared.board() = Board::default();
        }
    }

    /// Waits for answers about `app` that are on their way, and for [`GRACE`] at most.
    pub(super) async fn settle(&self, app: &ObjectKey) {
        let Some(shared) = &self.0 else { return };
        let settled = async {
            loop {
                let mut news = std::pin::pin!(shared.news.notified());
                news.as_mut().enable();
                if !shared.board().is_under_way(app) {
                    return;
                }
                news.await;
            }
        };
        // Whether it came in time, the board says.
        let _ = timeout(GRACE, settled).await;
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(self: &Arc<Self>, board: &mut Board, app: &ObjectKey, wanted: &[Target], is_believed: bool) {
        let before = board.of_apps.get(app);
        if before.map_or(0, |before| before.len()) == wanted.len()
            && before
                .is_none_or(|before| before.iter().zip(wanted).all(|(before, wanted)| **before == *wanted))
        {
            return;
        }
        // What was said of an app was said of the hosts that it had then.
        let is_believed = is_believed && before.is_none();
        let before = board.of_apps.remove(app).unwrap_or_default();
        let now: Box<[Arc<Target>]> =
            wanted.iter().map(|target| self.add(board, app, target, is_believed)).collect();
        for target in before.iter().filter(|target| !now.contains(target)) {
            board.remove(app, target);
        }
        if !now.is_empty() {
            board.of_apps.insert(app.clone(), now);
        }
    }

    fn add(
        self: &Arc<Self>,
        board: &mut Board,
        app: &ObjectKey,
        target: &Target,
        is_believed: bool,
    ) -> Arc<Target> {
        let known = board.hosts.get_key_value(target).map(|(known, _)| Arc::clone(known));
        let target = known.unwrap_or_else(|| {
            let target = Arc::new(target.clone());
            let said = is_believed.then_some(Conclusion::Served);
            board.hosts.insert(Arc::clone(&target), Posted { said: said.clone(), ..Posted::default() });
            let lane =
                board.lanes.entry(target.outpost.clone()).or_insert_with(|| self.staff(&target.outpost));
            lane.hosts += 1;
            // A lane ends only after it is taken off the board.
            let _ = lane.sender.send(Message::Add(Arc::clone(&target), said));
            target
        });
        if let Some(posted) = board.hosts.get_mut(&target) {
            posted.apps.insert(app.clone());
        }
        target
    }

    fn staff(self: &Arc<Self>, outpost: &Outpost) -> Staffed {
        let (sender, messages) = unbounded_channel();
        let lane = Lane::new(outpost.clone(), Arc::clone(&self.asker), Arc::downgrade(self), messages);
        tokio::spawn(lane.run());
        Staffed { sender, hosts: 0 }
    }

    /// Says what is to be known of a host, and has its apps looked at.
    fn say(&self, target: &Target, said: Option<Conclusion>) {
        let mut board = self.board();
        let Some(posted) = board.hosts.get_mut(target) else { return };
        posted.said = said;
        let keys = posted.apps.iter().cloned().map(Key::App).collect();
        drop(board);
        self.news.notify_waiters();
        // The receiver is gone only when the controller is shutting down.
        let _ = self.touched.send(keys);
    }

    /// Takes an outpost that is asked no more out of the metrics, unless it has come back meanwhile at whatever address.
    fn forget_outpost(&self, outpost: &Outpost) {
        let board = self.board();
        if board.lanes.keys().all(|other| other.name != outpost.name) {
            self.metrics.forget_outpost(&outpost.name);
        }
    }

    fn note_progress(&self, target: &Target, progress: Progress) {
        let mut board = self.board();
        let Some(posted) = board.hosts.get_mut(target).filter(|posted| posted.progress != progress) else {
            return;
        };
        posted.progress = progress;
        drop(board);
        if progress == Progress::Queued {
            self.news.notify_waiters();
        }
    }
}

impl Board {
    fn remove(&mut self, app: &ObjectKey, target: &Arc<Target>) {
        let Some(posted) = self.hosts.get_mut(target) else { return };
        posted.apps.remove(app);
        if !posted.apps.is_empty() {
            return;
        }
        self.hosts.remove(target);
        if let Some(lane) = self.lanes.get_mut(&target.outpost) {
            lane.hosts -= 1;
            let _ = lane.sender.send(Message::Remove(Arc::clone(target)));
            if lane.hosts == 0 {
                self.lanes.remove(&target.outpost);
            }
        }
    }

    fn assurance(&self, wanted: &[Target]) -> Assurance {
        let said = || wanted.iter().map(|target| self.hosts.get(target)?.said.as_ref());
        let missing = said().flatten().find(|conclusion| !conclusion.is_served());
        match missing {
            Some(conclusion) => Assurance::Missing(conclusion.clone()),
            None if said().all(|said| said.is_some()) => Assurance::Served,
            None => Assurance::Awaited,
        }
    }

    fn is_under_way(&self, app: &ObjectKey) -> bool {
        let mut hosts =
            self.of_apps.get(app).into_iter().flatten().filter_map(|target| self.hosts.get(target));
        hosts.any(|posted| posted.said.is_none() && posted.progress != Progress::Queued)
    }
}
