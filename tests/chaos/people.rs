//! People who know nothing of the controller's troubles: they make, change and delete apps, and what is not theirs.

use super::app::{App, NAMESPACES, SLOTS};
use super::insist::{Answer, insist};
use super::ledger::Ledger;
use super::replay::{Object, Place};
use super::world::is_ours;
use anyhow::{Context, Result};
use fastrand::Rng;
use ingress_sso::contract::{OUTPOST_PATH, outpost_ingress_name, service_name};
use ingress_sso::facts::ObjectKey;
use ingress_sso::middleware::Middleware;
use ingress_sso::plan::changes::Kind;
use ingress_sso_testbed::builders::{external_name_service, ingress, namespace};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pause between two acts of people.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest time after which somebody takes back what he changed.
const REGRET: Duration = Duration::from_secs(1);

/// Who has the server apply his manifests.
const SERVER_SIDE: &str = "kustomize-controller";

/// Everybody who is not the controller.
pub(crate) struct People {
    client: Client,
    rng: Rng,
    ledger: Arc<Mutex<Ledger>>,
    apps: [Option<App>; SLOTS],
    /// How much they did.
    pub(crate) acts: usize,
}

impl People {
    pub(crate) fn new(client: Client, seed: u64, ledger: Arc<Mutex<Ledger>>) -> Self {
        Self { client, rng: Rng::with_seed(seed), ledger, apps: [const { None }; SLOTS], acts: 0 }
    }

    /// Lets them do as they like until then. The error is one that no trouble explains.
    pub(crate) async fn live(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.act().await?;
            self.acts += 1;
            sleep(PAUSE.mul_f64(self.rng.f64())).await;
        }
        Ok(())
    }

    async fn act(&mut self) -> Result<()> {
        let slot = self.rng.usize(0..SLOTS);
        match self.rng.u8(0..100) {
            0..50 => {
                let app = self.apps[slot].clone().filter(|_| self.rng.u8(0..10) < 6);
                let app = match app {
                    Some(app) => app.changed(&mut self.rng),
                    None => App::random(&mut self.rng),
                };
                let before = self.apps[slot].clone().filter(|_| self.rng.u8(0..10) < 3);
                self.put(slot, app).await?;
                let Some(before) = before else { return Ok(()) };
                sleep(REGRET.mul_f64(self.rng.f64())).await;
                self.put(slot, before).await
            }
            50..58 => self.delete_app(slot).await,
            58..64 => self.strip(slot).await,
            64..67 => self.delete_namespace().await,
            67..82 => self.delete_companion().await,
            82..90 => self.edit_companion().await,
            90..93 => self.lie(slot).await,
            _ => self.make_by_hand(slot).await,
        }
    }

    /// Makes an app, or applies it again with what is new.
    async fn put(&mut self, slot: usize, app: App) -> Result<()> {
        let wanted = app.ingress(slot);
        let key = ObjectKey::of(&wanted.metadata);
        if !self.has_namespace(&key.namespace).await? {
            return Ok(());
        }
        self.want((Kind::Ingress, key.clone()), Some(&Object::Ingress(Box::new(wanted.clone()))));
        let begin = Instant::now();
        let before = self.apps[slot].replace(app).map(|app| app.ingress(slot));
        let api = self.api::<Ingress>(&key.namespace);
        let written = if applies_by_server(slot) {
            let params = PatchParams::apply(SERVER_SIDE).force();
            insist(async || api.patch(&key.name, &params, &Patch::Apply(&wanted)).await).await
        } else {
            insist(async || by_client(&api, &wanted, before.as_ref()).await).await
        };
        self.did((Kind::Ingress, key), begin);
        unless_gone(written.map(|_| ()))
    }

    async fn delete_app(&mut self, slot: usize) -> Result<()> {
        let Some(app) = self.apps[slot].take() else { return Ok(()) };
        self.delete_their_own((Kind::Ingress, ObjectKey::of(&app.ingress(slot).metadata))).await
    }

    async fn delete_their_own(&mut self, place: Place) -> Result<()> {
        self.want(place.clone(), None);
        self.delete_anything(place).await
    }

    async fn delete_anything(&mut self, place: Place) -> Result<()> {
        let begin = Instant::now();
        let (kind, key) = &place;
        match kind {
            Kind::Ingress => delete(&self.api::<Ingress>(&key.namespace), &key.name).await?,
            Kind::Service => delete(&self.api::<Service>(&key.namespace), &key.name).await?,
            Kind::ConfigMap => delete(&self.api::<ConfigMap>(&key.namespace), &key.name).await?,
            Kind::Middleware => delete(&self.api::<Middleware>(&key.namespace), &key.name).await?,
        }
        self.did(place, begin);
        Ok(())
    }

    /// Replaces an app by what its owner has on his disk, as `kubectl replace` does: what is not his goes.
    async fn strip(&mut self, slot: usize) -> Result<()> {
        let Some(app) = &self.apps[slot] else { return Ok(()) };
        let mut bare = app.ingress(slot);
        let key = ObjectKey::of(&bare.metadata);
        let begin = Instant::now();
        let api = self.api::<Ingress>(&key.namespace);
        let Some(found) = insist(async || api.get_opt(&key.name).await).await? else { return Ok(()) };
        // It is as it was wanted before, only that a list goes which stayed because the controller had edited it.
        self.want((Kind::Ingress, key.clone()), Some(&Object::Ingress(Box::new(bare.clone()))));
        bare.metadata.resource_version = found.metadata.resource_version;
        let replaced = insist(async || api.replace(&key.name, &PostParams::default(), &bare).await).await;
        self.did((Kind::Ingress, key), begin);
        unless_gone(replaced.map(|_| ()))
    }

    /// Says that an app is protected.
    async fn lie(&mut self, slot: usize) -> Result<()> {
        let Some(app) = &self.apps[slot] else { return Ok(()) };
        let key = ObjectKey::of(&app.ingress(slot).metadata);
        let lie = json!({ "metadata": { "annotations": { "sso.djieno.com/status": "Protected" } } });
        self.edit::<Ingress>((Kind::Ingress, key), &lie).await
    }

    async fn delete_namespace(&mut self) -> Result<()> {
        let name = NAMESPACES[self.rng.usize(0..NAMESPACES.len())];
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let places = self.ledger(|ledger| ledger.places_in(name));
        for place in &places {
            self.want(place.clone(), None);
        }
        for (slot, app) in self.apps.iter_mut().enumerate() {
            app.take_if(|app| app.ingress(slot).metadata.namespace.as_deref() == Some(name));
        }
        delete(&namespaces, name).await
    }

    async fn delete_companion(&mut self) -> Result<()> {
        match self.some_companion().await? {
            Some(place) => self.delete_anything(place).await,
            None => Ok(()),
        }
    }

    async fn edit_companion(&mut self) -> Result<()> {
        let Some(place) = self.some_companion().await? else { return Ok(()) };
        match place.0 {
            Kind::Ingress => {
                let rule = json!({ "host": "elsewhere.example.com" });
                self.edit::<Ingress>(place, &json!({ "spec": { "rules": [rule] } })).await
            }
            Kind::Service => {
                let elsewhere = json!({ "spec": { "externalName": "elsewhere.example.com" } });
                self.edit::<Service>(place, &elsewhere).await
            }
            // What it holds is immutable.
            Kind::ConfigMap => {
                let label = json!({ "metadata": { "labels": { "app.kubernetes.io/part-of": "mine" } } });
                self.edit::<ConfigMap>(place, &label).await
            }
            Kind::Middleware => {
                let elsewhere =
                    json!({ "spec": { "forwardAuth": { "address": "http://elsewhere.example.com" } } });
                self.edit::<Middleware>(place, &elsewhere).await
            }
        }
    }

    async fn edit<K>(&mut self, place: Place, patch: &Value) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let begin = Instant::now();
        let api = self.api::<K>(&place.1.namespace);
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        let edited = insist(async || api.patch(&place.1.name, &params, &Patch::Merge(patch)).await).await;
        self.did(place, begin);
        unless_gone(edited.map(|_| ()))
    }

    /// Makes something that is in the controller's way, or takes it away again.
    async fn make_by_hand(&mut self, slot: usize) -> Result<()> {
        let namespace = NAMESPACES[self.rng.usize(0..NAMESPACES.len())];
        if !self.has_namespace(namespace).await? {
            return Ok(());
        }
        let host = App::random(&mut self.rng).hosts[0];
        let route = |name: &str, backend: &str| {
            let builder = ingress(namespace, name).host(host).path(OUTPOST_PATH, "ImplementationSpecific");
            builder.backend(backend, 9000).build()
        };
        match self.rng.u8(0..4) {
            0 => {
                let by_hand = external_name_service(namespace, "by-hand", super::app::ALPHA, 9000);
                self.toggle(by_hand, Object::Service, Kind::Service).await?;
                self.toggle(route("right", "by-hand"), Object::Ingress, Kind::Ingress).await
            }
            1 => self.toggle(route("wrong", "wrong"), Object::Ingress, Kind::Ingress).await,
            2 => {
                let name = service_name("alpha");
                let taken = external_name_service(namespace, &name, "elsewhere.example.com", 9000);
                self.toggle(taken, Object::Service, Kind::Service).await
            }
            _ => {
                let name = outpost_ingress_name(&format!("app-{slot}"));
                let taken = ingress(namespace, &name).host("taken.example.com").build();
                self.toggle(taken, Object::Ingress, Kind::Ingress).await
            }
        }
    }

    /// Creates `object`, or deletes it if it is there already. One of the controller's of that name is left alone.
    async fn toggle<K>(&mut self, object: K, wrap: fn(Box<K>) -> Object, kind: Kind) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let key = ObjectKey::of(object.meta());
        let place = (kind, key.clone());
        let begin = Instant::now();
        let api = self.api::<K>(&key.namespace);
        match insist(async || api.get_opt(&key.name).await).await? {
            Some(found) if is_ours(found.meta()) => Ok(()),
            Some(_) => self.delete_their_own(place).await,
            None => {
                self.want(place.clone(), Some(&wrap(Box::new(object.clone()))));
                let made = insist(async || api.create(&PostParams::default(), &object).await).await;
                self.did(place, begin);
                // The controller may have been faster, or an earlier try was not as vain as it looked.
                unless_gone(made.map(|_| ()))
            }
        }
    }

    /// One of the objects that the controller made.
    async fn some_companion(&mut self) -> Result<Option<Place>> {
        let mut places = Vec::new();
        places.extend(self.companions::<Ingress>(Kind::Ingress).await?);
        places.extend(self.companions::<Service>(Kind::Service).await?);
        places.extend(self.companions::<ConfigMap>(Kind::ConfigMap).await?);
        places.extend(self.companions::<Middleware>(Kind::Middleware).await?);
        Ok((!places.is_empty()).then(|| places.swap_remove(self.rng.usize(0..places.len()))))
    }

    async fn companions<K>(&self, kind: Kind) -> Result<Vec<Place>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::all(self.client.clone());
        let all = insist(async || api.list(&ListParams::default()).await).await?;
        let ours = all.items.iter().filter(|object| is_ours(object.meta()));
        Ok(ours.map(|object| (kind, ObjectKey::of(object.meta()))).collect())
    }

    /// Makes sure that a namespace is there; the answer is false while an old one of the name is on its way out.
    async fn has_namespace(&self, name: &str) -> Result<bool> {
        let api = Api::<Namespace>::all(self.client.clone());
        if let Some(found) = insist(async || api.get_opt(name).await).await? {
            return Ok(found.metadata.deletion_timestamp.is_none());
        }
        let made = insist(async || api.create(&PostParams::default(), &namespace(name)).await).await;
        unless_gone(made.map(|_| ())).map(|()| true)
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn want(&self, place: Place, object: Option<&Object>) {
        self.ledger(|ledger| ledger.want(place, object));
    }

    fn did(&self, place: Place, begin: Instant) {
        self.ledger(|ledger| ledger.act(place, begin));
    }

    fn ledger<T>(&self, use_it: impl FnOnce(&mut Ledger) -> T) -> T {
        use_it(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether the owner of the app in this slot has the server apply his manifests; the others compare them on their machines.
fn applies_by_server(slot: usize) -> bool {
    slot % 2 == 1
}

/// What `kubectl apply` sends who has applied `before`.
async fn by_client(api: &Api<Ingress>, wanted: &Ingress, before: Option<&Ingress>) -> Answer<Ingress> {
    let name = wanted.name_any();
    if api.get_opt(&name).await?.is_none() {
        return api.create(&PostParams::default(), wanted).await;
    }
    let mut patch = json!({ "metadata": { "annotations": wanted.annotations() }, "spec": wanted.spec });
    let dropped = before.into_iter().flat_map(ResourceExt::annotations).map(|(name, _)| name);
    for name in dropped.filter(|name| !wanted.annotations().contains_key(*name)) {
        patch["metadata"]["annotations"][name] = Value::Null;
    }
    let params =
        PatchParams { field_manager: Some("kubectl-client-side-apply".to_owned()), ..PatchParams::default() };
    api.patch(&name, &params, &Patch::Merge(&patch)).await
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    unless_gone(insist(async || api.delete(name, &DeleteParams::default()).await).await.map(|_| ()))
}

/// What was to be changed may be gone by now, or there already; or its namespace is on its way out.
fn unless_gone(answer: Answer<()>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => Ok(()),
        other => other.context("what nothing explains"),
    }
}
