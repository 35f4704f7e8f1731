//! Several replicas, of which one writes: whatever happens to it, nothing is written twice and no app loses its protection.

#![expect(clippy::unwrap_used, reason = "a lock that a panic poisoned is a test that failed")]

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso::lease::DURATION;
use ingress_sso_testbed::builders::{ingress, ingress_class};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::relay::Relay;
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, PATIENCE, STATUS, annotation};
use ingress_sso_testbed::wait::eventually;
use ingress_sso_testbed::writes::Writes;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use url::Url;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

/// All that the controller writes but Events and the Lease.
const WRITTEN: [&str; 3] = ["ingresses", "services", "configmaps"];

/// How many apps the controller works on at once.
const AT_ONCE: u64 = 16;

const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";

/// A control plane of the test's own, since what is counted is counted for all of it.
struct World {
    plane: ControlPlane,
    client: Client,
}

impl World {
    async fn new() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let client = plane.client()?;
        let class = ingress_class("nginx", "k8s.io/ingress-nginx");
        Api::<IngressClass>::all(client.clone()).create(&PostParams::default(), &class).await?;
        Ok(Self { plane, client })
    }

    fn ingresses(&self) -> Api<Ingress> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn start(&self) -> Result<Controller> {
        start(self.plane.kubeconfig())
    }

    async fn replica(&self) -> Result<Controller> {
        let replica = self.start()?;
        replica.wait_ready(PATIENCE).await?;
        Ok(replica)
    }

    /// A replica that leads, and one that is ready to.
    async fn pair(&self) -> Result<(Controller, Controller)> {
        let first = self.replica().await?;
        until_leading(&first).await?;
        let second = self.replica().await?;
        ensure!(!second.is_leading().await?, "both lead");
        Ok((first, second))
    }

    async fn create(&self, names: impl Iterator<Item = String>) -> Result<()> {
        let api = self.ingresses();
        let create = |name: String| {
            let api = api.clone();
            let host = format!("{name}.example.com");
            let app = ingress("default", &name).host(&host).annotation(OPT_IN, "true").build();
            async move { api.create(&PostParams::default(), &app).await }
        };
        stream::iter(names).map(create).buffer_unordered(8).try_collect::<Vec<_>>().await?;
        Ok(())
    }

    async fn protected(&self) -> Result<usize> {
        let list = self.ingresses().list(&ListParams::default()).await?;
        Ok(list.items.iter().filter(|app| annotation(*app, STATUS) == Some("Protected")).count())
    }

    async fn until_protected(&self, apps: usize) -> Result<()> {
        eventually(format!("{apps} protected apps"), PATIENCE, || async {
            let protected = self.protected().await?;
            ensure!(protected == apps, "{protected}");
            Ok(Some(()))
        })
        .await
    }

    async fn writes(&self) -> Result<Writes> {
        Writes::settled(&self.client, &WRITTEN, Duration::from_millis(400)).await
    }

    /// Since `before`, something was written for each of `apps` new apps exactly once: a route and its annotations; and a Service
    /// and a `ConfigMap` for all of them. The test itself made the apps.
    ///
    /// A request that was on its way out of a process when that was stopped goes on when it runs again, and must not do anything
    /// then: what the API server refuses does not count, and `late` applies may say once more what is so already.
    async fn wrote_once(&self, before: &Writes, apps: u64, late: u64) -> Result<()> {
        let spent = &self.writes().await? - before;
        let count = |verb: &str, resource: &str| -> u64 {
            let accepted = spent.iter().filter(|(write, _)| write.code < 300);
            let meant = accepted.filter(|(write, _)| {
                (verb.is_empty() || write.verb == verb) && (resource.is_empty() || write.resource == resource)
            });
            meant.map(|(_, count)| count).sum()
        };
        // What a killed process asked for counts as cut off, whether or not it was done: the changes tell.
        let cut_off: u64 = spent.iter().filter(|(write, _)| write.code == 504).map(|(_, count)| count).sum();
        let (posts, applies) = (count("POST", "ingresses") - apps, count("APPLY", "ingresses"));
        ensure!(posts <= apps && posts + cut_off >= apps, "{posts} routes for {apps} apps:\n{spent}");
        ensure!(applies <= apps + late && applies + cut_off >= apps, "{applies} applies:\n{spent}");
        let shared = [count("POST", "services"), count("POST", "configmaps")];
        ensure!(shared == [1, 1] && count("", "") == apps + posts + applies + 2, "{spent}");
        Ok(())
    }

    /// Watches that no app which was protected once is ever without its protection, and how often each is changed.
    async fn guard(&self) -> Result<Guard> {
        let (api, mut guarded) = (self.ingresses(), BTreeSet::new());
        let changed = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let counts = Arc::clone(&changed);
        let list = api.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.context("no version")?;
        let mut stream = api.watch(&WatchParams::default().timeout(290), &version).await?.boxed();
        let task = tokio::spawn(async move {
            while let Some(change) = stream.try_next().await? {
                if let WatchEvent::Modified(app) = &change {
                    *counts.lock().unwrap().entry(app.name_any()).or_default() += 1;
                }
                let (WatchEvent::Added(app) | WatchEvent::Modified(app)) = change else { continue };
                if annotation(&app, AUTH_URL).is_some() {
                    guarded.insert(app.name_any());
                } else if guarded.contains(&app.name_any()) {
                    bail!("{} lost its protection: {:?}", app.name_any(), app.annotations());
                }
            }
            Ok(())
        });
        Ok(Guard { task, changed })
    }
}

/// See [`World::guard`].
struct Guard {
    task: JoinHandle<Result<()>>,
    changed: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Guard {
    /// No app was ever without its protection, and each of `apps` was changed once.
    fn is_content(&self, apps: usize) -> Result<()> {
        ensure!(!self.task.is_finished(), "an app lost its protection");
        self.task.abort();
        let changed = self.changed.lock().unwrap();
        let often: Vec<_> = changed.iter().filter(|(_, count)| **count != 1).collect();
        ensure!(changed.len() == apps && often.is_empty(), "{} apps, {often:?}", changed.len());
        Ok(())
    }
}

fn start(kubeconfig: &Path) -> Result<Controller> {
    let args = ["--leader-elect=true", "--lease-namespace=default", "--outpost", OUTPOST];
    Controller::builder(PROGRAM).kubeconfig(kubeconfig).args(args).start()
}

fn apps(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}-{number}"))
}

async fn until_leading(replica: &Controller) -> Result<()> {
    eventually("a leader", PATIENCE, || async { Ok(replica.is_leading().await?.then_some(())) }).await
}

async fn until_following(replica: &Controller) -> Result<()> {
    eventually("a follower", PATIENCE, || async { Ok((!replica.is_leading().await?).then_some(())) }).await
}

#[tokio::test]
async fn of_two_that_start_at_once_one_writes() -> Result<()> {
    const ROUNDS: usize = 50;
    let world = World::new().await?;
    let mut before = world.writes().await?;
    for round in 0..ROUNDS {
        let pair = [world.start()?, world.start()?];
        world.create(std::iter::once(format!("app-{round}"))).await?;
        world.until_protected(round + 1).await?;
        // The one that does not lead may not listen yet.
        for replica in &pair {
            replica.wait_ready(PATIENCE).await?;
        }
        let leading = [pair[0].is_leading().await?, pair[1].is_leading().await?];
        ensure!(leading[0] != leading[1], "round {round}: {leading:?}");
        for replica in pair {
            replica.terminate(PATIENCE).await?;
        }
        let now = world.writes().await?;
        let spent = &now - &before;
        let shared = if round == 0 { 2 } else { 0 };
        ensure!(spent.total() == 3 + shared, "round {round}:\n{spent}");
        before = now;
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_killed_in_the_middle_is_followed() -> Result<()> {
    const APPS: usize = 200;
    let world = World::new().await?;
    let (first, second) = world.pair().await?;
    let (before, guard) = (world.writes().await?, world.guard().await?);
    let creating = world.create(apps("app", APPS));
    let killing = async {
        eventually("the first protected apps", PATIENCE, || async {
            Ok((world.protected().await? > 0).then_some(()))
        })
        .await?;
        first.kill()
    };
    tokio::try_join!(creating, killing)?;
    until_leading(&second).await?;
    world.until_protected(APPS).await?;
    world.wrote_once(&before, APPS as u64, 0).await?;
    guard.is_content(APPS)
}

#[tokio::test]
async fn a_leader_that_was_asleep_for_too_long_writes_nothing_any_more() -> Result<()> {
    let world = World::new().await?;
    let (first, second) = world.pair().await?;
    let (before, guard) = (world.writes().await?, world.guard().await?);
    world.create(apps("early", 20)).await?;
    first.pause()?;
    until_leading(&second).await?;
    world.until_protected(20).await?;
    first.resume()?;
    until_following(&first).await?;
    world.create(apps("late", 20)).await?;
    world.until_protected(40).await?;
    ensure!(second.is_leading().await?, "it lost the lease to one that had slept");
    world.wrote_once(&before, 40, AT_ONCE).await?;
    guard.is_content(40)
}

#[tokio::test]
async fn a_leader_without_the_api_server_stops_by_itself_before_another_begins() -> Result<()> {
    let world = World::new().await?;
    let relay = Relay::start(server(&world)?).await?;
    let first = start(&through(&world, &relay)?)?;
    until_leading(&first).await?;
    let second = world.replica().await?;
    let (before, guard) = (world.writes().await?, world.guard().await?);
    world.create(apps("early", 20)).await?;
    world.until_protected(20).await?;

    relay.cut();
    world.create(apps("meanwhile", 20)).await?;
    // At no time both: once the second leads, the first does not any more, and without the API server it never will again.
    eventually("the other to lead", PATIENCE, || async { Ok(second.is_leading().await?.then_some(())) })
        .await?;
    ensure!(!first.is_leading().await?, "both led at the same time");
    world.until_protected(40).await?;
    relay.restore();
    world.create(apps("late", 20)).await?;
    world.until_protected(60).await?;
    // It has to see that, too, and leave it as it is.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(!first.is_leading().await?, "it leads again");
    world.wrote_once(&before, 60, 0).await?;
    guard.is_content(60)
}

#[tokio::test]
async fn a_leader_that_is_stopped_gives_the_lease_up_and_the_next_takes_it() -> Result<()> {
    let world = World::new().await?;
    let (first, second) = world.pair().await?;
    let held = world.leases().get("ingress-sso").await?.spec.context("no spec")?;
    assert_eq!(held.lease_duration_seconds, i32::try_from(DURATION.as_secs()).ok());
    first.terminate(PATIENCE).await?;
    until_leading(&second).await?;
    let after = world.leases().get("ingress-sso").await?.spec.context("no spec")?;
    assert_ne!(after.holder_identity, held.holder_identity);
    second.terminate(PATIENCE).await?;
    let given_up = world.leases().get("ingress-sso").await?.spec.context("no spec")?;
    assert_eq!(given_up.holder_identity, None);
    Ok(())
}

#[tokio::test]
async fn a_lease_that_is_deleted_or_edited_is_no_reason_to_change_over() -> Result<()> {
    let world = World::new().await?;
    let (first, second) = world.pair().await?;
    world.leases().delete("ingress-sso", &DeleteParams::default()).await?;
    let made = eventually("a lease", PATIENCE, || async { Ok(world.leases().get_opt("ingress-sso").await?) })
        .await?;
    let mut edited = made.clone();
    edited.metadata.labels = Some([("team".to_owned(), "red".to_owned())].into());
    // It may be renewed at just this moment.
    eventually("an edit", PATIENCE, || async { edited_from(&world, &edited).await.map(|_| Some(())) })
        .await?;
    world.create(apps("app", 5)).await?;
    world.until_protected(5).await?;
    let leading = [first.is_leading().await?, second.is_leading().await?];
    ensure!(leading == [true, false], "{leading:?}");
    eventually("a renewal that keeps the label", PATIENCE, || async {
        let now = world.leases().get("ingress-sso").await?;
        let is_renewed = now.spec.as_ref().and_then(|spec| spec.renew_time.clone())
            > made.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        ensure!(now.labels().contains_key("team"), "the label is gone");
        Ok(is_renewed.then_some(()))
    })
    .await
}

async fn edited_from(world: &World, edited: &Lease) -> Result<Lease> {
    let mut lease = world.leases().get("ingress-sso").await?;
    lease.metadata.labels.clone_from(&edited.metadata.labels);
    Ok(world.leases().replace("ingress-sso", &PostParams::default(), &lease).await?)
}

/// Where the API server of `world` listens.
fn server(world: &World) -> Result<SocketAddr> {
    let url = Url::parse(&world.plane.url())?;
    url.socket_addrs(|| None)?.first().copied().context("no address")
}

/// A kubeconfig like that of `world`, by way of `relay`.
fn through(world: &World, relay: &Relay) -> Result<PathBuf> {
    let text = std::fs::read_to_string(world.plane.kubeconfig())?;
    let (direct, by_relay) = (world.plane.url(), format!("https://{}", relay.address()));
    ensure!(text.contains(&direct), "no {direct} in {text}");
    let path = world.plane.dir().join("relay.kubeconfig");
    std::fs::write(&path, text.replace(&direct, &by_relay))?;
    Ok(path)
}
