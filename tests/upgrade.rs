//! An upgrade of the controller beside many apps writes nothing, as long as what it makes is the same.
//!
//! Each release leaves here what it made. If a later one makes something else on purpose, its upgrade costs writes: then this
//! test says which, and the release notes do.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso_testbed::builders::{ingress, ingress_class, namespace};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, PATIENCE, STATUS, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use ingress_sso_testbed::writes::Writes;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

/// Field manager of all releases.
const MANAGER: &str = "ingress-sso";

/// In each of the two namespaces.
const APPS: usize = 250;

const WRITTEN: [&str; 5] = ["ingresses", "services", "configmaps", "middlewares", "events"];

/// What the release 0.1.0 makes, by class and namespace.
const GOLDEN: [(&str, &str, &str, &str); 2] = [
    ("nginx", "k8s.io/ingress-nginx", "shop", include_str!("upgrade/0.1.0/nginx.yaml")),
    ("traefik", "traefik.io/ingress-controller", "shop-traefik", include_str!("upgrade/0.1.0/traefik.yaml")),
];

#[tokio::test]
async fn beside_apps_of_the_last_release_nothing_is_written() -> Result<()> {
    let plane = ControlPlane::start().await?;
    install_crds(&plane).await?;
    let client = plane.client()?;
    for (class, controller, name, golden) in GOLDEN {
        let params = PostParams::default();
        Api::<IngressClass>::all(client.clone()).create(&params, &ingress_class(class, controller)).await?;
        Api::<Namespace>::all(client.clone()).create(&params, &namespace(name)).await?;
        make(&client, class, name, golden).await?;
    }
    let before = Writes::settled(&client, &WRITTEN, Duration::from_millis(500)).await?;

    let controller = Controller::builder(PROGRAM)
        .kubeconfig(plane.kubeconfig())
        .args(["--outpost", OUTPOST, "--traefik-allows-external-name"])
        .start()?;
    controller.wait_ready(PATIENCE).await?;
    // Else it may be quiet because nothing has been looked at yet.
    let protected = format!("ingress_sso_apps{{status=\"Protected\",reason=\"Protected\"}} {}", 2 * APPS);
    eventually(format!("{protected:?}"), PATIENCE, || async {
        let text = controller.get("/metrics").await?.text();
        ensure!(text.contains(&protected), "{text}");
        Ok(Some(()))
    })
    .await?;
    let spent = &Writes::settled(&client, &WRITTEN, Duration::from_secs(3)).await? - &before;
    ensure!(spent.total() == 0, "an upgrade writes:\n{spent}{}", controller.logs()?);
    for (_, _, name, _) in GOLDEN {
        let app = Api::<Ingress>::namespaced(client.clone(), name).get("app-0").await?;
        assert_eq!(annotation(&app, STATUS), Some("Protected"));
    }
    Ok(())
}

/// Makes the apps, and what the release made of them, by the same requests.
async fn make(client: &Client, class: &str, namespace: &str, golden: &str) -> Result<()> {
    let documents: Vec<&str> = golden.split("\n---\n").collect();
    let [shared @ .., route, applied] = documents.as_slice() else { anyhow::bail!("no route: {golden}") };
    for object in shared {
        create(client, object).await?;
    }
    let one = |number: usize| {
        let client = client.clone();
        async move {
            let name = format!("app-{number}");
            let host = format!("{name}.example.com");
            let app = ingress(namespace, &name).host(&host).class(class).annotation(OPT_IN, "true").build();
            let api: Api<Ingress> = Api::namespaced(client.clone(), namespace);
            let uid = api.create(&PostParams::default(), &app).await?.uid().context("no uid")?;
            let fill = |text: &str| text.replace("APP", &name).replace("UID", &uid);
            create(&client, &fill(route)).await?;
            let applied: Value = serde_saphyr::from_str(&fill(applied))?;
            api.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(&applied)).await?;
            anyhow::Ok(())
        }
    };
    stream::iter(0..APPS).map(one).buffer_unordered(8).try_collect().await
}

async fn create(client: &Client, text: &str) -> Result<()> {
    let object: DynamicObject = serde_saphyr::from_str(text)?;
    let types = object.types.clone().context("no kind")?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let namespace = object.namespace().context("no namespace")?;
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &kind).create(&params, &object).await?;
    Ok(())
}
