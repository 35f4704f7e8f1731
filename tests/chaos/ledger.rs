//! What people wrote, and when: noted before it is sent, so whatever is found written in their name was wanted at some time.

use super::checks::entries_of_users;
use super::ownership::owned_by_others;
use super::replay::{Object, Place};
use ingress_sso::contract::{AUTH_URL, CLOSED_MIDDLEWARE, MANAGER, ROUTER_MIDDLEWARES};
use ingress_sso::facts::ObjectKey;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Annotations that the controller writes, and people here do not, or with other values only.
const INJECTED: [&str; 9] = [
    AUTH_URL,
    "nginx.ingress.kubernetes.io/auth-signin",
    "nginx.ingress.kubernetes.io/auth-response-headers",
    "nginx.ingress.kubernetes.io/auth-proxy-set-headers",
    "nginx.ingress.kubernetes.io/proxy-buffer-size",
    "nginx.ingress.kubernetes.io/proxy-busy-buffers-size",
    "sso.djieno.com/status",
    "sso.djieno.com/message",
    "sso.djieno.com/headers-uid",
];

/// Something that somebody did to an object, by whatever means.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) place: Place,
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

/// All that people wrote and did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What they wanted of the objects that are theirs, in order; `None` is that there be none.
    versions: BTreeMap<Place, Vec<Option<Value>>>,
    pub(crate) acts: Vec<Act>,
    /// When two replicas may have led at a time, since somebody took the Lease from one that lived.
    rivalries: Vec<(Instant, Instant)>,
}

impl Ledger {
    /// Notes that `object` is wanted, or none.
    pub(crate) fn want(&mut self, place: Place, object: Option<&Object>) {
        self.versions.entry(place).or_default().push(object.map(theirs));
    }

    /// Notes that somebody had his hands on an object from `begin` until now.
    pub(crate) fn act(&mut self, place: Place, begin: Instant) {
        self.acts.push(Act { place, begin, end: Instant::now() });
    }

    /// Notes that two replicas may lead from now on, for as long as that takes to come out.
    pub(crate) fn rivals(&mut self, span: Duration) {
        let now = Instant::now();
        self.rivalries.push((now, now + span));
    }

    /// Whether two replicas may have led at some time from `begin` to `end`.
    pub(crate) fn are_rivals(&self, begin: Option<Instant>, end: Option<Instant>) -> bool {
        self.rivalries
            .iter()
            .any(|(from, to)| begin.is_none_or(|begin| begin <= *to) && end.is_none_or(|end| *from <= end))
    }

    /// All places where people have something in the namespace.
    pub(crate) fn places_in(&self, namespace: &str) -> Vec<Place> {
        self.versions.keys().filter(|(_, key)| &*key.namespace == namespace).cloned().collect()
    }

    /// All that was wanted at a place; nothing where it is the controller's.
    pub(crate) fn versions(&self, place: &Place) -> &[Option<Value>] {
        self.versions.get(place).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What of an object is its owner's.
pub(crate) fn theirs(object: &Object) -> Value {
    let labels = &object.metadata().labels;
    match object {
        Object::Ingress(ingress) => {
            json!({ "spec": ingress.spec, "labels": labels, "annotations": their_annotations(ingress) })
        }
        Object::Service(service) => {
            let spec = service.spec.clone().unwrap_or_default();
            json!({ "labels": labels, "type": spec.type_, "externalName": spec.external_name })
        }
        Object::ConfigMap(config_map) => json!({ "labels": labels, "data": config_map.data }),
        Object::Middleware(middleware) => json!({ "labels": labels, "spec": middleware.spec }),
    }
}

fn their_annotations(ingress: &Ingress) -> BTreeMap<String, String> {
    let mut annotations = ingress.metadata.annotations.clone().unwrap_or_default();
    let others = owned_by_others(&ingress.metadata, MANAGER);
    let is_made_up = ingress.metadata.managed_fields.is_none();
    annotations.retain(|name, _| !INJECTED.contains(&name.as_str()) || is_made_up || others.contains(name));
    // Nobody's word on the status is his own.
    annotations.retain(|name, _| !name.starts_with("sso.djieno.com/status"));
    if let Some(list) = annotations.remove(ROUTER_MIDDLEWARES) {
        let key = ObjectKey::of(&ingress.metadata);
        let mut entries = entries_of_users(&key.namespace, &list);
        entries.retain(|entry| entry != CLOSED_MIDDLEWARE);
        if !entries.is_empty() {
            annotations.insert(ROUTER_MIDDLEWARES.to_owned(), entries.join(","));
        }
    }
    annotations
}
