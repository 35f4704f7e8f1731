//! What Prometheus is told: counts and times, kept as the work goes on and written down when asked for.
//!
//! `docs/metrics.md` explains each of them to those who read them. What has few label values is there from the start
//! with zeros, so that the first failure is an increase; none has the name of an app in a label, of which a cluster can
//! have very many.

mod labels;
mod watches;

pub use labels::{Answer, KeyKind, ObjectKind, Reconciled, Standing, Verb};
pub use watches::WatchHealth;

use crate::index::Source;
use crate::plan::status::State;
use crate::probe::Conclusion;
use labels::{OutpostLabels, ProbeLabels, ReconcileLabels, SourceLabels, WriteLabels};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Content type of what [`Metrics::encode`] writes.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds; a look that finds nothing to do takes microseconds, and one request to the API 15 s at most.
const RECONCILE_BUCKETS: [f64; 9] = [0.0005, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 15.0];

/// Seconds; an app takes milliseconds, the last of thousands at once some seconds, and one that waits for another longer.
const PROTECTION_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// Seconds.
const PROBE_BUCKETS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0];

/// All metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    apps: Family<Standing, Gauge>,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_duration: Histogram,
    protection_delay: Histogram,
    queue_depth: Gauge,
    queue_running: Gauge,
    queue_delayed: Gauge,
    api_writes: Family<WriteLabels, Counter>,
    watch_errors: Family<SourceLabels, Counter>,
    watch_up: Family<SourceLabels, Gauge>,
    events_dropped: Counter,
    leader: Gauge,
    probes: Family<ProbeLabels, Counter>,
    probe_duration: Family<OutpostLabels, Histogram>,
    outpost_up: Family<OutpostLabels, Gauge>,
}

/// How many keys are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLengths {
    /// Waiting for their turn.
    pub ready: usize,
    /// Being reconciled.
    pub running: usize,
    /// Waiting for a time, after a failure or to be looked at again.
    pub delayed: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        let families = Families::new(Registry::with_prefix("ingress_sso"));
        families.start_with_zeros();
        Self(Arc::new(families))
    }
}

impl Families {
    fn new(mut registry: Registry) -> Self {
        let (reconcile, protection) = (histogram(&RECONCILE_BUCKETS), histogram(&PROTECTION_BUCKETS));
        let probe: Family<OutpostLabels, Histogram> =
            Family::new_with_constructor(|| histogram(&PROBE_BUCKETS));
        let to = &mut registry;
        to.register("build", "What runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self {
            apps: add(to, "apps", "Apps that ask for protection, by what became of it"),
            reconciles: add(to, "reconciles", "Looks at something that is to be in order, by the outcome"),
            reconcile_duration: seconds(to, "reconcile_duration", "Time of such a look", reconcile),
            protection_delay: seconds(to, "protection_delay", "Time until an app was protected", protection),
            queue_depth: add(to, "queue_depth", "Keys that wait for their turn"),
            queue_running: add(to, "queue_running", "Keys that are being reconciled"),
            queue_delayed: add(to, "queue_delayed", "Keys that will be looked at again later"),
            api_writes: add(to, "api_writes", "Requests to the API server that write, by its answer"),
            watch_errors: add(to, "watch_errors", "Failures of watches"),
            watch_up: add(to, "watch_up", "Whether all watches of a source work"),
            events_dropped: add(to, "events_dropped", "Events left out since too many waited"),
            leader: add(to, "leader", "Whether this process is the one that writes"),
            probes: add(to, "probes", "Questions to outposts whether they serve a host, by the conclusion"),
            probe_duration: seconds(to, "probe_duration", "Time until an outpost answered", probe),
            outpost_up: add(to, "outpost_up", "Whether an outpost answers"),
            registry,
        }
    }

    fn start_with_zeros(&self) {
        _ = self.apps.get_or_create(&Standing { status: State::Protected, reason: "Protected" });
        for &kind in KeyKind::ALL {
            for &outcome in Reconciled::ALL {
                _ = self.reconciles.get_or_create(&ReconcileLabels { kind, outcome });
            }
        }
        for &kind in ObjectKind::ALL {
            for &verb in kind.verbs() {
                for &outcome in Answer::ALL {
                    _ = self.api_writes.get_or_create(&WriteLabels { kind, verb, outcome });
                }
            }
        }
        for source in Source::ALL {
            _ = self.watch_errors.get_or_create(&SourceLabels { source });
            _ = self.watch_up.get_or_create(&SourceLabels { source });
        }
    }
}

impl Metrics {
    /// All of them, as [`OPEN_METRICS`].
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// Counts an app under `to` and no longer under `from`; `None` is for apps that do not count.
    pub fn move_app(&self, from: Option<Standing>, to: Option<Standing>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.0.apps.get_or_create(&from).dec();
        }
        if let Some(to) = to {
            self.0.apps.get_or_create(&to).inc();
        }
    }

    /// Counts a look at something of this kind, and the time that it took.
    pub fn reconciled(&self, kind: KeyKind, outcome: Reconciled, duration: Duration) {
        self.0.reconciles.get_or_create(&ReconcileLabels { kind, outcome }).inc();
        self.0.reconcile_duration.observe(duration.as_secs_f64());
    }

    /// Counts an app that came to be protected so long after that was due.
    pub fn protected_after(&self, delay: Duration) {
        self.0.protection_delay.observe(delay.as_secs_f64());
    }

    /// Sets how many keys are where.
    pub fn set_queue(&self, lengths: QueueLengths) {
        let set = |gauge: &Gauge, length| gauge.set(i64::try_from(length).unwrap_or(i64::MAX));
        set(&self.0.queue_depth, lengths.ready);
        set(&self.0.queue_running, lengths.running);
        set(&self.0.queue_delayed, lengths.delayed);
    }

    /// Counts a request that was to write.
    pub fn wrote(&self, kind: ObjectKind, verb: Verb, outcome: Answer) {
        self.0.api_writes.get_or_create(&WriteLabels { kind, verb, outcome }).inc();
    }

    /// For a source of `count` watches: each gets a clone.
    pub fn watch_health(&self, source: Source, count: usize) -> WatchHealth {
        let labels = SourceLabels { source };
        let errors = self.0.watch_errors.get_or_create_owned(&labels);
        WatchHealth::new(count, errors, self.0.watch_up.get_or_create_owned(&labels))
    }

    /// Counts an Event that is not going to be written. Returns how many there are by now.
    pub fn dropped_event(&self) -> u64 {
        self.0.events_dropped.inc() + 1
    }

    /// Sets whether this process is the one that writes.
    pub fn set_leader(&self, is_leader: bool) {
        self.0.leader.set(i64::from(is_leader));
    }

    /// Counts a question to an outpost, what was concluded from the answer, and the time until then.
    pub fn probed(&self, outpost: &str, conclusion: &'static str, duration: Duration) {
        let outpost = outpost.to_owned();
        self.0.probes.get_or_create(&ProbeLabels { outpost: outpost.clone(), conclusion }).inc();
        self.0.probe_duration.get_or_create(&OutpostLabels { outpost }).observe(duration.as_secs_f64());
    }

    /// Sets whether an outpost answers.
    pub fn set_outpost_up(&self, outpost: &str, is_up: bool) {
        let labels = OutpostLabels { outpost: outpost.to_owned() };
        self.0.outpost_up.get_or_create(&labels).set(i64::from(is_up));
    }

    /// Takes out all that is about an outpost that is no longer known.
    pub fn forget_outpost(&self, outpost: &str) {
        for conclusion in Conclusion::REASONS {
            self.0.probes.remove(&ProbeLabels { outpost: outpost.to_owned(), conclusion });
        }
        let labels = OutpostLabels { outpost: outpost.to_owned() };
        self.0.probe_duration.remove(&labels);
        self.0.outpost_up.remove(&labels);
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn histogram(buckets: &[f64]) -> Histogram {
    Histogram::new(buckets.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Standing = Standing { status: State::Refused, reason: "NoHost" };
    const SAFE: Standing = Standing { status: State::Protected, reason: "Protected" };

    /// The value of a sample, written as in the exposition without the prefix; `None` where there is no such sample.
    fn sample(metrics: &Metrics, name: &str) -> Option<f64> {
        let text = metrics.encode().unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("ingress_sso_")?.strip_prefix(name));
        lines.filter_map(|rest| rest.strip_prefix(' ')).map(|value| value.parse().unwrap()).next()
    }

    #[test]
    fn what_has_few_labels_is_there_from_the_start() {
        let metrics = Metrics::default();
        for name in [
            r#"apps{status="Protected",reason="Protected"}"#,
            r#"reconciles_total{kind="config_map",outcome="failed"}"#,
            r#"api_writes_total{kind="Ingress",verb="apply",outcome="stale"}"#,
            r#"api_writes_total{kind="Event",verb="create",outcome="rejected"}"#,
            r#"watch_errors_total{source="Middlewares"}"#,
            r#"watch_up{source="Ingresses"}"#,
            "events_dropped_total",
            "protection_delay_seconds_count",
            "leader",
        ] {
            assert_eq!(sample(&metrics, name), Some(0.0), "{name}");
        }
        let version = concat!(r#"build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#);
        assert_eq!(sample(&metrics, version), Some(1.0));
        assert_eq!(sample(&metrics, r#"api_writes_total{kind="Service",verb="apply",outcome="ok"}"#), None);
    }

    #[test]
    fn an_app_counts_once() {
        let (metrics, count) = (Metrics::default(), |metrics: &Metrics| {
            let safe = sample(metrics, r#"apps{status="Protected",reason="Protected"}"#);
            (safe, sample(metrics, r#"apps{status="Refused",reason="NoHost"}"#))
        });
        metrics.move_app(None, Some(OPEN));
        metrics.move_app(Some(OPEN), Some(OPEN));
        assert_eq!(count(&metrics), (Some(0.0), Some(1.0)));
        metrics.move_app(Some(OPEN), Some(SAFE));
        assert_eq!(count(&metrics), (Some(1.0), Some(0.0)), "a reason that nobody has any more stays, as 0");
        metrics.move_app(Some(SAFE), None);
        assert_eq!(count(&metrics), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn times_are_in_seconds_and_clones_share_all() {
        let metrics = Metrics::default();
        metrics.clone().protected_after(Duration::from_millis(20));
        metrics.reconciled(KeyKind::App, Reconciled::Again, Duration::from_secs(3));
        for (name, value) in [
            (r#"protection_delay_seconds_bucket{le="0.01"}"#, 0.0),
            (r#"protection_delay_seconds_bucket{le="0.025"}"#, 1.0),
            (r#"reconcile_duration_seconds_bucket{le="2.0"}"#, 0.0),
            (r#"reconcile_duration_seconds_bucket{le="+Inf"}"#, 1.0),
            (r#"reconciles_total{kind="app",outcome="again"}"#, 1.0),
        ] {
            assert_eq!(sample(&metrics, name), Some(value), "{name}");
        }
    }

    #[test]
    fn an_outpost_that_is_forgotten_leaves_nothing_behind() {
        let metrics = Metrics::default();
        for outpost in ["one", "two"] {
            metrics.probed(outpost, "Served", Duration::from_millis(3));
            metrics.probed(outpost, "NoProvider", Duration::from_mins(1));
            metrics.set_outpost_up(outpost, outpost == "one");
        }
        let names = [
            r#"probes_total{outpost="one",conclusion="NoProvider"}"#,
            r#"probe_duration_seconds_count{outpost="one"}"#,
            r#"outpost_up{outpost="one"}"#,
        ];
        assert_eq!(names.map(|name| sample(&metrics, name)), [Some(1.0), Some(2.0), Some(1.0)]);
        assert_eq!(sample(&metrics, r#"outpost_up{outpost="two"}"#), Some(0.0));
        metrics.forget_outpost("one");
        let text = metrics.encode().unwrap();
        assert!(!text.contains(r#"outpost="one""#), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains(r#"conclusion=""#)).count(), 2, "{text}");
        metrics.probed("one", "NoProvider", Duration::ZERO);
        assert_eq!(sample(&metrics, names[0]), Some(1.0), "it begins anew");
    }

    #[test]
    fn the_text_is_open_metrics() {
        let text = Metrics::default().encode().unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(text.contains("# UNIT ingress_sso_protection_delay_seconds seconds\n"), "{text}");
        assert!(text.contains("# TYPE ingress_sso_reconciles counter\n"), "{text}");
    }
}
