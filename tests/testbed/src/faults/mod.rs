//! A way to the API server on which things go wrong: requests are refused, answers are lost, late or cut short, and watches
//! end, stall or expire.
//!
//! Unlike a [`crate::relay`], which a client takes for the network, it understands what it passes on, so it can do what only an
//! API server in trouble does. Plain HTTP leads to it, with whatever the client sends to say who it is.

mod fate;
mod pass;

pub use fate::Odds;

use crate::control_plane::ControlPlane;
use crate::record::lock;
use anyhow::{Context, Result};
use fate::Dice;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// A proxy in front of one API server. Dropping it ends it, with all connections.
pub struct FaultyProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What all requests share.
struct Shared {
    server: SocketAddr,
    dice: Mutex<Dice>,
    /// How often what went wrong.
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Grows when all watches are to end.
    watches: watch::Sender<u64>,
    /// How many requests the API server has that are no watches, whether or not anybody still waits for the answer.
    under_way: watch::Sender<usize>,
}

impl FaultyProxy {
    /// Listens at a free port of 127.0.0.1 and passes on to the API server at `server`. Nothing goes wrong before
    /// [`FaultyProxy::set`]; what does then is by chance, from `seed`.
    ///
    /// Fails when there is no such port.
    pub async fn start(server: SocketAddr, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            dice: Mutex::new(Dice::new(seed)),
            counts: Mutex::default(),
            watches: watch::Sender::new(0),
            under_way: watch::Sender::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task: task.abort_handle() })
    }

    /// Where clients connect, by plain HTTP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig of the administrator of `plane`, whose API server this stands before, that leads here. It lies with what else
    /// belongs to `plane`, as `name`.
    ///
    /// Fails where it cannot be written.
    pub fn kubeconfig(&self, plane: &ControlPlane, name: &str) -> Result<PathBuf> {
        let direct = std::fs::read_to_string(plane.kubeconfig()).context("read the kubeconfig")?;
        let path = plane.dir().join(format!("{name}.kubeconfig"));
        let here = format!("http://{}", self.address);
        std::fs::write(&path, direct.replace(&plane.url(), &here)).context("write the kubeconfig")?;
        Ok(path)
    }

    /// How likely what goes wrong from now on. Watches that are open keep what was decided for them.
    pub fn set(&self, odds: Odds) {
        lock(&self.shared.dice).odds = odds;
    }

    /// Ends all watches that are open, without a word.
    pub fn end_watches(&self) {
        self.shared.watches.send_modify(|count| *count += 1);
    }

    /// Waits until the API server has answered all that was passed on to it and is no watch: what a client had sent before it was
    /// killed is done then.
    pub async fn until_idle(&self) {
        // It fails when the sender is gone, which is here.
        _ = self.shared.under_way.subscribe().wait_for(|count| *count == 0).await;
    }

    /// How often what went wrong so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shared.counts).clone()
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn count(&self, what: &'static str) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }
}

/// Counts a request for as long as it lives.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.under_way.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count -= 1);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    _ = stream.set_nodelay(true);
                    let service = service_fn(|request| pass::pass(Arc::clone(&shared), request));
                    // A client that breaks off is no failure, and an answer that is to be lost ends here as well.
                    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    }
}
