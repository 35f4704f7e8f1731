//! Watches the API and feeds the index. Each watch stands alone: one that fails is logged, counted and tried again
//! by itself, and stops none of the others.

use super::SharedIndex;
use super::lookout::Lookout;
use super::observe::{Observed, observe_outpost};
use super::queue::backoff;
use crate::config::Scope;
use crate::contract::{DISCOVERY_SELECTOR, MANAGED_BY, MANAGER};
use crate::errors::brief;
use crate::facts::{Identity, ObjectKey};
use crate::index::{Index, Key, Source};
use crate::middleware::Middleware;
use crate::telemetry::metrics::{Metrics, WatchHealth};
use crate::watched::WatchedIngress;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::runtime::watcher;
use kube::runtime::watcher::{Config, Error, Event, InitialListStrategy};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// How often the delay of a failing watch doubles: up to 26 seconds. There are few watches, and while one fails nobody
/// sees what it would show.
const MAX_DOUBLINGS: u32 = 8;

/// How long a watch that failed must have been quiet to count as working again: one that goes on where it was says nothing
/// until something changes. A connection that does not come about has failed by then.
const SETTLED: Duration = Duration::from_secs(45);

/// Puts an object into the index; the answer is what that touches.
type Observe<K> = fn(&K, &mut Index) -> Vec<Key>;

/// What one watch needs besides its API.
struct Watch<K> {
    source: Source,
    /// The only namespace this watch covers, or all.
    namespace: Option<String>,
    config: Config,
    observe: Observe<K>,
    /// What it means that the API server does not know the kind; `None` for those that every server knows.
    missing: Option<fn(&mut Index) -> Vec<Key>>,
    lookout: Lookout,
    health: WatchHealth,
    /// How many watches of the same source have yet to deliver their first list.
    outstanding: Arc<AtomicUsize>,
}

/// Starts all watches. Keys that changes touch go to `touched`.
pub(super) fn start(
    client: &Client,
    index: &SharedIndex,
    touched: &UnboundedSender<Vec<Key>>,
    metrics: &Metrics,
    scope: &Scope,
    outpost_scope: &Scope,
) -> JoinSet<()> {
    let starter = Starter { client, index, touched, metrics };
    let mut tasks = JoinSet::new();
    let external = Config::default().fields("spec.type=ExternalName");
    let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let outposts = Config::default().labels(DISCOVERY_SELECTOR);
    let all = Config::default();
    starter.namespaced(&mut tasks, scope, Source::Ingresses, &all, WatchedIngress::observe, None);
    starter.namespaced(&mut tasks, scope, Source::Services, &external, Service::observe, None);
    starter.namespaced(&mut tasks, scope, Source::ConfigMaps, &ours, ConfigMap::observe, None);
    starter.namespaced(&mut tasks, outpost_scope, Source::Outposts, &outposts, observe_outpost, None);
    let missing = Some(Index::miss_middlewares as fn(&mut Index) -> Vec<Key>);
    starter.namespaced(&mut tasks, scope, Source::Middlewares, &all, Middleware::observe, missing);
    let classes = Watch {
        source: Source::Classes,
        namespace: None,
        config: Config::default(),
        observe: IngressClass::observe as Observe<IngressClass>,
        missing: None,
        lookout: Lookout::new(),
        health: metrics.watch_health(Source::Classes, 1),
        outstanding: Arc::new(AtomicUsize::new(1)),
    };
    starter.spawn(&mut tasks, Api::all(client.clone()), classes);
    tasks
}

struct Starter<'a> {
    client: &'a Client,
    index: &'a SharedIndex,
    touched: &'a UnboundedSender<Vec<Key>>,
    metrics: &'a Metrics,
}

impl Starter<'_> {
    /// One watch for the whole cluster, or one for each namespace in scope.
    fn namespaced<K>(
        &self,
        tasks: &mut JoinSet<()>,
        scope: &Scope,
        source: Source,
        config: &Config,
        observe: Observe<K>,
        missing: Option<fn(&mut Index) -> Vec<Key>>,
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let namespaces: Vec<Option<String>> = match scope {
            Scope::Cluster => vec![None],
            Scope::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        };
        let outstanding = Arc::new(AtomicUsize::new(namespaces.len()));
        let health = self.metrics.watch_health(source, namespaces.len());
        let first = Lookout::new();
        for (position, namespace) in namespaces.into_iter().enumerate() {
            let lookout = if position == 0 { first.clone() } else { first.of_another() };
            let api = match &namespace {
                None => Api::all(self.client.clone()),
                Some(name) => Api::namespaced(self.client.clone(), name),
            };
            let (health, outstanding) = (health.clone(), Arc::clone(&outstanding));
            let config = config.clone();
            let watch = Watch { source, namespace, config, observe, missing, lookout, health, outstanding };
            self.spawn(tasks, api, watch);
        }
    }

    fn spawn<K>(&self, tasks: &mut JoinSet<()>, api: Api<K>, watch: Watch<K>)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let (index, touched) = (self.index.clone(), self.touched.clone());
        tasks.spawn(run(api, watch, index, touched));
    }
}

async fn run<K>(api: Api<K>, mut watch: Watch<K>, index: SharedIndex, touched: UnboundedSender<Vec<Key>>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = events(&api, &watch.config, InitialListStrategy::StreamingList);
    let mut listed = HashSet::new();
    let mut is_first_list = true;
    let mut failures = 0;
    while let Some(event) = next(&mut events, &mut watch.health, is_first_list).await {
        let event = match event {
            Ok(event) => event,
            Err(error) if refuses_to_stream(&error) => {
                debug!(source = ?watch.source, "the API server does not stream lists, reading them in pages");
                events = self::events(&api, &watch.config, InitialListStrategy::ListWatch);
                continue;
            }
            Err(error) => {
                // Not kube's own backoff: each new attempt begins with a good event, which would reset it.
                let delay = backoff(failures.min(MAX_DOUBLINGS));
                if let Some(missing) = watch.missing.filter(|_| is_unknown_kind(&error)) {
                    if !std::mem::replace(&mut is_first_list, true) {
                        watch.outstanding.fetch_add(1, Ordering::AcqRel);
                    }
                    if failures == 0 {
                        info!(source = ?watch.source, "the API server does not know this kind, looking again now and then");
                    }
                    if touched.send(index.with(missing)).is_err() {
                        return;
                    }
                    watch.health.works();
                    watch.lookout.missed(delay).await;
                } else {
                    report(&mut watch, &error, failures);
                    sleep(delay).await;
                }
                failures += 1;
                continue;
            }
        };
        if !matches!(event, Event::Init) {
            failures = 0;
            watch.lookout.found();
        }
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            watch.health.works();
        }
        let keys = match event {
            Event::Init => {
                listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                listed.insert(ObjectKey::of(object.meta()));
                index.with(|index| (watch.observe)(&object, index))
            }
            Event::InitDone => {
                let (source, namespace) = (watch.source, watch.namespace.as_deref());
                let gone = index.with(|index| index.unlisted(source, namespace, &listed));
                listed = HashSet::new();
                // One by one: there may be thousands, and others want to use the index.
                let forget = |key| index.with(|index| index.forget(source, &key, None));
                let mut keys: Vec<Key> = gone.into_iter().flat_map(forget).collect();
                if std::mem::take(&mut is_first_list) && watch.outstanding.fetch_sub(1, Ordering::AcqRel) == 1
                {
                    keys.extend(index.with(|index| index.complete(watch.source)));
                    info!(source = ?watch.source, "first list complete");
                }
                keys
            }
            Event::Apply(object) => index.with(|index| (watch.observe)(&object, index)),
            Event::Delete(object) => {
                let (key, identity) = (ObjectKey::of(object.meta()), Identity::of(object.meta()));
                index.with(|index| index.forget(watch.source, &key, Some(&identity)))
            }
        };
        if !keys.is_empty() && touched.send(keys).is_err() {
            return;
        }
    }
}

/// The next event, and meanwhile a look at whether the watch works again.
async fn next<T>(
    events: &mut (impl Stream<Item = T> + Unpin),
    health: &mut WatchHealth,
    is_first_list: bool,
) -> Option<T> {
    if !is_first_list && !health.is_up() {
        if let Ok(event) = timeout(SETTLED, events.next()).await {
            return event;
        }
        health.works();
    }
    events.next().await
}

/// What `api` delivers. A streamed list is read object by object: in pages, thousands of objects are in memory at once on
/// both sides, and each page waits for the one before.
fn events<K>(
    api: &Api<K>,
    config: &Config,
    strategy: InitialListStrategy,
) -> BoxStream<'static, Result<Event<K>, Error>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = Config { initial_list_strategy: strategy, ..config.clone() };
    watcher(api.clone(), config).boxed()
}

/// Whether the API server does not know how to stream a list, or is told not to: before Kubernetes 1.27, and by default
/// before 1.32 and in 1.33. It then finds fault with the parameters that ask for it, which only such a request has.
fn refuses_to_stream(error: &Error) -> bool {
    let Error::WatchStartFailed(kube::Error::Api(status)) = error else { return false };
    status.code == 422
        && (status.message.contains("sendInitialEvents") || status.message.contains("resourceVersionMatch"))
}

/// Whether the error says that there is no such kind, for want of a `CustomResourceDefinition`.
fn is_unknown_kind(error: &Error) -> bool {
    let (Error::InitialListFailed(error) | Error::WatchStartFailed(error)) = error else { return false };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Counts a failure and tells of it, and of repeated ones less and less often.
fn report<K>(watch: &mut Watch<K>, error: &Error, failures: u32) {
    let error = match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            brief(error)
        }
        Error::WatchError(status) if status.code == 410 => {
            debug!(source = ?watch.source, "the watch is too old, listing anew");
            return;
        }
        Error::WatchError(status) => status.message.clone(),
        other @ Error::NoResourceVersion => other.to_string(),
    };
    watch.health.failed();
    if failures == 0 || failures.is_power_of_two() {
        let namespace = watch.namespace.as_deref().unwrap_or("*");
        warn!(source = ?watch.source, namespace, failures = failures + 1, error, "watch failed, trying again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use kube::core::Status;

    /// The health of the only watch of a source, which is up.
    fn works() -> WatchHealth {
        let mut health = Metrics::default().watch_health(Source::Ingresses, 1);
        health.works();
        health
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_goes_on_after_a_failure_is_up_when_it_has_been_quiet_for_a_while() {
        let mut health = works();
        health.failed();
        let (mut quiet, moment) = (stream::pending::<()>(), Duration::from_millis(1));
        assert!(timeout(SETTLED / 2, next(&mut quiet, &mut health, false)).await.is_err());
        assert!(!health.is_up());
        assert!(timeout(SETTLED + moment, next(&mut quiet, &mut health, false)).await.is_err());
        assert!(health.is_up());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_without_its_first_list_is_not_up_however_long_it_is_quiet() {
        let mut health = Metrics::default().watch_health(Source::Ingresses, 1);
        let mut quiet = stream::pending::<()>();
        assert!(timeout(2 * SETTLED, next(&mut quiet, &mut health, true)).await.is_err());
        assert!(!health.is_up());
    }

    #[test]
    fn listing_anew_is_no_failure() {
        for (code, is_up) in [(410, true), (500, false)] {
            let mut watch = Watch {
                source: Source::Ingresses,
                namespace: None,
                config: Config::default(),
                observe: WatchedIngress::observe as Observe<WatchedIngress>,
                missing: None,
                lookout: Lookout::new(),
                health: works(),
                outstanding: Arc::default(),
            };
            let status = Status { code, ..Status::default() };
            report(&mut watch, &Error::WatchError(Box::new(status)), 0);
            assert_eq!(watch.health.is_up(), is_up, "{code}");
        }
    }
}
