//! What the API server lets in: its validation, as far as it can be told from one object alone.
//!
//! After `k8s.io/apimachinery` v0.37.2 (`pkg/util/validation`, `pkg/api/validate/content`, `pkg/api/validation`) and
//! `k8s.io/kubernetes` v1.37.2 (`pkg/apis/networking/validation`, `pkg/apis/core/validation`).

use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// `TotalAnnotationSizeLimitB`: all keys and values of an object's annotations.
pub(crate) const MAX_ANNOTATIONS: usize = 256 * 1024;

/// `dns1123SubdomainFmt`: labels are not held to 63 characters there.
static SUBDOMAIN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\z"));
/// `dns1123LabelFmt`
static LABEL: LazyLock<Regex> = LazyLock::new(|| regex(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\z"));
/// `dns1035LabelFmt`
static SERVICE: LazyLock<Regex> = LazyLock::new(|| regex(r"^[a-z]([-a-z0-9]*[a-z0-9])?\z"));
/// `labelKeyFmt`
static WORD: LazyLock<Regex> = LazyLock::new(|| regex(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\z"));
/// `configMapKeyFmt`
static CONFIG_KEY: LazyLock<Regex> = LazyLock::new(|| regex(r"^[-._a-zA-Z0-9]{1,253}\z"));

/// What the API server would say to `object`, which may be a merge patch, too: its nulls are left aside.
pub(crate) fn rejected_by_api_server(object: &Value) -> Vec<String> {
    let mut problems = Problems::default();
    let kind = object["kind"].as_str().unwrap_or_default();
    problems.metadata(kind, &object["metadata"]);
    let spec = &object["spec"];
    match kind {
        "Ingress" => problems.ingress(spec),
        "Service" => problems.service(spec),
        "ConfigMap" => problems.config_map(&object["data"]),
        _ => {}
    }
    if kind == "Ingress"
        && let (Some(class), Some(field)) = (
            object["metadata"]["annotations"]["kubernetes.io/ingress.class"].as_str(),
            spec["ingressClassName"].as_str(),
        )
    {
        problems.check(class == field, "ingressClassName beside another class", class);
    }
    problems.0
}

/// Size of `annotations`, as the API server counts it.
pub(crate) fn size(annotations: &Value) -> usize {
    texts(annotations).map(|(key, value)| key.len() + value.len()).sum()
}

/// `ParseIPSloppy`: an octet may begin with zeros.
pub(crate) fn is_ip(text: &str) -> bool {
    let is_octet = |part: &str| {
        let digits = part.trim_start_matches('0');
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.is_empty() || digits.parse::<u8>().is_ok())
    };
    let parts: Vec<&str> = text.split('.').collect();
    (parts.len() == 4 && parts.into_iter().all(is_octet)) || text.parse::<std::net::IpAddr>().is_ok()
}

/// The members of an object that are strings.
pub(crate) fn texts(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    members(object).filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn check(&mut self, is_good: bool, what: &str, found: impl std::fmt::Debug) {
        if !is_good {
            self.0.push(format!("the API server does not accept {what}: {found:?}"));
        }
    }

    /// `ValidateObjectMeta`
    fn metadata(&mut self, kind: &str, metadata: &Value) {
        let name = metadata["name"].as_str().unwrap_or_default();
        match kind {
            "Service" => self.check(is_service_name(name), "metadata.name", name),
            _ => self.check(is_subdomain(name), "metadata.name", name),
        }
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        self.check(is_label(namespace), "metadata.namespace", namespace);
        for (key, value) in texts(&metadata["labels"]) {
            self.check(is_qualified_name(key), "the key of a label", key);
            self.check(is_label_value(value), "the value of a label", value);
        }
        for (key, _) in texts(&metadata["annotations"]) {
            self.check(is_qualified_name(&key.to_lowercase()), "the key of an annotation", key);
        }
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        let mut controllers = 0;
        for owner in owners {
            for field in ["apiVersion", "kind", "name", "uid"] {
                let is_there = owner[field].as_str().is_some_and(|text| !text.is_empty());
                self.check(is_there, &format!("an owner's {field}"), &owner[field]);
            }
            controllers += usize::from(owner["controller"] == true);
        }
        self.check(controllers <= 1, "more than one controlling owner", controllers);
    }

    /// `ValidateIngressSpec`
    fn ingress(&mut self, spec: &Value) {
        let rules = spec["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.check(!rules.is_empty(), "an Ingress without rules", spec);
        if let Some(class) = spec["ingressClassName"].as_str() {
            self.check(is_subdomain(class), "spec.ingressClassName", class);
        }
        for rule in rules {
            let host = rule["host"].as_str().unwrap_or_default();
            let name = host.strip_prefix("*.").unwrap_or(host);
            let is_host = is_subdomain(name) && host.len() <= 253 && !is_ip(host);
            self.check(is_host, "spec.rules[].host", host);
            let paths = rule["http"]["paths"].as_array().map(Vec::as_slice).unwrap_or_default();
            self.check(!paths.is_empty(), "a rule without paths", rule);
            for path in paths {
                self.path(path);
            }
        }
    }

    /// `validateHTTPIngressPath`
    fn path(&mut self, path: &Value) {
        let text = path["path"].as_str().unwrap_or_default();
        let path_type = path["pathType"].as_str().unwrap_or_default();
        self.check(text.starts_with('/'), "path", text);
        match path_type {
            "Exact" | "Prefix" => {
                let bad = ["//", "/./", "/../", "%2f", "%2F"];
                let is_good = !bad.iter().any(|part| text.contains(part))
                    && !text.ends_with("/..")
                    && !text.ends_with("/.");
                self.check(is_good, "path", text);
            }
            _ => self.check(path_type == "ImplementationSpecific", "pathType", path_type),
        }
        let service = &path["backend"]["service"];
        let name = service["name"].as_str().unwrap_or_default();
        self.check(is_service_name(name), "backend.service.name", name);
        self.check(is_port(&service["port"]["number"]), "backend.service.port", &service["port"]);
    }

    /// `ValidateService`, of one that is another name for a host.
    fn service(&mut self, spec: &Value) {
        self.check(spec["type"] == "ExternalName", "spec.type", &spec["type"]);
        let host = spec["externalName"].as_str().unwrap_or_default();
        self.check(is_subdomain(host.strip_suffix('.').unwrap_or(host)), "spec.externalName", host);
        for port in spec["ports"].as_array().into_iter().flatten() {
            let name = port["name"].as_str().unwrap_or_default();
            self.check(is_label(name), "spec.ports[].name", name);
            self.check(is_port(&port["port"]), "spec.ports[].port", port);
        }
    }

    /// `ValidateConfigMap`
    fn config_map(&mut self, data: &Value) {
        for (key, _) in texts(data) {
            self.check(CONFIG_KEY.is_match(key) && key != "." && key != "..", "a key of data", key);
        }
    }
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && SUBDOMAIN.is_match(text)
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && LABEL.is_match(text)
}

fn is_service_name(text: &str) -> bool {
    text.len() <= 63 && SERVICE.is_match(text)
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || text.len() <= 63 && WORD.is_match(text)
}

/// `IsQualifiedName`
fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    prefix.is_none_or(is_subdomain) && name.len() <= 63 && WORD.is_match(name)
}

fn is_port(port: &Value) -> bool {
    port.as_i64().is_some_and(|port| (1..=65_535).contains(&port))
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a rule")
}
