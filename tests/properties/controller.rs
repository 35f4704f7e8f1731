//! The controller without its threads: one key after the other, in an order that the dice decide.

use super::cluster::{ApiError, Cluster, Event};
use ingress_sso::config::Settings;
use ingress_sso::facts::{
    ConfigMapFacts, Identity, IngressClassFacts, IngressFacts, MiddlewareFacts, ObjectKey, ServiceFacts,
};
use ingress_sso::index::{Index, Key, Source};
use ingress_sso::plan::changes::{AppPlan, Change, Kind, app_plan};
use ingress_sso::plan::{Decision, decide};
use ingress_sso_testbed::builders::ingress_class;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// More keys than any world of these tests needs until it is quiet.
const ENOUGH: usize = 2000;

/// How often a key is looked at again after a failure.
const RETRIES: u32 = 100;

/// The classes with their controllers.
pub(crate) const CLASSES: [(&str, &str); 4] = [
    ("nginx", "k8s.io/ingress-nginx"),
    ("internal", "k8s.io/ingress-nginx"),
    ("traefik", "traefik.io/ingress-controller"),
    ("migration", "rke2.cattle.io/ingress-nginx-migration"),
];

/// A sequence of numbers that look random and shrink with their seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`, which must not be zero.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        // Knuth's MMIX; its high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.roll(end + 1));
        }
    }
}

/// An index with the keys that it asked to look at.
pub(crate) struct Controller {
    pub(crate) index: Index,
    queue: Vec<Key>,
    dice: Dice,
    is_patient: bool,
}

impl Controller {
    /// Starts with a list of all there is.
    pub(crate) fn start(cluster: &Cluster, settings: Settings, mut dice: Dice) -> Self {
        let mut events = all_objects(cluster);
        dice.shuffle(&mut events);
        let index = index_of(settings, events);
        Self { queue: index.all_keys(), index, dice, is_patient: true }
    }

    /// Takes in what a watch delivered.
    pub(crate) fn notice(&mut self, events: Vec<Event>) {
        for event in events {
            self.queue.extend(observe(&mut self.index, event));
        }
    }

    /// Works until nothing is left to do, and then again with all waits grown long.
    pub(crate) fn settle(&mut self, cluster: &mut Cluster) -> Result<(), String> {
        self.is_patient = true;
        self.work(cluster)?;
        let forgotten = to_do(&self.index, &[false]);
        if !forgotten.is_empty() {
            return Err(format!("nobody was told to do this: {forgotten:?}"));
        }
        self.is_patient = false;
        let waits = |app: &ObjectKey| matches!(plan_of(&self.index, app, true).0, Decision::Wait { .. });
        let waiting = self.index.all_keys().into_iter();
        let waiting: Vec<Key> = waiting.filter(|key| matches!(key, Key::App(app) if waits(app))).collect();
        self.queue.extend(waiting);
        self.work(cluster)
    }

    /// Works until nothing is left to do.
    pub(crate) fn work(&mut self, cluster: &mut Cluster) -> Result<(), String> {
        let mut failures: HashMap<Key, u32> = HashMap::new();
        for _ in 0..ENOUGH {
            if self.queue.is_empty() {
                return Ok(());
            }
            let key = self.queue.swap_remove(self.dice.roll(self.queue.len()));
            match self.reconcile(cluster, &key) {
                Ok(()) => _ = failures.remove(&key),
                Err(ApiError::Conflict(what)) => return Err(format!("{key:?} hit a conflict: {what}")),
                Err(ApiError::Denied(what)) => {
                    let count = failures.entry(key.clone()).or_default();
                    *count += 1;
                    if *count > RETRIES {
                        return Err(format!("{key:?} is denied again and again: {what}"));
                    }
                    self.queue.insert(0, key);
                }
            }
        }
        Err(format!("not quiet after {ENOUGH} keys; still to do: {:?}", self.queue))
    }

    fn reconcile(&mut self, cluster: &mut Cluster, key: &Key) -> Result<(), ApiError> {
        let app = match key {
            Key::App(app) => app,
            Key::Service(_) | Key::Headers(_) | Key::Middleware(_) => {
                let change = self.index.plan_shared(key);
                return change.map_or(Ok(()), |change| self.perform(cluster, &change));
            }
        };
        let (_, plan) = plan_of(&self.index, app, !self.is_patient);
        for change in plan.stages.iter().flatten() {
            let result = self.perform(cluster, change);
            if change.is_of_route() {
                let is_denied = matches!(result, Err(ApiError::Denied(_)));
                let keys = self.index.set_denied(app, is_denied);
                self.queue.extend(keys);
            }
            result?;
        }
        Ok(())
    }

    fn perform(&mut self, cluster: &mut Cluster, change: &Change) -> Result<(), ApiError> {
        if let Change::Create(companion) = change
            && self.index.is_ours(companion.kind(), &companion.key()) == Some(true)
        {
            return Ok(());
        }
        let events = cluster.perform(change)?;
        self.notice(events);
        Ok(())
    }
}

/// What becomes of `app`, and what is to be done for it.
pub(crate) fn plan_of(index: &Index, app: &ObjectKey, is_overdue: bool) -> (Decision, AppPlan) {
    let view = index.view(app);
    let decision = decide(&view, index.settings());
    let plan = app_plan(&view, &decision, &index.settings().keys, is_overdue);
    (decision, plan)
}

/// All that `index` still wants to do, as text.
pub(crate) fn still_to_do(index: &Index) -> Vec<String> {
    to_do(index, &[false, true])
}

/// The same for apps that have waited for long, for others, or for both.
fn to_do(index: &Index, is_overdue: &[bool]) -> Vec<String> {
    let keys: BTreeSet<Key> = index.all_keys().into_iter().collect();
    let changes = keys.iter().flat_map(|key| match key {
        Key::App(app) => {
            let plans = is_overdue.iter().map(|is_overdue| plan_of(index, app, *is_overdue).1);
            plans.flat_map(|plan| plan.stages).flatten().collect()
        }
        Key::Service(_) | Key::Headers(_) | Key::Middleware(_) => Vec::from_iter(index.plan_shared(key)),
    });
    changes.map(|change| format!("{change:?}")).collect()
}

/// Every object as its first event.
pub(crate) fn all_objects(cluster: &Cluster) -> Vec<Event> {
    let ingresses = cluster.ingresses.values().cloned().map(|object| Event::Ingress(Box::new(object)));
    let services = cluster.services.values().cloned().map(|object| Event::Service(Box::new(object)));
    let config_maps = cluster.config_maps.values().cloned().map(|object| Event::ConfigMap(Box::new(object)));
    let middlewares = cluster.middlewares.values().cloned().map(|object| Event::Middleware(Box::new(object)));
    let kind = Event::MiddlewareKind(!cluster.lacks_middlewares);
    ingresses.chain(services).chain(config_maps).chain(middlewares).chain([kind]).collect()
}

/// An index that has seen these events and nothing else, all lists delivered.
pub(crate) fn index_of(settings: Settings, events: impl IntoIterator<Item = Event>) -> Index {
    let mut index = Index::new(Arc::new(settings));
    observe_classes(&mut index);
    for event in events {
        observe(&mut index, event);
    }
    complete(&mut index);
    index
}

/// Feeds all classes to the index.
pub(crate) fn observe_classes(index: &mut Index) {
    for (class, controller) in CLASSES {
        index.observe_class(IngressClassFacts::extract(&ingress_class(class, controller)));
    }
}

/// Completes all lists but that of Middlewares, which an event of its own does.
pub(crate) fn complete(index: &mut Index) {
    for source in Source::ALL.into_iter().filter(|source| *source != Source::Middlewares) {
        index.complete(source);
    }
}

/// Feeds one event to the index; the answer is which keys to look at.
pub(crate) fn observe(index: &mut Index, event: Event) -> Vec<Key> {
    let keys = index.settings().keys.clone();
    match event {
        Event::Ingress(ingress) => IngressFacts::extract(&ingress, &keys)
            .map_or_else(|_| Vec::new(), |facts| index.observe_ingress(facts)),
        Event::Service(service) => index.observe_service(ServiceFacts::extract(&service, &keys)),
        Event::ConfigMap(config_map) => index.observe_headers(ConfigMapFacts::extract(&config_map)),
        Event::Middleware(middleware) => {
            index.observe_middleware(MiddlewareFacts::extract(&middleware, &keys))
        }
        Event::MiddlewareKind(true) => index.complete(Source::Middlewares),
        Event::MiddlewareKind(false) => index.miss_middlewares(),
        Event::Gone(kind, key, uid) => {
            let identity = Identity::new(&uid, "");
            index.forget(source(kind), &key, Some(&identity))
        }
    }
}

fn source(kind: Kind) -> Source {
    match kind {
        Kind::Ingress => Source::Ingresses,
        Kind::Service => Source::Services,
        Kind::ConfigMap => Source::ConfigMaps,
        Kind::Middleware => Source::Middlewares,
    }
}
