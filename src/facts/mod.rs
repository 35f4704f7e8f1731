//! What the controller remembers of each Kubernetes object: extracted once from what the API sent, small, and
//! free of any decision. Nothing here takes a client, a clock or async.

mod config_map;
mod host;
mod identity;
mod ingress;
mod ingress_class;
mod middleware;
mod names;
mod service;
mod truth;

pub use config_map::ConfigMapFacts;
pub use host::{Host, is_dns_label, is_dns_subdomain};
pub use identity::Identity;
pub use ingress::{
    Annotations, AppFacts, ClassRef, IngressFacts, NoIngress, OptIn, OutpostIngressFacts, OutpostPath, Owner,
    Role,
};
pub use ingress_class::IngressClassFacts;
pub use middleware::{MiddlewareFacts, OwnMiddlewareFacts};
pub use names::Names;
pub use service::{DiscoveredOutpost, NotAnOutpost, ServiceFacts};
pub use truth::{is_go_true, is_true_to_some};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::fmt;
use std::sync::Arc;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key of these two names.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of the object with this metadata; a missing name or namespace reads as empty.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self::new(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Facts of one kind of object, as the index stores them.
pub trait Facts {
    /// Namespace and name of the object.
    fn key(&self) -> &ObjectKey;

    /// uid and version in which it was seen.
    fn identity(&self) -> &Identity;

    /// The same, to be brought up to date.
    fn identity_mut(&mut self) -> &mut Identity;
}

macro_rules! facts {
    ($($kind:ty),*) => {$(
        impl Facts for $kind {
            fn key(&self) -> &ObjectKey {
                &self.key
            }

            fn identity(&self) -> &Identity {
                &self.identity
            }

            fn identity_mut(&mut self) -> &mut Identity {
                &mut self.identity
            }
        }
    )*};
}

impl<T: Facts> Facts for Box<T> {
    fn key(&self) -> &ObjectKey {
        (**self).key()
    }

    fn identity(&self) -> &Identity {
        (**self).identity()
    }

    fn identity_mut(&mut self) -> &mut Identity {
        (**self).identity_mut()
    }
}

facts!(ConfigMapFacts, DiscoveredOutpost, IngressClassFacts, IngressFacts, MiddlewareFacts, ServiceFacts);

/// The value of the label `key`.
fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether the object carries the label of things this controller made.
fn is_ours(metadata: &ObjectMeta) -> bool {
    label(metadata, crate::contract::MANAGED_BY) == Some(crate::contract::MANAGER)
}
