//! The desired against the observed: an ordered list of API requests, empty where all is as it should be.

use super::companions;
use super::decision::{AppView, Decision, Protection, Slot, decide, outpost_still_used};
use super::status::{State, Status, WAITING};
use super::traefik;
use super::warning::Warning;
use crate::config::Settings;
use crate::contract::{Keys, ROUTER_MIDDLEWARES};
use crate::facts::{
    AppFacts, ConfigMapFacts, Facts, Host, Identity, IngressFacts, MiddlewareFacts, ObjectKey, OutpostPath,
    ServiceFacts,
};
use crate::middleware::Middleware;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// A request to the API that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make a companion that is not there. Never more than a POST, so that an object of somebody else's under the
    /// same name is an error and not a silent merge.
    Create(Companion),
    /// Set right what somebody changed in a companion of ours.
    Repair(Repair),
    /// Delete a companion of ours, in exactly the version that was seen.
    Delete {
        /// Kind of the companion.
        kind: Kind,
        /// Namespace and name.
        key: ObjectKey,
        /// The life and version to delete, and no other.
        identity: Identity,
    },
    /// Change single annotations of the app's Ingress, whoever wrote them, in exactly the version that was seen. For status
    /// annotations that somebody else wrote, since only the controller may say `Protected`, and for lists in which others
    /// have entries too.
    Edit(Edit),
    /// Apply this set of annotations to the app's Ingress as ours, in exactly the version that was seen; what was ours and is
    /// not in it goes.
    Annotate(Annotate),
    /// Leave an object as it is, and make it nobody's.
    HandOver(HandOver),
}

/// In a few words.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(companion) => write!(f, "create {} {}", companion.kind(), companion.key()),
            Self::Repair(repair) => write!(f, "repair {} {}", repair.kind, repair.key),
            Self::Delete { kind, key, .. } => write!(f, "delete {kind} {key}"),
            Self::Edit(edit) => {
                let keys: Vec<&str> = edit.annotations.keys().map(String::as_str).collect();
                write!(f, "edit {} of Ingress {}", keys.join(", "), edit.app)
            }
            Self::Annotate(annotate) => write!(f, "annotate Ingress {}", annotate.app),
            Self::HandOver(HandOver { kind, key, .. }) => write!(f, "hand over {kind} {key}"),
        }
    }
}

impl Change {
    /// Whether it makes a route of the outpost path, or changes one.
    pub fn is_of_route(&self) -> bool {
        match self {
            Self::Create(companion) => companion.kind() == Kind::Ingress,
            Self::Repair(repair) => repair.kind == Kind::Ingress,
            _ => false,
        }
    }

    /// Whether it changes the annotations of an app's own Ingress.
    pub fn is_of_annotations(&self) -> bool {
        matches!(self, Self::Annotate(_) | Self::Edit(_))
    }
}

/// See [`Change::Edit`].
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// The app's Ingress.
    pub app: ObjectKey,
    /// Its uid and version.
    pub identity: Identity,
    /// The annotations with their new values; `None` takes one away.
    pub annotations: BTreeMap<String, Option<String>>,
}

/// See [`Change::Annotate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Annotate {
    /// The app's Ingress.
    pub app: ObjectKey,
    /// Its uid and version. In any other, what was there may be more than the plan saw, or mean something else: an answer may
    /// have been lost, or this replica may have been behind when it got the lease.
    pub identity: Identity,
    /// Whether to take over annotations that others set. Only for copies of what this controller itself wrote.
    pub force: bool,
    /// All annotations that are to be ours.
    pub annotations: BTreeMap<String, String>,
}

/// See [`Change::HandOver`]. Fields that were this controller's are nobody's then, so that the next to apply them has them.
#[derive(Clone, Debug, PartialEq)]
pub struct HandOver {
    /// Kind of the object.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// The life and version that was seen, and no other.
    pub identity: Identity,
    /// Labels to take away: those by which this controller knows its own.
    pub labels: Vec<String>,
    /// Annotations to take away: those that only this controller keeps true.
    pub annotations: Vec<String>,
}

/// A companion as it is sent to the API.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Companion {
    /// Route of the outpost path.
    Ingress(Box<Ingress>),
    /// Way to the outpost.
    Service(Box<Service>),
    /// Request headers of the auth check.
    ConfigMap(Box<ConfigMap>),
    /// What asks the outpost.
    Middleware(Box<Middleware>),
}

impl Companion {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Ingress(object) => ObjectKey::of(&object.metadata),
            Self::Service(object) => ObjectKey::of(&object.metadata),
            Self::ConfigMap(object) => ObjectKey::of(&object.metadata),
            Self::Middleware(object) => ObjectKey::of(&object.metadata),
        }
    }

    /// What kind of object it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ingress(_) => Kind::Ingress,
            Self::Service(_) => Kind::Service,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Middleware(_) => Kind::Middleware,
        }
    }
}

/// Kinds of companions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `v1` Service.
    Service,
    /// `v1` `ConfigMap`.
    ConfigMap,
    /// `traefik.io/v1alpha1` Middleware.
    Middleware,
}

impl Kind {
    /// Whether `ingress` uses the shared companion `key` of this kind, whoever made either.
    pub fn is_used_by(self, ingress: &IngressFacts, key: &ObjectKey) -> bool {
        match self {
            Self::Ingress => false,
            Self::Service => ingress.routes_outpost_through(&key.name),
            Self::ConfigMap => ingress.headers.as_deref() == Some(&key.to_string()),
            Self::Middleware => ingress.middlewares.iter().any(|name| **name == *key.name),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "Ingress",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::Middleware => "Middleware",
        })
    }
}

/// A JSON merge patch that sets a companion right and fails if the object is not the one that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Repair {
    /// Kind of the companion.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// The patch.
    pub patch: Value,
}

/// What to do for one app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppPlan {
    /// Requests in stages, none of them empty: those of one stage may go at once, the next stage only when all of them
    /// succeeded.
    pub stages: Vec<Vec<Change>>,
    /// The state that the last stage leaves; `None` where none is due.
    pub status: Option<Status>,
    /// What the admin should know.
    pub warnings: Vec<Warning>,
    /// Whether more is due once this is done, which will show when it is looked at again.
    pub is_partial: bool,
}

impl AppPlan {
    /// Whether `stage` is what is to be done first.
    pub fn is_next(&self, stage: &[Change]) -> bool {
        self.stages.first().is_some_and(|first| first == stage)
    }
}

/// What is decided about the app of `view`, and the requests that carry it out: see [`app_plan`].
pub fn decided_plan(view: &AppView<'_>, settings: &Settings, is_overdue: bool) -> AppPlan {
    app_plan(view, &decide(view, settings), &settings.keys, is_overdue)
}

/// Whether `deletion` of the route of the app of `view` is due, now or after what has to come before it. What is known of the
/// app's outpost has no part in that, though it has in [`app_plan`].
pub fn is_deletion_due(view: &AppView<'_>, settings: &Settings, deletion: &Change) -> bool {
    let (decision, keys) = (decide(view, settings), &settings.keys);
    let due = make_room(view, &decision, keys).or_else(|| give_up_route(view, &decision, keys));
    due.as_ref() == Some(deletion)
}

/// The requests that carry out `decision`. With `is_overdue`, a wait has been long enough to be told.
pub fn app_plan(view: &AppView<'_>, decision: &Decision, keys: &Keys, is_overdue: bool) -> AppPlan {
    if let Some(change) = make_room(view, decision, keys) {
        return AppPlan { stages: vec![vec![change]], ..AppPlan::default() };
    }
    let given_up: Vec<Change> = give_up_route(view, decision, keys).into_iter().collect();
    let mut plan = match decision {
        Decision::Unprotect => unprotect(view),
        Decision::Protect(protection) => protect(view, protection, keys),
        Decision::Refuse(refusal) => {
            let status = Status::unprotected(State::Refused, refusal.reason(), refusal.to_string());
            keep_with_status(view, keys, status)
        }
        Decision::Wait { waiting, protection } => {
            let pending = Status::unprotected(State::Pending, WAITING, waiting.to_string());
            let told = if is_overdue { keep_with_status(view, keys, pending) } else { AppPlan::default() };
            let companions = protection.iter().flat_map(|protection| companions(view, protection, keys));
            let stages = companions.chain([given_up]).chain(told.stages);
            return AppPlan { stages: without_empty(stages), ..told };
        }
        Decision::Leave => AppPlan::default(),
    };
    // Where the annotations take another request, that is planned next, and the route goes after it.
    if !plan.is_partial {
        plan.stages.push(given_up);
    }
    AppPlan { stages: without_empty(plan.stages), ..plan }
}

fn without_empty(stages: impl IntoIterator<Item = Vec<Change>>) -> Vec<Vec<Change>> {
    stages.into_iter().filter(|stage| !stage.is_empty()).collect()
}

/// Tells of `status` and leaves whatever protects the app now as it is.
pub fn keep_with_status(view: &AppView<'_>, keys: &Keys, status: Status) -> AppPlan {
    let Some((ingress, app)) = view.ingress.and_then(|ingress| Some((ingress, ingress.app()?))) else {
        return AppPlan::default();
    };
    let mut annotations = app.owned_annotations();
    set_status(&mut annotations, keys, &status);
    let (stage, is_all) = annotate(ingress, app, annotations, false, BTreeMap::new(), keys);
    AppPlan {
        stages: without_empty([stage]),
        status: Some(status).filter(|_| is_all),
        warnings: Vec::new(),
        is_partial: !is_all,
    }
}

/// Companions first, then the annotations: an auth check whose route is missing is an outage, and on the route
/// `host` nginx calls itself about a thousand times for one request.
fn protect(view: &AppView<'_>, protection: &Protection, keys: &Keys) -> AppPlan {
    let Some((ingress, app)) = view.ingress.and_then(|ingress| Some((ingress, ingress.app()?))) else {
        return AppPlan::default();
    };
    let status = Status::of_protected(&view.assurance, protection, app, keys);
    let mut annotations = protection.annotations.clone();
    set_status(&mut annotations, keys, &status);

    let opened = open(app).filter(|(key, _)| !annotations.contains_key(key));
    let edits = opened.chain(protection.edits.clone()).collect();
    let mut stages = companions(view, protection, keys);
    let (stage, is_all) = annotate(ingress, app, annotations, !protection.copied.is_empty(), edits, keys);
    stages.push(stage);
    AppPlan {
        stages,
        status: Some(status).filter(|_| is_all),
        warnings: protection.warnings.clone(),
        is_partial: !is_all,
    }
}

/// All at once, but for a route that is in use already: it must not lead to a Service before that is there.
fn companions(view: &AppView<'_>, protection: &Protection, keys: &Keys) -> Vec<Vec<Change>> {
    let service = protection.service.as_ref().and_then(|wanted| service_change(view.service, wanted, keys));
    let headers = protection.headers.as_ref().and_then(|wanted| headers_change(view.headers, wanted));
    let middleware = protection.middleware.as_ref();
    let middleware = middleware.and_then(|wanted| middleware_change(view.middleware, wanted, keys));
    let route = protection.outpost_ingress.as_ref();
    let route = route.and_then(|wanted| ingress_change(view.outpost_ingress, wanted, keys));
    let is_later = service.is_some() && matches!(route, Some(Change::Repair(_)));
    let (route, later) = if is_later { (None, route) } else { (route, None) };
    let at_once = [service, headers, middleware, route].into_iter().flatten().collect();
    vec![at_once, later.into_iter().collect()]
}

/// The annotations, after which the route goes; what is shared follows when its last user is gone.
fn unprotect(view: &AppView<'_>) -> AppPlan {
    let mut plan = AppPlan::default();
    if let Some((ingress, app)) = view.ingress.and_then(|ingress| Some((ingress, ingress.app()?))) {
        let (stage, is_all) = take_out_annotations(ingress, app);
        plan.stages.push(stage);
        plan.is_partial = !is_all;
    }
    let still_used = outpost_used_after_opt_out(view);
    plan.warnings.extend(still_used.map(|key| Warning::RouteStillUsed { key: key.to_owned() }));
    plan
}

/// The annotation by which an app that takes its request back goes on to use its route.
fn outpost_used_after_opt_out(view: &AppView<'_>) -> Option<&'static str> {
    outpost_still_used(view).filter(|key| !view.kept_hosts.is_empty() || *key == ROUTER_MIDDLEWARES)
}

/// The request after which nothing of ours is on the app's Ingress: what we applied goes with our claim to it, and of a list
/// that we edited only our entry. It may take two: then only the first, and false.
fn take_out_annotations(ingress: &IngressFacts, app: &AppFacts) -> (Vec<Change>, bool) {
    let edits: BTreeMap<_, _> = open(app).chain(traefik::without_ours(ingress, app)).collect();
    if !edits.is_empty() {
        // What others applied as well stays with them; our claim to it goes with the next look.
        let applied = app.owned_alone().map(|key| (key.to_owned(), None));
        return (edit(ingress, applied.chain(edits)), app.shared.is_empty());
    }
    if app.owned.is_empty() {
        return (Vec::new(), true);
    }
    let annotate = Change::Annotate(Annotate {
        app: ingress.key.clone(),
        identity: ingress.identity.clone(),
        force: false,
        annotations: BTreeMap::new(),
    });
    (vec![annotate], true)
}

/// The annotations by which admission closed the app, as they were without that; `None` for those that were not there.
fn open(app: &AppFacts) -> impl Iterator<Item = (String, Option<String>)> {
    app.closed.iter().map(|key| (key.to_string(), app.annotation(key).map(str::to_owned)))
}

/// The request that gives `annotations` these values, if there are any.
fn edit(
    ingress: &IngressFacts,
    annotations: impl IntoIterator<Item = (String, Option<String>)>,
) -> Vec<Change> {
    let annotations: BTreeMap<_, _> = annotations.into_iter().collect();
    let (app, identity) = (ingress.key.clone(), ingress.identity.clone());
    if annotations.is_empty() { Vec::new() } else { vec![Change::Edit(Edit { app, identity, annotations })] }
}

/// The change after which the app's route is no more than what it has to be: its deletion, or that of hosts.
///
/// One all of whose hosts others have claimed has no route, unless they still rely on it. One that is not to be protected keeps,
/// where it still needs its route, the hosts that nobody else serves, and in any case those whose new holder is not ready. It must
/// not hold hosts that others could have, and what it keeps leads to the outpost that it led to.
fn give_up_route(view: &AppView<'_>, decision: &Decision, keys: &Keys) -> Option<Change> {
    let route = view.outpost_ingress.ours()?;
    let is_in_use = match decision {
        Decision::Protect(protection) | Decision::Wait { protection: Some(protection), .. } => {
            let is_needed = protection.outpost_ingress.is_some() || !view.lent_hosts.is_empty();
            return (!is_needed).then(|| delete_ingress(route));
        }
        Decision::Refuse(_) => {
            let is_protected = view.ingress.is_some_and(|ingress| ingress.is_protected(keys));
            is_protected || outpost_still_used(view).is_some()
        }
        Decision::Unprotect => outpost_used_after_opt_out(view).is_some(),
        Decision::Wait { protection: None, .. } | Decision::Leave => return None,
    };
    let needed = if is_in_use { &view.kept_hosts } else { &view.lent_hosts };
    match as_made(view, route, needed, keys) {
        Some(_) if route.deleting => None,
        Some(wanted) => ingress_change(view.outpost_ingress, &wanted, keys),
        None => keep_only(route, needed),
    }
}

/// The outpost Ingress `route` as it was made for `hosts`, as far as that can be told from the app and the route.
fn as_made(view: &AppView<'_>, route: &IngressFacts, hosts: &[Host], keys: &Keys) -> Option<Ingress> {
    let ingress = view.ingress.filter(|ingress| ingress.class == route.class && !hosts.is_empty())?;
    let (dialect, outpost) = view.guard_of_route.as_ref()?;
    Some(companions::outpost_ingress(ingress, ingress.app()?, hosts, (*dialect, outpost), keys))
}

/// Two apps that exchange hosts would wait for each other for ever where an admission webhook tolerates one route for a
/// host only: the rejected one first gives up the hosts that it is not going to have.
fn make_room(view: &AppView<'_>, decision: &Decision, keys: &Keys) -> Option<Change> {
    let route = view.outpost_ingress.ours().filter(|_| view.is_denied)?;
    let wanted = match decision {
        Decision::Protect(protection) | Decision::Wait { protection: Some(protection), .. } => {
            protection.outpost_ingress.as_ref()?
        }
        _ => return None,
    };
    keep_only(route, &IngressFacts::extract(wanted, keys).ok()?.hosts)
}

/// The change after which `route` serves those of its hosts that are in `hosts`, and no others.
fn keep_only(route: &IngressFacts, hosts: &[Host]) -> Option<Change> {
    if route.deleting {
        return None;
    }
    // One that somebody edited so that it leads to no Service, or to a port by its name, leads to no outpost.
    let leads = |path: &OutpostPath| path.service.is_some() && path.port.is_some_and(|port| port > 0);
    let hosts: HashSet<&Host> = hosts.iter().collect();
    let is_kept =
        |path: &&OutpostPath| leads(path) && path.host.as_ref().is_some_and(|host| hosts.contains(host));
    let paths: Vec<&OutpostPath> = route.outpost_paths.iter().filter(is_kept).collect();
    if paths.is_empty() {
        return Some(delete_ingress(route));
    }
    let patch = json!({
        "metadata": { "uid": route.identity.uid(), "resourceVersion": route.identity.resource_version() },
        "spec": { "rules": companions::rules_of(&paths) },
    });
    let repair = Change::Repair(Repair { kind: Kind::Ingress, key: route.key.clone(), patch });
    (paths.len() < route.outpost_paths.len()).then_some(repair)
}

fn delete_ingress(route: &IngressFacts) -> Change {
    Change::Delete { kind: Kind::Ingress, key: route.key.clone(), identity: route.identity.clone() }
}

fn set_status(annotations: &mut BTreeMap<String, String>, keys: &Keys, status: &Status) {
    annotations.insert(keys.status.clone(), status.state.to_string());
    if status.message.is_empty() {
        annotations.remove(&keys.message);
    } else {
        annotations.insert(keys.message.clone(), status.message.clone());
    }
}

/// The request after which `wanted` are our annotations on the app's Ingress, and those in `edits` have the values there; none
/// if it is so already. It may take two, each for the version that it finds: then only the first, and false.
fn annotate(
    ingress: &IngressFacts,
    app: &AppFacts,
    wanted: BTreeMap<String, String>,
    force: bool,
    mut edits: BTreeMap<String, Option<String>>,
    keys: &Keys,
) -> (Vec<Change>, bool) {
    let is_forged = |key: &&&String| {
        app.foreign_annotation(key).is_some_and(|found| wanted.get(**key).map(String::as_str) != Some(found))
    };
    let own = [&keys.status, &keys.message, &keys.headers_uid];
    let forged: Vec<&String> = own.iter().filter(is_forged).copied().collect();
    let is_set = wanted.iter().all(|(key, value)| app.annotation(key) == Some(value));
    let is_left_over = app.owned.iter().any(|key| !wanted.contains_key(&**key));
    let is_applied = is_set && !is_left_over && forged.is_empty();
    edits.extend(forged.into_iter().map(|key| (key.clone(), None)));
    let edited = edit(ingress, edits);
    if is_applied {
        return (edited, true);
    }
    // What is forged would be a conflict. But copies are replaced by a single request, since between two the app would be open.
    if !edited.is_empty() && !force {
        return (edited, false);
    }
    let (app, identity) = (ingress.key.clone(), ingress.identity.clone());
    let apply = Change::Annotate(Annotate { app, identity, force, annotations: wanted });
    (vec![apply], edited.is_empty())
}

fn ingress_change(slot: Slot<&'_ IngressFacts>, wanted: &Ingress, keys: &Keys) -> Option<Change> {
    let desired = IngressFacts::extract(wanted, keys).ok()?;
    let companion = || Companion::Ingress(Box::new(wanted.clone()));
    change(
        slot,
        companion,
        |observed| observed.matches(&desired),
        |observed| {
            let annotations =
                observed.outpost_ingress().into_iter().flat_map(|facts| facts.annotations.keys());
            let mut patch = merge_patch(wanted, &observed.identity, annotations);
            complete(&mut patch, "spec", &["ingressClassName", "tls", "defaultBackend"]);
            complete(&mut patch, "metadata", &["ownerReferences"]);
            patch
        },
    )
}

/// The change that makes the Service in `slot` as `wanted`, if one is due.
pub fn service_change(slot: Slot<&'_ ServiceFacts>, wanted: &Service, keys: &Keys) -> Option<Change> {
    let desired = ServiceFacts::extract(wanted, keys);
    let companion = || Companion::Service(Box::new(wanted.clone()));
    change(
        slot,
        companion,
        |observed| observed.matches(&desired),
        |observed| {
            let mut patch = merge_patch(wanted, &observed.identity, []);
            complete(&mut patch, "spec", &["selector", "clusterIP", "clusterIPs"]);
            patch
        },
    )
}

/// The change that makes the `ConfigMap` in `slot` as `wanted`, if one is due.
pub fn headers_change(slot: Slot<&'_ ConfigMapFacts>, wanted: &ConfigMap) -> Option<Change> {
    let desired = ConfigMapFacts::extract(wanted);
    let companion = || Companion::ConfigMap(Box::new(wanted.clone()));
    change(
        slot,
        companion,
        |observed| observed.matches(&desired),
        |observed| {
            let mut patch = merge_patch(wanted, &observed.identity, []);
            let surplus: Vec<&String> = observed.data.keys().collect();
            complete(&mut patch, "data", &surplus);
            patch
        },
    )
}

/// The change that makes the Middleware in `slot` as `wanted`, if one is due.
pub fn middleware_change(
    slot: Slot<&'_ MiddlewareFacts>,
    wanted: &Middleware,
    keys: &Keys,
) -> Option<Change> {
    let desired = MiddlewareFacts::extract(wanted, keys);
    let companion = || Companion::Middleware(Box::new(wanted.clone()));
    change(
        slot,
        companion,
        |observed| observed.matches(&desired),
        |observed| {
            let mut patch = merge_patch(wanted, &observed.identity, []);
            if let Some(own) = observed.own.as_deref() {
                complete(&mut patch, "spec", &own.other_steps);
                let surplus: Vec<&String> =
                    own.forward_auth.iter().flat_map(|auth| auth.others.keys()).collect();
                complete(&mut patch["spec"], "forwardAuth", &surplus);
            }
            patch
        },
    )
}

/// The change after which the companion is in `slot`, and right: made where there is none, set right where somebody changed
/// ours. What others made is left alone.
fn change<T: Facts>(
    slot: Slot<&T>,
    companion: impl FnOnce() -> Companion,
    is_right: impl FnOnce(&T) -> bool,
    patch: impl FnOnce(&T) -> Value,
) -> Option<Change> {
    match slot {
        Slot::Foreign(_) => None,
        Slot::Vacant => Some(Change::Create(companion())),
        Slot::Ours(observed) if is_right(observed) => None,
        Slot::Ours(observed) => {
            let (kind, key) = (companion().kind(), observed.key().clone());
            Some(Change::Repair(Repair { kind, key, patch: patch(observed) }))
        }
    }
}

/// Deletion of a shared companion that nobody needs any more.
pub fn delete_shared(kind: Kind, key: &ObjectKey, identity: &Identity) -> Change {
    Change::Delete { kind, key: key.clone(), identity: identity.clone() }
}

/// A merge patch with all of `wanted`, conditioned on `identity`, and without those of `annotations` that `wanted`
/// does not have.
fn merge_patch<'a>(
    wanted: &impl Serialize,
    identity: &Identity,
    annotations: impl IntoIterator<Item = &'a Arc<str>>,
) -> Value {
    let mut patch = serde_json::to_value(wanted).unwrap_or_default();
    let metadata = &mut patch["metadata"];
    metadata["uid"] = json!(identity.uid());
    metadata["resourceVersion"] = json!(identity.resource_version());
    for key in annotations {
        let wanted = metadata["annotations"].get(&**key).cloned();
        metadata["annotations"][&**key] = wanted.unwrap_or(Value::Null);
    }
    patch
}

/// Adds `null`, which a merge patch takes for deletion, for those of `fields` that `patch[section]` does not have.
fn complete(patch: &mut Value, section: &str, fields: &[impl AsRef<str>]) {
    if !patch[section].is_object() {
        patch[section] = Value::Object(Map::new());
    }
    for field in fields.iter().map(AsRef::as_ref) {
        if patch[section].get(field).is_none() {
            patch[section][field] = Value::Null;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{AUTH_URL, CLOSED_URL, MANAGED_BY, MANAGER, OUTPOST_PATH, OUTPOST_PATH_TYPE};
    use crate::index::Index;
    use crate::plan::Dialect;
    use ingress_sso_testbed::builders::ingress;

    /// The plan for `app`, whose route is still there.
    fn plan_with_route(app: impl Into<Ingress>) -> AppPlan {
        let mut settings = Settings::default();
        settings.classes.insert("nginx".to_owned(), Dialect::Nginx);
        settings.outposts.insert("main".to_owned(), "http://main.example.com:9000".parse().unwrap());
        let mut index = Index::new(Arc::new(settings));
        let route = ingress("shop", "app-outpost-path").host("a.example.com").backend("authentik-main", 9000);
        let route = route.path(OUTPOST_PATH, OUTPOST_PATH_TYPE).label(MANAGED_BY, MANAGER);
        for ingress in [app.into(), route.annotation("sso.djieno.com/app", "app").build()] {
            let facts = index.read(&ingress).unwrap();
            index.observe_ingress(facts);
        }
        decided_plan(&index.view(&ObjectKey::new("shop", "app")), index.settings(), false)
    }

    fn stages(plan: &AppPlan) -> Vec<String> {
        plan.stages.iter().flatten().map(ToString::to_string).collect()
    }

    /// After the first of two the other is next, and not the deletion, so that a plan with both would fail there.
    #[test]
    fn a_route_is_given_up_after_the_last_request_for_the_annotations() {
        let app = || {
            let app =
                ingress("shop", "app").host("a.example.com").annotation("sso.djieno.com/authentik", "true");
            app.annotation("sso.djieno.com/auth-route", "nowhere")
        };
        let plan = plan_with_route(app().annotation("sso.djieno.com/status", "Protected"));
        assert_eq!(stages(&plan), ["edit sso.djieno.com/status of Ingress shop/app"]);
        assert!(plan.is_partial);
        let plan = plan_with_route(app());
        assert_eq!(stages(&plan), ["annotate Ingress shop/app", "delete Ingress shop/app-outpost-path"]);
        assert!(!plan.is_partial);
    }

    #[test]
    fn so_it_is_after_an_opt_out() {
        let app = ingress("shop", "app").host("a.example.com").annotation(AUTH_URL, CLOSED_URL);
        let status = "sso.djieno.com/status";
        let app = app.annotation(status, "Pending").applied_by(MANAGER, &[status]);
        let mut app = app.applied_by("kubectl", &[status]).build();
        let plan = plan_with_route(app.clone());
        assert_eq!(stages(&plan), [format!("edit {AUTH_URL} of Ingress shop/app")]);
        assert!(plan.is_partial, "the claim to what others applied as well goes with the next");
        app.metadata.annotations.as_mut().unwrap().remove(AUTH_URL);
        let plan = plan_with_route(app);
        assert_eq!(stages(&plan), ["annotate Ingress shop/app", "delete Ingress shop/app-outpost-path"]);
        assert!(!plan.is_partial);
    }
}
