//! The policies by which the API server closes apps, for the seeds that have them.

use super::app::NAMESPACES;
use super::judge::is_closed;
use anyhow::{Result, ensure};
use ingress_sso_testbed::admission::printed;
use ingress_sso_testbed::builders::ingress;
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::kubectl::kubectl_with_input;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::PostParams;
use std::time::Duration;

/// Time for the API server to heed a policy.
const SOON: Duration = Duration::from_secs(30);

/// Puts them in place, and returns when they hold.
pub(crate) async fn install(plane: &ControlPlane, program: &str) -> Result<()> {
    kubectl_with_input(plane.kubeconfig(), &["apply", "-f", "-"], &printed(program, &[])?).await?;
    let ingresses = Api::<Ingress>::namespaced(plane.client()?, NAMESPACES[0]);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually("policies that hold", SOON, || async {
        for class in ["nginx", "traefik"] {
            let app = ingress(NAMESPACES[0], "try").host("try.example.com").class(class);
            let app = app.annotation("sso.djieno.com/authentik", "true").build();
            ensure!(is_closed(&ingresses.create(&dry_run, &app).await?), "{class} is open");
        }
        Ok(Some(()))
    })
    .await
}

/// Takes them away.
pub(crate) async fn remove(plane: &ControlPlane, program: &str) -> Result<()> {
    let args = ["delete", "--ignore-not-found", "-f", "-"];
    kubectl_with_input(plane.kubeconfig(), &args, &printed(program, &[])?).await?;
    Ok(())
}
