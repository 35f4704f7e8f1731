//! Ingresses as watches and answers to writes are decoded.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::networking::v1::{Ingress, IngressSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    FieldsV1, ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use kube::Resource;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What `kubectl apply` leaves on everything: the whole object once more, as text.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An Ingress with as much of it as facts are made of, and the rest left out when it is decoded: status, the copy of
/// itself that `kubectl apply` puts on it, and who owns which field, but for the annotations. Of most Ingresses that is
/// three quarters of their bytes, and a list has a hundred thousand of them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct WatchedIngress(pub Ingress);

impl<'de> Deserialize<'de> for WatchedIngress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object { metadata, spec } = Object::deserialize(deserializer)?;
        Ok(Self(Ingress { metadata: metadata.into(), spec, status: None }))
    }
}

impl Resource for WatchedIngress {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Ingress::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Ingress::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Ingress::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Ingress::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<IngressSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "annotations")]
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    managed_fields: Option<Vec<FieldOwner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldOwner {
    manager: Option<String>,
    operation: Option<String>,
    #[serde(default)]
    fields_v1: Fields,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "f:metadata")]
    metadata: MetadataFields,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetadataFields {
    #[serde(rename = "f:annotations")]
    annotations: Map<String, Value>,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        let managers = metadata.managed_fields.map(|managers| {
            managers.into_iter().filter(FieldOwner::has_annotations).map(ManagedFieldsEntry::from).collect()
        });
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner_references: metadata.owner_references,
            managed_fields: managers,
            ..Self::default()
        }
    }
}

impl FieldOwner {
    fn has_annotations(&self) -> bool {
        !self.fields_v1.metadata.annotations.is_empty()
    }
}

impl From<FieldOwner> for ManagedFieldsEntry {
    fn from(entry: FieldOwner) -> Self {
        let fields = json!({ "f:metadata": { "f:annotations": entry.fields_v1.metadata.annotations } });
        Self {
            manager: entry.manager,
            operation: entry.operation,
            fields_v1: Some(FieldsV1(fields)),
            ..Self::default()
        }
    }
}

/// All annotations but [`LAST_APPLIED`].
fn annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    struct Annotations;

    impl<'de> Visitor<'de> for Annotations {
        type Value = Option<BTreeMap<String, String>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut annotations = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                if key == LAST_APPLIED {
                    map.next_value::<IgnoredAny>()?;
                } else {
                    annotations.insert(key, map.next_value()?);
                }
            }
            Ok(Some(annotations))
        }
    }

    deserializer.deserialize_any(Annotations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Keys;
    use crate::facts::IngressFacts;

    #[test]
    fn facts_are_the_same_as_of_the_whole_object() {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {
                "name": "n8n-outpost-path", "namespace": "n8n-prd", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
                "labels": { "app.kubernetes.io/managed-by": "ingress-sso", "sso.djieno.com/outpost": "proxy" },
                "annotations": {
                    "sso.djieno.com/app": "n8n", "sso.djieno.com/authentik": "true",
                    "nginx.ingress.kubernetes.io/auth-url": "https://x/", LAST_APPLIED: "{}",
                },
                "ownerReferences": [{
                    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "n8n", "uid": "o", "controller": true,
                }],
                "finalizers": ["x"],
                "managedFields": [
                    { "manager": "ingress-sso", "operation": "Apply", "apiVersion": "networking.k8s.io/v1",
                      "fieldsType": "FieldsV1", "time": "2026-01-01T00:00:00Z",
                      "fieldsV1": { "f:metadata": { "f:annotations": { "f:nginx.ingress.kubernetes.io/auth-url": {} } } } },
                    { "manager": "kubectl", "operation": "Update", "subresource": "status",
                      "fieldsV1": { "f:status": { "f:loadBalancer": {} }, "f:spec": { "f:rules": {} } } },
                    { "manager": "nothing" },
                ],
            },
            "spec": { "ingressClassName": "nginx", "rules": [{ "host": "a.example.com", "http": { "paths": [{
                "path": "/outpost.goauthentik.io", "pathType": "Prefix", "backend": { "service": { "name": "s", "port": { "number": 1 } } },
            }] } }] },
            "status": { "loadBalancer": { "ingress": [{ "ip": "10.0.0.1" }] } },
        });
        for (name, label) in [("n8n-outpost-path", "ingress-sso"), ("n8n", "helm")] {
            let mut object = object.clone();
            object["metadata"]["name"] = json!(name);
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!(label);
            let whole: Ingress = serde_json::from_value(object.clone()).unwrap();
            let watched: WatchedIngress = serde_json::from_value(object).unwrap();
            let keys = Keys::default();
            assert_eq!(IngressFacts::extract(&watched.0, &keys), IngressFacts::extract(&whole, &keys));
            assert!(
                watched.0.status.is_none()
                    && !watched.0.metadata.annotations.unwrap().contains_key(LAST_APPLIED)
            );
        }
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        for object in [json!({}), json!({ "metadata": { "annotations": null, "managedFields": null } })] {
            let watched: WatchedIngress = serde_json::from_value(object).unwrap();
            assert_eq!(watched.0.metadata, ObjectMeta::default());
        }
    }
}
