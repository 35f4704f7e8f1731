//! Ingresses as the API server sends them, and what the controller makes of them.

use anyhow::{Result, bail};
use ingress_sso::config::{RawSettings, Settings, TraefikSettings};
use ingress_sso::contract::{DEFAULT_PREFIX, MANAGER};
use ingress_sso::facts::IngressFacts;
use ingress_sso::index::{Index, Source};
use ingress_sso::plan::changes::{Change, Companion, decided_plan};
use ingress_sso::watched::WatchedIngress;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The first is the default.
const OUTPOSTS: [&str; 2] = [
    "proxy-outpost=http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000",
    "other-outpost=http://ak-outpost-other-outpost.authentik-prd.svc.cluster.local:9000",
];

/// Classes with the dialects that serve them.
const CLASSES: [&str; 2] = ["nginx=nginx", "traefik=traefik"];

const CREATED: &str = "2026-01-01T00:00:00Z";

/// Versions in a cluster that is not new have nine digits.
const FIRST_VERSION: u64 = 100_000_000;

/// Settings with two outposts, and with a class for each of the dialects `nginx` and `traefik`.
pub(crate) fn settings() -> Result<Arc<Settings>> {
    Ok(Arc::new(Settings::validate(&RawSettings {
        annotation_prefix: DEFAULT_PREFIX,
        outposts: &OUTPOSTS.map(str::to_owned),
        default_outpost: Some("proxy-outpost"),
        classes: &CLASSES.map(str::to_owned),
        auth_route: "host",
        nginx_rejects_dot_segments: false,
        traefik: TraefikSettings::default(),
        cluster_domain: "cluster.local",
    })?))
}

/// An index of no objects, all lists delivered.
pub(crate) fn empty_index(settings: &Arc<Settings>) -> Index {
    let mut index = Index::new(Arc::clone(settings));
    for source in Source::ALL {
        index.complete(source);
    }
    index
}

/// `object` as it comes over the wire.
pub(crate) fn json(object: &Value) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(object)?)
}

/// The facts in an Ingress, decoded as the watch does it.
pub(crate) fn facts(ingress: &Value, settings: &Settings) -> Result<IngressFacts> {
    let watched: WatchedIngress = serde_json::from_slice(&json(ingress)?)?;
    Ok(IngressFacts::extract(&watched.0, &settings.keys)?)
}

/// What the API server adds to objects.
#[derive(Debug, Default)]
pub(crate) struct ApiServer {
    writes: u64,
}

/// An app for which there is nothing left to do, with what was made for it on the way.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) ingress: Value,
    pub(crate) companions: Vec<Companion>,
}

impl ApiServer {
    /// An Ingress from a Helm chart that `kubectl apply` sent, as Argo CD does it, and that an ingress controller serves.
    pub(crate) fn applied(&mut self, mut ingress: Ingress) -> Result<Value> {
        let text = serde_json::to_string(&ingress)? + "\n";
        let annotations = ingress.metadata.annotations.get_or_insert_default();
        annotations.insert("kubectl.kubernetes.io/last-applied-configuration".to_owned(), text);
        let mut object = self.created(&ingress, "argocd-controller")?;
        let status = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.17" }] } });
        let owned = json!({ "f:status": fields(&status) });
        object["status"] = status;
        note_owner(&mut object, "nginx-ingress-controller", "Update", &owned);
        Ok(object)
    }

    /// An Ingress that the controller made.
    pub(crate) fn made(&mut self, ingress: &Ingress) -> Result<Value> {
        self.created(ingress, MANAGER)
    }

    /// The version that the next write leaves.
    pub(crate) fn next_version(&mut self) -> String {
        self.writes += 1;
        (FIRST_VERSION + self.writes).to_string()
    }

    /// Does for `app` all that the controller has to do if there is nothing else in the cluster.
    pub(crate) fn settle(&mut self, mut app: Value, settings: &Arc<Settings>) -> Result<Settled> {
        let mut index = empty_index(settings);
        let facts = facts(&app, settings)?;
        let key = facts.key.clone();
        index.observe_ingress(facts);
        let view = index.view(&key);
        let plan = decided_plan(&view, settings, false);
        let mut companions = Vec::new();
        for change in plan.stages.into_iter().flatten() {
            match change {
                Change::Create(companion) => companions.push(companion),
                Change::Annotate(annotate) => self.annotate(&mut app, json!(annotate.annotations)),
                other => bail!("not due to an app that was not seen before: {other:?}"),
            }
        }
        Ok(Settled { ingress: app, companions })
    }

    fn created(&mut self, object: &Ingress, manager: &str) -> Result<Value> {
        let mut object = serde_json::to_value(object)?;
        let metadata = &object["metadata"];
        let parts = ["annotations", "labels", "ownerReferences"].into_iter();
        let parts = parts.filter(|part| !metadata[part].is_null());
        let of_metadata: Map<String, Value> =
            parts.map(|part| (format!("f:{part}"), fields(&metadata[part]))).collect();
        let owned = json!({ "f:metadata": of_metadata, "f:spec": fields(&object["spec"]) });
        note_owner(&mut object, manager, "Update", &owned);
        let version = self.next_version();
        let metadata = &mut object["metadata"];
        metadata["creationTimestamp"] = json!(CREATED);
        metadata["generation"] = json!(1);
        metadata["resourceVersion"] = json!(version);
        metadata["uid"] = json!(format!("{:08x}-74d1-4c2a-9b0e-{0:012x}", self.writes));
        Ok(object)
    }

    /// Server-side apply of `annotations` by the controller.
    fn annotate(&mut self, object: &mut Value, annotations: Value) {
        let owned = json!({ "f:metadata": { "f:annotations": fields(&annotations) } });
        note_owner(object, MANAGER, "Apply", &owned);
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.next_version());
        if let (Some(all), Value::Object(new)) = (metadata["annotations"].as_object_mut(), annotations) {
            all.extend(new);
        }
    }
}

/// Adds to `managedFields` that `manager` has the fields `owned`.
fn note_owner(object: &mut Value, manager: &str, operation: &str, owned: &Value) {
    let entry = json!({
        "manager": manager, "operation": operation, "apiVersion": "networking.k8s.io/v1", "time": CREATED,
        "fieldsType": "FieldsV1", "fieldsV1": owned,
    });
    let entries = &mut object["metadata"]["managedFields"];
    match entries.as_array_mut() {
        Some(entries) => entries.push(entry),
        None => *entries = json!([entry]),
    }
}

/// The keys of `section` as `managedFields` lists them.
fn fields(section: &Value) -> Value {
    let keys = section.as_object().into_iter().flat_map(Map::keys);
    keys.map(|key| (format!("f:{key}"), json!({}))).collect::<Map<_, _>>().into()
}
