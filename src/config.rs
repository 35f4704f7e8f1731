//! Validated settings: what the command line and the environment mean, checked before the API is touched.

use crate::contract::{Keys, MANAGER};
use crate::facts::{is_dns_label, is_dns_subdomain};
use crate::lease::LeaseName;
use crate::plan::Dialect;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use url::Url;

/// What decides, together with the facts, what should exist.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Annotation keys under the configured prefix.
    pub keys: Keys,
    /// Outposts given by `--outpost`, by name.
    pub outposts: BTreeMap<String, Address>,
    /// Outpost of apps that name none.
    pub default_outpost: Option<String>,
    /// Dialects given by `--class`, by class name.
    pub classes: BTreeMap<String, Dialect>,
    /// Route to the outpost for apps that ask for none.
    pub auth_route: AuthRoute,
    /// The admin says that ingress-nginx answers 400 to odd hosts and to paths with dot segments.
    pub nginx_rejects_dot_segments: bool,
    /// How Traefik is set up.
    pub traefik: TraefikSettings,
    /// DNS domain of the cluster.
    pub cluster_domain: ClusterDomain,
}

/// What an admin says about Traefik that cannot be seen in the cluster. Traefik's own defaults are the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraefikSettings {
    /// `providers.kubernetesIngress.allowExternalNameServices` is on, so that the outpost path can be routed.
    pub allows_external_name: bool,
    /// The outpost may believe `X-Forwarded-*` as Traefik got them: something in front of Traefik overwrites them.
    pub trusts_forward_headers: bool,
    /// `safeNaming` is on: Middlewares are called `namespace_name`.
    pub safe_naming: bool,
}

/// How ingress-nginx reaches the outpost for its auth check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthRoute {
    /// Through the app's own public host: works where nginx may not reach authentik's namespace.
    #[default]
    Host,
    /// Straight to the outpost's address: faster, and shows the outpost the client's address.
    Direct,
}

impl FromStr for AuthRoute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "host" => Ok(Self::Host),
            "direct" => Ok(Self::Direct),
            _ => Err("use host or direct".to_owned()),
        }
    }
}

impl fmt::Display for AuthRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Direct => "direct",
        })
    }
}

/// What browsers speak to reach an app, or nginx to reach an outpost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// TLS, wherever it ends.
    #[default]
    Https,
    /// Plain HTTP.
    Http,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Http => "http",
        })
    }
}

/// Where an outpost listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Whether the port speaks TLS.
    pub scheme: Scheme,
    /// Fully qualified DNS name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads the URL of an outpost. nginx resolves it without search domains and refuses loopback, so short
    /// names, addresses and `localhost` are errors here instead of a 500 for every user later.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("it is not a URL ({error}); write http://HOST:9000 or https://HOST:9443")
        })?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(format!("its scheme is {other}; use http or https")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("it has a path; give scheme, host and port only".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds a user name or password; outposts need none".to_owned());
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
            return Err(
                "its host is an IP address, which an ExternalName Service cannot hold; use a DNS name"
                    .to_owned(),
            );
        }
        if !is_dns_subdomain(&host) || !host.contains('.') {
            return Err(format!(
                "its host {host:?} is not a fully qualified DNS name; nginx resolves without search domains, so write \
                 SERVICE.NAMESPACE.svc.cluster.local"
            ));
        }
        if host.split('.').next_back() == Some("svc") {
            return Err(format!("its host {host:?} lacks the cluster's domain; write {host}.cluster.local"));
        }
        let port = url.port_or_known_default().unwrap_or(9000);
        Ok(Self { scheme, host, port })
    }
}

/// DNS domain of the cluster, `cluster.local` by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDomain(String);

impl Default for ClusterDomain {
    fn default() -> Self {
        Self("cluster.local".to_owned())
    }
}

impl FromStr for ClusterDomain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_dns_subdomain(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("it is not a DNS domain; write it like cluster.local".to_owned())
        }
    }
}

impl ClusterDomain {
    /// Whether `host` is a name below it.
    pub fn contains(&self, host: &str) -> bool {
        host.strip_suffix(&self.0).is_some_and(|rest| rest.ends_with('.'))
    }

    /// DNS name of a Service.
    pub fn service_host(&self, namespace: &str, service: &str) -> String {
        format!("{service}.{namespace}.svc.{}", self.0)
    }
}

/// A setting that cannot be used: which flag, which value, what to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{flag} {value:?}: {remedy}")]
pub struct InvalidSetting {
    /// The flag, as on the command line.
    pub flag: &'static str,
    /// The value as given.
    pub value: String,
    /// What is wrong, and what to write instead.
    pub remedy: String,
}

/// Settings as text, before validation; see [`crate::cli`] for what each means.
#[derive(Clone, Debug)]
pub struct RawSettings<'a> {
    /// `--annotation-prefix`
    pub annotation_prefix: &'a str,
    /// `--outpost`, each `NAME=URL`
    pub outposts: &'a [String],
    /// `--default-outpost`
    pub default_outpost: Option<&'a str>,
    /// `--class`, each `NAME=DIALECT`
    pub classes: &'a [String],
    /// `--auth-route`
    pub auth_route: &'a str,
    /// `--nginx-rejects-dot-segments`
    pub nginx_rejects_dot_segments: bool,
    /// `--traefik-…`
    pub traefik: TraefikSettings,
    /// `--cluster-domain`
    pub cluster_domain: &'a str,
}

impl Settings {
    /// Checks every value; the first that cannot be used is the error.
    pub fn validate(raw: &RawSettings<'_>) -> Result<Self, InvalidSetting> {
        let keys = keys(raw.annotation_prefix)?;
        let outposts = raw
            .outposts
            .iter()
            .map(|text| named("--outpost", text, outpost))
            .collect::<Result<Vec<_>, _>>()?;
        let classes =
            raw.classes.iter().map(|text| named("--class", text, class)).collect::<Result<Vec<_>, _>>()?;
        let outposts = without_repetition("--outpost", outposts)?;
        let default_outpost = raw.default_outpost.map(str::to_owned);
        if let Some(name) = default_outpost.as_ref().filter(|name| !is_dns_label(name)) {
            let remedy = "an outpost's name is a DNS label: a-z, 0-9 and dashes, at most 63".to_owned();
            return Err(invalid("--default-outpost", name, remedy));
        }
        Ok(Self {
            keys,
            outposts,
            default_outpost,
            classes: without_repetition("--class", classes)?,
            auth_route: parse("--auth-route", raw.auth_route)?,
            nginx_rejects_dot_segments: raw.nginx_rejects_dot_segments,
            traefik: raw.traefik,
            cluster_domain: parse("--cluster-domain", raw.cluster_domain)?,
        })
    }
}

/// The annotations and labels under the `prefix` that `--annotation-prefix` gives.
pub fn keys(prefix: &str) -> Result<Keys, InvalidSetting> {
    if !is_dns_subdomain(prefix) || !prefix.contains('.') || prefix.ends_with("kubernetes.io") {
        let remedy = "use a DNS domain of your own, such as sso.example.com".to_owned();
        return Err(invalid("--annotation-prefix", prefix, remedy));
    }
    Ok(Keys::new(prefix))
}

/// The users of `ServiceAccounts` that are given as `NAMESPACE/NAME`, as the API server knows them.
pub fn accounts(flag: &'static str, texts: &[String]) -> Result<Vec<String>, InvalidSetting> {
    let user = |text: &String| match text.split_once('/') {
        Some((namespace, name)) if is_dns_label(namespace) && is_dns_subdomain(name) => {
            Ok(format!("system:serviceaccount:{namespace}:{name}"))
        }
        _ => Err(invalid(
            flag,
            text,
            "write a ServiceAccount as NAMESPACE/NAME, such as ingress-sso/ingress-sso".to_owned(),
        )),
    };
    texts.iter().map(user).collect()
}

/// Namespaces in which the controller looks and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    #[default]
    Cluster,
    /// These and no others.
    Namespaces(BTreeSet<String>),
}

impl Scope {
    /// The scope that `names` spell, for the flag they came by; none means the whole cluster.
    pub fn new(flag: &'static str, names: &[String]) -> Result<Self, InvalidSetting> {
        if let Some(bad) = names.iter().find(|name| !is_dns_label(name)) {
            let remedy = "a namespace's name is a DNS label: a-z, 0-9 and dashes, at most 63".to_owned();
            return Err(invalid(flag, bad, remedy));
        }
        Ok(if names.is_empty() { Self::Cluster } else { Self::Namespaces(names.iter().cloned().collect()) })
    }

    /// Whether `namespace` is one of them.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    /// The namespaces, in order; none for the whole cluster.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::Cluster => None,
            Self::Namespaces(names) => Some(names),
        };
        names.into_iter().flatten().map(String::as_str)
    }
}

impl LeaseName {
    /// The Lease `name` of `namespace`, wanted by this process: in a Pod under its name, so that a container which starts again
    /// goes on where the one before it ended.
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidSetting> {
        if !is_dns_label(namespace) {
            let remedy = "a namespace's name is a DNS label: a-z, 0-9 and dashes, at most 63".to_owned();
            return Err(invalid("--lease-namespace", namespace, remedy));
        }
        if !is_dns_subdomain(name) {
            let remedy = "a Lease's name is a DNS name: a-z, 0-9, dashes and dots".to_owned();
            return Err(invalid("--lease-name", name, remedy));
        }
        let identity = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
        let identity = identity.unwrap_or_else(|| {
            let machine = std::env::var("HOSTNAME").unwrap_or_else(|_| MANAGER.to_owned());
            format!("{machine}_{:016x}", fastrand::u64(..))
        });
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), identity })
    }
}

fn invalid(flag: &'static str, value: &str, remedy: String) -> InvalidSetting {
    InvalidSetting { flag, value: value.to_owned(), remedy }
}

fn parse<T: FromStr<Err = String>>(flag: &'static str, text: &str) -> Result<T, InvalidSetting> {
    text.parse().map_err(|remedy| invalid(flag, text, remedy))
}

/// Splits `NAME=VALUE` and reads the two.
fn named<T>(
    flag: &'static str,
    text: &str,
    read: impl Fn(&str, &str) -> Result<T, String>,
) -> Result<(String, T), InvalidSetting> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| invalid(flag, text, "it has no equals sign; write NAME=VALUE".to_owned()))?;
    let value = read(name, value).map_err(|remedy| invalid(flag, text, remedy))?;
    Ok((name.to_owned(), value))
}

fn outpost(name: &str, url: &str) -> Result<Address, String> {
    if !is_dns_label(name) {
        return Err(format!("the name {name:?} is not a DNS label: a-z, 0-9 and dashes, at most 63"));
    }
    url.parse()
}

fn class(name: &str, dialect: &str) -> Result<Dialect, String> {
    if !is_dns_subdomain(name) {
        return Err(format!("the class name {name:?} is not a DNS name"));
    }
    dialect.parse()
}

fn without_repetition<T>(
    flag: &'static str,
    pairs: Vec<(String, T)>,
) -> Result<BTreeMap<String, T>, InvalidSetting> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.contains_key(&name) {
            return Err(invalid(flag, &name, "it is given twice; keep one".to_owned()));
        }
        map.insert(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPOST: &str =
        "proxy-outpost=http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000";

    fn raw() -> RawSettings<'static> {
        RawSettings {
            annotation_prefix: "sso.djieno.com",
            outposts: &[],
            default_outpost: None,
            classes: &[],
            auth_route: "host",
            nginx_rejects_dot_segments: false,
            traefik: TraefikSettings::default(),
            cluster_domain: "cluster.local",
        }
    }

    #[test]
    fn good_settings_are_read() {
        let outposts = [OUTPOST.to_owned(), "b=https://b.example.com".to_owned()];
        let settings = Settings::validate(&RawSettings { outposts: &outposts, ..raw() }).unwrap();
        assert_eq!(
            settings.outposts["proxy-outpost"].to_string(),
            "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000"
        );
        assert_eq!(settings.outposts["b"].to_string(), "https://b.example.com:443");
    }

    #[test]
    fn each_bad_setting_names_flag_value_and_remedy() {
        type Case = (RawSettings<'static>, &'static str);
        fn outposts(list: &'static [&'static str]) -> RawSettings<'static> {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            RawSettings { outposts: list.leak(), ..raw() }
        }
        fn classes(text: &str) -> RawSettings<'static> {
            RawSettings { classes: vec![text.to_owned()].leak(), ..raw() }
        }
        let cases: Vec<Case> = vec![
            (
                RawSettings { annotation_prefix: "Sso", ..raw() },
                r#"--annotation-prefix "Sso": use a DNS domain"#,
            ),
            (RawSettings { auth_route: "both", ..raw() }, r#"--auth-route "both": use host or direct"#),
            (
                RawSettings { cluster_domain: "a b", ..raw() },
                r#"--cluster-domain "a b": it is not a DNS domain"#,
            ),
            (
                RawSettings { default_outpost: Some("A"), ..raw() },
                r#"--default-outpost "A": an outpost's name"#,
            ),
            (outposts(&["x"]), r#"--outpost "x": it has no equals sign"#),
            (outposts(&["X=http://a.b"]), "the name \"X\" is not a DNS label"),
            (outposts(&["x=a.b:9000"]), "its scheme is a.b"),
            (outposts(&["x=ftp://a.b"]), "its scheme is ftp"),
            (outposts(&["x=http://a.b/path"]), "it has a path"),
            (outposts(&["x=http://u:p@a.b"]), "user name or password"),
            (outposts(&["x=http://10.0.0.1:9000"]), "its host is an IP address"),
            (outposts(&["x=http://[::1]:9000"]), "its host is an IP address"),
            (outposts(&["x=http://localhost:9000"]), "not a fully qualified DNS name"),
            (outposts(&["x=http://svc.ns.svc:9000"]), "write svc.ns.svc.cluster.local"),
            (outposts(&["x=http://a.b", "x=http://c.d"]), r#"--outpost "x": it is given twice"#),
            (classes("nginx=apache"), "the dialects are nginx, traefik-nginx, traefik"),
        ];
        for (raw, expected) in cases {
            let message = Settings::validate(&raw).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_scope_of_no_names_is_the_cluster() {
        assert_eq!(Scope::new("--namespace", &[]), Ok(Scope::Cluster));
        assert!(Scope::new("--namespace", &["A_b".to_owned()]).is_err());
    }
}
