//! The real ingress-nginx controller with a real nginx, without containers.
//!
//! The controller is of July 2024, about version 1.11.1, the newest that the Go module proxy has; nginx is Debian's.
//! What it does about annotations, host merging and its webhook is the same up to the last version, 1.15, but for details
//! that a test which needs them has to name. Plain TCP and UDP, sticky sessions and rate limits do not work.

mod admins_lines;
mod files;
mod objects;
mod programs;
mod sandbox;

pub use admins_lines::admins_lines;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::{
    io::{copy, sink},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    control_plane::ControlPlane,
    guard::Guard,
    http::{self, Response},
    network,
    process::Process,
    wait::eventually,
    webhook_registration,
};

/// How long workers of before a reload may go on serving beside those of after it: nginx starts the new ones 100 ms before it
/// ends the old ones, and one reload may follow another.
pub const OVERLAP: Duration = Duration::from_millis(600);

/// Time for the controller to get up. Two seconds on an idle machine.
const START: Duration = Duration::from_mins(1);

/// Time for the ports of one that was stopped to be free again.
const FREE: Duration = Duration::from_secs(10);

const HEALTH_PORT: u16 = 10254;
const STREAM_PORT: u16 = 10247;
const WEBHOOK_PORT: u16 = 8443;

/// Ports that the controller wants to have to itself at its start, on any address.
const PORTS: [u16; 5] = [80, 443, HEALTH_PORT, STREAM_PORT, WEBHOOK_PORT];

/// What nginx is to do other than by default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Data of its `ConfigMap`, such as `server-snippet` or `global-auth-url`. See [`IngressNginx::set_config`].
    pub config: BTreeMap<String, String>,
    /// More arguments of the controller, such as `--disable-svc-external-name`.
    pub arguments: Vec<String>,
}

/// A running ingress-nginx. It ends when it is dropped; what it has in the cluster stays, its webhook too.
pub struct IngressNginx {
    process: Process,
    sandbox: PathBuf,
    client: Client,
    stream: JoinHandle<()>,
}

/// Makes sure that the controller and nginx are there, ahead of the tests that need them.
///
/// Fails when they cannot be had, with a reason to leave those tests out: see [`crate::skip`].
pub fn prepare() -> Result<()> {
    programs::nginx()?;
    programs::controller()?;
    Ok(())
}

impl IngressNginx {
    /// Starts it for Ingresses of the class `nginx`, and has the API server ask its webhook about every Ingress.
    ///
    /// Returns when the webhook answers; see [`IngressNginx::wait_ready`] for nginx. To be called before
    /// [`crate::traefik::Traefik::start`]: the controller insists at its start that port 80 is free on every address. It must not be used in another
    /// tokio runtime. Fails when its programs cannot be had (see [`prepare`]), outside of a private network, and when
    /// it ends early, with the end of its log.
    pub async fn start(plane: &ControlPlane, options: &Options) -> Result<Self> {
        network::ensure_inside()?;
        let (controller, nginx) =
            spawn_blocking(|| anyhow::Ok((programs::controller()?, programs::nginx()?))).await??;
        let client = plane.client()?;
        objects::install(&client, &options.config).await.context("prepare the cluster for ingress-nginx")?;
        ports_are_free().await?;
        let guard = Guard::new("ingress-nginx-")?;
        let sandbox = guard.dir().join("sandbox");
        sandbox::prepare(&sandbox, &controller, &nginx, plane).context("prepare a sandbox")?;
        let mut command = sandbox::command(&sandbox, &controller, &nginx);
        command.args(arguments(plane)).args(&options.arguments);
        command.env("POD_NAME", objects::POD).env("POD_NAMESPACE", objects::NAMESPACE);
        let process = guard.spawn("ingress-nginx", &command)?;
        // Once the health server listens, it has found all its ports free.
        listens(&process, HEALTH_PORT).await?;
        let stream = drain_stream().await?;
        let started = Self { process, sandbox, client, stream };
        listens(&started.process, WEBHOOK_PORT).await?;
        let authority =
            fs::read(plane.dir().join("authority.crt")).context("read the authority's certificate")?;
        let url = format!("https://127.0.0.1:{WEBHOOK_PORT}/networking/v1/ingresses");
        webhook_registration::register(&started.client, &url, &authority).await?;
        Ok(started)
    }

    /// Waits until nginx serves, at most a minute. Fails at once if the controller has ended.
    pub async fn wait_ready(&self) -> Result<()> {
        let health = SocketAddr::from((Ipv4Addr::LOCALHOST, HEALTH_PORT));
        self.process
            .until_ready("a ready ingress-nginx", START, || async {
                match http::get(health, "/healthz").await? {
                    Response { status: 200, .. } => Ok(()),
                    other => bail!("/healthz answers {}", other.status),
                }
            })
            .await
    }

    /// Where nginx listens, on ports 80 and 443. For https it has a certificate that it made itself.
    pub fn address(&self) -> Ipv4Addr {
        network::NGINX
    }

    /// Sets the data of its `ConfigMap`, instead of those of [`Options::config`] or of an earlier call. What a test
    /// machine needs stays. nginx acts on it within a second or so.
    pub async fn set_config(&self, config: &BTreeMap<String, String>) -> Result<()> {
        objects::configure(&self.client, config).await
    }

    /// How often nginx has been reloaded since the start. Endpoints of Services change without one.
    pub fn reloads(&self) -> Result<usize> {
        Ok(self.logs()?.matches("Backend successfully reloaded").count())
    }

    /// All that the controller has logged so far.
    pub fn logs(&self) -> Result<String> {
        self.process.logs()
    }

    /// nginx's own log of errors: what became of subrequests, among others.
    pub fn error_log(&self) -> Result<String> {
        self.read("var/log/nginx/error.log")
    }

    /// nginx's log of requests.
    pub fn access_log(&self) -> Result<String> {
        self.read("var/log/nginx/access.log")
    }

    /// The configuration that nginx has, or is about to get.
    pub fn configuration(&self) -> Result<String> {
        self.read("etc/nginx/nginx.conf")
    }

    /// The controller's process, for all else. nginx ends with it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn read(&self, name: &str) -> Result<String> {
        let bytes = fs::read(self.sandbox.join(name)).with_context(|| format!("read /{name} of nginx"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for IngressNginx {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

fn arguments(plane: &ControlPlane) -> [String; 13] {
    [
        format!("--apiserver-host={}", plane.url()),
        format!("--kubeconfig={}", sandbox::KUBECONFIG),
        format!("--configmap={}/{}", objects::NAMESPACE, objects::CONFIG_MAP),
        format!("--ingress-class={}", objects::CLASS),
        format!("--controller-class={}", objects::CONTROLLER),
        String::from("--update-status=false"),
        String::from("--disable-leader-election=true"),
        String::from("--enable-metrics=false"),
        // The most reloads a second. The default makes a test wait for three seconds after each change.
        String::from("--sync-rate-limit=10"),
        format!("--healthz-port={HEALTH_PORT}"),
        format!("--validating-webhook=127.0.0.1:{WEBHOOK_PORT}"),
        format!("--validating-webhook-certificate={}", sandbox::CERTIFICATE),
        format!("--validating-webhook-key={}", sandbox::KEY),
    ]
}

/// Waits until nothing listens on the controller's ports, such as what is left of one that was just stopped.
async fn ports_are_free() -> Result<()> {
    for port in PORTS {
        eventually(format!("port {port} to be free on every address"), FREE, || async move {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            Ok(Some(()))
        })
        .await
        .context(
            "ingress-nginx has to be started before all else that listens on its ports, such as Traefik",
        )?;
    }
    Ok(())
}

async fn listens(process: &Process, port: u16) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listening = eventually(format!("a listener on {address}"), START, || async {
        if let Err(ended) = process.ensure_running() {
            return Ok(Some(Err(ended)));
        }
        TcpStream::connect(address).await?;
        Ok(Some(Ok(())))
    });
    listening.await.unwrap_or_else(Err).map_err(|error| process.failure(&format!("{error:#}")))
}

/// Takes the configuration of plain TCP and UDP, which the controller insists on sending to an nginx that has no Lua
/// for it.
async fn drain_stream() -> Result<JoinHandle<()>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, STREAM_PORT)).await;
    let listener = listener.with_context(|| format!("listen on port {STREAM_PORT}"))?;
    Ok(tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move { copy(&mut connection, &mut sink()).await });
        }
    }))
}
