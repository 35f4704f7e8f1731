//! What is shipped for installing, held against a real API server: it is accepted, it suffices, and nothing in it is
//! too much.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso::cli::{Cli, Command, RunArgs};
use ingress_sso::contract::{MANAGED_BY, MANAGER, middleware_name};
use ingress_sso::middleware::Middleware;
use ingress_sso_testbed::account;
use ingress_sso_testbed::builders::{IngressBuilder, namespace, outpost_service};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, PATIENCE, Scene};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, Pod, Probe, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{Mutex, OnceCell};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml");
const TEXT: &str = include_str!("../deploy/install.yaml");
const DOCKERFILE: &str = include_str!("../Dockerfile");

/// Namespace, `ServiceAccount`, `ClusterRole` and Deployment all bear it.
const NAME: &str = "ingress-sso";

const APP: &str = "app";
const ROUTE: &str = "app-outpost-path";
const SERVICE: &str = "authentik-proxy-outpost";

/// How many controllers run at once where each of many runs for seconds.
const AT_ONCE: usize = 8;

/// Held while controllers run: one for the whole cluster would serve the apps of all others too.
static CONTROLLERS: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn kubectl_applies_the_manifests_without_a_warning_and_then_finds_nothing_to_change() -> Result<()> {
    install().await?;
    let again = apply().await?;
    assert_eq!(again.lines().count(), objects()?.len(), "{again}");
    // kubectl always replaces its selector, and does not see that it is the same.
    let is_budget = |line: &&str| line.starts_with("poddisruptionbudget");
    let (budget, others): (Vec<&str>, Vec<&str>) = again.lines().partition(is_budget);
    assert!(others.iter().all(|line| line.ends_with(" unchanged")), "{again}");
    assert_eq!(budget.len(), 1, "{again}");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(ControlPlane::shared().await?.client()?, NAME);
    assert_eq!(budgets.get(NAME).await?.metadata.generation, Some(1));
    Ok(())
}

#[tokio::test]
async fn the_pod_is_admitted_under_pod_security_restricted() -> Result<()> {
    install().await?;
    try_pod(&pod()?).await?;
    Ok(())
}

/// So that the test above can fail: what the standard asks for is what lets the Pod in.
#[tokio::test]
async fn a_pod_that_may_more_is_turned_away() -> Result<()> {
    install().await?;
    for (path, value) in [
        ("/spec/securityContext/runAsNonRoot", json!(false)),
        ("/spec/securityContext/runAsUser", json!(0)),
        ("/spec/securityContext/seccompProfile/type", json!("Unconfined")),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("/spec/containers/0/securityContext/capabilities/drop", json!([])),
    ] {
        let mut pod = pod()?;
        *pod.pointer_mut(path).with_context(|| format!("no {path}"))? = value;
        let Err(error) = try_pod(&pod).await else { bail!("admitted in spite of {path}: {pod}") };
        let error = format!("{error:#}");
        assert!(error.contains("violates PodSecurity \"restricted"), "{path}: {error}");
    }
    Ok(())
}

#[test]
fn the_container_has_a_file_system_that_is_read_only_and_a_user_that_the_image_has_too() -> Result<()> {
    let security = container()?.security_context.context("no securityContext")?;
    assert_eq!(security.read_only_root_filesystem, Some(true));
    let pod = pod()?;
    let user = |key: &str| pod["spec"]["securityContext"][key].to_string();
    let in_image = format!("USER {}:{}", user("runAsUser"), user("runAsGroup"));
    assert!(DOCKERFILE.lines().any(|line| line == in_image), "no {in_image:?} in the Dockerfile");
    Ok(())
}

#[test]
fn image_and_version_labels_are_of_this_release() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container()?.image, Some(format!("ghcr.io/djieno/ingress-sso:{version}")));
    let deployment: Deployment = object()?;
    assert_eq!(deployment.labels()["app.kubernetes.io/version"], version);
    assert_eq!(pod()?["metadata"]["labels"]["app.kubernetes.io/version"], version);
    let in_image = format!("org.opencontainers.image.version=\"{version}\"");
    assert!(DOCKERFILE.contains(&in_image), "no {in_image} in the Dockerfile");
    Ok(())
}

/// The controller deletes what bears its label and nobody needs.
#[test]
fn nothing_is_labelled_as_made_by_the_controller() -> Result<()> {
    for object in objects()? {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], NAME, "{object}");
        assert_ne!(labels[MANAGED_BY], MANAGER, "{object}");
    }
    Ok(())
}

/// Another one is ready before the first is gone, and one of them writes.
#[test]
fn there_are_two_of_which_one_writes() -> Result<()> {
    let spec = object::<Deployment>()?.spec.context("no spec")?;
    assert_eq!(spec.replicas, Some(2));
    let update = spec.strategy.and_then(|strategy| strategy.rolling_update).context("no rolling update")?;
    assert_eq!(update.max_unavailable, Some(IntOrString::Int(0)));
    let args = parse(container()?.args.as_deref().unwrap_or_default())?;
    let lease = args.lease(NAME)?.context("no leader election")?;
    assert_eq!((lease.namespace.as_str(), lease.name.as_str()), (NAME, NAME));
    Ok(())
}

#[test]
fn the_arguments_are_valid_and_so_are_those_in_comments() -> Result<()> {
    let given = container()?.args.unwrap_or_default();
    parse(&given)?;
    let in_comments: Vec<&str> =
        TEXT.lines().filter_map(|line| line.trim_start().strip_prefix("# - --")).collect();
    assert!(!in_comments.is_empty());
    let in_comments = in_comments.iter().map(|argument| format!("--{argument}"));
    parse(&given.into_iter().chain(in_comments).collect::<Vec<_>>())?;
    Ok(())
}

#[test]
fn the_probes_ask_the_port_that_the_program_listens_on() -> Result<()> {
    let container = container()?;
    let listen = parse(container.args.as_deref().unwrap_or_default())?.listen;
    assert!(listen.ip().is_unspecified(), "{listen} cannot be reached from outside of the Pod");
    let ports = container.ports.clone().unwrap_or_default();
    for probe in [&container.liveness_probe, &container.readiness_probe] {
        let asked = probe.as_ref().and_then(|probe| probe.http_get.as_ref()).context("no HTTP probe")?;
        let IntOrString::String(name) = &asked.port else { bail!("a port without a name: {asked:?}") };
        let port = ports.iter().find(|port| port.name.as_ref() == Some(name)).context("no such port")?;
        assert_eq!(port.container_port, i32::from(listen.port()));
    }
    Ok(())
}

#[test]
fn prometheus_is_led_to_the_port_that_the_program_listens_on() -> Result<()> {
    let annotations = &pod()?["metadata"]["annotations"];
    let listen = parse(container()?.args.as_deref().unwrap_or_default())?.listen;
    assert_eq!(annotations["prometheus.io/scrape"], "true");
    assert_eq!(annotations["prometheus.io/port"], listen.port().to_string());
    assert_eq!(annotations["prometheus.io/path"], "/metrics");
    Ok(())
}

#[tokio::test]
async fn the_rights_suffice_for_a_whole_life_in_the_whole_cluster() -> Result<()> {
    let _alone = CONTROLLERS.lock().await;
    install().await?;
    let scene = Scene::new(PROGRAM).await?;
    install_kind(&scene).await?;
    deploy_outpost(&scene).await?;
    let life = Life { controller: installed_controller(&scene).await?, scene };
    let scene = &life.scene;

    let container = container()?;
    let probes = [path(container.liveness_probe)?, path(container.readiness_probe)?];
    for path in probes.iter().map(String::as_str).chain(["/metrics"]) {
        assert_eq!(life.controller.get(path).await?.status, 200, "{path}");
    }
    protect(scene).await?;
    let event = scene.until_event(APP, "Protected").await?;
    assert_eq!(event.reporting_instance.as_deref(), Some("name-of-the-pod"));

    let before = companions(scene).await?;
    for mishap in Mishap::ALL {
        mishap.happen(&life).await?;
        eventually(format!("all as it was before {mishap:?}"), PATIENCE, || async {
            let now = companions(scene).await?;
            ensure!(now == before, "{now:#?}");
            Ok(Some(()))
        })
        .await?;
        scene.until_protected(APP).await?;
    }

    take_name_of_headers(scene).await?;
    scene.until_event(APP, "HeadersNameTaken").await?;
    let give = json!({ "metadata": { "labels": { MANAGED_BY: MANAGER } } });
    scene.edit::<ConfigMap>(&headers(scene).await?.name_any(), &give).await?;

    opt_out(scene).await?;
    scene.until_only(&[APP]).await?;
    scene.until_event(APP, "Unprotected").await?;
    opt_in(scene).await?;
    eventually("an Event that counts", PATIENCE, || async {
        let events = scene.events(APP).await?;
        Ok(events.iter().any(|event| event.series.is_some()).then_some(()))
    })
    .await?;

    let refused = scene.opted_in("refused", "refused.example.com").class("unknown");
    scene.create::<Ingress>(refused).await?;
    scene.until_status("refused", "Refused").await?;
    scene.until_event("refused", "UnknownClass").await?;
    scene.delete::<Ingress>("refused").await?;

    scene.delete::<Ingress>(APP).await?;
    scene.until_only(&[]).await?;

    let on_traefik = [
        Occasion::Mishap(Mishap::MiddlewareEdited),
        Occasion::Mishap(Mishap::MiddlewareDeleted),
        Occasion::OptInWhileMiddlewareLingers,
    ];
    for occasion in on_traefik {
        occasion.come(&life).await?;
        until_middleware_is_right(scene).await?;
        scene.until_protected(APP).await?;
        scene.delete::<Ingress>(APP).await?;
        let_go_of_middleware(scene).await?;
        scene.until_names::<Middleware>(&[]).await?;
    }

    protect(scene).await?;
    life.controller.kill()?;
    // So that nothing but the controller will remove the route.
    scene.edit::<Ingress>(ROUTE, &json!({ "metadata": { "ownerReferences": null } })).await?;
    scene.delete::<Ingress>(APP).await?;
    let second = installed_controller(scene).await?;
    scene.until_only(&[]).await?;

    second.terminate(Duration::from_secs(15)).await?;
    let logs = life.controller.logs()? + &second.logs()?;
    assert!(forbidden(&logs).is_empty(), "{logs}");
    Ok(())
}

/// When each right is needed first. One that is granted and not in this table, or the reverse, fails the test below.
const NEEDED: [(&str, &str, Occasion); 28] = [
    ("ingressclasses", "list", Occasion::StartInPages),
    ("ingressclasses", "watch", Occasion::Start),
    ("ingresses", "get", Occasion::OptOut),
    ("ingresses", "list", Occasion::StartInPages),
    ("ingresses", "watch", Occasion::Start),
    ("ingresses", "create", Occasion::Created),
    ("ingresses", "patch", Occasion::Created),
    ("ingresses", "delete", Occasion::OptOut),
    ("services", "get", Occasion::Mishap(Mishap::ServiceOfAnotherType)),
    ("services", "list", Occasion::StartInPages),
    ("services", "watch", Occasion::Start),
    ("services", "create", Occasion::Created),
    ("services", "patch", Occasion::Mishap(Mishap::ServiceEdited)),
    ("services", "delete", Occasion::OptOut),
    ("configmaps", "get", Occasion::NameOfHeadersTaken),
    ("configmaps", "list", Occasion::StartInPages),
    ("configmaps", "watch", Occasion::Start),
    ("configmaps", "create", Occasion::Created),
    ("configmaps", "patch", Occasion::Mishap(Mishap::HeadersReplaced)),
    ("configmaps", "delete", Occasion::OptOut),
    ("middlewares", "get", Occasion::OptInWhileMiddlewareLingers),
    ("middlewares", "list", Occasion::StartInPages),
    ("middlewares", "watch", Occasion::Start),
    ("middlewares", "create", Occasion::CreatedOnTraefik),
    ("middlewares", "patch", Occasion::Mishap(Mishap::MiddlewareEdited)),
    ("middlewares", "delete", Occasion::OptOutOnTraefik),
    ("events", "create", Occasion::Created),
    ("events", "patch", Occasion::OptInAgain),
];

#[test]
fn every_right_that_is_granted_has_its_occasion() -> Result<()> {
    let granted = object::<ClusterRole>()?.rules.unwrap_or_default();
    let granted: BTreeSet<_> = granted.iter().flat_map(rights).collect();
    let needed: BTreeSet<_> = NEEDED.map(|(resource, verb, _)| (resource.to_owned(), verb.to_owned())).into();
    assert_eq!(granted, needed);
    Ok(())
}

/// Nobody leads, or not for long.
#[tokio::test]
async fn without_any_one_of_its_rights_to_its_lease_the_controller_complains_of_that() -> Result<()> {
    let role: Role = object()?;
    let granted: BTreeSet<_> = role.rules.iter().flatten().flat_map(rights).collect();
    let verbs = ["create", "get", "update"];
    assert_eq!(granted, verbs.map(|verb| ("leases".to_owned(), verb.to_owned())).into());
    for missing in verbs {
        let scene = Scene::new(PROGRAM).await?;
        let kubeconfig = kubeconfig_without(&scene, "leases", missing).await?;
        let namespace = scene.namespace();
        let args = ["--namespace", namespace, "--outpost-namespace", namespace, "--leader-elect=true"];
        let args = [&args[..], &["--lease-namespace", namespace]].concat();
        let controller = scene.start(&kubeconfig, &args)?;
        let complaint = format!("cannot {missing} resource \"leases\"");
        eventually(format!("{complaint:?} in the log"), PATIENCE, || async {
            let logs = controller.logs()?;
            let is_told = logs
                .lines()
                .any(|line| line.contains("cannot ask for the lease") && line.contains(&complaint));
            ensure!(is_told, "{logs}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_any_one_of_its_rights_the_controller_is_forbidden_something() -> Result<()> {
    let _others_wait = CONTROLLERS.lock().await;
    stream::iter(NEEDED)
        .map(|(resource, verb, occasion)| async move {
            let checked = is_missed(resource, verb, occasion).await;
            checked.with_context(|| format!("without the right to {verb} {resource}"))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Runs a controller that lacks one right through the occasion for it, and waits until it complains of just that.
async fn is_missed(resource: &str, verb: &str, occasion: Occasion) -> Result<()> {
    let scene = match occasion {
        Occasion::StartInPages => Scene::without_streamed_lists(PROGRAM).await?,
        _ => Scene::new(PROGRAM).await?,
    };
    install_kind(&scene).await?;
    let kubeconfig = kubeconfig_without(&scene, resource, verb).await?;
    let scope =
        ["--namespace", scene.namespace(), "--outpost-namespace", scene.namespace(), "--outpost", OUTPOST];
    let life = Life { controller: scene.start(&kubeconfig, &scope)?, scene };
    occasion.come(&life).await?;
    let complaint = format!("cannot {verb} resource \"{resource}\"");
    eventually(format!("{complaint:?} in the log"), PATIENCE, || async {
        let logs = life.controller.logs()?;
        let forbidden = forbidden(&logs);
        let is_just_that = forbidden.iter().all(|line| line.contains(&complaint));
        ensure!(!forbidden.is_empty() && is_just_that, "{forbidden:#?}");
        Ok(Some(()))
    })
    .await
}

/// A controller and where it is watched.
struct Life {
    scene: Scene,
    controller: Controller,
}

/// What makes a controller use a right.
#[derive(Clone, Copy, Debug)]
enum Occasion {
    Start,
    /// Where the API server does not stream lists.
    StartInPages,
    Created,
    OptOut,
    OptInAgain,
    Mishap(Mishap),
    NameOfHeadersTaken,
    CreatedOnTraefik,
    OptOutOnTraefik,
    OptInWhileMiddlewareLingers,
}

impl Occasion {
    async fn come(self, life: &Life) -> Result<()> {
        let scene = &life.scene;
        match self {
            Self::Start | Self::StartInPages => return Ok(()),
            Self::Created => {
                scene.create::<Ingress>(scene.opted_in(APP, &host(scene))).await?;
                return Ok(());
            }
            Self::CreatedOnTraefik => {
                scene.create::<Ingress>(on_traefik(scene)).await?;
                return Ok(());
            }
            Self::OptOutOnTraefik | Self::OptInWhileMiddlewareLingers => protect_on_traefik(scene).await?,
            Self::Mishap(mishap) if mishap.is_traefiks() => protect_on_traefik(scene).await?,
            _ => protect(scene).await?,
        }
        match self {
            Self::Start | Self::StartInPages | Self::Created | Self::CreatedOnTraefik => Ok(()),
            Self::OptInWhileMiddlewareLingers => {
                opt_out_with_lingering_middleware(scene).await?;
                opt_in(scene).await
            }
            Self::OptOut | Self::OptOutOnTraefik => opt_out(scene).await,
            Self::OptInAgain => {
                opt_out(scene).await?;
                scene.until_only(&[APP]).await?;
                opt_in(scene).await
            }
            Self::Mishap(mishap) => mishap.happen(life).await,
            Self::NameOfHeadersTaken => take_name_of_headers(scene).await,
        }
    }
}

/// What somebody does to a companion, and the controller undoes.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    RouteEdited,
    RouteDeleted,
    ServiceEdited,
    ServiceOfAnotherType,
    ServiceDeleted,
    HeadersReplaced,
    HeadersDeleted,
    MiddlewareEdited,
    MiddlewareDeleted,
}

impl Mishap {
    /// Those of an app on nginx.
    const ALL: [Self; 7] = [
        Self::RouteEdited,
        Self::RouteDeleted,
        Self::ServiceEdited,
        Self::ServiceOfAnotherType,
        Self::ServiceDeleted,
        Self::HeadersReplaced,
        Self::HeadersDeleted,
    ];

    fn is_traefiks(self) -> bool {
        matches!(self, Self::MiddlewareEdited | Self::MiddlewareDeleted)
    }

    async fn happen(self, life: &Life) -> Result<()> {
        let scene = &life.scene;
        match self {
            Self::RouteEdited => {
                let edit = json!({ "spec": { "rules": [{ "host": "other.example.com" }] } });
                scene.edit::<Ingress>(ROUTE, &edit).await?;
            }
            Self::RouteDeleted => scene.delete::<Ingress>(ROUTE).await?,
            Self::ServiceEdited => {
                let edit = json!({ "spec": { "externalName": "other.example.com" } });
                scene.edit::<Service>(SERVICE, &edit).await?;
            }
            // Out of the controller's sight, and still in its way.
            Self::ServiceOfAnotherType => {
                let edit = json!({ "spec": { "type": "ClusterIP", "externalName": null } });
                scene.edit::<Service>(SERVICE, &edit).await?;
            }
            Self::ServiceDeleted => scene.delete::<Service>(SERVICE).await?,
            Self::HeadersReplaced => replace_headers(life, other_headers(scene).await?).await?,
            Self::HeadersDeleted => scene.delete::<ConfigMap>(&headers(scene).await?.name_any()).await?,
            Self::MiddlewareEdited => {
                let edit = json!({ "spec": { "forwardAuth": { "address": "http://other.example.com" } } });
                scene.edit::<Middleware>(&middleware(scene), &edit).await?;
            }
            Self::MiddlewareDeleted => scene.delete::<Middleware>(&middleware(scene)).await?,
        }
        Ok(())
    }
}

fn middleware(scene: &Scene) -> String {
    middleware_name(scene.namespace(), "proxy-outpost")
}

fn on_traefik(scene: &Scene) -> IngressBuilder {
    scene.opted_in(APP, &host(scene)).class("traefik")
}

async fn protect_on_traefik(scene: &Scene) -> Result<()> {
    scene.create::<Ingress>(on_traefik(scene)).await?;
    scene.until_protected(APP).await?;
    Ok(())
}

/// Takes the app out while a finalizer keeps its Middleware from going, which the controller then takes for gone: nothing
/// will tell of it before it is in the way of the next.
async fn opt_out_with_lingering_middleware(scene: &Scene) -> Result<()> {
    let name = middleware(scene);
    let finalizers = json!({ "metadata": { "finalizers": ["example.com/wait"] } });
    scene.edit::<Middleware>(&name, &finalizers).await?;
    opt_out(scene).await?;
    eventually("a Middleware that is as good as deleted", PATIENCE, || async {
        let found: Middleware = scene.api().get(&name).await?;
        Ok(found.metadata.deletion_timestamp.map(drop))
    })
    .await?;
    until_caught_up(scene).await
}

/// Returns once the controller has seen what has become of Middlewares until now: it takes away one that no app asks for.
async fn until_caught_up(scene: &Scene) -> Result<()> {
    let Middleware { metadata, spec, .. } = scene.api().get(&middleware(scene)).await?;
    let unused = middleware_name(scene.namespace(), "unused-outpost");
    let (name, labels) = (Some(unused.clone()), metadata.labels);
    let metadata = ObjectMeta { name, labels, ..ObjectMeta::default() };
    scene.create::<Middleware>(Middleware { metadata, spec }).await?;
    eventually("a Middleware that no app asks for to be gone", PATIENCE, || async {
        Ok(scene.api::<Middleware>().get_opt(&unused).await?.is_none().then_some(()))
    })
    .await
}

async fn let_go_of_middleware(scene: &Scene) -> Result<()> {
    for middleware in scene.api::<Middleware>().list(&ListParams::default()).await? {
        if !middleware.finalizers().is_empty() {
            let finalizers = json!({ "metadata": { "finalizers": null } });
            scene.edit::<Middleware>(&middleware.name_any(), &finalizers).await?;
        }
    }
    Ok(())
}

async fn until_middleware_is_right(scene: &Scene) -> Result<()> {
    eventually("the Middleware as it should be", PATIENCE, || async {
        let found: Middleware = scene.api().get(&middleware(scene)).await?;
        let address = found.spec.forward_auth.map(|auth| auth.address).unwrap_or_default();
        ensure!(address.ends_with("/outpost.goauthentik.io/auth/traefik"), "{address}");
        Ok(Some(()))
    })
    .await
}

/// The kind and the class of Traefik's, once for all tests of this process.
async fn install_kind(scene: &Scene) -> Result<()> {
    static INSTALLED: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());
    let mut installed = INSTALLED.lock().await;
    if installed.insert(scene.plane().url()) {
        install_crds(scene.plane()).await?;
        scene.class("traefik", "traefik.io/ingress-controller").await?;
    }
    Ok(())
}

async fn protect(scene: &Scene) -> Result<()> {
    scene.create::<Ingress>(scene.opted_in(APP, &host(scene))).await?;
    scene.until_protected(APP).await?;
    Ok(())
}

async fn opt_out(scene: &Scene) -> Result<()> {
    scene.annotate(APP, OPT_IN, None).await?;
    Ok(())
}

async fn opt_in(scene: &Scene) -> Result<()> {
    scene.annotate(APP, OPT_IN, Some("true")).await?;
    Ok(())
}

/// Takes the app out, and lets it back in when somebody else's `ConfigMap` has the name that its headers are to get.
/// The controller cannot see that one before it is in its way.
async fn take_name_of_headers(scene: &Scene) -> Result<()> {
    let mut other = other_headers(scene).await?;
    other.metadata.labels = None;
    opt_out(scene).await?;
    scene.until_only(&[APP]).await?;
    scene.create::<ConfigMap>(other).await?;
    opt_in(scene).await
}

/// A `ConfigMap` like that of the headers, with others in it.
async fn other_headers(scene: &Scene) -> Result<ConfigMap> {
    let ObjectMeta { name, labels, .. } = headers(scene).await?.metadata;
    let data = [("X-Other".to_owned(), "value".to_owned())].into();
    let metadata = ObjectMeta { name, labels, ..ObjectMeta::default() };
    Ok(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
}

/// Replaces the headers, before the controller can. They are immutable, which keeps nobody from making others under
/// their name.
async fn replace_headers(life: &Life, other: ConfigMap) -> Result<()> {
    life.controller.pause()?;
    life.scene.delete::<ConfigMap>(&other.name_any()).await?;
    life.scene.create::<ConfigMap>(other).await?;
    life.controller.resume()
}

/// No other scene's.
fn host(scene: &Scene) -> String {
    format!("{}.example.com", scene.namespace())
}

/// What matters of route, Service and headers.
async fn companions(scene: &Scene) -> Result<[Value; 3]> {
    let service = scene.api::<Service>().get(SERVICE).await?.spec.context("Service without a spec")?;
    let route = scene.ingress(ROUTE).await?;
    Ok([
        json!([route.owner_references(), route.spec]),
        json!([service.type_, service.external_name, service.ports]),
        json!(headers(scene).await?.data),
    ])
}

/// The only `ConfigMap` there.
async fn headers(scene: &Scene) -> Result<ConfigMap> {
    let mut list = scene.api::<ConfigMap>().list(&ListParams::default()).await?.items;
    let only = list.pop().filter(|_| list.is_empty());
    only.context("none or several ConfigMaps")
}

/// Lines of a log about something that the API server does not allow, with its quotes as it wrote them.
fn forbidden(logs: &str) -> Vec<String> {
    let is_about_it = |line: &&str| line.to_lowercase().contains("forbidden");
    logs.lines().filter(is_about_it).map(|line| line.replace('\\', "")).collect()
}

/// Applies the manifests, once for all tests of this process.
async fn install() -> Result<()> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_try_init(|| async {
            let created = apply().await?;
            ensure!(created.lines().all(|line| line.ends_with(" created")), "{created}");
            Ok(())
        })
        .await
        .copied()
}

async fn apply() -> Result<String> {
    let plane = ControlPlane::shared().await?;
    let args = ["apply", "--server-side=false", "--warnings-as-errors", "-f", MANIFESTS];
    kubectl(plane.kubeconfig(), &args).await
}

/// Asks the API server whether it would admit `pod`. Fails if not, and if it does with a warning.
async fn try_pod(pod: &Value) -> Result<String> {
    let plane = ControlPlane::shared().await?;
    let args = ["create", "--dry-run=server", "--warnings-as-errors", "-f", "-"];
    kubectl_with_input(plane.kubeconfig(), &args, &pod.to_string()).await
}

/// The Service that authentik would have deployed, in a namespace of its own.
async fn deploy_outpost(scene: &Scene) -> Result<()> {
    let (authentik, params) = ("authentik-prd", PostParams::default());
    Api::<Namespace>::all(scene.client()).create(&params, &namespace(authentik)).await?;
    let outpost = outpost_service(authentik, "proxy-outpost");
    Api::<Service>::namespaced(scene.client(), authentik).create(&params, &outpost).await?;
    Ok(())
}

/// Starts the controller as the Deployment does: its arguments, its environment, its rights.
async fn installed_controller(scene: &Scene) -> Result<Controller> {
    let container = container()?;
    let args = container.args.unwrap_or_default();
    let (command, args) = args.split_first().context("no arguments")?;
    ensure!(command == "run", "{command}");
    let (user, role) = (account::user(NAME, NAME), object::<ClusterRole>()?);
    account::until_heeded(&scene.client(), &user, None, &role.rules.unwrap_or_default()).await?;
    let own = object::<Role>()?.rules.unwrap_or_default();
    account::until_heeded(&scene.client(), &user, Some(NAME), &own).await?;
    let mut controller = Controller::builder(PROGRAM)
        .kubeconfig(&scene.plane().service_account_kubeconfig(NAME, NAME).await?)
        .env("INGRESS_SSO_LEADER_ELECT", "true")
        // As it is in a Pod of that namespace.
        .env("INGRESS_SSO_LEASE_NAMESPACE", NAME)
        .args(args);
    for variable in container.env.unwrap_or_default() {
        let field = variable.value_from.and_then(|from| from.field_ref).map(|field| field.field_path);
        let value = variable.value.or_else(|| (field? == "metadata.name").then(|| "name-of-the-pod".into()));
        controller = controller.env(&variable.name, value.context(variable.name.clone())?);
    }
    let controller = controller.start()?;
    controller.wait_ready(PATIENCE).await?;
    Ok(controller)
}

/// A kubeconfig for a `ServiceAccount` that has all rights of the manifests but one.
async fn kubeconfig_without(scene: &Scene, resource: &str, verb: &str) -> Result<PathBuf> {
    let (name, params) = (scene.namespace(), PostParams::default());
    let mut account: ServiceAccount = object()?;
    account.metadata.namespace = Some(name.to_owned());
    let mut role: ClusterRole = object()?;
    role.metadata.name = Some(name.to_owned());
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.iter().flatten().any(|found| found == resource) {
            rule.verbs.retain(|found| found != verb);
        }
    }
    let mut binding: ClusterRoleBinding = object()?;
    binding.metadata.name = Some(name.to_owned());
    name.clone_into(&mut binding.role_ref.name);
    for subject in binding.subjects.iter_mut().flatten() {
        subject.namespace = Some(name.to_owned());
    }
    let mut own: Role = object()?;
    own.metadata.namespace = Some(name.to_owned());
    for rule in own.rules.iter_mut().flatten() {
        if rule.resources.iter().flatten().any(|found| found == resource) {
            rule.verbs.retain(|found| found != verb);
        }
    }
    let mut own_binding: RoleBinding = object()?;
    own_binding.metadata.namespace = Some(name.to_owned());
    for subject in own_binding.subjects.iter_mut().flatten() {
        subject.namespace = Some(name.to_owned());
    }
    scene.create::<ServiceAccount>(account).await?;
    let own_rules = scene.create::<Role>(own).await?.rules;
    scene.create::<RoleBinding>(own_binding).await?;
    Api::all(scene.client()).create(&params, &role).await?;
    Api::all(scene.client()).create(&params, &binding).await?;
    let user = account::user(name, NAME);
    let own_rules = own_rules.unwrap_or_default();
    account::until_heeded(&scene.client(), &user, Some(name), &own_rules).await?;
    account::until_heeded(&scene.client(), &user, None, &role.rules.unwrap_or_default()).await?;
    scene.plane().service_account_kubeconfig(name, NAME).await
}

/// Resources and verbs of a rule, each with each.
fn rights(rule: &PolicyRule) -> Vec<(String, String)> {
    let resources = rule.resources.iter().flatten();
    resources.flat_map(|resource| rule.verbs.iter().map(|verb| (resource.clone(), verb.clone()))).collect()
}

/// What the program makes of its arguments; an error where it would end with one.
fn parse(args: &[String]) -> Result<RunArgs> {
    let cli = Cli::try_parse_from([NAME].into_iter().chain(args.iter().map(String::as_str)))?;
    let Command::Run(args) = cli.command else { bail!("not the controller: {cli:?}") };
    args.plan.settings()?;
    args.scopes()?;
    Ok(args)
}

fn path(probe: Option<Probe>) -> Result<String> {
    probe.and_then(|probe| probe.http_get).and_then(|get| get.path).context("a probe without a path")
}

/// All objects of the manifests.
fn objects() -> Result<Vec<Value>> {
    let documents = TEXT.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    let documents: Vec<Value> = documents.collect::<Result<_, _>>()?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The only object of a kind.
fn object<K: Resource<DynamicType = ()> + DeserializeOwned>() -> Result<K> {
    let mut of_kind = objects()?.into_iter().filter(|object| object["kind"] == *K::kind(&()));
    let only = of_kind.next().filter(|_| of_kind.next().is_none());
    Ok(serde_json::from_value(only.with_context(|| format!("none or several {}", K::plural(&())))?)?)
}

fn container() -> Result<Container> {
    let pod: Pod = serde_json::from_value(pod()?)?;
    let [container] = <[Container; 1]>::try_from(pod.spec.context("no spec")?.containers)
        .map_err(|containers| anyhow::anyhow!("not one container: {containers:?}"))?;
    Ok(container)
}

/// The Pod that the Deployment would have made.
fn pod() -> Result<Value> {
    let deployment: Deployment = object()?;
    let namespace = deployment.namespace();
    let mut pod = serde_json::to_value(deployment.spec.context("no spec")?.template)?;
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("name-of-the-pod");
    pod["metadata"]["namespace"] = json!(namespace);
    Ok(pod)
}
