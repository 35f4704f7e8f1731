//! All that knocking at one door brought to light.

use super::{Baseline, Trick, Verdict};
use crate::facts::Host;
use std::fmt;

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It could not be found out.
    Unknown,
    /// Somebody should look at it.
    Catch,
    /// Somebody has to change something.
    Wrong,
}

/// One line for people. The first sentence says what was found, the others what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// A stable name in `CamelCase`, for logs.
    pub reason: &'static str,
    /// What was found, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is known of a door after the knocking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The host, as the app's Ingress spells it.
    pub host: Host,
    /// What a visitor meets.
    pub baseline: Baseline,
    /// Why the certificate was not accepted. The knocking went on without checking it: nothing that is sent is a secret, and
    /// test installations and addresses given by hand seldom have a certificate that holds.
    pub certificate: Option<String>,
    /// What came of each trick. Empty where there is nothing to get past: the app is open, or nobody answers.
    pub tricks: Vec<(Trick, Verdict)>,
    /// Whether a visitor met the same before the tricks and after them. Otherwise something changed meanwhile, or somebody
    /// began to refuse whoever knocks too often, and refusals mean little.
    pub is_steady: bool,
}

impl Report {
    /// Whether visitors come to the login and no trick leads past it.
    pub fn is_closed(&self) -> bool {
        let are_closed = self.tricks.iter().all(|(_, verdict)| verdict.grade() == Grade::Good);
        self.baseline.is_login() && self.is_steady && are_closed
    }

    /// What there is to say, the visitor's way first and then what is wrong.
    pub fn findings(&self) -> Vec<Finding> {
        let grade = if self.baseline.is_login() { Grade::Good } else { Grade::Wrong };
        let text = self.baseline.to_string();
        let baseline = Finding { grade, reason: self.baseline.reason(), text };
        let certificate = self.certificate.as_ref().map(|error| Finding {
            grade: Grade::Catch,
            reason: "BadCertificate",
            text: format!(
                "the certificate of {} is not accepted ({error}), so this may be about somebody else. Renew it (spec.tls of \
                 the Ingress names its Secret); where TLS ends in front of the ingress controller, knock without --through",
                self.host
            ),
        });
        let findings = [Some(baseline), certificate].into_iter().flatten();
        findings.chain(self.of_tricks()).chain(self.of_unsteadiness()).collect()
    }

    /// What is wrong with tricks, one by one; how many are not; how many could not be tried.
    fn of_tricks(&self) -> impl Iterator<Item = Finding> {
        let of_grade = |grade| self.tricks.iter().filter(move |(_, verdict)| verdict.grade() == grade);
        let wrong = of_grade(Grade::Wrong).chain(of_grade(Grade::Catch)).map(|(trick, verdict)| Finding {
            grade: verdict.grade(),
            reason: verdict.reason(),
            text: format!("{trick}: {verdict}. {}. {}", trick.why, trick.remedy),
        });
        let all = self.tricks.len();
        let summary = |grade, reason, text: &'static str| {
            let count = of_grade(grade).count();
            (count > 0).then(|| Finding { grade, reason, text: format!("{count} of {all} tricks {text}") })
        };
        let good = summary(Grade::Good, "TricksFail", "open nothing");
        let unknown = summary(
            Grade::Unknown,
            "TricksUnanswered",
            "got no answer, which may be a firewall's doing. Knock again from elsewhere",
        );
        wrong.chain(good).chain(unknown)
    }

    fn of_unsteadiness(&self) -> Option<Finding> {
        (!self.is_steady).then(|| Finding {
            grade: Grade::Unknown,
            reason: "Unsteady",
            text: "visitors met something else after the tricks than before, so refusals mean little. Knock again in a \
                   minute, and look whether something refuses those who knock too often"
                .to_owned(),
        })
    }
}
