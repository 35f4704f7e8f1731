//! The demo's objects in the cluster.

use crate::data_plane::DataPlane;
use crate::print::print_object;
use anyhow::{Result, ensure};
use ingress_sso_testbed::builders::{ingress, ingress_class, namespace, service_to};
use ingress_sso_testbed::scene::{OPT_IN, PATIENCE, STATUS, annotation, injected};
use ingress_sso_testbed::traefik;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddrV4};

pub(crate) const NAMESPACE: &str = "n8n-prd";
pub(crate) const APP: &str = "n8n";
pub(crate) const HOST: &str = "app.djieno.com";

/// Where the app listens.
pub(crate) const APP_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 201, 1, 2), 5678);

/// Label of what the controller made.
const OURS: &str = "app.kubernetes.io/managed-by=ingress-sso";

/// See the module's documentation.
pub(crate) struct Cluster {
    client: Client,
    data_plane: DataPlane,
}

impl Cluster {
    pub(crate) fn new(client: Client, data_plane: DataPlane) -> Self {
        Self { client, data_plane }
    }

    /// Installs the app, whose server is elsewhere.
    pub(crate) async fn install_app(&self) -> Result<Ingress> {
        let params = PostParams::default();
        Api::<Namespace>::all(self.client.clone()).create(&params, &namespace(NAMESPACE)).await?;
        let (class, controller) = match self.data_plane {
            DataPlane::Nginx => ("nginx", "k8s.io/ingress-nginx"),
            DataPlane::Traefik => (traefik::CLASS, traefik::CONTROLLER),
        };
        let classes = Api::<IngressClass>::all(self.client.clone());
        if classes.get_opt(class).await?.is_none() {
            classes.create(&params, &ingress_class(class, controller)).await?;
        }
        let (service, endpoints) = service_to(NAMESPACE, APP, APP_ADDRESS);
        self.api::<Service>().create(&params, &service).await?;
        self.api::<EndpointSlice>().create(&params, &endpoints).await?;
        let app = ingress(NAMESPACE, APP).class(self.data_plane.class()).host(HOST).build();
        Ok(self.api::<Ingress>().create(&params, &app).await?)
    }

    /// Asks for protection as a user would, or takes the request back.
    pub(crate) async fn annotate(&self, value: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { OPT_IN: value } } });
        let params =
            PatchParams { field_manager: Some("kubectl-annotate".to_owned()), ..PatchParams::default() };
        self.api::<Ingress>().patch(APP, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until the controller says so.
    pub(crate) async fn until_protected(&self) -> Result<Ingress> {
        eventually("the app to be protected", PATIENCE, || async {
            let app = self.api::<Ingress>().get(APP).await?;
            ensure!(annotation(&app, STATUS) == Some("Protected"), "{:?}", app.annotations());
            Ok(Some(app))
        })
        .await
    }

    /// Prints what the controller made.
    pub(crate) async fn print_companions(&self) -> Result<()> {
        for service in self.ours(self.api::<Service>()).await? {
            print_object("v1", "Service", &service)?;
        }
        for headers in self.ours(self.api::<ConfigMap>()).await? {
            print_object("v1", "ConfigMap", &headers)?;
        }
        for middleware in self.middlewares().await? {
            print_object("traefik.io/v1alpha1", "Middleware", &middleware)?;
        }
        for route in self.ours(self.api::<Ingress>()).await? {
            print_object("networking.k8s.io/v1", "Ingress", &route)?;
        }
        Ok(())
    }

    /// Waits until all of that is gone, and returns the app's Ingress.
    pub(crate) async fn until_nothing_is_left(&self) -> Result<Ingress> {
        eventually("nothing of the controller's to be left", PATIENCE, || async {
            let left = [
                self.ours(self.api::<Ingress>()).await?.len(),
                self.ours(self.api::<Service>()).await?.len(),
                self.ours(self.api::<ConfigMap>()).await?.len(),
                self.middlewares().await?.len(),
            ];
            let app = self.api::<Ingress>().get(APP).await?;
            ensure!(left == [0; 4], "Ingresses, Services, ConfigMaps and Middlewares: {left:?}");
            ensure!(injected(&app).is_empty(), "{:?}", app.annotations());
            Ok(Some(app))
        })
        .await
    }

    async fn middlewares(&self) -> Result<Vec<DynamicObject>> {
        if self.data_plane != DataPlane::Traefik {
            return Ok(Vec::new());
        }
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("traefik.io", "v1alpha1", "Middleware"));
        self.ours(Api::namespaced_with(self.client.clone(), NAMESPACE, &kind)).await
    }

    async fn ours<K: Clone + Debug + DeserializeOwned>(&self, api: Api<K>) -> Result<Vec<K>> {
        Ok(api.list(&ListParams::default().labels(OURS)).await?.items)
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}
