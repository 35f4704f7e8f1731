//! What is to be measured.

use crate::cost::Cluster;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// See the module's documentation.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) apps: Vec<usize>,
    pub(crate) layouts: Vec<Layout>,
    pub(crate) concurrencies: Vec<usize>,
    pub(crate) rounds: usize,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) samples: usize,
    pub(crate) storm: usize,
    pub(crate) ingresses: Vec<usize>,
    pub(crate) hot_seconds: u32,
    pub(crate) broken: usize,
    /// Two numbers of Ingresses for the inputs of the model, and a larger one to hold it against.
    pub(crate) cost: Vec<usize>,
    pub(crate) cluster: Cluster,
    pub(crate) output: PathBuf,
}

impl Plan {
    /// All of it.
    pub(crate) fn full() -> Self {
        Self {
            apps: vec![500, 2_000, 5_000],
            layouts: Layout::value_variants().to_vec(),
            concurrencies: vec![4, 16, 64],
            rounds: 3,
            scenarios: Scenario::value_variants().to_vec(),
            samples: 200,
            storm: 1_000,
            ingresses: vec![10_000, 100_000],
            hot_seconds: 60,
            broken: 10_000,
            cost: vec![4_000, 12_000, 30_000],
            ..Self::default()
        }
    }

    /// Enough to see whether a change was for better or worse.
    pub(crate) fn quick() -> Self {
        Self {
            apps: vec![200, 500],
            concurrencies: vec![16],
            rounds: 1,
            samples: 100,
            storm: 500,
            ingresses: vec![10_000],
            hot_seconds: 15,
            broken: 2_000,
            cost: vec![1_000, 5_000, 10_000],
            ..Self::full()
        }
    }

    /// The number of apps where one number has to do.
    pub(crate) fn most_apps(&self) -> usize {
        self.apps.iter().copied().max().unwrap_or(0)
    }
}

/// How apps lie in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    /// All in one.
    One,
    /// Ten in each.
    Ten,
    /// Each in its own.
    Each,
}

impl Layout {
    /// How many apps of `apps` are in a namespace.
    pub(crate) fn apps_in_a_namespace(self, apps: usize) -> usize {
        match self {
            Self::One => apps.max(1),
            Self::Ten => 10,
            Self::Each => 1,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::One => "one",
            Self::Ten => "ten",
            Self::Each => "each",
        })
    }
}

/// A question to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// How long until all of many apps are protected?
    ColdStart,
    /// How long until one is?
    Latency,
    /// What does it cost to start again, and to undo everything?
    Restart,
    /// How much memory for how many Ingresses?
    Memory,
    /// What does one Ingress cost that others edit all the time?
    Hot,
    /// How long until one is protected beside very many that are refused and edited all the time?
    Broken,
    /// What does one more Ingress, opt-in, edit or watched namespace cost, and so a cluster of any size?
    Cost,
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ColdStart => "cold start",
            Self::Latency => "latency",
            Self::Restart => "restart",
            Self::Memory => "memory",
            Self::Hot => "hot app",
            Self::Broken => "broken apps",
            Self::Cost => "cost",
        })
    }
}
