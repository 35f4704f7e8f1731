//! What ingress-nginx accepts as the value of an annotation: the rules of its own parser, release 1.15.1.

use regex::Regex;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// How the keys of ingress-nginx's annotations begin.
pub(crate) const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Those that are URLs.
const URLS: [&str; 2] = ["auth-url", "auth-signin"];

static RULES: LazyLock<[(&str, Regex); 6]> = LazyLock::new(|| {
    [
        ("auth-url", r"^[-._~a-zA-Z0-9/:, ?&=$]*$"),
        ("auth-signin", r"^[-._~a-zA-Z0-9/:, ?&=$]*$"),
        ("auth-response-headers", r"^[a-zA-Z\d\-_]+(,[a-zA-Z\d\-_]+)*$"),
        ("auth-proxy-set-headers", r"^[-._~a-zA-Z0-9:]+/[-._~a-zA-Z0-9:]+$"),
        ("proxy-buffer-size", r"^[0-9]+[kKmMgG]?$"),
        ("proxy-busy-buffers-size", r"^[0-9]+[kKmMgG]?$"),
    ]
    .map(|(name, rule)| (name, Regex::new(rule).expect("a rule")))
});

/// Annotation values that ingress-nginx would reject or drop: its own validators, and a URL that it can dial.
pub(crate) fn unacceptable_to_ingress_nginx(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let mut failures = Vec::new();
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(NGINX) else { continue };
        let rule = RULES.iter().find(|(of, _)| *of == name);
        if rule.is_none_or(|(_, rule)| !rule.is_match(value)) || value.contains(['\r', '\n']) {
            failures.push(format!("ingress-nginx does not accept {key}: {value:?}"));
        }
        if URLS.contains(&name) && !is_url(value) {
            failures.push(format!("{key} is no URL: {value:?}"));
        }
    }
    failures
}

fn is_url(text: &str) -> bool {
    // A variable stands for a host name.
    let parsed = url::Url::parse(&text.replace("$host", "host.example.com"));
    parsed.is_ok_and(|parsed| parsed.host_str().is_some_and(|host| !host.contains("..")))
}
