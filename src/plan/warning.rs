//! What an admin should know about an app that is protected all the same.

use super::quote::quoted;
use crate::contract::{NO_AUTH_LOCATION, OUTPOST_PATH};
use crate::facts::{Host, ObjectKey};
use thiserror::Error;

/// A catch in the protection of an app, or something of somebody else's that it relies on.
#[derive(Clone, Debug, Error, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum Warning {
    #[error(
        "Ingress {ingress} serves {host} as well and does not ask for protection: its paths stay open. Put the annotation \
         on it too, unless that is meant or it is a canary of this app"
    )]
    OpenNeighbour { host: Host, ingress: ObjectKey },

    #[error(
        "Ingress {ingress} has TLS of {host} passed through unopened, for this app as well, so over https nobody is asked for a login, if \
         the admin allows it: remove ssl-passthrough there"
    )]
    TlsPassedThrough { host: Host, ingress: ObjectKey },

    #[error(
        "Ingress {ingress} of another namespace is a canary on {host}: it receives visitors of this app with their identity headers, \
         after their login. Delete it, or take its canary annotation away, unless that is meant"
    )]
    CanaryOfOthers { host: Host, ingress: ObjectKey },

    #[error(
        "the wildcard host {host} needs a provider of the type \"Forward auth (domain level)\" in authentik"
    )]
    WildcardHost { host: Host },

    #[error("spec.defaultBackend is reached without login: remove it unless that is meant")]
    DefaultBackend,

    #[error(
        "annotation {key} is \"any\": whoever passes one of the other checks (allow list, basic auth) needs no login"
    )]
    SatisfyAny { key: String },

    #[error("annotation {key} redirects before the login")]
    Redirect { key: String },

    #[error(
        "annotation {key} has nginx look at the app's own errors, so a 401 of the app sends visitors who are logged in to log in again, \
         without end: remove it if the app answers 401"
    )]
    LoginLoop { key: String },

    #[error(
        "annotation {key} adds to nginx's login check what this controller does not look at; X-Forwarded-Host with $http_host in it, as \
         authentik's instructions have it, lets a user of one app pass for a visitor of another: remove it, nothing of it is needed"
    )]
    AuthSnippet { key: String },

    #[error(
        "annotation {key} adds to nginx's configuration what this controller does not look at: a location, a rewrite or an auth_request \
         in it can let strangers in. Remove it, or see to it that it holds nothing of the kind"
    )]
    UncheckedSnippet { key: String },

    #[error(
        "annotation {key} makes ingress-nginx 1.12 and later, where the admin turned use-http2 off, answer 500 to everybody who is logged in: \
         remove it"
    )]
    AuthKeepalive { key: String },

    #[error(
        "annotation {key} sends copies of all requests elsewhere, with the visitors' cookies and with identity headers as the client \
         sent them: remove it, or see to it that nothing there believes these headers"
    )]
    Mirror { key: String },

    #[error(
        "annotation {key} is {}: with it ingress-nginx hands the app the identity headers that the client sent and not the outpost's, so \
         whoever is logged in can pass for anybody: {remedy}", quoted(.found)
    )]
    ForgeableIdentity { key: String, found: String, remedy: &'static str },

    #[error(
        "ingress-nginx serves the path {} without a login, and with identity headers as the client sends them, like all that begin with \
         {NO_AUTH_LOCATION}, unless the admin emptied no-auth-locations: remove that path, or, if it is meant to be open, move it to an \
         Ingress of its own that does not ask for protection", quoted(.path)
    )]
    NoAuthLocation { path: String },

    #[error(
        "annotation {key} keeps this controller from setting proxy-buffer-size, with which it might not go together, and then nginx would \
         take no changes at all: visitors whose identity headers are longer than 4k get 500. Remove it, or write proxy-buffer-size: 16k and \
         at least that in it"
    )]
    SmallBuffers { key: String },

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
    pub const REASONS: [&'static str; 22] = [
        "OpenNeighbour",
        "TlsPassedThrough",
        "CanaryOfOthers",
        "WildcardHost",
        "DefaultBackend",
        "SatisfyAny",
        "Redirect",
        "LoginLoop",
        "AuthSnippet",
        "UncheckedSnippet",
        "AuthKeepalive",
        "Mirror",
        "ForgeableIdentity",
        "NoAuthLocation",
        "SmallBuffers",
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
            Self::TlsPassedThrough { .. } => "TlsPassedThrough",
            Self::CanaryOfOthers { .. } => "CanaryOfOthers",
            Self::WildcardHost { .. } => "WildcardHost",
            Self::DefaultBackend => "DefaultBackend",
            Self::SatisfyAny { .. } => "SatisfyAny",
            Self::Redirect { .. } => "Redirect",
            Self::LoginLoop { .. } => "LoginLoop",
            Self::AuthSnippet { .. } => "AuthSnippet",
            Self::UncheckedSnippet { .. } => "UncheckedSnippet",
            Self::AuthKeepalive { .. } => "AuthKeepalive",
            Self::Mirror { .. } => "Mirror",
            Self::ForgeableIdentity { .. } => "ForgeableIdentity",
            Self::NoAuthLocation { .. } => "NoAuthLocation",
            Self::SmallBuffers { .. } => "SmallBuffers",
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
