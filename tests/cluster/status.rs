//! `ingress-sso status` prints what the controller left on the apps, with the rights of whoever asks.

use crate::PROGRAM;
use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::account::{Reach, account};
use ingress_sso_testbed::builders::{IngressBuilder, ingress, namespace};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::guard::Guard;
use ingress_sso_testbed::process::Process;
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, PATIENCE, STATUS, Scene, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";

/// What a run printed, and how it ended.
struct Run {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

fn command(kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("KUBECONFIG", kubeconfig).arg("status").args(args);
    command
}

fn status(kubeconfig: &Path, args: &[&str]) -> Result<Run> {
    let output = command(kubeconfig, args).output()?;
    Ok(Run {
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
        code: output.status.code(),
    })
}

/// The table, where the run went well, with `Ns` for every age.
fn table(kubeconfig: &Path, args: &[&str]) -> Result<String> {
    let run = status(kubeconfig, args)?;
    ensure!(run.code == Some(0) && run.stderr.is_empty(), "{:?}: {}", run.code, run.stderr);
    Ok(run.stdout.lines().map(masked).collect())
}

fn masked(line: &str) -> String {
    match line.rsplit_once("   ") {
        Some((rest, age)) if is_age(age) => format!("{rest}   Ns\n"),
        _ => format!("{line}\n"),
    }
}

/// Whether it is an age as the table has it, such as `4m30s`.
fn is_age(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h'])
        && text.chars().all(|char| char.is_ascii_digit() || "smh".contains(char))
}

/// On a control plane of its own, since it is about all apps of one.
#[tokio::test]
async fn a_table_says_what_became_of_every_app() -> Result<()> {
    let scene = Scene::alone(PROGRAM).await?;
    let plane = scene.plane();
    let kubeconfig = plane.kubeconfig();
    let namespaces: Api<Namespace> = Api::all(scene.client());
    for name in ["n8n-prd", "shop"] {
        namespaces.create(&PostParams::default(), &namespace(name)).await?;
    }
    let nobody = status(kubeconfig, &["-A"])?;
    assert_eq!((nobody.stdout.as_str(), nobody.stderr.as_str()), ("", "No apps found.\n"));

    // With all rights one app is protected. The next controller may not make the headers of another route.
    let controller = scene.start(kubeconfig, &["--outpost", OUTPOST])?;
    create(&scene, ingress("n8n-prd", "n8n").host("app.example.com").annotation(OPT_IN, "true")).await?;
    until_status(&scene, "n8n-prd", "n8n", "Protected").await?;
    drop(controller);
    let controller = scene.start(&poor(plane, "shop").await?, &["--outpost", OUTPOST])?;
    let cart = ingress("shop", "cart").hosts(["a", "b", "c", "d"].map(|host| format!("{host}.example.com")));
    create(&scene, cart.annotation(OPT_IN, "true")).await?;
    until_status(&scene, "shop", "cart", "Failing").await?;
    let preview = ingress("shop", "preview").host("preview.example.com").annotation(OPT_IN, "yes");
    create(&scene, preview.annotation("sso.djieno.com/outpost", "proxy-outpost")).await?;
    until_status(&scene, "shop", "preview", "Refused").await?;
    drop(controller);
    create(&scene, ingress("shop", "later").host("later.example.com").annotation(OPT_IN, "true")).await?;
    create(&scene, ingress("shop", "bystander").host("other.example.com")).await?;

    let wanted = "\
NAMESPACE   NAME      HOSTS                                                   OUTPOST         ROUTE   STATUS      MESSAGE                                                                                                                                                                                                  AGE
shop        cart      a.example.com,b.example.com,c.example.com + 1 more...   <default>       -       Failing     cannot create ConfigMap shop/authentik-headers-4bd8e4f378: configmaps is forbidden: User \"system:serviceaccount:shop:poor\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"shop\"   Ns
shop        preview   preview.example.com                                     proxy-outpost   -       Refused     annotation sso.djieno.com/authentik is \"yes\"; write \"true\" or \"false\"                                                                                                                                    Ns
shop        later     later.example.com                                       <default>       -       <none>      not looked at yet; if that stays so, check that the controller runs and watches this namespace                                                                                                           Ns
n8n-prd     n8n       app.example.com                                         proxy-outpost   host    Protected                                                                                                                                                                                                            Ns
";
    assert_eq!(table(kubeconfig, &["-A"])?, wanted);

    let wanted = "\
NAMESPACE   NAME   CLASS   HOSTS             OUTPOST         ROUTE   STATUS      MESSAGE   AGE
n8n-prd     n8n    nginx   app.example.com   proxy-outpost   host    Protected             Ns
";
    assert_eq!(table(kubeconfig, &["-n", "n8n-prd", "-o", "wide"])?, wanted);
    let wide = table(kubeconfig, &["-A", "-o", "wide"])?;
    assert!(wide.contains("   a.example.com,b.example.com,c.example.com,d.example.com   "), "{wide}");

    let mut json: Value =
        serde_json::from_str(&status(kubeconfig, &["-n", "n8n-prd", "-o", "json"])?.stdout)?;
    let created = json["items"][0]["created"].take();
    assert!(created.as_str().is_some_and(|time| time.ends_with('Z')), "{created}");
    let wanted = json!({ "items": [{
        "namespace": "n8n-prd", "name": "n8n", "class": "nginx", "hosts": ["app.example.com"], "outpost": "proxy-outpost",
        "route": "host", "status": "Protected", "message": null, "created": null,
    }] });
    assert_eq!(json, wanted);

    let api: Api<Ingress> = Api::namespaced(scene.client(), "n8n-prd");
    let opened = json!({ "metadata": { "annotations": { AUTH_URL: null } } });
    api.patch("n8n", &PatchParams::default(), &Patch::Merge(&opened)).await?;
    let all = table(kubeconfig, &["-A"])?;
    let first = all.lines().nth(1).unwrap_or_default();
    assert!(
        first.starts_with("n8n-prd ") && first.contains("Protected   not protected: no annotation"),
        "{all}"
    );
    Ok(())
}

/// Whatever the data plane and the route, nothing is missing of what the controller wrote.
#[tokio::test]
async fn a_protected_app_is_in_no_doubt_whatever_serves_it() -> Result<()> {
    let scene = Scene::alone(PROGRAM).await?;
    install_crds(scene.plane()).await?;
    scene.class("migrated", "rke2.cattle.io/ingress-nginx-migration").await?;
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    let _controller = scene.controller(&[]).await?;
    let direct = scene.opted_in("direct", "d.example.com").annotation("sso.djieno.com/auth-route", "direct");
    let list = "traefik.ingress.kubernetes.io/router.middlewares";
    for app in [
        direct,
        scene.opted_in("migrated", "m.example.com").class("migrated"),
        scene.opted_in("shared", "d.example.com"),
        scene.opted_in("traefik", "t.example.com").class("traefik"),
        scene.opted_in("traefik-list", "l.example.com").class("traefik").annotation(list, "strip@file"),
        scene.opted_in("wildcard", "*.example.com"),
    ] {
        let app = scene.create::<Ingress>(app).await?;
        scene.until_protected(&app.name_any()).await?;
    }
    let table = table(scene.plane().kubeconfig(), &["-n", scene.namespace()])?;
    let wanted = "\
NAMESPACE   NAME           HOSTS           OUTPOST         ROUTE        STATUS      MESSAGE   AGE
shop        direct         d.example.com   proxy-outpost   direct       Protected             Ns
shop        migrated       m.example.com   proxy-outpost   direct       Protected             Ns
shop        shared         d.example.com   <default>       host         Protected             Ns
shop        traefik        t.example.com   proxy-outpost   middleware   Protected             Ns
shop        traefik-list   l.example.com   proxy-outpost   middleware   Protected             Ns
shop        wildcard       *.example.com   proxy-outpost   direct       Protected             Ns
";
    let namespace = format!("{:12}", scene.namespace());
    assert_eq!(table.replace(&namespace, "shop        "), wanted);
    Ok(())
}

#[tokio::test]
async fn a_watch_prints_each_change_in_a_line() -> Result<()> {
    let scene = Scene::alone(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "a.example.com")).await?;
    scene.until_protected("n8n").await?;
    let kubeconfig = scene.plane().kubeconfig();
    let watch = start(kubeconfig, &["-n", scene.namespace(), "-w"])?;
    let lines = start(kubeconfig, &["-n", scene.namespace(), "--watch", "--output", "json"])?;
    for process in [&watch, &lines] {
        until_line(process, &["n8n", "Protected"]).await?;
    }

    scene.annotate("n8n", OPT_IN, Some("on")).await?;
    until_line(&watch, &["n8n", "Refused", "host", r#"is "on"; write"#]).await?;
    scene.annotate("n8n", OPT_IN, None).await?;
    until_line(&watch, &["n8n", "<none>", "gone: "]).await?;

    scene.plane().stop_api_server()?;
    until_line(&watch, &["the watch failed and is tried again"]).await?;
    scene.plane().start_api_server().await?;
    let scene_client = scene.plane().client()?;
    let later = scene.opted_in("later", "b.example.com").build();
    Api::namespaced(scene_client, scene.namespace()).create(&PostParams::default(), &later).await?;
    until_line(&watch, &["later", "Protected"]).await?;
    until_line(&lines, &["later", "Protected"]).await?;

    let printed = lines.logs()?;
    let printed: Vec<Value> = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let last = printed.iter().rfind(|row| row["name"] == "n8n").context("a row of n8n")?;
    assert_eq!((&last["gone"], &last["status"]), (&json!(true), &Value::Null), "{last}");
    assert!(printed.iter().all(|row| row["gone"] == true || row.get("gone").is_none()), "{printed:?}");

    watch.signal("INT")?;
    eventually("an end by Ctrl-C", PATIENCE, || async { watch.exited() }).await?;
    assert_eq!(watch.exited()?.and_then(|status| status.signal()), Some(2));
    Ok(())
}

#[tokio::test]
async fn a_user_of_one_namespace_needs_no_more_than_to_list_its_ingresses() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let home = scene.namespace();
    scene.create::<Ingress>(scene.opted_in("n8n", "a.example.com")).await?;
    let rules =
        json!([{ "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["list"] }]);
    let user = account(scene.plane(), home, "user", &rules, Reach::Namespace).await?;

    let refused = status(&user, &[])?;
    assert_eq!((refused.stdout.as_str(), refused.code), ("", Some(2)));
    let wanted = "ingress-sso: cannot list ingresses.networking.k8s.io in the namespace default: ";
    assert!(refused.stderr.starts_with(wanted), "{}", refused.stderr);
    let wanted = "`kubectl auth can-i list ingresses.networking.k8s.io -n default`";
    assert!(refused.stderr.contains(wanted), "{}", refused.stderr);
    assert!(table(&user, &["-n", home])?.contains("n8n"));

    let everywhere = status(&user, &["--all-namespaces"])?;
    assert_eq!(everywhere.code, Some(2));
    for part in ["in all namespaces", "list ingresses.networking.k8s.io -A`", "one namespace with -n"] {
        assert!(everywhere.stderr.contains(part), "{}", everywhere.stderr);
    }

    let contexts = with_contexts(&scene, &user)?;
    let table = table(&contexts, &[])?;
    assert!(table.starts_with("NAMESPACE ") && table.contains("n8n"), "{table}");
    let other = status(&contexts, &["--context", "other"])?;
    assert!(other.stderr.contains("in the namespace elsewhere"), "{}", other.stderr);

    let watch = status(&contexts, &["-w"])?;
    assert!(watch.stdout.contains("n8n") && watch.code == Some(2), "{}", watch.stderr);
    assert!(watch.stderr.contains("`kubectl auth can-i watch ingresses"), "{}", watch.stderr);
    Ok(())
}

#[tokio::test]
async fn what_keeps_it_from_listing_is_told_with_the_remedy() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let kubeconfig = scene.plane().kubeconfig();
    let nobody = status(kubeconfig, &["-n", scene.namespace()])?;
    let wanted = format!("No apps found in {} namespace.\n", scene.namespace());
    assert_eq!((nobody.stdout.as_str(), nobody.stderr, nobody.code), ("", wanted, Some(0)));
    let nobody = status(kubeconfig, &["-n", scene.namespace(), "-o", "json"])?;
    assert_eq!(serde_json::from_str::<Value>(&nobody.stdout)?, json!({ "items": [] }));

    let stranger = scene.plane().kubeconfig_for_token("stranger", "unknown")?;
    let nowhere = scene.plane().dir().join("nothing-listens.kubeconfig");
    let text = fs::read_to_string(kubeconfig)?.replace(&scene.plane().url(), "https://127.0.0.1:1");
    fs::write(&nowhere, text)?;
    let missing = PathBuf::from("/nonexistent/kubeconfig");
    for (kubeconfig, args, parts) in [
        (
            kubeconfig,
            &["--context", "nope"][..],
            &["--context nope: there is no such context", "kubectl config get-contexts"][..],
        ),
        (missing.as_path(), &[], &["cannot find a cluster", "set KUBECONFIG"]),
        (stranger.as_path(), &[], &["cannot list", "Unauthorized", "log in anew"]),
        (nowhere.as_path(), &[], &["cannot list", "Connection refused", "kubectl get ingress"]),
        (kubeconfig, &["-n", "shop", "-A"], &["'--namespace <NAME>' cannot be used with '--all-namespaces'"]),
        (kubeconfig, &["-n", "a/b"], &["a/b", "DNS label"]),
        (kubeconfig, &["--annotation-prefix", "Sso"], &["--annotation-prefix", "sso.example.com"]),
    ] {
        let run = status(kubeconfig, args)?;
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        for part in parts {
            assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
        }
    }
    Ok(())
}

#[tokio::test]
async fn apps_of_another_prefix_are_others() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let app = scene.app("n8n", "a.example.com").annotation("sso.example.com/authentik", "true");
    scene.create::<Ingress>(app).await?;
    let args = ["-n", scene.namespace()];
    assert_eq!(status(scene.plane().kubeconfig(), &args)?.stdout, "");
    let table = table(
        scene.plane().kubeconfig(),
        &[&args[..], &["--annotation-prefix", "sso.example.com"]].concat(),
    )?;
    assert!(table.contains("n8n"), "{table}");
    Ok(())
}

/// Starts a run that goes on; standard output and standard error end up in its log.
fn start(kubeconfig: &Path, args: &[&str]) -> Result<Process> {
    // Whoever runs this in the background may ignore SIGINT, and children inherit that.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", PROGRAM, "status"]).args(args).env("KUBECONFIG", kubeconfig);
    Guard::new("status-")?.spawn("status", &command)
}

/// Waits for a line that has all of these texts.
async fn until_line(process: &Process, parts: &[&str]) -> Result<()> {
    eventually(format!("a line with {parts:?}"), PATIENCE, || async {
        process.ensure_running()?;
        let logs = process.logs()?;
        let found = logs.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(found, "{logs}");
        Ok(Some(()))
    })
    .await
}

/// The kubeconfig with the scene's namespace as the current one, and a context `other` in the namespace `elsewhere`.
fn with_contexts(scene: &Scene, kubeconfig: &Path) -> Result<PathBuf> {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(kubeconfig)?)?;
    let mut other = config["contexts"][0].clone();
    config["contexts"][0]["context"]["namespace"] = json!(scene.namespace());
    other["name"] = json!("other");
    other["context"]["namespace"] = json!("elsewhere");
    config["contexts"].as_array_mut().context("contexts")?.push(other);
    let path = kubeconfig.with_extension("contexts");
    fs::write(&path, config.to_string())?;
    Ok(path)
}

async fn create(scene: &Scene, app: IngressBuilder) -> Result<()> {
    let app = app.build();
    let namespace = app.metadata.namespace.clone().context("a namespace")?;
    Api::namespaced(scene.client(), &namespace).create(&PostParams::default(), &app).await?;
    Ok(())
}

async fn until_status(scene: &Scene, namespace: &str, name: &str, wanted: &str) -> Result<()> {
    let api: Api<Ingress> = Api::namespaced(scene.client(), namespace);
    eventually(format!("{wanted} {name}"), PATIENCE, || async {
        let ingress = api.get(name).await?;
        let status = annotation(&ingress, STATUS);
        ensure!(status == Some(wanted), "{status:?}");
        Ok(Some(()))
    })
    .await
}

/// A kubeconfig for a controller that may not make `ConfigMap`s.
async fn poor(plane: &ControlPlane, namespace: &str) -> Result<PathBuf> {
    let rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["services"], "verbs": ["*"] },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"] },
    ]);
    account(plane, namespace, "poor", &rules, Reach::Cluster).await
}
