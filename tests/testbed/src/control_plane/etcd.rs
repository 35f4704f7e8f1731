//! etcd itself, past the API server: how much it holds and what was ever written, through the JSON side of its API.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::sleep};

use crate::{
    http::{self, Request},
    metrics,
};

/// What the API server keeps lies below this key.
const REGISTRY: &str = "/registry/";

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

/// A write to one object, by whatever client.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its place in the order of all writes; the object's `resourceVersion` from then on.
    pub revision: u64,
    /// Where the object lies, without `/registry/`: `ingress/shop/web`.
    pub key: String,
    /// The object from then on; `None` if it was deleted.
    pub object: Option<Value>,
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
        revision(&answer["header"]["revision"])
    }

    /// Forgets all that was overwritten or deleted, as the API server has it do every five minutes.
    pub async fn compact(&self) -> Result<()> {
        let revision = self.revision().await?;
        self.call("kv/compaction", &json!({ "revision": revision, "physical": true })).await.map(|_| ())
    }

    /// All that was written from revision `from` on below one of the keys `wanted`, such as `ingress/`, in order.
    ///
    /// Fails where that is forgotten already, and unless the API server runs with `--storage-media-type=application/json`.
    pub async fn history(&self, from: u64, wanted: &[&str]) -> Result<Vec<Written>> {
        let answer = self.call("kv/put", &json!({ "key": BASE64_STANDARD.encode(TICK) })).await?;
        let end = revision(&answer["header"]["revision"])?;
        let everything = json!({
            "key": BASE64_STANDARD.encode("/"),
            "range_end": BASE64_STANDARD.encode("0"),
            "start_revision": from,
            "fragment": true,
        });
        let mut history = Vec::new();
        let mut stream = self.stream("watch", &json!({ "create_request": everything })).await?;
        let mut buffer = Vec::new();
        while let Some(bytes) = stream.next().await {
            buffer.extend_from_slice(&bytes.context("read from etcd")?);
            while let Some(line) = take_line(&mut buffer) {
                let answer: Value = serde_json::from_slice(&line).context("read an answer of etcd")?;
                ensure!(answer["result"]["compact_revision"].is_null(), "etcd has forgotten revision {from}");
                for event in answer["result"]["events"].as_array().into_iter().flatten() {
                    let revision = revision(&event["kv"]["mod_revision"])?;
                    history.extend(written(event, revision, wanted)?);
                    if revision >= end {
                        return Ok(history);
                    }
                }
            }
        }
        bail!("etcd ended its answer before revision {end}")
    }

    /// Asks, and returns the body of the answer as it comes.
    async fn stream(
        &self,
        what: &str,
        body: &Value,
    ) -> Result<impl futures::Stream<Item = Result<Bytes, hyper::Error>> + use<>> {
        let stream = TcpStream::connect(self.address).await.context("connect to etcd")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = ::http::Request::post(format!("/v3/{what}"))
            .header("Host", self.address.to_string())
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = sender.send_request(request).await?;
        ensure!(answer.status() == 200, "etcd answers {} to {what}", answer.status());
        Ok(answer.into_body().into_data_stream())
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

fn revision(value: &Value) -> Result<u64> {
    value.as_str().context("an answer without revision")?.parse().context("read the revision")
}

/// The first line of `buffer`, once it is complete.
fn take_line(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = buffer.iter().position(|byte| *byte == b'\n')?;
    Some(buffer.drain(..=end).collect())
}

/// What an event of etcd says, if its key is one of the `wanted`.
fn written(event: &Value, revision: u64, wanted: &[&str]) -> Result<Option<Written>> {
    let text = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap_or_default());
    let key = String::from_utf8(text(&event["kv"]["key"])?)?;
    let Some(key) =
        key.strip_prefix(REGISTRY).filter(|key| wanted.iter().any(|start| key.starts_with(start)))
    else {
        return Ok(None);
    };
    let object = match event["type"].as_str() {
        Some("DELETE") => None,
        _ => Some(serde_json::from_slice(&text(&event["kv"]["value"])?).with_context(|| {
            format!("read {key}, which the API server keeps as JSON with --storage-media-type=application/json only")
        })?),
    };
    Ok(Some(Written { revision, key: key.to_owned(), object }))
}
