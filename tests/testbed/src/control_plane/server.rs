//! A server that can be stopped and started again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::process::Process;

/// Its process; `None` while it is stopped.
#[derive(Debug)]
pub(super) struct Server(Mutex<Option<Process>>);

impl Server {
    pub(super) fn running(process: Process) -> Self {
        Self(Mutex::new(Some(process)))
    }

    /// Kills it (SIGKILL). Fails when it is stopped already.
    pub(super) fn stop(&self) -> Result<()> {
        self.process().take().context("the server is stopped already")?.kill()
    }

    /// Has `start` make its process anew. Fails when it is running.
    pub(super) fn start(&self, start: impl FnOnce() -> Result<Process>) -> Result<()> {
        let mut process = self.process();
        ensure!(process.is_none(), "the server is not stopped");
        *process = Some(start()?);
        Ok(())
    }

    /// Stops it (SIGSTOP).
    pub(super) fn pause(&self) -> Result<()> {
        self.process().as_ref().context("the server is stopped")?.pause()
    }

    /// Lets it go on (SIGCONT).
    pub(super) fn resume(&self) -> Result<()> {
        self.process().as_ref().context("the server is stopped")?.resume()
    }

    /// Fails if it has ended by itself, with the end of its log.
    pub(super) fn ensure_running(&self) -> Result<()> {
        self.process().as_ref().context("the server is stopped")?.ensure_running()
    }

    /// Resident memory in bytes; 0 while it is stopped.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        Ok(self.process().as_ref().map(Process::resident_bytes).transpose()?.unwrap_or_default())
    }

    /// Its process id, unless it is stopped.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // A panic elsewhere leaves it as valid as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
