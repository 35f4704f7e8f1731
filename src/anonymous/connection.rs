//! One connection, for one request after the other.

use super::{MAX_BODY, TIMEOUT, Trouble};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, Error};

/// Room for the head of an answer: a login's cookie and state take two thousand bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How to speak TLS, and with whom.
pub(crate) struct Tls {
    /// Whose certificates are accepted.
    pub(crate) config: Arc<ClientConfig>,
    /// The name that the certificate has to be for.
    pub(crate) name: String,
}

/// A connection that can take a request.
#[derive(Debug)]
pub(crate) struct Connection(SendRequest<Empty<Bytes>>);

impl Connection {
    /// Connects to the first address of `host` that answers.
    pub(crate) async fn open(host: &str, port: u16, tls: Option<Tls>) -> Result<Self, Trouble> {
        let stream = connect_any(&resolve(host, port).await?).await?;
        match tls {
            None => Self::talk(stream).await,
            Some(Tls { config, name }) => {
                let name = ServerName::try_from(name).map_err(|error| Trouble::Tls(error.to_string()))?;
                let shaken = timeout(TIMEOUT, TlsConnector::from(config).connect(name, stream)).await;
                let stream = shaken.map_err(|_| Trouble::TimedOut)?.map_err(|error| of_handshake(&error))?;
                Self::talk(stream).await
            }
        }
    }

    async fn talk<S>(stream: S) -> Result<Self, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(no_http)?;
        // It ends with the sender; what went wrong, the answer says.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Whether the other side has not ended it, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Sends a request, its target as it stands, and reads the answer with the beginning of its body. The connection comes
    /// back where it can take another request.
    pub(crate) async fn get(
        mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<(Response<String>, Option<Self>), Trouble> {
        let deadline = Instant::now() + TIMEOUT;
        let head = async {
            self.0.ready().await.map_err(no_http)?;
            self.0.send_request(request).await.map_err(no_http)
        };
        let head = timeout_at(deadline, head).await.map_err(|_| Trouble::TimedOut)??;
        let (parts, mut body) = head.into_parts();
        let mut start = Vec::new();
        // A body that breaks off or takes too long has said as much as it will: the status came before it.
        let is_whole = timeout_at(deadline, read_start(&mut body, &mut start)).await.unwrap_or(false);
        let start = String::from_utf8_lossy(&start).into_owned();
        Ok((Response::from_parts(parts, start), is_whole.then_some(self)))
    }
}

/// Reads at most [`MAX_BODY`] bytes; whether that is all of it.
pub(crate) async fn read_start<B>(body: &mut B, start: &mut Vec<u8>) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    while start.len() < MAX_BODY {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => start.extend_from_slice(&frame.into_data().unwrap_or_default()),
        }
    }
    start.truncate(MAX_BODY);
    false
}

/// Finds the addresses behind a name.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Trouble> {
    let found = timeout(TIMEOUT, lookup_host((host, port))).await;
    let peers: Vec<SocketAddr> =
        found.map_err(|_| Trouble::TimedOut)?.map_err(|_| Trouble::Unresolved)?.collect();
    if peers.is_empty() { Err(Trouble::Unresolved) } else { Ok(peers) }
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
