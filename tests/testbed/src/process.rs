//! A child process under a guard, with its log.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use tokio::time::sleep;

use crate::{guard::Guard, wait::eventually};

/// How long a stopped process may take to stand still.
const STILL: Duration = Duration::from_secs(10);

/// Lines of a log that an error shows.
const TAIL: usize = 40;

/// A child process with all its descendants in one process group, started by [`Guard::spawn`].
///
/// Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    state: Mutex<State>,
    log: PathBuf,
    /// Where in the file the log of this process begins: an earlier one may have had the same name.
    begin: u64,
    guard: Guard,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// Set once it has been waited for, and its id may belong to another process.
    ended: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn new(name: String, child: Child, log: PathBuf, begin: u64, guard: Guard) -> Self {
        let pid = child.id();
        Self { name, pid, state: Mutex::new(State { child, ended: None }), log, begin, guard }
    }

    /// Its process id, which is the id of its process group too.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that has its output, maybe after that of an earlier process of the same name.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All it has written so far to standard output and standard error. Bytes that are no UTF-8 are replaced.
    pub fn logs(&self) -> Result<String> {
        let mut bytes = Vec::new();
        File::open(&self.log)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(self.begin))?;
                file.read_to_end(&mut bytes)
            })
            .with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The exit status if it has ended, `None` while it runs or is stopped.
    pub fn exited(&self) -> Result<Option<ExitStatus>> {
        let mut state = self.state();
        if state.ended.is_none() {
            state.ended = state.child.try_wait().with_context(|| format!("wait for {}", self.name))?;
            if state.ended.is_some() {
                self.guard.forget(self.pid)?;
            }
        }
        Ok(state.ended)
    }

    /// An error that names the process, says what became of it, and shows the end of its log.
    pub fn failure(&self, what: &str) -> Error {
        let state = match self.exited() {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => String::from("still running"),
            Err(error) => format!("{error:#}"),
        };
        let logs = self.logs().unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = logs.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        anyhow!("{}: {what} ({state}); the end of its log:\n{tail}", self.name)
    }

    /// Fails if it has ended, with the end of its log.
    pub fn ensure_running(&self) -> Result<()> {
        match self.exited()? {
            Some(_) => Err(self.failure("ended early")),
            None => Ok(()),
        }
    }

    /// Waits until `check` succeeds, at most `timeout`; `what` is it that is waited for, such as "a ready Traefik".
    ///
    /// Fails after that time, or at once if it has ended, with the end of its log.
    pub async fn until_ready<F, Fut>(&self, what: &str, timeout: Duration, mut check: F) -> Result<()>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let ready = eventually(what, timeout, || {
            let running = self.ensure_running();
            let look = running.is_ok().then(&mut check);
            async move {
                match look {
                    Some(look) => look.await.map(|()| Some(Ok(()))),
                    None => Ok(Some(running)),
                }
            }
        });
        ready.await.unwrap_or_else(Err).map_err(|error| self.failure(&format!("{error:#}")))
    }

    /// Kills it (SIGKILL) with its descendants. It has ended when this returns. Nothing happens if it had
    /// ended before.
    pub fn kill(&self) -> Result<()> {
        if self.exited()?.is_none() {
            self.signal("KILL")?;
            let mut state = self.state();
            state.ended = Some(state.child.wait().with_context(|| format!("wait for {}", self.name))?);
            self.guard.forget(self.pid)?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for that, at most `timeout`. Returns its exit status and the time it
    /// took. Fails when it had ended before, or has not ended by then; it is then still running.
    pub async fn terminate(&self, timeout: Duration) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        self.signal("TERM")?;
        loop {
            if let Some(status) = self.exited()? {
                return Ok((status, start.elapsed()));
            }
            if start.elapsed() > timeout {
                return Err(self.failure(&format!("did not end within {timeout:.1?} of SIGTERM")));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops it (SIGSTOP): its connections stay open, and nothing answers on them. Returns when all its threads stand
    /// still, which the signal alone does not wait for.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP")?;
        let start = Instant::now();
        while !self.stands_still()? {
            ensure!(start.elapsed() < STILL, self.failure("does not stop"));
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets it go on after [`Process::pause`] (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Sends a signal, named without `SIG`, to the process group. Fails if the process has ended.
    pub fn signal(&self, signal: &str) -> Result<()> {
        ensure!(self.exited()?.is_none(), self.failure(&format!("cannot get SIG{signal}, it has ended")));
        // Through a shell, since signals need `unsafe` or a crate, and a `kill` program is not everywhere.
        let kill = Command::new("sh")
            .args(["-c", r#"kill -s "$1" -- "-$2""#, "kill", signal, &self.pid.to_string()])
            .output()
            .context("run sh")?;
        if !kill.status.success() {
            bail!("SIG{signal} to {}: {}", self.name, String::from_utf8_lossy(&kill.stderr).trim());
        }
        Ok(())
    }

    /// Whether none of its threads runs. Linux only: fails where there is no `/proc`.
    fn stands_still(&self) -> Result<bool> {
        let tasks = format!("/proc/{}/task", self.pid);
        for task in std::fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
            // A thread that has just ended does not run either.
            let Ok(status) = std::fs::read_to_string(task?.path().join("status")) else { continue };
            let state =
                status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default().trim();
            if !state.starts_with(['T', 't', 'Z', 'X']) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Its resident memory in bytes. Linux only: fails where there is no `/proc`, or when it has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS in kB")?;
        Ok(kib.parse::<u64>().with_context(|| format!("VmRSS of {path}"))? * 1024)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the child as valid as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What fails here is left to the guard.
        let _ = self.kill();
    }
}
