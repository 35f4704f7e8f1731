//! Who may do what to an app's annotations.
//!
//! Rights are asked about by made-up resources in the group that is the prefix of the annotations, so that RBAC grants
//! them and nobody has them by a right that he holds for something else; `cluster-admin` holds all.

use super::{API_VERSION, OUR_MIDDLEWARE, annotation, asks, class_of, list, metadata};
use crate::contract::{AUTH_URL, CLOSED_URL, Keys, MANAGER, OUTPOST_PATH, ROUTER_MIDDLEWARES};
use crate::plan::NGINX_CHECK;
use serde_json::{Value, json};

/// The resource that rights are asked about.
const RESOURCE: &str = "apps";

/// A right, as RBAC grants it.
struct Right {
    subresource: &'static str,
    verb: &'static str,
}

/// One thing that has to hold, and the message where it does not: both in CEL, where texts stand in single quotes.
struct Rule {
    expression: String,
    message: String,
}

/// Only the controllers, and whoever has the right, may write what is said of an app. To take it away is allowed: it is
/// written again, and `kubectl replace` has to go on working.
pub(super) fn status(keys: &Keys, controllers: &[String]) -> Vec<Value> {
    let name = format!("{MANAGER}-status");
    let right = Right { subresource: "status", verb: "update" };
    let rules = [&keys.status, &keys.message, &keys.headers_uid, &keys.app].map(|key| {
        let (new, old) = (annotation("object", key), old(key));
        Rule {
            expression: format!("{new} in ['', {old}]"),
            message: message(key, &new, "only the controller may write it: leave it out", &right, keys),
        }
    });
    policy(&name, &["CREATE", "UPDATE"], &[], &rules, &right, keys, controllers)
}

/// Only whoever has the right, and the controllers, may open an app that asks for protection: let it ask no more, have it ask
/// otherwise, give it to another ingress controller, or put a check of his own in place of the controller's. To take that away is
/// allowed: it is written again, and `kubectl replace` has to go on working.
pub(super) fn opening(keys: &Keys, controllers: &[String]) -> Vec<Value> {
    let name = format!("{MANAGER}-opening");
    let right = Right { subresource: "", verb: "open" };
    let mut rules = vec![Rule {
        expression: asks(keys, "object"),
        message: message(
            &keys.opt_in,
            &annotation("object", &keys.opt_in),
            "that would open the app: leave it as it is",
            &right,
            keys,
        ),
    }];
    rules.extend([&keys.outpost, &keys.auth_route, &keys.scheme].map(|key| {
        let (new, old) = (annotation("object", key), annotation("oldObject", key));
        Rule {
            expression: format!("{new} == {old}"),
            message: message(key, &new, "it says how the app is protected: leave it as it is", &right, keys),
        }
    }));
    let (new, old) = (class_of("object"), class_of("oldObject"));
    let what = "another ingress controller may not ask who visits: leave it as it is";
    rules.push(Rule {
        expression: format!("{new} == {old}"),
        message: in_words("its class", &new, what, &right, keys),
    });
    rules.extend(NGINX_CHECK.map(|key| {
        let (new, old) = (annotation("object", key), annotation("oldObject", key));
        Rule {
            expression: format!("!variables.is_checked || {new} in ['', {old}, '{CLOSED_URL}']"),
            message: message(
                key,
                &new,
                "it would take the place of what the controller wrote: leave it out",
                &right,
                keys,
            ),
        }
    }));
    rules.push(Rule {
        expression: names_no_other_middleware(),
        message: message(
            ROUTER_MIDDLEWARES,
            &annotation("object", ROUTER_MIDDLEWARES),
            "it names a Middleware as only the controller names its own: leave that out",
            &right,
            keys,
        ),
    });
    let asked = [json!({ "name": "asks-for-protection", "expression": asks(keys, "oldObject") })];
    policy(&name, &["UPDATE"], &asked, &rules, &right, keys, controllers)
}

/// Whether no entry looks like one that asks an outpost but those that were there, so that nobody makes a Middleware
/// that asks nobody and puts it in the place of the controller's. Without any such entry the app is closed.
fn names_no_other_middleware() -> String {
    let (new, old) = (annotation("object", ROUTER_MIDDLEWARES), annotation("oldObject", ROUTER_MIDDLEWARES));
    format!(
        "{new}.split(',').all(entry, !entry.trim().matches('{OUR_MIDDLEWARE}') || {old}.split(',').exists(before, \
         before.trim() == entry.trim()))"
    )
}

/// An annotation as it was; there is no such thing when an object is created.
fn old(key: &str) -> String {
    format!("(oldObject == null ? '' : {})", annotation("oldObject", key))
}

fn message(key: &str, value: &str, what: &str, right: &Right, keys: &Keys) -> String {
    in_words(&format!("annotation {key}"), value, what, right, keys)
}

/// The object, the field, the value and the remedy.
fn in_words(field: &str, value: &str, what: &str, right: &Right, keys: &Keys) -> String {
    let Right { verb, .. } = right;
    let (resource, group) = (right.resource(), keys.prefix());
    format!(
        "'Ingress ' + request.namespace + '/' + request.name + ': {field} would be \"' + {value} + '\", and {what}, or \
         have an admin grant you the verb {verb} on {resource} in the API group {group}'"
    )
}

impl Right {
    fn resource(&self) -> String {
        if self.subresource.is_empty() {
            RESOURCE.to_owned()
        } else {
            format!("{RESOURCE}/{}", self.subresource)
        }
    }

    /// Whether whoever sends the request has it.
    fn is_held(&self, keys: &Keys) -> String {
        let subresource = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(".subresource('{}')", self.subresource)
        };
        format!(
            "authorizer.group('{}').resource('{RESOURCE}'){subresource}.namespace(request.namespace).name(request.name)\
             .check('{}').allowed()",
            keys.prefix(),
            self.verb
        )
    }
}

/// A policy, its binding, and a `ClusterRole` that may do what it forbids. Requests for the status are looked at too,
/// since they change annotations as well.
fn policy(
    name: &str,
    operations: &[&str],
    conditions: &[Value],
    rules: &[Rule],
    right: &Right,
    keys: &Keys,
    controllers: &[String],
) -> Vec<Value> {
    let metadata = metadata(name);
    let others = format!("!(request.userInfo.username in {})", list(controllers.iter().map(String::as_str)));
    let mut match_conditions = vec![json!({ "name": "is-not-the-controller", "expression": others })];
    match_conditions.extend_from_slice(conditions);
    let mut variables = vec![json!({ "name": "is_allowed", "expression": right.is_held(keys) })];
    if rules.iter().any(|rule| rule.expression.contains("variables.is_checked")) {
        let url = annotation("oldObject", AUTH_URL);
        let is_checked = format!("{url}.contains('{OUTPOST_PATH}/') || {url} == '{CLOSED_URL}'");
        variables.push(json!({ "name": "is_checked", "expression": is_checked }));
    }
    let validations = rules.iter().map(|rule| {
        json!({
            "expression": format!("{} || variables.is_allowed", rule.expression),
            "messageExpression": rule.message,
            "reason": "Forbidden",
        })
    });
    let policy = json!({
        "apiVersion": API_VERSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["networking.k8s.io"],
                "apiVersions": ["v1"],
                "operations": operations,
                "resources": ["ingresses", "ingresses/status"],
            }] },
            "matchConditions": match_conditions,
            "variables": variables,
            "validations": validations.collect::<Vec<_>>(),
        },
    });
    let binding = json!({
        "apiVersion": API_VERSION,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": metadata,
        "rules": [{ "apiGroups": [keys.prefix()], "resources": [right.resource()], "verbs": [right.verb] }],
    });
    vec![policy, binding, role]
}
