//! The troubleshooting page explains each reason that the program can give, and no other.

#![expect(clippy::expect_used, clippy::panic, reason = "a page of another form should end the test")]

use ingress_sso::plan::refusal::Refusal;
use ingress_sso::plan::status::{ASKING, WAITING, WRITE_FAILED};
use ingress_sso::plan::warning::Warning;
use ingress_sso::probe::{Conclusion, Hole};
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../docs/troubleshooting.md");

/// The reasons explained in a chapter, each with what is said of it.
fn explained(chapter: &str) -> Vec<(&str, Vec<&str>)> {
    let (_, rest) = PAGE.split_once(&format!("\n## {chapter}\n")).unwrap_or_else(|| panic!("no {chapter:?}"));
    let text = rest.split("\n## ").next().unwrap_or_default();
    let sections = text.split("\n### ").skip(1);
    let parse = |section: &'static str| {
        let (heading, body) = section.split_once('\n').expect("a heading with text below it");
        let reason = heading.trim().strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let points = body.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(':'));
        (reason.unwrap_or_else(|| panic!("{heading:?} is no reason")), points.map(|(name, _)| name).collect())
    };
    sections.map(parse).collect()
}

fn explains(chapter: &str, reasons: impl IntoIterator<Item = &'static str>) {
    let explained = explained(chapter);
    let names: Vec<&str> = explained.iter().map(|(reason, _)| *reason).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct, reasons.into_iter().collect(), "{chapter}");
    assert_eq!(names.len(), distinct.len(), "{chapter} explains a reason twice");
    for (reason, points) in explained {
        assert_eq!(points, ["Cause", "Check", "Cure"], "{reason}");
    }
}

#[test]
fn every_conclusion_of_the_probe_is_explained() {
    explains(
        "The outpost does not serve the app",
        Conclusion::REASONS.into_iter().filter(|reason| *reason != Conclusion::Served.reason()),
    );
    explains("Holes of an outpost", Hole::ALL.map(Hole::reason));
}

#[test]
fn every_refusal_is_explained() {
    explains("The app is refused", Refusal::REASONS);
}

#[test]
fn every_warning_is_explained() {
    explains("The app is protected, with a catch", Warning::REASONS);
}

#[test]
fn every_other_state_is_explained() {
    explains("Other states", [WAITING, ASKING, WRITE_FAILED]);
}

/// The traps that made people look for a page like this one come first.
#[test]
fn the_known_traps_come_first() {
    let (_, first) = PAGE.split_once("\n## ").expect("a chapter");
    assert!(first.starts_with("The traps of setting it up by hand\n"));
    let traps = first.split("\n## ").next().unwrap_or_default();
    assert!(traps.lines().filter(|line| line.contains(". **")).count() >= 5, "{traps}");
}

/// As GitHub makes them of headings.
#[test]
fn links_within_the_page_lead_somewhere() {
    let mut anchors = BTreeSet::new();
    for heading in PAGE.lines().filter(|line| line.starts_with('#')) {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let repeated = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(repeated).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    for link in PAGE.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(anchors.contains(link), "#{link}");
    }
}
