//! The apps among the Ingresses that the API delivers, as they were seen last.

use super::row::Row;
use crate::contract::Keys;
use crate::facts::{IngressFacts, ObjectKey};
use crate::plan::companions::outpost_ingress_key;
use crate::watched::WatchedIngress;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Apps {
    keys: Keys,
    rows: BTreeMap<ObjectKey, Row>,
    /// By the key of each outpost Ingress.
    routes: BTreeMap<ObjectKey, Route>,
}

/// What an outpost Ingress says of an app.
#[derive(Debug)]
struct Route {
    app: ObjectKey,
    outpost: Option<Arc<str>>,
}

impl Apps {
    /// None yet.
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, rows: BTreeMap::new(), routes: BTreeMap::new() }
    }

    /// None yet, with the same keys of annotations.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.keys.clone())
    }

    /// Learns an Ingress as it is now. Returns the keys of which [`Apps::row`] may say something new.
    pub(super) fn see(&mut self, ingress: &WatchedIngress) -> BTreeSet<ObjectKey> {
        let key = ObjectKey::of(&ingress.0.metadata);
        let mut touched = self.forget(&key);
        let Ok(facts) = IngressFacts::extract(&ingress.0, &self.keys) else { return touched };
        if let Some(row) = Row::of(ingress, &facts, &self.keys) {
            self.rows.insert(key, row);
        } else if let Some(route) = facts.outpost_ingress() {
            let app = ObjectKey::new(key.namespace.clone(), route.app.clone());
            touched.insert(app.clone());
            self.routes.insert(key, Route { app, outpost: route.outpost.clone() });
        }
        touched
    }

    /// Learns that there is no such Ingress. Returns what [`Apps::see`] does.
    pub(super) fn forget(&mut self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        self.rows.remove(key);
        let route = self.routes.remove(key);
        route.map(|route| route.app).into_iter().chain([key.clone()]).collect()
    }

    /// What there is to say of one app; `None` where there is none of this key.
    pub(super) fn row(&self, key: &ObjectKey) -> Option<Row> {
        let route = self.routes.get(&outpost_ingress_key(key));
        Some(self.rows.get(key)?.clone().with_route_to(route.and_then(|route| route.outpost.as_deref())))
    }

    /// Keys of all apps, the most urgent first, and by namespace and name among equals.
    pub(super) fn by_urgency(&self) -> Vec<ObjectKey> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(_, row)| row.urgency());
        rows.into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// Keys of all apps.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.rows.keys()
    }
}
