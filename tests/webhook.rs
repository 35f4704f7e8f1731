//! Claims where ingress-nginx's admission webhook tolerates a host and path in one Ingress only.

use anyhow::{Result, ensure};
use ingress_sso_testbed::builders::{IngressBuilder, ingress, ingress_class};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::duplicate_webhook::DuplicateWebhook;
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, OUTPOST, PATIENCE, STATUS, annotation};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

struct World {
    _webhook: DuplicateWebhook,
    _controller: Controller,
    api: Api<Ingress>,
    plane: ControlPlane,
}

impl World {
    async fn new(args: &[&str]) -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let client = plane.client()?;
        let class = ingress_class("nginx", "k8s.io/ingress-nginx");
        Api::<IngressClass>::all(client.clone()).create(&PostParams::default(), &class).await?;
        let webhook = DuplicateWebhook::start(&plane).await?;
        let controller = Controller::builder(PROGRAM)
            .kubeconfig(plane.kubeconfig())
            .args(["--outpost", OUTPOST])
            .args(args)
            .start()?;
        controller.wait_ready(PATIENCE).await?;
        Ok(Self {
            _webhook: webhook,
            _controller: controller,
            api: Api::namespaced(client, "default"),
            plane,
        })
    }

    async fn create(&self, app: IngressBuilder) -> Result<()> {
        self.api.create(&PostParams::default(), &app.build()).await?;
        Ok(())
    }

    async fn opt(&self, app: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { OPT_IN: value } } });
        self.api.patch(app, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn until_names(&self, wanted: &[&str]) -> Result<()> {
        eventually(format!("the Ingresses {wanted:?}"), PATIENCE, || async {
            let list = self.api.list(&ListParams::default()).await?;
            let names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
            ensure!(names == wanted, "{names:?}");
            Ok(Some(()))
        })
        .await
    }

    async fn until_status(&self, app: &str, wanted: &str) -> Result<Ingress> {
        eventually(format!("{app} {wanted}"), PATIENCE, || async {
            let ingress = self.api.get(app).await?;
            ensure!(annotation(&ingress, STATUS) == Some(wanted), "{:?}", ingress.annotations());
            Ok(Some(ingress))
        })
        .await
    }
}

fn app(name: &str, path: &str) -> IngressBuilder {
    ingress("default", name).host("shared.example.com").path(path, "Prefix").annotation(OPT_IN, "true")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_app_gets_the_route_although_the_webhook_tolerates_only_one() -> Result<()> {
    let world = World::new(&[]).await?;
    world.create(app("older", "/a")).await?;
    world.until_status("older", "Protected").await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.create(app("younger", "/b")).await?;
    world.until_status("younger", "Protected").await?;
    world.until_names(&["older", "older-outpost-path", "younger"]).await?;
    world.opt("older", None).await?;
    world.until_names(&["older", "younger", "younger-outpost-path"]).await?;
    world.until_status("younger", "Protected").await?;
    // Back again, it uses the route that stands, and has it when the younger one goes.
    world.opt("older", Some("true")).await?;
    for name in ["older", "younger"] {
        world.until_status(name, "Protected").await?;
    }
    world.until_names(&["older", "younger", "younger-outpost-path"]).await?;
    world.opt("younger", None).await?;
    world.until_names(&["older", "older-outpost-path", "younger"]).await?;
    world.until_status("older", "Protected").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_that_lasts_is_told_in_the_webhooks_own_words() -> Result<()> {
    // Out of the controller's sight, so that only the webhook can tell of it.
    let world = World::new(&["--namespace", "default"]).await?;
    let elsewhere: Api<Ingress> = Api::namespaced(world.plane.client()?, "kube-system");
    let theirs =
        ingress("kube-system", "theirs").host("shared.example.com").path("/outpost.goauthentik.io", "Prefix");
    elsewhere.create(&PostParams::default(), &theirs.build()).await?;
    world.create(app("app", "/")).await?;
    let failing = world.until_status("app", "Failing").await?;
    let message = annotation(&failing, MESSAGE).unwrap_or_default();
    assert!(message.contains("already defined in ingress kube-system/theirs"), "{message}");
    assert_eq!(annotation(&failing, "nginx.ingress.kubernetes.io/auth-url"), None);
    elsewhere.delete("theirs", &DeleteParams::default()).await?;
    world.until_status("app", "Protected").await?;
    Ok(())
}
