//! What an attacker tries, without an account or with one for another app.

use crate::app::{App, is_login, leads_back_to, message};
use crate::lane::Lane;
use crate::site::{Guarded, Site};
use crate::{Trials, add, stage};
use anyhow::{Context, Result, bail, ensure};
use ingress_sso::middleware::Middleware;
use ingress_sso_testbed::browser::Browser;
use ingress_sso_testbed::builders::IngressBuilder;
use ingress_sso_testbed::echo::Echoed;
use ingress_sso_testbed::http::{Request, Response};
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider, User};
use ingress_sso_testbed::scene::OPT_IN;
use k8s_openapi::api::networking::v1::Ingress;
use regex::Regex;
use std::net::SocketAddr;
use url::Url;

pub(crate) fn add(trials: &mut Trials, lane: Lane) {
    add!(
        trials,
        lane,
        identity_headers_cannot_be_forged,
        identity_headers_cannot_be_forged_on_an_open_path,
        forged_headers_open_nothing_to_a_stranger,
        forged_headers_do_not_change_where_the_login_leads,
        forged_headers_open_nothing_to_a_user_of_another_app,
        an_absolute_request_line_opens_nothing_to_a_user_of_another_app,
        odd_hosts_open_nothing,
        odd_paths_open_nothing,
        odd_methods_open_nothing,
        an_app_cannot_choose_an_outpost_that_nobody_gave_it,
    );
    if lane.is_nginx() {
        add!(
            trials,
            lane,
            a_rewrite_behind_the_admins_lines_opens_nothing,
            the_admins_lines_are_in_no_honest_visitors_way,
        );
    }
}

pub(crate) fn add_last(trials: &mut Trials) {
    for lane in [Lane::NginxHost, Lane::NginxDirect] {
        add!(trials, lane, headers_that_nginx_is_told_to_believe_open_nothing);
    }
}

const REWRITE_TARGET: &str = "nginx.ingress.kubernetes.io/rewrite-target";

/// By what an outpost says who its visitor is: authentik's list, and not the controller's own.
const IDENTITY_HEADERS: [&str; 12] = [
    "X-authentik-username",
    "X-authentik-groups",
    "X-authentik-entitlements",
    "X-authentik-email",
    "X-authentik-name",
    "X-authentik-uid",
    "X-authentik-jwt",
    "X-authentik-meta-jwks",
    "X-authentik-meta-outpost",
    "X-authentik-meta-provider",
    "X-authentik-meta-app",
    "X-authentik-meta-version",
];

/// Spellings that an app may take for the same header.
fn spellings(lane: Lane, name: &str) -> Vec<String> {
    let mut spellings = vec![name.to_owned(), name.to_lowercase(), name.to_uppercase()];
    // The provider of Traefik for ingress-nginx drops exactly what is listed: see `limits`.
    if lane != Lane::TraefikNginx {
        spellings.extend([name.replace('-', "_"), name.replace('-', "."), name.replacen('-', "_", 1)]);
    }
    spellings
}

async fn identity_headers_cannot_be_forged(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (url, mut browser) = (guarded.app.url("/"), guarded.site.stranger());
    browser.log_in(&url, &guarded.outpost, &User::new("mallory", &[])).await?;
    for name in IDENTITY_HEADERS {
        let request = Request::to("GET", &Url::parse(&url)?);
        let forged = spellings(lane, name);
        let request = forged.iter().fold(request, |request, name| request.header(name, "forged"));
        let echoed: Echoed = browser.send(&url, request).await?.json()?;
        let is_identity = |name: &str| name.replace(['_', '.'], "-").starts_with("x-authentik-");
        let headers = &echoed.request.headers;
        let passed: Vec<_> =
            headers.iter().filter(|(name, value)| is_identity(name) && value.contains("forged")).collect();
        ensure!(passed.is_empty(), "forged as {forged:?}, the app got {passed:?}");
        ensure!(echoed.request.headers("x-authentik-username") == ["mallory"], "{headers:?}");
    }
    Ok(())
}

/// Where the outpost lets everybody in, it says nothing of who that is, and nobody else may say it either.
async fn identity_headers_cannot_be_forged_on_an_open_path(lane: Lane) -> Result<()> {
    let open = |provider: Provider| with_public_path(provider.clone()).unwrap_or(provider);
    let Guarded { site, app, outpost: _outpost, controller: _controller } =
        Guarded::with(lane, Flavour::Rust, open, |ingress| ingress).await?;
    let url = app.url("/public");
    for name in IDENTITY_HEADERS {
        let request = Request::to("GET", &Url::parse(&url)?);
        let forged = spellings(lane, name);
        let request = forged.iter().fold(request, |request, name| request.header(name, "forged"));
        let echoed: Echoed = site.stranger().send(&url, request).await?.json()?;
        let headers = &echoed.request.headers;
        let passed: Vec<_> = headers.iter().filter(|(_, value)| value.contains("forged")).collect();
        ensure!(passed.is_empty(), "forged as {forged:?}, the app got {passed:?}");
    }
    Ok(())
}

/// Headers by which something in between may be told what was asked for.
fn forged(app: &App, other: &str) -> Vec<(&'static str, String)> {
    let host = &app.host;
    vec![
        ("X-Forwarded-Host", other.to_owned()),
        ("X-Forwarded-Uri", "/outpost.goauthentik.io/x".to_owned()),
        ("X-Forwarded-Uri", "/public".to_owned()),
        ("X-Forwarded-Uri", "/outpost.goauthentik.io/../public".to_owned()),
        ("X-Forwarded-Proto", "http".to_owned()),
        ("X-Forwarded-Port", "8443".to_owned()),
        ("X-Forwarded-Prefix", "/public".to_owned()),
        ("X-Forwarded-Method", "OPTIONS".to_owned()),
        ("X-Forwarded-For", "127.0.0.1".to_owned()),
        ("X-Forwarded-Server", other.to_owned()),
        ("Forwarded", format!("for=127.0.0.1;host={other};proto=https")),
        ("X-Original-URI", "/outpost.goauthentik.io/x".to_owned()),
        ("X-Original-URI", "/public".to_owned()),
        ("X-Original-URL", format!("https://{host}/outpost.goauthentik.io/x")),
        ("X-Original-URL", format!("https://{host}/public")),
        ("X-Original-URL", format!("https://{other}/")),
        ("x-original-url", format!("https://{host}/outpost.goauthentik.io/x")),
        ("X-Original-Method", "OPTIONS".to_owned()),
        ("X-Rewrite-URL", "/public".to_owned()),
        ("X-Real-IP", "127.0.0.1".to_owned()),
        ("X-Auth-Request-Redirect", format!("https://{other}/")),
        ("X-authentik-username", "admin".to_owned()),
        ("Authorization", "Bearer forged".to_owned()),
        ("Cookie", "authentik_proxy_00000000=forged".to_owned()),
        ("Connection", "close, X-Forwarded-Host, X-Original-URL, Cookie".to_owned()),
        ("Host", other.to_owned()),
    ]
}

/// A provider with a path that is open to all, to which an attacker may point.
fn with_public_path(provider: Provider) -> Result<Provider> {
    Ok(Provider { skip_paths: vec![Regex::new("^/public$")?], ..provider })
}

async fn forged_headers_open_nothing_to_a_stranger(lane: Lane) -> Result<()> {
    for flavour in [Flavour::Rust, Flavour::Go] {
        // The outposts before authentik 2025.12.5 believe X-Original-URI; what protects has to hold with them too.
        let old = |provider: Provider| Provider {
            believes_x_original_uri: flavour == Flavour::Go,
            ..with_public_path(provider.clone()).unwrap_or(provider)
        };
        let Guarded { site, app, outpost: _outpost, controller: _controller } =
            Guarded::with(lane, flavour, old, |ingress| ingress).await?;
        let open = site.stranger().get(&app.url("/public")).await?;
        ensure!(open.status == 200, "the open path answers {}, so it proves nothing", open.status);
        app.echo.clear();
        let forged = forged(&app, "other.test");
        for (name, value) in &forged {
            let request = Request::get("/").header("Host", &app.host).header(name, value);
            stays_out(&site, &app, &request).await.with_context(|| format!("{name}: {value}"))?;
            let twice = Request::get("/").header(name, value).header("Host", &app.host).header(name, "");
            stays_out(&site, &app, &twice).await.with_context(|| format!("{name}: {value}, twice"))?;
        }
        let request = Request::get("/").header("Host", &app.host);
        let others = forged.iter().filter(|(name, _)| *name != "Host" && *name != "Connection");
        let all = others.fold(request, |request, (name, value)| request.header(name, value));
        stays_out(&site, &app, &all).await.context("all at once")?;
    }
    Ok(())
}

async fn forged_headers_do_not_change_where_the_login_leads(lane: Lane) -> Result<()> {
    let Guarded { site, app, outpost, controller: _controller } = Guarded::new(lane).await?;
    let url = Url::parse(&app.url("/a?b=1&c=2"))?;
    for (name, value) in forged(&app, "evil.test") {
        if matches!(name, "Host" | "Cookie" | "Connection" | "X-Forwarded-Proto") {
            continue;
        }
        let mut browser = site.stranger();
        let response = browser.send(url.as_str(), Request::to("GET", &url).header(name, &value)).await?;
        let end = end_of_login(&mut browser, &outpost, &url, response).await;
        let end = end.with_context(|| format!("{name}: {value}"))?;
        ensure!(end == url, "{name}: {value} leads to {end}");
    }
    Ok(())
}

/// Where a visitor ends who follows `response` and logs in.
async fn end_of_login(
    browser: &mut Browser,
    outpost: &Outpost,
    from: &Url,
    mut response: Response,
) -> Result<Url> {
    for _ in 0..3 {
        let location = response.header("location").with_context(|| format!("{}", response.status))?;
        let next = from.join(location)?;
        if outpost.is_authorize(&next) {
            let callback = outpost.log_in(next.as_str(), &User::new("alice", &[]))?;
            let last = browser.get(&callback).await?;
            let end = last.header("location");
            return Ok(from.join(end.with_context(|| format!("{} after the login", last.status))?)?);
        }
        ensure!(next.host_str() == from.host_str(), "on the way to the login it leads to {next}");
        response = browser.get(next.as_str()).await?;
    }
    bail!("no login after three redirects")
}

/// Two apps behind one outpost, and the cookies of a user who has logged in to the second only.
async fn user_of_another_app(lane: Lane) -> Result<(Site, App, App, Outpost, String, impl Sized)> {
    let site = Site::new(lane).await?;
    let (app, other) =
        (App::open(&site, "app", |app| app).await?, App::open(&site, "other", |app| app).await?);
    let providers = [&app, &other].map(|app| Provider::forward_single(&app.url("")));
    let outpost = site.outpost("main", providers.into_iter().collect::<Result<_>>()?).await?;
    let controller = site.controller(&["main"], &[]).await?;
    app.protect(&site).await?;
    other.protect(&site).await?;
    let mut browser = site.stranger();
    browser.log_in(&other.url("/"), &outpost, &User::new("mallory", &[])).await?;
    let session = browser.cookies_for(&other.url("/"))?;
    ensure!(!session.is_empty(), "no session");
    app.echo.clear();
    Ok((site, app, other, outpost, session, controller))
}

async fn forged_headers_open_nothing_to_a_user_of_another_app(lane: Lane) -> Result<()> {
    let (site, app, other, _outpost, session, _controller) = user_of_another_app(lane).await?;
    let mut hosts = forged(&app, &other.host);
    hosts.extend(forged(&app, &format!("{}:443", other.host)));
    for (name, value) in hosts {
        if name == "Cookie" {
            continue;
        }
        let request = Request::get("/").header("Host", &app.host).header("Cookie", &session);
        let request = request.header(name, &value);
        stays_out(&site, &app, &request).await.with_context(|| format!("{name}: {value}"))?;
    }
    Ok(())
}

/// With `use-forwarded-headers` nginx goes by what a client says, on the route `host` in its own auth check too.
async fn headers_that_nginx_is_told_to_believe_open_nothing(lane: Lane) -> Result<()> {
    let (site, app, other, _outpost, session, _controller) = user_of_another_app(lane).await?;
    let open = App::open(&site, "open", |ingress| ingress).await?;
    site.stage.nginx.set_config(&stage::config([("use-forwarded-headers", "true")])?).await?;
    open.until(&site, "a host that is believed", async |open| {
        let request =
            Request::get("/").header("Host", &open.host).header("X-Forwarded-Host", "believed.test");
        let echoed: Echoed = request.send_tls(site.https(), &open.host).await?.json()?;
        Ok(echoed.request.headers("host") == ["believed.test"])
    })
    .await?;
    app.until_login(&site, "/").await?;
    app.echo.clear();
    for value in [other.host.clone(), format!("{}:443", other.host), format!("{0}, {0}", other.host)] {
        for (name, value) in forged(&app, &value) {
            for cookie in [session.as_str(), ""] {
                let request = Request::get("/").header("Host", &app.host).header(name, &value);
                let request = if name == "Cookie" { request } else { request.header("Cookie", cookie) };
                stays_out(&site, &app, &request).await.with_context(|| format!("{name}: {value}"))?;
            }
        }
    }
    app.is_closed(&site).await
}

async fn an_absolute_request_line_opens_nothing_to_a_user_of_another_app(lane: Lane) -> Result<()> {
    let (site, app, other, _outpost, session, _controller) = user_of_another_app(lane).await?;
    for scheme in ["https", "http"] {
        for (line, host) in [(&app.host, &other.host), (&other.host, &app.host)] {
            for extra in [None, Some(&other.host), Some(&app.host)] {
                let request = Request::get(format!("{scheme}://{line}/")).header("Host", host);
                let request = request.header("Cookie", &session);
                let request =
                    extra.iter().fold(request, |request, host| request.header("X-Forwarded-Host", host));
                stays_out(&site, &app, &request).await.with_context(|| format!("{line} with Host {host}"))?;
            }
        }
    }
    Ok(())
}

/// Spellings of the host `host` that one of nginx, Traefik and an outpost might read differently from the others. What nginx
/// takes for the port of the host is the path or the query of a URL for others.
fn odd_hosts(host: &str) -> Vec<String> {
    let after = |text: &str| format!("{host}{text}");
    vec![
        after(":443"),
        after(":8443"),
        after(":"),
        after("."),
        after(".:443"),
        host.to_uppercase(),
        format!(" {host} "),
        after(",other.test"),
        format!("other.test@{host}"),
        after("/outpost.goauthentik.io"),
        after(":/outpost.goauthentik.io/"),
        after(r":\outpost.goauthentik.io\"),
        after(r":443\outpost.goauthentik.io\"),
        after(r"\outpost.goauthentik.io\"),
        after(r":\public?"),
        after(r":\public#"),
        after(":?"),
        after(":#"),
        after(":@other.test"),
        after(":\\outpost.goauthentik.io?"),
        after(":%5coutpost.goauthentik.io%5c"),
    ]
}

async fn odd_hosts_open_nothing(lane: Lane) -> Result<()> {
    for flavour in [Flavour::Rust, Flavour::Go] {
        let open = |provider: Provider| with_public_path(provider.clone()).unwrap_or(provider);
        let Guarded { site, app, outpost: _outpost, controller: _controller } =
            Guarded::with(lane, flavour, open, |ingress| ingress).await?;
        let others = [r"x\outpost.goauthentik.io\", r"[x]\outpost.goauthentik.io\", r"x\public?", "x:?"];
        for odd in odd_hosts(&app.host).iter().map(String::as_str).chain(others) {
            for line in [String::new(), format!("http://{}", app.host), format!("https://{}", app.host)] {
                let request = Request::get(format!("{line}/secret")).header("Host", odd);
                let what = || format!("{flavour:?}: {line}/secret with Host {odd:?}");
                stays_out(&site, &app, &request).await.with_context(what)?;
            }
        }
        for path in ["/", "/secret/outpost.goauthentik.io/x", "/secret/public"] {
            for line in [String::new(), format!("http://{}", app.host), format!("https://{}", app.host)] {
                let request = Request::get(format!("{line}{path}"));
                for request in
                    [request.clone(), request.clone().http_1_0(), request.http_1_0().header("Host", "")]
                {
                    let what = || format!("{flavour:?}: {line}{path} without a Host");
                    stays_out(&site, &app, &request).await.with_context(what)?;
                }
            }
        }
        app.is_closed(&site).await?;
    }
    Ok(())
}

/// Paths that one of nginx, Traefik, an outpost of either flavour and an app might read differently from the others.
const ODD_PATHS: &[&str] = &[
    "/outpost.goauthentik.io/../secret",
    "/outpost.goauthentik.io/..",
    "/outpost.goauthentik.io/x/../../secret",
    "/outpost.goauthentik.io/%2e%2e/secret",
    "/outpost.goauthentik.io/%2E%2E/secret",
    "/outpost.goauthentik.io/.%2e/secret",
    "/outpost.goauthentik.io/..%2fsecret",
    "/outpost.goauthentik.io%2f..%2fsecret",
    "/outpost.goauthentik.io/%2e%2e%2fsecret",
    "/outpost.goauthentik.io/..;/secret",
    "/outpost.goauthentik.io;/../secret",
    "/outpost.goauthentik.io/..%5csecret",
    "/outpost.goauthentik.io/..\\secret",
    "/outpost.goauthentik.io//../secret",
    "//outpost.goauthentik.io/../secret",
    "//outpost.goauthentik.io/secret",
    "/./outpost.goauthentik.io/../secret",
    "/outpost.goauthentik.iox",
    "/outpost.goauthentik.io.secret",
    "/Outpost.goauthentik.io/secret",
    "/outpost%2egoauthentik.io/secret",
    "/%6futpost.goauthentik.io/secret",
    "/%6futpost.goauthentik.iox",
    "/outpost.goauthentik.io%3b/secret",
    "/outpost.goauthentik.io%20",
    "/outpost.goauthentik.io\\secret",
    "/.\\outpost.goauthentik.io\\secret",
    "/secret/..\\outpost.goauthentik.io\\x",
    "/secret\\..\\outpost.goauthentik.io\\x",
    "/secret\\%2e%2e\\outpost.goauthentik.io",
    "/secret%5c..%5coutpost.goauthentik.io",
    "/.//outpost.goauthentik.iox",
    "/secret/../outpost.goauthentik.io/../secret",
    "/secret;/outpost.goauthentik.io",
    "/secret%00/outpost.goauthentik.io",
    "/secret?/outpost.goauthentik.io/",
    "/secret?X-authentik-auth-callback=true",
    "/secret?X-authentik-logout=true",
    "/secret#/outpost.goauthentik.io",
    "/outpost.goauthentik.io/ping",
    "/outpost.goauthentik.io/secret",
    "*",
    "secret",
];

async fn odd_paths_open_nothing(lane: Lane) -> Result<()> {
    for flavour in [Flavour::Rust, Flavour::Go] {
        let Guarded { site, app, outpost: _outpost, controller: _controller } =
            Guarded::with(lane, flavour, |provider| provider, |ingress| ingress).await?;
        for path in ODD_PATHS {
            let request = Request::get(path).header("Host", &app.host);
            stays_out(&site, &app, &request).await.with_context(|| format!("{flavour:?}: {path}"))?;
        }
    }
    Ok(())
}

/// With a rewrite the app gets the cleaned path, so whatever the outpost lets pass would be open.
async fn a_rewrite_behind_the_admins_lines_opens_nothing(lane: Lane) -> Result<()> {
    for flavour in [Flavour::Rust, Flavour::Go] {
        let site = Site::new(lane).await?;
        let rewrite = |ingress: IngressBuilder| {
            ingress.path("/(.*)", "ImplementationSpecific").annotation(REWRITE_TARGET, "/inside/$1")
        };
        let app = App::open(&site, "app", rewrite).await?;
        let provider = Provider::forward_single(&app.url(""))?;
        let outpost = site.outpost_of(flavour, "main", vec![provider]).await?;
        let _controller = site.controller(&["main"], &[]).await?;
        app.protect(&site).await?;
        app.echo.clear();
        for path in ODD_PATHS {
            let request = Request::get(path).header("Host", &app.host);
            stays_out(&site, &app, &request).await.with_context(|| format!("{flavour:?}: {path}"))?;
        }
        leads_back_to(&site, &outpost, &app.url("/a?b=1&c=2"), "/inside/a?b=1&c=2").await?;
    }
    Ok(())
}

/// Neither in that of a health check that knows no host.
async fn the_admins_lines_are_in_no_honest_visitors_way(lane: Lane) -> Result<()> {
    let Guarded { site, app, outpost: _outpost, controller: _controller } = Guarded::new(lane).await?;
    let host = &app.host;
    for asked in
        [host.clone(), host.to_uppercase(), format!("{host}:443"), format!("{host}:"), format!("{host}.")]
    {
        for path in
            ["/", "/a..b/c", "/a%2fb/..c", "/a.b/", "/?x=/../y&z=a\\b", "/a%5cb", "/...", "/%2e%2e%2e/"]
        {
            let request = Request::get(path).header("Host", &asked);
            let answer = site.stranger().send(&app.url("/"), request).await?;
            ensure!(is_login(&answer), "{asked}{path}: {}", answer.status);
        }
    }
    let plain = SocketAddr::new(site.lane.address().into(), 80);
    let health = Request::get("/healthz").http_1_0();
    for check in [
        health.clone(),
        health.clone().header("Host", plain.to_string()),
        health.header("Host", "[2001:db8::1]:80"),
    ] {
        let answer = check.send(plain).await?;
        ensure!(answer.status == 200, "a health check: {}", answer.status);
    }
    Ok(())
}

async fn odd_methods_open_nothing(lane: Lane) -> Result<()> {
    let Guarded { site, app, outpost: _outpost, controller: _controller } = Guarded::new(lane).await?;
    for method in ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "X"] {
        let request =
            Request::new(method, "/").header("Host", &app.host).header("Origin", "https://evil.test");
        let request = request.header("Access-Control-Request-Method", "GET").body("");
        stays_out(&site, &app, &request).await.context(method)?;
    }
    Ok(())
}

/// Nobody is let in to the app by this request, over TLS or without; whatever else comes of it is of no interest.
async fn stays_out(site: &Site, app: &App, request: &Request) -> Result<()> {
    let plain = SocketAddr::new(site.lane.address().into(), 80);
    let before = app.echo.count();
    let answers = [request.send_tls(site.https(), &app.host).await, request.send(plain).await];
    for answer in answers {
        // A data plane may hang up on what is no HTTP.
        let status = answer.map_or(0, |response| response.status);
        ensure!(app.echo.count() == before, "it reached the app, the answer was {status}");
    }
    Ok(())
}

async fn an_app_cannot_choose_an_outpost_that_nobody_gave_it(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let app = App::open(&site, "app", |app| app).await?;
    let _outpost = site.outpost("evil", vec![Provider::forward_single(&app.url(""))?]).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    for name in ["evil", "http://evil.test:9000", "main.evil.test"] {
        site.scene.annotate("app", "sso.djieno.com/outpost", Some(name)).await?;
        site.scene.annotate("app", OPT_IN, Some("true")).await?;
        let refused = ingress_sso_testbed::wait::eventually(
            "a refusal of the name",
            ingress_sso_testbed::scene::PATIENCE,
            || async {
                let ingress = site.scene.ingress("app").await?;
                Ok(message(&ingress).is_ok_and(|text| text.contains(name)).then_some(ingress))
            },
        )
        .await?;
        ensure!(message(&refused)?.contains("is not known; known are: main"), "{}", message(&refused)?);
    }
    site.scene.until_names::<Ingress>(&["app"]).await?;
    site.scene.until_names::<Middleware>(&[]).await?;
    let response = site.stranger().get(&app.url("/")).await?;
    ensure!(!is_login(&response), "visitors are sent to {:?}", response.header("location"));
    Ok(())
}
