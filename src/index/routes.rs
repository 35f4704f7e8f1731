//! Which routes lead where they should.
//!
//! Whoever may edit the Ingresses of a namespace may edit the routes that this controller made there. They are set right again,
//! and until then nobody of another namespace may rely on them.

use super::claims::{Part, Place, Standing};
use super::{Index, place};
use crate::contract::{outpost_named_in, service_name};
use crate::facts::{Host, IngressFacts, ObjectKey};
use crate::plan::outpost::Outpost;
use crate::plan::{Dialect, Slot, companions};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// The login that an app provides now, by a route of its own, or by its Middleware where there are no routes.
pub(super) struct Login {
    /// The outpost that it is at.
    pub(super) outpost: Arc<str>,
    /// When the route was made, in seconds since 1970; the app, where there are no routes.
    since: i64,
    /// Where it is; `None` is wherever the app is.
    places: Option<HashSet<Place>>,
}

impl Login {
    /// Those of `places` where it is, and the others.
    pub(super) fn split(&self, places: &Arc<[Place]>) -> (Arc<[Place]>, Arc<[Place]>) {
        let is_here = |place: &Place| self.places.as_ref().is_none_or(|places| places.contains(place));
        if places.iter().all(is_here) {
            return (Arc::clone(places), Arc::default());
        }
        let (here, elsewhere): (Vec<Place>, Vec<Place>) = places.iter().cloned().partition(is_here);
        (here.into(), elsewhere.into())
    }

    /// What the app claims on account of it.
    pub(super) fn holds(&self, standing: Standing, places: Arc<[Place]>) -> Part {
        Part { standing, since: self.since, places }
    }

    /// Where the app in `ingress` needs it, whatever that asks for now.
    pub(super) fn needed_by(&self, ingress: &IngressFacts) -> Arc<[Place]> {
        let needed = ingress.login_hosts();
        // In one order, so that the same claim is equal to itself.
        let places: BTreeSet<Place> = match &self.places {
            None => needed.iter().map(|host| place(ingress, host)).collect(),
            Some(places) => places.iter().filter(|place| needed.contains(&place.host)).cloned().collect(),
        };
        places.into_iter().collect()
    }
}

impl Index {
    /// The login that `app` provides. An app that had a claim without the route that goes with it would keep all others on the host
    /// waiting.
    pub(super) fn login_of(&self, app: &ObjectKey) -> Option<Login> {
        let ingress = self.ingresses.get(app)?;
        let of_middleware = || {
            let dialect = self.dialect_of_class(ingress)?;
            let name =
                ingress.middlewares.first().filter(|_| !dialect.routes_outpost_path(&self.settings))?;
            let outpost = outpost_named_in(&app.namespace, name)?;
            Some(Login { outpost: outpost.into(), since: ingress.created, places: None })
        };
        let of_route = || {
            let route = self.own_route(app)?;
            let outpost = route.outpost_ingress()?.outpost.clone()?;
            let places = served_hosts(route).into_iter().map(|host| place(route, host)).collect();
            Some(Login { outpost, since: route.created, places: Some(places) })
        };
        of_middleware().or_else(of_route)
    }

    /// Whether visitors at `place` may be left to `route`, which is one of ours: it is as this controller would make it for the
    /// outpost that it names, and the Service that it leads through is ours, or leads to that outpost. What a Service of ours
    /// leads to is set right by itself.
    pub(super) fn is_right(&self, route: &IngressFacts, place: &Place) -> bool {
        let Some((dialect, outpost)) = self.guard_of_route(route) else { return false };
        let service = companions::service_key(&route.key.namespace, &outpost.name);
        let is_turned = matches!(self.service_slot(&service), Slot::Foreign(found) if !found.leads_to(&outpost.address.host));
        serves(route, place) && !is_turned && companions::is_as_made(route, &place.host, dialect, &outpost)
    }

    /// Who reads the outpost Ingress `route`, and the outpost that it names, where both are known.
    pub(super) fn guard_of_route(&self, route: &IngressFacts) -> Option<(Dialect, Outpost)> {
        let name = route.outpost_ingress()?.outpost.as_deref()?;
        let outpost = self.known.outposts.resolve(Some(name), &self.settings).ok()?;
        Some((self.dialect_of_class(route)?, outpost))
    }

    fn dialect_of_class(&self, ingress: &IngressFacts) -> Option<Dialect> {
        self.dialect_of(&ObjectKey::new("", ingress.class.name()?))
    }

    /// Whether the rules of `ingress` at outpost paths are of somebody else than `app` and this controller. An app that asks for
    /// protection can have such, too, and is served with them although it is refused. So are those in a route of ours, in another
    /// namespace, that is not as it should be; and in one that is going and does not go, since somebody gave it a finalizer.
    pub(super) fn is_foreign(&self, app: &ObjectKey, ingress: &IngressFacts, host: &Host) -> bool {
        let is_ours = ingress.outpost_ingress().is_some() && !ingress.deleting;
        may_be_foreign(app, ingress) && !(is_ours && self.is_right(ingress, &place(ingress, host)))
    }
}

/// Whether [`Index::is_foreign`] depends on more than who made `ingress`: within one namespace everybody may edit everything.
pub(super) fn may_be_foreign(app: &ObjectKey, ingress: &IngressFacts) -> bool {
    match ingress.outpost_ingress() {
        Some(_) if ingress.key == companions::outpost_ingress_key(app) => false,
        Some(_) => ingress.deleting || ingress.key.namespace != app.namespace,
        None => ingress.key != *app,
    }
}

/// Whether the outpost Ingress `route` serves the whole outpost path at `place`, by the outpost that it names and nothing else.
pub(super) fn serves(route: &IngressFacts, place: &Place) -> bool {
    let paths = route.outpost_paths_of(&place.host);
    route.class.shared_name() == place.class.as_ref() && !paths.is_empty() && {
        let service = own_service(route);
        paths.iter().all(|path| companions::is_route(path, service.as_deref()))
    }
}

/// The hosts that the outpost Ingress `route` serves so.
pub(super) fn served_hosts(route: &IngressFacts) -> HashSet<&Host> {
    let service = own_service(route);
    let all = route.outpost_paths.iter();
    let (right, wrong): (Vec<_>, Vec<_>) =
        all.partition(|path| companions::is_route(path, service.as_deref()));
    let mut hosts: HashSet<&Host> = right.into_iter().filter_map(|path| path.host.as_ref()).collect();
    for host in wrong.into_iter().filter_map(|path| path.host.as_ref()) {
        hosts.remove(host);
    }
    hosts
}

/// The Service that leads to the outpost which `route` names.
fn own_service(route: &IngressFacts) -> Option<String> {
    route.outpost_ingress()?.outpost.as_deref().map(service_name)
}
