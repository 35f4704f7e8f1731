//! What is written about the metrics, held against those that there are.

use anyhow::{Context, Result};
use ingress_sso::telemetry::metrics::Metrics;
use ingress_sso_testbed::metrics::{Family, families};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const DOCS: &str = include_str!("../docs/metrics.md");
const DASHBOARD: &str = include_str!("../deploy/grafana-dashboard.json");
const RULES: &str = include_str!("../deploy/prometheus-rules.yaml");

const PREFIX: &str = "ingress_sso_";

/// Where the runbooks are read.
const RUNBOOKS: &str = "https://github.com/djieno/ingress-sso/blob/main/docs/metrics.md#";

/// Metrics with something in each of them.
fn exposition() -> Result<String> {
    let metrics = Metrics::default();
    metrics.probed("proxy-outpost", "Serves", Duration::from_millis(5));
    metrics.set_outpost_up("proxy-outpost", true);
    Ok(metrics.encode()?)
}

/// A family under the name by which people know it: that of its samples where these have one name.
fn known_as(family: &Family<'_>) -> String {
    match &family.sample_names()[..] {
        [only] => only.clone(),
        _ => family.name.to_owned(),
    }
}

/// Names of metrics in `text`, whatever is written around them.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(PREFIX) && *word != PREFIX).collect()
}

#[test]
fn every_metric_is_explained_with_its_type_and_its_labels() -> Result<()> {
    let text = exposition()?;
    for family in families(&text)? {
        let name = known_as(&family);
        let row = DOCS.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.with_context(|| format!("docs/metrics.md does not explain {name}"))?;
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2], family.kind, "{row}");
        let labels = labels_of(&text, &family);
        let documented: BTreeSet<&str> = cells[3]
            .split(", ")
            .map(|label| label.trim_matches('`'))
            .filter(|label| !label.is_empty())
            .collect();
        assert_eq!(documented, labels, "{row}");
    }
    Ok(())
}

/// The labels of a family's samples, but for the one that histograms bring along.
fn labels_of<'a>(text: &'a str, family: &Family<'_>) -> BTreeSet<&'a str> {
    let is_of_family = |line: &&str| {
        family
            .sample_names()
            .iter()
            .any(|name| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('{')))
    };
    let labels = text.lines().filter(is_of_family).filter_map(|line| line.split(['{', '}']).nth(1));
    let names = labels.flat_map(|labels| labels.split(',').filter_map(|label| label.split('=').next()));
    names.filter(|name| *name != "le").collect()
}

#[test]
fn docs_dashboard_and_alerts_name_no_metric_that_there_is_not() -> Result<()> {
    let text = exposition()?;
    let families = families(&text)?;
    let samples: BTreeSet<String> = families.iter().flat_map(Family::sample_names).collect();
    for (file, content) in [("dashboard", DASHBOARD), ("rules", RULES)] {
        let named = named(content);
        assert!(!named.is_empty(), "{file}");
        let unknown: Vec<_> = named.iter().filter(|name| !samples.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let known: BTreeSet<String> = families.iter().map(known_as).collect();
    let unknown: Vec<_> = named(DOCS).into_iter().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "docs: {unknown:?}");
    Ok(())
}

/// Who sees an alert or a graph has to find out what it is about.
#[test]
fn every_metric_is_on_the_dashboard() -> Result<()> {
    let text = exposition()?;
    for family in families(&text)? {
        let is_shown = family.sample_names().iter().any(|name| named(DASHBOARD).contains(name.as_str()));
        assert!(is_shown, "{}", family.name);
    }
    Ok(())
}

#[test]
fn panels_ask_the_data_source_that_is_chosen_and_lie_side_by_side() -> Result<()> {
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!((&variable["type"], &variable["query"]), (&"datasource".into(), &"prometheus".into()));
    let chosen = format!("${{{}}}", variable["name"].as_str().context("no name")?);
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().context("no panels")? {
        assert_eq!(panel["datasource"]["uid"], chosen, "{panel}");
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().context("no place");
        let (left, top) = (place("x")?, place("y")?);
        assert!(left + place("w")? <= 24, "{panel}");
        for x in left..left + place("w")? {
            for y in top..top + place("h")? {
                assert!(taken.insert((x, y)), "on top of another: {panel}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_alert_says_what_is_wrong_and_has_a_runbook() -> Result<()> {
    let manifest: Value = serde_saphyr::from_str(RULES)?;
    assert_eq!(manifest["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(manifest["kind"], "PrometheusRule");
    let headings: BTreeSet<String> =
        DOCS.lines().filter_map(|line| line.strip_prefix("### ")).map(anchor).collect();
    let mut linked = BTreeSet::new();
    let groups = manifest["spec"]["groups"].as_array().context("no groups")?;
    for rule in groups.iter().filter_map(|group| group["rules"].as_array()).flatten() {
        for path in [
            "/alert",
            "/expr",
            "/for",
            "/labels/severity",
            "/annotations/summary",
            "/annotations/description",
        ] {
            let text =
                rule.pointer(path).and_then(Value::as_str).with_context(|| format!("no {path}: {rule}"))?;
            assert!(!text.is_empty(), "{path}: {rule}");
        }
        let runbook = rule["annotations"]["runbook_url"].as_str().context("no runbook")?;
        let heading = runbook.strip_prefix(RUNBOOKS).with_context(|| format!("{runbook} is elsewhere"))?;
        assert!(headings.contains(heading), "docs/metrics.md has no heading #{heading}");
        assert_eq!(heading, anchor(rule["alert"].as_str().unwrap_or_default()));
        linked.insert(heading.to_owned());
    }
    assert_eq!(linked, headings, "each runbook is of an alert");
    Ok(())
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
