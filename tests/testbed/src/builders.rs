//! Ingresses, Services and others in one line.

use std::{collections::BTreeMap, net::SocketAddrV4};

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
        networking::v1::{
            HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressClass, IngressClassSpec,
            IngressRule, IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
        },
    },
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta, OwnerReference, Time},
    jiff::Timestamp,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Annotation of Ingresses that predate `spec.ingressClassName`.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// Starts an Ingress of class `nginx`, with the path `/` (`Prefix`) to port 80 of a Service of its own name.
pub fn ingress(namespace: &str, name: &str) -> IngressBuilder {
    IngressBuilder {
        metadata: metadata(Some(namespace), name),
        class: Some("nginx".to_owned()),
        hosts: Vec::new(),
        paths: Vec::new(),
        backend: (name.to_owned(), 80),
        tls: None,
    }
}

/// The API server's note that `manager` owns the annotations `keys` of an Ingress, by the `operation` `Apply` or `Update`.
pub fn managed(manager: &str, operation: &str, keys: &[&str]) -> ManagedFieldsEntry {
    let keys: Map<String, Value> = keys.iter().map(|key| (format!("f:{key}"), json!({}))).collect();
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        operation: Some(operation.to_owned()),
        api_version: Some("networking.k8s.io/v1".to_owned()),
        fields_type: Some("FieldsV1".to_owned()),
        fields_v1: Some(FieldsV1(json!({ "f:metadata": { "f:annotations": keys } }))),
        ..ManagedFieldsEntry::default()
    }
}

/// Starts an Ingress like those that Helm charts make, of the host `<name>.<namespace>.example.com`.
pub fn helm_ingress(namespace: &str, name: &str) -> IngressBuilder {
    ingress(namespace, name)
        .host(&format!("{name}.{namespace}.example.com"))
        .tls(&format!("{name}-tls"))
        .label("app.kubernetes.io/instance", name)
        .label("app.kubernetes.io/managed-by", "Helm")
        .label("app.kubernetes.io/name", name)
        .label("helm.sh/chart", "app-1.2.3")
        .annotation("cert-manager.io/cluster-issuer", "letsencrypt")
        .annotation("meta.helm.sh/release-name", name)
        .annotation("meta.helm.sh/release-namespace", namespace)
}

/// An Ingress in the making: see [`ingress`].
#[derive(Clone, Debug)]
#[must_use]
pub struct IngressBuilder {
    metadata: ObjectMeta,
    class: Option<String>,
    hosts: Vec<String>,
    paths: Vec<(String, String)>,
    backend: (String, i32),
    tls: Option<String>,
}

impl IngressBuilder {
    /// One more host, with a rule of its own. An Ingress without any has one rule for every host.
    pub fn host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// More hosts.
    pub fn hosts<S: AsRef<str>>(self, hosts: impl IntoIterator<Item = S>) -> Self {
        hosts.into_iter().fold(self, |builder, host| builder.host(host.as_ref()))
    }

    /// Its `spec.ingressClassName`, instead of `nginx`.
    pub fn class(mut self, class: &str) -> Self {
        self.class = Some(class.to_owned());
        self
    }

    /// No class at all, so that the cluster's default applies.
    pub fn no_class(mut self) -> Self {
        self.class = None;
        self
    }

    /// Its class by the annotation of old, and not by `spec.ingressClassName`.
    pub fn legacy_class(self, class: &str) -> Self {
        self.no_class().annotation(LEGACY_CLASS, class)
    }

    /// One more annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        let annotations = self.metadata.annotations.get_or_insert_default();
        annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// One more label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// One more note of the API server that `manager` applied the annotations `keys`.
    pub fn applied_by(mut self, manager: &str, keys: &[&str]) -> Self {
        self.metadata.managed_fields.get_or_insert_default().push(managed(manager, "Apply", keys));
        self
    }

    /// One more path, for every host. The first replaces `/`. `path_type` is `Prefix`, `Exact` or
    /// `ImplementationSpecific`.
    pub fn path(mut self, path: &str, path_type: &str) -> Self {
        self.paths.push((path.to_owned(), path_type.to_owned()));
        self
    }

    /// The Service and its port that all paths lead to.
    pub fn backend(mut self, service: &str, port: i32) -> Self {
        self.backend = (service.to_owned(), port);
        self
    }

    /// Serves all its hosts with the certificate in this Secret.
    pub fn tls(mut self, secret: &str) -> Self {
        self.tls = Some(secret.to_owned());
        self
    }

    /// One more owner: the garbage collector deletes the Ingress after the last of them.
    pub fn owner(mut self, owner: OwnerReference) -> Self {
        self.metadata.owner_references.get_or_insert_default().push(owner);
        self
    }

    /// Its creation, in seconds since 1970. For tests without an API server, which sets it itself.
    pub fn created(mut self, seconds: u32) -> Self {
        self.metadata.creation_timestamp = Some(Time(Timestamp::constant(seconds.into(), 0)));
        self
    }

    /// Its UID. For tests without an API server, which sets it itself.
    pub fn uid(mut self, uid: &str) -> Self {
        self.metadata.uid = Some(uid.to_owned());
        self
    }

    /// Its resource version. For tests without an API server, which sets it itself.
    pub fn resource_version(mut self, version: &str) -> Self {
        self.metadata.resource_version = Some(version.to_owned());
        self
    }

    /// The Ingress.
    pub fn build(self) -> Ingress {
        let rule = |host: Option<&String>| IngressRule {
            host: host.cloned(),
            http: Some(HTTPIngressRuleValue { paths: self.http_paths() }),
        };
        let rules = if self.hosts.is_empty() {
            vec![rule(None)]
        } else {
            self.hosts.iter().map(|host| rule(Some(host))).collect()
        };
        let tls = self.tls.as_ref().map(|secret| {
            let hosts = (!self.hosts.is_empty()).then(|| self.hosts.clone());
            vec![IngressTLS { hosts, secret_name: Some(secret.clone()) }]
        });
        Ingress {
            metadata: self.metadata,
            spec: Some(IngressSpec {
                ingress_class_name: self.class,
                rules: Some(rules),
                tls,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn http_paths(&self) -> Vec<HTTPIngressPath> {
        let (name, port) = &self.backend;
        let port = ServiceBackendPort { number: Some(*port), ..Default::default() };
        let service = IngressServiceBackend { name: name.clone(), port: Some(port) };
        let path = |path: &str, path_type: &str| HTTPIngressPath {
            path: Some(path.to_owned()),
            path_type: path_type.to_owned(),
            backend: IngressBackend { service: Some(service.clone()), ..Default::default() },
        };
        if self.paths.is_empty() {
            return vec![path("/", "Prefix")];
        }
        self.paths.iter().map(|(at, path_type)| path(at, path_type)).collect()
    }
}

impl From<IngressBuilder> for Ingress {
    fn from(builder: IngressBuilder) -> Self {
        builder.build()
    }
}

/// An `IngressClass` with the name of its controller, such as `k8s.io/ingress-nginx`.
pub fn ingress_class(name: &str, controller: &str) -> IngressClass {
    IngressClass {
        metadata: metadata(None, name),
        spec: Some(IngressClassSpec { controller: Some(controller.to_owned()), ..Default::default() }),
    }
}

/// A namespace.
pub fn namespace(name: &str) -> Namespace {
    Namespace { metadata: metadata(None, name), ..Default::default() }
}

/// A Service that is another name for `host`.
pub fn external_name_service(namespace: &str, name: &str, host: &str, port: i32) -> Service {
    Service {
        metadata: metadata(Some(namespace), name),
        spec: Some(ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(host.to_owned()),
            ports: Some(vec![service_port("http", port)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A Service of port 80 and the `EndpointSlice` that leads it to `address`, as kube-controller-manager makes it for Pods.
///
/// The API server refuses loopback addresses: see [`crate::network`] for others.
pub fn service_to(namespace: &str, name: &str, address: SocketAddrV4) -> (Service, EndpointSlice) {
    let service = Service {
        metadata: metadata(Some(namespace), name),
        spec: Some(ServiceSpec { ports: Some(vec![service_port("http", 80)]), ..Default::default() }),
        ..Default::default()
    };
    let label = ("kubernetes.io/service-name".to_owned(), name.to_owned());
    let slice = EndpointSlice {
        metadata: ObjectMeta {
            labels: Some(BTreeMap::from([label])),
            ..metadata(Some(namespace), &format!("{name}-endpoints"))
        },
        address_type: "IPv4".to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![address.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..Default::default() }),
            ..Default::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some("http".to_owned()),
            port: Some(address.port().into()),
            protocol: Some("TCP".to_owned()),
            ..Default::default()
        }]),
    };
    (service, slice)
}

/// The Service that authentik's own outpost controller makes for the proxy outpost `slug`: `ak-outpost-<slug>`
/// with ports `http` 9000, `http-metrics` 9300 and `https` 9443. The embedded outpost's slug is
/// `authentik-embedded-outpost`.
pub fn outpost_service(namespace: &str, slug: &str) -> Service {
    let uuid = Sha256::digest(slug).first_chunk().copied().unwrap_or_default();
    let uuid = format!("{:032x}", u128::from_be_bytes(uuid));
    let labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/managed-by", "goauthentik.io"),
        ("app.kubernetes.io/name", "authentik-proxy"),
        ("goauthentik.io/outpost-name", slug),
        ("goauthentik.io/outpost-type", "proxy"),
        ("goauthentik.io/outpost-uuid", &uuid),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    Service {
        metadata: ObjectMeta {
            labels: Some(labels.clone()),
            ..metadata(Some(namespace), &format!("ak-outpost-{slug}"))
        },
        spec: Some(ServiceSpec {
            ports: Some(vec![
                service_port("http", 9000),
                service_port("http-metrics", 9300),
                service_port("https", 9443),
            ]),
            selector: Some(labels),
            type_: Some("ClusterIP".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn service_port(name: &str, port: i32) -> ServicePort {
    ServicePort { name: Some(name.to_owned()), port, ..Default::default() }
}

fn metadata(namespace: Option<&str>, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: namespace.map(str::to_owned), name: Some(name.to_owned()), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ingress_with_defaults() {
        let built = serde_json::to_value(ingress("apps", "app").host("app.example.com").build()).unwrap();
        let expected = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"namespace": "apps", "name": "app"},
            "spec": {
                "ingressClassName": "nginx",
                "rules": [{
                    "host": "app.example.com",
                    "http": {"paths": [{
                        "path": "/",
                        "pathType": "Prefix",
                        "backend": {"service": {"name": "app", "port": {"number": 80}}},
                    }]},
                }],
            },
        });
        assert_eq!(built, expected);
    }

    #[test]
    fn ingress_with_everything() {
        let built = ingress("apps", "app")
            .hosts(["a.example.com", "b.example.com"])
            .legacy_class("traefik")
            .path("/api", "Exact")
            .path("/web", "Prefix")
            .backend("web", 8080)
            .tls("certificate")
            .label("team", "red")
            .created(1)
            .uid("u")
            .build();
        assert_eq!(built.metadata.annotations.unwrap()[LEGACY_CLASS], "traefik");
        assert_eq!(built.metadata.creation_timestamp.unwrap().0.as_second(), 1);
        let spec = built.spec.unwrap();
        assert_eq!(spec.ingress_class_name, None);
        assert_eq!(spec.tls.unwrap()[0].hosts.as_ref().unwrap().len(), 2);
        let rules = spec.rules.unwrap();
        assert_eq!(rules.len(), 2);
        let paths = &rules[1].http.as_ref().unwrap().paths;
        assert_eq!([paths[0].path.as_deref(), paths[1].path.as_deref()], [Some("/api"), Some("/web")]);
        assert_eq!(paths[1].backend.service.as_ref().unwrap().name, "web");
    }
}
