//! What of the policies is in a cluster, and whether it could have them.

use super::{GROUP, NAME};
use crate::contract::MANAGER;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};

/// Without a binding, a policy does nothing.
pub(in crate::commands) const MUTATING: &str = "mutatingadmissionpolicybindings";

/// Whether an API server knows mutating policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Support {
    /// It does.
    There,
    /// It does not, in this version of Kubernetes.
    Missing { version: String },
    /// It does not say.
    Unknown,
}

/// Asks for what every user may know.
pub(in crate::commands) async fn support(client: &Client) -> Support {
    let version = async || match client.apiserver_version().await {
        Ok(info) => info.git_version,
        Err(_) => "of a version that it does not tell".to_owned(),
    };
    match client.list_api_group_resources(super::API_VERSION).await {
        Ok(list) if list.resources.iter().any(|resource| resource.name == MUTATING) => Support::There,
        Ok(_) => Support::Missing { version: version().await },
        Err(kube::Error::Api(status)) if status.code == 404 => Support::Missing { version: version().await },
        Err(_) => Support::Unknown,
    }
}

/// What of the policies that close apps is in a cluster.
#[derive(Debug)]
pub(in crate::commands) enum Installed {
    /// Policies with these names take effect.
    There(Vec<String>),
    /// None does.
    None,
    /// The API server has no such policies.
    Unsupported,
    /// One may not look, or nobody answers.
    Unknown(kube::Error),
}

/// Looks for those that `ingress-sso admission` or the Helm chart made.
pub(in crate::commands) async fn look(client: &Client) -> Installed {
    let kind = ApiResource {
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        api_version: super::API_VERSION.to_owned(),
        kind: "MutatingAdmissionPolicyBinding".to_owned(),
        plural: MUTATING.to_owned(),
    };
    let params = ListParams::default().labels(&format!("{NAME}={MANAGER}"));
    match Api::<DynamicObject>::all_with(client.clone(), &kind).list(&params).await {
        Ok(list) if list.items.is_empty() => Installed::None,
        Ok(list) => Installed::There(list.items.iter().map(ResourceExt::name_any).collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Installed::Unsupported,
        Err(error) => Installed::Unknown(error),
    }
}
