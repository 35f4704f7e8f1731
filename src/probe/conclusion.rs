//! What can come of asking an outpost about a host: each finding with its remedy.

use super::{Target, Trouble};
use crate::config::Address;
use crate::contract::OUTPOST_PATH;
use thiserror::Error;

/// Whether an outpost serves a host, or why not. The message says what to change, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum Conclusion {
    #[error("the outpost serves the host")]
    Served,

    #[error(
        "the outpost {outpost:?} cannot be reached: the name {} does not resolve. Check that this is its Service \
         ({}), or have the admin correct --outpost {outpost}=URL", .address.host, service_check(address)
    )]
    Unresolved { outpost: String, address: Address },

    #[error(
        "the outpost {outpost:?} cannot be reached: nothing listens at {address}. Check that its Pods are ready and its port is \
         right ({})",
        service_check(address)
    )]
    ConnectionRefused { outpost: String, address: Address },

    #[error(
        "the outpost {outpost:?} cannot be reached: {address} does not answer in time. Check its Pods, and that NetworkPolicies \
         let the controller's Pods through to it"
    )]
    TimedOut { outpost: String, address: Address },

    #[error(
        "the outpost {outpost:?} cannot be reached: the certificate of {address} is not accepted ({error}). Have the admin name \
         the authority that signed it with --outpost-ca FILE, or use the outpost's http port"
    )]
    Tls { outpost: String, address: Address, error: String },

    #[error(
        "the outpost {outpost:?} cannot be reached: what listens at {address} does not speak {} ({error}). Check scheme and port: \
         an outpost has 9000 for http and 9443 for https", .address.scheme
    )]
    NoHttp { outpost: String, address: Address, error: String },

    #[error(
        "what answers at {address} is no authentik outpost: {OUTPOST_PATH}/ping gives {status} and not 204. Have the admin correct \
         --outpost {outpost}=URL"
    )]
    NotAnOutpost { outpost: String, address: Address, status: u16 },

    #[error(
        "the outpost {outpost:?} knows no application for {host}. In authentik, {provider} and an application, and Applications > \
         Outposts > {outpost} > Edit has to list that application"
    )]
    NoProvider { outpost: String, host: String, provider: String },

    #[error(
        "authentik's embedded outpost knows no application for {host} and answers 404, which ingress-nginx shows as 500. In \
         authentik, {provider} and an application, and Applications > Outposts > authentik Embedded Outpost > Edit has to list \
         that application; or name another outpost"
    )]
    NoProviderEmbedded { host: String, provider: String },

    #[error(
        "the provider for {host} is of the type \"Proxy\", with which an outpost has no forward auth. In authentik, edit it under \
         Applications > Providers and choose \"Forward auth (single application)\""
    )]
    WrongMode { host: String },

    #[error(
        "the provider that answers for {host} has the External host {found}, so visitors end up there after the login. In \
         authentik, set it to {url} under Applications > Providers, or make a provider for {host}"
    )]
    OtherExternalHost { host: String, url: String, found: String },

    #[error(
        "visitors are sent to log in at {found}, a name that browsers outside the cluster do not know. In authentik, set \
         authentik_host_browser under Applications > Outposts > {outpost} > Edit > Advanced settings to authentik's public URL"
    )]
    InternalAuthentik { outpost: String, found: String },

    #[error(
        "the outpost {outpost:?} lets everybody in at {url} without a login. In authentik, correct the Unauthenticated Paths of \
         the provider under Applications > Providers: they are regular expressions, and one without ^ matches anywhere"
    )]
    OpenBySkipRule { outpost: String, url: String },

    #[error(
        "the outpost {outpost:?} takes a part of the header Host for the path, and ingress-nginx passes all of that header on, so \
         whoever forges it gets past the login. Have the admin set the lines of server-snippet that docs/data-planes.md has under \
         \"Dot segments\" in the ConfigMap of ingress-nginx, and say so with --nginx-rejects-dot-segments"
    )]
    OpenByForgedHost { outpost: String },

    #[error(
        "the outpost {outpost:?} answers {status} to the auth check because it gets no X-Original-URL. Check what stands between \
         {address} and the outpost, such as a proxy or a service mesh, and have it pass this header on"
    )]
    HeaderLost { outpost: String, address: Address, status: u16 },

    #[error(
        "the outpost {outpost:?} answers {status} to {question} for {host}, which no known release of authentik does. Look into \
         the outpost's log, and tell this project which release it is"
    )]
    Unexpected { outpost: String, host: String, question: &'static str, status: u16 },
}

impl Conclusion {
    /// All that [`Conclusion::reason`] may answer.
    pub const REASONS: [&'static str; 16] = [
        "Served",
        "OutpostUnresolved",
        "OutpostConnectionRefused",
        "OutpostTimedOut",
        "OutpostTls",
        "OutpostNoHttp",
        "NotAnOutpost",
        "NoProvider",
        "NoProviderEmbedded",
        "WrongMode",
        "OtherExternalHost",
        "InternalAuthentik",
        "OpenBySkipRule",
        "OpenByForgedHost",
        "HeaderLost",
        "UnexpectedAnswer",
    ];

    /// A stable name in `CamelCase`, for Events, logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Served => "Served",
            Self::Unresolved { .. } => "OutpostUnresolved",
            Self::ConnectionRefused { .. } => "OutpostConnectionRefused",
            Self::TimedOut { .. } => "OutpostTimedOut",
            Self::Tls { .. } => "OutpostTls",
            Self::NoHttp { .. } => "OutpostNoHttp",
            Self::NotAnOutpost { .. } => "NotAnOutpost",
            Self::NoProvider { .. } => "NoProvider",
            Self::NoProviderEmbedded { .. } => "NoProviderEmbedded",
            Self::WrongMode { .. } => "WrongMode",
            Self::OtherExternalHost { .. } => "OtherExternalHost",
            Self::InternalAuthentik { .. } => "InternalAuthentik",
            Self::OpenBySkipRule { .. } => "OpenBySkipRule",
            Self::OpenByForgedHost { .. } => "OpenByForgedHost",
            Self::HeaderLost { .. } => "HeaderLost",
            Self::Unexpected { .. } => "UnexpectedAnswer",
        }
    }

    /// Whether visitors of the host get to the login and back, and nobody past it.
    pub fn is_served(&self) -> bool {
        *self == Self::Served
    }

    /// What trouble on the way to the outpost of `target` means.
    pub(super) fn of_trouble(target: &Target, trouble: Trouble) -> Self {
        let (outpost, address) = (target.outpost.name.clone(), target.outpost.address.clone());
        match trouble {
            Trouble::Unresolved => Self::Unresolved { outpost, address },
            Trouble::Refused => Self::ConnectionRefused { outpost, address },
            Trouble::TimedOut => Self::TimedOut { outpost, address },
            Trouble::Tls(error) => Self::Tls { outpost, address, error },
            Trouble::NoHttp(error) => Self::NoHttp { outpost, address, error },
        }
    }

    /// What it means that no provider is there for the host of `target`.
    pub(super) fn no_provider(target: &Target) -> Self {
        let (outpost, host) = (target.outpost.name.clone(), target.host.to_string());
        Self::NoProvider { outpost, host, provider: needed_provider(target) }
    }

    /// The same on an outpost that leaves what it does not serve to authentik's core.
    pub(super) fn no_provider_embedded(target: &Target) -> Self {
        Self::NoProviderEmbedded { host: target.host.to_string(), provider: needed_provider(target) }
    }
}

/// The provider that the host of `target` needs: one for a single application has one host.
fn needed_provider(target: &Target) -> String {
    if let Some(domain) = target.host.as_str().strip_prefix("*.") {
        return format!(
            "a proxy provider of the type \"Forward auth (domain level)\" needs the Cookie domain {domain}"
        );
    }
    let url = target.url("");
    format!(
        "a proxy provider of the type \"Forward auth (single application)\" needs the External host {url}"
    )
}

/// How to look at the Service behind an address, where it is one.
fn service_check(address: &Address) -> String {
    let mut parts = address.host.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(namespace), Some("svc")) => {
            format!("kubectl get service,endpointslices -n {namespace} | grep {service}")
        }
        _ => format!("nslookup {}", address.host),
    }
}

/// A way past the login that an outpost leaves open to strangers, on data planes that do not close it themselves.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hole {
    /// It takes paths for its own by how they begin, before they are cleaned.
    #[error(
        "it answers 200 for paths such as {OUTPOST_PATH}/../x and {OUTPOST_PATH}x: behind ingress-nginx, an app that cleans paths by \
         itself can be reached so without a login. Have the admin set the lines of server-snippet that docs/data-planes.md has \
         under \"Dot segments\" in the ConfigMap of ingress-nginx, and say so with --nginx-rejects-dot-segments"
    )]
    RawPaths,
    /// GHSA-5wcc-hf24-rf5h.
    #[error(
        "it believes X-Original-URI, as authentik does before 2025.12.5 and 2026.2.3, so strangers who may send that header get in \
         (GHSA-5wcc-hf24-rf5h): update authentik. What this controller writes takes the header away"
    )]
    OriginalUri,
}

impl Hole {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RawPaths, Self::OriginalUri];

    /// A stable name in `CamelCase`, for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::RawPaths => "RawPaths",
            Self::OriginalUri => "OriginalUri",
        }
    }
}
