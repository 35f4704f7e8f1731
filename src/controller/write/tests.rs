use super::*;
use crate::config::Settings;
use crate::controller::api_double::{Log, api_server, failure};
use crate::index::Index;
use crate::lease::{DURATION, Election, LeaseName};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Writes a change, and says what came of it and how many requests that took.
async fn written(is_lost: bool) -> (Result<(), WriteError>, usize) {
    let (client, log) = api_server(|_| Some((200, json!({}))));
    let name = LeaseName { namespace: "a".to_owned(), name: "b".to_owned(), identity: "c".to_owned() };
    let (_election, lost) = Election::new(client.clone(), name);
    let claim = if is_lost { lost } else { Claim::always() };
    (write(client, claim).await, log.lock().unwrap().len())
}

async fn write(client: Client, claim: Claim) -> Result<(), WriteError> {
    let repair = Repair { kind: Kind::Service, key: ObjectKey::new("shop", "s"), patch: json!({}) };
    writer(client, index(), claim).perform(&Change::Repair(repair)).await
}

fn index() -> SharedIndex {
    SharedIndex(Arc::new(Mutex::new(Index::new(Arc::new(Settings::default())))))
}

fn writer(client: Client, index: SharedIndex, claim: Claim) -> Writer {
    Writer::new(client, index, unbounded_channel().0, claim, Metrics::default())
}

#[tokio::test]
async fn without_the_lease_nothing_is_sent() {
    let (result, requests) = written(true).await;
    assert!(
        matches!(&result, Err(WriteError::Unavailable(text)) if text.contains("the lease is lost")),
        "{result:?}"
    );
    assert_eq!(requests, 0);
    assert_eq!(written(false).await.1, 1, "the same with it");
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_ends_before_another_replica_may_begin_one() {
    // An API server that answers twice: there is no Lease, and it is written.
    let (client, _) = api_server(|asked| match asked.len() {
        1 => Some(failure(404, "NotFound")),
        2 => Some((201, json!({ "metadata": { "name": "b", "resourceVersion": "1" } }))),
        _ => None,
    });
    let name = LeaseName { namespace: "a".to_owned(), name: "b".to_owned(), identity: "c".to_owned() };
    let (election, claim) = Election::new(client.clone(), name);
    let election = tokio::spawn(election.run(CancellationToken::new()));
    let start = Instant::now();
    claim.held().await;
    // A request may take as long as others believe in the Lease. This one begins later, and ends earlier.
    sleep(Duration::from_secs(5)).await;
    let result = write(client, claim).await;
    assert!(
        matches!(&result, Err(WriteError::Unavailable(text)) if text.contains("the lease is lost")),
        "{result:?}"
    );
    assert!(start.elapsed() < DURATION, "{:?}", start.elapsed());
    election.abort();
}

fn app(version: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": "app", "uid": "u", "resourceVersion": version,
            "annotations": { "sso.djieno.com/authentik": "true" },
        },
        "spec": { "rules": [{ "host": "a.example.com" }] },
    })
}

/// An app that is known in the version 1 and is there in another, or is gone. What is sent for version 1 is a conflict.
fn edited_meanwhile(newer: Option<&str>) -> (Writer, SharedIndex, Log) {
    let index = index();
    let seen: WatchedIngress = serde_json::from_value(app("1")).unwrap();
    index.with(|index| seen.observe(index));
    let newer = newer.map(app);
    let (client, log) = api_server(move |asked| match (&newer, asked.last()?.method.as_str()) {
        (Some(newer), "GET") => Some((200, newer.clone())),
        (Some(_), _) => Some(failure(409, "Conflict")),
        (None, _) => Some(failure(404, "NotFound")),
    });
    (writer(client, index.clone(), Claim::always()), index, log)
}

fn annotate() -> Annotate {
    let (identity, annotations) = (Identity::new("u", "1"), [("a".to_owned(), "b".to_owned())].into());
    Annotate { app: ObjectKey::new("shop", "app"), identity, force: false, annotations }
}

#[tokio::test]
async fn annotations_are_for_the_version_that_was_seen_and_a_conflict_is_looked_into() {
    let (writer, index, log) = edited_meanwhile(Some("3"));
    let annotate = annotate();
    let key = annotate.app.clone();
    let result = writer.perform(&Change::Annotate(annotate)).await;
    assert!(matches!(&result, Err(WriteError::Stale(_))), "{result:?}");
    let log = log.lock().unwrap();
    assert_eq!(
        log[0].body["metadata"],
        json!({ "name": "app", "uid": "u", "resourceVersion": "1", "annotations": { "a": "b" } })
    );
    assert_eq!(log[1].method, "GET");
    let known = index.with(|index| index.identity(Source::Ingresses, &key).cloned());
    assert_eq!(known, Some(Identity::new("u", "3")), "what it is now is known");
}

#[tokio::test]
async fn what_turns_out_to_be_gone_is_forgotten() {
    let (writer, index, _) = edited_meanwhile(None);
    let annotate = annotate();
    let key = annotate.app.clone();
    let result = writer.perform(&Change::Annotate(annotate)).await;
    assert!(matches!(&result, Err(WriteError::Stale(_))), "{result:?}");
    assert_eq!(index.with(|index| index.identity(Source::Ingresses, &key).cloned()), None);
}
fn service(version: &str) -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": "app", "uid": "u", "resourceVersion": version },
        "spec": { "type": "ExternalName", "externalName": "main.example.com" },
    })
}

/// Has a Service made, or an app annotated; the answer, of version 2, comes after `news` of the watch. What the API server has
/// is of the version `there`. Says what came of it, and what is known then.
async fn answered_late(
    kind: Kind,
    news: impl Fn(&mut Index) -> Vec<Key> + Send + Sync + 'static,
    there: Option<&str>,
) -> (Result<(), WriteError>, Option<Identity>) {
    let index = index();
    let (object, change): (fn(&str) -> Value, _) = if kind == Kind::Service {
        let made = serde_json::from_value(service("")).unwrap();
        (service, Change::Create(Companion::Service(Box::new(made))))
    } else {
        let seen: WatchedIngress = serde_json::from_value(app("1")).unwrap();
        index.with(|index| seen.observe(index));
        (app, Change::Annotate(annotate()))
    };
    let (watching, there) = (index.clone(), there.map(object));
    let (client, _) = api_server(move |asked| match (asked.last()?.method.as_str(), &there) {
        ("GET", Some(there)) => Some((200, there.clone())),
        ("GET", None) => Some(failure(404, "NotFound")),
        _ => {
            watching.with(|index| news(index));
            Some((200, object("2")))
        }
    });
    let result = writer(client, index.clone(), Claim::always()).perform(&change).await;
    let known = index.with(|index| index.identity(source(kind), &ObjectKey::new("shop", "app")).cloned());
    (result, known)
}

/// What the watch says when this life of the object has ended.
fn ends(kind: Kind, uid: &'static str) -> impl Fn(&mut Index) -> Vec<Key> + Send + Sync {
    move |index| index.forget(source(kind), &ObjectKey::new("shop", "app"), Some(&Identity::new(uid, "3")))
}

#[tokio::test]
async fn what_the_watch_saw_go_before_the_answer_came_is_not_learnt() {
    for kind in [Kind::Service, Kind::Ingress] {
        let (result, known) = answered_late(kind, ends(kind, "u"), None).await;
        assert!(
            matches!(&result, Err(WriteError::Stale(text)) if text.contains("was deleted as soon as it was written")),
            "{kind}: {result:?}"
        );
        assert_eq!(known, None, "{kind}");
    }
}

#[tokio::test]
async fn what_a_list_was_without_is_looked_at_again() {
    for kind in [Kind::Service, Kind::Ingress] {
        let list = move |index: &mut Index| {
            let gone = index.unlisted(source(kind), None, &HashSet::new());
            gone.iter().flat_map(|key| index.forget(source(kind), key, None)).collect()
        };
        let (result, known) = answered_late(kind, list, None).await;
        assert!(matches!(&result, Err(WriteError::Stale(_))), "{kind}: {result:?}");
        assert_eq!(known, None, "{kind}: the list was made after the answer");
        let (result, known) = answered_late(kind, list, Some("2")).await;
        assert!(result.is_ok(), "{kind}: {result:?}");
        assert_eq!(known, Some(Identity::new("u", "2")), "{kind}: the list was made before the answer");
    }
}

#[tokio::test]
async fn the_end_of_an_earlier_life_is_no_news_of_this_one() {
    for kind in [Kind::Service, Kind::Ingress] {
        let (result, known) = answered_late(kind, ends(kind, "earlier"), None).await;
        assert!(result.is_ok(), "{kind}: {result:?}");
        assert_eq!(known, Some(Identity::new("u", "2")), "{kind}");
    }
}
