//! How ingress-nginx's Helm chart registers its admission webhook: for the real one and for the double.

use crate::apply::apply;
use anyhow::Result;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, Client};
use serde_json::json;

/// Has the API server ask the webhook at `url` about every Ingress that is created or changed.
pub(crate) async fn register(client: &Client, url: &str, authority: &[u8]) -> Result<()> {
    let registration: ValidatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": { "name": "ingress-nginx-admission" },
        "webhooks": [{
            "name": "validate.nginx.ingress.kubernetes.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "clientConfig": { "url": url, "caBundle": ByteString(authority.to_vec()) },
            "rules": [{
                "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "resources": ["ingresses"],
                "operations": ["CREATE", "UPDATE"],
            }],
        }],
    }))?;
    apply(&Api::all(client.clone()), &registration).await
}
