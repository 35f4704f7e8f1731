//! What etcd and the API server hold, and what they have used.

use crate::stats::count;
use crate::usage::cpu_seconds;
use crate::world::World;
use anyhow::{Context, Result};
use ingress_sso_testbed::metrics::{sum, value};
use serde::Serialize;
use std::ops::Sub;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Nothing is written for so long: then it is quiet.
const QUIET: Duration = Duration::from_secs(1);

/// Between two looks whether anything is.
const INTERVAL: Duration = Duration::from_millis(50);

/// What was in use by a stage is collected by the second collection after it: one may have been under way.
const COLLECTIONS: f64 = 2.0;

/// What they hold, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Held {
    /// etcd's database, as much of it as is in use once all that was overwritten is forgotten.
    pub(crate) etcd: f64,
    /// All that was overwritten since the last look. The API server has etcd forget it after five to ten minutes.
    pub(crate) history: f64,
    /// Live on the API server's heap, at its last collection.
    pub(crate) heap: f64,
    /// Resident memory of the API server, which is up to twice the heap, and more by chance.
    pub(crate) resident: f64,
}

impl Held {
    /// Looks when it is quiet. Looking takes CPU time of both servers.
    pub(crate) async fn by(world: &World) -> Result<Self> {
        let etcd = world.plane.etcd();
        let with_history = etcd.bytes_in_use().await?;
        etcd.compact().await?;
        let compacted = etcd.bytes_in_use().await?;
        let heap = collected_heap(world).await?;
        let [_, resident, _] = world.plane.resident_bytes()?;
        let history = (with_history - compacted).max(0.0);
        Ok(Self { etcd: compacted, history, heap, resident: count(resident) })
    }
}

/// Waits until nobody writes any more.
pub(crate) async fn quiet(world: &World) -> Result<()> {
    let etcd = world.plane.etcd();
    let (mut last, mut since) = (etcd.revision().await?, Instant::now());
    while since.elapsed() < QUIET {
        sleep(INTERVAL).await;
        let now = etcd.revision().await?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// The metrics of the API server.
async fn metrics(world: &World) -> Result<String> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    world.client.request_text(request).await.context("read the metrics of the API server")
}

/// Has the API server collect its garbage, by making some: its metrics are large.
async fn collected_heap(world: &World) -> Result<f64> {
    let mut text = metrics(world).await?;
    let cycles = |text: &str| value(text, "go_gc_cycles_total_gc_cycles_total");
    let wanted = cycles(&text)? + COLLECTIONS;
    while cycles(&text)? < wanted {
        text = metrics(world).await?;
    }
    value(&text, "go_gc_heap_live_bytes")
}

/// Bytes that the API server has sent so far as lists and in watches, to whomever.
pub(crate) async fn sent(world: &World) -> Result<f64> {
    let text = metrics(world).await?;
    let lists = sum(&text, "apiserver_response_sizes_sum", |sample| sample.label("verb") == "LIST")?;
    Ok(lists + sum(&text, "apiserver_watch_events_sizes_sum", |_| true)?)
}

/// CPU seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spent {
    pub(crate) api_server: f64,
    pub(crate) etcd: f64,
}

impl Spent {
    /// Since they were started.
    pub(crate) fn so_far(world: &World) -> Result<Self> {
        let pids = world.plane.pids();
        let cpu = |index: usize| cpu_seconds(*pids.get(index).context("a server is stopped")?);
        Ok(Self { etcd: cpu(0)?, api_server: cpu(1)? })
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { api_server: self.api_server - earlier.api_server, etcd: self.etcd - earlier.etcd }
    }
}
