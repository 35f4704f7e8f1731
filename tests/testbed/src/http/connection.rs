//! Connections, with or without TLS.

use crate::tls;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

/// Time for one exchange, from the connection to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection, whatever it is made of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to `address`; with TLS if there is a name to ask for in it (SNI). No certificate is verified.
pub(crate) async fn connect(address: SocketAddr, sni: Option<&str>) -> Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    let Some(sni) = sni else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(sni.to_owned()).with_context(|| format!("TLS server name {sni:?}"))?;
    let stream = tls::unverified()?.connect(name, stream).await.context("TLS handshake")?;
    Ok(Box::new(stream))
}

/// Gives the exchange ten seconds.
pub(crate) async fn limited<T>(exchange: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(TIMEOUT, exchange).await.with_context(|| format!("no complete answer in {TIMEOUT:?}"))?
}
