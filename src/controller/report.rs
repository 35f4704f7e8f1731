//! Tells people what happened: Events on the app's Ingress, on their own slow lane, where writes come first. A full lane
//! loses Events, never delays a write.

use super::API_TIMEOUT;
use super::write::WriteError;
use crate::contract::MANAGER;
use crate::errors::brief;
use crate::facts::ObjectKey;
use crate::telemetry::metrics::{Answer, Metrics, ObjectKind, Verb};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

/// Events that may wait; a storm of more has told its story by then.
const CAPACITY: usize = 16_384;

/// How long an Event waits at most for reconciles to come to rest. Each is one more request to an API server that has
/// enough to do while apps still wait for their protection.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Events after which a recorder is replaced. It keeps each for six minutes, to count what repeats itself, and looks through
/// all of them for each: good for an app that flaps, and a burden after a storm.
const REMEMBERED: usize = 128;

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
    metrics: Metrics,
}

impl Reporter {
    /// Starts the lane; it ends when the reporter is gone and what waits is told. `is_busy` says whether anything is being
    /// reconciled.
    pub(super) fn start(
        client: Client,
        is_busy: watch::Receiver<bool>,
        metrics: Metrics,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = channel(CAPACITY);
        let reporter = Self { lane: sender, metrics: metrics.clone() };
        (reporter, tokio::spawn(publish(client, receiver, is_busy, metrics)))
    }

    /// Tells of `report` in an Event, soon.
    pub(super) fn tell(&self, report: Report) {
        if self.lane.try_send(report).is_err() {
            let dropped = self.metrics.dropped_event();
            if dropped.is_power_of_two() {
                warn!(dropped, "too many Events at once, leaving some out; statuses and log are complete");
            }
        }
    }
}

async fn publish(
    client: Client,
    mut reports: Receiver<Report>,
    mut is_busy: watch::Receiver<bool>,
    metrics: Metrics,
) {
    let instance = std::env::var("POD_NAME").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let source = Source { controller: MANAGER.to_owned(), instance };
    let mut recorder = Recorder::new(client.clone(), source.clone());
    let mut remembered = 0;
    while let Some(report) = reports.recv().await {
        rest(&mut is_busy).await;
        if remembered == REMEMBERED {
            recorder = Recorder::new(client.clone(), source.clone());
            remembered = 0;
        }
        remembered += 1;
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
        let answer = match timeout(API_TIMEOUT, recorder.publish(&event, &ingress)).await {
            Ok(Ok(())) => Answer::Ok,
            Ok(Err(error)) => {
                warn!(app = %report.app, error = brief(&error), "cannot write an Event");
                WriteError::of(error, "Event").answer()
            }
            Err(_) => {
                warn!(app = %report.app, "writing an Event timed out");
                Answer::Unavailable
            }
        };
        metrics.wrote(ObjectKind::Event, Verb::Create, answer);
    }
}

/// Waits until nothing is being reconciled any more, or has been for long enough.
async fn rest(is_busy: &mut watch::Receiver<bool>) {
    // Nobody to say so, or no end in sight: both mean that waiting is over.
    let _ = timeout(MAX_WAIT, is_busy.wait_for(|is_busy| !is_busy)).await;
}

/// `note`, as long as it can be told. Admission webhooks explain themselves in any length.
pub(super) fn shorten(mut note: String) -> String {
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    #[tokio::test(start_paused = true)]
    async fn events_wait_for_rest_but_not_for_ever() {
        let waited = async |is_busy: &mut watch::Receiver<bool>| {
            let start = tokio::time::Instant::now();
            rest(is_busy).await;
            start.elapsed()
        };
        let (busy, mut is_busy) = watch::channel(false);
        assert_eq!(waited(&mut is_busy).await, Duration::ZERO);
        busy.send_replace(true);
        assert!(waited(&mut is_busy).await >= MAX_WAIT);
        let work = async {
            tokio::time::sleep(MAX_WAIT / 2).await;
            busy.send_replace(false);
        };
        let (waited_for_work, ()) = tokio::join!(waited(&mut is_busy), work);
        assert!((MAX_WAIT / 2..MAX_WAIT).contains(&waited_for_work), "{waited_for_work:?}");
        busy.send_replace(true);
        drop(busy);
        assert_eq!(waited(&mut is_busy).await, Duration::ZERO, "it is shutting down");
    }

    #[test]
    fn a_full_lane_drops_events_and_counts_them() {
        let (lane, _full) = channel(1);
        let reporter = Reporter { lane, metrics: Metrics::default() };
        for _ in 0..3 {
            let app = ObjectKey::of(&ObjectMeta::default());
            reporter.tell(Report {
                app,
                uid: String::new(),
                is_warning: false,
                reason: "Protected",
                note: String::new(),
            });
        }
        assert!(reporter.metrics.encode().unwrap().contains("\ningress_sso_events_dropped_total 2\n"));
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(shorten("short".to_owned()), "short");
        let cut = shorten("ü".repeat(1000));
        assert!(cut.len() <= MAX_NOTE && cut.ends_with('…'));
    }
}
