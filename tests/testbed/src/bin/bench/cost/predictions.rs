//! What the model says of the largest size that was measured, beside what was measured there.

use super::Size;
use super::inputs::{Inputs, Share};
use super::model::in_place;
use crate::results::Cost;
use crate::stats::count;

/// A figure twice.
pub(super) struct Prediction {
    pub(super) what: &'static str,
    pub(super) unit: Unit,
    pub(super) predicted: f64,
    pub(super) measured: f64,
}

#[derive(Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Seconds,
}

/// None while there are fewer than three sizes.
pub(super) fn predictions(cost: &Cost) -> Vec<Prediction> {
    match (cost.sizes.get(2), &cost.inputs) {
        (Some(size), Some(inputs)) => of(size, inputs),
        _ => Vec::new(),
    }
}

fn of(size: &Size, inputs: &Inputs) -> Vec<Prediction> {
    let (ingresses, apps) = (count(size.ingresses), count(size.apps));
    let beside = |value: fn(&Share) -> f64| value(&inputs.fixed) + in_place(inputs, ingresses, 0.0, value);
    let all = |value: fn(&Share) -> f64| value(&inputs.fixed) + in_place(inputs, ingresses, apps, value);
    let Size { created, beside: start, protected, restarted, .. } = size;
    let changes = |stages: [f64; 2]| stages.into_iter().sum::<f64>();
    let bytes = |what, predicted, measured| Prediction { what, unit: Unit::Bytes, predicted, measured };
    let seconds = |what, predicted, measured| Prediction { what, unit: Unit::Seconds, predicted, measured };
    vec![
        bytes("etcd, none opted in", beside(|share| share.etcd), created.held.etcd),
        bytes("etcd, protected", all(|share| share.etcd), protected.held.etcd),
        bytes(
            "etcd, more while they opt in",
            apps * inputs.opt_in.history,
            changes([size.asked.held.history, protected.held.history]),
        ),
        bytes("API server's heap, none opted in", beside(|share| share.heap), created.held.heap),
        bytes("API server's heap, protected", all(|share| share.heap), protected.held.heap),
        bytes("sent at a start", all(|share| share.received), restarted.received),
        bytes(
            "sent in watches for opt-ins",
            apps * inputs.opt_in.watch_bytes,
            changes([size.asked.watched.bytes, protected.watched.bytes]),
        ),
        bytes("controller, none opted in", beside(|share| share.controller), start.controller.resident),
        bytes("controller, restarted", all(|share| share.controller), restarted.controller.resident),
        bytes(
            "controller, restarted, at most",
            all(|share| share.controller_peak),
            restarted.controller.peak,
        ),
        seconds("restart to ready", all(|share| share.seconds), restarted.seconds),
        seconds(
            "CPU of the controller for a restart",
            all(|share| share.controller_cpu),
            restarted.controller.cpu_seconds,
        ),
        seconds(
            "CPU of the API server for a restart",
            all(|share| share.api_server_cpu),
            restarted.spent.api_server,
        ),
        seconds(
            "CPU of the API server for opt-ins",
            apps * inputs.opt_in.api_server_cpu + beside(|share| share.api_server_cpu),
            changes([size.asked.spent.api_server, protected.spent.api_server]),
        ),
    ]
}
