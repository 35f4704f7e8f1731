//! What ingress-nginx cannot protect, and what it protects with a catch.

use super::outcome::{Case, Protected, protected, refused};
use super::settled::{settled, with_hostless_rule};
use super::world::{Annotated, World, app};
use ingress_sso_testbed::builders::ingress;

/// A regular expression of 23 characters or more that takes the outpost path.
const GREEDY: &str = "/(outpost|login|logout).*";

pub(crate) fn what_nginx_cannot_protect() -> Vec<Case> {
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

pub(crate) fn paths_that_take_the_login_away() -> Vec<Case> {
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

pub(crate) fn catches() -> Vec<Case> {
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
