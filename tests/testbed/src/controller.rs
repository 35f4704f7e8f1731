//! The real `ingress-sso run` as a process: kill it, stop it, read its log.

use std::{
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    guard::Guard,
    http::{self, Response},
    metrics, port,
    process::Process,
};

/// What the controller is to be started with.
#[derive(Clone, Debug)]
pub struct Builder {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Builder {
    /// The kubeconfig file that it uses, through the variable `KUBECONFIG`.
    #[must_use]
    pub fn kubeconfig(self, path: &Path) -> Self {
        self.env("KUBECONFIG", path)
    }

    /// One more argument, after `run --listen …`.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it, and does not wait for it: see [`Controller::wait_ready`].
    ///
    /// Fails when a process cannot be made.
    pub fn start(&self) -> Result<Controller> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--listen").arg(listen.to_string()).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let process = Guard::new("ingress-sso-")?.spawn("ingress-sso", &command)?;
        Ok(Controller { process, listen })
    }
}

/// A running controller. Dropping it kills it.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    listen: SocketAddr,
}

impl Controller {
    /// Prepares `<program> run --listen 127.0.0.1:<a free port>`.
    ///
    /// The tests of the package know the program as `env!("CARGO_BIN_EXE_ingress-sso")`. The environment of
    /// this process is passed on; the arguments end up after `--listen`. It does not ask outposts anything, since most
    /// tests have none that could answer, and it does not ask for a Lease, since tests share a cluster: `--probe=true` and
    /// `--leader-elect=true` among the arguments make it do so.
    pub fn builder(program: impl Into<PathBuf>) -> Builder {
        let builder = Builder { program: program.into(), args: Vec::new(), env: Vec::new() };
        builder.env("INGRESS_SSO_PROBE", "false").env("INGRESS_SSO_LEADER_ELECT", "false")
    }

    /// Waits until `GET /readyz` answers 200, at most `timeout`.
    ///
    /// Fails after that time, or at once if it has ended, with the end of its log.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<()> {
        self.process
            .until_ready("a ready controller", timeout, || async {
                match self.get("/readyz").await? {
                    Response { status: 200, .. } => Ok(()),
                    other => bail!("/readyz answers {} {}", other.status, other.text().trim()),
                }
            })
            .await
    }

    /// Asks it for a path, such as `/metrics`. Fails without an HTTP answer.
    pub async fn get(&self, path: &str) -> Result<Response> {
        http::get(self.listen, path).await
    }

    /// Whether it is the replica that writes, as far as it knows.
    pub async fn is_leading(&self) -> Result<bool> {
        let text = self.get("/metrics").await?.text();
        Ok(metrics::value(&text, "ingress_sso_leader")? > 0.5)
    }

    /// Where it serves health and metrics.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// All that it has logged so far.
    pub fn logs(&self) -> Result<String> {
        self.process.logs()
    }

    /// Kills it (SIGKILL): it has no chance to release its lease.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to end (SIGTERM), as Kubernetes does, and waits for that, at most `timeout`.
    ///
    /// Returns its exit status and the time it took. Fails when it had ended before, or has not ended by then.
    pub async fn terminate(&self, timeout: Duration) -> Result<(ExitStatus, Duration)> {
        self.process.terminate(timeout).await.context("terminate the controller")
    }

    /// Stops it (SIGSTOP), as a machine without CPU time would.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets it go on after [`Controller::pause`] (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Its process, for all else: memory, process id, other signals.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
