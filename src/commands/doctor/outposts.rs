//! The outposts that apps can have, those that they have, and what these let strangers do.

use super::apps::Look;
use super::check::{Check, Level};
use super::lists::Lists;
use super::probes::{Answers, trouble_with};
use crate::contract::EMBEDDED_OUTPOST;
use crate::facts::{DiscoveredOutpost, ObjectKey};
use crate::index::Source;
use crate::plan::Dialect;
use crate::plan::outpost::Discovered;
use crate::plan::refusal::Refusal;
use crate::probe::Hole;
use std::collections::{BTreeMap, BTreeSet};

/// Judges all outposts, or only those of `looks`.
pub(super) fn check(lists: &Lists, looks: &[Look], answers: &Answers, only_used: bool) -> Vec<Check> {
    let settings = lists.index.settings();
    let discovered = discovered(lists);
    let default = discovered.resolve(None, settings).ok().map(|outpost| outpost.name);
    let given = settings.outposts.keys().cloned();
    let names: BTreeSet<String> =
        given.chain(lists.outposts.iter().map(|found| found.name.clone())).collect();
    let is_used = |name: &str| looks.iter().any(|look| look.outpost.as_deref() == Some(name));
    let mut checks = Vec::new();
    for name in names.iter().filter(|name| !only_used || is_used(name)) {
        let is_default = default.as_ref() == Some(name);
        checks.push(check_one(name, is_default, lists, looks, answers));
        checks.extend(holes(name, lists, looks, answers));
    }
    checks.extend(unknown(looks));
    if !only_used {
        checks.extend(traps(lists, &names));
    }
    checks
}

fn check_one(name: &str, is_default: bool, lists: &Lists, looks: &[Look], answers: &Answers) -> Check {
    let subject = format!("outpost {name}");
    let services: Vec<&DiscoveredOutpost> =
        lists.outposts.iter().filter(|found| found.name == name).collect();
    let place = match (lists.index.settings().outposts.get(name), services.as_slice()) {
        (Some(address), _) => format!("{address}, given by --outpost"),
        (None, [one]) => format!("Service {}, discovered", one.key),
        (None, several) => {
            let services = several.iter().map(|found| found.key.to_string()).collect();
            let refusal = Refusal::AmbiguousOutpost { name: name.to_owned(), services };
            return Check::wrong(subject, refusal.to_string());
        }
    };
    if let Some(trouble) = trouble_with(name, answers) {
        return trouble;
    }
    let default = if is_default { ", the default" } else { "" };
    let way = answers.iter().find(|(target, _)| target.outpost.name == name).map(|(_, asked)| asked.way);
    let apps = looks.iter().filter(|look| look.outpost.as_deref() == Some(name)).count();
    let use_of_it = match (way, apps) {
        (Some(way), _) => format!("it answers ({way})"),
        (None, 0) => "no app uses it".to_owned(),
        (None, _) => "no app that uses it is protected by it".to_owned(),
    };
    Check::good(subject, format!("{place}{default}; {use_of_it}"))
}

/// What the outpost lets strangers do, with the apps that this concerns.
fn holes(name: &str, lists: &Lists, looks: &[Look], answers: &Answers) -> Vec<Check> {
    let of_outpost = answers.iter().filter(|(target, _)| target.outpost.name == name);
    let found: BTreeSet<Hole> =
        of_outpost.filter_map(|(_, asked)| asked.outcome.as_ref().ok()?.holes.clone()).flatten().collect();
    let subject = || format!("outpost {name}");
    let exposed = exposed(name, lists, looks);
    let raw = |hole: Hole| {
        let mut check = Check::explained(Level::Catch, subject(), &hole.to_string());
        check.finding = format!("{}. Apps behind ingress-nginx: {}", check.finding, exposed.as_ref()?);
        Some(check)
    };
    let check = |hole: Hole| match hole {
        Hole::OriginalUri => Some(Check::catch(subject(), hole.to_string())),
        Hole::RawPaths => raw(hole),
    };
    found.into_iter().filter_map(check).collect()
}

/// The apps of the outpost `name` to which ingress-nginx lets raw requests through, in words; `None` without any.
fn exposed(name: &str, lists: &Lists, looks: &[Look]) -> Option<String> {
    let is_exposed = |look: &&Look| {
        look.outpost.as_deref() == Some(name) && look.dialect == Some(Dialect::Nginx) && look.is_protected
    };
    let mut apps: Vec<&Look> = looks.iter().filter(is_exposed).collect();
    if apps.is_empty() || lists.index.settings().nginx_rejects_dot_segments {
        return None;
    }
    apps.sort_by_key(|look| (!look.has_rewrite, look.key.clone()));
    let in_words = |look: &&Look| {
        let rewrite = if look.has_rewrite { " (with rewrite-target)" } else { "" };
        format!("{}{rewrite}", look.key)
    };
    Some(apps.iter().map(in_words).collect::<Vec<_>>().join(", "))
}

/// Names that apps use and nobody knows.
fn unknown(looks: &[Look]) -> Vec<Check> {
    let mut names: BTreeMap<&str, Vec<&ObjectKey>> = BTreeMap::new();
    for look in looks {
        if let Some(name) = &look.unknown_outpost {
            names.entry(name).or_default().push(&look.key);
        }
    }
    let check = |(name, apps): (&str, Vec<&ObjectKey>)| {
        let apps = apps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Check::wrong(format!("outpost {name}"), format!("it is not known, and apps name it: {apps}"))
            .remedy(format!("correct the name there, or give the outpost with --outpost {name}=URL"))
    };
    names.into_iter().map(check).collect()
}

/// What is wrong with the outposts as a whole.
fn traps(lists: &Lists, names: &BTreeSet<String>) -> Vec<Check> {
    let settings = lists.index.settings();
    let is_complete = lists.index.has_complete(Source::Outposts);
    let mut checks = Vec::new();
    if let Some(default) =
        settings.default_outpost.as_ref().filter(|name| is_complete && !names.contains(*name))
    {
        let finding = format!("--default-outpost {default} is not known");
        checks
            .push(Check::wrong("outposts", finding).remedy(format!("give it with --outpost {default}=URL")));
    }
    if is_complete && names.is_empty() {
        checks.push(Check::wrong("outposts", Refusal::NoOutpost.to_string()));
    }
    if names.iter().eq([EMBEDDED_OUTPOST])
        && settings.outposts.is_empty()
        && settings.default_outpost.is_none()
    {
        let finding = "authentik's embedded one is the only one, and no app gets it that does not name it: it answers \
                       404 for apps that it was not given";
        checks.push(Check::catch("outposts", finding).remedy(
            "in authentik, create a proxy outpost under Applications > Outposts, with its Kubernetes integration",
        ));
    }
    for (service, error) in &lists.no_outposts {
        let finding = format!("Service {service} has the labels of an outpost and is none: {error}");
        checks.push(Check::catch("outposts", finding));
    }
    checks
}

fn discovered(lists: &Lists) -> Discovered {
    let services = lists.outposts.iter().map(|found| (found.key.clone(), found.clone())).collect();
    Discovered { services, complete: lists.index.has_complete(Source::Outposts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::probes::{Asked, Way};
    use crate::config::Settings;
    use crate::facts::{Host, Identity};
    use crate::probe::{Conclusion, Findings, Target};

    fn discovered(name: &str, namespace: &str) -> DiscoveredOutpost {
        DiscoveredOutpost {
            key: ObjectKey::new(namespace, format!("ak-outpost-{name}")),
            identity: Identity::new("", ""),
            name: name.to_owned(),
            port: 9000,
            https: false,
        }
    }

    fn lists(settings: Settings, outposts: &[DiscoveredOutpost]) -> Lists {
        let mut lists = Lists::new(settings);
        lists.outposts = outposts.to_vec();
        lists.index.complete(Source::Outposts);
        lists
    }

    fn lines(checks: &[Check]) -> Vec<(Level, &str, &str)> {
        checks.iter().map(|check| (check.level, check.subject.as_str(), check.finding.as_str())).collect()
    }

    #[test]
    fn given_and_discovered_ones_and_the_default() {
        let mut settings = Settings::default();
        settings.outposts.insert("far".to_owned(), "http://sso.example.com:9000".parse().unwrap());
        let lists = lists(settings, &[discovered("near", "authentik")]);
        let far = "http://sso.example.com:9000, given by --outpost, the default; no app uses it";
        let near = "Service authentik/ak-outpost-near, discovered; no app uses it";
        let checks = check(&lists, &[], &Answers::new(), false);
        let expected = [(Level::Good, "outpost far", far), (Level::Good, "outpost near", near)];
        assert_eq!(lines(&checks), expected);
        assert_eq!(check(&lists, &[], &Answers::new(), true), []);
    }

    #[test]
    fn traps() {
        let checks = |settings: Settings, outposts: &[DiscoveredOutpost]| {
            check(&lists(settings, outposts), &[], &Answers::new(), false)
        };
        let level_and_part = |checks: &[Check], level: Level, part: &str| {
            let found = checks.iter().any(|check| check.level == level && check.finding.contains(part));
            assert!(found, "no {part:?} in {checks:#?}");
        };
        let plain = Settings::default;
        level_and_part(&checks(plain(), &[]), Level::Wrong, "no outpost is known");
        let embedded = [discovered(EMBEDDED_OUTPOST, "authentik")];
        level_and_part(&checks(plain(), &embedded), Level::Catch, "embedded one is the only one");
        let twice = [discovered("proxy", "a"), discovered("proxy", "b")];
        level_and_part(&checks(plain(), &twice), Level::Wrong, "more than once (a/ak-outpost-proxy, b/");
        let default = Settings { default_outpost: Some("gone".to_owned()), ..plain() };
        level_and_part(&checks(default, &twice), Level::Wrong, "--default-outpost gone is not known");
        let mut lists = lists(plain(), &[discovered("proxy", "a")]);
        lists.no_outposts.push((ObjectKey::new("a", "odd"), crate::facts::NotAnOutpost::NoPort));
        let found = check(&lists, &[], &Answers::new(), false);
        level_and_part(&found, Level::Catch, "Service a/odd has the labels of an outpost and is none");
    }

    #[test]
    fn holes_are_told_with_the_apps_they_are_open_in() {
        let look = |name: &str, dialect, has_rewrite| {
            let mut look = Look::new(ObjectKey::new("shop", name), Some(dialect), has_rewrite);
            look.outpost = Some("proxy".to_owned());
            look.is_protected = true;
            look
        };
        let looks = [
            look("a", Dialect::Nginx, false),
            look("b", Dialect::Nginx, true),
            look("c", Dialect::Traefik, false),
        ];
        let known = discovered("proxy", "sso");
        let resolve = |lists: &Lists| super::discovered(lists).resolve(None, lists.index.settings()).unwrap();
        let checks = |settings: Settings, looks: &[Look]| {
            let lists = lists(settings, std::slice::from_ref(&known));
            let target = Target {
                outpost: resolve(&lists),
                host: Host::parse("a.example.com").unwrap(),
                scheme: crate::config::Scheme::Https,
                passes_raw_host: false,
            };
            let findings = Findings {
                conclusion: Conclusion::Served,
                is_reached: true,
                holes: Some(Hole::ALL.to_vec()),
            };
            let asked = Asked { way: Way::Direct, outcome: Ok(findings) };
            check(&lists, looks, &[(target, asked)].into(), false)
        };
        let found = checks(Settings::default(), &looks);
        let [answers, raw, uri] = found.as_slice() else { panic!("{found:#?}") };
        assert!(answers.finding.ends_with("it answers (asked directly)"), "{answers:?}");
        let apps = "Apps behind ingress-nginx: shop/b (with rewrite-target), shop/a";
        assert!(raw.level == Level::Catch && raw.finding.ends_with(apps), "{raw:?}");
        assert!(raw.remedy.as_ref().is_some_and(|text| text.contains("server-snippet")), "{raw:?}");
        assert!(uri.finding.contains("GHSA-5wcc-hf24-rf5h"), "{uri:?}");
        let closed = Settings { nginx_rejects_dot_segments: true, ..Settings::default() };
        assert_eq!(checks(closed, &looks).len(), 2);
        assert_eq!(checks(Settings::default(), &looks[2..]).len(), 2);
    }
}
