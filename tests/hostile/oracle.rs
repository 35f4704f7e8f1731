//! Whether a request of the controller is one that it may send, whatever people wrote: acceptable to those who read it, aimed
//! at what is its own, and with nothing in it that somebody smuggled there.

use crate::api_server::{MAX_ANNOTATIONS, rejected_by_api_server, size, texts};
use crate::message::unfit;
use crate::validators::{NGINX, unacceptable_to_ingress_nginx};
use ingress_sso::config::Settings;
use ingress_sso::contract::{MANAGED_BY, MANAGER, OUTPOST_PATH, ROUTER_MIDDLEWARES, own_middleware_in};
use ingress_sso::facts::ObjectKey;
use ingress_sso::plan::changes::{Annotate, Change, Companion, Edit, Kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most that the controller may add to an app's annotations: a value of everybody else's must not make it more than the
/// API server takes.
const MAX_ADDED: usize = 8 * 1024;

/// The query by which nginx says where the visitor wanted to go. No other variable stands in an annotation but `$host`.
const WANTED: &str = "start?rd=$scheme://$best_http_host$escaped_request_uri";

/// What a shell, nginx, YAML or HTTP could read more into than a name.
const SMUGGLED: &[char] =
    &['\n', '\r', '\0', ';', '{', '}', '"', '\'', '`', '\\', '*', '$', '#', '%', ' ', '\t'];

/// A request, and what it is to be held against.
pub(crate) struct Verdict<'a> {
    pub(crate) settings: &'a Settings,
    /// Hosts of all outposts that somebody gave or that were discovered.
    pub(crate) outposts: &'a [String],
    pub(crate) change: &'a Change,
}

impl Verdict<'_> {
    /// What is wrong with the request in a cluster in which `find` finds what is there.
    pub(crate) fn problems<'o>(&self, find: impl Fn(Kind, &ObjectKey) -> Option<&'o Value>) -> Vec<String> {
        match self.change {
            Change::Create(companion) => self.created(companion, &find),
            Change::Repair(repair) => {
                let mut problems = not_ours(find(repair.kind, &repair.key));
                problems.extend(self.object(repair.kind, &repair.key, &repair.patch, &find));
                problems
            }
            Change::Delete { kind, key, .. } => not_ours(find(*kind, key)),
            Change::Annotate(Annotate { app, annotations, .. }) => {
                self.annotated(annotations, find(Kind::Ingress, app))
            }
            Change::Edit(Edit { app, annotations, .. }) => {
                let set = annotations.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
                self.annotated(&set.collect(), find(Kind::Ingress, app))
            }
            Change::HandOver(hand_over) => vec![format!("a controller hands nothing over: {hand_over:?}")],
        }
    }

    fn created<'o>(
        &self,
        companion: &Companion,
        find: &impl Fn(Kind, &ObjectKey) -> Option<&'o Value>,
    ) -> Vec<String> {
        let (kind, key, object) = (companion.kind(), companion.key(), json!(companion));
        let mut problems = self.object(kind, &key, &object, find);
        if kind == Kind::Ingress {
            let app = object["metadata"]["annotations"][&self.settings.keys.app].as_str().unwrap_or_default();
            let app = find(Kind::Ingress, &ObjectKey::new(key.namespace.clone(), app));
            problems.extend(hosts_of_others(&object, app));
        }
        if object["metadata"]["labels"][MANAGED_BY] != MANAGER {
            problems.push(format!("{kind} {key} is not marked as ours"));
        }
        if find(kind, &key).is_some() {
            problems.push(format!("{kind} {key} is there already"));
        }
        problems
    }

    /// A companion, or a patch of one.
    fn object<'o>(
        &self,
        kind: Kind,
        key: &ObjectKey,
        object: &Value,
        find: &impl Fn(Kind, &ObjectKey) -> Option<&'o Value>,
    ) -> Vec<String> {
        let mut object = object.clone();
        object["kind"] = json!(kind.to_string());
        // A patch that changes the rules alone says nothing of the name.
        object["metadata"]["name"] = json!(key.name.as_ref());
        object["metadata"]["namespace"] = json!(key.namespace.as_ref());
        let mut problems = rejected_by_api_server(&object);
        match kind {
            Kind::Ingress => {
                let app = object["metadata"]["annotations"][&self.settings.keys.app].as_str();
                let app =
                    app.and_then(|app| find(Kind::Ingress, &ObjectKey::new(key.namespace.clone(), app)));
                problems.extend(route(&object, app));
            }
            Kind::Service => problems.extend(self.leads_to_outpost(object["spec"]["externalName"].as_str())),
            Kind::Middleware => {
                let address = object["spec"]["forwardAuth"]["address"].as_str().and_then(host_in);
                problems.extend(self.leads_to_outpost(address.as_deref()));
            }
            Kind::ConfigMap => {
                let is_known = |(_, value): (&str, &str)| matches!(value, "" | "$host");
                if !texts(&object["data"]).all(is_known) {
                    problems.push(format!("unknown request headers: {}", object["data"]));
                }
            }
        }
        problems
    }

    fn leads_to_outpost(&self, host: Option<&str>) -> Option<String> {
        let is_outpost = host.is_some_and(|host| self.outposts.iter().any(|outpost| outpost == host));
        (!is_outpost).then(|| format!("{host:?} is no outpost that anybody gave"))
    }

    /// Annotations on the Ingress of an app.
    fn annotated(&self, annotations: &BTreeMap<String, String>, app: Option<&Value>) -> Vec<String> {
        let Some(app) = app else { return vec!["there is no such Ingress".to_owned()] };
        let theirs = &app["metadata"]["annotations"];
        // What is there already, and stays as it is, is no news to anybody.
        let new: BTreeMap<String, String> = annotations
            .iter()
            .filter(|(key, value)| theirs[key.as_str()] != **value)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let mut problems: Vec<String> =
            new.iter().flat_map(|(key, value)| self.annotation(key, value, app)).collect();
        problems.extend(unacceptable_to_ingress_nginx(&new));
        let list = |key: &str| theirs[key].as_str().map_or(0, str::len);
        let added: usize =
            new.iter().map(|(key, value)| (key.len() + value.len()).saturating_sub(list(key))).sum();
        if added > MAX_ADDED {
            problems.push(format!("{added} bytes are added to the app's annotations"));
        }
        problems
    }

    /// One annotation, held against the only forms that it may have.
    fn annotation(&self, key: &str, value: &str, app: &Value) -> Vec<String> {
        let keys = &self.settings.keys;
        let namespace = app["metadata"]["namespace"].as_str().unwrap_or_default();
        let is_good = match key.strip_prefix(NGINX) {
            Some("auth-url") => ["auth/nginx", "auth/traefik"].iter().any(|end| self.is_url(value, end, app)),
            Some("auth-signin") => self.is_url(value, WANTED, app),
            Some("auth-response-headers") => {
                value.split(',').all(|name| name == "Set-Cookie" || name.starts_with("X-authentik-"))
            }
            Some("auth-proxy-set-headers") => {
                value.strip_prefix(namespace).is_some_and(|rest| rest.starts_with("/authentik-headers-"))
            }
            Some("proxy-buffer-size" | "proxy-busy-buffers-size") => value == "16k",
            Some(_) => false,
            None if key == ROUTER_MIDDLEWARES => return middlewares(value, app, namespace),
            None if key == keys.status => ["Protected", "Pending", "Refused", "Failing"].contains(&value),
            None if key == keys.message => return unfit(value).into_iter().collect(),
            None => key == keys.headers_uid,
        };
        let form = (!is_good).then(|| format!("{key} must not be {value:.300?}"));
        let plain = value.replace(WANTED, "").replace("://$host/", "://host/");
        form.into_iter().chain(smuggled(key, &plain)).collect()
    }

    /// Whether `url` is that of an outpost path, on a host of the app itself or on an outpost.
    fn is_url(&self, url: &str, end: &str, app: &Value) -> bool {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let Some((host, path)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
        let name = host.split(':').next().unwrap_or_default();
        let rules = app["spec"]["rules"].as_array().into_iter().flatten();
        let is_own = rules.clone().any(|rule| rule["host"] == host) && !host.contains('*');
        let is_variable = host == "$host" && rules.count() > 0;
        let is_known = is_own || is_variable || self.outposts.iter().any(|outpost| outpost == name);
        is_known && format!("/{path}") == format!("{OUTPOST_PATH}/{end}")
    }
}

/// The route of the outpost path, as a whole or what a patch says of it.
fn route(route: &Value, app: Option<&Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let annotations = &route["metadata"]["annotations"];
    let theirs = app.map_or(&Value::Null, |app| &app["metadata"]["annotations"]);
    for (key, value) in texts(annotations).filter(|(key, value)| theirs[*key] != **value) {
        problems.extend(smuggled(key, value));
    }
    // An app that is larger than any can be says nothing of what the API server would take.
    if size(theirs) + MAX_ADDED <= MAX_ANNOTATIONS && size(annotations) > MAX_ANNOTATIONS {
        problems.push(format!("{} bytes of annotations on a route", size(annotations)));
    }
    let paths = route["spec"]["rules"].as_array().into_iter().flatten();
    for path in paths.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten()) {
        if path["path"] != OUTPOST_PATH || path["pathType"] != "ImplementationSpecific" {
            problems.push(format!("a route of {path}"));
        }
    }
    problems
}

/// A new route has none but hosts of its app.
fn hosts_of_others(route: &Value, app: Option<&Value>) -> Vec<String> {
    let hosts = |object: &Value| -> Vec<Value> {
        object["spec"]["rules"].as_array().into_iter().flatten().map(|rule| rule["host"].clone()).collect()
    };
    let own = app.map(hosts).unwrap_or_default();
    let others = hosts(route).into_iter().filter(|host| !own.contains(host));
    others.map(|host| format!("{host} is no host of the app")).collect()
}

/// Keys of the annotations that the controller applied to `object`, by the API server's notes.
pub(crate) fn applied(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let ours = entries.filter(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply");
    let fields = ours.filter_map(|entry| entry.pointer("/fieldsV1/f:metadata/f:annotations")?.as_object());
    fields
        .flat_map(|fields| fields.keys())
        .filter_map(|key| key.strip_prefix("f:"))
        .map(str::to_owned)
        .collect()
}

/// The list of Middlewares: ours once, the others as they were.
fn middlewares(list: &str, app: &Value, namespace: &str) -> Vec<String> {
    let before = app["metadata"]["annotations"][ROUTER_MIDDLEWARES].as_str().unwrap_or_default();
    let entries = |list: &str| -> Vec<String> {
        list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    };
    let theirs = |list: &str| -> Vec<String> {
        let all = entries(list).into_iter();
        all.filter(|entry| own_middleware_in(namespace, entry).is_none() && entry != "closed@ingress-sso")
            .collect()
    };
    let ours = entries(list).into_iter().filter(|entry| own_middleware_in(namespace, entry).is_some());
    let mut problems: Vec<String> = ours.filter_map(|entry| smuggled(ROUTER_MIDDLEWARES, &entry)).collect();
    if theirs(list) != theirs(before) {
        problems.push(format!("of {before:.200?} is made {list:.200?}"));
    }
    problems
}

/// What somebody else made, or nothing, must neither be changed nor deleted.
fn not_ours(found: Option<&Value>) -> Vec<String> {
    let is_ours = found.is_some_and(|found| found["metadata"]["labels"][MANAGED_BY] == MANAGER);
    if is_ours { Vec::new() } else { vec![format!("this is not the controller's: {found:?}")] }
}

fn smuggled(key: &str, value: &str) -> Option<String> {
    let found = value.chars().find(|char| SMUGGLED.contains(char) || char.is_control() || !char.is_ascii());
    found.map(|found| format!("{found:?} in {key}: {value:.300?}"))
}

fn host_in(url: &str) -> Option<String> {
    url::Url::parse(url).ok()?.host_str().map(str::to_owned)
}
