//! The URL that a visitor asked for, as a data plane tells it to the outpost.

use super::provider::{Mode, Provider};
use super::select::header;
use super::{Flavour, has_flag};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use url::Url;

/// The URL, as far as the outpost looks at it.
#[derive(Debug)]
pub(super) struct Original {
    /// Its path. Rust: after `url` has taken out `..` and `%2e%2e` (not `..%2f`). Go: percent-decoded, `..` and all.
    path: String,
    query: String,
    /// All of it.
    pub(super) full: String,
}

impl Original {
    /// From nginx's `X-Original-URL`; from `X-Original-URI` if the provider believes that (see
    /// [`Provider::believes_x_original_uri`]). `None` is a configuration error.
    pub(super) fn of_nginx(flavour: Flavour, provider: &Provider, headers: &HeaderMap) -> Option<Self> {
        let believed = header(headers, "x-original-uri").filter(|uri| !uri.is_empty());
        match believed {
            Some(uri) if provider.believes_x_original_uri => {
                Some(Self { path: uri.clone(), query: String::new(), full: uri })
            }
            _ => Self::parse(flavour, &header(headers, "x-original-url")?),
        }
    }

    /// From the `X-Forwarded-*` of Traefik and Caddy. `None` is a configuration error.
    pub(super) fn of_traefik(flavour: Flavour, headers: &HeaderMap) -> Option<Self> {
        let part = |name| header(headers, name).unwrap_or_default();
        let (proto, host) = (part("x-forwarded-proto"), part("x-forwarded-host"));
        Self::parse(flavour, &format!("{proto}://{host}{}", part("x-forwarded-uri")))
    }

    /// From what Envoy asks for below `prefix`, and its literal `Host`.
    pub(super) fn of_envoy(flavour: Flavour, parts: &Parts, prefix: &str) -> Option<Self> {
        let path = parts.uri.path().strip_prefix(prefix).unwrap_or_default();
        let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let host = header(&parts.headers, "host")?;
        match flavour {
            Flavour::Rust => {
                let scheme =
                    header(&parts.headers, "x-forwarded-proto").unwrap_or_else(|| "https".to_owned());
                Self::parse(flavour, &format!("{scheme}://{host}{path}{query}"))
            }
            Flavour::Go => Self::parse(flavour, &format!("//{host}{path}{query}")),
        }
    }

    fn parse(flavour: Flavour, text: &str) -> Option<Self> {
        match flavour {
            Flavour::Rust => {
                let url = Url::parse(text).ok()?;
                let query = url.query().unwrap_or_default().to_owned();
                Some(Self { path: url.path().to_owned(), query, full: url.into() })
            }
            Flavour::Go => {
                let url = GoUrl::parse(text)?;
                Some(Self { path: url.path, query: url.query, full: text.to_owned() })
            }
        }
    }

    pub(super) fn query(&self) -> &str {
        &self.query
    }

    pub(super) fn has_flag(&self, name: &str) -> bool {
        has_flag(&self.query, name)
    }

    /// Whether it is one of the outpost's own, by the start of its path: so `…/outpost.goauthentik.iox` is, too.
    pub(super) fn is_of_outpost(&self) -> bool {
        self.path.starts_with("/outpost.goauthentik.io")
    }

    /// Whether the provider needs no login for it.
    pub(super) fn is_skipped_by(&self, provider: &Provider) -> bool {
        let target = match provider.mode {
            Mode::ForwardDomain { .. } => &self.full,
            Mode::ForwardSingle | Mode::Proxy => &self.path,
        };
        provider.skip_paths.iter().any(|regex| regex.is_match(target))
    }
}

/// A URL as Go's `net/url` reads it: much less strict than the WHATWG's, and it cleans nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GoUrl {
    /// With its port; empty for a mere path.
    pub(super) host: String,
    path: String,
    query: String,
}

impl GoUrl {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.split('#').next().unwrap_or_default();
        if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return None;
        }
        let (scheme, rest) = scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None if !scheme.is_empty() && !rest.starts_with('/') => ("", ""),
            None => ("", rest),
        };
        let is_odd = host.contains([' ', '"', '<', '>', '%', '\\']);
        let has_odd_segment = scheme.is_empty() && !path.starts_with('/') && path.contains(':');
        if is_odd || has_odd_segment || !is_escaped(path) {
            return None;
        }
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        Some(Self { host: host.to_owned(), path, query: query.to_owned() })
    }
}

/// Divides at the end of the scheme, if there is one. A colon at the start is an error.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(text.len());
    match text[end..].strip_prefix(':') {
        Some(_) if end == 0 => None,
        Some(rest) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => Some((&text[..end], rest)),
        _ => Some(("", text)),
    }
}

/// Whether two hexadecimal digits follow every `%`.
fn is_escaped(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URL, and whether Rust and Go take it for one of the outpost's own; `None` is one they cannot parse.
    const OF_OUTPOST: [(&str, Option<bool>, Option<bool>); 14] = [
        ("https://a/", Some(false), Some(false)),
        ("https://a/outpost.goauthentik.io/start", Some(true), Some(true)),
        ("https://a/outpost.goauthentik.iox", Some(true), Some(true)),
        ("https://a/outpost.goauthentik.io/../secret", Some(false), Some(true)),
        ("https://a/outpost.goauthentik.io/%2e%2e/secret", Some(false), Some(true)),
        ("https://a/outpost.goauthentik.io/..%2fsecret", Some(true), Some(true)),
        ("https://a/outpost.goauthentik.io%2f..%2fsecret", Some(true), Some(true)),
        ("https://a/x/../outpost.goauthentik.io", Some(true), Some(false)),
        ("https://a/%6futpost.goauthentik.io", Some(false), Some(true)),
        ("https://a//outpost.goauthentik.io", Some(false), Some(false)),
        ("https://a/?/outpost.goauthentik.io", Some(false), Some(false)),
        ("/outpost.goauthentik.io", None, Some(true)),
        ("://a/", None, None),
        ("https://a b/", None, None),
    ];

    #[test]
    fn the_flavours_clean_paths_differently() {
        for (url, rust, go) in OF_OUTPOST {
            let found = |flavour| Original::parse(flavour, url).map(|original| original.is_of_outpost());
            assert_eq!((found(Flavour::Rust), found(Flavour::Go)), (rust, go), "{url}");
        }
    }

    #[test]
    fn go_reads_almost_anything() {
        let path = |text: &str| GoUrl::parse(text).map(|url| (url.host, url.path, url.query));
        let of =
            |host: &str, path: &str, query: &str| Some((host.to_owned(), path.to_owned(), query.to_owned()));
        assert_eq!(path("https://a:443/b?c#d"), of("a:443", "/b", "c"));
        assert_eq!(path("//a/b"), of("a", "/b", ""));
        assert_eq!(path("/b:c"), of("", "/b:c", ""));
        assert_eq!(path("mailto:x"), of("", "", ""));
        for wrong in ["", ":", "https://a/%zz", "https://a/%2", "b:c/d\n", "1:b"] {
            assert_eq!(path(wrong), None, "{wrong:?}");
        }
    }
}
