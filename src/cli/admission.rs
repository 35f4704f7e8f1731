//! Arguments of `ingress-sso admission`.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use super::PlanArgs;
use crate::config::{self, InvalidSetting};
use clap::{Args, ValueEnum};

/// Arguments of `admission`.
#[derive(Args, Debug)]
pub struct AdmissionArgs {
    /// Which policies, separated by commas. closing: an app is closed until it is protected. status: only the
    /// controller writes what the annotations say of an app. opening: only those who hold the right may open an app
    /// that asks for protection.
    #[arg(long = "policy", value_delimiter = ',', default_value = "closing", value_name = "POLICY")]
    pub policies: Vec<Policy>,

    /// ServiceAccount of a controller, which the policies status and opening exempt; repeatable.
    #[arg(
        long = "controller",
        value_delimiter = ',',
        default_value = "ingress-sso/ingress-sso",
        value_name = "NAMESPACE/NAME"
    )]
    controllers: Vec<String>,

    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// What can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// An app is closed until it is protected.
    Closing,
    /// Only the controller writes what is said of an app.
    Status,
    /// Only those who hold the right may open an app.
    Opening,
}

impl Policy {
    /// In the order in which they are printed.
    pub const ALL: [Self; 3] = [Self::Closing, Self::Status, Self::Opening];
}

impl AdmissionArgs {
    /// The controllers' users, as the API server knows them.
    pub fn accounts(&self) -> Result<Vec<String>, InvalidSetting> {
        config::accounts("--controller", &self.controllers)
    }
}
