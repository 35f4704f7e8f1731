//! Whether what must hold does: see the documentation of the test.

use super::super::cluster::{Cluster, STATUS, places};
use super::super::controller::{all_objects, index_of, still_to_do};
use super::super::ownership;
use super::super::user_action::{app_key, leads_astray};
use super::super::world::OPT_IN;
use super::run::Run;
use super::{SETTINGS, State, facts, number};
use ingress_sso::contract::{MANAGER, OUTPOST_PATH};
use ingress_sso::facts::{Host, ObjectKey};
use ingress_sso::plan::HostHolder;
use ingress_sso::plan::changes::Change;
use k8s_openapi::api::networking::v1::Ingress;
use std::collections::BTreeSet;

impl State {
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

    /// What is wrong about saying `Protected`, as far as the controller knows.
    pub(super) fn is_said_too_early(&self, change: &Change) -> Option<String> {
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
    pub(super) fn wrong_by(&self, change: &Change, run: &Run, before: &Cluster) -> Option<String> {
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
    pub(super) fn is_denied(&self) -> bool {
        (0..self.apps.len()).any(|slot| self.index.view(&app_key(slot)).is_denied)
    }
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

fn annotation<'a>(ingress: &'a Ingress, name: &str) -> Option<&'a str> {
    ingress.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
