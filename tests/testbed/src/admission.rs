//! The admission policies that the program prints.

use crate::scene::{PATIENCE, Scene, annotation};
use crate::wait::eventually;
use anyhow::{Result, ensure};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::PostParams;
use std::process::Command;

/// What `admission` of the program prints, without a cluster to ask.
pub fn printed(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).arg("admission").args(args).env_remove("KUBECONFIG").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until the API server closes new apps of the class by the annotation `key`. It takes a moment to heed a policy, each by
/// itself.
pub async fn until_closing(scene: &Scene, class: &str, key: &str) -> Result<()> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually(format!("the policy for class {class} to hold"), PATIENCE, || async {
        let app = scene.opted_in("try", "try.example.com").class(class).build();
        let made = scene.api::<Ingress>().create(&dry_run, &app).await?;
        Ok(annotation(&made, key).map(|_| ()))
    })
    .await
}
