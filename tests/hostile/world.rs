//! A cluster as JSON, whoever wrote what is in it, and what the controller does there.

#[path = "../properties/merge_patch.rs"]
mod merge_patch;

use crate::oracle::{self, Verdict};
use ingress_sso::config::{AuthRoute, Settings, TraefikSettings};
use ingress_sso::contract::MANAGER;
use ingress_sso::facts::{
    ConfigMapFacts, DiscoveredOutpost, IngressClassFacts, IngressFacts, MiddlewareFacts, ObjectKey,
    ServiceFacts,
};
use ingress_sso::index::{Index, Key, Source};
use ingress_sso::middleware::Middleware;
use ingress_sso::plan::changes::{Annotate, Change, Companion, Edit, Kind, Repair, decided_plan};
use ingress_sso::watched::WatchedIngress;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::IngressClass;
use merge_patch::merge;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often the controller looks at everything before it has to be done with it. Apps may wait for each other.
const ROUNDS: usize = 12;

/// The classes with their controllers. Only admins make classes.
pub(crate) const CLASSES: [(&str, &str); 5] = [
    ("nginx", "k8s.io/ingress-nginx"),
    ("internal", "k8s.io/ingress-nginx"),
    ("traefik", "traefik.io/ingress-controller"),
    ("migration", "rke2.cattle.io/ingress-nginx-migration"),
    ("haproxy", "haproxy.org/ingress-controller"),
];

/// Settings of an admin; the bits of `variant` choose.
pub(crate) fn settings(variant: u8) -> Settings {
    let bit = |number: u8| variant & (1 << number) != 0;
    let outpost = |scheme: &str, name: &str, port: u16| {
        let url = format!("{scheme}://ak-outpost-{name}.authentik.svc.cluster.local:{port}");
        (name.to_owned(), url.parse().expect("the URL of an outpost"))
    };
    let mut outposts = BTreeMap::from([outpost("http", "alpha", 9000)]);
    if bit(0) {
        outposts.extend([outpost("https", "beta", 9443)]);
    }
    Settings {
        outposts,
        default_outpost: bit(1).then(|| "alpha".to_owned()),
        auth_route: if bit(2) { AuthRoute::Direct } else { AuthRoute::Host },
        nginx_rejects_dot_segments: bit(3),
        traefik: TraefikSettings {
            allows_external_name: bit(4),
            trusts_forward_headers: bit(5),
            safe_naming: bit(6),
        },
        ..Settings::default()
    }
}

/// What was found out about a world.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Examined {
    /// Requests of the controller that were held against the rules.
    pub(crate) requests: usize,
    /// Rounds until there was nothing left to do.
    pub(crate) rounds: usize,
}

/// Lets the controller work in a world of these objects until it is done, and holds every request against the rules. The error
/// is the first thing that is wrong.
pub(crate) fn examine(
    objects: impl IntoIterator<Item = Value>,
    settings: &Settings,
) -> Result<Examined, String> {
    let mut world = World::default();
    objects.into_iter().for_each(|object| world.put(object));
    let outposts = world.outposts(settings);
    let mut examined = Examined::default();
    for _ in 0..ROUNDS {
        let changes = changes(&world.index(settings));
        if changes.is_empty() {
            return Ok(examined);
        }
        examined.rounds += 1;
        for change in &changes {
            let judge = Verdict { settings, outposts: &outposts, change };
            let problems = judge.problems(|kind, key| world.objects.get(&(kind, key.clone())));
            if let Some(problem) = problems.first() {
                return Err(format!("{problem}\nin {change:?}"));
            }
            examined.requests += 1;
        }
        for change in &changes {
            world.carry_out(change);
        }
    }
    let left = changes(&world.index(settings));
    Err(format!("not done after {ROUNDS} rounds: {left:?}"))
}

/// The same for the bytes of a fuzzer: the first chooses the settings, and the rest is a list of objects as JSON. Where it is none,
/// there is nothing to examine.
pub(crate) fn examine_bytes(data: &[u8]) -> Result<Examined, String> {
    let Some((variant, text)) = data.split_first() else { return Ok(Examined::default()) };
    let Ok(objects) = serde_json::from_slice::<Vec<Value>>(text) else { return Ok(Examined::default()) };
    examine(objects, &settings(*variant))
}

/// Everything that is due in the eyes of `index`.
fn changes(index: &Index) -> Vec<Change> {
    let mut due = Vec::new();
    let keys: std::collections::BTreeSet<Key> = index.all_keys().into_iter().collect();
    for key in keys {
        match &key {
            Key::App(app) => {
                let plan = decided_plan(&index.view(app), index.settings(), true);
                due.extend(plan.stages.into_iter().flatten());
            }
            shared => due.extend(index.plan_shared(shared)),
        }
    }
    due
}

/// All objects by kind and name.
#[derive(Debug, Default)]
struct World {
    objects: BTreeMap<(Kind, ObjectKey), Value>,
    version: u64,
}

impl World {
    /// Somebody writes `object`. The API server takes none that it cannot decode.
    fn put(&mut self, object: Value) {
        let (kind, decodes) = match object["kind"].as_str() {
            Some("Ingress") => (Kind::Ingress, decode::<WatchedIngress>(&object).is_some()),
            Some("Service") => (Kind::Service, decode::<Service>(&object).is_some()),
            Some("ConfigMap") => (Kind::ConfigMap, decode::<ConfigMap>(&object).is_some()),
            Some("Middleware") => (Kind::Middleware, decode::<Middleware>(&object).is_some()),
            _ => return,
        };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let key = ObjectKey::new(text("namespace"), text("name"));
        if decodes {
            self.store(kind, key, object);
        }
    }

    fn store(&mut self, kind: Kind, key: ObjectKey, mut object: Value) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        if !metadata.is_object() {
            return;
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.version));
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!(format!("2026-01-01T00:{:02}:00Z", self.version % 60));
        }
        self.objects.insert((kind, key), object);
    }

    /// What the watches make of it all. An object that does not decode is none of theirs.
    fn index(&self, settings: &Settings) -> Index {
        let settings = Arc::new(settings.clone());
        let keys = settings.keys.clone();
        let mut index = Index::new(settings);
        for (name, controller) in CLASSES {
            let class = json!({ "metadata": { "name": name }, "spec": { "controller": controller } });
            let class: IngressClass = serde_json::from_value(class).expect("a class");
            index.observe_class(IngressClassFacts::extract(&class));
        }
        for ((kind, _), object) in &self.objects {
            match kind {
                Kind::Ingress => {
                    let read = decode::<WatchedIngress>(object);
                    if let Some(facts) = read.and_then(|object| IngressFacts::extract(&object.0, &keys).ok())
                    {
                        index.observe_ingress(facts);
                    }
                }
                Kind::Service => {
                    let Some(service) = decode::<Service>(object) else { continue };
                    if let Some(outpost) = discovered(object) {
                        index.observe_outpost(outpost);
                    }
                    index.observe_service(ServiceFacts::extract(&service, &keys));
                }
                Kind::ConfigMap => {
                    let read = decode::<ConfigMap>(object);
                    read.map(|object| index.observe_headers(ConfigMapFacts::extract(&object)));
                }
                Kind::Middleware => {
                    let read = decode::<Middleware>(object);
                    read.map(|object| index.observe_middleware(MiddlewareFacts::extract(&object, &keys)));
                }
            }
        }
        for source in Source::ALL {
            index.complete(source);
        }
        index
    }

    /// The hosts of all outposts that apps may be sent to.
    fn outposts(&self, settings: &Settings) -> Vec<String> {
        let given = settings.outposts.values().map(|address| address.host.clone());
        let found = self.objects.values().filter_map(discovered);
        let found =
            found.map(|found| settings.cluster_domain.service_host(&found.key.namespace, &found.key.name));
        given.chain(found).collect()
    }

    /// The API server does what it is asked. Of conditions and owners no more than is needed to come to an end.
    fn carry_out(&mut self, change: &Change) {
        match change {
            Change::Create(companion) => self.create(companion),
            Change::Repair(Repair { kind, key, patch }) => self.change(*kind, key, |object| {
                let mut patch = patch.clone();
                patch["metadata"]["uid"] = object["metadata"]["uid"].clone();
                merge(object, &patch);
            }),
            Change::Delete { kind, key, .. } => {
                self.objects.remove(&(*kind, key.clone()));
            }
            Change::Edit(Edit { app, annotations, .. }) => self.change(Kind::Ingress, app, |object| {
                merge(object, &json!({ "metadata": { "annotations": annotations } }));
                own(object, annotations.keys(), "Update");
            }),
            Change::Annotate(Annotate { app, annotations, .. }) => {
                self.change(Kind::Ingress, app, |object| {
                    let former = oracle::applied(object);
                    let gone = former.into_iter().filter(|key| !annotations.contains_key(key));
                    let gone: Map<String, Value> = gone.map(|key| (key, Value::Null)).collect();
                    merge(object, &json!({ "metadata": { "annotations": gone } }));
                    merge(object, &json!({ "metadata": { "annotations": annotations } }));
                    own(object, annotations.keys(), "Apply");
                });
            }
            Change::HandOver(_) => {}
        }
    }

    fn create(&mut self, companion: &Companion) {
        let object = json!(companion);
        let key = (companion.kind(), companion.key());
        // One of several that want the same makes it.
        if !self.objects.contains_key(&key) {
            self.store(key.0, key.1, object);
        }
    }

    fn change(&mut self, kind: Kind, key: &ObjectKey, change: impl FnOnce(&mut Value)) {
        if let Some(mut object) = self.objects.remove(&(kind, key.clone())) {
            change(&mut object);
            self.store(kind, key.clone(), object);
        }
    }
}

/// Notes that the controller is the one who wrote these annotations, and nobody else.
fn own<'a>(object: &mut Value, keys: impl Iterator<Item = &'a String>, operation: &str) {
    let keys: Vec<String> = keys.map(|key| format!("f:{key}")).collect();
    let entries = object["metadata"]["managedFields"].take();
    let mut entries: Vec<Value> = entries.as_array().cloned().unwrap_or_default();
    for entry in &mut entries {
        if let Some(fields) =
            entry.pointer_mut("/fieldsV1/f:metadata/f:annotations").and_then(Value::as_object_mut)
        {
            fields.retain(|key, _| !keys.contains(key));
        }
    }
    entries.retain(|entry| {
        operation != "Apply" || entry["manager"] != MANAGER || entry["operation"] != operation
    });
    let fields: Map<String, Value> = keys.into_iter().map(|key| (key, json!({}))).collect();
    entries.push(json!({
        "manager": MANAGER, "operation": operation,
        "fieldsV1": { "f:metadata": { "f:annotations": fields } },
    }));
    object["metadata"]["managedFields"] = json!(entries);
}

/// The outpost that a Service is, by authentik's labels.
fn discovered(object: &Value) -> Option<DiscoveredOutpost> {
    let labels = &object["metadata"]["labels"];
    let is_outpost = object["kind"] == "Service"
        && labels["app.kubernetes.io/managed-by"] == "goauthentik.io"
        && labels["goauthentik.io/outpost-type"] == "proxy";
    let service = decode::<Service>(object).filter(|_| is_outpost)?;
    DiscoveredOutpost::extract(&service).ok()
}

fn decode<T: DeserializeOwned>(object: &Value) -> Option<T> {
    T::deserialize(object).ok()
}
