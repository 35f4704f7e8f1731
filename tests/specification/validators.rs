//! What ingress-nginx accepts as the value of an annotation: the rules of its own parser, release 1.15.1.

use regex::Regex;
use std::collections::BTreeMap;

/// How the keys of ingress-nginx's annotations begin.
pub(crate) const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Annotation values that ingress-nginx would reject or drop: its own validators, and a URL that it can dial.
pub(crate) fn unacceptable_to_ingress_nginx(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let rules = [
        ("auth-url", r"^[-._~a-zA-Z0-9/:, ?&=$]*$"),
        ("auth-signin", r"^[-._~a-zA-Z0-9/:, ?&=$]*$"),
        ("auth-response-headers", r"^[a-zA-Z\d\-_]+(,[a-zA-Z\d\-_]+)*$"),
        ("auth-proxy-set-headers", r"^[-._~a-zA-Z0-9:]+/[-._~a-zA-Z0-9:]+$"),
        ("proxy-buffer-size", r"^[0-9]+[kKmMgG]?$"),
    ];
    let mut failures = Vec::new();
    for (key, value) in annotations.iter().filter(|(key, _)| key.starts_with(NGINX)) {
        let rule = rules.iter().find(|(name, _)| *key == format!("{NGINX}{name}"));
        let is_good = rule.is_some_and(|(_, rule)| Regex::new(rule).expect("a rule").is_match(value));
        if !is_good || value.contains(['\r', '\n']) {
            failures.push(format!("ingress-nginx does not accept {key}: {value:?}"));
        }
    }
    for name in ["auth-url", "auth-signin"] {
        let url = annotations.get(&format!("{NGINX}{name}"));
        // A variable stands for a host name.
        let url = url.map(|url| url.replace("$host", "host.example.com"));
        let parsed = url.as_deref().and_then(|url| url::Url::parse(url).ok());
        if parsed.is_none_or(|parsed| parsed.host_str().is_none_or(|host| host.contains(".."))) {
            failures.push(format!("{name} is no URL: {url:?}"));
        }
    }
    failures
}
