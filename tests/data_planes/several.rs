//! Several hosts, several apps, several outposts.

use crate::app::{App, is_login, leads_back_to};
use crate::lane::Lane;
use crate::site::{Site, unasked_by_probe};
use crate::{Trials, add};
use anyhow::{Result, ensure};
use ingress_sso_testbed::builders::ingress_class;
use ingress_sso_testbed::echo::Echoed;
use ingress_sso_testbed::http::Request;
use ingress_sso_testbed::outpost::{Provider, User};
use ingress_sso_testbed::scene::OPT_IN;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::PostParams;
use kube::{Api, ResourceExt};

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
    // Here Traefik's own provider is told the name of its class, and serves no other.
    if lane != Lane::Traefik {
        add!(trials, lane, so_it_is_where_that_one_is_of_another_class_of_the_same_controller);
    }
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
    is_told_of_an_open_one(&site, lane.class()).await
}

/// A class says by its controller who serves it, and that one serves all of those.
async fn so_it_is_where_that_one_is_of_another_class_of_the_same_controller(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let classes: Api<IngressClass> = Api::all(site.scene.client());
    let controller = classes.get(lane.class()).await?.spec.and_then(|spec| spec.controller);
    let other = ingress_class(&format!("other-{}", site.scene.namespace()), &controller.unwrap_or_default());
    let other = classes.create(&PostParams::default(), &other).await?;
    is_told_of_an_open_one(&site, &other.name_any()).await
}

async fn is_told_of_an_open_one(site: &Site, class: &str) -> Result<()> {
    let app = App::open(site, "app", |app| app).await?;
    let _open = App::backend(site, "open").await?;
    let open = ingress_sso_testbed::builders::ingress(site.scene.namespace(), "open");
    let open = open.class(class).host(&app.host).path("/open", "Prefix");
    site.scene.create::<Ingress>(open.build()).await?;
    let _outpost = site.outpost("main", vec![Provider::forward_single(&app.url(""))?]).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    app.protect(site).await?;
    site.scene.until_event("app", "OpenNeighbour").await?;
    app.until(site, "the other Ingress of the host, which is not this controller's", async |app| {
        Ok(app.ask(site, "/open/x").await?.status == 200)
    })
    .await?;
    app.is_closed(site).await
}
