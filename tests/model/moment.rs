//! Everything at one moment: the cluster, what the watches have yet to deliver, and the controller in the middle of its work.

use super::cluster::{self, ApiError, Cluster, STATUS, places};
use super::controller::{all_objects, index_of, observe, plan_of, still_to_do};
use super::deed::{App, Deed, app_key, leads_astray};
use super::essence::{Essence, FIRST_VERSION, Print};
use super::ownership;
use super::world::{OPT_IN, settings};
use ingress_sso::config::Settings;
use ingress_sso::contract::{Keys, MANAGER, OUTPOST_PATH};
use ingress_sso::facts::{Host, Identity, IngressFacts, ObjectKey};
use ingress_sso::index::{Index, Key, Source};
use ingress_sso::plan::HostHolder;
use ingress_sso::plan::changes::{AppPlan, Change, Kind};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
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
pub(crate) struct Moment {
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
    pub(crate) deeds: u8,
    crashes: u8,
    /// What a write of the controller has done that it must not.
    wrong: Option<String>,
    /// Of each version of an object.
    essences: Arc<BTreeMap<u64, Essence>>,
}

/// A key that the controller works on.
#[derive(Clone)]
struct Run {
    key: Key,
    /// What is left of the stage.
    changes: VecDeque<(Arc<Change>, Essence)>,
    /// The stages after it.
    stages: VecDeque<(Arc<Vec<Change>>, Essence)>,
    /// Whether the first of them was confirmed by a fresh read.
    is_confirmed: bool,
    /// The apps as they were known when this stage began, or read since.
    known: BTreeMap<ObjectKey, u64>,
    /// Routes that take the place of the one that is to be deleted, as they were read.
    heirs: BTreeMap<ObjectKey, u64>,
    /// Whether some app was waiting for room then, as a webhook had rejected its route.
    makes_room: bool,
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Do(Deed),
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

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Do(deed) => write!(f, "user: {deed:?}"),
            Self::Collect => f.write_str("garbage is collected"),
            Self::Deliver(kind) => write!(f, "the watch on {kind} delivers"),
            Self::Begin(key) => write!(f, "{key}: planned"),
            Self::Send(key, change) => write!(f, "{key}: {change}"),
            Self::Retry(key) => write!(f, "{key}: tried again"),
            Self::Crash => f.write_str("the controller crashes and starts again"),
        }
    }
}

impl Moment {
    /// All apps are there and protected, and everything is quiet.
    pub(crate) fn settled(mut cluster: Cluster, apps: &[App], deeds: u8, crashes: u8) -> Self {
        (cluster.is_littered, cluster.version) = (true, FIRST_VERSION);
        let mut moment = Self {
            cluster: Arc::new(cluster),
            apps: vec![None; apps.len()],
            watches: BTreeMap::new(),
            index: Arc::new(index_of(SETTINGS.clone(), Vec::new())),
            queue: BTreeSet::new(),
            failed: BTreeSet::new(),
            runs: Vec::new(),
            deeds: u8::try_from(apps.len()).unwrap_or(u8::MAX),
            crashes,
            wrong: None,
            essences: Arc::default(),
        };
        for (slot, app) in apps.iter().enumerate() {
            moment.happen(&Event::Do(Deed::Put(slot, *app)));
        }
        assert!(moment.settle(), "a world begins in quiet");
        Self { deeds, ..moment }
    }

    /// What can happen next.
    pub(crate) fn events(&self, deeds: &[Deed], concurrency: usize) -> Vec<Event> {
        if self.wrong.is_some() {
            return Vec::new();
        }
        let mut events = Vec::new();
        if self.deeds > 0 {
            let news = deeds.iter().filter(|deed| deed.is_news(&self.cluster, &self.apps));
            events.extend(news.map(|deed| Event::Do(*deed)));
        }
        if !garbage(&self.cluster).is_empty() {
            events.push(Event::Collect);
        }
        let watches = self.watches.iter().filter(|(_, queue)| !queue.is_empty());
        events.extend(watches.map(|(kind, _)| Event::Deliver(*kind)));
        if self.runs.len() < concurrency {
            let free = self.queue.iter().filter(|key| self.runs.iter().all(|run| run.key != **key));
            events.extend(free.map(|key| Event::Begin(key.clone())));
        }
        events.extend(self.runs.iter().map(Run::next));
        events.extend(self.failed.iter().map(|key| Event::Retry(key.clone())));
        if self.crashes > 0 && !self.is_idle() {
            events.push(Event::Crash);
        }
        events
    }

    /// Lets it happen.
    pub(crate) fn happen(&mut self, event: &Event) {
        match event {
            Event::Do(deed) => {
                self.deeds -= 1;
                let events = deed.carry_out(Arc::make_mut(&mut self.cluster), &mut self.apps);
                self.announce(events);
            }
            Event::Collect => {
                for key in garbage(&self.cluster) {
                    let events = Arc::make_mut(&mut self.cluster).delete_ingress(&key);
                    self.announce(events);
                }
            }
            Event::Deliver(kind) => {
                let event = self.watches.get_mut(kind).and_then(VecDeque::pop_front);
                if let Some(event) = event {
                    self.learn(&event);
                }
            }
            Event::Begin(key) => {
                self.queue.remove(key);
                let stages = self.plan(key).stages.into_iter().map(|stage| {
                    let essence = Essence::of(&format!("{stage:?}"));
                    (Arc::new(stage), essence)
                });
                self.go_on(Run::new(key.clone(), stages.collect()));
            }
            Event::Send(key, _) => {
                if let Some(position) = self.runs.iter().position(|run| run.key == *key) {
                    let run = self.runs.remove(position);
                    self.send(run);
                }
            }
            Event::Retry(key) => {
                self.failed.remove(key);
                self.queue.insert(key.clone());
            }
            Event::Crash => {
                self.crashes -= 1;
                self.index = Arc::new(index_of(SETTINGS.clone(), all_objects(&self.cluster)));
                self.queue = self.index.all_keys().into_iter().collect();
                (self.watches, self.failed, self.runs) = Default::default();
            }
        }
        if !matches!(event, Event::Do(_) | Event::Collect | Event::Begin(_)) {
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
        let essence = Essence::of(&text.expect("an object"));
        Arc::make_mut(&mut self.essences).insert(version, essence);
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

    /// Goes on with a key, unless nothing is left to do for it.
    fn go_on(&mut self, mut run: Run) {
        if run.changes.is_empty() {
            match run.stages.front() {
                None => return,
                Some((stage, _)) if !self.plan(&run.key).is_next(stage) => {
                    self.failed.insert(run.key);
                    return;
                }
                Some(_) => run.begin_stage(),
            }
            run.known = self.known_apps(&run);
            let early = run.changes.iter().find_map(|(change, _)| self.is_said_too_early(change));
            self.wrong = self.wrong.take().or(early);
        }
        self.runs.push(run);
        self.runs.sort_by(|one, other| one.key.cmp(&other.key));
    }

    /// The apps as the index knows them. Of one whose route is to be deleted it is not enough to know it.
    fn known_apps(&self, run: &Run) -> BTreeMap<ObjectKey, u64> {
        let apps = (0..self.apps.len()).map(app_key);
        let known = apps.filter_map(|app| {
            let version = self.index.identity(Source::Ingresses, &app).and_then(Identity::version)?;
            Some((app, version))
        });
        let is_delete = run.changes.iter().any(|(change, _)| matches!(**change, Change::Delete { .. }));
        known.filter(|(app, _)| !is_delete || run.key != Key::App(app.clone())).collect()
    }

    /// Does for the next change what `src/controller/write.rs` does, and then what `reconcile.rs` does.
    fn send(&mut self, mut run: Run) {
        let Some((change, _)) = run.changes.front().cloned() else { return };
        let is_delete = matches!(*change, Change::Delete { .. });
        let result = if is_delete && !run.is_confirmed {
            self.confirm(&change, &mut run)
        } else {
            self.perform(&change, &run)
        };
        if change.is_of_route()
            && let Key::App(app) = &run.key
            && matches!(result, Ok(_) | Err(ApiError::Denied(_)))
        {
            self.queue.extend(Arc::make_mut(&mut self.index).set_denied(app, result.is_err()));
        }
        match result {
            Ok(is_done) => {
                run.is_confirmed = !is_done;
                if is_done {
                    run.changes.pop_front();
                }
                self.go_on(run);
            }
            Err(ApiError::Conflict(what)) if what.contains("from its user") => self.wrong = Some(what),
            Err(_) => _ = self.failed.insert(run.key),
        }
    }

    /// Reads afresh what must not need what is to be deleted. The answer is whether there is nothing to delete any more.
    fn confirm(&mut self, change: &Change, run: &mut Run) -> Result<bool, ApiError> {
        let stale = || Err(ApiError::Conflict("it is needed".to_owned()));
        let Change::Delete { kind, key, .. } = change else { return Ok(false) };
        if *kind == Kind::Ingress {
            let Some(app) = self.index.app_of_route(key) else { return stale() };
            let Some(found) = self.cluster.ingresses.get(&app).cloned() else {
                return self.confirm_heirs(&app, change, run);
            };
            run.known.extend(number(&found.metadata).map(|version| (app.clone(), version)));
            if self.index.may_lose_route(&app, &facts(&found)) {
                return self.confirm_heirs(&app, change, run);
            }
            self.learn(&cluster::Event::Ingress(Box::new(found)));
            return stale();
        }
        let shared = match kind {
            Kind::Service => Key::Service(key.clone()),
            _ => Key::Headers(key.clone()),
        };
        if self.index.plan_shared(&shared).as_ref() != Some(change) {
            return Ok(true);
        }
        let is_used = self.cluster.ingresses.values().any(|ingress| kind.is_used_by(&facts(ingress), key));
        if is_used { stale() } else { Ok(false) }
    }

    /// Reads afresh what takes the place of the route of `app`, and plans again.
    fn confirm_heirs(&mut self, app: &ObjectKey, change: &Change, run: &mut Run) -> Result<bool, ApiError> {
        for heir in self.index.heirs(app) {
            let found = self.cluster.ingresses.get(&heir).cloned();
            let known = self.index.identity(Source::Ingresses, &heir).cloned();
            if found.as_ref().map(|found| Identity::of(&found.metadata)) == known {
                run.heirs.extend(known.and_then(|known| Some((heir, known.version()?))));
                continue;
            }
            match (found, known) {
                (Some(found), _) => self.learn(&cluster::Event::Ingress(Box::new(found))),
                (None, Some(known)) => self.forget(Kind::Ingress, &heir, &known),
                (None, None) => {}
            }
            return Err(ApiError::Conflict("it is replaced by another".to_owned()));
        }
        run.makes_room = self.is_denied();
        let plan = self.plan(&Key::App(app.clone()));
        let is_due = plan.stages.iter().flatten().any(|due| due == change);
        if is_due { Ok(false) } else { Err(ApiError::Conflict("it is needed again".to_owned())) }
    }

    /// Sends a request, if one is needed, and takes in the answer. It is always that the change is done.
    fn perform(&mut self, change: &Change, run: &Run) -> Result<bool, ApiError> {
        if let Change::Create(companion) = change {
            match self.index.is_ours(companion.kind(), &companion.key()) {
                None => {}
                Some(true) => return Ok(true),
                Some(false) => return Err(ApiError::Conflict("somebody else made it".to_owned())),
            }
        }
        let before = Arc::clone(&self.cluster);
        match Arc::make_mut(&mut self.cluster).perform(change) {
            Ok(events) => {
                self.wrong = self.wrong.take().or_else(|| self.wrong_by(change, run, &before));
                self.announce(events.clone());
                if let Change::Delete { kind, key, identity } = change {
                    self.forget(*kind, key, identity);
                } else {
                    for event in &events {
                        self.learn(event);
                    }
                }
                Ok(true)
            }
            Err(error) => {
                self.cluster = before;
                self.look_after(change).map_or(Err(error), |()| Ok(true))
            }
        }
    }

    /// After a request that failed: looks what is there. The answer is whether all is as it should be.
    fn look_after(&mut self, change: &Change) -> Option<()> {
        let found = |kind: Kind, key: &ObjectKey| {
            let mut all = all_objects(&self.cluster).into_iter();
            all.find(|event| kind_of(event) == kind && key_of(event).as_ref() == Some(key))
        };
        match change {
            Change::Create(companion) => {
                let found = found(companion.kind(), &companion.key());
                if let Some(found) = found {
                    self.learn(&found);
                }
                None
            }
            Change::Delete { kind, key, identity } if found(*kind, key).is_none() => {
                self.forget(*kind, key, identity);
                Some(())
            }
            _ => None,
        }
    }

    fn forget(&mut self, kind: Kind, key: &ObjectKey, identity: &Identity) {
        let source =
            KINDS.iter().find(|(other, _)| *other == kind).map_or(Source::Middlewares, |(_, source)| *source);
        self.queue.extend(Arc::make_mut(&mut self.index).forget(source, key, Some(identity)));
    }

    /// Whether the controller has nothing to do and nothing to hear.
    fn is_idle(&self) -> bool {
        self.watches.is_empty() && self.queue.is_empty() && self.runs.is_empty() && self.failed.is_empty()
    }

    /// The same, and nothing is left that happens by itself.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_idle() && garbage(&self.cluster).is_empty()
    }

    /// What is not as it must be.
    pub(crate) fn wrong(&self) -> Option<String> {
        let is_failing_only = self.watches.is_empty() && self.queue.is_empty() && self.runs.is_empty();
        self.wrong.clone().or_else(|| match () {
            () if self.is_quiet() => self.wrong_in_quiet(),
            () if is_failing_only && !self.clone().settle() => {
                Some(format!("{:?} fails for ever", self.failed))
            }
            () => None,
        })
    }

    fn wrong_in_quiet(&self) -> Option<String> {
        let forgotten = still_to_do(&self.index);
        if !forgotten.is_empty() {
            return Some(format!("nobody was told to do this: {forgotten:?}"));
        }
        let left = still_to_do(&index_of(SETTINGS.clone(), all_objects(&self.cluster)));
        if !left.is_empty() {
            return Some(format!("a restart would do this: {left:?}"));
        }
        let mut seen = BTreeSet::new();
        let twice = self
            .cluster
            .our_routes()
            .flat_map(|(_, route)| places(route))
            .find(|place| !seen.insert(place.clone()));
        if let Some(place) = twice {
            return Some(format!("{place:?} is routed twice"));
        }
        if let Some((key, _)) = self.cluster.our_routes().find(|(_, route)| leads_astray(route)) {
            return Some(format!("{key} leads astray"));
        }
        self.apps.iter().enumerate().find_map(|(slot, app)| {
            let key = app_key(slot);
            let found = self.cluster.ingresses.get(&key).filter(|_| app.is_some())?;
            let status = annotation(found, STATUS[0]);
            match status {
                None if annotation(found, OPT_IN).is_none() => None,
                Some("Protected") if is_routed(&self.cluster, found) => None,
                Some("Refused") => None,
                status => Some(format!("{key} is left with the status {status:?}")),
            }
        })
    }

    /// Lets the controller do its work, and everybody else rest. The answer is whether it grows quiet.
    fn settle(&mut self) -> bool {
        for _ in 0..ENOUGH {
            let event = if let Some(kind) = self.watches.keys().next() {
                Event::Deliver(*kind)
            } else if let Some(run) = self.runs.first() {
                run.next()
            } else if let Some(key) = self.queue.first() {
                Event::Begin(key.clone())
            } else if !garbage(&self.cluster).is_empty() {
                Event::Collect
            } else if self.failed.is_empty() {
                return true;
            } else {
                self.queue.append(&mut self.failed);
                self.queue.retain(|_| true);
                Event::Deliver(Kind::Ingress)
            };
            self.happen(&event);
        }
        false
    }

    /// What is wrong about saying `Protected`, as far as the controller knows.
    fn is_said_too_early(&self, change: &Change) -> Option<String> {
        let Change::Annotate(annotate) = change else { return None };
        if annotate.annotations.get(STATUS[0]).map(String::as_str) != Some("Protected") {
            return None;
        }
        let view = self.index.view(&annotate.app);
        if !matches!(view.request, Some(Ok(_))) {
            return Some(format!("{} is said to be protected, and does not ask for it", annotate.app));
        }
        let leads = |app: &ObjectKey, host: &Host| {
            let route = self.index.view(app).outpost_ingress.ours();
            let mut paths = route.into_iter().flat_map(|route| &route.outpost_paths);
            paths.any(|path| path.is_whole() && path.host.as_ref() == Some(host))
        };
        let is_ready = |(host, holder): &(Host, HostHolder)| match holder {
            HostHolder::App => leads(&annotate.app, host),
            HostHolder::Other { app, .. } => leads(app, host),
            HostHolder::Foreign { leads_to, .. } => leads_to.is_ok(),
        };
        let early = view.holders.iter().find(|holder| !is_ready(holder));
        early.map(|early| format!("{} is said to be protected, and without a route: {early:?}", annotate.app))
    }

    /// What a write of the controller did that none may do: change what is a user's, or take the route from an app that asks for
    /// protection and has its visitors sent there.
    ///
    /// Where a webhook tolerates one route only, that is so between it and the next one, after the next one has been rejected.
    /// And an app, or the route that takes the place of another, may have become another after it was looked at: nobody can know
    /// that who has sent the write.
    fn wrong_by(&self, change: &Change, run: &Run, before: &Cluster) -> Option<String> {
        for (key, written) in &before.written {
            let Some(found) = self.cluster.ingresses.get(key) else {
                return Some(format!("{change} took Ingress {key}"));
            };
            let theirs = written.metadata.annotations.iter().flatten();
            let mut theirs = theirs.filter(|(name, _)| !STATUS.contains(&name.as_str()));
            let lost = theirs.find(|(name, value)| annotation(found, name) != Some(value.as_str()));
            if found.spec != before.ingresses[key].spec || lost.is_some() {
                return Some(format!("{change} changed what its user wrote: {lost:?}"));
            }
        }
        let is_as_known = |key: &ObjectKey, app: &Ingress| {
            run.known.get(key).is_none_or(|known| number(&app.metadata) == Some(*known))
        };
        let is_heir_as_known = |(key, version): (&ObjectKey, &u64)| {
            self.cluster.ingresses.get(key).and_then(|heir| number(&heir.metadata)) == Some(*version)
        };
        let is_excused = self.is_denied() || run.makes_room || !run.heirs.iter().all(is_heir_as_known);
        let lost = self.cluster.ingresses.iter().filter(|(key, app)| !is_excused && is_as_known(key, app));
        let mut lost = lost.filter(|(key, app)| {
            let had = before.ingresses.get(*key).is_some_and(|app| is_sent(app) && is_routed(before, app));
            had && is_sent(app) && annotation(app, OPT_IN).is_some() && !is_routed(&self.cluster, app)
        });
        lost.next().map(|(key, _)| {
            format!("after {change}, visitors of {key} are sent to a route that is not there")
        })
    }

    /// Whether a webhook has rejected the route of an app.
    fn is_denied(&self) -> bool {
        (0..self.apps.len()).any(|slot| self.index.view(&app_key(slot)).is_denied)
    }

    fn print(&self) -> u64 {
        let mut print = Print::default();
        print.add((&self.apps, self.deeds, self.crashes, &self.wrong));
        let Cluster { ingresses, services, config_maps, .. } = self.cluster.as_ref();
        let ingresses = ingresses.values().map(|object| &object.metadata);
        let services = services.values().map(|object| &object.metadata);
        let config_maps = config_maps.values().map(|object| &object.metadata);
        // Their keys are in the texts.
        for metadata in ingresses.chain(services).chain(config_maps) {
            self.print_version(&mut print, number(metadata));
        }
        for (kind, events) in &self.watches {
            print.add((kind, events.len()));
            for event in events {
                self.print_event(&mut print, event);
            }
        }
        for (_, source) in KINDS {
            let keys = self.index.keys_of(source, None);
            print.add(&keys);
            for key in keys {
                let version = self.index.identity(source, &key).and_then(Identity::version);
                self.print_version(&mut print, version);
            }
        }
        for slot in 0..self.apps.len() {
            let view = self.index.view(&app_key(slot));
            print.add((view.is_denied, view.headers_were_missed));
        }
        print.add((&self.queue, &self.failed));
        for Run { key, changes, stages, is_confirmed, known, heirs, makes_room } in &self.runs {
            print.add((key, is_confirmed, makes_room, changes.len(), stages.len()));
            for (_, essence) in changes {
                print.add_essence(essence);
            }
            for (_, essence) in stages {
                print.add_essence(essence);
            }
            for version in known.values().chain(heirs.values()) {
                print.add_number(Some(*version));
            }
        }
        print.finish()
    }

    fn print_event(&self, print: &mut Print, event: &cluster::Event) {
        print.add(key_of(event));
        if let cluster::Event::Gone(_, _, uid) = event {
            print.add_essence(&Essence::of(uid));
        }
        self.print_version(print, version_of(event));
    }

    fn print_version(&self, print: &mut Print, version: Option<u64>) {
        print.add_number(version);
        if let Some(essence) = version.and_then(|version| self.essences.get(&version)) {
            print.add_essence(essence);
        }
    }
}

impl Run {
    fn new(key: Key, stages: VecDeque<(Arc<Vec<Change>>, Essence)>) -> Self {
        Self {
            key,
            changes: VecDeque::new(),
            stages,
            is_confirmed: false,
            known: BTreeMap::new(),
            heirs: BTreeMap::new(),
            makes_room: false,
        }
    }

    fn begin_stage(&mut self) {
        let stage = self.stages.pop_front().into_iter().flat_map(|(stage, _)| stage.as_ref().clone());
        let changes = stage.map(|change| {
            let essence = Essence::of(&format!("{change:?}"));
            (Arc::new(change), essence)
        });
        self.changes = changes.collect();
    }

    fn next(&self) -> Event {
        let change = self.changes.front().map(|(change, _)| change.to_string()).unwrap_or_default();
        let is_read =
            matches!(self.changes.front(), Some((change, _)) if matches!(**change, Change::Delete { .. }));
        let prefix = if is_read && !self.is_confirmed { "look before to " } else { "" };
        Event::Send(self.key.clone(), format!("{prefix}{change}"))
    }
}

impl Hash for Moment {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print().hash(hasher);
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.print() == other.print()
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").field("apps", &self.apps).field("wrong", &self.wrong).finish_non_exhaustive()
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

/// Whether the controller sends visitors of `app` to its outpost.
fn is_sent(app: &Ingress) -> bool {
    ownership::applied_by(&app.metadata, MANAGER).iter().any(|key| key.contains("auth-url"))
}

/// Whether the outpost path of each host of `app` leads somewhere.
fn is_routed(cluster: &Cluster, app: &Ingress) -> bool {
    let facts = facts(app);
    let class = facts.class.name().unwrap_or_default();
    facts.hosts.iter().all(|host| {
        cluster.ingresses.values().any(|route| {
            places(route)
                .iter()
                .any(|(of, at, path)| of == class && at == host.as_str() && path == OUTPOST_PATH)
        })
    })
}

fn facts(ingress: &Ingress) -> IngressFacts {
    IngressFacts::extract(ingress, &Keys::default()).expect("an Ingress")
}

fn annotation<'a>(ingress: &'a Ingress, name: &str) -> Option<&'a str> {
    ingress.metadata.annotations.as_ref()?.get(name).map(String::as_str)
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
