//! What somebody cannot do who may edit the Ingresses, Services, ConfigMaps and Middlewares of one namespace, and nothing else.

use crate::PROGRAM;
use anyhow::{Context, Result, ensure};
use ingress_sso::middleware::Middleware;
use ingress_sso_testbed::account::{Reach, account};
use ingress_sso_testbed::builders::{
    IngressBuilder, external_name_service, ingress, namespace, outpost_service,
};
use ingress_sso_testbed::control_plane::kubeconfig;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, OUTPOST, PATIENCE, STATUS, Scene, annotation, injected};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use ingress_sso_testbed::writes::Writes;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::sleep;

const OUTPOST_HOST: &str = "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local";
const OUTPOST_SERVICE: &str = "authentik-proxy-outpost";
const OUTPOST_PATH: &str = "/outpost.goauthentik.io";
const OUTPOST_KEY: &str = "sso.djieno.com/outpost";
const SET_HEADERS: &str = "nginx.ingress.kubernetes.io/auth-proxy-set-headers";
const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const EVIL: &str = "evil.example.com";

/// Name of the request headers of the route `host`.
const HEADERS: &str = "authentik-headers-4bd8e4f378";

/// Nothing is written for so long: then it is quiet.
const QUIET: Duration = Duration::from_secs(2);

trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
> Object for K
{
}

/// The namespace of the scene, of somebody else's, beside that of the tenant, and the controller for both.
struct Tenancy {
    scene: Scene,
    home: String,
    tenant: Client,
    _controller: Controller,
}

impl Tenancy {
    async fn new() -> Result<Self> {
        Self::on(Scene::new(PROGRAM).await?).await
    }

    async fn on(scene: Scene) -> Result<Self> {
        let home = format!("{}-tenant", scene.namespace());
        let namespaces: Api<Namespace> = Api::all(scene.client());
        namespaces.create(&PostParams::default(), &namespace(&home)).await?;
        let rules = json!([
            { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["*"] },
            { "apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["*"] },
            { "apiGroups": ["traefik.io"], "resources": ["middlewares"], "verbs": ["*"] },
        ]);
        let kubeconfig = account(scene.plane(), &home, "tenant", &rules, Reach::Namespace).await?;
        let tenant = kubeconfig::client(&kubeconfig).await?;
        let args = [
            ["--namespace", scene.namespace()],
            ["--namespace", &home],
            ["--outpost-namespace", scene.namespace()],
            ["--outpost", OUTPOST],
            ["--outpost", "staff=http://staff.example.com:9000"],
            ["--default-outpost", "proxy-outpost"],
        ];
        let controller = scene.start(scene.plane().kubeconfig(), &args.concat())?;
        controller.wait_ready(PATIENCE).await?;
        Ok(Self { scene, home, tenant, _controller: controller })
    }

    /// What the tenant may do.
    fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.tenant.clone(), &self.home)
    }

    /// Starts an Ingress of the tenant's that asks for protection.
    fn app(&self, name: &str, host: &str) -> IngressBuilder {
        ingress(&self.home, name).host(host).annotation(OPT_IN, "true")
    }

    async fn create<K: Object>(&self, object: impl Into<K>) -> Result<K> {
        Ok(self.api().create(&PostParams::default(), &object.into()).await?)
    }

    async fn edit<K: Object>(&self, name: &str, patch: &Value) -> Result<K> {
        Ok(self.api().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    async fn delete<K: Object>(&self, name: &str) -> Result<()> {
        self.api::<K>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// An app of the tenant's, and a younger one of somebody else's, both protected.
    async fn older_app_and_victim(&self) -> Result<Victim> {
        self.create::<Ingress>(self.app("app", "a.example.com")).await?;
        self.until_status("app", "Protected").await?;
        Victim::new(&self.scene).await
    }

    /// Has the route of the tenant's app these rules, this label and these annotations of ingress-nginx.
    async fn turn_route(&self, annotations: Value, outpost: &str, rules: &[Value]) -> Result<()> {
        let annotations: serde_json::Map<String, Value> = annotations
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (format!("nginx.ingress.kubernetes.io/{key}"), value.clone()))
            .collect();
        let metadata = json!({ "annotations": annotations, "labels": { OUTPOST_KEY: outpost } });
        self.edit::<Ingress>(
            "app-outpost-path",
            &json!({ "metadata": metadata, "spec": { "rules": rules } }),
        )
        .await?;
        Ok(())
    }

    async fn until_status(&self, name: &str, wanted: &str) -> Result<Ingress> {
        eventually(format!("status {wanted} of {name}"), PATIENCE, || async {
            let ingress = self.api::<Ingress>().get(name).await?;
            ensure!(annotation(&ingress, STATUS) == Some(wanted), "{:?}", ingress.annotations());
            Ok(Some(ingress))
        })
        .await
    }

    async fn until_refused(&self, name: &str, parts: &[&str]) -> Result<()> {
        let refused = self.until_status(name, "Refused").await?;
        let message = annotation(&refused, MESSAGE).unwrap_or_default();
        ensure!(parts.iter().all(|part| message.contains(part)), "{message}");
        ensure!(annotation(&refused, "nginx.ingress.kubernetes.io/auth-url").is_none());
        Ok(())
    }
}

/// The host of somebody else's app.
const SHOP: &str = "shop.example.com";

/// Somebody else's app, protected.
struct Victim {
    app: Ingress,
    route: Ingress,
}

impl Victim {
    async fn new(scene: &Scene) -> Result<Self> {
        // Ages are in seconds.
        sleep(Duration::from_millis(1100)).await;
        scene.create::<Ingress>(scene.opted_in("shop", SHOP)).await?;
        let app = scene.until_protected("shop").await?;
        Ok(Self { app, route: scene.ingress("shop-outpost-path").await? })
    }

    /// Nothing of it is touched.
    async fn is_as_it_was(&self, scene: &Scene) -> Result<()> {
        sleep(QUIET).await;
        let app = scene.ingress("shop").await?;
        ensure!(app.resource_version() == self.app.resource_version(), "{app:?}");
        self.has_its_route(scene).await
    }

    /// It may have told of what was wrong for a moment.
    async fn stays_protected(&self, scene: &Scene) -> Result<()> {
        sleep(QUIET).await;
        let app = scene.until_protected("shop").await?;
        ensure!(injected(&app) == injected(&self.app), "{app:?}");
        self.has_its_route(scene).await
    }

    async fn has_its_route(&self, scene: &Scene) -> Result<()> {
        let route = scene.ingress("shop-outpost-path").await?;
        ensure!(route.resource_version() == self.route.resource_version(), "{route:?}");
        Ok(())
    }

    /// It stays protected, and says that something is wrong, in a message with all these parts.
    async fn is_reported(&self, scene: &Scene, parts: &[&str]) -> Result<()> {
        let reported = scene.until_status("shop", "Refused").await?;
        scene.until_event("shop", "ForeignRoute").await?;
        let message = annotation(&reported, MESSAGE).unwrap_or_default();
        ensure!(parts.iter().all(|part| message.contains(part)), "{message}");
        ensure!(injected(&reported).len() == injected(&self.app).len() + 1, "{reported:?}");
        self.has_its_route(scene).await
    }
}

/// The rule of a route.
fn rule(host: &str, service: &str, port: u16) -> Value {
    rule_at(host, OUTPOST_PATH, service, port)
}

fn rule_at(host: &str, path: &str, service: &str, port: u16) -> Value {
    json!({ "host": host, "http": { "paths": [{
        "path": path,
        "pathType": "ImplementationSpecific",
        "backend": { "service": { "name": service, "port": { "number": port } } },
    }] } })
}

fn hosts_of(ingress: &Ingress) -> Vec<&str> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.filter_map(|rule| rule.host.as_deref()).collect()
}

/// Waits until `api` has the object `name` as `is_right` wants it.
async fn until<K: Object>(api: Api<K>, name: &str, is_right: impl Fn(&K) -> bool) -> Result<K> {
    eventually(format!("{name} as it should be"), PATIENCE, || async {
        let found = api.get(name).await?;
        ensure!(is_right(&found), "{found:?}");
        Ok(Some(found))
    })
    .await
}

fn leads_to(host: &'static str) -> impl Fn(&Service) -> bool {
    move |service| service.spec.as_ref().and_then(|spec| spec.external_name.as_deref()) == Some(host)
}

fn versions<K: ResourceExt>(objects: &[K]) -> Vec<(String, Option<String>)> {
    objects.iter().map(|object| (object.name_any(), object.resource_version())).collect()
}

/// Versions of all that is in the scene's namespace.
async fn all_versions(scene: &Scene) -> Result<Vec<(String, Option<String>)>> {
    let params = ListParams::default();
    Ok([
        versions(&scene.api::<Ingress>().list(&params).await?.items),
        versions(&scene.api::<Service>().list(&params).await?.items),
        versions(&scene.api::<ConfigMap>().list(&params).await?.items),
    ]
    .concat())
}

#[tokio::test]
async fn an_outpost_is_one_that_somebody_gave() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    tenancy.create::<Service>(outpost_service(&tenancy.home, "evil")).await?;
    let odd = [
        "evil",
        "http://evil.example.com:9000",
        "proxy-outpost@evil.example.com",
        "proxy-outpost/../evil",
        " proxy-outpost",
        "PROXY-OUTPOST",
        "proxy-outpost\n",
        "authentik-prd/proxy-outpost",
        "",
    ];
    for (number, outpost) in odd.into_iter().enumerate() {
        let name = format!("app-{number}");
        let app = tenancy.app(&name, &format!("{name}.example.com")).annotation(OUTPOST_KEY, outpost);
        tenancy.create::<Ingress>(app).await?;
        tenancy.until_refused(&name, &["names the outpost", "known are: proxy-outpost, staff"]).await?;
    }
    let services = tenancy.api::<Service>().list(&ListParams::default()).await?;
    assert_eq!(services.items.len(), 1, "{:?}", versions(&services.items));
    Ok(())
}

#[tokio::test]
async fn a_service_in_the_place_of_ours_leads_nobody_astray() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let theirs = external_name_service(&tenancy.home, OUTPOST_SERVICE, EVIL, 9000);
    let made = tenancy.create::<Service>(theirs).await?;
    tenancy.create::<Ingress>(tenancy.app("app", "a.example.com")).await?;
    tenancy.until_refused("app", &[OUTPOST_SERVICE, EVIL, "rename or delete it"]).await?;
    let found = tenancy.api::<Service>().get(OUTPOST_SERVICE).await?;
    assert_eq!(found.resource_version(), made.resource_version());

    // Whoever marks it as ours has it set right.
    let mark = json!({ "metadata": { "labels": {
        "app.kubernetes.io/managed-by": "ingress-sso",
        OUTPOST_KEY: "proxy-outpost",
    } } });
    tenancy.edit::<Service>(OUTPOST_SERVICE, &mark).await?;
    until(tenancy.api::<Service>(), OUTPOST_SERVICE, leads_to(OUTPOST_HOST)).await?;
    tenancy.until_status("app", "Protected").await?;
    Ok(())
}

#[tokio::test]
async fn what_leads_to_the_outpost_is_set_right_when_it_is_turned() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    install_crds(scene.plane()).await?;
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    let tenancy = Tenancy::on(scene).await?;
    tenancy.create::<Ingress>(tenancy.app("app", "a.example.com")).await?;
    tenancy.create::<Ingress>(tenancy.app("other", "b.example.com").class("traefik")).await?;
    tenancy.until_status("app", "Protected").await?;
    tenancy.until_status("other", "Protected").await?;

    tenancy.edit::<Service>(OUTPOST_SERVICE, &json!({ "spec": { "externalName": EVIL } })).await?;
    until(tenancy.api(), OUTPOST_SERVICE, leads_to(OUTPOST_HOST)).await?;

    let middlewares = tenancy.api::<Middleware>().list(&ListParams::default()).await?;
    let name = middlewares.items.first().context("no Middleware")?.name_any();
    let evil = json!({ "spec": { "forwardAuth": { "address": "http://evil.example.com/", "tls": {} } } });
    tenancy.edit::<Middleware>(&name, &evil).await?;
    until(tenancy.api::<Middleware>(), &name, |found| found.spec == middlewares.items[0].spec).await?;

    tenancy.delete::<ConfigMap>(HEADERS).await?;
    let evil = json!({
        "metadata": { "name": HEADERS, "labels": { "app.kubernetes.io/managed-by": "ingress-sso" } },
        "data": { "X-Original-URI": "/outpost.goauthentik.io/x" },
    });
    // The controller may have been faster.
    let _ = tenancy.create::<ConfigMap>(serde_json::from_value::<ConfigMap>(evil)?).await;
    let is_right = |found: &ConfigMap| {
        found.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>()
            == [("Forwarded", ""), ("X-Forwarded-Host", "$host"), ("X-Original-URI", "")]
    };
    until(tenancy.api(), HEADERS, is_right).await?;
    Ok(())
}

#[tokio::test]
async fn names_of_others_in_his_objects_reach_nothing_of_theirs() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let (scene, home) = (&tenancy.scene, &tenancy.home);
    scene.create::<Ingress>(scene.opted_in("shop", "shop.example.com")).await?;
    let victim = scene.until_protected("shop").await?;
    let config = json!({ "metadata": { "name": "config" }, "data": { "a": "b" } });
    scene.create::<ConfigMap>(serde_json::from_value::<ConfigMap>(config)?).await?;
    let before = all_versions(scene).await?;

    // A route that says that it is the victim's, a Service and a ConfigMap that say that they are ours.
    let owner = json!([{
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop", "controller": true,
        "uid": victim.uid(),
    }]);
    let mut route = ingress(home, "shop-outpost-path")
        .host("shop.example.com")
        .path(OUTPOST_PATH, "ImplementationSpecific")
        .backend("evil", 80)
        .label("app.kubernetes.io/managed-by", "ingress-sso")
        .label(OUTPOST_KEY, "proxy-outpost")
        .annotation("sso.djieno.com/app", "shop")
        .build();
    route.metadata.owner_references = serde_json::from_value(owner)?;
    tenancy.create::<Ingress>(route).await?;
    let named = [
        (SET_HEADERS, format!("{}/config", scene.namespace())),
        ("sso.djieno.com/app", format!("{}/shop", scene.namespace())),
        (
            "traefik.ingress.kubernetes.io/router.middlewares",
            format!("{}-x@kubernetescrd", scene.namespace()),
        ),
    ];
    tenancy.create::<Ingress>(tenancy.app("app", "a.example.com")).await?;
    let named: Value = named.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let apply = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "app", "annotations": named },
    });
    // In the controller's name, so that it passes for what the controller wrote.
    let as_us = PatchParams::apply("ingress-sso").force();
    tenancy.api::<Ingress>().patch("app", &as_us, &Patch::Apply(&apply)).await?;
    let protected = until(tenancy.api::<Ingress>(), "app", |app| {
        annotation(app, STATUS) == Some("Protected")
            && annotation(app, SET_HEADERS).is_some_and(|headers| headers.starts_with(&format!("{home}/")))
    })
    .await?;
    assert_eq!(annotation(&protected, "sso.djieno.com/app"), None);
    let off = json!({ "metadata": { "annotations": { OPT_IN: "false" } } });
    tenancy.edit::<Ingress>("app", &off).await?;
    eventually("nothing of ours at home", PATIENCE, || async {
        let left = tenancy.api::<Ingress>().list(&ListParams::default()).await?;
        ensure!(versions(&left.items).len() == 1, "{:?}", versions(&left.items));
        Ok(Some(()))
    })
    .await?;
    tokio::time::sleep(QUIET).await;
    assert_eq!(all_versions(scene).await?, before);
    Ok(())
}

#[tokio::test]
async fn what_he_made_himself_is_neither_changed_nor_deleted() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let home = &tenancy.home;
    let taken = tenancy.create::<Ingress>(ingress(home, "app-outpost-path").host("own.example.com")).await?;
    let config = json!({ "metadata": { "name": HEADERS }, "data": { "a": "b" } });
    let config = tenancy.create::<ConfigMap>(serde_json::from_value::<ConfigMap>(config)?).await?;
    tenancy.create::<Ingress>(tenancy.app("app", "a.example.com")).await?;
    // Whichever of the two it finds first.
    let parts = ["this controller did not make", "rename or delete it"];
    tenancy.until_refused("app", &parts).await?;
    tenancy.edit::<Ingress>("app", &json!({ "metadata": { "annotations": { OPT_IN: null } } })).await?;
    let is_left_alone = |app: &Ingress| injected(app).is_empty();
    until(tenancy.api::<Ingress>(), "app", is_left_alone).await?;
    tokio::time::sleep(QUIET).await;
    let now = tenancy.api::<Ingress>().get("app-outpost-path").await?;
    assert_eq!(now.resource_version(), taken.resource_version());
    let now = tenancy.api::<ConfigMap>().get(HEADERS).await?;
    assert_eq!(now.resource_version(), config.resource_version());
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_protected_stays_where_it_is() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let scene = &tenancy.scene;
    // Old, and on a host of its own.
    let old = tenancy
        .create::<Ingress>(
            ingress(&tenancy.home, "old")
                .host("own.example.com")
                .path(OUTPOST_PATH, "ImplementationSpecific"),
        )
        .await?;
    sleep(Duration::from_millis(1100)).await;
    scene.create::<Ingress>(scene.opted_in("shop", "shop.example.com")).await?;
    let victim = scene.until_protected("shop").await?;
    let protection = injected(&victim).len();

    let mut later = tenancy.app("later", "shop.example.com").annotation(OUTPOST_KEY, "staff").build();
    later.metadata.creation_timestamp = ingress("x", "x").created(1).build().metadata.creation_timestamp;
    let made = tenancy.create::<Ingress>(later).await?;
    assert!(made.creation_timestamp() > old.creation_timestamp(), "the API server says when");
    tenancy.until_refused("later", &["shop.example.com", "is already protected through the outpost"]).await?;
    assert_eq!(scene.ingress("shop").await?.resource_version(), victim.resource_version());
    tenancy.delete::<Ingress>("later").await?;

    // A younger one with the same rule is behind the route of the victim, as ingress-nginx sorts them.
    let rule = |path: &str, path_type: &str| {
        ingress(&tenancy.home, "young").host("shop.example.com").path(path, path_type).backend("evil", 80)
    };
    tenancy.create::<Ingress>(rule(OUTPOST_PATH, "ImplementationSpecific")).await?;
    scene.stays::<Ingress>("shop").await?;
    tenancy.delete::<Ingress>("young").await?;

    let turned = json!({ "spec": { "rules": [{ "host": "shop.example.com", "http": old.spec.context("spec")?.rules.context("rules")?[0].http }] } });
    tenancy.edit::<Ingress>("old", &turned).await?;
    let reported = scene.until_status("shop", "Refused").await?;
    scene.until_event("shop", "ForeignRoute").await?;
    assert_eq!(injected(&reported).len(), protection + 1, "it stays protected, and says why: {reported:?}");
    tenancy.delete::<Ingress>("old").await?;
    scene.until_protected("shop").await?;

    for (path, path_type, is_opted_in, is_canary) in [
        (OUTPOST_PATH, "Prefix", "false", "false"),
        ("/outpost.goauthentik.io/", "ImplementationSpecific", "false", "false"),
        ("/outpost.goauthentik.io/auth", "Prefix", "true", "false"),
        (OUTPOST_PATH, "ImplementationSpecific", "false", "true"),
    ] {
        let theirs = rule(path, path_type).annotation(OPT_IN, is_opted_in).annotation(CANARY, is_canary);
        tenancy.create::<Ingress>(theirs).await?;
        let reported = scene.until_status("shop", "Refused").await?;
        assert_eq!(injected(&reported).len(), protection + 1, "{reported:?}");
        tenancy.delete::<Ingress>("young").await?;
        scene.until_protected("shop").await?;
    }

    tenancy.create::<Ingress>(rule("/", "Prefix").annotation(CANARY, "true")).await?;
    scene.until_event("shop", "CanaryOfOthers").await?;
    scene.until_protected("shop").await?;
    Ok(())
}

#[tokio::test]
async fn a_route_that_he_turns_while_his_app_is_refused_takes_nobodys_host() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let victim = tenancy.older_app_and_victim().await?;
    let before = tenancy.api::<Ingress>().get("app-outpost-path").await?;
    tenancy.edit::<Ingress>("app", &json!({ "metadata": { "annotations": { OPT_IN: "yes" } } })).await?;
    tenancy.until_status("app", "Refused").await?;

    let to_evil = [rule("a.example.com", "evil", 80), rule(SHOP, "evil", 80)];
    tenancy.turn_route(json!({ "canary": "false" }), "proxy-outpost", &to_evil).await?;
    let is_as_before = |route: &Ingress| {
        let (now, then) = (&route.metadata, &before.metadata);
        route.spec == before.spec && now.labels == then.labels && now.annotations == then.annotations
    };
    until(tenancy.api(), "app-outpost-path", is_as_before).await?;
    victim.stays_protected(&tenancy.scene).await?;

    // By its label through another outpost, on a host that his app asks for.
    let hosts = ["a.example.com", SHOP].map(|host| rule_at(host, "/", "app", 80));
    tenancy.edit::<Ingress>("app", &json!({ "spec": { "rules": hosts } })).await?;
    let to_staff = [rule("a.example.com", "authentik-staff", 9000), rule(SHOP, "authentik-staff", 9000)];
    tenancy.turn_route(json!({}), "staff", &to_staff).await?;
    until(tenancy.api(), "app-outpost-path", |route: &Ingress| hosts_of(route) == ["a.example.com"]).await?;
    victim.stays_protected(&tenancy.scene).await
}

#[tokio::test]
async fn a_route_that_he_turns_while_his_app_is_kept_from_going_is_reported() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let victim = tenancy.older_app_and_victim().await?;
    let finalizer = json!({ "metadata": { "finalizers": ["evil.example.com/never"] } });
    tenancy.edit::<Ingress>("app", &finalizer).await?;
    tenancy.delete::<Ingress>("app").await?;
    tenancy.turn_route(json!({}), "proxy-outpost", &[rule(SHOP, "evil", 80)]).await?;
    victim.is_reported(&tenancy.scene, &["app-outpost-path", "not as this controller would make it"]).await?;
    tenancy.edit::<Ingress>("app", &json!({ "metadata": { "finalizers": null } })).await?;
    tenancy.scene.until_protected("shop").await?;
    victim.has_its_route(&tenancy.scene).await
}

#[tokio::test]
async fn a_service_of_his_that_he_turns_is_reported_to_whom_his_route_serves() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let scene = &tenancy.scene;
    let right = external_name_service(&tenancy.home, OUTPOST_SERVICE, OUTPOST_HOST, 9000);
    tenancy.create::<Service>(right).await?;
    tenancy.create::<Ingress>(tenancy.app("app", SHOP)).await?;
    tenancy.until_status("app", "Protected").await?;
    scene.create::<Ingress>(scene.opted_in("shop", SHOP)).await?;
    let protected = scene.until_protected("shop").await?;
    tenancy.edit::<Service>(OUTPOST_SERVICE, &json!({ "spec": { "externalName": EVIL } })).await?;
    let reported = scene.until_status("shop", "Refused").await?;
    let message = annotation(&reported, MESSAGE).unwrap_or_default();
    assert!(message.contains("app-outpost-path"), "{message}");
    assert_eq!(injected(&reported).len(), injected(&protected).len() + 1, "{reported:?}");
    Ok(())
}

#[tokio::test]
async fn an_app_that_is_protected_elsewhere_takes_nobodys_host() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let scene = &tenancy.scene;
    for (name, outpost) in [("app", "proxy-outpost"), ("old", "staff")] {
        let app = tenancy.app(name, &format!("{name}.example.com")).annotation(OUTPOST_KEY, outpost);
        tenancy.create::<Ingress>(app).await?;
        tenancy.until_status(name, "Protected").await?;
    }
    let victim = Victim::new(scene).await?;
    for (name, status) in [("app", "Protected"), ("old", "Refused")] {
        let hosts = [&format!("{name}.example.com"), SHOP].map(|host| rule_at(host, "/", name, 80));
        tenancy.edit::<Ingress>(name, &json!({ "spec": { "rules": hosts } })).await?;
        let is_told = |app: &Ingress| {
            annotation(app, STATUS) == Some(status)
                && annotation(app, "nginx.ingress.kubernetes.io/auth-url")
                    .is_some_and(|url| status == "Refused" || url.contains("$host"))
        };
        let told = until(tenancy.api::<Ingress>(), name, is_told).await?;
        let message = annotation(&told, MESSAGE).unwrap_or_default();
        assert!(status == "Protected" || message.contains("is already protected through"), "{message}");
        victim.is_as_it_was(scene).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_he_keeps_from_going_holds_up_nobody() -> Result<()> {
    let tenancy = Tenancy::on(Scene::alone(PROGRAM).await?).await?;
    let (scene, client) = (&tenancy.scene, tenancy.scene.client());
    tenancy.create::<Ingress>(tenancy.app("app", "a.example.com")).await?;
    tenancy.until_status("app", "Protected").await?;
    let finalizer = json!({ "metadata": { "finalizers": ["evil.example.com/never"] } });
    tenancy.edit::<Ingress>("app-outpost-path", &finalizer).await?;
    tenancy.edit::<Service>(OUTPOST_SERVICE, &finalizer).await?;
    tenancy.edit::<ConfigMap>(HEADERS, &finalizer).await?;
    let before = Writes::settled(&client, &["ingresses", "services", "configmaps"], QUIET).await?;
    tenancy.edit::<Ingress>("app", &json!({ "metadata": { "annotations": { OPT_IN: null } } })).await?;
    until(tenancy.api::<Ingress>(), "app-outpost-path", |route| route.metadata.deletion_timestamp.is_some())
        .await?;

    scene.create::<Ingress>(scene.opted_in("shop", "shop.example.com")).await?;
    scene.until_protected("shop").await?;
    let writes = Writes::settled(&client, &["ingresses", "services", "configmaps"], QUIET).await?;
    let deletes: u64 = ["ingresses", "services", "configmaps"]
        .iter()
        .map(|resource| writes.count("DELETE", resource) - before.count("DELETE", resource))
        .sum();
    assert!(deletes <= 6, "{}", &writes - &before);

    // On a host of somebody else's it is reported, since it can be turned; whether the watch or the answer to the delete tells of
    // it first is up to chance.
    for number in 0..5 {
        let (name, host) = (format!("other-{number}-outpost-path"), format!("late-{number}.example.com"));
        let mut route = ingress(&tenancy.home, &name)
            .host(&host)
            .path(OUTPOST_PATH, "ImplementationSpecific")
            .backend("evil", 80)
            .label("app.kubernetes.io/managed-by", "ingress-sso")
            .annotation("sso.djieno.com/app", &format!("other-{number}"))
            .build();
        route.metadata.finalizers = Some(vec!["evil.example.com/never".to_owned()]);
        tenancy.create::<Ingress>(route).await?;
        let is_going = |route: &Ingress| route.metadata.deletion_timestamp.is_some();
        until(tenancy.api::<Ingress>(), &name, is_going).await?;
        let late = format!("late-{number}");
        scene.create::<Ingress>(scene.opted_in(&late, &host)).await?;
        let reported = scene.until_status(&late, "Refused").await?;
        let message = annotation(&reported, MESSAGE).unwrap_or_default();
        assert!(message.contains(&name) && message.contains("keeps it from going"), "{message}");
        let nobody = json!({ "metadata": { "finalizers": null } });
        tenancy.edit::<Ingress>(&name, &nobody).await?;
        scene.until_protected(&late).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_ingress_without_room_for_a_status_is_told_of_in_an_event() -> Result<()> {
    let tenancy = Tenancy::new().await?;
    let app = tenancy.app("full", "a.example.com").annotation("example.com/full", &"x".repeat(262_000));
    tenancy.create::<Ingress>(app).await?;
    let events: Api<Event> = Api::namespaced(tenancy.scene.client(), &tenancy.home);
    eventually("an Event that says why", PATIENCE, || async {
        let events = events.list(&ListParams::default()).await?.items;
        let notes: Vec<_> = events.into_iter().filter_map(|event| event.note).collect();
        let parts = ["metadata.annotations", "Too long", "take out annotations"];
        ensure!(notes.iter().any(|note| parts.iter().all(|part| note.contains(part))), "{notes:?}");
        Ok(Some(()))
    })
    .await?;
    // It goes on as it was, and so do the others.
    let full = tenancy.api::<Ingress>().get("full").await?;
    assert!(injected(&full).is_empty());
    tenancy.create::<Ingress>(tenancy.app("app", "b.example.com")).await?;
    tenancy.until_status("app", "Protected").await?;
    Ok(())
}

#[tokio::test]
async fn many_broken_ingresses_cost_a_write_each_and_hold_up_nobody() -> Result<()> {
    const MANY: u64 = 200;
    let tenancy = Tenancy::on(Scene::alone(PROGRAM).await?).await?;
    let (scene, client) = (&tenancy.scene, tenancy.scene.client());
    let long = "\"x\n".repeat(30_000);
    let before = Writes::settled(&client, &["ingresses"], QUIET).await?;
    for number in 0..MANY {
        let app = tenancy.app(&format!("broken-{number}"), &format!("b{number}.example.com"));
        let app = match number % 4 {
            0 => app.annotation(OPT_IN, "yes"),
            1 => app.annotation(OUTPOST_KEY, &long),
            2 => app.annotation("nginx.ingress.kubernetes.io/auth-url", "https://evil.example.com"),
            _ => app.class("unknown"),
        };
        tenancy.create::<Ingress>(app).await?;
    }
    scene.create::<Ingress>(scene.opted_in("shop", "shop.example.com")).await?;
    scene.until_protected("shop").await?;
    for number in 0..MANY {
        tenancy.until_status(&format!("broken-{number}"), "Refused").await?;
    }
    let writes = &Writes::settled(&client, &["ingresses"], QUIET).await? - &before;
    assert_eq!(writes.count("APPLY", "ingresses"), MANY + 1, "{writes}");
    // All Ingresses, and one route.
    assert_eq!(writes.total(), 2 * MANY + 3, "{writes}");
    Ok(())
}
