//! One seed: some seconds of people and trouble, then quiet; and the verdict on all that was written.

use super::admission;
use super::app::{ALPHA, NAMESPACES};
use super::checks::{check_middlewares, check_promises, check_routes};
use super::clock::Clock;
use super::controller::{CLASSES, all_objects, index_of, still_to_do};
use super::judge::{Evidence, Judge};
use super::ledger::Ledger;
use super::people::People;
use super::replay::KEYS;
use super::trouble::Trouble;
use super::world::settings;
use anyhow::{Context, Result, bail, ensure};
use ingress_sso_testbed::builders::{ingress_class, namespace};
use ingress_sso_testbed::control_plane::{ControlPlane, Etcd};
use ingress_sso_testbed::traefik::install_crds;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::IngressClass;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

/// How long it may take until all is quiet: after so many failures, the controller tries again after long pauses.
const PATIENCE: Duration = Duration::from_mins(4);

/// For how long nothing must be written for it to count as quiet.
const QUIET: Duration = Duration::from_secs(3);

/// What a seed came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) acts: usize,
    pub(crate) writes: usize,
    /// How often an app was called protected.
    pub(crate) promises: usize,
    pub(crate) troubles: BTreeMap<&'static str, u64>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) longest_broken: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.acts += other.acts;
        self.writes += other.writes;
        self.promises += other.promises;
        for (all, more) in [(&mut self.troubles, &other.troubles), (&mut self.faults, &other.faults)] {
            for (what, count) in more {
                *all.entry(what).or_default() += count;
            }
        }
        self.longest_broken = self.longest_broken.max(other.longest_broken);
    }
}

/// A control plane for seeds, one after the other.
pub(crate) async fn control_plane() -> Result<ControlPlane> {
    let flags = ["--storage-media-type=application/json", "--etcd-compaction-interval=0"];
    let plane = ControlPlane::start_with(&flags).await?;
    let classes = Api::<IngressClass>::all(plane.client()?);
    for (name, controller) in CLASSES {
        classes.create(&PostParams::default(), &ingress_class(name, controller)).await?;
    }
    install_crds(&plane).await?;
    Ok(plane)
}

/// What happens on `plane` because of one number.
pub(crate) struct Seed<'a> {
    pub(crate) plane: &'a ControlPlane,
    pub(crate) number: u64,
    /// For how long there is trouble.
    pub(crate) span: Duration,
    /// Where logs are written to if something is wrong.
    pub(crate) dir: &'a Path,
}

impl Seed<'_> {
    /// Lives through it, and leaves the control plane as it was. The error says what must not have happened.
    pub(crate) async fn live(&self) -> Result<Tally> {
        let alpha = format!("alpha=http://{ALPHA}:9000");
        let outposts = ["--outpost", &alpha, "--outpost", "beta=https://beta.example.com:9443"];
        let args = [&outposts[..], &["--default-outpost", "alpha"]].concat();
        let ledger = Arc::<Mutex<Ledger>>::default();
        let mut trouble =
            Trouble::start(self.plane, self.number, PROGRAM, &args, Arc::clone(&ledger)).await?;
        let result = Box::pin(self.happen(&mut trouble, &ledger)).await;
        if result.is_err() {
            std::fs::create_dir_all(self.dir)?;
            for (number, log) in trouble.logs().iter().enumerate() {
                std::fs::write(self.dir.join(format!("replica-{number}.log")), log)?;
            }
        }
        drop(trouble);
        clean(self.plane).await?;
        result.with_context(|| format!("the logs are in {}", self.dir.display()))
    }

    /// Some time of people and trouble, then quiet, then the verdict.
    async fn happen(&self, trouble: &mut Trouble<'_>, ledger: &Arc<Mutex<Ledger>>) -> Result<Tally> {
        let (client, etcd) = (self.plane.client()?, self.plane.etcd());
        for name in NAMESPACES {
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace(name)).await?;
        }
        let has_policies = self.number.is_multiple_of(2);
        if has_policies {
            admission::install(self.plane, PROGRAM).await?;
        }
        let begin = etcd.revision().await? + 1;
        let mut people = People::new(client, self.number, Arc::clone(ledger));
        let (mut clock, mut judge) = (Clock::default(), Judge::new(settings(), has_policies));
        let until = Instant::now() + self.span;
        let story = async {
            tokio::try_join!(people.live(until), trouble.make(until))?;
            trouble.end().await?;
            // Long enough for the clock to see the last of it.
            sleep(Duration::from_millis(300)).await;
            anyhow::Ok(())
        };
        tokio::select! {
            ended = story => ended?,
            () = clock.run(etcd) => {}
        }
        let quiet = until_quiet(etcd, begin, &mut clock, &mut judge, ledger).await;
        let findings = &judge.findings;
        if !findings.is_empty() || quiet.is_err() {
            std::fs::create_dir_all(self.dir)?;
            let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let evidence = Evidence { ledger: &ledger, clock: &clock };
            std::fs::write(self.dir.join("history.txt"), judge.story(&evidence))?;
        }
        ensure!(
            findings.is_empty(),
            "{} things must not have been:\n{}",
            findings.len(),
            findings.join("\n")
        );
        quiet?;
        trouble.stop().await?;
        Ok(Tally {
            seeds: 1,
            acts: people.acts,
            writes: judge.judged(),
            promises: judge.promises,
            troubles: trouble.counts.clone(),
            faults: trouble.faults(),
            longest_broken: judge.longest_broken,
        })
    }
}

/// Judges all that is written from revision `next` on until nothing is any more and all is as it should be.
async fn until_quiet(
    etcd: Etcd,
    mut next: u64,
    clock: &mut Clock,
    judge: &mut Judge,
    ledger: &Mutex<Ledger>,
) -> Result<()> {
    let start = Instant::now();
    let mut last_write = start;
    loop {
        // It never ends by itself.
        _ = timeout(QUIET / 4, clock.run(etcd)).await;
        let history = etcd.history(next, &KEYS).await?;
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let evidence = Evidence { ledger: &ledger, clock };
        for written in history {
            (next, last_write) = (written.revision + 1, Instant::now());
            if let Some(change) = judge.world.next(written)? {
                judge.next(change, &evidence);
            }
        }
        let problem = unsettled(judge);
        if last_write.elapsed() > QUIET && problem.is_none() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let problem = problem.unwrap_or_else(|| "it goes on writing".to_owned());
            bail!("not quiet {PATIENCE:?} after the last trouble: {problem}");
        }
    }
}

/// What is not as it should be once nothing happens any more.
fn unsettled(judge: &Judge) -> Option<String> {
    let cluster = &judge.world.cluster;
    let index = index_of(settings(), all_objects(cluster));
    let to_do = still_to_do(&index);
    if !to_do.is_empty() {
        return Some(format!("a plan of what there is would still do this: {to_do:?}"));
    }
    let checks = [check_routes(cluster), check_middlewares(cluster), check_promises(cluster, &settings())];
    checks.into_iter().find_map(Result::err).map(|problem| problem.to_string())
}

/// Takes away what a seed has left, for the next one.
async fn clean(plane: &ControlPlane) -> Result<()> {
    admission::remove(plane, PROGRAM).await?;
    let namespaces = Api::<Namespace>::all(plane.client()?);
    for name in NAMESPACES {
        _ = namespaces.delete(name, &DeleteParams::default()).await;
    }
    eventually("namespaces that are gone", PATIENCE, || async {
        for name in NAMESPACES {
            ensure!(namespaces.get_opt(name).await?.is_none(), "{name} is still there");
        }
        Ok(Some(()))
    })
    .await
}
