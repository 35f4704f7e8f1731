//! Before something is deleted that apps may need: a fresh look at those who could.

use super::write::{WriteError, Writer};
use crate::facts::{Identity, ObjectKey};
use crate::index::Source;
use crate::plan::changes::{Change, Kind, is_deletion_due};
use crate::plan::companions::outpost_ingress_key;
use crate::watched::WatchedIngress;
use kube::Resource;
use kube::api::ListParams;

impl Writer {
    /// Before a route goes: reads its app afresh, in case the cache missed that it needs the route (again), and the routes that
    /// take its place, in case it missed that one of them is gone.
    pub(super) async fn confirm_route_is_unused(&self, route: &ObjectKey) -> Result<(), WriteError> {
        let app = self.index.with(|index| index.app_of_route(route));
        let Some(app) = app.filter(|app| outpost_ingress_key(app) == *route && !self.is_rehearsal) else {
            return Ok(());
        };
        let what = format!("cannot read Ingress {app}");
        if let Some(found) = self.call(&what, self.api::<WatchedIngress>(&app).get_opt(&app.name)).await? {
            let facts = self.facts(&found);
            if !facts.is_some_and(|facts| self.index.with(|index| index.may_lose_route(&app, &facts))) {
                self.learn(&found);
                return Err(WriteError::Stale(format!(
                    "Ingress {app} changed before its route could be deleted"
                )));
            }
        }
        for heir in self.index.with(|index| index.heirs(&app)) {
            self.confirm_is_as_known(&heir).await?;
        }
        Ok(())
    }

    /// Whether `deletion` of `route` is due by all that is known now.
    pub(super) fn is_due(&self, deletion: &Change, route: &ObjectKey) -> bool {
        self.index.with(|index| {
            // Where old news of the watch made the index forget it, nobody knows what relies on it.
            let Some(app) = index.app_of_route(route) else { return false };
            is_deletion_due(&index.view(&app), index.settings(), deletion)
        })
    }

    async fn confirm_is_as_known(&self, route: &ObjectKey) -> Result<(), WriteError> {
        let what = format!("cannot read Ingress {route}");
        let found = self.call(&what, self.api::<WatchedIngress>(route).get_opt(&route.name)).await?;
        let known = self.index.with(|index| index.identity(Source::Ingresses, route).cloned());
        if found.as_ref().map(|found| Identity::of(found.meta())) == known {
            return Ok(());
        }
        match found {
            Some(found) => self.learn(&found),
            None => {
                self.tell(self.index.with(|index| index.forget(Source::Ingresses, route, known.as_ref())));
            }
        }
        Err(WriteError::Stale(format!(
            "Ingress {route} changed before one that it replaces could be deleted"
        )))
    }

    /// Before something shared goes: reads the namespace afresh, in case the cache missed a user.
    pub(super) async fn confirm_shared_is_unused(
        &self,
        kind: Kind,
        key: &ObjectKey,
    ) -> Result<(), WriteError> {
        if self.is_rehearsal {
            return Ok(());
        }
        let what = format!("cannot list the Ingresses of namespace {}", key.namespace);
        let list = self.call(&what, self.api::<WatchedIngress>(key).list(&ListParams::default())).await?;
        let mut users = list.items.iter().filter_map(|ingress| self.facts(ingress));
        match users.find(|facts| kind.is_used_by(facts, key)) {
            None => Ok(()),
            Some(user) => Err(WriteError::Stale(format!("Ingress {} still uses {kind} {key}", user.key))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SharedIndex;
    use super::super::api_double::{api_server, failure, methods};
    use super::super::observe::Observed;
    use super::*;
    use crate::config::Settings;
    use crate::contract::{MANAGED_BY, MANAGER, OUTPOST_PATH, OUTPOST_PATH_TYPE, outpost_ingress_name};
    use crate::index::Index;
    use crate::lease::Claim;
    use crate::plan::Dialect;
    use crate::telemetry::metrics::Metrics;
    use ingress_sso_testbed::builders::{IngressBuilder, ingress};
    use k8s_openapi::api::networking::v1::Ingress;
    use serde_json::json;
    use std::sync::{Arc, Mutex};
    use tokio::sync::mpsc::unbounded_channel;

    /// An app that asks for protection. Its uid is its name.
    fn app(name: &str, created: u32) -> IngressBuilder {
        let app = ingress("shop", name).host("a.example.com").created(created);
        app.uid(name).resource_version("1").annotation("sso.djieno.com/authentik", "true")
    }

    /// The route that was made for it.
    fn route_of(app: &str) -> Ingress {
        let name = outpost_ingress_name(app);
        let route = ingress("shop", &name).host("a.example.com").uid(&name).resource_version("2");
        route
            .path(OUTPOST_PATH, OUTPOST_PATH_TYPE)
            .backend("authentik-main", 9000)
            .label(MANAGED_BY, MANAGER)
            .label("sso.djieno.com/outpost", "main")
            .annotation("sso.djieno.com/app", app)
            .build()
    }

    /// Deletes the route of the app `app` in a cluster of these objects, all of which are known. The answer is what came of it, and
    /// the methods of the requests that were sent.
    async fn delete_route(objects: Vec<Ingress>) -> (Result<(), WriteError>, Vec<String>) {
        let mut settings = Settings::default();
        settings.classes.insert("nginx".to_owned(), Dialect::Nginx);
        settings.outposts.insert("main".to_owned(), "http://main.example.com:9000".parse().unwrap());
        let mut index = Index::new(Arc::new(settings));
        for object in &objects {
            WatchedIngress(object.clone()).observe(&mut index);
        }
        for source in Source::ALL {
            index.complete(source);
        }
        let key = ObjectKey::new("shop", "app-outpost-path");
        let identity = index.identity(Source::Ingresses, &key).unwrap().clone();
        let (client, log) = api_server(move |asked| {
            let asked = asked.last()?;
            let name = asked.path.rsplit('/').next()?.trim_end_matches('?');
            let found = objects.iter().find(|object| object.metadata.name.as_deref() == Some(name));
            match (asked.method.as_str(), found) {
                ("GET", Some(found)) => Some((200, json!(found))),
                ("DELETE", Some(_)) => Some((200, json!({ "kind": "Status", "status": "Success" }))),
                _ => Some(failure(404, "NotFound")),
            }
        });
        let index = SharedIndex(Arc::new(Mutex::new(index)));
        let (touched, _keys) = unbounded_channel();
        let writer = Writer::new(client, index, touched, Claim::always(), Metrics::default());
        let result = writer.perform(&Change::Delete { kind: Kind::Ingress, key, identity }).await;
        (result, methods(&log))
    }

    #[tokio::test]
    async fn a_route_that_is_needed_again_is_not_deleted() {
        let (result, methods) = delete_route(vec![app("app", 1).build(), route_of("app")]).await;
        assert!(
            matches!(&result, Err(WriteError::Stale(text)) if text.contains("is needed again")),
            "{result:?}"
        );
        assert_eq!(methods, ["GET"], "the app is read, and no more");
    }

    /// One that does not serve this host keeps the app from being called protected, and what is told instead can be somebody
    /// else's word as well.
    #[tokio::test]
    async fn a_route_that_is_not_needed_goes_whatever_the_outpost_says() {
        let older = app("older", 1).build();
        let status = "sso.djieno.com/status";
        let app = app("app", 2).annotation(status, "Pending").applied_by(MANAGER, &[status]);
        let app = app.applied_by("kubectl", &[status]).build();
        let (result, methods) = delete_route(vec![older, route_of("older"), app, route_of("app")]).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(methods, ["GET", "GET", "DELETE"], "the app and the route that takes its place are read");
    }
}
