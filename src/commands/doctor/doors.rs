//! Knocks at the doors of apps: their public addresses.

use super::apps::Look;
use super::check::{Check, Level};
use crate::config::Scheme;
use crate::facts::Host;
use crate::index::Index;
use crate::knock::{Door, Finding, Grade, Through, knock};
use crate::probe::Trust;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;

/// How many doors are knocked at, one knock after the other at each.
const AT_ONCE: usize = 4;

/// How many doors are knocked at in one go: each takes up to [`crate::knock::MAX_KNOCKS`] requests.
const MAX_DOORS: usize = 50;

/// Knocks at the doors of all hosts of the apps in `looks`, which the caller has read as Ingresses that ask for protection, and of
/// nobody else's. They are where DNS leads to, or all behind `through`.
pub(super) async fn knock_at(
    looks: &[Look],
    index: &Index,
    through: Option<&Through>,
    trust: &Trust,
) -> Vec<Check> {
    let hosts = hosts(looks, index);
    let left_out = hosts.len().saturating_sub(MAX_DOORS);
    let doors = hosts.into_iter().take(MAX_DOORS).map(|(host, scheme)| match through {
        Some(through) => Door::through(host, through),
        None => Door::new(host, scheme),
    });
    let reports = stream::iter(doors).map(|door| async move { knock(&door, trust).await }).buffered(AT_ONCE);
    let reports: Vec<_> = reports.collect().await;
    let mut checks: Vec<Check> = reports
        .iter()
        .flat_map(|report| report.findings().into_iter().map(|finding| check(&report.host, &finding)))
        .collect();
    if left_out > 0 {
        let reason = format!("{left_out} more hosts, since each door takes many requests");
        checks.push(
            Check::unchecked("doors", reason).remedy("ingress-sso doctor INGRESS -n NAMESPACE --through"),
        );
    }
    checks
}

/// The hosts of the apps, each once, with what browsers speak there.
fn hosts(looks: &[Look], index: &Index) -> BTreeMap<Host, Scheme> {
    let mut hosts = BTreeMap::new();
    for look in looks {
        let ingress = index.view(&look.key).ingress;
        let all = ingress.into_iter().flat_map(|ingress| ingress.hosts.iter());
        hosts.extend(all.map(|host| (host.clone(), Scheme::Https)));
        hosts.extend(look.targets.iter().map(|target| (target.host.clone(), target.scheme)));
    }
    hosts
}

fn check(host: &Host, finding: &Finding) -> Check {
    let level = match finding.grade {
        Grade::Good => Level::Good,
        Grade::Unknown => Level::Unchecked,
        Grade::Catch => Level::Catch,
        Grade::Wrong => Level::Wrong,
    };
    Check::explained(level, format!("door {host}"), &finding.text)
}
