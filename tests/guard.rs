//! The policies that say who may do what to an app's annotations, in a real API server: with accounts that have what RBAC gives
//! them, and a controller that has what it is shipped with.

use anyhow::{Context, Result, bail, ensure};
use ingress_sso::cli::Policy;
use ingress_sso::commands::admission_guards;
use ingress_sso::config::Settings;
use ingress_sso::contract::{AUTH_URL, CLOSED_URL, DEFAULT_PREFIX, ROUTER_MIDDLEWARES};
use ingress_sso_testbed::admission::{printed, until_closing};
use ingress_sso_testbed::control_plane::kubeconfig;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, OUTPOST, PATIENCE, STATUS, Scene, annotation};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");
const INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml");

/// Namespace and `ServiceAccount` of the controller, as it is shipped.
const CONTROLLER: &str = "ingress-sso";

const ALL: &str = "--policy=closing,status,opening";

/// A cluster with the policies, a controller with the rights that it is shipped with, and two other accounts.
struct World {
    scene: Scene,
    controller: Controller,
    /// May edit Ingresses, and nothing more.
    owner: Api<Ingress>,
    /// The same, and open apps and write statuses.
    trusted: Api<Ingress>,
    controller_kubeconfig: PathBuf,
}

impl World {
    async fn new(policies: &str) -> Result<Self> {
        let scene = Scene::alone(PROGRAM).await?;
        install_crds(scene.plane()).await?;
        let admin = scene.plane().kubeconfig();
        kubectl(admin, &["apply", "-f", INSTALL]).await?;
        scene.class("traefik", "traefik.io/ingress-controller").await?;
        let printed = printed(PROGRAM, &[policies])?;
        kubectl_with_input(admin, &["apply", "--warnings-as-errors", "-f", "-"], &printed).await?;
        kubectl_with_input(admin, &["apply", "-f", "-"], &accounts(scene.namespace())).await?;
        let controller_kubeconfig = scene.plane().service_account_kubeconfig(CONTROLLER, CONTROLLER).await?;
        let (owner, trusted) = (account(&scene, "owner").await?, account(&scene, "trusted").await?);
        heeded(&scene, &owner, policies).await?;
        let controller = scene.start(&controller_kubeconfig, &["--outpost", OUTPOST])?;
        controller.wait_ready(PATIENCE).await?;
        Ok(Self { scene, controller, owner, trusted, controller_kubeconfig })
    }

    /// An app of the owner's that is protected.
    async fn app(&self, name: &str) -> Result<Ingress> {
        let app = self.scene.opted_in(name, &format!("{name}.example.com")).build();
        self.owner.create(&PostParams::default(), &app).await?;
        self.scene.until_protected(name).await
    }
}

/// Two accounts that may edit Ingresses and their statuses, of which one has the rights that the policies ask about.
fn accounts(namespace: &str) -> String {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "owner" },
        "rules": [{
            "apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingresses/status"], "verbs": ["*"],
        }],
    });
    let account = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": name, "namespace": namespace },
        })
    };
    let binding = |account: &str, role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": format!("{account}-{role}"), "namespace": namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
        })
    };
    let items = [
        role,
        account("owner"),
        account("trusted"),
        binding("owner", "owner"),
        binding("trusted", "owner"),
        binding("trusted", "ingress-sso-opening"),
        binding("trusted", "ingress-sso-status"),
    ];
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// Ingresses of the scene's namespace in the hands of an account.
async fn account(scene: &Scene, name: &str) -> Result<Api<Ingress>> {
    let path = scene.plane().service_account_kubeconfig(scene.namespace(), name).await?;
    let client = Client::try_from(kubeconfig::config(&path).await?)?;
    Ok(Api::namespaced(client, scene.namespace()))
}

/// The API server takes a moment to heed a policy.
async fn heeded(scene: &Scene, owner: &Api<Ingress>, policies: &str) -> Result<()> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let asks = scene.opted_in("heeded", "heeded.example.com").build();
    scene.create::<Ingress>(scene.opted_in("heeded", "heeded.example.com").class("none")).await?;
    if policies.contains("closing") {
        until_closing(scene, "nginx", AUTH_URL).await?;
        until_closing(scene, "traefik", ROUTER_MIDDLEWARES).await?;
    }
    eventually("the policies to hold", PATIENCE, || async {
        if policies.contains("status") {
            let app = scene.opted_in("try", "try.example.com").annotation(STATUS, "Protected").build();
            denied("to say Protected", owner.create(&dry, &app).await, &[STATUS])?;
        }
        if policies.contains("opening") {
            let mut other = asks.clone();
            other.annotations_mut().insert(OPT_IN.to_owned(), "false".to_owned());
            denied("to open", owner.replace("heeded", &dry, &other).await, &[OPT_IN])?;
        }
        Ok(Some(()))
    })
    .await?;
    scene.delete::<Ingress>("heeded").await
}

fn annotations(key: &str, value: Option<&str>) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}

async fn edit(api: &Api<Ingress>, name: &str, patch: &Value) -> kube::Result<Ingress> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// The API server has to turn a request away, by a policy, with all of `words`.
fn denied<T>(what: &str, result: kube::Result<T>, words: &[&str]) -> Result<()> {
    match result {
        Ok(_) => bail!("{what} is allowed"),
        Err(kube::Error::Api(status)) => {
            ensure!(
                status.code == 403 && status.message.contains("ValidatingAdmissionPolicy"),
                "{what}: {status}"
            );
            let missing: Vec<_> = words.iter().filter(|word| !status.message.contains(**word)).collect();
            ensure!(missing.is_empty(), "{what}: no {missing:?} in {:?}", status.message);
            Ok(())
        }
        Err(error) => bail!("{what}: {error}"),
    }
}

/// What was applied to have this app at first, and nothing else.
fn bare(app: &Ingress) -> Ingress {
    let mut bare = app.clone();
    bare.metadata.annotations = Some([(OPT_IN.to_owned(), "true".to_owned())].into());
    bare.metadata.managed_fields = None;
    bare.metadata.resource_version = None;
    bare
}

#[tokio::test]
async fn only_the_controller_says_how_an_app_is() -> Result<()> {
    let world = World::new(ALL).await?;
    let (scene, owner) = (&world.scene, &world.owner);
    let app = world.app("app").await?;
    let key = |name: &str| format!("{DEFAULT_PREFIX}/{name}");
    for (key, value) in [
        (STATUS.to_owned(), "Refused"),
        (MESSAGE.to_owned(), "all is well"),
        (key("headers-uid"), "1"),
        (key("app"), "other"),
    ] {
        let words =
            [&format!("Ingress {}/app", scene.namespace()), &key, &format!("{value:?}"), "leave it out"];
        let result = edit(owner, "app", &annotations(&key, Some(value))).await;
        denied(&key, result, &words.map(|word| word as &str))?;
        let clone = scene.opted_in("clone", "clone.example.com").annotation(&key, value).build();
        denied(&key, owner.create(&PostParams::default(), &clone).await, &["Ingress", "/clone", &key])?;
    }
    let mut status = scene.ingress("app").await?;
    status.annotations_mut().insert(STATUS.to_owned(), "Refused".to_owned());
    let result = owner.replace_status("app", &PostParams::default(), &status).await;
    denied("by the status of the Ingress", result, &[STATUS])?;
    scene.stays::<Ingress>("app").await?;

    // What says nothing of it goes on working, and so does what leaves it out.
    edit(owner, "app", &json!({ "metadata": { "labels": { "team": "red" } } })).await?;
    edit(owner, "app", &annotations("example.com/own", Some("x"))).await?;
    for what in [STATUS, "all"] {
        if what == "all" {
            owner.replace("app", &PostParams::default(), &bare(&app)).await.context("replace")?;
        } else {
            edit(owner, "app", &annotations(what, None)).await?;
        }
        scene.until_protected("app").await?;
    }

    // Whoever has the right is not held back, and the controller has the last word.
    edit(&world.trusted, "app", &annotations(MESSAGE, Some("mine"))).await?;
    eventually("the controller's word", PATIENCE, || async {
        Ok((annotation(&scene.ingress("app").await?, MESSAGE) != Some("mine")).then_some(()))
    })
    .await
}

#[tokio::test]
async fn only_who_may_opens_an_app() -> Result<()> {
    let world = World::new(ALL).await?;
    let (scene, owner) = (&world.scene, &world.owner);
    let app = world.app("app").await?;
    let key = |name: &str| format!("{DEFAULT_PREFIX}/{name}");
    let nginx = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    let own = "https://example.com/200";
    for (key, value) in [
        (OPT_IN.to_owned(), None),
        (OPT_IN.to_owned(), Some("false")),
        (key("outpost"), Some("other")),
        (key("auth-route"), Some("direct")),
        (key("scheme"), Some("http")),
        (AUTH_URL.to_owned(), Some(own)),
        (nginx("auth-signin"), Some(own)),
        (nginx("auth-response-headers"), Some("X-Own")),
        (nginx("auth-proxy-set-headers"), Some("default/own")),
        // A check that is worth less without them.
        (nginx("auth-signin"), None),
        (nginx("auth-response-headers"), None),
        (nginx("auth-proxy-set-headers"), None),
        // Ways past the check: all that docs/admission.md has.
        (nginx("auth-always-set-cookie"), Some("yes")),
        (nginx("auth-cache-duration"), Some("200;")),
        (nginx("auth-cache-key"), Some("x")),
        (nginx("auth-method"), Some("POST")),
        (nginx("auth-request-redirect"), Some("$host")),
        (nginx("auth-snippet"), Some("return 200;")),
        (nginx("canary"), Some("true")),
        (nginx("configuration-snippet"), Some("auth_request off;")),
        (nginx("custom-http-errors"), Some("401")),
        (nginx("default-backend"), Some("app")),
        (nginx("rewrite-target"), Some("/")),
        (nginx("satisfy"), Some("any")),
        (nginx("server-snippet"), Some("return 200;")),
        (nginx("ssl-passthrough"), Some("true")),
        (nginx("upstream-vhost"), Some("other.example.com")),
    ] {
        let value_in_words = format!("{:?}", value.unwrap_or_default());
        let words = [&key, "would be", &value_in_words, "leave it", "the verb open on apps", DEFAULT_PREFIX];
        denied(&key, edit(owner, "app", &annotations(&key, value)).await, &words)?;
        if key != OPT_IN {
            denied(
                &key,
                edit(owner, "app", &json!({ "metadata": { "annotations": { &key: "x" } } })).await,
                &[],
            )?;
        }
        let apply = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "annotations": { &key: value.unwrap_or("false") } },
        });
        let params = PatchParams::apply("argocd-controller").force();
        let result = owner.patch("app", &params, &Patch::Apply(&apply)).await;
        denied(&format!("{key} by force"), result, &[&key])?;
        let patch = Patch::Merge(annotations(&key, value));
        let result = owner.patch_status("app", &PatchParams::default(), &patch).await;
        denied(&format!("{key} by the status"), result, &[&key])?;
    }
    // What a message cannot hold.
    for value in ["false\n".to_owned(), "x".repeat(6000)] {
        let result = edit(owner, "app", &annotations(&key("outpost"), Some(&value))).await;
        denied("a long story", result, &[&key("outpost"), "would be another", "the verb open on apps"])?;
    }
    let class = json!({ "spec": { "ingressClassName": "other" } });
    denied("another class", edit(owner, "app", &class).await, &["its class", "\"other\""])?;
    scene.stays::<Ingress>("app").await?;
    assert_eq!(annotation(&scene.ingress("app").await?, AUTH_URL), annotation(&app, AUTH_URL));

    // What opens nothing goes on working.
    let mut moved = scene.ingress("app").await?;
    let rules = moved.spec.as_mut().and_then(|spec| spec.rules.as_mut()).context("no rules")?;
    rules[0].host = Some("moved.example.com".to_owned());
    owner.replace("app", &PostParams::default(), &moved).await.context("another host")?;
    scene.until_protected("app").await?;
    let mut replaced = bare(&scene.ingress("app").await?);
    replaced.metadata.annotations = bare(&app).metadata.annotations;
    let closed = owner.replace("app", &PostParams::default(), &replaced).await.context("replace")?;
    assert_eq!(annotation(&closed, AUTH_URL), Some(CLOSED_URL));
    scene.until_protected("app").await?;
    let plain = scene.app("plain", "plain.example.com").build();
    owner.create(&PostParams::default(), &plain).await?;
    edit(owner, "plain", &annotations(OPT_IN, Some("true"))).await.context("ask for protection")?;
    scene.until_protected("plain").await?;
    denied("opt out again", edit(owner, "plain", &annotations(OPT_IN, None)).await, &[])?;
    edit(owner, "plain", &annotations(OPT_IN, Some("yes")))
        .await
        .context("an invalid value opens nothing")?;
    owner.delete("plain", &DeleteParams::default()).await.context("delete")?;
    eventually("the route to go with its app", PATIENCE, || async {
        Ok((!scene.names::<Ingress>().await?.contains(&"plain-outpost-path".to_owned())).then_some(()))
    })
    .await?;

    // Whoever has the right is not held back.
    let direct = annotations(&key("auth-route"), Some("direct"));
    edit(&world.trusted, "app", &direct).await?;
    eventually("the other route", PATIENCE, || async {
        let app = scene.ingress("app").await?;
        Ok(annotation(&app, AUTH_URL).is_some_and(|url| url.contains("ak-outpost-")).then_some(()))
    })
    .await?;
    edit(&world.trusted, "app", &annotations(OPT_IN, None)).await?;
    scene.until_untouched("app").await?;
    scene.until_only(&["app"]).await?;
    edit(owner, "app", &annotations(AUTH_URL, Some(own))).await.context("an app that asks for nothing")?;
    Ok(())
}

/// A Middleware of the owner's that is called like one of the controller's, and asks nobody.
#[tokio::test]
async fn nobody_puts_a_middleware_in_the_place_of_the_controllers() -> Result<()> {
    let world = World::new(ALL).await?;
    let (scene, owner) = (&world.scene, &world.owner);
    let app = scene.opted_in("app", "app.example.com").class("traefik").build();
    owner.create(&PostParams::default(), &app).await?;
    let app = scene.until_protected("app").await?;
    let ours = annotation(&app, ROUTER_MIDDLEWARES).context("no list")?.to_owned();
    let forged = "x-authentik-mine-0123456789@kubernetescrd";
    for list in [forged.to_owned(), format!("{forged},{ours}"), format!("strip@file, {forged}")] {
        let result = edit(owner, "app", &annotations(ROUTER_MIDDLEWARES, Some(&list))).await;
        denied(&list, result, &[ROUTER_MIDDLEWARES, &list, "leave that out"])?;
    }
    scene.stays::<Ingress>("app").await?;
    // One that was there from the start does not take the place of the controller's either.
    let both = scene.opted_in("both", "both.example.com").class("traefik");
    owner.create(&PostParams::default(), &both.annotation(ROUTER_MIDDLEWARES, forged).build()).await?;
    let both = scene.until_protected("both").await?;
    let list = annotation(&both, ROUTER_MIDDLEWARES).context("no list")?.to_owned();
    let (first, rest) = list.split_once(',').context("one entry")?;
    assert_eq!(rest, forged);
    for list in [forged.to_owned(), format!("{forged},{first}")] {
        let result = edit(owner, "both", &annotations(ROUTER_MIDDLEWARES, Some(&list))).await;
        denied(&list, result, &[ROUTER_MIDDLEWARES, "leave that out"])?;
    }
    edit(owner, "both", &annotations(ROUTER_MIDDLEWARES, Some(first))).await.context("without the other")?;
    let own = format!("{ours},strip@file");
    edit(owner, "app", &annotations(ROUTER_MIDDLEWARES, Some(&own))).await.context("one more entry")?;
    let without = edit(owner, "app", &annotations(ROUTER_MIDDLEWARES, Some("strip@file"))).await?;
    assert_eq!(annotation(&without, ROUTER_MIDDLEWARES), Some("closed@ingress-sso,strip@file"));
    eventually("its own entry and theirs", PATIENCE, || async {
        Ok((annotation(&scene.ingress("app").await?, ROUTER_MIDDLEWARES) == Some(own.as_str())).then_some(()))
    })
    .await
}

/// Nothing of the cluster's own needs a right for it.
#[tokio::test]
async fn a_namespace_goes_with_all_its_apps() -> Result<()> {
    let world = World::new(ALL).await?;
    world.app("app").await?;
    let namespaces: Api<Namespace> = Api::all(world.scene.client());
    namespaces.delete(world.scene.namespace(), &DeleteParams::default()).await?;
    eventually("the namespace to be gone", PATIENCE, || async {
        Ok(namespaces.get_opt(world.scene.namespace()).await?.is_none().then_some(()))
    })
    .await
}

/// With the account of the controller, as the Job in the documentation does it.
#[tokio::test]
async fn a_cleanup_is_not_held_back() -> Result<()> {
    let world = World::new("--policy=status,opening").await?;
    world.app("app").await?;
    world.controller.kill()?;
    let output = Command::new(PROGRAM)
        .args(["cleanup", "--all-namespaces", "--lease-namespace", CONTROLLER, "--outpost", OUTPOST])
        .env("KUBECONFIG", &world.controller_kubeconfig)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let app = world.scene.until_untouched("app").await?;
    assert_eq!(annotation(&app, OPT_IN), Some("true"));
    world.scene.until_only(&["app"]).await
}

/// The API server checks the types of all expressions, and says so in the status.
#[tokio::test]
async fn the_expressions_are_sound() -> Result<()> {
    let world = World::new(ALL).await?;
    let admin = world.scene.plane().kubeconfig();
    eventually("the types to be checked", PATIENCE, || async {
        let text = kubectl(admin, &["get", "validatingadmissionpolicies", "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().context("no list")?;
        ensure!(items.len() == 2, "{text}");
        for item in items {
            ensure!(
                item["status"]["observedGeneration"] == item["metadata"]["generation"],
                "{}",
                item["status"]
            );
            let warnings = &item["status"]["typeChecking"]["expressionWarnings"];
            ensure!(warnings.is_null(), "{warnings:#}");
        }
        Ok(Some(()))
    })
    .await
}

#[test]
fn each_policy_is_printed_for_whom_it_is_asked_for() -> Result<()> {
    let args = ["--policy=opening,status", "--controller=a/b,c/d", "--annotation-prefix=sso.example.com"];
    let text = printed(PROGRAM, &args)?;
    let settings =
        Settings { keys: ingress_sso::contract::Keys::new("sso.example.com"), ..Settings::default() };
    let accounts = ["system:serviceaccount:a:b".to_owned(), "system:serviceaccount:c:d".to_owned()];
    assert_eq!(text, admission_guards(&settings, &[Policy::Status, Policy::Opening], &accounts));
    assert!(!text.contains(DEFAULT_PREFIX) && text.contains("system:serviceaccount:c:d"), "{text}");
    assert_eq!(text.matches("kind: ClusterRole\n").count(), 2);
    for bad in ["ingress-sso", "A/b", "a/b/c"] {
        let output =
            Command::new(PROGRAM).args(["admission", "--policy=status", "--controller", bad]).output()?;
        let error = String::from_utf8(output.stderr)?;
        assert!(output.status.code() == Some(2) && error.contains("NAMESPACE/NAME"), "{error}");
    }
    Ok(())
}
