//! What is said on an app, and what becomes of one that asks no more.

use super::outcome::{Case, Expected, protected, refused, unprotected_but, waits};
use super::settled::{seed_annotations, seed_headers, seed_route, seed_service, settled_but, settled_with};
use super::world::{Annotated, World, app, applied, other_app};
use ingress_sso_testbed::builders::{IngressBuilder, ingress, managed};
use k8s_openapi::api::networking::v1::Ingress;

pub(crate) fn status() -> Vec<Case> {
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

pub(crate) fn opting_out() -> Vec<Case> {
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

/// `ingress` as it is when a user wrote the annotation `key` before the controller applied the same value.
fn also_owned_by_a_user(mut ingress: Ingress, key: &str) -> Ingress {
    let theirs = managed("kubectl-edit", "Update", &[key]);
    ingress.metadata.managed_fields.get_or_insert_default().push(theirs);
    ingress
}
