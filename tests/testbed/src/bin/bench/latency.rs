//! From opt-in to protected, for single apps: at rest, and while many others opt in.

use crate::plan::Plan;
use crate::progress::Progress;
use crate::results::Latency;
use crate::sightings::Sightings;
use crate::stats::count;
use crate::subject::{CONCURRENCY, Subject};
use crate::world::{App, World, apps};
use anyhow::{Context, Result};
use ingress_sso_testbed::scene::OPT_IN;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

const IN_A_NAMESPACE: usize = 10;

/// The most single apps that opt in during the storm.
const STORM_SAMPLES: usize = 500;

/// Between two of them.
const STORM_PACE: Duration = Duration::from_millis(20);

/// Between two single apps at rest, so that nothing of the one before goes on.
const REST: Duration = Duration::from_millis(20);

pub(crate) fn guess(plan: &Plan) -> f64 {
    12.0 + count(plan.samples) * 0.06 + count(plan.storm) * 0.015
}

pub(crate) async fn run(plan: &Plan, progress: &mut Progress) -> Result<Latency> {
    progress.begin(&format!("latency of {} single apps at rest", plan.samples), count(plan.samples) * 0.06);
    let world = Arc::new(World::empty().await?);
    let singles = apps("rest", plan.samples, IN_A_NAMESPACE);
    let storm = apps("storm", plan.storm, IN_A_NAMESPACE);
    let in_storm = apps("single", STORM_SAMPLES, IN_A_NAMESPACE);
    for crowd in [&singles, &storm, &in_storm] {
        world.create(crowd, false).await?;
    }
    let (subject, _) = Subject::ready(&plan.program, &world, CONCURRENCY).await?;
    let mut sightings = Sightings::start(&world.client).await?;
    let mut latency = Latency { storm_apps: plan.storm, ..Latency::default() };
    let at_rest = at_rest(&world, &singles, &mut sightings, &mut latency).await;
    at_rest.map_err(|error| subject.explain(&error))?;
    progress.begin(
        &format!("latency of single apps while {} opt in", plan.storm),
        12.0 + count(plan.storm) * 0.015,
    );
    let in_storm = in_storm_of(&world, storm, in_storm, &mut sightings, &mut latency).await;
    in_storm.map_err(|error| subject.explain(&error))?;
    Ok(latency)
}

/// One app after the other, each followed by what the same round trips take without a controller.
async fn at_rest(
    world: &World,
    singles: &[App],
    sightings: &mut Sightings,
    latency: &mut Latency,
) -> Result<()> {
    let mut namespaces = HashSet::new();
    for app in singles {
        world.annotate(app, OPT_IN, "true").await?;
        let asked = Instant::now();
        let protected = sightings.until_protected(app).await?;
        let is_first = namespaces.insert(&app.namespace);
        let kind = if is_first { &mut latency.rest_first } else { &mut latency.rest };
        kind.push((protected - asked).as_secs_f64());
        sleep(REST).await;
        latency.two_round_trips.push(two_round_trips(world, app).await?);
        sleep(REST).await;
        latency.get.push(get(world, app).await?);
    }
    Ok(())
}

/// An Ingress of about the size of a route, and an apply of about the size of the controller's, by nobody it watches for.
pub(crate) async fn two_round_trips(world: &World, app: &App) -> Result<f64> {
    let other = App { name: format!("{}-other", app.name), ..app.clone() };
    let api = world.api::<Ingress>(&app.namespace);
    let annotations: HashMap<String, String> =
        (0..6).map(|number| (format!("bench/value-{number}"), "x".repeat(60))).collect();
    let apply = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": other.name, "annotations": annotations },
    });
    let start = Instant::now();
    api.create(&PostParams::default(), &other.ingress(false)).await?;
    api.patch(&other.name, &PatchParams::apply("bench"), &Patch::Apply(&apply)).await?;
    Ok(start.elapsed().as_secs_f64())
}

async fn get(world: &World, app: &App) -> Result<f64> {
    let start = Instant::now();
    world.api::<Ingress>(&app.namespace).get(&app.name).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// All of `storm` opt in, many at once; meanwhile those of `singles` do, one every now and then, until the storm is over.
async fn in_storm_of(
    world: &Arc<World>,
    storm: Vec<App>,
    singles: Vec<App>,
    sightings: &mut Sightings,
    latency: &mut Latency,
) -> Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut waiting: HashSet<App> = storm.iter().cloned().collect();
    let start = Instant::now();
    let loader = tokio::spawn({
        let world = Arc::clone(world);
        async move { world.opt(&storm, true).await }
    });
    let asking = tokio::spawn(sample(Arc::clone(world), singles, Arc::clone(&is_over)));
    let mut seen = HashMap::new();
    while !waiting.is_empty() {
        let sighting = sightings.next().await.context("in the storm")?;
        if sighting.is_protected() {
            waiting.remove(&sighting.app);
            seen.entry(sighting.app).or_insert(sighting.at);
        }
    }
    latency.storm_seconds = start.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Release);
    loader.await??;
    for Sample { app, asked, get } in asking.await?? {
        while !seen.contains_key(&app) {
            let sighting = sightings.next().await.context("after the storm")?;
            if sighting.is_protected() {
                seen.entry(sighting.app).or_insert(sighting.at);
            }
        }
        let protected = seen.get(&app).copied().unwrap_or(asked);
        // In a busy process the answer may be read after what came of it.
        latency.storm.push(protected.saturating_duration_since(asked).as_secs_f64());
        latency.storm_get.push(get);
    }
    Ok(())
}

/// A single app in the storm.
struct Sample {
    app: App,
    asked: Instant,
    /// How long a GET took just before.
    get: f64,
}

/// Each is asked for at its time, however long those before it take.
async fn sample(world: Arc<World>, singles: Vec<App>, is_over: Arc<AtomicBool>) -> Result<Vec<Sample>> {
    let mut samples = JoinSet::new();
    for app in singles {
        sleep(STORM_PACE).await;
        if is_over.load(Ordering::Acquire) {
            break;
        }
        let world = Arc::clone(&world);
        samples.spawn(async move {
            let get = get(&world, &app).await?;
            world.annotate(&app, OPT_IN, "true").await?;
            Ok(Sample { app, asked: Instant::now(), get })
        });
    }
    samples.join_all().await.into_iter().collect()
}
