//! Nothing is left of a test process, however it ends.
//!
//! The test starts this same program again as a victim, which starts processes and then waits for its end.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ingress_sso_testbed::{control_plane::ControlPlane, guard::Guard};

/// Set for the victim; its value says what it starts.
const VICTIM: &str = "INGRESS_SSO_TESTBED_VICTIM";

#[test]
fn killed() -> Result<()> {
    let mut victim = Victim::start("processes", "victim")?;
    victim.child.kill()?;
    victim.child.wait()?;
    victim.leaves_nothing()
}

#[test]
fn interrupted() -> Result<()> {
    let mut victim = Victim::start("processes", "victim")?;
    signal("INT", &format!("-{}", victim.child.id()))?;
    victim.child.wait()?;
    victim.leaves_nothing()
}

#[test]
fn panicked() -> Result<()> {
    let mut victim = Victim::start("panic", "victim")?;
    assert!(!victim.child.wait()?.success());
    victim.leaves_nothing()
}

#[test]
fn killed_with_a_control_plane() -> Result<()> {
    let mut victim = Victim::start("plane", "victim_with_plane")?;
    victim.child.kill()?;
    victim.child.wait()?;
    victim.leaves_nothing()
}

/// Not a test of its own: what the tests above start.
#[test]
fn victim() -> Result<()> {
    let Ok(role) = env::var(VICTIM) else { return Ok(()) };
    let guard = Guard::new("victim-")?;
    let simple = guard.spawn("simple", Command::new("sleep").arg("1000"))?;
    let family = guard.spawn("family", Command::new("sh").args(["-c", "sleep 1000 & sleep 1000; :"]))?;
    let stopped = guard.spawn("stopped", Command::new("sleep").arg("1000"))?;
    // It writes while the directory is being removed.
    let busy = "while :; do mkdir -p busy; date >busy/$$; done";
    let busy = guard.spawn("busy", Command::new("sh").args(["-c", busy]).current_dir(guard.dir()))?;
    stopped.pause()?;
    sleep(Duration::from_millis(200));
    println!("\ndirectory {}", guard.dir().display());
    assert_ne!(role, "panic", "as the test asks for");
    sleep(Duration::from_secs(1000));
    drop((simple, family, stopped, busy));
    Ok(())
}

/// Not a test of its own either.
#[tokio::test]
async fn victim_with_plane() -> Result<()> {
    if env::var(VICTIM).is_err() {
        return Ok(());
    }
    let plane = ControlPlane::shared().await?;
    println!("\ndirectory {}", plane.dir().display());
    sleep(Duration::from_secs(1000));
    Ok(())
}

struct Victim {
    child: Child,
    /// Its temporary directory.
    dir: PathBuf,
    /// What it started, unless it is the one that panics.
    processes: Vec<u32>,
}

impl Victim {
    fn start(role: &str, test: &str) -> Result<Self> {
        // Whoever runs this in the background may ignore SIGINT, and children inherit that.
        let mut child = Command::new("env")
            .arg("--default-signal=INT")
            .arg(env::current_exe()?)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(VICTIM, role)
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut lines = stdout.lines().map_while(Result::ok);
        let dir = lines.find_map(|line| line.strip_prefix("directory ").map(PathBuf::from));
        let dir = dir.context("the victim ended before it had started anything")?;
        let mut victim = Self { child, dir, processes: Vec::new() };
        // The one that panics may have cleaned up by now.
        if role != "panic" {
            victim.processes = running(&victim.dir)?;
        }
        Ok(victim)
    }

    fn leaves_nothing(&self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let left = with_log_in(&self.dir)?;
            if left.is_empty() && !fs::exists(&self.dir)? {
                eprintln!("{:?} gone after {:.1?}", self.processes, start.elapsed());
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
        bail!("left: {:?}, directory: {}", with_log_in(&self.dir)?, fs::exists(&self.dir)?)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // So that nothing is left either when a test fails in the middle.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes with a log in `dir`, of which there have to be some. One that is about to become another
/// program may not show for a moment.
fn running(dir: &Path) -> Result<Vec<u32>> {
    let start = Instant::now();
    loop {
        let processes = with_log_in(dir)?;
        if processes.len() >= 3 {
            return Ok(processes);
        }
        if start.elapsed() > Duration::from_secs(5) {
            bail!("the victim has only {processes:?}");
        }
        sleep(Duration::from_millis(20));
    }
}

/// Processes whose standard output is a file in `dir`, by Linux's `/proc`.
fn with_log_in(dir: &Path) -> Result<Vec<u32>> {
    let processes = fs::read_dir("/proc")?.filter_map(Result::ok).filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        // Of a process that is gone by now it cannot be read.
        let output = fs::read_link(entry.path().join("fd/1")).ok()?;
        output.starts_with(dir).then_some(id)
    });
    Ok(processes.collect())
}

fn signal(name: &str, target: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", r#"kill -s "$1" -- "$2""#, "kill", name, target]).status()?;
    if !status.success() {
        bail!("kill: {status}");
    }
    Ok(())
}
