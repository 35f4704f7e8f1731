//! Accounts that may do no more than is said.
//!
//! The API server heeds a role somewhat later than it answers that the role is there: its authorizer learns of it by a watch.
//! Who then asks too early is turned away, or let in. So everything here returns once the API server itself says that the
//! rules hold.

use crate::control_plane::ControlPlane;
use crate::wait::eventually;
use anyhow::{Result, bail};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How long the API server may take to heed rules: milliseconds, and a watch of its own that broke off takes longer.
const HEEDED: Duration = Duration::from_mins(1);

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
    let metadata = json!({ "name": role_name(namespace, name) });
    let kind = if reach == Reach::Cluster { "ClusterRole" } else { "Role" };
    let role = json!({ "metadata": metadata, "rules": rules });
    let binding = json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"] },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
    });
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    Api::namespaced(client.clone(), namespace).create(&params, &account).await?;
    let within = match reach {
        Reach::Cluster => {
            let (role, binding): (ClusterRole, ClusterRoleBinding) =
                (serde_json::from_value(role)?, serde_json::from_value(binding)?);
            Api::all(client.clone()).create(&params, &role).await?;
            Api::all(client.clone()).create(&params, &binding).await?;
            None
        }
        Reach::Namespace => {
            let (role, binding): (Role, RoleBinding) =
                (serde_json::from_value(role)?, serde_json::from_value(binding)?);
            Api::namespaced(client.clone(), namespace).create(&params, &role).await?;
            Api::namespaced(client.clone(), namespace).create(&params, &binding).await?;
            Some(namespace)
        }
    };
    let rules: Vec<PolicyRule> = serde_json::from_value(rules.clone())?;
    until_heeded(&client, &user(namespace, name), within, &rules).await?;
    plane.service_account_kubeconfig(namespace, name).await
}

/// Gives the account `name` of `namespace`, which [`account`] made with [`Reach::Cluster`], these rules in place of those that it
/// has.
pub async fn set_rules(client: &Client, namespace: &str, name: &str, rules: &Value) -> Result<()> {
    let (api, role) = (Api::<ClusterRole>::all(client.clone()), role_name(namespace, name));
    let before = api.get(&role).await?.rules.unwrap_or_default();
    let patch = Patch::Merge(json!({ "rules": rules }));
    let after = api.patch(&role, &PatchParams::default(), &patch).await?.rules.unwrap_or_default();
    let user = user(namespace, name);
    until_heeded(client, &user, None, &after).await?;
    let lost: Vec<Right> =
        rights(&before).into_iter().filter(|right| !after.iter().any(|rule| grants(rule, right))).collect();
    until_all(client, &user, None, &lost, false).await
}

/// Waits until the API server lets `user` do what `rules` allow, in the namespace `within` or else everywhere. Nothing is waited
/// for where there are no rules.
pub async fn until_heeded(
    client: &Client,
    user: &str,
    within: Option<&str>,
    rules: &[PolicyRule],
) -> Result<()> {
    until_all(client, user, within, &rights(rules), true).await
}

/// The user as whom a `ServiceAccount` acts.
pub fn user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn role_name(namespace: &str, name: &str) -> String {
    format!("{namespace}-{name}")
}

/// What a rule allows: a verb, and the group and the name of a kind, maybe of one object.
#[derive(Clone, Debug)]
struct Right {
    verb: String,
    group: String,
    resource: String,
    name: Option<String>,
}

fn rights(rules: &[PolicyRule]) -> Vec<Right> {
    let mut rights = Vec::new();
    for rule in rules {
        let names = rule.resource_names.clone().filter(|names| !names.is_empty());
        let names = names.map_or_else(|| vec![None], |names| names.into_iter().map(Some).collect());
        for verb in &rule.verbs {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    rights.extend(names.iter().map(|name| Right {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                    }));
                }
            }
        }
    }
    rights
}

/// Whether a rule allows what the right does, as RBAC has it.
fn grants(rule: &PolicyRule, right: &Right) -> bool {
    let has = |all: &[String], one: &String| all.iter().any(|entry| entry == "*" || entry == one);
    let names = rule.resource_names.as_deref().unwrap_or_default();
    has(&rule.verbs, &right.verb)
        && has(rule.api_groups.as_deref().unwrap_or_default(), &right.group)
        && has(rule.resources.as_deref().unwrap_or_default(), &right.resource)
        && (names.is_empty() || right.name.as_ref().is_some_and(|name| names.contains(name)))
}

/// Waits until `user` may do all of `rights`, or none of them.
async fn until_all(
    client: &Client,
    user: &str,
    within: Option<&str>,
    rights: &[Right],
    allowed: bool,
) -> Result<()> {
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    for right in rights {
        let (resource, subresource) = match right.resource.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), Some(subresource.to_owned())),
            None => (right.resource.clone(), None),
        };
        let attributes = ResourceAttributes {
            verb: Some(right.verb.clone()),
            group: Some(right.group.clone()),
            resource: Some(resource),
            subresource,
            name: right.name.clone(),
            namespace: within.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let verdict = if allowed { "may" } else { "may not" };
        eventually(format!("the API server to say that {user} {verdict} {right:?}"), HEEDED, || async {
            match reviews.create(&PostParams::default(), &review).await?.status {
                Some(SubjectAccessReviewStatus { allowed: said, .. }) if said == allowed => Ok(Some(())),
                status => bail!("{status:?}"),
            }
        })
        .await?;
    }
    Ok(())
}
