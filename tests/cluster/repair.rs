//! What somebody edits or deletes behind the controller's back comes back, and what is theirs stays theirs.

use crate::PROGRAM;
use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::scene::{OPT_IN, PATIENCE, STATUS, Scene, annotation, injected};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";
const HEADERS_UID: &str = "sso.djieno.com/headers-uid";

async fn protected() -> Result<(Scene, ingress_sso_testbed::controller::Controller)> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    Ok((scene, controller))
}

async fn only_headers(scene: &Scene) -> Result<[String; 1]> {
    let names = scene.names::<ConfigMap>().await?;
    names.try_into().map_err(|names| anyhow::anyhow!("not one ConfigMap but {names:?}"))
}

#[tokio::test]
async fn a_deleted_route_comes_back() -> Result<()> {
    let (scene, _controller) = protected().await?;
    scene.delete::<Ingress>("n8n-outpost-path").await?;
    scene.until_names::<Ingress>(&["n8n", "n8n-outpost-path"]).await
}

#[tokio::test]
async fn a_deleted_service_comes_back() -> Result<()> {
    let (scene, _controller) = protected().await?;
    scene.delete::<Service>("authentik-proxy-outpost").await?;
    scene.until_names::<Service>(&["authentik-proxy-outpost"]).await
}

#[tokio::test]
async fn an_edited_route_is_set_right_and_keeps_what_others_added() -> Result<()> {
    let (scene, _controller) = protected().await?;
    let before = scene.ingress("n8n-outpost-path").await?;
    let edit = json!({
        "metadata": { "annotations": {
            AUTH_URL: "https://evil.example.com",
            "nginx.ingress.kubernetes.io/proxy-buffer-size": "4k",
            "policy.example.com/checked": "yes",
        } },
        "spec": {
            "ingressClassName": "other",
            "tls": [{ "hosts": ["app.example.com"], "secretName": "x" }],
            "rules": [{ "host": "evil.example.com" }],
        },
    });
    scene.edit::<Ingress>("n8n-outpost-path", &edit).await?;
    eventually("the route as it was", PATIENCE, || async {
        let now = scene.ingress("n8n-outpost-path").await?;
        ensure!(now.spec == before.spec, "{:?}", now.spec);
        ensure!(annotation(&now, AUTH_URL).is_none());
        ensure!(annotation(&now, "nginx.ingress.kubernetes.io/proxy-buffer-size") == Some("16k"));
        ensure!(annotation(&now, "policy.example.com/checked") == Some("yes"));
        Ok(Some(()))
    })
    .await?;
    scene.stays::<Ingress>("n8n-outpost-path").await
}

#[tokio::test]
async fn an_edited_service_is_set_right() -> Result<()> {
    let (scene, _controller) = protected().await?;
    let before: Service = scene.api().get("authentik-proxy-outpost").await?;
    scene
        .edit::<Service>(
            "authentik-proxy-outpost",
            &json!({ "spec": { "externalName": "evil.example.com" } }),
        )
        .await?;
    eventually("the Service as it was", PATIENCE, || async {
        let now: Service = scene.api().get("authentik-proxy-outpost").await?;
        ensure!(now.spec == before.spec, "{:?}", now.spec);
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn injected_annotations_that_someone_removes_come_back() -> Result<()> {
    let (scene, _controller) = protected().await?;
    scene.annotate("n8n", AUTH_URL, None).await?;
    eventually("auth-url", PATIENCE, || async {
        ensure!(annotation(&scene.ingress("n8n").await?, AUTH_URL).is_some());
        Ok(Some(()))
    })
    .await?;
    // `kubectl replace` drops everything that is not in the file.
    let mut bare = scene.opted_in("n8n", "app.example.com").build();
    bare.metadata.resource_version = scene.ingress("n8n").await?.resource_version();
    scene.api::<Ingress>().replace("n8n", &PostParams::default(), &bare).await?;
    let again = scene.until_protected("n8n").await?;
    assert!(annotation(&again, AUTH_URL).is_some());
    Ok(())
}

#[tokio::test]
async fn a_value_that_someone_changes_is_theirs_and_reported() -> Result<()> {
    let (scene, _controller) = protected().await?;
    scene.annotate("n8n", AUTH_URL, Some("https://mine.example.com/auth")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert_eq!(annotation(&refused, AUTH_URL), Some("https://mine.example.com/auth"));
    assert!(injected(&refused).len() > 3, "the rest of the protection stays: {:?}", injected(&refused));
    let event = scene.until_event("n8n", "OwnAnnotation").await?;
    let note = event.note.context("no note")?;
    assert!(note.contains("mine.example.com") && note.contains(AUTH_URL), "{note}");
    scene.stays::<Ingress>("n8n").await?;
    scene.annotate("n8n", AUTH_URL, None).await?;
    scene.until_protected("n8n").await?;
    Ok(())
}

#[tokio::test]
async fn nobody_else_can_say_protected() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    let forged = scene.opted_in("n8n", "app.example.com").class("unknown").annotation(STATUS, "Protected");
    scene.create::<Ingress>(forged).await?;
    scene.until_status("n8n", "Refused").await?;
    scene.annotate("n8n", STATUS, Some("Protected")).await?;
    scene.until_status("n8n", "Refused").await?;
    Ok(())
}

/// Server-side apply of the same value makes two owners, and neither can change it alone.
#[tokio::test]
async fn a_status_that_someone_else_owns_too_does_not_outlive_its_truth() -> Result<()> {
    let (scene, _controller) = protected().await?;
    let manifest = scene.opted_in("n8n", "app.example.com").annotation(STATUS, "Protected").build();
    let flux = PatchParams::apply("kustomize-controller").force();
    scene.api::<Ingress>().patch("n8n", &flux, &Patch::Apply(&manifest)).await?;
    scene.annotate("n8n", "nginx.ingress.kubernetes.io/canary", Some("true")).await?;
    scene.until_status("n8n", "Refused").await?;
    Ok(())
}

#[tokio::test]
async fn headers_that_someone_replaces_by_their_own_are_reported() -> Result<()> {
    let (scene, controller) = protected().await?;
    let [headers] = only_headers(&scene).await?;
    controller.pause()?;
    scene.delete::<ConfigMap>(&headers).await?;
    let theirs =
        json!({ "metadata": { "name": headers, "namespace": scene.namespace() }, "data": { "X": "y" } });
    scene.create::<ConfigMap>(serde_json::from_value::<ConfigMap>(theirs)?).await?;
    controller.resume()?;
    scene.until_status("n8n", "Refused").await?;
    scene.until_event("n8n", "HeadersNameTaken").await?;
    scene.delete::<ConfigMap>(&headers).await?;
    // Nothing tells of it; the next look at the app does, and an edit of the app is one.
    scene.annotate("n8n", "sso.djieno.com/scheme", Some("https")).await?;
    scene.until_protected("n8n").await?;
    Ok(())
}

#[tokio::test]
async fn deleted_headers_come_back_and_nothing_else_is_touched() -> Result<()> {
    let (scene, _controller) = protected().await?;
    let app = scene.ingress("n8n").await?;
    let [headers] = only_headers(&scene).await?;
    scene.delete::<ConfigMap>(&headers).await?;
    scene.until_names::<ConfigMap>(&[&headers]).await?;
    scene.stays::<Ingress>("n8n").await?;
    assert_eq!(scene.ingress("n8n").await?.resource_version(), app.resource_version());
    Ok(())
}

/// ingress-nginx read the Ingress while the `ConfigMap` was missing and answers 503 since: only a change helps.
#[tokio::test]
async fn an_app_that_changed_while_its_headers_were_lost_is_read_again() -> Result<()> {
    let (scene, controller) = protected().await?;
    let [headers] = only_headers(&scene).await?;
    controller.pause()?;
    scene.delete::<ConfigMap>(&headers).await?;
    scene.annotate("n8n", "some", Some("edit")).await?;
    controller.resume()?;
    eventually("the uid of the new ConfigMap on the app", PATIENCE, || async {
        let uid = scene.api::<ConfigMap>().get(&headers).await?.uid();
        let app = scene.ingress("n8n").await?;
        ensure!(annotation(&app, HEADERS_UID) == uid.as_deref(), "{:?}", app.annotations());
        Ok(Some(()))
    })
    .await?;
    scene.stays::<Ingress>("n8n").await?;
    scene.annotate("n8n", OPT_IN, None).await?;
    scene.until_only(&["n8n"]).await?;
    assert_eq!(annotation(&scene.ingress("n8n").await?, HEADERS_UID), None);
    Ok(())
}

#[tokio::test]
async fn a_second_server_side_applier_and_the_controller_leave_each_other_alone() -> Result<()> {
    let (scene, _controller) = protected().await?;
    let apply = serde_json::to_value(scene.opted_in("n8n", "app.example.com").build())?;
    for _ in 0..3 {
        let flux = PatchParams::apply("kustomize-controller").force();
        scene.api::<Ingress>().patch("n8n", &flux, &Patch::Apply(&apply)).await?;
    }
    scene.stays::<Ingress>("n8n").await?;
    scene.until_protected("n8n").await?;
    Ok(())
}
