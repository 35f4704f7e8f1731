//! What it takes the index to learn that an Ingress changed, beside few others and many: the cost is that of what the change
//! touches.

use crate::world::World;
use anyhow::Result;
use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode};
use ingress_sso::facts::IngressFacts;
use ingress_sso::watched::WatchedIngress;
use ingress_sso_testbed::builders::{IngressBuilder, helm_ingress};
use ingress_sso_testbed::scene::OPT_IN;
use serde_json::{Value, from_value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};

const HOST: &str = "shared.example.com";

/// Most of the time goes into what is not timed: see [`time`].
const TIMED: Duration = Duration::from_millis(300);

pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    beside_others(&mut group(criterion, "index beside others"))?;
    on_a_shared_host(&mut group(criterion, "index on a shared host"))
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).warm_up_time(TIMED).measurement_time(TIMED);
    group
}

fn beside_others(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<()> {
    for number in [1_000, 10_000] {
        let mut world = World::crowded(number)?;
        let app = || helm_ingress("team-0", "app");
        let plain = world.server.applied(app().build())?;
        let mut moved = plain.clone();
        moved["spec"]["rules"][0]["host"] = json!("elsewhere.example.com");
        let opted_in = world.server.applied(opts_in(app()).build())?;
        let protected = world.settle(opts_in(app()))?.ingress;
        bench(group, "a bystander changes its host", number, &mut world, [&plain, &moved])?;
        bench(group, "an app opts in", number, &mut world, [&plain, &opted_in])?;
        bench(group, "an app gets a status", number, &mut world, [&protected, &protected])?;
    }
    Ok(())
}

fn on_a_shared_host(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<()> {
    for number in [10, 1_000] {
        for (who, are_apps) in [("bystanders", false), ("apps", true)] {
            let mut world = World::empty()?;
            for position in 0..number {
                let other = helm_ingress("shop", &format!("other-{position}")).host(HOST);
                world.add(if are_apps { opts_in(other) } else { other })?;
            }
            let app = || helm_ingress("shop", "app");
            let elsewhere = world.server.applied(app().build())?;
            let bystander = world.server.applied(app().host(HOST).build())?;
            let opted_in = world.server.applied(opts_in(app().host(HOST)).build())?;
            let name = format!("a bystander joins {who}");
            bench(group, &name, number, &mut world, [&elsewhere, &bystander])?;
            let name = format!("an app opts in beside {who}");
            bench(group, &name, number, &mut world, [&bystander, &opted_in])?;
        }
    }
    Ok(())
}

fn opts_in(app: IngressBuilder) -> IngressBuilder {
    app.annotation(OPT_IN, "true")
}

/// Measures the change of one Ingress from `before` to `after`, in a world with `number` others.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    number: usize,
    world: &mut World,
    [before, after]: [&Value; 2],
) -> Result<()> {
    let (mut before, mut after): (WatchedIngress, WatchedIngress) =
        (from_value(before.clone())?, from_value(after.clone())?);
    // It is the same Ingress.
    after.0.metadata.uid.clone_from(&before.0.metadata.uid);
    group.bench_function(BenchmarkId::new(name, number), |bencher| {
        time(bencher, world, [&mut before, &mut after]);
    });
    Ok(())
}

/// Times the change to `after`; the change back to `before` is not what is measured.
fn time(bencher: &mut Bencher<'_>, world: &mut World, [before, after]: [&mut WatchedIngress; 2]) {
    bencher.iter_custom(|iterations| {
        let mut total = Duration::ZERO;
        for _ in 0..iterations {
            observe(world, before);
            total += observe(world, after);
        }
        total
    });
}

/// Shows the index a new version of `ingress`; the answer is how long it took to learn it.
fn observe(world: &mut World, ingress: &mut WatchedIngress) -> Duration {
    ingress.0.metadata.resource_version = Some(world.server.next_version());
    let Ok(facts) = IngressFacts::extract(&ingress.0, &world.settings.keys) else { return Duration::ZERO };
    let start = Instant::now();
    black_box(world.index.observe_ingress(facts));
    start.elapsed()
}
