//! How fast and how lean the controller is, on a real control plane, beside a loop that only sends the same writes.
//!
//! Argument: the `ingress-sso` program, built for release; `--help` has the rest. Nothing here asserts a time: each
//! target is printed beside what was measured, and the exit code says only whether everything could be measured.

mod args;
mod bare;
mod broken;
mod cold_start;
mod cost;
mod hot;
mod latency;
mod machine;
mod memory;
mod output;
mod plan;
mod progress;
mod raw_watch;
mod report;
mod restart;
mod results;
mod sightings;
mod stats;
mod subject;
mod targets;
mod usage;
mod world;

use anyhow::{Context, Result};
use args::Args;
use clap::Parser;
use plan::{Plan, Scenario};
use progress::Progress;
use results::Results;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match bench(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints and writes files. Returns whether every scenario could be measured.
async fn bench(args: &Args) -> Result<bool> {
    if let Some(tables) = args.model() {
        for (title, table) in tables? {
            print!("{}", report::section(&title, &table));
        }
        return Ok(true);
    }
    let plan = args.plan()?;
    let mut results = Results::new(&plan).await.context("look at the machine")?;
    let mut progress = Progress::new(&plan);
    for scenario in plan.scenarios.clone() {
        if let Err(error) = measure(scenario, &plan, &mut progress, &mut results).await {
            results.fail(&scenario.to_string(), &error);
        }
        output::write_json(&plan, &results)?;
    }
    output::write_plot(&plan, &results)?;
    print!("{}", report::report(&results));
    Ok(results.failures.is_empty())
}

async fn measure(
    scenario: Scenario,
    plan: &Plan,
    progress: &mut Progress,
    results: &mut Results,
) -> Result<()> {
    match scenario {
        Scenario::ColdStart => cold_start::run(plan, progress, results).await?,
        Scenario::Latency => results.latency = Some(latency::run(plan, progress).await?),
        Scenario::Restart => results.restart = Some(restart::run(plan, progress).await?),
        Scenario::Memory => memory::run(plan, progress, &mut results.memory).await?,
        Scenario::Broken => results.broken = Some(broken::run(plan, progress).await?),
        Scenario::Hot => results.hot = Some(hot::run(plan, progress).await?),
        Scenario::Cost => cost::run(plan, progress, results).await?,
    }
    Ok(())
}
