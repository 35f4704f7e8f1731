//! The cluster that a subcommand looks at, found as kubectl finds it.

use super::CommandError;
use clap::Args;
use kube::config::{KubeConfigOptions, KubeconfigError};
use kube::{Client, Config, Error};

/// Which cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// Context of the kubeconfig. Without it: the current one, or the Pod's own cluster where there is no kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// A client of that cluster, and the namespace that is meant where none is named: the context's, or the Pod's own.
///
/// The kubeconfig is that of `KUBECONFIG`, else `~/.kube/config`. No request is sent. The client does not retry: whoever
/// waits at a terminal would rather read what is wrong.
///
/// Fails without a usable kubeconfig or Pod, and where the kubeconfig has no such context.
pub async fn client(args: &ClusterArgs) -> Result<(Client, String), CommandError> {
    let mut config = match &args.context {
        None => Config::infer().await.map_err(|error| CommandError::NoCluster(Error::InferConfig(error)))?,
        Some(context) => {
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            let no_context = |error| {
                let error = match error {
                    KubeconfigError::LoadContext(_) => "there is no such context".to_owned(),
                    other => other.to_string(),
                };
                CommandError::NoContext { context: context.clone(), error }
            };
            Config::from_kubeconfig(&options).await.map_err(no_context)?
        }
    };
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config).map_err(CommandError::NoCluster)?, namespace))
}
