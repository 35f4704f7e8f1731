//! Where etcd, kube-apiserver and kube-controller-manager come from: given, or built once.
//!
//! `KUBEBUILDER_ASSETS`, if set, names a directory with all three. Otherwise they are built from source, as one
//! program that is called by three names (see `control-plane/main.go`), into the [`cache`]. The build
//! needs Go, which is taken from the PATH or else from the Python package index, and the Go module proxy.

use std::{
    env,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{cache, go::Module};

/// Name of the etcd program.
pub const ETCD: &str = "etcd";
/// Name of the API server program.
pub const API_SERVER: &str = "kube-apiserver";
/// Name of the controller manager program.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";

const PROGRAMS: [&str; 3] = [ETCD, API_SERVER, CONTROLLER_MANAGER];

/// The Go module of the program.
const MODULE: Module = Module(&[
    ("main.go", include_str!("../control-plane/main.go")),
    ("go.mod", include_str!("../control-plane/go.mod")),
    ("go.sum", include_str!("../control-plane/go.sum")),
]);

/// The version, which Go does not know of itself, is what the API server says at `/version`.
const BUILD_FLAGS: [&str; 5] = [
    "-trimpath",
    "-mod=readonly",
    "-v",
    "-ldflags",
    "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37",
];

/// Packages that a cold build compiles, to show how far it is.
const GO_PACKAGES: usize = 2500;

/// Returns the directory with the three programs, which it builds if need be: 6 to 10 minutes on two cores,
/// once, with progress on standard error.
///
/// Fails when `KUBEBUILDER_ASSETS` lacks a program, when there is no Go, or when the build fails.
pub fn directory() -> Result<PathBuf> {
    if let Some(given) = env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
        return complete(given.into());
    }
    let target = cache::directory()?.join("control-plane").join(MODULE.key(BUILD_FLAGS));
    cache::once(&target, "the control plane", build)?;
    Ok(target)
}

/// Fails if the directory that the user named lacks a program.
fn complete(dir: PathBuf) -> Result<PathBuf> {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !dir.join(program).is_file()).collect();
    if missing.is_empty() {
        return Ok(dir);
    }
    let hint = if missing == [CONTROLLER_MANAGER] {
        "\nThe assets of envtest come without kube-controller-manager, which has the garbage collector: put that of \
         the same Kubernetes version beside them"
    } else {
        ""
    };
    bail!(
        "KUBEBUILDER_ASSETS={} has no {}{hint}\nOr unset KUBEBUILDER_ASSETS to have all three built from source.",
        dir.display(),
        missing.join(", ")
    );
}

/// Builds the program into `target`, with its three names as links beside it.
fn build(target: &Path) -> Result<()> {
    let hint = || format!("or set KUBEBUILDER_ASSETS to a directory with {}", PROGRAMS.join(", "));
    let workspace = MODULE.workspace().with_context(hint)?;
    let mut command = workspace.go(["build"]);
    command.args(BUILD_FLAGS).arg("-o").arg(target.join("control-plane")).arg(".");
    eprintln!(
        "testbed: building etcd and Kubernetes 1.37 from source: 6 to 10 minutes on two cores, and only once\n\
         testbed: into {}",
        target.display()
    );
    workspace.follow(&command, GO_PACKAGES)?;
    for program in PROGRAMS {
        symlink("control-plane", target.join(program)).with_context(|| format!("link {program}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn assets_without_controller_manager_say_so() {
        let dir = tempfile::tempdir().unwrap();
        for program in [ETCD, API_SERVER] {
            fs::write(dir.path().join(program), "").unwrap();
        }
        let error = complete(dir.path().to_owned()).unwrap_err().to_string();
        assert!(error.contains("has no kube-controller-manager\nThe assets of envtest"), "{error}");
        fs::write(dir.path().join(CONTROLLER_MANAGER), "").unwrap();
        assert_eq!(complete(dir.path().to_owned()).unwrap(), dir.path());
    }
}
