//! The command lines of the three servers.

use std::{path::Path, process::Command};

use super::credentials::Credentials;
use crate::assets;

pub(super) fn etcd(assets: &Path, dir: &Path, port: u16) -> Command {
    let mut command = Command::new(assets.join(assets::ETCD));
    command
        .arg(flag_path("data-dir", &dir.join("etcd")))
        .arg(format!("--listen-client-urls=http://127.0.0.1:{port}"))
        .arg(format!("--advertise-client-urls=http://127.0.0.1:{port}"))
        // It has no peers, and so the port may be any.
        .arg("--listen-peer-urls=http://127.0.0.1:0")
        // Data need to outlive processes, not the machine.
        .arg("--unsafe-no-fsync")
        .arg("--log-level=warn");
    command
}

pub(super) fn api_server(assets: &Path, dir: &Path, port: u16, etcd: u16, keys: &Credentials) -> Command {
    let mut command = Command::new(assets.join(assets::API_SERVER));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg("--bind-address=127.0.0.1")
        // Without it the server looks for a default route, which a private network namespace lacks.
        .arg("--advertise-address=127.0.0.1")
        .arg("--endpoint-reconciler-type=none")
        .arg(format!("--secure-port={port}"))
        .arg(flag_path("cert-dir", dir))
        .arg(flag_path("tls-cert-file", &keys.certificate))
        .arg(flag_path("tls-private-key-file", &keys.key))
        .arg(flag_path("token-auth-file", &keys.tokens))
        .arg("--authorization-mode=RBAC")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag_path("service-account-key-file", &keys.service_account_public_key))
        .arg(flag_path("service-account-signing-key-file", &keys.service_account_key))
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .arg("--allow-privileged")
        .arg("--profiling=false");
    command
}

pub(super) fn controller_manager(assets: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(assets.join(assets::CONTROLLER_MANAGER));
    command
        .arg(flag_path("kubeconfig", kubeconfig))
        // Only what deletes, and what checks the expressions of policies. Others write on their own, such as a
        // ConfigMap into each namespace, and a test that counts writes would count theirs.
        .arg(
            "--controllers=garbage-collector-controller,namespace-controller,\
             validatingadmissionpolicy-status-controller",
        )
        .arg("--leader-elect=false")
        .arg("--secure-port=0")
        // The default of 20 requests a second is far behind a test that deletes a thousand owners.
        .arg("--kube-api-qps=1000")
        .arg("--kube-api-burst=1000");
    command
}

fn flag_path(name: &str, path: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(format!("--{name}="));
    flag.push(path);
    flag
}
