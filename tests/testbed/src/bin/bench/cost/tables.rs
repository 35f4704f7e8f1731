//! What people read of it.

use super::cluster::Cluster;
use super::inputs::{Change, Inputs, Share};
use super::model::{Costs, Model, Sharding};
use super::predictions::{Unit, predictions};
use crate::report::{left_aligned, mb, ms, percent, table};
use crate::results::Cost;
use anyhow::{Context, Result};
use comfy_table::Table;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Titles and tables of everything about `cost`.
pub(crate) fn tables(cost: &Cost, cluster: &Cluster) -> Vec<(String, Table)> {
    let mut tables = Vec::new();
    if let Some(inputs) = &cost.inputs {
        let sizes: Vec<String> = cost.sizes.iter().take(2).map(|size| size.ingresses.to_string()).collect();
        let between = sizes.join(" and ");
        tables
            .push((format!("Cost of one more, from the difference of {between} Ingresses"), shares(inputs)));
        let renewal = time(inputs.renewal_cpu);
        let title = format!(
            "Cost of one change, from the difference of {between}; a watch that ends and begins anew takes {renewal} of \
             the API server's CPU"
        );
        tables.push((title, changes(inputs)));
    }
    let checked = predicted(cost);
    if let (Some(size), Some(checked)) = (cost.sizes.get(2), checked) {
        let title = format!("The model beside {} Ingresses, {} of them opted in", size.ingresses, size.apps);
        tables.push((title, checked));
    }
    if let Some(inputs) = &cost.inputs {
        tables.extend(model_tables(inputs, cluster));
    }
    tables
}

/// Titles and tables of what the model says of a cluster.
fn model_tables(inputs: &Inputs, cluster: &Cluster) -> Vec<(String, Table)> {
    let Cluster { opted_in, edits, opt_ins, lists, .. } = cluster;
    let title = format!(
        "The model: {} of the Ingresses opted in, {} in a namespace; in a day {edits} edits of each, {} of the \
         apps opting in, {:.1} lists by each instance. By class is what it would be, not what there is",
        percent(*opted_in),
        cluster.in_a_namespace,
        percent(*opt_ins),
        24.0 * lists,
    );
    let model = Model { inputs, cluster };
    vec![(title, model_table(&model)), ("Where sharding by namespace begins to pay".to_owned(), pay(&model))]
}

/// The same of the inputs in a `result.json`.
pub(crate) fn model_from(path: &Path, cluster: &Cluster) -> Result<Vec<(String, Table)>> {
    let read = || {
        let mut results: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        anyhow::Ok(serde_json::from_value(results["cost"]["inputs"].take())?)
    };
    let inputs: Inputs = read().with_context(|| format!("read the inputs in {}", path.display()))?;
    Ok(model_tables(&inputs, cluster))
}

fn shares(inputs: &Inputs) -> Table {
    let mut table = table(&[
        "what",
        "etcd",
        "API server's heap",
        "controller",
        "at most",
        "sent at a start",
        "ready",
        "API server's CPU",
        "contr. CPU",
    ]);
    for (what, share) in [
        ("nothing", inputs.fixed),
        ("an Ingress", inputs.ingress),
        ("protecting one", inputs.protection),
        ("a namespace in scope", inputs.namespace),
    ] {
        let Share {
            etcd,
            heap,
            controller,
            controller_peak,
            received,
            seconds,
            api_server_cpu,
            controller_cpu,
        } = share;
        table.add_row([
            what.to_owned(),
            size(etcd),
            size(heap),
            size(controller),
            size(controller_peak),
            size(received),
            time(seconds),
            time(api_server_cpu),
            time(controller_cpu),
        ]);
    }
    left_aligned(&mut table, &[0]);
    table
}

fn changes(inputs: &Inputs) -> Table {
    let mut table = table(&[
        "what",
        "events watched",
        "bytes watched",
        "API server's CPU",
        "etcd's CPU",
        "contr. CPU",
        "etcd, for a while",
        "Events",
    ]);
    for (what, change) in [("opt-in", inputs.opt_in), ("opt-out", inputs.opt_out), ("edit", inputs.edit)] {
        let Change {
            watch_events,
            watch_bytes,
            api_server_cpu,
            etcd_cpu,
            controller_cpu,
            history,
            kubernetes_events,
        } = change;
        table.add_row([
            what.to_owned(),
            format!("{watch_events:.2}"),
            size(watch_bytes),
            time(api_server_cpu),
            time(etcd_cpu),
            time(controller_cpu),
            size(history),
            format!("{kubernetes_events:.2}"),
        ]);
    }
    left_aligned(&mut table, &[0]);
    table
}

fn predicted(cost: &Cost) -> Option<Table> {
    let predictions = predictions(cost);
    let mut table = table(&["what", "predicted", "measured", "measured / predicted"]);
    for prediction in &predictions {
        let written = |value: f64| match prediction.unit {
            Unit::Bytes => size(value),
            Unit::Seconds => time(value),
        };
        table.add_row([
            prediction.what.to_owned(),
            written(prediction.predicted),
            written(prediction.measured),
            format!("{:.2}", prediction.measured / prediction.predicted),
        ]);
    }
    left_aligned(&mut table, &[0]);
    (!predictions.is_empty()).then_some(table)
}

fn model_table(model: &Model<'_>) -> Table {
    let mut table = table(&[
        "Ingresses",
        "instances",
        "etcd",
        "at most",
        "heap",
        "watches",
        "each",
        "at most",
        "all",
        "start sends",
        "start CPU",
        "ready",
        "watched a day",
        "API server's CPU a day",
        "contr. CPU a day",
    ]);
    for &ingresses in &model.cluster.ingresses {
        for sharding in shardings(model.cluster) {
            let costs = model.costs(f64::from(ingresses), sharding);
            let Costs { etcd, etcd_at_once, heap, watches, controller, controller_peak, controllers, .. } =
                costs;
            table.add_row([
                ingresses.to_string(),
                sharding.to_string(),
                size(etcd),
                size(etcd_at_once),
                size(heap),
                format!("{watches:.0}"),
                size(controller),
                size(controller_peak),
                size(controllers),
                size(costs.start_bytes),
                time(costs.start_api_server_cpu),
                time(costs.start_seconds),
                size(costs.watch_bytes_a_day),
                time(costs.api_server_cpu_a_day),
                time(costs.controller_cpu_a_day),
            ]);
        }
    }
    left_aligned(&mut table, &[1]);
    table
}

fn shardings(cluster: &Cluster) -> impl Iterator<Item = Sharding> {
    let shards = || cluster.shards.iter().copied().map(f64::from);
    std::iter::once(Sharding::None)
        .chain(shards().map(Sharding::Namespaces))
        .chain(shards().map(Sharding::Classes))
}

fn pay(model: &Model<'_>) -> Table {
    let mut table = table(&["instances", "from so many Ingresses in a namespace on"]);
    for &instances in &model.cluster.shards {
        let from = model.break_even(f64::from(instances));
        table.add_row([instances.to_string(), format!("{from:.0}")]);
    }
    table
}

/// Bytes in the unit that suits them.
fn size(bytes: f64) -> String {
    match bytes.abs() {
        few if few < 1e4 => format!("{bytes:.0} B"),
        some if some < 1e6 => format!("{:.1} kB", bytes / 1e3),
        many if many < 1e9 => mb(bytes),
        _ => format!("{:.2} GB", bytes / 1e9),
    }
}

/// Seconds in the unit that suits them.
fn time(seconds: f64) -> String {
    match seconds.abs() {
        short if short < 1e-3 => format!("{:.0} µs", 1e6 * seconds),
        medium if medium < 1.0 => ms(seconds),
        _ => format!("{seconds:.1} s"),
    }
}
