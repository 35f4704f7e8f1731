//! The controller as it is measured.

use crate::usage::{Usage, cpu_seconds};
use crate::world::World;
use anyhow::{Result, ensure};
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::scene::OUTPOST;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long it may take until it is ready.
const PATIENCE: Duration = Duration::from_mins(5);

/// How many apps the controller works on at once unless it is told otherwise.
pub(crate) const CONCURRENCY: usize = 16;

/// A running controller and when it was started. Dropping it kills it.
pub(crate) struct Subject {
    controller: Controller,
    pub(crate) start: Instant,
}

impl Subject {
    /// Starts it in `world`, and does not wait for it.
    pub(crate) fn start(program: &Path, world: &World, concurrency: usize) -> Result<Self> {
        Self::start_with(program, world, &["--concurrency".to_owned(), concurrency.to_string()])
    }

    /// The same with other arguments.
    pub(crate) fn start_with(program: &Path, world: &World, args: &[String]) -> Result<Self> {
        let builder = Controller::builder(program)
            .kubeconfig(world.plane.kubeconfig())
            .args(["--outpost", OUTPOST])
            .args(args);
        let start = Instant::now();
        Ok(Self { controller: builder.start()?, start })
    }

    /// Starts it and returns when it is ready, with the time from the start.
    pub(crate) async fn ready(program: &Path, world: &World, concurrency: usize) -> Result<(Self, Duration)> {
        let subject = Self::start(program, world, concurrency)?;
        let time = subject.until_ready().await?;
        Ok((subject, time))
    }

    /// Returns when it is ready, with the time from the start.
    pub(crate) async fn until_ready(&self) -> Result<Duration> {
        loop {
            if let Ok(answer) = self.controller.get("/readyz").await
                && answer.status == 200
            {
                return Ok(self.start.elapsed());
            }
            let process = self.controller.process();
            process.ensure_running()?;
            ensure!(self.start.elapsed() < PATIENCE, process.failure("is not ready"));
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.controller.process().ensure_running()?;
        Usage::of(self.controller.process().pid())
    }

    /// Explains an error by the end of its log.
    pub(crate) fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        self.controller.process().failure(&format!("{error:#}"))
    }
}

/// CPU seconds of the servers of `world` so far.
pub(crate) fn servers_cpu(world: &World) -> Result<f64> {
    world.plane.pids().into_iter().map(cpu_seconds).sum()
}
