//! The policies that close an app until it is protected, in a real API server.

use anyhow::{Context, Result, ensure};
use ingress_sso::commands::admission_manifests;
use ingress_sso::config::Settings;
use ingress_sso::contract::{AUTH_URL, CLOSED_MIDDLEWARE, CLOSED_URL, ROUTER_MIDDLEWARES};
use ingress_sso::plan::Dialect;
use ingress_sso_testbed::builders::IngressBuilder;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, PATIENCE, Scene, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

/// A cluster with the policies for its classes `nginx` and `traefik`, and without a controller.
async fn scene() -> Result<Scene> {
    let scene = Scene::alone(PROGRAM).await?;
    install_crds(scene.plane()).await?;
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    let output =
        Command::new(PROGRAM).arg("admission").env("KUBECONFIG", scene.plane().kubeconfig()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let policies = String::from_utf8(output.stdout)?;
    let classes = [("nginx".to_owned(), Dialect::Nginx), ("traefik".to_owned(), Dialect::Traefik)];
    assert_eq!(
        policies,
        admission_manifests(&Settings::default(), &classes),
        "by the classes of the cluster"
    );
    kubectl_with_input(scene.plane().kubeconfig(), &["apply", "-f", "-"], &policies).await?;
    // The API server takes a moment to heed a policy.
    eventually("the policies to hold", PATIENCE, || async {
        let open = scene.opted_in("try", "try.example.com").class("traefik").build();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let made = scene.api::<Ingress>().create(&dry, &open).await?;
        Ok(annotation(&made, ROUTER_MIDDLEWARES).map(|_| ()))
    })
    .await?;
    eventually("the policies to hold", PATIENCE, || async {
        let open = scene.opted_in("try", "try.example.com").build();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        Ok(annotation(&scene.api::<Ingress>().create(&dry, &open).await?, AUTH_URL).map(|_| ()))
    })
    .await?;
    Ok(scene)
}

fn manifest(ingress: IngressBuilder) -> Result<String> {
    let mut object = serde_json::to_value(ingress.build())?;
    object["apiVersion"] = json!("networking.k8s.io/v1");
    object["kind"] = json!("Ingress");
    Ok(object.to_string())
}

#[tokio::test]
async fn an_app_is_closed_from_the_start_and_until_it_is_protected() -> Result<()> {
    let scene = scene().await?;
    let nginx = scene.create::<Ingress>(scene.opted_in("nginx", "nginx.example.com")).await?;
    assert_eq!(annotation(&nginx, AUTH_URL), Some(CLOSED_URL));
    let traefik =
        scene.create::<Ingress>(scene.opted_in("traefik", "t.example.com").class("traefik")).await?;
    assert_eq!(annotation(&traefik, ROUTER_MIDDLEWARES), Some(CLOSED_MIDDLEWARE));
    let listed = scene.opted_in("listed", "l.example.com").class("traefik");
    let listed = scene.create::<Ingress>(listed.annotation(ROUTER_MIDDLEWARES, "strip@file")).await?;
    assert_eq!(annotation(&listed, ROUTER_MIDDLEWARES), Some("closed@ingress-sso,strip@file"));
    let invalid = scene.app("invalid", "i.example.com").annotation(OPT_IN, "yes");
    assert_eq!(annotation(&scene.create::<Ingress>(invalid).await?, AUTH_URL), Some(CLOSED_URL));

    let _controller = scene.controller(&[]).await?;
    let nginx = scene.until_protected("nginx").await?;
    assert!(annotation(&nginx, AUTH_URL).is_some_and(|url| url.ends_with("/auth/nginx")));
    for (name, rest) in [("traefik", None), ("listed", Some("strip@file"))] {
        let app = scene.until_protected(name).await?;
        let list: Vec<&str> = annotation(&app, ROUTER_MIDDLEWARES).context("no list")?.split(',').collect();
        assert!(list[0].contains("-authentik-proxy-outpost-"), "{list:?}");
        assert_eq!(list.get(1).copied(), rest);
        assert!(!list.contains(&CLOSED_MIDDLEWARE), "{list:?}");
    }
    let refused = scene.until_status("invalid", "Refused").await?;
    assert_eq!(annotation(&refused, AUTH_URL), Some(CLOSED_URL), "what is refused stays closed");
    assert!(annotation(&refused, MESSAGE).is_some_and(|message| message.contains("\"yes\"")));

    // What strips the annotations does not open the app for a moment.
    for name in ["nginx", "traefik"] {
        let before = scene.ingress(name).await?;
        let mut bare = before.clone();
        bare.metadata.annotations = Some([(OPT_IN.to_owned(), "true".to_owned())].into());
        bare.metadata.managed_fields = None;
        let stripped = scene.api::<Ingress>().replace(name, &PostParams::default(), &bare).await?;
        let closed = [annotation(&stripped, AUTH_URL), annotation(&stripped, ROUTER_MIDDLEWARES)];
        assert!(
            closed.contains(&Some(CLOSED_URL)) || closed.contains(&Some(CLOSED_MIDDLEWARE)),
            "{closed:?}"
        );
        let again = scene.until_protected(name).await?;
        assert_eq!(annotation(&again, AUTH_URL), annotation(&before, AUTH_URL));
    }

    for name in ["nginx", "traefik", "listed", "invalid"] {
        scene.annotate(name, OPT_IN, None).await?;
    }
    for (name, rest) in
        [("nginx", None), ("traefik", None), ("listed", Some("strip@file")), ("invalid", None)]
    {
        eventually(format!("{name} as its owner wrote it"), PATIENCE, || async {
            let app = scene.ingress(name).await?;
            let left = [annotation(&app, AUTH_URL), annotation(&app, ROUTER_MIDDLEWARES)];
            ensure!(left == [None, rest], "{left:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn whoever_asks_for_nothing_is_left_alone() -> Result<()> {
    let scene = scene().await?;
    let own = scene.opted_in("own", "own.example.com").annotation(AUTH_URL, "https://auth.example.com/check");
    for (name, app, expected) in [
        ("plain", scene.app("plain", "plain.example.com"), None),
        ("off", scene.app("off", "off.example.com").annotation(OPT_IN, "false"), None),
        ("other", scene.opted_in("other", "other.example.com").class("other"), None),
        ("own", own, Some("https://auth.example.com/check")),
    ] {
        let made = scene.create::<Ingress>(app).await?;
        assert_eq!(annotation(&made, AUTH_URL), expected, "{name}");
        assert_eq!(annotation(&made, ROUTER_MIDDLEWARES), None, "{name}");
    }
    Ok(())
}

/// Neither kind of apply takes for its own what the policies write, and neither fights with the controller.
#[tokio::test]
async fn applying_again_changes_nothing() -> Result<()> {
    let scene = scene().await?;
    let admin = scene.plane().kubeconfig();
    let client = manifest(scene.opted_in("client", "client.example.com"))?;
    let server = manifest(scene.opted_in("server", "server.example.com").class("traefik"))?;
    let by_client = ["apply", "-f", "-"];
    let by_server = ["apply", "--server-side", "--field-manager=argocd-controller", "-f", "-"];
    for (text, args) in [(&client, &by_client[..]), (&server, &by_server)] {
        kubectl_with_input(admin, args, text).await?;
        kubectl_with_input(admin, args, text).await?;
    }
    let _controller = scene.controller(&[]).await?;
    for name in ["client", "server"] {
        scene.until_protected(name).await?;
    }
    for (name, text, args) in [("client", &client, &by_client[..]), ("server", &server, &by_server)] {
        let before = scene.ingress(name).await?;
        for _ in 0..3 {
            kubectl_with_input(admin, args, text).await?;
        }
        let after = scene.ingress(name).await?;
        assert_eq!(after.annotations(), before.annotations(), "{name}");
        scene.stays::<Ingress>(name).await?;
    }
    // A second server-side applier, who knows nothing of the first.
    let other = ["apply", "--server-side", "--field-manager=kustomize-controller", "-f", "-"];
    kubectl_with_input(admin, &other, &server).await?;
    scene.stays::<Ingress>("server").await?;
    scene.until_protected("server").await?;
    Ok(())
}

#[tokio::test]
async fn without_classes_there_is_nothing_to_close() -> Result<()> {
    let scene = Scene::alone(PROGRAM).await?;
    kubectl(scene.plane().kubeconfig(), &["delete", "ingressclass", "nginx"]).await?;
    let output =
        Command::new(PROGRAM).arg("admission").env("KUBECONFIG", scene.plane().kubeconfig()).output()?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("--class NAME=DIALECT"), "{error}");
    Ok(())
}

/// A cluster that is older, as far as the policies go.
#[tokio::test]
async fn a_cluster_without_such_policies_is_told_apart_and_works() -> Result<()> {
    let flags = [
        "--feature-gates=MutatingAdmissionPolicy=false",
        "--runtime-config=admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false,\
         admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings=false",
    ];
    let scene = Scene::with_api_server(PROGRAM, &flags).await?;
    let admission = |args: &[&str]| {
        let kubeconfig = scene.plane().kubeconfig();
        Command::new(PROGRAM).arg("admission").args(args).env("KUBECONFIG", kubeconfig).output()
    };
    let output = admission(&[])?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{error}");
    for part in ["The API server (v1.", "Kubernetes 1.36", "--class NAME=DIALECT", "--policy=status,opening"]
    {
        assert!(error.to_lowercase().contains(&part.to_lowercase()), "{part}: {error}");
    }
    assert!(admission(&["--class=nginx=nginx"])?.status.success(), "for another cluster");
    let guards = admission(&["--policy=status,opening"])?.stdout;
    kubectl_with_input(scene.plane().kubeconfig(), &["apply", "-f", "-"], &String::from_utf8(guards)?)
        .await?;

    scene.create::<Ingress>(scene.opted_in("app", "app.example.com")).await?;
    let controller = scene.controller(&[]).await?;
    scene.until_protected("app").await?;
    told_once(&controller, "need Kubernetes 1.36").await?;
    let doctor =
        Command::new(PROGRAM).arg("doctor").env("KUBECONFIG", scene.plane().kubeconfig()).output()?;
    let doctor = String::from_utf8(doctor.stdout)?;
    let line = "✓ admission policies: none: a new app is open until the controller's first write to it; policies that close it \
                need Kubernetes 1.36\n";
    assert!(doctor.contains(line), "{doctor}");
    Ok(())
}

/// One line of the log, and no more, says how things are with new apps.
async fn told_once(controller: &Controller, what: &str) -> Result<()> {
    eventually("a line in the log", PATIENCE, || async {
        let logs = controller.logs()?;
        let lines: Vec<&str> = logs.lines().filter(|line| line.contains("a new app is open")).collect();
        ensure!(lines.len() == 1 && lines[0].contains("INFO") && lines[0].contains(what), "{lines:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn the_doctor_and_the_log_tell_of_the_policies() -> Result<()> {
    let scene = scene().await?;
    let controller = scene.controller(&[]).await?;
    told_once(&controller, "ingress-sso admission").await?;
    let doctor =
        Command::new(PROGRAM).arg("doctor").env("KUBECONFIG", scene.plane().kubeconfig()).output()?;
    let doctor = String::from_utf8(doctor.stdout)?;
    let line = "✓ admission policies: an app is closed until it is protected, by ingress-sso-closed-by-middleware, \
                ingress-sso-closed-by-url\n";
    assert!(doctor.contains(line), "{doctor}");
    Ok(())
}

/// What is printed with other settings is for these.
#[test]
fn the_settings_decide_what_is_asked_for() -> Result<()> {
    let output = Command::new(PROGRAM)
        .args(["admission", "--annotation-prefix", "sso.example.com", "--class", "a=traefik-nginx,b=nginx"])
        .output()?;
    let documents: Vec<Value> = String::from_utf8(output.stdout)?
        .split("---\n")
        .map(serde_saphyr::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(documents.len(), 2, "one policy and its binding");
    let conditions = documents[0]["spec"]["matchConditions"].to_string();
    assert!(conditions.contains("sso.example.com/authentik"), "{conditions}");
    assert!(conditions.contains("in ['a', 'b']"), "{conditions}");
    Ok(())
}
