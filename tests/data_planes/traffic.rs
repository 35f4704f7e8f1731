//! A stranger who does not stop asking.

use crate::app::{App, is_login};
use crate::site::Site;
use anyhow::{Result, ensure};
use ingress_sso_testbed::browser::Browser;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A stranger who asks for an app again and again.
pub(crate) struct Traffic {
    end: oneshot::Sender<()>,
    stranger: JoinHandle<Vec<Outcome>>,
}

/// What the stranger got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// He is sent to log in.
    Login,
    /// The app itself.
    App,
    /// Another status; 0 is no answer at all.
    Other(u16),
}

impl Traffic {
    pub(crate) fn start(site: &Site, app: &App) -> Self {
        let (end, mut ended) = oneshot::channel();
        let (address, url) = (site.lane.address(), app.url("/"));
        let stranger = tokio::spawn(async move {
            let mut seen = Vec::new();
            while ended.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                seen.push(match Browser::new(address.into()).get(&url).await {
                    Ok(response) if is_login(&response) => Outcome::Login,
                    Ok(response) if response.status == 200 => Outcome::App,
                    Ok(response) => Outcome::Other(response.status),
                    Err(_) => Outcome::Other(0),
                });
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            seen
        });
        Self { end, stranger }
    }

    pub(crate) async fn stop(self) -> Result<Vec<Outcome>> {
        _ = self.end.send(());
        let seen = self.stranger.await?;
        ensure!(seen.len() > 4, "only {} requests", seen.len());
        Ok(seen)
    }
}
