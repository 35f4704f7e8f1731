//! What happens to visitors while things change or break.

use crate::app::{App, leads_back_to};
use crate::lane::Lane;
use crate::site::{Guarded, Site};
use crate::traffic::{Outcome, Traffic};
use crate::{Trials, add};
use anyhow::{Result, ensure};
use ingress_sso::contract::OUTPOST_PATH;
use ingress_sso::middleware::Middleware;
use ingress_sso_testbed::outpost::{Provider, User};
use ingress_sso_testbed::scene::{OPT_IN, PATIENCE};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

pub(crate) fn add(trials: &mut Trials, lane: Lane) {
    add!(
        trials,
        lane,
        protection_comes_at_one_stroke_and_goes_at_one_stroke,
        a_deleted_app_leaves_nothing_behind,
        without_its_outpost_an_app_is_closed,
        without_the_controller_everything_goes_on,
        no_stranger_gets_in_while_companions_are_deleted_and_repaired,
        a_lost_route_comes_back,
    );
}

async fn protection_comes_at_one_stroke_and_goes_at_one_stroke(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let app = App::open(&site, "app", |ingress| ingress).await?;
    let outpost = site.outpost("main", vec![Provider::forward_single(&app.url(""))?]).await?;
    let _controller = site.controller(&["main"], &[]).await?;

    let traffic = Traffic::start(&site, &app);
    app.protect(&site).await?;
    leads_back_to(&site, &outpost, &app.url("/x"), "/x").await?;
    seen_in_order(lane, &traffic.stop().await?, Outcome::App, Outcome::Login)?;

    let traffic = Traffic::start(&site, &app);
    site.scene.annotate("app", OPT_IN, None).await?;
    app.until_served(&site).await?;
    site.scene.until_names::<Ingress>(&["app"]).await?;
    site.scene.until_names::<ConfigMap>(&[]).await?;
    until_none::<Middleware>(&site).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    seen_in_order(lane, &traffic.stop().await?, Outcome::Login, Outcome::App)
}

/// A stranger saw `before`, then `after`, and what the data plane shows while it changes over.
fn seen_in_order(lane: Lane, seen: &[Outcome], before: Outcome, after: Outcome) -> Result<()> {
    let first = seen.iter().position(|outcome| *outcome == after).unwrap_or(seen.len());
    let last = seen.iter().rposition(|outcome| *outcome == before).unwrap_or_default();
    let while_changing = &seen[first.min(last)..first.max(last)];
    let is_bad = |outcome: &&Outcome| match lane {
        // Workers of before and after a reload serve side by side; a route is there up to a second after what needs it.
        Lane::NginxHost | Lane::NginxDirect => **outcome == Outcome::Other(0),
        // Each provider of Traefik's has its own clock, and a router without its Middleware is closed.
        Lane::TraefikNginx | Lane::Traefik => !matches!(outcome, Outcome::Other(404)),
    };
    let is_other = |outcome: &&Outcome| !matches!(outcome, Outcome::App | Outcome::Login);
    let strange = seen.iter().filter(is_other).find(is_bad);
    ensure!(strange.is_none(), "{strange:?} among {seen:?}");
    let is_mixed = first < last && !lane.is_nginx();
    ensure!(!is_mixed, "{before:?} after {after:?}: {while_changing:?}");
    Ok(())
}

async fn a_deleted_app_leaves_nothing_behind(lane: Lane) -> Result<()> {
    let Guarded { site, app, outpost: _outpost, controller: _controller } = Guarded::new(lane).await?;
    site.scene.delete::<Ingress>("app").await?;
    app.until(&site, "nothing", async |app| Ok(app.ask(&site, "/").await?.status == 404)).await?;
    site.scene.until_names::<Ingress>(&[]).await?;
    site.scene.until_names::<ConfigMap>(&[]).await?;
    until_none::<Middleware>(&site).await?;
    // The app's own Service is not the controller's.
    site.scene.until_names::<Service>(&["app"]).await?;
    ensure!(app.echo.count() == 0, "a stranger reached the app on its way out");
    Ok(())
}

async fn without_its_outpost_an_app_is_closed(lane: Lane) -> Result<()> {
    let mut guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    let mut user = site.stranger();
    user.log_in(&app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
    app.echo.clear();
    guarded.outpost.stop().await;
    for _ in 0..5 {
        for browser in [&mut user, &mut site.stranger()] {
            let response = browser.get(&app.url("/")).await?;
            ensure!(response.status >= 500, "{} without an outpost", response.status);
        }
    }
    ensure!(app.echo.count() == 0, "a request reached the app without an outpost");
    guarded.outpost.restart().await?;
    let (site, app) = (&guarded.site, &guarded.app);
    app.until_login(site, "/").await?;
    ensure!(user.get(&app.url("/")).await?.status == 200, "the session is gone");
    Ok(())
}

async fn without_the_controller_everything_goes_on(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    guarded.controller.kill()?;
    app.is_closed(site).await?;
    leads_back_to(site, &guarded.outpost, &app.url("/a?b=1&c=2"), "/a?b=1&c=2").await
}

async fn no_stranger_gets_in_while_companions_are_deleted_and_repaired(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    let traffic = Traffic::start(site, app);
    for _ in 0..3 {
        // Not on the route through the app's host: see the documentation on what a lost route does there.
        if lane != Lane::NginxHost {
            delete_companions::<Ingress>(site).await?;
        }
        delete_companions::<Service>(site).await?;
        delete_companions::<ConfigMap>(site).await?;
        delete_companions::<Middleware>(site).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    app.until_login(site, "/").await?;
    let seen = traffic.stop().await?;
    ensure!(!seen.contains(&Outcome::App), "a stranger got in: {seen:?}");
    // Without a route nginx asks about the outpost's own paths as well, and the outpost lets those pass.
    let reached = app.echo.requests().into_iter().map(|echoed| echoed.request.target);
    let reached: Vec<String> = reached.filter(|target| !target.starts_with(OUTPOST_PATH)).collect();
    ensure!(reached.is_empty(), "a stranger reached {reached:?}");
    eventually("a login that works", PATIENCE, || async {
        leads_back_to(site, &guarded.outpost, &app.url("/x"), "/x").await.map(Some)
    })
    .await
}

async fn a_lost_route_comes_back(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    // The controller is quicker than the data planes, which might never know otherwise.
    guarded.controller.pause()?;
    delete_companions::<Ingress>(site).await?;
    until_routed(site, app, false).await?;
    guarded.controller.resume()?;
    site.scene.until_names::<Ingress>(&["app", "app-outpost-path"]).await?;
    until_routed(site, app, true).await?;
    app.until_login(site, "/").await?;
    leads_back_to(site, &guarded.outpost, &app.url("/x"), "/x").await
}

/// Waits until the data plane routes the outpost path of `app`, or does not. Of nginx without a route nothing is asked: on the way
/// through the app's host it would ask itself, again and again.
async fn until_routed(site: &Site, app: &App, is_wanted: bool) -> Result<()> {
    if !site.lane.is_nginx() {
        let ping = format!("{OUTPOST_PATH}/ping");
        let is_so = async |app: &App| Ok((app.ask(site, &ping).await?.status == 204) == is_wanted);
        return app.until(site, "the outpost path", is_so).await;
    }
    let location = format!("location {OUTPOST_PATH}");
    app.until_nginx_has(site, "the outpost path", |server| server.contains(&location) == is_wanted).await
}

/// Deletes what the controller made of a kind.
async fn delete_companions<K>(site: &Site) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let list = site.scene.api::<K>().list(&kube::api::ListParams::default().labels(OURS)).await?;
    for object in list.items {
        site.scene.delete::<K>(&object.name_any()).await?;
    }
    Ok(())
}

/// Label of what the controller made.
const OURS: &str = "app.kubernetes.io/managed-by=ingress-sso";

async fn until_none<K>(site: &Site) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    site.scene.until_names::<K>(&[]).await
}
