//! Who serves a class.

use super::outcome::{Case, protected, refused, waits};
use super::world;
use super::world::{World, add_outpost, app};
use ingress_sso::index::Source;
use ingress_sso::plan::Dialect;

pub(crate) fn classes() -> Vec<Case> {
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
