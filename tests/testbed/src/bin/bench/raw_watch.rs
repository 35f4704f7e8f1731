//! A watch as the lines that the API server sends, one an event.

use anyhow::{Context, Result};
use futures::stream::BoxStream;
use futures::{AsyncBufReadExt, StreamExt};
use kube::Client;
use serde::Deserialize;
use std::io;

/// What is decoded of a list.
#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

/// All changes from now on below `path`, such as `/api/v1/services`. The selector is a query parameter, or empty.
pub(crate) async fn watch(
    client: &Client,
    path: &str,
    selector: &str,
) -> Result<BoxStream<'static, io::Result<String>>> {
    let get = |query: String| http::Request::get(format!("{path}?{query}&{selector}")).body(Vec::new());
    let now: List = client.request(get("limit=1".to_owned())?).await.context("list what is to be watched")?;
    let version = now.metadata.resource_version;
    let query = format!("watch=true&timeoutSeconds=86400&resourceVersion={version}");
    let stream = client.request_stream(get(query)?).await.with_context(|| format!("watch {path}"))?;
    Ok(Box::pin(stream).lines().boxed())
}
