//! What only Traefik has: Middlewares of users, routes that it may not take, apps that come over from nginx.

use crate::app::{App, is_login, leads_back_to};
use crate::lane::Lane;
use crate::site::{Guarded, Site};
use crate::{Trials, add};
use anyhow::{Context, Result, ensure};
use ingress_sso::middleware::Middleware;
use ingress_sso_testbed::browser::Browser;
use ingress_sso_testbed::http::Request;
use ingress_sso_testbed::network;
use ingress_sso_testbed::outpost::{Provider, User};
use ingress_sso_testbed::scene::{OPT_IN, PATIENCE, annotation};
use ingress_sso_testbed::traefik::NGINX_CLASS;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::json;
use std::net::SocketAddr;

const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";
const LIST: &str = "traefik.ingress.kubernetes.io/router.middlewares";

pub(crate) fn add(trials: &mut Trials) {
    add!(
        trials,
        Lane::Traefik,
        without_a_route_the_login_works_and_signing_out_by_query,
        middlewares_of_the_user_come_after_the_login_and_stay_after_it,
        a_long_regular_expression_does_not_take_the_sign_out,
    );
    add!(trials, Lane::NginxDirect, a_clone_for_traefik_is_open_to_a_forged_url_until_the_controller_sees_it);
}

async fn without_a_route_the_login_works_and_signing_out_by_query(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let app = App::open(&site, "app", |app| app).await?;
    let outpost = site.outpost("main", vec![Provider::forward_single(&app.url(""))?]).await?;
    let url =
        format!("--outpost=main=http://ak-outpost-main.{}.svc.cluster.local:9000", site.scene.namespace());
    let _controller = site.scene.controller_with(&[&url]).await?;
    app.protect(&site).await?;
    site.scene.until_names::<Ingress>(&["app"]).await?;
    site.scene.until_event("app", "NoOutpostPath").await?;
    app.echo.clear();
    for path in
        ["/outpost.goauthentik.io", "/outpost.goauthentik.io/x", "/outpost.goauthentik.io/auth/traefik"]
    {
        let response = site.stranger().get(&app.url(path)).await?;
        ensure!(is_login(&response), "{path}: {}", response.status);
    }
    ensure!(app.echo.count() == 0, "a stranger reached the app");
    leads_back_to(&site, &outpost, &app.url("/a?b=1&c=2"), "/a?b=1&c=2").await?;
    let mut browser = site.stranger();
    browser.log_in(&app.url("/"), &outpost, &User::new("alice", &[])).await?;
    browser.get(&app.url("/?X-authentik-logout=true")).await?;
    ensure!(is_login(&browser.get(&app.url("/")).await?), "the login does not come again");
    Ok(())
}

async fn middlewares_of_the_user_come_after_the_login_and_stay_after_it(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let strip: Middleware = serde_json::from_value(json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware",
        "metadata": { "name": "strip", "namespace": site.scene.namespace() },
        "spec": { "stripPrefix": { "prefixes": ["/shop"] } },
    }))?;
    site.scene.create::<Middleware>(strip).await?;
    let theirs = format!("{}-strip@kubernetescrd", site.scene.namespace());
    let app = App::backend(&site, "app").await?;
    let ingress = app.ingress(&site).path("/shop", "Prefix").annotation(LIST, &theirs);
    site.scene.create::<Ingress>(ingress.build()).await?;
    let outpost = site.outpost("main", vec![Provider::forward_single(&app.url(""))?]).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    eventually("the open app", PATIENCE, || async {
        Ok((site.stranger().get(&app.url("/shop/")).await?.status == 200).then_some(()))
    })
    .await?;
    site.scene.annotate("app", OPT_IN, Some("true")).await?;
    site.scene.until_protected("app").await?;
    app.until_login(&site, "/shop/").await?;
    // The login keeps the prefix, and the app does not see it.
    leads_back_to(&site, &outpost, &app.url("/shop/a?b=1&c=2"), "/a?b=1&c=2").await?;
    let list = annotation(&site.scene.ingress("app").await?, LIST).map(str::to_owned).context("no list")?;
    let (ours, rest) = list.split_once(',').context("one entry only")?;
    ensure!(ours.contains("-authentik-main-") && rest == theirs, "{list}");

    site.scene.annotate("app", OPT_IN, None).await?;
    eventually("the open app", PATIENCE, || async {
        Ok((site.stranger().get(&app.url("/shop/x")).await?.status == 200).then_some(()))
    })
    .await?;
    ensure!(
        app.echo.requests().last().is_some_and(|last| last.request.target == "/x"),
        "the prefix stays on"
    );
    site.scene.until_names::<Middleware>(&["strip"]).await?;
    ensure!(annotation(&site.scene.ingress("app").await?, LIST) == Some(theirs.as_str()));
    Ok(())
}

async fn a_long_regular_expression_does_not_take_the_sign_out(lane: Lane) -> Result<()> {
    let guarded = Guarded::with(
        lane,
        ingress_sso_testbed::outpost::Flavour::Rust,
        |provider| provider,
        |ingress| {
            ingress
                .path("/", "ImplementationSpecific")
                .path("/(outpost|login|logout|api|app|and|many|more|words).*", "ImplementationSpecific")
                .annotation("traefik.ingress.kubernetes.io/router.pathmatcher", "PathRegexp")
        },
    )
    .await?;
    let mut browser = guarded.site.stranger();
    browser.log_in(&guarded.app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
    let response = browser.get(&guarded.app.url("/outpost.goauthentik.io/sign_out")).await?;
    let location = response.header("location").unwrap_or_default();
    ensure!(location.contains("/end-session/"), "{} {location}", response.status);
    Ok(())
}

/// Does what RKE2's migration guide does: clones the app's Ingresses with all their annotations for Traefik.
pub(crate) async fn clone_for_traefik(guarded: &Guarded) -> Result<()> {
    let scene = &guarded.site.scene;
    for name in ["app", "app-outpost-path"] {
        let mut clone = scene.ingress(name).await?;
        clone.metadata.name = Some(format!("{name}-traefik"));
        clone.metadata.resource_version = None;
        clone.metadata.uid = None;
        clone.metadata.managed_fields = None;
        if let Some(spec) = &mut clone.spec {
            spec.ingress_class_name = Some(NGINX_CLASS.to_owned());
        }
        scene.create::<Ingress>(clone).await?;
    }
    Ok(())
}

/// What protects on nginx does not on Traefik.
async fn a_clone_for_traefik_is_open_to_a_forged_url_until_the_controller_sees_it(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    guarded.controller.kill()?;
    clone_for_traefik(&guarded).await?;
    let traefik = SocketAddr::new(network::TRAEFIK.into(), 443);
    let forged = || {
        let url = format!("https://{}/outpost.goauthentik.io/x", app.host);
        Request::get("/").header("Host", &app.host).header("X-Original-URL", url)
    };
    eventually("the hole", PATIENCE, || async {
        let response = forged().send_tls(traefik, &app.host).await?;
        Ok((response.status == 200 && app.echo.count() > 0).then_some(()))
    })
    .await?;

    let _controller = site.controller(&["main"], &[]).await?;
    let clone = eventually("another auth-url", PATIENCE, || async {
        let clone = site.scene.ingress("app-traefik").await?;
        let is_copy = annotation(&clone, AUTH_URL).is_some_and(|url| url.ends_with("/auth/nginx"));
        Ok((!is_copy).then_some(clone))
    })
    .await?;
    let auth_url = annotation(&clone, AUTH_URL).unwrap_or_default();
    ensure!(auth_url.ends_with(":9000/outpost.goauthentik.io/auth/traefik"), "{auth_url}");
    eventually("a login at the clone", PATIENCE, || async {
        let response = Browser::new(network::TRAEFIK.into()).get(&app.url("/")).await?;
        Ok(is_login(&response).then_some(()))
    })
    .await?;
    app.echo.clear();
    let response = forged().send_tls(traefik, &app.host).await?;
    ensure!(is_login(&response) && app.echo.count() == 0, "a forged URL gets {}", response.status);
    app.is_closed(site).await?;
    let user = User::new("alice", &[]);
    let mut browser = Browser::new(network::TRAEFIK.into());
    let response = browser.log_in(&app.url("/a?b=1&c=2"), &guarded.outpost, &user).await?;
    ensure!(response.status == 200, "through Traefik the user gets {}", response.status);
    Ok(())
}
