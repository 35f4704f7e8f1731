//! What the controller says of an app by what its outpost answers.

use crate::app::App;
use crate::lane::Lane;
use crate::site::Site;
use crate::{Trials, add};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use ingress_sso_testbed::outpost::{Outpost, Provider};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, PATIENCE, STATUS, annotation, injected};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::{WatchEvent, WatchParams};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How often an app may ask for protection until one write says all.
const TRIES: usize = 50;

/// No host that is served is asked about again in this time: the shortest pause is 30 seconds, less a quarter by chance.
const UNASKED: Duration = Duration::from_secs(20);

pub(crate) fn add(trials: &mut Trials) {
    for lane in [Lane::NginxDirect, Lane::Traefik] {
        add!(
            trials,
            lane,
            one_write_says_that_an_app_is_protected,
            an_app_without_a_provider_is_pending_until_it_has_one,
            a_dead_outpost_is_told_of_and_keeps_nothing_from_being_protected,
            a_silent_outpost_delays_no_protection,
            after_a_restart_nothing_is_written_until_there_is_news,
        );
    }
    for lane in [Lane::NginxHost, Lane::NginxDirect] {
        add!(trials, lane, what_a_forged_host_opens_is_not_called_protected);
    }
    add!(trials, Lane::NginxDirect, many_apps_of_one_outpost_are_each_asked_about_once);
}

/// An app without protection, an outpost that serves it as `provider` says, and a controller.
async fn site(lane: Lane, provider: impl Fn(&App) -> Result<Provider>) -> Result<(Site, App, Outpost)> {
    let site = Site::new(lane).await?;
    let app = App::open(&site, "app", |ingress| ingress).await?;
    let outpost = site.outpost("main", vec![provider(&app)?]).await?;
    Ok((site, app, outpost))
}

fn right(app: &App) -> Result<Provider> {
    Provider::forward_single(&app.url(""))
}

fn other(_: &App) -> Result<Provider> {
    Provider::forward_single("https://other.example.test")
}

async fn opt_in(site: &Site) -> Result<Ingress> {
    site.scene.annotate("app", OPT_IN, Some("true")).await
}

/// The app after each change since it was as `asked`, up to the first with the status `last`.
async fn changes(site: &Site, asked: &Ingress, last: &str) -> Result<Vec<Ingress>> {
    let only = WatchParams::default().fields("metadata.name=app").timeout(60);
    let version = asked.resource_version().context("no version")?;
    let mut watch = site.scene.api::<Ingress>().watch(&only, &version).await?.boxed();
    let mut changes = Vec::new();
    while let Some(change) = watch.try_next().await? {
        let WatchEvent::Modified(ingress) = change else { continue };
        let is_last = annotation(&ingress, STATUS) == Some(last);
        changes.push(ingress);
        if is_last {
            return Ok(changes);
        }
    }
    anyhow::bail!("never {last}: {:?}", statuses(&changes))
}

fn statuses(changes: &[Ingress]) -> Vec<Option<&str>> {
    changes.iter().map(|ingress| annotation(ingress, STATUS)).collect()
}

/// An answer is waited for in vain where the machine is slow: then there are two writes, and the app asks once more.
async fn one_write_says_that_an_app_is_protected(lane: Lane) -> Result<()> {
    let (site, _app, _outpost) = site(lane, right).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    for _ in 0..TRIES {
        let asked = opt_in(&site).await?;
        let changes = changes(&site, &asked, "Protected").await?;
        match statuses(&changes)[..] {
            [Some("Protected")] => return Ok(()),
            [Some("Pending"), Some("Protected")] => {}
            ref other => anyhow::bail!("{other:?}"),
        }
        site.scene.annotate("app", OPT_IN, None).await?;
        site.scene.until_untouched("app").await?;
        site.scene.until_names::<Ingress>(&["app"]).await?;
    }
    anyhow::bail!("never one write in {TRIES} tries")
}

async fn an_app_without_a_provider_is_pending_until_it_has_one(lane: Lane) -> Result<()> {
    let (site, app, outpost) = site(lane, other).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    opt_in(&site).await?;
    // Go's outpost with a single provider is another matter; this one knows no such host.
    let pending = site.scene.until_status("app", "Pending").await?;
    let message = annotation(&pending, MESSAGE).unwrap_or_default();
    ensure!(message.contains(&format!("External host {}", app.url(""))), "{message}");
    let event = site.scene.until_event("app", "NoProvider").await?;
    ensure!(event.type_.as_deref() == Some("Warning"), "{event:?}");

    outpost.set_providers(vec![right(&app)?]);
    let protected = site.scene.until_protected("app").await?;
    ensure!(annotation(&protected, MESSAGE).is_none(), "{:?}", protected.annotations());
    app.until_login(&site, "/").await?;
    let events = site.scene.events("app").await?;
    let warnings = events.iter().filter(|event| event.reason.as_deref() == Some("NoProvider"));
    ensure!(warnings.count() == 1, "{events:?}");
    Ok(())
}

async fn a_dead_outpost_is_told_of_and_keeps_nothing_from_being_protected(lane: Lane) -> Result<()> {
    let (site, app, mut outpost) = site(lane, right).await?;
    outpost.stop().await;
    let _controller = site.controller(&["main"], &[]).await?;
    opt_in(&site).await?;
    site.scene.until_event("app", "OutpostConnectionRefused").await?;
    app.until(&site, "a closed door", async |app| Ok(app.ask(&site, "/").await?.status == 500)).await?;
    outpost.restart().await?;
    site.scene.until_protected("app").await?;
    app.until_login(&site, "/").await
}

async fn a_silent_outpost_delays_no_protection(lane: Lane) -> Result<()> {
    let (site, _app, mut outpost) = site(lane, right).await?;
    outpost.stop().await;
    let silent = TcpListener::bind(outpost.address()).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    let asked = opt_in(&site).await?;
    let changes = changes(&site, &asked, "Pending").await?;
    let [wired] = &changes[..] else { anyhow::bail!("{:?}", statuses(&changes)) };
    let is_wired = !injected(wired).is_empty()
        || wired.annotations().contains_key(ingress_sso::contract::ROUTER_MIDDLEWARES);
    ensure!(is_wired, "{:?}", wired.annotations());
    let message = annotation(wired, MESSAGE).unwrap_or_default();
    ensure!(message.contains("being asked"), "it waited for the outpost: {message}");
    site.scene.until_event("app", "OutpostTimedOut").await?;
    drop(silent);
    Ok(())
}

/// Until the admin says that his ingress-nginx rejects it. What is known of the outpost decides, and not whether it is tried: here
/// nginx rejects it all along.
async fn what_a_forged_host_opens_is_not_called_protected(lane: Lane) -> Result<()> {
    let (site, app, _outpost) = site(lane, right).await?;
    let known = site.outposts(&["main"]);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let controller = site.scene.controller_with(&[&known, &["--probe=true"][..]].concat()).await?;
    opt_in(&site).await?;
    let event = site.scene.until_event("app", "OpenByForgedHost").await?;
    ensure!(event.type_.as_deref() == Some("Warning"), "{event:?}");
    let pending = site.scene.until_status("app", "Pending").await?;
    let message = annotation(&pending, MESSAGE).unwrap_or_default();
    ensure!(message.contains("--nginx-rejects-dot-segments"), "{message}");
    app.until_login(&site, "/").await?;
    controller.terminate(PATIENCE).await?;
    let _controller = site.controller(&["main"], &[]).await?;
    site.scene.until_protected("app").await?;
    Ok(())
}

async fn after_a_restart_nothing_is_written_until_there_is_news(lane: Lane) -> Result<()> {
    let (site, app, outpost) = site(lane, right).await?;
    let controller = site.controller(&["main"], &[]).await?;
    opt_in(&site).await?;
    site.scene.until_protected("app").await?;
    controller.terminate(PATIENCE).await?;
    outpost.clear();
    let controller = site.controller(&["main"], &[]).await?;
    eventually("the outpost to be asked", PATIENCE, || async {
        Ok((!outpost.requests().is_empty()).then_some(()))
    })
    .await?;
    site.scene.stays::<Ingress>("app").await?;
    controller.terminate(PATIENCE).await?;

    // What was wrong before the restart is not said to be right after it.
    outpost.set_providers(vec![other(&app)?]);
    let controller = site.controller(&["main"], &[]).await?;
    site.scene.until_status("app", "Pending").await?;
    controller.terminate(PATIENCE).await?;
    let silent: SocketAddr = outpost.address();
    drop(outpost);
    let listener =
        eventually("the outpost to be gone", PATIENCE, || async { Ok(TcpListener::bind(silent).await.ok()) })
            .await?;
    let before = site.scene.ingress("app").await?;
    let _controller = site.controller(&["main"], &[]).await?;
    let changes = changes(&site, &before, "Pending").await?;
    let message = changes.first().and_then(|first| annotation(first, MESSAGE)).unwrap_or_default();
    ensure!(message.contains("in time"), "written before there was news: {message}");
    drop(listener);
    Ok(())
}

/// On a class that no data plane looks at, since this is about the outpost.
async fn many_apps_of_one_outpost_are_each_asked_about_once(lane: Lane) -> Result<()> {
    const APPS: usize = 80;
    let site = Site::new(lane).await?;
    let domain = Provider::forward_domain("https://login.storm.test", "storm.test")?;
    let outpost = site.outpost("main", vec![domain]).await?;
    let _controller = site.controller(&["main"], &["--class=storm=nginx"]).await?;
    let create = |number: usize| {
        let app = site.scene.opted_in(&format!("app-{number}"), &format!("app-{number}.storm.test"));
        site.scene.create::<Ingress>(app.class("storm"))
    };
    let start = Instant::now();
    stream::iter(0..APPS).map(create).buffer_unordered(8).try_collect::<Vec<_>>().await?;
    for number in 0..APPS {
        site.scene.until_protected(&format!("app-{number}")).await?;
    }
    let mut asked = BTreeMap::<String, u64>::new();
    for recorded in outpost.requests() {
        *asked.entry(recorded.host).or_default() += 1;
    }
    // Ping, auth check, login, a path and a header. Where the machine is slow, a host may have had its next turn by now.
    let turns = 1 + start.elapsed().as_secs() / UNASKED.as_secs();
    let often = asked.iter().find(|(_, count)| !(5..=5 * turns).contains(*count));
    ensure!(asked.len() == APPS && often.is_none(), "{} hosts, {often:?}", asked.len());
    Ok(())
}
