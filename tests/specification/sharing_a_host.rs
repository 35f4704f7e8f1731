//! Several apps on one host.

use super::outcome::{Case, Expected, Protected, protected, refused, waits};
use super::settled::{
    MANY_HOSTS_SIGNIN, MANY_HOSTS_URL, owned_by, seed_annotations, seed_headers, seed_route, seed_service,
    settled, settled_with,
};
use super::world::{Annotated, World, add_outpost, app, app_on, applied, other_app, our_route};
use ingress_sso::facts::ObjectKey;
use ingress_sso_testbed::builders::{external_name_service, ingress};
use k8s_openapi::api::core::v1::Service;

pub(crate) fn sharing_a_host() -> Vec<Case> {
    let older = || other_app("other", "older").created(1);
    let its_route = || our_route("other", "older", ["app.djieno.com"]);
    let using_it =
        || protected().by_the_route_of_others().warns("RouteOfOtherApp", ["app.djieno.com", "other/older"]);
    let waiting = || waits(["app.djieno.com", "other/older", "claimed the host first"]);
    let two_hosts = || app().host("n8n.djieno.com");
    let its_service = || seed_service_in("other");
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
            World::new().app(older()).app(its_route()).service(its_service()).app(app()),
            using_it(),
        )
        .by([
            "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "A route of the older app that leads nowhere yet is not one to rely on",
            World::new().app(older()).app(its_route()).app(app()),
            waiting(),
        ),
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
            World::new().app(older()).app(its_route()).service(its_service()).app(two_hosts()),
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
            settled().app(settled_older()).app(its_route().created(1)).service(its_service()),
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
                .app(our_route("other", "younger", ["app.djieno.com"]))
                .service(seed_service_in("other")),
            Expected::Unprotected,
        )
        .by(["1. annotate n8n-prd/n8n: nothing", "2. delete Ingress n8n-prd/n8n-outpost-path"]),
        Case::new(
            "An app that opted out keeps its route as long as that of the next leads nowhere",
            World::new()
                .app(applied(app().sso("authentik", "false"), &seed_annotations()))
                .app(seed_route())
                .app(other_app("other", "younger").created(9999))
                .app(our_route("other", "younger", ["app.djieno.com"])),
            Expected::Unprotected,
        )
        .by(["1. annotate n8n-prd/n8n: nothing"]),
    ]
}

pub(crate) fn a_refused_app_on_a_shared_host() -> Vec<Case> {
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
                .service(seed_service_in("other"))
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
                .service(seed_service())
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

/// The Service to the usual outpost, in another namespace.
fn seed_service_in(namespace: &str) -> Service {
    let mut service = seed_service();
    service.metadata.namespace = Some(namespace.to_owned());
    service
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
