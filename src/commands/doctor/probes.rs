//! Asks outposts about the hosts of apps, on the way that there is.

use super::check::{Check, Level};
use super::rights::is_inside;
use super::through::{FROM_INSIDE, Through, service_of};
use crate::config::ClusterDomain;
use crate::probe::{Conclusion, Direct, Findings, Target, Trust, ask};
use futures::{StreamExt, stream};
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// How many hosts are asked about at once.
const AT_ONCE: usize = 8;

/// How an outpost was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Direct,
    ApiServer,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "asked directly",
            Self::ApiServer => "asked through the API server",
        })
    }
}

/// What came of asking about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) way: Way,
    /// What the outpost says of the host; what is wrong with the outpost, or with the way to it, where it says nothing.
    pub(super) outcome: Result<Findings, Check>,
}

/// All answers, by what was asked.
pub(super) type Answers = BTreeMap<Target, Asked>;

/// Asks about every target.
pub(super) async fn ask_all(
    client: &Client,
    targets: BTreeSet<Target>,
    cluster_domain: &ClusterDomain,
    trust: &Arc<Trust>,
) -> Answers {
    stream::iter(targets)
        .map(|target| {
            let trust = Arc::clone(trust);
            async move {
                let asked = ask_one(client, &target, cluster_domain, trust).await;
                (target, asked)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn ask_one(
    client: &Client,
    target: &Target,
    cluster_domain: &ClusterDomain,
    trust: Arc<Trust>,
) -> Asked {
    let address = &target.outpost.address;
    let mut direct = Direct::new(address.clone(), trust);
    let findings = ask(&mut direct, target, cluster_domain).await;
    // Outside, a name of the cluster may resolve to an address that leads nowhere from here.
    let is_out_of_reach = match findings.conclusion {
        Conclusion::Unresolved { .. } => true,
        Conclusion::TimedOut { .. } => !is_inside(),
        _ => false,
    };
    let service = service_of(address, cluster_domain).filter(|_| is_out_of_reach);
    let Some(service) = service else {
        return Asked { way: Way::Direct, outcome: of_outpost(target, findings, Way::Direct) };
    };
    let way = Way::ApiServer;
    let mut through = Through::new(client.clone(), service.clone(), address.clone());
    let findings = ask(&mut through, target, cluster_domain).await;
    let outcome = match through.obstacle {
        Some(obstacle) => Err(obstacle.check(&target.outpost.name, &service)),
        None => of_outpost(target, findings, way),
    };
    Asked { way, outcome }
}

/// Findings about the host; a check where they are about the outpost.
fn of_outpost(target: &Target, findings: Findings, way: Way) -> Result<Findings, Check> {
    let conclusion = &findings.conclusion;
    if findings.is_reached {
        return Ok(findings);
    }
    let subject = format!("outpost {}", target.outpost.name);
    if matches!(conclusion, Conclusion::Unresolved { .. }) && !is_inside() {
        let host = &target.outpost.address.host;
        let reason = format!("its name {host} does not resolve here, and it is no Service of the cluster");
        return Err(Check::unchecked(subject, reason).remedy(FROM_INSIDE));
    }
    let mut check = Check::explained(Level::Wrong, subject, &conclusion.to_string());
    check.finding = format!("{} ({way})", check.finding);
    Err(check)
}

/// What is wrong with the outpost `name` itself, or with the way to it: the worst that was met. `None` where it answered.
pub(super) fn trouble_with(name: &str, answers: &Answers) -> Option<Check> {
    let of_outpost = answers.iter().filter(|(target, _)| target.outpost.name == name);
    of_outpost.filter_map(|(_, asked)| asked.outcome.as_ref().err()).max_by_key(|check| check.level).cloned()
}
