//! No child process and no temporary file outlives a test, however it ends.
//!
//! Destructors do not run when a test process is interrupted or killed, and a `static` has none at all. So
//! a small shell process stands guard: it reads process ids from a pipe whose other end this process holds.
//! When this process is gone, by whatever cause, the kernel closes that end; the guard then kills what it
//! knows and removes the temporary directory.

use std::{
    fs::{self, OpenOptions},
    io::{PipeWriter, Write, pipe},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result};

use crate::process::Process;

/// The guard. `$1` is the directory, `$2` is empty when it is to be removed.
///
/// Every id is that of a process group (see [`SPAWN`]). A process that was killed may still write a file
/// while the directory is removed, hence the repetition.
const GUARD: &str = r#"
trap '' INT TERM HUP
pids=' '
while read -r line; do
    pid=${line#?}
    case $line in
        +*) pids="$pids$pid " ;;
        -*) case $pids in *" $pid "*) pids="${pids%%" $pid "*} ${pids#*" $pid "}" ;; esac ;;
    esac
done
for pid in $pids; do kill -s KILL -- "-$pid"; done
[ -n "$2" ] && exit
for attempt in 1 2 3 4 5; do
    rm -rf -- "$1" && exit
    sleep 1
done
"#;

/// Starts a child: tells the guard first, through the pipe on its standard input, and then becomes the
/// program, with the same process id. So there is no moment at which a child runs that the guard does not
/// know; and while it has not told, it holds the pipe open itself.
const SPAWN: &str = r#"echo "+$$" >&0 && exec "$@" </dev/null"#;

/// A temporary directory, and the right to start processes that end with it.
///
/// A clone is a handle to the same directory. When the last handle and the last [`Process`] is dropped, and
/// also when this process ends without dropping anything, the processes are killed and the directory is
/// removed. If `INGRESS_SSO_TESTBED_KEEP` is set, the directory stays and its path is printed.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// `None` only while dropping.
    pipe: Option<PipeWriter>,
    shell: Child,
}

impl Guard {
    /// Makes a temporary directory whose name begins with `prefix`, and sets a guard on it.
    ///
    /// Fails when the directory cannot be made or `sh` cannot be run.
    pub fn new(prefix: &str) -> Result<Self> {
        let keep = std::env::var_os("INGRESS_SSO_TESTBED_KEEP").is_some_and(|value| !value.is_empty());
        let dir = tempfile::Builder::new().prefix(prefix).tempdir().context("make a temporary directory")?;
        let (reader, writer) = pipe().context("make a pipe")?;
        let shell = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(dir.path())
            .arg(if keep { "keep" } else { "" })
            .current_dir("/")
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the terminal's foreground group, so that Ctrl-C ends the test and not the guard.
            .process_group(0)
            .spawn()
            .context("start the guard, a sh process")?;
        let dir = dir.keep();
        if keep {
            eprintln!("testbed: keeping {}", dir.display());
        }
        Ok(Self(Arc::new(Inner { dir, pipe: Some(writer), shell })))
    }

    /// The temporary directory.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Starts `command` as the leader of a new process group. Its output is appended to `<dir>/<name>.log`.
    ///
    /// Program, arguments, environment and working directory of `command` count; its standard streams do
    /// not, and neither does `Command::env_clear`. Fails when a process cannot be made; a program that does
    /// not exist shows as a process that ends at once, with the reason in its log.
    pub fn spawn(&self, name: &str, command: &Command) -> Result<Process> {
        let log = self.dir().join(format!("{name}.log"));
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("open {}", log.display()))?;
        let begin = fs::metadata(&log).map_or(0, |metadata| metadata.len());

        let mut spawn = Command::new("sh");
        spawn.args(["-c", SPAWN, name]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => spawn.env(key, value),
                None => spawn.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            spawn.current_dir(dir);
        }
        let child = spawn
            .stdin(self.pipe()?.try_clone().context("clone the pipe to the guard")?)
            .stdout(output.try_clone().context("clone the log's handle")?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Process::new(name.to_owned(), child, log, begin, self.clone()))
    }

    /// Tells the guard that the process is no more, so that it does not kill a later one with the same id.
    pub(crate) fn forget(&self, pid: u32) -> Result<()> {
        // One write of less than PIPE_BUF bytes is never mixed with another.
        self.pipe()?.write_all(format!("-{pid}\n").as_bytes()).context("tell the guard")
    }

    fn pipe(&self) -> Result<&PipeWriter> {
        self.0.pipe.as_ref().context("the guard is being stopped")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // The directory is gone when this returns.
        let _ = self.shell.wait();
    }
}
