//! One request on its way to the API server, and what comes back.

use super::fate::{End, Fate, WatchFate};
use super::{Shared, UnderWay};
use crate::record::lock;
use crate::tls;
use anyhow::Context;
use futures::channel::mpsc;
use futures::{FutureExt, SinkExt, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

/// A body that may break off.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer; an error ends the connection without one.
type Answer = io::Result<Response<Body>>;

/// No watch of a client lasts so long.
const FOR_EVER: Duration = Duration::from_hours(1);

pub(super) async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(|parameter| matches!(parameter, "watch=true" | "watch=1")));
    if is_watch { pass_watch(shared, request).await } else { pass_request(shared, request).await }
}

async fn pass_request(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let method = request.method().clone();
    let fate = lock(&shared.dice).request(&method);
    match fate {
        Fate::Pass => Ok(whole(ask_anyway(&shared, request).await?)),
        Fate::Refuse(status) => {
            shared.count("refused");
            Ok(status_answer(&method, status))
        }
        Fate::Lose => {
            shared.count("lost");
            ask_anyway(&shared, request).await?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Fate::Mask(status) => {
            shared.count("masked");
            ask_anyway(&shared, request).await?;
            Ok(status_answer(&method, status))
        }
        Fate::CutShort => {
            shared.count("cut short");
            cut_short(ask_anyway(&shared, request).await?).await
        }
        Fate::Late { before, after } => {
            shared.count("late");
            sleep(before).await;
            let answer = ask_anyway(&shared, request).await?;
            sleep(after).await;
            Ok(whole(answer))
        }
    }
}

async fn pass_watch(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let fate = lock(&shared.dice).watch();
    if let Some(status) = fate.refused {
        shared.count("watch refused");
        return Ok(status_answer(&Method::GET, status));
    }
    let (head, body) = ask(&shared, request).await?.into_parts();
    let (sender, receiver) = mpsc::channel(1);
    // It ends when the client is gone, since nobody then takes what it sends.
    tokio::spawn(deliver(shared, fate, body, sender));
    Ok(Response::from_parts(
        head,
        StreamBody::new(receiver.map(|bytes| bytes.map(Frame::data))).boxed_unsync(),
    ))
}

/// Passes on what a watch delivers, until it ends or has to.
async fn deliver(
    shared: Arc<Shared>,
    fate: WatchFate,
    body: Incoming,
    mut client: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut body = body.into_data_stream();
    let mut ended_for_all = shared.watches.subscribe();
    let (lasts, end) = fate.end.unwrap_or((FOR_EVER, End::Broken));
    let end_at = Instant::now() + lasts;
    let end = loop {
        // What came during a stall is not stalled again: a watch that is late does not get later and later.
        let (bytes, stalls) = if let Some(bytes) = body.next().now_or_never() {
            (bytes, false)
        } else {
            let bytes = tokio::select! {
                bytes = body.next() => bytes,
                () = sleep_until(end_at) => break end,
                _ = ended_for_all.changed() => break End::Broken,
            };
            (bytes, fate.stalls)
        };
        match bytes {
            Some(Ok(bytes)) if matches!(end, End::MidLine) && Instant::now() + lasts / 2 > end_at => {
                _ = client.send(Ok(bytes.slice(..bytes.len() / 2))).await;
                break End::Broken;
            }
            Some(Ok(bytes)) => {
                if stalls {
                    shared.count("watch stalled");
                    let stall = lock(&shared.dice).stall();
                    sleep(stall).await;
                }
                if client.send(Ok(bytes)).await.is_err() {
                    return;
                }
            }
            Some(Err(_)) => break End::Broken,
            None => return,
        }
    };
    shared.count("watch ended");
    let last = match end {
        End::Properly => return,
        End::Broken | End::MidLine => Err(io::ErrorKind::ConnectionReset.into()),
        End::Expired => {
            let expired = json!({ "type": "ERROR", "object": status(&Method::GET, StatusCode::GONE) });
            Ok(Bytes::from(format!("{expired}\n")))
        }
    };
    _ = client.send(last).await;
}

/// The same as [`ask`], which the API server does to the end even if the client breaks off.
async fn ask_anyway(shared: &Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Incoming>> {
    let (request_is_under_way, shared) = (UnderWay::new(shared), Arc::clone(shared));
    let asked = tokio::spawn(async move {
        let answer = ask(&shared, request).await;
        drop(request_is_under_way);
        answer
    });
    asked.await.map_err(io::Error::other)?
}

/// Asks the API server, by a connection of its own. The error is that there is none, or no answer.
async fn ask(shared: &Shared, request: Request<Incoming>) -> io::Result<Response<Incoming>> {
    let exchange = async {
        let stream = TcpStream::connect(shared.server).await?;
        stream.set_nodelay(true)?;
        let stream = tls::unverified()?.connect("localhost".try_into()?, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (mut head, body) = request.into_parts();
        head.headers.insert(HOST, shared.server.to_string().try_into()?);
        let body = body.collect().await.context("receive the request")?.to_bytes();
        anyhow::Ok(sender.send_request(Request::from_parts(head, Full::new(body))).await?)
    };
    exchange.await.map_err(io::Error::other)
}

fn whole(answer: Response<Incoming>) -> Response<Body> {
    answer.map(|body| body.map_err(io::Error::other).boxed_unsync())
}

/// The first half of an answer.
async fn cut_short(answer: Response<Incoming>) -> Answer {
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    // It says how long the whole would be, as it does when a server dies.
    head.headers.insert(CONTENT_LENGTH, bytes.len().into());
    head.headers.remove(TRANSFER_ENCODING);
    let half = [Ok(Frame::data(bytes.slice(..bytes.len() / 2))), Err(io::ErrorKind::ConnectionReset.into())];
    Ok(Response::from_parts(head, StreamBody::new(futures::stream::iter(half)).boxed_unsync()))
}

fn status_answer(method: &Method, code: StatusCode) -> Response<Body> {
    let body = Full::new(Bytes::from(status(method, code).to_string()));
    let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if code == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(RETRY_AFTER, 1.into());
    }
    answer
}

/// What an API server says with such a code.
fn status(method: &Method, code: StatusCode) -> serde_json::Value {
    let reason = match code {
        StatusCode::CONFLICT if method == Method::POST => "AlreadyExists",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::GONE => "Expired",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        StatusCode::GATEWAY_TIMEOUT => "Timeout",
        _ => "InternalError",
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("the testbed wants this to fail ({reason})"),
        "reason": reason,
        "code": code.as_u16(),
    })
}
