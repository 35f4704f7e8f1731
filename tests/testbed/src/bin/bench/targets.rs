//! The figures of the design, beside those that were measured. A target that was not measured is not listed.

use crate::plan::Layout;
use crate::report::{Case, cases, cpu_a_write, mb, ms};
use crate::results::{Broken, ColdStart, Latency, Results, Run, Writes};
use crate::stats::{count, median, median_of, percentile};
use std::collections::BTreeSet;

/// Time of a cold start beside that of the bare loop.
const TIME: f64 = 1.1;

/// "Two round trips plus a few milliseconds".
const A_FEW: f64 = 0.005;

/// What very many broken Ingresses may add to the time of a good one.
const DELAY: f64 = 1.0;

/// Resident bytes beside so many Ingresses.
const MEMORY: [(usize, f64); 3] = [(0, 12e6), (10_000, 25e6), (100_000, 100e6)];

/// CPU seconds of the controller for each of its writes.
const CPU: f64 = 0.4e-3;

/// How much more an app may cost among many than among few, and still count as linear on a machine with noise.
const LINEAR: f64 = 1.2;

/// A figure and what it should be.
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    pub(crate) is_met: bool,
}

impl Target {
    fn new(what: impl Into<String>, wanted: String, measured: String, is_met: bool) -> Self {
        Self { what: what.into(), wanted, measured, is_met }
    }
}

/// All targets of which there are figures.
pub(crate) fn targets(results: &Results) -> Vec<Target> {
    let cases = cases(&results.cold_start);
    let mut targets = Vec::new();
    for layout in results.cold_start.iter().map(|pair| pair.layout).collect::<BTreeSet<_>>() {
        let pairs: Vec<&ColdStart> = results.cold_start.iter().filter(|pair| pair.layout == layout).collect();
        targets.push(time(layout, &pairs, results.machine.cores));
        targets.push(cpu_for_a_write(layout, &pairs));
    }
    targets.extend(linear(&cases, results.machine.cores));
    targets.extend(necessary_writes(&results.cold_start));
    targets.extend(results.latency.as_ref().map(latency));
    if let Some(restart) = &results.restart {
        targets.push(no_writes("writes of restarts", &restart.writes));
    }
    if let Some(hot) = &results.hot {
        targets.push(no_writes("writes for a hot app", &hot.writes));
    }
    targets.extend(results.broken.as_ref().map(broken));
    targets.extend(memory(results));
    targets
}

/// The median of all pairs of a layout: one pair differs from the next by a tenth and more on a machine of few cores, on
/// which the servers run, too. What others took of the machine is left out; where they took nothing, that changes nothing.
fn time(layout: Layout, pairs: &[&ColdStart], cores: usize) -> Target {
    let ratios: Vec<f64> = pairs.iter().map(|pair| 1.0 / pair.net_speed(cores)).collect();
    let with_others = median_of(pairs, |pair| 1.0 / pair.speed());
    let ratio = median(&ratios);
    let measured = format!(
        "× {ratio:.2} ({:.2} to {:.2} in {} pairs; × {with_others:.2} with others)",
        percentile(&ratios, 0.0),
        percentile(&ratios, 1.0),
        ratios.len()
    );
    let wanted = format!("≤ × {TIME:.2} of the bare loop's");
    Target::new(format!("time of a cold start, layout {layout}"), wanted, measured, ratio <= TIME)
}

/// The most of all pairs of a layout.
fn cpu_for_a_write(layout: Layout, pairs: &[&ColdStart]) -> Target {
    let seconds: Vec<f64> = pairs.iter().map(|pair| cpu_a_write(pair)).collect();
    let most = percentile(&seconds, 1.0);
    let measured = format!("{:.2} ms at most", 1e3 * most);
    Target::new(format!("CPU for a write, layout {layout}"), format!("≤ {}", ms(CPU)), measured, most <= CPU)
}

/// The time for an app among the most, beside that among the fewest.
fn linear(cases: &[Case<'_>], cores: usize) -> Vec<Target> {
    let series: BTreeSet<(Layout, usize)> =
        cases.iter().map(|case| (case.layout, case.concurrency)).collect();
    let mut targets = Vec::new();
    for (layout, concurrency) in series {
        let of_series = |case: &&Case<'_>| case.layout == layout && case.concurrency == concurrency;
        let few = cases.iter().filter(of_series).min_by_key(|case| case.apps);
        let many = cases.iter().filter(of_series).max_by_key(|case| case.apps);
        let (Some(few), Some(many)) = (few, many) else { continue };
        if few.apps == many.apps {
            continue;
        }
        let growth =
            many.net_per_app(cores, ColdStart::controller) / few.net_per_app(cores, ColdStart::controller);
        let bare = many.net_per_app(cores, ColdStart::bare) / few.net_per_app(cores, ColdStart::bare);
        let what = format!(
            "time per app, {} to {} apps, layout {layout}, {concurrency} at once",
            few.apps, many.apps
        );
        let measured = format!("× {growth:.2} (bare × {bare:.2})");
        targets.push(Target::new(
            what,
            format!("≤ × {LINEAR}, or bare"),
            measured,
            growth <= LINEAR * bare.max(1.0),
        ));
    }
    targets
}

/// A POST and an apply an app, a Service and headers a namespace; Events aside.
fn necessary_writes(pairs: &[ColdStart]) -> Option<Target> {
    let surplus = |pair: &ColdStart| {
        let apps = pair.apps;
        let namespaces = apps.div_ceil(pair.layout.apps_in_a_namespace(apps));
        let wanted: Writes = [
            ("POST ingresses", apps),
            ("APPLY ingresses", apps),
            ("POST services", namespaces),
            ("POST configmaps", namespaces),
        ]
        .into_iter()
        .map(|(kind, number)| (kind.to_owned(), u64::try_from(number).unwrap_or(0)))
        .collect();
        let mut writes = pair.controller.writes.clone();
        writes.retain(|kind, _| !kind.ends_with(" events"));
        writes != wanted || pair.bare.objects != pair.controller.objects
    };
    let others = pairs.iter().filter(|pair| surplus(pair)).count();
    (!pairs.is_empty()).then(|| {
        let measured = format!("{others} of {} cold starts differ", pairs.len());
        Target::new(
            "writes and objects of a cold start",
            "those of the bare loop".to_owned(),
            measured,
            others == 0,
        )
    })
}

fn latency(latency: &Latency) -> Target {
    let (measured, trips) = (median(&latency.rest), median(&latency.two_round_trips));
    let wanted = format!("≤ two round trips ({}) + {}", ms(trips), ms(A_FEW));
    Target::new("opt-in to protected at rest, p50", wanted, ms(measured), measured <= trips + A_FEW)
}

/// The slowest beside them, less the median without them.
fn broken(broken: &Broken) -> Target {
    let delay = percentile(&broken.among, 1.0) - median(&broken.alone);
    let what = format!("delay of a good app by {} broken ones, at most", broken.ingresses);
    Target::new(what, format!("< {}", ms(DELAY)), ms(delay), delay < DELAY)
}

fn no_writes(what: &str, writes: &Writes) -> Target {
    let total: u64 = writes.values().sum();
    Target::new(what, "0".to_owned(), total.to_string(), total == 0)
}

fn memory(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for memory in &results.memory {
        let Some((_, limit)) = MEMORY.iter().find(|(ingresses, _)| *ingresses == memory.ingresses) else {
            continue;
        };
        for (when, usage) in [("after a cold start", memory.cold), ("after a restart", memory.warm)] {
            let what = format!("resident beside {} Ingresses {when}", memory.ingresses);
            let wanted = format!("≤ {}", mb(*limit));
            targets.push(Target::new(what, wanted, mb(usage.resident), usage.resident <= *limit));
        }
    }
    targets
}

impl Case<'_> {
    /// Median seconds an app.
    pub(crate) fn per_app(&self, run: impl Fn(&ColdStart) -> &Run) -> f64 {
        median_of(&self.pairs, |pair| run(pair).seconds) / count(self.apps)
    }

    /// The same without what others took of the machine.
    fn net_per_app(&self, cores: usize, run: fn(&ColdStart) -> &Run) -> f64 {
        median_of(&self.pairs, |pair| run(pair).net_seconds(cores)) / count(self.apps)
    }
}
