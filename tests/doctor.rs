//! What the doctor finds in a good cluster and in a bad one, held against a real API server, and what it cannot see.

use anyhow::{Context, Result};
use ingress_sso::commands::{NEEDED_OWN_RIGHTS, NEEDED_RIGHTS};
use ingress_sso_testbed::account;
use ingress_sso_testbed::apply::apply;
use ingress_sso_testbed::builders::{ingress, namespace, outpost_service, service_to};
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider};
use ingress_sso_testbed::port;
use ingress_sso_testbed::scene::{OPT_IN, PATIENCE, Scene};
use ingress_sso_testbed::skip::skip;
use ingress_sso_testbed::traefik::install_crds;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::task::spawn_blocking;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");
const PAGE: &str = include_str!("../docs/doctor.md");
const MANIFESTS: &str = include_str!("../deploy/install.yaml");

/// Namespace, `ServiceAccount`, `ClusterRole` and Deployment of the manifests all bear it.
const NAME: &str = "ingress-sso";
const AUTHENTIK: &str = "authentik-prd";
const SERVICE: &str = "ak-outpost-proxy-outpost";

/// What the doctor printed, and its exit code.
struct Seen {
    text: String,
    code: i32,
}

/// Runs the doctor, with the scene's namespace called `shop` in what it prints.
async fn doctor(scene: &Scene, kubeconfig: &Path, args: &[&str]) -> Result<Seen> {
    doctor_with(scene, kubeconfig, args, &[]).await
}

async fn doctor_with(scene: &Scene, kubeconfig: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Seen> {
    let mut command = Command::new(PROGRAM);
    command.arg("doctor").args(args).env("KUBECONFIG", kubeconfig).envs(env.iter().copied());
    // This thread has the outpost to serve meanwhile.
    let output = spawn_blocking(move || command.output()).await??;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    let text = text.replace(scene.namespace(), "shop");
    Ok(Seen { text, code: output.status.code().context("no exit code")? })
}

/// What is in the manifests, after `change`.
fn manifests(change: impl Fn(&mut Value)) -> Result<String> {
    let documents = MANIFESTS.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    let mut list = Vec::new();
    for document in documents {
        let mut document = document?;
        if !document.is_null() {
            change(&mut document);
            list.push(document);
        }
    }
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": list }).to_string())
}

async fn install(scene: &Scene, args: &[&str], change: impl Fn(&mut Value)) -> Result<()> {
    let changed = manifests(|object| {
        if object["kind"] == "Deployment" {
            object["spec"]["template"]["spec"]["containers"][0]["args"] = json!(args);
        }
        change(object);
    })?;
    kubectl_with_input(scene.plane().kubeconfig(), &["apply", "-f", "-"], &changed).await?;
    Ok(())
}

/// There is no kubelet to run the Pod, and so nobody else to say this.
async fn say_ready(scene: &Scene) -> Result<()> {
    let status = r#"{"status":{"replicas":2,"readyReplicas":2}}"#;
    let args =
        ["patch", "deployment", "-n", NAME, NAME, "--subresource=status", "--type=merge", "-p", status];
    kubectl(scene.plane().kubeconfig(), &args).await?;
    Ok(())
}

/// The Pod of an ingress-nginx, and its `ConfigMap`.
async fn install_nginx(scene: &Scene, args: &[&str], risk_level: &str) -> Result<()> {
    let (client, name) = (scene.client(), "ingress-nginx");
    apply(&Api::<Namespace>::all(client.clone()), &namespace(name)).await?;
    let settings: ConfigMap = serde_json::from_value(json!({
        "metadata": { "namespace": name, "name": "settings" },
        "data": { "annotations-risk-level": risk_level },
    }))?;
    apply(&Api::namespaced(client, name), &settings).await?;
    let args = [&["--configmap=$(POD_NAMESPACE)/settings"], args].concat();
    create_pod(scene, name, "controller", &json!({ "app.kubernetes.io/name": name }), &args).await
}

/// An address of this machine that the API server takes for an endpoint, which it does with no loopback address. No packet
/// is sent.
fn own_address() -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified() => Ok(address),
        other => anyhow::bail!("the machine has no address but {other}"),
    }
}

/// An outpost as authentik deploys it, behind its Service, with a provider for each host, and the same over TLS. Nothing
/// listens at its port for metrics.
async fn deploy_outpost(scene: &Scene, address: Ipv4Addr, hosts: &[&str]) -> Result<[Outpost; 2]> {
    let client = scene.client();
    let providers = hosts.iter().map(|host| Provider::forward_single(&format!("https://{host}")));
    let providers = providers.collect::<Result<Vec<_>>>()?;
    // Of a Go outpost the host is what X-Forwarded-Host says, whatever the address of the API server.
    let outpost = Outpost::start((address, 0).into(), Flavour::Go, providers.clone()).await?;
    let (secure, _) = Outpost::start_tls((address, 0).into(), Flavour::Go, providers).await?;
    apply(&Api::<Namespace>::all(client.clone()), &namespace(AUTHENTIK)).await?;
    let service = outpost_service(AUTHENTIK, "proxy-outpost");
    apply(&Api::<Service>::namespaced(client.clone(), AUTHENTIK), &service).await?;
    let (_, mut slice) = service_to(AUTHENTIK, SERVICE, SocketAddrV4::new(address, outpost.address().port()));
    let more = [("https", secure.address().port()), ("http-metrics", port::free()?)];
    slice.ports.get_or_insert_default().extend(more.map(|(name, port)| EndpointPort {
        name: Some(name.to_owned()),
        port: Some(port.into()),
        ..EndpointPort::default()
    }));
    // The API server proxies to Pods only, which it looks at.
    run_pod(scene, AUTHENTIK, "outpost", address).await?;
    for endpoint in &mut slice.endpoints {
        endpoint.target_ref = Some(serde_json::from_value(
            json!({ "kind": "Pod", "namespace": AUTHENTIK, "name": "outpost" }),
        )?);
    }
    apply(&Api::<EndpointSlice>::namespaced(client, AUTHENTIK), &slice).await?;
    Ok([outpost, secure])
}

/// A Pod that has this address, as a kubelet would say.
async fn run_pod(scene: &Scene, namespace: &str, name: &str, address: Ipv4Addr) -> Result<()> {
    create_pod(scene, namespace, name, &json!({}), &[]).await?;
    let status = json!({ "status": { "podIP": address, "podIPs": [{ "ip": address }] } }).to_string();
    let args = ["patch", "pod", "-n", namespace, name, "--subresource=status", "--type=merge", "-p", &status];
    kubectl(scene.plane().kubeconfig(), &args).await?;
    Ok(())
}

/// A Pod in a namespace whose `ServiceAccount` nobody else makes, which the admission of Pods wants.
async fn create_pod(scene: &Scene, namespace: &str, name: &str, labels: &Value, args: &[&str]) -> Result<()> {
    let account: ServiceAccount =
        serde_json::from_value(json!({ "metadata": { "namespace": namespace, "name": "default" } }))?;
    apply(&Api::namespaced(scene.client(), namespace), &account).await?;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "controller", "image": "controller", "args": args }],
        },
    }))?;
    apply(&Api::namespaced(scene.client(), namespace), &pod).await
}

/// The controller with the rights and the arguments of the Deployment.
async fn start_controller(scene: &Scene, args: &[&str]) -> Result<Controller> {
    let kubeconfig = scene.plane().service_account_kubeconfig(NAME, NAME).await?;
    let controller = Controller::builder(PROGRAM)
        .kubeconfig(&kubeconfig)
        .env("POD_NAME", "ingress-sso-0")
        .args(args)
        .args(["--leader-elect=true", "--lease-namespace", NAME])
        .start()?;
    controller.wait_ready(PATIENCE).await?;
    Ok(controller)
}

#[tokio::test]
async fn a_good_cluster() -> Result<()> {
    let address = match own_address() {
        Ok(address) => address,
        Err(error) => return skip("the doctor on a good cluster", &error),
    };
    let scene = Scene::alone(PROGRAM).await?;
    let args = ["--nginx-rejects-dot-segments"];
    install(&scene, &[&["run"], &args[..]].concat(), |_| {}).await?;
    say_ready(&scene).await?;
    install_nginx(&scene, &[], "High").await?;
    let [outpost, _secure] = deploy_outpost(&scene, address, &["app.example.com", "www.example.com"]).await?;
    let _controller = start_controller(&scene, &args).await?;
    scene.create::<Ingress>(scene.opted_in("app", "app.example.com")).await?;
    scene.until_protected("app").await?;

    let admin = scene.plane().kubeconfig();
    let seen = doctor(&scene, admin, &[]).await?;
    assert_eq!(seen.text, GOOD);
    assert_eq!(seen.code, 0);
    one_app(&scene, admin).await?;
    other_settings(&scene, admin).await?;
    other_outposts(&scene, admin).await?;
    few_rights(&scene).await?;
    viewer(&scene).await?;
    as_the_controller(&scene).await?;
    many_apps(&scene, admin).await?;
    out_of_scope(&scene, admin).await?;

    let requests = outpost.requests();
    let sent = requests.iter().flat_map(|recorded| &recorded.request.headers);
    let secrets: Vec<_> = sent
        .filter(|(name, _)| ["cookie", "authorization"].contains(&name.to_lowercase().as_str()))
        .collect();
    assert!(!requests.is_empty() && secrets.is_empty(), "{secrets:?}");
    Ok(())
}

const GOOD: &str = r#"✓ controller: Deployment ingress-sso/ingress-sso runs ghcr.io/djieno/ingress-sso:0.1.0 with "run --nginx-rejects-dot-segments", 2 of 2 Pods ready
✓ settings: those of the Deployment: --nginx-rejects-dot-segments
✓ rights: system:serviceaccount:ingress-sso:ingress-sso has all 25 that it needs
✓ leader election: ingress-sso-0 leads
✓ admission policies: none: a new app is open until the controller's first write to it; "ingress-sso admission" prints some that close it
✓ class nginx: taken for nginx, by its controller k8s.io/ingress-nginx; 1 app
✓ ingress-nginx: takes ExternalName Services
✓ ingress-nginx: takes auth-url, with the annotations-risk-level High
✓ outpost proxy-outpost: Service authentik-prd/ak-outpost-proxy-outpost, discovered, the default; it answers (asked through the API server)
✓ Ingress shop/app: protected by the outpost proxy-outpost, which serves app.example.com

10 good, 0 with a catch, 0 wrong
"#;

async fn one_app(scene: &Scene, admin: &Path) -> Result<()> {
    let seen = doctor(scene, admin, &["app", "-n", scene.namespace(), "-o", "json"]).await?;
    assert_eq!(seen.code, 0);
    let printed: Value = serde_json::from_str(&seen.text)?;
    let checks = printed["checks"].as_array().context("no checks")?;
    assert_eq!(checks.len(), 10, "{checks:#?}");
    let expected = json!({
        "level": "good",
        "subject": "Ingress shop/app",
        "finding": "protected by the outpost proxy-outpost, which serves app.example.com",
        "remedy": null,
    });
    assert_eq!(checks.last(), Some(&expected));

    let seen = doctor(scene, admin, &["none", "-n", scene.namespace()]).await?;
    assert_eq!(seen.code, 2);
    assert!(seen.text.contains("✗ Ingress shop/none: there is none\n"), "{}", seen.text);

    scene.create::<Ingress>(scene.app("plain", "plain.example.com")).await?;
    let seen = doctor(scene, admin, &["plain", "-n", scene.namespace()]).await?;
    assert_eq!(seen.code, 1);
    let command = "    kubectl annotate ingress -n shop plain sso.djieno.com/authentik=true\n";
    assert!(seen.text.contains(command), "{}", seen.text);
    Ok(())
}

/// What the API server says of an outpost that it cannot reach, and of one that speaks TLS.
async fn other_outposts(scene: &Scene, admin: &Path) -> Result<()> {
    for (address, finding) in [
        (
            "https://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9443",
            "✓ outpost x: https://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9443, given by --outpost, the \
             default; it answers (asked through the API server)",
        ),
        (
            "http://none.authentik-prd.svc.cluster.local:9000",
            "✗ outpost x: there is no Service authentik-prd/none",
        ),
        (
            "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9001",
            "✗ outpost x: the API server gets no answer from Service authentik-prd/ak-outpost-proxy-outpost: no service \
             port 9001 found",
        ),
        (
            "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9300",
            "✗ outpost x: the API server gets no answer from Service authentik-prd/ak-outpost-proxy-outpost: error trying \
             to reach service: dial tcp",
        ),
        (
            "http://none.example.invalid:9000",
            "- outpost x: not checked: its name none.example.invalid does not resolve here, and it is no Service of the \
             cluster",
        ),
    ] {
        let seen = doctor(scene, admin, &[&format!("--outpost=x={address}")]).await?;
        assert!(seen.text.contains(finding), "no {finding:?} in {}", seen.text);
    }
    Ok(())
}

async fn other_settings(scene: &Scene, admin: &Path) -> Result<()> {
    let seen = doctor(scene, admin, &["--class", "nginx=nginx"]).await?;
    assert_eq!(seen.code, 1);
    for line in [
        "! settings: those given here are not those of the Deployment (--class, --nginx-rejects-dot-segments)",
        "✓ class nginx: taken for nginx, by --class; 1 app",
        "! outpost proxy-outpost: it answers 200 for paths such as",
        "Apps behind ingress-nginx: shop/app\n    Have the admin set the lines",
    ] {
        assert!(seen.text.contains(line), "no {line:?} in {}", seen.text);
    }
    let seen = doctor(scene, admin, &["--class", "nginx=apache"]).await?;
    assert_eq!(seen.code, 2);
    assert!(seen.text.starts_with("ingress-sso: --class \"nginx=apache\""), "{}", seen.text);
    Ok(())
}

/// The owner of a namespace, who sees nothing outside of it.
async fn few_rights(scene: &Scene) -> Result<()> {
    let name = scene.namespace();
    let rules = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["list"] },
        { "apiGroups": [""], "resources": ["services", "configmaps"], "verbs": ["list"] },
    ]);
    let kubeconfig = user(scene, "owner", rules).await?;
    let given = [
        "-n",
        name,
        "--class=nginx=nginx",
        "--nginx-rejects-dot-segments",
        "--outpost=proxy-outpost=http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000",
    ];
    let seen = doctor(scene, &kubeconfig, &given).await?;
    assert_eq!(seen.text, FEW_RIGHTS);
    assert_eq!(seen.code, 0);

    let kubeconfig = user(scene, "nobody", json!([])).await?;
    let seen = doctor(scene, &kubeconfig, &[]).await?;
    assert_eq!(seen.code, 2);
    let line = "✗ ingresses: no app is seen: you may not list ingresses.networking.k8s.io\n    kubectl auth can-i list \
                ingresses.networking.k8s.io -A\n";
    assert!(seen.text.contains(line), "{}", seen.text);
    Ok(())
}

const FEW_RIGHTS: &str = r#"- controller: not checked: you may not list deployments.apps
    kubectl auth can-i list deployments.apps -A
    it takes a ClusterRole with apiGroups: ["apps"], resources: [deployments], verbs: [list]
- rights: not checked: it is not known as whom the controller runs
- admission policies: not checked: you may not list mutatingadmissionpolicybindings.admissionregistration.k8s.io
    kubectl auth can-i list mutatingadmissionpolicybindings.admissionregistration.k8s.io -A
    it takes a ClusterRole with apiGroups: ["admissionregistration.k8s.io"], resources: [mutatingadmissionpolicybindings], verbs: [list]
- ingressclasses: not checked: it is not known who serves which class: you may not list ingressclasses.networking.k8s.io
    kubectl auth can-i list ingressclasses.networking.k8s.io -A
    it takes a ClusterRole with apiGroups: ["networking.k8s.io"], resources: [ingressclasses], verbs: [list]
- services: not checked: discovered outposts are not seen: you may not list services
    kubectl auth can-i list services -A
    it takes a ClusterRole with apiGroups: [""], resources: [services], verbs: [list]
- ingresses: not checked: routes and open neighbours in other namespaces are not seen: you may not list ingresses.networking.k8s.io
    kubectl auth can-i list ingresses.networking.k8s.io -A
    it takes a ClusterRole with apiGroups: ["networking.k8s.io"], resources: [ingresses], verbs: [list]
✓ class nginx: taken for nginx, by --class; 1 app
- ingress controllers: not checked: you may not list pods
    kubectl auth can-i list pods -A
    it takes a ClusterRole with apiGroups: [""], resources: [pods], verbs: [list]
- outpost proxy-outpost: not checked: its name does not resolve here, and you may not get services/proxy
    kubectl auth can-i get services --subresource=proxy -n authentik-prd
    it takes a Role with apiGroups: [""], resources: [services/proxy], verbs: [get]
✓ Ingress shop/app: protected by the outpost proxy-outpost; whether that serves app.example.com is not known

2 good, 0 with a catch, 0 wrong, 8 not checked
"#;

/// In its Pod the doctor has the controller's rights, and asks about its own.
async fn as_the_controller(scene: &Scene) -> Result<()> {
    let kubeconfig = scene.plane().service_account_kubeconfig(NAME, NAME).await?;
    let seen = doctor_with(scene, &kubeconfig, &[], &[("KUBERNETES_SERVICE_HOST", "10.96.0.1")]).await?;
    let line = "✓ rights: system:serviceaccount:ingress-sso:ingress-sso has all 22 that it needs\n";
    assert!(seen.text.contains(line), "{}", seen.text);
    let line = "- controller: not checked: you may not list deployments.apps\n";
    assert!(seen.text.contains(line), "{}", seen.text);
    Ok(())
}

/// Good apps are summed up where there are many, and others are not.
async fn many_apps(scene: &Scene, admin: &Path) -> Result<()> {
    for number in 0..11 {
        let app =
            scene.opted_in(&format!("app-{number}"), "www.example.com").path(&format!("/{number}"), "Prefix");
        scene.create::<Ingress>(app).await?;
    }
    scene.create::<Ingress>(scene.opted_in("odd", "odd.example.com").class("odd")).await?;
    scene.until_status("odd", "Refused").await?;
    for number in 0..11 {
        scene.until_protected(&format!("app-{number}")).await?;
    }
    let seen = doctor(scene, admin, &[]).await?;
    assert_eq!(seen.code, 2);
    let line = "✓ Ingresses: 12 are protected, and their outposts serve their hosts\n";
    assert!(seen.text.contains(line), "{}", seen.text);
    assert!(seen.text.contains("✗ Ingress shop/odd: refused (UnknownClass)"), "{}", seen.text);
    Ok(())
}

/// The controller of a Deployment that looks elsewhere serves none of these.
async fn out_of_scope(scene: &Scene, admin: &Path) -> Result<()> {
    install(scene, &["run", "--namespace=elsewhere"], |_| {}).await?;
    let seen = doctor(scene, admin, &["app", "-n", scene.namespace()]).await?;
    assert_eq!(seen.code, 2);
    let line = "✗ Ingress shop/app: it asks for protection, and the controller does not look into shop\n    run the \
                controller with --namespace=shop\n";
    assert!(seen.text.contains(line), "{}", seen.text);
    let seen = doctor(scene, admin, &[]).await?;
    assert!(!seen.text.contains("Ingress shop/app"), "{}", seen.text);
    Ok(())
}

/// Who may read, and may not ask what others may.
async fn viewer(scene: &Scene) -> Result<()> {
    let kubeconfig = user(scene, "viewer", json!([])).await?;
    let account = format!("--serviceaccount={}:viewer", scene.namespace());
    let role = "--clusterrole=system:aggregate-to-view";
    kubectl(scene.plane().kubeconfig(), &["create", "clusterrolebinding", "viewer", role, &account]).await?;
    let role = Api::<ClusterRole>::all(scene.client()).get("system:aggregate-to-view").await?;
    let viewer = account::user(scene.namespace(), "viewer");
    account::until_heeded(&scene.client(), &viewer, None, &role.rules.unwrap_or_default()).await?;
    let seen = doctor(scene, &kubeconfig, &[]).await?;
    assert_eq!(seen.code, 1);
    for line in [
        "✓ controller: Deployment ingress-sso/ingress-sso runs",
        "! rights: whether system:serviceaccount:ingress-sso:ingress-sso has all its rights is not known: you may not ask\n    \
         kubectl auth can-i create subjectaccessreviews.authorization.k8s.io -A\n",
        "- leader election: not checked: you may not get leases.coordination.k8s.io\n    kubectl auth can-i get \
         leases.coordination.k8s.io -n ingress-sso\n",
        "- Ingress shop/app: not checked: the IngressClasses could not be listed\n",
    ] {
        assert!(seen.text.contains(line), "no {line:?} in {}", seen.text);
    }
    Ok(())
}

/// A kubeconfig of a `ServiceAccount` that has these rights in the scene's namespace.
async fn user(scene: &Scene, name: &str, rules: Value) -> Result<PathBuf> {
    let namespace = scene.namespace();
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "namespace": namespace, "name": name } },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "namespace": namespace, "name": name }, "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "namespace": namespace, "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "namespace": namespace, "name": name }],
        },
    ] });
    kubectl_with_input(scene.plane().kubeconfig(), &["apply", "-f", "-"], &objects.to_string()).await?;
    let rules: Vec<PolicyRule> = serde_json::from_value(rules)?;
    let user = account::user(namespace, name);
    account::until_heeded(&scene.client(), &user, Some(namespace), &rules).await?;
    scene.plane().service_account_kubeconfig(namespace, name).await
}

#[tokio::test]
async fn a_bad_cluster() -> Result<()> {
    let address = match own_address() {
        Ok(address) => address,
        Err(error) => return skip("the doctor on a bad cluster", &error),
    };
    let scene = Scene::alone(PROGRAM).await?;
    install(&scene, &["run"], |object| {
        if object["kind"] == "ClusterRole" {
            object["rules"][0]["verbs"] = json!(["get", "list", "watch", "create", "delete"]);
            object["rules"][1]["verbs"] = json!(["get", "list", "watch", "patch", "delete"]);
        }
    })
    .await?;
    install_nginx(&scene, &["--disable-svc-external-name=true"], "Medium").await?;
    install_crds(scene.plane()).await?;
    scene.class("traefik", "traefik.io/ingress-controller").await?;
    apply(&Api::<Namespace>::all(scene.client()), &namespace("traefik")).await?;
    let args = ["--providers.kubernetesIngress.allowExternalNameServices=true"];
    create_pod(&scene, "traefik", "traefik", &json!({ "app.kubernetes.io/name": "traefik" }), &args).await?;
    let served = ["web.example.com", "other.example.com"];
    let _outposts = deploy_outpost(&scene, address, &served).await?;

    let controller = scene.start(scene.plane().kubeconfig(), &[])?;
    controller.wait_ready(PATIENCE).await?;
    for (name, host) in [
        ("no-provider", "no-provider.example.com"),
        ("opted-out", "opted-out.example.com"),
        ("stale", "web.example.com"),
    ] {
        scene.create::<Ingress>(scene.opted_in(name, host)).await?;
        scene.until_protected(name).await?;
    }
    let on_traefik = scene.opted_in("on-traefik", "other.example.com").class("traefik");
    scene.create::<Ingress>(on_traefik).await?;
    scene.until_protected("on-traefik").await?;
    controller.kill()?;
    for number in 1..=4 {
        let neighbour = scene.app(&format!("neighbour-{number}"), "no-provider.example.com");
        scene.create::<Ingress>(neighbour.path(&format!("/{number}"), "Prefix")).await?;
    }
    scene.annotate("opted-out", OPT_IN, None).await?;
    scene.annotate("stale", "sso.djieno.com/auth-route", Some("nowhere")).await?;
    scene.create::<Ingress>(scene.opted_in("new", "web.example.com")).await?;
    scene.create::<Ingress>(scene.opted_in("odd-class", "odd-class.example.com").class("odd")).await?;
    let odd_outpost = scene.opted_in("odd-outpost", "odd-outpost.example.com");
    scene.create::<Ingress>(odd_outpost.annotation("sso.djieno.com/outpost", "odd")).await?;
    scene.create::<Ingress>(scene.opted_in("routed", "routed.example.com")).await?;
    let by_hand = scene.app("by-hand", "routed.example.com").path("/outpost.goauthentik.io", "Prefix");
    scene.create::<Ingress>(by_hand).await?;
    // Where its Service would be there is another, of a kind that the controller does not watch.
    let client = scene.client();
    apply(&Api::<Namespace>::all(client.clone()), &namespace("taken")).await?;
    let (service, _) = service_to("taken", "authentik-proxy-outpost", SocketAddrV4::new(address, 80));
    apply(&Api::<Service>::namespaced(client.clone(), "taken"), &service).await?;
    let app = ingress("taken", "app").host("other.example.com").annotation(OPT_IN, "true").build();
    apply(&Api::<Ingress>::namespaced(client, "taken"), &app).await?;

    let seen = doctor(&scene, scene.plane().kubeconfig(), &[]).await?;
    assert_eq!(seen.text, BAD);
    assert_eq!(seen.code, 2);
    Ok(())
}

const BAD: &str = r#"✗ controller: Deployment ingress-sso/ingress-sso runs ghcr.io/djieno/ingress-sso:0.1.0 with "run", 0 of 2 Pods ready
    kubectl describe pods -n ingress-sso -l app.kubernetes.io/name=ingress-sso,app.kubernetes.io/component=controller
    kubectl logs -n ingress-sso deployment/ingress-sso
✗ rights: system:serviceaccount:ingress-sso:ingress-sso may not patch ingresses.networking.k8s.io, create services
    kubectl apply -f deploy/install.yaml
    kubectl auth can-i patch ingresses.networking.k8s.io -A --as=system:serviceaccount:ingress-sso:ingress-sso
! leader election: there is no Lease ingress-sso/ingress-sso, so nobody writes
    kubectl logs -n ingress-sso deployment/ingress-sso
✓ admission policies: none: a new app is open until the controller's first write to it; "ingress-sso admission" prints some that close it
✓ class nginx: taken for nginx, by its controller k8s.io/ingress-nginx; 7 apps
✗ class odd: 1 app of a class that has no IngressClass
    kubectl get ingressclasses
    or have the admin say who serves it with --class odd=DIALECT
✓ class traefik: taken for traefik, by its controller traefik.io/ingress-controller; 1 app
✗ ingress-nginx: Pod ingress-nginx/controller runs with --disable-svc-external-name, so the login route answers 503
    take --disable-svc-external-name out of its arguments
✗ ingress-nginx: ConfigMap ingress-nginx/settings has the annotations-risk-level Medium, with which auth-url is rejected
    kubectl patch configmap -n ingress-nginx settings --type=merge -p '{"data":{"annotations-risk-level":"High"}}'
! Traefik: takes ExternalName Services and --traefik-allows-external-name is off, so apps have no route to sign out
    run the controller with --traefik-allows-external-name
✓ outpost proxy-outpost: Service authentik-prd/ak-outpost-proxy-outpost, discovered, the default; it answers (asked through the API server)
! outpost proxy-outpost: it answers 200 for paths such as /outpost.goauthentik.io/../x and /outpost.goauthentik.iox: behind ingress-nginx, an app that cleans paths by itself can be reached so without a login. Apps behind ingress-nginx: shop/no-provider
    Have the admin set the lines of server-snippet that docs/data-planes.md has under "Dot segments" in the ConfigMap of ingress-nginx, and say so with --nginx-rejects-dot-segments
✗ outpost odd: it is not known, and apps name it: shop/odd-outpost
    correct the name there, or give the outpost with --outpost odd=URL
✓ Ingress shop/on-traefik: protected by the outpost proxy-outpost, which serves other.example.com
✓ Ingress shop/on-traefik: there is no route for /outpost.goauthentik.io, since Traefik takes ExternalName Services only where the admin allows them (and says so with --traefik-allows-external-name): the login works, and to sign out visitors open any page with ?X-authentik-logout=true
✗ Ingress shop/new: not as it should be, and the app is open: the controller would annotate Ingress shop/new; it has no status
    kubectl logs -n ingress-sso deployment/ingress-sso
✓ Ingress shop/new: the login route of web.example.com is that of app shop/stale, which claimed the host first
✓ Ingress shop/no-provider: protected by the outpost proxy-outpost
! Ingress shop/no-provider: Ingress shop/neighbour-1 serves no-provider.example.com as well and is open: it does not ask for protection
    kubectl annotate ingress -n shop neighbour-1 sso.djieno.com/authentik=true
! Ingress shop/no-provider: Ingress shop/neighbour-2 serves no-provider.example.com as well and is open: it does not ask for protection
    kubectl annotate ingress -n shop neighbour-2 sso.djieno.com/authentik=true
! Ingress shop/no-provider: Ingress shop/neighbour-3 serves no-provider.example.com as well and is open: it does not ask for protection
    kubectl annotate ingress -n shop neighbour-3 sso.djieno.com/authentik=true
! Ingress shop/no-provider: Ingress shop/neighbour-4 serves no-provider.example.com as well and is open: it does not ask for protection
    kubectl annotate ingress -n shop neighbour-4 sso.djieno.com/authentik=true
✗ Ingress shop/no-provider: the outpost "proxy-outpost" knows no application for no-provider.example.com
    In authentik, a proxy provider of the type "Forward auth (single application)" needs the External host https://no-provider.example.com and an application, and Applications > Outposts > proxy-outpost > Edit has to list that application
✗ Ingress shop/odd-class: refused (UnknownClass) and open to everybody: its class "odd" has no IngressClass object: correct spec.ingressClassName, or have the admin say who serves it with --class odd=DIALECT (it has no status: the controller has not seen this)
    kubectl get ingressclasses
✗ Ingress shop/odd-outpost: refused (UnknownOutpost) and open to everybody: annotation sso.djieno.com/outpost names the outpost "odd", which is not known; known are: proxy-outpost. Use one of these, or have the admin add it with --outpost odd=URL (it has no status: the controller has not seen this)
    kubectl annotate ingress -n shop odd-outpost sso.djieno.com/outpost=proxy-outpost --overwrite
✗ Ingress shop/opted-out: it no longer asks for protection: the controller would annotate Ingress shop/opted-out, delete Ingress shop/opted-out-outpost-path; its status says Protected
    kubectl logs -n ingress-sso deployment/ingress-sso
✗ Ingress shop/routed: refused (ForeignRoute) and open to everybody: Ingress shop/by-hand already routes /outpost.goauthentik.io of routed.example.com, but not to the outpost "proxy-outpost" (it leads to Service by-hand, which is no known outpost): point it there or delete it (it has no status: the controller has not seen this)
    kubectl get ingress -n shop by-hand -o yaml
✗ Ingress shop/stale: refused (InvalidAnnotation) and protected as before: annotation sso.djieno.com/auth-route is "nowhere"; write "host" or "direct" (its status says Protected: the controller has not seen this)
    kubectl annotate ingress -n shop stale sso.djieno.com/auth-route=host --overwrite
✗ Ingress taken/app: refused (ServiceNameTaken) and open to everybody: a Service taken/authentik-proxy-outpost exists that this controller did not make and that does not lead to ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local (it leads to Pods of its own): rename or delete it, or make it an ExternalName Service for that host (it has no status: the controller has not seen this)
    kubectl get service -n taken authentik-proxy-outpost -o yaml

8 good, 7 with a catch, 14 wrong
"#;

#[tokio::test]
async fn without_a_cluster_there_is_an_error_and_no_finding() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let nowhere = tempfile::tempdir()?;
    let seen = doctor(&scene, &nowhere.path().join("config"), &[]).await?;
    assert_eq!(seen.code, 2);
    assert!(seen.text.starts_with("ingress-sso: cannot find a cluster"), "{}", seen.text);

    let admin = std::fs::read_to_string(scene.plane().kubeconfig())?;
    let silent = nowhere.path().join("silent");
    let port = scene.plane().address().port();
    std::fs::write(&silent, admin.replace(&port.to_string(), &port::free()?.to_string()))?;
    let seen = doctor(&scene, &silent, &[]).await?;
    assert_eq!(seen.code, 2);
    assert!(seen.text.starts_with("ingress-sso: the API server does not answer"), "{}", seen.text);

    let stranger = scene.plane().kubeconfig_for_token("stranger", "no-token")?;
    let seen = doctor(&scene, &stranger, &[]).await?;
    assert_eq!(seen.code, 2);
    assert!(seen.text.contains("does not accept the credentials"), "{}", seen.text);
    Ok(())
}

#[test]
fn the_needed_rights_are_those_of_the_manifests() -> Result<()> {
    let documents = MANIFESTS.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    let documents = documents.collect::<Result<Vec<_>, _>>()?;
    for (kind, needed) in [("ClusterRole", &NEEDED_RIGHTS[..]), ("Role", &[NEEDED_OWN_RIGHTS])] {
        let role = documents.iter().find(|document| document["kind"] == kind);
        let rules: Vec<PolicyRule> = serde_json::from_value(role.context(kind)?["rules"].clone())?;
        let mut granted = BTreeSet::new();
        for rule in &rules {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    let verbs =
                        rule.verbs.iter().map(|verb| (group.as_str(), resource.as_str(), verb.as_str()));
                    granted.extend(verbs);
                }
            }
        }
        let needed = needed
            .iter()
            .flat_map(|(group, resource, verbs)| verbs.iter().map(|verb| (*group, *resource, *verb)));
        assert_eq!(granted, needed.collect(), "{kind}");
    }
    Ok(())
}

/// What docs/doctor.md shows is what people see.
#[test]
fn the_sample_in_the_page_is_real() {
    let sample = PAGE.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a sample");
    assert!(sample.lines().count() > 5);
    for line in sample.lines() {
        assert!(BAD.lines().any(|real| real == line), "nobody sees {line:?}");
    }
}
