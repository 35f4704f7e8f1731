//! An index with what is in a cluster.

use crate::inputs::{ApiServer, Settled, empty_index, facts, settings};
use anyhow::Result;
use ingress_sso::config::Settings;
use ingress_sso::facts::{ConfigMapFacts, MiddlewareFacts, ObjectKey, ServiceFacts};
use ingress_sso::index::Index;
use ingress_sso::plan::changes::Companion;
use ingress_sso_testbed::builders::{IngressBuilder, helm_ingress};
use ingress_sso_testbed::scene::OPT_IN;
use serde_json::Value;
use std::sync::Arc;

/// Of a mixed crowd, one in so many is a protected app.
const APPS_ARE_ONE_IN: usize = 10;

const IN_A_NAMESPACE: usize = 100;

/// See the module's documentation.
pub(crate) struct World {
    pub(crate) settings: Arc<Settings>,
    pub(crate) server: ApiServer,
    pub(crate) index: Index,
}

impl World {
    /// An empty cluster.
    pub(crate) fn empty() -> Result<Self> {
        let settings = settings()?;
        Ok(Self { index: empty_index(&settings), settings, server: ApiServer::default() })
    }

    /// A cluster with `number` Ingresses of all sorts in many namespaces.
    pub(crate) fn crowded(number: usize) -> Result<Self> {
        let mut world = Self::empty()?;
        for position in 0..number {
            let (namespace, name) =
                (format!("team-{}", position / IN_A_NAMESPACE), format!("app-{position}"));
            let ingress = helm_ingress(&namespace, &name);
            if position.is_multiple_of(APPS_ARE_ONE_IN) {
                world.protect(ingress.annotation(OPT_IN, "true"))?;
            } else {
                world.add(ingress)?;
            }
        }
        Ok(world)
    }

    /// Adds an Ingress, for which the controller has not done anything yet.
    pub(crate) fn add(&mut self, ingress: IngressBuilder) -> Result<ObjectKey> {
        let ingress = self.server.applied(ingress.build())?;
        self.observe(&ingress)
    }

    /// Adds an app with all that the controller makes for it.
    pub(crate) fn protect(&mut self, app: IngressBuilder) -> Result<ObjectKey> {
        let settled = self.settle(app)?;
        for companion in &settled.companions {
            self.observe_companion(companion)?;
        }
        self.observe(&settled.ingress)
    }

    /// What the controller makes of an app; the index does not learn of it.
    pub(crate) fn settle(&mut self, app: IngressBuilder) -> Result<Settled> {
        let app = self.server.applied(app.build())?;
        self.server.settle(app, &self.settings)
    }

    pub(crate) fn observe(&mut self, ingress: &Value) -> Result<ObjectKey> {
        let facts = facts(ingress, &self.settings)?;
        let key = facts.key.clone();
        self.index.observe_ingress(facts);
        Ok(key)
    }

    pub(crate) fn observe_companion(&mut self, companion: &Companion) -> Result<()> {
        let keys = &self.settings.keys;
        match companion {
            Companion::Ingress(route) => {
                let route = self.server.made(route)?;
                self.observe(&route)?;
            }
            Companion::Service(service) => {
                self.index.observe_service(ServiceFacts::extract(service, keys));
            }
            Companion::ConfigMap(headers) => {
                self.index.observe_headers(ConfigMapFacts::extract(headers));
            }
            Companion::Middleware(middleware) => {
                self.index.observe_middleware(MiddlewareFacts::extract(middleware, keys));
            }
        }
        Ok(())
    }
}
