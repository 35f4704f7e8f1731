//! With the admission policies there is no moment in which a new app is open.

use crate::app::App;
use crate::lane::Lane;
use crate::site::Site;
use crate::traffic::Traffic;
use crate::{Trials, add};
use anyhow::{Context, Result, ensure};
use ingress_sso::commands::admission_manifests;
use ingress_sso::config::Settings;
use ingress_sso::contract::{AUTH_URL, ROUTER_MIDDLEWARES};
use ingress_sso_testbed::admission::until_closing;
use ingress_sso_testbed::kubectl::kubectl_with_input;
use ingress_sso_testbed::outpost::Provider;
use ingress_sso_testbed::scene::OPT_IN;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn add(trials: &mut Trials, lane: Lane) {
    add!(trials, lane, a_new_app_is_never_open);
}

async fn a_new_app_is_never_open(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    install_policies(&site).await?;
    let app = App::backend(&site, "app").await?;
    let outpost = site.outpost("main", vec![Provider::forward_single(&app.url(""))?]).await?;
    app.echo.clear();

    let traffic = Traffic::start(&site, &app);
    let ingress = app.ingress(&site).annotation(OPT_IN, "true").build();
    site.scene.create::<Ingress>(ingress).await?;
    // The data plane has read it by then, and nobody else has.
    app.until(&site, "a closed door", async |app| {
        let status = app.ask(&site, "/").await?.status;
        Ok(if lane == Lane::Traefik { status == 404 } else { status == 500 })
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let _controller = site.controller(&["main"], &[]).await?;
    site.scene.until_protected("app").await?;
    app.until_login(&site, "/").await?;
    let seen = traffic.stop().await?;
    ensure!(seen.len() > 10, "nobody knocked: {seen:?}");
    ensure!(app.echo.count() == 0, "strangers reached the app {} times", app.echo.count());
    crate::app::leads_back_to(&site, &outpost, &app.url("/x"), "/x").await
}

/// For the namespace of the test only, since other tests begin with open apps.
async fn install_policies(site: &Site) -> Result<()> {
    let namespace = site.scene.namespace();
    let printed = admission_manifests(&Settings::default());
    let mut items = Vec::new();
    for document in printed.split("---\n") {
        let mut object: Value = serde_saphyr::from_str(document)?;
        let name = object["metadata"]["name"].as_str().context("no name")?;
        let name = format!("{name}-{namespace}");
        object["metadata"]["name"] = json!(name);
        if object["kind"] == "MutatingAdmissionPolicy" {
            let labels = json!({ "kubernetes.io/metadata.name": namespace });
            object["spec"]["matchConstraints"]["namespaceSelector"] = json!({ "matchLabels": labels });
        } else {
            object["spec"]["policyName"] = json!(name);
        }
        items.push(object);
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    let admin = site.scene.plane().kubeconfig();
    kubectl_with_input(admin, &["apply", "-f", "-"], &list).await.context("apply the policies")?;
    let key = if site.lane == Lane::Traefik { ROUTER_MIDDLEWARES } else { AUTH_URL };
    until_closing(&site.scene, site.lane.class(), key).await
}
