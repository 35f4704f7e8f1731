//! Traefik's own `CustomResourceDefinitions`, generated from its Go types as Traefik's release does it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use tokio::task::spawn_blocking;

use crate::{apply::apply, cache, control_plane::ControlPlane, go::Module, wait::eventually};

/// The Go module with Traefik's types and the generator. A release or two behind the program: the Go module proxy does
/// not have every one. The types are the same within a minor version.
const MODULE: Module = Module(&[
    ("types.go", include_str!("../../traefik-crds/types.go")),
    ("go.mod", include_str!("../../traefik-crds/go.mod")),
    ("go.sum", include_str!("../../traefik-crds/go.sum")),
    ("ext/ext.go", include_str!("../../traefik-crds/ext/ext.go")),
    ("ext/go.mod", include_str!("../../traefik-crds/ext/go.mod")),
]);

const GENERATOR: &str = "sigs.k8s.io/controller-tools/cmd/controller-gen";

const TYPES: &str = "github.com/traefik/traefik/v3/pkg/provider/kubernetes/crd/traefikio/v1alpha1";

/// Packages that a cold build compiles, to show how far it is.
const GO_PACKAGES: usize = 440;

/// Time for the API server to serve a new kind, or to have removed one with its objects.
const SOON: Duration = Duration::from_secs(30);

/// Makes sure that the definitions are there, and returns them.
pub(super) fn definitions() -> Result<Vec<CustomResourceDefinition>> {
    let target = cache::directory()?.join("traefik-crds").join(MODULE.key([GENERATOR, TYPES]));
    cache::once(&target, "Traefik's CustomResourceDefinitions", generate)?;
    let files = fs::read_dir(&target).with_context(|| format!("list {}", target.display()))?;
    let read = |path: &Path| {
        let content = fs::read_to_string(path)?;
        anyhow::Ok(serde_saphyr::from_str(&content)?)
    };
    files
        .map(|file| {
            let path = file?.path();
            read(&path).with_context(|| format!("read {}", path.display()))
        })
        .collect()
}

fn generate(target: &Path) -> Result<()> {
    let workspace = MODULE.workspace()?;
    eprintln!("testbed: generating Traefik's CustomResourceDefinitions: half a minute, and only once");
    // Compiled first, for its progress; the second time Go has it in its cache.
    let build = workspace.go(["build", "-mod=readonly", "-v", "-o", "/dev/null", GENERATOR]);
    workspace.follow(&build, GO_PACKAGES)?;
    // The generator asks Go for the types.
    let mut command = workspace.go(["tool", GENERATOR, "crd:crdVersions=v1"]);
    let output =
        command.arg(format!("paths={TYPES}")).arg(format!("output:crd:dir={}", target.display())).output();
    let output = output.context("run the generator")?;
    ensure!(output.status.success(), "generate: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Installs the definitions, as an administrator does, and returns when the API server serves their kinds.
///
/// Fails when there is no Go to generate them with, or when the API server refuses them.
pub async fn install_crds(plane: &ControlPlane) -> Result<()> {
    let definitions = spawn_blocking(definitions).await??;
    let client = plane.client()?;
    for definition in &definitions {
        apply(&Api::all(client.clone()), definition).await?;
    }
    for definition in &definitions {
        served(&client, definition).await?;
    }
    Ok(())
}

/// Removes the definitions, and with them every object of their kinds, and returns when they are gone.
pub async fn remove_crds(plane: &ControlPlane) -> Result<()> {
    let definitions = spawn_blocking(definitions).await??;
    let client = plane.client()?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in &definitions {
        // The API server lists the objects to delete them. If it is still busy with beginning to serve them, it fails
        // and tries again only much later.
        if api.get_opt(&definition.name_any()).await?.is_some() {
            served(&client, definition).await?;
        }
        match api.delete(&definition.name_any(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => drop(result.with_context(|| format!("delete {}", definition.name_any()))?),
        }
    }
    for definition in &definitions {
        let name = definition.name_any();
        eventually(format!("the end of {name}"), SOON, || async {
            match api.get_opt(&name).await? {
                None => Ok(Some(())),
                Some(definition) => bail!("{:?}", definition.status.and_then(|status| status.conditions)),
            }
        })
        .await?;
    }
    Ok(())
}

/// Waits until the API server answers for the kind, from the cache that it fills first.
async fn served(client: &Client, definition: &CustomResourceDefinition) -> Result<()> {
    let names = &definition.spec.names;
    let version = definition.spec.versions.first().context("a definition without versions")?;
    let kind = GroupVersionKind::gvk(&definition.spec.group, &version.name, &names.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &names.plural);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    eventually(format!("the API server to serve {}", definition.name_any()), SOON, || async {
        objects.list(&ListParams::default().match_any().limit(1)).await?;
        Ok(Some(()))
    })
    .await
}
