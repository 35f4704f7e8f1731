//! What outposts answer to the probe, and what it concludes from that: a message that an annotation can hold. Each line of the
//! input is an answer: its status, where it leads, and its body, with tabs in between.

#![no_main]

use futures::executor::block_on;
use ingress_sso::config::{ClusterDomain, Scheme};
use ingress_sso::facts::Host;
use ingress_sso::plan::outpost::Outpost;
use ingress_sso::probe::{Answer, Line, Question, Target, Trouble, ask};
use libfuzzer_sys::fuzz_target;

/// The longest message.
const MAX_MESSAGE: usize = 4 * 1024;

/// Gives one answer after the other, whatever is asked.
struct Answers<'a>(std::str::Lines<'a>);

impl Line for Answers<'_> {
    async fn get(&mut self, _question: &Question) -> Result<Answer, Trouble> {
        let mut parts = self.0.next().ok_or(Trouble::TimedOut)?.splitn(3, '\t');
        let status = parts.next().and_then(|status| status.parse().ok()).unwrap_or(204);
        let location = parts.next().filter(|location| !location.is_empty()).map(str::to_owned);
        Ok(Answer { status, location, body: parts.next().unwrap_or_default().to_owned() })
    }
}

fuzz_target!(|text: &str| {
    let url = "http://ak-outpost-alpha.authentik.svc.cluster.local:9000";
    let address = url.parse().expect("the URL of an outpost");
    let target = Target {
        outpost: Outpost { name: "alpha".to_owned(), address },
        host: Host::parse("a.example.com").expect("a host"),
        scheme: Scheme::Https,
    };
    let findings = block_on(ask(&mut Answers(text.lines()), &target, &ClusterDomain::default()));
    let message = findings.conclusion.to_string();
    let is_fit = message.len() <= MAX_MESSAGE && !message.contains(char::is_control);
    assert!(is_fit, "{message}");
});
