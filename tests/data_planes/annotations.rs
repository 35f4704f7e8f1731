//! What annotations of people's own do on ingress-nginx, for which the controller refuses an app or warns of it.
//!
//! One for which it refuses is written to an app that is protected, once the controller is gone: to nginx that is an Ingress that
//! somebody wired by hand.

use crate::app::{App, is_login};
use crate::lane::Lane;
use crate::site::{Guarded, Site};
use crate::{Trials, add};
use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::browser::Browser;
use ingress_sso_testbed::builders::service_to;
use ingress_sso_testbed::echo::{Echo, Echoed};
use ingress_sso_testbed::fastcgi::FastCgi;
use ingress_sso_testbed::http::{Request, Response};
use ingress_sso_testbed::ingress_nginx::OVERLAP;
use ingress_sso_testbed::outpost::{Flavour, Provider, User};
use ingress_sso_testbed::scene::PATIENCE;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use regex::Regex;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicUsize, Ordering};
use url::Url;

pub(crate) fn add(trials: &mut Trials) {
    for lane in [Lane::NginxHost, Lane::NginxDirect] {
        add!(
            trials,
            lane,
            answers_that_nginx_keeps_let_strangers_in_as_somebody_else,
            an_answer_for_an_open_path_that_nginx_keeps_opens_the_others,
            values_that_nginx_does_not_allow_leave_out_the_login,
            a_path_that_nginx_exempts_is_open,
            over_fastcgi_whoever_is_logged_in_can_pass_for_anybody,
            where_nginx_looks_at_errors_a_401_of_the_app_leads_to_the_login,
            copies_of_requests_carry_what_the_client_said_of_itself,
        );
    }
}

const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Writes an annotation of ingress-nginx, or takes it away.
async fn annotate(site: &Site, name: &str, value: Option<&str>) -> Result<()> {
    site.scene.annotate("app", &format!("{PREFIX}/{name}"), value).await?;
    Ok(())
}

/// A browser in which alice is logged in.
async fn alice(guarded: &Guarded) -> Result<Browser> {
    let mut browser = guarded.site.stranger();
    browser.log_in(&guarded.app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
    Ok(browser)
}

/// What comes of a request that says it were of `admin`.
async fn as_admin(browser: &mut Browser, app: &App, path: &str) -> Result<Response> {
    let url = app.url(path);
    let request = Request::to("GET", &Url::parse(&url)?).header("X-authentik-username", "admin");
    browser.send(&url, request).await
}

/// Who the app was told its visitor is.
fn users(response: &Response) -> Result<Vec<String>> {
    let echoed: Echoed = response.json()?;
    Ok(echoed.request.headers("x-authentik-username").into_iter().map(str::to_owned).collect())
}

/// Has nginx keep answers under `key`, and waits until `is_open` holds. The first answer decides, which may be one of before:
/// so each try has a key of its own.
async fn keep_answers(guarded: &Guarded, key: &str, is_open: impl AsyncFn() -> Result<()>) -> Result<()> {
    let (site, app) = (&guarded.site, &guarded.app);
    guarded.controller.kill()?;
    let tries = AtomicUsize::new(0);
    eventually("an answer that was kept", PATIENCE, || async {
        let key = format!("{key}-{}", tries.fetch_add(1, Ordering::Relaxed));
        annotate(site, "auth-cache-key", Some(&key)).await?;
        let is_set = |line: &str| line.contains("set $tmp_cache_key ") && line.contains(&key);
        app.until_nginx_has(site, "a cache of answers", |server| server.lines().any(is_set)).await?;
        is_open().await.map(Some)
    })
    .await
}

async fn answers_that_nginx_keeps_let_strangers_in_as_somebody_else(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    let alice = alice(&guarded).await?;
    app.is_closed(site).await?;
    keep_answers(&guarded, "$remote_user$http_authorization", async || {
        ensure!(users(&alice.clone().get(&app.url("/")).await?)? == ["alice"]);
        let stolen = app.ask(site, "/secret").await?;
        ensure!(stolen.status == 200, "it is closed: {}", stolen.status);
        ensure!(users(&stolen)? == ["alice"], "{}", stolen.text());
        Ok(())
    })
    .await
}

async fn an_answer_for_an_open_path_that_nginx_keeps_opens_the_others(lane: Lane) -> Result<()> {
    let public = Regex::new("^/public$")?;
    let open = |provider: Provider| Provider { skip_paths: vec![public], ..provider };
    let guarded = Guarded::with(lane, Flavour::Rust, open, |ingress| ingress).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    app.is_closed(site).await?;
    keep_answers(&guarded, "$http_cookie", async || {
        ensure!(app.ask(site, "/public").await?.status == 200);
        let secret = app.ask(site, "/secret").await?;
        ensure!(secret.status == 200, "it is closed: {}", secret.status);
        Ok(())
    })
    .await
}

/// Also past the admission webhook.
async fn values_that_nginx_does_not_allow_leave_out_the_login(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    guarded.controller.kill()?;
    for (name, right, wrong) in [
        ("auth-always-set-cookie", "true", "yes"),
        ("auth-cache-duration", "200 202 5m", "200 5m; 401 1m"),
        ("auth-request-redirect", "https://app.test/x?a=b", "https://app.test$request_uri"),
    ] {
        annotate(site, name, Some(wrong)).await?;
        app.until_served(site).await.with_context(|| format!("{name}: {wrong}"))?;
        annotate(site, name, Some(right)).await?;
        app.until_login(site, "/").await.with_context(|| format!("{name}: {right}"))?;
    }
    Ok(())
}

async fn a_path_that_nginx_exempts_is_open(lane: Lane) -> Result<()> {
    const EXEMPT: &str = "/.well-known/acme-challenge/mine";
    let with_path = |ingress: ingress_sso_testbed::builders::IngressBuilder| {
        ingress.path("/", "Prefix").path(EXEMPT, "ImplementationSpecific")
    };
    let guarded = Guarded::with(lane, Flavour::Rust, |provider| provider, with_path).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    let event = site.scene.until_event("app", "NoAuthLocation").await?;
    ensure!(event.note.as_ref().is_some_and(|note| note.contains(EXEMPT)), "{event:?}");
    app.is_closed(site).await?;
    for closed in ["/.well-known/acme-challenge/other", "/.well-known/"] {
        ensure!(is_login(&app.ask(site, closed).await?), "{closed} is open");
    }
    for open in [EXEMPT.to_owned(), format!("{EXEMPT}/below")] {
        let answer = as_admin(&mut site.stranger(), app, &open).await?;
        ensure!(answer.status == 200, "{open}: {}", answer.status);
        ensure!(users(&answer)? == ["admin"], "{}", answer.text());
    }
    Ok(())
}

async fn over_fastcgi_whoever_is_logged_in_can_pass_for_anybody(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    let address = SocketAddrV4::new(site.address(), 9000);
    let _fastcgi = FastCgi::start(address.into()).await?;
    let (service, endpoints) = service_to(site.scene.namespace(), "fastcgi", address);
    site.scene.create::<Service>(service).await?;
    site.scene.create::<EndpointSlice>(endpoints).await?;
    let backend = json!({ "service": { "name": "fastcgi", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    let change = json!({
        "metadata": { "annotations": { format!("{PREFIX}/backend-protocol"): "FCGI" } },
        "spec": { "rules": [{ "host": app.host, "http": { "paths": paths } }] },
    });
    site.scene.edit::<Ingress>("app", &change).await?;
    site.scene.until_event("app", "ForgeableIdentity").await?;
    site.scene.until_protected("app").await?;

    let params: BTreeMap<String, String> = eventually("an answer of FastCGI", PATIENCE, || async {
        let mut alice = site.stranger();
        alice.log_in(&app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
        Ok(Some(as_admin(&mut alice, app, "/").await?.json()?))
    })
    .await?;
    ensure!(params.get("HTTP_X_AUTHENTIK_USERNAME").is_some_and(|user| user == "admin"), "{params:?}");
    ensure!(is_login(&app.ask(site, "/").await?), "a stranger is let in");
    Ok(())
}

async fn where_nginx_looks_at_errors_a_401_of_the_app_leads_to_the_login(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    let mut alice = alice(&guarded).await?;
    let error = app.url("/?respond_status=401");
    ensure!(alice.get(&error).await?.status == 401);
    annotate(site, "custom-http-errors", Some("404,503")).await?;
    site.scene.until_event("app", "LoginLoop").await?;
    eventually("a login for who is logged in", PATIENCE, || async {
        let mut alice = site.stranger();
        alice.log_in(&app.url("/"), &guarded.outpost, &User::new("alice", &[])).await?;
        Ok(is_login(&alice.get(&error).await?).then_some(()))
    })
    .await?;
    // 401 in the list changes nothing of that, nor of the login of strangers.
    annotate(site, "custom-http-errors", Some("401")).await?;
    app.until_login(site, "/").await?;
    ensure!(is_login(&alice.get(&error).await?));
    Ok(())
}

async fn copies_of_requests_carry_what_the_client_said_of_itself(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, app) = (&guarded.site, &guarded.app);
    let mirror = Echo::start(SocketAddrV4::new(site.address(), 8080).into()).await?;
    annotate(site, "mirror-target", Some(&format!("http://{}$request_uri", mirror.address()))).await?;
    site.scene.until_event("app", "Mirror").await?;
    let mut alice = alice(&guarded).await?;
    let copy = eventually("a copy", PATIENCE, || async {
        let requests = mirror.requests();
        let is_forged = |copy: &&Echoed| copy.request.headers("x-authentik-username") == ["admin"];
        Ok(requests.iter().find(is_forged).cloned())
    });
    let (copy, answer) = tokio::join!(copy, async {
        // The first requests may come before the annotation does.
        let mut answer = as_admin(&mut alice, app, "/").await;
        for _ in 0..10 {
            tokio::time::sleep(OVERLAP).await;
            answer = as_admin(&mut alice, app, "/").await;
        }
        answer
    });
    ensure!(copy?.request.header("cookie").is_some(), "without cookies");
    ensure!(users(&answer?)? == ["alice"], "the app itself is told so, too");
    mirror.clear();
    app.is_closed(site).await?;
    ensure!(mirror.count() == 0, "there are copies of what strangers ask for");
    Ok(())
}
