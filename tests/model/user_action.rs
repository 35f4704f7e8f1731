//! What users do in the small worlds.

use super::cluster::{Cluster, Event, places};
use super::world::OPT_IN;
use ingress_sso::contract::{outpost_ingress_name, service_name};
use ingress_sso::facts::ObjectKey;
use ingress_sso_testbed::builders::ingress;
use k8s_openapi::api::networking::v1::{Ingress, IngressServiceBackend};

const NAMESPACE: &str = "apps";

/// Where routes are turned to.
const ELSEWHERE: &str = "elsewhere.example.com";

/// The Service that they are turned to.
const ASTRAY: &str = "astray";

/// What the owner of an app wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct App {
    host: &'static str,
    outpost: Option<&'static str>,
    opt_in: Option<&'static str>,
}

/// One thing that somebody does. Apps go by their number, of which the first is the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserAction {
    /// Create this app, or apply it again with what is new.
    Put(usize, App),
    Delete(usize),
    /// Delete the route of this app.
    DeleteRoute(usize),
    /// Turn the route of this app to another host.
    EditRoute(usize),
    /// Turn the route of this app to another Service.
    TurnRoute(usize),
    /// Delete the route of this app, and put something else under its name.
    ReplaceRoute(usize),
    /// Delete the Service to the usual outpost.
    DeleteService,
}

impl App {
    /// Asks for protection on this host.
    pub(crate) const fn on(host: &'static str) -> Self {
        Self { host, outpost: None, opt_in: Some("true") }
    }

    /// Does not ask.
    pub(crate) const fn off(self) -> Self {
        Self { opt_in: None, ..self }
    }

    /// Asks in words that nobody understands.
    pub(crate) const fn refused(self) -> Self {
        Self { opt_in: Some("yes"), ..self }
    }

    pub(crate) const fn behind(self, outpost: &'static str) -> Self {
        Self { outpost: Some(outpost), ..self }
    }
}

pub(crate) fn app_key(slot: usize) -> ObjectKey {
    ObjectKey::new(NAMESPACE, format!("app-{}", 2 * slot))
}

fn route_key(slot: usize) -> ObjectKey {
    ObjectKey::new(NAMESPACE, outpost_ingress_name(&app_key(slot).name))
}

fn service_key() -> ObjectKey {
    ObjectKey::new(NAMESPACE, service_name("alpha"))
}

fn services_of(route: &mut Ingress) -> impl Iterator<Item = &mut IngressServiceBackend> {
    let rules = route.spec.iter_mut().flat_map(|spec| spec.rules.iter_mut().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter_mut().flat_map(|http| &mut http.paths));
    paths.filter_map(|path| path.backend.service.as_mut())
}

/// Whether somebody turned `route` to another Service.
pub(crate) fn leads_astray(route: &Ingress) -> bool {
    services_of(&mut route.clone()).any(|service| service.name == ASTRAY)
}

impl UserAction {
    /// Whether it makes a difference.
    pub(crate) fn is_news(self, cluster: &Cluster, apps: &[Option<App>]) -> bool {
        let route = |slot| cluster.ingresses.get(&route_key(slot));
        match self {
            Self::Put(slot, app) => apps[slot] != Some(app),
            Self::Delete(slot) => apps[slot].is_some(),
            Self::DeleteRoute(slot) => route(slot).is_some(),
            Self::ReplaceRoute(slot) => !cluster.written.contains_key(&route_key(slot)),
            Self::EditRoute(slot) => {
                let is_turned = |(_, host, _): &(_, String, _)| host == ELSEWHERE;
                route(slot).is_some_and(|route| !places(route).iter().any(is_turned))
            }
            Self::TurnRoute(slot) => route(slot).is_some_and(|route| !leads_astray(route)),
            Self::DeleteService => cluster.services.contains_key(&service_key()),
        }
    }

    /// Does it; the answer is what the watches are to deliver.
    pub(crate) fn carry_out(self, cluster: &mut Cluster, apps: &mut [Option<App>]) -> Vec<Event> {
        match self {
            Self::Put(slot, app) => {
                apps[slot] = Some(app);
                let age = 1 + u32::try_from(slot).unwrap_or_default();
                let builder = ingress(NAMESPACE, &app_key(slot).name).host(app.host).created(age);
                let builder =
                    app.opt_in.iter().fold(builder, |builder, opt_in| builder.annotation(OPT_IN, opt_in));
                let builder = app
                    .outpost
                    .iter()
                    .fold(builder, |builder, outpost| builder.annotation("sso.djieno.com/outpost", outpost));
                cluster.put(builder.build())
            }
            Self::Delete(slot) => {
                apps[slot] = None;
                cluster.delete_ingress(&app_key(slot))
            }
            Self::DeleteRoute(slot) => cluster.delete_ingress(&route_key(slot)),
            Self::ReplaceRoute(slot) => {
                let mut events = cluster.delete_ingress(&route_key(slot));
                events.extend(cluster.put(ingress(NAMESPACE, &route_key(slot).name).host(ELSEWHERE).build()));
                events
            }
            Self::EditRoute(slot) => cluster.tamper(&route_key(slot), |route| {
                let rules = route.spec.get_or_insert_default().rules.get_or_insert_default();
                for rule in rules {
                    rule.host = Some(ELSEWHERE.to_owned());
                }
            }),
            Self::TurnRoute(slot) => cluster.tamper(&route_key(slot), |route| {
                for service in services_of(route) {
                    ASTRAY.clone_into(&mut service.name);
                }
            }),
            Self::DeleteService => cluster.delete_service(&service_key()),
        }
    }
}
