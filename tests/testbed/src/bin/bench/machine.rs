//! Where it was measured.

use crate::plan::Plan;
use anyhow::Result;
use ingress_sso_testbed::control_plane::ControlPlane;
use serde::Serialize;
use std::process::Command;

/// See the module's documentation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) kubernetes: String,
    /// What `ingress-sso --version` says.
    pub(crate) program: String,
    /// What `git describe` says of the working directory, if that is a repository.
    pub(crate) commit: Option<String>,
    /// Average number of runnable processes over a minute, before anything was measured.
    pub(crate) load: f64,
}

impl Machine {
    /// This one. Starts a control plane to see that there is one, and which, before anything is measured.
    pub(crate) async fn new(plan: &Plan) -> Result<Self> {
        let kubernetes = ControlPlane::start().await?.client()?.apiserver_version().await?.git_version;
        let program = plan.program.to_string_lossy();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field("/proc/cpuinfo", "model name"),
            memory: field("/proc/meminfo", "MemTotal"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            kubernetes,
            program: output(&program, &["--version"]).unwrap_or_default(),
            commit: output("git", &["describe", "--always", "--dirty", "--tags"]),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().parse()?,
        })
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `key: value` in a file.
fn field(path: &str, key: &str) -> String {
    let text = read(path);
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    value.unwrap_or("unknown").trim().to_owned()
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
