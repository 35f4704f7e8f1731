//! Where to knock.

use crate::config::Scheme;
use crate::facts::Host;
use hyper::http::uri::PathAndQuery;
use std::str::FromStr;
use thiserror::Error;
use url::Url;

/// An app's public address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    host: Host,
    scheme: Scheme,
    address: Option<(String, u16)>,
    path: PathAndQuery,
}

/// Where the app's ingress controller is reached, whatever DNS says of the app: `--through URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// What is spoken there.
    pub scheme: Scheme,
    /// A DNS name or an IP address, an IPv6 one without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A path that cannot be knocked at.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{path:?} is not a path of an app: {reason}")]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl Door {
    /// The door where DNS leads to for `host`, at the usual port of `scheme`.
    pub fn new(host: Host, scheme: Scheme) -> Self {
        Self { host, scheme, address: None, path: PathAndQuery::from_static("/") }
    }

    /// The door of `host` at an address of one's own choice; the host is what TLS and HTTP are told there.
    pub fn through(host: Host, through: &Through) -> Self {
        let address = Some((through.host.clone(), through.port));
        Self { address, ..Self::new(host, through.scheme) }
    }

    /// The same, to be knocked at this path, which the app should have; `/` otherwise.
    pub fn at_path(self, path: &str) -> Result<Self, InvalidPath> {
        let invalid = |reason| InvalidPath { path: path.to_owned(), reason };
        let parsed = PathAndQuery::from_str(path).map_err(|_| invalid("escape what URLs do not hold"))?;
        if !parsed.as_str().starts_with('/') {
            return Err(invalid("it has to begin with a slash"));
        }
        if path.to_ascii_lowercase().contains("authentik") {
            return Err(invalid("what authentik itself answers could log somebody out"));
        }
        Ok(Self { path: parsed, ..self })
    }

    /// The host, as the app's Ingress spells it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What is spoken first.
    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Path and query.
    pub(super) fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The host in the requests: of a wildcard, one of the names that it stands for.
    pub(super) fn asked_host(&self) -> String {
        match self.host.as_str().strip_prefix("*.") {
            Some(domain) => format!("ingress-sso-knock.{domain}"),
            None => self.host.to_string(),
        }
    }

    /// Where to connect.
    pub(super) fn address(&self) -> (String, u16) {
        self.address.clone().unwrap_or_else(|| (self.asked_host(), port_of(self.scheme)))
    }

    /// The URL that a visitor would ask for.
    pub(super) fn url(&self, scheme: Scheme) -> String {
        format!("{scheme}://{}{}", self.asked_host(), self.path())
    }
}

/// The usual port.
pub(super) fn port_of(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Https => 443,
        Scheme::Http => 80,
    }
}

impl FromStr for Through {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write https://HOST or https://HOST:PORT";
        let url = Url::parse(text).map_err(|error| format!("it is not a URL ({error}); {example}"))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(format!("its scheme is {other}; use http or https")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("it has a path; {example}"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user name or password; nothing secret is sent to a door".to_owned());
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Ok(Self { scheme, host, port: url.port().unwrap_or(port_of(scheme)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_go_through() {
        for (text, host, port) in [
            ("https://203.0.113.5:8443", "203.0.113.5", 8443),
            ("https://[2001:db8::1]/", "2001:db8::1", 443),
            ("http://ingress.example.com", "ingress.example.com", 80),
        ] {
            let through: Through = text.parse().unwrap();
            assert_eq!((through.host.as_str(), through.port), (host, port));
        }
        for (text, part) in [
            ("203.0.113.5:8443", "it is not a URL"),
            ("ftp://a", "its scheme is ftp"),
            ("https://a/b", "it has a path"),
            ("https://a?b", "it has a path"),
            ("https://me:secret@a", "user name or password"),
        ] {
            let error = text.parse::<Through>().unwrap_err();
            assert!(error.contains(part) && !error.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn doors_have_a_path_of_the_app() {
        let door = || Door::new(Host::parse("*.example.com").unwrap(), Scheme::Https);
        assert_eq!(door().url(Scheme::Https), "https://ingress-sso-knock.example.com/");
        assert_eq!(door().at_path("/a%20b?c=d").unwrap().path(), "/a%20b?c=d");
        for path in ["", "a", "*", "/a b", "/outpost.goauthentik.io/sign_out", "/?X-authentik-logout=true"] {
            assert!(door().at_path(path).is_err(), "{path:?}");
        }
    }
}
