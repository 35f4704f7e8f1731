//! What is remembered of a `ConfigMap` with request headers.

use super::{Identity, ObjectKey, is_ours};
use k8s_openapi::api::core::v1::ConfigMap;
use std::collections::BTreeMap;

/// A `ConfigMap` that this controller made, or that stands where it would make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMapFacts {
    /// Namespace and name.
    pub key: ObjectKey,
    /// uid and version in which it was seen.
    pub identity: Identity,
    /// Whether it carries the label of things this controller made.
    pub ours: bool,
    /// Request headers that ingress-nginx sends to the outpost, by name.
    pub data: BTreeMap<String, String>,
}

impl ConfigMapFacts {
    /// The facts of `config_map`.
    pub fn extract(config_map: &ConfigMap) -> Self {
        Self {
            key: ObjectKey::of(&config_map.metadata),
            identity: Identity::of(&config_map.metadata),
            ours: is_ours(&config_map.metadata),
            data: config_map.data.clone().unwrap_or_default(),
        }
    }

    /// Whether an observed object is as `desired` wants it, all that others added to it left aside.
    pub fn matches(&self, desired: &Self) -> bool {
        self.data == desired.data
    }
}
