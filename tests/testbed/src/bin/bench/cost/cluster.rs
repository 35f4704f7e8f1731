//! The clusters of which the model speaks.

use clap::Args;
use serde::Serialize;

/// What is assumed of a cluster. Its doc comments are the text of `--help`, and other arguments have the same short names.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub(crate) struct Cluster {
    /// The model: numbers of Ingresses.
    #[arg(
        id = "model-ingresses",
        long,
        value_delimiter = ',',
        value_name = "N",
        default_value = "1000,10000,100000"
    )]
    pub(crate) ingresses: Vec<u32>,

    /// The model: numbers of instances that share the work, beside one.
    #[arg(id = "model-shards", long, value_delimiter = ',', value_name = "N", default_value = "4,16")]
    pub(crate) shards: Vec<u32>,

    /// The model: share of Ingresses that are opted in.
    #[arg(id = "model-opted-in", long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) opted_in: f64,

    /// The model: Ingresses in a namespace.
    #[arg(id = "model-in-a-namespace", long, value_name = "N", default_value_t = 10.0)]
    pub(crate) in_a_namespace: f64,

    /// The model: how often a day an Ingress is changed, by a deployment, say.
    #[arg(id = "model-edits", long, value_name = "N", default_value_t = 2.0)]
    pub(crate) edits: f64,

    /// The model: share of all apps that opt in anew, or out and in again, in a day.
    #[arg(id = "model-opt-ins", long, value_name = "SHARE", default_value_t = 0.01)]
    pub(crate) opt_ins: f64,

    /// The model: how often an hour an instance lists everything, because it or its API server was started again.
    #[arg(id = "model-lists", long, value_name = "N", default_value_t = 0.1)]
    pub(crate) lists: f64,
}
