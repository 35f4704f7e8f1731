//! `ingress-sso doctor`: looks at everything that could be wrong, and says what to do about it.
//!
//! Facts are gathered first, whatever cannot be had being a finding of its own; each file then judges one thing. Apps are
//! judged by the controller's own index and plan.

mod admission;
mod apps;
mod check;
mod classes;
pub(super) mod controller;
mod data_planes;
mod doors;
mod lease;
mod lists;
mod outposts;
mod print;
mod probes;
mod remedies;
pub(super) mod right;
pub(super) mod rights;
mod through;

pub use check::{Check, Level};
pub use rights::{NEEDED_OWN_RIGHTS, NEEDED_RIGHTS};

use super::{CommandError, cluster};
use crate::cli::{DoctorArgs, Output};
use crate::config::Scope;
use crate::errors::brief;
use crate::facts::ObjectKey;
use crate::index::Source;
use crate::plan::Dialect;
use crate::plan::changes::{Change, Kind};
use crate::probe::Trust;
use apps::Look;
use controller::{Controller, Setup};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};
use lists::{Gap, Lists};
use right::{Right, is_forbidden};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Looks, and prints what was found. The exit code is 0 where all is good, 1 where there are catches only, 2 where something
/// is wrong.
pub fn doctor(args: &DoctorArgs) -> Result<ExitCode, CommandError> {
    args.plan.settings()?;
    let trust = Arc::new(args.trust.trust()?);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    let checks = runtime.block_on(examine(args, trust))?;
    // A reader that hangs up early, such as `head`, has seen what it wanted.
    let _ = match args.output {
        Output::Text => anstream::stdout().write_all(print::text(&checks).as_bytes()),
        Output::Json => std::io::stdout().write_all(print::json(&checks).as_bytes()),
    };
    Ok(check::exit_code(&checks))
}

/// What is looked at.
struct Wanted {
    namespace: Option<String>,
    app: Option<ObjectKey>,
}

impl Wanted {
    fn is_meant(&self, key: &ObjectKey) -> bool {
        let is_in = self.namespace.as_ref().is_none_or(|namespace| *key.namespace == **namespace);
        self.app.as_ref().map_or(is_in, |app| app == key)
    }

    /// Whether a change that is due to what apps share is told: of one app, what it may miss in its namespace, and not
    /// what is left over there.
    fn is_meant_in(&self, key: &ObjectKey, change: &Change) -> bool {
        let is_in = self.namespace.as_ref().is_none_or(|namespace| *key.namespace == **namespace);
        is_in && (self.app.is_none() || !matches!(change, Change::Delete { .. }))
    }
}

async fn examine(args: &DoctorArgs, trust: Arc<Trust>) -> Result<Vec<Check>, CommandError> {
    let (client, own_namespace) = cluster::client(&args.cluster).await?;
    let now = lease::now(&client).await?;
    let namespace = args.namespace.clone().or_else(|| args.ingress.as_ref().map(|_| own_namespace));
    let app = args.ingress.as_ref().zip(namespace.as_ref());
    let app = app.map(|(name, namespace)| ObjectKey::new(namespace.as_str(), name.as_str()));
    let wanted = Wanted { namespace, app };

    let (Setup { settings, scope, outpost_scope, controller }, mut checks) = set_up(&client, args).await?;
    let lists = Lists::gather(&client, settings, &scope, &outpost_scope, wanted.namespace.as_deref()).await;
    checks.extend(check_controller(&client, controller.as_ref(), &scope, &lists, now).await);
    checks.push(admission::check(&client).await);
    let logs = controller.as_ref().map(Controller::logs);
    let looks = apps::look_at_all(&lists, |key| wanted.is_meant(key), logs.as_deref());
    let on_traefik = looks.iter().any(|look| look.dialect == Some(Dialect::Traefik));
    // What protects an app is in its own namespace; who else serves its hosts may be anywhere.
    let is_felt = |gap: &&Gap| !gap.is_partial || gap.source == Source::Ingresses;
    let bears_on_apps = |gap: &&Gap| is_felt(gap) && (on_traefik || gap.source != Source::Middlewares);
    checks.extend(lists.gaps.iter().filter(bears_on_apps).map(check_gap));
    checks.extend(check_data_planes(&client, &lists, &looks).await);

    let targets: BTreeSet<_> = looks.iter().flat_map(|look| look.targets.iter().cloned()).collect();
    let answers = probes::ask_all(&client, targets, &lists.index.settings().cluster_domain, &trust).await;
    checks.extend(outposts::check(&lists, &looks, &answers, wanted.app.is_some()));
    checks.extend(apps::tell(&looks, &answers));
    checks.extend(apps::left_over(
        &lists,
        &looks,
        |key, change| wanted.is_meant_in(key, change),
        logs.as_deref(),
    ));
    checks.extend(check_absent(&wanted, &lists, &looks));
    if let Some(through) = &args.through {
        checks.extend(doors::knock_at(&looks, &lists.index, through.as_ref(), &trust).await);
    }
    Ok(checks)
}

/// Finds the controller and the settings to judge by.
async fn set_up(client: &Client, args: &DoctorArgs) -> Result<(Setup, Vec<Check>), CommandError> {
    let params = ListParams::default().labels(controller::SELECTOR);
    match Api::<Deployment>::all(client.clone()).list(&params).await {
        Ok(found) => Ok(controller::choose(&args.plan, &found.items)?),
        Err(error) => {
            let (scope, outpost_scope) = (Scope::Cluster, Scope::Cluster);
            let setup = Setup { settings: args.plan.settings()?, scope, outpost_scope, controller: None };
            let right = Right::to_list::<Deployment>(None);
            let check = if is_forbidden(&error) {
                Check::unchecked("controller", format!("you may not {right}")).remedy(right.remedy())
            } else {
                Check::unchecked("controller", brief(&error))
            };
            Ok((setup, vec![check]))
        }
    }
}

async fn check_controller(
    client: &Client,
    controller: Option<&Controller>,
    scope: &Scope,
    lists: &Lists,
    now: Option<Timestamp>,
) -> Vec<Check> {
    let mut checks = vec![rights::check(client, controller, scope, lists.has_middlewares).await];
    if let Some(controller) = controller {
        checks.push(lease::check(client, controller, now).await);
    }
    checks
}

/// Without Ingresses nothing is known of any app; without the others, less.
fn check_gap(gap: &Gap) -> Check {
    let Gap { source, right, error, is_forbidden, is_partial } = gap;
    let subject = right.resource.clone();
    let told = match source {
        Source::Ingresses if *is_partial => "routes and open neighbours in other namespaces are not seen",
        Source::Ingresses => "no app is seen",
        Source::Classes => "it is not known who serves which class",
        Source::Services | Source::ConfigMaps => "what protects an app is not seen",
        Source::Outposts => "discovered outposts are not seen",
        Source::Middlewares => "names that Traefik takes for the same are not seen",
    };
    let reason = if *is_forbidden { format!("you may not {right}") } else { error.clone() };
    let check = match source {
        Source::Ingresses if !is_partial => Check::wrong(subject, format!("{told}: {reason}")),
        _ => Check::unchecked(subject, format!("{told}: {reason}")),
    };
    if *is_forbidden { check.remedy(right.remedy()) } else { check }
}

/// The classes of the apps, and who serves them.
async fn check_data_planes(client: &Client, lists: &Lists, looks: &[Look]) -> Vec<Check> {
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    for class in looks.iter().filter_map(|look| look.class.as_ref()) {
        *used.entry(class.clone()).or_default() += 1;
    }
    if used.is_empty() {
        return Vec::new();
    }
    let settings = lists.index.settings();
    let pods = data_planes::pods(client).await;
    let known = lists.index.has_complete(Source::Classes).then_some(lists.classes.as_slice());
    let mut checks = classes::check(&used, known, pods.as_ref().ok(), settings);
    match pods {
        Ok(pods) => {
            let dialects: Vec<_> = looks.iter().filter_map(|look| look.dialect).collect();
            checks.extend(data_planes::check(client, &pods, &dialects, settings).await);
        }
        Err(check) => checks.push(check),
    }
    checks
}

/// What was asked for and is not an app, or is one that nobody serves.
fn check_absent(wanted: &Wanted, lists: &Lists, looks: &[Look]) -> Vec<Check> {
    let subject = |key: &ObjectKey| format!("Ingress {key}");
    let opt_in = &lists.index.settings().keys.opt_in;
    let out_of_scope = lists.out_of_scope.iter().filter(|key| wanted.is_meant(key)).map(|key| {
        let finding =
            format!("it asks for protection, and the controller does not look into {}", key.namespace);
        Check::wrong(subject(key), finding)
            .remedy(format!("run the controller with --namespace={}", key.namespace))
    });
    let mut checks: Vec<Check> = out_of_scope.collect();
    let is_seen = lists.index.has_complete(Source::Ingresses);
    let Some(app) = wanted.app.as_ref().filter(|_| is_seen && looks.is_empty() && checks.is_empty()) else {
        return checks;
    };
    checks.push(if lists.index.is_ours(Kind::Ingress, app).is_none() {
        Check::wrong(subject(app), "there is none")
            .remedy(format!("kubectl get ingress -n {}", app.namespace))
    } else {
        Check::catch(subject(app), "it does not ask for protection, so it is open")
            .remedy(format!("kubectl annotate ingress -n {} {} {opt_in}=true", app.namespace, app.name))
    });
    checks
}
