//! Traefik's custom resource `Middleware`, as much of it as this controller writes.
//!
//! After `traefik.io/v1alpha1` of Traefik 3.7.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a Middleware does. One that somebody else made may do anything, so everything here is optional.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "traefik.io",
    version = "v1alpha1",
    kind = "Middleware",
    namespaced,
    schema = "disabled",
    doc = "A step that Traefik takes with each request of the routers that name it.",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct MiddlewareSpec {
    /// Asks a server about the request before it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_auth: Option<ForwardAuth>,
    /// All other kinds of step.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Whom Traefik asks about a request, and what it takes from the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardAuth {
    /// URL of the server.
    #[serde(default)]
    pub address: String,
    /// Whether the client's own `X-Forwarded-*` are passed on to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_forward_header: Option<bool>,
    /// Headers of the answer that the app gets in place of the client's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth_response_headers: Vec<String>,
    /// The same by a regular expression over names, in Go's syntax.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub auth_response_headers_regex: String,
    /// Longest body of an answer, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_response_body_size: Option<i64>,
    /// All other fields.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}
