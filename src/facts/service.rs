//! What is remembered of a Service: the way to an outpost, or an outpost itself.

use super::{Identity, ObjectKey, is_dns_label, is_ours, label};
use crate::contract::{DISCOVERED_NAME, EMBEDDED_OUTPOST, Keys};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use thiserror::Error;

/// A Service through which an Ingress reaches an outpost, made by this controller or by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Namespace and name.
    pub key: ObjectKey,
    /// uid and version in which it was seen.
    pub identity: Identity,
    /// Whether it carries the label of things this controller made.
    pub ours: bool,
    /// Value of the label that names the outpost.
    pub outpost: Option<String>,
    /// `spec.externalName` of a Service of type `ExternalName`.
    pub external_name: Option<String>,
    /// Port names and numbers, in order.
    pub ports: Vec<(String, i32)>,
}

impl ServiceFacts {
    /// The facts of `service`.
    pub fn extract(service: &Service, keys: &Keys) -> Self {
        let spec = service.spec.as_ref();
        let is_external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        let external_name = spec.and_then(|spec| spec.external_name.clone());
        Self {
            key: ObjectKey::of(&service.metadata),
            identity: Identity::of(&service.metadata),
            ours: is_ours(&service.metadata),
            outpost: label(&service.metadata, &keys.outpost).map(str::to_owned),
            external_name: external_name.filter(|_| is_external),
            ports: ports(service).map(|port| (port.name.clone().unwrap_or_default(), port.port)).collect(),
        }
    }

    /// Whether it leads to the DNS name `host`.
    pub fn leads_to(&self, host: &str) -> bool {
        self.external_name.as_deref() == Some(host)
    }

    /// Whether an observed object is as `desired` wants it, all that others added to it left aside.
    pub fn matches(&self, desired: &Self) -> bool {
        let Self { key: _, identity: _, ours: _, outpost, external_name, ports } = self;
        *outpost == desired.outpost && *external_name == desired.external_name && *ports == desired.ports
    }
}

/// An outpost found by the labels that authentik's own outpost controller puts on its Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredOutpost {
    /// Namespace and name of the outpost's Service.
    pub key: ObjectKey,
    /// uid and version in which it was seen.
    pub identity: Identity,
    /// The outpost's slug, by which apps name it.
    pub name: String,
    /// Port to reach it at.
    pub port: u16,
    /// Whether that port speaks TLS.
    pub https: bool,
}

/// Why a Service with the labels of an outpost is not taken for one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotAnOutpost {
    /// The name in the label is not one that an annotation could hold.
    #[error(
        "the value {0:?} of its label {DISCOVERED_NAME} is not a DNS label; rename the outpost in authentik"
    )]
    BadName(String),
    /// Its own name or namespace can be no part of a DNS name. Files only.
    #[error("its name {0} is not made of DNS labels; correct metadata.namespace and metadata.name")]
    BadKey(ObjectKey),
    /// Neither an `http` nor an `https` port.
    #[error("it has neither a port named http nor one named https; give the outpost with --outpost NAME=URL")]
    NoPort,
}

impl DiscoveredOutpost {
    /// The outpost that `service` stands for.
    pub fn extract(service: &Service) -> Result<Self, NotAnOutpost> {
        let key = ObjectKey::of(&service.metadata);
        let own_name = key.name.strip_prefix("ak-outpost-").unwrap_or(&key.name);
        let name = label(&service.metadata, DISCOVERED_NAME).unwrap_or(own_name).to_owned();
        if !is_dns_label(&name) {
            return Err(NotAnOutpost::BadName(name));
        }
        if !is_dns_label(&key.namespace) || !is_dns_label(&key.name) {
            return Err(NotAnOutpost::BadKey(key));
        }
        let port_named = |wanted: &str| {
            let port = ports(service).find(|port| port.name.as_deref() == Some(wanted))?;
            u16::try_from(port.port).ok().filter(|port| *port > 0)
        };
        let (port, https) = match (port_named("http"), port_named("https")) {
            (Some(port), _) => (port, false),
            (None, Some(port)) => (port, true),
            (None, None) => return Err(NotAnOutpost::NoPort),
        };
        Ok(Self { identity: Identity::of(&service.metadata), key, name, port, https })
    }

    /// Whether it is the one inside the authentik server, which serves no app unless an admin says so.
    pub fn is_embedded(&self) -> bool {
        self.name == EMBEDDED_OUTPOST
    }
}

fn ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.spec.iter().flat_map(|spec| spec.ports.iter().flatten())
}
