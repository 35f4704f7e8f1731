//! From the annotation to protection and back.

use crate::PROGRAM;
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use ingress_sso_testbed::kubectl::kubectl;
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, PATIENCE, STATUS, Scene, annotation};
use ingress_sso_testbed::wait::{eventually, throughout};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn the_annotation_makes_service_route_and_auth_annotations() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    let created: Ingress = scene.create(scene.app("n8n", "app.djieno.com")).await?;
    scene.annotate("n8n", OPT_IN, Some("true")).await?;
    let app = scene.until_protected("n8n").await?;

    let nginx =
        |key: &str| annotation(&app, &format!("nginx.ingress.kubernetes.io/{key}")).map(str::to_owned);
    let base = "https://app.djieno.com/outpost.goauthentik.io";
    assert_eq!(nginx("auth-url"), Some(format!("{base}/auth/nginx")));
    assert_eq!(
        nginx("auth-signin"),
        Some(format!("{base}/start?rd=$scheme://$best_http_host$escaped_request_uri"))
    );
    assert!(
        nginx("auth-response-headers")
            .is_some_and(|list| list.starts_with("Set-Cookie,X-authentik-username,"))
    );
    assert_eq!(annotation(&app, MESSAGE), None);
    assert_eq!(app.spec, created.spec, "what the user wrote stays");

    let service: Service = scene.api().get("authentik-proxy-outpost").await?;
    let spec = service.spec.context("Service without a spec")?;
    assert_eq!(spec.type_.as_deref(), Some("ExternalName"));
    assert_eq!(
        spec.external_name.as_deref(),
        Some("ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local")
    );

    let route = scene.ingress("n8n-outpost-path").await?;
    let owners = route.owner_references();
    assert_eq!(owners.len(), 1);
    assert_eq!(
        (owners[0].uid.as_str(), owners[0].controller),
        (app.uid().unwrap_or_default().as_str(), Some(true))
    );

    let headers = nginx("auth-proxy-set-headers").context("no header ConfigMap named")?;
    let (namespace, name) = headers.split_once('/').context("not namespace/name")?;
    assert_eq!(namespace, scene.namespace());
    let headers: ConfigMap = scene.api().get(name).await?;
    assert_eq!(headers.data.context("no data")?["X-Original-URI"], "");
    scene.until_event("n8n", "Protected").await?;
    Ok(())
}

/// The two commands of the README.
#[tokio::test]
async fn kubectl_can_ask_for_protection_and_wait_for_it() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.app("n8n", "app.example.com")).await?;
    let (kubeconfig, namespace) = (scene.plane().kubeconfig(), scene.namespace());
    kubectl(kubeconfig, &["-n", namespace, "annotate", "ingress", "n8n", "sso.djieno.com/authentik=true"])
        .await?;
    let status = r"--for=jsonpath={.metadata.annotations.sso\.djieno\.com/status}=Protected";
    kubectl(kubeconfig, &["-n", namespace, "wait", "ingress", "n8n", status, "--timeout=40s"]).await?;
    scene.ingress("n8n-outpost-path").await?;
    Ok(())
}

#[tokio::test]
async fn taking_the_annotation_away_takes_all_of_it_away() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    for (app, off) in [("removed", None), ("false", Some("false"))] {
        scene.create::<Ingress>(scene.opted_in(app, "app.example.com").annotation("mine", "stays")).await?;
        scene.until_protected(app).await?;
        scene.annotate(app, OPT_IN, off).await?;
        scene.until_only(&[app]).await?;
        let left = scene.until_untouched(app).await?;
        assert_eq!(annotation(&left, "mine"), Some("stays"));
        assert_eq!(annotation(&left, "nginx.ingress.kubernetes.io/proxy-buffer-size"), None);
        scene.until_event(app, "Unprotected").await?;
        scene.delete::<Ingress>(app).await?;
    }
    Ok(())
}

#[tokio::test]
async fn deleting_the_app_takes_all_of_it_away() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    scene.delete::<Ingress>("n8n").await?;
    scene.until_only(&[]).await
}

#[tokio::test]
async fn garbage_collection_alone_removes_the_route_of_a_deleted_app() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    controller.kill()?;
    scene.delete::<Ingress>("n8n").await?;
    scene.until_names::<Ingress>(&[]).await
}

#[tokio::test]
async fn leftovers_of_apps_that_went_while_the_controller_was_down_are_removed_at_start() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    for app in ["orphaned", "opted-out"] {
        scene.create::<Ingress>(scene.opted_in(app, &format!("{app}.example.com"))).await?;
        scene.until_protected(app).await?;
    }
    controller.kill()?;
    // As after `kubectl delete --cascade=orphan`: nothing but the controller will remove the route.
    scene
        .edit::<Ingress>("orphaned-outpost-path", &json!({ "metadata": { "ownerReferences": null } }))
        .await?;
    scene.delete::<Ingress>("orphaned").await?;
    scene.annotate("opted-out", OPT_IN, None).await?;
    let _controller = scene.controller(&[]).await?;
    scene.until_only(&["opted-out"]).await
}

#[tokio::test]
async fn what_apps_share_stays_until_the_last_of_them_goes() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    for app in ["a", "b"] {
        scene.create::<Ingress>(scene.opted_in(app, &format!("{app}.example.com"))).await?;
        scene.until_protected(app).await?;
    }
    scene.annotate("a", OPT_IN, None).await?;
    scene.until_names::<Ingress>(&["a", "b", "b-outpost-path"]).await?;
    throughout("the Service of b", Duration::from_secs(1), || async {
        scene.api::<Service>().get("authentik-proxy-outpost").await?;
        anyhow::ensure!(scene.names::<ConfigMap>().await?.len() == 1);
        Ok(())
    })
    .await?;
    scene.annotate("b", OPT_IN, None).await?;
    scene.until_only(&["a", "b"]).await
}

/// Follows every version of every Ingress: at no moment may an app name a route or headers that are not there.
#[tokio::test]
async fn companions_come_before_the_annotations_and_go_after_them() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    let start = scene
        .api::<Ingress>()
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .unwrap_or_default();
    let api = scene.api::<Ingress>();
    let events = api.watch(&WatchParams::default(), &start).await?;
    let mut events = std::pin::pin!(events.try_filter_map(|event| async move {
        Ok(match event {
            WatchEvent::Added(ingress) | WatchEvent::Modified(ingress) => Some((ingress, true)),
            WatchEvent::Deleted(ingress) => Some((ingress, false)),
            _ => None,
        })
    }));
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    scene.annotate("n8n", OPT_IN, None).await?;
    scene.until_only(&["n8n"]).await?;

    let (mut has_route, mut is_protected, mut history) = (false, false, Vec::new());
    while history.last() != Some(&"route gone") {
        let (ingress, is_there) = events.next().await.context("the watch ended")??;
        if ingress.name_any() == "n8n-outpost-path" {
            has_route = is_there;
            history.push(if is_there { "route" } else { "route gone" });
        } else {
            is_protected = annotation(&ingress, "nginx.ingress.kubernetes.io/auth-url").is_some();
            history.push(if is_protected { "protected" } else { "open" });
        }
        assert!(has_route || !is_protected, "protected without a route: {history:?}");
    }
    assert_eq!(history, ["open", "route", "protected", "protected", "open", "route gone"]);
    Ok(())
}

#[tokio::test]
async fn an_apply_with_the_uid_of_a_deleted_ingress_creates_nothing() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let app: Ingress = scene.create(scene.app("gone", "app.example.com")).await?;
    scene.delete::<Ingress>("gone").await?;
    let apply = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "gone", "uid": app.uid(), "annotations": { "a": "b" } },
    });
    let applied =
        scene.api::<Ingress>().patch("gone", &PatchParams::apply("ingress-sso"), &Patch::Apply(apply)).await;
    assert!(applied.is_err(), "{applied:?}");
    scene.until_names::<Ingress>(&[]).await
}

#[tokio::test]
async fn a_recreated_app_keeps_its_route() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    for _ in 0..3 {
        let app: Ingress = scene.create(scene.opted_in("n8n", "app.example.com")).await?;
        scene.until_protected("n8n").await?;
        eventually("a route of this life of the app", PATIENCE, || async {
            let route = scene.ingress("n8n-outpost-path").await?;
            let owner = route.owner_references().first().map(|owner| owner.uid.clone());
            anyhow::ensure!(owner == app.uid(), "owner {owner:?}");
            Ok(Some(()))
        })
        .await?;
        scene.delete::<Ingress>("n8n").await?;
    }
    scene.until_only(&[]).await
}

#[tokio::test]
async fn another_host_moves_route_and_annotations_along() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "old.example.com")).await?;
    scene.until_protected("n8n").await?;
    let rules = scene.app("n8n", "new.example.com").build().spec.context("spec")?.rules;
    scene.edit::<Ingress>("n8n", &json!({ "spec": { "rules": rules } })).await?;
    eventually("the new host everywhere", PATIENCE, || async {
        let (app, route) = (scene.ingress("n8n").await?, scene.ingress("n8n-outpost-path").await?);
        let url = annotation(&app, "nginx.ingress.kubernetes.io/auth-url").map(str::to_owned);
        anyhow::ensure!(
            url.as_deref() == Some("https://new.example.com/outpost.goauthentik.io/auth/nginx"),
            "{url:?}"
        );
        let hosts: Vec<_> = route
            .spec
            .into_iter()
            .flat_map(|spec| spec.rules.unwrap_or_default())
            .map(|rule| rule.host)
            .collect();
        anyhow::ensure!(hosts == [Some("new.example.com".to_owned())], "{hosts:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn the_direct_route_is_a_choice_of_the_app_or_of_the_admin() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&["--auth-route", "direct"]).await?;
    scene.create::<Ingress>(scene.opted_in("admin", "a.example.com")).await?;
    scene
        .create::<Ingress>(
            scene.opted_in("app", "b.example.com").annotation("sso.djieno.com/auth-route", "host"),
        )
        .await?;
    let url =
        |ingress: &Ingress| annotation(ingress, "nginx.ingress.kubernetes.io/auth-url").map(str::to_owned);
    assert_eq!(
        url(&scene.until_protected("admin").await?).as_deref(),
        Some(
            "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000/outpost.goauthentik.io/auth/nginx"
        )
    );
    assert_eq!(
        url(&scene.until_protected("app").await?).as_deref(),
        Some("https://b.example.com/outpost.goauthentik.io/auth/nginx")
    );
    assert_eq!(scene.names::<ConfigMap>().await?.len(), 1, "both routes need the same headers");
    let moved = scene.annotate("app", "sso.djieno.com/auth-route", None).await?;
    assert_eq!(annotation(&moved, STATUS), Some("Protected"));
    let other = url(&scene.ingress("admin").await?);
    eventually("the same auth-url for both", PATIENCE, || async {
        Ok((url(&scene.ingress("app").await?) == other).then_some(()))
    })
    .await
}
