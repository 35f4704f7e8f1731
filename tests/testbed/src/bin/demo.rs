//! The main job, for people to watch: on a real API server an app asks for protection and gets it, and takes the
//! request back. Ends with an error if a step does not happen.
//!
//! Argument: the `ingress-sso` program.

use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::builders::{ingress, ingress_class, namespace};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, PATIENCE, STATUS, annotation, injected};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Instant;

const NAMESPACE: &str = "n8n-prd";
const APP: &str = "n8n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let program = std::env::args().nth(1).context("usage: demo PATH-OF-ingress-sso")?;
    step("Start etcd, kube-apiserver and kube-controller-manager");
    let plane = ControlPlane::start().await?;
    let cluster = Cluster { client: plane.client()? };
    say(&format!("a real API server listens at {}", plane.url()));

    step("Start the controller");
    say(&format!("ingress-sso run --outpost {OUTPOST}"));
    let controller =
        Controller::builder(&program).kubeconfig(plane.kubeconfig()).args(["--outpost", OUTPOST]).start()?;
    controller.wait_ready(PATIENCE).await?;
    say("ready");

    let outcome = cluster.play().await;
    if outcome.is_err() {
        eprintln!("\nThe controller's log:\n{}", controller.logs()?);
    }
    outcome?;

    step("Stop the controller");
    let (status, duration) = controller.terminate(PATIENCE).await?;
    ensure!(status.success(), "the controller ended with {status}");
    say(&format!("it ended cleanly {} ms after SIGTERM", duration.as_millis()));
    println!("\nAll of it happened.");
    Ok(())
}

struct Cluster {
    client: Client,
}

impl Cluster {
    async fn play(&self) -> Result<()> {
        self.install_app().await?;

        step(&format!("Protect it: kubectl annotate ingress {APP} {OPT_IN}=true"));
        let start = Instant::now();
        self.annotate(Some("true")).await?;
        let app = self.until_protected().await?;
        say(&format!(
            "protected {} ms after the request; what the controller made:",
            start.elapsed().as_millis()
        ));
        for service in self.list::<Service>().await? {
            print_object("v1", "Service", &service)?;
        }
        for headers in self.list::<ConfigMap>().await? {
            print_object("v1", "ConfigMap", &headers)?;
        }
        let ingresses = self.list::<Ingress>().await?;
        let route =
            ingresses.iter().find(|ingress| ingress.name_any() != APP).context("no outpost Ingress")?;
        print_object("networking.k8s.io/v1", "Ingress", route)?;
        say("and the app's Ingress now:");
        print_object("networking.k8s.io/v1", "Ingress", &app)?;

        step(&format!("Change your mind: kubectl annotate ingress {APP} {OPT_IN}-"));
        let start = Instant::now();
        self.annotate(None).await?;
        let app = self.until_nothing_is_left().await?;
        say(&format!(
            "all of it is gone {} ms later; the app's Ingress is as you wrote it:",
            start.elapsed().as_millis()
        ));
        print_object("networking.k8s.io/v1", "Ingress", &app)
    }

    async fn install_app(&self) -> Result<()> {
        step("Install the app: an Ingress that anyone can open");
        let params = PostParams::default();
        Api::<Namespace>::all(self.client.clone()).create(&params, &namespace(NAMESPACE)).await?;
        let class = ingress_class("nginx", "k8s.io/ingress-nginx");
        Api::<IngressClass>::all(self.client.clone()).create(&params, &class).await?;
        let app = ingress(NAMESPACE, APP).host("app.djieno.com").backend(APP, 5678).tls("n8n-tls").build();
        let app = self.api::<Ingress>().create(&params, &app).await?;
        print_object("networking.k8s.io/v1", "Ingress", &app)
    }

    async fn annotate(&self, value: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { OPT_IN: value } } });
        let params =
            PatchParams { field_manager: Some("kubectl-annotate".to_owned()), ..PatchParams::default() };
        self.api::<Ingress>().patch(APP, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn until_protected(&self) -> Result<Ingress> {
        eventually("the app to be protected", PATIENCE, || async {
            let app = self.api::<Ingress>().get(APP).await?;
            ensure!(annotation(&app, STATUS) == Some("Protected"), "{:?}", app.annotations());
            Ok(Some(app))
        })
        .await
    }

    async fn until_nothing_is_left(&self) -> Result<Ingress> {
        eventually("nothing of the controller's to be left", PATIENCE, || async {
            let mut ingresses = self.list::<Ingress>().await?;
            let (services, headers) =
                (self.list::<Service>().await?.len(), self.list::<ConfigMap>().await?.len());
            ensure!(
                (ingresses.len(), services, headers) == (1, 0, 0),
                "{} Ingresses, {services} Services, {headers} ConfigMaps",
                ingresses.len()
            );
            let app = ingresses.remove(0);
            ensure!(injected(&app).is_empty(), "{:?}", app.annotations());
            Ok(Some(app))
        })
        .await
    }

    async fn list<K>(&self) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        Ok(self.api::<K>().list(&ListParams::default()).await?.items)
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

fn step(what: &str) {
    println!("\n==> {what}");
}

fn say(what: &str) {
    println!("    {what}");
}

/// Prints an object as one would write it by hand: without what the API server adds for itself.
fn print_object<K: Resource + Clone + Serialize>(api_version: &str, kind: &str, object: &K) -> Result<()> {
    let mut object = object.clone();
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.uid = None;
    metadata.creation_timestamp = None;
    metadata.generation = None;
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = json!(api_version);
    value["kind"] = json!(kind);
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| name != "status");
    }
    println!();
    for line in serde_saphyr::to_string(&value)?.lines() {
        println!("      {line}");
    }
    Ok(())
}
