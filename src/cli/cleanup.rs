//! Arguments of `ingress-sso cleanup`.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use super::PlanArgs;
use crate::commands::cluster::ClusterArgs;
use crate::config::{InvalidSetting, Scope};
use crate::contract::lease_name;
use crate::lease::LeaseName;
use clap::Args;

/// Arguments of `cleanup`.
#[derive(Args, Debug)]
pub struct CleanupArgs {
    /// Namespace of the apps. Without it: that of the kubeconfig's context.
    #[arg(long, short, value_name = "NAME", conflicts_with = "all_namespaces")]
    namespace: Option<String>,

    /// The apps of all namespaces.
    #[arg(long, short = 'A')]
    all_namespaces: bool,

    /// Leave everything as it is, and apps protected by it, but as nobody's: without the labels by which the controller knows
    /// its own, without statuses, and with annotations that the next to apply them owns.
    #[arg(long)]
    pub keep_protection: bool,

    /// Print what would be done, a request a line, and write nothing. The API server is asked whether it would.
    #[arg(long)]
    pub dry_run: bool,

    /// Name of the Lease of the controller. Without it: that of its Deployment, or of a controller with these settings.
    #[arg(long, env = "INGRESS_SSO_LEASE_NAME", value_name = "NAME")]
    lease_name: Option<String>,

    /// Namespace of that Lease. Without it: that of the Deployment, of the Pod, or of the kubeconfig.
    #[arg(long, env = "INGRESS_SSO_LEASE_NAMESPACE", value_name = "NAME")]
    lease_namespace: Option<String>,

    /// See [`ClusterArgs`].
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,
}

impl CleanupArgs {
    /// Whose apps are meant; `usual_namespace` is for arguments that name none.
    pub fn scope(&self, usual_namespace: &str) -> Result<Scope, InvalidSetting> {
        if self.all_namespaces {
            return Ok(Scope::Cluster);
        }
        let namespace = self.namespace.as_deref().unwrap_or(usual_namespace);
        Scope::new("--namespace", &[namespace.to_owned()])
    }

    /// The Lease to hold meanwhile: as given, or else that of the controller `found`, or else the one that a controller with
    /// `prefix` for all namespaces has in `usual_namespace`.
    pub fn lease(
        &self,
        found: Option<LeaseName>,
        prefix: &str,
        usual_namespace: &str,
    ) -> Result<LeaseName, InvalidSetting> {
        let found = found.map(|lease| (lease.namespace, lease.name));
        let (namespace, name) = found.unwrap_or_else(|| (usual_namespace.to_owned(), lease_name(prefix, [])));
        LeaseName::new(
            self.lease_namespace.as_deref().unwrap_or(&namespace),
            self.lease_name.as_deref().unwrap_or(&name),
        )
    }
}
