//! What `render` prints is what an API server takes, and what the controller would have made.

use crate::PROGRAM;
use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::kubectl::kubectl_with_input;
use ingress_sso_testbed::scene::{OUTPOST, Scene, annotation};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

#[tokio::test]
async fn what_render_prints_is_accepted_and_the_controller_finds_it_right() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let mut input = String::new();
    for (name, route) in [("by-host", "host"), ("direct", "direct")] {
        let app = scene
            .opted_in(name, &format!("{name}.example.com"))
            .annotation("sso.djieno.com/auth-route", route);
        let mut app = serde_json::to_value(app.build())?;
        app["apiVersion"] = "networking.k8s.io/v1".into();
        app["kind"] = "Ingress".into();
        writeln!(input, "---\n{app}")?;
    }
    let rendered = render(&input)?;
    kubectl_with_input(scene.plane().kubeconfig(), &["apply", "-f", "-"], &rendered).await?;
    let wanted = ["by-host", "by-host-outpost-path", "direct", "direct-outpost-path"];
    assert_eq!(scene.names::<Ingress>().await?, wanted);
    assert_eq!(scene.names::<Service>().await?, ["authentik-proxy-outpost"]);
    assert_eq!(scene.names::<ConfigMap>().await?.len(), 1);

    let before = scene.ingress("direct").await?;
    let _controller = scene.controller(&[]).await?;
    for app in ["by-host", "direct"] {
        scene.until_protected(app).await?;
    }
    let after = scene.ingress("direct").await?;
    for key in ["auth-url", "auth-signin", "auth-response-headers", "auth-proxy-set-headers"] {
        let key = format!("nginx.ingress.kubernetes.io/{key}");
        assert_eq!(annotation(&after, &key), annotation(&before, &key), "{key}");
        assert!(annotation(&after, &key).is_some(), "{key}");
    }
    Ok(())
}

fn render(input: &str) -> Result<String> {
    let mut child = Command::new(PROGRAM)
        .args(["render", "-f", "-", "--class", "nginx=nginx", "--outpost", OUTPOST])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "render ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
