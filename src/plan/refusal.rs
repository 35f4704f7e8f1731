//! Every reason not to protect an app, with what to do about it.

use super::quote::{list, pasted, quoted, shown};
use crate::contract::OUTPOST_PATH;
use crate::facts::{Host, ObjectKey};
use std::time::Duration;
use thiserror::Error;

/// How long a refusal that no watched object can lift waits before it is looked at again.
const RECHECK: Duration = Duration::from_mins(1);

/// Why an app is not protected although it asks to be. The message says what is wrong, where, and what to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum Refusal {
    #[error("annotation {key} is {}; write \"{}\"", quoted(.value), .allowed.join("\" or \""))]
    InvalidAnnotation { key: String, value: String, allowed: &'static [&'static str] },

    #[error(
        "annotation {key} names the outpost {}, which is not known; known are: {}. Use one of these, or have \
         the admin add it with --outpost {}=URL", quoted(.name), list(.known), pasted(.name, "NAME")
    )]
    UnknownOutpost { key: String, name: String, known: Vec<String> },

    #[error(
        "no outpost is known: create a proxy outpost in authentik (Applications > Outposts) with its Kubernetes \
         integration, or have the admin give one with --outpost NAME=URL"
    )]
    NoOutpost,

    #[error(
        "the only outpost found is authentik's embedded one ({service}): it answers 404 for apps it was not given, which \
         ingress-nginx turns into 500. Either create a proxy outpost in authentik with this app's provider, or, if the \
         embedded one does serve it, say so with the annotation {key}: authentik-embedded-outpost"
    )]
    OnlyEmbeddedOutpost { service: ObjectKey, key: String },

    #[error(
        "several outposts are known ({}) and none is the default: name one with the annotation {key}, or have the admin \
         set --default-outpost", list(.known)
    )]
    NoDefaultOutpost { key: String, known: Vec<String> },

    #[error(
        "the outpost {name:?} exists more than once ({}): have the admin say which with --outpost {name}=URL",
        list(.services)
    )]
    AmbiguousOutpost { name: String, services: Vec<String> },

    #[error("it has no class: set spec.ingressClassName to the class of your ingress controller")]
    NoClass,

    #[error(
        "spec.ingressClassName is {field:?} and the annotation {key} is {}: an ingress controller that goes by the annotation would serve \
         the app too, and by other rules. Remove the annotation", quoted(.annotation)
    )]
    TwoClasses { key: &'static str, field: String, annotation: String },

    #[error(
        "its class {} has no IngressClass object: correct spec.ingressClassName, or have the admin say who serves \
         it with --class {}=DIALECT", quoted(.class), pasted(.class, "CLASS")
    )]
    UnknownClass { class: String },

    #[error(
        "its class {class:?} is served by {controller:?}, which is not supported (supported: {supported}); annotations \
         for another ingress controller would leave the app open. Use a supported class, or, if one of these does serve \
         the class, have the admin say so with --class {class}=DIALECT"
    )]
    UnsupportedController { class: String, controller: String, supported: String },

    #[error("it has no rule with a host, so there is no address to log in at: add spec.rules[].host")]
    NoHost,

    #[error(
        "one of its rules has no host and so serves every name, also those of which somebody else answers the login check: add \
         spec.rules[].host there, or move the rule to an Ingress that does not ask for protection"
    )]
    HostlessRule,

    #[error(
        "annotation {key} is \"host\" and {host} is a wildcard: ingress-nginx would ask whatever name below it a client chooses whether \
         to let him in, and whoever has such a name elsewhere could say yes. Set {key} to \"direct\", or remove it"
    )]
    WildcardThroughHost { key: String, host: Host },

    #[error("spec.rules[].host {} is not a DNS name in lower case: correct it", quoted(.host))]
    InvalidHost { host: String },

    #[error(
        "annotation {key} is {}, which this controller did not write; it would write {wanted:?}. Remove yours to be \
         protected through authentik, or remove {opt_in} to keep yours", quoted(.found)
    )]
    OwnAnnotation { key: String, found: String, wanted: String, opt_in: String },

    #[error(
        "annotation {key} is {found:?}, but the ingress controller takes a canary's auth from its main Ingress: put the \
         opt-in on the main Ingress and remove it here"
    )]
    Canary { key: String, found: String },

    #[error(
        "annotation {key} is {found:?}: TLS passes through the ingress controller unopened, so it cannot ask for a login; \
         remove that annotation"
    )]
    TlsPassthrough { key: String, found: String },

    #[error(
        "annotation {key} lets ingress-nginx demand a client certificate of its own login check on the route \"host\", \
         which then fails: set {auth_route} to \"direct\""
    )]
    ClientCertificates { key: String, auth_route: String },

    #[error(
        "annotation {key} demands client certificates, which Traefik up to 3.7.9 stops asking for as soon as a second Ingress \
         serves the host, as the login route would: remove that annotation, or do without the login here"
    )]
    ClientCertificatesDropped { key: String },

    #[error(
        "annotation {key} is {}: Traefik would ask the outpost about that host instead of the app's own: remove that \
         annotation", quoted(.found)
    )]
    UpstreamHost { key: String, found: String },

    #[error(
        "annotation {key} holds a piece of nginx's configuration, with which Traefik leaves out the whole Ingress, or else does \
         what nobody can foresee to the login: remove that annotation"
    )]
    Snippet { key: String },

    #[error(
        "annotation {key} is {}: with a rewrite the app receives cleaned paths, so a request for \
         {OUTPOST_PATH}/../x can reach it without login. Serve the app without a rewrite, or have the admin make \
         ingress-nginx reject dot segments and odd hosts, as docs/data-planes.md says, and say so with --nginx-rejects-dot-segments", quoted(.found)
    )]
    Rewrite { key: String, found: String },

    #[error(
        "annotation {key} makes ingress-nginx send X-Original-URI to the outpost, which lets strangers in on authentik \
         before 2025.12.5: remove that annotation"
    )]
    AuthMethod { key: String },

    #[error(
        "annotation {key} is {}: with it ingress-nginx keeps the outpost's answers, so that what let one visitor in lets in others, \
         as him, and an answer for an open path counts for all: remove that annotation", quoted(.found)
    )]
    CachedLogin { key: String, found: String },

    #[error(
        "annotation {key} is {}, which ingress-nginx does not allow, and it then leaves out the whole login check: correct or \
         remove that annotation", quoted(.found)
    )]
    LoginDropped { key: String, found: String },

    #[error(
        "annotation {key} makes cert-manager put its ACME challenge on this Ingress, where Traefik asks for a login as well, so \
         certificates could not be renewed: remove it, cert-manager then makes an Ingress of its own for the challenge"
    )]
    ChallengeInPlace { key: String },

    #[error(
        "the path {} of Ingress {ingress} is a regular expression that takes {OUTPOST_PATH} away from the outpost on \
         {}: shorten it to fewer than 23 characters, or exclude that path in it", quoted(.path),
        .host.as_ref().map_or("every host", Host::as_str)
    )]
    SwallowedPath { ingress: ObjectKey, host: Option<Host>, path: String },

    #[error(
        "its own rules hold the path {}, so the login itself would need a login: remove that path, this controller \
         makes an Ingress of its own for it", quoted(.path)
    )]
    OutpostPathInApp { path: String },

    #[error(
        "the host {host} is already protected through the outpost {theirs:?} by Ingress {holder}, and one host can have \
         one outpost only: use {theirs:?} here as well (annotation {key}), or another host"
    )]
    OtherOutpostOnHost { host: Host, holder: ObjectKey, theirs: String, key: String },

    #[error(
        "Ingress {ingress} already routes {} of {host}, but not to the outpost {outpost:?} ({found}): point it there \
         or delete it", shown(.path)
    )]
    ForeignRoute { host: Host, ingress: ObjectKey, path: String, outpost: String, found: String },

    #[error(
        "an Ingress {name} exists that this controller did not make and that does not route {OUTPOST_PATH} of all hosts \
         of this app: rename or delete it"
    )]
    IngressNameTaken { name: ObjectKey },

    #[error(
        "a Service {name} exists that this controller did not make and that does not lead to {wanted} (it leads to \
         {}): rename or delete it, or make it an ExternalName Service for that host", shown(.found)
    )]
    ServiceNameTaken { name: ObjectKey, wanted: String, found: String },

    #[error(
        "a ConfigMap {name} exists that this controller did not make and that does not hold the request headers it needs: \
         rename or delete it"
    )]
    HeadersNameTaken { name: ObjectKey },

    #[error(
        "a Middleware {name} exists that this controller did not make and that does not do what protects this app: delete it"
    )]
    MiddlewareNameTaken { name: ObjectKey },

    #[error(
        "Traefik calls the Middlewares {name} and {twin} both {spelling}@kubernetescrd and takes either of them by chance: \
         rename {twin}, or have the admin turn on Traefik's safeNaming and say so with --traefik-safe-naming"
    )]
    MiddlewareNameShared { name: ObjectKey, twin: ObjectKey, spelling: String },

    #[error(
        "the cluster has no Middlewares (middlewares.traefik.io), by which Traefik asks for a login: have the admin install \
         Traefik's CustomResourceDefinitions, as its Helm chart does, with the provider kubernetesCRD"
    )]
    NoMiddlewareKind,
}

impl Refusal {
    /// All that [`Refusal::reason`] may answer.
    pub const REASONS: [&'static str; 36] = [
        "InvalidAnnotation",
        "UnknownOutpost",
        "NoOutpost",
        "OnlyEmbeddedOutpost",
        "NoDefaultOutpost",
        "AmbiguousOutpost",
        "NoClass",
        "TwoClasses",
        "UnknownClass",
        "UnsupportedController",
        "NoHost",
        "HostlessRule",
        "WildcardThroughHost",
        "InvalidHost",
        "OwnAnnotation",
        "Canary",
        "TlsPassthrough",
        "ClientCertificates",
        "ClientCertificatesDropped",
        "UpstreamHost",
        "Snippet",
        "Rewrite",
        "AuthMethod",
        "CachedLogin",
        "LoginDropped",
        "ChallengeInPlace",
        "SwallowedPath",
        "OutpostPathInApp",
        "OtherOutpostOnHost",
        "ForeignRoute",
        "IngressNameTaken",
        "ServiceNameTaken",
        "HeadersNameTaken",
        "MiddlewareNameTaken",
        "MiddlewareNameShared",
        "NoMiddlewareKind",
    ];

    /// A stable name in `CamelCase`, for Events, logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidAnnotation { .. } => "InvalidAnnotation",
            Self::UnknownOutpost { .. } => "UnknownOutpost",
            Self::NoOutpost => "NoOutpost",
            Self::OnlyEmbeddedOutpost { .. } => "OnlyEmbeddedOutpost",
            Self::NoDefaultOutpost { .. } => "NoDefaultOutpost",
            Self::AmbiguousOutpost { .. } => "AmbiguousOutpost",
            Self::NoClass => "NoClass",
            Self::TwoClasses { .. } => "TwoClasses",
            Self::UnknownClass { .. } => "UnknownClass",
            Self::UnsupportedController { .. } => "UnsupportedController",
            Self::NoHost => "NoHost",
            Self::HostlessRule => "HostlessRule",
            Self::WildcardThroughHost { .. } => "WildcardThroughHost",
            Self::InvalidHost { .. } => "InvalidHost",
            Self::OwnAnnotation { .. } => "OwnAnnotation",
            Self::Canary { .. } => "Canary",
            Self::TlsPassthrough { .. } => "TlsPassthrough",
            Self::ClientCertificates { .. } => "ClientCertificates",
            Self::ClientCertificatesDropped { .. } => "ClientCertificatesDropped",
            Self::UpstreamHost { .. } => "UpstreamHost",
            Self::Snippet { .. } => "Snippet",
            Self::Rewrite { .. } => "Rewrite",
            Self::AuthMethod { .. } => "AuthMethod",
            Self::CachedLogin { .. } => "CachedLogin",
            Self::LoginDropped { .. } => "LoginDropped",
            Self::ChallengeInPlace { .. } => "ChallengeInPlace",
            Self::SwallowedPath { .. } => "SwallowedPath",
            Self::OutpostPathInApp { .. } => "OutpostPathInApp",
            Self::OtherOutpostOnHost { .. } => "OtherOutpostOnHost",
            Self::ForeignRoute { .. } => "ForeignRoute",
            Self::IngressNameTaken { .. } => "IngressNameTaken",
            Self::ServiceNameTaken { .. } => "ServiceNameTaken",
            Self::HeadersNameTaken { .. } => "HeadersNameTaken",
            Self::MiddlewareNameTaken { .. } => "MiddlewareNameTaken",
            Self::MiddlewareNameShared { .. } => "MiddlewareNameShared",
            Self::NoMiddlewareKind => "NoMiddlewareKind",
        }
    }

    /// How long to wait before looking again, where no watched object tells that the cause is gone.
    ///
    /// Only labelled `ConfigMaps` and `ExternalName` Services are watched, so another object under such a name
    /// disappears without a word.
    pub fn recheck_after(&self) -> Option<Duration> {
        matches!(self, Self::ServiceNameTaken { .. } | Self::HeadersNameTaken { .. }).then_some(RECHECK)
    }
}
