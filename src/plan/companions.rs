//! The objects made beside an app's Ingress, as they are sent to the API.

use super::Dialect;
use super::outpost::Outpost;
use super::request::Request;
use crate::config::{Scheme, Settings};
use crate::contract::{
    self, Keys, LEGACY_CLASS, MANAGED_BY, MANAGER, OUTPOST_PATH, OUTPOST_PATH_TYPE, PART_OF, PART_OF_VALUE,
    headers_name, middleware_name, outpost_ingress_name, service_name,
};
use crate::facts::{AppFacts, ClassRef, Host, IngressFacts, ObjectKey, OutpostPath};
use crate::middleware::{Middleware, MiddlewareSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// Keys for external-dns, old and new, that keep it from publishing the app's host a second time.
const EXTERNAL_DNS: [&str; 2] =
    ["external-dns.kubernetes.io/controller", "external-dns.alpha.kubernetes.io/controller"];

/// The Service in the app's namespace that leads to the outpost. Shared by the apps there, so it has no owner.
pub fn service(namespace: &str, outpost: &Outpost, keys: &Keys) -> Service {
    let port_name = match outpost.address.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    Service {
        metadata: metadata(
            &service_key(namespace, &outpost.name),
            labels([(keys.outpost.clone(), outpost.name.clone())]),
        ),
        spec: Some(ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(outpost.address.host.clone()),
            ports: Some(vec![ServicePort {
                name: Some(port_name.to_owned()),
                port: i32::from(outpost.address.port),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Namespace and name of [`service`].
pub fn service_key(namespace: &str, outpost: &str) -> ObjectKey {
    ObjectKey::new(namespace, service_name(outpost))
}

/// The `ConfigMap` of request headers for the auth check, where the data plane takes them from one. Shared by the apps of the
/// namespace, so it has no owner; immutable, because ingress-nginx would not notice a change.
pub fn headers(namespace: &str, request: &Request) -> Option<ConfigMap> {
    let data = request.headers();
    let key = headers_key(namespace, &data);
    (!data.is_empty()).then(|| ConfigMap {
        metadata: metadata(&key, labels([])),
        data: Some(data),
        immutable: Some(true),
        ..ConfigMap::default()
    })
}

/// Namespace and name of the `ConfigMap` with `data`.
pub fn headers_key(namespace: &str, data: &BTreeMap<String, String>) -> ObjectKey {
    ObjectKey::new(namespace, headers_name(data.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// The Middleware that asks the outpost, where it is a Middleware that asks. Shared by the apps of the namespace, so it has no
/// owner.
pub fn middleware(
    namespace: &str,
    dialect: Dialect,
    outpost: &Outpost,
    settings: &Settings,
) -> Option<Middleware> {
    let forward_auth = dialect.plane().forward_auth()?(outpost, settings);
    let labels = labels([(settings.keys.outpost.clone(), outpost.name.clone())]);
    let spec = MiddlewareSpec { forward_auth: Some(forward_auth), ..MiddlewareSpec::default() };
    Some(Middleware { metadata: metadata(&middleware_key(namespace, &outpost.name), labels), spec })
}

/// Namespace and name of [`middleware`].
pub fn middleware_key(namespace: &str, outpost: &str) -> ObjectKey {
    ObjectKey::new(namespace, middleware_name(namespace, outpost))
}

/// How the apps of a namespace name its [`middleware`].
pub(super) fn middleware_reference(namespace: &str, request: &Request, settings: &Settings) -> String {
    let name = middleware_name(namespace, &request.outpost.name);
    contract::middleware_reference(namespace, &name, settings.traefik.safe_naming)
}

/// Namespace and name of the outpost Ingress of the app `app`.
pub fn outpost_ingress_key(app: &ObjectKey) -> ObjectKey {
    ObjectKey::new(app.namespace.clone(), outpost_ingress_name(&app.name))
}

/// The Ingress that routes the outpost path on `hosts` of the app in `ingress`. It takes from the app the class, what says
/// where its routers listen, and nothing else: every other annotation either breaks the login or makes some other
/// controller act twice.
pub fn outpost_ingress(
    ingress: &IngressFacts,
    app: &AppFacts,
    hosts: &[Host],
    (dialect, outpost): (Dialect, &Outpost),
    keys: &Keys,
) -> Ingress {
    let plane = dialect.plane();
    let mut annotations = plane.route_annotations(outpost);
    annotations.extend(plane.route_annotations_for(app));
    annotations.insert(keys.app.clone(), ingress.key.name.to_string());
    annotations.extend(EXTERNAL_DNS.map(|key| (key.to_owned(), "ignore".to_owned())));
    let ingress_class_name = match &ingress.class {
        ClassRef::Spec(name) => Some(name.to_string()),
        ClassRef::Annotation(name) => {
            annotations.insert(LEGACY_CLASS.to_owned(), name.to_string());
            None
        }
        ClassRef::None => None,
    };
    Ingress {
        metadata: ObjectMeta {
            annotations: Some(annotations),
            owner_references: owner(ingress),
            ..metadata(
                &outpost_ingress_key(&ingress.key),
                labels([(keys.outpost.clone(), outpost.name.clone())]),
            )
        },
        spec: Some(IngressSpec {
            ingress_class_name,
            rules: Some(hosts.iter().map(|host| rule(host, outpost)).collect()),
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    }
}

/// Whether `path` of an outpost Ingress is one that this controller makes, through the Service `service`.
pub fn is_route(path: &OutpostPath, service: Option<&str>) -> bool {
    path.is_spelled_like_ours() && service.is_some() && path.service.as_deref() == service
}

/// Whether all that the outpost Ingress `route` does for `host` is to lead to `outpost`, as this controller would have it. By which
/// Service is another question.
pub fn is_as_made(route: &IngressFacts, host: &Host, dialect: Dialect, outpost: &Outpost) -> bool {
    let Some(facts) = route.outpost_ingress() else { return false };
    let port = i32::from(outpost.address.port);
    let plane = dialect.plane();
    let own = plane.route_annotations(outpost);
    let is_ours = |(key, value): (&str, &str)| {
        plane.depends_on_app(key) || own.get(key).is_some_and(|own| own == value)
    };
    !facts.has_more
        && route.outpost_paths_of(host).iter().all(|path| path.port == Some(port))
        && facts.annotations_of_data_planes().all(is_ours)
}

/// The owner that garbage collection follows; none for an app that was read from a file and has no uid yet.
fn owner(app: &IngressFacts) -> Option<Vec<OwnerReference>> {
    let owner = OwnerReference {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "Ingress".to_owned(),
        name: app.key.name.to_string(),
        uid: app.identity.uid(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    (!app.identity.uid().is_empty()).then(|| vec![owner])
}

/// The rule that routes the outpost path of `host` to `outpost`.
fn rule(host: &Host, outpost: &Outpost) -> IngressRule {
    outpost_rule(host.to_string(), service_name(&outpost.name), i32::from(outpost.address.port))
}

/// The rules that an outpost Ingress already has, as they are written.
pub(super) fn rules_of(paths: &[&OutpostPath]) -> Vec<IngressRule> {
    let text = |path: &OutpostPath| path.host.as_ref().map(ToString::to_string).unwrap_or_default();
    let rule = |path: &&OutpostPath| {
        let service = path.service.as_deref().unwrap_or_default().to_owned();
        outpost_rule(text(path), service, path.port.unwrap_or_default())
    };
    paths.iter().map(rule).collect()
}

fn outpost_rule(host: String, service: String, port: i32) -> IngressRule {
    let port = Some(ServiceBackendPort { number: Some(port), name: None });
    let service = Some(IngressServiceBackend { name: service, port });
    IngressRule {
        host: Some(host),
        http: Some(HTTPIngressRuleValue {
            paths: vec![HTTPIngressPath {
                path: Some(OUTPOST_PATH.to_owned()),
                path_type: OUTPOST_PATH_TYPE.to_owned(),
                backend: IngressBackend { service, resource: None },
            }],
        }),
    }
}

fn labels<const N: usize>(own: [(String, String); N]) -> BTreeMap<String, String> {
    let fixed = [(MANAGED_BY, MANAGER), (PART_OF, PART_OF_VALUE)];
    fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).chain(own).collect()
}

fn metadata(key: &ObjectKey, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(key.namespace.to_string()),
        name: Some(key.name.to_string()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}
