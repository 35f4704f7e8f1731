//! How many writes protection costs, counted by the API server itself: no more than necessary, and none at rest.

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso_testbed::builders::{IngressBuilder, ingress, ingress_class, namespace};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::metrics::sum;
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, STATUS, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use ingress_sso_testbed::writes::Writes;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

/// Kinds that the controller writes, Events aside.
const WRITTEN: [&str; 4] = ["ingresses", "services", "configmaps", "middlewares"];

const LIST: &str = "traefik.ingress.kubernetes.io/router.middlewares";

const PATIENCE: Duration = Duration::from_mins(2);

/// Nothing is written for so long: then it is quiet.
const QUIET: Duration = Duration::from_secs(2);

const CLASSES: [(&str, &str); 2] =
    [("nginx", "k8s.io/ingress-nginx"), ("traefik", "traefik.io/ingress-controller")];

/// A control plane of its own, since all writes count, with `apps` opted-in apps in each of `namespaces` namespaces.
struct World {
    plane: ControlPlane,
    client: Client,
}

impl World {
    async fn new(namespaces: usize, apps: usize) -> Result<Self> {
        Self::of(namespaces, apps, |app| app).await
    }

    /// The same on Traefik, in whose way each app is by `change`.
    async fn on_traefik(
        namespaces: usize,
        apps: usize,
        change: fn(IngressBuilder) -> IngressBuilder,
    ) -> Result<Self> {
        let world = Self::of(namespaces, apps, change).await?;
        install_crds(&world.plane).await?;
        Ok(world)
    }

    async fn of(
        namespaces: usize,
        apps: usize,
        change: fn(IngressBuilder) -> IngressBuilder,
    ) -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let client = plane.client()?;
        let params = PostParams::default();
        for (class, controller) in CLASSES {
            let class = ingress_class(class, controller);
            Api::<IngressClass>::all(client.clone()).create(&params, &class).await?;
        }
        for number in 0..namespaces {
            let name = format!("ns-{number}");
            Api::<Namespace>::all(client.clone()).create(&params, &namespace(&name)).await?;
            let api = Api::namespaced(client.clone(), &name);
            stream::iter(0..apps)
                .map(|app| {
                    let host = format!("app-{app}.{name}.example.com");
                    let app = ingress(&name, &format!("app-{app}")).host(&host).annotation(OPT_IN, "true");
                    let ingress = change(app).build();
                    let (api, params) = (api.clone(), params.clone());
                    async move { api.create(&params, &ingress).await }
                })
                .buffer_unordered(8)
                .try_collect::<Vec<_>>()
                .await?;
        }
        Ok(Self { plane, client })
    }

    async fn controller(&self) -> Result<Controller> {
        let controller = Controller::builder(PROGRAM)
            .kubeconfig(self.plane.kubeconfig())
            .args(["--outpost", OUTPOST])
            .start()?;
        controller.wait_ready(PATIENCE).await?;
        Ok(controller)
    }

    /// What has been written so far, once nothing is written any more.
    async fn writes(&self) -> Result<Writes> {
        Writes::settled(&self.client, &WRITTEN, QUIET).await
    }

    async fn until_protected(&self, apps: usize) -> Result<()> {
        let api: Api<Ingress> = Api::all(self.client.clone());
        eventually(format!("{apps} protected apps"), PATIENCE, || async {
            let list = api.list(&ListParams::default()).await?;
            let protected =
                list.items.iter().filter(|app| annotation(*app, STATUS) == Some("Protected")).count();
            ensure!(protected == apps, "{protected}");
            Ok(Some(()))
        })
        .await
    }

    async fn edit_all(&self, patch: &serde_json::Value) -> Result<()> {
        let apps = Api::<Ingress>::all(self.client.clone()).list(&ListParams::default()).await?;
        for app in apps.items.iter().filter(|app| annotation(*app, OPT_IN).is_some()) {
            let (namespace, name) = (app.metadata.namespace.clone(), app.metadata.name.clone());
            let api: Api<Ingress> = Api::namespaced(self.client.clone(), &namespace.unwrap_or_default());
            api.patch(&name.unwrap_or_default(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(())
    }

    /// Another controller takes over from one that was killed, and writes nothing for the `apps` protected ones.
    async fn restarts_for_nothing(
        &self,
        first: Controller,
        before: &Writes,
        apps: usize,
    ) -> Result<Controller> {
        first.kill()?;
        let second = self.controller().await?;
        // Else nothing may be written because nothing has been looked at yet.
        until_counted(&second, "Protected", apps).await?;
        let spent = &self.writes().await? - before;
        ensure!(spent.of(&WRITTEN).total() == 0, "a restart: {spent}");
        Ok(second)
    }

    /// What is written, the users' own edits included, when all apps opt out.
    async fn opt_all_out(&self) -> Result<Writes> {
        let before = self.writes().await?;
        self.edit_all(&json!({ "metadata": { "annotations": { OPT_IN: "false" } } })).await?;
        let api: Api<Ingress> = Api::all(self.client.clone());
        eventually("apps without protection and without routes", PATIENCE, || async {
            let list = api.list(&ListParams::default()).await?.items;
            let is_left = |app: &&Ingress| {
                annotation(*app, OPT_IN) != Some("false") || annotation(*app, STATUS).is_some()
            };
            let left = list.iter().filter(is_left).count();
            ensure!(left == 0, "{left} are left");
            Ok(Some(()))
        })
        .await?;
        Ok(&self.writes().await? - &before)
    }
}

/// Waits until `controller` counts just `apps` apps, with this status.
async fn until_counted(controller: &Controller, status: &str, apps: usize) -> Result<()> {
    eventually(format!("{apps} apps that count as {status}"), PATIENCE, || async {
        let text = controller.get("/metrics").await?.text();
        let count = |wanted: &str| {
            sum(&text, "ingress_sso_apps", |app| wanted.is_empty() || app.label("status") == wanted)
        };
        let counts = [count(status)?, count("")?].map(|count| count.round().to_string());
        ensure!(counts == [apps.to_string(), apps.to_string()], "{counts:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_costs_a_post_and_an_apply_and_a_namespace_a_service_and_headers() -> Result<()> {
    let world = World::new(4, 25).await?;
    let before = world.writes().await?;
    let _controller = world.controller().await?;
    world.until_protected(100).await?;
    let spent = &world.writes().await? - &before;
    assert_eq!(spent.count("POST", "ingresses"), 100, "{spent}");
    assert_eq!(spent.count("APPLY", "ingresses"), 100, "{spent}");
    assert_eq!(spent.count("POST", "services"), 4, "{spent}");
    assert_eq!(spent.count("POST", "configmaps"), 4, "{spent}");
    assert_eq!(spent.of(&WRITTEN).total(), 208, "{spent}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_edits_that_do_not_matter_cost_nothing() -> Result<()> {
    let world = World::new(2, 10).await?;
    let first = world.controller().await?;
    world.until_protected(20).await?;
    let before = world.writes().await?;
    let second = world.restarts_for_nothing(first, &before, 20).await?;
    let after = world.writes().await?;

    // Status updates of the ingress controller, a label, an annotation of somebody else's.
    world
        .edit_all(&json!({ "metadata": { "labels": { "team": "x" }, "annotations": { "other/key": "x" } } }))
        .await?;
    let edited = world.writes().await?;
    assert_eq!((&edited - &after).of(&WRITTEN).total(), 20, "the edits alone: {}", &edited - &after);
    second.terminate(Duration::from_secs(15)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn opting_out_costs_an_apply_and_a_delete_and_the_last_of_a_namespace_two_more() -> Result<()> {
    let world = World::new(2, 10).await?;
    let _controller = world.controller().await?;
    world.until_protected(20).await?;
    let spent = world.opt_all_out().await?;
    assert_eq!(spent.count("PATCH", "ingresses"), 20, "the user's: {spent}");
    assert_eq!(spent.count("APPLY", "ingresses"), 20, "{spent}");
    assert_eq!(spent.count("DELETE", "ingresses"), 20, "{spent}");
    assert_eq!(spent.count("DELETE", "services"), 2, "{spent}");
    assert_eq!(spent.count("DELETE", "configmaps"), 2, "{spent}");
    assert_eq!(spent.of(&WRITTEN).total(), 64, "{spent}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_app_costs_one_apply_and_then_nothing() -> Result<()> {
    let world = World::new(1, 5).await?;
    let before = world.writes().await?;
    let controller = Controller::builder(PROGRAM).kubeconfig(world.plane.kubeconfig()).start()?;
    controller.wait_ready(PATIENCE).await?;
    until_counted(&controller, "Refused", 5).await?;
    let spent = &world.writes().await? - &before;
    assert_eq!((spent.count("APPLY", "ingresses"), spent.of(&WRITTEN).total()), (5, 5), "{spent}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_traefik_an_app_costs_an_apply_and_a_namespace_a_middleware() -> Result<()> {
    let world = World::on_traefik(3, 10, |app| app.class("traefik")).await?;
    let before = world.writes().await?;
    let first = world.controller().await?;
    world.until_protected(30).await?;
    let protected = world.writes().await?;
    let spent = &protected - &before;
    assert_eq!(spent.count("APPLY", "ingresses"), 30, "{spent}");
    assert_eq!(spent.count("POST", "middlewares"), 3, "{spent}");
    assert_eq!(spent.of(&WRITTEN).total(), 33, "{spent}");

    let _second = world.restarts_for_nothing(first, &protected, 30).await?;
    let spent = world.opt_all_out().await?;
    assert_eq!(spent.count("PATCH", "ingresses"), 30, "the user's: {spent}");
    assert_eq!(spent.count("APPLY", "ingresses"), 30, "{spent}");
    assert_eq!(spent.count("DELETE", "middlewares"), 3, "{spent}");
    assert_eq!(spent.of(&WRITTEN).total(), 63, "{spent}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_entries_of_others_costs_one_patch_more_and_one_in_the_end() -> Result<()> {
    let with_list = |app: IngressBuilder| app.class("traefik").annotation(LIST, "strip@file,gzip@file");
    let world = World::on_traefik(2, 5, with_list).await?;
    let before = world.writes().await?;
    let first = world.controller().await?;
    world.until_protected(10).await?;
    let protected = world.writes().await?;
    let spent = &protected - &before;
    assert_eq!(spent.count("PATCH", "ingresses"), 10, "{spent}");
    assert_eq!(spent.count("APPLY", "ingresses"), 10, "{spent}");
    assert_eq!(spent.count("POST", "middlewares"), 2, "{spent}");
    assert_eq!(spent.of(&WRITTEN).total(), 22, "{spent}");

    let _second = world.restarts_for_nothing(first, &protected, 10).await?;
    let spent = world.opt_all_out().await?;
    assert_eq!(spent.count("PATCH", "ingresses"), 20, "half of them the user's: {spent}");
    assert_eq!(spent.count("DELETE", "middlewares"), 2, "{spent}");
    assert_eq!(spent.of(&WRITTEN).total(), 22, "{spent}");
    Ok(())
}
