//! What is remembered of an Ingress.

use super::{Host, Identity, Names, ObjectKey, is_dns_label, is_dns_subdomain, is_ours, is_true_to_some};
use crate::contract::{
    AUTH_PROXY_SET_HEADERS, AUTH_URL, CANARY, CLOSED_MIDDLEWARE, CLOSED_URL, Keys, LEGACY_CLASS, MANAGER,
    NO_AUTH_LOCATION, OUTPOST_PATH, OUTPOST_PATH_TYPE, ROUTER_MIDDLEWARES, SSL_PASSTHROUGH, leads_to_outpost,
    outpost_ingress_name, own_middleware_in,
};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use litemap::LiteMap;
use regex::bytes::RegexBuilder;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use thiserror::Error;

/// Annotations outside the project's prefix that plans look at.
const RELEVANT: [&str; 3] =
    ["nginx.ingress.kubernetes.io/", "traefik.ingress.kubernetes.io/", "acme.cert-manager.io/"];

/// How an Ingress names its class; a companion has to use the same mechanism.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClassRef {
    /// Neither of the two.
    #[default]
    None,
    /// `spec.ingressClassName`.
    Spec(Arc<str>),
    /// The annotation `kubernetes.io/ingress.class`.
    Annotation(Arc<str>),
}

impl ClassRef {
    /// The class's name, however it is given.
    pub fn name(&self) -> Option<&str> {
        self.shared_name().map(AsRef::as_ref)
    }

    /// The same, to be kept.
    pub fn shared_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::None => None,
            Self::Spec(name) | Self::Annotation(name) => Some(name),
        }
    }

    fn of(ingress: &Ingress) -> Self {
        let spec = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let annotation = annotation(&ingress.metadata, LEGACY_CLASS);
        // ingress-nginx and Traefik both let the field win over the annotation.
        match (spec, annotation) {
            (Some(name), _) => Self::Spec(name.into()),
            (None, Some(name)) => Self::Annotation(name.into()),
            (None, None) => Self::None,
        }
    }
}

/// An Ingress: an app's, one of ours, or somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressFacts {
    /// Namespace and name.
    pub key: ObjectKey,
    /// uid and version in which it was seen.
    pub identity: Identity,
    /// `creationTimestamp` in seconds since 1970; the far future for one that was read from a file.
    pub created: i64,
    /// Whether deletion has begun (`deletionTimestamp` is set).
    pub deleting: bool,
    /// Whether it has TLS of its hosts passed through unopened.
    pub passes_tls_through: bool,
    /// Whether ingress-nginx, or Traefik in its place, has no rules of its own for it, and sends it a part of the visitors of whoever
    /// has the same rule.
    pub is_canary: bool,
    /// The class that serves it.
    pub class: ClassRef,
    /// Distinct hosts of its rules, in order.
    pub hosts: Box<[Host]>,
    /// Rules at or below [`OUTPOST_PATH`], in the order of their hosts.
    pub outpost_paths: Box<[OutpostPath]>,
    /// Regex paths that would win over the outpost path in ingress-nginx, with the host of their rule.
    pub swallowing_paths: Box<[(Option<Host>, String)]>,
    /// The `ConfigMap` of request headers that it names, as `namespace/name`.
    pub headers: Option<Arc<str>>,
    /// Names of the Middlewares of this namespace that it names and that only this controller makes.
    pub middlewares: Box<[Arc<str>]>,
    /// What it is to this controller.
    pub role: Role,
}

/// Annotations by their keys. In a flat map: a tree has room for eleven entries at least, and most Ingresses have fewer.
pub type Annotations = LiteMap<Arc<str>, Arc<str>>;

/// What an Ingress is to this controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It neither asks for protection nor has anything of ours.
    Bystander,
    /// It asks for protection, now or until a moment ago.
    App(Box<AppFacts>),
    /// We made it, for an app of the same namespace.
    OutpostIngress(Box<OutpostIngressFacts>),
}

/// A rule at or below [`OUTPOST_PATH`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutpostPath {
    /// Host of the rule; `None` is the rule for all hosts.
    pub host: Option<Host>,
    /// The path as written.
    pub path: Arc<str>,
    /// How the path is meant, in the API's words.
    pub path_type: Arc<str>,
    /// Service it leads to, in the Ingress's own namespace; `None` for a resource backend.
    pub service: Option<Arc<str>>,
    /// Port number on that Service; `None` where the rule names the port instead.
    pub port: Option<i32>,
    /// Whether its Ingress serves other paths of the host as well.
    pub has_more: bool,
}

impl OutpostPath {
    /// Whether it takes the outpost path and all below it.
    pub fn is_whole(&self) -> bool {
        self.path.trim_end_matches('/') == OUTPOST_PATH && *self.path_type != *"Exact"
    }

    /// Whether an ingress controller takes it for the same rule as the one that this controller makes. Any other spelling or type
    /// is a rule of its own, which wins over that where it is longer.
    pub fn is_spelled_like_ours(&self) -> bool {
        *self.path == *OUTPOST_PATH && *self.path_type == *OUTPOST_PATH_TYPE
    }
}

/// What the owner of an app asks for, word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptIn {
    /// No annotation, or `"false"`.
    Off,
    /// `"true"`.
    On,
    /// Anything else.
    Invalid(String),
}

/// An Ingress that asks for protection, or that still carries what protection put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppFacts {
    /// Value of the opt-in annotation.
    pub opt_in: OptIn,
    /// Every annotation that a plan may look at.
    pub annotations: Annotations,
    /// Keys of annotations that this controller applied and nobody has changed since.
    pub owned: Box<[Arc<str>]>,
    /// Those of them that somebody else set to the same value.
    pub shared: Box<[Arc<str>]>,
    /// Keys of annotations that this controller edited in place, because they hold what others wrote too, and that nobody
    /// has written since.
    pub edited: Box<[Arc<str>]>,
    /// Keys of annotations by which admission closed the app until it is protected. What else they hold is in `annotations`.
    pub closed: Box<[Arc<str>]>,
    /// Hosts of rules that are no DNS names. Only files have such; the API server does not.
    pub invalid_hosts: Vec<String>,
    /// Whether some rule has no host, and so holds for all hosts.
    pub has_hostless_rule: bool,
    /// Whether `spec.defaultBackend` is set.
    pub has_default_backend: bool,
    /// Paths that begin with [`NO_AUTH_LOCATION`], as written, each once.
    pub no_auth_paths: Box<[Box<str>]>,
}

impl AppFacts {
    /// Value of the annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(AsRef::as_ref)
    }

    /// Value of the annotation `key`, unless this controller alone put it there.
    pub fn foreign_annotation(&self, key: &str) -> Option<&str> {
        self.annotation(key).filter(|_| !self.has_applied(key) || contains(&self.shared, key))
    }

    /// Whether this controller applied the annotation `key`, and nobody has changed it since.
    pub fn has_applied(&self, key: &str) -> bool {
        contains(&self.owned, key)
    }

    /// Whether this controller edited the annotation `key` in place, and nobody has written it since.
    pub fn has_edited(&self, key: &str) -> bool {
        contains(&self.edited, key)
    }

    /// Keys of annotations that this controller applied and nobody else did.
    pub fn owned_alone(&self) -> impl Iterator<Item = &str> {
        self.owned.iter().map(AsRef::as_ref).filter(|key| !contains(&self.shared, key))
    }

    /// Annotations that this controller applied, with their values.
    pub fn owned_annotations(&self) -> BTreeMap<String, String> {
        let owned = self.annotations.iter().filter(|(key, _)| self.has_applied(key));
        owned.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

/// An Ingress of ours that routes the outpost path of an app's hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutpostIngressFacts {
    /// Name of the app's Ingress.
    pub app: Arc<str>,
    /// Value of the label that names the outpost.
    pub outpost: Option<Arc<str>>,
    /// Annotations that belong to us: those of an ingress controller, of external-dns and of our own prefix.
    pub annotations: Annotations,
    /// The owner that garbage collection follows.
    pub owner: Option<Owner>,
    /// Anything beyond [`IngressFacts::outpost_paths`] in its spec: other paths, TLS, a default backend.
    pub has_more: bool,
}

impl OutpostIngressFacts {
    /// Annotations that ingress controllers read.
    pub fn annotations_of_data_planes(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.annotations.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
        all.filter(|(key, _)| RELEVANT.iter().any(|start| key.starts_with(start)))
    }
}

/// The controlling owner of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the owner, an Ingress of the same namespace.
    pub name: Arc<str>,
    /// uid of the owner.
    pub uid: Box<str>,
}

/// Why something that should be an Ingress cannot be read as one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoIngress {
    /// Files only: the API server names everything.
    #[error("it has no metadata.name; give it one")]
    NoName,
    /// Files only.
    #[error("it has no metadata.namespace; add it, or give one with --namespace")]
    NoNamespace,
    /// Files only.
    #[error("its metadata.name {0:?} is not a DNS name in lower case; correct it")]
    InvalidName(String),
    /// Files only.
    #[error("its metadata.namespace {0:?} is not a DNS label in lower case; correct it")]
    InvalidNamespace(String),
}

impl IngressFacts {
    /// The facts of `ingress`, where `keys` says which annotations are ours.
    pub fn extract(ingress: &Ingress, keys: &Keys) -> Result<Self, NoIngress> {
        let key = ObjectKey::of(&ingress.metadata);
        if key.name.is_empty() {
            return Err(NoIngress::NoName);
        }
        if key.namespace.is_empty() {
            return Err(NoIngress::NoNamespace);
        }
        if !is_dns_subdomain(&key.name) {
            return Err(NoIngress::InvalidName(key.name.to_string()));
        }
        if !is_dns_label(&key.namespace) {
            return Err(NoIngress::InvalidNamespace(key.namespace.to_string()));
        }
        let created = ingress.metadata.creation_timestamp.as_ref();
        // By a set, since an Ingress has room for some ten thousand hosts.
        let mut known = HashSet::new();
        let hosts = rules(ingress).filter_map(host_of).filter(|host| known.insert(host.clone()));
        let hosts: Vec<Host> = hosts.collect();
        let middlewares = own_middlewares(&ingress.metadata, &key);
        let doubtful = paths(ingress).filter(|(_, path, _)| is_doubtful(path)).enumerate();
        let swallowing =
            doubtful.filter(|(n, (_, path, _))| *n >= MAX_REGEXES || swallows_outpost_path(path));
        Ok(Self {
            identity: Identity::of(&ingress.metadata),
            created: created.map_or(i64::MAX, |time| time.0.as_second()),
            deleting: ingress.metadata.deletion_timestamp.is_some(),
            passes_tls_through: annotation(&ingress.metadata, SSL_PASSTHROUGH).is_some_and(is_true_to_some),
            is_canary: annotation(&ingress.metadata, CANARY).is_some_and(is_true_to_some),
            class: ClassRef::of(ingress),
            hosts: hosts.into(),
            outpost_paths: outpost_paths(ingress),
            swallowing_paths: swallowing
                .map(|(_, (rule, path, _))| (host_of(rule), path.to_owned()))
                .collect(),
            headers: annotation(&ingress.metadata, AUTH_PROXY_SET_HEADERS).map(Into::into),
            role: role(ingress, &key, keys, &middlewares),
            middlewares,
            key,
        })
    }

    /// Takes the request for protection back that it makes, if it makes one.
    pub fn take_back_request(&mut self) {
        if let Role::App(app) = &mut self.role {
            app.opt_in = OptIn::Off;
        }
    }

    /// Takes the annotations of an app to be none of this controller's.
    pub fn disown(&mut self) {
        if let Role::App(app) = &mut self.role {
            (app.owned, app.shared, app.edited) = Default::default();
        }
    }

    /// Has the texts that other Ingresses have, too, in common with them.
    pub fn share(&mut self, names: &mut Names) {
        let mut share = |text: &mut Arc<str>| names.share(text);
        share(&mut self.key.namespace);
        if let ClassRef::Spec(name) | ClassRef::Annotation(name) = &mut self.class {
            share(name);
        }
        for path in &mut self.outpost_paths {
            share(&mut path.path);
            share(&mut path.path_type);
            path.service.iter_mut().for_each(&mut share);
        }
        self.headers.iter_mut().chain(&mut self.middlewares).for_each(&mut share);
        match &mut self.role {
            Role::Bystander => {}
            Role::App(app) => {
                share_annotations(&mut app.annotations, &mut share);
                app.owned.iter_mut().chain(&mut app.shared).chain(&mut app.edited).for_each(share);
            }
            Role::OutpostIngress(route) => {
                share_annotations(&mut route.annotations, &mut share);
                route.outpost.iter_mut().for_each(share);
            }
        }
    }

    /// The app in this Ingress, if it is one.
    pub fn app(&self) -> Option<&AppFacts> {
        match &self.role {
            Role::App(app) => Some(app),
            _ => None,
        }
    }

    /// What is special to an outpost Ingress, if this is one of ours.
    pub fn outpost_ingress(&self) -> Option<&OutpostIngressFacts> {
        match &self.role {
            Role::OutpostIngress(facts) => Some(facts),
            _ => None,
        }
    }

    /// Whether it routes outpost paths through the Service `service` of its namespace.
    pub fn routes_outpost_through(&self, service: &str) -> bool {
        self.outpost_paths.iter().any(|path| path.service.as_deref() == Some(service))
    }

    /// Its rules for `host` at or below [`OUTPOST_PATH`].
    pub fn outpost_paths_of(&self, host: &Host) -> &[OutpostPath] {
        let start = self.outpost_paths.partition_point(|path| path.host.as_ref() < Some(host));
        let end = self.outpost_paths.partition_point(|path| path.host.as_ref() <= Some(host));
        self.outpost_paths.get(start..end).unwrap_or_default()
    }

    /// Hosts on which its visitors may be sent to log in: its own, and the one in the address of its login check, which an app that is
    /// refused keeps as it is.
    pub fn login_hosts(&self) -> HashSet<Host> {
        let url = self.app().and_then(|app| app.annotation(AUTH_URL)).unwrap_or_default();
        let named = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).and_then(Host::parse);
        self.hosts.iter().cloned().chain(named).collect()
    }

    /// Whether this is a live Ingress that asks for protection, rightly written or not.
    pub fn is_opted_in(&self) -> bool {
        !self.deleting && self.app().is_some_and(|app| app.opt_in != OptIn::Off)
    }

    /// Whether annotations of this controller's stand between visitors and the app; those under `keys` alone do not.
    pub fn is_protected(&self, keys: &Keys) -> bool {
        let applied = self.app().is_some_and(|app| app.owned.iter().any(|key| !keys.is_own(key)));
        applied || !self.middlewares.is_empty()
    }

    /// Whether an observed outpost Ingress is as `desired` wants it, all that others added to it left aside.
    pub fn matches(&self, desired: &Self) -> bool {
        self.class == desired.class
            && self.outpost_paths == desired.outpost_paths
            && self.role == desired.role
    }
}

fn role(ingress: &Ingress, key: &ObjectKey, keys: &Keys, middlewares: &[Arc<str>]) -> Role {
    if let Some(companion) = outpost_ingress(ingress, key, keys) {
        return Role::OutpostIngress(Box::new(companion));
    }
    let (mut owned, mut edited, mut others) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in ingress.metadata.managed_fields.iter().flatten() {
        let keys = match (entry.manager.as_deref(), entry.operation.as_deref()) {
            (Some(MANAGER), Some("Apply")) => &mut owned,
            (Some(MANAGER), _) => &mut edited,
            _ => &mut others,
        };
        keys.extend(managed_annotations(entry));
    }
    let opt_in = annotation(&ingress.metadata, &keys.opt_in);
    let closed = closed(&ingress.metadata);
    // Whoever takes the request back may go on with an auth-url of his own, and with the route that it leads through.
    let asks_outpost = annotation(&ingress.metadata, AUTH_URL).is_some_and(leads_to_outpost);
    if owned.is_empty() && opt_in.is_none() && middlewares.is_empty() && closed.is_empty() && !asks_outpost {
        return Role::Bystander;
    }
    let spec = ingress.spec.as_ref();
    let is_relevant = |key: &str| {
        key == LEGACY_CLASS
            || keys.is_own(key)
            || owned.contains(key)
            || RELEVANT.iter().any(|start| key.starts_with(start))
    };
    let named_hosts =
        || rules(ingress).filter_map(|rule| rule.host.as_deref()).filter(|host| !host.is_empty());
    Role::App(Box::new(AppFacts {
        opt_in: match opt_in {
            None | Some("false") => OptIn::Off,
            Some("true") => OptIn::On,
            Some(other) => OptIn::Invalid(other.to_owned()),
        },
        annotations: without_closures(annotations(&ingress.metadata, is_relevant), &closed),
        closed,
        invalid_hosts: named_hosts().filter(|host| Host::parse(host).is_none()).map(str::to_owned).collect(),
        has_hostless_rule: rules(ingress).any(|rule| rule.host.as_deref().is_none_or(str::is_empty)),
        has_default_backend: spec.is_some_and(|spec| spec.default_backend.is_some()),
        no_auth_paths: no_auth_paths(ingress),
        shared: owned.intersection(&others).copied().map(Into::into).collect(),
        edited: edited.difference(&others).copied().map(Into::into).collect(),
        owned: owned.into_iter().map(Into::into).collect(),
    }))
}

/// The outpost Ingress in `ingress`, if it is one of ours.
///
/// The name is part of the test, because RKE2's migration clones Ingresses with all labels and annotations
/// under another name: a clone is not ours to keep up or to delete.
fn outpost_ingress(ingress: &Ingress, key: &ObjectKey, keys: &Keys) -> Option<OutpostIngressFacts> {
    let metadata = &ingress.metadata;
    let app = annotation(metadata, &keys.app).filter(|app| outpost_ingress_name(app) == *key.name)?;
    if !is_ours(metadata) {
        return None;
    }
    let spec = ingress.spec.as_ref();
    let owners = metadata.owner_references.iter().flatten();
    let owner = owners.clone().find(|owner| owner.controller == Some(true) && owner.kind == "Ingress");
    let has_other_path = paths(ingress).count() != outpost_paths(ingress).len();
    let is_controlled = |key: &str| {
        keys.is_own(key)
            || key.starts_with("external-dns.")
            || RELEVANT.iter().any(|start| key.starts_with(start))
    };
    Some(OutpostIngressFacts {
        app: app.into(),
        outpost: super::label(metadata, &keys.outpost).map(Into::into),
        annotations: annotations(metadata, is_controlled),
        owner: owner.map(|owner| Owner { name: owner.name.as_str().into(), uid: owner.uid.as_str().into() }),
        has_more: has_other_path
            || spec.is_some_and(|spec| {
                spec.default_backend.is_some() || spec.tls.as_ref().is_some_and(|tls| !tls.is_empty())
            }),
    })
}

fn share_annotations(annotations: &mut Annotations, share: &mut impl FnMut(&mut Arc<str>)) {
    let mut shared: Vec<_> = std::mem::take(annotations).into_tuple_vec();
    for (key, value) in &mut shared {
        share(key);
        share(value);
    }
    *annotations = shared.into_iter().collect();
}

/// Keys of the annotations that one field manager owns.
fn managed_annotations(entry: &ManagedFieldsEntry) -> impl Iterator<Item = &str> {
    let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.pointer("/f:metadata/f:annotations"));
    let keys = fields.and_then(Value::as_object).into_iter().flat_map(|keys| keys.keys());
    keys.filter_map(|key| key.strip_prefix("f:"))
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Names of the Middlewares of ours in the list of the Ingress `ingress`.
fn own_middlewares(metadata: &ObjectMeta, ingress: &ObjectKey) -> Box<[Arc<str>]> {
    let list = annotation(metadata, ROUTER_MIDDLEWARES).unwrap_or_default();
    list.split(',')
        .filter_map(|entry| own_middleware_in(&ingress.namespace, entry.trim()))
        .map(Into::into)
        .collect()
}

fn annotations(metadata: &ObjectMeta, keep: impl Fn(&str) -> bool) -> Annotations {
    let kept: Vec<_> = metadata.annotations.iter().flatten().filter(|(key, _)| keep(key)).collect();
    // From a vector, whose length is known: the map then has no room to spare.
    kept.into_iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

/// Keys of the annotations by which admission closed the Ingress.
fn closed(metadata: &ObjectMeta) -> Box<[Arc<str>]> {
    let of = |key: &str| annotation(metadata, key).unwrap_or_default();
    let by_url = (of(AUTH_URL) == CLOSED_URL).then_some(AUTH_URL);
    let is_closure = |entry: &str| entry.trim() == CLOSED_MIDDLEWARE;
    let by_middleware = of(ROUTER_MIDDLEWARES).split(',').any(is_closure).then_some(ROUTER_MIDDLEWARES);
    by_url.into_iter().chain(by_middleware).map(Into::into).collect()
}

/// `annotations` as if admission had not closed the Ingress.
fn without_closures(annotations: Annotations, closed: &[Arc<str>]) -> Annotations {
    if closed.is_empty() {
        return annotations;
    }
    let open = annotations.into_tuple_vec().into_iter().filter_map(|(key, value)| {
        if !contains(closed, &key) {
            return Some((key, value));
        }
        let entries =
            value.split(',').map(str::trim).filter(|entry| ![CLOSED_URL, CLOSED_MIDDLEWARE].contains(entry));
        let rest = entries.collect::<Vec<_>>().join(",");
        (!rest.is_empty()).then(|| (key, rest.into()))
    });
    open.collect()
}

fn contains(texts: &[Arc<str>], wanted: &str) -> bool {
    texts.iter().any(|text| **text == *wanted)
}

fn rules(ingress: &Ingress) -> impl Iterator<Item = &IngressRule> {
    ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten())
}

fn host_of(rule: &IngressRule) -> Option<Host> {
    rule.host.as_deref().and_then(Host::parse)
}

/// All paths with their rule; one without a path reads as `/`.
fn paths(ingress: &Ingress) -> impl Iterator<Item = (&IngressRule, &str, &HTTPIngressPath)> {
    rules(ingress).flat_map(|rule| {
        let paths = rule.http.iter().flat_map(|http| http.paths.iter());
        paths.map(move |path| (rule, path.path.as_deref().unwrap_or("/"), path))
    })
}

fn outpost_paths(ingress: &Ingress) -> Box<[OutpostPath]> {
    let (found, others): (Vec<_>, Vec<_>) = paths(ingress).partition(|(_, path, _)| is_outpost_path(path));
    let others: HashSet<Option<&str>> = others.into_iter().map(|(rule, ..)| rule.host.as_deref()).collect();
    let mut found: Box<[OutpostPath]> = found
        .into_iter()
        .map(|(rule, path, whole)| {
            let service = whole.backend.service.as_ref();
            OutpostPath {
                host: host_of(rule),
                path: path.into(),
                path_type: whole.path_type.as_str().into(),
                service: service.map(|service| service.name.as_str().into()),
                port: service.and_then(|service| service.port.as_ref()?.number),
                has_more: others.contains(&rule.host.as_deref()),
            }
        })
        .collect();
    found.sort_by(|one, other| one.host.cmp(&other.host));
    found
}

/// ingress-nginx compares the beginning of the path as written, also where it is a regular expression.
fn no_auth_paths(ingress: &Ingress) -> Box<[Box<str>]> {
    let found: BTreeSet<&str> =
        paths(ingress).map(|(_, path, _)| path).filter(|path| path.starts_with(NO_AUTH_LOCATION)).collect();
    found.into_iter().map(Into::into).collect()
}

/// Whether `path` is the outpost path or one below it.
fn is_outpost_path(path: &str) -> bool {
    path.strip_prefix(OUTPOST_PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The longest path that is read as a regular expression, the most memory that one may take, and how many of an Ingress are read.
/// Whoever may write Ingresses chooses them, and reading one must not keep everybody waiting: a few characters can ask for
/// megabytes.
const MAX_REGEX: usize = 2048;
const MAX_REGEX_SIZE: usize = 64 * 1024;
const MAX_REGEXES: usize = 256;

/// Whether `path` has to be read as a regular expression to know whether it takes part of the outpost path.
fn is_doubtful(path: &str) -> bool {
    let quoted_len = path.len() + path.matches(['\\', '"']).count();
    quoted_len >= OUTPOST_PATH.len() && !is_outpost_path(path) && !is_plain(path) && !begins_otherwise(path)
}

/// Whether ingress-nginx, or Traefik in its place, would send part of the outpost path to `path`, read as a regular
/// expression.
///
/// One regex path on a host makes nginx match all its paths as `~* "^path"`, longest first, so an expression at
/// least as long as the outpost path wins where it matches. Traefik does the same with the expressions as it quotes them,
/// where a backslash counts twice. One that this engine cannot read, or not at little cost, counts as matching. Bytes, as
/// nginx reads them: classes of all of Unicode would be the larger part of the cost.
fn swallows_outpost_path(path: &str) -> bool {
    const BELOW: [&str; 6] = ["", "/", "/auth/nginx", "/start", "/callback", "/sign_out"];
    if path.len() > MAX_REGEX {
        return true;
    }
    let regex = RegexBuilder::new(&format!("^{path}"))
        .case_insensitive(true)
        .unicode(false)
        .size_limit(MAX_REGEX_SIZE)
        .build();
    regex.map_or(true, |regex| {
        BELOW.iter().any(|rest| regex.is_match(format!("{OUTPOST_PATH}{rest}").as_bytes()))
    })
}

/// Whether `path`, read as a regular expression, can match only what begins unlike the outpost path. Without reading it, which
/// costs a thousand times as much.
fn begins_otherwise(path: &str) -> bool {
    let literal =
        path.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"/-_".contains(byte)).count();
    // What comes after the last of these may say that it need not be there.
    let certain = &path.as_bytes()[..literal.saturating_sub(1)];
    let is_alike = certain.iter().zip(OUTPOST_PATH.as_bytes()).all(|(a, b)| a.eq_ignore_ascii_case(b));
    !is_alike && !path.contains('|')
}

/// Whether `path` means nothing but itself as a regular expression. Without a dot it is then no part of the outpost path.
fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_~%:@,;=&!".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_that_would_cost_much_to_read_counts_as_matching() {
        for path in [
            "/(a{1,1000}){1,1000}xxxxxxxxxxx",
            &format!("/{}", "(a|b)".repeat(1000)),
            "/(unclosed-in-some-long-path",
        ] {
            assert!(is_doubtful(path) && swallows_outpost_path(path), "{path:.40}");
        }
        for path in [
            "/api/v1/some/long/plain/path",
            "/site/[a-z]+/of/some/length",
            &format!("/{}", "x".repeat(1 << 20)),
        ] {
            assert!(!is_doubtful(path), "{path:.40}");
        }
    }

    #[test]
    fn an_expression_that_begins_otherwise_is_told_without_reading_it() {
        for path in [
            "/api/(a{1,1000}){1,1000}xxxxxxxxxxx",
            "/site/(unclosed-in-some-long-path",
            "/outposts/.*/of/somebody",
        ] {
            assert!(!is_doubtful(path), "{path}");
        }
        for path in [
            "/(.*)(of|some|greater|io)",
            "/OUTPOST.goauthentik.io/start.*",
            "/x?outpost.goauthentik.io/.*",
            "/outpostx*.goauthentik.io.*",
            "/outpostx{0}.goauthentik.io.*",
            "/site/of/somebody|/outpost.*",
        ] {
            assert!(is_doubtful(path) && swallows_outpost_path(path), "{path}");
        }
    }
}
