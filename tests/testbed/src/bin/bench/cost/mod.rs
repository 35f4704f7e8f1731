//! What Ingresses, opt-ins and watches cost controller, API server and etcd, so that a model can say what a cluster
//! costs that no test can have.
//!
//! Everything is measured at two sizes, and what counts is the difference: what a control plane costs anyway drops out.
//! At a third, larger size it is measured once more and held against what the model says.

mod cluster;
mod inputs;
mod model;
mod predictions;
mod renewals;
mod servers;
mod tables;
mod traffic;

pub(crate) use cluster::Cluster;
pub(crate) use inputs::Inputs;
pub(crate) use tables::{model_from, tables};

use crate::output::write_json;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::results::{Cost, Results, Writes};
use crate::sightings::Sightings;
use crate::stats::count;
use crate::subject::{CONCURRENCY, Subject};
use crate::usage::Usage;
use crate::world::{App, World, apps, by_kind};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use servers::{Held, Spent, quiet, sent};
use std::time::Duration;
use tokio::time::sleep;
use traffic::{Count, Traffic};

/// One Ingress of so many is opted in.
const ONE_OF: usize = 10;

/// Ingresses in a namespace.
const IN_A_NAMESPACE: usize = 10;

/// Numbers of namespaces that an instance is scoped to. They are empty, so that only the watches differ.
const SCOPES: [usize; 2] = [20, 200];

/// Rest before a look: allocators give back late.
const REST: Duration = Duration::from_secs(3);

/// Everything about a cluster of one size.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Size {
    pub(crate) ingresses: usize,
    /// How many of them opt in.
    pub(crate) apps: usize,
    pub(crate) empty: Held,
    /// All Ingresses are made; none is opted in.
    pub(crate) created: Stage,
    /// The controller starts beside them.
    pub(crate) beside: Start,
    /// The apps opt in, and no controller runs.
    pub(crate) asked: Stage,
    /// The controller starts and protects them.
    pub(crate) protected: Stage,
    /// It starts again with everything in place.
    pub(crate) restarted: Start,
    /// As many Ingresses as there are apps, none of them opted in, are edited once each.
    pub(crate) edited: Stage,
    /// All apps opt out.
    pub(crate) opted_out: Stage,
}

/// Something that happened to many Ingresses.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stage {
    pub(crate) spent: Spent,
    /// What the controller used since its start; nothing where none ran.
    pub(crate) controller: Usage,
    /// What came in the controller's watches.
    pub(crate) watched: Count,
    pub(crate) writes: Writes,
    /// What there is afterwards.
    pub(crate) held: Held,
}

/// A start of the controller with nothing to do.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Start {
    /// From the start of the process until it was ready.
    pub(crate) seconds: f64,
    pub(crate) spent: Spent,
    /// Bytes of lists and events that it was sent.
    pub(crate) received: f64,
    pub(crate) controller: Usage,
}

/// A start of an instance that is scoped to namespaces in which there is nothing.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Scoped {
    pub(crate) namespaces: usize,
    pub(crate) start: Start,
    /// While it runs.
    pub(crate) held: Held,
}

pub(crate) fn guess(plan: &Plan) -> f64 {
    plan.cost.iter().map(|ingresses| guess_size(*ingresses)).sum::<f64>() + 40.0
}

fn guess_size(ingresses: usize) -> f64 {
    30.0 + count(ingresses) * 0.005
}

/// What was measured before an error is in `results`.
pub(crate) async fn run(plan: &Plan, progress: &mut Progress, results: &mut Results) -> Result<()> {
    results.cost = Some(Cost::default());
    for (position, &ingresses) in plan.cost.iter().enumerate() {
        progress.begin(&format!("cost of {ingresses} Ingresses"), guess_size(ingresses));
        let world = World::empty().await?;
        let size = measure(plan, &world, ingresses).await?;
        let cost = results.cost.get_or_insert_default();
        cost.sizes.push(size);
        if position == 0 {
            cost.scoped = scopes(plan, &world).await?;
            cost.renewal_cpu = renewals::cpu(&world).await?;
        }
        cost.inputs = Inputs::of(cost);
        write_json(plan, results)?;
    }
    Ok(())
}

async fn measure(plan: &Plan, world: &World, ingresses: usize) -> Result<Size> {
    let crowd = apps("apps", ingresses / ONE_OF, IN_A_NAMESPACE);
    let others = apps("others", ingresses - crowd.len(), IN_A_NAMESPACE);
    let mut size = Size { ingresses, apps: crowd.len(), empty: Held::by(world).await?, ..Size::default() };
    size.created = stage(world, None, async {
        world.create(&crowd, false).await?;
        world.create_others(&others).await
    })
    .await?;
    size.beside = settled_start(plan, world, &[]).await?.1;
    size.asked = stage(world, None, world.opt(&crowd, true)).await?;

    let mut sightings = Sightings::start(&world.client).await?;
    let mut subject = None;
    size.protected = stage(world, None, async {
        let started = subject.insert(Subject::start(&plan.program, world, CONCURRENCY)?);
        sightings.until(crowd.len(), true).await.map_err(|error| started.explain(&error)).map(|_| ())
    })
    .await?;
    size.protected.controller = subject.context("no controller")?.usage()?;

    let subject;
    (subject, size.restarted) = settled_start(plan, world, &[]).await?;
    let edits: Vec<App> = others.iter().take(crowd.len()).cloned().collect();
    size.edited = stage(world, Some(&subject), world.annotate_all(&edits, "bench/edited", "once")).await?;
    size.opted_out = stage(world, Some(&subject), async {
        world.opt(&crowd, false).await?;
        sightings.until(crowd.len(), false).await.map(|_| ())
    })
    .await?;
    ensure!(world.has_no_companions().await?, subject.explain(&anyhow::anyhow!("companions are left")));
    Ok(size)
}

/// Does something, waits until nobody writes any more, and says what it took.
async fn stage(
    world: &World,
    subject: Option<&Subject>,
    action: impl Future<Output = Result<()>>,
) -> Result<Stage> {
    let used = || subject.map(Subject::usage).transpose().map(Option::unwrap_or_default);
    let writes = world.writes().await?;
    let traffic = Traffic::start(&world.client).await?;
    let (spent, usage) = (Spent::so_far(world)?, used()?);
    action.await?;
    quiet(world).await?;
    let spent = Spent::so_far(world)? - spent;
    let mut controller = used()?;
    controller.cpu_seconds -= usage.cpu_seconds;
    let watched = traffic.so_far();
    drop(traffic);
    let writes = by_kind(&(&world.writes().await? - &writes));
    Ok(Stage { spent, controller, watched, writes, held: Held::by(world).await? })
}

/// Starts the controller, which has nothing to do, and lets it come to rest.
async fn settled_start(plan: &Plan, world: &World, args: &[String]) -> Result<(Subject, Start)> {
    let (received, spent) = (sent(world).await?, Spent::so_far(world)?);
    let subject = Subject::start_with(&plan.program, world, args)?;
    let seconds = subject.until_ready().await?.as_secs_f64();
    sleep(REST).await;
    let spent = Spent::so_far(world)? - spent;
    let received = sent(world).await? - received;
    let start = Start { seconds, spent, received, controller: subject.usage()? };
    Ok((subject, start))
}

async fn scopes(plan: &Plan, world: &World) -> Result<Vec<Scoped>> {
    let mut scoped = Vec::new();
    for namespaces in SCOPES {
        let names: Vec<String> = (0..namespaces).map(|number| format!("empty-{number}")).collect();
        let args = ["--namespace".to_owned(), names.join(",")];
        let (_subject, start) = settled_start(plan, world, &args).await?;
        scoped.push(Scoped { namespaces, start, held: Held::by(world).await? });
    }
    Ok(scoped)
}
