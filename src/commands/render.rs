//! `ingress-sso render`: what the controller would make, offline, by the controller's own plan.

use super::CommandError;
use crate::cli::RenderArgs;
use crate::config::Settings;
use crate::contract::{MANAGED_BY, MANAGER};
use crate::facts::{
    DiscoveredOutpost, IngressClassFacts, IngressFacts, MiddlewareFacts, ObjectKey, ServiceFacts,
};
use crate::index::{Index, Source};
use crate::middleware::Middleware;
use crate::plan::changes::Companion;
use crate::plan::{Decision, Protection, decide};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Reads the file, prints the result, explains refusals on standard error. The exit code is 1 if there are any.
pub fn render(args: &RenderArgs) -> Result<ExitCode, CommandError> {
    let settings = args.plan.settings()?;
    let text = read(&args.file).map_err(|error| CommandError::Read { path: args.file.clone(), error })?;
    let rendered = render_text(&text, settings, args.namespace.as_deref())
        .map_err(|(number, error)| CommandError::Yaml { path: args.file.clone(), number, error })?;
    // A reader that hangs up early, such as `head`, has seen what it wanted.
    let _ = std::io::stdout().write_all(rendered.yaml.as_bytes());
    for problem in &rendered.problems {
        eprintln!("{problem}");
    }
    Ok(if rendered.problems.iter().any(|problem| problem.is_refusal) {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// What came of a file.
#[derive(Debug)]
pub struct Rendered {
    /// All documents, as one YAML stream.
    pub yaml: String,
    /// What people should know.
    pub problems: Vec<Problem>,
}

/// A refusal or a warning about one document.
#[derive(Debug)]
pub struct Problem {
    /// Whether the document could not be protected.
    pub is_refusal: bool,
    /// The Ingress, and what is wrong and what to do.
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.is_refusal { "refused" } else { "warning" };
        write!(f, "{word}: {}", self.text)
    }
}

/// One document of the input.
struct Document<'a> {
    text: &'a str,
    value: Value,
    /// Key of an Ingress that asks for protection.
    ingress: Option<ObjectKey>,
    /// Name of a companion that an earlier run made, as in [`companion_name`].
    companion: Option<String>,
}

/// Renders a YAML stream; `namespace` is for Ingresses that name none. An error carries the number of the document,
/// from 1.
pub fn render_text(
    text: &str,
    settings: Settings,
    namespace: Option<&str>,
) -> Result<Rendered, (usize, String)> {
    let settings = Arc::new(settings);
    let mut index = Index::new(Arc::clone(&settings));
    let mut problems = Vec::new();
    let mut documents = Vec::new();
    for (position, text) in documents_of(text).into_iter().enumerate() {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| (position + 1, error.to_string()))?;
        for document in flatten(text, value) {
            let read = learn(&mut index, &settings, document, namespace, &mut problems);
            documents.push(read.map_err(|error| (position + 1, error))?);
        }
    }
    for source in Source::ALL {
        index.complete(source);
    }
    let apps: Vec<&ObjectKey> = documents.iter().filter_map(|document| document.ingress.as_ref()).collect();
    let made = learn_routes(&mut index, &settings, &apps);
    let mut output = Output { yaml: String::new(), printed: HashSet::new() };
    for document in &documents {
        match &document.ingress {
            Some(key) => output.ingress(&index, document, key, &mut problems),
            // One that an earlier run made is made anew.
            None if document.companion.as_ref().is_some_and(|name| made.contains(name)) => {}
            None => output.pass(document),
        }
    }
    Ok(Rendered { yaml: output.yaml, problems })
}

/// A `kind: List` stands for its items.
fn flatten(text: &str, value: Value) -> Vec<(Option<&str>, Value)> {
    match value {
        Value::Object(mut list) if list.get("kind") == Some(&json!("List")) => match list.remove("items") {
            Some(Value::Array(items)) => items.into_iter().map(|item| (None, item)).collect(),
            _ => Vec::new(),
        },
        value => vec![(Some(text), value)],
    }
}

/// Puts a document into the index, if it is of a kind that plans look at.
fn learn<'a>(
    index: &mut Index,
    settings: &Settings,
    (text, mut value): (Option<&'a str>, Value),
    namespace: Option<&str>,
    problems: &mut Vec<Problem>,
) -> Result<Document<'a>, String> {
    let kind =
        format!("{} {}", value["apiVersion"].as_str().unwrap_or(""), value["kind"].as_str().unwrap_or(""));
    let is_namespaced = matches!(
        kind.as_str(),
        "networking.k8s.io/v1 Ingress" | "v1 Service" | "v1 ConfigMap" | "traefik.io/v1alpha1 Middleware"
    );
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(namespace) = namespace.filter(|_| is_namespaced)
    {
        metadata.entry("namespace").or_insert_with(|| json!(namespace));
    }
    let mut ingress = None;
    match kind.as_str() {
        "networking.k8s.io/v1 Ingress" => {
            match IngressFacts::extract(&typed::<Ingress>(&value)?, &settings.keys) {
                Ok(facts) => {
                    ingress = Some(facts.key.clone()).filter(|_| facts.is_opted_in());
                    index.observe_ingress(facts);
                }
                Err(error) if asks(&value, settings) => {
                    let name = value["metadata"]["name"].as_str().unwrap_or("?");
                    problems.push(Problem { is_refusal: true, text: format!("Ingress {name}: {error}") });
                }
                Err(_) => {}
            }
        }
        "networking.k8s.io/v1 IngressClass" => {
            index.observe_class(IngressClassFacts::extract(&typed::<IngressClass>(&value)?));
        }
        "v1 Service" => {
            let service = typed::<Service>(&value)?;
            if is_outpost(&value)
                && let Ok(outpost) = DiscoveredOutpost::extract(&service)
            {
                index.observe_outpost(outpost);
            }
            index.observe_service(ServiceFacts::extract(&service, &settings.keys));
        }
        "traefik.io/v1alpha1 Middleware" => {
            let middleware = typed::<Middleware>(&value)?;
            index.observe_middleware(MiddlewareFacts::extract(&middleware, &settings.keys));
        }
        _ => {}
    }
    let companion = is_made_by_us(&value).then(|| {
        let part = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
        companion_name(
            value["kind"].as_str().unwrap_or_default(),
            &ObjectKey::new(part("namespace"), part("name")),
        )
    });
    Ok(Document { text: text.unwrap_or_default(), value, ingress, companion })
}

/// Puts the routes that are going to be made into the index, and what they lead through, since other apps on the same hosts rely
/// on them. Returns the names of all companions that are going to be made.
fn learn_routes(index: &mut Index, settings: &Settings, apps: &[&ObjectKey]) -> HashSet<String> {
    let mut made = HashSet::new();
    // An app may wait for the route of one that waits itself: each round ends at least one wait.
    loop {
        let known = made.len();
        for app in apps {
            let companions = match decide(&index.view(app), settings) {
                Decision::Protect(protection) | Decision::Wait { protection: Some(protection), .. } => {
                    protection.companions()
                }
                _ => continue,
            };
            for companion in companions {
                made.insert(companion_name(&companion.kind().to_string(), &companion.key()));
                match &companion {
                    Companion::Ingress(route) => {
                        if let Ok(facts) = IngressFacts::extract(route, &settings.keys) {
                            index.observe_ingress(facts);
                        }
                    }
                    Companion::Service(service) => {
                        index.observe_service(ServiceFacts::extract(service, &settings.keys));
                    }
                    _ => {}
                }
            }
        }
        if made.len() == known {
            return made;
        }
    }
}

struct Output {
    yaml: String,
    /// Shared companions that are out already, as `kind namespace/name`.
    printed: HashSet<String>,
}

impl Output {
    fn raw(&mut self, text: &str) {
        if !self.yaml.is_empty() {
            self.yaml.push_str("---\n");
        }
        self.yaml.push_str(text);
        if !text.ends_with('\n') {
            self.yaml.push('\n');
        }
    }

    fn value(&mut self, value: &impl Serialize) {
        match serde_saphyr::to_string(value) {
            Ok(yaml) => self.raw(&yaml),
            // Only keys that are no strings cannot be written, and API objects have none.
            Err(error) => self.raw(&format!("# cannot be written as YAML: {error}")),
        }
    }

    fn ingress(
        &mut self,
        index: &Index,
        document: &Document<'_>,
        key: &ObjectKey,
        problems: &mut Vec<Problem>,
    ) {
        let view = index.view(key);
        let mut explain = |is_refusal, text: String| {
            problems.push(Problem { is_refusal, text: format!("Ingress {key}: {text}") });
        };
        let protection = match decide(&view, index.settings()) {
            Decision::Protect(protection) => protection,
            Decision::Refuse(refusal) => {
                explain(true, refusal.to_string());
                return self.pass(document);
            }
            Decision::Wait { waiting, .. } => {
                explain(true, waiting.to_string());
                return self.pass(document);
            }
            Decision::Leave | Decision::Unprotect => return self.pass(document),
        };
        for warning in &protection.warnings {
            explain(false, warning.to_string());
        }
        self.companions(&protection);
        let mut app = document.value.clone();
        let edits = protection.edits.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (name, value) in protection.annotations.iter().chain(edits) {
            app["metadata"]["annotations"][name] = json!(value);
        }
        self.value(&app);
    }

    fn pass(&mut self, document: &Document<'_>) {
        if document.text.is_empty() { self.value(&document.value) } else { self.raw(document.text) }
    }

    fn companions(&mut self, protection: &Protection) {
        for companion in protection.companions() {
            if self.printed.insert(companion_name(&companion.kind().to_string(), &companion.key())) {
                self.value(&companion);
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

/// The documents of a YAML stream, without those that hold nothing but comments.
fn documents_of(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        let end = position + line.len();
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push(&text[start..position]);
            start = end;
        }
        position = end;
    }
    documents.push(&text[start..]);
    let has_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.into_iter().filter(|document| document.lines().any(has_content)).collect()
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone())
        .map_err(|error| format!("it is not a valid {}: {error}", value["kind"]))
}

fn asks(value: &Value, settings: &Settings) -> bool {
    !value["metadata"]["annotations"][&settings.keys.opt_in].is_null()
}

fn is_made_by_us(object: &Value) -> bool {
    object["metadata"]["labels"][MANAGED_BY] == MANAGER
}

/// A companion's kind and key in one word.
fn companion_name(kind: &str, key: &ObjectKey) -> String {
    format!("{kind} {key}")
}

fn is_outpost(service: &Value) -> bool {
    let labels = &service["metadata"]["labels"];
    labels["app.kubernetes.io/managed-by"] == "goauthentik.io"
        && labels["goauthentik.io/outpost-type"] == "proxy"
}
