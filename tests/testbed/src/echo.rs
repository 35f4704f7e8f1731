//! The protected app: it answers every request with JSON that says what reached it.

use crate::record::{Arrived, Log};
use crate::server::{Peer, Server};
use anyhow::Result;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use futures::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;
use url::form_urlencoded;

/// Up to this size a body is repeated as text.
const SMALL: usize = 64 * 1024;

/// The app, served until it is dropped.
///
/// It answers 200 with an [`Echoed`] as JSON, whatever is asked. On any path it takes a WebSocket that is asked for,
/// and sends back every message. Two words in the query make its answer larger: `respond_header_bytes=12000` adds a
/// header `X-Large` with a value of that size, `respond_cookie_bytes=12000` a cookie `large`; `respond_status=401` makes
/// it an error.
///
/// Beneath it is hyper: what that takes for no request, such as a target that is no UTF-8, gets an empty 400 and is
/// not recorded.
pub struct Echo {
    server: Server,
    log: Arc<Log<Echoed>>,
}

/// What reached the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echoed {
    /// The request without its body.
    #[serde(flatten)]
    pub request: Arrived,
    /// Its body.
    pub body: EchoedBody,
}

/// The body that reached the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoedBody {
    /// Its length in bytes.
    pub length: usize,
    /// Its SHA-256, in lower case hexadecimal digits.
    pub sha256: String,
    /// All of it, if it is UTF-8 and at most 64 KiB.
    pub text: Option<String>,
}

impl EchoedBody {
    fn new(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= SMALL);
        Self { length: bytes.len(), sha256: hex(&Sha256::digest(bytes)), text: text.map(str::to_owned) }
    }
}

impl Echo {
    /// Serves on `listen`; port 0 takes a free one. Fails when the address is taken.
    pub async fn start(listen: SocketAddr) -> Result<Self> {
        let log = Arc::new(Log::default());
        let router = Router::new().fallback(answer).with_state(log.clone());
        Ok(Self { server: Server::start(listen, None, router).await?, log })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// All requests that reached it since the start or the last [`Echo::clear`], in order.
    pub fn requests(&self) -> Vec<Echoed> {
        self.log.all()
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.log.all().len()
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.log.clear();
    }
}

async fn answer(
    State(log): State<Arc<Log<Echoed>>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let wanted = request.headers().get(UPGRADE);
    if wanted.is_some_and(|wanted| wanted.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return upgrade(&log, peer, request);
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        // The client broke off: nobody reads this.
        return StatusCode::BAD_REQUEST.into_response();
    };
    let echoed = Echoed { request: Arrived::new(peer, &parts), body: EchoedBody::new(&body) };
    log.push(echoed.clone());
    let mut headers = HeaderMap::new();
    if let Some(large) = filler(&parts.uri, "respond_header_bytes") {
        headers.extend(large.parse().map(|value| (axum::http::HeaderName::from_static("x-large"), value)));
    }
    if let Some(large) = filler(&parts.uri, "respond_cookie_bytes") {
        headers.extend(format!("large={large}; Path=/").parse().map(|value| (SET_COOKIE, value)));
    }
    let status = asked_for(&parts.uri, "respond_status").and_then(|code| StatusCode::try_from(code).ok());
    (status.unwrap_or_default(), headers, Json(echoed)).into_response()
}

/// A text of as many bytes as the word `name` in the query says.
fn filler(uri: &axum::http::Uri, name: &str) -> Option<String> {
    Some("x".repeat(asked_for(uri, name)?.into()))
}

fn asked_for(uri: &axum::http::Uri, name: &str) -> Option<u16> {
    let query = uri.query().unwrap_or_default();
    let (_, number) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name)?;
    number.parse().ok()
}

/// Takes a WebSocket, or says what is wrong with how it was asked for.
fn upgrade(log: &Log<Echoed>, peer: SocketAddr, mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    log.push(Echoed { request: Arrived::new(peer, &parts), body: EchoedBody::new(b"") });
    let answer = create_response_with_body(&axum::http::Request::from_parts(parts, ()), Body::empty);
    match answer {
        Err(error) => {
            (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "text/plain")], error.to_string()).into_response()
        }
        Ok(response) => {
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    let stream = TokioIo::new(upgraded);
                    echo(WebSocketStream::from_raw_socket(stream, Role::Server, None).await).await;
                }
            });
            response
        }
    }
}

async fn echo(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
    while let Some(Ok(message)) = socket.next().await {
        let is_data = message.is_text() || message.is_binary();
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Lower case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;
    use std::net::Ipv4Addr;

    async fn start() -> Echo {
        Echo::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap()
    }

    #[tokio::test]
    async fn says_what_reached_it() {
        let echo = start().await;
        let request = Request::new("POST", "/a%2fb//..?c=d")
            .header("Host", "app.example.test")
            .header("X-Twice", "1")
            .header("x_authentik_username", "forged")
            .header("X-Twice", "")
            .body("grüße");
        let response = request.send(echo.address()).await.unwrap();
        let echoed: Echoed = response.json().unwrap();
        assert_eq!(
            (echoed.request.method.as_str(), echoed.request.target.as_str()),
            ("POST", "/a%2fb//..?c=d")
        );
        assert_eq!(echoed.request.headers("x-twice"), ["1", ""]);
        assert_eq!(echoed.request.header("x_authentik_username"), Some("forged"));
        assert_eq!((echoed.body.length, echoed.body.text.as_deref()), (7, Some("grüße")));
        assert_eq!(echo.requests(), [echoed]);
        echo.clear();
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn takes_request_lines_that_no_client_sends() {
        let echo = start().await;
        for target in ["http://b.example.test/x?y=%zz", "/outpost.goauthentik.io/../x", "//..%2fx;a?b?c", "*"]
        {
            let request = Request::new("OPTIONS", target).header("Host", "a").header("Upgrade", "h2c");
            let echoed: Echoed = request.send(echo.address()).await.unwrap().json().unwrap();
            assert_eq!(echoed.request.target, target);
        }
        let without_host = Request::get("/ü").send(echo.address()).await.unwrap();
        assert!(without_host.text().contains("\"headers\":[]"), "{}", without_host.text());
        let refused = Request::get(b"/\xff").send(echo.address()).await.unwrap();
        assert_eq!((refused.status, echo.count()), (400, 5));
        let head = Request::new("HEAD", "/").send(echo.address()).await.unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0));
    }

    #[tokio::test]
    async fn answers_with_the_status_that_is_asked_for() {
        let echo = start().await;
        for (query, status) in [("?respond_status=401", 401), ("?respond_status=x", 200), ("", 200)] {
            let response = Request::get(format!("/{query}")).header("Host", "a").send(echo.address()).await;
            assert_eq!(response.unwrap().status, status, "{query}");
        }
    }

    #[tokio::test]
    async fn reads_chunks_and_answers_large() {
        let echo = start().await;
        let request = Request::new("POST", "/?respond_header_bytes=12000&respond_cookie_bytes=9000")
            .header("Host", "a")
            .header("Transfer-Encoding", "chunked")
            .raw_body("3\r\nabc\r\n0\r\n\r\n");
        let response = request.send(echo.address()).await.unwrap();
        assert_eq!((response.status, response.header("x-large").map(str::len)), (200, Some(12_000)));
        assert!(response.header("set-cookie").unwrap().len() > 9_000);
        let echoed: Echoed = response.json().unwrap();
        assert_eq!(echoed.body.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
