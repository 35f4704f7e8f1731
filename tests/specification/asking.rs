//! What asks for protection, on which hosts, and what an app then gets.

use super::outcome::{Case, Expected, Protected, protected, refused};
use super::settled::{
    MANY_HOSTS_SIGNIN, MANY_HOSTS_URL, deleting, seed_annotations, seed_headers, seed_route, seed_service,
    settled, settled_app, settled_but, with_hostless_rule,
};
use super::world::{Annotated, OUTPOST_HOST, World, add_outpost, app, app_on, applied, our_route};
use ingress_sso::config::AuthRoute;
use ingress_sso_testbed::builders::{IngressBuilder, ingress};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};

pub(crate) fn asking() -> Vec<Case> {
    let wrong = |value: &str| {
        Case::new(
            format!("The opt-in value {value:?} is refused aloud, never taken as off in silence"),
            World::new().app(app().sso("authentik", value)),
            refused(
                "InvalidAnnotation",
                [&format!("sso.djieno.com/authentik is {value:?}"), "write \"true\" or \"false\""],
            ),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"])
    };
    let mut cases: Vec<_> = ["yes", "True", "", "1", " true", "true\n"].map(wrong).into();
    let unasked = ingress("n8n-prd", "n8n").host("app.djieno.com");
    cases.extend([
        Case::new(
            "An Ingress without the annotation is nobody's business",
            World::new().app(unasked.clone()),
            Expected::Unprotected,
        )
        .by([]),
        Case::new(
            "The opt-in value \"false\" is the same as none",
            World::new().app(app().sso("authentik", "false")),
            Expected::Unprotected,
        )
        .by([]),
        Case::new(
            "For an Ingress that does not exist there is nothing to do",
            World::new(),
            Expected::Unprotected,
        )
        .by([]),
        Case::new(
            "An Ingress on its way out is left to garbage collection",
            World::new().app(deleting(app())).app(our_route("n8n-prd", "n8n", ["app.djieno.com"])),
            Expected::LeftAlone,
        )
        .by([]),
        Case::new(
            "Under another prefix only annotations of that prefix count",
            World::new()
                .settings(|settings| settings.keys = ingress_sso::contract::Keys::new("sso.example.com"))
                .app(unasked.annotation("sso.example.com/authentik", "true")),
            protected()
                .without("Ingress annotation sso.djieno.com/app")
                .with("Ingress annotation sso.example.com/app", "n8n"),
        ),
        Case::new(
            "Under another prefix an annotation of the usual prefix asks for nothing",
            World::new()
                .settings(|settings| settings.keys = ingress_sso::contract::Keys::new("sso.example.com"))
                .app(app()),
            Expected::Unprotected,
        )
        .by([]),
    ]);
    cases
}

pub(crate) fn hosts() -> Vec<Case> {
    let many = |hosts: &str| {
        protected()
            .with("Ingress hosts", hosts)
            .with("auth-url", MANY_HOSTS_URL)
            .with("auth-signin", MANY_HOSTS_SIGNIN)
    };
    let invalid = |host: &'static str| {
        Case::new(
            format!("A host that is no DNS name is refused: {host:?}"),
            World::new().app(app().host(host)),
            refused("InvalidHost", [&format!("host {host:?}"), "correct it"]),
        )
    };
    let mut cases: Vec<_> =
        ["App.djieno.com", "10.0.0.1", "a b", "x\"; return 200; #", "a.*.djieno.com"].map(invalid).into();
    cases.extend([
        Case::new(
            "Several hosts share one set of annotations through nginx's own $host, and one route with a rule each",
            World::new().app(app().host("app.djieno.net")),
            many("app.djieno.com app.djieno.net"),
        ),
        Case::new(
            "A host in two rules counts once",
            World::new().app(app().host("app.djieno.com")),
            protected(),
        ),
        Case::new(
            "For a wildcard host nginx asks the outpost itself, with a word about the provider that it takes",
            World::new().app(app_on("n8n-prd", "n8n", ["*.djieno.com"])),
            many("*.djieno.com")
                .directly()
                .warns("WildcardHost", ["*.djieno.com", "Forward auth (domain level)"]),
        ),
        Case::new(
            "A wildcard host through which the client would choose who is asked is refused",
            World::new().app(app_on("n8n-prd", "n8n", ["*.djieno.com"]).sso("auth-route", "host")),
            refused("WildcardThroughHost", ["auth-route is \"host\"", "*.djieno.com", "\"direct\""]),
        ),
        Case::new(
            "Without a host there is no address to log in at",
            World::new().app(ingress("n8n-prd", "n8n").sso("authentik", "true")),
            refused("NoHost", ["add spec.rules[].host"]),
        ),
        Case::new(
            "A rule without a host is refused, also beside one with a host: with it every name leads to the app",
            World::new().app(with_hostless_rule(app())),
            refused("HostlessRule", ["no host", "add spec.rules[].host"]),
        ),
        Case::new(
            "A default backend stays open, and that is said",
            World::new().app(with_default_backend(app())),
            protected().warns("DefaultBackend", ["spec.defaultBackend", "remove it"]),
        ),
        Case::new(
            "TLS may end before the ingress, so browsers come by https even where there is no TLS section",
            World::new().app(app()),
            protected(),
        ),
        Case::new(
            "The certificate stays with the app: its route has no TLS section",
            World::new().app(app().tls("n8n-tls")),
            protected(),
        ),
        Case::new(
            "The route takes nothing from the app but class and hosts",
            World::new().app(
                app()
                    .nginx("whitelist-source-range", "10.0.0.0/8")
                    .nginx("backend-protocol", "GRPC")
                    .nginx("limit-rps", "5")
                    .annotation("cert-manager.io/cluster-issuer", "letsencrypt")
                    .annotation("external-dns.alpha.kubernetes.io/target", "lb.djieno.com")
                    .annotation("argocd.argoproj.io/tracking-id", "n8n")
                    .label("app.kubernetes.io/instance", "n8n"),
            ),
            protected(),
        ),
        Case::new(
            "With the scheme http browsers are sent to http",
            World::new().app(app().sso("scheme", "http")),
            protected()
                .with("auth-url", "http://app.djieno.com/outpost.goauthentik.io/auth/nginx")
                .with(
                    "auth-signin",
                    "http://app.djieno.com/outpost.goauthentik.io/start?rd=$scheme://$best_http_host$escaped_request_uri",
                ),
        ),
        Case::new(
            "Any other scheme is refused",
            World::new().app(app().sso("scheme", "HTTPS")),
            refused(
                "InvalidAnnotation",
                ["sso.djieno.com/scheme is \"HTTPS\"", "write \"https\" or \"http\""],
            ),
        ),
    ]);
    cases
}

pub(crate) fn routes_to_the_outpost() -> Vec<Case> {
    let https = || {
        World::without_outpost().settings(|settings| {
            add_outpost(settings, "proxy-outpost", &format!("https://{OUTPOST_HOST}:9443"));
        })
    };
    let by_https = |expected: Protected| {
        expected
            .with("Service leads to", &format!("{OUTPOST_HOST} port 9443 (https)"))
            .with(
                "Ingress paths",
                "/outpost.goauthentik.io (ImplementationSpecific) to authentik-proxy-outpost:9443",
            )
            .with("Ingress annotation backend-protocol", "HTTPS")
    };
    let direct_by_default = || World::new().settings(|settings| settings.auth_route = AuthRoute::Direct);
    vec![
        Case::new(
            "On the route direct nginx asks the outpost itself; the login stays on the app's own host",
            World::new().app(app().sso("auth-route", "direct")),
            protected().directly(),
        ),
        Case::new(
            "On the route direct of several hosts only the login page needs $host",
            World::new().app(app().host("app.djieno.net").sso("auth-route", "direct")),
            protected()
                .directly()
                .with("Ingress hosts", "app.djieno.com app.djieno.net")
                .with("auth-signin", MANY_HOSTS_SIGNIN),
        ),
        Case::new(
            "On the route direct the scheme of the app does not change how nginx reaches the outpost",
            World::new().app(app().sso("auth-route", "direct").sso("scheme", "http")),
            protected().directly().with(
                "auth-signin",
                "http://app.djieno.com/outpost.goauthentik.io/start?rd=$scheme://$best_http_host$escaped_request_uri",
            ),
        ),
        Case::new(
            "The admin may make direct the usual route",
            direct_by_default().app(app()),
            protected().directly(),
        ),
        Case::new(
            "What the app says of the route comes before what the admin made usual",
            direct_by_default().app(app().sso("auth-route", "host")),
            protected(),
        ),
        Case::new(
            "Any other route is refused",
            World::new().app(app().sso("auth-route", "Direct")),
            refused(
                "InvalidAnnotation",
                ["sso.djieno.com/auth-route is \"Direct\"", "write \"host\" or \"direct\""],
            ),
        ),
        Case::new(
            "An outpost that speaks TLS is reached by TLS, and its port is named so",
            https().app(app()),
            by_https(protected()),
        ),
        Case::new(
            "On the route direct nginx speaks TLS to an outpost that does",
            https().app(app().sso("auth-route", "direct")),
            by_https(protected().directly()).with(
                "auth-url",
                "https://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9443/outpost.goauthentik.io/auth/nginx",
            ),
        ),
    ]
}

pub(crate) fn requests() -> Vec<Case> {
    let everything_but =
        |world: World, rule: &str, step: &'static str| Case::new(rule, world, protected()).by([step]);
    let parts = || World::new().app(settled_app());
    let edited_route = |change: fn(IngressBuilder) -> IngressBuilder| {
        let route = change(our_route("n8n-prd", "n8n", ["app.djieno.com"])).build();
        parts().app(owned_by_the_app(route)).service(seed_service()).config_map(seed_headers())
    };
    let other_route = our_route("n8n-prd", "n8n", ["app.djieno.com"]).backend("other", 80).build();
    let lost_service = parts().app(owned_by_the_app(other_route)).config_map(seed_headers());
    let mut edited_service = seed_service();
    if let Some(spec) = &mut edited_service.spec {
        spec.external_name = Some("evil.example.com".to_owned());
    }
    vec![
        Case::new("Where all is as it should be nothing is written", settled(), protected()).by([]),
        Case::new(
            "What others add to our objects is left alone",
            parts()
                .app(owned_by_the_app(
                    our_route("n8n-prd", "n8n", ["app.djieno.com"])
                        .label("team", "red")
                        .annotation("kubectl.kubernetes.io/restartedAt", "now")
                        .build(),
                ))
                .service(seed_service())
                .config_map(seed_headers()),
            protected(),
        )
        .by([]),
        everything_but(
            parts().app(seed_route()).config_map(seed_headers()),
            "A lost Service is made again",
            "1. create Service n8n-prd/authentik-proxy-outpost",
        ),
        everything_but(
            parts().app(seed_route()).service(seed_service()),
            "A lost ConfigMap is made again, and the app not touched",
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
        ),
        everything_but(
            parts().service(seed_service()).config_map(seed_headers()),
            "A lost route is made again",
            "1. create Ingress n8n-prd/n8n-outpost-path",
        ),
        everything_but(
            parts().app(seed_route()).service(edited_service).config_map(seed_headers()),
            "A Service of ours that somebody turned elsewhere is turned back",
            "1. repair Service n8n-prd/authentik-proxy-outpost",
        ),
        everything_but(
            edited_route(|route| route.host("www.djieno.com")),
            "A route of ours on one host too many is repaired",
            "1. repair Ingress n8n-prd/n8n-outpost-path",
        ),
        everything_but(
            edited_route(|route| route.nginx("auth-url", "https://evil.example.com")),
            "An annotation of the ingress controller that somebody put on our route is taken off",
            "1. repair Ingress n8n-prd/n8n-outpost-path",
        ),
        everything_but(
            edited_route(|route| route.tls("certificate")),
            "A TLS section that somebody put on our route is taken off",
            "1. repair Ingress n8n-prd/n8n-outpost-path",
        ),
        everything_but(
            edited_route(|route| route.class("internal")),
            "A route of ours that somebody moved to another class is moved back",
            "1. repair Ingress n8n-prd/n8n-outpost-path",
        ),
        Case::new(
            "A route that is there is not led to a Service before that is there, too",
            lost_service,
            protected(),
        )
        .by([
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "2. repair Ingress n8n-prd/n8n-outpost-path",
        ]),
        everything_but(
            settled_but(&[("nginx.ingress.kubernetes.io/auth-url", None)]),
            "An annotation of ours that somebody removed comes back",
            "1. annotate n8n-prd/n8n: Protected + auth",
        ),
        Case::new(
            "An annotation of ours that is no longer needed goes",
            settled_but(&[("nginx.ingress.kubernetes.io/former", Some("value"))]),
            protected(),
        )
        .by(["1. annotate n8n-prd/n8n: Protected + auth"]),
        Case::new(
            "A change of the route is made before the annotations that rely on it",
            World::new()
                .app(applied(app().host("n8n.djieno.com"), &seed_annotations()))
                .app(seed_route())
                .service(seed_service())
                .config_map(seed_headers()),
            protected()
                .with("Ingress hosts", "app.djieno.com n8n.djieno.com")
                .with("auth-url", MANY_HOSTS_URL)
                .with("auth-signin", MANY_HOSTS_SIGNIN),
        )
        .by(["1. repair Ingress n8n-prd/n8n-outpost-path", "2. annotate n8n-prd/n8n: Protected + auth"]),
    ]
}

/// `route` as the controller makes it: it goes with the app.
fn owned_by_the_app(mut route: Ingress) -> Ingress {
    route.metadata.owner_references = seed_route().metadata.owner_references;
    route
}

fn with_default_backend(ingress: IngressBuilder) -> Ingress {
    let mut ingress = ingress.build();
    ingress.spec.get_or_insert_default().default_backend = Some(IngressBackend::default());
    ingress
}
