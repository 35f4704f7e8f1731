//! What is remembered of an `IngressClass`.

use super::{Identity, ObjectKey};
use k8s_openapi::api::networking::v1::IngressClass;

/// An `IngressClass`: who serves the Ingresses that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClassFacts {
    /// Name, with an empty namespace: the kind is cluster-scoped.
    pub key: ObjectKey,
    /// uid and version in which it was seen.
    pub identity: Identity,
    /// `spec.controller`, such as `k8s.io/ingress-nginx`; empty where the class names none.
    pub controller: String,
}

impl IngressClassFacts {
    /// The facts of `class`.
    pub fn extract(class: &IngressClass) -> Self {
        let controller = class.spec.as_ref().and_then(|spec| spec.controller.clone());
        Self {
            key: ObjectKey::of(&class.metadata),
            identity: Identity::of(&class.metadata),
            controller: controller.unwrap_or_default(),
        }
    }
}
