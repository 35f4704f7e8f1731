//! From the bytes of an Ingress to what is remembered of it.

use crate::inputs::json;
use crate::world::World;
use anyhow::{Context, Result};
use criterion::{Criterion, Throughput};
use ingress_sso::facts::IngressFacts;
use ingress_sso::plan::changes::Companion;
use ingress_sso::watched::WatchedIngress;
use ingress_sso_testbed::builders::helm_ingress;
use ingress_sso_testbed::scene::OPT_IN;
use serde_json::Value;
use std::hint::black_box;

pub(crate) fn measure(criterion: &mut Criterion) -> Result<()> {
    let mut world = World::empty()?;
    let keys = world.settings.keys.clone();
    let mut decode = criterion.benchmark_group("decode");
    let ingresses = ingresses(&mut world)?;
    for (name, ingress) in &ingresses {
        let bytes = json(ingress)?;
        decode.throughput(Throughput::Bytes(bytes.len().try_into()?));
        decode.bench_function(*name, |bencher| {
            bencher.iter(|| serde_json::from_slice::<WatchedIngress>(black_box(&bytes)));
        });
    }
    decode.finish();

    let mut extract = criterion.benchmark_group("extract");
    for (name, ingress) in &ingresses {
        let watched: WatchedIngress = serde_json::from_slice(&json(ingress)?)?;
        extract.bench_function(*name, |bencher| {
            bencher.iter(|| IngressFacts::extract(black_box(&watched.0), &keys));
        });
    }
    extract.finish();
    Ok(())
}

fn ingresses(world: &mut World) -> Result<[(&'static str, Value); 3]> {
    let bystander = world.server.applied(helm_ingress("shop", "cart").build())?;
    let settled = world.settle(helm_ingress("shop", "admin").annotation(OPT_IN, "true"))?;
    let route = settled.companions.iter().find_map(|companion| match companion {
        Companion::Ingress(route) => Some(route),
        _ => None,
    });
    let route = world.server.made(route.context("a protected app has a route")?)?;
    Ok([("bystander", bystander), ("protected app", settled.ingress), ("outpost Ingress", route)])
}
