//! All that goes wrong around the controller, one after the other, by a seed.

use super::insist::{Answer, insist};
use super::ledger::Ledger;
use anyhow::{Context, Result};
use fastrand::Rng;
use ingress_sso::lease::DURATION;
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::{self, Controller};
use ingress_sso_testbed::faults::{FaultyProxy, Odds};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest pause between two troubles.
const PAUSE: Duration = Duration::from_millis(1200);

/// How long a replica may go on whose Lease somebody else took: it hears of that when it renews it, and until then believes in it
/// for less than [`DURATION`] with the last of what it writes. The rest is for requests that are late on the way.
const RIVALRY: Duration = DURATION.saturating_add(Duration::from_secs(2));

/// How long a replica may take until it answers what it is asked: it listens as soon as it has started.
const ANSWER: Duration = Duration::from_secs(30);

/// Name of the Lease.
pub(crate) const LEASE: &str = "ingress-sso";

/// The replicas and what stands between them and the API server.
pub(crate) struct Trouble<'a> {
    plane: &'a ControlPlane,
    client: Client,
    rng: Rng,
    ledger: Arc<Mutex<Ledger>>,
    replicas: Vec<Replica>,
    /// How often what happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// A replica with a way to the API server of its own.
struct Replica {
    builder: controller::Builder,
    proxy: FaultyProxy,
    /// `None` while it is down.
    process: Option<Controller>,
    /// What those that were killed had logged.
    logs: String,
}

impl Replica {
    fn start(&mut self) -> Result<()> {
        self.process = Some(self.builder.start()?);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.process().ensure_running()?;
            process.kill()?;
            self.logs.push_str(&process.logs()?);
            self.logs.push_str("(killed)\n");
        }
        Ok(())
    }
}

impl<'a> Trouble<'a> {
    /// Starts two replicas of `program`.
    pub(crate) async fn start(
        plane: &'a ControlPlane,
        seed: u64,
        program: &str,
        args: &[&str],
        ledger: Arc<Mutex<Ledger>>,
    ) -> Result<Self> {
        let mut replicas = Vec::new();
        for number in 0..2 {
            let proxy = FaultyProxy::start(plane.address(), seed * 2 + number).await?;
            let kubeconfig = proxy.kubeconfig(plane, &format!("seed-{seed}-{number}"))?;
            let builder = Controller::builder(program)
                .kubeconfig(&kubeconfig)
                .args(["--leader-elect=true", "--lease-namespace=default", "--lease-name", LEASE])
                .args(args)
                .env("RUST_LOG", "ingress_sso=debug");
            let mut replica = Replica { builder, proxy, process: None, logs: String::new() };
            replica.start()?;
            replicas.push(replica);
        }
        let (client, rng) = (plane.client()?, Rng::with_seed(!seed));
        Ok(Self { plane, client, rng, ledger, replicas, counts: BTreeMap::new() })
    }

    /// Makes trouble until then. Each ends before the next begins, but for what the ways to the API server do.
    pub(crate) async fn make(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            sleep(PAUSE.mul_f64(self.rng.f64())).await;
            let which = self.rng.usize(0..self.replicas.len());
            let what = match self.rng.u8(0..100) {
                0..32 => self.change_odds(which),
                32..42 => self.end_watches(which),
                42..57 => self.kill_replica(which).await?,
                57..67 => self.pause_replica(which).await?,
                67..77 => self.edit_lease().await?,
                77..84 => self.kill_api_server().await?,
                84..90 => self.pause_api_server().await?,
                90..95 => self.kill_etcd().await?,
                _ => self.pause_etcd().await?,
            };
            *self.counts.entry(what).or_default() += 1;
        }
        Ok(())
    }

    /// Ends all trouble.
    pub(crate) async fn end(&mut self) -> Result<()> {
        for replica in &mut self.replicas {
            replica.proxy.set(Odds::default());
            replica.proxy.end_watches();
            match &replica.process {
                Some(process) => process.process().ensure_running()?,
                None => replica.start()?,
            }
        }
        self.free_lease().await
    }

    /// Stops the replicas. They end in time and properly, whatever they went through.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for replica in &mut self.replicas {
            let process = replica.process.take().context("a replica is down")?;
            let (status, _) = process.terminate(Duration::from_secs(30)).await?;
            replica.logs.push_str(&process.logs()?);
            anyhow::ensure!(status.success(), "{status}");
        }
        Ok(())
    }

    /// What the replicas have logged.
    pub(crate) fn logs(&self) -> Vec<String> {
        let log = |replica: &Replica| {
            let last = replica.process.as_ref().and_then(|process| process.logs().ok());
            format!("{}{}", replica.logs, last.unwrap_or_default())
        };
        self.replicas.iter().map(log).collect()
    }

    /// How often the ways to the API server did what.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (what, count) in self.replicas.iter().flat_map(|replica| replica.proxy.counts()) {
            *all.entry(what).or_default() += count;
        }
        all
    }

    fn change_odds(&mut self, which: usize) -> &'static str {
        let mut some = |most: u16| if self.rng.bool() { self.rng.u16(0..most) } else { 0 };
        let odds = Odds {
            refused: some(250),
            lost: some(150),
            masked: some(150),
            cut_short: some(150),
            late: some(300),
            watch_ends: some(900),
            watch_stalls: some(400),
        };
        self.replicas[which].proxy.set(odds);
        "odds changed"
    }

    fn end_watches(&mut self, which: usize) -> &'static str {
        self.replicas[which].proxy.end_watches();
        "watches ended"
    }

    async fn kill_replica(&mut self, which: usize) -> Result<&'static str> {
        let replica = &mut self.replicas[which];
        let process = replica.process.as_ref().context("a replica is down")?;
        // One that has just started may not answer yet.
        let was_leading = process.is_leading().await.unwrap_or(false);
        replica.kill()?;
        sleep(self.some(800)).await;
        self.replicas[which].proxy.until_idle().await;
        // Else nothing happens any more for as long as this test lasts.
        if was_leading && self.rng.u8(0..10) < 8 {
            self.free_lease().await?;
        }
        self.replicas[which].start()?;
        Ok("replica killed")
    }

    async fn pause_replica(&mut self, which: usize) -> Result<&'static str> {
        let pause = self.some(3000);
        let process = self.replicas[which].process.as_ref().context("a replica is down")?;
        process.pause()?;
        sleep(pause / 2).await;
        if self.rng.u8(0..10) < 3 {
            self.take_lease(pause).await?;
        }
        sleep(pause / 2).await;
        let process = self.replicas[which].process.as_ref().context("a replica is down")?;
        process.resume()?;
        Ok("replica paused")
    }

    async fn edit_lease(&mut self) -> Result<&'static str> {
        match self.rng.u8(0..3) {
            0 => {
                let (leases, params) = (self.leases(), DeleteParams::default());
                tolerate(insist(async || leases.delete(LEASE, &params).await).await)?;
            }
            1 => self.take_lease(Duration::ZERO).await?,
            _ => {
                self.note_rivals(Duration::ZERO);
                let spec = json!({ "holderIdentity": "somebody", "leaseDurationSeconds": 1 });
                self.patch_lease(json!({ "spec": spec })).await?;
            }
        }
        Ok("lease edited")
    }

    /// Takes the Lease from a replica that may live, and that stands still for as long as `pause` from now on.
    async fn take_lease(&self, pause: Duration) -> Result<()> {
        self.note_rivals(pause);
        self.expire_lease(&json!({})).await
    }

    /// Takes the Lease from those that do not live any more: from nobody where a replica leads, or comes to lead meanwhile.
    async fn free_lease(&self) -> Result<()> {
        let found =
            eventually("the Lease", ANSWER, || async { Ok(Some(self.leases().get_opt(LEASE).await?)) });
        let Some(found) = found.await? else { return Ok(()) };
        for process in self.replicas.iter().filter_map(|replica| replica.process.as_ref()) {
            let is_leading = eventually("a replica that answers", ANSWER, || async {
                process.is_leading().await.map(Some)
            });
            if is_leading.await? {
                return Ok(());
            }
        }
        self.expire_lease(&json!({ "resourceVersion": found.metadata.resource_version })).await
    }

    fn note_rivals(&self, pause: Duration) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).rivals(pause + RIVALRY);
    }

    /// As if its holder had not renewed it for long; not if `metadata` says what it is not.
    async fn expire_lease(&self, metadata: &Value) -> Result<()> {
        self.patch_lease(json!({ "metadata": metadata, "spec": { "holderIdentity": "" } })).await
    }

    async fn patch_lease(&self, patch: Value) -> Result<()> {
        let (leases, params, patch) = (self.leases(), PatchParams::default(), Patch::Merge(patch));
        tolerate(insist(async || leases.patch(LEASE, &params, &patch).await).await)
    }

    async fn kill_api_server(&mut self) -> Result<&'static str> {
        self.plane.stop_api_server()?;
        sleep(self.some(1500)).await;
        self.plane.start_api_server().await?;
        Ok("API server killed")
    }

    async fn pause_api_server(&mut self) -> Result<&'static str> {
        self.plane.pause_api_server()?;
        sleep(self.some(2500)).await;
        self.plane.resume_api_server()?;
        Ok("API server paused")
    }

    async fn kill_etcd(&mut self) -> Result<&'static str> {
        self.plane.stop_etcd()?;
        sleep(self.some(1500)).await;
        self.plane.start_etcd().await?;
        Ok("etcd killed")
    }

    async fn pause_etcd(&mut self) -> Result<&'static str> {
        self.plane.pause_etcd()?;
        sleep(self.some(1500)).await;
        self.plane.resume_etcd()?;
        Ok("etcd paused")
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn some(&mut self, most_millis: u64) -> Duration {
        Duration::from_millis(self.rng.u64(0..most_millis))
    }
}

/// There may be no Lease.
fn tolerate<T>(answer: Answer<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(|_| ()).context("edit the lease"),
    }
}
