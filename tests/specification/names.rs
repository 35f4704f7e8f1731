//! Names of what is made for apps, and what stands under them already.

use super::outcome::{Case, protected, refused};
use super::settled::{seed_headers, settled, settled_app};
use super::world;
use super::world::{OUTPOST_HOST, World, add_outpost, app, other_app, route};
use ingress_sso::facts::ConfigMapFacts;
use ingress_sso::index::Index;
use ingress_sso_testbed::builders::{external_name_service, ingress};
use k8s_openapi::api::core::v1::{ConfigMap, Service};

pub(crate) fn names_already_taken() -> Vec<Case> {
    let service = |host: &str| external_name_service("n8n-prd", "authentik-proxy-outpost", host, 9000);
    let unlabelled_headers = |change: fn(&mut ConfigMap)| {
        let mut headers = seed_headers();
        headers.metadata.labels = None;
        change(&mut headers);
        headers
    };
    let service_taken = |found: &str| {
        refused(
            "ServiceNameTaken",
            ["n8n-prd/authentik-proxy-outpost", OUTPOST_HOST, found, "rename or delete it"],
        )
    };
    let ingress_taken = || refused("IngressNameTaken", ["n8n-prd/n8n-outpost-path", "rename or delete it"]);
    let taken = ingress("n8n-prd", "n8n-outpost-path").host("www.djieno.com");
    vec![
        Case::new(
            "A Service made by hand that leads to the outpost is used and left alone",
            World::new().app(app()).service(service(OUTPOST_HOST)),
            protected().without("Service"),
        )
        .by([
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "A Service made by hand that leads elsewhere is not taken over",
            World::new().app(app()).service(service("evil.example.com")),
            service_taken("evil.example.com"),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"]),
        Case::new(
            "A Service made by hand with Pods of its own is not taken over",
            World::new().app(app()).service(with_pods(service(OUTPOST_HOST))),
            service_taken("Pods of its own"),
        ),
        Case::new(
            "A ConfigMap made by hand with the right headers is used and left alone",
            World::new().app(app()).config_map(unlabelled_headers(|_| ())),
            protected().without("ConfigMap"),
        ),
        Case::new(
            "A ConfigMap made by hand with other headers is not taken over",
            World::new().app(app()).config_map(unlabelled_headers(|headers| headers.data = None)),
            refused("HeadersNameTaken", ["n8n-prd/authentik-headers-4bd8e4f378", "rename or delete it"]),
        ),
        Case::new(
            "An Ingress of somebody else's under the name of the route is not taken over",
            World::new().app(app()).app(taken.clone()),
            ingress_taken(),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"]),
        Case::new(
            "Our labels alone do not make an Ingress ours",
            World::new().app(app()).app(taken.label("app.kubernetes.io/managed-by", "ingress-sso")),
            ingress_taken(),
        ),
        Case::new(
            "An Ingress under the name of the route that serves the route is used like any other",
            World::new()
                .app(app())
                .app(route("n8n-prd", "n8n-outpost-path", ["app.djieno.com"]))
                .service(service(OUTPOST_HOST)),
            protected().by_the_route_of_others().warns("ForeignRoute", ["n8n-prd/n8n-outpost-path"]),
        ),
    ]
}

pub(crate) fn names_and_labels() -> Vec<Case> {
    let long_name = "n".repeat(253);
    let long_outpost = "o".repeat(63);
    let short_service = format!("authentik-{}-52048c8245", "o".repeat(42));
    vec![
        Case::new(
            "The name of the route of an app with the longest name is cut, and made distinct by a hash",
            World::new().app(other_app("n8n-prd", &long_name)).about("n8n-prd", &long_name),
            protected()
                .with("Ingress", &format!("n8n-prd/{}-1f2036e55e-outpost-path", "n".repeat(253 - 24)))
                .with("Ingress owner", &format!("{long_name} uid-of-{long_name}"))
                .with("Ingress annotation sso.djieno.com/app", &long_name),
        ),
        Case::new(
            "The name of the Service to an outpost with the longest name is cut, and made distinct by a hash",
            World::without_outpost()
                .settings(|settings| add_outpost(settings, &long_outpost, world::OUTPOST_URL))
                .app(app()),
            protected().with("Service", &format!("n8n-prd/{short_service}")).with(
                "Ingress paths",
                &format!("/outpost.goauthentik.io (ImplementationSpecific) to {short_service}:9000"),
            ),
        ),
    ]
}

pub(crate) fn lost_headers() -> Vec<Case> {
    fn lose(index: &mut Index) {
        world::lose(index, seed_headers());
    }
    fn find(index: &mut Index) {
        let mut headers = seed_headers();
        headers.metadata.uid = Some("uid-of-new-headers".to_owned());
        index.observe_headers(ConfigMapFacts::extract(&headers));
    }
    vec![
        Case::new(
            "After a lost ConfigMap came back an untouched app needs nothing: nginx still has the headers",
            settled().then(lose).then(find),
            protected(),
        )
        .by([]),
        Case::new(
            "An app that changed while its ConfigMap was lost is made to be read again, as nginx answers 503 for it",
            settled()
                .then(lose)
                .then(|index| world::see_again(index, settled_app()))
                .then(find),
            protected().with("sso.djieno.com/headers-uid", "uid-of-new-headers"),
        )
        .by(["1. annotate n8n-prd/n8n: Protected + auth"]),
    ]
}

fn with_pods(mut service: Service) -> Service {
    service.spec.get_or_insert_default().type_ = Some("ClusterIP".to_owned());
    service
}
