//! What the apps of a namespace share: made with the first user, removed with the last.

use super::{Index, Key, Source, headers_key, in_namespace};
use crate::facts::{ConfigMapFacts, Facts, Identity, IngressFacts, ObjectKey, ServiceFacts};
use crate::plan::changes::{Change, Kind, delete_shared, headers_change, service_change};
use crate::plan::request::Request;
use crate::plan::{Slot, companions};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The versions between which a `ConfigMap` was not there. Those of Ingresses and `ConfigMaps` grow together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Away {
    /// When it went; `None` where nobody saw it go.
    pub(super) since: Option<u64>,
    /// When it came back; `None` as long as it has not.
    pub(super) until: Option<u64>,
}

impl Away {
    /// Whether an object changed meanwhile, as far as can be told.
    fn covers(self, identity: &Identity) -> bool {
        let Some(version) = identity.version() else { return true };
        self.since.is_none_or(|since| since < version) && self.until.is_none_or(|until| version < until)
    }
}

/// The shared companions that an app with this request uses.
pub(super) fn keys_of_request(namespace: &Arc<str>, request: &Request) -> Vec<Key> {
    vec![Key::Service(service_key(namespace, request)), Key::Headers(request_headers_key(namespace, request))]
}

pub(super) fn service_key(namespace: &Arc<str>, request: &Request) -> ObjectKey {
    companions::service_key(namespace, &request.outpost.name)
}

pub(super) fn request_headers_key(namespace: &Arc<str>, request: &Request) -> ObjectKey {
    companions::headers_key(namespace, &request.dialect.request_headers(request.auth_route))
}

impl Index {
    /// The change that is due to the Service `key`.
    pub fn plan_service(&self, key: &ObjectKey) -> Option<Change> {
        let slot = self.service_slot(key);
        match (self.wanted_service(key), slot) {
            (Some(wanted), slot) => service_change(slot, &wanted, &self.settings.keys),
            (None, Slot::Ours(found)) if self.is_complete() && !self.is_route_backend(key) => {
                Some(delete_shared(Kind::Service, key, &found.identity))
            }
            _ => None,
        }
    }

    /// The change that is due to the `ConfigMap` of headers `key`.
    pub fn plan_headers(&self, key: &ObjectKey) -> Option<Change> {
        let slot = self.headers_slot(key);
        match (self.wanted_headers(key), slot) {
            (Some(wanted), slot) => headers_change(slot, &wanted),
            (None, Slot::Ours(found)) if self.is_complete() && !self.is_named_by_an_ingress(key) => {
                Some(delete_shared(Kind::ConfigMap, key, &found.identity))
            }
            _ => None,
        }
    }

    /// The apps that need the shared companion `key`.
    pub fn users(&self, key: &Key) -> Vec<Key> {
        let (object, needs): (_, fn(&Arc<str>, &Request) -> ObjectKey) = match key {
            Key::App(_) => return Vec::new(),
            Key::Service(service) => (service, service_key),
            Key::Headers(headers) => (headers, request_headers_key),
        };
        let users =
            self.requests_in(object).filter(|(_, request)| needs(&object.namespace, request) == *object);
        users.map(|(app, _)| Key::App(app.clone())).collect()
    }

    pub(super) fn service_slot(&self, key: &ObjectKey) -> Slot<&'_ ServiceFacts> {
        slot(&self.services, key, |service| service.ours)
    }

    pub(super) fn headers_slot(&self, key: &ObjectKey) -> Slot<&'_ ConfigMapFacts> {
        slot(&self.headers, key, |headers| headers.ours)
    }

    /// The shared companions of `app` that stand there and are not ours.
    pub fn foreign_companions(&self, app: &ObjectKey) -> Vec<(Source, ObjectKey)> {
        let Some(Ok(request)) = self.requests.get(app) else {
            return Vec::new();
        };
        let (service, headers) =
            (service_key(&app.namespace, request), request_headers_key(&app.namespace, request));
        let mut found = Vec::new();
        if matches!(self.service_slot(&service), Slot::Foreign(_)) {
            found.push((Source::Services, service));
        }
        if matches!(self.headers_slot(&headers), Slot::Foreign(_)) {
            found.push((Source::ConfigMaps, headers));
        }
        found
    }

    /// The apps that ingress-nginx may have read while the `ConfigMap` was away, now that it is back in `version`.
    pub(super) fn headers_came_back(&mut self, key: &ObjectKey, version: Option<u64>) -> Vec<Key> {
        let away = self.headers_away.entry(key.clone()).or_default();
        away.until = version;
        let away = *away;
        let naming = self.naming(key).filter(|(_, identity)| away.covers(identity));
        let missed: Vec<ObjectKey> = naming.map(|(app, _)| app.clone()).collect();
        self.missed_headers.extend(missed.iter().cloned());
        missed.into_iter().map(Key::App).collect()
    }

    /// Whether `ingress` changed while the `ConfigMap` that it names was away, which may be seen after both its loss and
    /// its return: two watches keep no order.
    pub(super) fn notice_missed_headers(&mut self, ingress: &IngressFacts) -> Vec<Key> {
        let named = ingress.headers.as_deref().and_then(|name| headers_key(&ingress.key, name));
        let away = named.and_then(|key| self.headers_away.get(&key)).filter(|away| away.until.is_some());
        if !away.is_some_and(|away| away.covers(&ingress.identity)) {
            return Vec::new();
        }
        self.missed_headers.insert(ingress.key.clone());
        vec![Key::App(ingress.key.clone())]
    }

    /// The Ingresses that name the `ConfigMap` `key`.
    fn naming<'a>(&'a self, key: &'a ObjectKey) -> impl Iterator<Item = (&'a ObjectKey, &'a Identity)> {
        let ingresses = in_namespace(&self.ingresses, &key.namespace);
        let names = move |ingress: &IngressFacts| {
            ingress.headers.as_deref().and_then(|name| headers_key(&ingress.key, name)).as_ref() == Some(key)
        };
        ingresses.filter(move |(_, ingress)| names(ingress)).map(|(app, ingress)| (app, &ingress.identity))
    }

    fn is_named_by_an_ingress(&self, key: &ObjectKey) -> bool {
        self.naming(key).next().is_some()
    }

    /// Whether some Ingress, whoever made it, still routes the outpost path through the Service `key`.
    fn is_route_backend(&self, key: &ObjectKey) -> bool {
        in_namespace(&self.ingresses, &key.namespace)
            .any(|(_, ingress)| ingress.routes_outpost_through(&key.name))
    }

    fn wanted_service(&self, key: &ObjectKey) -> Option<Service> {
        self.service_of_request(key).or_else(|| self.service_of_kept_route(key))
    }

    /// A refused app may keep its route, and the route needs its Service.
    fn service_of_kept_route(&self, key: &ObjectKey) -> Option<Service> {
        let mut routes = in_namespace(&self.ingresses, &key.namespace).filter_map(|(_, route)| {
            route.outpost_ingress().filter(|_| route.routes_outpost_through(&key.name))?.outpost.as_deref()
        });
        let outpost = self.outposts.resolve(Some(routes.next()?), &self.settings).ok()?;
        let service = companions::service(&key.namespace, &outpost, &self.settings.keys);
        (ObjectKey::of(&service.metadata) == *key).then_some(service)
    }

    fn service_of_request(&self, key: &ObjectKey) -> Option<Service> {
        let mut requests = self.requests_in(key);
        let (_, request) = requests.find(|(app, request)| {
            service_key(&key.namespace, request) == *key && self.provides_route(app)
        })?;
        Some(companions::service(&key.namespace, &request.outpost, &self.settings.keys))
    }

    fn wanted_headers(&self, key: &ObjectKey) -> Option<ConfigMap> {
        let mut requests = self.requests_in(key);
        let (_, request) =
            requests.find(|(_, request)| request_headers_key(&key.namespace, request) == *key)?;
        Some(companions::headers(&key.namespace, request.dialect, request.auth_route, &self.settings.keys))
    }

    fn requests_in<'a>(&'a self, key: &'a ObjectKey) -> impl Iterator<Item = (&'a ObjectKey, &'a Request)> {
        let requests = in_namespace(&self.requests, &key.namespace);
        requests.filter_map(|(app, request)| Some((app, request.as_ref().ok()?)))
    }

    /// Whether `app` has to provide the route of one of its hosts.
    fn provides_route(&self, app: &ObjectKey) -> bool {
        let claim = self.claims.claim(app);
        claim.is_some_and(|claim| claim.places.iter().any(|place| self.claims.winner(place) == Some(app)))
            && self.complete.contains(&Source::Ingresses)
    }
}

fn slot<'a, T: Facts>(
    map: &'a BTreeMap<ObjectKey, T>,
    key: &ObjectKey,
    is_ours: impl Fn(&T) -> bool,
) -> Slot<&'a T> {
    match map.get(key) {
        None => Slot::Vacant,
        Some(object) if is_ours(object) => Slot::Ours(object),
        Some(object) => Slot::Foreign(object),
    }
}
