//! Who claims the outpost path of a host. A host's path can be routed once per class, cluster-wide, and leads to one
//! outpost.
//!
//! Who has a route of its own at a place already keeps it, against those on another outpost and those that are older: what
//! visitors are led by does not change because somebody else asks for the same host. Where no route stands, age decides. That
//! holds for each place by itself: an app that is protected on one host is a newcomer on the next one.
//!
//! `tests/model.rs` tries what can happen to claims in small worlds, one step after the other and in every order.

use super::small_set::SmallSet;
use crate::facts::{Host, ObjectKey};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A host as one class serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// First, so that all places of a host stand together.
    pub(super) host: Host,
    pub(super) class: Option<Arc<str>>,
}

/// How firmly an app holds a place: the firmest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Standing {
    /// It asks for protection and provides the login there.
    Protected,
    /// Refused, but protected from before and provides the login there, which it cannot hand over.
    Frozen,
    /// It does not provide the login there.
    New,
}

/// An app's claim to its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) outpost: Arc<str>,
    /// Where it provides the login.
    pub(super) held: Part,
    /// Where it asks to.
    pub(super) wanted: Part,
}

/// Places that an app claims equally firmly. Those that it holds and those that it wants are claimed apart: it may be kept from the
/// latter, and hold the former all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) standing: Standing,
    /// Since when it may have been there, in seconds since 1970.
    pub(super) since: i64,
    pub(super) places: Arc<[Place]>,
}

/// Position of a part of a claim in the order of those at a place; and what tells it from all others.
type Rank = (Standing, i64, ObjectKey);

impl Claim {
    /// All places of both parts.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.held.places.iter().chain(self.wanted.places.iter())
    }

    /// Its parts, the firmer one first.
    fn parts(&self, app: &ObjectKey) -> impl Iterator<Item = (Rank, &Arc<[Place]>)> {
        let parts = [&self.held, &self.wanted].into_iter().filter(|part| !part.places.is_empty());
        parts.map(|part| ((part.standing, part.since, app.clone()), &part.places))
    }
}

/// All that concerns apps at one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Claims in the order that decides about outpost and route.
    claims: SmallSet<Rank>,
    /// Apps that ask for protection here, whether or not they may claim it.
    pub(super) seekers: SmallSet<ObjectKey>,
    /// Ingresses with a rule at or below the outpost path.
    pub(super) routes: SmallSet<ObjectKey>,
    /// Ingresses with a regex path that would take the outpost path.
    pub(super) swallowers: SmallSet<ObjectKey>,
    /// Ingresses that have TLS of the host passed through unopened.
    pub(super) passing_tls: SmallSet<ObjectKey>,
    /// Grows with each change of the last three sets, of the routes in them, and of the bystanders, in whatever class of the host.
    revision: u64,
}

impl Entry {
    fn is_empty(&self) -> bool {
        let sets = [&self.seekers, &self.routes, &self.swallowers, &self.passing_tls];
        self.claims.is_empty() && sets.iter().all(|set| set.is_empty())
    }
}

/// What other apps at a place depend on.
#[derive(Debug, PartialEq, Eq)]
struct State {
    front: Option<(Rank, Arc<str>)>,
    revision: u64,
}

/// All places and claims.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Boxed, since the nodes of a tree are half empty.
    places: BTreeMap<Place, Box<Entry>>,
    /// Ingresses that serve the host of a place and do not ask for protection: most of a cluster, at places where often
    /// no app is.
    bystanders: BTreeMap<Place, SmallSet<ObjectKey>>,
    of_apps: HashMap<ObjectKey, Claim>,
    /// Parts of claims that do not count, because one with another outpost comes first, and where that is.
    kept_out: HashMap<Rank, Place>,
    seeking: HashMap<ObjectKey, Arc<[Place]>>,
}

/// Collects what a change touches: create it before the change, finish it after.
#[derive(Debug, Default)]
pub(super) struct Scope {
    before: HashMap<Place, State>,
    apps: HashSet<ObjectKey>,
}

/// What a change touches.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Apps at a place that changed.
    pub(super) apps: HashSet<ObjectKey>,
    /// Routes at such a place. One may be lent to an app that is gone.
    pub(super) routes: HashSet<ObjectKey>,
    /// Apps that were to provide the route at such a place, and are no longer.
    pub(super) former: HashSet<ObjectKey>,
}

impl Claims {
    pub(super) fn entry(&self, place: &Place) -> Option<&Entry> {
        self.places.get(place).map(Box::as_ref)
    }

    pub(super) fn claim(&self, app: &ObjectKey) -> Option<&Claim> {
        self.of_apps.get(app)
    }

    /// What stands at `host`, whichever class serves it.
    pub(super) fn at_host<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Entry> {
        at_host(&self.places, host).map(|(_, entry)| &**entry)
    }

    /// Where `app` asks for protection.
    pub(super) fn sought_by(&self, app: &ObjectKey) -> &[Place] {
        self.seeking.get(app).map(AsRef::as_ref).unwrap_or_default()
    }

    /// The same, to be kept.
    pub(super) fn places_of(&self, app: &ObjectKey) -> Arc<[Place]> {
        self.seeking.get(app).cloned().unwrap_or_default()
    }

    /// Ingresses that serve `host` and do not ask for protection, in whatever class.
    pub(super) fn bystanders<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a ObjectKey> {
        at_host(&self.bystanders, host).flat_map(|(_, bystanders)| bystanders)
    }

    /// The app that has to provide the route at `place`.
    pub(super) fn winner(&self, place: &Place) -> Option<&ObjectKey> {
        self.first(place, None).map(|(_, _, app)| app)
    }

    /// Why the claim of `app` does not count: at which place, because of whom, and through which outpost.
    pub(super) fn conflict(&self, app: &ObjectKey) -> Option<(&Place, &ObjectKey, &str)> {
        let mut parts = self.of_apps.get(app)?.parts(app);
        let (place, rank) = parts.find_map(|(rank, _)| Some((self.kept_out.get(&rank)?, rank)))?;
        let (_, _, holder) = self.first(place, Some(&rank))?;
        Some((place, holder, &self.of_apps.get(holder)?.outpost))
    }

    /// Where and through whose route `app`, which has no claim of its own, would get to another outpost than `outpost`: it
    /// would wait for ever for that route to become its own.
    pub(super) fn other_outpost(&self, app: &ObjectKey, outpost: &str) -> Option<(&Place, &ObjectKey, &str)> {
        self.sought_by(app).iter().find_map(|place| {
            let holder = self.winner(place).filter(|holder| *holder != app)?;
            let theirs = &*self.of_apps.get(holder)?.outpost;
            (theirs != outpost).then_some((place, holder, theirs))
        })
    }

    /// Changes what stands at `place`, noting in `scope` how it was before.
    pub(super) fn edit(&mut self, scope: &mut Scope, place: &Place, edit: impl FnOnce(&mut Entry)) {
        edit(self.places.entry(place.clone()).or_default());
        self.stir(scope, &place.host);
        self.tidy(place);
    }

    /// Enters `ingress` as a bystander at `place`, or takes it out again, noting in `scope` how it was before.
    pub(super) fn set_bystander(
        &mut self,
        scope: &mut Scope,
        place: &Place,
        ingress: &ObjectKey,
        is_there: bool,
    ) {
        self.stir(scope, &place.host);
        if is_there {
            self.bystanders.entry(place.clone()).or_default().insert(ingress.clone());
        } else if let Some(bystanders) = self.bystanders.get_mut(place) {
            bystanders.remove(ingress);
            if bystanders.is_empty() {
                self.bystanders.remove(place);
            }
        }
    }

    /// Says where `app` asks for protection.
    pub(super) fn seek(&mut self, app: &ObjectKey, places: Arc<[Place]>) {
        if *self.sought_by(app) == *places {
            return;
        }
        for place in self.places_of(app).iter() {
            if let Some(entry) = self.places.get_mut(place) {
                entry.seekers.remove(app);
            }
            self.tidy(place);
        }
        self.seeking.remove(app);
        for place in places.iter() {
            self.places.entry(place.clone()).or_default().seekers.insert(app.clone());
        }
        if !places.is_empty() {
            self.seeking.insert(app.clone(), places);
        }
    }

    /// Sets or takes away the claim of `app`, noting in `scope` how its places were before.
    pub(super) fn set(&mut self, scope: &mut Scope, app: &ObjectKey, claim: Option<Claim>) {
        if self.of_apps.get(app) == claim.as_ref() {
            return;
        }
        let old = self.of_apps.get(app).cloned();
        let places: BTreeSet<Place> =
            [&old, &claim].into_iter().flatten().flat_map(|claim| claim.places().cloned()).collect();
        for place in &places {
            self.note(scope, place);
        }
        let fronts: Vec<Option<(Rank, Arc<str>)>> = places.iter().map(|place| self.front(place)).collect();
        self.of_apps.remove(app);
        for (rank, places) in old.iter().flat_map(|old| old.parts(app)) {
            self.kept_out.remove(&rank);
            for place in places.iter() {
                if let Some(entry) = self.places.get_mut(place) {
                    entry.claims.remove(&rank);
                }
            }
        }
        let mut unsettled = BTreeSet::new();
        if let Some(claim) = claim {
            for (rank, places) in claim.parts(app) {
                for place in places.iter() {
                    self.places.entry(place.clone()).or_default().claims.insert(rank.clone());
                }
                unsettled.insert(rank);
            }
            self.of_apps.insert(app.clone(), claim);
        }
        for (place, before) in places.iter().zip(fronts) {
            if self.front(place) != before {
                let entry = self.places.get(place);
                unsettled.extend(entry.into_iter().flat_map(|entry| entry.claims.iter().cloned()));
            }
        }
        self.settle(scope, unsettled);
        for place in &places {
            self.tidy(place);
        }
    }

    /// What changed since `scope` was begun.
    pub(super) fn finish(&self, scope: Scope) -> Touched {
        let mut touched = Touched { apps: scope.apps, ..Touched::default() };
        for (place, before) in scope.before {
            let now = self.state(&place);
            let winner = |state: &State| state.front.as_ref().map(|((_, _, app), _)| app.clone());
            touched.former.extend(winner(&before).filter(|former| winner(&now).as_ref() != Some(former)));
            let Some(entry) = self.places.get(&place).filter(|_| now != before) else {
                continue;
            };
            touched.apps.extend(entry.seekers.iter().cloned());
            touched.apps.extend(entry.claims.iter().map(|(_, _, app)| app.clone()));
            touched.routes.extend(entry.routes.iter().cloned());
        }
        touched
    }

    /// Decides anew which parts of claims count. Each depends on earlier ones only, so one pass in their order is enough.
    fn settle(&mut self, scope: &mut Scope, mut unsettled: BTreeSet<Rank>) {
        while let Some(rank) = unsettled.pop_first() {
            let app = &rank.2;
            let Some(claim) = self.of_apps.get(app) else { continue };
            let mut parts = claim.parts(app);
            let Some((_, places)) = parts.find(|(part, _)| *part == rank) else { continue };
            let reason = self.reason_to_keep_out(claim, &rank, places);
            if self.kept_out.get(&rank) == reason.as_ref() {
                continue;
            }
            let places = Arc::clone(places);
            // An app that is kept from what it holds gets nothing more.
            unsettled.extend(parts.map(|(later, _)| later));
            for place in places.iter() {
                self.note(scope, place);
                let entry = self.places.get(place);
                unsettled.extend(entry.into_iter().flat_map(|entry| entry.claims.after(&rank)).cloned());
            }
            scope.apps.insert(app.clone());
            match reason {
                Some(reason) => self.kept_out.insert(rank, reason),
                None => self.kept_out.remove(&rank),
            };
        }
    }

    /// The place where another outpost comes before this part of `claim`, or before what its app holds.
    fn reason_to_keep_out(&self, claim: &Claim, rank: &Rank, places: &[Place]) -> Option<Place> {
        let is_taken = |place: &&Place| {
            let first = self.first(place, Some(rank)).and_then(|(_, _, first)| self.of_apps.get(first));
            first.is_some_and(|first| first.outpost != claim.outpost)
        };
        let mut earlier = claim.parts(&rank.2).map(|(part, _)| part).take_while(|part| part != rank);
        let of_held = || earlier.find_map(|part| self.kept_out.get(&part));
        places.iter().find(is_taken).or_else(of_held).cloned()
    }

    /// The first claim at `place` that counts, of those before `rank`.
    fn first(&self, place: &Place, rank: Option<&Rank>) -> Option<&Rank> {
        let ranks = &self.places.get(place)?.claims;
        let earlier = rank.map_or(ranks.as_slice(), |rank| ranks.before(rank));
        earlier.iter().find(|rank| !self.kept_out.contains_key(*rank))
    }

    /// What all other claims at `place` are held against: the position of the first that counts, and its outpost.
    fn front(&self, place: &Place) -> Option<(Rank, Arc<str>)> {
        let rank = self.first(place, None)?;
        let claim = self.of_apps.get(&rank.2)?;
        Some((rank.clone(), claim.outpost.clone()))
    }

    /// Notes a change that apps at `host` depend on, in whatever class: one data plane may serve several.
    fn stir(&mut self, scope: &mut Scope, host: &Host) {
        let places: Vec<Place> = at_host(&self.places, host).map(|(place, _)| place.clone()).collect();
        for place in places {
            self.note(scope, &place);
            if let Some(entry) = self.places.get_mut(&place) {
                entry.revision += 1;
            }
        }
    }

    fn note(&self, scope: &mut Scope, place: &Place) {
        if !scope.before.contains_key(place) {
            scope.before.insert(place.clone(), self.state(place));
        }
    }

    fn state(&self, place: &Place) -> State {
        State { front: self.front(place), revision: self.places.get(place).map_or(0, |entry| entry.revision) }
    }

    fn tidy(&mut self, place: &Place) {
        if self.places.get(place).is_some_and(|entry| entry.is_empty()) {
            self.places.remove(place);
        }
    }
}

/// The entries of `map` at `host`.
fn at_host<'a, T>(map: &'a BTreeMap<Place, T>, host: &'a Host) -> impl Iterator<Item = (&'a Place, &'a T)> {
    let first = Place { host: host.clone(), class: None };
    map.range(first..).take_while(move |(place, _)| place.host == *host)
}
