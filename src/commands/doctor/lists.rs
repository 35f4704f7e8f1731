//! What the cluster holds, put into the same index as the controller has.

use super::right::{Right, is_forbidden};
use crate::config::{Scope, Settings};
use crate::contract::{DISCOVERY_SELECTOR, MANAGED_BY, MANAGER};
use crate::errors::brief;
use crate::facts::{
    ConfigMapFacts, DiscoveredOutpost, IngressClassFacts, IngressFacts, MiddlewareFacts, NotAnOutpost,
    ObjectKey, ServiceFacts,
};
use crate::index::{Index, Key, Source};
use crate::middleware::Middleware;
use crate::plan::changes::{Change, Companion, decided_plan};
use crate::watched::WatchedIngress;
use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// How many single objects are asked for at once.
const AT_ONCE: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) index: Index,
    /// `IngressClasses`, which the index does not show.
    pub(super) classes: Vec<IngressClassFacts>,
    /// Outposts that were discovered.
    pub(super) outposts: Vec<DiscoveredOutpost>,
    /// Services with the labels of an outpost that are none.
    pub(super) no_outposts: Vec<(ObjectKey, NotAnOutpost)>,
    /// Whether the cluster has Traefik's Middlewares.
    pub(super) has_middlewares: bool,
    /// Apps in the namespace that was asked for, where the controller does not look into it.
    pub(super) out_of_scope: Vec<ObjectKey>,
    /// What could not be listed.
    pub(super) gaps: Vec<Gap>,
}

/// A list that could not be had.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    /// What it would have told.
    pub(super) source: Source,
    /// The right that it takes.
    pub(super) right: Right,
    /// What the API server said.
    pub(super) error: String,
    /// Whether it is for want of that right.
    pub(super) is_forbidden: bool,
    /// Whether there is a list of one namespace instead.
    pub(super) is_partial: bool,
}

impl Lists {
    /// None of them yet.
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            index: Index::new(Arc::new(settings)),
            classes: Vec::new(),
            outposts: Vec::new(),
            no_outposts: Vec::new(),
            has_middlewares: true,
            out_of_scope: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Lists all that the controller watches. What may not be listed in all namespaces is listed in `namespace`, and what
    /// may not be listed at all is a gap.
    pub(super) async fn gather(
        client: &Client,
        settings: Settings,
        scope: &Scope,
        outpost_scope: &Scope,
        namespace: Option<&str>,
    ) -> Self {
        let mut lists = Self::new(settings);
        lists.list_classes(client).await;
        lists.list_outposts(client, outpost_scope).await;
        let all = ListParams::default();
        let gathering = Gathering { client, scope, namespace };
        let found = gathering.list::<WatchedIngress>(Source::Ingresses, &all, &mut lists.gaps).await;
        lists.take_in(Source::Ingresses, found, |index, WatchedIngress(ingress)| {
            let settings = Arc::clone(index.settings());
            if let Ok(facts) = IngressFacts::extract(ingress, &settings.keys) {
                index.observe_ingress(facts);
            }
        });
        let external = ListParams::default().fields("spec.type=ExternalName");
        let found = gathering.list::<Service>(Source::Services, &external, &mut lists.gaps).await;
        lists.take_in(Source::Services, found, observe_service);
        let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
        let found = gathering.list::<ConfigMap>(Source::ConfigMaps, &ours, &mut lists.gaps).await;
        lists.take_in(Source::ConfigMaps, found, observe_config_map);
        lists.list_middlewares(&gathering).await;
        lists.look_out_of_scope(&gathering).await;
        lists.see_taken_names(client).await;
        lists
    }

    /// Whether what the controller would make can be told from what is there.
    pub(super) fn can_compare(&self) -> bool {
        let needed = [Source::Ingresses, Source::Services, Source::ConfigMaps];
        needed.iter().all(|source| self.index.has_complete(*source))
    }

    /// Whether it is known where the routes in other namespaces lead.
    pub(super) fn sees_all_services(&self) -> bool {
        !self.gaps.iter().any(|gap| gap.source == Source::Services)
    }

    /// Takes in what was listed; `None` is a gap.
    fn take_in<K>(&mut self, source: Source, found: Option<Vec<K>>, observe: impl Fn(&mut Index, &K)) {
        let Some(found) = found else { return };
        for object in found {
            observe(&mut self.index, &object);
        }
        self.index.complete(source);
    }

    async fn list_classes(&mut self, client: &Client) {
        match list(&Api::<IngressClass>::all(client.clone()), &ListParams::default()).await {
            Ok(classes) => {
                self.classes = classes.iter().map(IngressClassFacts::extract).collect();
                self.take_in(Source::Classes, Some(self.classes.clone()), |index, class| {
                    index.observe_class(class.clone());
                });
            }
            Err(error) => self.gaps.push(Gap::new::<IngressClass>(Source::Classes, None, &error)),
        }
    }

    async fn list_outposts(&mut self, client: &Client, scope: &Scope) {
        let params = ListParams::default().labels(DISCOVERY_SELECTOR);
        let gathering = Gathering { client, scope, namespace: None };
        let Some(services) = gathering.list::<Service>(Source::Outposts, &params, &mut self.gaps).await
        else {
            return;
        };
        for service in services {
            match DiscoveredOutpost::extract(&service) {
                Ok(outpost) => self.outposts.push(outpost),
                Err(error) => self.no_outposts.push((ObjectKey::of(&service.metadata), error)),
            }
        }
        self.take_in(Source::Outposts, Some(self.outposts.clone()), |index, outpost| {
            index.observe_outpost(outpost.clone());
        });
    }

    async fn list_middlewares(&mut self, gathering: &Gathering<'_>) {
        let (api, params) =
            (Api::<Middleware>::all(gathering.client.clone()), ListParams::default().limit(1));
        if matches!(api.list(&params).await, Err(kube::Error::Api(status)) if status.code == 404) {
            self.has_middlewares = false;
            self.index.miss_middlewares();
            return;
        }
        let all = ListParams::default();
        let found = gathering.list::<Middleware>(Source::Middlewares, &all, &mut self.gaps).await;
        self.take_in(Source::Middlewares, found, |index, middleware| {
            let settings = Arc::clone(index.settings());
            index.observe_middleware(MiddlewareFacts::extract(middleware, &settings.keys));
        });
    }

    /// Finds apps that nobody serves since the controller is told to look elsewhere.
    async fn look_out_of_scope(&mut self, gathering: &Gathering<'_>) {
        let (Scope::Namespaces(names), Some(namespace)) = (gathering.scope, gathering.namespace) else {
            return;
        };
        if names.contains(namespace) {
            return;
        }
        let api = Api::<WatchedIngress>::namespaced(gathering.client.clone(), namespace);
        match list(&api, &ListParams::default()).await {
            Ok(ingresses) => {
                let keys = &self.index.settings().keys;
                let facts =
                    ingresses.iter().filter_map(|ingress| IngressFacts::extract(&ingress.0, keys).ok());
                self.out_of_scope = facts.filter(IngressFacts::is_opted_in).map(|facts| facts.key).collect();
            }
            Err(error) => {
                self.gaps.push(Gap::new::<WatchedIngress>(Source::Ingresses, Some(namespace), &error));
            }
        }
    }

    /// Services and `ConfigMaps` that are in the controller's way and not among those that it watches: it finds them when it
    /// cannot create its own, so whatever it would create is looked for.
    async fn see_taken_names(&mut self, client: &Client) {
        let mut seen = BTreeSet::new();
        // One that is found can be the reason for another to be wanted.
        for _ in 0..3 {
            let wanted: Vec<Companion> =
                self.wanted().into_iter().filter(|companion| seen.insert(companion.key())).collect();
            if wanted.is_empty() || !self.can_compare() {
                return;
            }
            let found = stream::iter(wanted).map(|companion| in_the_way(client, companion));
            let found: Vec<Option<InTheWay>> = found.buffered(AT_ONCE).collect().await;
            for object in found.into_iter().flatten() {
                match object {
                    InTheWay::Service(service) => observe_service(&mut self.index, &service),
                    InTheWay::ConfigMap(config_map) => observe_config_map(&mut self.index, &config_map),
                }
            }
        }
    }

    /// What the controller would create.
    fn wanted(&self) -> Vec<Companion> {
        let settings = self.index.settings();
        let plans = self.index.all_keys().into_iter().filter_map(|key| {
            let Key::App(app) = key else { return None };
            Some(decided_plan(&self.index.view(&app), settings, false))
        });
        let changes = plans.flat_map(|plan| plan.stages).flatten();
        changes
            .filter_map(|change| match change {
                Change::Create(companion) => Some(companion),
                _ => None,
            })
            .collect()
    }
}

/// What stands where a companion is to be.
enum InTheWay {
    Service(Box<Service>),
    ConfigMap(Box<ConfigMap>),
}

async fn in_the_way(client: &Client, companion: Companion) -> Option<InTheWay> {
    let ObjectKey { namespace, name } = companion.key();
    match companion {
        Companion::Service(_) => {
            let found = Api::namespaced(client.clone(), &namespace).get_opt(&name).await.ok()??;
            Some(InTheWay::Service(Box::new(found)))
        }
        Companion::ConfigMap(_) => {
            let found = Api::namespaced(client.clone(), &namespace).get_opt(&name).await.ok()??;
            Some(InTheWay::ConfigMap(Box::new(found)))
        }
        // All of them are watched.
        Companion::Ingress(_) | Companion::Middleware(_) => None,
    }
}

impl Gap {
    fn new<K: Resource<DynamicType = ()>>(
        source: Source,
        namespace: Option<&str>,
        error: &kube::Error,
    ) -> Self {
        Self {
            source,
            right: Right::to_list::<K>(namespace),
            error: brief(error),
            is_forbidden: is_forbidden(error),
            is_partial: false,
        }
    }
}

/// Where lists are made.
struct Gathering<'a> {
    client: &'a Client,
    scope: &'a Scope,
    namespace: Option<&'a str>,
}

impl Gathering<'_> {
    /// The objects of a kind in scope; where all namespaces are and may not be listed, those of one namespace.
    async fn list<K>(&self, source: Source, params: &ListParams, gaps: &mut Vec<Gap>) -> Option<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let namespaced = |name: &str| Api::<K>::namespaced(self.client.clone(), name);
        match self.scope {
            Scope::Cluster => match list(&Api::<K>::all(self.client.clone()), params).await {
                Ok(found) => Some(found),
                Err(error) => {
                    let mut gap = Gap::new::<K>(source, None, &error);
                    let found = match self.namespace.filter(|_| gap.is_forbidden) {
                        Some(namespace) => list(&namespaced(namespace), params).await.ok(),
                        None => None,
                    };
                    gap.is_partial = found.is_some();
                    gaps.push(gap);
                    found
                }
            },
            Scope::Namespaces(names) => {
                let mut all = Vec::new();
                for name in names {
                    match list(&namespaced(name), params).await {
                        Ok(found) => all.extend(found),
                        Err(error) => {
                            gaps.push(Gap::new::<K>(source, Some(name), &error));
                            return None;
                        }
                    }
                }
                Some(all)
            }
        }
    }
}

/// All objects, page by page.
async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut params = params.clone().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn observe_service(index: &mut Index, service: &Service) {
    let settings = Arc::clone(index.settings());
    index.observe_service(ServiceFacts::extract(service, &settings.keys));
}

fn observe_config_map(index: &mut Index, config_map: &ConfigMap) {
    index.observe_headers(ConfigMapFacts::extract(config_map));
}
