//! `ingress-sso run`: the controller.

use super::CommandError;
use super::admission::{self, Support};
use crate::cli::RunArgs;
use crate::config::Settings;
use crate::controller::{self, Options};
use crate::telemetry::{self, Telemetry};
use kube::Client;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Checks the settings, then runs until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> Result<(), CommandError> {
    let settings = args.plan.settings()?;
    let (scope, outpost_scope) = args.scopes()?;
    telemetry::start_logging(args.log_format);
    let probe = args.trust()?.map(Arc::new);
    let options =
        Options { scope, outpost_scope, concurrency: usize::from(args.concurrency), probe, lease: None };
    // One thread: it waits for the API most of the time, and each further one has memory of its own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    runtime.block_on(run_until_signal(args, settings, options))
}

async fn run_until_signal(args: &RunArgs, settings: Settings, options: Options) -> Result<(), CommandError> {
    let address = args.listen;
    let listener =
        telemetry::listen(address).await.map_err(|error| CommandError::Listen { address, error })?;
    let (client, namespace) = client().await?;
    let options = Options { lease: args.lease(&namespace)?, ..options };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        prefix = settings.keys.opt_in,
        outposts = ?settings.outposts.keys().collect::<Vec<_>>(),
        scope = ?options.scope,
        %address,
        "starting"
    );
    tokio::spawn(tell_of_admission(client.clone()));
    let (telemetry, shutdown) = (Telemetry::default(), CancellationToken::new());
    let server = tokio::spawn(telemetry::serve(listener, telemetry.clone(), shutdown.clone()));
    stop_on_signal(&shutdown)?;
    controller::run(client, Arc::new(settings), options, telemetry, shutdown).await;
    if let Ok(Err(error)) = server.await {
        error!(%error, "the endpoints for health and metrics failed");
    }
    Ok(())
}

/// Once, whether somebody should know of the moment in which a new app is open. Whether policies close it cannot be seen without
/// rights that nothing else needs.
async fn tell_of_admission(client: Client) {
    match admission::support(&client).await {
        Support::There => info!(
            "a new app is open until the first write to it, unless the policies that `ingress-sso admission` prints close it"
        ),
        Support::Missing { version } => info!(
            version,
            "a new app is open until the first write to it: policies that close it need Kubernetes 1.36"
        ),
        Support::Unknown => {}
    }
}

/// A client that leaves retries to the queue, which knows the keys and spreads them; and the namespace of the Pod, or of the
/// kubeconfig.
async fn client() -> Result<(Client, String), CommandError> {
    let mut config = kube::Config::infer()
        .await
        .map_err(|error| CommandError::NoCluster(kube::Error::InferConfig(error)))?;
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config).map_err(CommandError::NoCluster)?, namespace))
}

fn stop_on_signal(shutdown: &CancellationToken) -> Result<(), CommandError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Start)?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
        }
        shutdown.cancel();
    });
    Ok(())
}
