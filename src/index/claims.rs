//! Who claims the outpost path of a host. A host's path can be routed once per class, cluster-wide.

use crate::facts::{Host, ObjectKey};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A host as one class serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) class: Option<String>,
    pub(super) host: Host,
}

/// An app's claim to its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// When the app's Ingress was made, in seconds since 1970: the older claim wins.
    pub(super) created: i64,
    pub(super) outpost: String,
    pub(super) places: Vec<Place>,
}

/// All that is known at one place.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Claiming apps, the oldest first.
    claimants: BTreeSet<(i64, ObjectKey)>,
    /// Ingresses with a rule at or below the outpost path.
    pub(super) routes: BTreeSet<ObjectKey>,
    /// Ingresses that serve the host and do not ask for protection.
    pub(super) bystanders: BTreeSet<ObjectKey>,
    /// Ingresses with a regex path that would take the outpost path.
    pub(super) swallowers: BTreeSet<ObjectKey>,
    /// Grows with each change of the last three sets, and of the routes in them.
    revision: u64,
}

impl Entry {
    fn is_empty(&self) -> bool {
        let sets = [&self.routes, &self.bystanders, &self.swallowers];
        self.claimants.is_empty() && sets.iter().all(|set| set.is_empty())
    }

    /// Apps that claim the place, the oldest first.
    pub(super) fn claimants(&self) -> impl Iterator<Item = &ObjectKey> {
        self.claimants.iter().map(|(_, app)| app)
    }
}

/// What other apps at a place depend on.
#[derive(Debug, PartialEq, Eq)]
struct State {
    winner: Option<ObjectKey>,
    first_outpost: Option<String>,
    revision: u64,
}

/// All places and claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    places: HashMap<Place, Entry>,
    claims: HashMap<ObjectKey, Claim>,
}

/// Collects which apps a change of several places touches: create it before the change, finish it after.
#[derive(Debug, Default)]
pub(super) struct Scope(HashMap<Place, State>);

impl Claims {
    pub(super) fn entry(&self, place: &Place) -> Option<&Entry> {
        self.places.get(place)
    }

    pub(super) fn claim(&self, app: &ObjectKey) -> Option<&Claim> {
        self.claims.get(app)
    }

    /// Changes what stands at `place`, noting in `scope` how it was before.
    pub(super) fn edit(&mut self, scope: &mut Scope, place: &Place, edit: impl FnOnce(&mut Entry)) {
        self.note(scope, place);
        let entry = self.places.entry(place.clone()).or_default();
        entry.revision += 1;
        edit(entry);
        if entry.is_empty() {
            self.places.remove(place);
        }
    }

    /// Sets or takes away the claim of `app`, noting in `scope` how its places were before.
    pub(super) fn set(&mut self, scope: &mut Scope, app: &ObjectKey, claim: Option<Claim>) {
        if self.claims.get(app) == claim.as_ref() {
            return;
        }
        let old = self.claims.get(app).cloned();
        for place in [&old, &claim].into_iter().flatten().flat_map(|claim| &claim.places) {
            self.note(scope, place);
        }
        if let Some(old) = old {
            self.claims.remove(app);
            for place in &old.places {
                self.withdraw(place, &(old.created, app.clone()));
            }
        }
        if let Some(claim) = claim {
            for place in &claim.places {
                self.places.entry(place.clone()).or_default().claimants.insert((claim.created, app.clone()));
            }
            self.claims.insert(app.clone(), claim);
        }
    }

    /// The app that has to provide the route at `place`: the oldest claimant that no older app with another outpost
    /// keeps out, here or on another of its hosts.
    pub(super) fn winner(&self, place: &Place) -> Option<&ObjectKey> {
        self.places.get(place)?.claimants().find(|app| self.conflict(app).is_none())
    }

    /// A place of `app` whose oldest claimant uses another outpost, with that claimant.
    pub(super) fn conflict(&self, app: &ObjectKey) -> Option<(&Place, &ObjectKey, &str)> {
        let claim = self.claims.get(app)?;
        claim.places.iter().find_map(|place| {
            let first = self.places.get(place)?.claimants().next()?;
            let theirs = &self.claims.get(first)?.outpost;
            (first != app && *theirs != claim.outpost).then_some((place, first, theirs.as_str()))
        })
    }

    /// The apps for which something changed since `scope` was begun.
    pub(super) fn finish(&self, scope: Scope) -> HashSet<ObjectKey> {
        let mut touched = HashSet::new();
        for (place, before) in scope.0 {
            let after = self.state(&place);
            if after == before {
                continue;
            }
            let Some(entry) = self.places.get(&place) else {
                continue;
            };
            touched.extend(entry.claimants().cloned());
            // Another outpost in front decides who is kept out, and that on all hosts of those apps.
            if after.first_outpost != before.first_outpost {
                let elsewhere =
                    entry.claimants().filter_map(|app| self.claims.get(app)).flat_map(|claim| &claim.places);
                let entries =
                    elsewhere.filter(|other| **other != place).filter_map(|other| self.places.get(other));
                touched.extend(entries.flat_map(|entry| entry.claimants().cloned()));
            }
        }
        touched
    }

    fn withdraw(&mut self, place: &Place, claimant: &(i64, ObjectKey)) {
        if let Some(entry) = self.places.get_mut(place) {
            entry.claimants.remove(claimant);
            if entry.is_empty() {
                self.places.remove(place);
            }
        }
    }

    fn note(&self, scope: &mut Scope, place: &Place) {
        if !scope.0.contains_key(place) {
            scope.0.insert(place.clone(), self.state(place));
        }
    }

    fn state(&self, place: &Place) -> State {
        let entry = self.places.get(place);
        let first = entry.and_then(|entry| entry.claimants().next());
        State {
            winner: self.winner(place).cloned(),
            first_outpost: first.and_then(|app| self.claims.get(app)).map(|claim| claim.outpost.clone()),
            revision: entry.map_or(0, |entry| entry.revision),
        }
    }
}
