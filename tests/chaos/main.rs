//! Whatever fails, an app that asked for protection is not opened by the controller, and in the end all is as it should be.
//!
//! Two replicas of the real controller, on a real API server and a real etcd, while people make, change and delete apps and
//! what was made for them, and while replicas, API server and etcd are killed and stopped, requests are refused, answers lost
//! and watches stall (see [`trouble`] and [`people`]). What people and trouble do follows from a seed; when exactly it happens
//! does not. Every other seed has the policies of `ingress-sso admission`. Afterwards each write is judged that etcd remembers, in
//! order (see [`judge`]), whoever may have seen it.
//!
//! `CHAOS_SEEDS` is how many seeds there are (20), `CHAOS_FIRST` the first of them (1), `CHAOS_SECONDS` how long each has trouble
//! (15).

#![allow(clippy::expect_used, reason = "the vocabulary of random worlds, which this shares, is fixed text")]

mod admission;
mod app;
mod clock;
mod insist;
mod judge;
mod ledger;
mod people;
mod replay;
mod seed;
mod trouble;

#[path = "../properties/checks.rs"]
#[allow(dead_code, reason = "random worlds check more of it")]
mod checks;
#[path = "../properties/cluster.rs"]
#[allow(dead_code, reason = "random worlds write to it, here etcd says what it is")]
mod cluster;
#[path = "../properties/controller.rs"]
#[allow(dead_code, reason = "here the controller is the real one")]
mod controller;
#[path = "../properties/ownership.rs"]
#[allow(dead_code, reason = "here the API server says what is whose")]
mod ownership;
#[path = "../specification/validators.rs"]
mod validators;
#[path = "../properties/world.rs"]
#[allow(dead_code, reason = "here people have their own vocabulary")]
mod world;

use anyhow::{Context, Result};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::environment::number;
use libtest_mimic::{Arguments, Failed, Trial};
use seed::{Seed, Tally};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Seeds at once, each on a control plane of its own.
const THREADS: usize = 4;

/// What all seeds share.
#[derive(Default)]
struct Shared {
    /// Control planes that no seed uses now.
    planes: Mutex<Vec<ControlPlane>>,
    tally: Mutex<Tally>,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    let shared = Arc::<Shared>::default();
    let seconds = number("CHAOS_SECONDS", 15)?;
    let first: u64 = number("CHAOS_FIRST", 1)?;
    let trials = (first..first.saturating_add(number("CHAOS_SEEDS", 20)?)).map(|seed| {
        let shared = Arc::clone(&shared);
        Trial::test(format!("seed_{seed}"), move || {
            shared.run(seed, Duration::from_secs(seconds)).map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    Ok(if shared.tell() { conclusion.exit_code() } else { ExitCode::FAILURE })
}

impl Shared {
    fn run(&self, number: u64, span: Duration) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let idle = self.planes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        runtime.block_on(async {
            let plane = match idle {
                Some(plane) => plane,
                None => seed::control_plane().await?,
            };
            let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos").join(format!("seed-{number}"));
            // One on which something went wrong is not used again.
            let seed = Seed { plane: &plane, number, span, dir: &dir };
            let again =
                || format!("again with: make chaos SEEDS=1 FIRST={number} SECONDS={}", span.as_secs());
            let tally = Box::pin(seed.live()).await.with_context(again)?;
            self.planes.lock().unwrap_or_else(PoisonError::into_inner).push(plane);
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
            Ok(())
        })
    }

    /// Says what was lived through; and false if seeds ended well in which there was nothing to judge.
    fn tell(&self) -> bool {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        println!(
            "{} seeds: {} acts of people, {} writes judged; {} times an app was called protected, and while people undid that it \
             was not for {:.1?} at most\ntrouble: {:?}\nfaults: {:?}\n",
            tally.seeds,
            tally.acts,
            tally.writes,
            tally.promises,
            tally.longest_broken,
            tally.troubles,
            tally.faults
        );
        // They end with it, and not when the process does.
        self.planes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let missing = [
            (tally.promises == 0, "no app was ever called protected"),
            (tally.troubles.is_empty(), "there was no trouble"),
            (tally.faults.is_empty(), "no request, answer or watch went wrong"),
        ];
        let missing: Vec<&str> = missing
            .into_iter()
            .filter(|(is_so, _)| *is_so && tally.seeds > 0)
            .map(|(_, what)| what)
            .collect();
        if !missing.is_empty() {
            eprintln!("error: {}, so nothing was held: give the seeds more seconds", missing.join(", and "));
        }
        missing.is_empty()
    }
}
