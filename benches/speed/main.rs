//! Time that single steps take, without a cluster: from the bytes of a watch to the requests that are due.
//!
//! Nothing fails for being slow. A run shows what changed since the run before it.

#[path = "../inputs/mod.rs"]
mod inputs;

mod diff;
mod facts;
mod index;
mod plan;
mod shared;
mod world;

use anyhow::Result;
use criterion::Criterion;
use std::time::Duration;

fn main() -> Result<()> {
    // Enough for steps of microseconds, and all of them are done in some minutes.
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    facts::measure(&mut criterion)?;
    index::measure(&mut criterion)?;
    plan::measure(&mut criterion)?;
    shared::measure(&mut criterion)?;
    diff::measure(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
