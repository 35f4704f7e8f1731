//! A namespace of its own with the controller watching it, and short words for what tests do there.

use crate::builders::{IngressBuilder, ingress, ingress_class, namespace};
use crate::control_plane::ControlPlane;
use crate::controller::Controller;
use crate::wait::{eventually, throughout};
use anyhow::{Context, Result, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a test waits for what should take milliseconds: long, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The opt-in annotation.
pub const OPT_IN: &str = "sso.djieno.com/authentik";

/// The status annotation.
pub const STATUS: &str = "sso.djieno.com/status";

/// The annotation that explains a status.
pub const MESSAGE: &str = "sso.djieno.com/message";

/// An outpost setting for the controller; nothing listens there.
pub const OUTPOST: &str =
    "proxy-outpost=http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000";

/// See the module's documentation.
pub struct Scene {
    plane: Plane,
    client: Client,
    program: PathBuf,
    namespace: String,
}

/// Where a scene is.
enum Plane {
    Shared(&'static ControlPlane),
    /// It ends with the scene: planes that pile up slow the tests down that are still to come.
    Own(Box<ControlPlane>),
}

impl Deref for Plane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match self {
            Self::Shared(plane) => plane,
            Self::Own(plane) => plane,
        }
    }
}

impl Scene {
    /// A fresh namespace on the shared control plane, and the `IngressClass` `nginx`; `program` is the controller.
    pub async fn new(program: &str) -> Result<Self> {
        Self::on(Plane::Shared(ControlPlane::shared().await?), program).await
    }

    /// The same on a control plane of the test's own, which ends with the scene, for what concerns a whole cluster.
    pub async fn alone(program: &str) -> Result<Self> {
        Self::with_api_server(program, &[]).await
    }

    /// The same with further flags for the API server.
    pub async fn with_api_server(program: &str, flags: &[&str]) -> Result<Self> {
        Self::on(Plane::Own(Box::new(ControlPlane::start_with(flags).await?)), program).await
    }

    /// A fresh namespace on another control plane that all tests of this process share: its API server does not stream lists.
    pub async fn without_streamed_lists(program: &str) -> Result<Self> {
        static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
        let start = || ControlPlane::start_with(&["--feature-gates=WatchList=false"]);
        Self::on(Plane::Shared(PLANE.get_or_try_init(start).await?), program).await
    }

    async fn on(plane: Plane, program: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let client = plane.client()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let scene = Self { plane, client, program: program.into(), namespace: format!("scene-{number}") };
        let namespaces: Api<Namespace> = Api::all(scene.client.clone());
        namespaces.create(&PostParams::default(), &namespace(&scene.namespace)).await?;
        scene.class("nginx", "k8s.io/ingress-nginx").await?;
        Ok(scene)
    }

    /// Makes sure that there is this class, for the whole control plane.
    pub async fn class(&self, name: &str, controller: &str) -> Result<()> {
        let classes: Api<IngressClass> = Api::all(self.client.clone());
        match classes.create(&PostParams::default(), &ingress_class(name, controller)).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => _ = other?,
        }
        Ok(())
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Starts the controller for this namespace only, with [`OUTPOST`] and `args`, and waits until it is ready.
    pub async fn controller(&self, args: &[&str]) -> Result<Controller> {
        self.controller_with(&[&["--outpost", OUTPOST], args].concat()).await
    }

    /// Starts the controller for this namespace only, with nothing but `args`, and waits until it is ready.
    pub async fn controller_with(&self, args: &[&str]) -> Result<Controller> {
        let scope = ["--namespace", &self.namespace, "--outpost-namespace", &self.namespace];
        let controller = self.start(self.plane.kubeconfig(), &[&scope, args].concat())?;
        controller.wait_ready(PATIENCE).await?;
        Ok(controller)
    }

    /// Starts the controller with this kubeconfig and these arguments.
    pub fn start(&self, kubeconfig: &Path, args: &[&str]) -> Result<Controller> {
        Controller::builder(&self.program)
            .kubeconfig(kubeconfig)
            .args(args)
            .env("RUST_LOG", "ingress_sso=debug")
            .start()
    }

    /// Starts an Ingress of this namespace with one host.
    pub fn app(&self, name: &str, host: &str) -> IngressBuilder {
        ingress(&self.namespace, name).host(host)
    }

    /// The same, asking for protection.
    pub fn opted_in(&self, name: &str, host: &str) -> IngressBuilder {
        self.app(name, host).annotation(OPT_IN, "true")
    }

    /// Access to a kind in this namespace.
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object.
    pub async fn create<K>(&self, object: impl Into<K>) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        Ok(self.api().create(&PostParams::default(), &object.into()).await?)
    }

    /// Deletes an object.
    pub async fn delete<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Changes an object by a merge patch, as `kubectl edit` would.
    pub async fn edit<K>(&self, name: &str, patch: &Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        Ok(self.api::<K>().patch(name, &params, &Patch::Merge(patch)).await?)
    }

    /// Sets an annotation of an Ingress, or removes it.
    pub async fn annotate(&self, name: &str, key: &str, value: Option<&str>) -> Result<Ingress> {
        self.edit(name, &json!({ "metadata": { "annotations": { key: value } } })).await
    }

    /// An Ingress of this namespace; an error if there is none.
    pub async fn ingress(&self, name: &str) -> Result<Ingress> {
        self.api().get(name).await.with_context(|| format!("Ingress {name}"))
    }

    /// Names of all objects of a kind, in order.
    pub async fn names<K>(&self) -> Result<Vec<String>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let list = self.api::<K>().list(&ListParams::default()).await?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// Waits until the app's status is `wanted`, and returns its Ingress.
    pub async fn until_status(&self, name: &str, wanted: &str) -> Result<Ingress> {
        eventually(format!("status {wanted} of {name}"), PATIENCE, || async {
            let ingress = self.ingress(name).await?;
            if annotation(&ingress, STATUS) == Some(wanted) {
                return Ok(Some(ingress));
            }
            bail!("{:?}", ingress.annotations())
        })
        .await
    }

    /// Waits until the app is protected, and returns its Ingress.
    pub async fn until_protected(&self, name: &str) -> Result<Ingress> {
        self.until_status(name, "Protected").await
    }

    /// Waits until a kind has exactly the objects `wanted`, in order.
    pub async fn until_names<K>(&self, wanted: &[&str]) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        eventually(format!("{} {wanted:?}", K::kind(&())), PATIENCE, || async {
            let names = self.names::<K>().await?;
            if names == wanted { Ok(Some(())) } else { bail!("{names:?}") }
        })
        .await
    }

    /// Waits until the Ingress has none of our annotations any more but the ones that users write.
    pub async fn until_untouched(&self, name: &str) -> Result<Ingress> {
        eventually(format!("{name} without our annotations"), PATIENCE, || async {
            let ingress = self.ingress(name).await?;
            if injected(&ingress).is_empty() {
                Ok(Some(ingress))
            } else {
                bail!("{:?}", ingress.annotations())
            }
        })
        .await
    }

    /// Waits until nothing of ours is left in the namespace: no Service, no `ConfigMap`, and of Ingresses only `apps`.
    pub async fn until_only(&self, apps: &[&str]) -> Result<()> {
        self.until_names::<Ingress>(apps).await?;
        self.until_names::<Service>(&[]).await?;
        self.until_names::<ConfigMap>(&[]).await
    }

    /// Waits for an Event with this reason on an app's Ingress, and returns it.
    pub async fn until_event(&self, app: &str, reason: &str) -> Result<Event> {
        eventually(format!("Event {reason} on {app}"), PATIENCE, || async {
            let events = self.events(app).await?;
            let found = events.iter().find(|event| event.reason.as_deref() == Some(reason)).cloned();
            if found.is_none() {
                bail!("{:?}", events.iter().map(|event| event.reason.clone()).collect::<Vec<_>>());
            }
            Ok(found)
        })
        .await
    }

    /// All Events on an app's Ingress.
    pub async fn events(&self, app: &str) -> Result<Vec<Event>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?;
        let is_about = |event: &Event| {
            event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(app))
        };
        Ok(events.items.into_iter().filter(is_about).collect())
    }

    /// Checks over a second and a half that the object does not change.
    pub async fn stays<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let before = self.api::<K>().get(name).await?.resource_version();
        throughout(format!("{name} unchanged"), Duration::from_millis(1500), || async {
            let now = self.api::<K>().get(name).await?.resource_version();
            if now != before {
                bail!("{name} changed from version {before:?} to {now:?}");
            }
            Ok(())
        })
        .await
    }
}

/// Value of an annotation.
pub fn annotation<'a>(object: &'a impl ResourceExt, key: &str) -> Option<&'a str> {
    object.annotations().get(key).map(String::as_str)
}

/// Keys of the annotations that protection puts on an app's Ingress.
pub fn injected(ingress: &Ingress) -> Vec<&str> {
    let is_injected = |key: &&str| {
        key.starts_with("nginx.ingress.kubernetes.io/auth-") || *key == STATUS || *key == MESSAGE
    };
    ingress.annotations().keys().map(String::as_str).filter(is_injected).collect()
}
