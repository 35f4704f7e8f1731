//! Sends changes to the API, each conditioned on what the plan saw, and tells the index what came of them.

use super::confirm::is_due;
use super::in_flight::{InFlight, Leaving};
use super::observe::Observed;
use super::question::Question;
use super::{API_TIMEOUT, SharedIndex};
use crate::contract::MANAGER;
use crate::errors::brief;
use crate::facts::{Identity, IngressFacts, ObjectKey};
use crate::index::{Index, Key, Source};
use crate::lease::Claim;
use crate::middleware::Middleware;
use crate::plan::changes::{Annotate, Change, Companion, Edit, HandOver, Kind, Repair};
use crate::telemetry::metrics::{Answer, Metrics, Verb};
use crate::watched::WatchedIngress;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{NamespaceResourceScope, Status};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;

/// Why a change did not come about.
#[derive(Debug, Error)]
pub(super) enum WriteError {
    /// The world is not as the plan saw it: plan again.
    #[error("{0}")]
    Stale(String),
    /// An admission webhook tolerates one Ingress for a host and path only, and another one is there.
    #[error("{0}")]
    Duplicate(String),
    /// The API will say the same again until someone changes something.
    #[error("{0}")]
    Rejected(String),
    /// The API cannot be reached, or not now.
    #[error("{0}")]
    Unavailable(String),
}

impl WriteError {
    pub(super) fn of(error: kube::Error, what: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(&status, what),
            other => Self::Unavailable(format!("{what}: {}", brief(&other))),
        }
    }

    /// The same in a word.
    pub(super) fn answer(&self) -> Answer {
        match self {
            Self::Stale(_) => Answer::Stale,
            Self::Duplicate(_) | Self::Rejected(_) => Answer::Rejected,
            Self::Unavailable(_) => Answer::Unavailable,
        }
    }

    fn of_status(status: &Status, what: &str) -> Self {
        let is_full = status.code == 422
            && status.message.contains("metadata.annotations")
            && status.message.contains("Too long");
        let remedy = if is_full { ": take out annotations that the Ingress can do without" } else { "" };
        let text = format!("{what}: {}{remedy}", status.message);
        let is_wrong_uid = status.code == 422 && status.message.contains("metadata.uid");
        let is_duplicate = status.message.contains("admission webhook")
            && status.message.contains("is already defined in ingress");
        match status.code {
            _ if is_duplicate => Self::Duplicate(text),
            404 | 409 | 410 => Self::Stale(text),
            422 if is_wrong_uid => Self::Stale(text),
            429 | 500..=599 => Self::Unavailable(text),
            _ => Self::Rejected(text),
        }
    }
}

/// Writes to the API. Clones share everything.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    pub(super) index: SharedIndex,
    touched: UnboundedSender<Vec<Key>>,
    in_flight: InFlight,
    claim: Claim,
    metrics: Metrics,
    /// Whether the API server is asked what it would do, and does nothing.
    pub(super) is_rehearsal: bool,
}

impl Writer {
    pub(super) fn new(
        client: Client,
        index: SharedIndex,
        touched: UnboundedSender<Vec<Key>>,
        claim: Claim,
        metrics: Metrics,
    ) -> Self {
        let in_flight = InFlight::default();
        Self { client, index, touched, in_flight, claim, metrics, is_rehearsal: false }
    }

    /// The same, by dry runs: the API server checks each request, answers with what would be, and keeps nothing of it. The
    /// index is then ahead of the cluster, so nothing else may feed it.
    pub(super) fn rehearsing(self) -> Self {
        Self { is_rehearsal: true, ..self }
    }

    /// Carries out one change.
    pub(super) async fn perform(&self, change: &Change) -> Result<(), WriteError> {
        match change {
            Change::Create(companion) => self.create(companion).await,
            Change::Repair(repair) => self.repair(repair).await,
            Change::Annotate(annotate) => self.annotate(annotate).await,
            Change::Edit(edit) => {
                self.merge::<WatchedIngress>(Kind::Ingress, &edit.app, &edit_patch(edit)).await
            }
            Change::HandOver(hand_over) => match hand_over.kind {
                Kind::Ingress => self.hand_over::<WatchedIngress>(hand_over).await,
                Kind::Service => self.hand_over::<Service>(hand_over).await,
                Kind::ConfigMap => self.hand_over::<ConfigMap>(hand_over).await,
                Kind::Middleware => self.hand_over::<Middleware>(hand_over).await,
            },
            Change::Delete { kind: kind @ Kind::Ingress, key, identity } => {
                self.confirm_route_is_unused(key).await?;
                let is_due = |index: &Index| is_due(index, change, key);
                let Some(_leaving) = Leaving::begin(self, Source::Ingresses, key, is_due) else {
                    return Err(WriteError::Stale(format!("{kind} {key} is needed again")));
                };
                self.delete::<WatchedIngress>(Kind::Ingress, key, identity).await
            }
            Change::Delete { kind, key, identity } => {
                let lock = self.in_flight.lock(*kind, key);
                let _guard = lock.lock().await;
                let is_due =
                    |index: &Index| index.plan_shared(&shared_key(*kind, key)).as_ref() == Some(change);
                // An app that comes to need it now is not to rely on it.
                let Some(_leaving) = Leaving::begin(self, source(*kind), key, is_due) else {
                    return Ok(());
                };
                self.confirm_shared_is_unused(*kind, key).await?;
                match kind {
                    Kind::Service => self.delete::<Service>(*kind, key, identity).await,
                    Kind::Middleware => self.delete::<Middleware>(*kind, key, identity).await,
                    _ => self.delete::<ConfigMap>(*kind, key, identity).await,
                }
            }
        }
    }

    /// Notes whether an admission webhook rejects the route of `app`, so that whoever is in its place may make room.
    pub(super) fn set_denied(&self, app: &ObjectKey, is_denied: bool) {
        self.tell(self.index.with(|index| index.set_denied(app, is_denied)));
    }

    async fn create(&self, companion: &Companion) -> Result<(), WriteError> {
        let (kind, key) = (companion.kind(), companion.key());
        // The apps of a namespace all want the same Service at once: one of them makes it, the others find it made.
        let lock = self.in_flight.lock(kind, &key);
        let _guard = lock.lock().await;
        match self.index.with(|index| index.is_ours(kind, &key)) {
            None => {}
            Some(true) => return Ok(()),
            Some(false) => {
                return Err(WriteError::Stale(format!("somebody else made {kind} {key} meanwhile")));
            }
        }
        match companion {
            Companion::Ingress(object) => {
                self.post(kind, &key, &WatchedIngress(object.as_ref().clone())).await
            }
            Companion::Service(object) => self.post(kind, &key, object.as_ref()).await,
            Companion::ConfigMap(object) => self.post(kind, &key, object.as_ref()).await,
            Companion::Middleware(object) => self.post(kind, &key, object.as_ref()).await,
        }
    }

    async fn post<K: Watched>(&self, kind: Kind, key: &ObjectKey, object: &K) -> Result<(), WriteError> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), dry_run: self.is_rehearsal };
        let what = format!("cannot create {kind} {key}");
        let api = self.api::<K>(key);
        let request = self.write(kind, Verb::Create, &what, api.create(&params, object));
        // What has the name already may be somebody else's, or ours from before.
        self.learn_from(key, &what, request).await
    }

    async fn repair(&self, repair: &Repair) -> Result<(), WriteError> {
        let lock = self.in_flight.lock(repair.kind, &repair.key);
        let _guard = lock.lock().await;
        match repair.kind {
            Kind::Ingress => self.merge::<WatchedIngress>(repair.kind, &repair.key, &repair.patch).await,
            Kind::Service => self.merge::<Service>(repair.kind, &repair.key, &repair.patch).await,
            Kind::ConfigMap => self.merge::<ConfigMap>(repair.kind, &repair.key, &repair.patch).await,
            Kind::Middleware => self.merge::<Middleware>(repair.kind, &repair.key, &repair.patch).await,
        }
    }

    /// Sends a merge patch, and learns from the answer.
    async fn merge<K: Watched>(&self, kind: Kind, key: &ObjectKey, patch: &Value) -> Result<(), WriteError> {
        // One that is not watched any more is known from the API's answers only.
        self.learn_from(key, &format!("cannot repair {kind} {key}"), self.patch::<K>(kind, key, patch)).await
    }

    async fn patch<K: Watched>(&self, kind: Kind, key: &ObjectKey, patch: &Value) -> Result<K, WriteError> {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            dry_run: self.is_rehearsal,
            ..PatchParams::default()
        };
        let what = format!("cannot repair {kind} {key}");
        let api = self.api::<K>(key);
        let patch = Patch::Merge(patch);
        self.write(kind, Verb::Patch, &what, api.patch(&key.name, &params, &patch)).await
    }

    /// Takes this controller out of the object's labels, of its annotations that say how it is, and of the list of who owns
    /// which field. Nothing else of the object is sent.
    async fn hand_over<K: Watched>(&self, hand_over: &HandOver) -> Result<(), WriteError> {
        let HandOver { kind, key, identity, labels, annotations } = hand_over;
        let what = format!("cannot read {kind} {key}");
        let api = self.api::<K>(key);
        let Some(found) = self.call(&what, api.get_metadata_opt(&key.name)).await? else {
            self.tell(self.index.with(|index| index.forget(source(*kind), key, Some(identity))));
            return Ok(());
        };
        let owners = found.metadata.managed_fields.unwrap_or_default();
        let mut others: Vec<_> =
            owners.into_iter().filter(|owner| owner.manager.as_deref() != Some(MANAGER)).collect();
        if others.is_empty() {
            // An empty list leaves the owners as they are; one empty entry stands for none.
            others.push(ManagedFieldsEntry::default());
        }
        let gone = |keys: &[String]| keys.iter().map(|key| (key.clone(), Value::Null)).collect::<Map<_, _>>();
        let patch = json!({ "metadata": {
            "uid": identity.uid(),
            "resourceVersion": identity.resource_version(),
            "labels": gone(labels),
            "annotations": gone(annotations),
            "managedFields": others,
        } });
        let question = self.ask::<K>(key);
        let patched = self.patch::<K>(*kind, key, &patch).await?;
        // The answer to a dry run has back what earlier ones took out of the annotations of an app.
        let is_of_app = self.is_rehearsal && *kind == Kind::Ingress;
        match is_of_app.then(|| self.index.with(|index| index.disown(key))).flatten() {
            Some(keys) => {
                self.tell(keys);
                Ok(())
            }
            None => self.learn(question, &patched).await,
        }
    }

    /// Server-side apply, as a rule without force: a value that somebody else set is theirs, and a conflict is an error.
    async fn annotate(&self, annotate: &Annotate) -> Result<(), WriteError> {
        let app = &annotate.app;
        let what = format!("cannot annotate Ingress {app}");
        let api = self.api::<WatchedIngress>(app);
        let params =
            PatchParams { force: annotate.force, dry_run: self.is_rehearsal, ..PatchParams::apply(MANAGER) };
        let apply = apply_patch(annotate);
        let apply = Patch::Apply(&apply);
        let request = self.write(Kind::Ingress, Verb::Apply, &what, api.patch(&app.name, &params, &apply));
        // An app that is edited all the time would not be protected before its watch catches up.
        self.learn_from::<WatchedIngress>(app, &what, request).await
    }

    async fn delete<K: Watched>(
        &self,
        kind: Kind,
        key: &ObjectKey,
        identity: &Identity,
    ) -> Result<(), WriteError> {
        let preconditions =
            Preconditions { uid: Some(identity.uid()), resource_version: Some(identity.resource_version()) };
        let params = DeleteParams { dry_run: self.is_rehearsal, ..DeleteParams::default() };
        let params = params.preconditions(preconditions);
        let what = format!("cannot delete {kind} {key}");
        let api = self.api::<K>(key);
        let question = self.ask::<K>(key);
        match self.write(kind, Verb::Delete, &what, api.delete(&key.name, &params)).await {
            Ok(answer) => {
                // Somebody's finalizer keeps it: it stands until that goes, and an Ingress is served.
                let going = answer.left().filter(|object| kind == Kind::Ingress && is_going(object));
                if going.is_some_and(|going| self.has_learnt(&question, &going)) {
                    return Ok(());
                }
            }
            // Gone is what was wanted.
            Err(WriteError::Stale(_))
                if self.call(&what, self.api::<K>(key).get_opt(&key.name)).await?.is_none() => {}
            Err(error) => return Err(error),
        }
        self.tell(self.index.with(|index| index.forget(source(kind), key, Some(identity))));
        Ok(())
    }

    /// Whether admission would close the app whose annotations `change` changes. Asked by a dry run, of which nothing is kept.
    pub(super) async fn would_be_closed(&self, change: &Change) -> Result<bool, WriteError> {
        let (app, params, patch) = match change {
            Change::Annotate(annotate) => {
                let params = PatchParams { force: annotate.force, ..PatchParams::apply(MANAGER) };
                (&annotate.app, params, Patch::Apply(apply_patch(annotate)))
            }
            Change::Edit(edit) => {
                let params =
                    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
                (&edit.app, params, Patch::Merge(edit_patch(edit)))
            }
            _ => return Ok(false),
        };
        let what = format!("cannot ask what admission would make of Ingress {app}");
        let (api, params) = (self.api::<WatchedIngress>(app), PatchParams { dry_run: true, ..params });
        match self.call(&what, api.patch(&app.name, &params, &patch)).await {
            Ok(ingress) => {
                let facts = self.facts(&ingress);
                Ok(facts.is_some_and(|facts| facts.app().is_some_and(|app| !app.closed.is_empty())))
            }
            Err(WriteError::Stale(text)) => {
                self.look_again::<WatchedIngress>(app, &what).await?;
                Err(WriteError::Stale(text))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn facts(&self, ingress: &WatchedIngress) -> Option<IngressFacts> {
        self.index.with(|index| index.read(&ingress.0)).ok()
    }

    /// A request that writes, counted: only as long as no other replica may. One that is under way when the claim ends is given
    /// up before another replica may begin.
    async fn write<T>(
        &self,
        kind: Kind,
        verb: Verb,
        what: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        if !self.claim.is_held() {
            return Err(WriteError::Unavailable(format!(
                "{what}: the lease is lost, another replica will do it"
            )));
        }
        let result = tokio::select! {
            biased;
            result = self.call(what, request) => result,
            () = self.claim.overdue() => Err(WriteError::Unavailable(format!(
                "{what}: no answer, and the lease is lost, so another replica will do it"
            ))),
        };
        self.metrics.wrote(kind.into(), verb, result.as_ref().err().map_or(Answer::Ok, WriteError::answer));
        result
    }

    pub(super) async fn call<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        match tokio::time::timeout(API_TIMEOUT, request).await {
            Ok(result) => result.map_err(|error| WriteError::of(error, what)),
            Err(_) => Err(WriteError::Unavailable(format!("{what}: no answer within {API_TIMEOUT:?}"))),
        }
    }

    pub(super) fn api<K: Watched>(&self, key: &ObjectKey) -> Api<K> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Learns what an object is now, or that it is gone.
    async fn look_again<K: Watched>(&self, key: &ObjectKey, what: &str) -> Result<(), WriteError> {
        self.read_again::<K>(key, what).await.map(|_| ())
    }

    /// The same, and returns what was found.
    pub(super) async fn read_again<K: Watched>(
        &self,
        key: &ObjectKey,
        what: &str,
    ) -> Result<Option<K>, WriteError> {
        let source = source(K::KIND);
        // Before it is read: what the watch has found by then may be newer than that.
        let known = self.index.with(|index| index.identity(source, key).cloned());
        let question = self.ask::<K>(key);
        let found = self.call(what, self.api::<K>(key).get_opt(&key.name)).await?;
        match &found {
            Some(object) if !self.has_learnt(&question, object) => {
                return Err(WriteError::Stale(format!("{what}: {} {key} comes and goes", K::KIND)));
            }
            None if known.is_some() => {
                self.tell(self.index.with(|index| index.forget(source, key, known.as_ref())));
            }
            _ => {}
        }
        Ok(found)
    }

    /// To be called before a request is sent from whose answer is to be learnt.
    pub(super) fn ask<K: Watched>(&self, key: &ObjectKey) -> Question {
        Question::new(&self.index, source(K::KIND), key)
    }

    /// Sends a request, and learns from the answer; or, where the world is not as the plan saw it, what is there now, for the next
    /// plan to see.
    async fn learn_from<K: Watched>(
        &self,
        key: &ObjectKey,
        what: &str,
        request: impl Future<Output = Result<K, WriteError>>,
    ) -> Result<(), WriteError> {
        let question = self.ask::<K>(key);
        match request.await {
            Ok(answer) => self.learn(question, &answer).await,
            Err(WriteError::Stale(text)) => {
                self.look_again::<K>(key, what).await?;
                Err(WriteError::Stale(text))
            }
            Err(error) => Err(error),
        }
    }

    /// Learns from the answer to a request, and looks again where the watch has gone past it meanwhile.
    async fn learn<K: Watched>(&self, question: Question, answer: &K) -> Result<(), WriteError> {
        if self.has_learnt(&question, answer) {
            return Ok(());
        }
        let (kind, key) = (K::KIND, ObjectKey::of(answer.meta()));
        match self.read_again::<K>(&key, &format!("cannot read {kind} {key}")).await? {
            Some(_) => Ok(()),
            None => Err(WriteError::Stale(format!("{kind} {key} was deleted as soon as it was written"))),
        }
    }

    /// Learns from an answer, unless the watch has gone past it meanwhile.
    pub(super) fn has_learnt<K: Watched>(&self, question: &Question, answer: &K) -> bool {
        if self.is_rehearsal {
            self.tell(self.index.with(|index| {
                // What a dry run answers has the version of what is there.
                let before = index.forget(source(K::KIND), &ObjectKey::of(answer.meta()), None);
                [before, answer.observe(index)].concat()
            }));
            return true;
        }
        question.learn(answer, |index| answer.observe(index)).map(|keys| self.tell(keys)).is_some()
    }

    /// Has `keys` looked at again.
    pub(super) fn tell(&self, keys: Vec<Key>) {
        if !keys.is_empty() {
            // The receiver is gone only when the controller is shutting down.
            let _ = self.touched.send(keys);
        }
    }
}

/// What [`Change::Edit`] sends.
fn edit_patch(edit: &Edit) -> Value {
    json!({ "metadata": {
        "uid": edit.identity.uid(),
        "resourceVersion": edit.identity.resource_version(),
        "annotations": edit.annotations,
    } })
}

/// What [`Change::Annotate`] sends.
fn apply_patch(annotate: &Annotate) -> Value {
    let mut metadata = json!({
        "name": annotate.app.name.as_ref(),
        "uid": annotate.identity.uid(),
        "resourceVersion": annotate.identity.resource_version(),
    });
    if !annotate.annotations.is_empty() {
        metadata["annotations"] = json!(annotate.annotations);
    }
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata })
}

/// Kinds that are written, of which the index learns by the answer.
pub(super) trait Watched:
    Observed
    + Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
{
    const KIND: Kind;
}

impl Watched for WatchedIngress {
    const KIND: Kind = Kind::Ingress;
}

impl Watched for Service {
    const KIND: Kind = Kind::Service;
}

impl Watched for ConfigMap {
    const KIND: Kind = Kind::ConfigMap;
}

impl Watched for Middleware {
    const KIND: Kind = Kind::Middleware;
}

fn is_going(object: &impl Resource) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// The key under which a shared companion is planned.
pub(super) fn shared_key(kind: Kind, key: &ObjectKey) -> Key {
    match kind {
        Kind::Ingress => Key::App(key.clone()),
        Kind::Service => Key::Service(key.clone()),
        Kind::ConfigMap => Key::Headers(key.clone()),
        Kind::Middleware => Key::Middleware(key.clone()),
    }
}

pub(super) fn source(kind: Kind) -> Source {
    match kind {
        Kind::Ingress => Source::Ingresses,
        Kind::Service => Source::Services,
        Kind::ConfigMap => Source::ConfigMaps,
        Kind::Middleware => Source::Middlewares,
    }
}

#[cfg(test)]
mod tests;
