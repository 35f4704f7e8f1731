//! The command line. Its doc comments are the text of `--help`.

use crate::cost::{Cluster, model_from};
use crate::plan::{Layout, Plan, Scenario};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use comfy_table::Table;
use std::path::PathBuf;

/// Measures the controller on a real control plane, beside a bare loop that sends the same writes.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
pub(crate) struct Args {
    /// The program `ingress-sso`, built for release.
    program: PathBuf,

    /// A small matrix in a few minutes; the other flags still choose.
    #[arg(long)]
    quick: bool,

    /// Numbers of apps for the cold start. The largest is also that of the restart.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    apps: Vec<usize>,

    /// How apps lie in namespaces: one for all, ten in each, each its own.
    #[arg(long, value_delimiter = ',', value_enum)]
    layouts: Vec<Layout>,

    /// How many apps are worked on at once.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    concurrency: Vec<usize>,

    /// How often each pair of bare loop and controller is measured.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// What to measure; all of it without this.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Scenario>,

    /// How many single apps opt in at rest.
    #[arg(long, value_name = "N")]
    samples: Option<usize>,

    /// How many apps opt in at once in the storm.
    #[arg(long, value_name = "N")]
    storm: Option<usize>,

    /// Numbers of Ingresses for the memory, a thousand of them opted in (or all, if they are fewer).
    #[arg(long, value_delimiter = ',', value_name = "N")]
    ingresses: Vec<usize>,

    /// For how many seconds one app is edited fifty times a second.
    #[arg(long, value_name = "N")]
    hot_seconds: Option<u32>,

    /// How many broken Ingresses are edited while single apps opt in.
    #[arg(long, value_name = "N")]
    broken: Option<usize>,

    /// Numbers of Ingresses for the cost, one in ten opted in: two for the inputs of the model, and a larger one to hold
    /// it against.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    cost: Vec<usize>,

    /// Measure nothing: say what the model makes of the inputs in this result.json.
    #[arg(long, value_name = "FILE")]
    model_from: Option<PathBuf>,

    /// See [`Cluster`].
    #[command(flatten)]
    cluster: Cluster,

    /// Directory for result.json and result.svg.
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    output: PathBuf,
}

impl Args {
    /// What the model says, if it is asked instead of the machine.
    pub(crate) fn model(&self) -> Option<Result<Vec<(String, Table)>>> {
        self.model_from.as_ref().map(|path| model_from(path, &self.cluster))
    }

    /// What these arguments ask for.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let defaults = if self.quick { Plan::quick() } else { Plan::full() };
        let program = self.program.canonicalize();
        let cost = given(&self.cost, defaults.cost);
        ensure!(
            cost.is_sorted_by(|few, many| few < many),
            "--cost: give each number once, the smallest first"
        );
        Ok(Plan {
            program: program.with_context(|| format!("find {}", self.program.display()))?,
            apps: given(&self.apps, defaults.apps),
            layouts: given(&self.layouts, defaults.layouts),
            concurrencies: given(&self.concurrency, defaults.concurrencies),
            rounds: self.rounds.unwrap_or(defaults.rounds),
            scenarios: given(&self.only, defaults.scenarios),
            samples: self.samples.unwrap_or(defaults.samples),
            storm: self.storm.unwrap_or(defaults.storm),
            ingresses: given(&self.ingresses, defaults.ingresses),
            hot_seconds: self.hot_seconds.unwrap_or(defaults.hot_seconds),
            broken: self.broken.unwrap_or(defaults.broken),
            cost,
            cluster: self.cluster.clone(),
            output: self.output.clone(),
        })
    }
}

fn given<T: Clone>(given: &[T], default: Vec<T>) -> Vec<T> {
    if given.is_empty() { default } else { given.to_vec() }
}
