//! The policies that close an app until it is protected, in a real API server.

use anyhow::{Context, Result, ensure};
use ingress_sso::contract::{AUTH_URL, CLOSED_MIDDLEWARE, CLOSED_URL, ROUTER_MIDDLEWARES};
use ingress_sso_testbed::admission::{printed, until_closing};
use ingress_sso_testbed::builders::IngressBuilder;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, PATIENCE, Scene, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

/// A cluster with the policies and without a controller.
async fn scene() -> Result<Scene> {
    let scene = Scene::alone(PROGRAM).await?;
    install_crds(scene.plane()).await?;
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    let policies = printed(PROGRAM, &["--class=given=nginx,taken=traefik"])?;
    kubectl_with_input(scene.plane().kubeconfig(), &["apply", "--warnings-as-errors", "-f", "-"], &policies)
        .await?;
    for (class, key) in [
        ("traefik", ROUTER_MIDDLEWARES),
        ("taken", ROUTER_MIDDLEWARES),
        ("nginx", AUTH_URL),
        ("given", AUTH_URL),
    ] {
        until_closing(&scene, class, key).await?;
    }
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

/// Who serves a class is seen when an app comes, and not when the policies are printed.
#[tokio::test]
async fn a_class_that_comes_later_is_closed_as_well() -> Result<()> {
    let scene = scene().await?;
    let closure = async |class: &str| -> Result<[Option<String>; 2]> {
        let app = scene.opted_in("app", "app.example.com").class(class).build();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let made = scene.api::<Ingress>().create(&dry, &app).await?;
        Ok([AUTH_URL, ROUTER_MIDDLEWARES].map(|key| annotation(&made, key).map(str::to_owned)))
    };
    let by_url = [Some(CLOSED_URL.to_owned()), None];
    let by_middleware = [None, Some(CLOSED_MIDDLEWARE.to_owned())];
    let until = async |class: &str, wanted: &[Option<String>; 2]| {
        eventually(format!("class {class} closed as {wanted:?}"), PATIENCE, || async {
            let found = closure(class).await?;
            ensure!(found == *wanted, "{found:?}");
            Ok(Some(()))
        })
        .await
    };
    assert_eq!(closure("later").await?, [None, None], "nobody serves it");
    for (controller, wanted) in [
        ("k8s.io/ingress-nginx", &by_url),
        ("traefik.io/ingress-controller", &by_middleware),
        ("rke2.cattle.io/ingress-nginx-migration", &by_url),
        ("example.com/unknown", &[None, None]),
    ] {
        // The controller of a class cannot be changed.
        kubectl(scene.plane().kubeconfig(), &["delete", "--ignore-not-found", "ingressclass", "later"])
            .await?;
        scene.class("later", controller).await?;
        until("later", wanted).await?;
    }
    // What is given counts for more than what an IngressClass says, and needs none.
    assert_eq!(closure("given").await?, by_url);
    assert_eq!(closure("taken").await?, by_middleware);
    scene.class("given", "traefik.io/ingress-controller").await?;
    scene.class("other", "traefik.io/ingress-controller").await?;
    until("other", &by_middleware).await?;
    assert_eq!(closure("given").await?, by_url);

    // By the annotation that came before spec.ingressClassName.
    let old = scene.opted_in("old", "old.example.com").legacy_class("nginx");
    assert_eq!(annotation(&scene.create::<Ingress>(old).await?, AUTH_URL), Some(CLOSED_URL));
    Ok(())
}

/// There are ingress controllers that serve what has no class, in one way or the other.
#[tokio::test]
async fn without_a_class_an_app_is_closed_in_every_way() -> Result<()> {
    let scene = scene().await?;
    let app = scene.opted_in("app", "app.example.com").no_class();
    let made = scene.create::<Ingress>(app).await?;
    let closures =
        |app: &Ingress| [AUTH_URL, ROUTER_MIDDLEWARES].map(|key| annotation(app, key).map(str::to_owned));
    let both = [Some(CLOSED_URL.to_owned()), Some(CLOSED_MIDDLEWARE.to_owned())];
    assert_eq!(closures(&made), both);
    let _controller = scene.controller(&[]).await?;
    assert_eq!(closures(&scene.until_status("app", "Refused").await?), both);
    let class = Patch::Merge(json!({ "spec": { "ingressClassName": "nginx" } }));
    scene.api::<Ingress>().patch("app", &PatchParams::default(), &class).await?;
    let [url, middlewares] = closures(&scene.until_protected("app").await?);
    assert!(url.is_some_and(|url| url.ends_with("/auth/nginx")));
    assert_eq!(middlewares, None);
    Ok(())
}

/// Somebody's finalizer keeps it, and ingress controllers serve it on.
#[tokio::test]
async fn what_is_being_deleted_is_closed_as_well() -> Result<()> {
    let scene = scene().await?;
    let mut app = scene.opted_in("app", "app.example.com").build();
    app.metadata.finalizers = Some(vec!["example.com/kept".to_owned()]);
    scene.create::<Ingress>(app).await?;
    scene.delete::<Ingress>("app").await?;
    let api = scene.api::<Ingress>();
    let edit = async |patch: Value| api.patch("app", &PatchParams::default(), &Patch::Merge(patch)).await;
    for open in [json!(null), json!(""), json!(" ")] {
        let app = edit(json!({ "metadata": { "annotations": { AUTH_URL: open } } })).await?;
        assert!(app.metadata.deletion_timestamp.is_some());
        assert_eq!(annotation(&app, AUTH_URL), Some(CLOSED_URL));
    }
    edit(json!({ "metadata": { "finalizers": null } })).await?;
    scene.until_names::<Ingress>(&[]).await
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
    let admin = scene.plane().kubeconfig();
    let guards = printed(PROGRAM, &["--policy=status,opening"])?;
    kubectl_with_input(admin, &["apply", "-f", "-"], &guards).await?;
    let error = kubectl_with_input(admin, &["apply", "-f", "-"], &printed(PROGRAM, &[])?).await.err();
    let error = format!("{:#}", error.context("it has them")?);
    assert!(error.contains("no matches for kind \"MutatingAdmissionPolicy\""), "{error}");

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
                ingress-sso-closed-by-middleware-without-ingressclass, ingress-sso-closed-by-url, \
                ingress-sso-closed-by-url-without-ingressclass\n";
    assert!(doctor.contains(line), "{doctor}");
    Ok(())
}

/// What is printed with other settings is for these.
#[test]
fn the_settings_decide_what_is_asked_for() -> Result<()> {
    let args = ["--annotation-prefix", "sso.example.com", "--class", "a=traefik-nginx,b=nginx"];
    let mut conditions = BTreeMap::new();
    for document in printed(PROGRAM, &args)?.split("---\n") {
        let object: Value = serde_saphyr::from_str(document)?;
        if object["kind"] == "MutatingAdmissionPolicy" {
            let name = object["metadata"]["name"].as_str().context("no name")?;
            conditions.insert(name.to_owned(), object["spec"]["matchConditions"].to_string());
        }
    }
    let names: Vec<&str> = conditions.keys().map(String::as_str).collect();
    let classes = [
        ("ingress-sso-closed-by-middleware", " && !(object.spec", "in ['a','b'])"),
        ("ingress-sso-closed-by-middleware-without-ingressclass", "object.spec", "in ['']"),
        ("ingress-sso-closed-by-url", " && !(object.spec", "in ['a','b'])"),
        ("ingress-sso-closed-by-url-without-ingressclass", "object.spec", "in ['','a','b']"),
    ];
    assert_eq!(names, classes.map(|(name, ..)| name));
    for (name, start, list) in classes {
        let conditions = &conditions[name];
        assert!(conditions.contains("sso.example.com/authentik"), "{conditions}");
        assert!(conditions.contains(start) && conditions.contains(list), "{conditions}");
    }
    Ok(())
}
