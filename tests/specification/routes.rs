//! Routes of the outpost path that the controller did not make, or that somebody edited.

use super::outcome::{Case, Expected, protected, refused};
use super::settled::{
    MANY_HOSTS_SIGNIN, MANY_HOSTS_URL, deleting, owned_by, seed_annotations, seed_headers, seed_route,
    seed_service, settled, settled_app,
};
use super::world::{
    Annotated, OUTPOST_HOST, World, add_outpost, app, app_on, applied, other_app, our_route, route,
};
use ingress_sso_testbed::builders::{IngressBuilder, external_name_service, ingress};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

pub(crate) fn routes_of_ours_that_somebody_edited() -> Vec<Case> {
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

pub(crate) fn routes_of_others() -> Vec<Case> {
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

/// What RKE2's migration makes of the outpost Ingress of the usual app.
fn clone_by_rke2() -> IngressBuilder {
    let original = our_route("n8n-prd", "n8n", ["app.djieno.com"]).build().metadata;
    let clone = route("n8n-prd", "n8n-outpost-path-traefik", ["app.djieno.com"]);
    let labels = original.labels.unwrap_or_default();
    let clone = labels.iter().fold(clone, |clone, (key, value)| clone.label(key, value));
    let annotations = original.annotations.unwrap_or_default();
    annotations.iter().fold(clone, |clone, (key, value)| clone.annotation(key, value))
}
