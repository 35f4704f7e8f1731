//! Kubeconfig files.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

/// Writes a kubeconfig with one user to `path`, in JSON, which is YAML.
pub(super) fn write(path: &Path, url: &str, authority: &Path, user: &str, token: &str) -> Result<()> {
    let name = "testbed";
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    });
    fs::write(path, format!("{kubeconfig:#}\n")).with_context(|| format!("write {}", path.display()))
}

/// Reads a kubeconfig file into the configuration of a client that does not retry on its own.
///
/// Fails when the file or what it names cannot be read.
pub async fn config(path: &Path) -> Result<Config> {
    let read = async {
        let kubeconfig = Kubeconfig::read_from(path)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // A test that stops the server wants to see the failure.
        config.default_retry = false;
        anyhow::Ok(config)
    };
    read.await.with_context(|| format!("read the kubeconfig {}", path.display()))
}

/// Makes a client from a kubeconfig file. It must not be used in another tokio runtime, such as that of another
/// `#[tokio::test]`, since its connections are tasks of this one.
///
/// Fails like [`config`].
pub async fn client(path: &Path) -> Result<Client> {
    Client::try_from(config(path).await?).context("make a client")
}
