//! One GET without a client library: for readiness, metrics and the like of a local process.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Time for the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An answer: its status and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status, such as 200.
    pub status: u16,
    /// The body. Bytes that are no UTF-8 are replaced.
    pub body: String,
}

/// Asks `address` for `path`, which begins with a slash.
///
/// Fails without a connection, without a complete HTTP answer, or after five seconds; a status of 400 and up
/// is an answer.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response> {
    let what = || format!("GET http://{address}{path}");
    timeout(TIMEOUT, exchange(address, path)).await.with_context(what)?.with_context(what)
}

async fn exchange(address: SocketAddr, path: &str) -> Result<Response> {
    let mut stream = TcpStream::connect(address).await.context("connect")?;
    // HTTP/1.0, so that the body ends where the connection does and is never in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("send")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.context("receive")?;
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(answer: &str) -> Result<Response> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer ends within its head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Response { status: status.context("the answer has no status")?, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let response = parse("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno").unwrap();
        assert_eq!(response, Response { status: 503, body: "no".to_owned() });
        assert!(parse("").is_err());
        assert!(parse("SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }
}
