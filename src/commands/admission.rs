//! `ingress-sso admission`: policies by which the API server closes apps that are not protected yet.
//!
//! No webhook: the API server carries them out itself, so there is nothing that could be down. What they write, nobody owns: the
//! controller's server-side apply takes it over without a conflict, and a user's does not take it away.

use super::{CommandError, cluster};
use crate::cli::AdmissionArgs;
use crate::config::Settings;
use crate::contract::{AUTH_URL, CLOSED_MIDDLEWARE, CLOSED_URL, LEGACY_CLASS, MANAGER, ROUTER_MIDDLEWARES};
use crate::errors::brief;
use crate::facts::IngressClassFacts;
use crate::plan::Dialect;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;

const API_VERSION: &str = "admissionregistration.k8s.io/v1";

/// Spelled like an entry of [`ROUTER_MIDDLEWARES`] that the controller writes; see [`crate::contract::middleware_name`].
const OUR_MIDDLEWARE: &str = "^.+[-_]authentik-.+-[0-9a-f]{10}@kubernetescrd$";

/// Prints the policies.
pub fn admission(args: &AdmissionArgs) -> Result<(), CommandError> {
    let settings = args.plan.settings()?;
    let classes = if settings.classes.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CommandError::Start)?;
        runtime.block_on(async {
            let (client, _) = cluster::client(&args.cluster).await?;
            classes(&client).await
        })?
    } else {
        settings.classes.iter().map(|(name, dialect)| (name.clone(), *dialect)).collect()
    };
    if classes.is_empty() {
        return Err(CommandError::NoClasses);
    }
    // A reader that hangs up early, such as `head`, has seen what it wanted.
    let _ = std::io::stdout().write_all(manifests(&settings, &classes).as_bytes());
    Ok(())
}

/// The classes of the cluster that are supported, and who serves them.
async fn classes(client: &Client) -> Result<Vec<(String, Dialect)>, CommandError> {
    let classes = Api::<IngressClass>::all(client.clone()).list(&ListParams::default()).await;
    let classes = classes.map_err(|error| CommandError::Unreachable(brief(&error)))?;
    let known = classes.items.iter().map(IngressClassFacts::extract).filter_map(|class| {
        let dialect = Dialect::of_class(&class)?;
        Some((class.key.name.to_string(), dialect))
    });
    Ok(known.collect())
}

/// A policy and its binding for each way to close an app of `classes`, as a YAML stream.
pub fn manifests(settings: &Settings, classes: &[(String, Dialect)]) -> String {
    let of = |wanted: fn(Dialect) -> bool| -> BTreeSet<&str> {
        classes.iter().filter(|(_, dialect)| wanted(*dialect)).map(|(name, _)| name.as_str()).collect()
    };
    let by_url = of(|dialect| matches!(dialect, Dialect::Nginx | Dialect::TraefikNginx));
    let by_middleware = of(|dialect| dialect == Dialect::Traefik);
    let mut documents = Vec::new();
    if !by_url.is_empty() {
        documents.extend(policy(
            &format!("{MANAGER}-closed-by-url"),
            settings,
            &by_url,
            &is_open_by_url(),
            &by_url_value(),
        ));
    }
    if !by_middleware.is_empty() {
        let name = format!("{MANAGER}-closed-by-middleware");
        documents.extend(policy(
            &name,
            settings,
            &by_middleware,
            &is_open_by_middleware(),
            &by_middleware_value(),
        ));
    }
    let documents: Vec<String> =
        documents.iter().filter_map(|document| serde_saphyr::to_string(document).ok()).collect();
    documents.join("---\n")
}

/// Without an auth check. One that is empty is none for Traefik.
fn is_open_by_url() -> String {
    format!("object.metadata.annotations[?'{AUTH_URL}'].orValue('') == ''")
}

fn by_url_value() -> String {
    annotate(AUTH_URL, &format!("'{CLOSED_URL}'"))
}

/// Without a Middleware that asks an outpost, and without one that closes.
fn is_open_by_middleware() -> String {
    format!(
        "!object.metadata.annotations[?'{ROUTER_MIDDLEWARES}'].orValue('').split(',').exists(entry, \
         entry.trim() == '{CLOSED_MIDDLEWARE}' || entry.trim().matches('{OUR_MIDDLEWARE}'))"
    )
}

/// Before what is there.
fn by_middleware_value() -> String {
    let found = format!("object.metadata.annotations[?'{ROUTER_MIDDLEWARES}'].orValue('')");
    annotate(ROUTER_MIDDLEWARES, &format!("'{CLOSED_MIDDLEWARE}' + ({found} == '' ? '' : ',' + {found})"))
}

fn annotate(key: &str, value: &str) -> String {
    format!("Object{{metadata: Object.metadata{{annotations: {{'{key}': {value}}}}}}}")
}

fn policy(
    name: &str,
    settings: &Settings,
    classes: &BTreeSet<&str>,
    is_open: &str,
    mutation: &str,
) -> [Value; 2] {
    let opt_in = &settings.keys.opt_in;
    let class = format!(
        "object.spec.?ingressClassName.orValue(object.metadata.?annotations[?'{LEGACY_CLASS}'].orValue(''))"
    );
    let asks = format!("object.metadata.?annotations[?'{opt_in}'].orValue('false') != 'false'");
    let labels = json!({ "app.kubernetes.io/name": MANAGER });
    let metadata = json!({ "name": name, "labels": labels });
    let policy = json!({
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["networking.k8s.io"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["ingresses"],
            }] },
            "matchConditions": [
                { "name": "asks-for-protection", "expression": asks },
                { "name": "is-of-a-known-class", "expression": format!("{class} in {}", json!(classes)) },
                { "name": "is-open", "expression": is_open },
                { "name": "stays", "expression": "!has(object.metadata.deletionTimestamp)" },
            ],
            "mutations": [{
                "patchType": "ApplyConfiguration",
                "applyConfiguration": { "expression": mutation },
            }],
        },
    });
    let binding = json!({
        "apiVersion": API_VERSION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": { "policyName": name },
    });
    [policy, binding]
}
