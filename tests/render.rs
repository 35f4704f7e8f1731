//! `ingress-sso render`, by its real binary: documents in, documents and explanations out, exit code.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot start the binary should end the test"
)]

use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const OUTPOST: &str = "proxy-outpost=http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000";

/// The class that the apps here have, and a comment that belongs to it.
const CLASS: &str = r#"# Who serves the apps.
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: nginx   # the usual one
spec:
  controller: "k8s.io/ingress-nginx"
"#;

/// What a run printed, and how it ended.
struct Rendered {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Rendered {
    fn of(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
            code: output.status.code(),
        }
    }

    /// The documents on standard output, if the run ended with `code`.
    fn documents(&self, code: i32) -> Vec<Value> {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        documents(&self.stdout)
    }

    /// `Kind name` of each document, if the run ended with `code`.
    fn names(&self, code: i32) -> Vec<String> {
        self.documents(code).iter().map(name).collect()
    }

    /// Fails unless standard error has all these parts and the run ended with `code`.
    fn explains(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {:?}", self.stderr);
        }
    }
}

/// Renders `yaml` from standard input.
fn render(yaml: &str) -> Rendered {
    render_with(yaml, &[])
}

fn render_with(yaml: &str, args: &[&str]) -> Rendered {
    let mut child = command(&["--file", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(yaml.as_bytes()).expect("a reader");
    drop(stdin);
    Rendered::of(child.wait_with_output().expect("its end"))
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingress-sso"));
    command.env_clear().args(["render", "--outpost", OUTPOST]).args(args);
    command
}

/// An app on `host`, asking for protection.
fn app(name: &str, host: &str) -> String {
    app_in("metadata:\n  namespace: n8n-prd\n", name, host)
}

fn app_in(metadata: &str, name: &str, host: &str) -> String {
    format!(
        r#"apiVersion: networking.k8s.io/v1
kind: Ingress
{metadata}  name: {name}
  annotations:
    sso.djieno.com/authentik: "true"
spec:
  ingressClassName: nginx
  rules:
  - host: {host}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: {name}
            port:
              number: 80
"#
    )
}

fn stream(documents: &[&str]) -> String {
    documents.join("---\n")
}

fn documents(yaml: &str) -> Vec<Value> {
    let texts = yaml.split("---\n").filter(|text| !text.trim().is_empty());
    texts.map(|text| serde_saphyr::from_str(text).expect("YAML")).collect()
}

fn name(document: &Value) -> String {
    let (kind, name) = (document["kind"].as_str(), document["metadata"]["name"].as_str());
    format!("{} {}", kind.unwrap_or("?"), name.unwrap_or("?"))
}

const PROTECTED: [&str; 5] = [
    "IngressClass nginx",
    "Service authentik-proxy-outpost",
    "ConfigMap authentik-headers-4bd8e4f378",
    "Ingress n8n-outpost-path",
    "Ingress n8n",
];

#[test]
fn an_app_comes_out_behind_authentik() {
    let rendered = render(&stream(&[CLASS, &app("n8n", "app.djieno.com")]));
    assert_eq!(rendered.stderr, "");
    assert_eq!(rendered.names(0), PROTECTED);
    let documents = rendered.documents(0);
    assert_eq!(
        documents[1],
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "authentik-proxy-outpost",
                "namespace": "n8n-prd",
                "labels": {
                    "app.kubernetes.io/managed-by": "ingress-sso",
                    "app.kubernetes.io/part-of": "authentik",
                    "sso.djieno.com/outpost": "proxy-outpost",
                },
            },
            "spec": {
                "type": "ExternalName",
                "externalName": "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local",
                "ports": [{"name": "http", "port": 9000}],
            },
        })
    );
    let route = &documents[3];
    assert_eq!(route["metadata"].get("ownerReferences"), None, "a file's app has no uid to own by");
    assert_eq!(route["spec"]["rules"][0]["http"]["paths"][0]["path"], "/outpost.goauthentik.io");
    let annotations = documents[4]["metadata"]["annotations"].as_object().expect("annotations");
    assert_eq!(
        annotations["nginx.ingress.kubernetes.io/auth-url"],
        "https://app.djieno.com/outpost.goauthentik.io/auth/nginx"
    );
    assert_eq!(
        annotations["nginx.ingress.kubernetes.io/auth-proxy-set-headers"],
        "n8n-prd/authentik-headers-4bd8e4f378"
    );
    assert!(!annotations.contains_key("sso.djieno.com/status"), "only the controller tells of a state");
}

#[test]
fn a_file_gives_the_same_as_standard_input() {
    let yaml = stream(&[CLASS, &app("n8n", "app.djieno.com")]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("render-file.yaml");
    std::fs::write(&path, &yaml).expect("a file");
    let output = command(&["--file"]).arg(&path).output().expect("the binary");
    let from_file = Rendered::of(output);
    assert_eq!(from_file.code, Some(0), "{}", from_file.stderr);
    assert_eq!(from_file.stdout, render(&yaml).stdout);
}

#[test]
fn what_is_no_app_passes_through_word_for_word() {
    let other = "# A comment of its own.\nkind: Whatever   # and another\nvalue:   0123\nlist: [ yes,no ]\n";
    let unasked = app("site", "www.djieno.com").replace("\"true\"", "\"false\"   # not yet");
    let rendered = render(&stream(&[CLASS, other, &unasked]));
    assert_eq!(rendered.code, Some(0), "{}", rendered.stderr);
    assert_eq!(rendered.stdout, stream(&[CLASS, other, &unasked]));
}

#[test]
fn line_breaks_at_the_end_of_a_document_pass_through() {
    let keeping = "kind: Whatever\ntext: |+\n  last line\n\n\n";
    let rendered = render(&stream(&[keeping, CLASS]));
    assert_eq!(rendered.documents(0)[0]["text"], "last line\n\n\n");
}

#[test]
fn a_list_stands_for_its_items() {
    let item = |yaml: &str| format!("- {}", yaml.trim_end().replace('\n', "\n  "));
    let items =
        [item("apiVersion: v1\nkind: Secret\nmetadata:\n  name: other"), item(&app("n8n", "app.djieno.com"))];
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}\n", items.join("\n"));
    let mut expected = PROTECTED.to_vec();
    expected.insert(1, "Secret other");
    assert_eq!(render(&stream(&[CLASS, &list])).names(0), expected);
}

#[test]
fn an_app_without_a_namespace_needs_one_by_flag() {
    let yaml = stream(&[CLASS, &app_in("metadata:\n", "n8n", "app.djieno.com")]);
    render(&yaml).explains(1, &["refused: Ingress n8n: it has no metadata.namespace", "--namespace"]);
    let rendered = render_with(&yaml, &["--namespace", "n8n-prd"]);
    assert_eq!(rendered.names(0), PROTECTED);
    for document in &rendered.documents(0)[1..] {
        assert_eq!(document["metadata"]["namespace"], "n8n-prd", "{}", name(document));
    }
}

#[test]
fn the_namespace_of_an_app_comes_before_that_of_the_flag() {
    let yaml = stream(&[CLASS, &app("n8n", "app.djieno.com")]);
    let rendered = render_with(&yaml, &["--namespace", "other"]);
    assert_eq!(rendered.documents(0)[4]["metadata"]["namespace"], "n8n-prd");
}

#[test]
fn the_namespace_by_flag_is_that_of_a_service_made_by_hand_as_well() {
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: authentik-proxy-outpost\nspec:\n  type: ExternalName\n  \
                   externalName: ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local\n  ports:\n  - port: 9000\n";
    let yaml = stream(&[CLASS, service, &app_in("metadata:\n", "n8n", "app.djieno.com")]);
    let names = render_with(&yaml, &["--namespace", "n8n-prd"]).names(0);
    let services = names.iter().filter(|name| name.starts_with("Service"));
    assert_eq!(services.count(), 1, "{names:?}");
}

#[test]
fn what_cannot_be_protected_passes_through_and_is_explained() {
    let canary = app("n8n", "app.djieno.com").replace(
        "  annotations:\n",
        "  annotations:\n    nginx.ingress.kubernetes.io/canary: \"true\" # for now\n",
    );
    let yaml = stream(&[CLASS, &canary]);
    let rendered = render(&yaml);
    rendered.explains(1, &["refused: Ingress n8n-prd/n8n: ", "canary", "put the opt-in on the main Ingress"]);
    assert_eq!(rendered.stdout, yaml);
}

#[test]
fn one_refused_app_does_not_keep_others_back() {
    let bad = app("bad", "bad.djieno.com").replace("ingressClassName: nginx", "ingressClassName: other");
    let rendered = render(&stream(&[CLASS, &bad, &app("n8n", "app.djieno.com")]));
    rendered.explains(1, &["refused: Ingress n8n-prd/bad", "\"other\""]);
    assert_eq!(rendered.names(1)[2..], PROTECTED[1..]);
}

#[test]
fn a_warning_is_told_and_is_no_failure() {
    let rendered = render(&stream(&[CLASS, &app("n8n", "\"*.djieno.com\"")]));
    rendered.explains(0, &["warning: Ingress n8n-prd/n8n: the wildcard host *.djieno.com"]);
    assert_eq!(rendered.names(0), PROTECTED);
}

#[test]
fn the_class_may_come_by_flag() {
    let rendered = render_with(&app("n8n", "app.djieno.com"), &["--class", "nginx=nginx"]);
    assert_eq!(rendered.names(0), PROTECTED[1..]);
}

#[test]
fn what_is_no_yaml_is_named_by_its_number() {
    let rendered = render(&stream(&[CLASS, "kind: [\n"]));
    rendered.explains(2, &["ingress-sso: --file -, document 2: "]);
    assert_eq!(rendered.stdout, "");
}

#[test]
fn what_is_no_ingress_is_named_by_its_number() {
    let wrong = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: n8n\nspec:\n  rules: everything\n";
    render(&stream(&[CLASS, wrong])).explains(2, &["document 2: ", "it is not a valid \"Ingress\""]);
}

#[test]
fn metadata_that_is_no_mapping_is_an_error_and_no_panic() {
    let wrong = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: n8n\n";
    render_with(wrong, &["--namespace", "n8n-prd"]).explains(2, &["document 1: "]);
}

#[test]
fn a_missing_file_is_an_error() {
    let output = command(&["--file", "/nowhere/app.yaml"]).output().expect("the binary");
    Rendered::of(output).explains(2, &["ingress-sso: --file /nowhere/app.yaml: "]);
}

#[test]
fn a_bad_setting_is_an_error() {
    let output = command(&["--file", "-", "--auth-route", "both"]).output().expect("the binary");
    Rendered::of(output).explains(2, &["--auth-route \"both\": use host or direct"]);
}

#[test]
fn two_apps_of_a_namespace_share_service_and_headers() {
    let rendered = render(&stream(&[CLASS, &app("n8n", "app.djieno.com"), &app("site", "www.djieno.com")]));
    let mut expected = PROTECTED.to_vec();
    expected.extend(["Ingress site-outpost-path", "Ingress site"]);
    assert_eq!(rendered.names(0), expected);
}

#[test]
fn apps_on_traefik_get_one_middleware_for_a_namespace_and_keep_their_lists() {
    let class = CLASS
        .replace("name: nginx ", "name: traefik ")
        .replace("k8s.io/ingress-nginx", "traefik.io/ingress-controller");
    let on_traefik = |name: &str| {
        app(name, &format!("{name}.djieno.com")).replace("ClassName: nginx", "ClassName: traefik")
    };
    let list = "traefik.ingress.kubernetes.io/router.middlewares";
    let listed = on_traefik("listed")
        .replace("  annotations:\n", &format!("  annotations:\n    {list}: strip@file, gzip@file # mine\n"));
    let rendered = render(&stream(&[&class, &on_traefik("n8n"), &listed]));
    rendered
        .explains(0, &["warning: Ingress n8n-prd/n8n: there is no route for /outpost.goauthentik.io", list]);
    let middleware = "authentik-proxy-outpost-7d63dfe424";
    let expected =
        ["IngressClass traefik", &format!("Middleware {middleware}"), "Ingress n8n", "Ingress listed"];
    assert_eq!(rendered.names(0), expected);
    let documents = rendered.documents(0);
    assert_eq!(documents[1]["apiVersion"], "traefik.io/v1alpha1");
    assert_eq!(
        documents[1]["spec"]["forwardAuth"]["address"],
        "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000/outpost.goauthentik.io/auth/traefik"
    );
    let ours = format!("n8n-prd-{middleware}@kubernetescrd");
    let of = |document: &Value| document["metadata"]["annotations"][list].clone();
    assert_eq!(of(&documents[2]), ours);
    assert_eq!(of(&documents[3]), format!("{ours},strip@file,gzip@file"));

    // Rendered once more, it stays as it is.
    assert_eq!(render(&rendered.stdout).names(0), expected);
    assert_eq!(render(&rendered.stdout).documents(0), documents);
}

#[test]
fn where_traefik_takes_external_names_the_route_is_rendered_too() {
    let yaml = app("n8n", "app.djieno.com").replace("ClassName: nginx", "ClassName: traefik");
    let args = ["--class", "traefik=traefik", "--traefik-allows-external-name"];
    let rendered = render_with(&yaml, &args);
    assert_eq!(rendered.stderr, "");
    let expected = [
        "Service authentik-proxy-outpost",
        "Middleware authentik-proxy-outpost-7d63dfe424",
        "Ingress n8n-outpost-path",
        "Ingress n8n",
    ];
    assert_eq!(rendered.names(0), expected);
}

#[test]
fn a_middleware_made_by_hand_that_traefik_cannot_tell_from_ours_is_explained() {
    let twin = "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata:\n  namespace: n8n\n  \
                name: prd-authentik-proxy-outpost-7d63dfe424\nspec:\n  stripPrefix: {}\n";
    let yaml = app("n8n", "app.djieno.com").replace("ClassName: nginx", "ClassName: traefik");
    let stream = stream(&[twin, &yaml]);
    let rendered = render_with(&stream, &["--class", "traefik=traefik"]);
    rendered.explains(1, &["n8n/prd-authentik-proxy-outpost-7d63dfe424", "--traefik-safe-naming"]);
    assert_eq!(rendered.stdout, stream);
}

#[test]
fn in_place_of_nginx_traefik_asks_the_outpost_itself() {
    let rendered = render_with(&app("n8n", "app.djieno.com"), &["--class", "nginx=traefik-nginx"]);
    let expected = ["Service authentik-proxy-outpost", "Ingress n8n-outpost-path", "Ingress n8n"];
    assert_eq!(rendered.names(0), expected);
    assert_eq!(
        rendered.documents(0)[2]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/auth-url"],
        "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000/outpost.goauthentik.io/auth/traefik"
    );
}

#[test]
fn two_apps_on_a_host_share_one_route_whichever_comes_first() {
    let (first, second) = (app("a", "app.djieno.com"), app("b", "app.djieno.com"));
    for order in [[&first, &second], [&second, &first]] {
        let rendered = render(&stream(&[CLASS, order[0], order[1]]));
        rendered.explains(
            0,
            &["warning: Ingress n8n-prd/b: the login route of app.djieno.com is that of app n8n-prd/a"],
        );
        let mut names = rendered.names(0);
        names.sort();
        let expected = [
            "ConfigMap authentik-headers-4bd8e4f378",
            "Ingress a",
            "Ingress a-outpost-path",
            "Ingress b",
            "IngressClass nginx",
            "Service authentik-proxy-outpost",
        ];
        assert_eq!(names, expected);
    }
}

#[test]
fn a_chain_of_apps_that_share_hosts_renders_in_any_order() {
    let two_hosts = app("b", "one.djieno.com");
    let rule = two_hosts.split("  rules:\n").nth(1).expect("a rule").to_owned();
    let two_hosts = format!("{two_hosts}{}", rule.replace("one.djieno.com", "two.djieno.com"));
    let (first, last) = (app("a", "one.djieno.com"), app("c", "two.djieno.com"));
    let rendered = render(&stream(&[CLASS, &last, &two_hosts, &first]));
    assert_eq!(rendered.code, Some(0), "{}", rendered.stderr);
}

#[test]
fn what_was_rendered_renders_to_itself() {
    let once = render(&stream(&[CLASS, &app("n8n", "app.djieno.com")]));
    let twice = render(&once.stdout);
    assert_eq!(twice.documents(0), once.documents(0));
}

#[test]
fn strings_that_other_readers_of_yaml_take_for_something_else_stay_strings() {
    let tricky = [
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "Yes",
        "ON",
        "true",
        "false",
        "True",
        "null",
        "Null",
        "NULL",
        "~",
        "",
        "0123",
        "0o17",
        "0x1F",
        "1e3",
        "1E3",
        "1.5",
        ".5",
        "-1",
        "+1",
        "1_000",
        "190:20:30",
        "0b11",
        ".inf",
        "-.INF",
        ".nan",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "=",
        "<<",
        "- a",
        "? a",
        ": a",
        "a: b",
        "a #b",
        "#a",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "{a}",
        "[a]",
        " a",
        "a ",
        "a\nb",
        "a\n",
        "\na",
        "a\n\nb\n\n",
        "  a\nb",
        "a\tb",
        "\t",
        "a\\nb",
        "---",
        "...",
        "--- a",
        "|",
        ">",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}a",
        "ü",
        "😀",
        "1__0",
        "0.",
        "1.e+3",
    ];
    let annotations: serde_json::Map<String, Value> = (0..)
        .zip(tricky)
        .map(|(number, value)| (format!("example.com/a{number:02}"), json!(value)))
        .collect();
    let mut app: Value = serde_saphyr::from_str(&app("n8n", "app.djieno.com")).expect("an app");
    app["metadata"]["annotations"].as_object_mut().expect("a map").extend(annotations.clone());
    // JSON is YAML that no reader misunderstands, once the characters that YAML does not print are escaped.
    let json = ['\u{7f}', '\u{85}', '\u{2028}', '\u{feff}']
        .iter()
        .fold(app.to_string(), |json, c| json.replace(*c, &format!("\\u{:04x}", u32::from(*c))));
    let rendered = render(&stream(&[CLASS, &format!("{json}\n")]));
    rendered.explains(0, &[]);
    let problems: Vec<_> = annotations
        .iter()
        .filter_map(|(key, value)| emitted(&rendered.stdout, key).and_then(|raw| misread(value, &raw)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let found = serde_saphyr::from_str::<Value>(rendered.stdout.rsplit("\n---\n").next().unwrap_or_default());
    let found = found.expect("the app");
    for (key, value) in &annotations {
        assert_eq!(found["metadata"]["annotations"].get(key), Some(value), "{key}\n{}", rendered.stdout);
    }
}

/// The scalar after `key: ` as it stands in `yaml`, with the lines that follow it.
fn emitted(yaml: &str, key: &str) -> Option<String> {
    let rest = yaml.split_once(&format!("{key}: "))?.1;
    let end = rest.find("\n    example.com/").or_else(|| rest.find("\n    nginx")).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

/// Why a YAML 1.1 reader, as kubectl's is, would not take the scalar `raw` for the string `value`; `None` if it would.
///
/// A plain scalar has to be none that the rules of YAML 1.1 resolve to another type: booleans with all their words,
/// null, integers in four bases, with underscores or colons, floats, timestamps, merge and value.
fn misread(value: &Value, raw: &str) -> Option<String> {
    const RESOLVED: [&str; 7] = [
        r"(?i)^(y|yes|n|no|true|false|on|off)$",
        r"^(~|null|Null|NULL|)$",
        r"^[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])*)$",
        r"^[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$",
        r"^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$",
        r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?$",
        r"^(=|<<)$",
    ];
    let is_plain = !raw.starts_with(['"', '\'', '|', '>']);
    let is_resolved = |rule: &&str| regex::Regex::new(rule).expect("a rule").is_match(raw.trim());
    let rule = RESOLVED.iter().find(|rule| is_resolved(rule)).filter(|_| is_plain)?;
    Some(format!("{value} comes out as {raw:?}, which {rule} takes for something else"))
}
