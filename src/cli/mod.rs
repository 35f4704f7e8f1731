//! The command line, and nothing else. Its doc comments are the text of `--help`.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

mod admission;
mod cleanup;
mod doctor;
mod plan;
mod run;
mod status;
mod trust;

pub use admission::{AdmissionArgs, Policy};
pub use cleanup::CleanupArgs;
pub use doctor::{DoctorArgs, Output};
pub use plan::{PlanArgs, PrefixArgs, TraefikArgs};
pub use run::RunArgs;
pub use status::{StatusArgs, StatusOutput};
pub use trust::TrustArgs;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Puts an app on Kubernetes behind authentik when its Ingress carries one annotation.
#[derive(Debug, Parser)]
#[command(name = "ingress-sso", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller against the cluster of the current kubeconfig, or of the Pod it runs in.
    Run(RunArgs),
    /// Print what the controller would make of the Ingresses in a file, as YAML to apply or commit. Needs no cluster.
    ///
    /// Documents that are not Ingresses, or that do not ask for protection, pass through as they are. What cannot be
    /// protected passes through too, is explained on standard error, and makes the exit code 1. IngressClass and
    /// outpost Service documents in the input are taken into account.
    Render(RenderArgs),
    /// Print admission policies by which the API server itself closes an app from the moment it asks for protection until the
    /// controller has protected it, and others that say who may do what; as YAML to apply or commit. Needs no cluster.
    ///
    /// Without the first an app is open between its creation and the controller's first write: for milliseconds, or for as long as
    /// the controller does not run. They need Kubernetes 1.36 or later, the others 1.30. Who serves an app is read from its
    /// IngressClass when the app is created or changed; a --class that the controller was given is to be given here as well.
    Admission(AdmissionArgs),
    /// Show what became of the apps in a cluster, as the controller wrote it on their Ingresses.
    ///
    /// What needs somebody comes first. Needs the right to list Ingresses in the namespace, and no other. The exit code is 0
    /// whenever they could be listed, whatever the statuses.
    Status(StatusArgs),
    /// Look at everything that could be wrong with the controller, the outposts and the apps of a cluster, and say for each
    /// what was found and what to do about it. Changes nothing.
    ///
    /// Each finding is a line with ✓ (good), ! (a catch), ✗ (wrong) or - (nobody could look); what to do is below it. Outposts
    /// are asked as a stranger would ask them, whether they serve the hosts of the apps: directly, or through the API server
    /// where their names do not resolve. Without settings, those of the controller's Deployment are taken. The exit code is 0
    /// where all is good, 1 where there are catches only, and 2 where something is wrong or there is no cluster to look at.
    Doctor(DoctorArgs),
    /// Take back everything that the controller made, when it is to be uninstalled: auth annotations first, then routes, then
    /// what apps share. With --keep-protection, leave it in place as nobody's instead.
    ///
    /// The controller must not run meanwhile: stop it first. Annotations that users wrote stay, also those that ask for
    /// protection. It can be run again at any time. The exit code is 0 where nothing of the controller's is left, 1 where
    /// something could not be done or has to stay, and 2 where nothing was done at all.
    Cleanup(CleanupArgs),
}

/// Arguments of `render`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,

    /// YAML file with one or more documents; - is standard input.
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,

    /// Namespace of Ingresses that name none.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
}
