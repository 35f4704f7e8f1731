//! Metrics as servers print them, in Prometheus' text format.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One line of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    /// Its value, as it is written.
    pub value: &'a str,
}

impl Sample<'_> {
    /// The value of a label; empty where it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).copied().unwrap_or_default()
    }
}

/// All samples of the metric `name` in `metrics`.
pub fn samples<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = Sample<'a>> {
    metrics.lines().filter_map(move |line| read(line.strip_prefix(name)?))
}

/// The sum of a metric over those of its samples that pass `filter`.
///
/// Fails when a value is no number.
pub fn sum(metrics: &str, name: &str, filter: impl Fn(&Sample<'_>) -> bool) -> Result<f64> {
    let values = samples(metrics, name).filter(filter).map(|sample| sample.value.parse::<f64>());
    values.sum::<Result<f64, _>>().with_context(|| format!("add up the metric {name}"))
}

/// The value of a metric that has one sample only.
///
/// Fails when there is no such metric, and when its value is no number.
pub fn value(metrics: &str, name: &str) -> Result<f64> {
    let sample = samples(metrics, name).next().with_context(|| format!("no metric {name}"))?;
    sample.value.parse().with_context(|| format!("read the metric {name}"))
}

/// Reads what follows the name: `{label="value",…} value`, or a space and the value.
fn read(rest: &str) -> Option<Sample<'_>> {
    if let Some(value) = rest.strip_prefix(' ') {
        return Some(Sample { labels: BTreeMap::new(), value: value.trim() });
    }
    // The values that are asked for here are names, verbs and numbers: they contain no quotes, commas or braces.
    let (labels, value) = rest.strip_prefix('{')?.split_once("} ")?;
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    let labels = labels.map(|(name, value)| (name, value.trim_matches('"'))).collect();
    Some(Sample { labels, value: value.trim() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# TYPE sizes histogram
sizes_sum{resource="ingresses",verb="LIST"} 1.5e+06
sizes_sum{resource="ingresses",verb="GET"} 20
sizes_sum_of_all 7
heap 42
"#;

    #[test]
    fn samples_are_of_the_one_metric() {
        assert_eq!(samples(METRICS, "sizes_sum").count(), 2);
        let first = samples(METRICS, "sizes_sum").next().unwrap();
        assert_eq!((first.label("verb"), first.label("none"), first.value), ("LIST", "", "1.5e+06"));
    }

    #[test]
    fn values_are_numbers() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(value(METRICS, "heap").unwrap(), 42.0));
        assert!(value(METRICS, "sizes").is_err());
        assert!(close(sum(METRICS, "sizes_sum", |sample| sample.label("verb") == "GET").unwrap(), 20.0));
        assert!(close(sum(METRICS, "none", |_| true).unwrap(), 0.0));
    }
}
