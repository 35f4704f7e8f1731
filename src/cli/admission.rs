//! Arguments of `ingress-sso admission`.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use super::PlanArgs;
use crate::commands::cluster::ClusterArgs;
use clap::Args;

/// Arguments of `admission`.
#[derive(Args, Debug)]
pub struct AdmissionArgs {
    /// See [`ClusterArgs`].
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,
}
