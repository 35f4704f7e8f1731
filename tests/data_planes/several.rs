//! Several hosts, several apps, several outposts.

use crate::app::{App, is_login, leads_back_to};
use crate::lane::Lane;
use crate::site::{Site, unasked_by_probe};
use crate::{Trials, add};
use anyhow::{Result, ensure};
use ingress_sso_testbed::echo::Echoed;
use ingress_sso_testbed::http::Request;
use ingress_sso_testbed::outpost::{Provider, User};
use ingress_sso_testbed::scene::OPT_IN;
use k8s_openapi::api::networking::v1::Ingress;

pub(crate) fn add(trials: &mut Trials, lane: Lane) {
    add!(
        trials,
        lane,
        each_host_of_an_ingress_has_its_own_login,
        two_apps_of_a_namespace_with_an_outpost_each_keep_apart,
        two_apps_on_one_host_share_its_login,
        an_app_under_a_wildcard_host_has_a_login_for_the_domain,
        an_app_beside_one_without_the_annotation_is_told_of_it,
    );
}

async fn each_host_of_an_ingress_has_its_own_login(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let second = site.host("second");
    let app = App::open(&site, "app", |ingress| ingress.host(&second)).await?;
    let urls = [app.url("/a?b=1&c=2"), format!("https://{second}/a?b=1&c=2")];
    let providers = [app.url(""), format!("https://{second}")].map(|url| Provider::forward_single(&url));
    let outpost = site.outpost("main", providers.into_iter().collect::<Result<_>>()?).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    app.protect(&site).await?;
    for url in &urls {
        leads_back_to(&site, &outpost, url, "/a?b=1&c=2").await?;
    }
    let mut browser = site.stranger();
    browser.log_in(&urls[0], &outpost, &User::new("alice", &[])).await?;
    let session = browser.cookies_for(&urls[0])?;
    let request = Request::get("/").header("Host", &second).header("Cookie", session);
    let response = site.stranger().send(&format!("https://{second}/"), request).await?;
    ensure!(is_login(&response), "a session of the first host opens the second: {}", response.status);
    Ok(())
}

async fn two_apps_of_a_namespace_with_an_outpost_each_keep_apart(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let (one, two) = (App::open(&site, "one", |app| app).await?, App::open(&site, "two", |app| app).await?);
    let first = site.outpost("first", vec![Provider::forward_single(&one.url(""))?]).await?;
    let second = site.outpost("second", vec![Provider::forward_single(&two.url(""))?]).await?;
    let _controller = site.controller(&["first", "second"], &["--default-outpost", "first"]).await?;
    site.scene.annotate("two", "sso.djieno.com/outpost", Some("second")).await?;
    one.protect(&site).await?;
    two.protect(&site).await?;
    first.clear();
    second.clear();
    leads_back_to(&site, &first, &one.url("/x"), "/x").await?;
    ensure!(unasked_by_probe(&second).is_empty(), "the second outpost was asked about the first app");
    first.clear();
    leads_back_to(&site, &second, &two.url("/x"), "/x").await?;
    ensure!(unasked_by_probe(&first).is_empty(), "the first outpost was asked about the second app");
    Ok(())
}

async fn two_apps_on_one_host_share_its_login(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let app = App::open(&site, "app", |app| app).await?;
    let api = App::backend(&site, "api").await?;
    let below = ingress_sso_testbed::builders::ingress(site.scene.namespace(), "api");
    let below = below.class(lane.class()).host(&app.host).path("/api", "Prefix");
    site.scene.create::<Ingress>(below.build()).await?;
    let outpost = site.outpost("main", vec![Provider::forward_single(&app.url(""))?]).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    app.protect(&site).await?;
    site.scene.annotate("api", OPT_IN, Some("true")).await?;
    site.scene.until_protected("api").await?;
    app.until_login(&site, "/api/x").await?;
    app.echo.clear();
    api.echo.clear();
    let mut browser = site.stranger();
    let echoed: Echoed =
        browser.log_in(&app.url("/api/x?y=1&z=2"), &outpost, &User::new("alice", &[])).await?.json()?;
    ensure!(echoed.request.target == "/api/x?y=1&z=2" && api.echo.count() == 1 && app.echo.count() == 0);
    let response = browser.get(&app.url("/")).await?;
    ensure!(response.status == 200 && app.echo.count() == 1, "the other app answers {}", response.status);
    Ok(())
}

async fn an_app_under_a_wildcard_host_has_a_login_for_the_domain(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let domain = site.host("domain");
    site.stage.dns.set(&format!("*.{domain}"), lane.address());
    let mut app = App::backend(&site, "app").await?;
    app.host = format!("any.{domain}");
    let wild = ingress_sso_testbed::builders::ingress(site.scene.namespace(), "app").class(lane.class());
    site.scene.create::<Ingress>(wild.host(&format!("*.{domain}")).build()).await?;
    app.until_served(&site).await?;
    let provider = Provider::forward_domain(&format!("https://login.{domain}"), &domain)?;
    let outpost = site.outpost("main", vec![provider]).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    app.protect(&site).await?;
    leads_back_to(&site, &outpost, &app.url("/a?b=1&c=2"), "/a?b=1&c=2").await
}

async fn an_app_beside_one_without_the_annotation_is_told_of_it(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let app = App::open(&site, "app", |app| app).await?;
    let _open = App::backend(&site, "open").await?;
    let open = ingress_sso_testbed::builders::ingress(site.scene.namespace(), "open");
    let open = open.class(lane.class()).host(&app.host).path("/open", "Prefix");
    site.scene.create::<Ingress>(open.build()).await?;
    let _outpost = site.outpost("main", vec![Provider::forward_single(&app.url(""))?]).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    app.protect(&site).await?;
    site.scene.until_event("app", "OpenNeighbour").await?;
    let response = site.stranger().get(&app.url("/open/x")).await?;
    ensure!(
        response.status == 200,
        "the other Ingress of the host is not this controller's: {}",
        response.status
    );
    app.is_closed(&site).await
}
