//! One protected app that others edit all the time, in ways that do not matter to its protection.

use crate::plan::{Layout, Plan};
use crate::progress::Progress;
use crate::results::Hot;
use crate::sightings::Sightings;
use crate::subject::{CONCURRENCY, Subject};
use crate::world::{World, by_kind};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::interval;

/// Between two edits.
const PACE: Duration = Duration::from_millis(20);

pub(crate) fn guess(plan: &Plan) -> f64 {
    8.0 + f64::from(plan.hot_seconds)
}

pub(crate) async fn run(plan: &Plan, progress: &mut Progress) -> Result<Hot> {
    progress.begin("one app edited 50 times a second", guess(plan));
    let (world, apps) = World::with_apps(1, Layout::One).await?;
    let app = apps.into_iter().next().context("no app")?;
    let world = Arc::new(world);
    let mut sightings = Sightings::start(&world.client).await?;
    let (subject, _) = Subject::ready(&plan.program, &world, CONCURRENCY).await?;
    sightings.until(1, true).await.map_err(|error| subject.explain(&error))?;
    let (before, cpu, start) = (world.writes().await?, subject.usage()?.cpu_seconds, Instant::now());

    let mut edits = JoinSet::new();
    let mut pace = interval(PACE);
    while start.elapsed() < Duration::from_secs(plan.hot_seconds.into()) {
        pace.tick().await;
        let (world, app, number) = (Arc::clone(&world), app.clone(), edits.len());
        edits.spawn(async move { world.annotate(&app, "bench/edited", &number.to_string()).await });
    }
    let seconds = start.elapsed().as_secs_f64();
    let number = edits.len();
    while let Some(edit) = edits.join_next().await {
        edit??;
    }
    let mut writes = by_kind(&(&world.writes().await? - &before));
    let cpu = subject.usage()?.cpu_seconds - cpu;
    let edits = u64::try_from(number)?;
    // The edits are the only merge patches that are not the controller's.
    if let Some(patches) = writes.get_mut("PATCH ingresses") {
        *patches = patches.saturating_sub(edits);
    }
    writes.retain(|_, number| *number > 0);
    Ok(Hot { seconds, edits, cpu, writes })
}
