//! Accounts that may do no more than is said.

use crate::control_plane::ControlPlane;
use anyhow::Result;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where the rights of an account hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In its own namespace.
    Namespace,
    /// Everywhere.
    Cluster,
}

/// A kubeconfig for the new `ServiceAccount` `name` of `namespace` with these `rules`, as a `Role` or `ClusterRole` has them. That
/// is called `NAMESPACE-NAME`.
pub async fn account(
    plane: &ControlPlane,
    namespace: &str,
    name: &str,
    rules: &Value,
    reach: Reach,
) -> Result<PathBuf> {
    let (client, params) = (plane.client()?, PostParams::default());
    let metadata = json!({ "name": format!("{namespace}-{name}") });
    let kind = if reach == Reach::Cluster { "ClusterRole" } else { "Role" };
    let role = json!({ "metadata": metadata, "rules": rules });
    let binding = json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"] },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
    });
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    Api::namespaced(client.clone(), namespace).create(&params, &account).await?;
    match reach {
        Reach::Cluster => {
            let (role, binding): (ClusterRole, ClusterRoleBinding) =
                (serde_json::from_value(role)?, serde_json::from_value(binding)?);
            Api::all(client.clone()).create(&params, &role).await?;
            Api::all(client).create(&params, &binding).await?;
        }
        Reach::Namespace => {
            let (role, binding): (Role, RoleBinding) =
                (serde_json::from_value(role)?, serde_json::from_value(binding)?);
            Api::namespaced(client.clone(), namespace).create(&params, &role).await?;
            Api::namespaced(client, namespace).create(&params, &binding).await?;
        }
    }
    plane.service_account_kubeconfig(namespace, name).await
}
