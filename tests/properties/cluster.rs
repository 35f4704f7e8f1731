//! An API server in memory: what users wrote, what the controller made of it, and the rules by which the real one
//! would let it.

#[path = "merge_patch.rs"]
mod merge_patch;

use super::ownership::{self, applied_by, owned_by_others};
use super::world::is_ours;
use ingress_sso::contract::{MANAGER, OUTPOST_PATH, ROUTER_MIDDLEWARES, own_middleware_in};
use ingress_sso::facts::{Identity, ObjectKey};
use ingress_sso::middleware::Middleware;
use ingress_sso::plan::changes::{Annotate, Change, Companion, Edit, Kind, Repair};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Annotations that only the controller may write, whoever did.
pub(crate) const STATUS: [&str; 3] =
    ["sso.djieno.com/status", "sso.djieno.com/message", "sso.djieno.com/headers-uid"];

/// The user who applies on his own machine, and the one whose tool has the server do it.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
const SERVER_SIDE: &str = "kustomize-controller";

/// All objects, and apart from them what of the Ingresses is the users' own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) ingresses: BTreeMap<ObjectKey, Ingress>,
    pub(crate) services: BTreeMap<ObjectKey, Service>,
    pub(crate) config_maps: BTreeMap<ObjectKey, ConfigMap>,
    pub(crate) middlewares: BTreeMap<ObjectKey, Middleware>,
    /// Ingresses as their users wrote them last, of the annotations those that are theirs by the API server's rules.
    pub(crate) written: BTreeMap<ObjectKey, Ingress>,
    /// Services as their users wrote them.
    pub(crate) written_services: BTreeMap<ObjectKey, Service>,
    /// Middlewares as their users wrote them.
    pub(crate) written_middlewares: BTreeMap<ObjectKey, Middleware>,
    /// Annotations in the users' manifests, which a tool on their machines compares with the next one.
    manifests: BTreeMap<ObjectKey, BTreeMap<String, String>>,
    /// Annotations of Ingresses that somebody copied from what the controller wrote on another.
    copied: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// Whether the API server does not know the kind Middleware.
    pub(crate) lacks_middlewares: bool,
    has_webhook: bool,
    /// Whether what belongs to a deleted Ingress is left, as it is until garbage collection has come round.
    pub(crate) is_littered: bool,
    /// The newest one.
    pub(crate) version: u64,
}

/// What a watch delivers.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Ingress(Box<Ingress>),
    Service(Box<Service>),
    ConfigMap(Box<ConfigMap>),
    Middleware(Box<Middleware>),
    /// The API server knows the kind Middleware now, or no longer.
    MiddlewareKind(bool),
    Gone(Kind, ObjectKey, String),
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    /// The object is not as the request supposes, or somebody else's.
    Conflict(String),
    /// The admission webhook says no.
    Denied(String),
}

impl Cluster {
    /// A cluster whose admission webhook tolerates one Ingress for a host and path only, as ingress-nginx's does.
    pub(crate) fn with_webhook() -> Self {
        Self { has_webhook: true, ..Self::default() }
    }

    /// A user creates an Ingress, or applies it again with what is new.
    pub(crate) fn put(&mut self, wanted: Ingress) -> Vec<Event> {
        let key = ObjectKey::of(&wanted.metadata);
        let new = wanted.metadata.annotations.clone().unwrap_or_default();
        let former = self.manifests.insert(key.clone(), new.clone()).unwrap_or_default();
        let is_new = !self.ingresses.contains_key(&key);
        let mut ingress = self.ingresses.get(&key).cloned().unwrap_or_else(|| {
            let mut bare = wanted.clone();
            bare.metadata.annotations = None;
            bare
        });
        if applies_by_server(&key) {
            // Nobody conflicts with one who applies by force.
            _ = ownership::apply(&mut ingress.metadata, SERVER_SIDE, &new, true);
        } else {
            let mut annotations = ingress.metadata.annotations.clone().unwrap_or_default();
            annotations.retain(|name, _| !former.contains_key(name));
            annotations.extend(new.clone());
            ownership::update(&mut ingress.metadata, CLIENT_SIDE, annotations);
        }
        ingress.spec.clone_from(&wanted.spec);
        self.note_written(&key, wanted, &new, &ingress.metadata);
        self.store(key, ingress, is_new)
    }

    /// Notes what of an applied manifest is the user's own. What the controller had written with the same value before
    /// him is not, by the API server's rules; a list in which he has entries is, for those.
    fn note_written(
        &mut self,
        key: &ObjectKey,
        wanted: Ingress,
        manifest: &BTreeMap<String, String>,
        found: &ObjectMeta,
    ) {
        let theirs = owned_by_others(found, MANAGER);
        let applied = applied_by(found, MANAGER);
        let is_theirs = |name: &String| {
            theirs.contains(name) || *name == ROUTER_MIDDLEWARES && !applied.contains(ROUTER_MIDDLEWARES)
        };
        let mut written = wanted;
        let annotations = written.metadata.annotations.get_or_insert_default();
        annotations.retain(|name, _| is_theirs(name));
        // A tool that has the server apply leaves a list that the controller edited, also when its manifest has none.
        let before = self.written.get(key).and_then(|before| before.metadata.annotations.as_ref());
        let list = before.and_then(|before| before.get(ROUTER_MIDDLEWARES));
        let is_left = !manifest.contains_key(ROUTER_MIDDLEWARES)
            && !applied.contains(ROUTER_MIDDLEWARES)
            && found.annotations.iter().flatten().any(|(name, _)| name == ROUTER_MIDDLEWARES);
        if let Some(list) = list.filter(|_| is_left) {
            annotations.insert(ROUTER_MIDDLEWARES.to_owned(), list.clone());
        }
        self.written.insert(key.clone(), written);
    }

    /// A user sets one annotation, or takes it away, and leaves the rest.
    pub(crate) fn annotate(&mut self, key: &ObjectKey, name: &str, value: Option<&str>) -> Vec<Event> {
        let Some(mut ingress) = self.ingresses.get(key).cloned() else {
            return Vec::new();
        };
        let manifest = self.manifests.entry(key.clone()).or_default();
        let written = self.written.entry(key.clone()).or_default();
        let written = written.metadata.annotations.get_or_insert_default();
        let mut annotations = ingress.metadata.annotations.clone().unwrap_or_default();
        for all in [manifest, written, &mut annotations] {
            match value {
                Some(value) => _ = all.insert(name.to_owned(), value.to_owned()),
                None => _ = all.remove(name),
            }
        }
        ownership::update(&mut ingress.metadata, "kubectl-annotate", annotations);
        self.store(key.clone(), ingress, false)
    }

    /// A migration copies an Ingress to another class, with all labels and annotations, under the name `copy`.
    pub(crate) fn copy(&mut self, original: &ObjectKey, copy: &ObjectKey, class: &str) -> Vec<Event> {
        let Some(mut clone) = self.ingresses.get(original).cloned() else {
            return Vec::new();
        };
        let mut events = self.delete_ingress(copy);
        self.copied.insert(copy.clone(), applied_by(&clone.metadata, MANAGER));
        clone.metadata = ObjectMeta {
            namespace: Some(copy.namespace.to_string()),
            name: Some(copy.name.to_string()),
            labels: clone.metadata.labels,
            annotations: clone.metadata.annotations,
            creation_timestamp: clone.metadata.creation_timestamp,
            ..ObjectMeta::default()
        };
        clone.spec.get_or_insert_default().ingress_class_name = Some(class.to_owned());
        // A webhook rejects what users make just as well.
        if self.admit(&clone).is_ok() {
            events.extend(self.put(clone));
        }
        events
    }

    /// The routes that the controller made; copies of them are the users'.
    pub(crate) fn our_routes(&self) -> impl Iterator<Item = (&ObjectKey, &Ingress)> {
        let all = self.ingresses.iter();
        all.filter(|(key, ingress)| is_ours(&ingress.metadata) && !self.written.contains_key(*key))
    }

    /// A user makes a Middleware.
    pub(crate) fn put_middleware(&mut self, middleware: Middleware) -> Vec<Event> {
        let key = ObjectKey::of(&middleware.metadata);
        if self.lacks_middlewares || self.middlewares.contains_key(&key) {
            return Vec::new();
        }
        let events = self.store_middleware(key.clone(), middleware, true);
        self.written_middlewares.insert(key.clone(), self.middlewares[&key].clone());
        events
    }

    /// Somebody deletes a Middleware.
    pub(crate) fn delete_middleware(&mut self, key: &ObjectKey) -> Vec<Event> {
        self.written_middlewares.remove(key);
        let gone = self.middlewares.remove(key);
        gone_event(Kind::Middleware, key, gone.map(|gone| gone.metadata))
    }

    /// Somebody changes a Middleware of ours, behind our back.
    pub(crate) fn tamper_middleware(
        &mut self,
        key: &ObjectKey,
        change: impl FnOnce(&mut Middleware),
    ) -> Vec<Event> {
        let Some(mut middleware) = self.middlewares.get(key).cloned() else {
            return Vec::new();
        };
        change(&mut middleware);
        self.store_middleware(key.clone(), middleware, false)
    }

    /// An admin takes the kind Middleware away, with all Middlewares, or brings it.
    pub(crate) fn set_middleware_kind(&mut self, is_known: bool) -> Vec<Event> {
        if self.lacks_middlewares != is_known {
            return Vec::new();
        }
        self.lacks_middlewares = !is_known;
        self.middlewares.clear();
        self.written_middlewares.clear();
        vec![Event::MiddlewareKind(is_known)]
    }

    /// A user makes a Service.
    pub(crate) fn put_service(&mut self, service: Service) -> Vec<Event> {
        let key = ObjectKey::of(&service.metadata);
        if self.services.contains_key(&key) {
            return Vec::new();
        }
        let events = self.store_service(key.clone(), service, true);
        self.written_services.insert(key.clone(), self.services[&key].clone());
        events
    }

    /// Somebody deletes an Ingress, and garbage collection what belongs to it.
    pub(crate) fn delete_ingress(&mut self, key: &ObjectKey) -> Vec<Event> {
        self.written.remove(key);
        self.manifests.remove(key);
        self.copied.remove(key);
        let Some(gone) = self.ingresses.remove(key) else {
            return Vec::new();
        };
        let uid = gone.metadata.uid.unwrap_or_default();
        let belongs = |ingress: &&Ingress| {
            let owners = ingress.metadata.owner_references.iter().flatten();
            owners.clone().any(|owner| owner.uid == uid)
        };
        let dependents =
            self.ingresses.values().filter(belongs).map(|ingress| ObjectKey::of(&ingress.metadata));
        let dependents: Vec<_> = dependents.collect();
        let mut events = vec![Event::Gone(Kind::Ingress, key.clone(), uid.clone())];
        let dependents = if self.is_littered { Vec::new() } else { dependents };
        events.extend(dependents.iter().flat_map(|key| self.delete_ingress(key)));
        events
    }

    /// Somebody deletes a Service.
    pub(crate) fn delete_service(&mut self, key: &ObjectKey) -> Vec<Event> {
        self.written_services.remove(key);
        let gone = self.services.remove(key);
        gone_event(Kind::Service, key, gone.map(|gone| gone.metadata))
    }

    /// Somebody deletes a `ConfigMap`.
    pub(crate) fn delete_config_map(&mut self, key: &ObjectKey) -> Vec<Event> {
        let gone = self.config_maps.remove(key);
        gone_event(Kind::ConfigMap, key, gone.map(|gone| gone.metadata))
    }

    /// Somebody changes an Ingress of ours, behind our back.
    pub(crate) fn tamper(&mut self, key: &ObjectKey, change: impl FnOnce(&mut Ingress)) -> Vec<Event> {
        let Some(mut ingress) = self.ingresses.get(key).cloned() else {
            return Vec::new();
        };
        change(&mut ingress);
        self.store(key.clone(), ingress, false)
    }

    /// The controller sends a request.
    pub(crate) fn perform(&mut self, change: &Change) -> Result<Vec<Event>, ApiError> {
        match change {
            Change::Annotate(Annotate { app, annotations, .. }) => {
                self.check_sent_somewhere(app, annotations.get(ROUTER_MIDDLEWARES))?;
            }
            Change::Edit(Edit { app, annotations, .. }) => {
                let list = annotations.get(ROUTER_MIDDLEWARES).and_then(Option::as_ref);
                self.check_sent_somewhere(app, list)?;
            }
            Change::Create(_) | Change::Repair(_) | Change::Delete { .. } | Change::HandOver(_) => {}
        }
        match change {
            Change::Create(companion) => self.create(companion),
            Change::Repair(repair) => self.repair(repair),
            Change::Delete { kind, key, identity } => self.delete(*kind, key, identity),
            Change::Edit(edit) => self.edit(edit),
            Change::Annotate(annotate) => self.apply(annotate),
            Change::HandOver(_) => Err(ApiError::Conflict("a controller hands nothing over".to_owned())),
        }
    }

    /// The API server does not care, but visitors do: an app must not be sent through a Middleware before that is there.
    fn check_sent_somewhere(&self, app: &ObjectKey, list: Option<&String>) -> Result<(), ApiError> {
        let before = self.ingresses.get(app).and_then(|ingress| ingress.metadata.annotations.as_ref());
        let before = before.and_then(|annotations| annotations.get(ROUTER_MIDDLEWARES));
        let new = list.filter(|list| before != Some(*list)).map(String::as_str).unwrap_or_default();
        let mut names = new.split(',').filter_map(|entry| own_middleware_in(&app.namespace, entry.trim()));
        let stands = |name: &str| self.middlewares.contains_key(&ObjectKey::new(app.namespace.clone(), name));
        match names.find(|name| !stands(name)) {
            Some(name) => {
                Err(ApiError::Conflict(format!("{app} is sent through {name}, which is not there")))
            }
            None => Ok(()),
        }
    }

    fn create(&mut self, companion: &Companion) -> Result<Vec<Event>, ApiError> {
        let key = companion.key();
        let exists = || Err(ApiError::Conflict(format!("{} {key} exists", companion.kind())));
        match companion {
            Companion::Ingress(_) if self.ingresses.contains_key(&key) => exists(),
            Companion::Service(_) if self.services.contains_key(&key) => exists(),
            Companion::ConfigMap(_) if self.config_maps.contains_key(&key) => exists(),
            Companion::Ingress(ingress) => {
                self.admit(ingress)?;
                Ok(self.store(key, ingress.as_ref().clone(), true))
            }
            Companion::Service(service) => Ok(self.store_service(key, service.as_ref().clone(), true)),
            Companion::ConfigMap(config_map) => {
                Ok(self.store_config_map(key, config_map.as_ref().clone(), true))
            }
            Companion::Middleware(_) if self.lacks_middlewares => Err(unknown_kind()),
            Companion::Middleware(_) if self.middlewares.contains_key(&key) => exists(),
            Companion::Middleware(middleware) => {
                Ok(self.store_middleware(key, middleware.as_ref().clone(), true))
            }
        }
    }

    fn repair(&mut self, repair: &Repair) -> Result<Vec<Event>, ApiError> {
        let key = repair.key.clone();
        match repair.kind {
            Kind::Ingress => {
                let ingress = merged(self.ingresses.get(&key), &repair.patch)?;
                self.admit(&ingress)?;
                Ok(self.store(key, ingress, false))
            }
            Kind::Service => {
                let service = merged(self.services.get(&key), &repair.patch)?;
                Ok(self.store_service(key, service, false))
            }
            Kind::ConfigMap => {
                let config_map = merged(self.config_maps.get(&key), &repair.patch)?;
                Ok(self.store_config_map(key, config_map, false))
            }
            Kind::Middleware => {
                let middleware = merged(self.middlewares.get(&key), &repair.patch)?;
                Ok(self.store_middleware(key, middleware, false))
            }
        }
    }

    fn delete(&mut self, kind: Kind, key: &ObjectKey, identity: &Identity) -> Result<Vec<Event>, ApiError> {
        let metadata = match kind {
            Kind::Ingress => self.ingresses.get(key).map(|object| &object.metadata),
            Kind::Service => self.services.get(key).map(|object| &object.metadata),
            Kind::ConfigMap => self.config_maps.get(key).map(|object| &object.metadata),
            Kind::Middleware => self.middlewares.get(key).map(|object| &object.metadata),
        };
        if metadata.map(Identity::of).as_ref() != Some(identity) {
            return Err(ApiError::Conflict(format!("{kind} {key} is another one")));
        }
        Ok(match kind {
            Kind::Ingress => self.delete_ingress(key),
            Kind::Service => self.delete_service(key),
            Kind::ConfigMap => self.delete_config_map(key),
            Kind::Middleware => self.delete_middleware(key),
        })
    }

    /// A merge patch of annotations, whoever wrote them.
    fn edit(&mut self, edit: &Edit) -> Result<Vec<Event>, ApiError> {
        let patch = json!({"metadata": {
            "uid": edit.identity.uid(),
            "resourceVersion": edit.identity.resource_version(),
            "annotations": edit.annotations,
        }});
        let mut ingress: Ingress = self.ingresses.get(&edit.app).cloned().unwrap_or_default();
        let patched: Ingress = merged(self.ingresses.get(&edit.app), &patch)?;
        for name in edit.annotations.keys().filter(|name| *name != ROUTER_MIDDLEWARES) {
            self.take_from_user(&edit.app, name)?;
        }
        ownership::update(
            &mut ingress.metadata,
            MANAGER,
            patched.metadata.annotations.clone().unwrap_or_default(),
        );
        Ok(self.store(edit.app.clone(), ingress, false))
    }

    /// Server-side apply.
    fn apply(&mut self, annotate: &Annotate) -> Result<Vec<Event>, ApiError> {
        let conflict = |what: String| ApiError::Conflict(format!("{what} of {}", annotate.app));
        let is_meant = |found: &&Ingress| Identity::of(&found.metadata) == annotate.identity;
        let found = self.ingresses.get(&annotate.app).filter(is_meant);
        let mut ingress = found.cloned().ok_or_else(|| conflict("another version".to_owned()))?;
        let before = ingress.metadata.annotations.clone().unwrap_or_default();
        ownership::apply(&mut ingress.metadata, MANAGER, &annotate.annotations, annotate.force)
            .map_err(|name| conflict(format!("somebody else owns {name}")))?;
        let changed = annotate.annotations.iter().filter(|(name, value)| before.get(*name) != Some(*value));
        for (name, _) in changed {
            self.take_from_user(&annotate.app, name)?;
        }
        Ok(self.store(annotate.app.clone(), ingress, false))
    }

    /// Notes that the annotation `name` is no longer the user's. Only a status can be taken from him, and a copy of what
    /// the controller itself wrote.
    fn take_from_user(&mut self, app: &ObjectKey, name: &str) -> Result<(), ApiError> {
        let is_copy = self.copied.get(app).is_some_and(|copied| copied.contains(name));
        let written = self.written.get_mut(app).and_then(|written| written.metadata.annotations.as_mut());
        let Some(written) = written else { return Ok(()) };
        // He who forges a status says that all is a copy.
        let is_copy = is_copy || written.contains_key(STATUS[0]);
        let is_theirs = written.remove(name).is_some();
        if is_theirs && !is_copy && !STATUS.contains(&name) {
            return Err(ApiError::Conflict(format!("took {name} of {app} from its user")));
        }
        Ok(())
    }

    fn admit(&self, new: &Ingress) -> Result<(), ApiError> {
        let wanted = places(new);
        let others = self.ingresses.values().filter(|other| other.metadata.name != new.metadata.name);
        let taken = others.flat_map(places).find(|place| wanted.contains(place));
        match taken.filter(|_| self.has_webhook) {
            Some(place) => Err(ApiError::Denied(format!("{place:?} is already defined in ingress"))),
            None => Ok(()),
        }
    }

    fn store(&mut self, key: ObjectKey, mut ingress: Ingress, is_new: bool) -> Vec<Event> {
        self.stamp(&mut ingress.metadata, is_new);
        self.ingresses.insert(key, ingress.clone());
        vec![Event::Ingress(Box::new(ingress))]
    }

    fn store_service(&mut self, key: ObjectKey, mut service: Service, is_new: bool) -> Vec<Event> {
        self.stamp(&mut service.metadata, is_new);
        self.services.insert(key, service.clone());
        vec![Event::Service(Box::new(service))]
    }

    fn store_config_map(&mut self, key: ObjectKey, mut config_map: ConfigMap, is_new: bool) -> Vec<Event> {
        self.stamp(&mut config_map.metadata, is_new);
        self.config_maps.insert(key, config_map.clone());
        vec![Event::ConfigMap(Box::new(config_map))]
    }

    fn store_middleware(&mut self, key: ObjectKey, mut middleware: Middleware, is_new: bool) -> Vec<Event> {
        self.stamp(&mut middleware.metadata, is_new);
        self.middlewares.insert(key, middleware.clone());
        vec![Event::Middleware(Box::new(middleware))]
    }

    fn stamp(&mut self, metadata: &mut ObjectMeta, is_new: bool) {
        self.version += 1;
        metadata.resource_version = Some(self.version.to_string());
        if is_new {
            metadata.uid = Some(format!("00000000-0000-4000-8000-{:012x}", self.version));
        }
    }
}

/// Class, host and path of the rules at or below the outpost path.
pub(crate) fn places(ingress: &Ingress) -> BTreeSet<(String, String, String)> {
    let class = ingress_sso::facts::IngressFacts::extract(ingress, &ingress_sso::contract::Keys::default())
        .ok()
        .and_then(|facts| facts.class.name().map(str::to_owned))
        .unwrap_or_default();
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules
        .flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths).map(move |path| (rule, path)))
        .filter_map(|(rule, path)| Some((rule.host.clone()?, path.path.clone()?)))
        .filter(|(_, path)| path.starts_with(OUTPOST_PATH))
        .map(|(host, path)| (class.clone(), host, path))
        .collect()
}

/// Whether the owner of the Ingress `key` has the server apply his manifests; the others compare them on their machines.
fn applies_by_server(key: &ObjectKey) -> bool {
    key.name.bytes().filter(u8::is_ascii_digit).any(|digit| digit % 2 == 1)
}

fn unknown_kind() -> ApiError {
    ApiError::Conflict("the server could not find the requested resource".to_owned())
}

fn gone_event(kind: Kind, key: &ObjectKey, metadata: Option<ObjectMeta>) -> Vec<Event> {
    let gone = metadata.map(|metadata| Event::Gone(kind, key.clone(), metadata.uid.unwrap_or_default()));
    gone.into_iter().collect()
}

/// `found` after a JSON merge patch, if it is the version that the patch names.
fn merged<T: Serialize + DeserializeOwned>(found: Option<&T>, patch: &Value) -> Result<T, ApiError> {
    let conflict = |what: String| ApiError::Conflict(what);
    let mut value = json!(found);
    for field in ["uid", "resourceVersion"] {
        if patch["metadata"][field] != value["metadata"][field] {
            return Err(conflict(format!("another {field} than in {patch}")));
        }
    }
    merge_patch::merge(&mut value, patch);
    serde_json::from_value(value).map_err(|error| conflict(format!("{error} after {patch}")))
}
