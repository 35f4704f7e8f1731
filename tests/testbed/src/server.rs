//! An HTTP server that can be gone: with it close its listener and every connection it took.

use anyhow::{Context, Result};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// How many headers a request may have; attacks send many.
const MAX_HEADERS: usize = 256;

/// Who sent the request: an extension of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A server. Dropping it stops it, a little later.
pub(crate) struct Server {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on `address` (port 0 takes a free one) and answers with `router`. Fails when the address is taken.
    pub(crate) async fn start(address: SocketAddr, tls: Option<TlsAcceptor>, router: Router) -> Result<Self> {
        let mut server = Self { address, tls, router, running: None };
        server.restart().await?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and all connections, and returns when that is done.
    pub(crate) async fn stop(&mut self) {
        if let Some(Running { stop, task }) = self.running.take() {
            _ = stop.send(());
            _ = task.await;
        }
    }

    /// Stops, and listens on the same address again.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let what = || format!("listen on {}", self.address);
        let listener = TcpListener::bind(self.address).await.with_context(what)?;
        self.address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, self.tls.clone(), self.router.clone(), stopped));
        self.running = Some(Running { stop, task });
        Ok(())
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // An error here means as well that the server was dropped.
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone().layer(Extension(Peer(peer)));
                    connections.spawn(connection(stream, tls.clone(), router));
                }
                // Such as too many open files: it passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    _ = stream.set_nodelay(true);
    match tls {
        None => answer(stream, router).await,
        // A client that fails its handshake is no reason for anything.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer(stream, router).await;
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection =
        http1::Builder::new().max_headers(MAX_HEADERS).serve_connection(TokioIo::new(stream), service);
    // A client that breaks off is no failure of the server.
    _ = connection.with_upgrades().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::get;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn stops_with_its_connections_and_comes_back() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let router = Router::new().fallback(|| async { "here" });
        let mut server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), None, router).await.unwrap();
        let address = server.address();
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_eq!(kept.read(&mut [0; 9]).await.unwrap(), 9);

        server.stop().await;
        let mut rest = Vec::new();
        let end = kept.read_to_end(&mut rest);
        _ = tokio::time::timeout(Duration::from_secs(5), end).await.expect("the connection is still open");
        assert!(get(address, "/").await.is_err());

        server.restart().await.unwrap();
        assert_eq!(server.address(), address);
        assert_eq!(get(address, "/").await.unwrap().text(), "here");
    }
}
