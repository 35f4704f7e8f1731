//! Traefik's kind `Middleware`, without Traefik: as much of its definition as an API server needs to keep one.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{control_plane::ControlPlane, wait::eventually};

const NAME: &str = "middlewares.traefik.io";

/// Time for the API server to serve a new kind, or to have removed one with its objects.
const SOON: Duration = Duration::from_secs(30);

/// Installs the definition, and returns when the API server serves the kind.
pub async fn install_crds(plane: &ControlPlane) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(plane.client()?);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": NAME },
        "spec": {
            "group": "traefik.io",
            "names": {
                "kind": "Middleware", "listKind": "MiddlewareList",
                "plural": "middlewares", "singular": "middleware",
            },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                    },
                } },
            }],
        },
    });
    let params = PatchParams::apply("testbed").force();
    api.patch(NAME, &params, &Patch::Apply(&definition)).await.with_context(|| format!("apply {NAME}"))?;
    eventually(format!("the API server to serve {NAME}"), SOON, || async {
        let status = api.get(NAME).await?.status;
        let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
        if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            return Ok(Some(()));
        }
        bail!("{conditions:?}")
    })
    .await
}

/// Removes the definition, and with it every Middleware, and returns when it is gone.
pub async fn remove_crds(plane: &ControlPlane) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(plane.client()?);
    api.delete(NAME, &DeleteParams::default()).await.with_context(|| format!("delete {NAME}"))?;
    eventually(format!("the end of {NAME}"), SOON, || async {
        Ok(api.get_opt(NAME).await?.is_none().then_some(()))
    })
    .await
}
