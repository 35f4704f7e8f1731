//! Arguments of `ingress-sso status`.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use super::PrefixArgs;
use crate::commands::cluster::ClusterArgs;
use crate::facts::is_dns_label;
use clap::{Args, ValueEnum};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Namespace to look in. Without it: that of the kubeconfig's context.
    #[arg(long, short, value_name = "NAME", value_parser = namespace, conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,

    /// Look in all namespaces.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,

    /// After the table, print a line for each app that changes, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,

    /// wide: all hosts, whole messages, and the class. json: one object, or with --watch one object a line.
    #[arg(long, short, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub output: Option<StatusOutput>,

    /// See [`ClusterArgs`].
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// See [`PrefixArgs`].
    #[command(flatten)]
    pub prefix: PrefixArgs,
}

/// How `status` prints, if not as a table that fits the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    /// A table with everything.
    Wide,
    /// JSON.
    Json,
}

fn namespace(name: &str) -> Result<String, String> {
    if is_dns_label(name) {
        return Ok(name.to_owned());
    }
    Err("a namespace's name is a DNS label: a-z, 0-9 and dashes, at most 63".to_owned())
}
