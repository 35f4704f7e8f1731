//! Memory beside few and many Ingresses, most of which do not concern the controller.

use crate::plan::Plan;
use crate::progress::Progress;
use crate::results::Memory;
use crate::sightings::Sightings;
use crate::stats::count;
use crate::subject::{CONCURRENCY, Subject};
use crate::usage::Usage;
use crate::world::{World, apps};
use anyhow::Result;
use std::time::Duration;
use tokio::time::sleep;

/// Of all Ingresses, so many are opted in.
const APPS: usize = 1_000;

const APPS_IN_A_NAMESPACE: usize = 10;

const OTHERS_IN_A_NAMESPACE: usize = 100;

/// Rest before a look: allocators give back late.
const REST: Duration = Duration::from_secs(5);

pub(crate) fn guess(plan: &Plan) -> f64 {
    18.0 + plan.ingresses.iter().map(|ingresses| guess_crowd(*ingresses)).sum::<f64>()
}

fn guess_crowd(ingresses: usize) -> f64 {
    25.0 + count(ingresses) * 0.002
}

/// What was measured before an error is in `memory`.
pub(crate) async fn run(plan: &Plan, progress: &mut Progress, memory: &mut Vec<Memory>) -> Result<()> {
    progress.begin("memory with no Ingress at all", 18.0);
    memory.push(beside(plan, 0).await?);
    for &ingresses in &plan.ingresses {
        progress.begin(&format!("memory beside {ingresses} Ingresses"), guess_crowd(ingresses));
        memory.push(beside(plan, ingresses).await?);
    }
    Ok(())
}

async fn beside(plan: &Plan, ingresses: usize) -> Result<Memory> {
    let number = ingresses.min(APPS);
    let world = World::empty().await?;
    world.create(&apps("apps", number, APPS_IN_A_NAMESPACE), true).await?;
    world.create_others(&apps("others", ingresses - number, OTHERS_IN_A_NAMESPACE)).await?;
    let mut sightings = Sightings::start(&world.client).await?;

    let (subject, _) = Subject::ready(&plan.program, &world, CONCURRENCY).await?;
    sightings.until(number, true).await.map_err(|error| subject.explain(&error))?;
    world.writes().await?;
    sleep(REST).await;
    let cold = subject.usage()?;
    drop(subject);

    let (subject, ready) = Subject::ready(&plan.program, &world, CONCURRENCY).await?;
    sleep(REST).await;
    let before = subject.usage()?;
    sleep(REST).await;
    let warm: Usage = subject.usage()?;
    let rest = (warm.cpu_seconds - before.cpu_seconds) / REST.as_secs_f64();
    Ok(Memory { ingresses, apps: number, cold, warm, ready: ready.as_secs_f64(), rest })
}
