//! Goes through all that was written, in order, and says what must not have been.

use super::checks::{annotation, check_promise, is_opted_in};
use super::clock::Clock;
use super::cluster::{STATUS, places};
use super::controller::{CLASSES, all_objects, index_of};
use super::ledger::{Ledger, theirs};
use super::ownership::owned_by;
use super::replay::{Change, Object, Place, World};
use super::world::is_ours;
use ingress_sso::config::Settings;
use ingress_sso::contract::{
    AUTH_URL, CLOSED_MIDDLEWARE, MANAGER, ROUTER_MIDDLEWARES, is_spelled_like_a_middleware,
};
use ingress_sso::facts::ObjectKey;
use ingress_sso::plan::changes::Kind;
use ingress_sso::plan::{Decision, decide};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How old what the controller knows may be when a request of its arrives: watches stall, one that fails is tried again after up to
/// 26 seconds, and requests are late.
const STALE: Duration = Duration::from_secs(30);

/// How long a request of the controller's may be under way: late, and with everything paused that can be.
const FLIGHT: Duration = Duration::from_secs(12);

/// A class, a host and a path.
type Spot = (String, String, String);

/// See the module's documentation.
pub(crate) struct Judge {
    settings: Settings,
    /// Whether the API server closes apps by itself.
    has_policies: bool,
    pub(crate) world: World,
    log: Vec<Change>,
    /// How many of the versions in the ledger have been seen, by place.
    seen: BTreeMap<Place, usize>,
    pub(crate) findings: Vec<String>,
    /// Apps that are called protected and are not, because of somebody's act, and since which revision.
    broken: BTreeMap<ObjectKey, u64>,
    /// How often the controller said of an app that it is protected, so that there was something to hold it to.
    pub(crate) promises: usize,
    /// The longest time that this took to mend.
    pub(crate) longest_broken: Duration,
    /// Where there are two routes of ours.
    doubled: BTreeSet<Spot>,
}

/// What the judge goes by.
pub(crate) struct Evidence<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) clock: &'a Clock,
}

impl Evidence<'_> {
    /// Whether two replicas may have led when this was written, each with the other's requests under way.
    fn are_rivals(&self, change: &Change) -> bool {
        let (earliest, latest) = self.clock.when(change.revision);
        self.ledger.are_rivals(earliest, latest)
    }
}

impl Judge {
    pub(crate) fn new(settings: Settings, has_policies: bool) -> Self {
        Self {
            settings,
            has_policies,
            world: World::default(),
            log: Vec::new(),
            seen: BTreeMap::new(),
            findings: Vec::new(),
            broken: BTreeMap::new(),
            promises: 0,
            longest_broken: Duration::ZERO,
            doubled: BTreeSet::new(),
        }
    }

    /// How many writes were judged.
    pub(crate) fn judged(&self) -> usize {
        self.log.len()
    }

    /// All that was written, a line each, for people to see what came before a finding.
    pub(crate) fn story(&self, evidence: &Evidence<'_>) -> String {
        let lines = self.log.iter().map(|change| {
            let (kind, key) = &change.place;
            let by = if self.is_by_people(change, evidence) { "people" } else { "" };
            let what = match &change.after {
                None => "deleted".to_owned(),
                Some(object) => {
                    format!("{} {}", object.metadata().uid.as_deref().unwrap_or("-"), theirs(object))
                }
            };
            let said = match &change.after {
                Some(Object::Ingress(app)) => {
                    format!("{:?}", app.metadata.annotations.clone().unwrap_or_default())
                }
                _ => String::new(),
            };
            format!("{:>6} {by:6} {kind} {key}: {what} {said}\n", change.revision)
        });
        lines.collect()
    }

    /// Judges the next write, which has been taken into the world.
    pub(crate) fn next(&mut self, change: Change, evidence: &Evidence<'_>) {
        let is_by_people = self.is_by_people(&change, evidence);
        self.check_their_own(&change, evidence);
        self.check_stays_closed(&change, is_by_people);
        self.check_promised(&change, evidence);
        self.check_still_served(&change, is_by_people, evidence);
        self.check_one_route(&change, evidence);
        self.log.push(change);
    }

    /// Whether somebody had his hands on the object at that time, or it went with what it belonged to.
    fn is_by_people(&self, change: &Change, evidence: &Evidence<'_>) -> bool {
        let (earliest, latest) = evidence.clock.when(change.revision);
        let overlaps = |begin: Instant, end: Instant| {
            earliest.is_none_or(|earliest| earliest <= end) && latest.is_none_or(|latest| begin <= latest)
        };
        let mut acts = evidence.ledger.acts.iter().filter(|act| act.place == change.place);
        acts.any(|act| overlaps(act.begin, act.end)) || self.is_collected(change)
    }

    /// Whether it is Kubernetes that deletes the object: its owner is gone, or its namespace goes.
    fn is_collected(&self, change: &Change) -> bool {
        let Some(before) = change.before.as_ref().filter(|_| change.after.is_none()) else { return false };
        let key = &change.place.1;
        let is_there = |uid: &str| {
            let apps = self.world.cluster.ingresses.values();
            apps.filter_map(|app| app.metadata.uid.as_deref()).any(|found| found == uid)
        };
        let mut owners = before.metadata().owner_references.iter().flatten();
        self.world.terminating.contains(&*key.namespace) || owners.any(|owner| !is_there(&owner.uid))
    }

    /// What is its owner's is as he wrote it at some time, and never again as it was before.
    fn check_their_own(&mut self, change: &Change, evidence: &Evidence<'_>) {
        let versions = evidence.ledger.versions(&change.place);
        let is_companion =
            |object: &Option<Object>| object.as_ref().is_some_and(|object| is_ours(object.metadata()));
        let is_theirs = !versions.is_empty() && !is_companion(&change.before) && !is_companion(&change.after);
        if !is_theirs {
            return;
        }
        let [before, after] = [&change.before, &change.after].map(|object| object.as_ref().map(theirs));
        if before == after {
            return;
        }
        let seen = self.seen.entry(change.place.clone()).or_default();
        let found =
            versions.iter().skip(*seen).position(|version| is_found_as(version.as_ref(), after.as_ref()));
        if let Some(found) = found {
            *seen += found + 1;
            return;
        }
        let (kind, key) = &change.place;
        self.findings.push(format!(
            "revision {}: {kind} {key} is as nobody wrote it, or as it was before: from {before:?} to {after:?}, with these \
             versions to come: {:?}",
            change.revision,
            versions.iter().skip(*seen).collect::<Vec<_>>()
        ));
    }

    /// An app that asks for protection and was closed to strangers stays so, unless its owner opens it; and where the API server
    /// sees to it, it is closed whoever does what.
    fn check_stays_closed(&mut self, change: &Change, is_by_people: bool) {
        if let Some(Object::Ingress(app)) = &change.after
            && self.has_policies
            && is_opted_in(app)
            && controller_of(app).is_some()
            && !is_closed(app)
        {
            self.findings.push(format!(
                "revision {}: Ingress {} asks for protection and is open: {:?}",
                change.revision, change.place.1, app.metadata.annotations
            ));
        }
        let (Some(Object::Ingress(before)), Some(Object::Ingress(after))) = (&change.before, &change.after)
        else {
            return;
        };
        if is_opted_in(after) && is_closed(before) && !is_closed(after) && !is_by_people {
            self.findings.push(format!(
                "revision {}: Ingress {} asks for protection and was opened: from {:?} to {:?}",
                change.revision, change.place.1, before.metadata.annotations, after.metadata.annotations
            ));
        }
    }

    /// What the controller calls protected is protected, as far as it could know.
    fn check_promised(&mut self, change: &Change, evidence: &Evidence<'_>) {
        let Some(Object::Ingress(app)) = &change.after else { return };
        // What its owner changes makes a lie of what was said before, until the controller has seen it.
        let is_by_owner = change.before.as_ref().map(theirs) != change.after.as_ref().map(theirs);
        if is_by_owner || !is_promised(app) || !says_more(change.before.as_ref(), app) {
            return;
        }
        self.promises += 1;
        let Some(problem) = self.problem(app) else { return };
        let is_kept = |world: &World| problem_in(world, app, &self.settings).is_none();
        if !self.was_so(change, evidence, is_kept) && !is_kept(&self.undisturbed(change, evidence, STALE)) {
            self.findings.push(format!(
                "revision {}: {} is called protected and could not be since {STALE:?} ago: {problem}",
                change.revision, change.place.1
            ));
        }
    }

    /// No write of the controller's own takes from an app what it is protected by.
    fn check_still_served(&mut self, change: &Change, is_by_people: bool, evidence: &Evidence<'_>) {
        let promised: Vec<ObjectKey> = {
            let apps = self.world.cluster.ingresses.iter().filter(|(_, app)| is_promised(app));
            apps.map(|(key, _)| key.clone()).collect()
        };
        self.broken.retain(|key, _| promised.contains(key));
        for key in promised {
            let app = &self.world.cluster.ingresses[&key];
            let Some(problem) = self.problem(app) else {
                if let Some(since) = self.broken.remove(&key) {
                    self.note_mended(since, change.revision, evidence);
                }
                continue;
            };
            if self.broken.contains_key(&key) {
                continue;
            }
            self.broken.insert(key.clone(), change.revision);
            let is_own = change.place == (Kind::Ingress, key.clone());
            let is_excused = is_by_people || is_own || moves(change) || evidence.are_rivals(change);
            // Somebody may have taken meanwhile what it relied on instead.
            let is_overtaken = || {
                let world = self.undisturbed(change, evidence, FLIGHT);
                problem_in(&world, &self.world.cluster.ingresses[&key], &self.settings).is_none()
            };
            // Or it cannot be protected any more, which is told to it as soon as to those who make room for it.
            let is_refused = || {
                let index = index_of(self.settings.clone(), all_objects(&self.world.cluster));
                matches!(decide(&index.view(&key), index.settings()), Decision::Refuse(_))
            };
            let is_by_controller = !is_excused && evidence.ledger.versions(&change.place).is_empty();
            if is_by_controller && !is_overtaken() && !is_refused() {
                let (kind, what) = &change.place;
                self.findings.push(format!(
                    "revision {}: a change of {kind} {what} leaves {key} called protected without being it: {problem}",
                    change.revision
                ));
            }
        }
    }

    /// No second route of ours for a host of a class, but while it is handed over to an app that has a better right to it.
    fn check_one_route(&mut self, change: &Change, evidence: &Evidence<'_>) {
        if change.place.0 != Kind::Ingress {
            return;
        }
        let mut routed: BTreeMap<Spot, Vec<ObjectKey>> = BTreeMap::new();
        let ours = self.world.cluster.ingresses.iter().filter(|(_, route)| is_ours(&route.metadata));
        for (key, route) in ours {
            for spot in places(route) {
                routed.entry(spot).or_default().push(key.clone());
            }
        }
        routed.retain(|_, routes| routes.len() > 1);
        self.doubled.retain(|spot| routed.contains_key(spot));
        for (spot, routes) in routed {
            let is_new = self.doubled.insert(spot.clone());
            let is_excused = self.is_by_people(change, evidence) || evidence.are_rivals(change);
            let is_by_controller = routes.contains(&change.place.1) && !is_excused;
            if is_new && is_by_controller && !self.is_handed_over(&spot, &routes, change, evidence) {
                self.findings.push(format!("revision {}: {spot:?} is routed by {routes:?}", change.revision));
            }
        }
    }

    /// Whether, as far as the controller could know when it made the route of `change`, no app with another of `routes` had the
    /// better right to `spot`.
    fn is_handed_over(
        &self,
        spot: &Spot,
        routes: &[ObjectKey],
        change: &Change,
        evidence: &Evidence<'_>,
    ) -> bool {
        let Some(Object::Ingress(made)) = &change.after else { return false };
        let Some(newcomer) = app_of(made) else { return false };
        let others = routes.iter().filter(|route| **route != change.place.1);
        let others: Vec<ObjectKey> =
            others.filter_map(|route| app_of(&self.world.cluster.ingresses[route])).collect();
        let is_right = |world: &World| {
            let rank = |app| rank(world, app, spot);
            rank(&newcomer).is_some_and(|mine| others.iter().filter_map(rank).all(|theirs| mine < theirs))
        };
        self.was_so(change, evidence, is_right)
    }

    /// Whether it is so in the world, or was at a time that the controller may have gone by when it sent `change`.
    fn was_so(&self, change: &Change, evidence: &Evidence<'_>, is_so: impl Fn(&World) -> bool) -> bool {
        if is_so(&self.world) {
            return true;
        }
        let start = evidence.clock.earlier(change.revision, STALE);
        let mut past = self.world.clone();
        past.undo(change);
        let mut log = self.log.iter().rev().take_while(|earlier| earlier.revision > start);
        loop {
            if is_so(&past) {
                return true;
            }
            match log.next() {
                Some(earlier) => past.undo(earlier),
                None => return false,
            }
        }
    }

    /// The world without what people took away in the last `span` and nobody made since: watches are late each for itself, so the
    /// controller may know of some of it and not of the rest.
    fn undisturbed(&self, change: &Change, evidence: &Evidence<'_>, span: Duration) -> World {
        let start = evidence.clock.earlier(change.revision, span);
        let mut world = self.world.clone();
        let mut settled = BTreeSet::from([change.place.clone()]);
        for earlier in self.log.iter().rev().take_while(|earlier| earlier.revision > start) {
            if settled.contains(&earlier.place) {
                continue;
            }
            if earlier.before.is_some() && self.is_by_people(earlier, evidence) {
                world.undo(earlier);
            } else {
                settled.insert(earlier.place.clone());
            }
        }
        world
    }

    fn note_mended(&mut self, since: u64, until: u64, evidence: &Evidence<'_>) {
        if let (Some(begin), Some(end)) = (evidence.clock.when(since).0, evidence.clock.when(until).1) {
            self.longest_broken = self.longest_broken.max(end.duration_since(begin));
        }
    }

    fn problem(&self, app: &Ingress) -> Option<String> {
        problem_in(&self.world, app, &self.settings)
    }
}

fn problem_in(world: &World, app: &Ingress, settings: &Settings) -> Option<String> {
    check_promise(&world.cluster, settings, app).err().map(|problem| problem.to_string())
}

/// The app whose route this is.
fn app_of(route: &Ingress) -> Option<ObjectKey> {
    Some(ObjectKey::new(route.metadata.namespace.clone()?, annotation(route, "sso.djieno.com/app")?))
}

/// How good the right of `app` to a route at `spot` is: the less the better; `None` without any.
fn rank(world: &World, app: &ObjectKey, (class, host, _): &Spot) -> Option<(Time, ObjectKey)> {
    let ingress = world.cluster.ingresses.get(app).filter(|ingress| is_opted_in(ingress))?;
    let spec = ingress.spec.as_ref()?;
    let serves = spec.rules.iter().flatten().any(|rule| rule.host.as_ref() == Some(host));
    let is_served = spec.ingress_class_name.as_ref() == Some(class) && serves;
    let created = ingress.metadata.creation_timestamp.clone()?;
    is_served.then(|| (created, app.clone()))
}

/// Whether a route goes to another class with its app. Apps that relied on it get one of their own: to wait for that would leave
/// the app open that moved.
fn moves(change: &Change) -> bool {
    let class = |object: &Option<Object>| match object {
        Some(Object::Ingress(route)) => route.spec.as_ref()?.ingress_class_name.clone(),
        _ => None,
    };
    matches!((class(&change.before), class(&change.after)), (Some(before), Some(after)) if before != after)
}

/// Whether `found` is what its owner `wanted`. A list that the controller edited stays where the server applies a manifest
/// without one.
fn is_found_as(wanted: Option<&Value>, found: Option<&Value>) -> bool {
    let without_list = found.cloned().map(|mut found| {
        found["annotations"].as_object_mut().map(|all| all.remove(ROUTER_MIDDLEWARES));
        found
    });
    wanted == found || wanted == without_list.as_ref()
}

/// Whether the controller says of `app` what it did not before, and does not only clear up.
fn says_more(before: Option<&Object>, app: &Ingress) -> bool {
    let Some(Object::Ingress(before)) = before else { return true };
    let all = |app: &Ingress| {
        let mut annotations = app.metadata.annotations.clone().unwrap_or_default();
        annotations.remove(ROUTER_MIDDLEWARES);
        annotations
    };
    all(before) != all(app)
}

/// Whether the controller itself calls `app` protected: also while it does not know yet that it need not be any more.
fn is_promised(app: &Ingress) -> bool {
    annotation(app, STATUS[0]) == Some("Protected") && owned_by(&app.metadata, MANAGER).contains(STATUS[0])
}

/// Who serves the class of `app`, if anybody does.
fn controller_of(app: &Ingress) -> Option<&'static str> {
    let class = app.spec.as_ref()?.ingress_class_name.as_deref()?;
    CLASSES.into_iter().find(|(name, _)| *name == class).map(|(_, controller)| controller)
}

/// Whether the data plane of its class asks somebody about each request to `app`, or refuses it.
pub(crate) fn is_closed(app: &Ingress) -> bool {
    match controller_of(app) {
        None => false,
        Some("traefik.io/ingress-controller") => {
            let list = annotation(app, ROUTER_MIDDLEWARES).unwrap_or_default();
            list.contains(CLOSED_MIDDLEWARE) || is_spelled_like_a_middleware(list)
        }
        Some(_) => annotation(app, AUTH_URL).is_some_and(|url| !url.is_empty()),
    }
}
