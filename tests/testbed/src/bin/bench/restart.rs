//! Starting again with everything in place, and undoing everything.

use crate::bare::list_all;
use crate::plan::{Layout, Plan};
use crate::progress::Progress;
use crate::results::Restart;
use crate::sightings::Sightings;
use crate::stats::count;
use crate::subject::{CONCURRENCY, Subject};
use crate::world::{World, by_kind};
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Restarts in a round: each is short.
const RESTARTS: usize = 3;

/// Between two looks whether everything is gone.
const INTERVAL: Duration = Duration::from_millis(10);

pub(crate) fn guess(plan: &Plan) -> f64 {
    15.0 + count(plan.most_apps()) * 0.03 + 3.0 * count(RESTARTS * plan.rounds)
}

pub(crate) async fn run(plan: &Plan, progress: &mut Progress) -> Result<Restart> {
    let number = plan.most_apps();
    progress.begin(&format!("restart with {number} apps, and opt-out of all"), guess(plan));
    let (world, apps) = World::with_apps(number, Layout::Ten).await?;
    let mut sightings = Sightings::start(&world.client).await?;
    let subject = Subject::start(&plan.program, &world, CONCURRENCY)?;
    sightings.until(number, true).await.map_err(|error| subject.explain(&error))?;
    let protected = world.writes().await?;
    drop(subject);

    let mut restart = Restart { apps: number, ..Restart::default() };
    for _ in 0..RESTARTS * plan.rounds {
        restart_once(plan, &world, &mut restart).await?;
    }
    let restarted = world.writes().await?;
    restart.writes = by_kind(&(&restarted - &protected));

    world.opt(&apps, false).await?;
    let before = world.writes().await?;
    let subject = Subject::start(&plan.program, &world, CONCURRENCY)?;
    sightings.until(number, false).await.map_err(|error| subject.explain(&error))?;
    while !world.has_no_companions().await? {
        sleep(INTERVAL).await;
    }
    restart.opt_out = subject.start.elapsed().as_secs_f64();
    restart.opt_out_cpu = subject.usage()?.cpu_seconds;
    restart.opt_out_writes = by_kind(&(&world.writes().await? - &before));
    Ok(restart)
}

async fn restart_once(plan: &Plan, world: &World, restart: &mut Restart) -> Result<()> {
    let start = Instant::now();
    list_all(&world.plane.client()?).await?;
    restart.list.push(start.elapsed().as_secs_f64());
    let (subject, ready) = Subject::ready(&plan.program, world, CONCURRENCY).await?;
    restart.ready.push(ready.as_secs_f64());
    // Whatever it might write, it would have begun to by then.
    world.writes().await?;
    let usage = subject.usage()?;
    restart.cpu.push(usage.cpu_seconds);
    restart.resident.push(usage.resident);
    Ok(())
}
