//! Closes an app from the moment it asks for protection until the controller has protected it.
//!
//! What these policies write, nobody owns: the controller's server-side apply takes it over without a conflict, and a
//! user's does not take it away.

use super::{API_VERSION, OUR_MIDDLEWARE, asks, class_of, list, metadata};
use crate::config::Settings;
use crate::contract::{AUTH_URL, CLOSED_MIDDLEWARE, CLOSED_URL, MANAGER, ROUTER_MIDDLEWARES};
use crate::plan::Dialect;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A policy and its binding for each way to close an app of `classes`.
pub(super) fn policies(settings: &Settings, classes: &[(String, Dialect)]) -> Vec<Value> {
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
    documents
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
    let (asks, class) = (asks(&settings.keys, "object"), class_of("object"));
    let metadata = metadata(name);
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
                { "name": "is-of-a-known-class", "expression": format!("{class} in {}", list(classes.iter().copied())) },
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
