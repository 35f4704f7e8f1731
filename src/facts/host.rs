//! A host name as Ingress rules spell it.

use std::fmt;
use std::sync::Arc;

/// A host of an Ingress rule: a DNS name in lower case, or one with `*` as its first label.
///
/// The API server holds Ingresses to the same form; the type exists so that nothing else, whatever its
/// source, can reach an annotation value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

impl Host {
    /// `None` unless `text` is a DNS-1123 subdomain, or one behind `*.`, and not an IP address.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        (is_dns_subdomain(name) && text.len() <= 253 && !is_ip_v4(text)).then(|| Self(text.into()))
    }

    /// The host as it is written in the rule.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the host stands for all names one level below it.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a DNS-1123 subdomain: parts of a–z, 0–9 and inner dashes, 253 bytes in all. As in the API, a part
/// may be longer than DNS allows.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

/// Whether `text` is an address of four numbers, which may begin with zeros, as the API reads them.
fn is_ip_v4(text: &str) -> bool {
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u8>().is_ok();
    text.split('.').count() == 4 && text.split('.').all(number)
}

/// Whether `text` is a DNS-1123 label: 1 to 63 of a–z, 0–9 and inner dashes.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

fn is_part(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_dns_names() {
        for good in ["app.djieno.com", "*.djieno.com", "localhost", "a-b.c1", "10.0.0.256", "1.2.3.4.5"] {
            assert!(Host::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "a.*.b",
            "App.com",
            "a..b",
            "-a.b",
            "a_b.c",
            "10.0.0.1",
            "010.0.0.01",
            "a.b\n",
            "a b",
            "$host",
            "a.b;",
            "a.b:443",
        ] {
            assert!(Host::parse(bad).is_none(), "{bad:?}");
        }
    }
}
