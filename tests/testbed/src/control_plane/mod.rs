//! etcd, kube-apiserver and kube-controller-manager as one value.
//!
//! Real servers with RBAC, the garbage collector and the namespace controller; there are no nodes, and so Pods
//! stay pending. All of it is below one temporary directory and ends with the value (see [`crate::guard`]).

mod credentials;
mod etcd;
pub mod kubeconfig;
mod server;
mod servers;

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, Config, api::PostParams};
use tokio::{sync::OnceCell, task::spawn_blocking};

use self::credentials::Credentials;
pub use self::etcd::{Etcd, Written};
use self::server::Server;
use crate::{assets, guard::Guard, port, process::Process, wait::eventually};

/// Time for a server to become ready. About two seconds on an idle machine.
const START: Duration = Duration::from_mins(1);

/// How often a start is tried when another process took a port in between.
const ATTEMPTS: usize = 5;

/// A running control plane. Dropping it stops the servers and removes their data.
#[derive(Debug)]
pub struct ControlPlane {
    // In this order they are stopped: those that depend first.
    controller_manager: Process,
    api_server: Server,
    etcd: Server,
    admin: Config,
    admin_kubeconfig: PathBuf,
    setup: Setup,
}

/// What is fixed before the first server starts.
#[derive(Debug)]
struct Setup {
    assets: PathBuf,
    etcd_port: u16,
    port: u16,
    api_server_flags: Vec<String>,
    credentials: Credentials,
    guard: Guard,
}

impl ControlPlane {
    /// Starts a control plane of its own and returns when it is ready.
    ///
    /// Fails without the programs (see [`assets::directory`]), and when a server ends early or is not ready
    /// within a minute, with the end of its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further flags for the API server, such as `--feature-gates=WatchList=false`.
    pub async fn start_with(api_server_flags: &[&str]) -> Result<Self> {
        let assets = spawn_blocking(assets::directory).await??;
        let mut attempt = 1;
        loop {
            match Self::start_once(assets.clone(), api_server_flags).await {
                Err(error)
                    if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1;
                }
                result => return result.context("start a control plane"),
            }
        }
    }

    /// Returns the control plane that all tests of this process share, which the first call starts.
    ///
    /// It stops when the process ends. Tests keep apart by namespaces. Fails like [`ControlPlane::start`];
    /// the next call tries again.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start_once(assets: PathBuf, api_server_flags: &[&str]) -> Result<Self> {
        let guard = Guard::new("control-plane-")?;
        let token = random_token();
        let credentials = Credentials::write(guard.dir(), &token)?;
        let setup = Setup {
            assets,
            etcd_port: port::free()?,
            port: port::free()?,
            api_server_flags: api_server_flags.iter().map(|&flag| flag.to_owned()).collect(),
            credentials,
            guard,
        };
        let admin_kubeconfig = setup.kubeconfig("admin", &token)?;
        let admin = kubeconfig::config(&admin_kubeconfig).await?;

        let etcd = setup.start_etcd()?;
        let api_server = setup.start_api_server()?;
        ready(&admin, || [&etcd, &api_server].iter().try_for_each(|process| process.ensure_running()))
            .await?;
        let controller_manager = setup.start_controller_manager(&admin_kubeconfig)?;
        let (api_server, etcd) = (Server::running(api_server), Server::running(etcd));
        Ok(Self { controller_manager, api_server, etcd, admin, admin_kubeconfig, setup })
    }

    /// Makes a client of the user `admin`, who may do everything. It does not retry.
    ///
    /// Each call makes a new one, for the runtime of the caller: the connections of a client are tasks, and each
    /// `#[tokio::test]` has its own runtime. Fails outside of a tokio runtime with a panic.
    pub fn client(&self) -> Result<Client> {
        Client::try_from(self.admin.clone()).context("make a client")
    }

    /// A kubeconfig file of the user `admin`.
    pub fn kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Writes a kubeconfig file for a bearer token and returns its path. `name` is the name of its user in
    /// the file and a part of the file's name. Does not check the token.
    pub fn kubeconfig_for_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.setup.kubeconfig(name, token)
    }

    /// Writes a kubeconfig file for a `ServiceAccount`, with a token that is valid for an hour, and returns its
    /// path. The `ServiceAccount` may do what its role bindings allow.
    ///
    /// Fails when the `ServiceAccount` does not exist.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..Default::default() };
        let request = TokenRequest { spec, ..Default::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let answer =
            answer.with_context(|| format!("ask for a token of ServiceAccount {namespace}/{name}"))?;
        let token = answer.status.context("a TokenRequest without status")?.token;
        self.kubeconfig_for_token(&format!("{namespace}-{name}"), &token)
    }

    /// Kills the API server (SIGKILL); etcd and its data stay. Fails when it is stopped already.
    pub fn stop_api_server(&self) -> Result<()> {
        self.api_server.stop()
    }

    /// Starts the API server again, on the same port with the same data, and returns when it is ready.
    ///
    /// Fails when it is running, and when it does not become ready.
    pub async fn start_api_server(&self) -> Result<()> {
        self.api_server.start(|| self.setup.start_api_server())?;
        self.until_ready().await
    }

    /// Stops the API server (SIGSTOP): connections stay open and are accepted, and nothing answers.
    pub fn pause_api_server(&self) -> Result<()> {
        self.api_server.pause()
    }

    /// Lets the API server go on after [`ControlPlane::pause_api_server`] (SIGCONT).
    pub fn resume_api_server(&self) -> Result<()> {
        self.api_server.resume()
    }

    /// Kills etcd (SIGKILL); its data stay, and the API server too. Fails when it is stopped already.
    pub fn stop_etcd(&self) -> Result<()> {
        self.etcd.stop()
    }

    /// Starts etcd again, with the same data, and returns when it answers and the API server is ready.
    ///
    /// Fails when it is running, and when the API server does not become ready.
    pub async fn start_etcd(&self) -> Result<()> {
        self.etcd.start(|| self.setup.start_etcd())?;
        // The API server does not notice at once that it was away.
        eventually("etcd", START, || async { self.etcd().revision().await.map(Some) }).await?;
        self.until_ready().await
    }

    /// Stops etcd (SIGSTOP): the API server waits for it.
    pub fn pause_etcd(&self) -> Result<()> {
        self.etcd.pause()
    }

    /// Lets etcd go on after [`ControlPlane::pause_etcd`] (SIGCONT).
    pub fn resume_etcd(&self) -> Result<()> {
        self.etcd.resume()
    }

    async fn until_ready(&self) -> Result<()> {
        let running = || [&self.etcd, &self.api_server].iter().try_for_each(|server| server.ensure_running());
        ready(&self.admin, running).await
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.setup.port).into()
    }

    /// Access to etcd itself, past the API server.
    pub fn etcd(&self) -> Etcd {
        Etcd::at((Ipv4Addr::LOCALHOST, self.setup.etcd_port).into())
    }

    /// The URL of the API server, such as `https://127.0.0.1:20001`.
    pub fn url(&self) -> String {
        self.setup.url()
    }

    /// The directory with all files: a `.log` for each server, keys, data.
    pub fn dir(&self) -> &Path {
        self.setup.guard.dir()
    }

    /// Resident memory of etcd, API server and controller manager, in bytes; 0 of one that is stopped.
    pub fn resident_bytes(&self) -> Result<[u64; 3]> {
        let [etcd, api_server] = [&self.etcd, &self.api_server].map(Server::resident_bytes);
        Ok([etcd?, api_server?, self.controller_manager.resident_bytes()?])
    }

    /// Process ids of etcd, API server and controller manager, as far as they are not stopped.
    pub fn pids(&self) -> Vec<u32> {
        let pids = [self.etcd.pid(), self.api_server.pid(), Some(self.controller_manager.pid())];
        pids.into_iter().flatten().collect()
    }
}

impl Setup {
    fn start_etcd(&self) -> Result<Process> {
        self.guard.spawn(assets::ETCD, &servers::etcd(&self.assets, self.guard.dir(), self.etcd_port))
    }

    fn start_api_server(&self) -> Result<Process> {
        let (dir, keys) = (self.guard.dir(), &self.credentials);
        let mut command = servers::api_server(&self.assets, dir, self.port, self.etcd_port, keys);
        command.args(&self.api_server_flags);
        self.guard.spawn(assets::API_SERVER, &command)
    }

    fn start_controller_manager(&self, kubeconfig: &Path) -> Result<Process> {
        self.guard.spawn(assets::CONTROLLER_MANAGER, &servers::controller_manager(&self.assets, kubeconfig))
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf> {
        let path = self.guard.dir().join(format!("{name}.kubeconfig"));
        kubeconfig::write(&path, &self.url(), &self.credentials.authority, name, token)?;
        Ok(path)
    }
}

/// Waits until the API server says that it is ready, or `running` fails.
async fn ready(admin: &Config, running: impl Fn() -> Result<()>) -> Result<()> {
    let client = Client::try_from(admin.clone()).context("make a client")?;
    eventually("a ready API server", START, || async {
        if let Err(ended) = running() {
            return Ok(Some(Err(ended)));
        }
        let request = http::Request::get("/readyz").body(Vec::new())?;
        client.request_text(request).await?;
        Ok(Some(Ok(())))
    })
    .await?
}

/// 128 random bits: other users of the machine can reach the port, but not read the directory.
fn random_token() -> String {
    let half = |seed: u64| format!("{:016x}", RandomState::new().hash_one(seed));
    half(0) + &half(1)
}
