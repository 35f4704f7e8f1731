//! Which outpost guards an app, and what it says of that app.

use super::outcome::{Case, Protected, protected, refused, waits};
use super::settled::{settled, settled_but};
use super::world;
use super::world::{Annotated, OUTPOST_HOST, World, add_outpost, app};
use ingress_sso::index::Source;
use ingress_sso::plan::status::Assurance;
use ingress_sso::probe::Conclusion;
use ingress_sso_testbed::builders::outpost_service;
use k8s_openapi::api::core::v1::Service;

pub(crate) fn choosing_an_outpost() -> Vec<Case> {
    let two =
        || World::new().settings(|settings| add_outpost(settings, "staff", "http://staff.example.com:9000"));
    vec![
        Case::new(
            "An app may name one of the admin's outposts",
            two().app(app().sso("outpost", "staff")),
            protected_by("staff", "staff.example.com"),
        ),
        Case::new(
            "An app that names an unknown outpost is told which are known",
            two().app(app().sso("outpost", "other")),
            refused(
                "UnknownOutpost",
                [
                    "sso.djieno.com/outpost",
                    "\"other\"",
                    "known are: proxy-outpost, staff",
                    "--outpost other=URL",
                ],
            ),
        ),
        Case::new(
            "An app cannot send its visitors to an address of its own choosing",
            World::new().app(app().sso("outpost", "http://evil.example.com:9000")),
            refused("UnknownOutpost", ["\"http://evil.example.com:9000\"", "known are: proxy-outpost"]),
        ),
        Case::new(
            "An app that names an outpost where none is known is told so",
            World::without_outpost().app(app().sso("outpost", "other")),
            refused("UnknownOutpost", ["\"other\"", "known are: none"]),
        ),
        Case::new(
            "Of several outposts none is the default by itself",
            two().app(app()),
            refused(
                "NoDefaultOutpost",
                ["proxy-outpost, staff", "sso.djieno.com/outpost", "--default-outpost"],
            ),
        ),
        Case::new(
            "The admin's default serves apps that name no outpost",
            two().settings(|settings| settings.default_outpost = Some("staff".to_owned())).app(app()),
            protected_by("staff", "staff.example.com"),
        ),
        Case::new(
            "A default that is not known is refused, not replaced by another",
            World::new().settings(|settings| settings.default_outpost = Some("gone".to_owned())).app(app()),
            refused("UnknownOutpost", ["\"gone\"", "known are: proxy-outpost", "--outpost gone=URL"]),
        ),
        Case::new(
            "Without any outpost the app is told how to get one",
            World::without_outpost().app(app()),
            refused("NoOutpost", ["create a proxy outpost in authentik", "--outpost NAME=URL"]),
        ),
        Case::new(
            "As long as the outposts are not listed, a missing one may just not be known yet",
            World::without_outpost().app(app()).before_list_of(Source::Outposts),
            waits(["outposts", "list and watch services", "--outpost NAME=URL"]),
        )
        .by([]),
        Case::new(
            "As long as the outposts are not listed, a named one may just not be known yet",
            World::new().app(app().sso("outpost", "staff")).before_list_of(Source::Outposts),
            waits(["outposts"]),
        )
        .by([]),
        Case::new(
            "The admin's outposts need no list of discovered ones",
            World::new().app(app()).before_list_of(Source::Outposts),
            protected(),
        ),
    ]
}

pub(crate) fn discovered_outposts() -> Vec<Case> {
    let embedded = || outpost_service("authentik", "authentik-embedded-outpost");
    let only = |service: Service| World::without_outpost().outpost(service).app(app());
    let twice = || {
        World::without_outpost()
            .outpost(outpost_service("a", "proxy-outpost"))
            .outpost(outpost_service("b", "proxy-outpost"))
    };
    vec![
        Case::new(
            "The only outpost that authentik deployed is the default",
            only(outpost_service("authentik-prd", "proxy-outpost")),
            protected(),
        ),
        Case::new(
            "An app may name a discovered outpost",
            World::without_outpost()
                .outpost(outpost_service("authentik", "blue"))
                .outpost(outpost_service("authentik", "green"))
                .app(app().sso("outpost", "green")),
            protected_by("green", "ak-outpost-green.authentik.svc.cluster.local"),
        ),
        Case::new(
            "Of several discovered outposts none is the default",
            World::without_outpost()
                .outpost(outpost_service("authentik", "blue"))
                .outpost(outpost_service("authentik", "green"))
                .app(app()),
            refused("NoDefaultOutpost", ["blue, green", "--default-outpost"]),
        ),
        Case::new(
            "A discovered outpost does not become the default beside one of the admin's",
            World::new().outpost(outpost_service("evil", "blue")).app(app()),
            protected(),
        ),
        Case::new(
            "A discovered outpost does not take the name of one of the admin's",
            World::new()
                .outpost(outpost_service("evil", "proxy-outpost"))
                .app(app().sso("outpost", "proxy-outpost")),
            protected(),
        ),
        Case::new(
            "A name that two discovered outposts bear is ambiguous",
            twice().app(app().sso("outpost", "proxy-outpost")),
            refused(
                "AmbiguousOutpost",
                [
                    "\"proxy-outpost\"",
                    "a/ak-outpost-proxy-outpost, b/ak-outpost-proxy-outpost",
                    "--outpost proxy-outpost=URL",
                ],
            ),
        ),
        Case::new(
            "The admin says which of two outposts of one name is meant",
            twice()
                .settings(|settings| add_outpost(settings, "proxy-outpost", world::OUTPOST_URL))
                .app(app().sso("outpost", "proxy-outpost")),
            protected(),
        ),
        Case::new(
            "authentik's embedded outpost is never chosen by itself, not even if it is the only one",
            only(embedded()),
            refused(
                "OnlyEmbeddedOutpost",
                [
                    "authentik/ak-outpost-authentik-embedded-outpost",
                    "404",
                    "create a proxy outpost",
                    "sso.djieno.com/outpost: authentik-embedded-outpost",
                ],
            ),
        ),
        Case::new(
            "The embedded outpost does not count when the default is looked for",
            World::without_outpost()
                .outpost(embedded())
                .outpost(outpost_service("authentik-prd", "proxy-outpost"))
                .app(app()),
            protected(),
        ),
        Case::new(
            "An app that names the embedded outpost gets it",
            World::without_outpost()
                .outpost(embedded())
                .app(app().sso("outpost", "authentik-embedded-outpost")),
            protected_by(
                "authentik-embedded-outpost",
                "ak-outpost-authentik-embedded-outpost.authentik.svc.cluster.local",
            ),
        ),
        Case::new(
            "An outpost with nothing but a TLS port is reached by TLS",
            only(with_tls_port_only(outpost_service("authentik-prd", "proxy-outpost"))),
            protected()
                .with("Service leads to", &format!("{OUTPOST_HOST} port 9443 (https)"))
                .with(
                    "Ingress paths",
                    "/outpost.goauthentik.io (ImplementationSpecific) to authentik-proxy-outpost:9443",
                )
                .with("Ingress annotation backend-protocol", "HTTPS"),
        ),
        Case::new(
            "A cluster may have a DNS domain of its own",
            only(outpost_service("authentik-prd", "proxy-outpost"))
                .settings(|settings| settings.cluster_domain = "k8s.djieno.com".parse().expect("a domain")),
            protected().with(
                "Service leads to",
                "ak-outpost-proxy-outpost.authentik-prd.svc.k8s.djieno.com port 9000 (http)",
            ),
        ),
    ]
}

/// Whether the outpost serves the app decides what is said, and nothing else.
pub(crate) fn what_the_outpost_says() -> Vec<Case> {
    let missing = || Assurance::Missing(Conclusion::WrongMode { host: "app.djieno.com".to_owned() });
    let pending = || {
        settled_but(&[
            ("sso.djieno.com/status", Some("Pending")),
            ("sso.djieno.com/message", Some("the provider is wrong")),
        ])
    };
    let made = |status| {
        [
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            status,
        ]
    };
    vec![
        Case::new(
            "An app that its outpost serves is protected",
            World::new().app(app()).assured(Assurance::Served),
            protected(),
        )
        .by(made("2. annotate n8n-prd/n8n: Protected + auth")),
        Case::new(
            "An app that its outpost does not serve gets all that protects it, and its status says what is missing",
            World::new().app(app()).assured(missing()),
            protected(),
        )
        .by(made("2. annotate n8n-prd/n8n: Pending + auth")),
        Case::new(
            "An app of which nothing is known yet gets all that protects it",
            World::new().app(app()).assured(Assurance::Awaited),
            protected(),
        )
        .by(made("2. annotate n8n-prd/n8n: Pending + auth")),
        Case::new(
            "An app is said to be protected no longer when its outpost does not serve it any more, and keeps its protection",
            settled().assured(missing()),
            protected(),
        )
        .by(["1. annotate n8n-prd/n8n: Pending + auth"]),
        Case::new(
            "What an app is said to lack stands while it is asked for again",
            pending().assured(Assurance::Awaited),
            protected(),
        )
        .by([]),
        Case::new(
            "An app that has what it lacked is protected",
            pending().assured(Assurance::Served),
            protected(),
        )
        .by(["1. annotate n8n-prd/n8n: Protected + auth"]),
        Case::new(
            "What an outpost says is no reason to protect an app that is refused",
            World::new().app(app().nginx("canary", "true")).assured(Assurance::Served),
            refused("Canary", ["canary"]),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"]),
    ]
}

/// The usual app, protected through another outpost.
fn protected_by(outpost: &str, host: &str) -> Protected {
    protected()
        .with("Service", &format!("n8n-prd/authentik-{outpost}"))
        .with("Service leads to", &format!("{host} port 9000 (http)"))
        .with(
            "Ingress paths",
            &format!("/outpost.goauthentik.io (ImplementationSpecific) to authentik-{outpost}:9000"),
        )
}

fn with_tls_port_only(mut service: Service) -> Service {
    let ports = service.spec.get_or_insert_default().ports.get_or_insert_default();
    ports.retain(|port| port.name.as_deref() == Some("https"));
    service
}
