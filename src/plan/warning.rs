//! What an admin should know about an app that is protected all the same.

use crate::contract::OUTPOST_PATH;
use crate::facts::{Host, ObjectKey};
use thiserror::Error;

/// A catch in the protection of an app, or something of somebody else's that it relies on.
#[derive(Clone, Debug, Error, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum Warning {
    #[error(
        "Ingress {ingress} serves {host} as well and does not ask for protection: its paths stay open. Put the annotation \
         on it too, unless that is meant"
    )]
    OpenNeighbour { host: Host, ingress: ObjectKey },

    #[error(
        "Ingress {ingress} of another namespace is a canary on {host}: it receives visitors of this app with their identity headers, \
         after their login. Delete it, or take its canary annotation away, unless that is meant"
    )]
    CanaryOfOthers { host: Host, ingress: ObjectKey },

    #[error(
        "the wildcard host {host} needs a provider of the type \"Forward auth (domain level)\" in authentik"
    )]
    WildcardHost { host: Host },

    #[error(
        "a rule without a host is protected, but there is no login route for the hosts that only it serves"
    )]
    HostlessRule,

    #[error("spec.defaultBackend is reached without login: remove it unless that is meant")]
    DefaultBackend,

    #[error(
        "annotation {key} is \"any\": whoever passes one of the other checks (allow list, basic auth) needs no login"
    )]
    SatisfyAny { key: String },

    #[error("annotation {key} redirects before the login")]
    Redirect { key: String },

    #[error(
        "annotation {key} lists 401, so visitors see an error page instead of the login: take 401 out of it"
    )]
    InterceptsLogin { key: String },

    #[error(
        "annotation {key} adds to nginx's login check what this controller does not look at; X-Forwarded-Host with $http_host in it, as \
         authentik's instructions have it, lets a user of one app pass for a visitor of another: remove it, nothing of it is needed"
    )]
    AuthSnippet { key: String },

    #[error(
        "annotation {key} changes the path before the outpost is asked, so after the login visitors land on the changed path and \
         not where they were going"
    )]
    RewrittenDeepLink { key: String },

    #[error(
        "annotation {key} gives the app further names, which are protected but have no login route: list them in spec.rules"
    )]
    ServerAlias { key: String },

    #[error(
        "annotation {key} held entries of yours, and this controller put its own before them: if it comes from Git, write it \
         there as it stands now, or the two go on correcting each other"
    )]
    SharedMiddlewares { key: String },

    #[error(
        "there is no route for {OUTPOST_PATH}, since Traefik takes ExternalName Services only where the admin allows them (and \
         says so with --traefik-allows-external-name): the login works, and to sign out visitors open any page with \
         ?X-authentik-logout=true"
    )]
    NoOutpostPath,

    #[error("the login route of {host} is that of app {holder}, which claimed the host first")]
    RouteOfOtherApp { host: Host, holder: ObjectKey },

    #[error(
        "the login route of {host} is that of Ingress {ingress}, which this controller neither made nor changes"
    )]
    ForeignRoute { host: Host, ingress: ObjectKey },

    #[error(
        "after the opt-out annotation {key} still leads visitors to the outpost and is not this controller's: the login stays until \
         you remove it"
    )]
    RouteStillUsed { key: String },
}

impl Warning {
    /// All that [`Warning::reason`] may answer.
    pub const REASONS: [&'static str; 16] = [
        "OpenNeighbour",
        "CanaryOfOthers",
        "WildcardHost",
        "HostlessRule",
        "DefaultBackend",
        "SatisfyAny",
        "Redirect",
        "InterceptsLogin",
        "AuthSnippet",
        "RewrittenDeepLink",
        "ServerAlias",
        "SharedMiddlewares",
        "NoOutpostPath",
        "RouteOfOtherApp",
        "ForeignRoute",
        "RouteStillUsed",
    ];

    /// A stable name in `CamelCase`, for Events, logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OpenNeighbour { .. } => "OpenNeighbour",
            Self::CanaryOfOthers { .. } => "CanaryOfOthers",
            Self::WildcardHost { .. } => "WildcardHost",
            Self::HostlessRule => "HostlessRule",
            Self::DefaultBackend => "DefaultBackend",
            Self::SatisfyAny { .. } => "SatisfyAny",
            Self::Redirect { .. } => "Redirect",
            Self::InterceptsLogin { .. } => "InterceptsLogin",
            Self::AuthSnippet { .. } => "AuthSnippet",
            Self::RewrittenDeepLink { .. } => "RewrittenDeepLink",
            Self::ServerAlias { .. } => "ServerAlias",
            Self::SharedMiddlewares { .. } => "SharedMiddlewares",
            Self::NoOutpostPath => "NoOutpostPath",
            Self::RouteOfOtherApp { .. } => "RouteOfOtherApp",
            Self::ForeignRoute { .. } => "ForeignRoute",
            Self::RouteStillUsed { .. } => "RouteStillUsed",
        }
    }

    /// Whether someone should act; the others only tell how the login works.
    pub fn is_serious(&self) -> bool {
        !matches!(self, Self::RouteOfOtherApp { .. } | Self::ForeignRoute { .. } | Self::NoOutpostPath)
    }
}
