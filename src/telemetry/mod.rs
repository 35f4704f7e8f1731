//! Logs, and the endpoints by which Kubernetes asks how the process is, and Prometheus what it does.

pub mod metrics;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics::{Metrics, OPEN_METRICS};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged unless `RUST_LOG` says otherwise. The client's own lines name neither the request nor the object;
/// whoever made the request logs its failure better.
const DEFAULT_FILTER: &str = "warn,ingress_sso=info,kube_client=off";

/// Starts logging to standard error. `RUST_LOG` says how much; this program's own lines of level `info` by default.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Whether the process is ready, for [`serve`] to tell.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// All caches are filled.
    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the process tells of itself when it is asked. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// For Kubernetes.
    pub health: Health,
    /// For Prometheus.
    pub metrics: Metrics,
}

/// Listens at `address`.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves `/healthz`, 200 as long as the process runs, `/readyz`, 200 once all caches are filled and 503 before, and
/// `/metrics`, until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    telemetry: Telemetry,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let Telemetry { health, metrics } = telemetry;
    let ready = move || async move {
        if health.is_ready() {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "some lists are not complete; the log says which\n")
        }
    };
    let metrics = move || async move {
        let text = metrics.encode().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok::<_, StatusCode>(([(CONTENT_TYPE, OPEN_METRICS)], text))
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
