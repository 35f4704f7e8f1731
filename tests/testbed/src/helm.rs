//! The real Helm, built once from its Go module into the [`cache`].
//!
//! Always the same version, whatever is on the PATH: manifests that are generated from the chart have to be the same
//! everywhere.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{cache, go::Module, guard::Guard, output::output};

/// The Go module that Helm is built with.
const MODULE: Module =
    Module(&[("go.mod", include_str!("../helm/go.mod")), ("go.sum", include_str!("../helm/go.sum"))]);

const PROGRAM: &str = "helm.sh/helm/v4/cmd/helm";

/// The version, which charts can ask for, is otherwise known without its last part only.
const BUILD_FLAGS: [&str; 5] = [
    "-trimpath",
    "-mod=readonly",
    "-v",
    "-ldflags",
    "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
];

/// Packages that a cold build compiles, to show how far it is.
const GO_PACKAGES: usize = 1100;

/// Runs Helm and returns its standard output, with a kubeconfig file where it is to reach a cluster. Nothing of the
/// user's own Helm goes into it.
///
/// Fails when there is no Helm, and when it fails; the error then has what it printed.
pub async fn helm(kubeconfig: Option<&Path>, args: &[&str]) -> Result<String> {
    let guard = Guard::new("helm-")?;
    let home = guard.dir();
    let mut command = Command::new(program().await?);
    command.args(args);
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home.join(variable));
    }
    // A file that is not there is a cluster that cannot be reached.
    command.env("KUBECONFIG", kubeconfig.unwrap_or(&home.join("no-cluster")));
    output(&guard, "helm", &command, "").await.with_context(|| format!("helm {}", args.join(" ")))
}

/// Finds Helm, once a process.
async fn program() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    Ok(PROGRAM.get_or_try_init(|| async { spawn_blocking(find).await? }).await?)
}

/// Returns the path of Helm, which it builds if need be: one to three minutes on two cores, once.
///
/// Fails when there is no Go, or when the build fails.
pub fn find() -> Result<PathBuf> {
    let target = cache::directory()?.join("helm").join(MODULE.key(BUILD_FLAGS));
    cache::once(&target, "Helm", build)?;
    Ok(target.join("helm"))
}

fn build(target: &Path) -> Result<()> {
    let workspace = MODULE.workspace()?;
    let mut command = workspace.go(["build"]);
    command.args(BUILD_FLAGS).arg("-o").arg(target.join("helm")).arg(PROGRAM);
    eprintln!("testbed: building Helm: one to three minutes on two cores, and only once");
    workspace.follow(&command, GO_PACKAGES)
}
