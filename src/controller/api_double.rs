//! A double of the API server for tests of what is sent: it answers as it is told, and notes what it was asked.

use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// A request as it arrived.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// With the query.
    pub(super) path: String,
    pub(super) body: Value,
}

/// All requests so far, the newest last.
pub(super) type Log = Arc<Mutex<Vec<Asked>>>;

/// A status code, and the object that goes with it.
pub(super) type Answer = (u16, Value);

/// A client of a server that answers to the newest of all requests so far as `answer` says, or never.
pub(super) fn api_server(
    answer: impl Fn(&[Asked]) -> Option<Answer> + Send + Sync + 'static,
) -> (Client, Log) {
    let (log, answer) = (Log::default(), Arc::new(answer));
    let kept = Arc::clone(&log);
    let service = tower::service_fn(move |request: hyper::Request<Body>| {
        let (log, answer) = (Arc::clone(&kept), Arc::clone(&answer));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let asked = Asked {
                method: parts.method.to_string(),
                path: parts.uri.to_string(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let answer = {
                let mut log = log.lock().unwrap();
                log.push(asked);
                answer(&log)
            };
            let Some((status, object)) = answer else { return std::future::pending().await };
            let response = hyper::Response::builder().status(status);
            Ok::<_, Infallible>(response.body(Body::from(object.to_string().into_bytes())).unwrap())
        }
    });
    (Client::new(service, "default"), log)
}

/// What the API server says where it does not do what it is asked.
pub(super) fn failure(code: u16, reason: &str) -> Answer {
    (code, json!({ "status": "Failure", "reason": reason, "message": reason, "code": code }))
}

/// The methods of all requests.
pub(super) fn methods(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|asked| asked.method.clone()).collect()
}
