//! An API server in memory: what users wrote, what the controller made of it, and the rules by which the real one
//! would let it.

use super::world::{ours, set_owners};
use ingress_sso::contract::OUTPOST_PATH;
use ingress_sso::facts::{Identity, ObjectKey};
use ingress_sso::plan::changes::{Annotate, Change, Companion, Edit, Kind, Repair};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// All objects, and apart from them what of the Ingresses is the users' own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) ingresses: BTreeMap<ObjectKey, Ingress>,
    pub(crate) services: BTreeMap<ObjectKey, Service>,
    pub(crate) config_maps: BTreeMap<ObjectKey, ConfigMap>,
    /// Ingresses as their users wrote them last.
    pub(crate) written: BTreeMap<ObjectKey, Ingress>,
    /// Services as their users wrote them.
    pub(crate) written_services: BTreeMap<ObjectKey, Service>,
    has_webhook: bool,
    version: u64,
}

/// What a watch delivers.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Ingress(Box<Ingress>),
    Service(Box<Service>),
    ConfigMap(Box<ConfigMap>),
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
        let before = self.written.insert(key.clone(), wanted.clone());
        let Some(mut ingress) = self.ingresses.get(&key).cloned() else {
            return self.store(key, wanted, true);
        };
        let mut owned = ours(&ingress.metadata);
        let former = before.and_then(|before| before.metadata.annotations).unwrap_or_default();
        let new = wanted.metadata.annotations.unwrap_or_default();
        let annotations = ingress.metadata.annotations.get_or_insert_default();
        for name in former.keys().filter(|name| !new.contains_key(*name)) {
            annotations.remove(name);
            owned.remove(name);
        }
        for (name, value) in new {
            if annotations.get(&name) != Some(&value) {
                annotations.insert(name.clone(), value);
                owned.remove(&name);
            }
        }
        set_owners(&mut ingress.metadata, &owned, &BTreeSet::new());
        ingress.spec = wanted.spec;
        self.store(key, ingress, false)
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
            Change::Create(companion) => self.create(companion),
            Change::Repair(repair) => self.repair(repair),
            Change::Delete { kind, key, identity } => self.delete(*kind, key, identity),
            Change::Edit(edit) => self.edit(edit),
            Change::Annotate(annotate) => self.apply(annotate),
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
            Companion::Middleware(_) => Err(ApiError::Conflict("these worlds have no Traefik".to_owned())),
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
            Kind::Middleware => Err(ApiError::Conflict("these worlds have no Traefik".to_owned())),
        }
    }

    fn delete(&mut self, kind: Kind, key: &ObjectKey, identity: &Identity) -> Result<Vec<Event>, ApiError> {
        let metadata = match kind {
            Kind::Ingress => self.ingresses.get(key).map(|object| &object.metadata),
            Kind::Service => self.services.get(key).map(|object| &object.metadata),
            Kind::ConfigMap => self.config_maps.get(key).map(|object| &object.metadata),
            Kind::Middleware => None,
        };
        if metadata.map(Identity::of).as_ref() != Some(identity) {
            return Err(ApiError::Conflict(format!("{kind} {key} is another one")));
        }
        Ok(match kind {
            Kind::Ingress => self.delete_ingress(key),
            Kind::Service => self.delete_service(key),
            Kind::ConfigMap => self.delete_config_map(key),
            Kind::Middleware => Vec::new(),
        })
    }

    /// A merge patch of annotations, whoever wrote them.
    fn edit(&mut self, edit: &Edit) -> Result<Vec<Event>, ApiError> {
        let patch = json!({"metadata": {
            "uid": edit.identity.uid,
            "resourceVersion": edit.identity.resource_version,
            "annotations": edit.annotations,
        }});
        let ingress = merged(self.ingresses.get(&edit.app), &patch)?;
        if let Some(written) = self.written.get_mut(&edit.app) {
            let annotations = written.metadata.annotations.get_or_insert_default();
            annotations.retain(|key, _| !edit.annotations.contains_key(key));
        }
        Ok(self.store(edit.app.clone(), ingress, false))
    }

    /// Server-side apply without force.
    fn apply(&mut self, annotate: &Annotate) -> Result<Vec<Event>, ApiError> {
        let conflict = |what: String| ApiError::Conflict(format!("{what} of {}", annotate.app));
        let found = self.ingresses.get(&annotate.app).filter(|found| {
            let identity = Identity::of(&found.metadata);
            let version = annotate.resource_version.as_ref();
            identity.uid == annotate.uid
                && version.is_none_or(|version| *version == identity.resource_version)
        });
        let mut ingress = found.cloned().ok_or_else(|| conflict("another version".to_owned()))?;
        let users = self.written.get(&annotate.app).and_then(|written| written.metadata.annotations.clone());
        let users = users.unwrap_or_default();
        let former = ours(&ingress.metadata);
        let annotations = ingress.metadata.annotations.get_or_insert_default();
        for (key, value) in &annotate.annotations {
            if users.get(key).is_some_and(|theirs| theirs != value) {
                return Err(conflict(format!("the user owns {key}")));
            }
            annotations.insert(key.clone(), value.clone());
        }
        let is_left_over =
            |key: &&String| !annotate.annotations.contains_key(*key) && !users.contains_key(*key);
        for key in former.iter().filter(is_left_over) {
            annotations.remove(key);
        }
        let owned = annotate.annotations.keys().cloned().collect();
        set_owners(&mut ingress.metadata, &owned, &BTreeSet::new());
        Ok(self.store(annotate.app.clone(), ingress, false))
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
        let users = self.written.get(&key).and_then(|written| written.metadata.annotations.as_ref());
        let users = users.into_iter().flatten().map(|(key, _)| key.clone()).collect();
        let owned = ours(&ingress.metadata);
        set_owners(&mut ingress.metadata, &owned, &users);
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

    fn stamp(&mut self, metadata: &mut ObjectMeta, is_new: bool) {
        self.version += 1;
        metadata.resource_version = Some(self.version.to_string());
        if is_new {
            metadata.uid = Some(format!("uid-{}", self.version));
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
    merge(&mut value, patch);
    serde_json::from_value(value).map_err(|error| conflict(format!("{error} after {patch}")))
}

/// RFC 7386.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, new) in patch {
        if new.is_null() {
            if let Some(object) = value.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut value[key], new);
        }
    }
}
