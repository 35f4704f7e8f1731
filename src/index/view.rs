//! Everything that bears on one app, gathered for the plan.

use super::claims::Place;
use super::routes::serves;
use super::shared::{headers_key, middleware_key, service_key};
use super::{Index, Source, place};
use crate::facts::{Host, IngressFacts, MiddlewareFacts, ObjectKey, OutpostPath};
use crate::plan::decision::describe_backend;
use crate::plan::quote::shown;
use crate::plan::request::Request;
use crate::plan::status::Assurance;
use crate::plan::{AppView, HostHolder, Slot, companions};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

impl Index {
    /// What bears on `app`, which need not exist any more.
    pub fn view(&self, app: &ObjectKey) -> AppView<'_> {
        let ingress = self.ingresses.get(app).map(Box::as_ref);
        let request = self.requests.get(app);
        let good = request.and_then(|request| request.as_ref().ok());
        let places = self.claims.sought_by(app);
        let conflict = self
            .claims
            .conflict(app)
            .or_else(|| good.and_then(|request| self.claims.other_outpost(app, &request.outpost.name)));
        let service = good.map(|request| service_key(&app.namespace, request));
        let headers = good.and_then(|request| headers_key(&app.namespace, request));
        let middleware = good.and_then(|request| middleware_key(&app.namespace, request));
        AppView {
            ingress,
            request,
            conflict: conflict
                .map(|(place, holder, theirs)| (place.host.clone(), holder.clone(), theirs.to_owned())),
            holders: good.map_or_else(Vec::new, |request| {
                places.iter().map(|place| (place.host.clone(), self.holder(app, request, place))).collect()
            }),
            lent_hosts: self
                .hosts_in_route(app, |route, place| serves(route, place) && self.is_lent(app, place)),
            kept_hosts: self.kept_hosts(app, ingress),
            guard_of_route: self.own_route(app).and_then(|route| self.guard_of_route(route)),
            open_neighbours: self.some_open_neighbours(app),
            tls_passed_by: good.map_or_else(Vec::new, |request| self.tls_passed_by(app, request)),
            canaries: self.some_canaries_of_others(app),
            swallowed_by: good.and_then(|request| self.swallowed_anywhere(app, request)),
            is_denied: self.denied.contains(app),
            outpost_ingress: self.route_slot(app),
            service: self.found(Source::Services, service.as_ref(), Self::service_slot),
            headers: self.found(Source::ConfigMaps, headers.as_ref(), Self::headers_slot),
            headers_were_missed: self.missed_headers.contains(app),
            middleware_twin: middleware.as_ref().and_then(|key| self.twin_of(key)).cloned(),
            middleware: self.found(Source::Middlewares, middleware.as_ref(), Self::middleware_slot),
            assurance: Assurance::default(),
        }
    }

    /// The outpost Ingress made for `app`.
    pub(super) fn own_route(&self, app: &ObjectKey) -> Option<&IngressFacts> {
        self.route_slot(app).ours()
    }

    /// The same, where others may be left to it at `place`: it is right, and neither it nor what it leads through is missing or going.
    fn standing_route(&self, app: &ObjectKey, place: &Place) -> Option<&IngressFacts> {
        let is_right = |route: &&IngressFacts| !route.deleting && self.is_right(route, place);
        let route = self.own_route(app).filter(is_right)?;
        let service = service_of_route(route)?;
        let leads_nowhere =
            matches!(self.found(Source::Services, Some(&service), Self::service_slot), Slot::Vacant);
        (!leads_nowhere && !self.is_leaving(Source::Ingresses, &route.key)).then_some(route)
    }

    fn route_slot(&self, app: &ObjectKey) -> Slot<&'_ IngressFacts> {
        match self.ingresses.get(&companions::outpost_ingress_key(app)) {
            None => Slot::Vacant,
            Some(found) if found.outpost_ingress().is_some_and(|route| *route.app == *app.name) => {
                Slot::Ours(found)
            }
            Some(found) => Slot::Foreign(found),
        }
    }

    fn holder(&self, app: &ObjectKey, request: &Request, place: &Place) -> HostHolder {
        // That of an app which is to have none here is no reason to leave the one of others aside.
        let is_provider = self.claims.winner(place).is_none_or(|winner| winner == app);
        let own_route = self.own_route(app).filter(|route| is_provider && serves(route, place));
        if let Some(foreign) = self.foreign_route(app, place, own_route) {
            return foreign;
        }
        match self.claims.winner(place) {
            Some(winner) if winner != app => {
                let route = self.standing_route(winner, place);
                let outpost = route.and_then(|route| route.outpost_ingress()?.outpost.as_deref());
                HostHolder::Other { app: winner.clone(), is_ready: outpost == Some(&request.outpost.name) }
            }
            _ => HostHolder::App,
        }
    }

    /// A route at `place` that this controller did not make, or that somebody made his own. One that leads astray comes before one
    /// that is right. Beside a route of ours, `own`, only those matter that win over it and lead astray; and of other classes
    /// none but such, as nobody may rely on being served with those.
    fn foreign_route(
        &self,
        app: &ObjectKey,
        place: &Place,
        own: Option<&IngressFacts>,
    ) -> Option<HostHolder> {
        let mut right = None;
        let routes = self.beside(place, |entry| &entry.routes);
        for ingress in routes.filter(|ingress| self.is_foreign(app, ingress, &place.host)) {
            let is_elsewhere = ingress.class.shared_name() != place.class.as_ref();
            for path in ingress.outpost_paths_of(&place.host) {
                let leads_to = self.outpost_at(app, ingress, path);
                let is_harmless = match &leads_to {
                    Ok(_) => is_elsewhere || own.is_some(),
                    Err(_) => path.is_whole() && own.is_some_and(|own| is_first(own, ingress, path)),
                };
                let (ingress, path_text) = (ingress.key.clone(), path.path.to_string());
                let holder = HostHolder::Foreign { ingress, path: path_text, leads_to };
                match &holder {
                    _ if is_harmless => {}
                    HostHolder::Foreign { leads_to: Ok(_), .. } => right = right.or(Some(holder)),
                    _ => return Some(holder),
                }
            }
        }
        right
    }

    /// The known outpost that the rule `path` of the foreign route `ingress` leads to, or why visitors must not be left to it.
    fn outpost_at(
        &self,
        app: &ObjectKey,
        ingress: &IngressFacts,
        path: &OutpostPath,
    ) -> Result<String, String> {
        let astray = match ingress.outpost_ingress() {
            Some(_) if ingress.deleting => "it is being deleted, and somebody keeps it from going",
            Some(_) => "it bears this controller's labels, and is not as this controller would make it",
            None if ingress.is_canary => {
                "it is a canary, which shares in all visitors of the route whose rule it repeats"
            }
            None if !path.is_whole() => "it takes a part of the outpost's paths",
            None => return self.outpost_behind(app, ingress, path.service.as_deref()),
        };
        Err(astray.to_owned())
    }

    /// The known outpost that a Service in the namespace of `ingress` leads to, or what is found there.
    ///
    /// A Service of type `ExternalName` counts in the app's own namespace only: whoever may edit one elsewhere could
    /// turn the login of the app, and with it the app, to an address of his own.
    fn outpost_behind(
        &self,
        app: &ObjectKey,
        ingress: &IngressFacts,
        service: Option<&str>,
    ) -> Result<String, String> {
        let Some(service) = service else { return Err(describe_backend(None)) };
        let namespace = &ingress.key.namespace;
        let external = self.services.get(&ObjectKey::new(namespace.clone(), service));
        let external = external.and_then(|service| service.external_name.clone());
        if external.is_some() && *namespace != app.namespace {
            return Err(format!(
                "it leads to Service {}, which the owners of namespace {namespace} could turn",
                shown(service)
            ));
        }
        let host = external.unwrap_or_else(|| self.settings.cluster_domain.service_host(namespace, service));
        self.known.outposts.at_host(&host, &self.settings).ok_or_else(|| describe_backend(Some(service)))
    }

    /// Those `hosts` of the route of `app` that pass `filter`.
    fn hosts_in_route(&self, app: &ObjectKey, filter: impl Fn(&IngressFacts, &Place) -> bool) -> Vec<Host> {
        let Some(route) = self.own_route(app) else { return Vec::new() };
        let mut known = HashSet::new();
        let hosts = route.outpost_paths.iter().filter_map(|path| path.host.as_ref());
        let places = hosts.filter(|host| known.insert(*host)).map(|host| place(route, host));
        places.filter(|place| filter(route, place)).map(|place| place.host).collect()
    }

    /// The routes of other apps that serve hosts in the route of `app`, and stay when that goes; each with the Service that it leads
    /// through.
    pub fn heirs(&self, app: &ObjectKey) -> BTreeSet<(ObjectKey, ObjectKey)> {
        let Some(route) = self.own_route(app) else { return BTreeSet::new() };
        let hosts = route.outpost_paths.iter().filter_map(|path| path.host.as_ref());
        let heir = |place: Place| {
            let winner = self.claims.winner(&place).filter(|winner| *winner != app)?;
            self.standing_route(winner, &place)
                .and_then(|route| Some((route.key.clone(), service_of_route(route)?)))
        };
        hosts.filter_map(|host| heir(place(route, host))).collect()
    }

    /// Whether another app has claimed `place` and does not serve it yet, while the route of `app` does. A rejection by
    /// an admission webhook, which tolerates one Ingress for a path only, ends the loan.
    fn is_lent(&self, app: &ObjectKey, place: &Place) -> bool {
        self.claims.winner(place).is_some_and(|winner| {
            let stands = self.standing_route(winner, place).is_some();
            winner != app
                && !stands
                && !self.denied.contains(winner)
                && !self.uses_foreign_route(winner, place)
        })
    }

    /// Whether `app` makes no route at `place`, because a right one that this controller did not make is there.
    fn uses_foreign_route(&self, app: &ObjectKey, place: &Place) -> bool {
        matches!(self.foreign_route(app, place, None), Some(HostHolder::Foreign { leads_to: Ok(_), .. }))
    }

    /// Hosts whose route that of `app` is, for want of another if for nothing else: where `ingress`, the app, sends visitors to log
    /// in, and those that it lends.
    fn kept_hosts(&self, app: &ObjectKey, ingress: Option<&IngressFacts>) -> Vec<Host> {
        if self.own_route(app).is_none() {
            return Vec::new();
        }
        let needed = ingress.map(IngressFacts::login_hosts).unwrap_or_default();
        self.hosts_in_route(app, |route, place| {
            let is_needed = needed.contains(&place.host);
            let is_own = is_needed && self.claims.winner(place).is_none_or(|winner| winner == app);
            // What leads nowhere is of no use to others. The app's own is set right.
            is_own || (is_needed || serves(route, place)) && self.is_lent(app, place)
        })
    }

    /// Whether something of somebody else's keeps `app` from being protected, and so from claiming its hosts.
    pub(super) fn is_blocked(&self, app: &ObjectKey, request: &Request) -> bool {
        let is_astray = |place: &Place| {
            let foreign = self.foreign_route(app, place, None);
            matches!(foreign, Some(HostHolder::Foreign { leads_to, .. }) if leads_to.as_ref() != Ok(&request.outpost.name))
        };
        let places = self.claims.sought_by(app);
        matches!(self.route_slot(app), Slot::Foreign(_)) && request.has_route
            || self.has_taken_name(app, request)
            || places.iter().any(is_astray)
            || self.swallowed_anywhere(app, request).is_some()
    }

    /// Whether something of somebody else's stands under the name of a shared companion and will not do.
    fn has_taken_name(&self, app: &ObjectKey, request: &Request) -> bool {
        let namespace = &app.namespace;
        let service = self.service_slot(&service_key(namespace, request));
        let headers = headers_key(namespace, request).map(|key| self.headers_slot(&key));
        let middleware = middleware_key(namespace, request);
        let slot = middleware.as_ref().map(|key| self.middleware_slot(key));
        let does_the_same = |found: &MiddlewareFacts| {
            let wanted = companions::middleware(namespace, request.dialect, &request.outpost, &self.settings);
            wanted.is_some_and(|wanted| {
                found.does_the_same_as(&MiddlewareFacts::extract(&wanted, &self.settings.keys))
            })
        };
        matches!(service, Slot::Foreign(found) if request.has_route && !found.leads_to(&request.outpost.address.host))
            || matches!(headers, Some(Slot::Foreign(found)) if found.data != request.headers())
            || matches!(slot, Some(Slot::Foreign(found)) if !does_the_same(found))
            || middleware.is_some_and(|key| self.twin_of(&key).is_some())
    }
}

/// The Service through which a route of ours leads to its outpost.
fn service_of_route(route: &IngressFacts) -> Option<ObjectKey> {
    let outpost = route.outpost_ingress()?.outpost.as_deref()?;
    Some(companions::service_key(&route.key.namespace, outpost))
}

/// Whether `own` is in force where `other` has the same rule `path`, as ingress-nginx sorts Ingresses: oldest first; of the same
/// age, the one whose name sorts last.
fn is_first(own: &IngressFacts, other: &IngressFacts, path: &OutpostPath) -> bool {
    let is_older = match own.created.cmp(&other.created) {
        Ordering::Equal => own.key.to_string() > other.key.to_string(),
        age => age == Ordering::Less,
    };
    is_older && path.is_spelled_like_ours() && !other.is_canary
}
