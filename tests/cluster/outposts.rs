//! Outposts that come and go.

use crate::PROGRAM;
use anyhow::{Result, ensure};
use ingress_sso_testbed::builders::outpost_service;
use ingress_sso_testbed::scene::{MESSAGE, PATIENCE, Scene, annotation};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;

const EMBEDDED: &str = "authentik-embedded-outpost";

#[tokio::test]
async fn discovery_follows_services_that_appear_and_go() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller_with(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert!(annotation(&refused, MESSAGE).is_some_and(|message| message.contains("no outpost is known")));

    scene.create::<Service>(outpost_service(scene.namespace(), "one")).await?;
    scene.until_protected("n8n").await?;
    let service: Service = scene.api().get("authentik-one").await?;
    let target = service.spec.and_then(|spec| spec.external_name);
    assert_eq!(target, Some(format!("ak-outpost-one.{}.svc.cluster.local", scene.namespace())));

    scene.delete::<Service>("ak-outpost-one").await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert!(
        annotation(&refused, "nginx.ingress.kubernetes.io/auth-url").is_some(),
        "an app is never opened because its outpost is gone"
    );
    scene.ingress("n8n-outpost-path").await?;
    Ok(())
}

#[tokio::test]
async fn the_embedded_outpost_alone_is_refused_with_both_ways_out() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    scene.create::<Service>(outpost_service(scene.namespace(), EMBEDDED)).await?;
    let _controller = scene.controller_with(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    let message = annotation(&refused, MESSAGE).unwrap_or_default();
    for part in ["404", "500", "create a proxy outpost", "sso.djieno.com/outpost: authentik-embedded-outpost"]
    {
        assert!(message.contains(part), "{message} lacks {part}");
    }
    scene.annotate("n8n", "sso.djieno.com/outpost", Some(EMBEDDED)).await?;
    scene.until_protected("n8n").await?;
    Ok(())
}

#[tokio::test]
async fn an_app_that_changes_its_outpost_leaves_nothing_of_the_old_one() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    for slug in ["one", "two"] {
        scene.create::<Service>(outpost_service(scene.namespace(), slug)).await?;
    }
    let _controller = scene.controller_with(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert!(annotation(&refused, MESSAGE).is_some_and(|message| message.contains("one, two")));
    for slug in ["one", "two"] {
        scene.annotate("n8n", "sso.djieno.com/outpost", Some(slug)).await?;
        let service = format!("authentik-{slug}");
        scene.until_names::<Service>(&["ak-outpost-one", "ak-outpost-two", &service]).await?;
        scene.until_protected("n8n").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_outpost_that_speaks_tls_gets_a_route_that_does() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let outpost = "secure=https://outpost.authentik.svc.cluster.local:9443";
    let _controller = scene.controller_with(&["--outpost", outpost]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    let route = scene.ingress("n8n-outpost-path").await?;
    assert_eq!(annotation(&route, "nginx.ingress.kubernetes.io/backend-protocol"), Some("HTTPS"));
    eventually("a Service on port 9443", PATIENCE, || async {
        let service: Service = scene.api().get("authentik-secure").await?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        ensure!(
            ports.iter().any(|port| port.port == 9443 && port.name.as_deref() == Some("https")),
            "{ports:?}"
        );
        Ok(Some(()))
    })
    .await
}
