//! Apps that are delivered from Git: whatever delivers them, again and again, they stay protected, and neither side undoes
//! what the other one did.
//!
//! Argo CD and Flux are stood in for by the requests that they send, which the real kubectl sends here.

use anyhow::{Context, Result, anyhow, ensure};
use ingress_sso::commands::admission_manifests;
use ingress_sso::config::Settings;
use ingress_sso::contract::{MANAGED_BY, MANAGER, middleware_name, middleware_reference};
use ingress_sso_testbed::admission::until_closing;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::helm::helm;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, OUTPOST, PATIENCE, STATUS, Scene, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use ingress_sso_testbed::writes::Writes;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

const GITOPS: &str = include_str!("../docs/gitops.md");

/// All that the controller writes.
const WRITTEN: [&str; 5] = ["ingresses", "services", "configmaps", "middlewares", "events"];

const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";
const LIST: &str = "traefik.ingress.kubernetes.io/router.middlewares";

/// How often an unchanged app is delivered again, and the pause between two times.
const SYNCS: u64 = 5;
const PAUSE: Duration = Duration::from_millis(400);

/// What tools put on all that they deliver, to find it again; what carries it and is not in Git is pruned.
const TRACKING_LABELS: [&str; 4] = [
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
];
const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";

/// Who delivers, as the arguments of kubectl.
#[derive(Clone, Copy, Debug)]
struct Tool {
    name: &'static str,
    args: &'static [&'static str],
    /// Whether each time is a request that writes, although nothing comes of it: a server-side apply.
    always_writes: bool,
}

/// `kubectl apply`, and Argo CD by default.
const CLIENT_SIDE: Tool = Tool { name: "client-side", args: &["apply", "-f", "-"], always_writes: false };

/// Argo CD with `ServerSideApply=true`, if it did not force its way.
const UNFORCED: Tool = Tool {
    name: "unforced",
    args: &["apply", "--server-side", "--field-manager=argocd-controller", "-f", "-"],
    always_writes: true,
};

/// Argo CD with `ServerSideApply=true`.
const ARGO: Tool = Tool {
    name: "argo",
    args: &["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"],
    always_writes: true,
};

/// Flux.
const FLUX: Tool = Tool {
    name: "flux",
    args: &["apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-f", "-"],
    always_writes: true,
};

const TOOLS: [Tool; 4] = [CLIENT_SIDE, UNFORCED, ARGO, FLUX];

/// A control plane of the test's own, since what is counted is counted for all of it, with a controller.
struct World {
    scene: Scene,
    _controller: Controller,
}

impl World {
    async fn new() -> Result<Self> {
        let scene = Scene::alone(PROGRAM).await?;
        install_crds(scene.plane()).await?;
        scene.class("traefik", "traefik.io/ingress-controller").await?;
        let controller = scene.controller(&[]).await?;
        Ok(Self { scene, _controller: controller })
    }

    /// What Git holds of the app `name`.
    fn git(&self, name: &str, class: &str, annotations: &[(&str, &str)]) -> Value {
        let host = format!("{name}.example.com");
        let mut ingress = self
            .scene
            .app(name, &host)
            .class(class)
            .annotation(TRACKING_ID, "shop:networking.k8s.io/Ingress");
        for label in TRACKING_LABELS {
            ingress = ingress.label(label, "shop");
        }
        for (key, value) in annotations {
            ingress = ingress.annotation(key, value);
        }
        let mut git = json!(ingress.build());
        git["apiVersion"] = "networking.k8s.io/v1".into();
        git["kind"] = "Ingress".into();
        git
    }

    async fn sync(&self, tool: Tool, git: &Value) -> Result<()> {
        kubectl_with_input(self.scene.plane().kubeconfig(), tool.args, &git.to_string()).await?;
        Ok(())
    }

    async fn writes(&self) -> Result<Writes> {
        Writes::settled(&self.scene.client(), &WRITTEN, Duration::from_millis(800)).await
    }

    /// Which version of each object is there.
    async fn versions(&self) -> Result<String> {
        let path = "jsonpath={.items[*].metadata['name','resourceVersion']}";
        let args = ["get", "ingress,service,configmap,middleware", "-n", self.scene.namespace(), "-o", path];
        kubectl(self.scene.plane().kubeconfig(), &args).await
    }

    /// Delivers what Git holds again and again: nothing is written but the tool's own requests, of which nothing comes.
    async fn is_at_rest(&self, tool: Tool, git: &Value) -> Result<()> {
        let (start, before) = (self.writes().await?, self.versions().await?);
        for _ in 0..SYNCS {
            self.sync(tool, git).await?;
            sleep(PAUSE).await;
        }
        let spent = &self.writes().await? - &start;
        let own = if tool.always_writes { SYNCS } else { 0 };
        ensure!(spent.total() == own && spent.count("APPLY", "ingresses") == own, "{}: {spent}", tool.name);
        let after = self.versions().await?;
        ensure!(after == before, "{}: {before}\n{after}", tool.name);
        Ok(())
    }

    /// What `act` makes be written, by kind of request.
    async fn spent<T>(&self, act: impl Future<Output = Result<T>>) -> Result<String> {
        let start = self.writes().await?;
        act.await?;
        let spent = &self.writes().await? - &start;
        let words = spent.iter().filter(|(write, _)| write.resource != "events");
        let words: Vec<_> =
            words.map(|(write, n)| format!("{n} {} {}", write.verb, write.resource)).collect();
        Ok(words.join(", "))
    }

    /// What kubectl says would change, on the client's side and on the server's.
    async fn diff(&self, git: &Value) -> Result<String> {
        let mut all = Vec::new();
        for side in [&[][..], &["--server-side", "--field-manager=argocd-controller", "--force-conflicts"]] {
            let args = [&["diff", "-f", "-"], side].concat();
            let diff = kubectl_with_input(self.scene.plane().kubeconfig(), &args, &git.to_string()).await;
            // It ends with 1 where there are differences.
            all.push(diff.unwrap_or_else(|error| format!("{error:#}")));
        }
        Ok(all.concat())
    }

    async fn until_auth_url(&self, name: &str, wanted: Option<&str>) -> Result<Ingress> {
        eventually(format!("auth-url {wanted:?} of {name}"), PATIENCE, || async {
            let ingress = self.scene.ingress(name).await?;
            ensure!(annotation(&ingress, AUTH_URL) == wanted, "{:?}", ingress.annotations());
            Ok(Some(ingress))
        })
        .await
    }
}

/// What protection put on the app.
fn injected(app: &Ingress) -> BTreeMap<String, String> {
    let is_injected =
        |key: &str| key.contains("/auth-") || key.contains("router.middlewares") || key == STATUS;
    let found = app.annotations().iter().filter(|(key, _)| is_injected(key));
    found.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[tokio::test]
async fn whatever_applies_an_app_again_and_again_it_stays_protected_and_nobody_fights() -> Result<()> {
    let world = World::new().await?;
    for tool in TOOLS {
        let app = tool.name;
        let git = world.git(app, "nginx", &[(OPT_IN, "true")]);
        world.sync(tool, &git).await?;
        let protected = injected(&world.scene.until_protected(app).await?);
        world.is_at_rest(tool, &git).await.context("an app as it is in Git")?;
        assert_eq!(world.diff(&git).await?, "", "{app}: there is nothing to ignore");

        // A change in Git comes through, and is the only write.
        let git = world.git(app, "nginx", &[(OPT_IN, "true"), ("example.com/owner", "red")]);
        let verb = if tool.always_writes { "APPLY" } else { "PATCH" };
        assert_eq!(world.spent(world.sync(tool, &git)).await?, format!("1 {verb} ingresses"), "{app}");
        let changed = world.scene.ingress(app).await?;
        assert_eq!(
            (annotation(&changed, "example.com/owner"), injected(&changed)),
            (Some("red"), protected),
            "{app}"
        );
        world.is_at_rest(tool, &git).await.context("a changed app")?;

        // So does the end of it.
        let git = world.git(app, "nginx", &[]);
        world.sync(tool, &git).await?;
        assert_eq!(injected(&world.scene.until_untouched(app).await?), BTreeMap::new());
        world.scene.until_only(&[app]).await?;
        world.is_at_rest(tool, &git).await.context("an app without protection")?;
        world.scene.delete::<Ingress>(app).await?;
    }
    Ok(())
}

#[tokio::test]
async fn companions_are_not_taken_for_what_was_delivered() -> Result<()> {
    let world = World::new().await?;
    for (tool, class) in [(CLIENT_SIDE, "nginx"), (FLUX, "traefik")] {
        let git = world.git(tool.name, class, &[(OPT_IN, "true")]);
        world.sync(tool, &git).await?;
        world.scene.until_protected(tool.name).await?;
    }
    let (kubeconfig, namespace) = (world.scene.plane().kubeconfig(), world.scene.namespace());
    let kinds = "ingress,service,configmap,middleware";
    let ours = format!("{MANAGED_BY}={MANAGER}");
    let list = kubectl(kubeconfig, &["get", kinds, "-n", namespace, "-l", &ours, "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&list)?;
    let companions = list["items"].as_array().context("no items")?;
    assert_eq!(companions.len(), 4, "a route, a Service, a ConfigMap and a Middleware");
    for companion in companions {
        for key in TRACKING_LABELS.iter().chain(&[TRACKING_ID]) {
            for section in ["labels", "annotations"] {
                assert!(companion["metadata"][section].get(key).is_none(), "{key}: {companion}");
            }
        }
    }

    // A real prune of all that carries the label and is not in Git any more takes the app, and with it its route.
    let kept = world.git("flux", "traefik", &[(OPT_IN, "true")]);
    let prune = [
        "apply",
        "-n",
        namespace,
        "-f",
        "-",
        "--prune",
        "-l",
        "app.kubernetes.io/instance=shop",
        "--prune-allowlist=networking.k8s.io/v1/Ingress",
        "--prune-allowlist=core/v1/Service",
        "--prune-allowlist=core/v1/ConfigMap",
    ];
    let before = world.scene.names::<Ingress>().await?;
    assert_eq!(before, ["client-side", "client-side-outpost-path", "flux"]);
    let both = json!({ "apiVersion": "v1", "kind": "List", "items": [
        kept, world.git("client-side", "nginx", &[(OPT_IN, "true")]),
    ] });
    kubectl_with_input(kubeconfig, &prune, &both.to_string()).await?;
    sleep(PAUSE).await;
    assert_eq!(world.scene.names::<Ingress>().await?, before, "nothing of the controller's is pruned");
    kubectl_with_input(kubeconfig, &prune, &kept.to_string()).await?;
    world.scene.until_only(&["flux"]).await
}

#[tokio::test]
async fn a_replaced_app_is_protected_again_by_one_request() -> Result<()> {
    let world = World::new().await?;
    let git = world.git("app", "nginx", &[(OPT_IN, "true")]);
    world.sync(CLIENT_SIDE, &git).await?;
    let protected = injected(&world.scene.until_protected("app").await?);
    for _ in 0..3 {
        let replace = async {
            let args = ["replace", "-f", "-", "-o", "jsonpath={.metadata.annotations}"];
            let git = git.to_string();
            let answer = kubectl_with_input(world.scene.plane().kubeconfig(), &args, &git).await?;
            ensure!(!answer.contains(AUTH_URL), "replace drops what is not in the file");
            world.scene.until_protected("app").await
        };
        assert_eq!(world.spent(replace).await?, "1 APPLY ingresses, 1 PUT ingresses");
        assert_eq!(injected(&world.scene.ingress("app").await?), protected);
    }
    Ok(())
}

#[tokio::test]
async fn an_edited_app_stays_protected_without_a_write() -> Result<()> {
    let world = World::new().await?;
    world.sync(CLIENT_SIDE, &world.git("app", "nginx", &[(OPT_IN, "true")])).await?;
    let protected = injected(&world.scene.until_protected("app").await?);
    let edit =
        json!({ "metadata": { "annotations": { "example.com/owner": "red" }, "labels": { "team": "red" } } });
    assert_eq!(world.spent(world.scene.edit::<Ingress>("app", &edit)).await?, "1 PATCH ingresses");
    let patch = async {
        let ops =
            r#"[{ "op": "replace", "path": "/metadata/annotations/example.com~1owner", "value": "blue" }]"#;
        let args = ["patch", "ingress", "app", "-n", world.scene.namespace(), "--type=json", "-p", ops];
        kubectl(world.scene.plane().kubeconfig(), &args).await
    };
    assert_eq!(world.spent(patch).await?, "1 PATCH ingresses");
    assert_eq!(injected(&world.scene.ingress("app").await?), protected);
    Ok(())
}

#[tokio::test]
async fn what_the_controller_writes_may_be_in_git_as_long_as_it_is_the_same() -> Result<()> {
    let world = World::new().await?;
    for tool in [CLIENT_SIDE, ARGO, FLUX] {
        let app = tool.name;
        world.sync(tool, &world.git(app, "nginx", &[(OPT_IN, "true")])).await?;
        let protected = injected(&world.scene.until_protected(app).await?);
        let mut copied: Vec<(&str, &str)> =
            protected.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        copied.push((OPT_IN, "true"));
        assert!(copied.contains(&(STATUS, "Protected")));
        let verbatim = world.git(app, "nginx", &copied);
        let verb = if tool.always_writes { "APPLY" } else { "PATCH" };
        assert_eq!(world.spent(world.sync(tool, &verbatim)).await?, format!("1 {verb} ingresses"), "{app}");
        world.is_at_rest(tool, &verbatim).await.context("verbatim")?;

        // Out of Git again, they stay or come back.
        let clean = world.git(app, "nginx", &[(OPT_IN, "true")]);
        world.sync(tool, &clean).await?;
        eventually(format!("{app} as before"), PATIENCE, || async {
            let now = injected(&world.scene.ingress(app).await?);
            ensure!(now == protected, "{now:?}");
            Ok(Some(()))
        })
        .await?;
        world.is_at_rest(tool, &clean).await.context("out of Git")?;

        // Once they differ, they are the user's.
        let theirs = "https://auth.example.com/check";
        let other = world.git(app, "nginx", &[(OPT_IN, "true"), (AUTH_URL, theirs)]);
        world.sync(tool, &other).await?;
        let refused = world.scene.until_status(app, "Refused").await?;
        assert!(annotation(&refused, MESSAGE).context("no message")?.contains(theirs));
        world.until_auth_url(app, Some(theirs)).await?;
        world.scene.until_event(app, "OwnAnnotation").await?;
        world.is_at_rest(tool, &other).await.context("different")?;
        world.scene.delete::<Ingress>(app).await?;
        world.scene.until_only(&[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_force_a_different_value_fails_where_it_is_applied() -> Result<()> {
    let world = World::new().await?;
    world.sync(UNFORCED, &world.git("app", "nginx", &[(OPT_IN, "true")])).await?;
    let protected = injected(&world.scene.until_protected("app").await?);
    let other = world.git("app", "nginx", &[(OPT_IN, "true"), (AUTH_URL, "https://auth.example.com/check")]);
    let error = world.sync(UNFORCED, &other).await.expect_err("a conflict");
    assert!(format!("{error:#}").contains("conflict with \"ingress-sso\""), "{error:#}");
    assert_eq!(injected(&world.scene.ingress("app").await?), protected);
    Ok(())
}

/// What the documents warn of: a status in Git that is not the controller's word is corrected once a sync, and only then.
#[tokio::test]
async fn a_status_in_git_that_is_not_true_costs_two_writes_a_sync() -> Result<()> {
    let world = World::new().await?;
    let git = world.git("app", "nginx", &[(OPT_IN, "true"), (STATUS, "Pending")]);
    for round in 0..3 {
        let sync = async {
            world.sync(CLIENT_SIDE, &git).await?;
            world.scene.until_protected("app").await
        };
        let spent = world.spent(sync).await?;
        if round > 0 {
            assert_eq!(spent, "1 APPLY ingresses, 2 PATCH ingresses");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_list_of_middlewares_in_git_needs_the_controllers_entry() -> Result<()> {
    let world = World::new().await?;
    let namespace = world.scene.namespace();
    let ours = middleware_reference(namespace, &middleware_name(namespace, "proxy-outpost"), false);
    let whole = format!("{ours},strip@file");
    for tool in [CLIENT_SIDE, ARGO, FLUX] {
        let app = tool.name;
        let git = world.git(app, "traefik", &[(OPT_IN, "true"), (LIST, "strip@file")]);
        world.sync(tool, &git).await?;
        let protected = world.scene.until_protected(app).await?;
        assert_eq!(annotation(&protected, LIST), Some(&*whole));
        // Each sync takes it out, and the controller puts it in again.
        let sync = async {
            world.sync(tool, &git).await?;
            eventually("the entry", PATIENCE, || async {
                let ingress = world.scene.ingress(app).await?;
                ensure!(annotation(&ingress, LIST) == Some(&*whole), "{:?}", ingress.annotations());
                Ok(Some(()))
            })
            .await
        };
        let own =
            if tool.always_writes { "1 APPLY ingresses, 1 PATCH ingresses" } else { "2 PATCH ingresses" };
        assert_eq!(world.spent(sync).await?, own, "{app}");

        let git = world.git(app, "traefik", &[(OPT_IN, "true"), (LIST, &whole)]);
        world.sync(tool, &git).await?;
        world.is_at_rest(tool, &git).await?;
        assert_eq!(annotation(&world.scene.ingress(app).await?, LIST), Some(&*whole));
        world.scene.delete::<Ingress>(app).await?;
    }
    Ok(())
}

/// A chart of an app, with an annotation that a value sets.
fn chart(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("templates"))?;
    fs::write(dir.join("Chart.yaml"), "apiVersion: v2\nname: app\nversion: 1.0.0\n")?;
    fs::write(dir.join("values.yaml"), "protected: \"true\"\nowner: red\n")?;
    let template = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "name": "{{ .Release.Name }}", "namespace": "{{ .Release.Namespace }}",
            "labels": { "app.kubernetes.io/instance": "{{ .Release.Name }}", "app.kubernetes.io/managed-by": "{{ .Release.Service }}" },
            "annotations": { OPT_IN: "{{ .Values.protected }}", "example.com/owner": "{{ .Values.owner }}" },
        },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": "{{ .Release.Name }}.example.com", "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "app", "port": { "number": 80 } } },
        }] } }] },
    });
    fs::write(dir.join("templates/ingress.yaml"), serde_json::to_string_pretty(&template)?)?;
    Ok(())
}

#[tokio::test]
async fn a_chart_that_is_upgraded_and_rolled_back_leaves_protection_alone() -> Result<()> {
    upgrade_and_roll_back(&World::new().await?).await
}

/// The policies that close apps meanwhile change nothing about it.
#[tokio::test]
async fn a_chart_and_admission_policies_leave_each_other_alone() -> Result<()> {
    let world = World::new().await?;
    let policies = admission_manifests(&Settings::default());
    let admin = world.scene.plane().kubeconfig();
    kubectl_with_input(admin, &["apply", "-f", "-"], &policies).await?;
    until_closing(&world.scene, "nginx", AUTH_URL).await?;
    upgrade_and_roll_back(&world).await
}

async fn upgrade_and_roll_back(world: &World) -> Result<()> {
    let dir = tempfile::tempdir()?;
    chart(dir.path())?;
    let chart = dir.path().to_str().context("a path that is no text")?;
    let (kubeconfig, namespace) = (Some(world.scene.plane().kubeconfig()), world.scene.namespace());
    for (release, side, own) in [
        ("merged", "--server-side=false", None),
        ("applied", "--server-side=true", Some("1 APPLY ingresses")),
    ] {
        let run = async |command: &[&str]| helm(kubeconfig, &[command, &["-n", namespace]].concat()).await;
        let upgrade = async |value: &str| run(&["upgrade", release, chart, side, "--set", value]).await;
        run(&["install", release, chart, side]).await?;
        let protected = injected(&world.scene.until_protected(release).await?);
        for _ in 0..3 {
            assert_eq!(world.spent(upgrade("owner=red")).await?, own.unwrap_or_default(), "{release}");
        }
        for act in [upgrade("owner=blue").await, run(&["rollback", release, "1", side]).await] {
            act?;
        }
        let ingress = world.scene.ingress(release).await?;
        assert_eq!((annotation(&ingress, "example.com/owner"), injected(&ingress)), (Some("red"), protected));
        let spent = world.spent(upgrade("owner=blue")).await?;
        assert_eq!(spent, own.unwrap_or("1 PATCH ingresses"), "the chart's own change and no other");
        assert_eq!(world.scene.ingress(release).await?.annotations()[STATUS], "Protected");

        run(&["upgrade", release, chart, side, "--set-string", "protected=false"]).await?;
        world.scene.until_untouched(release).await?;
        run(&["upgrade", release, chart, side, "--set-string", "protected=true"]).await?;
        world.scene.until_protected(release).await?;
        run(&["uninstall", release]).await?;
        world.scene.until_names::<Ingress>(&[]).await?;
        world.scene.until_names::<Service>(&[]).await?;
        world.scene.until_names::<ConfigMap>(&[]).await?;
    }
    Ok(())
}

/// docs/gitops.md has it for Argo CD, which runs it with the live Ingress in `obj`.
#[test]
fn the_health_check_for_argo_cd_goes_by_the_status() -> Result<()> {
    let blocks = GITOPS.split("```yaml\n").skip(1).filter_map(|block| Some(block.split_once("```")?.0));
    let block =
        blocks.into_iter().find(|block| block.contains("customizations.health")).context("no block")?;
    let config: Value = serde_saphyr::from_str(block)?;
    let check = config["data"]["resource.customizations.health.networking.k8s.io_Ingress"].as_str();
    let check = check.context("no check")?;
    let opted_in = r#"["sso.djieno.com/authentik"] = "true""#;
    let status = |status: &str| format!(r#"{opted_in}, ["sso.djieno.com/status"] = "{status}""#);
    let told = format!(r#"{}, ["sso.djieno.com/message"] = "no host""#, status("Refused"));
    let off = r#"["sso.djieno.com/authentik"] = "false""#.to_owned();
    let (address, waits) = (r#"{ ip = "10.0.0.1" }"#, "Progressing waiting for ingress-sso");
    for (annotations, wanted) in [
        (String::new(), "Healthy"),
        (off, "Healthy"),
        (opted_in.to_owned(), waits),
        (status("Pending"), waits),
        (status("Protected"), "Healthy"),
        (status("Failing"), "Degraded waiting for ingress-sso"),
        (told, "Degraded no host"),
    ] {
        assert_eq!(
            health(check, &annotations, address).map_err(|error| anyhow!("{error}"))?,
            wanted,
            "{annotations}"
        );
    }
    assert_eq!(
        health(check, &status("Protected"), "").map_err(|error| anyhow!("{error}"))?,
        "Progressing waiting for an address"
    );
    Ok(())
}

/// Status and message of an Ingress with these annotations and addresses, both written in Lua.
fn health(check: &str, annotations: &str, addresses: &str) -> mlua::Result<String> {
    let lua = mlua::Lua::new();
    let balancer = format!("loadBalancer = {{ ingress = {{ {addresses} }} }}");
    let object = format!("metadata = {{ annotations = {{ {annotations} }} }}, status = {{ {balancer} }}");
    lua.load(format!("obj = {{ {object} }}")).exec()?;
    let health: mlua::Table = lua.load(check).eval()?;
    let parts = [health.get::<Option<String>>("status")?, health.get::<Option<String>>("message")?];
    Ok(parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// `render` is for those who want all of it in Git: delivered so, the controller finds nothing to do but to say so.
#[tokio::test]
async fn what_render_prints_may_be_delivered_beside_a_controller() -> Result<()> {
    let world = World::new().await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("app.yaml");
    fs::write(&file, world.git("app", "nginx", &[(OPT_IN, "true")]).to_string())?;
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["render", "--class", "nginx=nginx", "--outpost", OUTPOST, "-f"]);
    let output = command.arg(&file).output()?;
    ensure!(output.status.success(), "{output:?}");
    let rendered = String::from_utf8(output.stdout)?;
    for tool in [CLIENT_SIDE, FLUX] {
        kubectl_with_input(world.scene.plane().kubeconfig(), tool.args, &rendered).await?;
        world.scene.until_protected("app").await?;
        // Companions that came before their app were taken for leftovers, and made anew.
        kubectl_with_input(world.scene.plane().kubeconfig(), tool.args, &rendered).await?;
        let (start, before) = (world.writes().await?, world.versions().await?);
        for _ in 0..SYNCS {
            kubectl_with_input(world.scene.plane().kubeconfig(), tool.args, &rendered).await?;
            sleep(PAUSE).await;
        }
        let spent = &world.writes().await? - &start;
        let own = if tool.always_writes { SYNCS } else { 0 };
        assert_eq!(spent.count("APPLY", "ingresses"), 2 * own, "{spent}");
        assert_eq!(spent.count("PATCH", "ingresses") + spent.count("POST", "events"), 0, "{spent}");
        assert_eq!(world.versions().await?, before, "{}", tool.name);
    }
    Ok(())
}
