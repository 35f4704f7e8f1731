//! Whether whoever cleans up may do so: half of it done and the rest forbidden would help nobody.

use super::super::CommandError;
use super::super::doctor::right::Right;
use super::super::doctor::rights::may;
use crate::config::Scope;
use crate::controller::withdraw::Way;
use crate::lease::LeaseName;
use futures::{StreamExt, stream};
use kube::Client;

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// Group, resource, verbs for looking at the cluster, and verbs in the namespaces in scope: to take back, and to hand over.
type Needed =
    (&'static str, &'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const NEEDED: [Needed; 5] = [
    ("networking.k8s.io", "ingresses", &["list", "watch"], &["get", "patch", "delete"], &["get", "patch"]),
    ("networking.k8s.io", "ingressclasses", &["list", "watch"], &[], &[]),
    ("", "services", &["list", "watch"], &["get", "patch", "delete"], &["get", "patch"]),
    ("", "configmaps", &["list", "watch"], &["get", "delete"], &["get", "patch"]),
    ("traefik.io", "middlewares", &["list", "watch"], &["get", "delete"], &["get", "patch"]),
];

/// Asks about every right that is needed. An error that names all that are missing. Where nobody answers, the requests
/// themselves will show.
pub(super) async fn check(
    client: &Client,
    way: Way,
    scope: &Scope,
    lease: &LeaseName,
    is_dry_run: bool,
) -> Result<(), CommandError> {
    let rights = needed(way, scope, lease, is_dry_run);
    let answers: Vec<bool> = stream::iter(&rights)
        .map(async |right| may(client, right).await.unwrap_or(true))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let missing: Vec<&Right> =
        rights.iter().zip(answers).filter(|(_, is_allowed)| !is_allowed).map(|(right, _)| right).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let in_words = |right: &&Right| match &right.namespace {
        Some(namespace) => format!("{right} in {namespace}"),
        None => right.to_string(),
    };
    let missing_rights = missing.iter().map(in_words).collect::<Vec<_>>().join(", ");
    Err(CommandError::MissingRights { rights: missing_rights, remedy: first.remedy() })
}

fn needed(way: Way, scope: &Scope, lease: &LeaseName, is_dry_run: bool) -> Vec<Right> {
    let right = |verb, group: &str, resource: &str, namespace: Option<&str>| Right {
        verb,
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.map(str::to_owned),
    };
    let mut rights = Vec::new();
    let names: Vec<&str> = scope.names().collect();
    for (group, resource, look, take_back, hand_over) in NEEDED {
        let verbs = if way == Way::TakeBack { take_back } else { hand_over };
        rights.extend(look.iter().map(|verb| right(verb, group, resource, None)));
        for &verb in verbs {
            if names.is_empty() {
                rights.push(right(verb, group, resource, None));
            }
            rights.extend(names.iter().map(|name| right(verb, group, resource, Some(name))));
        }
    }
    if !is_dry_run {
        let verbs = ["get", "create", "update"];
        let namespace = Some(lease.namespace.as_str());
        rights.extend(verbs.map(|verb| right(verb, "coordination.k8s.io", "leases", namespace)));
    }
    rights
}
