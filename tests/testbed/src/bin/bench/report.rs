//! What people read.

use crate::cost;
use crate::plan::Layout;
use crate::results::{Broken, ColdStart, Hot, Latency, Memory, Restart, Results, Writes};
use crate::stats::{count, median, median_of, percentile};
use crate::targets::targets;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// All pairs of one case of the cold start.
pub(crate) struct Case<'a> {
    pub(crate) layout: Layout,
    pub(crate) concurrency: usize,
    pub(crate) apps: usize,
    pub(crate) pairs: Vec<&'a ColdStart>,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} apps, layout {}, {} at once", self.apps, self.layout, self.concurrency)
    }
}

/// The cases in order.
pub(crate) fn cases(pairs: &[ColdStart]) -> Vec<Case<'_>> {
    let mut cases = BTreeMap::<_, Vec<&ColdStart>>::new();
    for pair in pairs {
        cases.entry((pair.layout, pair.concurrency, pair.apps)).or_default().push(pair);
    }
    let case = |((layout, concurrency, apps), pairs)| Case { layout, concurrency, apps, pairs };
    cases.into_iter().map(case).collect()
}

/// Everything that was measured, and the targets.
pub(crate) fn report(results: &Results) -> String {
    let machine = &results.machine;
    let heading = format!(
        "{} {}, Kubernetes {}, on {} × {}, {} of memory, Linux {}, load {:.1} before\n",
        machine.program,
        machine.commit.as_deref().unwrap_or("(no commit)"),
        machine.kubernetes,
        machine.cores,
        machine.processor,
        machine.memory,
        machine.kernel,
        machine.load
    );
    let mut parts = vec![heading];
    let mut section = |title: &str, table: &Table| parts.push(section(title, table));
    if !results.cold_start.is_empty() {
        let cases = cases(&results.cold_start);
        let title = "Cold start, medians. Of each pair the ratio bare to controller: of the time (speed), of the time \
                     without what the rest of the machine took meanwhile (net), of the CPU time of all, servers included \
                     (economy). Others: what the rest took of the machine, beside bare loop and controller.";
        section(title, &cold_start(&cases, machine.cores));
        section("Writes of a cold start", &writes(&cases));
    }
    if let Some(latency) = &results.latency {
        let title = format!(
            "Opt-in to protected; the storm of {} apps took {:.1} s",
            latency.storm_apps, latency.storm_seconds
        );
        section(&title, &latencies(latency));
    }
    if let Some(restart) = &results.restart {
        section(&format!("{} apps in place", restart.apps), &restarts(restart));
    }
    if !results.memory.is_empty() {
        section("Memory", &memory(&results.memory));
    }
    if let Some(hot) = &results.hot {
        section("One hot app", &hot_app(hot));
    }
    if let Some(broken) = &results.broken {
        let title = format!(
            "Opt-in to protected of single apps, beside {} broken Ingresses of another namespace of which {:.0} are edited a \
             second, and refused for another reason each time",
            broken.ingresses,
            count(broken.edits) / broken.seconds
        );
        section(&title, &broken_apps(broken));
    }
    if let Some(cost) = &results.cost {
        for (title, table) in cost::tables(cost, &results.plan.cluster) {
            section(&title, &table);
        }
    }
    section("Targets", &target_table(results));
    parts.extend(results.failures.iter().map(|failure| format!("\nNot measured: {failure}\n")));
    parts.concat()
}

/// A table under its title.
pub(crate) fn section(title: &str, table: &Table) -> String {
    format!("\n{title}\n\n{table}\n")
}

fn cold_start(cases: &[Case<'_>], cores: usize) -> Table {
    let mut table = table(&[
        "layout",
        "at once",
        "apps",
        "bare s",
        "contr. s",
        "speed",
        "net",
        "economy",
        "ms/app",
        "CPU s",
        "CPU/write µs",
        "RSS",
        "peak",
        "others",
    ]);
    for case in cases {
        let of = |value: fn(&ColdStart) -> f64| median_of(&case.pairs, |pair| value(pair));
        table.add_row([
            case.layout.to_string(),
            case.concurrency.to_string(),
            case.apps.to_string(),
            format!("{:.2}", of(|pair| pair.bare.seconds)),
            format!("{:.2}", of(|pair| pair.controller.seconds)),
            percent(of(ColdStart::speed)),
            percent(median_of(&case.pairs, |pair| pair.net_speed(cores))),
            percent(of(ColdStart::economy)),
            format!("{:.2}", 1e3 * case.per_app(ColdStart::controller)),
            format!("{:.2}", of(|pair| pair.controller.usage.cpu_seconds)),
            format!("{:.0}", 1e6 * of(cpu_a_write)),
            mb(of(|pair| pair.controller.usage.resident)),
            mb(of(|pair| pair.controller.usage.peak)),
            format!(
                "{} / {}",
                percent(median_of(&case.pairs, |pair| pair.bare.disturbance(cores))),
                percent(median_of(&case.pairs, |pair| pair.controller.disturbance(cores))),
            ),
        ]);
    }
    table
}

/// CPU seconds of the controller for each of its writes, Events included.
pub(crate) fn cpu_a_write(pair: &ColdStart) -> f64 {
    pair.controller.usage.cpu_seconds / count(pair.controller.writes.values().sum::<u64>())
}

fn writes(cases: &[Case<'_>]) -> Table {
    let mut table = table(&["layout", "at once", "apps", "bare", "controller", "same objects"]);
    for case in cases {
        // Counts have no median: a round that differs from the others gets a row of its own.
        let row = |pair: &&ColdStart| {
            let are_same = pair.bare.objects == pair.controller.objects;
            [listed(&pair.bare.writes), listed(&pair.controller.writes), mark(are_same)]
        };
        for row in case.pairs.iter().map(row).collect::<BTreeSet<_>>() {
            let labels = [case.layout.to_string(), case.concurrency.to_string(), case.apps.to_string()];
            table.add_row(labels.into_iter().chain(row));
        }
    }
    left_aligned(&mut table, &[3, 4]);
    table
}

fn latencies(latency: &Latency) -> Table {
    let mut table = table(&["what", "samples", "p50", "p99", "p50 in pairs of round trips", "p50 in GETs"]);
    let trips = median(&latency.two_round_trips);
    let mut row = |what: &str, values: &[f64], get: &[f64]| {
        let p50 = median(values);
        table.add_row([
            what.to_owned(),
            values.len().to_string(),
            ms(p50),
            ms(percentile(values, 0.99)),
            format!("{:.1}", p50 / trips),
            format!("{:.1}", p50 / median(get)),
        ]);
    };
    row("at rest", &latency.rest, &latency.get);
    row("at rest, first of its namespace", &latency.rest_first, &latency.get);
    row("in the storm", &latency.storm, &latency.storm_get);
    row("two round trips: POST and apply", &latency.two_round_trips, &latency.get);
    row("GET", &latency.get, &latency.get);
    row("GET in the storm", &latency.storm_get, &latency.storm_get);
    left_aligned(&mut table, &[0]);
    table
}

fn restarts(restart: &Restart) -> Table {
    let mut table = table(&["what", "time", "CPU s", "writes"]);
    let row = |what: &str, time: f64, cpu: String, writes: String| [what.to_owned(), ms(time), cpu, writes];
    let cpu = format!("{:.2}", median(&restart.cpu));
    table.add_row(row("restart to ready", median(&restart.ready), cpu, listed(&restart.writes)));
    table.add_row(row("bare list of all Ingresses", median(&restart.list), String::new(), String::new()));
    let cpu = format!("{:.2}", restart.opt_out_cpu);
    table.add_row(row("opt-out of all", restart.opt_out, cpu, listed(&restart.opt_out_writes)));
    left_aligned(&mut table, &[0, 3]);
    table
}

fn memory(memory: &[Memory]) -> Table {
    let mut table = table(&[
        "Ingresses",
        "opted in",
        "RSS cold",
        "peak cold",
        "RSS restarted",
        "peak restarted",
        "ready after",
        "CPU start s",
        "CPU at rest",
    ]);
    for Memory { ingresses, apps, cold, warm, ready, rest } in memory {
        table.add_row([
            ingresses.to_string(),
            apps.to_string(),
            mb(cold.resident),
            mb(cold.peak),
            mb(warm.resident),
            mb(warm.peak),
            ms(*ready),
            format!("{:.2}", warm.cpu_seconds),
            format!("{:.1} %", 100.0 * rest),
        ]);
    }
    table
}

fn hot_app(hot: &Hot) -> Table {
    let mut table = table(&["edits", "seconds", "CPU s", "CPU/edit µs", "writes"]);
    table.add_row([
        hot.edits.to_string(),
        format!("{:.0}", hot.seconds),
        format!("{:.2}", hot.cpu),
        format!("{:.0}", 1e6 * hot.cpu / count(hot.edits)),
        listed(&hot.writes),
    ]);
    table
}

fn broken_apps(broken: &Broken) -> Table {
    let mut table = table(&["", "apps", "p50", "p99", "max", "two round trips p50"]);
    for (what, seconds, trips) in [
        ("without them", &broken.alone, &broken.alone_trips),
        ("beside them", &broken.among, &broken.among_trips),
    ] {
        let times = [0.5, 0.99, 1.0].map(|part| ms(percentile(seconds, part)));
        let [p50, p99, max] = times;
        table.add_row([what.to_owned(), seconds.len().to_string(), p50, p99, max, ms(median(trips))]);
    }
    left_aligned(&mut table, &[0]);
    table
}

fn target_table(results: &Results) -> Table {
    let mut table = table(&["", "what", "wanted", "measured"]);
    for target in targets(results) {
        table.add_row([mark(target.is_met), target.what, target.wanted, target.measured]);
    }
    left_aligned(&mut table, &[1, 2]);
    table
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

pub(crate) fn left_aligned(table: &mut Table, columns: &[usize]) {
    for &index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
}

fn listed(writes: &Writes) -> String {
    if writes.is_empty() {
        return "0".to_owned();
    }
    let parts: Vec<String> = writes.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
    parts.join(", ")
}

fn mark(is_good: bool) -> String {
    if is_good { "✓" } else { "✗" }.to_owned()
}

/// Seconds as milliseconds.
pub(crate) fn ms(seconds: f64) -> String {
    format!("{:.1} ms", 1e3 * seconds)
}

/// Bytes as millions of them.
pub(crate) fn mb(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// A share of one.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
