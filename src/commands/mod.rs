//! The subcommands.

mod admission;
mod cleanup;
pub mod cluster;
mod doctor;
mod render;
mod run;
mod status;

pub use admission::{admission, guards as admission_guards, manifests as admission_manifests};
pub use cleanup::cleanup;
pub use doctor::{Check, Level, NEEDED_OWN_RIGHTS, NEEDED_RIGHTS, doctor};
pub use render::{Problem, Rendered, render, render_text};
pub use run::run;
pub use status::status;

use crate::config::InvalidSetting;
use crate::controller::withdraw::WithdrawError;
use crate::probe::TrustError;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why a subcommand cannot do its work at all.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum CommandError {
    #[error("{0}")]
    Setting(#[from] InvalidSetting),

    #[error("{0}")]
    Trust(#[from] TrustError),

    #[error(
        "cannot find a cluster: {0}. Outside a Pod set KUBECONFIG to a kubeconfig file; inside one check that its \
         ServiceAccount token is mounted"
    )]
    NoCluster(kube::Error),

    #[error(
        "--context {context}: {error}; set KUBECONFIG to a kubeconfig that has it: `kubectl config get-contexts` lists \
         those of the current one"
    )]
    NoContext { context: String, error: String },

    #[error("cannot {verb} ingresses.networking.k8s.io {scope}: {error}; {remedy}")]
    Ingresses { verb: &'static str, scope: String, error: String, remedy: String },

    #[error("the API server does not answer: {0}. Check that kubectl version reaches it from here")]
    Unreachable(String),

    #[error("{error}; {stop}")]
    StillRunning { error: String, stop: String },

    #[error("you may not {rights}\n{remedy}")]
    MissingRights { rights: String, remedy: String },

    #[error(
        "{error}; nothing was done. Delete {policies} first: kubectl delete \
         mutatingadmissionpolicies,mutatingadmissionpolicybindings -l app.kubernetes.io/name=ingress-sso, or helm upgrade with \
         --set admission.closing.enabled=false where the chart has them"
    )]
    Closing { error: String, policies: String },

    #[error("{0}")]
    Cleanup(WithdrawError),

    #[error("--listen {address}: {error}; choose a free address of this machine")]
    Listen { address: SocketAddr, error: std::io::Error },

    #[error("cannot start: {0}")]
    Start(std::io::Error),

    #[error("--file {}: {error}", .path.display())]
    Read { path: PathBuf, error: std::io::Error },

    #[error("--file {}, document {number}: {error}", .path.display())]
    Yaml { path: PathBuf, number: usize, error: String },
}
