//! What an app asks for, with every name in it resolved: the step from words in annotations to known things.

use super::outpost::{Discovered, Outpost};
use super::refusal::Refusal;
use super::waiting::Waiting;
use super::{Dialect, companions};
use crate::config::{AuthRoute, Scheme, Settings};
use crate::facts::{AppFacts, Host, IngressClassFacts, IngressFacts, ObjectKey, OptIn};
use std::collections::BTreeMap;

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
        classes: &Classes,
        outposts: &Discovered,
    ) -> Result<Self, Unresolved> {
        let keys = &settings.keys;
        if let OptIn::Invalid(value) = &app.opt_in {
            let (key, value) = (keys.opt_in.clone(), value.clone());
            return Err(Refusal::InvalidAnnotation { key, value, allowed: &["true", "false"] }.into());
        }
        let auth_route = choice(app, &keys.auth_route, &["host", "direct"])?;
        let scheme = choice(app, &keys.scheme, &["https", "http"])?;
        let dialect = dialect(ingress, settings, classes)?;
        let hosts = hosts(ingress, app)?;
        let outpost = outposts.resolve(app.annotation(&keys.outpost), settings)?;
        let request = Self {
            dialect,
            outpost,
            auth_route: match auth_route {
                Some("direct") => AuthRoute::Direct,
                Some(_) => AuthRoute::Host,
                None => settings.auth_route,
            },
            scheme: if scheme == Some("http") { Scheme::Http } else { Scheme::Https },
            hosts,
        };
        dialect.check(ingress, app, &request, settings)?;
        request.refuse_other_annotations(ingress, app, settings)?;
        Ok(request)
    }

    /// The annotations of the data plane that protect the app.
    pub fn annotations(&self, ingress: &IngressFacts, app: &AppFacts) -> BTreeMap<String, String> {
        let headers = self.dialect.request_headers(self.auth_route);
        self.dialect.annotations(app, self, &companions::headers_key(&ingress.key.namespace, &headers))
    }

    /// An annotation that somebody else wrote is theirs; where it differs, one of the two has to give way.
    fn refuse_other_annotations(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        let annotations = self.annotations(ingress, app);
        let differing = annotations.into_iter().find_map(|(key, wanted)| {
            let found = app.foreign_annotation(&key).filter(|found| *found != wanted)?.to_owned();
            Some(Refusal::OwnAnnotation { key, found, wanted, opt_in: settings.keys.opt_in.clone() })
        });
        differing.map_or(Ok(()), Err)
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
    if let Some(path) = ingress.outpost_paths.first() {
        return Err(Refusal::OutpostPathInApp { path: path.path.clone() });
    }
    Ok(ingress.hosts.to_vec())
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
    Dialect::of_controller(&facts.controller).ok_or_else(|| {
        let (class, controller) = (class.to_owned(), facts.controller.clone());
        Refusal::UnsupportedController { class, controller, supported: Dialect::supported() }.into()
    })
}
