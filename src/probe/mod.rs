//! Asks an outpost, as a stranger would, whether it serves a host, and concludes in one sentence what is missing.
//!
//! [`ask`] puts the questions over a [`Line`] to the outpost: [`Direct`], or one that leads through something else. Nothing
//! that could log anyone in is ever sent: no cookie, no token, and redirects are read and not followed.

mod ask;
mod conclusion;
mod direct;
mod trust;

pub use ask::ask;
pub use conclusion::{Conclusion, Hole};
pub use direct::Direct;
pub use trust::{Trust, TrustError};

pub use crate::anonymous::{MAX_BODY, TIMEOUT, Trouble};

use crate::config::{Scheme, Settings};
use crate::facts::Host;
use crate::plan::outpost::Outpost;
use crate::plan::request::Request;

/// A host that an outpost is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Who is asked.
    pub outpost: Outpost,
    /// The host, as the app's Ingress spells it.
    pub host: Host,
    /// What browsers speak to reach it.
    pub scheme: Scheme,
    /// Whether the outpost is asked about the header `Host` as clients send it.
    pub passes_raw_host: bool,
}

impl Target {
    /// The hosts of `request`.
    pub fn of(request: &Request, settings: &Settings) -> Vec<Self> {
        let target = |host: &Host| Self {
            outpost: request.outpost.clone(),
            host: host.clone(),
            scheme: request.scheme,
            passes_raw_host: request.passes_raw_host(settings),
        };
        request.hosts.iter().map(target).collect()
    }

    /// The host in the questions: of a wildcard, one of the names that it stands for.
    fn asked_host(&self) -> String {
        match self.host.as_str().strip_prefix("*.") {
            Some(domain) => format!("ingress-sso-probe.{domain}"),
            None => self.host.to_string(),
        }
    }

    /// A URL of the host, as a visitor would ask for it; `path` is empty or what follows the host there.
    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.asked_host())
    }
}

/// One request: GET, without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The host it is for, to be sent as `Host` where the line can choose it.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Headers besides.
    pub headers: Vec<(&'static str, String)>,
}

/// As much of an answer as conclusions are drawn from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The header `Location`.
    pub location: Option<String>,
    /// The beginning of the body, at most [`MAX_BODY`] bytes.
    pub body: String,
}

/// A way on which questions get to an outpost.
pub trait Line {
    /// Asks, and waits for the answer for [`TIMEOUT`] at most.
    fn get(&mut self, question: &Question) -> impl Future<Output = Result<Answer, Trouble>> + Send;
}

/// What asking about a host brought to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Whether the host is served.
    pub conclusion: Conclusion,
    /// Whether the outpost can be talked to at all, whatever the host.
    pub is_reached: bool,
    /// What the outpost lets strangers do; `None` where it was not asked, since the host is not served.
    pub holes: Option<Vec<Hole>>,
}
