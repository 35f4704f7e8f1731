//! A watch as the lines that the API server sends, one an event.

use anyhow::{Context, Result};
use futures::stream::{BoxStream, try_unfold};
use futures::{AsyncBufReadExt, StreamExt};
use kube::Client;
use serde::Deserialize;
use std::io;

/// The events of a watch, without end.
pub(crate) type Lines = BoxStream<'static, Result<String>>;

/// All changes from now on below `path`, such as `/api/v1/services`. The selector is a query parameter, or empty.
///
/// The API server ends a watch that does not keep up, which on a busy machine is nobody's fault: it goes on after the last
/// event that came.
pub(crate) async fn watch(client: &Client, path: &'static str, selector: &str) -> Result<Lines> {
    let version = version_now(client, path).await?;
    let watch = Watch { client: client.clone(), path, selector: selector.to_owned(), version };
    let lines = watch.begin().await?;
    Ok(try_unfold((watch, lines), |(mut watch, mut lines)| async move {
        loop {
            if let Some(line) = lines.next().await {
                let line = line.with_context(|| format!("watch {}", watch.path))?;
                watch.version = version_of(&line)?;
                return Ok(Some((line, (watch, lines))));
            }
            lines = watch.begin().await?;
        }
    })
    .boxed())
}

struct Watch {
    client: Client,
    path: &'static str,
    selector: String,
    /// After which changes count.
    version: String,
}

impl Watch {
    async fn begin(&self) -> Result<BoxStream<'static, io::Result<String>>> {
        let Self { path, selector, version, .. } = self;
        let query = format!("watch=true&timeoutSeconds=86400&resourceVersion={version}&{selector}");
        let request = http::Request::get(format!("{path}?{query}")).body(Vec::new())?;
        let stream = self.client.request_stream(request).await.with_context(|| format!("watch {path}"))?;
        Ok(Box::pin(stream).lines().boxed())
    }
}

/// What is decoded of a list, and of an object.
#[derive(Deserialize)]
struct Versioned {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// What is decoded of an event. One that tells of an error has no object with a version.
#[derive(Deserialize)]
struct Event {
    object: Versioned,
}

async fn version_now(client: &Client, path: &str) -> Result<String> {
    let request = http::Request::get(format!("{path}?limit=1")).body(Vec::new())?;
    let now: Versioned = client.request(request).await.with_context(|| format!("list {path}"))?;
    Ok(now.metadata.resource_version)
}

fn version_of(line: &str) -> Result<String> {
    let event: Event = serde_json::from_str(line).with_context(|| format!("a watch says {line}"))?;
    Ok(event.object.metadata.resource_version)
}
