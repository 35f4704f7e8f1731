//! Who may do what to an app's annotations.
//!
//! Rights are asked about by made-up resources in the group that is the prefix of the annotations, so that RBAC grants
//! them and nobody has them by a right that he holds for something else; `cluster-admin` holds all.

use super::{API_VERSION, OUR_MIDDLEWARE, annotation, asks, class_of, list, metadata};
use crate::contract::{AUTH_URL, CLOSED_URL, Keys, LEGACY_CLASS, MANAGER, OUTPOST_PATH, ROUTER_MIDDLEWARES};
use crate::plan::{NGINX_BYPASSES, NGINX_CHECK};
use serde_json::{Value, json};

/// The resource that rights are asked about.
const RESOURCE: &str = "apps";

/// The name of the object, in CEL. One that the API server is to make a name for has none yet.
const NAME: &str = "request.?name.orValue('')";

/// A policy that turns requests away, but those of the controllers and of whoever holds a right.
struct Guard<'a> {
    name: String,
    operations: &'static [&'static str],
    /// Requests that it looks at, besides those of everybody but the controllers: names, and conditions in CEL.
    conditions: Vec<(&'static str, String)>,
    /// What the rules call `variables`: names, and values in CEL.
    variables: Vec<(&'static str, String)>,
    rules: Vec<Rule>,
    right: Right,
    keys: &'a Keys,
}

/// A right, as RBAC grants it.
struct Right {
    subresource: &'static str,
    verb: &'static str,
}

/// One thing that has to hold.
struct Rule {
    /// In CEL, where texts stand in single quotes.
    expression: String,
    /// What it is about.
    field: String,
    /// The new value of that, in CEL.
    value: String,
    /// Why not, and what to do.
    remedy: &'static str,
}

/// Only the controllers, and whoever has the right, may write what is said of an app. To take it away is allowed: it is
/// written again, and `kubectl replace` has to go on working.
pub(super) fn status(keys: &Keys, controllers: &[String]) -> Vec<Value> {
    let rules = [&keys.status, &keys.message, &keys.headers_uid, &keys.app].map(|key| {
        let (new, old) = (annotation("object", key), annotation("oldObject", key));
        // There is no old object where one is created.
        let expression = format!("{new} in ['', (oldObject == null ? '' : {old})]");
        Rule::of_annotation(key, expression, "only the controller may write it: leave it out")
    });
    let guard = Guard {
        name: format!("{MANAGER}-status"),
        operations: &["CREATE", "UPDATE"],
        conditions: Vec::new(),
        variables: Vec::new(),
        rules: rules.into(),
        right: Right { subresource: "status", verb: "update" },
        keys,
    };
    guard.documents(controllers)
}

/// Only whoever has the right, and the controllers, may open an app that asks for protection: take the request back, change how
/// it is protected, give it to another ingress controller, put another check in place of the controller's, or open a way past
/// that.
pub(super) fn opening(keys: &Keys, controllers: &[String]) -> Vec<Value> {
    let url = annotation("oldObject", AUTH_URL);
    let rules = [
        request_rules(keys),
        NGINX_CHECK.map(check_rule).into(),
        NGINX_BYPASSES.map(bypass_rule).into(),
        vec![middleware_rule()],
    ];
    let guard = Guard {
        name: format!("{MANAGER}-opening"),
        operations: &["UPDATE"],
        conditions: vec![("asks-for-protection", asks(keys, "oldObject"))],
        variables: vec![
            ("is_checked", format!("{url}.contains('{OUTPOST_PATH}/') || {url} == '{CLOSED_URL}'")),
            ("checks", checks("object")),
            ("checks_before", checks("oldObject")),
        ],
        rules: rules.into_iter().flatten().collect(),
        right: Right { subresource: "", verb: "open" },
        keys,
    };
    guard.documents(controllers)
}

/// What an app asks for, and of whom, stays.
fn request_rules(keys: &Keys) -> Vec<Rule> {
    let asks = asks(keys, "object");
    let mut rules =
        vec![Rule::of_annotation(&keys.opt_in, asks, "that would open the app: leave it as it is")];
    rules.extend([&keys.outpost, &keys.auth_route, &keys.scheme].map(|key| {
        let expression = format!("{} == {}", annotation("object", key), annotation("oldObject", key));
        Rule::of_annotation(key, expression, "it says how the app is protected: leave it as it is")
    }));
    // Of the two ways to name a class, some ingress controllers look at both.
    let (new, old) = (class_of("object"), class_of("oldObject"));
    let [new_legacy, old_legacy] = ["object", "oldObject"].map(|object| annotation(object, LEGACY_CLASS));
    for (expression, field, value) in [
        (format!("{new} == {old}"), "its class".to_owned(), new),
        (format!("{new_legacy} in ['', {old_legacy}]"), format!("annotation {LEGACY_CLASS}"), new_legacy),
    ] {
        let remedy = "another ingress controller may not ask who visits: leave it as it is";
        rules.push(Rule { expression, field, value, remedy });
    }
    rules
}

/// The check stays as it is, or goes as a whole: then it is written again, and `kubectl replace` has to go on working. A part of it
/// that goes alone would leave a check that is worth less.
fn check_rule(key: &str) -> Rule {
    let (new, old) = (annotation("object", key), annotation("oldObject", key));
    let is_right = if key == AUTH_URL {
        format!("{new} in ['', {old}, '{CLOSED_URL}']")
    } else {
        let url = annotation("object", AUTH_URL);
        format!("({new} == {old} || ({new} == '' && {url} in ['', '{CLOSED_URL}']))")
    };
    Rule::of_annotation(
        key,
        format!("!variables.is_checked || {is_right}"),
        "it is a part of the check that the controller wrote: leave it as it is",
    )
}

fn bypass_rule(key: &str) -> Rule {
    let expression = format!(
        "!variables.is_checked || {} in ['', {}]",
        annotation("object", key),
        annotation("oldObject", key)
    );
    Rule::of_annotation(key, expression, "that may lead past the login: leave it out")
}

/// The first entry that looks like one that asks an outpost stays so, and no other comes, so that nobody puts a Middleware that asks
/// nobody in the place of the controller's. Without any such entry the app is closed.
fn middleware_rule() -> Rule {
    let expression = "variables.checks.size() == 0 || (variables.checks.all(entry, entry in variables.checks_before) && \
                      variables.checks[0] == variables.checks_before[0])";
    let remedy = "it takes the place of the Middleware that the controller wrote: leave that out";
    Rule::of_annotation(ROUTER_MIDDLEWARES, expression.to_owned(), remedy)
}

/// The Middlewares of `object` that look like those that ask an outpost.
fn checks(object: &str) -> String {
    let value = annotation(object, ROUTER_MIDDLEWARES);
    format!("{value}.split(',').map(entry, entry.trim()).filter(entry, entry.matches('{OUR_MIDDLEWARE}'))")
}

impl Rule {
    fn of_annotation(key: &str, expression: String, remedy: &'static str) -> Self {
        Self { expression, field: format!("annotation {key}"), value: annotation("object", key), remedy }
    }

    /// As the API takes it. The first message has the object, the field, the value and the remedy; the second stands where that
    /// cannot be, since the value is too long or has line breaks.
    fn validation(&self, way_out: &str) -> Value {
        let Self { expression, field, value, remedy } = self;
        json!({
            "expression": format!("({expression}) || variables.is_allowed"),
            "messageExpression": format!(
                "'Ingress ' + request.namespace + '/' + {NAME} + ': {field} would be \"' + {value} + '\", and {remedy}, or \
                 {way_out}'"
            ),
            "message": format!("{field} would be another, and {remedy}, or {way_out}"),
            "reason": "Forbidden",
        })
    }
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
            "authorizer.group('{}').resource('{RESOURCE}'){subresource}.namespace(request.namespace).name({NAME})\
             .check('{}').allowed()",
            keys.prefix(),
            self.verb
        )
    }
}

impl Guard<'_> {
    /// The policy, its binding, and a `ClusterRole` that may do what it forbids. Requests for the status are looked at too,
    /// since they change annotations as well.
    fn documents(&self, controllers: &[String]) -> Vec<Value> {
        let metadata = metadata(&self.name);
        let named = |(name, expression): &(&str, String)| json!({ "name": name, "expression": expression });
        let others =
            format!("!(request.userInfo.username in {})", list(controllers.iter().map(String::as_str)));
        let conditions = [vec![("is-not-the-controller", others)], self.conditions.clone()].concat();
        let variables =
            [vec![("is_allowed", self.right.is_held(self.keys))], self.variables.clone()].concat();
        let (resource, verb, group) = (self.right.resource(), self.right.verb, self.keys.prefix());
        let way_out =
            format!("have an admin grant you the verb {verb} on {resource} in the API group {group}");
        let policy = json!({
            "apiVersion": API_VERSION,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["networking.k8s.io"],
                    "apiVersions": ["v1"],
                    "operations": self.operations,
                    "resources": ["ingresses", "ingresses/status"],
                }] },
                "matchConditions": conditions.iter().map(named).collect::<Vec<_>>(),
                "variables": variables.iter().map(named).collect::<Vec<_>>(),
                "validations": self.rules.iter().map(|rule| rule.validation(&way_out)).collect::<Vec<_>>(),
            },
        });
        let binding = json!({
            "apiVersion": API_VERSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": { "policyName": self.name, "validationActions": ["Deny"] },
        });
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": metadata,
            "rules": [{ "apiGroups": [group], "resources": [resource], "verbs": [verb] }],
        });
        vec![policy, binding, role]
    }
}
