//! Closes an app from the moment it asks for protection until the controller has protected it.
//!
//! What these policies write, nobody owns: the controller's server-side apply takes it over without a conflict, and a
//! user's does not take it away.
//!
//! Who serves an app is decided as the controller decides it: by what `--class` says, else by the `IngressClass` as it is
//! when the request comes. The latter is the parameter of a policy, which the API server carries out for each of them. An app
//! without a class is closed in every way: there are ingress controllers that serve it.

use super::{API_VERSION, OUR_MIDDLEWARE, asks, class_of, list, metadata};
use crate::config::Settings;
use crate::contract::{AUTH_URL, CLOSED_MIDDLEWARE, CLOSED_URL, MANAGER, ROUTER_MIDDLEWARES};
use crate::plan::Dialect;
use serde_json::{Value, json};

/// A way to close an app.
struct Closure {
    /// What its policies are called, after the name of the controller.
    name: &'static str,
    /// Those that it closes apps of.
    dialects: &'static [Dialect],
    /// Whether an app is open, in CEL.
    is_open: String,
    /// What closes it, in CEL.
    mutation: String,
}

/// Two policies with their bindings for each way to close an app: for classes that have an `IngressClass`, and for the rest.
pub(super) fn policies(settings: &Settings) -> Vec<Value> {
    [by_url(), by_middleware()].iter().flat_map(|closure| closure.policies(settings)).collect()
}

/// Where there is no auth check. One that is empty is none for Traefik.
fn by_url() -> Closure {
    Closure {
        name: "closed-by-url",
        dialects: &[Dialect::Nginx, Dialect::TraefikNginx],
        is_open: format!("object.metadata.annotations[?'{AUTH_URL}'].orValue('').trim() == ''"),
        mutation: annotate(AUTH_URL, &format!("'{CLOSED_URL}'")),
    }
}

/// Where there is no Middleware that asks an outpost, and none that closes. Before what is there.
fn by_middleware() -> Closure {
    let found = format!("object.metadata.annotations[?'{ROUTER_MIDDLEWARES}'].orValue('')");
    Closure {
        name: "closed-by-middleware",
        dialects: &[Dialect::Traefik],
        is_open: format!(
            "!{found}.split(',').exists(entry, entry.trim() == '{CLOSED_MIDDLEWARE}' || \
             entry.trim().matches('{OUR_MIDDLEWARE}'))"
        ),
        mutation: annotate(
            ROUTER_MIDDLEWARES,
            &format!("'{CLOSED_MIDDLEWARE}' + ({found} == '' ? '' : ',' + {found})"),
        ),
    }
}

fn annotate(key: &str, value: &str) -> String {
    format!("Object{{metadata: Object.metadata{{annotations: {{'{key}': {value}}}}}}}")
}

impl Closure {
    fn policies(&self, settings: &Settings) -> Vec<Value> {
        let class = class_of("object");
        let given = list(settings.classes.keys().map(String::as_str));
        let controllers = list(self.dialects.iter().map(|dialect| dialect.controller()));
        let is_of_class = format!(
            "params.metadata.name == {class} && params.?spec.?controller.orValue('') in {controllers} && \
             !({class} in {given})"
        );
        let name = format!("{MANAGER}-{}", self.name);
        let mut documents = self.policy(&name, settings, &is_of_class, true);
        let of_this = settings.classes.iter().filter(|(_, dialect)| self.dialects.contains(dialect));
        let others = [""].into_iter().chain(of_this.map(|(name, _)| name.as_str()));
        let is_other = format!("{class} in {}", list(others));
        documents.extend(self.policy(&format!("{name}-without-ingressclass"), settings, &is_other, false));
        documents
    }

    fn policy(&self, name: &str, settings: &Settings, is_served: &str, by_class: bool) -> Vec<Value> {
        let metadata = metadata(name);
        let mut policy = json!({
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
                    { "name": "asks-for-protection", "expression": asks(&settings.keys, "object") },
                    { "name": "is-served", "expression": is_served },
                    { "name": "is-open", "expression": self.is_open },
                ],
                "mutations": [{
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": { "expression": self.mutation },
                }],
            },
        });
        let mut binding = json!({
            "apiVersion": API_VERSION,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": { "policyName": name },
        });
        if by_class {
            policy["spec"]["paramKind"] =
                json!({ "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass" });
            // All of them. Where there is none, there is none of the app's.
            binding["spec"]["paramRef"] = json!({ "selector": {}, "parameterNotFoundAction": "Allow" });
        }
        vec![policy, binding]
    }
}
