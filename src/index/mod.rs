//! Holds the facts; answers which keys a change touches, who claims a host, and what bears on one app.
//!
//! What the controller writes is fed back here from the API's answer, so that a plan never waits for the watch to
//! deliver what is already known.

mod answers;
mod claims;
mod neighbours;
mod routes;
mod shared;
mod small_set;
mod view;

pub use answers::AnswerId;

use crate::config::{self, Settings};
use crate::contract::{MAX_SUBDOMAIN, app_named_in, is_spelled_like_a_middleware, outpost_ingress_name};
use crate::facts::{
    ConfigMapFacts, DiscoveredOutpost, Facts, Host, Identity, IngressClassFacts, IngressFacts,
    MiddlewareFacts, Names, NoIngress, ObjectKey, OptIn, Role, ServiceFacts,
};
use crate::plan::Dialect;
use crate::plan::changes::Kind;
use crate::plan::decision::uses_outpost;
use crate::plan::request::{Known, MiddlewareKind, Request, Unresolved};
use answers::Answers;
use claims::{Claim, Claims, Part, Place, Scope, Standing, Touched};
use k8s_openapi::api::networking::v1::Ingress;
use shared::Away;
use small_set::SmallSet;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// What is reconciled: small, so that a change costs what it touches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// An app's Ingress with its annotations and its outpost Ingress, whether or not it still exists.
    App(ObjectKey),
    /// A Service to an outpost, shared by the apps of a namespace.
    Service(ObjectKey),
    /// A `ConfigMap` of request headers, shared by the apps of a namespace.
    Headers(ObjectKey),
    /// A Middleware that asks an outpost, shared by the apps of a namespace.
    Middleware(ObjectKey),
}

impl Key {
    /// Namespace and name of the object; of an app, those of its Ingress.
    pub fn object(&self) -> &ObjectKey {
        let (Self::App(key) | Self::Service(key) | Self::Headers(key) | Self::Middleware(key)) = self;
        key
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(key) => write!(f, "Ingress {key}"),
            Self::Service(key) => write!(f, "Service {key}"),
            Self::Headers(key) => write!(f, "ConfigMap {key}"),
            Self::Middleware(key) => write!(f, "Middleware {key}"),
        }
    }
}

/// Kinds of lists that the index is filled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// All Ingresses in scope.
    Ingresses,
    /// `IngressClasses`.
    Classes,
    /// Services of type `ExternalName` in scope.
    Services,
    /// `ConfigMaps` of ours in scope.
    ConfigMaps,
    /// Services that authentik labelled as outposts.
    Outposts,
    /// Traefik's Middlewares in scope, whoever made them.
    Middlewares,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ingresses, Self::Classes, Self::Services, Self::ConfigMaps, Self::Outposts, Self::Middlewares];
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Index {
    settings: Arc<Settings>,
    names: Names,
    /// Boxed, since the nodes of a tree are half empty.
    ingresses: BTreeMap<ObjectKey, Box<IngressFacts>>,
    services: BTreeMap<ObjectKey, ServiceFacts>,
    headers: BTreeMap<ObjectKey, ConfigMapFacts>,
    middlewares: BTreeMap<ObjectKey, MiddlewareFacts>,
    /// Middlewares by what Traefik calls them, which two of different namespaces can have in common.
    spellings: HashMap<String, BTreeSet<ObjectKey>>,
    known: Known,
    /// What each opted-in app asks for.
    requests: BTreeMap<ObjectKey, Result<Request, Unresolved>>,
    claims: Claims,
    complete: HashSet<Source>,
    /// Apps whose route an admission webhook rejects as long as another Ingress serves the same path.
    denied: HashSet<ObjectKey>,
    /// When each `ConfigMap` of headers that was lost was away, the last time.
    headers_away: HashMap<ObjectKey, Away>,
    /// Apps whose Ingress changed while their `ConfigMap` of headers was lost.
    missed_headers: HashSet<ObjectKey>,
    /// Where nobody's request for protection counts any more.
    withdrawn: Option<config::Scope>,
    /// What is being deleted: an app that comes to need it must not rely on it.
    leaving: HashSet<(Source, ObjectKey)>,
    /// Answers that may show what is gone by now.
    answers: Answers,
}

impl Index {
    /// An empty index.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, ..Self::default() }
    }

    /// An empty index that takes every app in `scope` for one that has taken its request for protection back.
    pub fn withdrawn(settings: Arc<Settings>, scope: config::Scope) -> Self {
        Self { withdrawn: Some(scope), ..Self::new(settings) }
    }

    /// The facts of `ingress`, as this index counts them.
    pub fn read(&self, ingress: &Ingress) -> Result<IngressFacts, NoIngress> {
        let mut facts = IngressFacts::extract(ingress, &self.settings.keys)?;
        // Beyond that, nobody is going to protect an app that is not protected now.
        let is_withdrawn =
            |scope: &config::Scope| scope.contains(&facts.key.namespace) || !uses_outpost(&facts);
        if self.withdrawn.as_ref().is_some_and(is_withdrawn) {
            facts.take_back_request();
        }
        Ok(facts)
    }

    /// The settings that it was made with.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Notes that the first list of `source` has been delivered whole. The answer is what that may change.
    pub fn complete(&mut self, source: Source) -> Vec<Key> {
        self.complete.insert(source);
        match source {
            Source::Classes => self.known.classes.complete = true,
            Source::Outposts => self.known.outposts.complete = true,
            Source::Middlewares => self.known.middlewares = MiddlewareKind::Listed,
            _ => return Vec::new(),
        }
        self.resolve_again()
    }

    /// Notes that the API server does not know Middlewares, which is as good as a complete list. The answer is what that may
    /// change.
    pub fn miss_middlewares(&mut self) -> Vec<Key> {
        if self.known.middlewares == MiddlewareKind::Missing {
            return Vec::new();
        }
        self.complete.insert(Source::Middlewares);
        self.known.middlewares = MiddlewareKind::Missing;
        let gone = self.unlisted(Source::Middlewares, None, &HashSet::new());
        let keys: Vec<Key> =
            gone.iter().flat_map(|key| self.forget(Source::Middlewares, key, None)).collect();
        keys.into_iter().chain(self.resolve_again()).collect()
    }

    /// Whether the first list has been delivered of every source that all apps depend on. Of Middlewares only Traefik's do,
    /// and those wait for it: an admin who has no Traefik need not grant a right to them.
    pub fn is_complete(&self) -> bool {
        let mut needed = Source::ALL.iter().filter(|source| **source != Source::Middlewares);
        needed.all(|source| self.complete.contains(source))
    }

    /// Whether the first list of `source` has been delivered.
    pub fn has_complete(&self, source: Source) -> bool {
        self.complete.contains(&source)
    }

    /// Everything that may need a change: all apps, all that was ever made for one, and what should be there and is not.
    pub fn all_keys(&self) -> Vec<Key> {
        let apps = self.ingresses.values().filter_map(|ingress| reconciled_app(ingress)).map(Key::App);
        let services = self.services.values().filter(|service| service.ours);
        let headers = self.headers.values().filter(|headers| headers.ours);
        let middlewares = self.middlewares.values().filter(|middleware| middleware.is_ours());
        apps.chain(services.map(|service| Key::Service(service.key.clone())))
            .chain(headers.map(|headers| Key::Headers(headers.key.clone())))
            .chain(middlewares.map(|middleware| Key::Middleware(middleware.key.clone())))
            .chain(self.relied_on())
            .collect()
    }

    /// Keys of the objects of `source` in `namespace`, or everywhere.
    pub fn keys_of(&self, source: Source, namespace: Option<&str>) -> Vec<ObjectKey> {
        fn keys<T>(map: &BTreeMap<ObjectKey, T>, namespace: Option<&str>) -> Vec<ObjectKey> {
            let in_scope = |key: &&ObjectKey| namespace.is_none_or(|namespace| *key.namespace == *namespace);
            map.keys().filter(in_scope).cloned().collect()
        }
        match source {
            Source::Ingresses => keys(&self.ingresses, namespace),
            Source::Classes => keys(&self.known.classes.known, namespace),
            Source::Services => keys(&self.services, namespace),
            Source::ConfigMaps => keys(&self.headers, namespace),
            Source::Outposts => keys(&self.known.outposts.services, namespace),
            Source::Middlewares => keys(&self.middlewares, namespace),
        }
    }

    /// Whether the companion under `key` is one of ours; `None` where nothing is known under that name.
    pub fn is_ours(&self, kind: Kind, key: &ObjectKey) -> Option<bool> {
        match kind {
            Kind::Ingress => self.ingresses.get(key).map(|ingress| ingress.outpost_ingress().is_some()),
            Kind::Service => self.services.get(key).map(|service| service.ours),
            Kind::ConfigMap => self.headers.get(key).map(|headers| headers.ours),
            Kind::Middleware => self.middlewares.get(key).map(MiddlewareFacts::is_ours),
        }
    }

    /// The life and version in which the object of `source` is known.
    pub fn identity(&self, source: Source, key: &ObjectKey) -> Option<&Identity> {
        fn identity<'a, T: Facts>(map: &'a BTreeMap<ObjectKey, T>, key: &ObjectKey) -> Option<&'a Identity> {
            map.get(key).map(Facts::identity)
        }
        match source {
            Source::Ingresses => self.ingresses.get(key).map(Box::as_ref).map(Facts::identity),
            Source::Classes => identity(&self.known.classes.known, key),
            Source::Services => identity(&self.services, key),
            Source::ConfigMaps => identity(&self.headers, key),
            Source::Outposts => identity(&self.known.outposts.services, key),
            Source::Middlewares => identity(&self.middlewares, key),
        }
    }

    /// Whether the route of `app` may go, of which `found` was read just now: it is known as it is, or it needs no route.
    pub fn may_lose_route(&self, app: &ObjectKey, found: &IngressFacts) -> bool {
        let is_off = found.app().is_none_or(|app| app.opt_in == OptIn::Off && app.owned.is_empty());
        self.identity(Source::Ingresses, app) == Some(&found.identity) || is_off && !uses_outpost(found)
    }

    /// Takes in an Ingress as the API showed it.
    pub fn observe_ingress(&mut self, mut facts: IngressFacts) -> Vec<Key> {
        let missed = self.notice_missed_headers(&facts);
        // Most events of a busy Ingress are about its status, which no plan looks at.
        if self.ingresses.get_mut(&facts.key).is_some_and(|known| says_nothing_new(&mut **known, &facts)) {
            return missed;
        }
        facts.share(&mut self.names);
        let key = facts.key.clone();
        let mut keys = self.replace_ingress(&key, Some(facts));
        keys.extend(missed);
        keys
    }

    /// Takes an app to be as it is known, but with no annotation of this controller's; `None` where none is known.
    pub fn disown(&mut self, app: &ObjectKey) -> Option<Vec<Key>> {
        let mut facts = IngressFacts::clone(self.ingresses.get(app).filter(|facts| facts.app().is_some())?);
        facts.disown();
        Some(self.replace_ingress(app, Some(facts)))
    }

    /// Takes in a Service in an app's namespace.
    pub fn observe_service(&mut self, facts: ServiceFacts) -> Vec<Key> {
        let key = facts.key.clone();
        let was_ours = self.services.get(&key).is_none_or(|service| service.ours);
        if !store(&mut self.services, facts) {
            return Vec::new();
        }
        self.touched_by_service(&key, was_ours)
    }

    /// Takes in a `ConfigMap` of headers.
    pub fn observe_headers(&mut self, facts: ConfigMapFacts) -> Vec<Key> {
        let key = facts.key.clone();
        let version = facts.identity.version();
        let was_vacant = !self.headers.contains_key(&key);
        let was_ours = self.headers.get(&key).is_none_or(|headers| headers.ours);
        if !store(&mut self.headers, facts) {
            return Vec::new();
        }
        let mut keys = self.touched_by_headers(&key, was_ours);
        if was_vacant && self.complete.contains(&Source::ConfigMaps) {
            keys.extend(self.headers_came_back(&key, version));
        }
        keys
    }

    /// Takes in a class.
    pub fn observe_class(&mut self, facts: IngressClassFacts) -> Vec<Key> {
        // Before the list is complete nobody relies on it, and then all is read anew.
        let is_news = store(&mut self.known.classes.known, facts) && self.known.classes.complete;
        if is_news { self.resolve_again() } else { Vec::new() }
    }

    /// Takes in a Service that authentik labelled as an outpost.
    pub fn observe_outpost(&mut self, facts: DiscoveredOutpost) -> Vec<Key> {
        if store(&mut self.known.outposts.services, facts) { self.resolve_again() } else { Vec::new() }
    }

    /// Takes in a Middleware, whoever made it.
    pub fn observe_middleware(&mut self, facts: MiddlewareFacts) -> Vec<Key> {
        let key = facts.key.clone();
        let was_ours = self.middlewares.get(&key).is_none_or(MiddlewareFacts::is_ours);
        if !store(&mut self.middlewares, facts) {
            return Vec::new();
        }
        self.spellings.entry(MiddlewareFacts::spelling(&key)).or_default().insert(key.clone());
        self.touched_by_middleware(&key, was_ours)
    }

    /// The dialect in which the apps of a class are protected, once that is known.
    pub fn dialect_of(&self, class: &ObjectKey) -> Option<Dialect> {
        let given = self.settings.classes.get(&*class.name).copied();
        given.or_else(|| Dialect::of_class(self.known.classes.known.get(class)?))
    }

    /// Takes note that an object is gone. With `gone`, its identity at the end, only if it is that life of the object that
    /// was known.
    pub fn forget(&mut self, source: Source, key: &ObjectKey, gone: Option<&Identity>) -> Vec<Key> {
        self.answers.note_gone(source, key, gone);
        match source {
            Source::Ingresses if is_meant(&self.ingresses, key, gone) => self.replace_ingress(key, None),
            Source::Classes if is_meant(&self.known.classes.known, key, gone) => {
                self.known.classes.known.remove(key);
                self.resolve_again()
            }
            Source::Services if is_meant(&self.services, key, gone) => {
                let was_ours = self.services.remove(key).is_some_and(|service| service.ours);
                self.touched_by_service(key, was_ours)
            }
            Source::ConfigMaps if is_meant(&self.headers, key, gone) => {
                let was_ours = self.headers.remove(key).is_some_and(|headers| headers.ours);
                self.headers_away
                    .insert(key.clone(), Away { since: gone.and_then(Identity::version), until: None });
                self.touched_by_headers(key, was_ours)
            }
            Source::Outposts if is_meant(&self.known.outposts.services, key, gone) => {
                self.known.outposts.services.remove(key);
                self.resolve_again()
            }
            Source::Middlewares if is_meant(&self.middlewares, key, gone) => {
                let was_ours = self.middlewares.remove(key).is_some_and(|middleware| middleware.is_ours());
                let spelling = MiddlewareFacts::spelling(key);
                if let Some(twins) = self.spellings.get_mut(&spelling) {
                    twins.remove(key);
                    if twins.is_empty() {
                        self.spellings.remove(&spelling);
                    }
                }
                self.touched_by_middleware(key, was_ours)
            }
            _ => Vec::new(),
        }
    }

    /// Notes whether an admission webhook rejects the route of `app` because another stands in its place. The answer
    /// is who can clear the way.
    pub fn set_denied(&mut self, app: &ObjectKey, is_denied: bool) -> Vec<Key> {
        let has_changed = if is_denied { self.denied.insert(app.clone()) } else { self.denied.remove(app) };
        let Some(claim) = self.claims.claim(app).filter(|_| has_changed && is_denied) else {
            return Vec::new();
        };
        let routes =
            claim.places().filter_map(|place| self.claims.entry(place)).flat_map(|entry| &entry.routes);
        routes.filter_map(|route| self.app_of_route(route)).map(Key::App).collect()
    }

    fn replace_ingress(&mut self, key: &ObjectKey, new: Option<IngressFacts>) -> Vec<Key> {
        let mut scope = Scope::default();
        let mut keys = Vec::new();
        let old = self.ingresses.remove(key);
        if let Some(old) = &old {
            self.link(&mut scope, old, false);
        }
        if let Some(new) = &new {
            self.link(&mut scope, new, true);
        }
        let both = [old.as_deref(), new.as_ref()];
        let mut apps: HashSet<ObjectKey> = both.into_iter().flatten().filter_map(reconciled_app).collect();
        apps.extend(self.app_that_needs_the_name(key));
        apps.extend(both.into_iter().flatten().flat_map(|ingress| self.apps_it_may_block(ingress)));
        let headers = both.map(|facts| facts.and_then(|facts| facts.headers.clone()));
        if let [Some(before), after] = &headers
            && after.as_ref() != Some(before)
        {
            keys.extend(named_headers(key, before).map(Key::Headers));
        }
        let named = both.map(|facts| facts.map(|facts| facts.middlewares.clone()).unwrap_or_default());
        let dropped = named[0].iter().filter(|name| !named[1].contains(*name));
        keys.extend(dropped.map(|name| Key::Middleware(ObjectKey::new(key.namespace.clone(), &**name))));
        // Whoever made the route: one by hand, or a copy of ours, may have been the last that led through a Service of ours.
        if let Some(old) = &old {
            let services = old.outpost_paths.iter().filter_map(|path| path.service.as_deref());
            keys.extend(services.map(|service| Key::Service(ObjectKey::new(key.namespace.clone(), service))));
        }
        if let Some(new) = new {
            self.ingresses.insert(key.clone(), Box::new(new));
        }
        keys.extend(self.resolve_all(scope, apps));
        keys
    }

    /// Apps that an Ingress may keep from claiming their hosts, or may no longer.
    fn apps_it_may_block(&self, ingress: &IngressFacts) -> Vec<ObjectKey> {
        let may_block = |app: &&ObjectKey| routes::may_be_foreign(app, ingress);
        let routed = ingress.outpost_paths.iter().filter_map(|path| path.host.as_ref());
        let swallowed = ingress.swallowing_paths.iter().filter_map(|(host, _)| host.as_ref());
        let entries = routed.chain(swallowed).flat_map(|host| self.claims.at_host(host));
        entries.flat_map(|entry| entry.seekers.iter().filter(may_block).cloned()).collect()
    }

    /// Apps that seek one of these hosts, or have a route for it.
    fn apps_at(&self, hosts: HashSet<&Host>) -> HashSet<ObjectKey> {
        let entries = hosts.into_iter().flat_map(|host| self.claims.at_host(host));
        let apps = entries.flat_map(|entry| {
            let providers = entry.routes.iter().filter_map(|route| self.app_of_route(route));
            entry.seekers.iter().cloned().chain(providers)
        });
        apps.collect()
    }

    /// The opted-in app whose outpost Ingress would be called `key`.
    fn app_that_needs_the_name(&self, key: &ObjectKey) -> Option<ObjectKey> {
        let needs_it = |app: &ObjectKey| outpost_ingress_name(&app.name) == *key.name;
        if let Some(name) = app_named_in(&key.name) {
            let app = ObjectKey::new(key.namespace.clone(), name);
            if self.requests.contains_key(&app) && needs_it(&app) {
                return Some(app);
            }
        }
        // The longest names hold a hash instead of the end of the app's name.
        let may_be_cut = key.name.len() + 16 > MAX_SUBDOMAIN;
        let mut apps = in_namespace(&self.requests, &key.namespace).map(|(app, _)| app);
        if may_be_cut { apps.find(|app| needs_it(app)).cloned() } else { None }
    }

    /// Enters what `ingress` means for others at its places, or takes it out again.
    fn link(&mut self, scope: &mut Scope, ingress: &IngressFacts, is_there: bool) {
        let place = |host: &Host| place(ingress, host);
        let set = |set: &mut SmallSet<ObjectKey>| {
            if is_there {
                set.insert(ingress.key.clone());
            } else {
                set.remove(&ingress.key);
            }
        };
        for host in ingress.outpost_paths.iter().filter_map(|path| path.host.as_ref()) {
            self.claims.edit(scope, &place(host), |entry| set(&mut entry.routes));
        }
        for (host, _) in &ingress.swallowing_paths {
            if let Some(host) = host {
                self.claims.edit(scope, &place(host), |entry| set(&mut entry.swallowers));
            }
        }
        for host in ingress.hosts.iter().filter(|_| ingress.passes_tls_through) {
            self.claims.edit(scope, &place(host), |entry| set(&mut entry.passing_tls));
        }
        if ingress.outpost_ingress().is_none() && (ingress.is_canary || !ingress.is_opted_in()) {
            let serves_more = |host: &&Host| ingress.outpost_paths_of(host).iter().all(|path| path.has_more);
            for host in ingress.hosts.iter().filter(serves_more) {
                self.claims.set_bystander(scope, &place(host), &ingress.key, is_there);
            }
        }
    }

    /// Reads anew what `app` asks for and claims. The answer is which shared companions may have lost or found a user.
    fn resolve(&mut self, scope: &mut Scope, app: &ObjectKey) -> Vec<Key> {
        let request = self.ingresses.get(app).filter(|ingress| ingress.is_opted_in()).and_then(|ingress| {
            let facts = ingress.app()?;
            Some(Request::resolve(ingress, facts, &self.settings, &self.known))
        });
        let places = match (self.ingresses.get(app), &request) {
            (Some(ingress), Some(Ok(request))) => {
                request.hosts.iter().map(|host| place(ingress, host)).collect()
            }
            _ => Arc::default(),
        };
        self.claims.seek(app, places);
        let old = if let Some(request) = request {
            self.requests.insert(app.clone(), request)
        } else {
            self.denied.remove(app);
            self.missed_headers.remove(app);
            self.requests.remove(app)
        };
        let claim = self.claim_of(app);
        self.claims.set(scope, app, claim);
        let mut keys: Vec<Key> = self.middlewares_of(app).map(Key::Middleware).collect();
        if let Some(Ok(old)) = old
            && self.requests.get(app).is_none_or(|new| new.as_ref() != Ok(&old))
        {
            keys.extend(shared::keys_of_request(&app.namespace, &old));
        }
        keys
    }

    /// Reads anew what `apps` ask for and claim, and finishes `scope`. The answer is all that this touches.
    fn resolve_all(&mut self, mut scope: Scope, apps: impl IntoIterator<Item = ObjectKey>) -> Vec<Key> {
        let mut keys = Vec::new();
        for app in apps {
            keys.extend(self.resolve(&mut scope, &app));
            keys.push(Key::App(app));
        }
        keys.extend(self.finish(scope));
        keys
    }

    /// What `app` claims: the hosts it asks for, unless it cannot have them in any case. Those whose login it provides it holds for as
    /// long as its annotations need that, asked for or not.
    fn claim_of(&self, app: &ObjectKey) -> Option<Claim> {
        let ingress = self.ingresses.get(app)?;
        let request = self.requests.get(app)?.as_ref().ok();
        let login = self.login_of(app).filter(|_| ingress.is_protected(&self.settings.keys));
        let since = ingress.created;
        let new = |places: Arc<[Place]>| Part { standing: Standing::New, since, places };
        let asks = |request: &&Request| !self.is_blocked(app, request);
        match (request, login) {
            (Some(request), Some(login)) if *login.outpost == *request.outpost.name => {
                let sought = self.claims.places_of(app);
                let (held, rest) = login.split(&sought);
                let wanted = if rest.is_empty() || !asks(&request) { Arc::default() } else { rest };
                Some(Claim {
                    held: login.holds(Standing::Protected, held),
                    wanted: new(wanted),
                    outpost: login.outpost,
                })
            }
            (request, login) => match (request.filter(asks), login) {
                (Some(request), _) => Some(Claim {
                    outpost: request.outpost.name.as_str().into(),
                    held: new(Arc::default()),
                    wanted: new(self.claims.places_of(app)),
                }),
                (None, Some(login)) => Some(Claim {
                    held: login.holds(Standing::Frozen, login.needed_by(ingress)),
                    wanted: new(Arc::default()),
                    outpost: login.outpost,
                }),
                (None, None) => None,
            },
        }
    }

    /// Reads anew what all apps ask for.
    fn resolve_again(&mut self) -> Vec<Key> {
        let apps: Vec<ObjectKey> = self.requests.keys().cloned().collect();
        self.resolve_all(Scope::default(), apps)
    }

    /// One of ours is repaired by its own key. One made by hand may be, or cease to be, the way of an app's route; and any may
    /// be that of a route, which leads nowhere without it: whoever made it, and whoever is left to it.
    fn touched_by_service(&mut self, key: &ObjectKey, was_ours: bool) -> Vec<Key> {
        let mut keys = vec![Key::Service(key.clone())];
        let routes = in_namespace(&self.ingresses, &key.namespace)
            .filter(|(_, ingress)| ingress.routes_outpost_through(&key.name));
        let paths = routes.flat_map(|(_, route)| &route.outpost_paths);
        let mut apps = self.apps_at(paths.filter_map(|path| path.host.as_ref()).collect());
        if !was_ours || self.services.get(key).is_some_and(|service| !service.ours) {
            apps.extend(in_namespace(&self.requests, &key.namespace).map(|(app, _)| app.clone()));
        }
        keys.extend(self.resolve_all(Scope::default(), apps));
        keys
    }

    fn touched_by_headers(&mut self, key: &ObjectKey, was_ours: bool) -> Vec<Key> {
        let mut keys = vec![Key::Headers(key.clone())];
        if !was_ours || self.headers.get(key).is_some_and(|headers| !headers.ours) {
            let apps: Vec<ObjectKey> =
                in_namespace(&self.requests, &key.namespace).map(|(app, _)| app.clone()).collect();
            keys.extend(self.resolve_all(Scope::default(), apps));
        }
        keys
    }

    /// One of ours is repaired by its own key. Any other may have a name that Traefik cannot tell from that of ours.
    fn touched_by_middleware(&mut self, key: &ObjectKey, was_ours: bool) -> Vec<Key> {
        let spelling = MiddlewareFacts::spelling(key);
        if !is_spelled_like_a_middleware(&spelling) {
            return Vec::new();
        }
        let mut keys = vec![Key::Middleware(key.clone())];
        let is_ours = self.middlewares.get(key).is_none_or(MiddlewareFacts::is_ours);
        if was_ours && is_ours {
            return keys;
        }
        let apps = self.apps_calling_a_middleware(&spelling);
        keys.extend(self.resolve_all(Scope::default(), apps));
        keys
    }

    /// Apps touched since `scope` was begun, those that provide a route at a touched place, and the Services of those that were
    /// to provide one and are no longer.
    fn finish(&self, scope: Scope) -> Vec<Key> {
        let Touched { apps: touched, routes: changed, former } = self.claims.finish(scope);
        let service = |app: &ObjectKey| {
            let request = self.requests.get(app)?.as_ref().ok()?;
            Some(Key::Service(shared::service_key(&app.namespace, request)))
        };
        let services: Vec<Key> = former.iter().filter_map(service).collect();
        let places = touched.iter().filter_map(|app| self.claims.claim(app)).flat_map(Claim::places);
        let routes: HashSet<&ObjectKey> =
            places.filter_map(|place| self.claims.entry(place)).flat_map(|entry| &entry.routes).collect();
        let routes = routes.into_iter().chain(&changed);
        let providers: Vec<ObjectKey> = routes.filter_map(|route| self.app_of_route(route)).collect();
        touched.into_iter().chain(providers).map(Key::App).chain(services).collect()
    }

    /// The app for which the outpost Ingress `route` was made, if it is one of ours.
    pub fn app_of_route(&self, route: &ObjectKey) -> Option<ObjectKey> {
        let companion = self.ingresses.get(route)?.outpost_ingress()?;
        Some(ObjectKey::new(route.namespace.clone(), companion.app.clone()))
    }
}

/// Where `ingress` serves `host`.
fn place(ingress: &IngressFacts, host: &Host) -> Place {
    Place { class: ingress.class.shared_name().cloned(), host: host.clone() }
}

/// The app that has to be looked at when `ingress` changes.
fn reconciled_app(ingress: &IngressFacts) -> Option<ObjectKey> {
    match &ingress.role {
        Role::App(_) => Some(ingress.key.clone()),
        Role::OutpostIngress(route) => Some(ObjectKey::new(ingress.key.namespace.clone(), route.app.clone())),
        Role::Bystander => None,
    }
}

/// The `ConfigMap` named by an annotation `namespace/name`, if it is in the Ingress's own namespace.
fn named_headers(ingress: &ObjectKey, name: &str) -> Option<ObjectKey> {
    let (namespace, name) = name.split_once('/')?;
    (namespace == &*ingress.namespace).then(|| ObjectKey::new(namespace, name))
}

/// The entries of one namespace.
fn in_namespace<'a, T>(
    map: &'a BTreeMap<ObjectKey, T>,
    namespace: &'a Arc<str>,
) -> impl Iterator<Item = (&'a ObjectKey, &'a T)> {
    map.range(ObjectKey::new(namespace.clone(), "")..).take_while(move |(key, _)| key.namespace == *namespace)
}

/// Whether `key` is known, in the life that is `gone` where that is given.
fn is_meant<T: Facts>(map: &BTreeMap<ObjectKey, T>, key: &ObjectKey, gone: Option<&Identity>) -> bool {
    map.get(key).is_some_and(|known| gone.is_none_or(|gone| known.identity().is_same_life(gone)))
}

/// Stores `facts` unless they say nothing new. Whether they did.
fn store<T: Facts + PartialEq>(map: &mut BTreeMap<ObjectKey, T>, facts: T) -> bool {
    if map.get_mut(facts.key()).is_some_and(|known| says_nothing_new(known, &facts)) {
        return false;
    }
    map.insert(facts.key().clone(), facts);
    true
}

/// Whether `new` is older than `known`, or the same in all but its version, which `known` then takes over.
fn says_nothing_new<T: Facts + PartialEq>(known: &mut T, new: &T) -> bool {
    if new.identity().is_no_newer_than(known.identity()) {
        return true;
    }
    if !known.identity().is_same_life(new.identity()) {
        return false;
    }
    *known.identity_mut() = new.identity().clone();
    known == new
}
