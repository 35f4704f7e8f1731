//! Metrics as servers print them: in Prometheus' text format, and what sets `OpenMetrics` apart from it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

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

/// A metric of an `OpenMetrics` text, with all its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family<'a> {
    /// Its name, which is not that of its samples.
    pub name: &'a str,
    /// Its type, such as `counter`.
    pub kind: &'a str,
    /// What it means.
    pub help: &'a str,
    unit: Option<&'a str>,
}

impl<'a> Family<'a> {
    fn new(help: &'a str) -> Result<Self> {
        let (name, help) = help.split_once(' ').context("no help")?;
        Ok(Self { name, kind: "", help, unit: None })
    }

    /// The names that its samples have.
    pub fn sample_names(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            "info" => &["_info"],
            _ => &[""],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
    }

    /// Takes in a further line: what it says of this family, or a sample of it.
    fn read(&mut self, line: &'a str) -> Result<()> {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            let (keyword, name, word) = (words.next(), words.next(), words.next());
            ensure!(name == Some(self.name) && words.next().is_none(), "not about {}", self.name);
            match (keyword, word) {
                (Some("TYPE"), Some(word)) => self.kind = word,
                (Some("UNIT"), word) => self.unit = word,
                _ => bail!("neither a type nor a unit"),
            }
            return Ok(());
        }
        ensure!(!self.kind.is_empty(), "a sample before the type");
        let end = line.find(['{', ' ']).context("no value")?;
        let (name, rest) = line.split_at(end);
        ensure!(self.sample_names().iter().any(|known| known == name), "not a sample of a {}", self.kind);
        let sample = read(rest).context("no labels and value")?;
        sample.value.parse::<f64>().context("no number")?;
        Ok(())
    }
}

/// All families of an `OpenMetrics` text.
///
/// Fails, with the line, where the text is not in that format: it ends with `# EOF` and nowhere else, the lines of each
/// family are together and begin with its help, and the name ends with the unit.
pub fn families(text: &str) -> Result<Vec<Family<'_>>> {
    let body = text.strip_suffix("# EOF\n").context("the text does not end with # EOF")?;
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in body.lines() {
        let read = match (line.strip_prefix("# HELP "), families.last_mut()) {
            (Some(help), _) => Family::new(help).map(|family| families.push(family)),
            (None, Some(family)) => family.read(line),
            (None, None) => Err(anyhow::anyhow!("a line before the first help")),
        };
        read.with_context(|| format!("not OpenMetrics: {line}"))?;
    }
    for (position, family) in families.iter().enumerate() {
        let unit = family.unit.unwrap_or_default();
        ensure!(family.name.ends_with(unit), "{} does not end with its unit {unit}", family.name);
        let is_second = families[..position].iter().any(|other| other.name == family.name);
        ensure!(!is_second, "{} is there twice", family.name);
    }
    Ok(families)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_METRICS: &str = r#"# HELP waits Time that one waits.
# TYPE waits gauge
waits 3
# HELP takes_seconds How long it takes.
# TYPE takes_seconds histogram
# UNIT takes_seconds seconds
takes_seconds_sum 0.5
takes_seconds_count 2
takes_seconds_bucket{le="+Inf"} 2
# HELP asks Questions.
# TYPE asks counter
asks_total{of="one"} 2
# EOF
"#;

    #[test]
    fn families_are_read_with_their_type() {
        let families = families(OPEN_METRICS).unwrap();
        let found: Vec<_> = families.iter().map(|family| (family.name, family.kind)).collect();
        assert_eq!(found, [("waits", "gauge"), ("takes_seconds", "histogram"), ("asks", "counter")]);
        assert_eq!(families[2].help, "Questions.");
        assert_eq!(families[1].sample_names().len(), 3);
    }

    #[test]
    fn what_is_not_open_metrics_is_told_with_the_line() {
        for (good, bad) in [
            ("# EOF\n", ""),
            ("# EOF\n", "# EOF\n# EOF\n"),
            ("asks_total{", "asks{"),
            ("# TYPE asks counter\n", ""),
            ("# TYPE asks counter", "# TYPE waits counter"),
            ("# HELP asks Questions.", "# HELP waits Questions."),
            ("# HELP waits Time that one waits.\n", ""),
            (" 0.5", " half"),
            ("seconds seconds", "seconds minutes"),
        ] {
            let text = OPEN_METRICS.replacen(good, bad, 1);
            assert!(families(&text).is_err(), "{text}");
        }
    }

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
