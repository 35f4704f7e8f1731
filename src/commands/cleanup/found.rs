//! The controller that is to be gone: what its Deployment says of its settings and its Lease, and how to stop it.

use super::super::CommandError;
use super::super::doctor::controller::{Controller, SELECTOR};
use crate::cli::CleanupArgs;
use crate::config::{Scope, Settings};
use crate::controller::withdraw;
use crate::lease::LeaseName;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client};

/// How to stop a controller of which no Deployment was found.
const STOP: &str =
    "stop the controller first, with kubectl scale deployment/ingress-sso --replicas=0 or helm uninstall";

/// By what to go.
pub(super) struct Found {
    /// Those given, or those of the only Deployment where none are given.
    pub(super) settings: Settings,
    /// The Lease of the only Deployment that looks after apps in scope.
    pub(super) lease: Option<LeaseName>,
    /// How to stop the controller.
    pub(super) stop: String,
}

/// Looks for Deployments of the controller. One that runs without asking for a Lease is an error; whoever may not list
/// Deployments goes by what is given.
pub(super) async fn look(client: &Client, args: &CleanupArgs, scope: &Scope) -> Result<Found, CommandError> {
    let params = ListParams::default().labels(SELECTOR);
    let listed = Api::<Deployment>::all(client.clone()).list(&params).await;
    let all = listed.map(|list| list.items).unwrap_or_default();
    let given = args.plan.settings()?;
    let controllers: Vec<Controller> = all.iter().map(Controller::of).collect();
    let controllers = controllers.into_iter().filter(|controller| controller.looks_after(scope));
    let controllers: Vec<Controller> = controllers.collect();
    let [controller] = controllers.as_slice() else {
        return Ok(Found { settings: given, lease: None, stop: STOP.to_owned() });
    };
    let settings = controller.settings().filter(|_| args.plan.are_defaults()).unwrap_or(given);
    let stop = format!(
        "stop the controller first: kubectl scale -n {} deployment/{} --replicas=0, or helm uninstall",
        controller.key.namespace, controller.key.name
    );
    let lease = controller.lease();
    if lease.is_none() && controller.replicas > 0 {
        let error = format!("Deployment {} runs without a Lease", controller.key);
        return Err(CommandError::StillRunning { error, stop });
    }
    Ok(Found { settings, lease, stop })
}

/// Who holds the Lease, if anybody does and one may know.
pub(super) async fn holder(client: &Client, lease: &LeaseName) -> Option<String> {
    let api = Api::<Lease>::namespaced(client.clone(), &lease.namespace);
    let found = api.get_opt(&lease.name).await.ok()??;
    withdraw::holder(&found).map(str::to_owned)
}
