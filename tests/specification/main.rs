//! The specification, as one table: a small cluster in, objects or a refusal out.
//!
//! Each [`Case`] states a rule, the cluster that it is about, and what becomes of the app there. Where nothing else
//! is said, the app is the Ingress `n8n` in the namespace `n8n-prd`, of the class `nginx`, on `app.djieno.com`, and
//! the outpost is `proxy-outpost` in `authentik-prd`. A case of a protected app names only what differs from
//! [`protected`], and everything else has to be exactly as there.

#![allow(
    clippy::expect_used,
    reason = "what a case is made of is fixed text, and a mistake in it should end the test"
)]
#![allow(clippy::too_many_lines, reason = "a chapter of a table is as long as it has rows")]

#[allow(dead_code, reason = "the tests of hostile input look at more than what is created")]
#[path = "hostile/api_server.rs"]
mod api_server;
#[path = "specification/outcome.rs"]
mod outcome;
#[path = "specification/seed.rs"]
mod seed;
#[path = "specification/served_together.rs"]
mod served_together;
#[path = "specification/traefik.rs"]
mod traefik;
#[path = "specification/validators.rs"]
mod validators;
#[path = "specification/world.rs"]
mod world;

use ingress_sso::config::{AuthRoute, Settings};
use ingress_sso::facts::{ConfigMapFacts, IngressFacts, ObjectKey};
use ingress_sso::index::{Index, Source};
use ingress_sso::plan::Dialect;
use ingress_sso::plan::refusal::Refusal;
use ingress_sso::plan::status::Assurance;
use ingress_sso::plan::warning::Warning;
use ingress_sso::probe::Conclusion;
use ingress_sso_testbed::builders::{
    IngressBuilder, external_name_service, ingress, managed, outpost_service,
};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use outcome::{Case, Expected, Protected, protected, refused, unprotected_but, waits};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use world::{Annotated, OUTPOST_HOST, World, add_outpost, app, app_on, applied, other_app, our_route, route};

const MANY_HOSTS_URL: &str = "https://$host/outpost.goauthentik.io/auth/nginx";
const MANY_HOSTS_SIGNIN: &str =
    "https://$host/outpost.goauthentik.io/start?rd=$scheme://$best_http_host$escaped_request_uri";

/// A regular expression of 23 characters or more that takes the outpost path.
const GREEDY: &str = "/(outpost|login|logout).*";

#[test]
fn specification() {
    let cases = all_cases();
    let mut report = String::new();
    let mut failed = 0;
    for case in &cases {
        let failures = case.failures();
        if !failures.is_empty() {
            failed += 1;
            _ = write!(report, "\n\n✗ {}", case.rule);
            for failure in failures {
                _ = write!(report, "\n  {}", failure.replace('\n', "\n  "));
            }
        }
    }
    assert!(failed == 0, "{failed} of {} cases failed:{report}", cases.len());
}

#[test]
fn each_rule_is_stated_once_and_each_reason_has_a_case() {
    let cases = all_cases();
    let rules: BTreeSet<_> = cases.iter().map(|case| &case.rule).collect();
    assert_eq!(rules.len(), cases.len(), "two cases state the same rule");
    assert!(cases.len() >= 240, "only {} cases: some got lost", cases.len());
    let refusals: BTreeSet<_> = cases.iter().filter_map(Case::refusal).collect();
    assert_eq!(refusals, BTreeSet::from(Refusal::REASONS));
    let warnings: BTreeSet<_> = cases.iter().flat_map(Case::warnings).collect();
    assert_eq!(warnings, BTreeSet::from(Warning::REASONS));
}

#[test]
fn a_route_stays_for_an_auth_url_that_the_owner_wrote_after_he_opted_out() {
    let settings = Settings::default();
    let index = Index::new(Arc::new(settings.clone()));
    let may_lose_route = |app: IngressBuilder| {
        let found = IngressFacts::extract(&app.build(), &settings.keys).expect("an Ingress");
        index.may_lose_route(&found.key, &found)
    };
    let off = || app().sso("authentik", "false");
    assert!(may_lose_route(off()));
    assert!(may_lose_route(off().nginx("auth-url", "https://other.example.com/auth")));
    let url = "https://app.djieno.com/outpost.goauthentik.io/auth/nginx";
    assert!(!may_lose_route(off().nginx("auth-url", url)));
}

fn all_cases() -> Vec<Case> {
    [
        seed_case(),
        asking(),
        hosts(),
        routes_to_the_outpost(),
        own_annotations(),
        choosing_an_outpost(),
        discovered_outposts(),
        classes(),
        what_nginx_cannot_protect(),
        paths_that_take_the_login_away(),
        catches(),
        sharing_a_host(),
        a_refused_app_on_a_shared_host(),
        routes_of_others(),
        routes_of_ours_that_somebody_edited(),
        served_together::served_together(),
        names_already_taken(),
        names_and_labels(),
        requests(),
        lost_headers(),
        status(),
        what_the_outpost_says(),
        opting_out(),
        traefik::by_its_own_annotations(),
        traefik::lists_with_entries_of_others(),
        traefik::in_place_of_nginx(),
        traefik::copies_by_migration(),
        traefik::middlewares_of_others(),
        traefik::sharing_a_host(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn seed_case() -> Vec<Case> {
    let world = World::new().app(read::<Ingress>(seed::BEFORE));
    let steps = [
        "1. create Service n8n-prd/authentik-proxy-outpost",
        "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
        "1. create Ingress n8n-prd/n8n-outpost-path",
        "2. annotate n8n-prd/n8n: Protected + auth",
    ];
    vec![
        Case::new(
            "One annotation, and the app is behind authentik: companions first, then the annotations",
            world,
            Expected::Exactly(seed::AFTER),
        )
        .by(steps),
    ]
}

fn asking() -> Vec<Case> {
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

fn hosts() -> Vec<Case> {
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

fn routes_to_the_outpost() -> Vec<Case> {
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

fn own_annotations() -> Vec<Case> {
    let differs = |name: &'static str, theirs: &'static str| {
        Case::new(
            format!("A user's own, different {name} is kept and the app refused"),
            World::new().app(app().nginx(name, theirs)),
            refused(
                "OwnAnnotation",
                [
                    &format!("nginx.ingress.kubernetes.io/{name} is {theirs:?}"),
                    "it would write",
                    "Remove yours",
                    "or remove sso.djieno.com/authentik to keep yours",
                ],
            ),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"])
    };
    vec![
        differs("auth-url", "https://other.example.com/oauth2/auth"),
        differs("auth-signin", "https://other.example.com/oauth2/start"),
        differs("auth-response-headers", "X-authentik-username"),
        differs("auth-proxy-set-headers", "n8n-prd/mine"),
        Case::new(
            "A user's own auth-url with the very value that the controller would write is accepted",
            World::new()
                .app(app().nginx("auth-url", "https://app.djieno.com/outpost.goauthentik.io/auth/nginx")),
            protected(),
        ),
        Case::new(
            "A user's own proxy-buffer-size is respected, whatever it is",
            World::new().app(app().nginx("proxy-buffer-size", "8k")),
            protected().without("proxy-b"),
        ),
        Case::new(
            "Beside a user's own proxy-busy-buffers-size the controller's proxy-buffer-size could end all reloads",
            World::new().app(app().nginx("proxy-busy-buffers-size", "8k")),
            protected()
                .without("proxy-b")
                .warns("SmallBuffers", ["proxy-busy-buffers-size", "write proxy-buffer-size: 16k"]),
        ),
        Case::new(
            "Who sets both buffer sizes knows what he does",
            World::new().app(app().nginx("proxy-busy-buffers-size", "64k").nginx("proxy-buffer-size", "32k")),
            protected().without("proxy-b"),
        ),
        Case::new(
            "The proxy-buffer-size that the controller wrote stays the controller's",
            World::new().app(applied(app(), &[("nginx.ingress.kubernetes.io/proxy-buffer-size", "16k")])),
            protected(),
        ),
        Case::new(
            "An annotation that the controller wrote under older settings is the controller's to change",
            World::new().app(applied(
                app().sso("auth-route", "direct"),
                &[(
                    "nginx.ingress.kubernetes.io/auth-url",
                    "https://app.djieno.com/outpost.goauthentik.io/auth/nginx",
                )],
            )),
            protected().directly(),
        ),
        Case::new(
            "A headers-uid that the controller wrote stays, since taking it away would be one more reload",
            World::new().app(applied(app(), &[("sso.djieno.com/headers-uid", "uid-of-headers")])),
            protected().with("sso.djieno.com/headers-uid", "uid-of-headers"),
        ),
    ]
}

fn choosing_an_outpost() -> Vec<Case> {
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

fn discovered_outposts() -> Vec<Case> {
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

fn classes() -> Vec<Case> {
    let nginx = |settings: &mut ingress_sso::config::Settings| {
        settings.classes.insert("nginx".to_owned(), Dialect::Nginx);
    };
    let with_outpost = || {
        World::without_class().settings(|settings| add_outpost(settings, "proxy-outpost", world::OUTPOST_URL))
    };
    let unsupported = |controller: &'static str| {
        Case::new(
            format!("A class served by {controller} is refused, never guessed at"),
            with_outpost().class("nginx", controller).app(app()),
            refused(
                "UnsupportedController",
                [
                    "class \"nginx\"",
                    controller,
                    "k8s.io/ingress-nginx",
                    "leave the app open",
                    "--class nginx=DIALECT",
                ],
            ),
        )
    };
    vec![
        Case::new(
            "An app without a class is refused",
            World::new().app(app().no_class()),
            refused("NoClass", ["set spec.ingressClassName"]),
        ),
        Case::new(
            "A class without an IngressClass object is refused",
            World::new().app(app().class("internal")),
            refused(
                "UnknownClass",
                ["\"internal\"", "correct spec.ingressClassName", "--class internal=DIALECT"],
            ),
        ),
        Case::new(
            "As long as the classes are not listed, a missing one may just not be known yet",
            with_outpost().app(app()).before_list_of(Source::Classes),
            waits(["IngressClasses", "list and watch ingressclasses"]),
        )
        .by([]),
        unsupported("traefik.io/other-controller"),
        unsupported("haproxy.org/ingress-controller"),
        unsupported("k8s.io/ingress-nginx2"),
        Case::new(
            "The admin may say who serves a class, whatever its object says",
            with_outpost().settings(nginx).class("nginx", "example.com/fork-of-nginx").app(app()),
            protected(),
        ),
        Case::new(
            "The admin may say who serves a class that has no object",
            with_outpost().settings(nginx).app(app()).before_list_of(Source::Classes),
            protected(),
        ),
        Case::new(
            "An app with the class annotation of old gets a route with the same annotation",
            World::new().app(app().legacy_class("nginx")),
            protected()
                .without("Ingress class")
                .with("Ingress annotation kubernetes.io/ingress.class", "nginx"),
        ),
        Case::new(
            "A class annotation that says the same as the class field is of no interest",
            World::new().app(app().annotation("kubernetes.io/ingress.class", "nginx")),
            protected(),
        ),
        Case::new(
            "Two classes are refused, since one data plane goes by the field and another by the annotation",
            World::new().app(app().annotation("kubernetes.io/ingress.class", "internal")),
            refused("TwoClasses", ["is \"nginx\"", "ingress.class is \"internal\"", "Remove the annotation"]),
        ),
    ]
}

fn what_nginx_cannot_protect() -> Vec<Case> {
    let go_true = |name: &'static str, reason: &'static str, remedy: &'static str| {
        ["true", "1", "True", "t"].map(|value| {
            Case::new(
                format!("{name} is refused however its truth is spelled: {value:?}"),
                World::new().app(app().nginx(name, value)),
                refused(reason, [&format!("nginx.ingress.kubernetes.io/{name} is {value:?}"), remedy]),
            )
        })
    };
    let harmless = |key: &'static str, value: &'static str| {
        Case::new(
            format!("{key}: {value:?} is no obstacle on ingress-nginx"),
            World::new().app(app().annotation(key, value)),
            protected(),
        )
    };
    let drops_the_login = |name: &str, value: &str| {
        Case::new(
            format!("{name}: {value:?} makes ingress-nginx leave out the login check"),
            World::new().app(app().nginx(name, value)),
            refused(
                "LoginDropped",
                [
                    &format!("nginx.ingress.kubernetes.io/{name} is {value:?}"),
                    "leaves out the whole login check",
                    "correct or remove",
                ],
            ),
        )
    };
    let rewriting = || app().nginx("rewrite-target", "/$1");
    let mut cases =
        Vec::from(go_true("canary", "Canary", "put the opt-in on the main Ingress and remove it here"));
    cases.extend(go_true("ssl-passthrough", "TlsPassthrough", "remove that annotation"));
    cases.extend([
        harmless("nginx.ingress.kubernetes.io/canary", "false"),
        harmless("nginx.ingress.kubernetes.io/ssl-passthrough", "yes"),
        harmless("acme.cert-manager.io/http01-edit-in-place", "false"),
        Case::new(
            "Client certificates on the app's host would break the login check on the route host",
            World::new().app(app().nginx("auth-tls-secret", "n8n-prd/ca")),
            refused(
                "ClientCertificates",
                [
                    "nginx.ingress.kubernetes.io/auth-tls-secret",
                    "set sso.djieno.com/auth-route to \"direct\"",
                ],
            ),
        ),
        Case::new(
            "Client certificates are no obstacle on the route direct",
            World::new().app(app().nginx("auth-tls-secret", "n8n-prd/ca").sso("auth-route", "direct")),
            protected().directly(),
        ),
        harmless("acme.cert-manager.io/http01-edit-in-place", "true"),
        Case::new(
            "auth-method would open old outposts to strangers",
            World::new().app(app().nginx("auth-method", "GET")),
            refused(
                "AuthMethod",
                ["nginx.ingress.kubernetes.io/auth-method", "2025.12.5", "remove that annotation"],
            ),
        ),
        Case::new(
            "Answers of the outpost that nginx keeps would let in others than those whom they are for",
            World::new().app(app().nginx("auth-cache-key", "$remote_user$http_authorization")),
            refused(
                "CachedLogin",
                [
                    "nginx.ingress.kubernetes.io/auth-cache-key is \"$remote_user$http_authorization\"",
                    "remove that annotation",
                ],
            ),
        ),
        Case::new(
            "No key for answers that nginx is to keep hides an answer for an open path from the others",
            World::new().app(app().nginx("auth-cache-key", "$http_cookie").sso("auth-route", "direct")),
            refused("CachedLogin", ["\"$http_cookie\"", "an answer for an open path counts for all"]),
        ),
        harmless("nginx.ingress.kubernetes.io/auth-cache-key", ""),
        harmless("nginx.ingress.kubernetes.io/auth-cache-duration", "200 202 10m, 401 5m"),
        drops_the_login("auth-cache-duration", "200 5m; 401 1m"),
        harmless("nginx.ingress.kubernetes.io/auth-request-redirect", "https://app.djieno.com/x?a=b&c=d, e"),
        drops_the_login("auth-request-redirect", "https://app.djieno.com$request_uri"),
        drops_the_login("auth-request-redirect", "https://app.djieno.com/ü"),
        harmless("nginx.ingress.kubernetes.io/auth-always-set-cookie", "False"),
        harmless("nginx.ingress.kubernetes.io/auth-always-set-cookie", ""),
        drops_the_login("auth-always-set-cookie", "yes"),
        drops_the_login("auth-always-set-cookie", " true"),
        Case::new(
            "A rewrite hands the app cleaned paths, and with them a way round the login",
            World::new().app(rewriting()),
            refused(
                "Rewrite",
                [
                    "nginx.ingress.kubernetes.io/rewrite-target is \"/$1\"",
                    "/outpost.goauthentik.io/../x",
                    "without a rewrite",
                    "--nginx-rejects-dot-segments",
                ],
            ),
        ),
        Case::new(
            "A rewrite is safe where the admin vouches that nginx rejects dot segments",
            World::new().settings(|settings| settings.nginx_rejects_dot_segments = true).app(rewriting()),
            protected(),
        ),
    ]);
    cases
}

fn paths_that_take_the_login_away() -> Vec<Case> {
    let with_path = |path: &str| World::new().app(app().path(path, "ImplementationSpecific"));
    let neighbour = |path: &str| {
        let neighbour = ingress("other", "site").host("app.djieno.com").path(path, "ImplementationSpecific");
        World::new().app(app()).app(neighbour)
    };
    let swallowed = |ingress: &str, path: &str| {
        refused(
            "SwallowedPath",
            [
                &format!("path {path:?} of Ingress {ingress}"),
                "on app.djieno.com",
                "fewer than 23 characters, or exclude that path",
            ],
        )
    };
    let harmless =
        |rule: &str, path: &str| Case::new(format!("{rule}: {path}"), with_path(path), protected());
    let own = |path: &str| {
        Case::new(
            format!("The outpost path in the app's own rules would put the login behind a login: {path}"),
            with_path(path),
            refused("OutpostPathInApp", [&format!("{path:?}"), "remove that path"]),
        )
    };
    let unreadable = "/(?!outpost).*-and-so-on";
    vec![
        Case::new(
            "A regular expression of 23 characters or more would win over the outpost path that it takes",
            with_path(GREEDY),
            swallowed("n8n-prd/n8n", GREEDY),
        ),
        Case::new(
            "A regular expression is refused whatever its case, as nginx matches",
            with_path("/OUTPOST.goauthentik.IO.*"),
            swallowed("n8n-prd/n8n", "/OUTPOST.goauthentik.IO.*"),
        ),
        Case::new(
            "A regular expression that takes only a part of the outpost path is refused all the same",
            with_path("/[a-z.]+/(callback|api|x)"),
            swallowed("n8n-prd/n8n", "/[a-z.]+/(callback|api|x)"),
        ),
        Case::new(
            "A long regular expression that cannot be read is refused to be on the safe side",
            with_path(unreadable),
            swallowed("n8n-prd/n8n", unreadable),
        ),
        harmless("A regular expression shorter than the outpost path loses against it", "/(.*)"),
        harmless(
            "A long regular expression that does not take the outpost path is no obstacle",
            "/api/v[0-9]+/(users|groups)/.*",
        ),
        harmless("A long path without any pattern is no obstacle", "/a/path/that/is/rather/long"),
        Case::new(
            "A neighbour's greedy path in a rule without a host is nothing to the hosts that others name",
            World::new().app(app()).app(with_hostless_rule(
                ingress("other", "site").host("site.djieno.com").path(GREEDY, "ImplementationSpecific"),
            )),
            protected(),
        ),
        Case::new(
            "A neighbour's greedy path on the host takes the login away as well",
            neighbour(GREEDY),
            swallowed("other/site", GREEDY),
        ),
        Case::new(
            "A neighbour's greedy path on another class is nothing to this app",
            World::new().app(app()).app(
                ingress("other", "site")
                    .host("app.djieno.com")
                    .class("internal")
                    .path(GREEDY, "ImplementationSpecific"),
            ),
            protected(),
        ),
        own("/outpost.goauthentik.io"),
        own("/outpost.goauthentik.io/"),
        own("/outpost.goauthentik.io/auth/nginx"),
        Case::new(
            "A regular expression that spells the outpost path out would win over it as well",
            with_path("/outpost.goauthentik.io(/|$)(.*)"),
            refused("SwallowedPath", ["/outpost.goauthentik.io(/|$)(.*)"]),
        ),
        Case::new(
            "A neighbour's regular expression that spells the outpost path out takes the login away",
            neighbour("/outpost.goauthentik.io.*"),
            swallowed("other/site", "/outpost.goauthentik.io.*"),
        ),
    ]
}

fn catches() -> Vec<Case> {
    let warned = |name: &str, value: &str, reason: &'static str, about: &str| {
        let key = format!("nginx.ingress.kubernetes.io/{name}");
        Case::new(
            format!("{name}: {value} is warned of"),
            World::new().app(app().nginx(name, value)),
            protected().warns(reason, [&key, about]),
        )
    };
    let fine = |name: &str, value: &str| {
        Case::new(
            format!("{name}: {value} is not warned of"),
            World::new().app(app().nginx(name, value)),
            protected(),
        )
    };
    let exempt = |paths: &[&str], open: &[&str]| {
        let with_paths = paths.iter().fold(app(), |app, path| app.path(path, "ImplementationSpecific"));
        let warn = |protected: Protected, path: &&str| {
            let said = format!("ingress-nginx serves the path {path:?} without a login");
            protected.warns("NoAuthLocation", [&said, "remove that path", "no-auth-locations"])
        };
        Case::new(
            format!("Of the paths {paths:?} nginx asks for no login at {open:?}"),
            World::new().app(with_paths),
            open.iter().fold(protected(), warn),
        )
    };
    let neighbour =
        |namespace: &str, name: &str| ingress(namespace, name).host("app.djieno.com").path("/api", "Prefix");
    vec![
        warned("satisfy", "any", "SatisfyAny", "needs no login"),
        fine("satisfy", "all"),
        warned("permanent-redirect", "https://djieno.com", "Redirect", "before the login"),
        warned("temporal-redirect", "https://djieno.com", "Redirect", "before the login"),
        warned("custom-http-errors", "404,503", "LoginLoop", "if the app answers 401"),
        warned("auth-snippet", "proxy_set_header X-Forwarded-Host $http_host;", "AuthSnippet", "remove it"),
        warned("configuration-snippet", "rewrite ^ /x break;", "UncheckedSnippet", "can let strangers in"),
        warned("server-snippet", "location /x {}", "UncheckedSnippet", "can let strangers in"),
        warned("auth-keepalive", "10", "AuthKeepalive", "answer 500"),
        fine("auth-keepalive", "0"),
        fine("auth-keepalive", "-1"),
        fine("auth-keepalive", "many"),
        warned("mirror-target", "https://test.djieno.com$request_uri", "Mirror", "copies of all requests"),
        warned("backend-protocol", "FCGI", "ForgeableIdentity", "speaks HTTP"),
        warned("backend-protocol", " fcgi", "ForgeableIdentity", "can pass for anybody"),
        warned("backend-protocol", "grpc", "ForgeableIdentity", "is \"grpc\""),
        warned("backend-protocol", "Grpcs", "ForgeableIdentity", "write it in capitals"),
        fine("backend-protocol", "GRPC"),
        fine("backend-protocol", "GRPCS"),
        fine("backend-protocol", "https"),
        fine("backend-protocol", "uwsgi"),
        warned("satisfy", " any", "SatisfyAny", "needs no login"),
        exempt(&["/", "/.well-known/acme-challenge/token"], &["/.well-known/acme-challenge/token"]),
        exempt(&["/", "/.well-known/acme-challenge|/admin"], &["/.well-known/acme-challenge|/admin"]),
        exempt(&["/", "/.well-known/acme-challenges"], &["/.well-known/acme-challenges"]),
        exempt(&["/", "/.Well-Known/acme-challenge/", "/x/.well-known/acme-challenge", "/.well-known"], &[]),
        exempt(
            &[
                "/",
                "/.well-known/acme-challenge/d",
                "/.well-known/acme-challenge/c",
                "/.well-known/acme-challenge/b",
                "/.well-known/acme-challenge/a",
                "/.well-known/acme-challenge/a",
            ],
            &[
                "/.well-known/acme-challenge/a",
                "/.well-known/acme-challenge/b",
                "/.well-known/acme-challenge/c",
            ],
        ),
        Case::new(
            "Another Ingress on the host that does not ask for protection stays open, and that is said",
            World::new().app(app()).app(neighbour("other", "site")),
            protected()
                .warns("OpenNeighbour", ["app.djieno.com", "other/site", "Put the annotation on it too"]),
        ),
        Case::new(
            "A neighbour that has TLS passed through opens the whole host",
            World::new().app(app()).app(neighbour("other", "site").nginx("ssl-passthrough", "true")),
            protected()
                .warns("OpenNeighbour", ["other/site"])
                .warns("TlsPassedThrough", ["app.djieno.com", "other/site", "remove ssl-passthrough there"]),
        ),
        Case::new(
            "A refused app that has TLS passed through opens those beside it as well",
            World::new().app(app()).app(
                neighbour("other", "site")
                    .nginx("ssl-passthrough", "t")
                    .sso("authentik", "true")
                    .created(2000),
            ),
            protected().warns("TlsPassedThrough", ["other/site"]),
        ),
        Case::new(
            "What a neighbour has passed through on another host, on another class or not at all is nothing to this app",
            World::new()
                .app(app())
                .app(ingress("other", "a").host("a.djieno.com").nginx("ssl-passthrough", "true"))
                .app(
                    ingress("other", "b")
                        .host("app.djieno.com")
                        .class("other")
                        .nginx("ssl-passthrough", "true"),
                )
                .app(ingress("other", "c").host("c.djieno.com").nginx("ssl-passthrough", "yes")),
            protected(),
        ),
        Case::new(
            "A neighbour that opted out with \"false\" stays open as well",
            World::new().app(app()).app(neighbour("other", "site").sso("authentik", "false")),
            protected().warns("OpenNeighbour", ["other/site"]),
        ),
        Case::new(
            "A neighbour with an outpost path as well is no less open on its other paths",
            settled().app(
                neighbour("other", "site")
                    .path("/outpost.goauthentik.io", "ImplementationSpecific")
                    .created(2000),
            ),
            protected().warns("OpenNeighbour", ["other/site"]),
        )
        .by([]),
        Case::new(
            "A canary of another namespace on the host shares in the app's visitors, and that is said",
            World::new().app(app()).app(neighbour("other", "site").nginx("canary", "True")),
            protected().warns("CanaryOfOthers", ["app.djieno.com", "other/site", "identity headers"]),
        ),
        Case::new(
            "A canary of another namespace is no better for asking for protection itself",
            World::new()
                .app(app())
                .app(neighbour("other", "site").nginx("canary", "true").sso("authentik", "true")),
            protected().warns("CanaryOfOthers", ["other/site"]),
        ),
        Case::new(
            "A canary of the app's own namespace has the app's login",
            World::new().app(app()).app(neighbour("n8n-prd", "site").nginx("canary", "true")),
            protected(),
        ),
        Case::new(
            "A canary by an annotation that is false is none",
            World::new().app(app()).app(neighbour("other", "site").nginx("canary", "false")),
            protected().warns("OpenNeighbour", ["other/site"]),
        ),
        Case::new(
            "A crowd of open neighbours is cut to three",
            ["a", "b", "c", "d"]
                .iter()
                .fold(World::new().app(app()), |world, name| world.app(neighbour("other", name))),
            protected()
                .warns("OpenNeighbour", ["other/a"])
                .warns("OpenNeighbour", ["other/b"])
                .warns("OpenNeighbour", ["other/c"]),
        ),
        Case::new(
            "An Ingress of another class does not serve the app's visitors, so it is no neighbour",
            World::new().app(app()).app(neighbour("other", "site").class("internal")),
            protected(),
        ),
        Case::new(
            "An Ingress on another host is no neighbour",
            World::new().app(app()).app(ingress("other", "site").host("www.djieno.com")),
            protected(),
        ),
    ]
}

fn sharing_a_host() -> Vec<Case> {
    let older = || other_app("other", "older").created(1);
    let its_route = || our_route("other", "older", ["app.djieno.com"]);
    let using_it =
        || protected().by_the_route_of_others().warns("RouteOfOtherApp", ["app.djieno.com", "other/older"]);
    let waiting = || waits(["app.djieno.com", "other/older", "claimed the host first"]);
    let two_hosts = || app().host("n8n.djieno.com");
    let settled_older = || applied(older(), &seed_annotations());
    let protected_elsewhere = || {
        let older = app_on("other", "older", ["www.djieno.com", "app.djieno.com"]).created(1);
        settled_with(|app| app.sso("outpost", "proxy-outpost"))
            .settings(|settings| add_outpost(settings, "staff", "http://staff.example.com:9000"))
            .app(applied(older.sso("outpost", "staff"), &seed_annotations()))
            .app(owned_by(
                "older",
                our_route("other", "older", ["www.djieno.com"])
                    .label("sso.djieno.com/outpost", "staff")
                    .backend("authentik-staff", 9000)
                    .created(1),
            ))
            .service(service_of_ours("other", "staff", "staff.example.com"))
    };
    vec![
        Case::new(
            "Of two apps on a host the older one provides the route",
            World::new().app(older()).app(app()).about("other", "older"),
            protected_app_elsewhere("other", "older"),
        ),
        Case::new(
            "The younger app waits until the route of the older one stands, with its own companions made already",
            World::new().app(older()).app(app()),
            waiting(),
        )
        .by(["1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378"]),
        Case::new(
            "The younger app uses the route of the older one, and says so",
            World::new().app(older()).app(its_route()).app(app()),
            using_it(),
        )
        .by([
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "A route of the older app that leads to its former outpost is not one to rely on",
            World::new()
                .settings(|settings| {
                    settings.default_outpost = Some("proxy-outpost".to_owned());
                    add_outpost(settings, "former", "http://former.example.com:9000");
                })
                .app(older())
                .app(its_route().label("sso.djieno.com/outpost", "former").backend("authentik-former", 9000))
                .app(app()),
            waiting(),
        ),
        Case::new(
            "A route of the older app that does not serve the host is not one to rely on",
            World::new().app(older()).app(our_route("other", "older", ["www.djieno.com"])).app(app()),
            waiting(),
        ),
        Case::new(
            "A wait that lasts is told, and what to look at",
            World::new().app(older()).app(app()).overdue(),
            waiting(),
        )
        .by([
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
            "2. annotate n8n-prd/n8n: Pending",
        ]),
        Case::new(
            "Of two apps made in the same second the first by namespace and name provides the route",
            World::new().app(other_app("other", "n8n")).app(app()),
            protected(),
        ),
        Case::new(
            "Of two apps made in the same second in one namespace the name decides",
            World::new().app(other_app("n8n-prd", "a")).app(app()),
            waits(["n8n-prd/a"]),
        ),
        Case::new(
            "One host can have one outpost: the later app with another is refused",
            World::new()
                .settings(|settings| add_outpost(settings, "staff", "http://staff.example.com:9000"))
                .app(older().sso("outpost", "staff"))
                .app(app().sso("outpost", "proxy-outpost")),
            refused(
                "OtherOutpostOnHost",
                [
                    "app.djieno.com",
                    "outpost \"staff\"",
                    "Ingress other/older",
                    "sso.djieno.com/outpost",
                    "or another host",
                ],
            ),
        ),
        Case::new(
            "An app provides the route of those of its hosts that nobody claimed before",
            World::new().app(older()).app(its_route()).app(two_hosts()),
            protected()
                .with("Ingress hosts", "n8n.djieno.com")
                .with("auth-url", MANY_HOSTS_URL)
                .with("auth-signin", MANY_HOSTS_SIGNIN)
                .warns("RouteOfOtherApp", ["app.djieno.com", "other/older"]),
        ),
        Case::new(
            "An app waits for the one host whose route is yet to come, although the other is its own",
            World::new().app(older()).app(two_hosts()),
            waiting(),
        ),
        Case::new(
            "The same host on another class is another place",
            World::new().class("internal", "k8s.io/ingress-nginx").app(older().class("internal")).app(app()),
            protected(),
        ),
        Case::new(
            "A wildcard host and a host below it are two places",
            World::new().app(app_on("other", "older", ["*.djieno.com"]).created(1)).app(app()),
            protected(),
        ),
        Case::new(
            "An app whose own route stands keeps it, however old another is that comes",
            settled().app(older()),
            protected(),
        )
        .by([]),
        Case::new(
            "An older app that comes later uses the route that stands",
            settled().app(older()).about("other", "older"),
            protected_app_elsewhere("other", "older")
                .by_the_route_of_others()
                .warns("RouteOfOtherApp", ["n8n-prd/n8n"]),
        ),
        Case::new(
            "Where two routes of ours stand, the one that was made first stays",
            settled().app(settled_older()).app(its_route().created(2000)),
            protected(),
        )
        .by([]),
        Case::new(
            "Where two routes of ours stand, the one that was made later goes",
            settled().app(settled_older()).app(its_route().created(1)),
            using_it(),
        )
        .by(["1. delete Ingress n8n-prd/n8n-outpost-path"]),
        Case::new(
            "An app that is protected on one host through another outpost is a newcomer on the next one",
            protected_elsewhere(),
            protected(),
        )
        .by([]),
        Case::new(
            "A newcomer that cannot have a host keeps what protects it on its own",
            protected_elsewhere().about("other", "older"),
            refused("OtherOutpostOnHost", ["app.djieno.com", "n8n-prd/n8n"]),
        )
        .by(["1. annotate other/older: Refused + auth"]),
        Case::new(
            "An app that opts out makes room at once where an admission webhook allows one route only",
            World::new()
                .app(applied(app().sso("authentik", "false"), &seed_annotations()))
                .app(seed_route())
                .app(other_app("other", "younger").created(9999))
                .then(|index| _ = index.set_denied(&ObjectKey::new("other", "younger"), true)),
            Expected::Unprotected,
        )
        .by(["1. annotate n8n-prd/n8n: nothing", "2. delete Ingress n8n-prd/n8n-outpost-path"]),
        Case::new(
            "An app that opts out lends its route to the next until that one's own stands",
            World::new()
                .app(applied(app().sso("authentik", "false"), &seed_annotations()))
                .app(seed_route())
                .app(other_app("other", "younger").created(9999)),
            Expected::Unprotected,
        )
        .by(["1. annotate n8n-prd/n8n: nothing"]),
        Case::new(
            "An app that opted out takes its route away when that of the next stands",
            World::new()
                .app(applied(app().sso("authentik", "false"), &seed_annotations()))
                .app(seed_route())
                .app(other_app("other", "younger").created(9999))
                .app(our_route("other", "younger", ["app.djieno.com"])),
            Expected::Unprotected,
        )
        .by(["1. annotate n8n-prd/n8n: nothing", "2. delete Ingress n8n-prd/n8n-outpost-path"]),
    ]
}

fn a_refused_app_on_a_shared_host() -> Vec<Case> {
    let older = || other_app("other", "older").created(1);
    let two_outposts =
        || World::new().settings(|settings| add_outpost(settings, "staff", "http://staff.example.com:9000"));
    vec![
        Case::new(
            "An app that is refused for what it asks claims no host",
            World::new().app(older().nginx("canary", "true")).app(app()),
            protected().warns("CanaryOfOthers", ["other/older"]),
        ),
        Case::new(
            "An app that is refused for an auth-url of its own claims no host",
            World::new().app(older().nginx("auth-url", "https://other.example.com/auth")).app(app()),
            protected(),
        ),
        Case::new(
            "An app whose route would bear a name that is taken claims no host",
            World::new()
                .app(older())
                .app(ingress("other", "older-outpost-path").host("www.djieno.com"))
                .app(app()),
            protected(),
        ),
        Case::new(
            "An app that an older one keeps out keeps nobody out on its other hosts",
            two_outposts()
                .app(app_on("a", "first", ["www.djieno.com"]).created(1).sso("outpost", "proxy-outpost"))
                .app(
                    app_on("b", "kept-out", ["www.djieno.com", "app.djieno.com"])
                        .created(2)
                        .sso("outpost", "staff"),
                )
                .app(app().sso("outpost", "proxy-outpost")),
            protected(),
        ),
        Case::new(
            "A refused app that is protected already keeps its hosts, since its visitors need the route",
            World::new()
                .app(applied(older().nginx("canary", "true"), &seed_annotations()))
                .app(our_route("other", "older", ["app.djieno.com"]))
                .app(app()),
            protected()
                .by_the_route_of_others()
                .warns("CanaryOfOthers", ["other/older"])
                .warns("RouteOfOtherApp", ["other/older"]),
        ),
        Case::new(
            "An older app that comes later makes no second route where that of a refused app still stands",
            World::new()
                .app(applied(app().nginx("canary", "true"), &seed_annotations()))
                .app(seed_route())
                .app(older())
                .about("other", "older"),
            protected_app_elsewhere("other", "older")
                .by_the_route_of_others()
                .warns("CanaryOfOthers", ["n8n-prd/n8n"])
                .warns("RouteOfOtherApp", ["n8n-prd/n8n"]),
        ),
        Case::new(
            "What protects an app stays when it is refused later, and the status says so",
            World::new()
                .app(applied(app().nginx("canary", "true"), &seed_annotations()))
                .app(seed_route())
                .service(seed_service())
                .config_map(seed_headers()),
            refused("Canary", ["canary"]),
        )
        .by(["1. annotate n8n-prd/n8n: Refused + auth"]),
        Case::new(
            "A refused app that never was protected gives up its route",
            World::new().app(app().nginx("canary", "true")).app(seed_route()),
            refused("Canary", ["canary"]),
        )
        .by(["1. annotate n8n-prd/n8n: Refused", "2. delete Ingress n8n-prd/n8n-outpost-path"]),
    ]
}

fn routes_of_ours_that_somebody_edited() -> Vec<Case> {
    let evil = "evil-outpost-path";
    let refused_app = || {
        let app = app_on("evil", "evil", ["evil.djieno.com", "app.djieno.com"]).created(1);
        applied(app.sso("authentik", "yes"), &seed_annotations())
    };
    let its_route = || our_route("evil", "evil", ["evil.djieno.com", "app.djieno.com"]).created(1);
    let world = |route: IngressBuilder| settled().app(refused_app()).app(owned_by("evil", route));
    let reported = |world: World| {
        (world, refused("ForeignRoute", ["app.djieno.com", evil, "is not as this controller would make it"]))
    };
    let stays = ["1. annotate n8n-prd/n8n: Refused + auth"];
    let case = |rule: &str, (world, expected): (World, Expected)| Case::new(rule, world, expected).by(stays);
    let repaired = |rule: &str, route: IngressBuilder| {
        let refusal = refused("InvalidAnnotation", ["yes"]);
        Case::new(rule, world(route).about("evil", "evil"), refusal)
    };
    let staff = |world: World| {
        world.settings(|settings| {
            settings.default_outpost = Some("proxy-outpost".to_owned());
            add_outpost(settings, "staff", "http://staff.example.com:9000");
        })
    };
    let to_staff = || its_route().label("sso.djieno.com/outpost", "staff").backend("authentik-staff", 9000);
    let hand_made = |host: &str| {
        let app = app_on("evil", "evil", ["evil.djieno.com", "app.djieno.com"]).created(1);
        settled()
            .app(applied(app, &seed_annotations()))
            .app(owned_by("evil", its_route()))
            .service(external_name_service("evil", "authentik-proxy-outpost", host, 9000))
    };
    let going = |route: IngressBuilder| {
        let app = app_on("evil", "evil", ["evil.djieno.com", "app.djieno.com"]).created(1);
        let app = deleting(applied(app, &seed_annotations()));
        settled().app(app).app(owned_by("evil", route))
    };
    vec![
        case(
            "A route of ours in another namespace that leads elsewhere is somebody else's, whoever's it was",
            reported(world(its_route().backend("evil", 80))),
        ),
        case(
            "A route of ours in another namespace that leads to another port is somebody else's",
            reported(world(its_route().backend("authentik-proxy-outpost", 80))),
        ),
        case(
            "A route of ours in another namespace that rewrites the path is somebody else's: the outpost says 2xx to some",
            reported(world(its_route().nginx("rewrite-target", "/outpost.goauthentik.io/ping"))),
        ),
        case(
            "A route of ours in another namespace that names an outpost which nobody knows is somebody else's",
            reported(world(
                its_route().label("sso.djieno.com/outpost", "evil").backend("authentik-evil", 9000),
            )),
        ),
        case(
            "A route of ours in another namespace whose Service somebody made and turned is somebody else's",
            reported(hand_made("evil.example.com")),
        ),
        case(
            "A route of an app that is kept from going is nobody's to set right, so it is somebody else's when it is turned",
            reported(going(its_route().backend("evil", 80))),
        ),
        Case::new(
            "A younger route of ours in another namespace is behind the app's own, wherever it leads",
            world(its_route().backend("evil", 80).created(2000)),
            protected(),
        )
        .by([]),
        Case::new(
            "A refused app takes no host from an app whose own route stands, however old its own is",
            world(its_route()),
            protected(),
        )
        .by([]),
        Case::new(
            "A refused app puts no app out by the label of its route, however old that is",
            staff(world(to_staff())),
            protected(),
        )
        .by([]),
        repaired(
            "The route of a refused app is set right where somebody turned it",
            its_route().backend("evil", 80),
        )
        .by(["1. annotate evil/evil: Refused + auth", "2. repair Ingress evil/evil-outpost-path"]),
        repaired(
            "The route of a refused app is set right where somebody gave it annotations",
            our_route("evil", "evil", ["evil.djieno.com"])
                .nginx("rewrite-target", "/outpost.goauthentik.io/ping"),
        )
        .by(["1. annotate evil/evil: Refused + auth", "2. repair Ingress evil/evil-outpost-path"]),
        repaired("A refused app gives up a host whose route stands", its_route())
            .by(["1. annotate evil/evil: Refused + auth", "2. repair Ingress evil/evil-outpost-path"]),
        repaired(
            "A refused app keeps no host that it never had",
            our_route("evil", "evil", ["evil.djieno.com", "www.djieno.com"]),
        )
        .by(["1. annotate evil/evil: Refused + auth", "2. repair Ingress evil/evil-outpost-path"]),
        repaired(
            "The route of a refused app that is as it was is left alone",
            our_route("evil", "evil", ["evil.djieno.com"]),
        )
        .by(["1. annotate evil/evil: Refused + auth"]),
    ]
}

fn routes_of_others() -> Vec<Case> {
    let authentiks_own = || {
        ingress("authentik-prd", "ak-outpost-proxy-outpost")
            .host("app.djieno.com")
            .path("/outpost.goauthentik.io", "Prefix")
            .backend("ak-outpost-proxy-outpost", 9000)
    };
    let by_hand = || route("n8n-prd", "by-hand", ["app.djieno.com"]);
    let theirs = || route("other", "theirs", ["app.djieno.com"]).backend("theirs", 80);
    let stolen = |path: &str| refused("ForeignRoute", ["app.djieno.com", path, "which is no known outpost"]);
    let kept_from_going = |namespace: &str| {
        let mut route = seed_route();
        route.metadata.namespace = Some(namespace.to_owned());
        route.metadata.deletion_timestamp = Some(Time(Timestamp::constant(3000, 0)));
        route
    };
    let settled_without_route =
        || World::new().app(settled_app()).service(seed_service()).config_map(seed_headers());
    let its_service = |host: &str| external_name_service("n8n-prd", "authentik-proxy-outpost", host, 9000);
    let using = |ingress: &str| {
        protected()
            .by_the_route_of_others()
            .warns("ForeignRoute", [ingress, "app.djieno.com", "neither made nor changes"])
    };
    let astray = |found: &str| {
        refused(
            "ForeignRoute",
            ["app.djieno.com", "outpost \"proxy-outpost\"", found, "point it there or delete it"],
        )
    };
    vec![
        Case::new(
            "An app with a route of its own keeps it beside one made by hand, also where an older app uses that and makes none",
            World::new()
                .app(applied(
                    app().created(2),
                    &[(
                        "nginx.ingress.kubernetes.io/auth-url",
                        "https://app.djieno.com/outpost.goauthentik.io/auth/nginx",
                    )],
                ))
                .app(our_route("n8n-prd", "n8n", ["app.djieno.com"]))
                .app(applied(
                    other_app("n8n-prd", "first").created(1),
                    &[(
                        "nginx.ingress.kubernetes.io/auth-url",
                        "https://app.djieno.com/outpost.goauthentik.io/auth/nginx",
                    )],
                ))
                .app(our_route("n8n-prd", "first", ["app.djieno.com"]).class("other"))
                .app(route("n8n-prd", "by-hand", ["app.djieno.com"]))
                .service(external_name_service("n8n-prd", "authentik-proxy-outpost", OUTPOST_HOST, 9000)),
            protected().without("Service"),
        ),
        Case::new(
            "authentik's own Ingress for the host is used and never touched",
            World::new().app(app()).app(authentiks_own()),
            using("authentik-prd/ak-outpost-proxy-outpost"),
        )
        .by([
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "A route made by hand through an ExternalName Service made by hand is used and never touched",
            World::new().app(app()).app(by_hand()).service(its_service(OUTPOST_HOST)),
            using("n8n-prd/by-hand"),
        ),
        Case::new(
            "A route with a slash at its end is the same route",
            World::new().app(app()).app(
                ingress("authentik-prd", "slash")
                    .host("app.djieno.com")
                    .path("/outpost.goauthentik.io/", "Prefix")
                    .backend("ak-outpost-proxy-outpost", 9000),
            ),
            using("authentik-prd/slash"),
        ),
        Case::new(
            "A route made by hand that leads elsewhere is reported, never corrected",
            World::new().app(app()).app(by_hand()).service(its_service("evil.example.com")),
            astray("it leads to Service authentik-proxy-outpost, which is no known outpost"),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"]),
        Case::new(
            "A route in a namespace of others is not trusted, wherever it leads now: they could turn it",
            World::new()
                .app(app())
                .app(route("other", "theirs", ["app.djieno.com"]))
                .service(external_name_service("other", "authentik-proxy-outpost", OUTPOST_HOST, 9000)),
            astray("the owners of namespace other could turn"),
        ),
        Case::new(
            "A route made by hand to another known outpost is reported",
            World::new()
                .settings(|settings| add_outpost(settings, "staff", "http://staff.example.com:9000"))
                .app(app().sso("outpost", "proxy-outpost"))
                .app(by_hand())
                .service(its_service("staff.example.com")),
            astray("it leads to the outpost \"staff\""),
        ),
        Case::new(
            "A route made by hand for a part of the outpost path would take that part away",
            World::new().app(app()).app(
                ingress("authentik-prd", "part")
                    .host("app.djieno.com")
                    .path("/outpost.goauthentik.io/start", "Prefix")
                    .backend("ak-outpost-proxy-outpost", 9000),
            ),
            astray("it takes a part of the outpost's paths"),
        ),
        Case::new(
            "A route made by hand on another class serves other visitors",
            World::new().app(app()).app(authentiks_own().class("internal")),
            protected(),
        ),
        Case::new(
            "A route made by hand on another host is nothing to this app",
            World::new().app(app()).app(route("n8n-prd", "by-hand", ["www.djieno.com"])),
            protected(),
        ),
        Case::new(
            "A route made by hand beside one of ours changes nothing: the older one is in force",
            settled().app(authentiks_own()),
            protected(),
        )
        .by([]),
        Case::new(
            "A route to elsewhere that comes later than ours is behind it",
            settled().app(theirs().created(2000)),
            protected(),
        )
        .by([]),
        Case::new(
            "A canary with the outpost path shares in all logins, however young it is",
            settled().app(theirs().nginx("canary", "true").created(2000)),
            astray("it is a canary"),
        )
        .by(["1. annotate n8n-prd/n8n: Refused + auth"]),
        Case::new(
            "A canary with the outpost path is none to trust, wherever it leads and however its truth is spelled",
            settled().app(by_hand().nginx("canary", "1").created(2000)),
            astray("it is a canary"),
        ),
        Case::new(
            "What is no canary is behind a route of ours that is older",
            settled().app(theirs().nginx("canary", "false").created(2000)),
            protected(),
        )
        .by([]),
        Case::new(
            "A route made by hand for the outpost path alone leaves out all that is below it",
            World::new().app(app()).app(
                ingress("authentik-prd", "exact")
                    .host("app.djieno.com")
                    .path("/outpost.goauthentik.io", "Exact")
                    .backend("ak-outpost-proxy-outpost", 9000),
            ),
            astray("it takes a part of the outpost's paths"),
        ),
        Case::new(
            "An older Ingress that is turned to the host takes the path from a route of ours, which is reported",
            settled().app(theirs().created(1)),
            stolen("/outpost.goauthentik.io"),
        )
        .by(["1. annotate n8n-prd/n8n: Refused + auth"]),
        Case::new(
            "Of two routes made in the same second the one with the last name is in force",
            settled().app(route("zone", "theirs", ["app.djieno.com"])),
            stolen("/outpost.goauthentik.io"),
        ),
        Case::new(
            "A route of another type is a rule of its own, and wins over ours however young it is",
            settled().app(
                ingress("other", "theirs")
                    .host("app.djieno.com")
                    .path("/outpost.goauthentik.io", "Prefix")
                    .backend("theirs", 80)
                    .created(2000),
            ),
            stolen("/outpost.goauthentik.io"),
        ),
        Case::new(
            "So is one with a slash at its end",
            settled().app(
                ingress("other", "theirs")
                    .host("app.djieno.com")
                    .path("/outpost.goauthentik.io/", "ImplementationSpecific")
                    .backend("theirs", 80)
                    .created(2000),
            ),
            stolen("/outpost.goauthentik.io/"),
        ),
        Case::new(
            "A route to elsewhere is no better for asking for protection itself",
            World::new().app(app()).app(theirs().sso("authentik", "true")),
            stolen("/outpost.goauthentik.io"),
        ),
        Case::new(
            "A route with all our labels that is kept from going could be turned at any time",
            World::new().app(app()).app(kept_from_going("other")),
            astray("it is being deleted, and somebody keeps it from going"),
        ),
        Case::new(
            "The app's own route that is going is the app's own route",
            settled_without_route().app(kept_from_going("n8n-prd")),
            protected(),
        )
        .by([]),
        Case::new(
            "An app keeps to its own hosts where a route made by hand serves one of them",
            World::new().app(app().host("n8n.djieno.com")).app(authentiks_own()),
            protected()
                .with("Ingress hosts", "n8n.djieno.com")
                .with("auth-url", MANY_HOSTS_URL)
                .with("auth-signin", MANY_HOSTS_SIGNIN)
                .warns("ForeignRoute", ["app.djieno.com"]),
        ),
        Case::new(
            "RKE2's clone of an outpost Ingress bears all our labels and is not ours",
            World::new().app(app().sso("authentik", "false")).app(clone_by_rke2().class("traefik")),
            Expected::Unprotected,
        )
        .by([]),
        Case::new(
            "RKE2's clone of an outpost Ingress on another class takes nothing from the app",
            World::new().app(app()).app(clone_by_rke2().class("traefik")),
            protected(),
        ),
        Case::new(
            "RKE2's clone of an outpost Ingress on the same class is a route of somebody else's",
            World::new().app(app()).app(clone_by_rke2()).service(seed_service()),
            using("n8n-prd/n8n-outpost-path-traefik"),
        ),
    ]
}

fn names_already_taken() -> Vec<Case> {
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

fn names_and_labels() -> Vec<Case> {
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

fn requests() -> Vec<Case> {
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

fn lost_headers() -> Vec<Case> {
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

/// Whether the outpost serves the app decides what is said, and nothing else.
fn what_the_outpost_says() -> Vec<Case> {
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

fn status() -> Vec<Case> {
    let forged = |name: &str, value: &str| app().sso(name, value);
    let refused_already = |message: &str| {
        let mut ingress = app().nginx("canary", "true").build();
        ingress =
            applied(ingress, &[("sso.djieno.com/status", "Refused"), ("sso.djieno.com/message", message)]);
        Case::new(
            format!("A refusal is told when it is new: the message was {message:?}"),
            World::new().app(ingress),
            refused("Canary", ["canary"]),
        )
    };
    vec![
        refused_already("an older reason").by(["1. annotate n8n-prd/n8n: Refused"]),
        refused_already(
            "annotation nginx.ingress.kubernetes.io/canary is \"true\", but the ingress controller takes a canary's auth from its \
             main Ingress: put the opt-in on the main Ingress and remove it here",
        )
        .by([]),
        Case::new(
            "Only the controller may say Protected: a forged status of a refused app is taken back",
            World::new().app(forged("status", "Protected").nginx("canary", "true")),
            refused("Canary", ["canary"]),
        )
        .by(["1. edit n8n-prd/n8n: sso.djieno.com/status away"]),
        Case::new(
            "A forged status that the controller came to share is taken back when it is no longer true",
            World::new().app(also_owned_by_a_user(
                applied(app().nginx("canary", "true"), &[("sso.djieno.com/status", "Protected")]),
                "sso.djieno.com/status",
            )),
            refused("Canary", ["canary"]),
        )
        .by(["1. edit n8n-prd/n8n: sso.djieno.com/status away"]),
        Case::new(
            "A message of somebody else's on a protected app is taken back",
            settled_with(|app| app.sso("message", "all is lost")),
            protected(),
        )
        .by(["1. edit n8n-prd/n8n: sso.djieno.com/message away"]),
        Case::new(
            "A forged status is taken back when protection is about to be told",
            World::new().app(forged("status", "Failing")),
            protected(),
        )
        .by([
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            "2. edit n8n-prd/n8n: sso.djieno.com/status away",
        ]),
        Case::new(
            "A wait that begins says nothing yet, not even to an app that was refused before",
            World::new()
                .app(other_app("other", "older").created(1))
                .app(applied(app(), &[("sso.djieno.com/status", "Refused")]))
                .config_map(seed_headers()),
            waits(["other/older"]),
        )
        .by([]),
        Case::new(
            "Once protected, an app is no longer called refused",
            settled_but(&[("sso.djieno.com/status", Some("Refused")), ("sso.djieno.com/message", Some("why"))]),
            protected(),
        )
        .by(["1. annotate n8n-prd/n8n: Protected + auth"]),
    ]
}

fn opting_out() -> Vec<Case> {
    let opted_out = |app: IngressBuilder| {
        World::new()
            .app(applied(app, &seed_annotations()))
            .app(seed_route())
            .service(seed_service())
            .config_map(seed_headers())
    };
    let unasked = || ingress("n8n-prd", "n8n").host("app.djieno.com");
    let order = ["1. annotate n8n-prd/n8n: nothing", "2. delete Ingress n8n-prd/n8n-outpost-path"];
    vec![
        Case::new(
            "Without the opt-in the annotations go first, then the route; what is shared follows with its last user",
            opted_out(unasked()),
            Expected::Unprotected,
        )
        .by(order),
        Case::new(
            "The opt-in \"false\" takes the same way",
            opted_out(app().sso("authentik", "false")),
            Expected::Unprotected,
        )
        .by(order),
        Case::new(
            "The route of an Ingress that is gone goes, should garbage collection have missed it",
            World::new().app(seed_route()),
            Expected::Unprotected,
        )
        .by(["1. delete Ingress n8n-prd/n8n-outpost-path"]),
        Case::new(
            "A status of ours goes with the opt-in",
            World::new().app(applied(unasked(), &[("sso.djieno.com/status", "Refused")])),
            Expected::Unprotected,
        )
        .by(["1. annotate n8n-prd/n8n: nothing"]),
        Case::new(
            "An auth-url of the user's own that needs the route keeps it",
            World::new()
                .app(applied(
                    unasked().nginx("auth-url", "https://app.djieno.com/outpost.goauthentik.io/auth/nginx"),
                    &[("sso.djieno.com/status", "Protected")],
                ))
                .app(seed_route()),
            unprotected_but(
                "RouteStillUsed",
                ["nginx.ingress.kubernetes.io/auth-url", "the login stays until you remove it"],
            ),
        )
        .by(["1. annotate n8n-prd/n8n: nothing"]),
        Case::new(
            "… and keeps it once nothing else is left that tells of us",
            World::new()
                .app(unasked().nginx("auth-url", "https://app.djieno.com/outpost.goauthentik.io/auth/nginx"))
                .app(seed_route()),
            unprotected_but("RouteStillUsed", ["nginx.ingress.kubernetes.io/auth-url"]),
        )
        .by([]),
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

/// Another app on the usual host, protected in the usual way.
fn protected_app_elsewhere(namespace: &str, name: &str) -> Protected {
    let headers = format!("{namespace}/authentik-headers-4bd8e4f378");
    protected()
        .with("Service", &format!("{namespace}/authentik-proxy-outpost"))
        .with("ConfigMap", &headers)
        .with("auth-proxy-set-headers", &headers)
        .with("Ingress", &format!("{namespace}/{name}-outpost-path"))
        .with("Ingress owner", &format!("{name} uid-of-{name}"))
        .with("Ingress annotation sso.djieno.com/app", name)
}

/// The usual app with all that protects it, as the controller left it.
fn settled() -> World {
    settled_with(|app| app)
}

/// As [`settled`], with the app changed by its owner since.
fn settled_with(change: impl FnOnce(IngressBuilder) -> IngressBuilder) -> World {
    World::new()
        .app(applied(change(app()), &seed_annotations()))
        .app(seed_route())
        .service(seed_service())
        .config_map(seed_headers())
}

/// As [`settled`], with these of our annotations on the app changed or, without a value, removed.
fn settled_but(changes: &[(&'static str, Option<&'static str>)]) -> World {
    let mut annotations = seed_annotations();
    for (key, value) in changes {
        annotations.retain(|(kept, _)| kept != key);
        annotations.extend(value.map(|value| (*key, value)));
    }
    World::new()
        .app(applied(app(), &annotations))
        .app(seed_route())
        .service(seed_service())
        .config_map(seed_headers())
}

fn settled_app() -> Ingress {
    applied(app(), &seed_annotations())
}

/// The annotations that the controller put on the app of the first case.
fn seed_annotations() -> Vec<(&'static str, &'static str)> {
    let app = seed::AFTER.rsplit("---\n").next().unwrap_or_default();
    let ours = |line: &'static str| {
        let (key, value) = line.trim().split_once(": ")?;
        let is_ours = key.starts_with("nginx.ingress.kubernetes.io/") || key == "sso.djieno.com/status";
        is_ours.then_some((key, value))
    };
    app.lines().filter_map(ours).collect()
}

fn seed_service() -> Service {
    seed_object(0)
}

fn seed_headers() -> ConfigMap {
    seed_object(1)
}

fn seed_route() -> Ingress {
    seed_object(2)
}

/// The object at this place among those that the first case ends with.
fn seed_object<T: DeserializeOwned>(position: usize) -> T {
    read(seed::AFTER.split("---\n").nth(position).unwrap_or_default())
}

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).expect("an object as YAML")
}

/// What RKE2's migration makes of the outpost Ingress of the usual app.
fn clone_by_rke2() -> IngressBuilder {
    let original = our_route("n8n-prd", "n8n", ["app.djieno.com"]).build().metadata;
    let clone = route("n8n-prd", "n8n-outpost-path-traefik", ["app.djieno.com"]);
    let labels = original.labels.unwrap_or_default();
    let clone = labels.iter().fold(clone, |clone, (key, value)| clone.label(key, value));
    let annotations = original.annotations.unwrap_or_default();
    annotations.iter().fold(clone, |clone, (key, value)| clone.annotation(key, value))
}

/// The route `route` of the app `app` as the controller makes it: it goes with the app.
fn owned_by(app: &str, route: IngressBuilder) -> Ingress {
    let mut route = route.build();
    let mut owners = seed_route().metadata.owner_references;
    for owner in owners.iter_mut().flatten() {
        (owner.name, owner.uid) = (app.to_owned(), format!("uid-of-{app}"));
    }
    route.metadata.owner_references = owners;
    route
}

/// The Service that the controller makes for an outpost.
fn service_of_ours(namespace: &str, outpost: &str, host: &str) -> Service {
    let mut service = external_name_service(namespace, &format!("authentik-{outpost}"), host, 9000);
    service.metadata.labels = Some(
        [("app.kubernetes.io/managed-by", "ingress-sso"), ("sso.djieno.com/outpost", outpost)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    service
}

/// `route` as the controller makes it: it goes with the app.
fn owned_by_the_app(mut route: Ingress) -> Ingress {
    route.metadata.owner_references = seed_route().metadata.owner_references;
    route
}

/// `ingress` as it is when a user wrote the annotation `key` before the controller applied the same value.
fn also_owned_by_a_user(mut ingress: Ingress, key: &str) -> Ingress {
    let theirs = managed("kubectl-edit", "Update", &[key]);
    ingress.metadata.managed_fields.get_or_insert_default().push(theirs);
    ingress
}

fn deleting(ingress: impl Into<Ingress>) -> Ingress {
    let mut ingress = ingress.into();
    ingress.metadata.deletion_timestamp = Some(Time(Timestamp::constant(2000, 0)));
    ingress
}

fn with_hostless_rule(ingress: IngressBuilder) -> Ingress {
    let mut ingress = ingress.build();
    let rules = ingress.spec.get_or_insert_default().rules.get_or_insert_default();
    let first = rules.first().cloned().unwrap_or_default();
    rules.push(IngressRule { host: None, ..first });
    ingress
}

fn with_default_backend(ingress: IngressBuilder) -> Ingress {
    let mut ingress = ingress.build();
    ingress.spec.get_or_insert_default().default_backend = Some(IngressBackend::default());
    ingress
}

fn with_tls_port_only(mut service: Service) -> Service {
    let ports = service.spec.get_or_insert_default().ports.get_or_insert_default();
    ports.retain(|port| port.name.as_deref() == Some("https"));
    service
}

fn with_pods(mut service: Service) -> Service {
    service.spec.get_or_insert_default().type_ = Some("ClusterIP".to_owned());
    service
}
