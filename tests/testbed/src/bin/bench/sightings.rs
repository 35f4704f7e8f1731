//! Sees when an app becomes protected.
//!
//! One watch on the apps' Ingresses, without their companions, read as bytes of which only a few fields are decoded.
//! The API server encodes an event once for all watches, so one more beside the controller's costs it little; reading
//! `/metrics`, which is large, or listing again and again would cost it more than what is measured. The bare loop runs
//! beside the same watch.

use crate::raw_watch::{Lines, watch};
use crate::world::{APPS, App};
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use ingress_sso_testbed::scene::STATUS;
use kube::Client;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing is seen for so long: then nothing will be.
const PATIENCE: Duration = Duration::from_mins(2);

/// An app as it was seen.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) app: App,
    pub(crate) at: Instant,
    /// What the controller says of it.
    pub(crate) status: Option<String>,
}

impl Sighting {
    pub(crate) fn is_protected(&self) -> bool {
        self.status.as_deref() == Some("Protected")
    }
}

/// See the module's documentation.
pub(crate) struct Sightings {
    changes: UnboundedReceiver<Sighting>,
    task: JoinHandle<()>,
}

impl Sightings {
    /// Sees all changes from now on.
    pub(crate) async fn start(client: &Client) -> Result<Self> {
        let selector = format!("labelSelector={}", APPS.replace('=', "%3D").replace('/', "%2F"));
        let lines = watch(client, "/apis/networking.k8s.io/v1/ingresses", &selector).await?;
        let (sender, changes) = unbounded_channel();
        let task = tokio::spawn(async move {
            if let Err(error) = read(lines, &sender).await {
                eprintln!("bench: the watch on the apps: {error:#}");
            }
        });
        Ok(Self { changes, task })
    }

    /// The next change of an app.
    pub(crate) async fn next(&mut self) -> Result<Sighting> {
        match timeout(PATIENCE, self.changes.recv()).await {
            Ok(Some(sighting)) => Ok(sighting),
            Ok(None) => bail!("the watch on the apps has ended"),
            Err(_) => bail!("no app has changed for {PATIENCE:?}"),
        }
    }

    /// Waits until `number` apps have been seen protected, or without a status, and says when the last was.
    pub(crate) async fn until(&mut self, number: usize, are_protected: bool) -> Result<Instant> {
        let mut seen = HashSet::new();
        let mut last = Instant::now();
        while seen.len() < number {
            let sighting = self.next().await.with_context(|| format!("after {} apps", seen.len()))?;
            if sighting.is_protected() == are_protected && (are_protected || sighting.status.is_none()) {
                last = sighting.at;
                seen.insert(sighting.app);
            }
        }
        Ok(last)
    }

    /// Waits until this app is protected, and says when it was.
    pub(crate) async fn until_protected(&mut self, app: &App) -> Result<Instant> {
        loop {
            let sighting = self.next().await?;
            if sighting.is_protected() && sighting.app == *app {
                return Ok(sighting.at);
            }
        }
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is decoded of an event.
#[derive(Deserialize)]
struct Event {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

async fn read(mut lines: Lines, sender: &UnboundedSender<Sighting>) -> Result<()> {
    while let Some(line) = lines.next().await {
        let (line, at) = (line?, Instant::now());
        let Event { object: Object { mut metadata } } =
            serde_json::from_str(&line).with_context(|| format!("read {line}"))?;
        let app = App { namespace: metadata.namespace, name: metadata.name };
        if sender.send(Sighting { app, at, status: metadata.annotations.remove(STATUS) }).is_err() {
            break;
        }
    }
    Ok(())
}
