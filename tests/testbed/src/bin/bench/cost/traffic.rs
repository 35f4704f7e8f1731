//! How much the controller's watches bring: the same watches, of which lines and bytes are counted and nothing is read.

use crate::raw_watch::watch;
use crate::stats::count;
use anyhow::Result;
use futures::StreamExt;
use kube::Client;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;

/// What the controller watches that changes when an app does. Paths and selectors.
const WATCHES: [(&str, &str); 3] = [
    ("/apis/networking.k8s.io/v1/ingresses", ""),
    ("/api/v1/services", "fieldSelector=spec.type%3DExternalName"),
    ("/api/v1/configmaps", "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dingress-sso"),
];

/// Events of watches and their bytes: JSON, without the framing of HTTP and TLS.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Count {
    pub(crate) events: f64,
    pub(crate) bytes: f64,
}

/// See the module's documentation. Dropping it ends the watches.
pub(crate) struct Traffic {
    counter: Arc<Counter>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counter {
    events: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn add(&self, line: &str) {
        self.events.fetch_add(1, Ordering::Relaxed);
        // And the line's end.
        let length = u64::try_from(line.len()).unwrap_or(0) + 1;
        self.bytes.fetch_add(length, Ordering::Relaxed);
    }
}

impl Traffic {
    /// Counts from now on.
    pub(crate) async fn start(client: &Client) -> Result<Self> {
        let counter = Arc::new(Counter::default());
        let mut tasks = JoinSet::new();
        for (path, selector) in WATCHES {
            let mut lines = watch(client, path, selector).await?;
            let counter = Arc::clone(&counter);
            tasks.spawn(async move {
                while let Some(line) = lines.next().await {
                    match line {
                        Ok(line) => counter.add(&line),
                        Err(error) => {
                            eprintln!("bench: what is counted from now on is too little: {error:#}");
                        }
                    }
                }
            });
        }
        Ok(Self { counter, _tasks: tasks })
    }

    /// What has come so far.
    pub(crate) fn so_far(&self) -> Count {
        Count {
            events: count(self.counter.events.load(Ordering::Relaxed)),
            bytes: count(self.counter.bytes.load(Ordering::Relaxed)),
        }
    }
}
