//! What the apps of a namespace share: made with the first user, removed with the last.

use super::{Index, Key, Source, in_namespace, named_headers};
use crate::contract::outpost_named_in;
use crate::facts::{ConfigMapFacts, Facts, Identity, IngressFacts, MiddlewareFacts, ObjectKey, ServiceFacts};
use crate::middleware::Middleware;
use crate::plan::changes::{Change, Kind, delete_shared, headers_change, middleware_change, service_change};
use crate::plan::request::{MiddlewareKind, Request};
use crate::plan::{Dialect, Slot, companions, hand_over};
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
    let headers = headers_key(namespace, request).map(Key::Headers);
    let middleware = middleware_key(namespace, request).map(Key::Middleware);
    [Some(Key::Service(service_key(namespace, request))), headers, middleware].into_iter().flatten().collect()
}

pub(super) fn service_key(namespace: &Arc<str>, request: &Request) -> ObjectKey {
    companions::service_key(namespace, &request.outpost.name)
}

/// `None` where the data plane takes no headers from a `ConfigMap`.
pub(super) fn headers_key(namespace: &Arc<str>, request: &Request) -> Option<ObjectKey> {
    let headers = request.headers();
    (!headers.is_empty()).then(|| companions::headers_key(namespace, &headers))
}

/// `None` where the data plane asks without a Middleware.
pub(super) fn middleware_key(namespace: &Arc<str>, request: &Request) -> Option<ObjectKey> {
    request.has_middleware().then(|| companions::middleware_key(namespace, &request.outpost.name))
}

impl Index {
    /// The change that is due to the shared companion `key`.
    pub fn plan_shared(&self, key: &Key) -> Option<Change> {
        let keys = &self.settings.keys;
        match key {
            Key::App(_) => None,
            Key::Service(key) => match (self.wanted_service(key), self.service_slot(key)) {
                (Some(wanted), slot) => service_change(slot, &wanted, keys),
                (None, slot) => self.deletion(Kind::Service, slot, || self.is_route_backend(key)),
            },
            Key::Headers(key) => match (self.wanted_headers(key), self.headers_slot(key)) {
                (Some(wanted), slot) => headers_change(slot, &wanted),
                (None, slot) => self.deletion(Kind::ConfigMap, slot, || self.naming(key).next().is_some()),
            },
            Key::Middleware(key) => match (self.wanted_middleware(key), self.middleware_slot(key)) {
                // Planning begins without this list, and what is not known yet may be there.
                (Some(_), _) if !self.has_complete(Source::Middlewares) => None,
                (Some(wanted), slot) => middleware_change(slot, &wanted, keys),
                (None, slot) => self.deletion(Kind::Middleware, slot, || self.calling(key).next().is_some()),
            },
        }
    }

    /// The request after which the shared companion `key` stays and is nobody's, if it is ours.
    pub fn hand_over_shared(&self, key: &Key) -> Option<Change> {
        let keys = &self.settings.keys;
        match key {
            Key::App(_) => None,
            Key::Service(key) => {
                self.service_slot(key).ours().map(|found| hand_over::shared(Kind::Service, found, keys))
            }
            Key::Headers(key) => {
                self.headers_slot(key).ours().map(|found| hand_over::shared(Kind::ConfigMap, found, keys))
            }
            Key::Middleware(key) => {
                self.middleware_slot(key).ours().map(|found| hand_over::shared(Kind::Middleware, found, keys))
            }
        }
    }

    /// The deletion of a shared companion of ours that no app asks for, unless something still uses it.
    fn deletion<T: Facts>(
        &self,
        kind: Kind,
        slot: Slot<&T>,
        is_used: impl FnOnce() -> bool,
    ) -> Option<Change> {
        let found = slot.ours().filter(|_| self.is_complete() && !is_used())?;
        Some(delete_shared(kind, found.key(), found.identity()))
    }

    /// The apps that need the shared companion `key`.
    pub fn users(&self, key: &Key) -> Vec<Key> {
        let (Key::Service(object) | Key::Headers(object) | Key::Middleware(object)) = key else {
            return Vec::new();
        };
        let users = self.requests_in(object);
        let users = users.filter(|(_, request)| keys_of_request(&object.namespace, request).contains(key));
        users.map(|(app, _)| Key::App(app.clone())).collect()
    }

    /// Notes that an object of ours is being deleted. Until [`Index::stay`] no app that comes to need it may rely on it.
    pub fn leave(&mut self, source: Source, key: &ObjectKey) {
        self.leaving.insert((source, key.clone()));
    }

    /// Notes that an object is not being deleted any more. The answer is who may have waited for that, where it stays: not who
    /// was to delete it, and tries again in his own time.
    pub fn stay(&mut self, source: Source, key: &ObjectKey) -> Vec<Key> {
        self.leaving.remove(&(source, key.clone()));
        let (own, mut keys) = match source {
            Source::Services if self.services.contains_key(key) => {
                (Some(Key::Service(key.clone())), self.touched_by_service(key, true))
            }
            Source::Ingresses => {
                let paths = self.ingresses.get(key).into_iter().flat_map(|route| &route.outpost_paths);
                let apps = self.apps_at(paths.filter_map(|path| path.host.as_ref()).collect());
                (self.app_of_route(key).map(Key::App), apps.into_iter().map(Key::App).collect())
            }
            // Who needs another has it made, and waits for nobody.
            _ => return Vec::new(),
        };
        keys.retain(|key| own.as_ref() != Some(key));
        keys
    }

    pub(super) fn is_leaving(&self, source: Source, key: &ObjectKey) -> bool {
        // Nearly always there is none, and nothing is copied.
        !self.leaving.is_empty() && self.leaving.contains(&(source, key.clone()))
    }

    /// What an app finds that needs the shared companion `key`, if it needs one of `source`.
    pub(super) fn found<'a, T>(
        &'a self,
        source: Source,
        key: Option<&ObjectKey>,
        slot: impl FnOnce(&'a Self, &ObjectKey) -> Slot<&'a T>,
    ) -> Slot<&'a T> {
        match key.filter(|key| !self.is_leaving(source, key)) {
            Some(key) => slot(self, key),
            None => Slot::Vacant,
        }
    }

    pub(super) fn service_slot(&self, key: &ObjectKey) -> Slot<&'_ ServiceFacts> {
        slot(&self.services, key, |service| service.ours)
    }

    pub(super) fn headers_slot(&self, key: &ObjectKey) -> Slot<&'_ ConfigMapFacts> {
        slot(&self.headers, key, |headers| headers.ours)
    }

    pub(super) fn middleware_slot(&self, key: &ObjectKey) -> Slot<&'_ MiddlewareFacts> {
        slot(&self.middlewares, key, MiddlewareFacts::is_ours)
    }

    /// Another Middleware that Traefik cannot tell from `key`.
    pub(super) fn twin_of(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        let spelled = self.spellings.get(&MiddlewareFacts::spelling(key))?;
        spelled.iter().find(|other| *other != key).filter(|_| !self.settings.traefik.safe_naming)
    }

    /// The apps that need a Middleware which Traefik calls `spelling`.
    pub(super) fn apps_calling_a_middleware(&self, spelling: &str) -> Vec<ObjectKey> {
        let requests = self.requests.iter().filter_map(|(app, request)| Some((app, request.as_ref().ok()?)));
        let calls = |app: &ObjectKey, request: &Request| {
            let key = middleware_key(&app.namespace, request);
            key.is_some_and(|key| MiddlewareFacts::spelling(&key) == spelling)
        };
        requests.filter(|(app, request)| calls(app, request)).map(|(app, _)| app.clone()).collect()
    }

    /// The shared companions of `app` that stand there, are not ours, and may go without a word: a Service of type `ExternalName` is
    /// watched, whoever made it.
    pub fn foreign_companions(&self, app: &ObjectKey) -> Vec<(Source, ObjectKey)> {
        let Some(Ok(request)) = self.requests.get(app) else {
            return Vec::new();
        };
        let service = Some(service_key(&app.namespace, request));
        let service = service.filter(
            |key| matches!(self.service_slot(key), Slot::Foreign(found) if found.external_name.is_none()),
        );
        let headers = headers_key(&app.namespace, request);
        let headers = headers.filter(|key| matches!(self.headers_slot(key), Slot::Foreign(_)));
        let service = service.map(|key| (Source::Services, key));
        service.into_iter().chain(headers.map(|key| (Source::ConfigMaps, key))).collect()
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
        let named = ingress.headers.as_deref().and_then(|name| named_headers(&ingress.key, name));
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
            ingress.headers.as_deref().and_then(|name| named_headers(&ingress.key, name)).as_ref()
                == Some(key)
        };
        ingresses.filter(move |(_, ingress)| names(ingress)).map(|(app, ingress)| (app, &ingress.identity))
    }

    /// The Ingresses that name the Middleware `key` of their namespace.
    fn calling<'a>(&'a self, key: &'a ObjectKey) -> impl Iterator<Item = &'a ObjectKey> {
        let ingresses = in_namespace(&self.ingresses, &key.namespace);
        let calls = |ingress: &IngressFacts| ingress.middlewares.iter().any(|name| **name == *key.name);
        ingresses.filter(move |(_, ingress)| calls(ingress)).map(|(app, _)| app)
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
        let outpost = self.known.outposts.resolve(Some(routes.next()?), &self.settings).ok()?;
        let service = companions::service(&key.namespace, &outpost, &self.settings.keys);
        (ObjectKey::of(&service.metadata) == *key).then_some(service)
    }

    fn service_of_request(&self, key: &ObjectKey) -> Option<Service> {
        let mut requests = self.requests_in(key);
        let (_, request) = requests.find(|(app, request)| {
            request.has_route && service_key(&key.namespace, request) == *key && self.provides_route(app)
        })?;
        Some(companions::service(&key.namespace, &request.outpost, &self.settings.keys))
    }

    fn wanted_headers(&self, key: &ObjectKey) -> Option<ConfigMap> {
        let mut requests = self.requests_in(key);
        let (_, request) =
            requests.find(|(_, request)| headers_key(&key.namespace, request).as_ref() == Some(key))?;
        companions::headers(&key.namespace, request)
    }

    fn wanted_middleware(&self, key: &ObjectKey) -> Option<Middleware> {
        if self.known.middlewares == MiddlewareKind::Missing {
            return None;
        }
        let mut requests = self.requests_in(key);
        let asked = requests
            .find(|(_, request)| middleware_key(&key.namespace, request).as_ref() == Some(key))
            .map(|(_, request)| request.outpost.clone());
        let kept = || {
            self.calling(key).find(|app| self.needs_middlewares(app))?;
            let outpost = outpost_named_in(&key.namespace, &key.name)?;
            self.known.outposts.resolve(Some(outpost), &self.settings).ok()
        };
        let outpost = asked.or_else(kept)?;
        companions::middleware(&key.namespace, Dialect::Traefik, &outpost, &self.settings)
    }

    /// Whether the Middlewares of ours that `app` names have to be there: a refused app that is protected needs its
    /// Middleware as much as one that asks for it, since without it nobody gets in. On nginx the list means nothing.
    fn needs_middlewares(&self, app: &ObjectKey) -> bool {
        let class = self.ingresses.get(app).and_then(|ingress| ingress.class.name());
        let dialect = class.and_then(|class| self.dialect_of(&ObjectKey::new("", class)));
        self.requests.contains_key(app) && dialect.is_none_or(|dialect| dialect == Dialect::Traefik)
    }

    /// The Middlewares of ours that `app` names and needs.
    pub(super) fn middlewares_of(&self, app: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        let ingress = self.ingresses.get(app).filter(|_| self.needs_middlewares(app));
        let names = ingress.into_iter().flat_map(|ingress| &ingress.middlewares);
        names.map(|name| ObjectKey::new(app.namespace.clone(), &**name))
    }

    /// What the apps that are protected now rely on, whether it is there or not.
    pub(super) fn relied_on(&self) -> impl Iterator<Item = Key> {
        self.ingresses.values().flat_map(|ingress| {
            let route = ingress.outpost_ingress().map(|_| &ingress.outpost_paths);
            let services = route.into_iter().flatten().filter_map(|path| path.service.as_deref());
            let services = services.map(|name| ObjectKey::new(ingress.key.namespace.clone(), name));
            self.middlewares_of(&ingress.key).map(Key::Middleware).chain(services.map(Key::Service))
        })
    }

    fn requests_in<'a>(&'a self, key: &'a ObjectKey) -> impl Iterator<Item = (&'a ObjectKey, &'a Request)> {
        let requests = in_namespace(&self.requests, &key.namespace);
        requests.filter_map(|(app, request)| Some((app, request.as_ref().ok()?)))
    }

    /// Whether `app` has to provide the route of one of its hosts.
    fn provides_route(&self, app: &ObjectKey) -> bool {
        let claim = self.claims.claim(app);
        claim.is_some_and(|claim| claim.places().any(|place| self.claims.winner(place) == Some(app)))
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
