//! Watches that end and begin anew, as all do every few minutes, and those of a sharded controller all the time.

use super::servers::Spent;
use crate::stats::count;
use crate::world::World;
use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{ListParams, WatchParams};

/// Watches in all.
const NUMBER: usize = 1_000;

/// How many at once: so many connections are made, and then used again.
const AT_ONCE: usize = 50;

/// The shortest time for which a watch can be asked for, in seconds.
const SHORTEST: u32 = 1;

/// CPU seconds of the API server for one. There are no changes to tell of.
pub(super) async fn cpu(world: &World) -> Result<f64> {
    let version = Api::<Ingress>::all(world.client.clone()).list(&ListParams::default().limit(1)).await?;
    let version = version.metadata.resource_version.unwrap_or_default();
    let before = Spent::so_far(world)?;
    stream::iter(0..NUMBER)
        .map(|number| {
            let api: Api<Ingress> = world.api(&format!("empty-{number}"));
            let version = version.clone();
            async move {
                let events = api.watch(&WatchParams::default().timeout(SHORTEST), &version).await?;
                events.boxed().try_for_each(|_| async { Ok(()) }).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    Ok((Spent::so_far(world)? - before).api_server / count(NUMBER))
}
