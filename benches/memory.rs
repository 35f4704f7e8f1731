//! Heap that the index takes for each Ingress, counted by the allocator: the same figures in every run, whatever the
//! machine does meanwhile.
//!
//! They are what the program asked for. An allocator rounds that up and adds some bytes of its own to each allocation, so
//! the number of allocations matters, too.

mod inputs;

use anyhow::Result;
use ingress_sso::config::Settings;
use ingress_sso::facts::IngressFacts;
use ingress_sso::plan::changes::Companion;
use ingress_sso_testbed::builders::helm_ingress;
use ingress_sso_testbed::scene::OPT_IN;
use inputs::{ApiServer, empty_index, facts, settings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Tables grow by doubling, so one size alone could show them just before that or just after.
const NUMBERS: [usize; 2] = [1_000, 10_000];

const APPS_IN_A_NAMESPACE: usize = 10;

const OTHERS_IN_A_NAMESPACE: usize = 100;

fn main() -> Result<()> {
    let settings = settings()?;
    println!("Heap for each: its facts alone, and all that the index holds for it\n");
    println!("{:22}{:>20}{:>26}", "", "facts", "index");
    println!(
        "{:14}{:>8}{:>12}{:>14}{:>12}{:>14}",
        "", "number", "bytes", "allocations", "bytes", "allocations"
    );
    for number in NUMBERS {
        print("bystander", number, measure(number, &settings, bystander)?);
    }
    for number in NUMBERS {
        print("protected app", number, measure(number, &settings, protected_app)?);
    }
    Ok(())
}

/// What the facts of `number` times what `make` makes take, and what the index takes that has taken them in.
fn measure(
    number: usize,
    settings: &Arc<Settings>,
    make: fn(&mut ApiServer, &Arc<Settings>, usize) -> Result<Vec<IngressFacts>>,
) -> Result<[Heap; 2]> {
    let mut server = ApiServer::default();
    let mut index = empty_index(settings);
    let before = Heap::now();
    let mut all = Vec::new();
    for position in 0..number {
        all.extend(make(&mut server, settings, position)?);
    }
    all.shrink_to_fit();
    let facts = Heap::now().since(before);
    for facts in all {
        index.observe_ingress(facts);
    }
    Ok([facts, Heap::now().since(before)])
}

fn bystander(server: &mut ApiServer, settings: &Arc<Settings>, position: usize) -> Result<Vec<IngressFacts>> {
    let (namespace, name) = place(position, "others", OTHERS_IN_A_NAMESPACE);
    let ingress = server.applied(helm_ingress(&namespace, &name).build())?;
    Ok(vec![facts(&ingress, settings)?])
}

/// The app's own Ingress, and the one that was made for it.
fn protected_app(
    server: &mut ApiServer,
    settings: &Arc<Settings>,
    position: usize,
) -> Result<Vec<IngressFacts>> {
    let (namespace, name) = place(position, "apps", APPS_IN_A_NAMESPACE);
    let app = server.applied(helm_ingress(&namespace, &name).annotation(OPT_IN, "true").build())?;
    let settled = server.settle(app, settings)?;
    let mut ingresses = vec![facts(&settled.ingress, settings)?];
    for companion in &settled.companions {
        if let Companion::Ingress(route) = companion {
            ingresses.push(facts(&server.made(route)?, settings)?);
        }
    }
    Ok(ingresses)
}

/// Namespace and name: such that the positions are in the order of a list, in which the API server sorts by both.
fn place(position: usize, prefix: &str, in_each: usize) -> (String, String) {
    (format!("{prefix}-{:04}", position / in_each), format!("app-{:02}", position % in_each))
}

/// Bytes and allocations that are not freed.
#[derive(Clone, Copy, Debug)]
struct Heap {
    bytes: usize,
    allocations: usize,
}

impl Heap {
    fn now() -> Self {
        let Stats { allocations, deallocations, bytes_allocated, bytes_deallocated, .. } = ALLOCATOR.stats();
        Self { bytes: bytes_allocated - bytes_deallocated, allocations: allocations - deallocations }
    }

    fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes - earlier.bytes, allocations: self.allocations - earlier.allocations }
    }
}

fn print(what: &str, number: usize, [facts, index]: [Heap; 2]) {
    let each = |heap: Heap| {
        let bytes = (heap.bytes + number / 2) / number;
        let tenths = (heap.allocations * 10 + number / 2) / number;
        format!("{bytes:>12}{:>12}.{}", tenths / 10, tenths % 10)
    };
    println!("{what:14}{number:>8}{}{}", each(facts), each(index));
}
