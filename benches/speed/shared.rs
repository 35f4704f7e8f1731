//! Planning what the apps of a namespace share, beside few apps and many.

use crate::world::World;
use anyhow::{Result, ensure};
use criterion::{BenchmarkId, Criterion};
use ingress_sso::index::Key;
use ingress_sso::plan::changes::{Companion, Kind};
use ingress_sso_testbed::builders::{IngressBuilder, helm_ingress};
use ingress_sso_testbed::scene::OPT_IN;

pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("shared");
    for class in ["nginx", "traefik"] {
        for number in [10, 1_000] {
            let app = |name: &str| helm_ingress("shop", name).class(class).annotation(OPT_IN, "true");
            let mut world = World::empty()?;
            for position in 0..number {
                world.protect(app(&format!("app-{position}")))?;
            }
            let used = shared(&mut world, app("like-the-others"))?;
            let of_another = app("gone").annotation("sso.djieno.com/outpost", "other-outpost");
            let unused = shared(&mut world, of_another.annotation("sso.djieno.com/auth-route", "direct"))?;
            for (state, is_due, companions) in [("in use", false, used), ("unused", true, unused)] {
                for (kind, key) in companions {
                    ensure!(world.index.plan_shared(&key).is_some() == is_due, "{state} {key}");
                    let id = BenchmarkId::new(format!("{kind} {state}"), number);
                    group.bench_function(id, |bencher| bencher.iter(|| world.index.plan_shared(&key)));
                }
            }
        }
    }
    group.finish();
    Ok(())
}

/// Adds what `app` shares with others, without the app.
fn shared(world: &mut World, app: IngressBuilder) -> Result<Vec<(Kind, Key)>> {
    let mut keys = Vec::new();
    for companion in &world.settle(app)?.companions {
        let key = companion.key();
        let key = match companion {
            Companion::Ingress(_) => continue,
            Companion::Service(_) => Key::Service(key),
            Companion::ConfigMap(_) => Key::Headers(key),
            Companion::Middleware(_) => Key::Middleware(key),
        };
        keys.push((companion.kind(), key));
        world.observe_companion(companion)?;
    }
    Ok(keys)
}
