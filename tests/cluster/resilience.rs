//! Restarts, outages, missing rights.

use crate::PROGRAM;
use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::account::{self, Reach, account};
use ingress_sso_testbed::builders::ingress;
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::faults::{FaultyProxy, Odds};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, OUTPOST, PATIENCE, Scene, annotation};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

#[tokio::test]
async fn sigterm_ends_it_within_seconds() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    let (status, _) = controller.terminate(Duration::from_secs(15)).await?;
    assert!(status.success(), "{status:?}\n{}", controller.logs()?);
    Ok(())
}

#[tokio::test]
async fn healthz_answers_at_once_and_readyz_when_all_lists_are_there() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let no_rights = kubeconfig_of(&scene, "no-rights", &json!([])).await?;
    let controller = scene.start(&no_rights, &["--outpost", OUTPOST])?;
    eventually("healthz", PATIENCE, || async {
        let response = controller.get("/healthz").await?;
        Ok((response.status == 200).then_some(()))
    })
    .await?;
    let response = controller.get("/readyz").await?;
    assert_eq!(response.status, 503, "{}", response.text());
    eventually("a log line for each forbidden watch", PATIENCE, || async {
        let logs = controller.logs()?;
        for source in ["Ingresses", "Classes", "Services", "ConfigMaps", "Outposts", "Middlewares"] {
            ensure!(
                logs.lines().any(|line| line.contains("watch failed") && line.contains(source)),
                "{source}: {logs}"
            );
        }
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn a_server_that_does_not_stream_lists_is_read_in_pages() -> Result<()> {
    let streamed = Scene::new(PROGRAM).await?;
    let paged = Scene::without_streamed_lists(PROGRAM).await?;
    for (scene, is_paged) in [(streamed, false), (paged, true)] {
        // More than a page holds.
        for number in 0..600 {
            let app = scene.app(&format!("app-{number}"), &format!("app-{number}.example.com"));
            scene.create::<Ingress>(app).await?;
        }
        scene.create::<Ingress>(scene.opted_in("n8n", "n8n.example.com")).await?;
        let controller = scene.controller(&[]).await?;
        scene.until_protected("n8n").await?;
        scene.create::<Ingress>(scene.opted_in("later", "later.example.com")).await?;
        scene.until_protected("later").await?;
        let logs = controller.logs()?;
        assert_eq!(logs.contains("does not stream lists"), is_paged, "{logs}");
        assert!(!logs.contains("watch failed"), "{logs}");
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_that_is_forbidden_stops_none_of_the_others_and_heals_by_itself() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["*"] },
        { "apiGroups": ["traefik.io"], "resources": ["middlewares"], "verbs": ["*"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ]);
    let kubeconfig = kubeconfig_of(&scene, "no-classes", &rules).await?;
    let scope =
        ["--namespace", scene.namespace(), "--outpost-namespace", scene.namespace(), "--outpost", OUTPOST];
    let controller = scene.start(&kubeconfig, &[&scope[..], &["--class", "mine=nginx"]].concat())?;
    scene.create::<Ingress>(scene.opted_in("given", "a.example.com").class("mine")).await?;
    scene.until_protected("given").await?;
    scene.create::<Ingress>(scene.opted_in("unknown", "b.example.com")).await?;
    let pending = scene.until_status("unknown", "Pending").await?;
    assert!(annotation(&pending, MESSAGE).is_some_and(|message| message.contains("ingressclasses")));
    assert_eq!(controller.get("/readyz").await?.status, 503);

    let mut rules = rules.as_array().cloned().context("array")?;
    rules.push(json!({ "apiGroups": ["networking.k8s.io"], "resources": ["ingressclasses"], "verbs": ["list", "watch"] }));
    set_rules(&scene, "no-classes", &json!(rules)).await?;
    scene.until_protected("unknown").await?;
    controller.wait_ready(PATIENCE).await
}

#[tokio::test]
async fn without_a_right_to_middlewares_all_apps_are_served_but_those_of_traefik() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    let rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["*"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ]);
    let kubeconfig = kubeconfig_of(&scene, "no-middlewares", &rules).await?;
    let scope =
        ["--namespace", scene.namespace(), "--outpost-namespace", scene.namespace(), "--outpost", OUTPOST];
    let controller = scene.start(&kubeconfig, &scope)?;
    controller.wait_ready(PATIENCE).await?;
    scene.create::<Ingress>(scene.opted_in("other", "b.example.com").class("traefik")).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "a.example.com")).await?;
    scene.until_protected("n8n").await?;
    let pending = scene.until_status("other", "Pending").await?;
    assert!(annotation(&pending, MESSAGE).is_some_and(|message| message.contains("middlewares.traefik.io")));
    scene.annotate("n8n", OPT_IN, None).await?;
    scene.annotate("other", OPT_IN, None).await?;
    scene.until_only(&["n8n", "other"]).await
}

#[tokio::test]
async fn a_write_that_is_forbidden_is_told_on_the_app_and_heals() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"] },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ]);
    let kubeconfig = kubeconfig_of(&scene, "no-services", &rules).await?;
    let scope =
        ["--namespace", scene.namespace(), "--outpost-namespace", scene.namespace(), "--outpost", OUTPOST];
    let controller = scene.start(&kubeconfig, &scope)?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let failing = scene.until_status("n8n", "Failing").await?;
    let message = annotation(&failing, MESSAGE).unwrap_or_default();
    assert!(message.contains("cannot create Service") && message.contains("forbidden"), "{message}");
    eventually("a fourth failure", PATIENCE, || async {
        Ok(controller.logs()?.contains("failures=4").then_some(()))
    })
    .await?;
    assert_eq!(controller.logs()?.matches("state=Failing").count(), 1, "it is told once");
    assert_eq!(annotation(&failing, "nginx.ingress.kubernetes.io/auth-url"), None);

    let mut rules = rules;
    rules[1]["verbs"] = json!(["*"]);
    set_rules(&scene, "no-services", &rules).await?;
    scene.until_protected("n8n").await?;
    Ok(())
}

#[tokio::test]
async fn a_shared_companion_that_cannot_be_repaired_is_told_on_the_apps_that_need_it() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let mut rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["*"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ]);
    let kubeconfig = kubeconfig_of(&scene, "reader", &rules).await?;
    let scope =
        ["--namespace", scene.namespace(), "--outpost-namespace", scene.namespace(), "--outpost", OUTPOST];
    let _controller = scene.start(&kubeconfig, &scope)?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;

    let all = rules.clone();
    rules[1]["verbs"] = json!(["get", "list", "watch"]);
    set_rules(&scene, "reader", &rules).await?;
    scene.delete::<Service>("authentik-proxy-outpost").await?;
    let failing = scene.until_status("n8n", "Failing").await?;
    assert!(annotation(&failing, "nginx.ingress.kubernetes.io/auth-url").is_some(), "it stays closed");
    set_rules(&scene, "reader", &all).await?;
    scene.until_protected("n8n").await?;
    scene.until_names::<Service>(&["authentik-proxy-outpost"]).await
}

/// On a control plane of its own, since no other test would like its API server to go.
#[tokio::test]
async fn an_api_server_that_is_killed_and_comes_back_is_caught_up_with() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client()?;
    let api: Api<Ingress> = Api::namespaced(client.clone(), "default");
    let app = |name: &str| {
        ingress("default", name).host(&format!("{name}.example.com")).annotation(OPT_IN, "true").build()
    };
    let controller = Controller::builder(PROGRAM)
        .kubeconfig(plane.kubeconfig())
        .args(["--outpost", OUTPOST, "--class", "nginx=nginx"])
        .start()?;
    controller.wait_ready(PATIENCE).await?;
    api.create(&PostParams::default(), &app("before")).await?;
    until_protected(&api, "before").await?;

    plane.stop_api_server()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    plane.start_api_server().await?;
    let client: Client = plane.client()?;
    let api: Api<Ingress> = Api::namespaced(client.clone(), "default");
    api.delete("before", &DeleteParams::default()).await?;
    api.create(&PostParams::default(), &app("after")).await?;
    until_protected(&api, "after").await?;

    plane.pause_api_server()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    plane.resume_api_server()?;
    api.create(&PostParams::default(), &app("later")).await?;
    until_protected(&api, "later").await?;
    controller.terminate(Duration::from_secs(15)).await?;
    Ok(())
}

#[tokio::test]
async fn without_an_api_server_it_starts_and_waits() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let nowhere = scene.plane().dir().join("nowhere.kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "x", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "x", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
    });
    std::fs::write(&nowhere, config.to_string())?;
    let controller = scene.start(&nowhere, &[])?;
    eventually("a log line about it", PATIENCE, || async {
        let logs = controller.logs()?;
        ensure!(logs.contains("watch failed"), "{logs}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(controller.get("/healthz").await?.status, 200);
    let (status, _) = controller.terminate(Duration::from_secs(15)).await?;
    assert!(status.success());
    Ok(())
}

/// Nobody should run two, and an update may do so for a moment.
#[tokio::test]
async fn two_controllers_at_once_get_in_each_others_way_and_still_end_right() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _first = scene.controller(&[]).await?;
    let _second = scene.controller(&[]).await?;
    let names: Vec<String> = (0..10).map(|number| format!("app-{number}")).collect();
    for name in &names {
        scene.create::<Ingress>(scene.opted_in(name, &format!("{name}.example.com"))).await?;
    }
    for name in &names {
        scene.until_protected(name).await?;
    }
    for name in &names {
        scene.annotate(name, OPT_IN, None).await?;
    }
    scene.until_only(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    for name in &names {
        scene.until_untouched(name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_is_deleted_takes_its_apps_along_in_peace() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    for app in ["a", "b", "c"] {
        scene.create::<Ingress>(scene.opted_in(app, &format!("{app}.example.com"))).await?;
        scene.until_protected(app).await?;
    }
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(scene.client());
    namespaces.delete(scene.namespace(), &DeleteParams::default()).await?;
    eventually("the namespace gone", PATIENCE, || async {
        Ok(namespaces.get_opt(scene.namespace()).await?.is_none().then_some(()))
    })
    .await?;
    assert!(scene.names::<ConfigMap>().await?.is_empty());
    assert!(controller.process().exited()?.is_none());
    Ok(())
}

/// What the watch has told by then is that it is gone, and it does not tell so twice.
#[tokio::test]
async fn what_is_deleted_before_the_answer_to_its_making_arrives_is_made_again() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let proxy = FaultyProxy::start(scene.plane().address(), 1).await?;
    let kubeconfig = proxy.kubeconfig(scene.plane(), scene.namespace())?;
    let scope = ["--namespace", scene.namespace(), "--outpost", OUTPOST];
    let controller = scene.start(&kubeconfig, &scope)?;
    controller.wait_ready(PATIENCE).await?;
    proxy.set(Odds { late: 1000, ..Odds::default() });
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let services = scene.api::<Service>();
    let deleted = eventually("a Service", PATIENCE, || async {
        let list = services.list(&ListParams::default()).await?;
        Ok(list.items.into_iter().next())
    });
    let deleted = deleted.await?;
    scene.delete::<Service>(&deleted.name_any()).await?;
    // The answers that are on their way stay late.
    proxy.set(Odds::default());
    scene.until_protected("n8n").await?;
    eventually("another Service", PATIENCE, || async {
        let found = services.get(&deleted.name_any()).await?;
        Ok((found.uid() != deleted.uid()).then_some(()))
    })
    .await
}

async fn until_protected(api: &Api<Ingress>, name: &str) -> Result<()> {
    eventually(format!("{name} protected"), PATIENCE, || async {
        let ingress = api.get(name).await?;
        let status = annotation(&ingress, "sso.djieno.com/status");
        ensure!(status == Some("Protected"), "{status:?}");
        Ok(Some(()))
    })
    .await
}

/// Gives an account that [`kubeconfig_of`] made other rights.
pub(crate) async fn set_rules(scene: &Scene, name: &str, rules: &Value) -> Result<()> {
    account::set_rules(&scene.client(), scene.namespace(), name, rules).await
}

/// A kubeconfig for an account of the scene's namespace with these rights everywhere.
pub(crate) async fn kubeconfig_of(scene: &Scene, name: &str, rules: &Value) -> Result<PathBuf> {
    account(scene.plane(), scene.namespace(), name, rules, Reach::Cluster).await
}
