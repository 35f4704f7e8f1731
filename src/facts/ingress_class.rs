//! What is remembered of an `IngressClass`.

use super::{Identity, ObjectKey, label};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Names of the Helm charts that install Traefik.
const TRAEFIK_CHARTS: [&str; 2] = ["traefik", "rke2-traefik"];

/// An `IngressClass`: who serves the Ingresses that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClassFacts {
    /// Name, with an empty namespace: the kind is cluster-scoped.
    pub key: ObjectKey,
    /// uid and version in which it was seen.
    pub identity: Identity,
    /// `spec.controller`, such as `k8s.io/ingress-nginx`; empty where the class names none.
    pub controller: String,
    /// Whether the Helm chart of Traefik made it, by its labels.
    pub is_of_traefik_chart: bool,
}

impl IngressClassFacts {
    /// The facts of `class`.
    pub fn extract(class: &IngressClass) -> Self {
        let controller = class.spec.as_ref().and_then(|spec| spec.controller.clone());
        Self {
            key: ObjectKey::of(&class.metadata),
            identity: Identity::of(&class.metadata),
            controller: controller.unwrap_or_default(),
            is_of_traefik_chart: is_of_traefik_chart(&class.metadata),
        }
    }
}

/// Whether the labels are those that Traefik's chart, or RKE2's of the same, puts on all it makes.
fn is_of_traefik_chart(metadata: &ObjectMeta) -> bool {
    let name = label(metadata, "app.kubernetes.io/name").unwrap_or_default();
    let chart = label(metadata, "helm.sh/chart").unwrap_or_default();
    TRAEFIK_CHARTS.iter().any(|traefik| {
        name == *traefik || chart.strip_prefix(traefik).is_some_and(|version| version.starts_with('-'))
    })
}
