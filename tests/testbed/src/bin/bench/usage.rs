//! What a process has used, as Linux tells.

use anyhow::{Context, Result};
use serde::Serialize;
use std::process::Command;
use std::sync::OnceLock;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Usage {
    /// CPU seconds of all its threads, in user and kernel.
    pub(crate) cpu_seconds: f64,
    /// Resident memory in bytes.
    pub(crate) resident: f64,
    /// The most it ever was.
    pub(crate) peak: f64,
}

impl Usage {
    /// Of the process `pid`, which runs.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
            let kib: f64 = line.with_context(|| format!("no {key} in {path}"))?.trim().parse()?;
            anyhow::Ok(kib * 1024.0)
        };
        Ok(Self { cpu_seconds: cpu_seconds(pid)?, resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
    }
}

/// CPU seconds of the process `pid`, in steps of a clock tick, which is 10 ms as a rule.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name in parentheses may contain anything. After it come 11 other fields, then user and kernel time.
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("no name in {path}"))?;
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    let ticks = times.sum::<Result<f64, _>>().with_context(|| format!("read the times in {path}"))?;
    Ok(ticks / ticks_in_a_second())
}

/// CPU seconds of all processes on the machine so far, and those that its host took for others.
pub(crate) fn machine_cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line =
        stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no total in /proc/stat")?;
    let times = line.split_whitespace().map(str::parse::<f64>).collect::<Result<Vec<f64>, _>>()?;
    // user nice system idle iowait irq softirq steal; what follows is contained in the first two.
    let busy = times.iter().take(8).enumerate().filter(|(field, _)| !matches!(field, 3 | 4));
    Ok(busy.map(|(_, ticks)| ticks).sum::<f64>() / ticks_in_a_second())
}

fn ticks_in_a_second() -> f64 {
    static TICKS: OnceLock<f64> = OnceLock::new();
    *TICKS.get_or_init(|| {
        let output = Command::new("getconf").arg("CLK_TCK").output().ok();
        let ticks = output.and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok());
        ticks.unwrap_or(100.0)
    })
}
