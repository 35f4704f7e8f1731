//! Takes back what the controller made, or hands it over: its own index, plans and writer, until nothing is left to do.
//!
//! To take back is to have every app opt out at once, so it is done in the same order and under the same conditions.

use super::queue::Queue;
use super::write::{WriteError, Writer};
use super::{API_TIMEOUT, DRAIN, SharedIndex, watch};
use crate::config::{Scope, Settings};
use crate::errors::brief;
use crate::facts::{ClassRef, ObjectKey};
use crate::index::{Index, Key, Source};
use crate::lease::{Claim, Election, LeaseName};
use crate::plan::changes::{Change, Kind, decided_plan};
use crate::plan::{Slot, hand_over};
use crate::telemetry::metrics::{Metrics, QueueLengths};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

/// How long to wait for a Lease: longer than one lasts whose holder is gone.
const LEASE_PATIENCE: Duration = Duration::from_secs(20);

/// How long all first lists may take together.
const LIST_PATIENCE: Duration = Duration::from_mins(1);

/// How often something is tried that the API server cannot do now.
const ATTEMPTS: u32 = 7;

/// How often something is done again that somebody undoes.
const ROUNDS: u32 = 10;

/// Keys that are worked on at once.
const CONCURRENCY: usize = 16;

/// What becomes of the things that the controller made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They go, and apps are as if nobody had asked for anything.
    TakeBack,
    /// They stay and protect, and are nobody's.
    HandOver,
}

/// What to do, and where.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// What becomes of things.
    pub way: Way,
    /// Whose apps; the others are looked at, since they may rely on routes of these.
    pub scope: Scope,
    /// The Lease without which nobody may write; `None` for a rehearsal by dry runs, which writes nothing.
    pub lease: Option<LeaseName>,
}

/// Why nothing was done at all.
#[derive(Debug, Error)]
pub enum WithdrawError {
    /// Somebody else has the Lease.
    #[error("Lease {namespace}/{name} is held by {holder}")]
    Held {
        /// Namespace of the Lease.
        namespace: String,
        /// Its name.
        name: String,
        /// Who holds it.
        holder: String,
    },
    /// It is held by nobody, and cannot be had.
    #[error("Lease {namespace}/{name} cannot be taken: {error}")]
    NoLease {
        /// Namespace of the Lease.
        namespace: String,
        /// Its name.
        name: String,
        /// Why, as far as is known.
        error: String,
    },
    /// A policy would close an app as soon as nothing protects it.
    #[error(
        "admission policies would close {0} as soon as it is taken back, since it still asks for protection"
    )]
    WouldBeClosed(ObjectKey),
    /// Whether one would, the API server did not say.
    #[error("{0}; nothing was done. Run it again")]
    NotAsked(String),
    /// Some lists did not come, so what is there is not known.
    #[error("no complete list of {0:?} came within {LIST_PATIENCE:?}")]
    NoLists(Vec<Source>),
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Withdrawn {
    /// Apps of which something was taken back or handed over, as `namespace/name`.
    pub apps: BTreeSet<String>,
    /// Namespaces in which something was.
    pub namespaces: BTreeSet<String>,
    /// Companions by kind; those of the kind Ingress are routes.
    pub companions: BTreeMap<Kind, usize>,
    /// What failed, and why.
    pub failures: BTreeMap<Key, String>,
    /// What has to stay, and why.
    pub kept: BTreeMap<Key, String>,
    /// Whether it was stopped, or lost the Lease, before the end.
    pub is_cut_short: bool,
}

impl Withdrawn {
    /// Whether nothing of the controller's is left.
    pub fn is_whole(&self) -> bool {
        self.failures.is_empty() && self.kept.is_empty() && !self.is_cut_short
    }

    fn count(&mut self, key: &Key, change: &Change) {
        self.namespaces.insert(key.object().namespace.to_string());
        if let Key::App(app) = key {
            self.apps.insert(app.to_string());
        }
        let companion = match change {
            Change::Delete { kind, .. } => Some(*kind),
            Change::HandOver(done) if Key::App(done.key.clone()) != *key => Some(done.kind),
            _ => None,
        };
        if let Some(kind) = companion {
            *self.companions.entry(kind).or_default() += 1;
        }
    }
}

/// Withdraws, and tells of each request that was carried out. Ends early on `stop`, with all that is under way done.
pub async fn withdraw(
    client: Client,
    settings: Arc<Settings>,
    withdrawal: &Withdrawal,
    stop: &CancellationToken,
    tell: &mut impl FnMut(&Change),
) -> Result<Withdrawn, WithdrawError> {
    let Some(lease) = &withdrawal.lease else {
        return with_claim(client, settings, withdrawal, Claim::always(), stop, tell).await;
    };
    let (election, claim) = Election::new(client.clone(), lease.clone());
    let has_ended = CancellationToken::new();
    let election = tokio::spawn(election.run(has_ended.clone()));
    let result = match timeout(LEASE_PATIENCE, claim.held()).await {
        Ok(()) => with_claim(client.clone(), settings, withdrawal, claim, stop, tell).await,
        Err(_) => Err(why_not_held(&client, lease).await),
    };
    has_ended.cancel();
    // It gives up by itself, whatever becomes of its last request.
    let _ = election.await;
    if result.as_ref().is_ok_and(Withdrawn::is_whole) {
        delete_lease(&client, lease).await;
    }
    result
}

async fn with_claim(
    client: Client,
    settings: Arc<Settings>,
    withdrawal: &Withdrawal,
    claim: Claim,
    stop: &CancellationToken,
    tell: &mut impl FnMut(&Change),
) -> Result<Withdrawn, WithdrawError> {
    let index = match withdrawal.way {
        Way::TakeBack => Index::withdrawn(settings, withdrawal.scope.clone()),
        Way::HandOver => Index::new(settings),
    };
    let index = SharedIndex(Arc::new(Mutex::new(index)));
    let (touched, keys) = unbounded_channel();
    let metrics = Metrics::default();
    let mut watches = watch::start(&client, &index, &touched, &metrics, &Scope::Cluster, &Scope::Cluster);
    all_lists(&index).await?;
    let mut writer = Writer::new(client, index.clone(), touched, claim.clone(), metrics);
    if withdrawal.lease.is_none() {
        watches.shutdown().await;
        writer = writer.rehearsing();
    }
    if let Some(app) = first_closed(&writer, &index, withdrawal).await? {
        return Err(WithdrawError::WouldBeClosed(app));
    }
    let worker = Worker { writer, index: index.clone(), way: withdrawal.way };
    let work = Work::new(worker, &withdrawal.scope, keys);
    let mut withdrawn = work.run(&claim, stop, tell).await;
    index.with(|index| keep(index, withdrawal, &mut withdrawn));
    watches.shutdown().await;
    Ok(withdrawn)
}

/// An app that admission would close as soon as it is taken back. One of each class and namespace is asked about,
/// since policies are for classes, and admins bind them to namespaces.
async fn first_closed(
    writer: &Writer,
    index: &SharedIndex,
    withdrawal: &Withdrawal,
) -> Result<Option<ObjectKey>, WithdrawError> {
    let groups = index.with(|index| {
        let mut groups: BTreeMap<(ClassRef, Arc<str>), BTreeSet<ObjectKey>> = BTreeMap::new();
        for key in index.all_keys() {
            let Key::App(app) = key else { continue };
            let class = class_if_asking(index, &app).filter(|_| withdrawal.scope.contains(&app.namespace));
            if let Some(class) = class {
                groups.entry((class, app.namespace.clone())).or_default().insert(app);
            }
        }
        groups
    });
    for apps in groups.into_values() {
        for app in apps {
            match would_be_closed(writer, index, &app, withdrawal.way).await? {
                Some(true) => return Ok(Some(app)),
                Some(false) => break,
                // It says nothing of the others.
                None => {}
            }
        }
    }
    Ok(None)
}

/// Whether admission would close `app` as soon as it is taken back; `None` where its annotations stay as they are, since nothing
/// is to be done to them, or since the API server rejects that: then the change itself will show why.
async fn would_be_closed(
    writer: &Writer,
    index: &SharedIndex,
    app: &ObjectKey,
    way: Way,
) -> Result<Option<bool>, WithdrawError> {
    let mut attempts = 0;
    loop {
        let change = index.with(|index| {
            let mut changes = stages(index, &Key::App(app.clone()), way).into_iter().flatten();
            changes.find(Change::is_of_annotations).filter(|_| class_if_asking(index, app).is_some())
        });
        let Some(change) = change else { return Ok(None) };
        attempts += 1;
        match writer.would_be_closed(&change).await {
            Ok(is_closed) => return Ok(Some(is_closed)),
            Err(WriteError::Rejected(_) | WriteError::Duplicate(_)) => return Ok(None),
            // It was edited meanwhile, and is known as it is now.
            Err(WriteError::Stale(_)) if attempts < ATTEMPTS => {}
            Err(error) => return Err(WithdrawError::NotAsked(error.to_string())),
        }
    }
}

/// The class of an app that asks for protection as it stands there, and not as this index takes it.
fn class_if_asking(index: &Index, app: &ObjectKey) -> Option<ClassRef> {
    let ingress = index.view(app).ingress?;
    let opt_in = ingress.app()?.annotation(&index.settings().keys.opt_in);
    opt_in.is_some_and(|value| value != "false").then(|| ingress.class.clone())
}

async fn all_lists(index: &SharedIndex) -> Result<(), WithdrawError> {
    let missing = || -> Vec<Source> {
        index.with(|index| Source::ALL.into_iter().filter(|source| !index.has_complete(*source)).collect())
    };
    let mut poll = interval(Duration::from_millis(5));
    let complete = async {
        while !missing().is_empty() {
            poll.tick().await;
        }
    };
    timeout(LIST_PATIENCE, complete).await.map_err(|_| WithdrawError::NoLists(missing()))
}

/// Notes what is still there of what was to be taken back.
fn keep(index: &Index, withdrawal: &Withdrawal, withdrawn: &mut Withdrawn) {
    for key in index.all_keys() {
        let is_meant = withdrawal.scope.contains(&key.object().namespace);
        if !is_meant || withdrawal.way == Way::HandOver || withdrawn.is_cut_short {
            continue;
        }
        if withdrawn.failures.contains_key(&key) {
            continue;
        }
        if let Some(reason) = why_kept(index, &key) {
            withdrawn.kept.insert(key, reason);
        }
    }
}

fn why_kept(index: &Index, key: &Key) -> Option<String> {
    let Key::App(app) = key else {
        let is_ours = index.is_ours(kind_of(key), key.object()) == Some(true);
        return is_ours.then(|| "an Ingress still names it or leads through it".to_owned());
    };
    let view = index.view(app);
    let Slot::Ours(route) = view.outpost_ingress else { return None };
    let lent: Vec<String> = view.lent_hosts.iter().map(ToString::to_string).collect();
    if !lent.is_empty() {
        return Some(format!(
            "its route Ingress {} serves {} for protected apps of other namespaces: clean up there too, or leave it",
            route.key,
            lent.join(", ")
        ));
    }
    let plan = decided_plan(&view, index.settings(), false);
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    Some(warnings.join("; "))
}

fn kind_of(key: &Key) -> Kind {
    match key {
        Key::App(_) => Kind::Ingress,
        Key::Service(_) => Kind::Service,
        Key::Headers(_) => Kind::ConfigMap,
        Key::Middleware(_) => Kind::Middleware,
    }
}

/// Brings one key about.
#[derive(Clone)]
struct Worker {
    writer: Writer,
    index: SharedIndex,
    way: Way,
}

/// What became of a key: what was done, and why not all of it.
type Done = (Vec<Change>, Result<(), WriteError>);

impl Worker {
    async fn bring_about(self, key: Key) -> Done {
        let mut done = Vec::new();
        for stage in self.index.with(|index| stages(index, &key, self.way)) {
            let results = join_all(stage.iter().map(|change| self.writer.perform(change))).await;
            for (change, result) in stage.into_iter().zip(results) {
                if let Err(error) = result {
                    return (done, Err(error));
                }
                done.push(change);
            }
        }
        (done, Ok(()))
    }
}

/// Requests in stages, as in [`crate::plan::changes::AppPlan::stages`].
fn stages(index: &Index, key: &Key, way: Way) -> Vec<Vec<Change>> {
    let settings = index.settings();
    match (way, key) {
        (Way::TakeBack, Key::App(app)) => {
            let view = index.view(app);
            let stages = decided_plan(&view, settings, false).stages;
            // A list that was edited in place is others' again, and whoever edited it last owns it.
            let claims = || hand_over::claims(&view, &settings.keys).map(|change| vec![change]);
            if stages.is_empty() { claims().into_iter().collect() } else { stages }
        }
        (Way::TakeBack, shared) => index.plan_shared(shared).map(|change| vec![change]).into_iter().collect(),
        (Way::HandOver, Key::App(app)) => {
            hand_over::app(&index.view(app), &settings.keys).into_iter().map(|change| vec![change]).collect()
        }
        (Way::HandOver, shared) => {
            index.hand_over_shared(shared).map(|change| vec![change]).into_iter().collect()
        }
    }
}

/// What is under way, and what is to come.
struct Work<'a> {
    worker: Worker,
    scope: &'a Scope,
    touches: UnboundedReceiver<Vec<Key>>,
    queue: Queue<Key>,
    running: JoinSet<Done>,
    /// What is running, and how often it failed before.
    keys: HashMap<Id, (Key, u32)>,
    /// How often something was done for a key.
    rounds: HashMap<Key, u32>,
    withdrawn: Withdrawn,
}

impl<'a> Work<'a> {
    fn new(worker: Worker, scope: &'a Scope, touches: UnboundedReceiver<Vec<Key>>) -> Self {
        let (queue, running, withdrawn) = (Queue::new(), JoinSet::new(), Withdrawn::default());
        let (keys, rounds) = (HashMap::new(), HashMap::new());
        let mut work = Self { worker, scope, touches, queue, running, keys, rounds, withdrawn };
        work.add(work.worker.index.with(|index| index.all_keys()));
        work
    }

    /// Until nothing is left to do: what was done has touched all that depends on it by then.
    async fn run(
        mut self,
        claim: &Claim,
        stop: &CancellationToken,
        tell: &mut impl FnMut(&Change),
    ) -> Withdrawn {
        let mut lost = std::pin::pin!(claim.lost());
        loop {
            while let Ok(keys) = self.touches.try_recv() {
                self.add(keys);
            }
            self.start_ready();
            if self.queue.lengths() == QueueLengths::default() {
                return self.withdrawn;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut lost => break,
                Some(ended) = self.running.join_next_with_id() => self.end(ended, tell),
                Some(keys) = self.touches.recv() => self.add(keys),
                () = self.queue.due() => {}
            }
        }
        self.withdrawn.is_cut_short = true;
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.running.join_next_with_id()).await
        {
            self.end(ended, tell);
        }
        self.withdrawn
    }

    fn add(&mut self, keys: Vec<Key>) {
        for key in keys {
            if self.scope.contains(&key.object().namespace) {
                self.queue.add(key);
            }
        }
    }

    fn start_ready(&mut self) {
        while self.running.len() < CONCURRENCY
            && let Some(turn) = self.queue.next()
        {
            if self.rounds.get(&turn.key).is_some_and(|rounds| *rounds >= ROUNDS) {
                let text =
                    "somebody undoes it as often as it is done; does a controller still run?".to_owned();
                self.queue.done(&turn.key, None);
                self.withdrawn.failures.insert(turn.key, text);
                continue;
            }
            let task = self.running.spawn(self.worker.clone().bring_about(turn.key.clone()));
            self.keys.insert(task.id(), (turn.key, turn.failures));
        }
    }

    fn end(&mut self, ended: Result<(Id, Done), JoinError>, tell: &mut impl FnMut(&Change)) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some((key, failures)) = self.keys.remove(&id) else { return };
        let result = match ended {
            Ok((_, (done, result))) => {
                if !done.is_empty() {
                    *self.rounds.entry(key.clone()).or_default() += 1;
                }
                for change in done {
                    self.withdrawn.count(&key, &change);
                    tell(&change);
                }
                result
            }
            Err(panic) => Err(WriteError::Rejected(format!("a bug, please report it: {panic}"))),
        };
        match result {
            Ok(()) => {
                self.withdrawn.failures.remove(&key);
                self.queue.done(&key, None);
            }
            Err(WriteError::Stale(_) | WriteError::Unavailable(_)) if failures + 1 < ATTEMPTS => {
                self.queue.failed(&key);
            }
            Err(error) => {
                self.withdrawn.failures.insert(key.clone(), error.to_string());
                self.queue.done(&key, None);
            }
        }
    }
}

async fn why_not_held(client: &Client, lease: &LeaseName) -> WithdrawError {
    let LeaseName { namespace, name, .. } = lease.clone();
    let found =
        timeout(API_TIMEOUT, Api::<Lease>::namespaced(client.clone(), &namespace).get_opt(&name)).await;
    let error = match found {
        Ok(Ok(found)) => match found.as_ref().and_then(holder) {
            Some(holder) => return WithdrawError::Held { namespace, name, holder: holder.to_owned() },
            None => format!(
                "check that you may create and update leases in the namespace {namespace}, and that there is one"
            ),
        },
        Ok(Err(error)) => brief(&error),
        Err(_) => "the API server does not answer".to_owned(),
    };
    WithdrawError::NoLease { namespace, name, error }
}

/// Who holds a Lease, as far as it says so.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// The Lease is one of the things that the controller made. Whoever wants it next makes it anew, so a failure is no matter.
async fn delete_lease(client: &Client, lease: &LeaseName) {
    let api = Api::<Lease>::namespaced(client.clone(), &lease.namespace);
    let delete = async {
        let found = api.get_opt(&lease.name).await.ok()??;
        let metadata = holder(&found).is_none().then_some(found.metadata)?;
        let (uid, resource_version) = (metadata.uid, metadata.resource_version);
        let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version });
        api.delete(&lease.name, &params).await.ok()
    };
    let _ = timeout(API_TIMEOUT, delete).await;
}

#[cfg(test)]
mod tests {
    use super::super::api_double::{Answer, Asked, Log, api_server, failure};
    use super::*;
    use crate::contract::{AUTH_URL, CLOSED_URL, MANAGER};
    use ingress_sso_testbed::builders::ingress;
    use serde_json::{Value, json};

    const STATUS: &str = "sso.djieno.com/status";

    /// A protected app.
    fn app(name: &str, version: &str) -> Value {
        let app =
            ingress("shop", name).host(&format!("{name}.example.com")).uid(name).resource_version(version);
        let app = app.annotation("sso.djieno.com/authentik", "true").annotation(STATUS, "Protected");
        json!(app.applied_by(MANAGER, &[STATUS]).build())
    }

    /// The app as admission closes it.
    fn closed(name: &str) -> Answer {
        let mut app = app(name, "1");
        app["metadata"]["annotations"] = json!({ "sso.djieno.com/authentik": "true", AUTH_URL: CLOSED_URL });
        (200, app)
    }

    /// Rehearses to take back the apps `one` and `two` of a class and namespace, where dry runs are answered so: by the number of
    /// this one and what is asked. Whoever reads an app finds it in the version 2.
    async fn rehearse(
        answer: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
    ) -> (Result<Withdrawn, WithdrawError>, Log) {
        let (client, log) = api_server(move |asked| {
            let patches = asked.iter().filter(|asked| asked.method == "PATCH").count();
            let asked = asked.last()?;
            let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
            match (asked.method.as_str(), path) {
                ("PATCH", _) => Some(answer(patches, asked)),
                _ if query.contains("sendInitialEvents") => Some(failure(422, "no sendInitialEvents")),
                _ if query.contains("watch=true") => None,
                ("GET", "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/one") => {
                    Some((200, app("one", "2")))
                }
                (_, path) => {
                    let is_of_apps = path.ends_with("/ingresses");
                    let items = if is_of_apps { vec![app("one", "1"), app("two", "1")] } else { Vec::new() };
                    Some((200, json!({ "metadata": { "resourceVersion": "1" }, "items": items })))
                }
            }
        });
        let withdrawal = Withdrawal { way: Way::TakeBack, scope: Scope::Cluster, lease: None };
        let (settings, stop) = (Arc::default(), CancellationToken::new());
        let withdrawn = withdraw(client, settings, &withdrawal, &stop, &mut |_| {}).await;
        (withdrawn, log)
    }

    /// The dry runs that were asked for: of which app, in which version.
    fn dry_runs(log: &Log) -> Vec<(String, String)> {
        let log = log.lock().unwrap();
        let writes = log.iter().filter(|asked| asked.method != "GET");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        writes
            .map(|asked| {
                assert!(asked.path.contains("dryRun=All"), "{asked:?}");
                let metadata = &asked.body["metadata"];
                (text(&metadata["name"]), text(&metadata["resourceVersion"]))
            })
            .collect()
    }

    fn of(name: &str, version: &str) -> (String, String) {
        (name.to_owned(), version.to_owned())
    }

    #[tokio::test]
    async fn without_an_answer_of_whether_admission_would_close_apps_nothing_is_done() {
        let (withdrawn, log) = rehearse(|_, _| failure(503, "ServiceUnavailable")).await;
        let error = withdrawn.map_err(|error| error.to_string()).unwrap_err();
        assert!(error.contains("Ingress shop/one: ServiceUnavailable; nothing was done"), "{error}");
        assert_eq!(dry_runs(&log), [of("one", "1")]);
    }

    #[tokio::test]
    async fn an_app_that_was_edited_since_is_asked_about_as_it_is_now() {
        let (withdrawn, log) = rehearse(|patches, _| match patches {
            1 => failure(409, "Conflict"),
            _ => closed("one"),
        })
        .await;
        let error = withdrawn.map_err(|error| error.to_string()).unwrap_err();
        assert!(error.contains("would close shop/one"), "{error}");
        assert_eq!(dry_runs(&log), [of("one", "1"), of("one", "2")]);
    }

    #[tokio::test]
    async fn of_an_app_that_is_edited_all_the_time_nothing_is_known() {
        let (withdrawn, log) = rehearse(|_, _| failure(409, "Conflict")).await;
        let error = withdrawn.map_err(|error| error.to_string()).unwrap_err();
        assert!(error.contains("Ingress shop/one: Conflict; nothing was done"), "{error}");
        assert_eq!(dry_runs(&log).len(), ATTEMPTS as usize);
    }

    #[tokio::test]
    async fn a_rejection_says_nothing_of_the_other_apps_of_the_class() {
        let (withdrawn, log) = rehearse(|_, asked| match asked.body["metadata"]["name"].as_str() {
            Some("one") => failure(403, "Forbidden"),
            _ => closed("two"),
        })
        .await;
        let error = withdrawn.map_err(|error| error.to_string()).unwrap_err();
        assert!(error.contains("would close shop/two"), "{error}");
        assert_eq!(dry_runs(&log), [of("one", "1"), of("two", "1")]);
    }
}
