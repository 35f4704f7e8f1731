//! Everything at one moment: the cluster, what the watches have yet to deliver, and the controller in the middle of its work.

mod fingerprint;
mod run;
mod verdict;

use super::cluster::{self, Cluster};
use super::controller::{all_objects, index_of, observe, plan_of};
use super::user_action::{App, UserAction};
use super::world::settings;
use fingerprint::{FIRST_VERSION, Fingerprint};
use ingress_sso::config::Settings;
use ingress_sso::contract::Keys;
use ingress_sso::facts::{IngressFacts, ObjectKey};
use ingress_sso::index::{Index, Key, Source};
use ingress_sso::plan::changes::{AppPlan, Kind};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use run::Run;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// More steps than any of these worlds needs until it is quiet.
const ENOUGH: usize = 300;

static SETTINGS: LazyLock<Settings> = LazyLock::new(settings);

const KINDS: [(Kind, Source); 3] = [
    (Kind::Ingress, Source::Ingresses),
    (Kind::Service, Source::Services),
    (Kind::ConfigMap, Source::ConfigMaps),
];

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct State {
    cluster: Arc<Cluster>,
    /// What users wrote last.
    apps: Vec<Option<App>>,
    /// What the watches have yet to deliver, each in order.
    watches: BTreeMap<Kind, VecDeque<Arc<cluster::Event>>>,
    index: Arc<Index>,
    /// Keys to look at of which something is to be done. The others are left out at once: should that change, the index has
    /// to say so.
    queue: BTreeSet<Key>,
    /// Keys that are tried again later.
    failed: BTreeSet<Key>,
    runs: Vec<Run>,
    /// How much users may yet do, and how often the controller may crash.
    pub(crate) user_actions_left: u8,
    crashes_left: u8,
    /// What a write of the controller has done that it must not.
    wrong: Option<String>,
    /// Of each version of an object.
    fingerprints: Arc<BTreeMap<u64, Fingerprint>>,
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Do(UserAction),
    /// Garbage collection.
    Collect,
    /// The watch on this kind delivers what is next.
    Deliver(Kind),
    /// The controller plans what is to be done for a key.
    Begin(Key),
    /// It sends the next request for a key, and has the answer.
    Send(Key, String),
    /// A key that failed is tried again.
    Retry(Key),
    /// The controller ends without notice, and starts again.
    Crash,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Do(action) => write!(f, "user: {action:?}"),
            Self::Collect => f.write_str("garbage is collected"),
            Self::Deliver(kind) => write!(f, "the watch on {kind} delivers"),
            Self::Begin(key) => write!(f, "{key}: planned"),
            Self::Send(key, change) => write!(f, "{key}: {change}"),
            Self::Retry(key) => write!(f, "{key}: tried again"),
            Self::Crash => f.write_str("the controller crashes and starts again"),
        }
    }
}

impl State {
    /// All apps are there and protected, and everything is quiet.
    pub(crate) fn settled(mut cluster: Cluster, apps: &[App], user_actions: u8, crashes: u8) -> Self {
        (cluster.is_littered, cluster.version) = (true, FIRST_VERSION);
        let mut state = Self {
            cluster: Arc::new(cluster),
            apps: vec![None; apps.len()],
            watches: BTreeMap::new(),
            index: Arc::new(index_of(SETTINGS.clone(), Vec::new())),
            queue: BTreeSet::new(),
            failed: BTreeSet::new(),
            runs: Vec::new(),
            user_actions_left: u8::try_from(apps.len()).unwrap_or(u8::MAX),
            crashes_left: crashes,
            wrong: None,
            fingerprints: Arc::default(),
        };
        for (slot, app) in apps.iter().enumerate() {
            state.happen(&Action::Do(UserAction::Put(slot, *app)));
        }
        assert!(state.settle(), "a world begins in quiet");
        Self { user_actions_left: user_actions, ..state }
    }

    /// What can happen next.
    pub(crate) fn actions(&self, user_actions: &[UserAction], concurrency: usize) -> Vec<Action> {
        if self.wrong.is_some() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if self.user_actions_left > 0 {
            let news = user_actions.iter().filter(|action| action.is_news(&self.cluster, &self.apps));
            actions.extend(news.map(|action| Action::Do(*action)));
        }
        if !garbage(&self.cluster).is_empty() {
            actions.push(Action::Collect);
        }
        let watches = self.watches.iter().filter(|(_, queue)| !queue.is_empty());
        actions.extend(watches.map(|(kind, _)| Action::Deliver(*kind)));
        if self.runs.len() < concurrency {
            let free = self.queue.iter().filter(|key| self.runs.iter().all(|run| run.key != **key));
            actions.extend(free.map(|key| Action::Begin(key.clone())));
        }
        actions.extend(self.runs.iter().map(Run::next));
        actions.extend(self.failed.iter().map(|key| Action::Retry(key.clone())));
        if self.crashes_left > 0 && !self.is_idle() {
            actions.push(Action::Crash);
        }
        actions
    }

    /// Lets it happen.
    pub(crate) fn happen(&mut self, action: &Action) {
        match action {
            Action::Do(action) => {
                self.user_actions_left -= 1;
                let events = action.carry_out(Arc::make_mut(&mut self.cluster), &mut self.apps);
                self.announce(events);
            }
            Action::Collect => {
                for key in garbage(&self.cluster) {
                    let events = Arc::make_mut(&mut self.cluster).delete_ingress(&key);
                    self.announce(events);
                }
            }
            Action::Deliver(kind) => {
                let event = self.watches.get_mut(kind).and_then(VecDeque::pop_front);
                if let Some(event) = event {
                    self.learn(&event);
                }
            }
            Action::Begin(key) => {
                self.queue.remove(key);
                let stages = self.plan(key).stages.into_iter().map(|stage| {
                    let fingerprint = Fingerprint::of(&format!("{stage:?}"));
                    (Arc::new(stage), fingerprint)
                });
                self.go_on(Run::new(key.clone(), stages.collect()));
            }
            Action::Send(key, _) => {
                if let Some(position) = self.runs.iter().position(|run| run.key == *key) {
                    let run = self.runs.remove(position);
                    self.send(run);
                }
            }
            Action::Retry(key) => {
                self.failed.remove(key);
                self.queue.insert(key.clone());
            }
            Action::Crash => {
                self.crashes_left -= 1;
                self.index = Arc::new(index_of(SETTINGS.clone(), all_objects(&self.cluster)));
                self.queue = self.index.all_keys().into_iter().collect();
                (self.watches, self.failed, self.runs) = Default::default();
            }
        }
        if !matches!(action, Action::Do(_) | Action::Collect | Action::Begin(_)) {
            let queue = std::mem::take(&mut self.queue);
            self.queue = queue.into_iter().filter(|key| !self.plan(key).stages.is_empty()).collect();
        }
        self.watches.retain(|_, queue| !queue.is_empty());
    }

    /// What has changed is on its way to the controller.
    fn announce(&mut self, events: Vec<cluster::Event>) {
        for event in events {
            self.note(&event);
            self.watches.entry(kind_of(&event)).or_default().push_back(Arc::new(event));
        }
    }

    fn note(&mut self, event: &cluster::Event) {
        let text = match event {
            cluster::Event::Ingress(object) => serde_json::to_string(object),
            cluster::Event::Service(object) => serde_json::to_string(object),
            cluster::Event::ConfigMap(object) => serde_json::to_string(object),
            _ => return,
        };
        let version = version_of(event).unwrap_or_default();
        let fingerprint = Fingerprint::of(&text.expect("an object"));
        Arc::make_mut(&mut self.fingerprints).insert(version, fingerprint);
    }

    fn learn(&mut self, event: &cluster::Event) {
        self.queue.extend(observe(Arc::make_mut(&mut self.index), event.clone()));
    }

    /// What is to be done for `key`.
    fn plan(&self, key: &Key) -> AppPlan {
        match key {
            Key::App(app) => plan_of(&self.index, app, false).1,
            shared => {
                let stages = self.index.plan_shared(shared).into_iter().map(|change| vec![change]);
                AppPlan { stages: stages.collect(), ..AppPlan::default() }
            }
        }
    }

    /// Whether the controller has nothing to do and nothing to hear.
    fn is_idle(&self) -> bool {
        self.watches.is_empty() && self.queue.is_empty() && self.runs.is_empty() && self.failed.is_empty()
    }

    /// The same, and nothing is left that happens by itself.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_idle() && garbage(&self.cluster).is_empty()
    }

    /// Lets the controller do its work, and everybody else rest. The answer is whether it grows quiet.
    fn settle(&mut self) -> bool {
        for _ in 0..ENOUGH {
            let action = if let Some(kind) = self.watches.keys().next() {
                Action::Deliver(*kind)
            } else if let Some(run) = self.runs.first() {
                run.next()
            } else if let Some(key) = self.queue.first() {
                Action::Begin(key.clone())
            } else if !garbage(&self.cluster).is_empty() {
                Action::Collect
            } else if self.failed.is_empty() {
                return true;
            } else {
                self.queue.append(&mut self.failed);
                Action::Deliver(Kind::Ingress)
            };
            self.happen(&action);
        }
        false
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("apps", &self.apps).field("wrong", &self.wrong).finish_non_exhaustive()
    }
}

/// Ingresses that belong to others that are gone.
fn garbage(cluster: &Cluster) -> Vec<ObjectKey> {
    let lives =
        |uid: &str| cluster.ingresses.values().any(|ingress| ingress.metadata.uid.as_deref() == Some(uid));
    let is_garbage = |ingress: &&Ingress| {
        let mut owners = ingress.metadata.owner_references.iter().flatten();
        owners.any(|owner| !lives(&owner.uid))
    };
    cluster.ingresses.values().filter(is_garbage).map(|ingress| ObjectKey::of(&ingress.metadata)).collect()
}

fn facts(ingress: &Ingress) -> IngressFacts {
    IngressFacts::extract(ingress, &Keys::default()).expect("an Ingress")
}

fn kind_of(event: &cluster::Event) -> Kind {
    match event {
        cluster::Event::Ingress(_) => Kind::Ingress,
        cluster::Event::Service(_) => Kind::Service,
        cluster::Event::ConfigMap(_) => Kind::ConfigMap,
        cluster::Event::Middleware(_) | cluster::Event::MiddlewareKind(_) => Kind::Middleware,
        cluster::Event::Gone(kind, ..) => *kind,
    }
}

fn key_of(event: &cluster::Event) -> Option<ObjectKey> {
    match event {
        cluster::Event::Ingress(object) => Some(ObjectKey::of(&object.metadata)),
        cluster::Event::Service(object) => Some(ObjectKey::of(&object.metadata)),
        cluster::Event::ConfigMap(object) => Some(ObjectKey::of(&object.metadata)),
        cluster::Event::Gone(_, key, _) => Some(key.clone()),
        cluster::Event::Middleware(_) | cluster::Event::MiddlewareKind(_) => None,
    }
}

fn version_of(event: &cluster::Event) -> Option<u64> {
    let metadata = match event {
        cluster::Event::Ingress(object) => &object.metadata,
        cluster::Event::Service(object) => &object.metadata,
        cluster::Event::ConfigMap(object) => &object.metadata,
        _ => return None,
    };
    number(metadata)
}

fn number(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}
