//! What a case expects, what came instead, and the difference between the two as text.

use super::api_server::rejected_by_api_server;
use super::validators::{NGINX, unacceptable_to_ingress_nginx};
use super::world::World;
use ingress_sso::middleware::Middleware;
use ingress_sso::plan::changes::{Annotate, AppPlan, Change, Edit, HandOver};
use ingress_sso::plan::warning::Warning;
use ingress_sso::plan::{Decision, Protection};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One row of the table.
pub(crate) struct Case {
    /// The rule, as a sentence.
    pub(crate) rule: String,
    world: World,
    expected: Expected,
    /// The requests that carry it out, in order; `None` where the case is not about them.
    requests: Option<Vec<&'static str>>,
}

/// What is to become of the app.
pub(crate) enum Expected {
    /// Exactly these objects, the app's Ingress as it is afterwards among them: a YAML stream.
    Exactly(&'static str),
    /// Protected by objects and annotations with these properties and no others.
    Protected(Protected),
    /// Refused for this reason, in a message with all these parts.
    Refused(&'static str, Vec<String>),
    /// Not yet protected; the message has all these parts.
    Waits(Vec<String>),
    /// Nothing of ours may stay.
    Unprotected,
    /// Nothing of ours may stay but what this warning is about; its message has all these parts.
    UnprotectedBut(&'static str, Vec<String>),
    /// Nothing is done at all.
    LeftAlone,
}

/// The properties of a protection, by name; and its warnings.
#[derive(Default)]
pub(crate) struct Protected {
    properties: BTreeMap<String, String>,
    warnings: Vec<(&'static str, Vec<String>)>,
}

impl Case {
    /// In `world`, `expected` becomes of the app.
    pub(crate) fn new(rule: impl Into<String>, world: World, expected: impl Into<Expected>) -> Self {
        Self { rule: rule.into(), world, expected: expected.into(), requests: None }
    }

    /// It takes these requests: each line is the number of the stage and what is asked for.
    pub(crate) fn by<const N: usize>(self, requests: [&'static str; N]) -> Self {
        Self { requests: Some(requests.into()), ..self }
    }

    /// What is wrong; empty if all is as expected.
    pub(crate) fn failures(&self) -> Vec<String> {
        let (decision, plan) = self.world.decide();
        let mut failures = self.expected.mismatches(&self.world, &decision, &plan);
        if let Some(expected) = &self.requests {
            failures.extend(difference(&expected.join("\n"), &describe_requests(&plan)));
        }
        if let Decision::Protect(protection) = &decision {
            if protection.headers.is_some() {
                failures.extend(unacceptable_to_ingress_nginx(&protection.annotations));
            }
            failures.extend(unacceptable_to_the_api(protection));
        }
        failures.extend(plan.stages.iter().flatten().filter_map(careless));
        failures
    }

    /// The reason of the refusal that this case expects.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match &self.expected {
            Expected::Refused(reason, _) => Some(reason),
            _ => None,
        }
    }

    /// The reasons of the warnings that this case expects.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        match &self.expected {
            Expected::Protected(protected) => protected.warnings.iter().map(|(reason, _)| *reason).collect(),
            Expected::UnprotectedBut(reason, _) => vec![reason],
            _ => Vec::new(),
        }
    }
}

/// The app is refused for `reason`, in a message with all these parts.
pub(crate) fn refused<const N: usize>(reason: &'static str, parts: [&str; N]) -> Expected {
    Expected::Refused(reason, parts.map(str::to_owned).into())
}

/// The app waits, with a message with all these parts.
pub(crate) fn waits<const N: usize>(parts: [&str; N]) -> Expected {
    Expected::Waits(parts.map(str::to_owned).into())
}

/// Nothing of ours may stay but what this warning is about, in a message with all these parts.
pub(crate) fn unprotected_but<const N: usize>(reason: &'static str, parts: [&str; N]) -> Expected {
    Expected::UnprotectedBut(reason, parts.map(str::to_owned).into())
}

/// What most cases end with: the app `n8n-prd/n8n` on `app.djieno.com`, class `nginx`, protected through
/// `proxy-outpost` by the route `host`, without warnings. A case states in what it differs.
pub(crate) fn protected() -> Protected {
    Protected::default()
        .with("Service", "n8n-prd/authentik-proxy-outpost")
        .with(
            "Service leads to",
            "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local port 9000 (http)",
        )
        .with("ConfigMap", "n8n-prd/authentik-headers-4bd8e4f378")
        .with("ConfigMap holds", r#"Forwarded="" X-Forwarded-Host="$host" X-Original-URI="""#)
        .with("Ingress", "n8n-prd/n8n-outpost-path")
        .with("Ingress class", "nginx")
        .with("Ingress hosts", "app.djieno.com")
        .with(
            "Ingress paths",
            "/outpost.goauthentik.io (ImplementationSpecific) to authentik-proxy-outpost:9000",
        )
        .with("Ingress owner", "n8n uid-of-n8n")
        .with("Ingress annotation custom-http-errors", "418")
        .with("Ingress annotation enable-global-auth", "false")
        .with("Ingress annotation proxy-buffer-size", "16k")
        .with("Ingress annotation proxy-busy-buffers-size", "16k")
        .with("Ingress annotation sso.djieno.com/app", "n8n")
        .with("Ingress annotation external-dns.kubernetes.io/controller", "ignore")
        .with("Ingress annotation external-dns.alpha.kubernetes.io/controller", "ignore")
        .with("auth-url", "https://app.djieno.com/outpost.goauthentik.io/auth/nginx")
        .with(
            "auth-signin",
            "https://app.djieno.com/outpost.goauthentik.io/start?rd=$scheme://$best_http_host$escaped_request_uri",
        )
        .with(
            "auth-response-headers",
            "Set-Cookie,X-authentik-username,X-authentik-groups,X-authentik-entitlements,X-authentik-email,\
             X-authentik-name,X-authentik-uid,X-authentik-jwt,X-authentik-meta-jwks,X-authentik-meta-outpost,\
             X-authentik-meta-provider,X-authentik-meta-app,X-authentik-meta-version",
        )
        .with("auth-proxy-set-headers", "n8n-prd/authentik-headers-4bd8e4f378")
        .with("proxy-buffer-size", "16k")
        .with("proxy-busy-buffers-size", "16k")
}

impl Protected {
    /// This property has another value.
    pub(crate) fn with(mut self, property: &str, value: &str) -> Self {
        self.properties.insert(property.to_owned(), value.to_owned());
        self
    }

    /// No property whose name starts like this.
    pub(crate) fn without(mut self, start: &str) -> Self {
        self.properties.retain(|property, _| !property.starts_with(start));
        self
    }

    /// This is warned of, in a message with all these parts.
    pub(crate) fn warns<const N: usize>(mut self, reason: &'static str, parts: [&str; N]) -> Self {
        self.warnings.push((reason, parts.map(str::to_owned).into()));
        self
    }

    /// Where the routes of others serve all hosts, there is neither Service nor outpost Ingress.
    pub(crate) fn by_the_route_of_others(self) -> Self {
        self.without("Service").without("Ingress")
    }

    /// On the route `direct` nginx asks the outpost itself.
    pub(crate) fn directly(self) -> Self {
        self.with(
            "auth-url",
            "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000/outpost.goauthentik.io/auth/nginx",
        )
    }

    fn of(protection: &Protection) -> Self {
        let mut found = Self::default();
        if let Some(service) = &protection.service {
            found = found.with_service(service);
        }
        if let Some(headers) = &protection.headers {
            found = found.with_headers(headers);
        }
        if let Some(middleware) = &protection.middleware {
            found = found.with_middleware(middleware);
        }
        if let Some(route) = &protection.outpost_ingress {
            found = found.with_route(route);
        }
        for (key, value) in &protection.edits {
            found = found.with(&format!("edited {key}"), value.as_deref().unwrap_or("nothing"));
        }
        for (key, value) in &protection.annotations {
            found = found.with(key.strip_prefix(NGINX).unwrap_or(key), value);
        }
        found
    }

    fn with_service(self, service: &Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let ports = spec.ports.unwrap_or_default();
        let ports: Vec<_> = ports
            .iter()
            .map(|port| format!("port {} ({})", port.port, port.name.as_deref().unwrap_or_default()))
            .collect();
        self.with("Service", &name(&service.metadata)).with(
            "Service leads to",
            &format!("{} {}", spec.external_name.unwrap_or_default(), ports.join(", ")),
        )
    }

    fn with_headers(self, headers: &ConfigMap) -> Self {
        let data: Vec<_> =
            headers.data.iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
        self.with("ConfigMap", &name(&headers.metadata)).with("ConfigMap holds", &data.join(" "))
    }

    fn with_middleware(mut self, middleware: &Middleware) -> Self {
        self = self.with("Middleware", &name(&middleware.metadata));
        let auth = json!(middleware.spec.forward_auth);
        for (field, value) in auth.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self = self.with(&format!("Middleware {field}"), &value);
        }
        self
    }

    fn with_route(mut self, route: &Ingress) -> Self {
        for (key, value) in route.metadata.annotations.iter().flatten() {
            let key = key.strip_prefix(NGINX).unwrap_or(key);
            self = self.with(&format!("Ingress annotation {key}"), value);
        }
        for owner in route.metadata.owner_references.iter().flatten() {
            self = self.with("Ingress owner", &format!("{} {}", owner.name, owner.uid));
        }
        let spec = route.spec.clone().unwrap_or_default();
        if let Some(class) = &spec.ingress_class_name {
            self = self.with("Ingress class", class);
        }
        if spec.tls.is_some() {
            self = self.with("Ingress TLS", "yes");
        }
        let rules = spec.rules.unwrap_or_default();
        let hosts: Vec<_> = rules.iter().filter_map(|rule| rule.host.as_deref()).collect();
        let mut paths: Vec<_> = rules
            .iter()
            .flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths))
            .map(|path| {
                let (at, path_type) = (path.path.as_deref().unwrap_or_default(), &path.path_type);
                format!("{at} ({path_type}) to {}", backend(&path.backend))
            })
            .collect();
        paths.dedup();
        self.with("Ingress", &name(&route.metadata))
            .with("Ingress hosts", &hosts.join(" "))
            .with("Ingress paths", &paths.join(", "))
    }

    fn text(&self) -> String {
        lines(self.properties.iter().map(|(name, value)| format!("{name}: {value}")))
    }
}

impl From<Protected> for Expected {
    fn from(protected: Protected) -> Self {
        Self::Protected(protected)
    }
}

impl Expected {
    fn mismatches(&self, world: &World, decision: &Decision, plan: &AppPlan) -> Vec<String> {
        match (self, decision) {
            (Self::Exactly(yaml), Decision::Protect(protection)) => {
                difference(&normal_yaml(yaml), &objects_after(world, protection, plan)).into_iter().collect()
            }
            (Self::Protected(expected), Decision::Protect(protection)) => {
                let mut failures =
                    Vec::from_iter(difference(&expected.text(), &Protected::of(protection).text()));
                failures.extend(unexpected_warnings(&expected.warnings, plan));
                failures
            }
            (Self::Refused(reason, parts), Decision::Refuse(refusal)) => {
                let mut failures = missing_parts(parts, &refusal.to_string());
                failures.extend(difference(reason, refusal.reason()));
                failures
            }
            (Self::Waits(parts), Decision::Wait { waiting, .. }) => {
                missing_parts(parts, &waiting.to_string())
            }
            (Self::UnprotectedBut(reason, parts), Decision::Unprotect) => {
                unexpected_warnings(&[(*reason, parts.clone())], plan)
            }
            (Self::Unprotected, Decision::Unprotect) | (Self::LeftAlone, Decision::Leave) => {
                unexpected_warnings(&[], plan)
            }
            (_, other) => vec![format!("it ended otherwise: {}", describe(other))],
        }
    }
}

fn describe(decision: &Decision) -> String {
    match decision {
        Decision::Leave => "left alone".to_owned(),
        Decision::Unprotect => "unprotected".to_owned(),
        Decision::Refuse(refusal) => format!("refused ({}): {refusal}", refusal.reason()),
        Decision::Wait { waiting, .. } => format!("waits: {waiting}"),
        Decision::Protect(protection) => format!("protected by\n{}", Protected::of(protection).text()),
    }
}

fn unexpected_warnings(expected: &[(&str, Vec<String>)], plan: &AppPlan) -> Vec<String> {
    let reasons = lines(expected.iter().map(|(reason, _)| *reason));
    let found = lines(plan.warnings.iter().map(Warning::reason));
    let mut failures = Vec::from_iter(difference(&reasons, &found));
    for ((_, parts), warning) in expected.iter().zip(&plan.warnings) {
        failures.extend(missing_parts(parts, &warning.to_string()));
    }
    failures
}

fn missing_parts(parts: &[String], message: &str) -> Vec<String> {
    let missing = parts.iter().filter(|part| !message.contains(*part));
    missing.map(|part| format!("the message lacks {part:?}; it is\n  {message}")).collect()
}

/// The requests of a plan, a line each, with the number of their stage.
fn describe_requests(plan: &AppPlan) -> String {
    let numbered = plan.stages.iter().zip(1..);
    lines(numbered.flat_map(|(stage, number)| {
        stage.iter().map(move |change| format!("{number}. {}", describe_request(change)))
    }))
}

fn describe_request(change: &Change) -> String {
    match change {
        Change::Create(companion) => format!("create {} {}", companion.kind(), companion.key()),
        Change::Repair(repair) => format!("repair {} {}", repair.kind, repair.key),
        Change::HandOver(hand_over) => format!("hand over {} {}", hand_over.kind, hand_over.key),
        Change::Delete { kind, key, .. } => format!("delete {kind} {key}"),
        Change::Edit(edit) => {
            let edits = edit.annotations.iter().map(|(key, value)| match value {
                Some(value) => format!("{key} to {value}"),
                None => format!("{key} away"),
            });
            format!("edit {}: {}", edit.app, edits.collect::<Vec<_>>().join(", "))
        }
        Change::Annotate(annotate) => {
            let force = if annotate.force { " by force" } else { "" };
            format!("annotate {}{force}: {}", annotate.app, describe_annotations(annotate))
        }
    }
}

fn describe_annotations(annotate: &Annotate) -> String {
    let status = annotate.annotations.get("sso.djieno.com/status");
    let auth = annotate.annotations.keys().any(|key| !key.starts_with("sso.djieno.com/")).then_some("auth");
    let all: Vec<_> = status.map(String::as_str).into_iter().chain(auth).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" + ") }
}

/// All objects that protect the app and the app's Ingress itself, as they are after the plan.
fn objects_after(world: &World, protection: &Protection, plan: &AppPlan) -> String {
    let mut app = world.subject().cloned().unwrap_or_default();
    app.metadata.managed_fields = None;
    for change in plan.stages.iter().flatten() {
        if let Change::Annotate(annotate) = change {
            let annotations = app.metadata.annotations.get_or_insert_default();
            annotations.extend(annotate.annotations.clone());
        }
    }
    let objects = [
        protection.service.as_ref().map(|object| json!(object)),
        protection.headers.as_ref().map(|object| json!(object)),
        protection.middleware.as_ref().map(|object| json!(object)),
        protection.outpost_ingress.as_ref().map(|object| json!(object)),
        Some(json!(app)),
    ];
    let yaml = objects.iter().flatten().map(to_yaml);
    yaml.collect::<Vec<_>>().join("---\n")
}

/// The same stream in the one form in which objects are compared.
fn normal_yaml(stream: &str) -> String {
    let documents = stream.split("---\n").map(|text| {
        let value: Value = serde_saphyr::from_str(text).expect("YAML");
        to_yaml(&value)
    });
    documents.collect::<Vec<_>>().join("---\n")
}

fn to_yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("an object")
}

/// The difference of two texts line by line, or nothing.
fn difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    // Length of the longest common subsequence from each pair of lines on.
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut text = "- expected, + found".to_owned();
    let mut say = |sign: char, line: &str| _ = write!(text, "\n  {sign} {line}");
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            say('-', old[i]);
            i += 1;
        } else {
            say('+', new[j]);
            j += 1;
        }
    }
    Some(text)
}

/// Names that the API server would reject.
fn unacceptable_to_the_api(protection: &Protection) -> Vec<String> {
    let companions = protection.companions().into_iter();
    let companions = companions.map(|companion| serde_json::to_value(companion).expect("JSON"));
    companions.flat_map(|companion| rejected_by_api_server(&companion)).collect()
}

/// A request that could hit another object, or another version, than the plan saw.
fn careless(change: &Change) -> Option<String> {
    let is_careful = match change {
        Change::Create(_) => true,
        Change::Repair(repair) => ["uid", "resourceVersion"]
            .iter()
            .all(|field| repair.patch["metadata"][field].as_str().is_some_and(|text| !text.is_empty())),
        Change::Delete { identity, .. }
        | Change::Edit(Edit { identity, .. })
        | Change::Annotate(Annotate { identity, .. })
        | Change::HandOver(HandOver { identity, .. }) => {
            !identity.uid().is_empty() && !identity.resource_version().is_empty()
        }
    };
    (!is_careful).then(|| format!("it does not say which version it means: {}", describe_request(change)))
}

fn backend(backend: &IngressBackend) -> String {
    let service = backend.service.clone().unwrap_or_default();
    let port = service.port.and_then(|port| port.number).unwrap_or_default();
    format!("{}:{port}", service.name)
}

fn name(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    ingress_sso::facts::ObjectKey::of(metadata).to_string()
}

fn lines<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.as_ref().to_owned()).collect();
    items.join("\n")
}
