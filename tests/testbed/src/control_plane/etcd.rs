//! etcd itself, past the API server: how much it holds, through the JSON side of its API.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    http::{self, Request},
    metrics,
};

/// A key that no API server looks at.
const TICK: &str = "/testbed/tick";

/// A little more than the time in which etcd collects writes for a commit.
const COMMIT: Duration = Duration::from_millis(120);

const COMMITS: usize = 3;

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct Etcd {
    address: SocketAddr,
}

impl Etcd {
    pub(super) fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Bytes of the database in use: all objects, what was overwritten since the last compaction, and the pages that both
    /// lie in.
    pub async fn bytes_in_use(&self) -> Result<f64> {
        // Pages that a commit gives up are free with those after it.
        for _ in 0..COMMITS {
            self.call("kv/put", &json!({ "key": BASE64_STANDARD.encode(TICK) })).await?;
            sleep(COMMIT).await;
        }
        let metrics = http::get(self.address, "/metrics").await?.text();
        metrics::value(&metrics, "etcd_mvcc_db_total_size_in_use_in_bytes")
    }

    /// Grows by one with each write of whatever client.
    pub async fn revision(&self) -> Result<u64> {
        let key = BASE64_STANDARD.encode("/");
        let answer = self.call("kv/range", &json!({ "key": key, "count_only": true })).await?;
        let revision = answer["header"]["revision"].as_str().context("an answer without revision")?;
        revision.parse().context("read the revision")
    }

    /// Forgets all that was overwritten or deleted, as the API server has it do every five minutes.
    pub async fn compact(&self) -> Result<()> {
        let revision = self.revision().await?;
        self.call("kv/compaction", &json!({ "revision": revision, "physical": true })).await.map(|_| ())
    }

    async fn call(&self, what: &str, body: &Value) -> Result<Value> {
        let request = Request::new("POST", format!("/v3/{what}"))
            .header("Host", self.address.to_string())
            .header("Connection", "close")
            .body(body.to_string());
        let answer = request.send(self.address).await?;
        ensure!(answer.status == 200, "etcd answers {} to {what}: {}", answer.status, answer.text().trim());
        answer.json()
    }
}
