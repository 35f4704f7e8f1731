//! HTTP/1.1 as bytes: requests that no client library would send, and answers with all their headers in order.
//!
//! [`get`] is for readiness, metrics and the like of a local process; [`Request`] is for everything else.

mod connection;
mod read;
mod request;
mod response;

pub(crate) use connection::{Stream, connect, limited};
pub(crate) use read::Reader;
pub use request::Request;
pub use response::Response;

use anyhow::{Context, Result};
use std::net::SocketAddr;

/// Asks `address` for `path`, which begins with a slash.
///
/// Fails without a connection, without a complete HTTP answer, or after ten seconds; a status of 400 and up
/// is an answer.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response> {
    let request = Request::get(path).header("Host", address.to_string()).header("Connection", "close");
    request.send(address).await.with_context(|| format!("GET http://{address}{path}"))
}
