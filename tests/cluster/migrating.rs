//! From a setup made by hand to the controller's, in the order that docs/migrating.md gives.

use crate::PROGRAM;
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use ingress_sso_testbed::builders::{IngressBuilder, external_name_service, ingress};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, Scene, annotation};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::pin::pin;

const HOST: &str = "app.example.com";
const OUTPOST_HOST: &str = "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local";
const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";
const AUTH_SIGNIN: &str = "nginx.ingress.kubernetes.io/auth-signin";

/// The app as a tool that applies on the server has it.
fn app(scene: &Scene, annotations: &BTreeMap<&str, String>) -> IngressBuilder {
    annotations.iter().fold(scene.app("n8n", HOST), |app, (key, value)| app.annotation(key, value))
}

async fn apply(scene: &Scene, annotations: &BTreeMap<&str, String>) -> Result<Ingress> {
    let mut object = serde_json::to_value(app(scene, annotations).build())?;
    object["apiVersion"] = json!("networking.k8s.io/v1");
    object["kind"] = json!("Ingress");
    Ok(scene.api().patch("n8n", &PatchParams::apply("flux"), &Patch::Apply(&object)).await?)
}

#[tokio::test]
async fn a_setup_made_by_hand_is_handed_over_without_an_open_moment() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let service = external_name_service(scene.namespace(), "outpost", OUTPOST_HOST, 9000);
    scene.create::<Service>(service).await?;
    let route = ingress(scene.namespace(), "login").host(HOST).path("/outpost.goauthentik.io", "Prefix");
    scene.create::<Ingress>(route.backend("outpost", 9000)).await?;
    let mut annotations = BTreeMap::from([
        (AUTH_URL, format!("http://{OUTPOST_HOST}:9000/outpost.goauthentik.io/auth/nginx?by=hand")),
        (AUTH_SIGNIN, format!("https://{HOST}/outpost.goauthentik.io/start?rd=$escaped_request_uri")),
    ]);
    let before = apply(&scene, &annotations).await?;
    let start = before.metadata.resource_version.context("no version")?;
    let _controller = scene.controller(&[]).await?;

    // With everything in place it is refused, and stays as it is.
    annotations.insert(OPT_IN, "true".to_owned());
    annotations.insert("sso.djieno.com/auth-route", "direct".to_owned());
    apply(&scene, &annotations).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert_eq!(annotation(&refused, AUTH_URL), annotations.get(AUTH_URL).map(String::as_str));
    assert!(annotation(&refused, MESSAGE).unwrap_or_default().contains("nginx.ingress.kubernetes.io/auth-"));

    // Those that are there get the values that it would write, and it adds the rest.
    annotations.insert(AUTH_URL, format!("http://{OUTPOST_HOST}:9000/outpost.goauthentik.io/auth/nginx"));
    let rd = "rd=$scheme://$best_http_host$escaped_request_uri";
    annotations.insert(AUTH_SIGNIN, format!("https://{HOST}/outpost.goauthentik.io/start?{rd}"));
    apply(&scene, &annotations).await?;
    let protected = scene.until_protected("n8n").await?;
    assert!(annotation(&protected, "nginx.ingress.kubernetes.io/auth-proxy-set-headers").is_some());

    // What goes from Git stays on the Ingress, since the controller has it too.
    let wanted = annotations.remove(AUTH_URL);
    annotations.remove(AUTH_SIGNIN);
    apply(&scene, &annotations).await?;
    scene.stays::<Ingress>("n8n").await?;
    assert_eq!(annotation(&scene.ingress("n8n").await?, AUTH_URL), wanted.as_deref());

    scene.delete::<Ingress>("login").await?;
    scene.until_names::<Ingress>(&["n8n", "n8n-outpost-path"]).await?;
    scene.delete::<Service>("outpost").await?;
    scene.until_names::<Service>(&["authentik-proxy-outpost"]).await?;
    scene.until_protected("n8n").await?;
    was_never_open(&scene, &start).await
}

/// Looks at all versions of the app since `start`.
async fn was_never_open(scene: &Scene, start: &str) -> Result<()> {
    scene.annotate("n8n", "the", Some("end")).await?;
    let params = WatchParams::default().fields("metadata.name=n8n");
    let mut events = pin!(scene.api::<Ingress>().watch(&params, start).await?.boxed());
    while let Some(event) = events.try_next().await? {
        let (WatchEvent::Added(app) | WatchEvent::Modified(app)) = event else { continue };
        ensure!(annotation(&app, AUTH_URL).is_some(), "open: {:?}", app.metadata.annotations);
        if annotation(&app, "the").is_some() {
            break;
        }
    }
    Ok(())
}
