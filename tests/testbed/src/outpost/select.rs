//! Which host a request is for, and which provider serves it.

use super::Flavour;
use super::provider::{Mode, Provider};
use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HOST};
use axum::http::request::Parts;
use std::net::IpAddr;
use std::sync::Arc;

/// The host that a request is for.
///
/// Rust: `X-Forwarded-Host`, then `Forwarded`, both only from a trusted peer, then `Host`, then an absolute request
/// target (`extract_host` of ak-axum). Go: `X-Forwarded-Host` from anyone, then an absolute target, then `Host`, which
/// must be there once (`web.GetHost`; net/http). Of a repeated header the first counts. `None` is answered with 400.
pub(super) fn host(flavour: Flavour, peer: IpAddr, parts: &Parts) -> Option<String> {
    let headers = &parts.headers;
    let absolute = || parts.uri.authority().map(ToString::to_string);
    match flavour {
        Flavour::Rust => {
            let forwarded = || header(headers, "x-forwarded-host").or_else(|| forwarded_host(headers));
            let forwarded = if is_trusted(peer) { forwarded() } else { None };
            let own = || header(headers, HOST.as_str());
            forwarded.or_else(own).or_else(|| parts.uri.host().map(str::to_owned))
        }
        Flavour::Go if headers.get_all(HOST).iter().count() != 1 => None,
        Flavour::Go => header(headers, "x-forwarded-host")
            .filter(|host| !host.is_empty())
            .or_else(absolute)
            .or_else(|| header(headers, HOST.as_str())),
    }
}

/// Loopback, private and link-local addresses: the default of `AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS`.
fn is_trusted(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The first header of this name, if it is text.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The first `host=` of a `Forwarded` header (RFC 7239).
fn forwarded_host(headers: &HeaderMap) -> Option<String> {
    let value = header(headers, FORWARDED.as_str())?;
    let mut pairs = value.split([',', ';']).filter_map(|pair| pair.trim().split_once('='));
    let (_, host) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("host"))?;
    Some(host.trim_matches('"').to_owned())
}

/// The provider of a host: the one whose external host it is, to the letter; else, of those with a domain that the
/// host ends with, the one with the longest. `lets_one_serve_all`: a single provider serves every host.
///
/// The end of a host is compared as text: `evilexample.com` ends with `example.com`, in the real ones too.
pub(super) fn provider(
    providers: &[Arc<Provider>],
    host: &str,
    lets_one_serve_all: bool,
) -> Option<Arc<Provider>> {
    let exact = providers.iter().find(|provider| provider.host() == host);
    let suffix = || {
        let domains = providers.iter().filter(|provider| matches!(provider.mode, Mode::ForwardDomain { .. }));
        let fitting =
            domains.filter_map(|provider| Some((provider.domain().filter(|d| host.ends_with(d))?, provider)));
        fitting.max_by_key(|(domain, _)| domain.len()).map(|(_, provider)| provider)
    };
    let only = || if let ([one], true) = (providers, lets_one_serve_all) { Some(one) } else { None };
    exact.or_else(suffix).or_else(only).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    const TRUSTED: [&str; 6] = ["127.3.2.1", "10.201.0.7", "172.31.0.1", "192.168.1.1", "169.254.9.9", "::1"];
    const PUBLIC: [&str; 3] = ["192.0.2.1", "172.32.0.1", "2001:db8::1"];

    fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn found(flavour: Flavour, peer: &str, target: &str, headers: &[(&str, &str)]) -> Option<String> {
        host(flavour, peer.parse().unwrap(), &parts(target, headers))
    }

    #[test]
    fn forwarded_headers_count_only_from_trusted_peers() {
        let headers = [("host", "own"), ("forwarded", "for=1.2.3.4;host=\"f\""), ("x-forwarded-host", "xf")];
        for peer in TRUSTED {
            assert_eq!(found(Flavour::Rust, peer, "/", &headers).unwrap(), "xf");
            assert_eq!(found(Flavour::Rust, peer, "/", &headers[..2]).unwrap(), "f");
        }
        for peer in PUBLIC {
            assert_eq!(found(Flavour::Rust, peer, "/", &headers).unwrap(), "own");
            assert_eq!(found(Flavour::Go, peer, "/", &headers).unwrap(), "xf");
        }
        assert_eq!(found(Flavour::Go, "127.0.0.1", "/", &headers[..2]).unwrap(), "own");
    }

    #[test]
    fn absolute_targets_and_strange_hosts() {
        let one = [("host", "own")];
        assert_eq!(found(Flavour::Rust, "127.0.0.1", "http://target/", &one).unwrap(), "own");
        assert_eq!(found(Flavour::Go, "127.0.0.1", "http://target/", &one).unwrap(), "target");
        assert_eq!(found(Flavour::Rust, "127.0.0.1", "/", &[]), None);
        assert_eq!(found(Flavour::Go, "127.0.0.1", "/", &[]), None);
        let twice = [("host", "a"), ("host", "b")];
        assert_eq!(found(Flavour::Go, "127.0.0.1", "/", &twice), None);
        assert_eq!(found(Flavour::Rust, "127.0.0.1", "/", &twice).unwrap(), "a");
        let forwarded = [("host", "own"), ("x-forwarded-host", "a"), ("x-forwarded-host", "b")];
        assert_eq!(found(Flavour::Go, "127.0.0.1", "/", &forwarded).unwrap(), "a");
    }

    #[test]
    fn providers_by_host_then_by_longest_domain() {
        let providers = [
            Provider::forward_single("https://app.example.test:8443"),
            Provider::forward_domain("https://login.example.test", "example.test"),
            Provider::forward_domain("https://login.dev.example.test", ".dev.example.test"),
        ];
        let providers = providers.map(|provider| Arc::new(provider.unwrap()));
        let name = |host: &str| provider(&providers, host, true).map(|provider| provider.name.clone());
        assert_eq!(name("app.example.test:8443").as_deref(), Some("app.example.test"));
        assert_eq!(name("app.example.test").as_deref(), Some("login.example.test"));
        assert_eq!(name("a.dev.example.test").as_deref(), Some("login.dev.example.test"));
        assert_eq!(name("other.test"), None);
        assert_eq!(
            provider(&providers[..1], "other.test", false).map(|provider| provider.name.clone()),
            None
        );
        assert!(provider(&providers[..1], "other.test", true).is_some());
    }
}
