//! What outposts answer to the probe, and what it concludes from that: a message that an annotation can hold. Each line of the
//! input is an answer: its status, where it leads, and its body, with tabs in between.

use crate::message::unfit;
use futures::FutureExt;
use ingress_sso::config::{ClusterDomain, Scheme};
use ingress_sso::facts::Host;
use ingress_sso::plan::outpost::Outpost;
use ingress_sso::probe::{Answer, Line, Question, Target, Trouble, ask};

/// Gives one answer after the other, whatever is asked.
struct Answers<'a> {
    rest: std::str::Lines<'a>,
    given: usize,
}

impl Line for Answers<'_> {
    async fn get(&mut self, _question: &Question) -> Result<Answer, Trouble> {
        let mut parts = self.rest.next().ok_or(Trouble::TimedOut)?.splitn(3, '\t');
        self.given += 1;
        let status = parts.next().and_then(|status| status.parse().ok()).unwrap_or(204);
        let location = parts.next().filter(|location| !location.is_empty()).map(str::to_owned);
        Ok(Answer { status, location, body: parts.next().unwrap_or_default().to_owned() })
    }
}

/// Asks an outpost that gives the answers in `text`. The answer is how many it was asked for; the error, what is wrong with the
/// conclusion.
pub(crate) fn examine(text: &str) -> Result<usize, String> {
    let url = "http://ak-outpost-alpha.authentik.svc.cluster.local:9000";
    let address = url.parse().expect("the URL of an outpost");
    let target = Target {
        outpost: Outpost { name: "alpha".to_owned(), address },
        host: Host::parse("a.example.com").expect("a host"),
        scheme: Scheme::Https,
        passes_raw_host: true,
    };
    let mut answers = Answers { rest: text.lines(), given: 0 };
    let findings = ask(&mut answers, &target, &ClusterDomain::default()).now_or_never();
    let findings = findings.expect("conclusions at once, from answers at once");
    unfit(&findings.conclusion.to_string()).map_or(Ok(answers.given), Err)
}
