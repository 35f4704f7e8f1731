//! The writes of the controller without the controller: the same requests through the same client, with nothing to
//! watch, remember or decide.

use crate::world::{App, World};
use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso_testbed::scene::{OUTPOST, STATUS};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// As whom the controller writes.
const MANAGER: &str = "ingress-sso";

/// Objects in a page of a list, as in the controller's.
const PAGE: u32 = 500;

/// All writes that protect the apps of one world.
pub(crate) struct Script(Vec<AppWrites>);

/// The writes of one app.
struct AppWrites {
    app: App,
    shared: Arc<Shared>,
    route: Ingress,
    /// What is applied to the app's Ingress.
    apply: Value,
}

/// What the apps of a namespace share, and the first of them makes.
struct Shared {
    service: Service,
    headers: ConfigMap,
    are_made: OnceCell<()>,
}

impl Script {
    /// Has `ingress-sso render` write down what the controller would make of the apps in `world`.
    pub(crate) async fn render(program: &Path, world: &World) -> Result<Self> {
        let list = Api::<Ingress>::all(world.client.clone()).list(&ListParams::default()).await?;
        let mut input = String::new();
        for mut ingress in list.items {
            ingress.metadata.managed_fields = None;
            input.push_str("---\n");
            // JSON is YAML.
            input.push_str(&serde_json::to_string(&ingress)?);
            input.push('\n');
        }
        Self::read(&render(program, input).await?).context("read what `ingress-sso render` printed")
    }

    fn read(rendered: &str) -> Result<Self> {
        let (mut services, mut headers, mut routes) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut apps = Vec::new();
        for document in rendered.split("---\n").filter(|document| !document.is_empty()) {
            let object: Value = serde_saphyr::from_str(document)?;
            let metadata = &object["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
            let is_ours = metadata["labels"]["app.kubernetes.io/managed-by"] == MANAGER;
            match object["kind"].as_str() {
                Some("Service") => _ = services.insert(namespace, typed::<Service>(object)?),
                Some("ConfigMap") => _ = headers.insert(namespace, typed::<ConfigMap>(object)?),
                Some("Ingress") if is_ours => {
                    let owner = text(&metadata["ownerReferences"][0]["name"]);
                    routes.insert(App { namespace, name: owner }, typed::<Ingress>(object)?);
                }
                Some("Ingress") => apps.push((App { namespace, name }, object)),
                other => bail!("unexpected kind {other:?}"),
            }
        }
        let mut shared = HashMap::new();
        for (namespace, service) in services {
            let headers = headers.remove(&namespace).context("a namespace without headers")?;
            shared.insert(namespace, Arc::new(Shared { service, headers, are_made: OnceCell::new() }));
        }
        let writes = apps.into_iter().map(|(app, object)| {
            let shared = shared.get(&app.namespace).context("a namespace without a Service")?.clone();
            let route = routes.remove(&app).context("an app without a route")?;
            let apply = apply(&app, &object);
            Ok(AppWrites { app, shared, route, apply })
        });
        writes.collect::<Result<_>>().map(Self)
    }

    /// Lists all Ingresses as the controller does, then sends everything, for `concurrency` apps at once.
    pub(crate) async fn play(self, client: Client, concurrency: usize) -> Result<()> {
        list_all(&client).await?;
        stream::iter(self.0)
            // A task for each, as in the controller, so that more than one core can serve them.
            .map(|writes| tokio::spawn(writes.send(client.clone())))
            .buffer_unordered(concurrency)
            .map(|joined| joined?)
            .try_for_each(|()| async { Ok(()) })
            .await
    }
}

/// Lists all Ingresses in pages, and decodes them.
pub(crate) async fn list_all(client: &Client) -> Result<()> {
    let ingresses: Api<Ingress> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    loop {
        match ingresses.list(&params).await?.metadata.continue_ {
            Some(next) if !next.is_empty() => params = params.continue_token(&next),
            _ => return Ok(()),
        }
    }
}

impl AppWrites {
    /// The companions first, at once, then the annotations.
    async fn send(self, client: Client) -> Result<()> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &self.app.namespace);
        let shared = self.shared.are_made.get_or_try_init(|| self.shared.make(&client, &params));
        let route = ingresses.create(&params, &self.route);
        tokio::try_join!(shared, async { Ok(route.await?) })?;
        let apply = Patch::Apply(&self.apply);
        ingresses.patch(&self.app.name, &PatchParams::apply(MANAGER), &apply).await?;
        Ok(())
    }
}

impl Shared {
    async fn make(&self, client: &Client, params: &PostParams) -> Result<()> {
        let namespace = self.service.metadata.namespace.as_deref().unwrap_or_default();
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let service = services.create(params, &self.service);
        let headers = config_maps.create(params, &self.headers);
        tokio::try_join!(service, headers)?;
        Ok(())
    }
}

/// The annotations that were not on the app's Ingress as its user wrote it, and the status that the controller adds.
fn apply(app: &App, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let written = app.ingress(true).metadata.annotations.unwrap_or_default();
    let added = metadata["annotations"].as_object().into_iter().flatten();
    let added = added.filter(|(key, _)| !written.contains_key(*key));
    let mut annotations: Map<String, Value> =
        added.map(|(key, value)| (key.clone(), value.clone())).collect();
    annotations.insert(STATUS.to_owned(), json!("Protected"));
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": app.name, "uid": metadata["uid"], "annotations": annotations },
    })
}

fn typed<K: DeserializeOwned>(object: Value) -> Result<K> {
    Ok(serde_json::from_value(object)?)
}

async fn render(program: &Path, input: String) -> Result<String> {
    let mut child = Command::new(program)
        .args(["render", "--file", "-", "--class", "nginx=nginx", "--outpost", OUTPOST])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run {}", program.display()))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let write = async move { stdin.write_all(input.as_bytes()).await };
    let (written, output) = tokio::join!(write, child.wait_with_output());
    written.context("feed `ingress-sso render`")?;
    let output = output?;
    if !output.status.success() {
        bail!("`ingress-sso render`: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
