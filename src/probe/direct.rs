//! The line of a controller beside the outpost: one connection of its own.

use super::{Answer, Line, MAX_BODY, Question, TIMEOUT, Trouble, Trust};
use crate::config::{Address, Scheme};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::pki_types::ServerName;

/// Room for the head of an answer: a login's cookie and state take two thousand bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Who asks, in the outpost's log.
const AGENT: &str = concat!("ingress-sso/", env!("CARGO_PKG_VERSION"), " (probe)");

/// Finds the addresses behind the name of an outpost.
async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, Trouble> {
    let found = timeout(TIMEOUT, lookup_host((address.host.as_str(), address.port))).await;
    let peers: Vec<SocketAddr> =
        found.map_err(|_| Trouble::TimedOut)?.map_err(|_| Trouble::Unresolved)?.collect();
    if peers.is_empty() { Err(Trouble::Unresolved) } else { Ok(peers) }
}

/// Talks to an outpost itself, over a connection that is made for the first question and kept for the next.
#[derive(Debug)]
pub struct Direct {
    address: Address,
    trust: Arc<Trust>,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Direct {
    /// A line to `address`; over TLS, certificates are checked against `trust`.
    pub fn new(address: Address, trust: Arc<Trust>) -> Self {
        Self { address, trust, connection: None }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Trouble> {
        let stream = connect_any(&resolve(&self.address).await?).await?;
        match self.address.scheme {
            Scheme::Http => talk(stream).await,
            Scheme::Https => {
                let config = self.trust.client().map_err(|error| Trouble::Tls(error.to_string()))?;
                let name = ServerName::try_from(self.address.host.clone());
                let name = name.map_err(|error| Trouble::Tls(error.to_string()))?;
                let shaken = timeout(TIMEOUT, TlsConnector::from(config).connect(name, stream)).await;
                talk(shaken.map_err(|_| Trouble::TimedOut)?.map_err(|error| of_handshake(&error))?).await
            }
        }
    }
}

impl Line for Direct {
    async fn get(&mut self, question: &Question) -> Result<Answer, Trouble> {
        let mut connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut request = Request::get(&question.path).header(HOST, &question.host).header(USER_AGENT, AGENT);
        for (name, value) in &question.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Empty::new()).map_err(no_http)?;
        let answer = async {
            connection.ready().await.map_err(no_http)?;
            read(connection.send_request(request).await.map_err(no_http)?).await
        };
        let answer = timeout(TIMEOUT, answer).await.map_err(|_| Trouble::TimedOut)??;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// The first that answers of the addresses of a name; the trouble with the last one otherwise.
async fn connect_any(peers: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    let mut last = Trouble::Unresolved;
    for peer in peers {
        last = match timeout(TIMEOUT, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Trouble::Refused,
                // Unreachable networks and hosts among them: nobody there who would say no.
                _ => Trouble::TimedOut,
            },
            Err(_) => Trouble::TimedOut,
        };
    }
    Err(last)
}

async fn talk<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(no_http)?;
    // It ends with the sender; what went wrong, the answer says.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read(response: Response<Incoming>) -> Result<Answer, Trouble> {
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = response.into_body();
    let mut start = Vec::new();
    while start.len() < MAX_BODY
        && let Some(frame) = body.frame().await
    {
        let data = frame.map_err(no_http)?.into_data();
        start.extend_from_slice(&data.unwrap_or_default());
    }
    start.truncate(MAX_BODY);
    Ok(Answer { status, location, body: String::from_utf8_lossy(&start).into_owned() })
}

/// A handshake fails because the two do not agree, or because the other side does not speak TLS at all.
fn of_handshake(error: &io::Error) -> Trouble {
    let text = error.to_string();
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(_)) | None => Trouble::NoHttp(text),
        Some(_) => Trouble::Tls(text),
    }
}

fn no_http(error: impl std::fmt::Display) -> Trouble {
    Trouble::NoHttp(error.to_string())
}
