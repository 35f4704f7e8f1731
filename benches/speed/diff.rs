//! Comparing a shared companion that is there with the one that should be.

use crate::world::World;
use anyhow::Result;
use criterion::{BenchmarkId, Criterion};
use ingress_sso::contract::Keys;
use ingress_sso::facts::{ConfigMapFacts, MiddlewareFacts, ServiceFacts};
use ingress_sso::plan::Slot;
use ingress_sso::plan::changes::{Change, Companion, headers_change, middleware_change, service_change};
use ingress_sso_testbed::builders::helm_ingress;
use ingress_sso_testbed::scene::OPT_IN;

/// Compares what was found with a wanted companion.
type Compare<'a> = Box<dyn Fn() -> Option<Change> + 'a>;

pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let mut world = World::empty()?;
    let keys = world.settings.keys.clone();
    let app = |class| helm_ingress("shop", "app").class(class).annotation(OPT_IN, "true");
    let (nginx, traefik) = (world.settle(app("nginx"))?, world.settle(app("traefik"))?);
    let mut group = criterion.benchmark_group("diff");
    for wanted in nginx.companions.iter().chain(&traefik.companions) {
        let cases = [("right", wanted.clone()), ("wrong", changed(wanted.clone()))];
        for (state, found) in cases {
            if let Some(compare) = comparison(wanted, &found, &keys) {
                let id = BenchmarkId::new(wanted.kind().to_string(), state);
                group.bench_function(id, |bencher| bencher.iter(&compare));
            }
        }
    }
    group.finish();
    Ok(())
}

/// A companion after somebody took out of it what matters.
fn changed(mut companion: Companion) -> Companion {
    match &mut companion {
        Companion::Ingress(route) => route.spec = None,
        Companion::Service(service) => service.spec = None,
        Companion::ConfigMap(headers) => headers.data = None,
        Companion::Middleware(middleware) => middleware.spec.forward_auth = None,
    }
    companion
}

/// None for outpost Ingresses, whose comparison is a part of the app's plan.
fn comparison<'a>(wanted: &'a Companion, found: &Companion, keys: &'a Keys) -> Option<Compare<'a>> {
    match (wanted, found) {
        (Companion::Service(wanted), Companion::Service(found)) => {
            let found = ServiceFacts::extract(found, keys);
            Some(Box::new(move || service_change(Slot::Ours(&found), wanted, keys)))
        }
        (Companion::ConfigMap(wanted), Companion::ConfigMap(found)) => {
            let found = ConfigMapFacts::extract(found);
            Some(Box::new(move || headers_change(Slot::Ours(&found), wanted)))
        }
        (Companion::Middleware(wanted), Companion::Middleware(found)) => {
            let found = MiddlewareFacts::extract(found, keys);
            Some(Box::new(move || middleware_change(Slot::Ours(&found), wanted, keys)))
        }
        _ => None,
    }
}
