//! Apps that Traefik serves, by its own annotations or in place of ingress-nginx.

use crate::PROGRAM;
use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use ingress_sso::contract::{MANAGER, middleware_name, middleware_reference};
use ingress_sso::middleware::Middleware;
use ingress_sso_testbed::builders::{IngressBuilder, namespace};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::kubectl::kubectl_with_input;
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, OUTPOST, PATIENCE, STATUS, Scene, annotation};
use ingress_sso_testbed::traefik::{install_crds, remove_crds};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::time::Duration;
use tokio::sync::OnceCell;

const LIST: &str = "traefik.ingress.kubernetes.io/router.middlewares";
const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";
const MIGRATION: &str = "rke2-ingress-nginx-migration";
const THEIRS: &str = "strip@file,gzip@file";
const NGINX_URL: &str = "https://app.example.com/outpost.goauthentik.io/auth/nginx";
const DIRECT_URL: &str = "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000/outpost.goauthentik.io/auth/traefik";

/// A scene in a cluster with Traefik's kinds and classes.
async fn scene() -> Result<Scene> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let install = || async { install_crds(ControlPlane::shared().await?).await };
    INSTALLED.get_or_try_init(install).await?;
    with_classes(Scene::new(PROGRAM).await?).await
}

async fn with_classes(scene: Scene) -> Result<Scene> {
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    scene.class(MIGRATION, "rke2.cattle.io/ingress-nginx-migration").await?;
    Ok(scene)
}

fn on_traefik(scene: &Scene, name: &str) -> IngressBuilder {
    scene.opted_in(name, &format!("{name}.example.com")).class("traefik")
}

/// Name of the Middleware of this scene.
fn name(scene: &Scene) -> String {
    middleware_name(scene.namespace(), "proxy-outpost")
}

/// How apps name it.
fn ours(scene: &Scene) -> String {
    middleware_reference(scene.namespace(), &name(scene), false)
}

/// Who owns the annotation `key`, as `manager operation`, in order.
fn owners(ingress: &Ingress, key: &str) -> Vec<String> {
    let owns =
        |fields: &serde_json::Value| !fields["f:metadata"]["f:annotations"][format!("f:{key}")].is_null();
    let entries = ingress.metadata.managed_fields.iter().flatten();
    let entries = entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut owners: Vec<_> =
        entries.map(|entry| format!("{} {}", text(&entry.manager), text(&entry.operation))).collect();
    owners.sort();
    owners
}

/// Waits until the list of the app `app` is `wanted`, and returns its Ingress.
async fn until_list(scene: &Scene, app: &str, wanted: Option<&str>) -> Result<Ingress> {
    eventually(format!("the list {wanted:?} of {app}"), PATIENCE, || async {
        let ingress = scene.ingress(app).await?;
        ensure!(annotation(&ingress, LIST) == wanted, "{:?}", ingress.annotations());
        Ok(Some(ingress))
    })
    .await
}

/// Every version of the Ingress `app` from `start` on until `is_last` says so.
async fn versions(
    scene: &Scene,
    start: &str,
    app: &str,
    is_last: impl Fn(&Ingress) -> bool,
) -> Result<Vec<Ingress>> {
    let api = scene.api::<Ingress>();
    let params = WatchParams::default().fields(&format!("metadata.name={app}"));
    let mut events = std::pin::pin!(api.watch(&params, start).await?);
    let mut all = Vec::new();
    while !all.last().is_some_and(&is_last) {
        match events.try_next().await?.context("the watch ended")? {
            WatchEvent::Added(ingress) | WatchEvent::Modified(ingress) => all.push(ingress),
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(all)
}

async fn version(scene: &Scene) -> Result<String> {
    let list = scene.api::<Ingress>().list(&ListParams::default()).await?;
    list.metadata.resource_version.context("a list without a version")
}

fn number(object: &impl ResourceExt) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

#[tokio::test]
async fn the_annotation_makes_the_middleware_and_then_names_it() -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&[]).await?;
    let start = version(&scene).await?;
    scene.create::<Ingress>(on_traefik(&scene, "n8n")).await?;
    let app = scene.until_protected("n8n").await?;
    assert_eq!(annotation(&app, LIST), Some(ours(&scene).as_str()));
    assert_eq!(owners(&app, LIST), ["ingress-sso Apply"]);
    assert_eq!(annotation(&app, AUTH_URL), None);

    let middleware: Middleware = scene.api().get(&name(&scene)).await?;
    let auth = middleware.spec.forward_auth.clone().context("no forwardAuth")?;
    assert_eq!((auth.address.as_str(), auth.trust_forward_header), (DIRECT_URL, Some(false)));
    let all = versions(&scene, &start, "n8n", |app| annotation(app, LIST).is_some()).await?;
    assert!(number(&middleware) < all.last().and_then(number), "the Middleware has to be there first");
    scene.until_event("n8n", "NoOutpostPath").await?;
    scene.until_names::<Ingress>(&["n8n"]).await?;
    scene.until_names::<Service>(&[]).await?;

    scene.annotate("n8n", OPT_IN, None).await?;
    scene.until_names::<Middleware>(&[]).await?;
    let left = until_list(&scene, "n8n", None).await?;
    assert_eq!(annotation(&left, STATUS), None);
    assert!(left.managed_fields().iter().all(|entry| entry.manager.as_deref() != Some(MANAGER)));
    Ok(())
}

#[tokio::test]
async fn where_traefik_takes_external_names_the_path_is_routed() -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&["--traefik-allows-external-name"]).await?;
    scene.create::<Ingress>(on_traefik(&scene, "n8n")).await?;
    scene.until_protected("n8n").await?;
    let route = scene.ingress("n8n-outpost-path").await?;
    assert_eq!(route.spec.and_then(|spec| spec.ingress_class_name).as_deref(), Some("traefik"));
    scene.annotate("n8n", OPT_IN, None).await?;
    scene.until_only(&["n8n"]).await?;
    scene.until_names::<Middleware>(&[]).await
}

#[tokio::test]
async fn what_apps_share_stays_until_the_last_of_them_goes() -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&[]).await?;
    for app in ["a", "b"] {
        scene.create::<Ingress>(on_traefik(&scene, app)).await?;
        scene.until_protected(app).await?;
    }
    scene.annotate("a", OPT_IN, None).await?;
    until_list(&scene, "a", None).await?;
    scene.stays::<Middleware>(&name(&scene)).await?;
    scene.delete::<Ingress>("b").await?;
    scene.until_names::<Middleware>(&[]).await
}

#[tokio::test]
async fn a_deleted_middleware_comes_back_and_an_edited_one_is_set_right() -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(on_traefik(&scene, "n8n")).await?;
    let app = scene.until_protected("n8n").await?;
    let before: Middleware = scene.api().get(&name(&scene)).await?;
    scene.delete::<Middleware>(&name(&scene)).await?;
    scene.until_names::<Middleware>(&[&name(&scene)]).await?;
    let edits = [
        json!({ "spec": { "forwardAuth": { "address": "http://evil.example.com" } } }),
        json!({ "spec": { "forwardAuth": { "trustForwardHeader": true, "authRequestHeaders": ["X"] } } }),
        json!({ "spec": { "stripPrefix": { "prefixes": ["/x"] } } }),
        json!({ "spec": { "forwardAuth": null } }),
        json!({ "metadata": { "labels": { "sso.djieno.com/outpost": "other" } } }),
    ];
    for edit in edits {
        scene.edit::<Middleware>(&name(&scene), &edit).await?;
        eventually(format!("the Middleware as it was before {edit}"), PATIENCE, || async {
            let now: Middleware = scene.api().get(&name(&scene)).await?;
            ensure!(now.spec == before.spec && now.labels() == before.labels(), "{now:?}");
            Ok(Some(()))
        })
        .await?;
    }
    scene.stays::<Middleware>(&name(&scene)).await?;
    assert_eq!(scene.ingress("n8n").await?.resource_version(), app.resource_version());
    Ok(())
}

/// How users write a list of their own.
#[derive(Clone, Copy, Debug)]
enum Way {
    Create,
    ApplyByServer,
    ApplyByClient,
}

impl Way {
    async fn write(self, scene: &Scene, app: &Ingress) -> Result<()> {
        let mut manifest = serde_json::to_value(app)?;
        manifest["apiVersion"] = "networking.k8s.io/v1".into();
        manifest["kind"] = "Ingress".into();
        match self {
            Self::Create => _ = scene.create::<Ingress>(app.clone()).await?,
            Self::ApplyByServer => {
                let flux = PatchParams::apply("kustomize-controller").force();
                scene.api::<Ingress>().patch(&app.name_any(), &flux, &Patch::Apply(&manifest)).await?;
            }
            Self::ApplyByClient => {
                let apply = ["apply", "--server-side=false", "-f", "-"];
                kubectl_with_input(scene.plane().kubeconfig(), &apply, &manifest.to_string()).await?;
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_list_that_users_wrote_is_edited_in_place_and_given_back() -> Result<()> {
    for way in [Way::Create, Way::ApplyByServer, Way::ApplyByClient] {
        edited_and_given_back(way).await.with_context(|| format!("{way:?}"))?;
    }
    Ok(())
}

async fn edited_and_given_back(way: Way) -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&[]).await?;
    let app = on_traefik(&scene, "n8n").annotation(LIST, THEIRS).build();
    way.write(&scene, &app).await?;
    let both = format!("{},{THEIRS}", ours(&scene));
    let now = scene.until_protected("n8n").await?;
    assert_eq!(annotation(&now, LIST), Some(both.as_str()));
    assert_eq!(owners(&now, LIST), ["ingress-sso Update"]);
    assert_eq!(owners(&now, STATUS), ["ingress-sso Apply"]);
    scene.until_event("n8n", "SharedMiddlewares").await?;
    scene.stays::<Ingress>("n8n").await?;

    if !matches!(way, Way::Create) {
        // GitOps writes what is in Git, and it is edited again.
        way.write(&scene, &app).await?;
        let again = until_list(&scene, "n8n", Some(&both)).await?;
        assert_eq!(owners(&again, LIST), ["ingress-sso Update"]);
        assert_eq!(annotation(&again, STATUS), Some("Protected"));
    }
    scene.annotate("n8n", OPT_IN, None).await?;
    let left = until_list(&scene, "n8n", Some(THEIRS)).await?;
    assert_eq!((annotation(&left, STATUS), annotation(&left, MESSAGE)), (None, None));
    scene.until_names::<Middleware>(&[]).await?;
    scene.stays::<Ingress>("n8n").await?;

    // From then on it is the user's like any other.
    scene.annotate("n8n", LIST, None).await?;
    scene.stays::<Ingress>("n8n").await
}

/// He who applies by the server the very list that he sees has it for himself.
#[tokio::test]
async fn a_list_that_a_user_applied_with_our_entry_is_his() -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&[]).await?;
    Way::ApplyByServer.write(&scene, &on_traefik(&scene, "n8n").annotation(LIST, THEIRS).build()).await?;
    scene.until_protected("n8n").await?;
    let both = format!("{},{THEIRS}", ours(&scene));
    Way::ApplyByServer.write(&scene, &on_traefik(&scene, "n8n").annotation(LIST, &both).build()).await?;
    let shared = until_list(&scene, "n8n", Some(&both)).await?;
    assert_eq!(owners(&shared, LIST), ["ingress-sso Update", "kustomize-controller Apply"]);
    scene.annotate("n8n", OPT_IN, Some("false")).await?;
    scene.until_event("n8n", "RouteStillUsed").await?;
    let left = scene.ingress("n8n").await?;
    assert_eq!((annotation(&left, LIST), annotation(&left, STATUS)), (Some(both.as_str()), None));
    scene.stays::<Middleware>(&name(&scene)).await
}

#[tokio::test]
async fn the_kind_may_be_missing_come_and_go() -> Result<()> {
    let scene = with_classes(Scene::alone(PROGRAM).await?).await?;
    // The watch of the scene's namespace, the second in scope, waits for what that of the first finds.
    let scope =
        ["--namespace", &format!("aaa,{}", scene.namespace()), "--outpost-namespace", scene.namespace()];
    let args = [&scope[..], &["--outpost", OUTPOST]].concat();
    let controller = scene.start(scene.plane().kubeconfig(), &args)?;
    controller.wait_ready(PATIENCE).await?;
    scene.create::<Ingress>(on_traefik(&scene, "n8n")).await?;
    scene.create::<Ingress>(scene.opted_in("nginx", "app.example.com")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    let message = annotation(&refused, MESSAGE).unwrap_or_default();
    assert!(message.contains("middlewares.traefik.io"), "{message}");
    scene.until_event("n8n", "NoMiddlewareKind").await?;
    scene.until_protected("nginx").await?;
    for _ in 0..2 {
        install_crds(scene.plane()).await?;
        // A kind that is missing is looked for every 30 seconds, and the API server needs its time as well.
        let is_protected = || async {
            Ok((annotation(&scene.ingress("n8n").await?, STATUS) == Some("Protected")).then_some(()))
        };
        eventually("protection once the kind is there", Duration::from_secs(90), is_protected).await?;
        scene.until_names::<Middleware>(&[&name(&scene)]).await?;
        remove_crds(scene.plane()).await?;
        let refused = scene.until_status("n8n", "Refused").await?;
        assert_eq!(
            annotation(&refused, LIST),
            Some(ours(&scene).as_str()),
            "without it Traefik would let all in"
        );
    }
    scene.stays::<Ingress>("n8n").await?;
    scene.annotate("n8n", OPT_IN, None).await?;
    until_list(&scene, "n8n", None).await?;
    scene.annotate("nginx", OPT_IN, None).await?;
    scene.until_names::<Service>(&[]).await?;
    controller.wait_ready(PATIENCE).await?;
    let logs = controller.logs()?;
    assert!(!logs.contains("panicked"), "{logs}");
    // A try under way when the kind went may fail until then.
    let (_, without) = logs.rsplit_once("reason=\"NoMiddlewareKind\"").context("nothing in the log")?;
    assert!(!without.contains("cannot create Middleware"), "nobody can, and nobody should try: {without}");
    Ok(())
}

#[tokio::test]
async fn a_middleware_that_traefik_cannot_tell_from_ours_is_refused_until_it_is_gone() -> Result<()> {
    let scene = with_classes(Scene::alone(PROGRAM).await?).await?;
    install_crds(scene.plane()).await?;
    let controller = scene.start(scene.plane().kubeconfig(), &["--outpost", OUTPOST])?;
    controller.wait_ready(PATIENCE).await?;
    scene.create::<Ingress>(on_traefik(&scene, "n8n")).await?;
    let protected = scene.until_protected("n8n").await?;

    let other = format!("{}-authentik", scene.namespace());
    let params = PostParams::default();
    Api::<Namespace>::all(scene.client()).create(&params, &namespace(&other)).await?;
    let api: Api<Middleware> = Api::namespaced(scene.client(), &other);
    let twin = name(&scene).replacen("authentik-", "", 1);
    let object = json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware",
        "metadata": { "name": twin }, "spec": { "stripPrefix": {} },
    });
    api.create(&params, &serde_json::from_value(object)?).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    let message = annotation(&refused, MESSAGE).unwrap_or_default();
    assert!(message.contains(&format!("{other}/{twin}")), "{message}");
    assert_eq!(annotation(&refused, LIST), annotation(&protected, LIST), "what protects the app stays");
    scene.until_event("n8n", "MiddlewareNameShared").await?;
    api.delete(&twin, &DeleteParams::default()).await?;
    scene.until_protected("n8n").await?;
    Ok(())
}

/// With the address for nginx the clone would be open, and without any it would be too.
#[tokio::test]
async fn the_copied_annotations_of_a_clone_are_replaced_at_one_stroke() -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let original = scene.until_protected("n8n").await?;
    let start = version(&scene).await?;
    let clone = scene.app("n8n-traefik", "app.example.com").class(MIGRATION);
    let clone = original.annotations().iter().fold(clone, |clone, (key, value)| clone.annotation(key, value));
    scene.create::<Ingress>(clone).await?;
    let all =
        versions(&scene, &start, "n8n-traefik", |app| annotation(app, AUTH_URL) == Some(DIRECT_URL)).await?;
    let urls: Vec<_> = all.iter().map(|app| annotation(app, AUTH_URL)).collect();
    assert_eq!(urls, [Some(NGINX_URL), Some(DIRECT_URL)], "one write replaces it");
    let now = scene.until_protected("n8n-traefik").await?;
    assert_eq!(owners(&now, AUTH_URL), ["ingress-sso Apply"]);
    scene
        .until_names::<Ingress>(&["n8n", "n8n-outpost-path", "n8n-traefik", "n8n-traefik-outpost-path"])
        .await?;
    scene.stays::<Ingress>("n8n-traefik").await?;
    assert_eq!(scene.ingress("n8n").await?.resource_version(), original.resource_version());

    scene.annotate("n8n-traefik", OPT_IN, None).await?;
    scene.until_names::<Ingress>(&["n8n", "n8n-outpost-path", "n8n-traefik"]).await?;
    assert_eq!(annotation(&scene.ingress("n8n-traefik").await?, AUTH_URL), None);
    Ok(())
}

/// The class is the user's word, and the next write after it changes the language of the protection: never is there a
/// version with neither.
#[tokio::test]
async fn an_app_that_changes_its_class_changes_its_protection_in_one_write() -> Result<()> {
    let scene = scene().await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    scene.until_protected("n8n").await?;
    let start = version(&scene).await?;
    for class in ["traefik", "nginx", MIGRATION, "traefik", MIGRATION, "nginx"] {
        scene.edit::<Ingress>("n8n", &json!({ "spec": { "ingressClassName": class } })).await?;
        let wanted = protection_of(class, &scene);
        eventually(format!("protection on {class}"), PATIENCE, || async {
            let now = scene.ingress("n8n").await?;
            ensure!(protection(&now).as_ref() == Some(&wanted), "{:?}", now.annotations());
            Ok(Some(()))
        })
        .await?;
    }
    scene.annotate("n8n", "the", Some("end")).await?;
    let all = versions(&scene, &start, "n8n", |app| annotation(app, "the").is_some()).await?;
    let class = |app: &Ingress| app.spec.as_ref().and_then(|spec| spec.ingress_class_name.clone());
    let mut history = Vec::new();
    for app in &all {
        let (class, found) = (class(app).unwrap_or_default(), protection(app));
        assert!(found.is_some(), "open on {class}: {history:?}");
        history.push(format!(
            "{class} {}",
            if found == Some(protection_of(&class, &scene)) { "closed" } else { "late" }
        ));
    }
    history.dedup();
    let expected = ["traefik", "nginx", MIGRATION, "traefik", MIGRATION, "nginx"];
    let expected: Vec<_> =
        expected.iter().flat_map(|class| [format!("{class} late"), format!("{class} closed")]).collect();
    assert_eq!(history, expected, "each class is answered by one write");
    scene.until_names::<Ingress>(&["n8n", "n8n-outpost-path"]).await?;
    scene.until_names::<Middleware>(&[]).await?;
    eventually("one ConfigMap", PATIENCE, || async {
        Ok((scene.names::<ConfigMap>().await?.len() == 1).then_some(()))
    })
    .await
}

/// What of the annotations of `app` sends its visitors to the login.
fn protection(app: &Ingress) -> Option<String> {
    annotation(app, LIST).or(annotation(app, AUTH_URL)).map(str::to_owned)
}

fn protection_of(class: &str, scene: &Scene) -> String {
    match class {
        "traefik" => ours(scene),
        "nginx" => NGINX_URL.to_owned(),
        _ => DIRECT_URL.to_owned(),
    }
}
