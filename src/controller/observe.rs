//! How the index takes in objects of the API, whoever delivers them: a watch, or the answer to a write.

use crate::facts::{
    ConfigMapFacts, DiscoveredOutpost, IngressClassFacts, MiddlewareFacts, ObjectKey, ServiceFacts,
};
use crate::index::{Index, Key, Source};
use crate::middleware::Middleware;
use crate::plan::Dialect;
use crate::watched::WatchedIngress;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::ResourceExt;
use std::sync::Arc;
use tracing::{info, warn};

/// Kinds of which the index keeps facts.
pub(super) trait Observed {
    /// Puts the facts into the index; the answer is what that touches.
    fn observe(&self, index: &mut Index) -> Vec<Key>;
}

impl Observed for WatchedIngress {
    fn observe(&self, index: &mut Index) -> Vec<Key> {
        match index.read(&self.0) {
            Ok(facts) => index.observe_ingress(facts),
            Err(error) => {
                warn!(name = self.name_any(), %error, "the API sent an Ingress that is none");
                Vec::new()
            }
        }
    }
}

impl Observed for Service {
    fn observe(&self, index: &mut Index) -> Vec<Key> {
        let settings = Arc::clone(index.settings());
        index.observe_service(ServiceFacts::extract(self, &settings.keys))
    }
}

impl Observed for ConfigMap {
    fn observe(&self, index: &mut Index) -> Vec<Key> {
        index.observe_headers(ConfigMapFacts::extract(self))
    }
}

impl Observed for Middleware {
    fn observe(&self, index: &mut Index) -> Vec<Key> {
        let settings = Arc::clone(index.settings());
        index.observe_middleware(MiddlewareFacts::extract(self, &settings.keys))
    }
}

impl Observed for IngressClass {
    fn observe(&self, index: &mut Index) -> Vec<Key> {
        let facts = IngressClassFacts::extract(self);
        let key = facts.key.clone();
        let before = index.dialect_of(&key);
        let touched = index.observe_class(facts);
        let dialect = index.dialect_of(&key).filter(|dialect| before != Some(*dialect));
        let name = &key.name;
        match dialect {
            // The class of an ingress-nginx that is gone is often kept, and served by Traefik.
            Some(Dialect::Nginx) if !index.settings().classes.contains_key(&**name) => info!(
                class = %name, dialect = %Dialect::Nginx,
                "class found; if Traefik serves it, this dialect leaves apps open: then say --class {name}=traefik-nginx"
            ),
            Some(dialect) => info!(class = %name, %dialect, "class found"),
            None => {}
        }
        touched
    }
}

/// The same of a Service with the labels of an outpost.
pub(super) fn observe_outpost(service: &Service, index: &mut Index) -> Vec<Key> {
    match DiscoveredOutpost::extract(service) {
        Ok(facts) => index.observe_outpost(facts),
        Err(error) => {
            let key = ObjectKey::of(&service.metadata);
            warn!(service = %key, %error, "ignoring a Service with the labels of an outpost");
            index.forget(Source::Outposts, &key, None)
        }
    }
}
