//! What `ingress-sso cleanup` leaves behind: of the controller nothing, and of all others everything.

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use ingress_sso::commands::admission_manifests;
use ingress_sso::config::Settings;
use ingress_sso::contract::{MANAGED_BY, MANAGER};
use ingress_sso::middleware::Middleware;
use ingress_sso_testbed::builders::{IngressBuilder, external_name_service, ingress, namespace};
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, PATIENCE, STATUS, Scene, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use ingress_sso_testbed::writes::Writes;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::task::spawn_blocking;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

const INSTALL: &str = include_str!("../deploy/install.yaml");
const UNINSTALL: &str = include_str!("../docs/uninstall.md");

/// The second namespace; the first is the scene's.
const OTHER: &str = "other";

const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";
const LIST: &str = "traefik.ingress.kubernetes.io/router.middlewares";
const MESSAGE: &str = "sso.djieno.com/message";
const OUTPOST_HOST: &str = "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local";

/// All that the controller writes but Events and the Lease.
const WRITTEN: [&str; 4] = ["ingresses", "services", "configmaps", "middlewares"];

/// Nothing is written for so long: then it is quiet.
const QUIET: Duration = Duration::from_secs(2);

/// The apps of a whole world that become `Protected`.
const PROTECTED: [&str; 7] = ["direct", "handmade", "list", "n8n", "wiki", "forum", "shop"];

/// What a whole world is taken back by.
const ALL: &str = "took back 8 apps in 2 namespaces: 3 routes, 2 Services, 2 ConfigMaps, 2 Middlewares\n";

/// A control plane of the test's own with Traefik's kinds.
async fn scene() -> Result<Scene> {
    let scene = Scene::alone(PROGRAM).await?;
    install_crds(scene.plane()).await?;
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    let namespaces: Api<Namespace> = Api::all(scene.client());
    namespaces.create(&PostParams::default(), &namespace(OTHER)).await?;
    Ok(scene)
}

/// The same with apps of all kinds in two namespaces, and things of others that look like the controller's.
async fn world() -> Result<Scene> {
    let scene = scene().await?;
    let here = scene.namespace().to_owned();
    let app = |namespace: &str, name: &str| {
        let host = format!("{name}.example.com");
        ingress(namespace, name).host(&host).label("team", "red").annotation(OPT_IN, "true")
    };
    let outpost_path = |name: &str, host: &str| {
        let route = ingress(&here, name).host(host).backend("to-outpost", 9000);
        route.path("/outpost.goauthentik.io", "ImplementationSpecific")
    };
    let clone = outpost_path("copy-of-a-route", "copy.example.com").label(MANAGED_BY, MANAGER);
    let ingresses: [IngressBuilder; 11] = [
        app(&here, "n8n"),
        app(&here, "direct").annotation("sso.djieno.com/auth-route", "direct"),
        app(&here, "wiki").class("traefik"),
        app(&here, "list").class("traefik").annotation(LIST, "strip@file,gzip@file"),
        app(&here, "refused").annotation("sso.djieno.com/scheme", "gopher"),
        app(&here, "handmade"),
        app(OTHER, "shop"),
        app(OTHER, "forum").class("traefik"),
        ingress(OTHER, "bystander")
            .host("bystander.example.com")
            .annotation(AUTH_URL, "https://auth.example.com/"),
        outpost_path("route-by-hand", "handmade.example.com"),
        clone.annotation("sso.djieno.com/app", "n8n"),
    ];
    for ingress in ingresses {
        let ingress = ingress.build();
        let api = Api::namespaced(scene.client(), &ingress.namespace().context("no namespace")?);
        api.create(&PostParams::default(), &ingress).await?;
    }
    scene.create::<Service>(external_name_service(&here, "to-outpost", OUTPOST_HOST, 9000)).await?;
    let theirs: Middleware = serde_json::from_value(json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware",
        "metadata": { "name": "authentik-by-hand", "namespace": here },
        "spec": { "forwardAuth": { "address": "http://auth.example.com" } },
    }))?;
    scene.create::<Middleware>(theirs).await?;
    Ok(scene)
}

/// A controller for all namespaces, which holds its Lease in the namespace `default`.
fn start(scene: &Scene) -> Result<Controller> {
    scene.start(scene.plane().kubeconfig(), &["--outpost", OUTPOST, "--leader-elect=true"])
}

/// Has a controller protect everything, and ends it.
async fn protect(scene: &Scene) -> Result<()> {
    let controller = start(scene)?;
    until_all_protected(scene, &PROTECTED).await?;
    scene.until_status("refused", "Refused").await?;
    let _ = Writes::settled(&scene.client(), &WRITTEN, QUIET / 2).await?;
    controller.terminate(PATIENCE).await?;
    Ok(())
}

async fn until_all_protected(scene: &Scene, names: &[&str]) -> Result<()> {
    eventually(format!("{names:?} protected"), PATIENCE, || async {
        let list = Api::<Ingress>::all(scene.client()).list(&ListParams::default()).await?;
        let protected = list.items.iter().filter(|app| annotation(*app, STATUS) == Some("Protected"));
        let protected: BTreeSet<String> = protected.map(ResourceExt::name_any).collect();
        ensure!(names.iter().all(|name| protected.contains(*name)), "{protected:?}");
        Ok(Some(()))
    })
    .await
}

/// What cleanup printed, and its exit code.
#[derive(Debug)]
struct Seen {
    out: String,
    err: String,
    code: i32,
}

async fn cleanup(scene: &Scene, args: &[&str]) -> Result<Seen> {
    cleanup_as(scene.plane().kubeconfig(), args).await
}

async fn cleanup_as(kubeconfig: &Path, args: &[&str]) -> Result<Seen> {
    let mut command = Command::new(PROGRAM);
    command.args(["cleanup", "--outpost", OUTPOST]).args(args).env("KUBECONFIG", kubeconfig);
    let output = spawn_blocking(move || command.output()).await??;
    let err = String::from_utf8(output.stderr)?;
    Ok(Seen {
        out: String::from_utf8(output.stdout)?,
        // Where that takes long, it says every few seconds how far it has come.
        err: err.split_inclusive('\n').filter(|line| !line.ends_with(" requests done\n")).collect(),
        code: output.status.code().context("no exit code")?,
    })
}

/// All objects of a kind in the two namespaces, without what the API server itself writes.
async fn objects<K>(scene: &Scene, seen: &mut BTreeMap<String, Value>) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    for namespace in [scene.namespace(), OTHER] {
        let list = Api::<K>::namespaced(scene.client(), namespace).list(&ListParams::default()).await?;
        for object in list.items.iter().filter(|object| object.name_any() != "kube-root-ca.crt") {
            let key = format!("{} {namespace}/{}", K::kind(&()), object.name_any());
            let mut object = serde_json::to_value(object)?;
            let metadata = object["metadata"].as_object_mut().context("no metadata")?;
            for field in ["managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
            for field in ["labels", "annotations"] {
                if metadata.get(field) == Some(&json!({})) {
                    metadata.remove(field);
                }
            }
            seen.insert(key, object);
        }
    }
    Ok(())
}

async fn snapshot(scene: &Scene) -> Result<BTreeMap<String, Value>> {
    let mut seen = BTreeMap::new();
    objects::<Ingress>(scene, &mut seen).await?;
    objects::<Service>(scene, &mut seen).await?;
    objects::<ConfigMap>(scene, &mut seen).await?;
    objects::<Middleware>(scene, &mut seen).await?;
    Ok(seen)
}

async fn writes(scene: &Scene) -> Result<Writes> {
    Writes::settled(&scene.client(), &WRITTEN, Duration::from_millis(500)).await
}

/// Which version of each object is there.
async fn versions(scene: &Scene) -> Result<String> {
    let args = [
        "get",
        "ingress,service,configmap,middleware",
        "-A",
        "-o",
        "jsonpath={.items[*].metadata['uid','resourceVersion']}",
    ];
    kubectl(scene.plane().kubeconfig(), &args).await
}

/// Runs it as a dry run, after which every object is the one that was there.
async fn rehearse(scene: &Scene, args: &[&str]) -> Result<Seen> {
    let (start, before) = (writes(scene).await?, versions(scene).await?);
    let seen = cleanup(scene, &[&["--dry-run"], args].concat()).await?;
    // Of a deletion the API server counts a dry run too, since that is not in the address.
    let spent = &writes(scene).await? - &start;
    let spent: Vec<_> = spent.iter().filter(|(write, _)| write.verb != "DELETE").collect();
    ensure!(spent.is_empty(), "{spent:?}");
    ensure!(versions(scene).await? == before, "something was written");
    Ok(seen)
}

/// The objects in which the controller owns a field.
async fn owned(scene: &Scene) -> Result<Vec<String>> {
    let args = ["get", "ingress,service,configmap,middleware", "-A", "-o", "json", "--show-managed-fields"];
    let list: Value = serde_json::from_str(&kubectl(scene.plane().kubeconfig(), &args).await?)?;
    let items = list["items"].as_array().context("no items")?;
    let is_owned = |item: &&Value| {
        item["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|entry| entry["manager"] == MANAGER)
    };
    Ok(items.iter().filter(is_owned).map(|item| item["metadata"]["name"].to_string()).collect())
}

/// No Ingress with an auth check was without its route, from version `since` on until `routes` of them were deleted.
async fn no_outage_since(scene: &Scene, since: &str, routes: usize) -> Result<()> {
    let params = WatchParams::default().timeout(60);
    let mut events = Box::pin(Api::<Ingress>::all(scene.client()).watch(&params, since).await?);
    let (mut open, mut deleted) = (BTreeSet::new(), 0);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Modified(app) if annotation(&app, AUTH_URL).is_none() => {
                open.insert(app.name_any());
            }
            WatchEvent::Deleted(route) => {
                let route = route.name_any();
                let app = route.strip_suffix("-outpost-path").context("no route")?;
                ensure!(open.contains(app), "the route of {app} went before its auth check");
                deleted += 1;
                if deleted == routes {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
    bail!("{deleted} routes were deleted, not {routes}")
}

async fn version(scene: &Scene) -> Result<String> {
    let list = Api::<Ingress>::all(scene.client()).list(&ListParams::default()).await?;
    list.metadata.resource_version.context("no version")
}

#[tokio::test]
async fn all_is_as_before_the_controller_came() -> Result<()> {
    let scene = world().await?;
    let before = snapshot(&scene).await?;
    protect(&scene).await?;

    // A dry run says what would be done, and does nothing of it.
    let rehearsal = rehearse(&scene, &["-A"]).await?;
    let mut lines: Vec<&str> = rehearsal.out.lines().collect();
    let summary = lines.split_off(lines.len() - 2);
    let wanted = ALL.replace("took back", "would take back");
    assert_eq!(format!("{}\n", summary[0]), wanted, "{rehearsal:?}");
    assert_eq!(lines.len(), 18, "{rehearsal:?}");
    let edit = format!("edit {STATUS}, {LIST} of Ingress {}/list", scene.namespace());
    for line in [&*edit, "annotate Ingress other/shop", "delete Service other/authentik-proxy-outpost"] {
        assert!(lines.contains(&line), "{line}: {rehearsal:?}");
    }
    assert_eq!((rehearsal.code, &*rehearsal.err), (0, ""));

    let (start, since) = (writes(&scene).await?, version(&scene).await?);
    let seen = cleanup(&scene, &["-A"]).await?;
    assert!(seen.out.starts_with(ALL), "{seen:?}");
    assert!(seen.out.contains(&format!("are open: their {OPT_IN} annotations stay")), "{seen:?}");
    assert_eq!((seen.code, &*seen.err), (0, ""));
    assert_eq!(snapshot(&scene).await?, before);
    assert_eq!(owned(&scene).await?, Vec::<String>::new());
    let spent = &writes(&scene).await? - &start;
    assert_eq!(spent.total(), 18, "{spent}");
    no_outage_since(&scene, &since, 3).await?;
    assert!(Api::<Lease>::default_namespaced(scene.client()).get_opt("ingress-sso").await?.is_none());

    let start = writes(&scene).await?;
    let again = cleanup(&scene, &["-A"]).await?;
    assert_eq!((&*again.out, again.code), ("nothing of the controller's is there\n", 0));
    assert_eq!((&writes(&scene).await? - &start).to_string(), "no writes\n");

    // As was said: a controller that is installed again protects them again.
    protect(&scene).await
}

/// Without what a hand-over takes away. A copy of a route is not the controller's.
fn plain(mut objects: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let annotations = ("annotations", [STATUS, MESSAGE].as_slice());
    let labels = ("labels", [MANAGED_BY, "sso.djieno.com/outpost"].as_slice());
    for (_, object) in objects.iter_mut().filter(|(key, _)| !key.ends_with("/copy-of-a-route")) {
        let Some(metadata) = object["metadata"].as_object_mut() else { continue };
        for (section, gone) in [annotations, labels] {
            let Some(keys) = metadata.get_mut(section).and_then(Value::as_object_mut) else { continue };
            keys.retain(|key, _| !gone.contains(&key.as_str()));
        }
        metadata.retain(|_, value| *value != json!({}));
    }
    objects
}

#[tokio::test]
async fn what_is_handed_over_protects_on_and_is_nobodys() -> Result<()> {
    let scene = world().await?;
    protect(&scene).await?;
    let rehearsal = rehearse(&scene, &["-A", "--keep-protection"]).await?;
    let route = "hand over Ingress other/shop-outpost-path\n";
    assert_eq!(rehearsal.out.matches(route).count(), 1, "{rehearsal:?}");
    assert_eq!((rehearsal.code, &*rehearsal.err), (0, ""), "{rehearsal:?}");

    let (before, start) = (snapshot(&scene).await?, writes(&scene).await?);
    let seen = cleanup(&scene, &["-A", "--keep-protection"]).await?;
    assert!(seen.out.starts_with(&ALL.replace("took back", "handed over")), "{seen:?}");
    assert_eq!((seen.code, &*seen.err), (0, ""));
    let after = snapshot(&scene).await?;
    assert_eq!(after, plain(before.clone()));
    assert_ne!(after, before);
    assert_eq!(owned(&scene).await?, Vec::<String>::new());
    let again = cleanup(&scene, &["-A", "--keep-protection"]).await?;
    assert_eq!((&*again.out, again.code), ("nothing of the controller's is there\n", 0));

    // The next to apply an annotation owns it.
    let key = "nginx.ingress.kubernetes.io/auth-signin";
    let theirs = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "shop", "namespace": OTHER, "annotations": { key: "https://login.example.com/" } },
    });
    let apply = ["apply", "--server-side", "--field-manager=theirs", "-f", "-"];
    kubectl_with_input(scene.plane().kubeconfig(), &apply, &theirs.to_string()).await?;

    // A controller that comes again finds everything right, and what is theirs is theirs.
    let since = version(&scene).await?;
    let controller = start_again(&scene).await?;
    let spent = &writes(&scene).await? - &start;
    assert_eq!(spent.count("POST", "services") + spent.count("DELETE", "services"), 0, "{spent}");
    never_open_since(&scene, &since).await?;
    let at_rest = Writes::settled(&scene.client(), &WRITTEN, QUIET).await?;
    tokio::time::sleep(QUIET).await;
    assert_eq!((&writes(&scene).await? - &at_rest).to_string(), "no writes\n");
    let shop = Api::<Ingress>::namespaced(scene.client(), OTHER).get("shop").await?;
    assert_eq!(annotation(&shop, STATUS), Some("Refused"), "{:?}", annotation(&shop, MESSAGE));
    assert!(annotation(&shop, AUTH_URL).is_some());
    drop(controller);

    // A route still goes with its app.
    scene.delete::<Ingress>("n8n").await?;
    eventually("the route gone", PATIENCE, || async {
        let names = scene.names::<Ingress>().await?;
        ensure!(!names.contains(&"n8n-outpost-path".to_owned()), "{names:?}");
        Ok(Some(()))
    })
    .await
}

async fn start_again(scene: &Scene) -> Result<Controller> {
    let controller = start(scene)?;
    let all_but_shop: Vec<&str> = PROTECTED.into_iter().filter(|name| *name != "shop").collect();
    until_all_protected(scene, &all_but_shop).await?;
    Ok(controller)
}

/// From version `since` on until now no app lost its check, and no route went.
async fn never_open_since(scene: &Scene, since: &str) -> Result<()> {
    let params = WatchParams::default().timeout(2);
    let mut events = Box::pin(Api::<Ingress>::all(scene.client()).watch(&params, since).await?);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Modified(app)
                if app.annotations().contains_key(OPT_IN) && app.name_any() != "refused" =>
            {
                let is_checked = [AUTH_URL, LIST].iter().any(|key| annotation(&app, key).is_some());
                ensure!(is_checked, "{} was open: {:?}", app.name_any(), app.annotations());
            }
            WatchEvent::Modified(_) => {}
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_running_controller_is_not_worked_against() -> Result<()> {
    let scene = scene().await?;
    scene.create::<Ingress>(scene.opted_in("app", "app.example.com")).await?;
    let controller = start(&scene)?;
    scene.until_protected("app").await?;
    let start = writes(&scene).await?;
    let seen = cleanup(&scene, &["-A"]).await?;
    assert_eq!((seen.code, &*seen.out), (2, ""), "{seen:?}");
    assert!(seen.err.contains("Lease default/ingress-sso is held by "), "{seen:?}");
    assert!(seen.err.contains("kubectl scale deployment/ingress-sso --replicas=0"), "{seen:?}");
    assert_eq!((&writes(&scene).await? - &start).to_string(), "no writes\n");
    let rehearsal = cleanup(&scene, &["-A", "--dry-run"]).await?;
    assert!(rehearsal.err.contains("the controller seems to run"), "{rehearsal:?}");
    assert_eq!(rehearsal.code, 0);

    // Of one that is lost with its node, the Lease runs out.
    controller.kill()?;
    let seen = cleanup(&scene, &["-A"]).await?;
    assert_eq!(seen.code, 0, "{seen:?}");
    scene.until_only(&["app"]).await
}

#[tokio::test]
async fn settings_and_lease_are_those_of_the_deployment() -> Result<()> {
    let scene = scene().await?;
    let prefix = "--annotation-prefix=sso.example.com";
    let app = scene.app("app", "app.example.com").annotation("sso.example.com/authentik", "true");
    scene.create::<Ingress>(app).await?;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "sso", "namespace": OTHER,
            "labels": { "app.kubernetes.io/name": "ingress-sso", "app.kubernetes.io/component": "controller" },
        },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "sso" } },
            "template": {
                "metadata": { "labels": { "app": "sso" } },
                "spec": { "containers": [
                    { "name": "controller", "image": "ingress-sso", "args": ["run", prefix, "--outpost", OUTPOST] },
                ] },
            },
        },
    });
    kubectl_with_input(scene.plane().kubeconfig(), &["apply", "-f", "-"], &deployment.to_string()).await?;
    let args = [prefix, "--outpost", OUTPOST, "--leader-elect=true", "--lease-namespace", OTHER];
    let controller = scene.start(scene.plane().kubeconfig(), &args)?;
    scene.until_names::<Service>(&["authentik-proxy-outpost"]).await?;
    let bare = |args: &'static [&'static str]| {
        let kubeconfig = scene.plane().kubeconfig().to_owned();
        async move {
            let output =
                Command::new(PROGRAM).arg("cleanup").args(args).env("KUBECONFIG", kubeconfig).output()?;
            anyhow::Ok((
                output.status.code(),
                String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?,
            ))
        }
    };
    let (code, text) = bare(&["-A"]).await?;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("Lease other/ingress-sso-"), "{text}");
    assert!(text.contains("kubectl scale -n other deployment/sso --replicas=0"), "{text}");
    controller.terminate(PATIENCE).await?;
    let (code, text) = bare(&["-A"]).await?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("their sso.example.com/authentik annotations stay"), "{text}");
    scene.until_only(&["app"]).await
}

#[tokio::test]
async fn missing_rights_are_named_before_anything_is_done() -> Result<()> {
    let scene = world().await?;
    protect(&scene).await?;
    let admin = scene.plane().kubeconfig();
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "janitor" } }))?;
    Api::namespaced(scene.client(), OTHER).create(&PostParams::default(), &account).await?;
    let janitor = scene.plane().service_account_kubeconfig(OTHER, "janitor").await?;
    let start = writes(&scene).await?;
    let seen = cleanup_as(&janitor, &["-A"]).await?;
    assert_eq!(seen.code, 2);
    for right in ["list ingresses.networking.k8s.io", "patch ingresses", "delete middlewares.traefik.io"] {
        assert!(seen.err.contains(right), "{right}: {seen:?}");
    }
    assert!(seen.err.contains("update leases.coordination.k8s.io in "), "{seen:?}");

    // With all but one, that one is named.
    let resources = "--resource=ingresses.networking.k8s.io,ingressclasses.networking.k8s.io,services,configmaps,\
                     middlewares.traefik.io,leases.coordination.k8s.io";
    let verbs = "--verb=get,list,watch,create,update,patch";
    kubectl(admin, &["create", "clusterrole", "janitor", verbs, resources]).await?;
    kubectl(
        admin,
        &["create", "clusterrole", "deleter", "--verb=delete", &resources.replace("services,", "")],
    )
    .await?;
    for role in ["janitor", "deleter"] {
        let (role_flag, account) = (format!("--clusterrole={role}"), "--serviceaccount=other:janitor");
        kubectl(admin, &["create", "clusterrolebinding", role, &role_flag, account]).await?;
    }
    let seen = eventually("the roles in force", PATIENCE, || async {
        let seen = cleanup_as(&janitor, &["-A"]).await?;
        // Of the one role and of the other.
        let is_missing = ["list", "delete middlewares"].iter().any(|right| seen.err.contains(right));
        ensure!(!is_missing, "{seen:?}");
        Ok(Some(seen))
    })
    .await?;
    assert_eq!(seen.code, 2, "{seen:?}");
    assert!(
        seen.err.contains("you may not delete services\nkubectl auth can-i delete services -A\n"),
        "{seen:?}"
    );
    assert_eq!((&writes(&scene).await? - &start).to_string(), "no writes\n");

    // To hand over nothing is deleted.
    let seen = cleanup_as(&janitor, &["-A", "--keep-protection"]).await?;
    assert_eq!(seen.code, 0, "{seen:?}");
    Ok(())
}

/// What docs/uninstall.md says of a Job: its arguments, and that the account of the controller can do it.
#[tokio::test]
async fn the_controllers_own_rights_are_enough_in_a_job() -> Result<()> {
    let scene = world().await?;
    let before = snapshot(&scene).await?;
    protect(&scene).await?;
    let admin = scene.plane().kubeconfig();
    kubectl_with_input(admin, &["apply", "-f", "-"], INSTALL).await?;
    kubectl(admin, &["scale", "-n", "ingress-sso", "deployment/ingress-sso", "--replicas=0"]).await?;
    let (_, job) = UNINSTALL.split_once("```yaml\n").context("no Job")?;
    let (job, _) = job.split_once("```").context("no end")?;
    kubectl_with_input(admin, &["apply", "-f", "-"], job).await?;
    let job: Value = serde_saphyr::from_str(job)?;
    let args = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array().context("no arguments")?;
    let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();

    let account = scene.plane().service_account_kubeconfig("ingress-sso", "ingress-sso").await?;
    let mut command = Command::new(PROGRAM);
    // In its Pod, the namespace is the Pod's.
    command.args(args).env("KUBECONFIG", account).env("INGRESS_SSO_LEASE_NAMESPACE", "ingress-sso");
    let output = spawn_blocking(move || command.output()).await??;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout)?.split_once('\n').context("one line")?.0, ALL.trim_end());
    assert_eq!(snapshot(&scene).await?, before);
    Ok(())
}

/// They would close each app again that still asks for protection.
#[tokio::test]
async fn nothing_is_done_while_admission_policies_would_undo_it() -> Result<()> {
    let scene = world().await?;
    protect(&scene).await?;
    let admin = scene.plane().kubeconfig();
    kubectl_with_input(admin, &["apply", "-f", "-"], INSTALL).await?;
    kubectl(admin, &["scale", "-n", "ingress-sso", "deployment/ingress-sso", "--replicas=0"]).await?;
    let account = scene.plane().service_account_kubeconfig("ingress-sso", "ingress-sso").await?;
    let policies = admission_manifests(&Settings::default());
    for name in ["ingress-sso-closed-by-middleware", "ingress-sso-closed-by-url"] {
        // The other one has no part in classes that this one has.
        let named = |document: &&str| document.contains(&format!("  name: {name}\n"));
        let policy = policies.split("---\n").filter(named).collect::<Vec<_>>().join("---\n");
        kubectl_with_input(admin, &["apply", "-f", "-"], &policy).await?;
        let refused = eventually("the policies to hold", PATIENCE, || async {
            let seen = cleanup(&scene, &["-A", "--dry-run"]).await?;
            ensure!(seen.code == 2, "{seen:?}");
            Ok(Some(seen))
        })
        .await?;
        // Only now: deletes that were asked for by dry runs before the policies held are counted like any.
        let (start, before) = (writes(&scene).await?, snapshot(&scene).await?);
        // Whoever may not look for policies meets them as well.
        for seen in [
            refused,
            cleanup(&scene, &["-A"]).await?,
            cleanup_as(&account, &["-A", "--lease-namespace=ingress-sso"]).await?,
        ] {
            assert_eq!((seen.code, seen.out.as_str()), (2, ""), "{seen:?}");
            for part in ["would close ", "nothing was done", "kubectl delete mutatingadmissionpolicies"] {
                assert!(seen.err.contains(part), "{part}: {seen:?}");
            }
        }
        assert!(cleanup(&scene, &["-A"]).await?.err.contains(name));
        assert_eq!((&writes(&scene).await? - &start).to_string(), "no writes\n");
        assert_eq!(snapshot(&scene).await?, before);
        // As the message has it.
        let kinds = "mutatingadmissionpolicies,mutatingadmissionpolicybindings";
        kubectl(admin, &["delete", kinds, "-l", "app.kubernetes.io/name=ingress-sso"]).await?;
    }
    let seen = eventually("a cleanup", PATIENCE, || async {
        let seen = cleanup(&scene, &["-A"]).await?;
        ensure!(seen.code == 0, "{seen:?}");
        Ok(Some(seen))
    })
    .await?;
    assert!(seen.out.starts_with(ALL), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn one_app_that_fails_stops_no_other() -> Result<()> {
    let scene = world().await?;
    let before = snapshot(&scene).await?;
    protect(&scene).await?;
    let admin = scene.plane().kubeconfig();
    let policy = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "frozen" },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "operations": ["UPDATE"],
                    "resources": ["ingresses"],
                }] },
                "validations": [{ "expression": "object.metadata.name != 'n8n'", "message": "n8n is frozen" }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "frozen" },
            "spec": { "policyName": "frozen", "validationActions": ["Deny"] },
        },
    ] });
    kubectl_with_input(admin, &["apply", "-f", "-"], &policy.to_string()).await?;
    eventually("the policy in force", PATIENCE, || async {
        let args = ["label", "ingress", "n8n", "-n", scene.namespace(), "a=b", "--dry-run=server"];
        let Err(error) = kubectl(admin, &args).await else { bail!("it may be changed") };
        ensure!(format!("{error:#}").contains("n8n is frozen"), "{error:#}");
        Ok(Some(()))
    })
    .await?;

    let failed = format!("failed: Ingress {0}/n8n: cannot annotate Ingress {0}/n8n: ", scene.namespace());
    let rehearsal = rehearse(&scene, &["-A"]).await?;
    assert!(rehearsal.err.contains(&failed), "the API server is asked: {rehearsal:?}");
    let seen = cleanup(&scene, &["-A"]).await?;
    assert_eq!(seen.code, 1, "{seen:?}");
    assert!(seen.err.contains(&failed) && seen.err.contains("n8n is frozen"), "{seen:?}");
    assert!(seen.out.contains("took back 7 apps in 2 namespaces: 2 routes, 1 Service, "), "{seen:?}");
    let n8n = scene.ingress("n8n").await?;
    assert!(annotation(&n8n, AUTH_URL).is_some());
    let names = scene.names::<Ingress>().await?;
    assert!(names.contains(&"n8n-outpost-path".to_owned()), "{names:?}");

    let delete = ["delete", "validatingadmissionpolicybinding", "frozen"];
    kubectl(admin, &delete).await?;
    eventually("the rest", PATIENCE, || async {
        let seen = cleanup(&scene, &["-A"]).await?;
        ensure!(seen.code == 0, "{seen:?}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(snapshot(&scene).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_route_that_apps_of_other_namespaces_rely_on_stays() -> Result<()> {
    let scene = scene().await?;
    // Of two of the same second the first is the one whose name comes first.
    let first = ingress(OTHER, "first").host("www.example.com").path("/first", "Prefix");
    let others: Api<Ingress> = Api::namespaced(scene.client(), OTHER);
    others.create(&PostParams::default(), &first.annotation(OPT_IN, "true").build()).await?;
    let controller = start(&scene)?;
    until_all_protected(&scene, &["first"]).await?;
    scene.create::<Ingress>(scene.opted_in("second", "www.example.com").path("/second", "Prefix")).await?;
    scene.until_protected("second").await?;
    controller.terminate(PATIENCE).await?;

    let seen = cleanup(&scene, &["-n", OTHER]).await?;
    assert_eq!(seen.code, 1, "{seen:?}");
    let line = "kept: Ingress other/first: its route Ingress other/first-outpost-path serves www.example.com";
    assert!(seen.err.contains(line), "{seen:?}");
    assert!(annotation(&others.get("first").await?, AUTH_URL).is_none());
    assert!(others.get_opt("first-outpost-path").await?.is_some());
    let second = scene.ingress("second").await?;
    assert_eq!(annotation(&second, STATUS), Some("Protected"), "other namespaces are left alone");

    let seen = cleanup(&scene, &["-n", scene.namespace()]).await?;
    assert_eq!(seen.code, 0, "{seen:?}");
    scene.until_only(&["second"]).await?;
    let seen = cleanup(&scene, &["-n", OTHER]).await?;
    assert_eq!(seen.code, 0, "{seen:?}");
    assert!(others.get_opt("first-outpost-path").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_route_that_is_needed_by_an_annotation_of_the_users_stays() -> Result<()> {
    let scene = scene().await?;
    let url = "https://app.example.com/outpost.goauthentik.io/auth/nginx";
    scene.create::<Ingress>(scene.opted_in("app", "app.example.com").annotation(AUTH_URL, url)).await?;
    let controller = start(&scene)?;
    scene.until_protected("app").await?;
    controller.terminate(PATIENCE).await?;
    let seen = cleanup(&scene, &["-A"]).await?;
    assert_eq!(seen.code, 1, "{seen:?}");
    assert!(
        seen.err.contains(&format!("annotation {AUTH_URL} still leads visitors to the outpost")),
        "{seen:?}"
    );
    assert_eq!(annotation(&scene.ingress("app").await?, AUTH_URL), Some(url));
    assert_eq!(scene.names::<Ingress>().await?, ["app", "app-outpost-path"]);

    scene.annotate("app", AUTH_URL, None).await?;
    let seen = cleanup(&scene, &["-A"]).await?;
    assert_eq!(seen.code, 0, "{seen:?}");
    scene.until_only(&["app"]).await?;
    let params = DeleteParams::default();
    Api::<Ingress>::namespaced(scene.client(), scene.namespace()).delete("app", &params).await?;
    Ok(())
}
