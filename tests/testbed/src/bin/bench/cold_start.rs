//! From the start of the process to the last protected app, beside a bare loop that sends the same writes.
//!
//! Bare loop and controller take turns, each on a control plane of its own, and it is their ratio in a pair that counts:
//! what else the machine does comes and goes too slowly to hit only one of the two.

use crate::bare::Script;
use crate::output;
use crate::plan::{Layout, Plan};
use crate::progress::Progress;
use crate::results::{ColdStart, Results, Run};
use crate::sightings::Sightings;
use crate::stats::count;
use crate::subject::{Subject, servers_cpu};
use crate::usage::{Usage, cpu_seconds, machine_cpu_seconds};
use crate::world::{World, by_kind};
use anyhow::Result;
use ingress_sso_testbed::writes::Writes;
use std::fmt;
use std::time::Instant;

/// How many seconds all of it takes, about.
pub(crate) fn guess(plan: &Plan) -> f64 {
    let apps: f64 = plan.apps.iter().map(|apps| guess_run(*apps)).sum();
    2.0 * apps * count(plan.layouts.len() * plan.concurrencies.len() * plan.rounds)
}

fn guess_run(apps: usize) -> f64 {
    5.0 + count(apps) * 0.0045
}

/// Measures all cases in each round. It takes long, so each pair is written as soon as it is there.
pub(crate) async fn run(plan: &Plan, progress: &mut Progress, results: &mut Results) -> Result<()> {
    for round in 0..plan.rounds {
        for &layout in &plan.layouts {
            for &concurrency in &plan.concurrencies {
                for &apps in &plan.apps {
                    let case = Case { plan, layout, concurrency, apps };
                    match case.pair(round, progress).await {
                        Ok(pair) => results.cold_start.push(pair),
                        Err(error) => {
                            results.fail(&format!("cold start, round {}, {case}", round + 1), &error);
                        }
                    }
                    output::write_json(plan, results)?;
                }
            }
        }
    }
    Ok(())
}

struct Case<'a> {
    plan: &'a Plan,
    layout: Layout,
    concurrency: usize,
    apps: usize,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layout, concurrency, apps, .. } = self;
        write!(formatter, "{apps} apps, layout {layout}, {concurrency} at once")
    }
}

impl Case<'_> {
    async fn pair(&self, round: usize, progress: &mut Progress) -> Result<ColdStart> {
        let Self { layout, concurrency, apps, .. } = *self;
        let mut begin = |who: &str| {
            let what = format!("cold start, round {}, {self}, {who}", round + 1);
            progress.begin(&what, guess_run(apps));
        };
        // Whoever comes second may find the machine warmer.
        let (bare, controller) = if round.is_multiple_of(2) {
            begin("bare");
            let bare = self.bare().await?;
            begin("controller");
            (bare, self.controller().await?)
        } else {
            begin("controller");
            let controller = self.controller().await?;
            begin("bare");
            (self.bare().await?, controller)
        };
        Ok(ColdStart { layout, concurrency, apps, round, bare, controller })
    }

    async fn bare(&self) -> Result<Run> {
        let (world, apps) = World::with_apps(self.apps, self.layout).await?;
        let script = Script::render(&self.plan.program, &world).await?;
        let mut sightings = Sightings::start(&world.client).await?;
        let before = Before::new(&world).await?;
        let start = Instant::now();
        // A client of its own: the controller's has to connect first, too.
        script.play(world.plane.client()?, self.concurrency).await?;
        let spent = before.spent(&world, start.elapsed().as_secs_f64(), None)?;
        sightings.until(apps.len(), true).await?;
        spent.settle(&world, || Ok(Usage::default())).await
    }

    async fn controller(&self) -> Result<Run> {
        let (world, apps) = World::with_apps(self.apps, self.layout).await?;
        let mut sightings = Sightings::start(&world.client).await?;
        let before = Before::new(&world).await?;
        let subject = Subject::start(&self.plan.program, &world, self.concurrency)?;
        let last = sightings.until(apps.len(), true).await.map_err(|error| subject.explain(&error))?;
        let seconds = (last - subject.start).as_secs_f64();
        let spent = before.spent(&world, seconds, Some(subject.usage()?.cpu_seconds))?;
        spent.settle(&world, || subject.usage()).await
    }
}

/// What is known before a run.
struct Before {
    writes: Writes,
    servers_cpu: f64,
    own_cpu: f64,
    machine_cpu: f64,
}

/// What is known of a run when its last app is protected.
struct Spent {
    before: Writes,
    seconds: f64,
    client_cpu: f64,
    servers_cpu: f64,
    others_cpu: f64,
}

impl Before {
    async fn new(world: &World) -> Result<Self> {
        Ok(Self {
            writes: world.writes().await?,
            servers_cpu: servers_cpu(world)?,
            own_cpu: cpu_seconds(std::process::id())?,
            machine_cpu: machine_cpu_seconds()?,
        })
    }

    /// After a run of `seconds` in which the controller took `controller_cpu`; without one, this process did its work.
    fn spent(self, world: &World, seconds: f64, controller_cpu: Option<f64>) -> Result<Spent> {
        let machine_cpu = machine_cpu_seconds()? - self.machine_cpu;
        let servers_cpu = servers_cpu(world)? - self.servers_cpu;
        let own_cpu = cpu_seconds(std::process::id())? - self.own_cpu;
        let others_cpu = machine_cpu - servers_cpu - own_cpu - controller_cpu.unwrap_or(0.0);
        let client_cpu = controller_cpu.unwrap_or(own_cpu);
        Ok(Spent { before: self.writes, seconds, client_cpu, servers_cpu, others_cpu })
    }
}

impl Spent {
    /// The run, once all is quiet; `usage` is asked then.
    async fn settle(self, world: &World, usage: impl FnOnce() -> Result<Usage>) -> Result<Run> {
        let writes = by_kind(&(&world.writes().await? - &self.before));
        let (usage, objects) = (usage()?, world.fingerprint().await?);
        let Self { seconds, client_cpu, servers_cpu, others_cpu, .. } = self;
        Ok(Run { seconds, client_cpu, servers_cpu, others_cpu, usage, writes, objects })
    }
}
