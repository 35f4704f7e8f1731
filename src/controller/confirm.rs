//! Before something is deleted that apps may need: a fresh look at those who could.

use super::write::{Watched, WriteError, Writer, source};
use crate::facts::{Identity, ObjectKey};
use crate::index::Index;
use crate::plan::changes::{Change, Kind, is_deletion_due};
use crate::plan::companions::outpost_ingress_key;
use crate::watched::WatchedIngress;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;

impl Writer {
    /// Before a route goes: reads its app afresh, in case the cache missed that it needs the route (again), and the routes that
    /// take its place with what they lead through, in case it missed that one of them is gone.
    pub(super) async fn confirm_route_is_unused(&self, route: &ObjectKey) -> Result<(), WriteError> {
        let app = self.index.with(|index| index.app_of_route(route));
        let Some(app) = app.filter(|app| outpost_ingress_key(app) == *route && !self.is_rehearsal) else {
            return Ok(());
        };
        let what = format!("cannot read Ingress {app}");
        let question = self.ask::<WatchedIngress>(&app);
        if let Some(found) = self.call(&what, self.api::<WatchedIngress>(&app).get_opt(&app.name)).await? {
            let facts = self.facts(&found);
            if !facts.is_some_and(|facts| self.index.with(|index| index.may_lose_route(&app, &facts))) {
                self.has_learnt(&question, &found);
                return Err(WriteError::Stale(format!(
                    "Ingress {app} changed before its route could be deleted"
                )));
            }
        }
        for (heir, service) in self.index.with(|index| index.heirs(&app)) {
            self.confirm_is_as_known::<WatchedIngress>(&heir).await?;
            self.confirm_is_as_known::<Service>(&service).await?;
        }
        Ok(())
    }

    async fn confirm_is_as_known<K: Watched>(&self, key: &ObjectKey) -> Result<(), WriteError> {
        let (kind, source) = (K::KIND, source(K::KIND));
        let known = self.index.with(|index| index.identity(source, key).cloned());
        let found = self.read_again::<K>(key, &format!("cannot read {kind} {key}")).await?;
        if found.map(|found| Identity::of(found.meta())) == known {
            return Ok(());
        }
        Err(WriteError::Stale(format!(
            "{kind} {key} changed before a route could be deleted whose place it takes"
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

/// Whether `deletion` of `route` is due by all that is known now.
pub(super) fn is_due(index: &Index, deletion: &Change, route: &ObjectKey) -> bool {
    // Where old news of the watch made the index forget it, nobody knows what relies on it.
    let Some(app) = index.app_of_route(route) else { return false };
    is_deletion_due(&index.view(&app), index.settings(), deletion)
}

#[cfg(test)]
mod tests {
    use super::super::SharedIndex;
    use super::super::api_double::{api_server, failure, methods};
    use super::super::observe::Observed;
    use super::super::write::shared_key;
    use super::*;
    use crate::config::Settings;
    use crate::contract::{MANAGED_BY, MANAGER, OUTPOST_PATH, OUTPOST_PATH_TYPE, outpost_ingress_name};
    use crate::index::{Key, Source};
    use crate::lease::Claim;
    use crate::plan::changes::{Companion, app_plan};
    use crate::plan::{Dialect, HostHolder, decide};
    use crate::telemetry::metrics::Metrics;
    use ingress_sso_testbed::builders::{IngressBuilder, external_name_service, ingress};
    use k8s_openapi::api::networking::v1::Ingress;
    use kube::Client;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicBool, Ordering};
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

    /// An index that knows these objects, and that there are no others.
    fn index(objects: &[&dyn Observed]) -> Index {
        let mut settings = Settings::default();
        settings.classes.insert("nginx".to_owned(), Dialect::Nginx);
        settings.classes.insert("traefik".to_owned(), Dialect::Traefik);
        settings.outposts.insert("main".to_owned(), "http://main.example.com:9000".parse().unwrap());
        let mut index = Index::new(Arc::new(settings));
        for object in objects {
            object.observe(&mut index);
        }
        for source in Source::ALL {
            index.complete(source);
        }
        index
    }

    fn writer(client: Client, index: &SharedIndex) -> Writer {
        Writer::new(client, index.clone(), unbounded_channel().0, Claim::always(), Metrics::default())
    }

    /// What the routes of these apps lead through.
    fn service() -> Service {
        let mut service = external_name_service("shop", "authentik-main", "main.example.com", 9000);
        service.metadata.labels = Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into());
        service
    }

    /// Deletes the route of the app `app` in a cluster of these objects, all of which are known. The answer is what came of it, and
    /// the methods of the requests that were sent.
    async fn delete_route(objects: Vec<Ingress>) -> (Result<(), WriteError>, Vec<String>) {
        let watched: Vec<WatchedIngress> = objects.iter().cloned().map(WatchedIngress).collect();
        let service = service();
        let mut known: Vec<&dyn Observed> = watched.iter().map(|object| object as &dyn Observed).collect();
        known.push(&service);
        let index = index(&known);
        let key = ObjectKey::new("shop", "app-outpost-path");
        let identity = index.identity(Source::Ingresses, &key).unwrap().clone();
        let there: Vec<Value> = objects.iter().map(|object| json!(object)).chain([json!(service)]).collect();
        let (client, log) = api_server(move |asked| {
            let asked = asked.last()?;
            let name = asked.path.rsplit('/').next()?.trim_end_matches('?');
            let found = there.iter().find(|object| object["metadata"]["name"] == name);
            match (asked.method.as_str(), found) {
                ("GET", Some(found)) => Some((200, found.clone())),
                ("DELETE", Some(_)) => Some((200, json!({ "kind": "Status", "status": "Success" }))),
                _ => Some(failure(404, "NotFound")),
            }
        });
        let index = SharedIndex(Arc::new(Mutex::new(index)));
        let change = Change::Delete { kind: Kind::Ingress, key, identity };
        let result = writer(client, &index).perform(&change).await;
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
        assert_eq!(
            methods,
            ["GET", "GET", "GET", "DELETE"],
            "the app, the route that takes its place, and its Service"
        );
    }

    /// What has to be made for the app before it is protected, but for its route.
    fn missing(index: &Index, app: &ObjectKey) -> Vec<Companion> {
        let (view, settings) = (index.view(app), index.settings());
        let plan = app_plan(&view, &decide(&view, settings), &settings.keys, false);
        let made = plan.stages.into_iter().flatten().filter_map(|change| match change {
            Change::Create(companion) => Some(companion),
            _ => None,
        });
        made.filter(|companion| companion.kind() != Kind::Ingress).collect()
    }

    /// `companion` as the API server has it.
    fn stored(mut companion: Companion) -> Box<dyn Observed> {
        let metadata = match &mut companion {
            Companion::Ingress(object) => &mut object.metadata,
            Companion::Service(object) => &mut object.metadata,
            Companion::ConfigMap(object) => &mut object.metadata,
            Companion::Middleware(object) => &mut object.metadata,
        };
        metadata.uid = Some("u".to_owned());
        metadata.resource_version = Some("1".to_owned());
        match companion {
            Companion::Ingress(object) => Box::new(WatchedIngress(*object)),
            Companion::Service(object) => object,
            Companion::ConfigMap(object) => object,
            Companion::Middleware(object) => object,
        }
    }

    /// Deletes the only object in the namespace of `app`, which comes to need it while the API server deletes it, or fails to. The
    /// answer is whether the app had to have it made meanwhile, and whether it has afterwards.
    async fn delete_while_it_comes(
        app: &WatchedIngress,
        companion: Companion,
        is_done: bool,
    ) -> (bool, bool) {
        let (kind, key) = (companion.kind(), companion.key());
        let index = SharedIndex(Arc::new(Mutex::new(index(&[&*stored(companion)]))));
        let due = index.with(|index| index.plan_shared(&shared_key(kind, &key))).unwrap();
        let (shared, known, app) = (Arc::new(AtomicBool::new(false)), index.clone(), app.clone());
        let app_key = ObjectKey::of(&app.0.metadata);
        let is_missing =
            move |index: &mut Index| missing(index, &app_key).iter().any(|made| made.key() == key);
        let (meanwhile, look) = (Arc::clone(&shared), is_missing.clone());
        let (client, _) = api_server(move |asked| {
            if asked.last()?.method == "GET" {
                return Some((200, json!({ "metadata": {}, "items": [] })));
            }
            known.with(|index| app.observe(index));
            meanwhile.store(known.with(&look), Ordering::Relaxed);
            let success = (200, json!({ "kind": "Status", "status": "Success" }));
            Some(if is_done { success } else { failure(500, "InternalError") })
        });
        let result = writer(client, &index).perform(&due).await;
        assert_eq!(result.is_ok(), is_done, "{kind}: {result:?}");
        (shared.load(Ordering::Relaxed), index.with(is_missing))
    }

    #[tokio::test]
    async fn an_app_that_comes_does_not_rely_on_what_is_being_deleted() {
        let mut kinds = Vec::new();
        for class in ["nginx", "traefik"] {
            let app = WatchedIngress(app("app", 1).class(class).build());
            for companion in missing(&index(&[&app]), &ObjectKey::of(&app.0.metadata)) {
                let kind = companion.kind();
                let deleted = delete_while_it_comes(&app, companion.clone(), true).await;
                assert_eq!(deleted, (true, true), "{kind}");
                let not_deleted = delete_while_it_comes(&app, companion, false).await;
                assert_eq!(not_deleted, (true, false), "{kind}: it stays, and will do");
                kinds.push(kind);
            }
        }
        assert_eq!(kinds, [Kind::Service, Kind::ConfigMap, Kind::Middleware]);
    }

    #[test]
    fn an_app_does_not_rely_on_a_route_of_another_that_goes_or_leads_nowhere() {
        let [older, route, app] =
            [app("older", 1).build(), route_of("older"), app("app", 2).build()].map(WatchedIngress);
        let service = service();
        let mut index = index(&[&older, &route, &app, &service]);
        let (app, service_key) = (ObjectKey::of(&app.0.metadata), ObjectKey::of(&service.metadata));
        let route = ObjectKey::of(&route.0.metadata);
        let is_ready = |index: &Index| {
            let holders = index.view(&app).holders;
            matches!(&holders[..], [(_, HostHolder::Other { is_ready: true, .. })])
        };
        assert!(is_ready(&index));
        let deleting = [
            (Source::Ingresses, &route, Key::App(ObjectKey::of(&older.0.metadata))),
            (Source::Services, &service_key, Key::Service(service_key.clone())),
        ];
        for (source, key, by) in deleting {
            index.leave(source, key);
            assert!(!is_ready(&index), "{key} is being deleted");
            let touched = index.stay(source, key);
            assert!(is_ready(&index), "{key} stays");
            assert!(touched.contains(&Key::App(app.clone())), "{key} stays: {touched:?}");
            assert!(!touched.contains(&by), "a deletion that fails is not tried again at once: {touched:?}");
        }
        let touched = index.forget(Source::Services, &service_key, None);
        assert!(!is_ready(&index), "the Service is gone");
        assert!(touched.contains(&Key::App(app.clone())), "{touched:?}");
        let touched = service.observe(&mut index);
        assert!(is_ready(&index), "the Service is there again");
        assert!(touched.contains(&Key::App(app.clone())), "{touched:?}");
    }
}
