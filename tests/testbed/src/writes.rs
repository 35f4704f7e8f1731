//! What was written, counted by the API server and not by those who write.
//!
//! The API server counts every request that it has answered in the metric `apiserver_request_total`. The
//! difference of two [`Writes`] is what all clients wrote in between; tests tell their own by the resource.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    ops::Sub,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::time::{Instant, sleep};

use crate::metrics::{Sample, samples};

/// Verbs that change something, as they are called in the metric: a server-side apply is a PATCH request and counts as
/// `APPLY`, all other patches as `PATCH`.
const VERBS: [&str; 6] = ["APPLY", "DELETE", "DELETECOLLECTION", "PATCH", "POST", "PUT"];

/// One kind of write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// The plural name without its group, with a subresource if there is one: `ingresses`, `ingresses/status`.
    pub resource: String,
    /// `POST`, `PUT`, `PATCH`, `APPLY`, `DELETE` or `DELETECOLLECTION`.
    pub verb: String,
    /// HTTP status of the answer. Writes that were refused count too.
    pub code: u16,
}

/// How many writes of each kind there were. Dry runs write nothing and are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes(BTreeMap<Write, u64>);

impl Writes {
    /// Reads the counts since the start of the API server.
    ///
    /// The server counts a request just after it has sent the answer, so the last one may be missing: see
    /// [`Writes::settled`]. Fails when the metrics cannot be read.
    pub async fn read(client: &Client) -> Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let metrics = client.request_text(request).await.context("read the metrics of the API server")?;
        Self::parse(&metrics)
    }

    /// Reads the counts for `resources` once they have not changed for `quiet`; of all others too, if
    /// `resources` is empty.
    ///
    /// Fails when the metrics cannot be read, and when there is no quiet within a minute.
    pub async fn settled(client: &Client, resources: &[&str], quiet: Duration) -> Result<Self> {
        let start = Instant::now();
        let mut last = Self::read(client).await?.of(resources);
        let mut since = Instant::now();
        while since.elapsed() < quiet {
            sleep(Duration::from_millis(20)).await;
            let now = Self::read(client).await?.of(resources);
            if now != last {
                if start.elapsed() > Duration::from_mins(1) {
                    bail!("the writes do not settle, the last were:\n{}", &now - &last);
                }
                last = now;
                since = Instant::now();
            }
        }
        Ok(last)
    }

    /// Only the writes of these resources, named as in [`Write::resource`]; of all if there are none.
    #[must_use]
    pub fn of(&self, resources: &[&str]) -> Self {
        let wanted = |write: &Write| resources.is_empty() || resources.contains(&write.resource.as_str());
        Self(self.0.iter().filter(|(write, _)| wanted(write)).map(|(write, &n)| (write.clone(), n)).collect())
    }

    /// The number of writes of a resource by a verb, whatever the answer was.
    pub fn count(&self, verb: &str, resource: &str) -> u64 {
        self.iter()
            .filter(|(write, _)| write.verb == verb && write.resource == resource)
            .map(|(_, n)| n)
            .sum()
    }

    /// The number of all writes.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// All kinds of write that occurred, sorted, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&Write, u64)> {
        self.0.iter().map(|(write, &n)| (write, n))
    }

    fn parse(metrics: &str) -> Result<Self> {
        let mut writes = Self::default();
        for sample in samples(metrics, "apiserver_request_total") {
            let parsed = parse_sample(&sample).with_context(|| format!("read the metric {sample:?}"))?;
            if let Some((write, n)) = parsed {
                // Of several groups and versions.
                *writes.0.entry(write).or_default() += n;
            }
        }
        Ok(writes)
    }
}

/// Reads a write and its number; `None` if it is none.
fn parse_sample(sample: &Sample<'_>) -> Result<Option<(Write, u64)>> {
    let verb = sample.label("verb");
    if !VERBS.contains(&verb) || !sample.label("dry_run").is_empty() {
        return Ok(None);
    }
    let resource = match sample.label("subresource") {
        "" => sample.label("resource").to_owned(),
        subresource => format!("{}/{subresource}", sample.label("resource")),
    };
    let code = sample.label("code").parse().context("its code is no number")?;
    let number = sample.value.parse().context("its value")?;
    Ok(Some((Write { resource, verb: verb.to_owned(), code }, number)))
}

impl Sub for &Writes {
    type Output = Writes;

    /// What was written since `earlier`. Meaningless if the API server was restarted in between, since it
    /// then counts from zero.
    fn sub(self, earlier: &Writes) -> Writes {
        let since = |write: &Write, n: u64| n.saturating_sub(earlier.0.get(write).copied().unwrap_or(0));
        Writes(
            self.iter().map(|(write, n)| (write.clone(), since(write, n))).filter(|&(_, n)| n > 0).collect(),
        )
    }
}

impl Display for Writes {
    /// A table with a line for each kind of write.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("no writes\n");
        }
        for (Write { resource, verb, code }, n) in self.iter() {
            writeln!(formatter, "{n:>8}  {verb:<16} {code}  {resource}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(applied: &str) -> Writes {
        let text = format!(
            r#"# TYPE apiserver_request_total counter
apiserver_request_total{{code="200",component="apiserver",dry_run="",group="networking.k8s.io",resource="ingresses",scope="resource",subresource="",verb="APPLY",version="v1"}} {applied}
apiserver_request_total{{code="200",component="apiserver",dry_run="All",group="networking.k8s.io",resource="ingresses",scope="resource",subresource="",verb="APPLY",version="v1"}} 7
apiserver_request_total{{code="200",component="apiserver",dry_run="",group="",resource="services",scope="cluster",subresource="",verb="LIST",version="v1"}} 9
apiserver_request_total{{code="201",component="apiserver",dry_run="",group="",resource="events",scope="resource",subresource="",verb="POST",version="v1"}} 2
apiserver_request_total{{code="201",component="apiserver",dry_run="",group="events.k8s.io",resource="events",scope="resource",subresource="",verb="POST",version="v1"}} 1
apiserver_request_total{{code="409",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PUT",version="v1"}} 1
apiserver_request_terminations_total{{verb="POST"}} 3
"#
        );
        Writes::parse(&text).unwrap()
    }

    #[test]
    fn counts_writes_and_nothing_else() {
        let writes = metrics("4");
        assert_eq!(writes.count("APPLY", "ingresses"), 4);
        assert_eq!(writes.count("POST", "events"), 3, "of both groups");
        assert_eq!(writes.count("PUT", "services/status"), 1);
        assert_eq!(writes.total(), 8);
        assert_eq!(writes.of(&["ingresses"]).total(), 4);
    }

    #[test]
    fn difference_has_only_what_changed() {
        let since = &metrics("6") - &metrics("4");
        assert_eq!(since.to_string(), "       2  APPLY            200  ingresses\n");
        assert_eq!((&metrics("4") - &metrics("4")).to_string(), "no writes\n");
    }
}
