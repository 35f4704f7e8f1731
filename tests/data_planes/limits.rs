//! What a data plane itself lets through, as the documentation says it. When one of these fails, the data plane became
//! better: then the documentation can.

use crate::app::App;
use crate::lane::Lane;
use crate::site::{Guarded, Site};
use crate::{Trials, add};
use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::echo::Echoed;
use ingress_sso_testbed::http::{Request, Response};
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider, User};
use ingress_sso_testbed::scene::OPT_IN;
use regex::Regex;
use url::{Position, Url};

pub(crate) fn add(trials: &mut Trials) {
    add!(trials, Lane::TraefikNginx, other_spellings_of_identity_headers_pass, unknown_identity_headers_pass);
    add!(trials, Lane::NginxHost, unknown_identity_headers_pass);
    add!(trials, Lane::Traefik, unknown_identity_headers_are_dropped);
    add!(trials, Lane::NginxDirect, what_protects_on_traefik_lets_nobody_in_on_nginx);
}

async fn other_spellings_of_identity_headers_pass(lane: Lane) -> Result<()> {
    for name in ["X_authentik_username", "X.authentik.username"] {
        ensure!(passes(lane, name).await?, "{name} is dropped");
    }
    Ok(())
}

async fn unknown_identity_headers_pass(lane: Lane) -> Result<()> {
    ensure!(passes(lane, "X-authentik-anything").await?, "it is dropped");
    Ok(())
}

async fn unknown_identity_headers_are_dropped(lane: Lane) -> Result<()> {
    ensure!(!passes(lane, "X-authentik-anything").await?, "it passes");
    Ok(())
}

/// Whether a header that a user forged reaches the app.
async fn passes(lane: Lane, name: &str) -> Result<bool> {
    let guarded = Guarded::new(lane).await?;
    let (url, mut browser) = (guarded.app.url("/"), guarded.site.stranger());
    browser.log_in(&url, &guarded.outpost, &User::new("mallory", &[])).await?;
    let request = Request::to("GET", &Url::parse(&url)?).header(name, "forged");
    let echoed: Echoed = browser.send(&url, request).await?.json()?;
    Ok(echoed.request.headers(name).contains(&"forged"))
}

/// nginx passes on what a client says of host and path, and an outpost that is asked at `/auth/traefik` believes it.
/// But nginx takes `X-Forwarded-Proto` away, without which the outpost lets nobody pass: a class of ingress-nginx that
/// is said to be Traefik's is closed to strangers and to its own users alike.
async fn what_protects_on_traefik_lets_nobody_in_on_nginx(lane: Lane) -> Result<()> {
    let public = Regex::new("^/public$")?;
    for flavour in [Flavour::Rust, Flavour::Go] {
        let site = Site::new(lane).await?;
        let (app, other) =
            (App::open(&site, "app", |app| app).await?, App::open(&site, "other", |app| app).await?);
        let closed = Provider::forward_single(&app.url(""))?;
        let skip_paths = vec![public.clone()];
        let open = Provider { skip_paths, ..Provider::forward_single(&other.url(""))? };
        let outpost = site.outpost_of(flavour, "main", vec![closed, open]).await?;
        let _controller = site.controller(&["main"], &["--class", "nginx=traefik-nginx"]).await?;
        let sessions = [session(&site, &app, &outpost).await?, session(&site, &other, &outpost).await?];
        site.scene.annotate("app", OPT_IN, Some("true")).await?;
        site.scene.until_protected("app").await?;
        app.until(&site, "a closed door", async |app| Ok(app.ask(&site, "/").await?.status == 500)).await?;
        app.echo.clear();
        outpost.clear();

        for (host, uri) in [(&app.host, "/"), (&other.host, "/"), (&other.host, "/public")] {
            for proto in ["X-Forwarded-Proto", "x-forwarded-proto", "X_Forwarded_Proto", "X.Forwarded.Proto"]
            {
                for cookie in sessions.iter().map(String::as_str).chain([""]) {
                    let request = Request::get("/").header("Host", &app.host).header("Cookie", cookie);
                    let request = request.header("X-Forwarded-Host", host).header("X-Forwarded-Uri", uri);
                    let request = request.header(proto, "https");
                    let answer = request.send_tls(site.https(), &app.host).await?;
                    ensure!(answer.status == 500, "{proto}, {host}{uri}, {cookie:?}: {}", answer.status);
                }
            }
        }
        ensure!(app.echo.count() == 0, "somebody reached the app");
        let asked = outpost.requests();
        ensure!(asked.iter().any(|seen| seen.host == other.host), "a forged host does not reach the outpost");
    }
    Ok(())
}

/// The cookie of a user who has logged in to `app`: at the outpost, since the data plane does not lead there.
async fn session(site: &Site, app: &App, outpost: &Outpost) -> Result<String> {
    let asked =
        |path: &str| Request::get(path).header("Host", &app.host).header("X-Forwarded-Host", &app.host);
    let start = asked("/outpost.goauthentik.io/start").send(outpost.address()).await?;
    let cookie = |answer: &Response| {
        let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next());
        cookie.map(str::to_owned).context("no cookie")
    };
    let before = cookie(&start)?;
    let login = start.header("location").context("no login")?;
    let back = Url::parse(&outpost.log_in(login, &User::new("mallory", &[]))?)?;
    let callback = &back[Position::BeforePath..];
    let answer = asked(callback).header("Cookie", &before).send(outpost.address()).await?;
    ensure!(answer.status == 302, "{} at {}", answer.status, site.lane);
    cookie(&answer)
}
