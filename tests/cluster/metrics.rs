//! The numbers at `/metrics`, held against what happens.

use crate::PROGRAM;
use crate::resilience::{kubeconfig_of, set_rules};
use anyhow::{Result, ensure};
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::metrics::{Sample, families, samples, sum, value};
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, Scene};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use std::time::Duration;

/// Names an outpost.
const WANTED: &str = "sso.djieno.com/outpost";

/// How long a test waits for numbers: a watch that failed may be tried again as late as 30 seconds after that, and counts as up
/// only when nothing has failed for 45.
const PATIENCE: Duration = Duration::from_mins(2);

const SOURCES: [&str; 6] = ["Ingresses", "Classes", "Services", "ConfigMaps", "Outposts", "Middlewares"];

#[tokio::test]
async fn they_are_in_the_open_metrics_format() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    let response = controller.get("/metrics").await?;
    assert_eq!(response.status, 200);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(response.header("content-type"), Some(content_type));
    let text = response.text();
    assert!(families(&text)?.iter().all(|family| family.name.starts_with("ingress_sso_")), "{text}");
    let builds: Vec<_> = samples(&text, "ingress_sso_build_info").collect();
    assert_eq!(builds.len(), 1);
    assert_eq!((builds[0].label("version"), builds[0].value), (env!("CARGO_PKG_VERSION"), "1"));
    Ok(())
}

#[tokio::test]
async fn apps_count_under_their_status_as_long_as_they_ask_for_protection() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.app("bystander", "open.example.com")).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let nowhere = scene.opted_in("lost", "lost.example.com").annotation(WANTED, "nowhere");
    scene.create::<Ingress>(nowhere).await?;
    until_apps(&controller, &[("Protected", "Protected", 1), ("Refused", "UnknownOutpost", 1)]).await?;

    scene.annotate("lost", WANTED, None).await?;
    until_apps(&controller, &[("Protected", "Protected", 2)]).await?;
    scene.annotate("n8n", OPT_IN, None).await?;
    until_apps(&controller, &[("Protected", "Protected", 1)]).await?;
    scene.delete::<Ingress>("lost").await?;
    until_apps(&controller, &[]).await
}

#[tokio::test]
async fn after_a_restart_apps_count_as_before_and_nothing_was_written_for_it() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let first = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let nowhere = scene.opted_in("lost", "lost.example.com").annotation(WANTED, "nowhere");
    scene.create::<Ingress>(nowhere).await?;
    scene.until_protected("n8n").await?;
    scene.until_status("lost", "Refused").await?;
    first.terminate(Duration::from_secs(15)).await?;

    let second = scene.controller(&[]).await?;
    until_apps(&second, &[("Protected", "Protected", 1), ("Refused", "UnknownOutpost", 1)]).await?;
    let text = until_idle(&second).await?;
    assert_number(sum(&text, "ingress_sso_api_writes_total", |_| true)?, 0);
    assert_number(value(&text, "ingress_sso_protection_delay_seconds_count")?, 0);
    Ok(())
}

#[tokio::test]
async fn writes_are_counted_and_so_is_each_app_that_came_to_be_protected() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let text = until(&controller, "the last of five writes", |text| {
        let writes = sum(text, "ingress_sso_api_writes_total", |_| true)?;
        ensure!((writes - 5.0).abs() < 0.5 && value(text, "ingress_sso_queue_running")? < 0.5, "{writes}");
        Ok(())
    })
    .await?;
    for (kind, verb, count) in [
        ("Ingress", "create", 1),
        ("Ingress", "apply", 1),
        ("Service", "create", 1),
        ("ConfigMap", "create", 1),
        ("Event", "create", 1),
    ] {
        let label = [("kind", kind), ("verb", verb), ("outcome", "ok")];
        assert_number(sum(&text, "ingress_sso_api_writes_total", has(&label))?, count);
    }
    assert_number(value(&text, "ingress_sso_protection_delay_seconds_count")?, 1);
    assert!(value(&text, "ingress_sso_protection_delay_seconds_sum")? > 0.0);
    let done = [("kind", "app"), ("outcome", "done")];
    assert!(sum(&text, "ingress_sso_reconciles_total", has(&done))? > 0.0, "{text}");
    let reconciles = sum(&text, "ingress_sso_reconciles_total", |_| true)?;
    assert!((value(&text, "ingress_sso_reconcile_duration_seconds_count")? - reconciles).abs() < 0.5);

    // What is looked at again and was protected all the time does not count anew.
    scene.annotate("n8n", "example.com/anything", Some("new")).await?;
    scene.annotate("n8n", OPT_IN, Some("false")).await?;
    scene.until_untouched("n8n").await?;
    scene.annotate("n8n", OPT_IN, Some("true")).await?;
    scene.until_protected("n8n").await?;
    let text = until_idle(&controller).await?;
    assert_number(value(&text, "ingress_sso_protection_delay_seconds_count")?, 2);
    Ok(())
}

#[tokio::test]
async fn a_forbidden_watch_is_down_until_it_is_allowed_and_the_others_are_up() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let mut rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["*"] },
        { "apiGroups": ["traefik.io"], "resources": ["middlewares"], "verbs": ["*"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ]);
    let controller = start_with(&scene, "no-watch", &rules).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    until_apps(&controller, &[("Pending", "Waiting", 1)]).await?;
    let text = until(&controller, "a failure of the watch", |text| {
        let errors = sum(text, "ingress_sso_watch_errors_total", has(&[("source", "Classes")]))?;
        ensure!(errors > 0.0);
        // Traefik's kind is not installed, which is nothing to be alarmed about.
        ensure!(down(text) == ["Classes"], "{:?}", down(text));
        Ok(())
    })
    .await?;
    let others = |sample: &Sample<'_>| sample.label("source") != "Classes";
    assert_number(sum(&text, "ingress_sso_watch_errors_total", others)?, 0);

    rules[0]["resources"] = json!(["ingresses", "ingressclasses"]);
    set_rules(&scene, "no-watch", &rules).await?;
    until_apps(&controller, &[("Protected", "Protected", 1)]).await?;
    until(&controller, "all watches up", |text| {
        ensure!(down(text).is_empty(), "{:?}", down(text));
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn without_any_list_it_is_not_the_one_that_writes() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let controller = start_with(&scene, "no-rights", &json!([])).await?;
    let text = until(&controller, "a failure of each watch", |text| {
        for source in SOURCES {
            let errors = sum(text, "ingress_sso_watch_errors_total", has(&[("source", source)]))?;
            ensure!(errors > 0.0, "{source}");
        }
        Ok(())
    })
    .await?;
    assert_eq!(down(&text).len(), SOURCES.len());
    assert_number(value(&text, "ingress_sso_leader")?, 0);
    let ready = scene.controller(&[]).await?;
    until(&ready, "the one that writes", |text| {
        ensure!(value(text, "ingress_sso_leader")? > 0.0);
        ensure!(down(text).is_empty(), "{:?}", down(text));
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_write_that_is_forbidden_counts_as_rejected_and_its_app_as_failing() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let mut rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
        { "apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"] },
    ]);
    let controller = start_with(&scene, "no-services", &rules).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    until_apps(&controller, &[("Failing", "WriteFailed", 1)]).await?;
    let rejected = [("kind", "Service"), ("verb", "create"), ("outcome", "rejected")];
    let text = until(&controller, "a reconcile that failed and is delayed", |text| {
        let failed = [("kind", "app"), ("outcome", "failed")];
        ensure!(sum(text, "ingress_sso_reconciles_total", has(&failed))? > 0.0);
        ensure!(value(text, "ingress_sso_queue_delayed")? > 0.0);
        Ok(())
    })
    .await?;
    assert!(sum(&text, "ingress_sso_api_writes_total", has(&rejected))? > 0.0, "{text}");

    rules[3]["verbs"] = json!(["*"]);
    set_rules(&scene, "no-services", &rules).await?;
    until_apps(&controller, &[("Protected", "Protected", 1)]).await
}

/// The controller with these rights, for the scene's namespace only. It may never be ready.
async fn start_with(scene: &Scene, name: &str, rules: &Value) -> Result<Controller> {
    let kubeconfig = kubeconfig_of(scene, name, rules).await?;
    let scope = ["--namespace", scene.namespace(), "--outpost-namespace", scene.namespace()];
    scene.start(&kubeconfig, &[&scope[..], &["--outpost", OUTPOST]].concat())
}

/// Waits until the metrics pass `check`, and returns them.
async fn until(controller: &Controller, what: &str, check: impl Fn(&str) -> Result<()>) -> Result<String> {
    eventually(what, PATIENCE, || async {
        let text = controller.get("/metrics").await?.text();
        check(&text)?;
        Ok(Some(text))
    })
    .await
}

/// Waits until as many apps as these count, and no others.
async fn until_apps(controller: &Controller, wanted: &[(&str, &str, u32)]) -> Result<()> {
    let mut wanted: Vec<_> =
        wanted.iter().map(|(status, reason, count)| format!("{status} {reason} {count}")).collect();
    wanted.sort();
    until(controller, &format!("apps {wanted:?}"), |text| {
        let apps = samples(text, "ingress_sso_apps").filter(|sample| sample.value != "0");
        let describe = |sample: Sample<'_>| {
            format!("{} {} {}", sample.label("status"), sample.label("reason"), sample.value)
        };
        let mut apps: Vec<_> = apps.map(describe).collect();
        apps.sort();
        ensure!(apps == wanted, "{apps:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

/// Waits until everything has been looked at and nothing is to do, and returns the metrics.
async fn until_idle(controller: &Controller) -> Result<String> {
    until(controller, "nothing to do", |text| {
        ensure!(sum(text, "ingress_sso_reconciles_total", |_| true)? > 0.0);
        for queue in ["ingress_sso_queue_depth", "ingress_sso_queue_running", "ingress_sso_queue_delayed"] {
            ensure!(value(text, queue)? < 0.5, "{queue}");
        }
        Ok(())
    })
    .await
}

/// Sources of which a watch is down.
fn down(text: &str) -> Vec<String> {
    let down = samples(text, "ingress_sso_watch_up").filter(|sample| sample.value == "0");
    down.map(|sample| sample.label("source").to_owned()).collect()
}

/// Whether a sample has these labels.
fn has(labels: &[(&str, &str)]) -> impl Fn(&Sample<'_>) -> bool {
    move |sample| labels.iter().all(|(name, value)| sample.label(name) == *value)
}

#[track_caller]
fn assert_number(found: f64, wanted: u32) {
    assert!((found - f64::from(wanted)).abs() < 0.5, "{found} instead of {wanted}");
}
