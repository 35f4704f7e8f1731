//! A host's outpost path is routed once per class.

use crate::PROGRAM;
use anyhow::{Result, ensure};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, PATIENCE, Scene, annotation};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use std::time::Duration;

const HOST: &str = "shared.example.com";
const OTHER: &str = "other=http://other.authentik.svc.cluster.local:9000";

/// Two apps on one host, of which the first is older: creation times have whole seconds.
async fn two_apps(scene: &Scene) -> Result<()> {
    scene.create::<Ingress>(scene.opted_in("z-older", HOST)).await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.create::<Ingress>(scene.opted_in("a-younger", HOST).path("/b", "Prefix")).await?;
    scene.until_protected("z-older").await?;
    scene.until_protected("a-younger").await?;
    Ok(())
}

#[tokio::test]
async fn the_older_app_has_the_route_and_the_other_uses_it_and_says_so() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    two_apps(&scene).await?;
    scene.until_names::<Ingress>(&["a-younger", "z-older", "z-older-outpost-path"]).await?;
    let note = scene.until_event("a-younger", "RouteOfOtherApp").await?.note.unwrap_or_default();
    assert!(note.contains(&format!("{}/z-older", scene.namespace())), "{note}");
    Ok(())
}

#[tokio::test]
async fn when_the_holder_opts_out_the_next_has_its_route_before_the_old_one_goes() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    two_apps(&scene).await?;
    let gap = std::sync::atomic::AtomicU32::new(0);
    let has_route = || async {
        let names = scene.names::<Ingress>().await?;
        if !names.iter().any(|name| name.ends_with("-outpost-path")) {
            gap.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        anyhow::Ok(names)
    };
    scene.annotate("z-older", OPT_IN, None).await?;
    eventually("the route of the younger app alone", PATIENCE, || async {
        let names = has_route().await?;
        ensure!(names == ["a-younger", "a-younger-outpost-path", "z-older"], "{names:?}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(gap.into_inner(), 0, "the host was without a route for a moment");
    scene.until_protected("a-younger").await?;
    Ok(())
}

#[tokio::test]
async fn when_the_holder_is_deleted_the_next_is_elected() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    two_apps(&scene).await?;
    scene.delete::<Ingress>("z-older").await?;
    scene.until_names::<Ingress>(&["a-younger", "a-younger-outpost-path"]).await?;
    scene.until_protected("a-younger").await?;
    Ok(())
}

#[tokio::test]
async fn a_second_outpost_on_a_host_is_refused_until_the_host_is_free() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&["--outpost", OTHER, "--default-outpost", "proxy-outpost"]).await?;
    scene.create::<Ingress>(scene.opted_in("first", HOST)).await?;
    scene.until_protected("first").await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second =
        scene.opted_in("second", HOST).path("/b", "Prefix").annotation("sso.djieno.com/outpost", "other");
    scene.create::<Ingress>(second).await?;
    let refused = scene.until_status("second", "Refused").await?;
    let message = annotation(&refused, MESSAGE).unwrap_or_default();
    assert!(message.contains("shared.example.com") && message.contains("\"proxy-outpost\""), "{message}");
    scene.annotate("first", OPT_IN, None).await?;
    scene.until_protected("second").await?;
    scene.until_names::<Ingress>(&["first", "second", "second-outpost-path"]).await
}

#[tokio::test]
async fn an_older_app_that_opts_in_uses_the_route_that_stands() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.app("z-older", HOST)).await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.create::<Ingress>(scene.opted_in("a-younger", HOST).path("/b", "Prefix")).await?;
    scene.until_names::<Ingress>(&["a-younger", "a-younger-outpost-path", "z-older"]).await?;
    scene.until_event("a-younger", "OpenNeighbour").await?;
    scene.annotate("z-older", OPT_IN, Some("true")).await?;
    scene.until_protected("z-older").await?;
    scene.until_event("z-older", "RouteOfOtherApp").await?;
    scene.until_protected("a-younger").await?;
    scene.until_names::<Ingress>(&["a-younger", "a-younger-outpost-path", "z-older"]).await?;
    Ok(())
}
