//! The outpost double against what is known of the real ones, row by row, in both flavours.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use ingress_sso_testbed::{
    http::{Request, Response},
    outpost::{Flavour, Outpost, Provider, User},
};
use regex::Regex;
use serde_json::{Value, json};
use url::Url;

const BOTH: [Flavour; 2] = [Flavour::Rust, Flavour::Go];
const APP: &str = "app.example.test";
const PREFIX: &str = "/outpost.goauthentik.io";

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn app() -> Provider {
    Provider::forward_single("https://app.example.test").unwrap()
}

fn providers() -> Vec<Provider> {
    vec![
        Provider { skip_paths: vec![Regex::new("^/public/").unwrap()], ..app() },
        Provider {
            believes_x_original_uri: true,
            ..Provider::forward_single("https://old.example.test").unwrap()
        },
        Provider::forward_single("http://plain.example.test:8080").unwrap(),
        Provider::forward_domain("https://login.wide.test", "wide.test").unwrap(),
        Provider::proxy("https://proxy.example.test").unwrap(),
    ]
}

/// A GET with a host, as from a data plane.
fn ask(host: &str, path: &str) -> Request {
    Request::get(path).header("Host", host)
}

fn nginx(host: &str, original: &str) -> Request {
    ask(host, "/outpost.goauthentik.io/auth/nginx").header("X-Original-URL", original)
}

fn traefik(proto: &str, host: &str, uri: &str) -> Request {
    ask("outpost.internal:9000", "/outpost.goauthentik.io/auth/traefik")
        .header("X-Forwarded-Proto", proto)
        .header("X-Forwarded-Host", host)
        .header("X-Forwarded-Uri", uri)
}

/// Status of an answer and the interesting part: where it leads to, or else its body.
fn gist(response: &Response) -> (u16, String) {
    let location = response.header("location").map(|location| {
        let url = Url::parse(location).unwrap();
        format!("{}{}", url.origin().ascii_serialization(), url.path())
    });
    (response.status, location.unwrap_or_else(|| response.text().trim_end().to_owned()))
}

const AUTHORIZE: &str = "https://authentik.example.test/application/o/authorize/";
const START: &str = "https://app.example.test/outpost.goauthentik.io/start";

/// What it is, the request, the status, and location or body; for a flavour.
type Row = (&'static str, Request, u16, &'static str);

fn rows(flavour: Flavour) -> Vec<Row> {
    let is_go = flavour == Flavour::Go;
    let not_found = if is_go { "404 page not found" } else { "" };
    // What either answers where the other lets pass.
    let go_opens = |status, body| if is_go { (200, "") } else { (status, body) };
    let refused = (401, "unauthorized request");
    let dots = go_opens(refused.0, refused.1);
    let relative = go_opens(500, "configuration error");
    vec![
        ("ping", ask(APP, "/outpost.goauthentik.io/ping"), 204, ""),
        ("ping, any host", ask("nobody.test", "/outpost.goauthentik.io/ping"), 204, ""),
        ("no host", Request::get("/outpost.goauthentik.io/ping"), 400, "missing host header"),
        ("no session", nginx(APP, "https://app.example.test/x"), refused.0, refused.1),
        ("no X-Original-URL", ask(APP, "/outpost.goauthentik.io/auth/nginx"), 500, "configuration error"),
        ("an empty one", nginx(APP, ""), 500, "configuration error"),
        ("one that is no URL", nginx(APP, "://"), 500, "configuration error"),
        ("a mere path of the outpost", nginx(APP, "/outpost.goauthentik.io/x"), relative.0, relative.1),
        ("X-Original-URL selects no app", nginx(APP, "https://proxy.example.test/"), refused.0, refused.1),
        ("outpost path", nginx(APP, "https://app.example.test/outpost.goauthentik.io/start"), 200, ""),
        ("longer name", nginx(APP, "https://app.example.test/outpost.goauthentik.iox"), 200, ""),
        ("dots", nginx(APP, "https://app.example.test/outpost.goauthentik.io/../secret"), dots.0, dots.1),
        (
            "coded dots",
            nginx(APP, "https://app.example.test/outpost.goauthentik.io/%2e%2e/s"),
            dots.0,
            dots.1,
        ),
        ("coded slash", nginx(APP, "https://app.example.test/outpost.goauthentik.io/..%2fsecret"), 200, ""),
        ("skipped", nginx(APP, "https://app.example.test/public/x"), 200, ""),
        ("not skipped", nginx(APP, "https://app.example.test/x?/public/"), refused.0, refused.1),
        (
            "X-Original-URI is not believed",
            nginx(APP, "https://app.example.test/x").header("X-Original-URI", "/outpost.goauthentik.io/x"),
            refused.0,
            refused.1,
        ),
        (
            "but by old ones",
            nginx("old.example.test", "https://old.example.test/x")
                .header("X-Original-URI", "/outpost.goauthentik.io/x"),
            200,
            "",
        ),
        (
            "an empty one is none",
            nginx("old.example.test", "https://old.example.test/x").header("X-Original-URI", ""),
            refused.0,
            refused.1,
        ),
        ("login", traefik("https", APP, "/x?y=z&a"), 302, AUTHORIZE),
        ("no scheme", traefik("", APP, "/x"), 500, "configuration error"),
        ("no frees by path", traefik("https", APP, "/outpost.goauthentik.io/start"), 302, AUTHORIZE),
        ("skipped", traefik("https", APP, "/public/x"), 200, ""),
        ("sign-out of a stranger", traefik("https", APP, "/x?X-authentik-logout=true"), 302, START),
        ("callback of a stranger", traefik("https", APP, "/x?X-authentik-auth-callback=true"), 400, ""),
        (
            "caddy",
            ask(APP, "/outpost.goauthentik.io/auth/caddy")
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-Host", APP),
            302,
            AUTHORIZE,
        ),
        ("envoy", ask(APP, "/outpost.goauthentik.io/auth/envoy/x?y"), 302, AUTHORIZE),
        ("envoy, skipped", ask(APP, "/outpost.goauthentik.io/auth/envoy/public/x"), 200, ""),
        ("start", ask(APP, "/outpost.goauthentik.io/start?rd=https://app.example.test/x"), 302, AUTHORIZE),
        ("start without rd", ask(APP, "/outpost.goauthentik.io/start"), 302, AUTHORIZE),
        ("callback of a stranger", ask(APP, "/outpost.goauthentik.io/callback?code=a&state=b"), 400, ""),
        ("sign-out of a stranger", ask(APP, "/outpost.goauthentik.io/sign_out"), 302, START),
        ("unknown path", ask(APP, "/outpost.goauthentik.io/nothing"), 404, not_found),
        ("outside the prefix", ask(APP, "/x"), 404, not_found),
        (
            "the signal is for any path",
            ask(APP, "/x?X-authentik-logout=true"),
            if is_go { 404 } else { 302 },
            if is_go { not_found } else { START },
        ),
        ("domain", nginx("a.wide.test", "https://a.wide.test/"), refused.0, refused.1),
        ("its login host", nginx("login.wide.test", "https://a.wide.test/"), refused.0, refused.1),
        ("port", nginx("plain.example.test:8080", "http://plain.example.test:8080/"), refused.0, refused.1),
        (
            "wrong mode",
            nginx("proxy.example.test", "https://proxy.example.test/"),
            302,
            "https://proxy.example.test/outpost.goauthentik.io/start",
        ),
    ]
}

#[tokio::test]
async fn every_row() {
    for flavour in BOTH {
        let outpost = Outpost::start(anywhere(), flavour, providers()).await.unwrap();
        for (what, request, status, gist_of_it) in rows(flavour) {
            let response = request.send(outpost.address()).await.unwrap();
            assert_eq!(gist(&response), (status, gist_of_it.to_owned()), "{flavour:?}: {what}");
            let has_cookie = response.header("set-cookie").is_some();
            assert_eq!(has_cookie, gist_of_it == AUTHORIZE, "{flavour:?}: {what}: a cookie");
            let identity = response.headers.iter().find(|(name, _)| name.starts_with("x-authentik"));
            assert_eq!(identity, None, "{flavour:?}: {what}");
            assert_eq!(outpost.requests().last().unwrap().status, status);
        }
    }
}

#[tokio::test]
async fn unknown_hosts() {
    let hosts =
        ["nobody.test", "app.example.test:444", "APP.example.test", "plain.example.test", "example.test"];
    for host in hosts {
        for (flavour, [message, of_host, detail]) in
            [(Flavour::Rust, ["message", "host", "detail"]), (Flavour::Go, ["Message", "Host", "Detail"])]
        {
            let outpost = Outpost::start(anywhere(), flavour, providers()).await.unwrap();
            let response = nginx(host, "https://app.example.test/").send(outpost.address()).await.unwrap();
            let body: Value = response.json().unwrap();
            assert_eq!((response.status, &body[message]), (400, &json!("no app for hostname")));
            assert_eq!(body[of_host], host);
            assert!(body[detail].as_str().unwrap().contains(&format!("'{host}' is included")));
            assert_eq!(response.header("content-type"), Some("application/json"));

            let embedded = Outpost::start_embedded(anywhere(), flavour, providers()).await.unwrap();
            let response = nginx(host, "https://app.example.test/").send(embedded.address()).await.unwrap();
            assert_eq!(response.status, 404);
        }
    }
}

#[tokio::test]
async fn only_go_lets_one_app_serve_every_host() {
    for (flavour, status) in [(Flavour::Rust, 400), (Flavour::Go, 401)] {
        let outpost = Outpost::start(anywhere(), flavour, vec![app()]).await.unwrap();
        let response = nginx("nobody.test", "https://nobody.test/").send(outpost.address()).await.unwrap();
        assert_eq!(response.status, status, "{flavour:?}");
        outpost.set_providers(providers());
        let response = nginx("nobody.test", "https://nobody.test/").send(outpost.address()).await.unwrap();
        assert_eq!(response.status, 400, "{flavour:?}");
    }
}

#[tokio::test]
async fn the_record_shows_who_was_meant_by_repeated_headers() {
    for flavour in BOTH {
        let outpost = Outpost::start(anywhere(), flavour, providers()).await.unwrap();
        let request = nginx("own.test", "https://app.example.test/")
            .header("X-Forwarded-Host", APP)
            .header("x-forwarded-host", "old.example.test");
        assert_eq!(request.send(outpost.address()).await.unwrap().status, 401);
        let [recorded] = outpost.requests().try_into().unwrap();
        assert_eq!((recorded.host.as_str(), recorded.provider.as_deref()), (APP, Some(APP)));
        assert_eq!(recorded.request.headers("X-Forwarded-Host"), [APP, "old.example.test"]);
        assert_eq!(recorded.request.target, format!("{PREFIX}/auth/nginx"));
        assert!(recorded.request.peer.ip().is_loopback());
        outpost.clear();
        assert_eq!(outpost.requests(), []);
    }
}

/// The cookie and the location of a login that has just begun.
async fn begin(outpost: &Outpost, request: Request) -> (String, String) {
    let response = request.send(outpost.address()).await.unwrap();
    let cookie = response.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    (cookie, response.header("location").unwrap().to_owned())
}

/// Path and query of the callback, after a login.
fn back(outpost: &Outpost, location: &str, user: &User) -> Result<String> {
    let callback = Url::parse(&outpost.log_in(location, user)?)?;
    Ok(format!("{}?{}", callback.path(), callback.query().unwrap_or_default()))
}

#[tokio::test]
async fn a_login_and_what_the_app_learns() {
    let user = User { name: "Jörg".to_owned(), ..User::new("joerg", &["staff", "admins"]) };
    for flavour in BOTH {
        let provider = Provider {
            jwt_bytes: 9_000,
            basic_auth: Some(("name".to_owned(), "password".to_owned())),
            ..app()
        };
        let mut outpost = Outpost::start(anywhere(), flavour, vec![provider]).await.unwrap();
        let deep = "https://app.example.test/x?a=b&c=d";
        let (cookie, location) = begin(&outpost, traefik("https", APP, "/x?a=b&c=d")).await;
        let callback = back(&outpost, &location, &user).unwrap();
        let again = ask(APP, &callback).header("Cookie", &cookie);
        let landed = again.send(outpost.address()).await.unwrap();
        assert_eq!((landed.status, landed.header("location")), (302, Some(deep)), "{flavour:?}");
        assert!(landed.header("set-cookie").unwrap().starts_with(&cookie));

        // The code is spent: back to the page, with no cookie. The session stays, also over a restart.
        let landed = again.send(outpost.address()).await.unwrap();
        assert_eq!((landed.status, landed.header("location")), (302, Some(deep)));
        assert_eq!(landed.header("set-cookie"), None);
        outpost.stop().await;
        assert!(again.send(outpost.address()).await.is_err());
        outpost.restart().await.unwrap();

        let request =
            nginx(APP, deep).header("Cookie", format!("other=1; {cookie}")).header("User-Agent", "UA");
        let response = request.send(outpost.address()).await.unwrap();
        assert_eq!(response.status, 200);
        let of = |name: &str| response.header(&format!("x-authentik-{name}")).unwrap();
        assert_eq!((of("username"), of("groups"), of("entitlements")), ("joerg", "staff|admins", ""));
        assert_eq!((of("email"), of("name"), of("uid")), ("joerg@example.test", "Jörg", "uid-of-joerg"));
        assert!((9_000..9_010).contains(&of("jwt").len()), "{}", of("jwt").len());
        for name in ["meta-jwks", "meta-outpost", "meta-provider", "meta-app", "meta-version"] {
            assert!(!of(name).is_empty());
        }
        assert_eq!(response.header("authorization"), Some("Basic bmFtZTpwYXNzd29yZA=="));
        assert_eq!((response.header("user-agent"), response.header("set-cookie")), (Some("UA"), None));

        let out = traefik("https", APP, "/x?X-authentik-logout=true").header("Cookie", &cookie);
        let response = out.send(outpost.address()).await.unwrap();
        let end = response.header("location").unwrap();
        assert!(end.starts_with(
            "https://authentik.example.test/application/o/app.example.test/end-session/?id_token_hint="
        ));
        assert_eq!(request.send(outpost.address()).await.unwrap().status, 401);
    }
}

#[tokio::test]
async fn the_cookie() {
    for flavour in BOTH {
        let outpost = Outpost::start(anywhere(), flavour, providers()).await.unwrap();
        let set = |response: Response| response.header("set-cookie").unwrap().to_owned();
        let start = |host| ask(host, "/outpost.goauthentik.io/start");
        let cookie = set(start(APP).send(outpost.address()).await.unwrap());
        let (name, attributes) = cookie.split_once('=').unwrap();
        assert!(name.starts_with("authentik_proxy_") && name.len() == "authentik_proxy_".len() + 8);
        for attribute in ["; HttpOnly", "; SameSite=Lax", "; Secure", "; Path=/", "; Max-Age=3600"] {
            assert!(attributes.contains(attribute), "{cookie}");
        }
        assert!(!attributes.contains("Domain"));
        let plain = set(start("plain.example.test:8080").send(outpost.address()).await.unwrap());
        assert!(!plain.contains("Secure"), "{plain}");
        let wide = set(start("a.wide.test").send(outpost.address()).await.unwrap());
        assert!(wide.contains("; Domain=wide.test"), "{wide}");
    }
}

#[tokio::test]
async fn where_a_login_may_lead_to() {
    let home = "https://app.example.test";
    // `rd`, and where the user lands with either flavour.
    let places = [
        ("https://app.example.test/x?a=b%26c", ["https://app.example.test/x?a=b%26c"; 2]),
        ("/x", ["https://app.example.test/x"; 2]),
        ("https://evil.test/x", [home; 2]),
        ("https://app.example.test:444/x", [home; 2]),
        ("https://app.example.test:443/x", ["https://app.example.test/x", home]),
        ("https://APP.example.test/x", ["https://app.example.test/x", home]),
        ("//evil.test/x", [home; 2]),
        ("", [home; 2]),
    ];
    for (flavour, index) in [(Flavour::Rust, 0), (Flavour::Go, 1)] {
        let outpost = Outpost::start(anywhere(), flavour, providers()).await.unwrap();
        for (rd, landings) in places {
            let rd: String = url::form_urlencoded::byte_serialize(rd.as_bytes()).collect();
            let start = ask(APP, &format!("{PREFIX}/start?rd={rd}"));
            let (cookie, location) = begin(&outpost, start).await;
            let callback = back(&outpost, &location, &User::new("u", &[])).unwrap();
            let landed = ask(APP, &callback).header("Cookie", &cookie).send(outpost.address()).await.unwrap();
            assert_eq!(landed.header("location"), Some(landings[index]), "{flavour:?}: rd={rd}");
        }
    }
}

#[tokio::test]
async fn a_callback_needs_its_own_cookie_state_and_code() {
    let user = User::new("u", &[]);
    for flavour in BOTH {
        let outpost = Outpost::start(anywhere(), flavour, providers()).await.unwrap();
        let start = || ask(APP, "/outpost.goauthentik.io/start");
        let (cookie, location) = begin(&outpost, start()).await;
        let (other_cookie, _) = begin(&outpost, start()).await;
        let callback = back(&outpost, &location, &user).unwrap();
        let send = async |path: &str, cookie: &str| {
            ask(APP, path).header("Cookie", cookie).send(outpost.address()).await.unwrap().status
        };
        assert_eq!(send(&callback, "").await, 400);
        assert_eq!(send(&callback, &other_cookie).await, 400);
        let (name, value) = cookie.split_once('=').unwrap();
        let other = if value.starts_with('A') { "B" } else { "A" };
        assert_eq!(send(&callback, &format!("{name}={other}{}", &value[1..])).await, 400, "a wrong seal");
        assert_eq!(send(&callback.replace("state=", "state=x"), &cookie).await, 400);
        assert_eq!(send(&callback.replace("state=", "stat="), &cookie).await, 400);
        let without_code = if flavour == Flavour::Go { 302 } else { 400 };
        assert_eq!(send(&callback.replace("code=", "cod="), &cookie).await, without_code);
        assert_eq!(send(&callback.replace("code=", "code=x"), &cookie).await, 302);
        let is_in = nginx(APP, "https://app.example.test/").header("Cookie", &cookie);
        assert_eq!(is_in.send(outpost.address()).await.unwrap().status, 401);
        assert_eq!(send(&callback, &cookie).await, 302);
        assert_eq!(is_in.send(outpost.address()).await.unwrap().status, 200);
        // A session is one of its app.
        let elsewhere = nginx("old.example.test", "https://old.example.test/").header("Cookie", &cookie);
        assert_eq!(elsewhere.send(outpost.address()).await.unwrap().status, 401);
    }
}

#[tokio::test]
async fn authentik_looks_closely() {
    let outpost = Outpost::start(anywhere(), Flavour::Rust, providers()).await.unwrap();
    let (_, location) = begin(&outpost, ask(APP, "/outpost.goauthentik.io/start")).await;
    let user = User::new("u", &[]);
    assert!(outpost.log_in(&location, &user).is_ok());
    let wrong = [
        location.replace("authentik.example.test", "evil.test"),
        location.replace("client_id=", "client_id=x"),
        location.replace("app.example.test", "old.example.test"),
        location.replace("response_type=code", "response_type=token"),
        location.replace("scope=openid", "scope=x"),
        location.replace("state=", "state=x"),
        location.replace("state=", "stat="),
        format!("{location}&scope=openid"),
        format!("{location}&prompt=none"),
        "/application/o/authorize/".to_owned(),
    ];
    for location in wrong {
        assert!(outpost.log_in(&location, &user).is_err(), "{location}");
    }
    let elsewhere = Outpost::start(anywhere(), Flavour::Rust, providers()).await.unwrap();
    assert!(elsewhere.log_in(&location, &user).is_err(), "a state of another outpost");
}

#[tokio::test]
async fn a_bearer_token_begins_a_session() {
    for flavour in BOTH {
        let token = ("secret".to_owned(), User::new("robot", &[]));
        let provider = Provider { bearer_tokens: vec![token], ..app() };
        let outpost = Outpost::start(anywhere(), flavour, vec![provider]).await.unwrap();
        let with = |value: &str| nginx(APP, "https://app.example.test/").header("Authorization", value);
        assert_eq!(with("Bearer wrong").send(outpost.address()).await.unwrap().status, 401);
        let response = with("Bearer secret").send(outpost.address()).await.unwrap();
        assert_eq!(response.header("x-authentik-username"), Some("robot"));
        let cookie = response.header("set-cookie").unwrap().split(';').next().unwrap();
        let again = nginx(APP, "https://app.example.test/").header("Cookie", cookie);
        let response = again.send(outpost.address()).await.unwrap();
        assert_eq!((response.status, response.header("set-cookie")), (200, None));
    }
}

#[tokio::test]
async fn over_tls() {
    let (outpost, _) = Outpost::start_tls(anywhere(), Flavour::Rust, providers()).await.unwrap();
    let ping = ask(APP, "/outpost.goauthentik.io/ping");
    assert_eq!(ping.send_tls(outpost.address(), APP).await.unwrap().status, 204);
    assert!(ping.send(outpost.address()).await.is_err(), "plain HTTP on a TLS port");
}
