//! What an app asks for, with every name in it resolved: the step from words in annotations to known things.

use super::Dialect;
use super::outpost::{Discovered, Outpost};
use super::refusal::Refusal;
use super::waiting::Waiting;
use crate::config::{AuthRoute, Scheme, Settings};
use crate::contract::LEGACY_CLASS;
use crate::facts::{AppFacts, ClassRef, Host, IngressClassFacts, IngressFacts, ObjectKey, OptIn};
use std::collections::BTreeMap;

/// What requests are resolved against.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// `IngressClasses` of the cluster.
    pub classes: Classes,
    /// Outposts found in the cluster.
    pub outposts: Discovered,
    /// Whether the cluster has Traefik's Middlewares.
    pub middlewares: MiddlewareKind,
}

/// Whether the cluster has a kind that is not Kubernetes' own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MiddlewareKind {
    /// The first list is not there yet.
    #[default]
    Unknown,
    /// The API server does not know it.
    Missing,
    /// It is there, and the first list is complete.
    Listed,
}

/// `IngressClasses` of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// By key, whose namespace is empty.
    pub known: BTreeMap<ObjectKey, IngressClassFacts>,
    /// Whether the first list is complete.
    pub complete: bool,
}

/// A well-formed request for protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who serves the app.
    pub dialect: Dialect,
    /// Which outpost guards it.
    pub outpost: Outpost,
    /// How the ingress controller reaches that outpost.
    pub auth_route: AuthRoute,
    /// What browsers speak to reach the app.
    pub scheme: Scheme,
    /// Hosts of the app; at least one.
    pub hosts: Vec<Host>,
    /// Whether the outpost path of these hosts is to be routed to the outpost.
    pub has_route: bool,
    /// Keys of annotations that somebody copied from what this controller wrote for another data plane, to be taken over.
    pub copied: Vec<String>,
}

/// Why there is no [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Someone has to change something.
    Refused(Refusal),
    /// Time will tell.
    Waiting(Waiting),
}

impl From<Refusal> for Unresolved {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Waiting> for Unresolved {
    fn from(waiting: Waiting) -> Self {
        Self::Waiting(waiting)
    }
}

impl Request {
    /// Resolves what `app`, an Ingress described by `ingress`, asks for.
    pub fn resolve(
        ingress: &IngressFacts,
        app: &AppFacts,
        settings: &Settings,
        known: &Known,
    ) -> Result<Self, Unresolved> {
        let keys = &settings.keys;
        if let OptIn::Invalid(value) = &app.opt_in {
            let (key, value) = (keys.opt_in.clone(), value.clone());
            return Err(Refusal::InvalidAnnotation { key, value, allowed: &["true", "false"] }.into());
        }
        let auth_route = choice(app, &keys.auth_route, &["host", "direct"])?;
        let scheme = choice(app, &keys.scheme, &["https", "http"])?;
        one_class(ingress, app)?;
        let dialect = dialect(ingress, settings, &known.classes)?;
        let hosts = hosts(ingress, app)?;
        let outpost = known.outposts.resolve(app.annotation(&keys.outpost), settings)?;
        let auth_route = match auth_route {
            Some("direct") => AuthRoute::Direct,
            Some(_) => AuthRoute::Host,
            // Through a wildcard, the client's choice of a name would be the choice of who is asked.
            None if hosts.iter().any(Host::is_wildcard) => AuthRoute::Direct,
            None => settings.auth_route,
        };
        let mut request = Self {
            dialect,
            outpost,
            auth_route: dialect.plane().auth_route(auth_route),
            scheme: if scheme == Some("http") { Scheme::Http } else { Scheme::Https },
            hosts,
            has_route: dialect.plane().routes_outpost_path(settings),
            copied: Vec::new(),
        };
        dialect.plane().check(ingress, app, &request, settings)?;
        request.copied = request.judge_other_annotations(ingress, app, settings)?;
        request.check_middlewares(known.middlewares)?;
        Ok(request)
    }

    /// The annotations of the data plane that protect the app.
    pub fn annotations(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        settings: &Settings,
    ) -> BTreeMap<String, String> {
        self.dialect.plane().annotations(ingress, app, self, settings)
    }

    /// Request headers of the auth check that come from a `ConfigMap`; none where the data plane needs none.
    pub fn headers(&self) -> BTreeMap<String, String> {
        self.dialect.plane().request_headers()
    }

    /// Whether it is a Middleware that asks the outpost.
    pub fn has_middleware(&self) -> bool {
        self.dialect.plane().forward_auth().is_some()
    }

    /// Whether a long regular expression among the paths of a host can take the outpost path.
    pub fn fears_long_regex(&self) -> bool {
        self.dialect.plane().lets_long_regex_win()
    }

    /// Whether another Ingress can have TLS of a host passed through unopened, and with it the app.
    pub fn fears_tls_passthrough(&self) -> bool {
        self.dialect.plane().lets_others_pass_tls_through()
    }

    /// Whether the outpost is asked about the header `Host` as clients send it.
    pub fn passes_raw_host(&self, settings: &Settings) -> bool {
        self.dialect.plane().passes_raw_host(settings)
    }

    /// An annotation that somebody else wrote is theirs; where it differs, one of the two has to give way. A copy of what
    /// this controller itself wrote is nobody's word: RKE2's migration makes such, and ours for nginx leave an app open that
    /// Traefik serves. The answer is their keys.
    fn judge_other_annotations(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        settings: &Settings,
    ) -> Result<Vec<String>, Refusal> {
        let mut copied = Vec::new();
        for (key, wanted) in self.annotations(ingress, app, settings) {
            let Some(found) = app.foreign_annotation(&key).filter(|found| *found != wanted) else { continue };
            if !self.is_ours_elsewhere(ingress, app, settings, &key, found) {
                let (found, opt_in) = (found.to_owned(), settings.keys.opt_in.clone());
                return Err(Refusal::OwnAnnotation { key, found, wanted, opt_in });
            }
            copied.push(key);
        }
        Ok(copied)
    }

    /// Whether this controller would write `found` for the same app on another data plane. Only where either a status was
    /// copied along, which people have no reason to write, or all that it would write there: its own status, as it stands on
    /// every refused app, proves nothing.
    fn is_ours_elsewhere(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        settings: &Settings,
        key: &str,
        found: &str,
    ) -> bool {
        let others = Dialect::ALL.into_iter().filter(|dialect| *dialect != self.dialect);
        let routes = [AuthRoute::Host, AuthRoute::Direct];
        let mut requests =
            others.flat_map(|dialect| routes.map(|auth_route| Self { dialect, auth_route, ..self.clone() }));
        let has_status = app.foreign_annotation(&settings.keys.status).is_some();
        requests.any(|request| {
            let ours = request.annotations(ingress, app, settings);
            let is_whole =
                || ours.iter().all(|(key, value)| app.foreign_annotation(key) == Some(value.as_str()));
            ours.get(key).map(String::as_str) == Some(found) && (has_status || is_whole())
        })
    }

    fn check_middlewares(&self, kind: MiddlewareKind) -> Result<(), Unresolved> {
        match kind {
            _ if !self.has_middleware() => Ok(()),
            MiddlewareKind::Listed => Ok(()),
            MiddlewareKind::Missing => Err(Refusal::NoMiddlewareKind.into()),
            MiddlewareKind::Unknown => Err(Waiting::ForMiddlewares.into()),
        }
    }
}

/// The value of an annotation that allows only certain words.
fn choice<'a>(
    app: &'a AppFacts,
    key: &str,
    allowed: &'static [&'static str],
) -> Result<Option<&'a str>, Refusal> {
    match app.annotation(key) {
        Some(value) if !allowed.contains(&value) => {
            Err(Refusal::InvalidAnnotation { key: key.to_owned(), value: value.to_owned(), allowed })
        }
        value => Ok(value),
    }
}

fn hosts(ingress: &IngressFacts, app: &AppFacts) -> Result<Vec<Host>, Refusal> {
    if let Some(host) = app.invalid_hosts.first() {
        return Err(Refusal::InvalidHost { host: host.clone() });
    }
    if ingress.hosts.is_empty() {
        return Err(Refusal::NoHost);
    }
    if app.has_hostless_rule {
        return Err(Refusal::HostlessRule);
    }
    if let Some(path) = ingress.outpost_paths.first() {
        return Err(Refusal::OutpostPathInApp { path: path.path.to_string() });
    }
    Ok(ingress.hosts.to_vec())
}

/// The field and the annotation may not name two classes, which an update can bring about. Data planes go by the field where they
/// know the class; else by the annotation: Traefik in place of ingress-nginx where no `IngressClass` is its own, and ingress-nginx
/// where it may not read any.
fn one_class(ingress: &IngressFacts, app: &AppFacts) -> Result<(), Refusal> {
    match (&ingress.class, app.annotation(LEGACY_CLASS)) {
        (ClassRef::Spec(field), Some(annotation)) if **field != *annotation => {
            let (field, annotation) = (field.to_string(), annotation.to_owned());
            Err(Refusal::TwoClasses { key: LEGACY_CLASS, field, annotation })
        }
        _ => Ok(()),
    }
}

/// Who serves the class. Never a guess: annotations of the wrong dialect leave an app silently open.
fn dialect(ingress: &IngressFacts, settings: &Settings, classes: &Classes) -> Result<Dialect, Unresolved> {
    let class = ingress.class.name().ok_or(Refusal::NoClass)?;
    if let Some(dialect) = settings.classes.get(class) {
        return Ok(*dialect);
    }
    let Some(facts) = classes.known.get(&ObjectKey::new("", class)) else {
        return Err(if classes.complete {
            Refusal::UnknownClass { class: class.to_owned() }.into()
        } else {
            Waiting::ForClasses.into()
        });
    };
    Dialect::of_class(facts).ok_or_else(|| {
        let (class, controller) = (class.to_owned(), facts.controller.clone());
        Refusal::UnsupportedController { class, controller, supported: Dialect::supported() }.into()
    })
}
