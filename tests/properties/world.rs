//! Worlds and what people do in them, as small values that proptest can make and shrink.

use super::cluster::{Cluster, Event, places};
use super::ownership;
use ingress_sso::config::{Settings, TraefikSettings};
use ingress_sso::contract::{
    MANAGED_BY, MANAGER, ROUTER_MIDDLEWARES, middleware_name, middleware_reference, outpost_ingress_name,
    service_name,
};
use ingress_sso::facts::ObjectKey;
use ingress_sso::middleware::Middleware;
use ingress_sso::plan::{Dialect, companions};
use ingress_sso_testbed::builders::{IngressBuilder, external_name_service, ingress};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::collection::{btree_set, vec};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;
use std::collections::BTreeSet;

/// What asks for protection.
pub(crate) const OPT_IN: &str = "sso.djieno.com/authentik";

pub(crate) const NAMESPACES: [&str; 3] = ["one", "two", "three"];
const HOSTS: [&str; 4] = ["a.example.com", "b.example.com", "c.example.com", "*.example.com"];
const ALPHA: &str = "ak-outpost-alpha.authentik.svc.cluster.local";
const OUR_AUTH_URL: &str = "https://a.example.com/outpost.goauthentik.io/auth/nginx";

/// How many apps a world can have.
const APPS: usize = 6;

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Create this app, or apply it again with what is new.
    Put(usize, App),
    /// Delete this app.
    Delete(usize),
    /// Opt this app out, and leave the rest of it as it is.
    OptOut(usize),
    /// Copy this app with all its annotations to this class, as RKE2's migration does.
    Copy(usize, &'static str),
    /// Bring the kind Middleware, or take it away with all Middlewares.
    MiddlewareKind(bool),
    /// Make something by hand.
    Make(Foreign),
    /// Break something that the controller made: the n-th of what there is.
    Break(Damage, usize),
}

/// What the owner of an app wrote.
#[derive(Clone, Debug)]
pub(crate) struct App {
    opt_in: Option<&'static str>,
    hosts: BTreeSet<usize>,
    class: Class,
    outpost: Option<&'static str>,
    auth_route: Option<&'static str>,
    extras: Vec<(&'static str, &'static str)>,
    middlewares: Option<Vec<Entry>>,
}

/// What a user may have in his list of Middlewares.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// One of his own.
    Strip,
    /// One from a file, with a space before it.
    Gzip,
    /// The Middleware that asks this outpost.
    Ours(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Class {
    Field(&'static str),
    Annotation(&'static str),
    None,
}

/// Where people make an Ingress by hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    namespace: usize,
    host: usize,
    class: Class,
}

/// Objects that people make by hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Foreign {
    /// A route to the outpost `alpha`, through an `ExternalName` Service made by hand.
    RightRoute(Site),
    /// A route to somewhere else.
    WrongRoute(Site),
    /// A route of a part of the outpost path.
    PartOfRoute(Site),
    /// An Ingress on a host that asks for nothing.
    Neighbour(Site),
    /// One whose path takes the outpost path.
    GreedyNeighbour(Site),
    /// Something else under the name of the route of an app.
    TakenName(usize),
    /// A Service under the name of ours that leads to the outpost.
    RightService(usize),
    /// A Service under the name of ours that leads somewhere else.
    WrongService(usize),
    /// A Middleware under the name of ours that does the same.
    RightMiddleware(usize),
    /// A Middleware under the name of ours that does something else.
    WrongMiddleware(usize),
    /// A Middleware of another namespace that Traefik calls by the name of ours.
    TwinMiddleware(usize),
    /// One that is far from any of ours.
    StrangeMiddleware(usize),
}

/// What can happen to objects of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    LoseService,
    LoseHeaders,
    LoseRoute,
    RerouteHost,
    DropAnnotations,
    /// A list that the controller edited is as its user wrote it again.
    ResetList,
    /// A user takes his list away.
    DropList,
    /// A route of somebody else's goes.
    LoseForeignRoute,
    LoseMiddleware,
    TurnMiddleware,
    AddToMiddleware,
    DisownMiddleware,
    /// A Middleware of somebody else's goes.
    LoseForeignMiddleware,
}

/// The steps of a world: some apps, and then what happens to them.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    (vec(put(), 1..=APPS), vec(step(), 0..9)).prop_map(|(mut apps, more)| {
        apps.extend(more);
        apps
    })
}

/// An app on nginx names the Middleware that a refused app on Traefik would have, and then nobody needs it.
pub(crate) fn middleware_that_nobody_needs() -> [Step; 3] {
    let app = |hosts: &[usize], class, outpost, middlewares| App {
        opt_in: Some("true"),
        hosts: hosts.iter().copied().collect(),
        class: Class::Field(class),
        outpost,
        auth_route: None,
        extras: Vec::new(),
        middlewares,
    };
    let holder = app(&[1], "traefik", Some("beta"), None);
    let naming = app(&[], "nginx", None, Some(vec![Entry::Ours("alpha")]));
    let refused = app(&[1], "traefik", Some("alpha"), None);
    [Step::Put(2, holder), Step::Put(1, naming), Step::Put(4, refused)]
}

/// Settings with the outposts `alpha`, the default, and `beta`.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings { default_outpost: Some("alpha".to_owned()), ..Settings::default() };
    for (name, url) in
        [("alpha", format!("http://{ALPHA}:9000")), ("beta", "https://beta.example.com:9443".to_owned())]
    {
        settings.outposts.insert(name.to_owned(), url.parse().expect("a URL"));
    }
    settings
}

/// The same with Traefik set up in one way or another.
pub(crate) fn any_settings() -> impl Strategy<Value = Settings> {
    (any::<bool>(), weighted(0.2, Just(true))).prop_map(|(allows_external_name, safe_naming)| {
        let safe_naming = safe_naming.unwrap_or_default();
        let traefik = TraefikSettings { allows_external_name, safe_naming, ..TraefikSettings::default() };
        Settings { traefik, ..settings() }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => put(),
        1 => (0..APPS).prop_map(Step::Delete),
        1 => (0..APPS).prop_map(Step::OptOut),
        1 => (0..APPS, select(vec!["nginx", "traefik", "migration", "migration"]))
            .prop_map(|(slot, class)| Step::Copy(slot, class)),
        1 => any::<bool>().prop_map(Step::MiddlewareKind),
        2 => foreign().prop_map(Step::Make),
        3 => (damage(), any::<usize>()).prop_map(|(damage, which)| Step::Break(damage, which)),
    ]
}

fn put() -> impl Strategy<Value = Step> {
    (0..APPS, app()).prop_map(|(slot, app)| Step::Put(slot, app))
}

fn app() -> impl Strategy<Value = App> {
    let opt_in = prop_oneof![
        8 => Just(Some("true")),
        1 => Just(Some("false")),
        1 => Just(Some("yes")),
        2 => Just(None),
    ];
    let class = prop_oneof![
        8 => Just(Class::Field("nginx")),
        2 => Just(Class::Field("internal")),
        8 => Just(Class::Field("traefik")),
        2 => Just(Class::Annotation("traefik")),
        4 => Just(Class::Field("migration")),
        2 => Just(Class::Annotation("nginx")),
        1 => Just(Class::Field("unknown")),
        1 => Just(Class::None),
    ];
    let outpost = weighted(0.3, select(vec!["alpha", "beta", "beta", "unknown"]));
    let auth_route = weighted(0.3, select(vec!["direct", "host", "both"]));
    let all = (opt_in, btree_set(0..HOSTS.len(), 0..=2), class, outpost, auth_route, extras(), middlewares());
    all.prop_map(|(opt_in, hosts, class, outpost, auth_route, extras, middlewares)| App {
        opt_in,
        hosts,
        class,
        outpost,
        auth_route,
        extras,
        middlewares,
    })
}

fn middlewares() -> impl Strategy<Value = Option<Vec<Entry>>> {
    let entry = prop_oneof![
        3 => Just(Entry::Strip),
        2 => Just(Entry::Gzip),
        2 => Just(Entry::Ours("alpha")),
        1 => Just(Entry::Ours("beta")),
    ];
    weighted(0.35, vec(entry, 0..4))
}

/// Annotations that a user may have, mostly none.
fn extras() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let all = vec![
        ("nginx.ingress.kubernetes.io/auth-url", OUR_AUTH_URL),
        ("nginx.ingress.kubernetes.io/auth-url", "https://other.example.com/auth"),
        ("nginx.ingress.kubernetes.io/canary", "true"),
        ("nginx.ingress.kubernetes.io/proxy-buffer-size", "8k"),
        ("nginx.ingress.kubernetes.io/proxy-buffer-size", "16k"),
        ("nginx.ingress.kubernetes.io/rewrite-target", "/"),
        ("nginx.ingress.kubernetes.io/satisfy", "any"),
        ("sso.djieno.com/status", "Protected"),
        ("sso.djieno.com/message", "forged"),
        ("example.com/note", "keep me"),
    ];
    prop_oneof![
        2 => Just(Vec::new()),
        1 => subsequence(all, 1..=2),
    ]
}

fn foreign() -> impl Strategy<Value = Foreign> {
    let class = prop_oneof![
        4 => Just(Class::Field("nginx")),
        1 => Just(Class::Field("internal")),
        1 => Just(Class::Field("traefik")),
        1 => Just(Class::Annotation("unknown")),
        1 => Just(Class::None),
    ];
    let site = (0..NAMESPACES.len(), 0..HOSTS.len(), class);
    let site = || site.clone().prop_map(|(namespace, host, class)| Site { namespace, host, class });
    prop_oneof![
        site().prop_map(Foreign::RightRoute),
        site().prop_map(Foreign::WrongRoute),
        site().prop_map(Foreign::PartOfRoute),
        site().prop_map(Foreign::Neighbour),
        site().prop_map(Foreign::GreedyNeighbour),
        (0..APPS).prop_map(Foreign::TakenName),
        (0..NAMESPACES.len()).prop_map(Foreign::RightService),
        (0..NAMESPACES.len()).prop_map(Foreign::WrongService),
        (0..NAMESPACES.len()).prop_map(Foreign::RightMiddleware),
        (0..NAMESPACES.len()).prop_map(Foreign::WrongMiddleware),
        (0..NAMESPACES.len()).prop_map(Foreign::TwinMiddleware),
        (0..NAMESPACES.len()).prop_map(Foreign::StrangeMiddleware),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::LoseService),
        Just(Damage::LoseHeaders),
        Just(Damage::LoseRoute),
        Just(Damage::RerouteHost),
        Just(Damage::DropAnnotations),
        Just(Damage::ResetList),
        Just(Damage::DropList),
        Just(Damage::LoseForeignRoute),
        Just(Damage::LoseMiddleware),
        Just(Damage::TurnMiddleware),
        Just(Damage::AddToMiddleware),
        Just(Damage::DisownMiddleware),
        Just(Damage::LoseForeignMiddleware),
    ]
}

impl Step {
    /// Does it; the answer is what the watches deliver.
    pub(crate) fn carry_out(&self, cluster: &mut Cluster) -> Vec<Event> {
        match self {
            Self::Put(slot, app) => cluster.put(app.ingress(*slot)),
            Self::Delete(slot) => cluster.delete_ingress(&app_key(*slot)),
            Self::OptOut(slot) => cluster.annotate(&app_key(*slot), OPT_IN, None),
            Self::Copy(slot, class) => {
                let app = app_key(*slot);
                let route = ObjectKey::new(app.namespace.clone(), outpost_ingress_name(&app.name));
                let copies = [app, route].map(|original| {
                    let copy = ObjectKey::new(original.namespace.clone(), format!("{}-copy", original.name));
                    cluster.copy(&original, &copy, class)
                });
                copies.concat()
            }
            Self::MiddlewareKind(is_known) => cluster.set_middleware_kind(*is_known),
            Self::Make(foreign) => foreign.make(cluster),
            Self::Break(damage, which) => damage.strike(cluster, *which),
        }
    }
}

impl App {
    fn ingress(&self, slot: usize) -> Ingress {
        let key = app_key(slot);
        let builder = ingress(&key.namespace, &key.name)
            .hosts(self.hosts.iter().map(|host| HOSTS[*host]))
            // Several of the same age, so that the names decide.
            .created(1 + u32::try_from(slot / 2).unwrap_or_default());
        let builder = self.class.of(builder);
        let asked = [
            (OPT_IN, self.opt_in),
            ("sso.djieno.com/outpost", self.outpost),
            ("sso.djieno.com/auth-route", self.auth_route),
        ];
        let asked = asked.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let builder = asked.chain(self.extras.iter().copied()).fold(builder, annotated);
        let list = self.middlewares.as_ref().map(|entries| {
            let entries = entries.iter().map(|entry| entry.text(&key.namespace));
            entries.collect::<Vec<_>>().join(",")
        });
        list.iter().fold(builder, |builder, list| builder.annotation(ROUTER_MIDDLEWARES, list)).build()
    }
}

impl Class {
    fn of(self, ingress: IngressBuilder) -> IngressBuilder {
        match self {
            Self::Field(class) => ingress.class(class),
            Self::Annotation(class) => ingress.legacy_class(class),
            Self::None => ingress.no_class(),
        }
    }
}

impl Entry {
    fn text(self, namespace: &str) -> String {
        match self {
            Self::Strip => format!("{namespace}-strip@kubernetescrd"),
            Self::Gzip => " gzip@file".to_owned(),
            Self::Ours(outpost) => {
                middleware_reference(namespace, &middleware_name(namespace, outpost), false)
            }
        }
    }
}

impl Foreign {
    fn make(self, cluster: &mut Cluster) -> Vec<Event> {
        let route = |site: Site, name: &str, path: &str| {
            let route = ingress(NAMESPACES[site.namespace], &format!("{name}-{}", site.host))
                .host(HOSTS[site.host])
                .path(path, "ImplementationSpecific")
                .backend("by-hand", 9000)
                .created(1);
            site.class.of(route)
        };
        let service = |namespace: usize, name: &str, host: &str| {
            external_name_service(NAMESPACES[namespace], name, host, 9000)
        };
        let ours = service_name("alpha");
        match self {
            Self::RightRoute(site) => {
                let mut events = cluster.put_service(service(site.namespace, "by-hand", ALPHA));
                events.extend(cluster.put(route(site, "right", "/outpost.goauthentik.io").build()));
                events
            }
            Self::WrongRoute(site) => {
                let wrong = route(site, "wrong", "/outpost.goauthentik.io").backend("wrong", 80);
                cluster.put(wrong.build())
            }
            Self::PartOfRoute(site) => {
                cluster.put(route(site, "part", "/outpost.goauthentik.io/start").build())
            }
            Self::Neighbour(site) => cluster.put(route(site, "site", "/site").build()),
            Self::GreedyNeighbour(site) => {
                cluster.put(route(site, "greedy", "/(outpost|login|logout).*").build())
            }
            Self::TakenName(slot) => {
                let app = app_key(slot);
                let name = outpost_ingress_name(&app.name);
                let is_free =
                    !cluster.ingresses.contains_key(&ObjectKey::new(app.namespace.clone(), name.as_str()));
                let taken = ingress(&app.namespace, &name).host("taken.example.com").created(1);
                if is_free { cluster.put(taken.build()) } else { Vec::new() }
            }
            Self::RightService(namespace) => cluster.put_service(service(namespace, &ours, ALPHA)),
            Self::WrongService(namespace) => {
                cluster.put_service(service(namespace, &ours, "wrong.example.com"))
            }
            Self::RightMiddleware(namespace) => cluster.put_middleware(middleware_of(NAMESPACES[namespace])),
            Self::WrongMiddleware(namespace) => {
                let mut wrong = middleware_of(NAMESPACES[namespace]);
                wrong.spec = serde_json::from_value(json!({"stripPrefix": {}})).expect("a Middleware");
                cluster.put_middleware(wrong)
            }
            Self::TwinMiddleware(namespace) => {
                let mut twin = middleware_of(NAMESPACES[namespace]);
                let name = twin.metadata.name.take().unwrap_or_default();
                let (start, rest) = name.split_once('-').expect("a dash");
                twin.metadata.namespace = Some(format!("{}-{start}", NAMESPACES[namespace]));
                twin.metadata.name = Some(rest.to_owned());
                cluster.put_middleware(twin)
            }
            Self::StrangeMiddleware(namespace) => {
                let mut strange = middleware_of(NAMESPACES[namespace]);
                strange.metadata.name = Some("strip".to_owned());
                cluster.put_middleware(strange)
            }
        }
    }
}

/// What the controller would make for the outpost `alpha`, without its labels.
fn middleware_of(namespace: &str) -> Middleware {
    let alpha = ingress_sso::plan::outpost::Outpost {
        name: "alpha".to_owned(),
        address: settings().outposts["alpha"].clone(),
    };
    let wanted = companions::middleware(namespace, Dialect::Traefik, &alpha, &settings());
    let mut wanted = wanted.expect("Traefik has Middlewares");
    wanted.metadata.labels = None;
    wanted
}

impl Damage {
    fn strike(self, cluster: &mut Cluster, which: usize) -> Vec<Event> {
        match self {
            Self::LoseService => {
                let ours = cluster.services.iter().filter(|(_, object)| is_ours(&object.metadata));
                nth(ours, which).map_or_else(Vec::new, |key| cluster.delete_service(&key))
            }
            Self::LoseHeaders => nth(cluster.config_maps.iter(), which)
                .map_or_else(Vec::new, |key| cluster.delete_config_map(&key)),
            Self::LoseRoute => {
                our_route(cluster, which).map_or_else(Vec::new, |key| cluster.delete_ingress(&key))
            }
            Self::RerouteHost => our_route(cluster, which).map_or_else(Vec::new, |key| {
                cluster.tamper(&key, |route| {
                    let rules = route.spec.get_or_insert_default().rules.get_or_insert_default();
                    for rule in rules {
                        rule.host = Some("elsewhere.example.com".to_owned());
                    }
                })
            }),
            Self::DropAnnotations => {
                let protected =
                    cluster.ingresses.iter().filter(|(_, object)| !ours(&object.metadata).is_empty());
                nth(protected, which).map_or_else(Vec::new, |key| {
                    let users =
                        cluster.written.get(&key).and_then(|written| written.metadata.annotations.clone());
                    cluster.tamper(&key, |app| {
                        ownership::update(&mut app.metadata, "somebody", users.unwrap_or_default());
                    })
                })
            }
            Self::ResetList | Self::DropList => {
                let listed = cluster.ingresses.iter().filter(|(key, _)| list_of(cluster, key).is_some());
                nth(listed, which).map_or_else(Vec::new, |key| {
                    let list = list_of(cluster, &key).filter(|_| matches!(self, Self::ResetList));
                    cluster.annotate(&key, ROUTER_MIDDLEWARES, list.as_deref())
                })
            }
            Self::LoseForeignRoute => {
                let theirs = cluster.written.iter().filter(|(_, ingress)| !places(ingress).is_empty());
                nth(theirs, which).map_or_else(Vec::new, |key| cluster.delete_ingress(&key))
            }
            Self::LoseMiddleware => {
                our_middleware(cluster, which).map_or_else(Vec::new, |key| cluster.delete_middleware(&key))
            }
            Self::TurnMiddleware => our_middleware(cluster, which).map_or_else(Vec::new, |key| {
                cluster.tamper_middleware(&key, |middleware| {
                    let auth = middleware.spec.forward_auth.get_or_insert_default();
                    "http://evil.example.com".clone_into(&mut auth.address);
                    auth.others.insert("authRequestHeaders".to_owned(), json!(["X"]));
                })
            }),
            Self::AddToMiddleware => our_middleware(cluster, which).map_or_else(Vec::new, |key| {
                cluster.tamper_middleware(&key, |middleware| {
                    middleware.spec.others.insert("stripPrefix".to_owned(), json!({}));
                })
            }),
            Self::DisownMiddleware => our_middleware(cluster, which).map_or_else(Vec::new, |key| {
                let events = cluster.tamper_middleware(&key, |middleware| {
                    middleware.metadata.labels.get_or_insert_default().remove(MANAGED_BY);
                });
                cluster.written_middlewares.insert(key.clone(), cluster.middlewares[&key].clone());
                events
            }),
            Self::LoseForeignMiddleware => {
                let theirs = cluster.middlewares.iter().filter(|(_, object)| !is_ours(&object.metadata));
                nth(theirs, which).map_or_else(Vec::new, |key| cluster.delete_middleware(&key))
            }
        }
    }
}

/// Keys of the annotations that server-side apply by the controller owns.
pub(crate) fn ours(metadata: &ObjectMeta) -> BTreeSet<String> {
    ownership::applied_by(metadata, MANAGER)
}

/// Whether the controller made the object.
pub(crate) fn is_ours(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by")).map(String::as_str) == Some(MANAGER)
}

fn our_route(cluster: &Cluster, which: usize) -> Option<ObjectKey> {
    nth(cluster.our_routes(), which)
}

/// The list of Middlewares that the user of an Ingress wrote.
fn list_of(cluster: &Cluster, key: &ObjectKey) -> Option<String> {
    cluster.written.get(key)?.metadata.annotations.as_ref()?.get(ROUTER_MIDDLEWARES).cloned()
}

fn our_middleware(cluster: &Cluster, which: usize) -> Option<ObjectKey> {
    nth(cluster.middlewares.iter().filter(|(_, object)| is_ours(&object.metadata)), which)
}

fn nth<'a, T: 'a>(objects: impl Iterator<Item = (&'a ObjectKey, &'a T)>, which: usize) -> Option<ObjectKey> {
    let keys: Vec<_> = objects.map(|(key, _)| key.clone()).collect();
    keys.get(which.checked_rem(keys.len())?).cloned()
}

fn app_key(slot: usize) -> ObjectKey {
    ObjectKey::new(NAMESPACES[slot % NAMESPACES.len()], format!("app-{slot}"))
}

fn annotated(builder: IngressBuilder, (key, value): (&str, &str)) -> IngressBuilder {
    builder.annotation(key, value)
}
