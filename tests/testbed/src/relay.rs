//! A way to a server that can be cut: of two clients only the one that goes by it loses the server.

use crate::record::lock;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Passes on what comes, byte by byte, so TLS goes through it. Dropping it ends it.
pub struct Relay {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    task: AbortHandle,
    /// What is held back while it is cut: like a network that is gone, not like a server that refuses.
    waiting: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// Listens at a free port of 127.0.0.1 and passes on to `server`.
    ///
    /// Fails when there is no such port.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
        let address = listener.local_addr()?;
        let is_cut = watch::Sender::new(false);
        let waiting = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (cut, held) = (is_cut.subscribe(), Arc::clone(&waiting));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *cut.borrow() {
                    lock(&held).push(client);
                } else {
                    tokio::spawn(pass(client, server, cut.clone()));
                }
            }
        });
        Ok(Self { address, is_cut, task: task.abort_handle(), waiting })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones get no answer.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Passes on again what comes from now on.
    pub fn restore(&self) {
        self.is_cut.send_replace(false);
        lock(&self.waiting).clear();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut is_cut: watch::Receiver<bool>) {
    let passing = async {
        let mut server = TcpStream::connect(server).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    // Both ends may break off as they like, and so does a cut.
    tokio::select! {
        _ = passing => {}
        _ = is_cut.wait_for(|is_cut| *is_cut) => {}
    }
}
