//! Annotations of people's own on an app.

use super::outcome::{Case, protected, refused};
use super::world::{Annotated, World, app, applied};

pub(crate) fn own_annotations() -> Vec<Case> {
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
