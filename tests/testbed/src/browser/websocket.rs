//! The WebSocket of a browser (RFC 6455).

use super::{Browser, may_pass, parse};
use crate::http::{Reader, Request, Response, Stream, connect, limited};
use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What became of an upgrade.
#[derive(Debug)]
pub enum Upgrade {
    /// It was taken (101).
    Open(Box<WebSocket>),
    /// It was refused, with this answer.
    Refused(Response),
}

/// An open WebSocket.
pub struct WebSocket(WebSocketStream<Box<dyn Stream>>);

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WebSocket")
    }
}

impl WebSocket {
    /// Sends a text, and returns the next text that comes.
    ///
    /// Fails when the connection ends, and after ten seconds.
    pub async fn ask(&mut self, text: &str) -> Result<String> {
        limited(async {
            self.0.send(Message::text(text)).await.context("send a message")?;
            loop {
                match self.0.next().await.context("the WebSocket ended")?.context("receive a message")? {
                    Message::Text(answer) => return Ok(answer.as_str().to_owned()),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => bail!("not a text: {other:?}"),
                }
            }
        })
        .await
    }
}

impl Browser {
    /// Asks for a WebSocket at `url` (`https`, `wss`, `http` or `ws`), with the cookies for it.
    ///
    /// Fails like [`Browser::get`], and when it is taken by one that does not know a WebSocket.
    pub async fn websocket(&mut self, url: &str) -> Result<Upgrade> {
        let mut upgrade = self.upgrade(url).await?;
        for pause in self.pauses() {
            if !matches!(&upgrade, Upgrade::Refused(response) if may_pass(response)) {
                break;
            }
            sleep(pause).await;
            upgrade = self.upgrade(url).await?;
        }
        Ok(upgrade)
    }

    /// The same, asking once.
    async fn upgrade(&mut self, url: &str) -> Result<Upgrade> {
        // Cookies are for http and https: a browser sends them to ws and wss all the same.
        let url = parse(&url.replacen("ws", "http", usize::from(url.starts_with("ws"))))?;
        let (address, sni) = self.way(&url)?;
        let key = generate_key();
        let request = Request::to("GET", &url)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", &key);
        let request = self.with_cookies(&url, request);
        let (response, stream, rest) = limited(async {
            let mut stream = connect(address, sni.as_deref()).await?;
            stream.write_all(&request.bytes()).await.context("send")?;
            let mut reader = Reader::new(stream);
            let response = reader.response("GET").await?;
            let (stream, rest) = reader.into_parts();
            Ok((response, stream, rest))
        })
        .await
        .with_context(|| format!("WebSocket at {url}"))?;
        self.keep(&url, &response);
        if response.status != 101 {
            return Ok(Upgrade::Refused(response));
        }
        let accepted = response.header("sec-websocket-accept");
        ensure!(
            accepted == Some(&derive_accept_key(key.as_bytes())),
            "a wrong Sec-WebSocket-Accept: {accepted:?}"
        );
        let socket = WebSocketStream::from_partially_read(stream, rest, Role::Client, None).await;
        Ok(Upgrade::Open(Box::new(WebSocket(socket))))
    }
}
