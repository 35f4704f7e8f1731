//! What is remembered of a Traefik Middleware.

use super::{Identity, ObjectKey, is_ours, label};
use crate::contract::Keys;
use crate::middleware::{ForwardAuth, Middleware};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A Middleware, whoever made it: two of different namespaces can have the same name for Traefik.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiddlewareFacts {
    /// Namespace and name.
    pub key: ObjectKey,
    /// uid and version in which it was seen.
    pub identity: Identity,
    /// What is special to one that matters to this controller; `None` for all the others.
    pub own: Option<Box<OwnMiddlewareFacts>>,
}

/// A Middleware that this controller made, or that stands where it would make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMiddlewareFacts {
    /// Whether it carries the label of things this controller made.
    pub ours: bool,
    /// Value of the label that names the outpost.
    pub outpost: Option<String>,
    /// Whom it asks about requests.
    pub forward_auth: Option<ForwardAuth>,
    /// What it does besides, by the names of the fields.
    pub other_steps: Vec<String>,
}

impl MiddlewareFacts {
    /// The facts of `middleware`.
    pub fn extract(middleware: &Middleware, keys: &Keys) -> Self {
        let metadata = &middleware.metadata;
        let matters = is_ours(metadata) || is_named_like_ours(metadata);
        let own = || OwnMiddlewareFacts {
            ours: is_ours(metadata),
            outpost: label(metadata, &keys.outpost).map(str::to_owned),
            forward_auth: middleware.spec.forward_auth.clone(),
            other_steps: middleware.spec.others.keys().cloned().collect(),
        };
        Self {
            key: ObjectKey::of(metadata),
            identity: Identity::of(metadata),
            own: matters.then(|| Box::new(own())),
        }
    }

    /// Whether it carries the label of things this controller made.
    pub fn is_ours(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.ours)
    }

    /// The outpost that it asks, by its label.
    pub fn outpost(&self) -> Option<&str> {
        self.own.as_ref()?.outpost.as_deref()
    }

    /// Whether it does what `desired` does, and nothing else.
    pub fn does_the_same_as(&self, desired: &Self) -> bool {
        let (found, desired) = (self.own.as_deref(), desired.own.as_deref());
        found.map(|own| (&own.forward_auth, &own.other_steps))
            == desired.map(|own| (&own.forward_auth, &own.other_steps))
    }

    /// Whether an observed object is as `desired` wants it, all that others added to its metadata left aside.
    pub fn matches(&self, desired: &Self) -> bool {
        self.does_the_same_as(desired) && self.outpost() == desired.outpost()
    }

    /// How Traefik calls it: namespace and name with all that is neither letter nor digit as a single dash.
    ///
    /// After `provider.Normalize` and `makeID` of Traefik 3.7.9.
    pub fn spelling(key: &ObjectKey) -> String {
        let joined = format!("{}-{}", key.namespace, key.name);
        let parts =
            joined.split(|character: char| !character.is_alphanumeric()).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("-")
    }
}

/// Whether a Middleware of ours could have this name.
fn is_named_like_ours(metadata: &ObjectMeta) -> bool {
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    let outpost = name.and_then(|name| crate::contract::outpost_named_in(namespace?, name));
    outpost.is_some()
}
