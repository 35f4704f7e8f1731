//! The cluster as it was after each write, from what etcd remembers.

use super::cluster::Cluster;
use anyhow::{Context, Result};
use ingress_sso::facts::ObjectKey;
use ingress_sso::middleware::Middleware;
use ingress_sso::plan::changes::Kind;
use ingress_sso_testbed::control_plane::Written;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where etcd has what is replayed.
pub(crate) const KEYS: [&str; 5] =
    ["ingress/", "services/specs/", "configmaps/", "traefik.io/middlewares/", "namespaces/"];

/// What is written to.
pub(crate) type Place = (Kind, ObjectKey);

/// An object of a kind that matters here.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Ingress(Box<Ingress>),
    Service(Box<Service>),
    ConfigMap(Box<ConfigMap>),
    Middleware(Box<Middleware>),
}

/// One write, with what was there before.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) place: Place,
    pub(crate) before: Option<Object>,
    pub(crate) after: Option<Object>,
}

/// All that there is after some write.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// Namespaces that are being deleted: all in them goes.
    pub(crate) terminating: BTreeSet<String>,
}

impl Object {
    pub(crate) fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Ingress(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::Middleware(object) => &object.metadata,
        }
    }

    fn read(kind: Kind, value: Value) -> Result<Self> {
        Ok(match kind {
            Kind::Ingress => Self::Ingress(Box::new(serde_json::from_value(value)?)),
            Kind::Service => Self::Service(Box::new(serde_json::from_value(value)?)),
            Kind::ConfigMap => Self::ConfigMap(Box::new(serde_json::from_value(value)?)),
            Kind::Middleware => Self::Middleware(Box::new(serde_json::from_value(value)?)),
        })
    }
}

impl World {
    /// Takes in the next write; the answer is what it changed, unless it was to a namespace.
    pub(crate) fn next(&mut self, written: Written) -> Result<Option<Change>> {
        let parts: Vec<&str> = written.key.split('/').collect();
        let place = match parts[..] {
            ["namespaces", name] => {
                self.note_namespace(name, written.object)?;
                return Ok(None);
            }
            ["ingress", namespace, name] => (Kind::Ingress, ObjectKey::new(namespace, name)),
            ["services", "specs", namespace, name] => (Kind::Service, ObjectKey::new(namespace, name)),
            ["configmaps", namespace, name] => (Kind::ConfigMap, ObjectKey::new(namespace, name)),
            ["traefik.io", "middlewares", namespace, name] => {
                (Kind::Middleware, ObjectKey::new(namespace, name))
            }
            _ => return Ok(None),
        };
        let after = written.object.map(|mut value| {
            // etcd has it beside the object.
            value["metadata"]["resourceVersion"] = written.revision.to_string().into();
            Object::read(place.0, value).with_context(|| format!("read {}", written.key))
        });
        let after = after.transpose()?;
        let before = self.set(&place, after.clone());
        Ok(Some(Change { revision: written.revision, place, before, after }))
    }

    /// Makes the object of `change` as it was before.
    pub(crate) fn undo(&mut self, change: &Change) {
        self.set(&change.place, change.before.clone());
    }

    fn set(&mut self, (kind, key): &Place, object: Option<Object>) -> Option<Object> {
        let cluster = &mut self.cluster;
        let before = match kind {
            Kind::Ingress => cluster.ingresses.remove(key).map(|old| Object::Ingress(Box::new(old))),
            Kind::Service => cluster.services.remove(key).map(|old| Object::Service(Box::new(old))),
            Kind::ConfigMap => cluster.config_maps.remove(key).map(|old| Object::ConfigMap(Box::new(old))),
            Kind::Middleware => cluster.middlewares.remove(key).map(|old| Object::Middleware(Box::new(old))),
        };
        match object {
            Some(Object::Ingress(object)) => _ = cluster.ingresses.insert(key.clone(), *object),
            Some(Object::Service(object)) => _ = cluster.services.insert(key.clone(), *object),
            Some(Object::ConfigMap(object)) => _ = cluster.config_maps.insert(key.clone(), *object),
            Some(Object::Middleware(object)) => _ = cluster.middlewares.insert(key.clone(), *object),
            None => {}
        }
        before
    }

    fn note_namespace(&mut self, name: &str, namespace: Option<Value>) -> Result<()> {
        let namespace: Option<Namespace> = namespace.map(serde_json::from_value).transpose()?;
        match namespace.filter(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
            Some(_) => _ = self.terminating.insert(name.to_owned()),
            None => _ = self.terminating.remove(name),
        }
        Ok(())
    }
}
