//! From opt-in to protected, for single apps, while somebody has very many Ingresses refused and edits them all the time.

use crate::latency::two_round_trips;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::results::Broken;
use crate::sightings::Sightings;
use crate::stats::count;
use crate::subject::{CONCURRENCY, Subject};
use crate::world::{App, World, apps};
use anyhow::Result;
use ingress_sso_testbed::scene::OPT_IN;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Single apps of each kind.
const SAMPLES: usize = 60;

const IN_A_NAMESPACE: usize = 10;

/// Between two single apps.
const REST: Duration = Duration::from_millis(100);

pub(crate) fn guess(plan: &Plan) -> f64 {
    15.0 + count(plan.broken) * 0.006 + count(3 * SAMPLES) * 0.4
}

pub(crate) async fn run(plan: &Plan, progress: &mut Progress) -> Result<Broken> {
    progress.begin(&format!("single apps beside {} broken ones", plan.broken), guess(plan));
    let world = Arc::new(World::empty().await?);
    let alone = apps("alone", SAMPLES, IN_A_NAMESPACE);
    let elsewhere = apps("elsewhere", SAMPLES, IN_A_NAMESPACE);
    let broken = apps("broken", plan.broken, plan.broken.max(1));
    for crowd in [&alone, &elsewhere] {
        world.create(crowd, false).await?;
    }
    world.create_others(&broken).await?;
    let (subject, _) = Subject::ready(&plan.program, &world, CONCURRENCY).await?;
    let mut sightings = Sightings::start(&world.client).await?;
    let mut result = Broken { ingresses: plan.broken, ..Broken::default() };

    let measured = async {
        sample(&world, &alone, &mut sightings, &mut result.alone, &mut result.alone_trips).await?;
        let (is_over, edits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let start = Instant::now();
        let editor = tokio::spawn(edit(Arc::clone(&world), broken, Arc::clone(&is_over), Arc::clone(&edits)));
        // From the first of them, when all are new to the controller.
        sample(&world, &elsewhere, &mut sightings, &mut result.among, &mut result.among_trips).await?;
        is_over.store(true, Ordering::Release);
        editor.await??;
        result.seconds = start.elapsed().as_secs_f64();
        result.edits = edits.load(Ordering::Relaxed);
        anyhow::Ok(())
    };
    measured.await.map_err(|error| subject.explain(&error))?;
    result.cpu = subject.usage()?.cpu_seconds;
    Ok(result)
}

/// Has all of `broken` refused for another reason again and again.
async fn edit(
    world: Arc<World>,
    broken: Vec<App>,
    is_over: Arc<AtomicBool>,
    edits: Arc<AtomicU64>,
) -> Result<()> {
    for round in 0_u64.. {
        for some in broken.chunks(100) {
            if is_over.load(Ordering::Acquire) {
                return Ok(());
            }
            world.annotate_all(some, OPT_IN, &format!("broken-{round}")).await?;
            edits.fetch_add(u64::try_from(some.len())?, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// One app after the other, each followed by what two round trips take meanwhile.
async fn sample(
    world: &World,
    singles: &[App],
    sightings: &mut Sightings,
    seconds: &mut Vec<f64>,
    trips: &mut Vec<f64>,
) -> Result<()> {
    for app in singles {
        world.annotate(app, OPT_IN, "true").await?;
        let asked = Instant::now();
        let protected = sightings.until_protected(app).await?;
        // In a busy process the answer may be read after what came of it.
        seconds.push(protected.saturating_duration_since(asked).as_secs_f64());
        trips.push(two_round_trips(world, app).await?);
        sleep(REST).await;
    }
    Ok(())
}
