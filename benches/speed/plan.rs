//! From all that bears on one app to the requests that are due.

use crate::world::World;
use anyhow::{Result, ensure};
use criterion::{BenchmarkId, Criterion, Throughput};
use ingress_sso::facts::ObjectKey;
use ingress_sso::plan::changes::{AppPlan, Companion, decided_plan};
use ingress_sso_testbed::builders::{IngressBuilder, helm_ingress};
use ingress_sso_testbed::scene::OPT_IN;
use serde_json::json;

const OTHERS: usize = 1_000;

pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let mut world = World::crowded(OTHERS)?;
    let app = |class, name| helm_ingress("shop", name).class(class).annotation(OPT_IN, "true");
    let refused = |app: IngressBuilder| app.annotation("sso.djieno.com/outpost", "nowhere");
    let mut group = criterion.benchmark_group("plan");
    for (class, state, is_due, key) in [
        ("nginx", "protected", false, world.protect(app("nginx", "a"))?),
        ("nginx", "route to repair", true, with_wrong_route(&mut world, app("nginx", "b"))?),
        ("nginx", "opted in", true, world.add(app("nginx", "c"))?),
        ("nginx", "refused", false, world.protect(refused(app("nginx", "d")))?),
        ("traefik", "protected", false, world.protect(app("traefik", "e"))?),
        ("traefik", "opted in", true, world.add(app("traefik", "f"))?),
        ("traefik", "refused", false, world.protect(refused(app("traefik", "g")))?),
    ] {
        let plan = plan(&world, &key);
        ensure!(plan.stages.is_empty() != is_due, "{state} on {class}: {plan:?}");
        group.bench_function(BenchmarkId::new(state, class), |bencher| {
            bencher.iter(|| self::plan(&world, &key));
        });
    }
    group.finish();
    by_hosts(criterion)
}

/// An Ingress with very many hosts may cost its share for each, and must not cost one for each pair of them.
fn by_hosts(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("plan by hosts");
    group.sample_size(10);
    for number in [1, 100, 10_000] {
        let mut world = World::empty()?;
        let app = (0..number)
            .fold(helm_ingress("shop", "app").annotation(OPT_IN, "true"), |app, position| {
                app.host(&format!("h{position}.example.com"))
            });
        let key = world.protect(app)?;
        ensure!(plan(&world, &key).stages.is_empty(), "not settled with {number} hosts");
        group.throughput(Throughput::Elements(number));
        group.bench_function(BenchmarkId::new("protected", number), |bencher| {
            bencher.iter(|| plan(&world, &key));
        });
    }
    group.finish();
    Ok(())
}

fn plan(world: &World, app: &ObjectKey) -> AppPlan {
    let view = world.index.view(app);
    decided_plan(&view, &world.settings, false)
}

/// Adds a protected app whose outpost Ingress somebody gave another host.
fn with_wrong_route(world: &mut World, app: IngressBuilder) -> Result<ObjectKey> {
    let settled = world.settle(app)?;
    for companion in &settled.companions {
        if let Companion::Ingress(route) = companion {
            let mut route = world.server.made(route)?;
            route["spec"]["rules"][0]["host"] = json!("elsewhere.example.com");
            world.observe(&route)?;
        } else {
            world.observe_companion(companion)?;
        }
    }
    world.observe(&settled.ingress)
}
