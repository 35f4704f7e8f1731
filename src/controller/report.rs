//! Tells people what happened: Events on the app's Ingress, on their own slow lane. A full lane loses Events, never
//! delays a write.

use super::{API_TIMEOUT, brief};
use crate::contract::MANAGER;
use crate::facts::ObjectKey;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::warn;

/// Events that may wait; a storm of more has told its story by then.
const CAPACITY: usize = 4096;

/// The API rejects a longer note.
const MAX_NOTE: usize = 1024;

/// Something to tell about an app.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) app: ObjectKey,
    pub(super) uid: String,
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) note: String,
}

/// Takes reports without ever waiting.
#[derive(Debug)]
pub(super) struct Reporter {
    lane: Sender<Report>,
    dropped: AtomicU64,
}

impl Reporter {
    /// Starts the lane; it ends when the reporter is gone and what waits is told.
    pub(super) fn start(client: Client) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = channel(CAPACITY);
        let reporter = Self { lane: sender, dropped: AtomicU64::new(0) };
        (reporter, tokio::spawn(publish(client, receiver)))
    }

    /// Tells of `report` in an Event, soon.
    pub(super) fn tell(&self, report: Report) {
        if self.lane.try_send(report).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                warn!(dropped, "too many Events at once, leaving some out; statuses and log are complete");
            }
        }
    }
}

async fn publish(client: Client, mut reports: Receiver<Report>) {
    let instance = std::env::var("POD_NAME").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let recorder = Recorder::new(client, Source { controller: MANAGER.to_owned(), instance });
    while let Some(report) = reports.recv().await {
        let event = Event {
            type_: if report.is_warning { EventType::Warning } else { EventType::Normal },
            reason: report.reason.to_owned(),
            note: Some(shorten(report.note)),
            action: "Protect".to_owned(),
            secondary: None,
        };
        let ingress = ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("Ingress".to_owned()),
            namespace: Some(report.app.namespace.to_string()),
            name: Some(report.app.name.to_string()),
            uid: Some(report.uid),
            ..ObjectReference::default()
        };
        match tokio::time::timeout(API_TIMEOUT, recorder.publish(&event, &ingress)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(app = %report.app, error = brief(&error), "cannot write an Event"),
            Err(_) => warn!(app = %report.app, "writing an Event timed out"),
        }
    }
}

fn shorten(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE - '…'.len_utf8()).rev().find(|end| note.is_char_boundary(*end));
        note.truncate(end.unwrap_or(0));
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(shorten("short".to_owned()), "short");
        let cut = shorten("ü".repeat(1000));
        assert!(cut.len() <= MAX_NOTE && cut.ends_with('…'));
    }
}
