//! What else the data plane of an app serves at the app's host: that of other classes, and of none, counts where one ingress
//! controller may serve both.

use super::outcome::{Case, Protected, protected, refused};
use super::world::{Annotated, OUTPOST_HOST, OUTPOST_URL, World, add_outpost, app, our_route, route};
use ingress_sso::plan::Dialect;
use ingress_sso_testbed::builders::{IngressBuilder, external_name_service, ingress};

const NGINX: &str = "k8s.io/ingress-nginx";
const TRAEFIK: &str = "traefik.io/ingress-controller";
const RKE2: &str = "rke2.cattle.io/ingress-nginx-migration";

/// A change to the class of an Ingress.
type OnClass = fn(IngressBuilder) -> IngressBuilder;

pub(crate) fn served_together() -> Vec<Case> {
    let neighbour = || ingress("other", "site").host("app.djieno.com").path("/api", "Prefix");
    let theirs = || route("other", "theirs", ["app.djieno.com"]).backend("theirs", 80);
    let together: [(&str, World, OnClass); 6] = [
        ("without a class", World::new(), IngressBuilder::no_class),
        ("of another class of the same controller", World::new().class("internal", NGINX), |ingress| {
            ingress.class("internal")
        }),
        ("whose annotation names the same class", World::new(), |ingress| {
            ingress.no_class().legacy_class("nginx")
        }),
        (
            "whose annotation names another class of the same controller",
            World::new().class("internal", NGINX),
            |ingress| ingress.no_class().legacy_class("internal"),
        ),
        (
            "whose annotation names no class of the cluster, and so maybe what a data plane was told",
            World::new(),
            |ingress| ingress.no_class().legacy_class("unheard-of"),
        ),
        (
            "of a class that is there, where that of the app is known by --class alone",
            World::without_class().class("internal", NGINX).settings(|settings| {
                settings.classes.insert("nginx".to_owned(), Dialect::Nginx);
                add_outpost(settings, "proxy-outpost", OUTPOST_URL);
            }),
            |ingress| ingress.class("internal"),
        ),
    ];
    let apart: [(&str, World, OnClass); 4] = [
        ("of a class that is not there", World::new(), |ingress| ingress.class("unheard-of")),
        (
            "of a class of another controller",
            World::new().class("other", "example.com/controller"),
            |ingress| ingress.class("other"),
        ),
        ("of a class of Traefik", World::new().class("traefik", TRAEFIK), |ingress| ingress.class("traefik")),
        (
            "of RKE2's class for the move to Traefik",
            World::new().class("rke2-ingress-nginx-migration", RKE2),
            |ingress| ingress.class("rke2-ingress-nginx-migration"),
        ),
    ];
    let greedy = || neighbour().path("/(outpost|login|logout).*", "ImplementationSpecific");
    let astray =
        || refused("ForeignRoute", ["app.djieno.com", "other/theirs", "point it there or delete it"]);
    let open = |protected: Protected| protected.warns("OpenNeighbour", ["app.djieno.com", "other/site"]);
    let counts = together.into_iter().flat_map(|(which, world, on)| {
        let with = |ingress: IngressBuilder| world.clone().app(app()).app(on(ingress));
        vec![
            Case::new(format!("An open Ingress {which} is warned of"), with(neighbour()), open(protected())),
            Case::new(format!("A route to elsewhere {which} may be in force"), with(theirs()), astray()),
            Case::new(
                format!("A regular expression {which} may take the login away"),
                with(greedy()),
                refused("SwallowedPath", ["other/site"]),
            ),
            Case::new(
                format!("A canary {which} is warned of"),
                with(neighbour().nginx("canary", "true")),
                protected().warns("CanaryOfOthers", ["other/site"]),
            ),
            Case::new(
                format!("TLS that an Ingress {which} has passed through is warned of"),
                with(neighbour().nginx("ssl-passthrough", "true")),
                open(protected()).warns("TlsPassedThrough", ["other/site"]),
            ),
        ]
    });
    let does_not = apart.into_iter().flat_map(|(which, world, on)| {
        [
            ("An open Ingress", neighbour()),
            ("A route to elsewhere", theirs()),
            ("A regular expression", greedy()),
        ]
        .map(|(what, ingress)| {
            let world = world.clone().app(app()).app(on(ingress));
            Case::new(format!("{what} {which} serves other visitors"), world, protected())
        })
    });
    counts.chain(does_not).chain(routes()).collect()
}

/// Routes in other classes that are no reason to complain, and none to do without one's own.
fn routes() -> Vec<Case> {
    let by_hand = || route("n8n-prd", "by-hand", ["app.djieno.com"]).no_class();
    let its_service = || external_name_service("n8n-prd", "authentik-proxy-outpost", OUTPOST_HOST, 9000);
    let theirs = || route("other", "theirs", ["app.djieno.com"]).backend("theirs", 80).no_class();
    vec![
        Case::new(
            "A right route made by hand without a class is not relied on: nobody knows whether it is served",
            World::new().app(app()).app(by_hand()).service(its_service()),
            protected().without("Service"),
        ),
        Case::new(
            "A right route of ours in another class of the same controller is nothing to complain of",
            World::new()
                .class("internal", NGINX)
                .app(app())
                .app(our_route("other", "site", ["app.djieno.com"]).class("internal"))
                .service(external_name_service("other", "authentik-proxy-outpost", OUTPOST_HOST, 9000)),
            protected(),
        ),
        Case::new(
            "A younger route to elsewhere without a class is behind one of ours",
            World::new()
                .app(app())
                .app(our_route("n8n-prd", "n8n", ["app.djieno.com"]).created(1))
                .app(theirs().created(2000)),
            protected(),
        ),
    ]
}
