//! What becomes of one app, given what the rest of the cluster holds.

use super::Dialect;
use super::changes::Companion;
use super::companions;
use super::outpost::Outpost;
use super::quote::shown;
use super::refusal::Refusal;
use super::request::{Request, Unresolved};
use super::status::Assurance;
use super::waiting::Waiting;
use super::warning::Warning;
use crate::config::Settings;
use crate::contract::OUTPOST_PATH;
use crate::facts::{
    AppFacts, ConfigMapFacts, Host, IngressFacts, MiddlewareFacts, ObjectKey, OptIn, ServiceFacts,
};
use crate::middleware::Middleware;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use std::collections::{BTreeMap, HashSet};

/// What stands under a name that a companion would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<T> {
    /// Nothing, or what is being deleted.
    Vacant,
    /// An object that this controller made.
    Ours(T),
    /// Somebody else's, never to be changed or deleted.
    Foreign(T),
}

impl<T> Slot<T> {
    /// The object, where it is ours.
    pub fn ours(self) -> Option<T> {
        match self {
            Self::Ours(object) => Some(object),
            _ => None,
        }
    }
}

/// Who provides the outpost route on a host of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHolder {
    /// The app itself.
    App,
    /// Another app of the same class and outpost that claims the host before it.
    Other {
        /// Ingress of that app.
        app: ObjectKey,
        /// Whether its route stands.
        is_ready: bool,
    },
    /// An Ingress that this controller did not make.
    Foreign {
        /// That Ingress.
        ingress: ObjectKey,
        /// The path that it routes.
        path: String,
        /// The known outpost that the whole path leads to, or else where it leads.
        leads_to: Result<String, String>,
    },
}

/// Everything that bears on one app.
#[derive(Clone, Debug)]
pub struct AppView<'a> {
    /// The app's Ingress; `None` when there is none under this name.
    pub ingress: Option<&'a IngressFacts>,
    /// What it asks for; `None` unless it is opted in.
    pub request: Option<&'a Result<Request, Unresolved>>,
    /// An app with another outpost that comes first on one of the hosts: host, that app, its outpost.
    pub conflict: Option<(Host, ObjectKey, String)>,
    /// For each host of the request, who provides the route.
    pub holders: Vec<(Host, HostHolder)>,
    /// Hosts that the app's outpost Ingress still serves for other apps, whose own route is yet to come.
    pub lent_hosts: Vec<Host>,
    /// Hosts in the app's outpost Ingress that it has to go on serving, for itself or for others.
    pub kept_hosts: Vec<Host>,
    /// Who reads the app's outpost Ingress, and the outpost that it names, where both are known.
    pub guard_of_route: Option<(Dialect, Outpost)>,
    /// Other Ingresses on the app's hosts that do not ask for protection.
    pub open_neighbours: Vec<(Host, ObjectKey)>,
    /// Other Ingresses that have TLS of the app's hosts passed through unopened.
    pub tls_passed_by: Vec<(Host, ObjectKey)>,
    /// Canaries of other namespaces on the app's hosts, which share in its visitors.
    pub canaries: Vec<(Host, ObjectKey)>,
    /// A regular expression on another Ingress that takes the outpost path: Ingress, host, path.
    pub swallowed_by: Option<(ObjectKey, Option<Host>, String)>,
    /// Whether an admission webhook rejected the route that the app should have, because of another app's.
    pub is_denied: bool,
    /// What stands under the name of the app's outpost Ingress.
    pub outpost_ingress: Slot<&'a IngressFacts>,
    /// What stands under the name of the namespace's Service for the outpost.
    pub service: Slot<&'a ServiceFacts>,
    /// What stands under the name of the namespace's `ConfigMap` of request headers.
    pub headers: Slot<&'a ConfigMapFacts>,
    /// Whether the ingress controller looked for that `ConfigMap` while it was missing.
    pub headers_were_missed: bool,
    /// What stands under the name of the namespace's Middleware for the outpost.
    pub middleware: Slot<&'a MiddlewareFacts>,
    /// Another Middleware that Traefik cannot tell from that one.
    pub middleware_twin: Option<ObjectKey>,
    /// What is known of whether the outpost serves the app's hosts. It has no part in the decision, only in what is said.
    pub assurance: Assurance,
}

/// What becomes of an app.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing to do with us, or on its way out by garbage collection.
    Leave,
    /// Nothing of ours may stay.
    Unprotect,
    /// It cannot be protected until someone changes something. What protects it now stays.
    Refuse(Refusal),
    /// It will be protected when something else has happened.
    Wait {
        /// What that is.
        waiting: Waiting,
        /// What is to come, of which the companions are due already: an admission webhook may tolerate the route that
        /// this app waits for only after this app's own route has made room.
        protection: Option<Box<Protection>>,
    },
    /// It is to be protected like this.
    Protect(Box<Protection>),
}

/// The objects and annotations that protect an app.
#[derive(Clone, Debug, PartialEq)]
pub struct Protection {
    /// Name of the outpost.
    pub outpost: String,
    /// Service to the outpost; `None` where the routes of others serve all hosts or a hand-made one does.
    pub service: Option<Service>,
    /// Request headers; `None` where the data plane needs none or a hand-made `ConfigMap` of the same content stands.
    pub headers: Option<ConfigMap>,
    /// What asks the outpost; `None` where the data plane needs none or a hand-made Middleware does the same.
    pub middleware: Option<Middleware>,
    /// Outpost route; `None` where the routes of others serve all hosts.
    pub outpost_ingress: Option<Ingress>,
    /// Annotations of the data plane on the app's Ingress.
    pub annotations: BTreeMap<String, String>,
    /// Annotations in which others have a part too, where they have to change; `None` takes one away.
    pub edits: BTreeMap<String, Option<String>>,
    /// Keys of annotations that are copies of this controller's own, to be taken over.
    pub copied: Vec<String>,
    /// What the admin should know.
    pub warnings: Vec<Warning>,
}

impl Protection {
    /// All companions, in the order in which they are made.
    pub fn companions(&self) -> Vec<Companion> {
        let service = self.service.clone().map(|service| Companion::Service(Box::new(service)));
        let headers = self.headers.clone().map(|headers| Companion::ConfigMap(Box::new(headers)));
        let middleware =
            self.middleware.clone().map(|middleware| Companion::Middleware(Box::new(middleware)));
        let route = self.outpost_ingress.clone().map(|route| Companion::Ingress(Box::new(route)));
        [service, headers, middleware, route].into_iter().flatten().collect()
    }
}

/// Decides what becomes of the app in `view`.
pub fn decide(view: &AppView<'_>, settings: &Settings) -> Decision {
    let Some(ingress) = view.ingress else {
        return Decision::Unprotect;
    };
    if ingress.deleting {
        return Decision::Leave;
    }
    let Some(app) = ingress.app().filter(|app| app.opt_in != OptIn::Off) else {
        return Decision::Unprotect;
    };
    let request = match view.request {
        Some(Ok(request)) => request,
        Some(Err(Unresolved::Refused(refusal))) => return Decision::Refuse(refusal.clone()),
        Some(Err(Unresolved::Waiting(waiting))) => {
            return Decision::Wait { waiting: waiting.clone(), protection: None };
        }
        None => return Decision::Leave,
    };
    match protection(view, ingress, app, request, settings) {
        Ok((protection, None)) => Decision::Protect(Box::new(protection)),
        Ok((protection, Some(waiting))) => Decision::Wait { waiting, protection: Some(Box::new(protection)) },
        Err(refusal) => Decision::Refuse(refusal),
    }
}

fn protection(
    view: &AppView<'_>,
    ingress: &IngressFacts,
    app: &AppFacts,
    request: &Request,
    settings: &Settings,
) -> Result<(Protection, Option<Waiting>), Refusal> {
    let keys = &settings.keys;
    let namespace = &ingress.key.namespace;
    let (own_hosts, waiting) = own_hosts(view, request, settings)?;
    let middleware = companions::middleware(namespace, request.dialect, &request.outpost, settings);
    let mut annotations = request.annotations(ingress, app, settings);
    let headers = companions::headers(namespace, request);
    if let Some(uid) = headers_uid(view, app, settings).filter(|_| headers.is_some()) {
        annotations.insert(keys.headers_uid.clone(), uid);
    }

    let mut protection = Protection {
        outpost: request.outpost.name.clone(),
        service: None,
        headers: headers_if_needed(view, headers)?,
        middleware: middleware_if_needed(view, middleware, settings)?,
        outpost_ingress: None,
        annotations,
        edits: request.dialect.plane().edits(ingress, app, request, settings),
        copied: request.copied.clone(),
        warnings: warnings(view, ingress, app, request),
    };
    if !own_hosts.is_empty() {
        if let Slot::Foreign(taken) = view.outpost_ingress {
            return Err(Refusal::IngressNameTaken { name: taken.key.clone() });
        }
        protection.service = service_if_needed(view, companions::service(namespace, &request.outpost, keys))?;
        let own: HashSet<&Host> = own_hosts.iter().collect();
        let lent = view.lent_hosts.iter().filter(|host| !own.contains(host));
        let hosts: Vec<Host> = own_hosts.iter().chain(lent).cloned().collect();
        protection.outpost_ingress = Some(companions::outpost_ingress(
            ingress,
            app,
            &hosts,
            (request.dialect, &request.outpost),
            keys,
        ));
    }
    Ok((protection, waiting))
}

/// The hosts whose route this app has to provide, and what it waits for on the others.
fn own_hosts(
    view: &AppView<'_>,
    request: &Request,
    settings: &Settings,
) -> Result<(Vec<Host>, Option<Waiting>), Refusal> {
    if let Some((host, holder, theirs)) = view.conflict.clone() {
        let key = settings.keys.outpost.clone();
        return Err(Refusal::OtherOutpostOnHost { host, holder, theirs, key });
    }
    if let Some((ingress, host, path)) = view.swallowed_by.clone() {
        return Err(Refusal::SwallowedPath { ingress, host, path });
    }
    let mut own = Vec::new();
    let mut waiting = None;
    for (host, holder) in &view.holders {
        match holder {
            HostHolder::App | HostHolder::Other { .. } if !request.has_route => {}
            HostHolder::App => own.push(host.clone()),
            HostHolder::Other { is_ready: true, .. } => {}
            HostHolder::Other { app, .. } => {
                waiting = waiting.or(Some(Waiting::ForRoute { host: host.clone(), holder: app.clone() }));
            }
            HostHolder::Foreign { leads_to: Ok(outpost), .. } if *outpost == request.outpost.name => {}
            HostHolder::Foreign { ingress, path, leads_to } => {
                let found = match leads_to {
                    Ok(other) => format!("it leads to the outpost {other:?}"),
                    Err(elsewhere) => elsewhere.clone(),
                };
                let (host, ingress, path) = (host.clone(), ingress.clone(), path.clone());
                let outpost = request.outpost.name.clone();
                return Err(Refusal::ForeignRoute { host, ingress, path, outpost, found });
            }
        }
    }
    Ok((own, waiting))
}

/// A hand-made Service of the right content is used and left alone.
fn service_if_needed(view: &AppView<'_>, service: Service) -> Result<Option<Service>, Refusal> {
    let Slot::Foreign(found) = view.service else {
        return Ok(Some(service));
    };
    let wanted = service.spec.as_ref().and_then(|spec| spec.external_name.clone()).unwrap_or_default();
    if found.leads_to(&wanted) {
        return Ok(None);
    }
    let leads_to = found.external_name.clone().unwrap_or_else(|| "Pods of its own".to_owned());
    Err(Refusal::ServiceNameTaken { name: found.key.clone(), wanted, found: leads_to })
}

/// A hand-made `ConfigMap` of the right content is used and left alone.
fn headers_if_needed(view: &AppView<'_>, headers: Option<ConfigMap>) -> Result<Option<ConfigMap>, Refusal> {
    match (view.headers, &headers) {
        (Slot::Foreign(found), Some(headers)) if headers.data.as_ref() == Some(&found.data) => Ok(None),
        (Slot::Foreign(found), Some(_)) => Err(Refusal::HeadersNameTaken { name: found.key.clone() }),
        _ => Ok(headers),
    }
}

/// A hand-made Middleware that does the same is used and left alone. One that Traefik cannot tell from another is of no use.
fn middleware_if_needed(
    view: &AppView<'_>,
    middleware: Option<Middleware>,
    settings: &Settings,
) -> Result<Option<Middleware>, Refusal> {
    let Some(middleware) = middleware else { return Ok(None) };
    let wanted = MiddlewareFacts::extract(&middleware, &settings.keys);
    if let Some(twin) = view.middleware_twin.clone() {
        let spelling = MiddlewareFacts::spelling(&wanted.key);
        return Err(Refusal::MiddlewareNameShared { name: wanted.key, twin, spelling });
    }
    match view.middleware {
        Slot::Foreign(found) if found.does_the_same_as(&wanted) => Ok(None),
        Slot::Foreign(found) => Err(Refusal::MiddlewareNameTaken { name: found.key.clone() }),
        _ => Ok(Some(middleware)),
    }
}

/// The uid of the `ConfigMap` of headers, where the ingress controller has to be made to read it again; once
/// written it stays, since taking it away would be one more reload for nothing.
fn headers_uid(view: &AppView<'_>, app: &AppFacts, settings: &Settings) -> Option<String> {
    let written = app.annotation(&settings.keys.headers_uid).map(str::to_owned);
    let current = view.headers.ours().map(|headers| headers.identity.uid());
    if view.headers_were_missed { current.or(written) } else { written }
}

fn warnings(view: &AppView<'_>, ingress: &IngressFacts, app: &AppFacts, request: &Request) -> Vec<Warning> {
    let mut warnings = request.dialect.plane().warnings(ingress, app, request);
    if app.has_default_backend {
        warnings.push(Warning::DefaultBackend);
    }
    let wildcards = request.hosts.iter().filter(|host| host.is_wildcard());
    warnings.extend(wildcards.map(|host| Warning::WildcardHost { host: host.clone() }));
    let neighbours = view.open_neighbours.iter().cloned();
    warnings.extend(neighbours.map(|(host, ingress)| Warning::OpenNeighbour { host, ingress }));
    let passing = view.tls_passed_by.iter().cloned();
    warnings.extend(passing.map(|(host, ingress)| Warning::TlsPassedThrough { host, ingress }));
    let canaries = view.canaries.iter().cloned();
    warnings.extend(canaries.map(|(host, ingress)| Warning::CanaryOfOthers { host, ingress }));
    warnings.extend(view.holders.iter().filter_map(|(host, holder)| match holder {
        HostHolder::App => None,
        HostHolder::Other { .. } if !request.has_route => None,
        HostHolder::Other { app, .. } => {
            Some(Warning::RouteOfOtherApp { host: host.clone(), holder: app.clone() })
        }
        HostHolder::Foreign { ingress, .. } => {
            Some(Warning::ForeignRoute { host: host.clone(), ingress: ingress.clone() })
        }
    }));
    warnings
}

/// The annotation by which the app's Ingress would still lead visitors to the outpost after all of ours is taken out.
///
/// Taking the route away then would be an outage, and on the route `host` a storm of nginx calling itself.
pub(super) fn outpost_still_used(view: &AppView<'_>) -> Option<&'static str> {
    let ingress = view.ingress?;
    let app = ingress.app()?;
    using_outpost(ingress, app).find(|key| app.foreign_annotation(key).is_some() && !app.has_edited(key))
}

/// Whether an annotation on the app's Ingress, whoever wrote it, leads visitors to the outpost.
pub fn uses_outpost(ingress: &IngressFacts) -> bool {
    ingress.app().is_some_and(|app| using_outpost(ingress, app).next().is_some())
}

fn using_outpost(ingress: &IngressFacts, app: &AppFacts) -> impl Iterator<Item = &'static str> {
    Dialect::ALL.into_iter().filter_map(|dialect| dialect.plane().annotation_using_outpost(ingress, app))
}

/// Describes where a rule at or below the outpost path leads, for messages.
pub fn describe_backend(service: Option<&str>) -> String {
    match service {
        Some(service) => format!("it leads to Service {}, which is no known outpost", shown(service)),
        None => format!("{OUTPOST_PATH} there does not lead to a Service"),
    }
}
