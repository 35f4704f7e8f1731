//! What others made is used where it is right, reported, and never touched.

use crate::PROGRAM;
use anyhow::{Result, ensure};
use ingress_sso_testbed::builders::{external_name_service, ingress};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, PATIENCE, STATUS, Scene, annotation};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

const OUTPOST_HOST: &str = "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local";
const OUTPOST_PATH: &str = "/outpost.goauthentik.io";

#[tokio::test]
async fn a_hand_made_pair_is_used_and_left_alone() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let service: Service = scene
        .create(external_name_service(scene.namespace(), "authentik-proxy-outpost", OUTPOST_HOST, 9000))
        .await?;
    let route = ingress(scene.namespace(), "n8n-outpost-path")
        .host("app.example.com")
        .path(OUTPOST_PATH, "Prefix")
        .backend("authentik-proxy-outpost", 9000);
    let route: Ingress = scene.create(route).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    scene.until_event("n8n", "ForeignRoute").await?;
    scene.annotate("n8n", OPT_IN, None).await?;
    scene.until_untouched("n8n").await?;
    scene.until_names::<ConfigMap>(&[]).await?;
    assert_eq!(scene.ingress("n8n-outpost-path").await?.resource_version(), route.resource_version());
    let service_now: Service = scene.api().get("authentik-proxy-outpost").await?;
    assert_eq!(service_now.resource_version(), service.resource_version());
    Ok(())
}

#[tokio::test]
async fn a_hand_made_service_serves_a_route_of_ours() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    scene
        .create::<Service>(external_name_service(
            scene.namespace(),
            "authentik-proxy-outpost",
            OUTPOST_HOST,
            9000,
        ))
        .await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    scene.delete::<Ingress>("n8n").await?;
    scene.until_names::<Ingress>(&[]).await?;
    scene.stays::<Service>("authentik-proxy-outpost").await
}

#[tokio::test]
async fn a_service_of_another_kind_under_the_name_is_refused_until_it_is_gone() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let taken: Service = serde_json::from_value(json!({
        "metadata": { "name": "authentik-proxy-outpost", "namespace": scene.namespace() },
        "spec": { "ports": [{ "port": 80 }], "selector": { "app": "x" } },
    }))?;
    let taken: Service = scene.create(taken).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    let message = annotation(&refused, MESSAGE).unwrap_or_default();
    assert!(
        message.contains("authentik-proxy-outpost") && message.contains("rename or delete it"),
        "{message}"
    );
    let now: Service = scene.api().get("authentik-proxy-outpost").await?;
    assert_eq!(now.resource_version(), taken.resource_version());
    scene.delete::<Service>("authentik-proxy-outpost").await?;
    // Nothing tells of it but another look at the app, and an edit of the app is one. The first may only forget what was
    // known, for the next to try.
    eventually("the app to be protected", PATIENCE, || async {
        for scheme in ["http", "https"] {
            scene.annotate("n8n", "sso.djieno.com/scheme", Some(scheme)).await?;
        }
        sleep(Duration::from_millis(200)).await;
        Ok((annotation(&scene.ingress("n8n").await?, STATUS) == Some("Protected")).then_some(()))
    })
    .await
}

#[tokio::test]
async fn an_ingress_under_the_name_of_the_route_is_refused_until_it_is_gone() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let taken: Ingress = scene.create(scene.app("n8n-outpost-path", "elsewhere.example.com")).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_status("n8n", "Refused").await?;
    let now = scene.ingress("n8n-outpost-path").await?;
    assert_eq!(now.resource_version(), taken.resource_version());
    scene.delete::<Ingress>("n8n-outpost-path").await?;
    scene.until_protected("n8n").await?;
    Ok(())
}

#[tokio::test]
async fn a_route_that_leads_elsewhere_is_refused_until_it_is_set_right() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let route = ingress(scene.namespace(), "theirs")
        .host("app.example.com")
        .path(OUTPOST_PATH, "Prefix")
        .backend("x", 80);
    scene.create::<Ingress>(route).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    let message = annotation(&refused, MESSAGE).unwrap_or_default();
    assert!(message.contains("theirs") && message.contains("Service x"), "{message}");
    scene.create::<Service>(external_name_service(scene.namespace(), "x", OUTPOST_HOST, 80)).await?;
    scene.until_protected("n8n").await?;
    scene.until_names::<Ingress>(&["n8n", "theirs"]).await
}

#[tokio::test]
async fn a_route_cloned_by_a_migration_is_used_and_neither_kept_up_nor_deleted() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    scene.class(MIGRATION, "rke2.cattle.io/ingress-nginx-migration").await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    let names = ["n8n-outpost-path", "n8n"];
    for name in names {
        let clone = migrated(scene.ingress(name).await?);
        scene.create::<Ingress>(clone).await?;
    }
    eventually("the clone protected in Traefik's way", PATIENCE, || async {
        let app = scene.ingress("n8n-traefik").await?;
        let auth_url = annotation(&app, "nginx.ingress.kubernetes.io/auth-url").unwrap_or_default();
        ensure!(auth_url.ends_with(":9000/outpost.goauthentik.io/auth/traefik"), "{auth_url}");
        Ok(Some(()))
    })
    .await?;
    // The status that was copied along told nobody of this.
    scene.until_event("n8n-traefik", "Protected").await?;
    scene.until_event("n8n-traefik", "ForeignRoute").await?;
    scene.stays::<Ingress>("n8n-outpost-path-traefik").await?;
    scene
        .until_names::<Ingress>(&["n8n", "n8n-outpost-path", "n8n-outpost-path-traefik", "n8n-traefik"])
        .await?;

    // The clone of the route holds the Service that it leads to, and nothing else.
    for app in ["n8n", "n8n-traefik"] {
        scene.annotate(app, OPT_IN, None).await?;
    }
    scene.until_names::<Ingress>(&["n8n", "n8n-outpost-path-traefik", "n8n-traefik"]).await?;
    scene.stays::<Service>("authentik-proxy-outpost").await?;
    scene.delete::<Ingress>("n8n-outpost-path-traefik").await?;
    scene.until_names::<Service>(&[]).await
}

/// The class that RKE2 has for Traefik in place of ingress-nginx.
const MIGRATION: &str = "rke2-ingress-nginx-migration";

/// An Ingress as RKE2's guide has it cloned.
fn migrated(original: Ingress) -> Ingress {
    let mut clone = original;
    clone.metadata = ObjectMeta {
        name: clone.metadata.name.map(|name| format!("{name}-traefik")),
        namespace: clone.metadata.namespace,
        labels: clone.metadata.labels,
        annotations: clone.metadata.annotations,
        ..ObjectMeta::default()
    };
    clone.spec.get_or_insert_default().ingress_class_name = Some(MIGRATION.to_owned());
    clone
}
