//! Arguments of `ingress-sso doctor`.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use super::{PlanArgs, TrustArgs};
use crate::commands::cluster::ClusterArgs;
use crate::knock::Through;
use clap::{Args, ValueEnum};

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The Ingress of an app, to look at what bears on that one only. Without it: all that ask for protection.
    #[arg(value_name = "INGRESS")]
    pub ingress: Option<String>,

    /// Namespace of the apps to look at. Without it: that of the context for an INGRESS, else all.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Knock at the apps' public addresses as well, as a stranger with the known tricks: up to 28 harmless GETs for each host.
    /// With a URL such as https://203.0.113.5, what listens there is taken for their ingress controller, whatever DNS says.
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    #[allow(clippy::option_option, reason = "a flag that may have a value")]
    pub through: Option<Option<Through>>,

    /// See [`ClusterArgs`].
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// How findings are printed.
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Output,

    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,

    /// See [`TrustArgs`].
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: {"checks": [{"level", "subject", "finding", "remedy"}]}.
    Json,
}
