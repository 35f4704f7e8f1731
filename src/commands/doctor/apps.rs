//! What the controller makes of each app, against what is there and what the app's status says.

use super::check::{Check, Level};
use super::lists::Lists;
use super::probes::Answers;
use super::remedies;
use crate::facts::{AppFacts, IngressFacts, ObjectKey};
use crate::index::{Index, Key};
use crate::plan::changes::{AppPlan, Change, app_plan};
use crate::plan::refusal::Refusal;
use crate::plan::status::State;
use crate::plan::waiting::Waiting;
use crate::plan::warning::Warning;
use crate::plan::{Decision, Dialect, decide};
use crate::probe::{Conclusion, Target};
use std::collections::BTreeSet;
use std::fmt::Write;

const REWRITE_TARGET: &str = "nginx.ingress.kubernetes.io/rewrite-target";

/// Apps that are good are named as long as there are no more.
const MANY: usize = 10;

/// One app, before its outpost is asked.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) key: ObjectKey,
    pub(super) class: Option<String>,
    pub(super) dialect: Option<Dialect>,
    /// The outpost that guards it, or is to.
    pub(super) outpost: Option<String>,
    /// The outpost that it names and that there is not.
    pub(super) unknown_outpost: Option<String>,
    /// Whether its paths are rewritten.
    pub(super) has_rewrite: bool,
    /// Whether anything of ours stands between visitors and the app.
    pub(super) is_protected: bool,
    /// What to ask the outpost.
    pub(super) targets: Vec<Target>,
    /// What the controller would still do.
    changes: Vec<String>,
    checks: Vec<Check>,
}

#[cfg(test)]
impl Look {
    /// One of an app about which there is nothing to say.
    pub(super) fn new(key: ObjectKey, dialect: Option<Dialect>, has_rewrite: bool) -> Self {
        Self {
            key,
            dialect,
            has_rewrite,
            class: None,
            outpost: None,
            unknown_outpost: None,
            is_protected: false,
            targets: Vec::new(),
            changes: Vec::new(),
            checks: Vec::new(),
        }
    }
}

/// Looks at the apps that pass `is_meant`. `logs` says how to read the controller's log.
pub(super) fn look_at_all(
    lists: &Lists,
    is_meant: impl Fn(&ObjectKey) -> bool,
    logs: Option<&str>,
) -> Vec<Look> {
    let apps: BTreeSet<ObjectKey> = lists
        .index
        .all_keys()
        .into_iter()
        .filter_map(|key| match key {
            Key::App(app) => Some(app).filter(&is_meant),
            _ => None,
        })
        .collect();
    apps.iter().filter_map(|app| look_at(lists, app, logs)).collect()
}

fn look_at(lists: &Lists, app: &ObjectKey, logs: Option<&str>) -> Option<Look> {
    let index = &lists.index;
    let (settings, view) = (index.settings(), index.view(app));
    let keys = &settings.keys;
    let decision = decide(&view, settings);
    let mut plan = app_plan(&view, &decision, keys, false);
    if !lists.can_compare() {
        plan.stages.clear();
    }
    let changes: Vec<String> = plan.stages.iter().flatten().map(ToString::to_string).collect();
    let ingress = view.ingress.filter(|ingress| ingress.app().is_some());
    if matches!(decision, Decision::Leave | Decision::Unprotect) && changes.is_empty() {
        return None;
    }
    let facts = ingress.and_then(IngressFacts::app);
    let is_protected = ingress.is_some_and(|ingress| ingress.is_protected(keys));
    let teller = Teller {
        index,
        app,
        facts,
        is_protected,
        changes: &changes,
        logs,
        sees_all_services: lists.sees_all_services(),
    };
    let mut checks = vec![teller.of_decision(&decision, lists.can_compare())];
    checks.extend(warnings(index, app, &decision, &plan));
    let request = view.request.and_then(|request| request.as_ref().ok());
    let class = ingress.and_then(|ingress| ingress.class.name()).map(str::to_owned);
    Some(Look {
        dialect: class.as_ref().and_then(|class| index.dialect_of(&ObjectKey::new("", class.as_str()))),
        class,
        outpost: request.map(|request| request.outpost.name.clone()),
        unknown_outpost: match &decision {
            Decision::Refuse(Refusal::UnknownOutpost { name, .. }) => Some(name.clone()),
            _ => None,
        },
        has_rewrite: facts.is_some_and(|facts| facts.annotation(REWRITE_TARGET).is_some()),
        is_protected,
        targets: request
            .filter(|_| is_to_be_protected(&decision))
            .map(|request| Target::of(request, settings))
            .unwrap_or_default(),
        changes,
        checks,
        key: app.clone(),
    })
}

fn is_to_be_protected(decision: &Decision) -> bool {
    matches!(decision, Decision::Protect(_) | Decision::Wait { protection: Some(_), .. })
}

/// Puts into words what becomes of one app.
struct Teller<'a> {
    index: &'a Index,
    app: &'a ObjectKey,
    facts: Option<&'a AppFacts>,
    is_protected: bool,
    changes: &'a [String],
    logs: Option<&'a str>,
    /// See [`Lists::sees_all_services`].
    sees_all_services: bool,
}

impl Teller<'_> {
    fn subject(&self) -> String {
        format!("Ingress {}", self.app)
    }

    fn of_decision(&self, decision: &Decision, can_compare: bool) -> Check {
        match decision {
            Decision::Protect(protection) if self.changes.is_empty() => {
                let outpost = &protection.outpost;
                if can_compare {
                    Check::good(self.subject(), format!("protected by the outpost {outpost}"))
                } else {
                    let reason =
                        "not all lists are there, so what protects it is not compared with what should";
                    Check::unchecked(self.subject(), reason)
                }
            }
            Decision::Protect(_) => {
                let open = if self.is_protected { "" } else { ", and the app is open" };
                self.behind(&format!("not as it should be{open}"))
            }
            Decision::Refuse(refusal) => self.refused(refusal),
            Decision::Wait { waiting, protection } if protection.is_none() => {
                let missing = match waiting {
                    Waiting::ForClasses => "the IngressClasses",
                    Waiting::ForOutposts => "the outposts of the cluster",
                    Waiting::ForMiddlewares => "Traefik's Middlewares",
                    Waiting::ForRoute { .. } => "the routes of other apps",
                };
                Check::unchecked(self.subject(), format!("{missing} could not be listed"))
            }
            Decision::Wait { waiting: Waiting::ForRoute { holder, .. }, .. }
                if holder.namespace != self.app.namespace && !self.sees_all_services =>
            {
                let namespace = &holder.namespace;
                let reason = format!(
                    "the Services of namespace {namespace} could not be listed, through which it may be served"
                );
                Check::unchecked(self.subject(), reason)
            }
            Decision::Wait { waiting, .. } => {
                let text = format!("{}: {waiting}", self.how_open("it waits"));
                if self.is_protected {
                    Check::catch(self.subject(), text)
                } else {
                    Check::wrong(self.subject(), text)
                }
            }
            Decision::Leave | Decision::Unprotect => self.behind("it no longer asks for protection"),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Check {
        let stale = match self.changes {
            [] => String::new(),
            _ => format!(" ({}: the controller has not seen this)", self.status()),
        };
        let text = format!("{}: {refusal}{stale}", self.how_open(&format!("refused ({})", refusal.reason())));
        let check = Check::wrong(self.subject(), text);
        match remedies::of(refusal, self.app) {
            Some(remedy) => check.remedy(remedy),
            None => check,
        }
    }

    fn how_open(&self, word: &str) -> String {
        let how = if self.is_protected { "protected as before" } else { "open to everybody" };
        format!("{word} and {how}")
    }

    fn behind(&self, what: &str) -> Check {
        let changes = self.changes.join(", ");
        let text = format!("{what}: the controller would {changes}; {}", self.status());
        let check = Check::wrong(self.subject(), text);
        check.remedy(self.logs.unwrap_or("start the controller, or read its log").to_owned())
    }

    /// What the annotations say.
    fn status(&self) -> String {
        let keys = &self.index.settings().keys;
        let Some(state) = self.facts.and_then(|facts| facts.annotation(&keys.status)) else {
            return "it has no status".to_owned();
        };
        let message = self.facts.and_then(|facts| facts.annotation(&keys.message));
        let message = message.filter(|_| state != State::Protected.to_string());
        match message {
            Some(message) => format!("its status says {state}: {message}"),
            None => format!("its status says {state}"),
        }
    }
}

/// Catches in the protection of an app, and all Ingresses that leave paths of its hosts open.
fn warnings(index: &Index, app: &ObjectKey, decision: &Decision, plan: &AppPlan) -> Vec<Check> {
    let subject = || format!("Ingress {app}");
    let of_decision = match decision {
        Decision::Protect(protection) | Decision::Wait { protection: Some(protection), .. } => {
            protection.warnings.as_slice()
        }
        _ => plan.warnings.as_slice(),
    };
    let mut checks: Vec<Check> = of_decision
        .iter()
        .filter(|warning| !matches!(warning, Warning::OpenNeighbour { .. }))
        .map(|warning| {
            let level = if warning.is_serious() { Level::Catch } else { Level::Good };
            Check::explained(level, subject(), &warning.to_string())
        })
        .collect();
    let opt_in = &index.settings().keys.opt_in;
    checks.extend(index.open_neighbours(app).map(|(host, ingress)| {
        let finding =
            format!("Ingress {ingress} serves {host} as well and is open: it does not ask for protection");
        let command =
            format!("kubectl annotate ingress -n {} {} {opt_in}=true", ingress.namespace, ingress.name);
        Check::catch(subject(), finding).remedy(command)
    }));
    checks
}

/// What people are told of all apps, now that their outposts were asked.
pub(super) fn tell(looks: &[Look], answers: &Answers) -> Vec<Check> {
    let (mut served, mut unasked, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for look in looks {
        let Told { checks, is_known } = tell_one(look, answers);
        let is_good = checks.iter().all(|check| check.level == Level::Good);
        let kind = match (is_good, is_known) {
            (true, true) => &mut served,
            (true, false) => &mut unasked,
            (false, _) => &mut others,
        };
        kind.push(checks);
    }
    let in_sum = |good: Vec<Vec<Check>>, outposts: &str| {
        if good.len() <= MANY {
            return good.into_iter().flatten().collect();
        }
        vec![Check::good("Ingresses", format!("{} are protected, and {outposts}", good.len()))]
    };
    let mut checks = in_sum(served, "their outposts serve their hosts");
    checks.extend(in_sum(unasked, "whether their outposts serve their hosts is not known"));
    checks.extend(others.into_iter().flatten());
    checks
}

struct Told {
    checks: Vec<Check>,
    /// Whether the outpost said something about each host.
    is_known: bool,
}

fn tell_one(look: &Look, answers: &Answers) -> Told {
    let mut checks = look.checks.clone();
    let (mut served, mut unknown) = (Vec::new(), Vec::new());
    for target in &look.targets {
        let findings = answers.get(target).and_then(|asked| asked.outcome.as_ref().ok());
        match findings.map(|findings| &findings.conclusion) {
            Some(Conclusion::Served) => served.push(target.host.as_str()),
            Some(conclusion) => {
                let subject = format!("Ingress {}", look.key);
                checks.push(Check::explained(Level::Wrong, subject, &conclusion.to_string()));
            }
            None => unknown.push(target.host.as_str()),
        }
    }
    if let Some(first) = checks.first_mut().filter(|first| first.level == Level::Good) {
        if !served.is_empty() {
            let _ = write!(first.finding, ", which serves {}", served.join(", "));
        }
        if !unknown.is_empty() {
            let _ = write!(first.finding, "; whether that serves {} is not known", unknown.join(", "));
        }
    }
    Told { checks, is_known: unknown.is_empty() }
}

/// What apps share and the controller would still change, where `is_meant` says so of the object and the change.
pub(super) fn left_over(
    lists: &Lists,
    looks: &[Look],
    is_meant: impl Fn(&ObjectKey, &Change) -> bool,
    logs: Option<&str>,
) -> Vec<Check> {
    if !lists.can_compare() {
        return Vec::new();
    }
    let told: BTreeSet<&str> = looks.iter().flat_map(|look| &look.changes).map(String::as_str).collect();
    let mut checks = Vec::new();
    for key in lists.index.all_keys().into_iter().collect::<BTreeSet<_>>() {
        let object = match &key {
            Key::App(_) => continue,
            Key::Service(object) | Key::Headers(object) | Key::Middleware(object) => object,
        };
        let Some(change) = lists.index.plan_shared(&key).filter(|change| is_meant(object, change)) else {
            continue;
        };
        let change = change.to_string();
        if !told.contains(change.as_str()) {
            let finding = format!("not as it should be: the controller would {change}");
            let logs = logs.unwrap_or("start the controller, or read its log");
            checks.push(Check::wrong(key.to_string(), finding).remedy(logs));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::facts::IngressClassFacts;
    use crate::index::Source;
    use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
    use serde_json::{Value, json};

    fn ingress(name: &str, annotations: &Value) -> Ingress {
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": name, "annotations": annotations },
            "spec": { "ingressClassName": "nginx", "rules": [{ "host": "web.example.com" }] },
        }))
        .unwrap()
    }

    /// What is seen of an app and another Ingress on its host, where `missing` could not be listed.
    fn seen(missing: Option<Source>) -> Vec<Check> {
        let mut settings = Settings::default();
        settings.outposts.insert("proxy".to_owned(), "http://proxy.example.com:9000".parse().unwrap());
        let mut lists = Lists::new(settings);
        let keys = lists.index.settings().keys.clone();
        for ingress in
            [ingress("app", &json!({ keys.opt_in.as_str(): "true" })), ingress("other", &json!({}))]
        {
            lists.index.observe_ingress(IngressFacts::extract(&ingress, &keys).unwrap());
        }
        let class: IngressClass = serde_json::from_value(json!({
            "metadata": { "name": "nginx" }, "spec": { "controller": "k8s.io/ingress-nginx" },
        }))
        .unwrap();
        if missing != Some(Source::Classes) {
            lists.index.observe_class(IngressClassFacts::extract(&class));
        }
        for source in Source::ALL.into_iter().filter(|source| missing != Some(*source)) {
            lists.index.complete(source);
        }
        tell(&look_at_all(&lists, |_| true, Some("read the log")), &Answers::new())
    }

    #[test]
    fn an_app_that_the_controller_has_not_seen_yet() {
        let checks = seen(None);
        let [behind, neighbour] = checks.as_slice() else { panic!("{checks:#?}") };
        assert_eq!(behind.level, Level::Wrong);
        let start = "not as it should be, and the app is open: the controller would create Service \
                     shop/authentik-proxy, create ConfigMap shop/authentik-headers-";
        assert!(behind.finding.starts_with(start), "{behind:?}");
        assert!(behind.finding.ends_with("annotate Ingress shop/app; it has no status"), "{behind:?}");
        assert_eq!(behind.remedy.as_deref(), Some("read the log"));
        assert_eq!(neighbour.level, Level::Catch);
        let expected = "kubectl annotate ingress -n shop other sso.djieno.com/authentik=true";
        assert_eq!(neighbour.remedy.as_deref(), Some(expected));
    }

    #[test]
    fn what_cannot_be_listed_is_not_taken_for_missing() {
        for (source, finding) in [
            (Source::Classes, "not checked: the IngressClasses could not be listed"),
            (Source::ConfigMaps, "not checked: not all lists are there"),
            (Source::Services, "not checked: not all lists are there"),
        ] {
            let checks = seen(Some(source));
            assert_eq!(checks[0].level, Level::Unchecked, "{checks:#?}");
            assert!(checks[0].finding.starts_with(finding), "{checks:#?}");
        }
    }
}
