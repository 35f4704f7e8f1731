//! The Helm chart, rendered by the real Helm and held against a real API server: its objects are accepted for all sorts of
//! values, they mean what the values say, and what is generated from the chart is up to date.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso::cli::RunArgs;
use ingress_sso_testbed::account;
use ingress_sso_testbed::admission::printed;
use ingress_sso_testbed::builders::{namespace, outpost_service};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::helm::helm;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::scene::{OPT_IN, PATIENCE, Scene};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, PodSpec, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tokio::sync::{Mutex, OnceCell};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/chart");

const README: &str = include_str!("../README.md");
const VALUES: &str = include_str!("../deploy/chart/values.yaml");
const SCHEMA: &str = include_str!("../deploy/chart/values.schema.json");

/// Release, and its namespace, as in install.yaml.
const NAME: &str = "ingress-sso";

/// All sorts of values, by the name of what they are for.
const SETS: [(&str, &str); 5] = [
    ("defaults", "{}"),
    ("minimal", include_str!("chart/minimal.yaml")),
    ("pinned", include_str!("chart/pinned.yaml")),
    ("namespaced", include_str!("chart/namespaced.yaml")),
    ("everything", include_str!("chart/everything.yaml")),
];

/// What the objects need and the chart does not make: other namespaces, and the kinds of the Prometheus operator.
const SURROUNDINGS: &str = include_str!("chart/surroundings.yaml");

/// How many programs run at once.
const AT_ONCE: usize = 4;

/// Held while there are admission policies, which are for the whole cluster, and by those who would notice.
static POLICIES: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn what_is_generated_from_the_chart_is_up_to_date() -> Result<()> {
    let rules = ["--set=prometheusRule.enabled=true", "--show-only=templates/prometheusrule.yaml"];
    for (file, generated) in [
        ("install.yaml", read("namespace.yaml")? + &template(NAME, NAME, "{}", &[]).await?),
        ("prometheus-rules.yaml", template(NAME, NAME, "{}", &rules).await?),
        ("grafana-dashboard.json", read("chart/files/grafana-dashboard.json")?),
    ] {
        assert!(read(file)? == generated, "deploy/{file} is not what the chart says: run `make manifests`");
    }
    Ok(())
}

/// The program is who writes them, and the chart says for which classes, prefix and account.
#[tokio::test]
async fn the_chart_has_the_admission_policies_that_the_program_prints() -> Result<()> {
    let all = "--policy=closing,status,opening";
    let placeholders = [
        all,
        "--annotation-prefix=prefix.invalid",
        "--class=url.invalid=nginx,middleware.invalid=traefik",
        "--controller=namespace/account",
    ];
    let generated = printed(PROGRAM, &placeholders)?;
    let file = "chart/files/admission.yaml";
    assert!(read(file)? == generated, "deploy/{file} is not what the program prints: run `make manifests`");

    let values = |closing: &str, more: &str| {
        format!(
            "admission: {{ closing: {closing}, status: {{ enabled: true }}, opening: {{ enabled: true }}, {more}"
        )
    };
    let closing = "{ enabled: true }";
    for (values, args) in [
        (
            values(
                closing,
                "controllers: [team-a/sso] }\nannotationPrefix: sso.example.com\n\
                 classes: { nginx: traefik-nginx, internal: traefik, edge: traefik }",
            ),
            &[
                all,
                "--annotation-prefix=sso.example.com",
                "--class=nginx=traefik-nginx,internal=traefik,edge=traefik",
                "--controller=sso/demo-ingress-sso,team-a/sso",
            ][..],
        ),
        (
            values(closing, "}\nclasses: { nginx: nginx }\nserviceAccount: { name: robot }"),
            &[all, "--class=nginx=nginx", "--controller=sso/robot"],
        ),
        (values(closing, "}"), &[all, "--controller=sso/demo-ingress-sso"]),
        (values("{}", "}"), &["--policy=status,opening", "--controller=sso/demo-ingress-sso"]),
    ] {
        let show = ["--show-only=templates/admission.yaml"];
        let of_chart = objects(&template("demo", "sso", &values, &show).await?)?;
        let of_program = objects(&printed(PROGRAM, args)?)?;
        assert_eq!(without_labels(of_chart), without_labels(of_program), "{values}");
    }
    let none = template("demo", "sso", "{}", &[]).await?;
    assert!(!none.contains("AdmissionPolicy"), "{none}");
    Ok(())
}

/// In the order of their names. The labels of a release are its own, but the one by which the policies are found.
fn without_labels(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let without = |mut object: Value| {
        let labels = object["metadata"]["labels"].take();
        assert_eq!(labels["app.kubernetes.io/name"], NAME, "{object}");
        (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
    };
    objects.into_iter().map(without).collect()
}

#[tokio::test]
async fn kustomize_has_all_of_install_yaml() -> Result<()> {
    let nowhere = Path::new("/dev/null");
    let by_kustomize = objects(&kubectl(nowhere, &["kustomize", DEPLOY]).await?)?;
    assert_eq!(keyed(by_kustomize), keyed(objects(&read("install.yaml")?)?));
    Ok(())
}

#[tokio::test]
async fn the_kustomization_in_the_readme_patches_it() -> Result<()> {
    let base = "https://github.com/djieno/ingress-sso//deploy?ref=v";
    let mut examples = README.split("```yaml\n").filter_map(|rest| rest.split("```").next());
    let example = examples.find(|block| block.contains(base)).context("no kustomization")?;
    let dir = tempfile::tempdir()?;
    // It takes no absolute path.
    let up = "../".repeat(dir.path().components().count());
    let here = example.replace(&format!("{base}{}", env!("CARGO_PKG_VERSION")), &format!("{up}{DEPLOY}"));
    assert!(!here.contains(base), "of another version: {example}");
    fs::write(dir.path().join("kustomization.yaml"), here)?;
    let patched = kubectl(Path::new("/dev/null"), &["kustomize", &dir.path().to_string_lossy()]).await?;
    let run = run_args(&container(&objects(&patched)?)?)?;
    let expected = RunArgs::of_container(&["--default-outpost=proxy-outpost".to_owned()], &[])?;
    assert_eq!(format!("{run:?}"), format!("{expected:?}"));
    Ok(())
}

/// As in Chart.yaml, so as in image and labels, which tests/deploy.rs looks at.
#[test]
fn the_chart_is_of_this_release() -> Result<()> {
    let chart: Value = serde_saphyr::from_str(&read("chart/Chart.yaml")?)?;
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn helm_finds_nothing_to_say_against_it() -> Result<()> {
    for (set, values) in SETS {
        let file = Values::new(values)?;
        let said = helm(None, &["lint", "--strict", "--values", file.path(), CHART]).await;
        let said = said.with_context(|| set.to_owned())?;
        let complaints: Vec<_> = said.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(complaints, ["[INFO] Chart.yaml: icon is recommended"], "{set}");
    }
    Ok(())
}

/// `GitOps` renders without a cluster, and one that is there must not make a difference.
#[test]
fn no_template_looks_into_the_cluster() -> Result<()> {
    for file in fs::read_dir(format!("{CHART}/templates"))? {
        let path = file?.path();
        let text = fs::read_to_string(&path)?;
        for function in ["lookup", ".Capabilities", "randAlpha", "uuidv4", "genSelfSignedCert", "genCA"] {
            assert!(!text.contains(function), "{function} in {}", path.display());
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_api_server_accepts_all_objects_of_all_sorts_of_values_without_a_warning() -> Result<()> {
    let plane = surroundings().await?;
    for (set, values) in SETS {
        let namespace = release_namespace(set);
        let rendered = template("demo", &namespace, values, &[]).await?;
        let args = ["apply", "--dry-run=server", "--server-side", "--warnings-as-errors", "-f", "-"];
        let applied = kubectl_with_input(plane.kubeconfig(), &args, &rendered).await;
        let applied = applied.with_context(|| format!("{set}\n{rendered}"))?;
        assert_eq!(applied.lines().count(), objects(&rendered)?.len(), "{set}: {applied}");
    }
    Ok(())
}

/// Its namespaces enforce it; see tests/deploy.rs for Pods that it turns away.
#[tokio::test]
async fn pod_security_restricted_admits_the_pod_of_all_sorts_of_values() -> Result<()> {
    let plane = surroundings().await?;
    for (set, values) in SETS {
        let namespace = release_namespace(set);
        let rendered = render("demo", &namespace, values).await?;
        for object in rendered.iter().filter(|object| object["kind"] == "ServiceAccount") {
            apply(plane, object).await?;
        }
        let deployment: Deployment = only(&rendered)?;
        let mut pod = serde_json::to_value(deployment.spec.context("no spec")?.template)?;
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("pod");
        pod["metadata"]["namespace"] = json!(namespace);
        let args = ["create", "--dry-run=server", "--warnings-as-errors", "-f", "-"];
        let admitted = kubectl_with_input(plane.kubeconfig(), &args, &pod.to_string()).await;
        admitted.with_context(|| set.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn the_arguments_mean_what_the_values_say() -> Result<()> {
    let expected = [
        ("defaults", vec![]),
        ("minimal", vec!["--leader-elect=false"]),
        (
            "pinned",
            vec!["--outpost=far=https://outpost.example.com", "--outpost-ca=/etc/ingress-sso/outpost-ca.crt"],
        ),
        (
            "namespaced",
            vec![
                "--namespace=team-a,team-b",
                "--outpost-namespace=team-b,authentik-prd",
                "--outpost-ca=/etc/ingress-sso/outpost-ca.crt",
            ],
        ),
        (
            "everything",
            vec![
                "--annotation-prefix=sso.example.com",
                "--outpost=first=http://ak-outpost-first.authentik-prd.svc.cluster.test:9001",
                "--outpost=second=https://outpost.example.com",
                "--outpost=third=http://outpost.example.org/",
                "--default-outpost=first",
                "--class=internal.example.com=traefik",
                "--class=nginx=traefik-nginx",
                "--class=other=nginx",
                "--auth-route=direct",
                "--nginx-rejects-dot-segments",
                "--traefik-allows-external-name",
                "--traefik-trusts-forward-headers",
                "--traefik-safe-naming",
                "--cluster-domain=cluster.test",
                "--namespace=team-a,team-b",
                "--outpost-namespace=authentik-prd,authentik-test",
                "--outpost-ca=/etc/ingress-sso/outpost-ca.crt",
                "--lease-name=sso-lease",
                "--lease-namespace=leases",
                "--concurrency=32",
                "--listen=[::]:9090",
                "--log-format=json",
            ],
        ),
    ];
    for ((set, values), (name, expected)) in SETS.into_iter().zip(expected) {
        assert_eq!(set, name);
        let run = run_args(&container(&render("demo", NAME, values).await?)?)?;
        run.plan.settings().with_context(|| set.to_owned())?;
        run.scopes()?;
        run.lease(NAME)?;
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(format!("{run:?}"), format!("{:?}", RunArgs::of_container(&expected, &[])?), "{set}");
    }
    Ok(())
}

#[tokio::test]
async fn every_setting_of_the_program_can_be_said_by_values() -> Result<()> {
    let mut said = BTreeSet::new();
    for (_, values) in SETS.into_iter().chain([("probe", "probe: false")]) {
        let args = container(&render("demo", NAME, values).await?)?.args.unwrap_or_default();
        let flags =
            args.iter().filter_map(|arg| arg.strip_prefix("--")?.split('=').next().map(str::to_owned));
        said.extend(flags);
    }
    let command = RunArgs::augment_args(clap::Command::new("run"));
    let flags: BTreeSet<String> =
        command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
    assert_eq!(said, flags);
    Ok(())
}

#[tokio::test]
async fn the_level_of_the_log_goes_into_the_filter_that_the_program_has_by_itself() -> Result<()> {
    let filter = |level: &str| format!("warn,ingress_sso={level},kube_client=off");
    let usual = format!("const DEFAULT_FILTER: &str = \"{}\";", filter("info"));
    let telemetry = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/telemetry/mod.rs"))?;
    assert!(telemetry.contains(&usual), "no {usual}");
    for (level, expected) in [("info", None), ("trace", Some(filter("trace")))] {
        let rendered = render("demo", NAME, &format!("log: {{ level: {level} }}")).await?;
        let env = container(&rendered)?.env.unwrap_or_default();
        let found =
            env.into_iter().find(|variable| variable.name == "RUST_LOG").and_then(|found| found.value);
        assert_eq!(found, expected);
    }
    Ok(())
}

#[tokio::test]
async fn authorities_of_outposts_are_mounted_read_only_where_the_program_looks_for_them() -> Result<()> {
    for (set, kind, source, key) in [
        ("pinned", "configMap", "trust-bundle", "bundle.pem"),
        ("namespaced", "secret", "authority", "authority.pem"),
        ("everything", "configMap", "sso-outpost-ca", "ca.crt"),
    ] {
        let rendered = render("demo", NAME, values_of(set)).await?;
        let pod = pod(&rendered)?;
        let mounts = container(&rendered)?.volume_mounts.unwrap_or_default();
        let [mount] = mounts.as_slice() else { bail!("{set}: not one mount: {mounts:?}") };
        assert_eq!((mount.mount_path.as_str(), mount.read_only), ("/etc/ingress-sso", Some(true)));
        let [volume] = &pod.volumes.unwrap_or_default()[..] else { bail!("{set}: not one volume") };
        assert_eq!(volume.name, mount.name);
        let volume = serde_json::to_value(volume)?;
        let name = if kind == "secret" { "secretName" } else { "name" };
        assert_eq!(volume[kind][name], source, "{set}");
        assert_eq!(volume[kind]["items"], json!([{ "key": key, "path": "outpost-ca.crt" }]), "{set}");
    }
    Ok(())
}

/// Otherwise a new authority would not be known before some later restart.
#[tokio::test]
async fn pods_are_replaced_when_the_authority_in_the_values_changes() -> Result<()> {
    let mut seen = BTreeSet::new();
    for word in ["one", "two"] {
        let values = json!({ "outpostCA": { "pem": format!("-----BEGIN CERTIFICATE-----\n{word}\n") } });
        let deployment: Deployment = only(&render("demo", NAME, &values.to_string()).await?)?;
        seen.insert(serde_json::to_string(&deployment.spec.context("no spec")?.template)?);
    }
    assert_eq!(seen.len(), 2);
    Ok(())
}

/// A value that is in the file and in no template would be ignored in silence.
#[tokio::test]
async fn each_value_has_an_effect() -> Result<()> {
    let defaults: Value = serde_saphyr::from_str(VALUES)?;
    let sets = SETS
        .map(|(_, values)| serde_saphyr::from_str::<Value>(values))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let paths = leaves(&defaults);
    stream::iter(&paths)
        .map(|path| has_effect(path, &defaults, &sets))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Fails where it makes no difference, in any set that has another value, whether it has that or the default.
async fn has_effect(path: &str, defaults: &Value, sets: &[Value]) -> Result<()> {
    let default = defaults.pointer(path).context("no default")?;
    let switched = default.as_bool().map(|value| with(json!({}), path, &json!(!value)));
    let others = sets.iter().chain(&switched);
    for set in others.filter(|set| set.pointer(path).is_some_and(|value| value != default)) {
        let before = render("demo", NAME, &set.to_string()).await?;
        let after = render("demo", NAME, &with(set.clone(), path, default).to_string()).await;
        // Where it fails, the values do not go together, which is an effect.
        if after.ok() != Some(before) {
            return Ok(());
        }
    }
    bail!("{path} has no effect, or no set has another value of it")
}

#[test]
fn each_value_has_its_place_in_the_schema_and_nothing_else_has() -> Result<()> {
    let schema: Value = serde_json::from_str(SCHEMA)?;
    let mut defaults: Value = serde_saphyr::from_str(VALUES)?;
    // A chart that has this one in it gives it this.
    defaults["global"] = json!({});
    same_keys("", &schema, &defaults)
}

/// Values that people would write, and what they are told: the value, and what is wrong with it.
const BAD: [(&str, &str); 25] = [
    ("replica: 2", "additional properties 'replica' not allowed"),
    ("replicas: two", "at '/replicas': got string, want integer"),
    ("replicas: -1", "at '/replicas': minimum: got -1, want 0"),
    ("replicas: 2\nleaderElect: false", "leaderElect is false and replicas is more than 1"),
    ("image: { digest: 4bf5122f }", "at '/image/digest': '4bf5122f' does not match"),
    ("image: { version: 1.0.0 }", "at '/image': additional properties 'version' not allowed"),
    ("image: { pullPolicy: Sometimes }", "at '/image/pullPolicy': value must be one of 'Always'"),
    ("annotationPrefix: Sso", "at '/annotationPrefix': 'Sso' does not match"),
    ("outposts: [a=http://a.example.com]", "at '/outposts': got array, want object"),
    ("outposts: { a: a.example.com }", "at '/outposts/a': 'a.example.com' does not match"),
    (
        "outposts: { a: 'http://a.example.com/x' }",
        "at '/outposts/a': 'http://a.example.com/x' does not match",
    ),
    ("outposts: { A: 'http://a.example.com' }", "at '/outposts': additional properties 'A' not allowed"),
    (
        "classes: { nginx: treafik }",
        "at '/classes/nginx': value must be one of 'nginx', 'traefik-nginx', 'traefik'",
    ),
    ("authRoute: both", "at '/authRoute': value must be one of 'host', 'direct'"),
    ("probe: 'false'", "at '/probe': got string, want boolean"),
    ("traefik: { safenaming: true }", "at '/traefik': additional properties 'safenaming' not allowed"),
    ("namespaces: team-a", "at '/namespaces': got string, want array"),
    ("namespaces: [team-a]", "namespaces is set and outpostNamespaces is not"),
    ("outpostCA: { pem: /etc/ca.crt }", "at '/outpostCA/pem': '/etc/ca.crt' does not match"),
    ("outpostCA: { secret: { name: a }, configMap: { name: b } }", "outpostCA has more than one of"),
    ("concurrency: 0", "at '/concurrency': minimum: got 0, want 1"),
    ("listen: 8080", "at '/listen': got number, want string"),
    ("log: { level: verbose }", "at '/log/level': value must be one of 'error'"),
    (
        "commonLabels: { app.kubernetes.io/managed-by: ingress-sso }",
        "at '/commonLabels/app.kubernetes.io~1managed-by': false schema",
    ),
    ("podMonitor: { interval: 30 }", "at '/podMonitor/interval': got number, want string"),
];

#[tokio::test]
async fn bad_values_are_errors_that_name_them() -> Result<()> {
    for (values, expected) in BAD {
        let Err(error) = template("demo", NAME, values, &[]).await else { bail!("taken: {values}") };
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{values}\n{error}");
    }
    Ok(())
}

#[tokio::test]
async fn the_values_in_its_readme_are_good_ones() -> Result<()> {
    let readme = read("chart/README.md")?;
    let examples: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 3, "{examples:?}");
    for values in examples {
        let run = run_args(&container(&render("demo", NAME, values).await?)?)?;
        run.plan.settings().with_context(|| values.to_owned())?;
    }
    Ok(())
}

/// As tools that make documentation of values read it, and people who call `helm show values`.
#[test]
fn each_value_is_explained_above_it() -> Result<()> {
    let schema: Value = serde_json::from_str(SCHEMA)?;
    let (mut parents, mut is_explained, mut explained): (Vec<(usize, &str)>, bool, usize) =
        Default::default();
    for line in VALUES.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some((key, _)) = text.split_once(':').filter(|_| !text.starts_with(['#', '-'])) {
            parents.retain(|(of_parent, _)| *of_parent < indent);
            parents.push((indent, key));
            let path: String = parents.iter().flat_map(|(_, key)| ["/properties/", key]).collect();
            if schema.pointer(&path).is_some_and(|schema| schema.get("properties").is_none()) {
                ensure!(is_explained, "no comment `# -- …` above {line:?}");
                explained += 1;
            }
        }
        is_explained = text.starts_with("# -- ") || is_explained && text.starts_with('#');
    }
    ensure!(explained > 60, "only {explained} values were found");
    Ok(())
}

/// What the schema takes, the program takes, and the reverse.
#[tokio::test]
async fn the_schema_refuses_no_more_than_the_program() -> Result<()> {
    for values in [
        "outposts: { a: 'https://a.example.com:9443' }",
        "classes: { public.example.com: nginx }",
        "listen: '[::1]:1'",
        "concurrency: 256",
        "leaseName: a.b",
        "namespaces: [a]\noutpostNamespaces: [a]",
    ] {
        let run = run_args(&container(&render("demo", NAME, values).await?)?)?;
        run.plan.settings()?;
        run.scopes()?;
        run.lease(NAME)?;
    }
    Ok(())
}

#[tokio::test]
async fn with_namespaces_nothing_is_granted_for_the_whole_cluster_but_to_see_classes() -> Result<()> {
    let whole: ClusterRole = only(&render("demo", NAME, "{}").await?)?;
    let mut in_each = whole.rules.unwrap_or_default();
    let rendered = render("demo", NAME, values_of("namespaced")).await?;
    let classes = only::<ClusterRole>(&rendered)?.rules.unwrap_or_default();
    assert_eq!(
        serde_json::to_value(&classes)?,
        json!([{
            "apiGroups": ["networking.k8s.io"], "resources": ["ingressclasses"], "verbs": ["list", "watch"],
        }])
    );
    in_each.retain(|rule| !classes.contains(rule));
    let roles: Vec<Role> = all(&rendered)?;
    let granted: BTreeMap<String, _> = roles
        .into_iter()
        .map(|role| (role.namespace().unwrap_or_default(), role.rules.unwrap_or_default()))
        .collect();
    let namespaces: Vec<&str> = granted.keys().map(String::as_str).collect();
    assert_eq!(namespaces, ["authentik-prd", NAME, "team-a", "team-b"]);
    assert_eq!(granted["team-a"], in_each);
    assert_eq!(granted["team-b"], in_each);
    assert_eq!(
        serde_json::to_value(&granted["authentik-prd"])?,
        json!([{
            "apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"],
        }])
    );
    assert_eq!(granted[NAME][0].resources.as_deref(), Some(&["leases".to_owned()][..]));
    Ok(())
}

/// A whole life with these rights: nothing is forbidden to it that it would need.
#[tokio::test]
async fn with_namespaces_the_rights_suffice_in_them() -> Result<()> {
    let _alone = POLICIES.lock().await;
    let scene = Scene::new(PROGRAM).await?;
    let (plane, apps) = (scene.plane(), scene.namespace());
    let [home, authentik] = ["home", "authentik"].map(|suffix| format!("{apps}-{suffix}"));
    for name in [&home, &authentik] {
        Api::<Namespace>::all(scene.client()).create(&PostParams::default(), &namespace(name)).await?;
    }
    let outpost = outpost_service(&authentik, "proxy-outpost");
    Api::<Service>::namespaced(scene.client(), &authentik).create(&PostParams::default(), &outpost).await?;
    let values = json!({ "namespaces": [apps], "outpostNamespaces": [authentik], "probe": false });
    let rendered = render("team", &home, &values.to_string()).await?;
    for object in &rendered {
        apply(plane, object).await?;
    }
    let user = account::user(&home, "team-ingress-sso");
    for role in all::<Role>(&rendered)? {
        let rules = role.rules.clone().unwrap_or_default();
        account::until_heeded(&scene.client(), &user, role.namespace().as_deref(), &rules).await?;
    }
    let rules = only::<ClusterRole>(&rendered)?.rules.unwrap_or_default();
    account::until_heeded(&scene.client(), &user, None, &rules).await?;
    let kubeconfig = plane.service_account_kubeconfig(&home, "team-ingress-sso").await?;
    let args = container(&rendered)?.args.unwrap_or_default();
    let controller = Controller::builder(PROGRAM)
        .kubeconfig(&kubeconfig)
        .env("INGRESS_SSO_LEADER_ELECT", "true")
        .env("INGRESS_SSO_LEASE_NAMESPACE", &home)
        .env("POD_NAME", "pod")
        .args(args.iter().skip(1))
        .start()?;
    controller.wait_ready(PATIENCE).await?;

    scene.create::<Ingress>(scene.opted_in("app", "chart.example.com")).await?;
    scene.until_protected("app").await?;
    scene.until_event("app", "Protected").await?;
    let edit = json!({ "spec": { "externalName": "other.example.com" } });
    scene.edit::<Service>("authentik-proxy-outpost", &edit).await?;
    eventually("the Service as it was", PATIENCE, || async {
        let service: Service = scene.api().get("authentik-proxy-outpost").await?;
        let name = service.spec.and_then(|spec| spec.external_name).unwrap_or_default();
        Ok(name.contains(&authentik).then_some(()))
    })
    .await?;
    scene.annotate("app", OPT_IN, None).await?;
    scene.until_only(&["app"]).await?;
    let logs = controller.logs()?;
    assert!(!logs.to_lowercase().contains("forbidden"), "{logs}");

    let user = format!("--as={user}");
    for (question, expected) in [
        (["list", "ingresses", "--all-namespaces"], "no"),
        (["list", "services", "--all-namespaces"], "no"),
        (["patch", "ingresses", "--namespace=default"], "no"),
        (["list", "ingressclasses", "--all-namespaces"], "yes"),
    ] {
        let args = [&["auth", "can-i"], &question[..], &[user.as_str()]].concat();
        let answer = kubectl(plane.kubeconfig(), &args).await.unwrap_or_else(|error| format!("{error:#}"));
        assert!(answer.lines().last() == Some(expected), "{question:?}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn helm_installs_upgrades_and_uninstalls_it() -> Result<()> {
    let _alone = POLICIES.lock().await;
    let plane = surroundings().await?;
    let (kubeconfig, home) = (Some(plane.kubeconfig()), "with-helm");
    let release = ["demo", CHART, "--namespace", home];
    let run =
        async |verb: &str, args: &[&str]| helm(kubeconfig, &[&[verb], &release[..], args].concat()).await;

    let said = run("install", &["--create-namespace"]).await?;
    for step in [
        "kubectl -n with-helm rollout status deployment/demo-ingress-sso",
        "annotate ingress <app> sso.djieno.com/authentik=true",
        "--for=jsonpath='{.metadata.annotations.sso\\.djieno\\.com/status}'=Protected",
        "ingress-sso doctor",
    ] {
        assert!(said.contains(step), "no {step:?} in\n{said}");
    }
    let deployments: Api<Deployment> = Api::namespaced(plane.client()?, home);
    let installed = deployments.get("demo-ingress-sso").await?;
    assert_eq!(installed.labels()["app.kubernetes.io/managed-by"], "Helm");

    run("upgrade", &[]).await?;
    let same = deployments.get("demo-ingress-sso").await?;
    assert_eq!(same.metadata.generation, installed.metadata.generation, "an upgrade to the same is none");

    let policies =
        "--set=admission.closing.enabled=true,admission.status.enabled=true,admission.opening.enabled=true";
    let find = async || {
        let kinds = "mutatingadmissionpolicies,mutatingadmissionpolicybindings,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings";
        let args = ["get", kinds, "-l", "app.kubernetes.io/name=ingress-sso", "-o", "name"];
        kubectl(plane.kubeconfig(), &args).await
    };
    run("upgrade", &[policies]).await?;
    let policies = find().await?;
    assert_eq!(policies.lines().count(), 12, "{policies}");
    run("upgrade", &["--reset-values"]).await?;
    assert_eq!(find().await?, "");

    let file = Values::new(values_of("namespaced"))?;
    run("upgrade", &["--values", file.path()]).await?;
    let upgraded = deployments.get("demo-ingress-sso").await?;
    assert!(upgraded.metadata.generation > installed.metadata.generation);
    let selector = |deployment: Deployment| deployment.spec.map(|spec| spec.selector);
    assert_eq!(selector(upgraded), selector(installed), "it can never be changed");
    let roles: Api<Role> = Api::namespaced(plane.client()?, "team-a");
    assert!(roles.get_opt("demo-ingress-sso:with-helm").await?.is_some());

    let made = objects(&helm(kubeconfig, &["get", "manifest", "demo", "--namespace", home]).await?)?;
    assert!(made.len() > 8, "{made:#?}");
    helm(kubeconfig, &["uninstall", "demo", "--namespace", home, "--wait"]).await?;
    for object in made {
        let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let (kind, name, namespace) =
            (of(&object["kind"]), of(&metadata["name"]), of(&metadata["namespace"]));
        let args = ["get", &kind, &name, "--namespace", &namespace, "--ignore-not-found", "--output=name"];
        assert_eq!(kubectl(plane.kubeconfig(), &args).await?, "", "left behind");
    }
    Ok(())
}

/// Those who began with install.yaml go on with Helm, with the same Pods.
#[tokio::test]
async fn helm_takes_over_what_kubectl_applied() -> Result<()> {
    let plane = surroundings().await?;
    let home = release_namespace("defaults");
    for object in render("taken", &home, "{}").await? {
        apply(plane, &object).await?;
    }
    let deployments: Api<Deployment> = Api::namespaced(plane.client()?, &home);
    let applied = deployments.get("taken-ingress-sso").await?;
    let args = ["install", "taken", CHART, "--namespace", &home, "--take-ownership"];
    helm(Some(plane.kubeconfig()), &args).await?;
    let taken = deployments.get("taken-ingress-sso").await?;
    assert_eq!(taken.labels()["app.kubernetes.io/managed-by"], "Helm");
    // Its generation goes up with annotations, too.
    assert_eq!((taken.uid(), taken.spec), (applied.uid(), applied.spec));
    Ok(())
}

/// A scrape that finds the Pods twice would count everything twice.
#[tokio::test]
async fn pods_are_found_by_a_pod_monitor_or_by_annotations() -> Result<()> {
    for (values, has_monitor) in
        [("{}", false), ("podMonitor: { enabled: true }\npodAnnotations: { a: b }", true)]
    {
        let rendered = render("demo", NAME, values).await?;
        let deployment: Deployment = only(&rendered)?;
        let template = deployment.spec.context("no spec")?.template.metadata.unwrap_or_default();
        let has_annotations = template.annotations.unwrap_or_default().contains_key("prometheus.io/scrape");
        let monitors: Vec<&Value> = rendered.iter().filter(|object| object["kind"] == "PodMonitor").collect();
        assert_eq!((monitors.len() == 1, has_annotations), (has_monitor, !has_monitor));
        for monitor in monitors {
            let selector: BTreeMap<String, String> =
                serde_json::from_value(monitor["spec"]["selector"]["matchLabels"].clone())?;
            let labels = template.labels.clone().unwrap_or_default();
            assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{selector:?}");
            assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "http");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_dashboard_is_where_grafana_looks_for_it() -> Result<()> {
    let maps: Vec<ConfigMap> = all(&render("demo", NAME, "dashboard: { enabled: true }").await?)?;
    let [map] = maps.as_slice() else { bail!("not one: {maps:?}") };
    assert_eq!(map.labels()["grafana_dashboard"], "1");
    let dashboard: Value = serde_json::from_str(&map.data.as_ref().context("no data")?["ingress-sso.json"])?;
    assert_eq!(dashboard, serde_json::from_str::<Value>(&read("grafana-dashboard.json")?)?);
    Ok(())
}

#[tokio::test]
async fn one_replica_has_no_disruption_budget_that_nobody_could_drain_a_node_under() -> Result<()> {
    for (replicas, expected) in [(0, 0), (1, 0), (2, 1)] {
        let rendered = render("demo", NAME, &format!("replicas: {replicas}")).await?;
        let budgets = rendered.iter().filter(|object| object["kind"] == "PodDisruptionBudget").count();
        assert_eq!(budgets, expected, "{replicas}");
    }
    Ok(())
}

/// Ports that a `NetworkPolicy` lets the controller reach outposts on.
#[tokio::test]
async fn a_network_policy_lets_the_controller_reach_its_outposts() -> Result<()> {
    let enabled = "networkPolicy: { enabled: true }\n";
    for (values, ports, peers) in [
        ("", json!([9000, 9443]), Value::Null),
        (
            "outposts: { a: 'http://a.b', b: 'https://b.c', c: 'http://c.d:9000/' }",
            json!([9000, 9443, 80, 443]),
            Value::Null,
        ),
        (
            "outpostNamespaces: [a]",
            json!([9000, 9443]),
            json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "a" } } }]),
        ),
    ] {
        let rendered = render("demo", NAME, &format!("{enabled}{values}")).await?;
        let policy = rendered.iter().find(|object| object["kind"] == "NetworkPolicy").context("no policy")?;
        let rule = policy["spec"]["egress"].as_array().and_then(|rules| rules.last()).context("no rules")?;
        let found: Vec<&Value> =
            rule["ports"].as_array().into_iter().flatten().map(|port| &port["port"]).collect();
        assert_eq!(json!(found), ports, "{values}");
        assert_eq!(rule["to"], peers, "{values}");
    }
    let rendered = render("demo", NAME, &format!("{enabled}probe: false")).await?;
    let policy = rendered.iter().find(|object| object["kind"] == "NetworkPolicy").context("no policy")?;
    assert_eq!(policy["spec"]["egress"].as_array().map(Vec::len), Some(2), "DNS and API server only");
    Ok(())
}

/// Releases of one name in two namespaces have nothing in common.
#[tokio::test]
async fn two_releases_have_no_object_in_common() -> Result<()> {
    let mut seen = BTreeSet::new();
    for (release, namespace) in [(NAME, NAME), (NAME, "other"), ("second", NAME)] {
        let values = json!({ "namespaces": ["apps"], "outpostNamespaces": ["authentik"] });
        for object in render(release, namespace, &values.to_string()).await? {
            let key = key(&object);
            assert!(seen.insert(key.clone()), "{release} in {namespace}: {key} once more");
        }
    }
    Ok(())
}

/// Values in a file, for Helm.
struct Values(tempfile::NamedTempFile);

impl Values {
    fn new(values: &str) -> Result<Self> {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        fs::write(file.path(), values)?;
        Ok(Self(file))
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap_or_default()
    }
}

/// What the chart makes of values, as text.
async fn template(release: &str, namespace: &str, values: &str, args: &[&str]) -> Result<String> {
    let file = Values::new(values)?;
    let all = ["template", release, CHART, "--namespace", namespace, "--values", file.path()];
    helm(None, &[&all[..], args].concat()).await
}

/// What the chart makes of values.
async fn render(release: &str, namespace: &str, values: &str) -> Result<Vec<Value>> {
    objects(&template(release, namespace, values, &[]).await?)
}

fn values_of(set: &str) -> &'static str {
    SETS.into_iter().find_map(|(name, values)| (name == set).then_some(values)).unwrap_or_default()
}

fn release_namespace(set: &str) -> String {
    format!("chart-{set}")
}

/// All that the objects of the chart need to be there, once for all tests of this process.
async fn surroundings() -> Result<&'static ControlPlane> {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let plane = ControlPlane::shared().await?;
    MADE.get_or_try_init(|| async {
        let labels = json!({
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
        });
        for (set, _) in SETS {
            apply(plane, &json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": release_namespace(set), "labels": labels },
            }))
            .await?;
        }
        kubectl_with_input(plane.kubeconfig(), &["apply", "-f", "-"], SURROUNDINGS).await?;
        // Before its first condition is there, kubectl fails at once and does not wait for it.
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
        eventually("kinds that are served", PATIENCE, || async {
            kubectl(plane.kubeconfig(), &established).await.map(Some)
        })
        .await?;
        anyhow::Ok(())
    })
    .await?;
    Ok(plane)
}

async fn apply(plane: &ControlPlane, object: &Value) -> Result<()> {
    kubectl_with_input(plane.kubeconfig(), &["apply", "-f", "-"], &object.to_string()).await?;
    Ok(())
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(format!("{DEPLOY}/{file}")).with_context(|| format!("read deploy/{file}"))
}

/// All objects of a text of YAML documents.
fn objects(text: &str) -> Result<Vec<Value>> {
    let documents = text.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    let documents: Vec<Value> = documents.collect::<Result<_, _>>()?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Kind, namespace and name.
fn key(object: &Value) -> String {
    let of = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    format!("{} {}/{}", object["kind"].as_str().unwrap_or_default(), of("namespace"), of("name"))
}

fn keyed(objects: Vec<Value>) -> BTreeMap<String, Value> {
    objects.into_iter().map(|object| (key(&object), object)).collect()
}

/// All objects of a kind.
fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(objects: &[Value]) -> Result<Vec<K>> {
    let of_kind = objects.iter().filter(|object| object["kind"] == *K::kind(&()));
    Ok(of_kind.map(|object| serde_json::from_value(object.clone())).collect::<Result<_, _>>()?)
}

/// The only object of a kind.
fn only<K: Resource<DynamicType = ()> + DeserializeOwned>(objects: &[Value]) -> Result<K> {
    let mut all = all(objects)?;
    all.pop().filter(|_| all.is_empty()).with_context(|| format!("none or several {}", K::plural(&())))
}

fn pod(objects: &[Value]) -> Result<PodSpec> {
    only::<Deployment>(objects)?.spec.and_then(|spec| spec.template.spec).context("no Pod")
}

fn container(objects: &[Value]) -> Result<Container> {
    let containers = pod(objects)?.containers;
    let [container] =
        <[Container; 1]>::try_from(containers).map_err(|all| anyhow::anyhow!("not one: {all:?}"))?;
    Ok(container)
}

/// What the program makes of the container's arguments and variables.
fn run_args(container: &Container) -> Result<RunArgs> {
    let args = container.args.as_deref().unwrap_or_default();
    let (command, args) = args.split_first().context("no arguments")?;
    ensure!(command == "run", "{command}");
    let env = container.env.iter().flatten();
    let env: Vec<_> =
        env.filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))).collect();
    Ok(RunArgs::of_container(args, &env)?)
}

/// Pointers to all that has no more values in it.
fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .flat_map(|(key, value)| {
                let key = key.replace('/', "~1");
                leaves(value).into_iter().map(move |rest| format!("/{key}{rest}"))
            })
            .collect(),
        _ => vec![String::new()],
    }
}

/// The same values with one of them changed.
fn with(mut values: Value, path: &str, value: &Value) -> Value {
    let mut place = &mut values;
    for key in path.split('/').skip(1).map(|key| key.replace("~1", "/")) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value.clone();
    values
}

/// Checks that the schema is strict, and has just these values.
fn same_keys(path: &str, schema: &Value, values: &Value) -> Result<()> {
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    ensure!(schema["additionalProperties"] == false, "{path}: a value that is misspelt would be ignored");
    let values = values.as_object().with_context(|| format!("{path} is no object"))?;
    let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
    ensure!(keys(properties) == keys(values), "{path}: {:?} against {:?}", keys(properties), keys(values));
    properties.iter().try_for_each(|(key, schema)| same_keys(&format!("{path}/{key}"), schema, &values[key]))
}
