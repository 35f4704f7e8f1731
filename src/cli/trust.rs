//! Arguments of all who ask outposts.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use crate::probe::{Trust, TrustError};
use clap::Args;
use std::path::PathBuf;

/// Whose certificates are accepted from outposts.
#[derive(Args, Clone, Debug)]
pub struct TrustArgs {
    /// PEM file of certificate authorities to accept from outposts that are reached by https, besides those of the system.
    #[arg(long, env = "INGRESS_SSO_OUTPOST_CA", value_name = "FILE")]
    outpost_ca: Option<PathBuf>,
}

impl TrustArgs {
    /// The authorities of the system and those in the file.
    pub fn trust(&self) -> Result<Trust, TrustError> {
        Trust::new(self.outpost_ca.as_deref())
    }
}
