//! Apps for which there is nothing left to do, and other things that several chapters are about.

use super::seed;
use super::world::{World, app, applied};
use ingress_sso_testbed::builders::IngressBuilder;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;

pub(crate) const MANY_HOSTS_URL: &str = "https://$host/outpost.goauthentik.io/auth/nginx";

pub(crate) const MANY_HOSTS_SIGNIN: &str =
    "https://$host/outpost.goauthentik.io/start?rd=$scheme://$best_http_host$escaped_request_uri";

/// The usual app with all that protects it, as the controller left it.
pub(crate) fn settled() -> World {
    settled_with(|app| app)
}

/// As [`settled`], with the app changed by its owner since.
pub(crate) fn settled_with(change: impl FnOnce(IngressBuilder) -> IngressBuilder) -> World {
    World::new()
        .app(applied(change(app()), &seed_annotations()))
        .app(seed_route())
        .service(seed_service())
        .config_map(seed_headers())
}

/// As [`settled`], with these of our annotations on the app changed or, without a value, removed.
pub(crate) fn settled_but(changes: &[(&'static str, Option<&'static str>)]) -> World {
    let mut annotations = seed_annotations();
    for (key, value) in changes {
        annotations.retain(|(kept, _)| kept != key);
        annotations.extend(value.map(|value| (*key, value)));
    }
    World::new()
        .app(applied(app(), &annotations))
        .app(seed_route())
        .service(seed_service())
        .config_map(seed_headers())
}

pub(crate) fn settled_app() -> Ingress {
    applied(app(), &seed_annotations())
}

/// The annotations that the controller put on the app of the first case.
pub(crate) fn seed_annotations() -> Vec<(&'static str, &'static str)> {
    let app = seed::AFTER.rsplit("---\n").next().unwrap_or_default();
    let ours = |line: &'static str| {
        let (key, value) = line.trim().split_once(": ")?;
        let is_ours = key.starts_with("nginx.ingress.kubernetes.io/") || key == "sso.djieno.com/status";
        is_ours.then_some((key, value))
    };
    app.lines().filter_map(ours).collect()
}

pub(crate) fn seed_service() -> Service {
    seed_object(0)
}

pub(crate) fn seed_headers() -> ConfigMap {
    seed_object(1)
}

pub(crate) fn seed_route() -> Ingress {
    seed_object(2)
}

/// The object at this place among those that the first case ends with.
fn seed_object<T: DeserializeOwned>(position: usize) -> T {
    read(seed::AFTER.split("---\n").nth(position).unwrap_or_default())
}

pub(crate) fn read<T: DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).expect("an object as YAML")
}

/// The route `route` of the app `app` as the controller makes it: it goes with the app.
pub(crate) fn owned_by(app: &str, route: IngressBuilder) -> Ingress {
    let mut route = route.build();
    let mut owners = seed_route().metadata.owner_references;
    for owner in owners.iter_mut().flatten() {
        (owner.name, owner.uid) = (app.to_owned(), format!("uid-of-{app}"));
    }
    route.metadata.owner_references = owners;
    route
}

pub(crate) fn deleting(ingress: impl Into<Ingress>) -> Ingress {
    let mut ingress = ingress.into();
    ingress.metadata.deletion_timestamp = Some(Time(Timestamp::constant(2000, 0)));
    ingress
}

pub(crate) fn with_hostless_rule(ingress: IngressBuilder) -> Ingress {
    let mut ingress = ingress.build();
    let rules = ingress.spec.get_or_insert_default().rules.get_or_insert_default();
    let first = rules.first().cloned().unwrap_or_default();
    rules.push(IngressRule { host: None, ..first });
    ingress
}
