//! What an honest visitor meets.

use crate::app::{is_login, leads_back_to};
use crate::lane::Lane;
use crate::site::Guarded;
use crate::{Trials, add};
use anyhow::{Result, bail, ensure};
use ingress_sso_testbed::browser::Upgrade;
use ingress_sso_testbed::echo::Echoed;
use ingress_sso_testbed::http::Request;
use ingress_sso_testbed::outpost::{Flavour, Provider, User};
use sha2::{Digest, Sha256};
use url::Url;

pub(crate) fn add(trials: &mut Trials, lane: Lane) {
    add!(
        trials,
        lane,
        a_stranger_logs_in_and_comes_back_to_the_deep_link,
        the_app_learns_who_the_user_is,
        a_body_arrives_as_it_was_sent,
        a_websocket_opens_after_the_login_and_not_before,
        a_token_of_twelve_kilobytes_arrives,
        an_answer_of_twelve_kilobytes_of_headers_arrives,
        after_signing_out_the_login_comes_again,
        outposts_of_both_flavours_do,
    );
}

async fn a_stranger_logs_in_and_comes_back_to_the_deep_link(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let Guarded { site, app, outpost, .. } = &guarded;
    for path in [
        "/",
        "/a?b=1&c=2",
        "/%C3%BCber/%E6%97%A5?q=%C3%A4&r=%26&s=a+b",
        "/a%20b?next=https%3A%2F%2Fexample.test%2Fx%3Fy%3D1&z=1",
        "/?x[]=1&x[]=2&empty=&flag",
    ] {
        leads_back_to(site, outpost, &app.url(path), path).await?;
    }
    // Traefik answers 400 to encoded slashes in a path unless its admin allows them, login or not.
    if lane.is_nginx() {
        leads_back_to(site, outpost, &app.url("/a%2Fb?c=%2F"), "/a%2Fb?c=%2F").await?;
    }
    Ok(())
}

async fn the_app_learns_who_the_user_is(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let user = User::new("alice", &["admins", "users"]);
    let response = guarded.site.stranger().log_in(&guarded.app.url("/me"), &guarded.outpost, &user).await?;
    let echoed: Echoed = response.json()?;
    for (name, wanted) in [
        ("X-authentik-username", "alice"),
        ("X-authentik-groups", "admins|users"),
        ("X-authentik-email", "alice@example.test"),
        ("X-authentik-name", "User alice"),
        ("X-authentik-uid", "uid-of-alice"),
    ] {
        let found = echoed.request.headers(name);
        ensure!(found == [wanted], "{name} is {found:?}");
    }
    let has_token = echoed.request.header("X-authentik-jwt").is_some_and(|token| token.contains('.'));
    ensure!(has_token, "no X-authentik-jwt in {:?}", echoed.request.headers);
    Ok(())
}

async fn a_body_arrives_as_it_was_sent(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (url, mut browser) = (guarded.app.url("/upload?x=1"), guarded.site.stranger());
    let body: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let post = || Ok::<_, anyhow::Error>(Request::to("POST", &Url::parse(&url)?).body(&body));
    ensure!(is_login(&browser.send(&url, post()?).await?), "a stranger's POST is not sent to log in");
    ensure!(guarded.app.echo.count() == 0, "a stranger's POST reached the app");

    browser.log_in(&guarded.app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
    let echoed: Echoed = browser.send(&url, post()?).await?.json()?;
    let sent = Sha256::digest(&body).iter().fold(String::new(), |sent, byte| sent + &format!("{byte:02x}"));
    ensure!(echoed.request.method == "POST" && echoed.request.target == "/upload?x=1");
    ensure!(echoed.body.length == body.len() && echoed.body.sha256 == sent, "{:?}", echoed.body.length);
    Ok(())
}

async fn a_websocket_opens_after_the_login_and_not_before(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (url, mut browser) = (guarded.app.url("/socket"), guarded.site.stranger());
    match browser.websocket(&url).await? {
        Upgrade::Refused(response) => ensure!(is_login(&response), "a stranger got {}", response.status),
        Upgrade::Open(_) => bail!("a WebSocket opened for a stranger"),
    }
    ensure!(guarded.app.echo.count() == 0, "a stranger's upgrade reached the app");
    browser.log_in(&guarded.app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
    match browser.websocket(&url).await? {
        Upgrade::Refused(response) => bail!("refused after the login: {}", response.status),
        Upgrade::Open(mut socket) => {
            for text in ["hello", "again"] {
                let answer = socket.ask(text).await?;
                ensure!(answer == text, "{answer:?}");
            }
        }
    }
    Ok(())
}

async fn a_token_of_twelve_kilobytes_arrives(lane: Lane) -> Result<()> {
    let large = |provider| Provider { jwt_bytes: 12_000, ..provider };
    let guarded = Guarded::with(lane, Flavour::Rust, large, |ingress| ingress).await?;
    let user = User::new("alice", &[]);
    let response = guarded.site.stranger().log_in(&guarded.app.url("/"), &guarded.outpost, &user).await?;
    let echoed: Echoed = response.json()?;
    let length = echoed.request.header("X-authentik-jwt").unwrap_or_default().len();
    ensure!(length >= 12_000, "the token has {length} bytes");
    Ok(())
}

async fn an_answer_of_twelve_kilobytes_of_headers_arrives(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let mut browser = guarded.site.stranger();
    browser.log_in(&guarded.app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
    let response = browser.get(&guarded.app.url("/?respond_cookie_bytes=12000")).await?;
    let length = response.header("set-cookie").unwrap_or_default().len();
    ensure!(response.status == 200 && length >= 12_000, "{} with {length} bytes", response.status);
    Ok(())
}

async fn after_signing_out_the_login_comes_again(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let Guarded { site, app, outpost, .. } = &guarded;
    let mut paths = vec!["/outpost.goauthentik.io/sign_out"];
    if !lane.is_nginx() {
        paths.push("/anything?X-authentik-logout=true");
    }
    for path in paths {
        let mut browser = site.stranger();
        browser.log_in(&app.url("/"), outpost, &User::new("alice", &[])).await?;
        let session = browser.cookies_for(&app.url("/"))?;
        let response = browser.get(&app.url(path)).await?;
        let location = response.header("location").unwrap_or_default();
        ensure!(location.contains("/end-session/"), "{path}: {} {location}", response.status);
        let request = Request::get("/").header("Host", &app.host).header("Cookie", session);
        let response = site.stranger().send(&app.url("/"), request).await?;
        ensure!(is_login(&response), "{path}: the old cookie still opens the app: {}", response.status);
    }
    Ok(())
}

async fn outposts_of_both_flavours_do(lane: Lane) -> Result<()> {
    let guarded = Guarded::with(lane, Flavour::Go, |provider| provider, |ingress| ingress).await?;
    leads_back_to(&guarded.site, &guarded.outpost, &guarded.app.url("/a?b=1&c=2"), "/a?b=1&c=2").await
}
