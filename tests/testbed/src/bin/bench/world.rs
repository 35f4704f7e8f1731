//! A fresh control plane with many Ingresses.

use crate::plan::Layout;
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso_testbed::builders::{helm_ingress, ingress_class, namespace};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::scene::OPT_IN;
use ingress_sso_testbed::writes::{Write, Writes};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

/// Label of the apps, by which they are watched without their companions.
pub(crate) const APPS: &str = "bench/app=true";

/// Selects what the controller made.
const COMPANIONS: &str = "app.kubernetes.io/managed-by=ingress-sso";

/// How many requests prepare a world at once.
const CROWD: usize = 32;

/// What the controller writes.
const WRITTEN: [&str; 4] = ["ingresses", "services", "configmaps", "events"];

/// Nothing is written for so long: then it is quiet.
const QUIET: Duration = Duration::from_secs(1);

/// Namespace and name of an app's Ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct App {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl App {
    /// An Ingress like those that Helm charts make.
    pub(crate) fn ingress(&self, is_opted_in: bool) -> Ingress {
        let builder = helm_ingress(&self.namespace, &self.name);
        if is_opted_in { builder.annotation(OPT_IN, "true") } else { builder }.build()
    }
}

/// `number` apps in namespaces called after `prefix`, `in_each` in each.
pub(crate) fn apps(prefix: &str, number: usize, in_each: usize) -> Vec<App> {
    let app = |index: usize| App {
        namespace: format!("{prefix}-{}", index / in_each),
        name: format!("app-{}", index % in_each),
    };
    (0..number).map(app).collect()
}

/// See the module's documentation. Dropping it stops the control plane.
pub(crate) struct World {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
}

impl World {
    /// An empty one, with the class `nginx`.
    pub(crate) async fn empty() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let client = plane.client()?;
        let class = ingress_class("nginx", "k8s.io/ingress-nginx");
        Api::<IngressClass>::all(client.clone()).create(&PostParams::default(), &class).await?;
        Ok(Self { plane, client })
    }

    /// One with `number` opted-in apps.
    pub(crate) async fn with_apps(number: usize, layout: Layout) -> Result<(Self, Vec<App>)> {
        let world = Self::empty().await?;
        let apps = apps("apps", number, layout.apps_in_a_namespace(number));
        world.create(&apps, true).await?;
        Ok((world, apps))
    }

    /// Creates the apps and their namespaces. Only those that are opted in, or will be, are `APPS` to a watch: see
    /// [`World::create_others`].
    pub(crate) async fn create(&self, apps: &[App], are_opted_in: bool) -> Result<()> {
        self.create_all(apps, |app| {
            let mut ingress = app.ingress(are_opted_in);
            let (key, value) = APPS.split_once('=').unwrap_or_default();
            ingress.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
            ingress
        })
        .await
    }

    /// Creates Ingresses that never opt in.
    pub(crate) async fn create_others(&self, others: &[App]) -> Result<()> {
        self.create_all(others, |app| app.ingress(false)).await
    }

    async fn create_all(&self, apps: &[App], ingress: impl Fn(&App) -> Ingress) -> Result<()> {
        let namespaces: BTreeSet<&str> = apps.iter().map(|app| app.namespace.as_str()).collect();
        let params = &PostParams::default();
        stream::iter(namespaces)
            .map(|name| async move {
                Api::<Namespace>::all(self.client.clone()).create(params, &namespace(name)).await
            })
            .buffer_unordered(CROWD)
            .try_for_each(|_| async { Ok(()) })
            .await
            .context("create the namespaces")?;
        stream::iter(apps)
            .map(|app| {
                let ingress = ingress(app);
                async move { self.api::<Ingress>(&app.namespace).create(params, &ingress).await }
            })
            .buffer_unordered(CROWD)
            .try_for_each(|_| async { Ok(()) })
            .await
            .context("create the apps")
    }

    /// Opts all `apps` in, or out, many at once.
    pub(crate) async fn opt(&self, apps: &[App], is_in: bool) -> Result<()> {
        self.annotate_all(apps, OPT_IN, if is_in { "true" } else { "false" }).await
    }

    /// Sets an annotation on all `apps`, many at once.
    pub(crate) async fn annotate_all(&self, apps: &[App], key: &str, value: &str) -> Result<()> {
        // Not a closure that borrows: what it makes would not be `Send`.
        let requests = apps.iter().map(|app| self.annotate(app, key, value));
        stream::iter(requests.collect::<Vec<_>>())
            .buffer_unordered(CROWD)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    /// Sets an annotation as a user would.
    pub(crate) async fn annotate(&self, app: &App, key: &str, value: &str) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        let params =
            PatchParams { field_manager: Some("kubectl-annotate".to_owned()), ..PatchParams::default() };
        self.api::<Ingress>(&app.namespace).patch(&app.name, &params, &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Access to a kind in a namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// What has been written so far of the kinds that the controller writes, once nothing is any more.
    pub(crate) async fn writes(&self) -> Result<Writes> {
        Writes::settled(&self.client, &WRITTEN, QUIET).await
    }

    /// Whether nothing is left that the controller made.
    pub(crate) async fn has_no_companions(&self) -> Result<bool> {
        Ok(self.is_gone::<Ingress>().await?
            && self.is_gone::<Service>().await?
            && self.is_gone::<ConfigMap>().await?)
    }

    async fn is_gone<K>(&self) -> Result<bool>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let one = ListParams::default().labels(COMPANIONS).limit(1);
        Ok(Api::<K>::all(self.client.clone()).list(&one).await?.items.is_empty())
    }

    /// A hash of all Ingresses and companions without what differs from one control plane to the next: two worlds in
    /// which the same was written have the same.
    pub(crate) async fn fingerprint(&self) -> Result<String> {
        let mut objects = self.objects::<Ingress>(&ListParams::default()).await?;
        objects.extend(self.objects::<Service>(&ListParams::default().labels(COMPANIONS)).await?);
        objects.extend(self.objects::<ConfigMap>(&ListParams::default().labels(COMPANIONS)).await?);
        let hash = Sha256::digest(serde_json::to_vec(&objects)?);
        let first: [u8; 8] = hash.first_chunk().copied().unwrap_or_default();
        Ok(format!("{:016x}", u64::from_be_bytes(first)))
    }

    async fn objects<K>(&self, params: &ListParams) -> Result<Vec<Value>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let list = Api::<K>::all(self.client.clone()).list(params).await?;
        let without_chance = |object: &K| {
            let mut value = serde_json::to_value(object)?;
            for key in ["uid", "resourceVersion", "creationTimestamp"] {
                value["metadata"][key].take();
            }
            for part in ["managedFields", "ownerReferences"] {
                for entry in value["metadata"][part].as_array_mut().into_iter().flatten() {
                    entry["time"].take();
                    entry["uid"].take();
                    // Its keys are the owners' uids.
                    entry["fieldsV1"]["f:metadata"]["f:ownerReferences"].take();
                }
            }
            anyhow::Ok(value)
        };
        list.items.iter().map(without_chance).collect()
    }
}

/// Writes by verb and kind, and by the answer where it was a refusal, such as `POST services` or `POST services 409`.
pub(crate) fn by_kind(writes: &Writes) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for (Write { resource, verb, code }, number) in writes.iter() {
        let kind =
            if *code < 400 { format!("{verb} {resource}") } else { format!("{verb} {resource} {code}") };
        *kinds.entry(kind).or_default() += number;
    }
    kinds
}
