//! What the controller wants to find in the cluster, as its Helm chart installs it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod},
    networking::v1::IngressClass,
};
use kube::{Api, Client};
use serde_json::json;

use crate::{
    apply::apply,
    builders::{ingress_class, namespace},
    network,
};

/// The namespace of the controller.
pub(super) const NAMESPACE: &str = "ingress-nginx";
/// The name of its Pod.
pub(super) const POD: &str = "ingress-nginx-controller-0";
/// The name of its `ConfigMap`.
pub(super) const CONFIG_MAP: &str = "ingress-nginx-controller";
/// The name of its class.
pub(super) const CLASS: &str = "nginx";
/// What its class names.
pub(super) const CONTROLLER: &str = "k8s.io/ingress-nginx";

/// What fits a small machine and quick tests, and in the end what 1.12 and later have as the default.
const CONFIG: [(&str, &str); 5] = [
    ("use-http2", "false"),
    ("worker-processes", "1"),
    ("max-worker-connections", "1024"),
    ("worker-shutdown-timeout", "5s"),
    ("annotations-risk-level", "High"),
];

/// Makes the namespace, the Pod, the class and the `ConfigMap`, or changes them back to what they should be.
pub(super) async fn install(client: &Client, config: &BTreeMap<String, String>) -> Result<()> {
    apply(&Api::<Namespace>::all(client.clone()), &namespace(NAMESPACE)).await?;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "namespace": NAMESPACE, "name": POD,
            "labels": { "app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller" },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "controller", "image": "controller" }],
        },
    }))?;
    // A Pod is hardly to be changed, and not worth it.
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    if pods.get_opt(POD).await.context("get the Pod")?.is_none() {
        // The admission of Pods wants the namespace's ServiceAccount, which only another controller makes.
        apply(&Api::namespaced(client.clone(), NAMESPACE), &service_account()).await?;
        apply(&pods, &pod).await?;
    }
    apply(&Api::<IngressClass>::all(client.clone()), &ingress_class(CLASS, CONTROLLER)).await?;
    configure(client, config).await
}

fn service_account() -> k8s_openapi::api::core::v1::ServiceAccount {
    let mut account = k8s_openapi::api::core::v1::ServiceAccount::default();
    account.metadata.namespace = Some(NAMESPACE.to_owned());
    account.metadata.name = Some("default".to_owned());
    account
}

/// Sets the data of the `ConfigMap`: the defaults here, and `config` over them.
pub(super) async fn configure(client: &Client, config: &BTreeMap<String, String>) -> Result<()> {
    let mut data: BTreeMap<_, _> = CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    data.insert("bind-address".to_owned(), network::NGINX.to_string());
    data.extend(config.clone());
    let mut config_map = ConfigMap { data: Some(data), ..Default::default() };
    config_map.metadata.namespace = Some(NAMESPACE.to_owned());
    config_map.metadata.name = Some(CONFIG_MAP.to_owned());
    apply(&Api::namespaced(client.clone(), NAMESPACE), &config_map).await
}
