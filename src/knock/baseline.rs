//! What a visitor without a login meets at a door: each finding with its remedy.

use super::Door;
use super::answer::Seen;
use crate::anonymous::Trouble;
use crate::config::Scheme;
use crate::contract::OUTPOST_PATH;
use std::fmt;
use thiserror::Error;

/// What a visitor meets who plays no trick. The message says what to change, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum Baseline {
    #[error("{url} leads to the login at {authentik}")]
    Login { url: String, authentik: String },

    #[error(
        "{url} leads to a login from which visitors come back to {found}. In authentik, set the External host of the \
         provider to that of the app under Applications > Providers, or make a provider for it"
    )]
    OtherExternalHost { url: String, found: String },

    #[error(
        "OPEN: {url} answers {status} without a login. Check that the Ingress has the class that serves it, that the \
         annotation status says Protected, that no other Ingress serves the host, and that the provider's Unauthenticated \
         Paths in authentik do not match this path (one without ^ matches anywhere)"
    )]
    Open { url: String, status: u16 },

    #[error(
        "{url} redirects to {location}, which is not the login. If that is the app's own doing, the app is open; otherwise \
         look what stands in front of it, such as a redirect to another name or a CDN, and knock at that host"
    )]
    Elsewhere { url: String, location: String },

    #[error(
        "{url} redirects to itself for ever. TLS ends in front of the ingress controller, which does not know it: have it \
         believe X-Forwarded-Proto from there only, or switch its redirect to https off"
    )]
    RedirectLoop { url: String },

    #[error(
        "{url} leads to {OUTPOST_PATH}/start, which answers {status} and not with the login. Check that the Ingress of the \
         outpost's path is there (kubectl get ingress), that nothing else serves that path, and that the outpost is up"
    )]
    BrokenStart { url: String, status: u16 },

    #[error(
        "{url} answers 404, {by}. If the app itself says so, the app is open: knock at a path that it has. Otherwise check \
         class, host and paths of its Ingress (kubectl describe ingress)"
    )]
    NotFound { url: String, by: NotFoundBy },

    #[error(
        "{url} answers 400, in the words of an outpost that has no application for this host. In authentik, give it a proxy \
         provider with this External host and an application, and list that under Applications > Outposts > Edit"
    )]
    NoProvider { url: String },

    #[error(
        "{url} answers {status}, in the words of an outpost that is not told the URL. It is asked at /auth/nginx by \
         something that is not ingress-nginx: have the admin name the right dialect with --class CLASS=DIALECT, and remove \
         auth annotations that were copied or written by hand"
    )]
    HeaderLost { url: String, status: u16 },

    #[error(
        "{url} answers {status}, as when the auth check fails: then nobody gets in, and nobody can log in. Check that the \
         outpost is up, that the ingress controller reaches it, and that it has a provider for this host; if the app's log \
         shows the request, the app is open"
    )]
    AuthCheckFailed { url: String, status: u16 },

    #[error(
        "{url} answers {status}: what stands in front reaches nobody behind it. Check the app's Service and the outpost's \
         (kubectl get endpointslices)"
    )]
    Unavailable { url: String, status: u16 },

    #[error(
        "{url} answers {status} and does not lead to the login. Check that the annotation auth-signin is there and \
         accepted, and what refuses strangers in front of it, such as an allow list; if the app's log shows the request, the app is open"
    )]
    Denied { url: String, status: u16 },

    #[error(
        "{url} answers {status}, which is neither the login nor the app. Look into the log of what stands in front of it"
    )]
    Unexpected { url: String, status: u16 },

    #[error(
        "{url} cannot be reached: the name does not resolve. Check its DNS record, or give the address of the ingress \
         controller with --through URL"
    )]
    Unresolved { url: String },

    #[error(
        "{url} cannot be reached: the connection is refused. Check that its DNS record leads to the ingress controller and \
         that this listens, or give its address with --through URL"
    )]
    ConnectionRefused { url: String },

    #[error(
        "{url} cannot be reached: there is no answer in time. Check the firewall and where its DNS record leads to, or give \
         the address of the ingress controller with --through URL"
    )]
    TimedOut { url: String },

    #[error(
        "{url} cannot be reached: TLS cannot be agreed on ({error}). Check that what listens there knows this host and \
         speaks TLS 1.2 or 1.3 without a client certificate"
    )]
    Tls { url: String, error: String },

    #[error(
        "{url} cannot be reached: what listens there does not speak it ({error}). Check scheme and port, and whether a \
         PROXY protocol header is expected"
    )]
    NoHttp { url: String, error: String },
}

/// In whose words a 404 comes, as far as can be told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFoundBy {
    /// nginx's own page, or that of the default backend of ingress-nginx.
    Nginx,
    /// What programs in Go say by default: Traefik without a router for the request, authentik up to 2026.5, an app.
    Go,
    /// A page of authentik's core, to which an embedded outpost leaves what it does not serve.
    Authentik,
    /// None of these.
    Unknown,
}

impl fmt::Display for NotFoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "in the words of nginx, where no Ingress has this host and path",
            Self::Go => "in the words of Traefik without a router for it, of authentik up to 2026.5, and of other programs in Go",
            Self::Authentik => {
                "in the words of authentik, whose embedded outpost says so of a host that it has no provider for"
            }
            Self::Unknown => "and from whom cannot be told from outside",
        })
    }
}

impl Baseline {
    /// All that [`Baseline::reason`] may answer.
    pub const REASONS: [&'static str; 18] = [
        "Login",
        "OtherExternalHost",
        "Open",
        "Elsewhere",
        "RedirectLoop",
        "BrokenStart",
        "NotFound",
        "NoProvider",
        "HeaderLost",
        "AuthCheckFailed",
        "Unavailable",
        "Denied",
        "UnexpectedAnswer",
        "DoorUnresolved",
        "DoorConnectionRefused",
        "DoorTimedOut",
        "DoorTls",
        "DoorNoHttp",
    ];

    /// A stable name in `CamelCase`, for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Login { .. } => "Login",
            Self::OtherExternalHost { .. } => "OtherExternalHost",
            Self::Open { .. } => "Open",
            Self::Elsewhere { .. } => "Elsewhere",
            Self::RedirectLoop { .. } => "RedirectLoop",
            Self::BrokenStart { .. } => "BrokenStart",
            Self::NotFound { .. } => "NotFound",
            Self::NoProvider { .. } => "NoProvider",
            Self::HeaderLost { .. } => "HeaderLost",
            Self::AuthCheckFailed { .. } => "AuthCheckFailed",
            Self::Unavailable { .. } => "Unavailable",
            Self::Denied { .. } => "Denied",
            Self::Unexpected { .. } => "UnexpectedAnswer",
            Self::Unresolved { .. } => "DoorUnresolved",
            Self::ConnectionRefused { .. } => "DoorConnectionRefused",
            Self::TimedOut { .. } => "DoorTimedOut",
            Self::Tls { .. } => "DoorTls",
            Self::NoHttp { .. } => "DoorNoHttp",
        }
    }

    /// Whether visitors come to the login.
    pub fn is_login(&self) -> bool {
        matches!(self, Self::Login { .. })
    }

    /// Whether somebody answered and did not let the visitor in, so that tricks may show more.
    pub(super) fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Login { .. }
                | Self::OtherExternalHost { .. }
                | Self::BrokenStart { .. }
                | Self::NotFound { .. }
                | Self::NoProvider { .. }
                | Self::HeaderLost { .. }
                | Self::AuthCheckFailed { .. }
                | Self::Unavailable { .. }
                | Self::Denied { .. }
                | Self::Unexpected { .. }
        )
    }

    /// What an answer means that does not lead to the login.
    pub(super) fn of(seen: &Seen, door: &Door, scheme: Scheme) -> Self {
        let (url, status) = (door.url(scheme), seen.status);
        if let Some(location) = seen.redirect().map(ToString::to_string) {
            let is_itself = location == url;
            return if is_itself { Self::RedirectLoop { url } } else { Self::Elsewhere { url, location } };
        }
        match status {
            200..300 => Self::Open { url, status },
            400 if seen.body.contains("no app for hostname") => Self::NoProvider { url },
            401 | 403 => Self::Denied { url, status },
            404 => Self::NotFound { url, by: seen.not_found_by() },
            500 if seen.body.contains("configuration error") => Self::HeaderLost { url, status },
            500 => Self::AuthCheckFailed { url, status },
            502..=504 => Self::Unavailable { url, status },
            _ => Self::Unexpected { url, status },
        }
    }

    /// What it means that there is no answer.
    pub(super) fn of_trouble(trouble: Trouble, url: String) -> Self {
        match trouble {
            Trouble::Unresolved => Self::Unresolved { url },
            Trouble::Refused => Self::ConnectionRefused { url },
            Trouble::TimedOut => Self::TimedOut { url },
            Trouble::Tls(error) => Self::Tls { url, error },
            Trouble::NoHttp(error) => Self::NoHttp { url, error },
        }
    }
}
