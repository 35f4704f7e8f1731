//! What becomes of apps that Traefik serves.

use super::outcome::{Case, Expected, Protected, protected, refused, unprotected_but, waits};
use super::world::{
    Annotated, OUTPOST_URL, World, add_outpost, app, app_on, applied, edited, other_app, our_route, route,
};
use ingress_sso::config::TraefikSettings;
use ingress_sso::index::{Index, Source};
use ingress_sso::middleware::{ForwardAuth, Middleware, MiddlewareSpec};
use ingress_sso::plan::Dialect;
use ingress_sso_testbed::builders::{IngressBuilder, ingress, ingress_class, managed};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

const LIST: &str = "traefik.ingress.kubernetes.io/router.middlewares";
const NAME: &str = "authentik-proxy-outpost-7d63dfe424";
const OURS: &str = "n8n-prd-authentik-proxy-outpost-7d63dfe424@kubernetescrd";
const OURS_AND_STRIP: &str =
    "n8n-prd-authentik-proxy-outpost-7d63dfe424@kubernetescrd,n8n-prd-strip@kubernetescrd";
const STRIP: &str = "n8n-prd-strip@kubernetescrd";
const DIRECT: &str = "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000/outpost.goauthentik.io/auth/traefik";
const HEADERS: &str = "X-authentik-username,X-authentik-groups,X-authentik-entitlements,X-authentik-email,\
                       X-authentik-name,X-authentik-uid,X-authentik-jwt,X-authentik-meta-jwks,\
                       X-authentik-meta-outpost,X-authentik-meta-provider,X-authentik-meta-app,X-authentik-meta-version";
const NGINX_AUTH_URL: &str = "https://app.djieno.com/outpost.goauthentik.io/auth/nginx";
const NO_PATH: (&str, [&str; 3]) = (
    "NoOutpostPath",
    ["/outpost.goauthentik.io", "?X-authentik-logout=true", "--traefik-allows-external-name"],
);

pub(crate) fn by_its_own_annotations() -> Vec<Case> {
    let with_route = routed;
    vec![
        Case::new(
            "On Traefik a Middleware asks the outpost, and without ExternalName Services there is no route",
            traefik().app(on_traefik()),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        )
        .by([
            "1. create Middleware n8n-prd/authentik-proxy-outpost-7d63dfe424",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "Where Traefik allows ExternalName Services, the outpost path is routed as on nginx",
            traefik().settings(allow_external_name).app(on_traefik()),
            with_route(),
        )
        .by([
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "1. create Middleware n8n-prd/authentik-proxy-outpost-7d63dfe424",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "The route listens where the app's routers do, and comes before them",
            traefik().settings(allow_external_name).app(
                on_traefik()
                    .traefik("router.entrypoints", "websecure")
                    .traefik("router.tls", "true")
                    .traefik("router.tls.certresolver", "letsencrypt")
                    .traefik("router.priority", "200000")
                    .traefik("router.observability.accesslogs", "false"),
            ),
            with_route()
                .with("Ingress annotation traefik.ingress.kubernetes.io/router.entrypoints", "websecure")
                .with("Ingress annotation traefik.ingress.kubernetes.io/router.tls", "true")
                .with("Ingress annotation traefik.ingress.kubernetes.io/router.tls.certresolver", "letsencrypt")
                .with("Ingress annotation traefik.ingress.kubernetes.io/router.priority", "200001"),
        ),
        Case::new(
            "A priority that is no number is Traefik's to complain about",
            traefik().settings(allow_external_name).app(on_traefik().traefik("router.priority", "high")),
            with_route(),
        ),
        Case::new(
            "A long regular expression takes nothing away from a route that has a priority of its own",
            traefik().settings(allow_external_name).app(
                on_traefik().path("/(outpost|login|logout).*", "ImplementationSpecific"),
            ),
            with_route(),
        ),
        Case::new(
            "Traefik itself asks the outpost, whatever route the app asks for",
            traefik().app(on_traefik().sso("auth-route", "host")),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "An app with the class annotation of old is protected the same way",
            traefik().app(app().legacy_class("traefik")),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "With the admin's word the outpost is told what Traefik was told",
            traefik().settings(|settings| settings.traefik.trusts_forward_headers = true).app(on_traefik()),
            by_middleware().with("Middleware trustForwardHeader", "true").warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "Under safeNaming namespace and name are joined by an underscore",
            traefik().settings(|settings| settings.traefik.safe_naming = true).app(on_traefik()),
            by_middleware()
                .with(LIST, "n8n-prd_authentik-proxy-outpost-7d63dfe424@kubernetescrd")
                .warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "cert-manager's challenge on the app's Ingress would be behind the login",
            traefik().app(on_traefik().annotation("acme.cert-manager.io/http01-edit-in-place", "true")),
            refused(
                "ChallengeInPlace",
                ["acme.cert-manager.io/http01-edit-in-place", "Traefik asks for a login", "remove it"],
            ),
        ),
        Case::new(
            "Without the kind Middleware an app is refused with the way to get it",
            traefik().app(on_traefik()).then(|index| _ = index.miss_middlewares()),
            refused("NoMiddlewareKind", ["middlewares.traefik.io", "CustomResourceDefinitions"]),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"]),
        Case::new(
            "The refusal ends when the kind appears",
            traefik().app(on_traefik()).then(|index| _ = index.miss_middlewares()).then(list_middlewares),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "As long as Middlewares are not listed, a name that is taken twice would go unnoticed",
            traefik().app(on_traefik()).before_list_of(Source::Middlewares),
            waits(["list and watch middlewares.traefik.io"]),
        )
        .by([]),
        Case::new(
            "An app on nginx does not wait for Middlewares",
            traefik().app(app()).before_list_of(Source::Middlewares),
            protected(),
        ),
        Case::new(
            "Opting out takes the annotation first; the Middleware goes with its last user",
            traefik()
                .app(applied(on_traefik().sso("authentik", "false"), &[(LIST, OURS), STATUS]))
                .middleware(our_middleware()),
            Expected::Unprotected,
        )
        .by(["1. annotate n8n-prd/n8n: nothing"]),
        Case::new(
            "A route that Traefik no longer takes is deleted",
            traefik()
                .app(applied(on_traefik(), &[(LIST, OURS), STATUS]))
                .app(our_route("n8n-prd", "n8n", ["app.djieno.com"]).class("traefik"))
                .middleware(our_middleware()),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        )
        .by(["1. delete Ingress n8n-prd/n8n-outpost-path"]),
        Case::new(
            "An app that moves from nginx to Traefik gets the Middleware before it loses the annotations of nginx",
            traefik()
                .app(applied(on_traefik(), &[("nginx.ingress.kubernetes.io/auth-url", NGINX_AUTH_URL), STATUS])),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        )
        .by([
            "1. create Middleware n8n-prd/authentik-proxy-outpost-7d63dfe424",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
    ]
}

pub(crate) fn lists_with_entries_of_others() -> Vec<Case> {
    let shared = || ("SharedMiddlewares", [LIST, "put its own before them"]);
    let in_list = || by_middleware().without(LIST);
    vec![
        Case::new(
            "Our Middleware comes before those of the user, which keep their order",
            traefik().app(on_traefik().traefik("router.middlewares", "n8n-prd-strip@kubernetescrd, gzip@file")),
            in_list()
                .with(
                    &format!("edited {LIST}"),
                    "n8n-prd-authentik-proxy-outpost-7d63dfe424@kubernetescrd,n8n-prd-strip@kubernetescrd,gzip@file",
                )
                .warns(shared().0, shared().1)
                .warns(NO_PATH.0, NO_PATH.1),
        )
        .by([
            "1. create Middleware n8n-prd/authentik-proxy-outpost-7d63dfe424",
            "2. edit n8n-prd/n8n: traefik.ingress.kubernetes.io/router.middlewares to n8n-prd-authentik-proxy-outpost-7d63dfe424@kubernetescrd,n8n-prd-strip@kubernetescrd,gzip@file",
        ]),
        Case::new(
            "A list that was edited stays as it is",
            traefik()
                .app(edited(applied(on_traefik(), &[STATUS]), LIST, OURS_AND_STRIP))
                .middleware(our_middleware()),
            in_list().warns(shared().0, shared().1).warns(NO_PATH.0, NO_PATH.1),
        )
        .by([]),
        Case::new(
            "A list in which the user himself put our Middleware first needs no word",
            traefik()
                .app(applied(on_traefik().traefik("router.middlewares", OURS_AND_STRIP), &[STATUS]))
                .middleware(our_middleware()),
            in_list().warns(NO_PATH.0, NO_PATH.1),
        )
        .by([]),
        Case::new(
            "What comes before the login could change the path that the outpost is asked about",
            traefik()
                .app(applied(
                    on_traefik().traefik("router.middlewares", &format!("{STRIP},{OURS}")),
                    &[STATUS],
                ))
                .middleware(our_middleware()),
            in_list().with(&format!("edited {LIST}"), OURS_AND_STRIP).warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "A list that lost our entry gets it back by one request",
            traefik()
                .app(applied(on_traefik().traefik("router.middlewares", STRIP), &[STATUS]))
                .middleware(our_middleware()),
            in_list()
                .with(&format!("edited {LIST}"), OURS_AND_STRIP)
                .warns(shared().0, shared().1)
                .warns(NO_PATH.0, NO_PATH.1),
        )
        .by([
            "1. edit n8n-prd/n8n: traefik.ingress.kubernetes.io/router.middlewares to n8n-prd-authentik-proxy-outpost-7d63dfe424@kubernetescrd,n8n-prd-strip@kubernetescrd",
        ]),
        Case::new(
            "Opting out takes only our entry off a list that we edited",
            traefik()
                .app(edited(applied(on_traefik().sso("authentik", "false"), &[STATUS]), LIST, OURS_AND_STRIP))
                .middleware(our_middleware()),
            Expected::Unprotected,
        )
        .by([
            "1. edit n8n-prd/n8n: sso.djieno.com/status away, traefik.ingress.kubernetes.io/router.middlewares to n8n-prd-strip@kubernetescrd",
        ]),
        Case::new(
            "Opting out takes away a list in which only our entry is left",
            traefik()
                .app(edited(applied(on_traefik().sso("authentik", "false"), &[STATUS]), LIST, OURS))
                .middleware(our_middleware()),
            Expected::Unprotected,
        )
        .by([
            "1. edit n8n-prd/n8n: sso.djieno.com/status away, traefik.ingress.kubernetes.io/router.middlewares away",
        ]),
        Case::new(
            "A list that a user wrote with our entry is his, also after the opt-out, and the login stays",
            traefik()
                .app(app().class("traefik").sso("authentik", "false").traefik("router.middlewares", OURS))
                .middleware(our_middleware()),
            unprotected_but("RouteStillUsed", [LIST, "the login stays until you remove it"]),
        )
        .by([]),
        Case::new(
            "A forged message goes by the same request as the edit, since each is meant for one version",
            traefik().app(on_traefik().traefik("router.middlewares", STRIP).sso("message", "forged")),
            in_list()
                .with(&format!("edited {LIST}"), OURS_AND_STRIP)
                .warns(shared().0, shared().1)
                .warns(NO_PATH.0, NO_PATH.1),
        )
        .by([
            "1. create Middleware n8n-prd/authentik-proxy-outpost-7d63dfe424",
            "2. edit n8n-prd/n8n: sso.djieno.com/message away, traefik.ingress.kubernetes.io/router.middlewares to n8n-prd-authentik-proxy-outpost-7d63dfe424@kubernetescrd,n8n-prd-strip@kubernetescrd",
        ]),
        Case::new(
            "A list that we edited and that a user then applied as it is, is his also after the opt-out",
            traefik()
                .app(also_applied(
                    edited(applied(on_traefik().sso("authentik", "false"), &[STATUS]), LIST, OURS_AND_STRIP),
                    LIST,
                ))
                .middleware(our_middleware()),
            unprotected_but("RouteStillUsed", [LIST, "the login stays until you remove it"]),
        )
        .by(["1. annotate n8n-prd/n8n: nothing"]),
        Case::new(
            "What a user applied as well stays when a list is given back",
            traefik()
                .app(also_applied(
                    edited(
                        applied(
                            on_traefik().sso("authentik", "false"),
                            &[("nginx.ingress.kubernetes.io/auth-signin", "his"), STATUS],
                        ),
                        LIST,
                        OURS_AND_STRIP,
                    ),
                    "nginx.ingress.kubernetes.io/auth-signin",
                ))
                .middleware(our_middleware()),
            Expected::Unprotected,
        )
        .by([
            "1. edit n8n-prd/n8n: sso.djieno.com/status away, traefik.ingress.kubernetes.io/router.middlewares to n8n-prd-strip@kubernetescrd",
        ]),
        Case::new(
            "An app that moves to nginx leaves no entry of ours behind",
            traefik().app(edited(applied(app(), &[STATUS]), LIST, OURS_AND_STRIP)).middleware(our_middleware()),
            protected().with(&format!("edited {LIST}"), STRIP),
        ),
    ]
}

pub(crate) fn in_place_of_nginx() -> Vec<Case> {
    let refuses = |key: &'static str, value: &'static str, reason: &'static str, part: &'static str| {
        Case::new(
            format!("Traefik in place of nginx: {key} is refused: {value:?}"),
            migration().app(migrated(app().nginx(key, value))),
            refused(reason, [&format!("nginx.ingress.kubernetes.io/{key}"), part]),
        )
    };
    let ignores = |key: &'static str, value: &'static str| {
        Case::new(
            format!("Traefik in place of nginx makes nothing of {key}: {value:?}"),
            migration().app(migrated(app().nginx(key, value))),
            in_place(),
        )
    };
    vec![
        Case::new(
            "Traefik in place of nginx asks the outpost itself, at /auth/traefik and never at /auth/nginx",
            migration().app(migrated(app())),
            in_place(),
        )
        .by([
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "The admin may say that Traefik serves a class of ingress-nginx",
            World::new()
                .settings(|settings| _ = settings.classes.insert("nginx".to_owned(), Dialect::TraefikNginx))
                .app(app()),
            in_place().with("Ingress class", "nginx"),
        ),
        Case::new(
            "A class of ingress-nginx that Traefik's chart made is Traefik's",
            of_traefiks_chart("helm.sh/chart", "traefik-40.1.0").app(app()),
            in_place().with("Ingress class", "nginx"),
        ),
        Case::new(
            "A class of ingress-nginx that RKE2's chart of Traefik made is Traefik's",
            of_traefiks_chart("app.kubernetes.io/name", "rke2-traefik").app(app()),
            in_place().with("Ingress class", "nginx"),
        ),
        Case::new(
            "A class of ingress-nginx with the labels of another chart is ingress-nginx's",
            of_traefiks_chart("helm.sh/chart", "traefik2nginx-1.0.0").app(app()),
            protected(),
        ),
        Case::new(
            "Traefik in place of nginx knows no route but the direct one",
            migration().app(migrated(app().sso("auth-route", "host"))),
            in_place(),
        ),
        Case::new(
            "Traefik cleans paths itself, so a rewrite opens nothing, but it bends deep links",
            migration().app(migrated(app().nginx("rewrite-target", "/$1"))),
            in_place().warns("RewrittenDeepLink", ["rewrite-target", "not where they were going"]),
        ),
        Case::new(
            "Names that an alias adds have no login route",
            migration().app(migrated(app().nginx("server-alias", "n8n.djieno.com"))),
            in_place().warns("ServerAlias", ["server-alias", "list them in spec.rules"]),
        ),
        Case::new(
            "A redirect comes before the login on Traefik too",
            migration().app(migrated(app().nginx("permanent-redirect", "https://x.djieno.com"))),
            in_place().warns("Redirect", ["permanent-redirect"]),
        ),
        ignores("auth-cache-key", "$remote_user$http_authorization"),
        ignores("auth-always-set-cookie", "yes"),
        ignores("backend-protocol", "FCGI"),
        Case::new(
            "Traefik in place of nginx asks for a login at an ACME challenge too, and so refuses it on the app's Ingress",
            migration().app(migrated(app().annotation("acme.cert-manager.io/http01-edit-in-place", "true"))),
            refused(
                "ChallengeInPlace",
                ["acme.cert-manager.io/http01-edit-in-place", "Traefik asks for a login"],
            ),
        ),
        Case::new(
            "Traefik in place of nginx lets a neighbour have TLS of the host passed through as well",
            migration().app(migrated(app())).app(migrated(
                ingress("other", "site")
                    .host("app.djieno.com")
                    .path("/api", "Prefix")
                    .nginx("ssl-passthrough", "true"),
            )),
            in_place().warns("OpenNeighbour", ["other/site"]).warns("TlsPassedThrough", ["other/site"]),
        ),
        Case::new(
            "Traefik in place of nginx asks for a login at every path",
            migration()
                .app(migrated(app().path("/", "Prefix").path("/.well-known/acme-challenge/x", "Exact"))),
            in_place(),
        ),
        refuses("canary", "true", "Canary", "put the opt-in on the main Ingress"),
        refuses("ssl-passthrough", "true", "TlsPassthrough", "remove that annotation"),
        refuses("ssl-passthrough", "tRUE", "TlsPassthrough", "\"tRUE\""),
        refuses("canary", "tRuE", "Canary", "\"tRuE\""),
        refuses("ssl-passthrough", "1", "TlsPassthrough", "\"1\""),
        refuses("upstream-vhost", "n8n.internal", "UpstreamHost", "\"n8n.internal\""),
        refuses("auth-tls-secret", "n8n-prd/ca", "ClientCertificatesDropped", "client certificates"),
        refuses("configuration-snippet", "deny all;", "Snippet", "leaves out the whole Ingress"),
        refuses("auth-snippet", "", "Snippet", "remove that annotation"),
        refuses("auth-url", "", "OwnAnnotation", "this controller did not write"),
        Case::new(
            "An expression that is long only as Traefik quotes it takes the outpost path there",
            migration().app(migrated(app().path(r"/(outpost\.\w+\.io).*", "ImplementationSpecific"))),
            refused("SwallowedPath", [r"/(outpost\\.\\w+\\.io).*"]),
        ),
    ]
}

pub(crate) fn copies_by_migration() -> Vec<Case> {
    let copy = || app().nginx("auth-url", NGINX_AUTH_URL).nginx("auth-response-headers", "Set-Cookie");
    vec![
        Case::new(
            "A copy of what we wrote for nginx opens an app that Traefik serves: it is replaced at one stroke",
            migration().app(migrated(app().nginx("auth-url", NGINX_AUTH_URL).sso("status", "Protected"))),
            in_place(),
        )
        .by([
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            "2. annotate n8n-prd/n8n by force: Protected + auth",
        ]),
        Case::new(
            "A copy with a forged message is replaced at one stroke as well",
            migration().app(migrated(
                app().nginx("auth-url", NGINX_AUTH_URL).sso("status", "Refused").sso("message", "old"),
            )),
            in_place(),
        )
        .by([
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            "2. annotate n8n-prd/n8n by force: Protected + auth",
        ]),
        Case::new(
            "The same words without our status are the user's own",
            migration().app(migrated(app().nginx("auth-url", NGINX_AUTH_URL))),
            refused("OwnAnnotation", [NGINX_AUTH_URL]),
        ),
        Case::new(
            "The status that a refusal left proves no copy",
            migration().app(applied(
                migrated(app().nginx("auth-url", NGINX_AUTH_URL)),
                &[("sso.djieno.com/status", "Refused")],
            )),
            refused("OwnAnnotation", [NGINX_AUTH_URL]),
        ),
        Case::new(
            "A whole copy is known for one also after its status has been replaced by ours",
            migration().app(applied(
                migrated(
                    app()
                        .nginx("auth-url", NGINX_AUTH_URL)
                        .nginx(
                            "auth-signin",
                            "https://app.djieno.com/outpost.goauthentik.io/start?rd=$scheme://$best_http_host$escaped_request_uri",
                        )
                        .nginx("auth-response-headers", &format!("Set-Cookie,{HEADERS}"))
                        .nginx("auth-proxy-set-headers", "n8n-prd/authentik-headers-4bd8e4f378")
                        .nginx("proxy-buffer-size", "16k")
                        .nginx("proxy-busy-buffers-size", "16k"),
                ),
                &[("sso.djieno.com/status", "Pending")],
            )),
            in_place(),
        )
        .by([
            "1. create Service n8n-prd/authentik-proxy-outpost",
            "1. create Ingress n8n-prd/n8n-outpost-path",
            "2. annotate n8n-prd/n8n by force: Protected + auth",
        ]),
        Case::new(
            "Words that we would not have written are the user's own, status or not",
            migration().app(migrated(copy().sso("status", "Protected"))),
            refused("OwnAnnotation", ["auth-response-headers", "\"Set-Cookie\""]),
        ),
        Case::new(
            "A copy on a class of Traefik's own has annotations that nobody reads there",
            traefik().app(on_traefik().nginx("auth-url", NGINX_AUTH_URL).sso("status", "Protected")),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "A copy of an app on another class does not fight the original over the host",
            traefik().app(other_app("n8n-prd", "n8n-traefik").class("traefik")).app(app()),
            protected(),
        ),
    ]
}

pub(crate) fn middlewares_of_others() -> Vec<Case> {
    let taken = |middleware: Middleware| traefik().app(on_traefik()).middleware(middleware);
    vec![
        Case::new(
            "A Middleware made by hand that does the same is used and left alone",
            taken(unlabelled(our_middleware())),
            by_middleware().without("Middleware").warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "A Middleware made by hand that does something else has taken the name",
            taken(unlabelled(middleware("n8n-prd", NAME, ForwardAuth::default()))),
            refused("MiddlewareNameTaken", ["n8n-prd/authentik-proxy-outpost-7d63dfe424", "delete it"]),
        ),
        Case::new(
            "A Middleware of ours that somebody edited is repaired before the app is called protected",
            taken(middleware("n8n-prd", NAME, ForwardAuth::default())),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        )
        .by([
            "1. repair Middleware n8n-prd/authentik-proxy-outpost-7d63dfe424",
            "2. annotate n8n-prd/n8n: Protected + auth",
        ]),
        Case::new(
            "A Middleware of another namespace that Traefik cannot tell from ours makes the login a matter of chance",
            taken(unlabelled(middleware("n8n", &format!("prd-{NAME}"), ForwardAuth::default()))),
            refused(
                "MiddlewareNameShared",
                [
                    "n8n/prd-authentik-proxy-outpost-7d63dfe424",
                    "n8n-prd-authentik-proxy-outpost-7d63dfe424@kubernetescrd",
                    "--traefik-safe-naming",
                ],
            ),
        )
        .by(["1. annotate n8n-prd/n8n: Refused"]),
        Case::new(
            "Dots are dashes to Traefik",
            taken(unlabelled(middleware("n8n", &format!("prd.{NAME}"), ForwardAuth::default()))),
            refused("MiddlewareNameShared", ["n8n/prd.authentik-proxy-outpost-7d63dfe424"]),
        ),
        Case::new(
            "Under safeNaming no two Middlewares have one name",
            taken(unlabelled(middleware("n8n", &format!("prd-{NAME}"), ForwardAuth::default())))
                .settings(|settings| settings.traefik.safe_naming = true),
            by_middleware()
                .with(LIST, "n8n-prd_authentik-proxy-outpost-7d63dfe424@kubernetescrd")
                .warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "An app on nginx has nothing to do with Middlewares",
            traefik()
                .app(app())
                .middleware(unlabelled(middleware("n8n-prd", NAME, ForwardAuth::default()))),
            protected(),
        ),
    ]
}

pub(crate) fn sharing_a_host() -> Vec<Case> {
    let beta = |settings: &mut ingress_sso::config::Settings| {
        settings.default_outpost = Some("proxy-outpost".to_owned());
        add_outpost(settings, "beta", "http://beta.djieno.com:9000");
    };
    vec![
        Case::new(
            "Two apps on a host need nobody's route on Traefik, and neither waits for the other",
            traefik()
                .app(on_traefik().created(2))
                .app(other_app("n8n-prd", "older").class("traefik").created(1)),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        ),
        Case::new(
            "What Traefik serves by its provider for ingress-nginx stands beside what it serves by its own",
            traefik()
                .class("migration", "rke2.cattle.io/ingress-nginx-migration")
                .app(on_traefik())
                .app(ingress("other", "site").host("app.djieno.com").class("migration")),
            by_middleware()
                .warns(NO_PATH.0, NO_PATH.1)
                .warns("OpenNeighbour", ["app.djieno.com", "other/site"]),
        ),
        Case::new(
            "One host has one outpost on Traefik too",
            traefik()
                .settings(beta)
                .app(on_traefik().created(2))
                .app(other_app("n8n-prd", "older").class("traefik").sso("outpost", "beta").created(1)),
            refused("OtherOutpostOnHost", ["app.djieno.com", "\"beta\"", "n8n-prd/older"]),
        ),
        Case::new(
            "An app that is protected by its Middleware already is not put out by an older newcomer",
            traefik()
                .settings(beta)
                .app(applied(on_traefik().created(2), &[(LIST, OURS), STATUS]))
                .middleware(our_middleware())
                .app(other_app("n8n-prd", "older").class("traefik").sso("outpost", "beta").created(1)),
            by_middleware().warns(NO_PATH.0, NO_PATH.1),
        )
        .by([]),
        Case::new(
            "A refused app keeps its claim for as long as its Middleware asks for the login",
            traefik()
                .settings(beta)
                .app(on_traefik().sso("outpost", "beta").created(1))
                .app(applied(
                    other_app("n8n-prd", "frozen").class("traefik").sso("scheme", "ftp").created(2),
                    &[(LIST, OURS), STATUS],
                ))
                .middleware(our_middleware()),
            refused("OtherOutpostOnHost", ["n8n-prd/frozen", "\"proxy-outpost\""]),
        ),
        Case::new(
            "On nginx a list of Middlewares protects nothing, and so holds no host that others wait for",
            traefik().app(app().created(2)).app(
                other_app("n8n-prd", "listed")
                    .sso("scheme", "ftp")
                    .traefik("router.middlewares", OURS)
                    .created(1),
            ),
            protected(),
        ),
        Case::new(
            "A refused app without a route of its own holds no host whose path is to be routed",
            traefik()
                .settings(allow_external_name)
                .app(on_traefik().created(2))
                .app(applied(
                    other_app("n8n-prd", "frozen").class("traefik").sso("scheme", "ftp").created(1),
                    &[(LIST, OURS), STATUS],
                ))
                .middleware(our_middleware()),
            routed(),
        ),
        Case::new(
            "A route of somebody else's that leads astray would get the login's codes",
            traefik()
                .app(on_traefik())
                .app(route("n8n-prd", "wrong", ["app.djieno.com"]).class("traefik").backend("wrong", 80)),
            refused("ForeignRoute", ["n8n-prd/wrong"]),
        ),
        Case::new(
            "An app beside an open one is warned of on Traefik as well",
            traefik().app(on_traefik()).app(
                app_on("n8n-prd", "open", ["app.djieno.com"]).class("traefik").sso("authentik", "false"),
            ),
            by_middleware().warns(NO_PATH.0, NO_PATH.1).warns("OpenNeighbour", ["n8n-prd/open"]),
        ),
    ]
}

const STATUS: (&str, &str) = ("sso.djieno.com/status", "Protected");

/// The classes `nginx` and `traefik`, each with its own controller, and the outpost `proxy-outpost`.
fn traefik() -> World {
    World::new().class("traefik", "traefik.io/ingress-controller")
}

/// The class that RKE2 has for Traefik in place of ingress-nginx.
fn migration() -> World {
    World::new().class("migration", "rke2.cattle.io/ingress-nginx-migration")
}

/// A class of ingress-nginx with one of the labels that a Helm chart puts on what it makes.
fn of_traefiks_chart(label: &str, value: &str) -> World {
    let mut class = ingress_class("nginx", "k8s.io/ingress-nginx");
    class.metadata.labels = Some([(label.to_owned(), value.to_owned())].into());
    World::without_class()
        .settings(|settings| add_outpost(settings, "proxy-outpost", OUTPOST_URL))
        .class_object(class)
}

fn on_traefik() -> IngressBuilder {
    app().class("traefik")
}

fn migrated(app: IngressBuilder) -> Ingress {
    app.class("migration").build()
}

fn allow_external_name(settings: &mut ingress_sso::config::Settings) {
    settings.traefik = TraefikSettings { allows_external_name: true, ..settings.traefik };
}

fn list_middlewares(index: &mut Index) {
    index.complete(Source::Middlewares);
}

/// What protects the usual app on Traefik.
fn by_middleware() -> Protected {
    Protected::default()
        .with("Middleware", &format!("n8n-prd/{NAME}"))
        .with("Middleware address", DIRECT)
        .with("Middleware trustForwardHeader", "false")
        .with("Middleware authResponseHeaders", &json!(HEADERS.split(',').collect::<Vec<_>>()).to_string())
        .with("Middleware authResponseHeadersRegex", "^(?i:x[-_.]authentik[-_.])")
        .with("Middleware maxResponseBodySize", "65536")
        .with(LIST, OURS)
}

/// The same where Traefik takes `ExternalName` Services.
fn routed() -> Protected {
    by_middleware()
        .with("Service", "n8n-prd/authentik-proxy-outpost")
        .with("Service leads to", "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local port 9000 (http)")
        .with("Ingress", "n8n-prd/n8n-outpost-path")
        .with("Ingress class", "traefik")
        .with("Ingress hosts", "app.djieno.com")
        .with(
            "Ingress paths",
            "/outpost.goauthentik.io (ImplementationSpecific) to authentik-proxy-outpost:9000",
        )
        .with("Ingress owner", "n8n uid-of-n8n")
        .with("Ingress annotation sso.djieno.com/app", "n8n")
        .with("Ingress annotation external-dns.kubernetes.io/controller", "ignore")
        .with("Ingress annotation external-dns.alpha.kubernetes.io/controller", "ignore")
        .with("Ingress annotation traefik.ingress.kubernetes.io/router.priority", "100000")
}

/// What protects the usual app where Traefik stands in for nginx.
fn in_place() -> Protected {
    protected()
        .without("ConfigMap")
        .without("auth-")
        .without("proxy-b")
        .without("Ingress annotation proxy-b")
        .without("Ingress annotation custom-http-errors")
        .with("Ingress class", "migration")
        .with("auth-url", DIRECT)
        .with("auth-response-headers", HEADERS)
}

/// The Middleware that the controller makes for the usual app.
fn our_middleware() -> Middleware {
    let auth = ForwardAuth {
        address: DIRECT.to_owned(),
        trust_forward_header: Some(false),
        auth_response_headers: HEADERS.split(',').map(str::to_owned).collect(),
        auth_response_headers_regex: "^(?i:x[-_.]authentik[-_.])".to_owned(),
        max_response_body_size: Some(65_536),
        ..ForwardAuth::default()
    };
    middleware("n8n-prd", NAME, auth)
}

/// A Middleware with the labels of ours.
fn middleware(namespace: &str, name: &str, auth: ForwardAuth) -> Middleware {
    let labels = [
        ("app.kubernetes.io/managed-by", "ingress-sso"),
        ("app.kubernetes.io/part-of", "authentik"),
        ("sso.djieno.com/outpost", "proxy-outpost"),
    ];
    let metadata = ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..ObjectMeta::default()
    };
    Middleware { metadata, spec: MiddlewareSpec { forward_auth: Some(auth), ..MiddlewareSpec::default() } }
}

/// `ingress` after a user applied, by the server, the annotation `key` as he found it.
fn also_applied(mut ingress: Ingress, key: &str) -> Ingress {
    let theirs = managed("kustomize-controller", "Apply", &[key]);
    ingress.metadata.managed_fields.get_or_insert_default().push(theirs);
    ingress
}

fn unlabelled(mut middleware: Middleware) -> Middleware {
    middleware.metadata.labels = None;
    middleware
}
