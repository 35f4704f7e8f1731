//! Knocking at the doors that the data planes really have.

use crate::app::App;
use crate::lane::Lane;
use crate::site::{Guarded, PROGRAM, Site, unasked_by_probe};
use crate::traefik::clone_for_traefik;
use crate::{Trials, add};
use anyhow::{Context, Result, ensure};
use ingress_sso::config::Scheme;
use ingress_sso::contract::ROUTER_MIDDLEWARES;
use ingress_sso::facts::Host;
use ingress_sso::knock::{Door, Grade, MAX_KNOCKS, Report, TRICKS, Through, Verdict, knock};
use ingress_sso::probe::Trust;
use ingress_sso_testbed::network;
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider};
use ingress_sso_testbed::scene::PATIENCE;
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use std::net::Ipv4Addr;
use std::process::Command;
use tokio::task::spawn_blocking;

pub(crate) fn add(trials: &mut Trials, lane: Lane) {
    add!(
        trials,
        lane,
        knock_finds_a_protected_app_closed,
        knock_finds_an_open_app_open,
        knock_tells_what_is_wrong_with_the_login,
        the_doctor_knocks_where_it_is_asked_to,
    );
    if lane == Lane::NginxDirect {
        add!(trials, lane, knock_finds_a_clone_for_traefik_open_to_x_original_url);
    }
}

fn through(scheme: Scheme, address: Ipv4Addr) -> Through {
    let port = if scheme == Scheme::Https { 443 } else { 80 };
    Through { scheme, host: address.to_string(), port }
}

async fn knock_through(app: &App, through: &Through) -> Result<Report> {
    let host = Host::parse(&app.host).context("no host")?;
    Ok(knock(&Door::through(host, through), &Trust::default()).await)
}

/// Knocks where browsers would: the host's name leads to the data plane.
async fn knock_at(app: &App) -> Result<Report> {
    let host = Host::parse(&app.host).context("no host")?;
    Ok(knock(&Door::new(host, Scheme::Https), &Trust::default()).await)
}

async fn knock_finds_a_protected_app_closed(lane: Lane) -> Result<()> {
    for flavour in [Flavour::Rust, Flavour::Go] {
        // The outposts before authentik 2025.12.5 believe X-Original-URI; what protects has to hold with them too.
        let old = |provider| Provider { believes_x_original_uri: flavour == Flavour::Go, ..provider };
        let Guarded { site, app, outpost, controller: _controller } =
            Guarded::with(lane, flavour, old, |ingress| ingress).await?;
        for scheme in [Scheme::Https, Scheme::Http] {
            let door = through(scheme, site.lane.address());
            let what = format!("{flavour:?} {scheme}");
            let report = until_closed(&what, &app, async || knock_through(&app, &door).await).await?;
            ensure!(report.tricks.len() == TRICKS.len());
        }
        let what = format!("{flavour:?} by its name");
        let report = until_closed(&what, &app, async || {
            outpost.clear();
            knock_at(&app).await
        })
        .await?;
        let error = report.certificate.context("a certificate that nobody signed is accepted")?;
        ensure!(error.contains("UnknownIssuer") || error.contains("certificate"), "{error}");
        ensure!(app.echo.count() == 0, "a knock reached the app");
        has_sent_no_secret(&outpost)?;
    }
    Ok(())
}

/// For some milliseconds after each reload nginx answers 503 where it has yet to resolve a name, and it reloads for every test. No
/// knock may get in meanwhile.
async fn until_closed(what: &str, app: &App, knock: impl AsyncFn() -> Result<Report>) -> Result<Report> {
    eventually(format!("a closed door: {what}"), PATIENCE, || async {
        let report = knock().await?;
        let opens = report.tricks.iter().any(|(_, verdict)| matches!(verdict, Verdict::Opens { .. }));
        if opens || app.echo.count() > 0 {
            return Ok(Some(Err(report)));
        }
        ensure!(report.is_closed(), "{:#?}", report.findings());
        Ok(Some(Ok(report)))
    })
    .await?
    .map_err(|report| anyhow::anyhow!("{what}: a knock got in: {:#?}", report.findings()))
}

fn has_sent_no_secret(outpost: &Outpost) -> Result<()> {
    let requests = unasked_by_probe(outpost);
    // A knock reaches the outpost by itself or as the auth check for it, and never as both.
    ensure!(!requests.is_empty() && requests.len() <= MAX_KNOCKS, "{} requests", requests.len());
    for recorded in &requests {
        let request = &recorded.request;
        let is_secret = |name: &str| ["cookie", "authorization"].contains(&name.to_lowercase().as_str());
        ensure!(!request.headers.iter().any(|(name, _)| is_secret(name)), "{request:?}");
        ensure!(
            !request.target.contains("/callback") && !request.target.contains("/sign_out"),
            "{request:?}"
        );
    }
    Ok(())
}

async fn knock_finds_an_open_app_open(lane: Lane) -> Result<()> {
    let site = Site::new(lane).await?;
    let app = App::open(&site, "app", |ingress| ingress).await?;
    let report = eventually("a door that is found open", PATIENCE, || async {
        app.echo.clear();
        let report = knock_at(&app).await?;
        ensure!(report.baseline.reason() == "Open", "{}", report.baseline);
        Ok(Some(report))
    })
    .await?;
    let first = report.findings().into_iter().next().context("nothing found")?;
    ensure!(first.reason == "Open" && first.grade == Grade::Wrong, "{first}");
    ensure!(first.text.contains("OPEN") && report.tricks.is_empty() && !report.is_closed(), "{first}");
    ensure!(app.echo.count() == 1, "it was asked {} times", app.echo.count());
    Ok(())
}

async fn knock_tells_what_is_wrong_with_the_login(lane: Lane) -> Result<()> {
    let mut guarded = Guarded::new(lane).await?;
    let other = Provider::forward_single("https://other.test")?;
    guarded.outpost.set_providers(vec![other]);
    // Of the outpost's 400, nginx makes a 500 of its own.
    let expected = if lane.is_nginx() { "AuthCheckFailed" } else { "NoProvider" };
    until_found("without a provider", expected, &guarded.app).await?;

    guarded.outpost.stop().await;
    until_found("without an outpost", "AuthCheckFailed", &guarded.app).await?;

    guarded.site.scene.delete::<Ingress>("app").await?;
    let site = &guarded.site;
    guarded.app.until(site, "nothing", async |app| Ok(app.ask(site, "/").await?.status == 404)).await?;
    let report = until_found("without an Ingress", "NotFound", &guarded.app).await?;
    let by = if lane.is_nginx() { "in the words of nginx" } else { "in the words of Traefik" };
    ensure!(report.baseline.to_string().contains(by), "{}", report.baseline);
    Ok(())
}

/// Knocks until that is found, again after a reload of nginx as in [`until_closed`]. Nobody may get in meanwhile.
async fn until_found(what: &str, reason: &str, app: &App) -> Result<Report> {
    eventually(format!("{reason} {what}"), PATIENCE, || async {
        let report = knock_at(app).await?;
        if let Err(got_in) = nobody_got_in(&report, app) {
            return Ok(Some(Err(got_in)));
        }
        ensure!(report.baseline.reason() == reason, "{}", report.baseline);
        Ok(Some(Ok(report)))
    })
    .await?
}

fn nobody_got_in(report: &Report, app: &App) -> Result<()> {
    let open = report.tricks.iter().find(|(_, verdict)| verdict.grade() == Grade::Wrong);
    ensure!(open.is_none() && !report.is_closed(), "{open:?}");
    ensure!(app.echo.count() == 0, "a knock reached the app");
    Ok(())
}

async fn knock_finds_a_clone_for_traefik_open_to_x_original_url(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    guarded.controller.kill()?;
    clone_for_traefik(&guarded).await?;
    let through = through(Scheme::Https, network::TRAEFIK);
    let report = eventually("the hole", PATIENCE, || async {
        let report = knock_through(&guarded.app, &through).await?;
        Ok((report.baseline.reason() == "HeaderLost").then_some(report))
    })
    .await?;
    let open: Vec<String> = report
        .findings()
        .into_iter()
        .filter(|found| found.reason == "TrickOpens")
        .map(|found| found.text)
        .collect();
    ensure!(open.len() == 1 && open[0].contains("X-Original-URL"), "{:#?}", report.findings());
    ensure!(open[0].contains("OPEN: the answer is 200") && open[0].contains("traefik-nginx"), "{open:?}");
    ensure!(guarded.app.echo.count() > 0, "it is not open");
    guarded.app.echo.clear();
    until_closed("through nginx", &guarded.app, async || knock_at(&guarded.app).await).await?;
    ensure!(guarded.app.echo.count() == 0, "through nginx it is open as well");
    Ok(())
}

/// What the doctor says of the door of the app, with these arguments besides.
async fn doctor_at_the_door(site: &Site, host: &str, args: &[String]) -> Result<String> {
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "app", "-n", site.scene.namespace()]).args(args);
    command.env("KUBECONFIG", site.scene.plane().kubeconfig());
    // This thread has the outpost to serve meanwhile.
    let output = spawn_blocking(move || command.output()).await??;
    let text = String::from_utf8(output.stdout)?;
    let of_door = format!(" door {host}: ");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&of_door)).collect();
    ensure!(!lines.is_empty() || !args.iter().any(|arg| arg == "--through"), "{text}");
    Ok(lines.join("\n"))
}

async fn the_doctor_knocks_where_it_is_asked_to(lane: Lane) -> Result<()> {
    let guarded = Guarded::new(lane).await?;
    let (site, host) = (&guarded.site, &guarded.app.host);
    let arguments =
        [site.outposts(&["main"]), lane.arguments().iter().map(ToString::to_string).collect()].concat();
    let doctor = async |more: &[&str]| {
        let more = more.iter().map(ToString::to_string);
        doctor_at_the_door(site, host, &arguments.iter().cloned().chain(more).collect::<Vec<_>>()).await
    };
    ensure!(doctor(&[]).await?.is_empty(), "it knocks without being asked to");

    let login = format!("✓ door {host}: https://{host}/ leads to the login at ");
    let tricks = format!("✓ door {host}: {0} of {0} tricks", TRICKS.len());
    // Again after a reload of nginx, as in `until_closed`, but never where somebody got in.
    let got_in = eventually("a door that the doctor finds closed", PATIENCE, || async {
        let closed = doctor(&["--through"]).await?;
        if closed.contains("OPEN") || guarded.app.echo.count() > 0 {
            return Ok(Some(Some(closed)));
        }
        let is_closed = closed.contains(&login) && closed.contains(&tricks) && !closed.contains('✗');
        ensure!(is_closed, "{closed}");
        Ok(Some(None))
    })
    .await?;
    ensure!(got_in.is_none(), "{got_in:?}");

    // Somewhere else nobody listens.
    let address = format!("https://{}:9", lane.address());
    let away = doctor(&["--through", &address]).await?;
    ensure!(away.contains(&format!("✗ door {host}: https://{host}/ cannot be reached")), "{away}");

    guarded.controller.kill()?;
    let keys = ["nginx.ingress.kubernetes.io/auth-url", ROUTER_MIDDLEWARES];
    for key in keys {
        site.scene.annotate("app", key, None).await?;
    }
    guarded.app.until_served(site).await?;
    eventually("a door that the doctor finds open", PATIENCE, || async {
        let open = doctor(&["--through"]).await?;
        ensure!(open.contains(&format!("✗ door {host}: OPEN: https://{host}/ answers 200")), "{open}");
        Ok(Some(()))
    })
    .await
}
