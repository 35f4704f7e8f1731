//! The main job, for people to watch: real requests through a real ingress controller to an app that asks for protection
//! and gets it, and takes the request back. Ends with an error if a step does not happen.
//!
//! Arguments: the `ingress-sso` program, and `nginx` or `traefik`; without the second, nginx where it can be had.

mod cluster;
mod data_plane;
mod print;
mod visitors;

use anyhow::{Context, Result, ensure};
use cluster::{APP, APP_ADDRESS, Cluster, HOST, NAMESPACE};
use data_plane::{DataPlane, Running};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::dns::Dns;
use ingress_sso_testbed::echo::Echo;
use ingress_sso_testbed::network::{self, Network};
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider};
use ingress_sso_testbed::scene::{OPT_IN, OUTPOST, PATIENCE};
use ingress_sso_testbed::{assets, ingress_nginx, traefik};
use print::{print_object, say, step};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Instant;
use visitors::Visitors;

/// Where the outpost listens, and the name that leads there.
const OUTPOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 201, 1, 1);
const OUTPOST_HOST: &str = "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local";

fn main() -> ExitCode {
    let outcome = asked_for().and_then(|_| network::enter(prepare)).and_then(|network| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match network {
            Network::Inside => runtime.block_on(demo_with_visitors()),
            Network::Unavailable(reason) => {
                eprintln!(
                    "NO REQUESTS WILL BE SENT: ingress controller, app and visitors need a private network of Linux \
                     namespaces, and there is none to be had ({reason}). As root there usually is.\n"
                );
                runtime.block_on(demo(DataPlane::Nginx, None))
            }
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes ahead what the demo cannot do without. nginx is built from what Debian and Ubuntu have; elsewhere Traefik does.
fn prepare() -> Result<()> {
    assets::directory()?;
    match asked_for()? {
        Some(DataPlane::Nginx) => ingress_nginx::prepare(),
        Some(DataPlane::Traefik) => traefik::prepare(),
        None => ingress_nginx::prepare().or_else(|error| {
            eprintln!("There is no ingress-nginx on this machine, so Traefik takes its place: {error:#}");
            traefik::prepare()
        }),
    }
}

fn asked_for() -> Result<Option<DataPlane>> {
    std::env::args().nth(2).filter(|name| !name.is_empty()).map(|name| name.parse()).transpose()
}

/// All of it, in a private network.
async fn demo_with_visitors() -> Result<()> {
    let kind = asked_for()?.unwrap_or_else(DataPlane::at_hand);
    let dns = Dns::start().await?;
    dns.set(OUTPOST_HOST, OUTPOST_ADDRESS);
    dns.set(HOST, kind.address());
    let providers = vec![Provider::forward_single(&format!("https://{HOST}"))?];
    let outpost = Outpost::start((OUTPOST_ADDRESS, 9000).into(), Flavour::Rust, providers).await?;
    let app = Echo::start(APP_ADDRESS.into()).await?;
    demo(kind, Some(&Visitors::new(kind.address(), &outpost, &app))).await
}

async fn demo(kind: DataPlane, visitors: Option<&Visitors<'_>>) -> Result<()> {
    let program = std::env::args().nth(1).context("usage: demo PATH-OF-ingress-sso [nginx|traefik]")?;
    step("Start Kubernetes: etcd, kube-apiserver, kube-controller-manager");
    let plane = ControlPlane::start().await?;
    say(&format!("a real API server listens at {}", plane.url()));
    let data_plane = if visitors.is_some() {
        step(&format!("Start {kind}, and a double of an authentik outpost with a provider for the app"));
        let running = Running::start(kind, &plane).await?;
        say(&format!("a real {kind} at {}; the outpost has external_host https://{HOST}", kind.address()));
        Some(running)
    } else {
        None
    };

    step("Start the controller");
    say(&format!("ingress-sso run --outpost {OUTPOST} {}", kind.arguments().join(" ")));
    let probe = if visitors.is_some() { &["--probe=true"][..] } else { &[] };
    let controller = Controller::builder(&program)
        .kubeconfig(plane.kubeconfig())
        .args(["--outpost", OUTPOST])
        .args(kind.arguments())
        .args(probe)
        .start()?;
    controller.wait_ready(PATIENCE).await?;
    say("ready");

    let outcome = play(&Cluster::new(plane.client()?, kind), visitors).await;
    if outcome.is_err() {
        eprintln!("\nThe controller's log:\n{}", controller.logs()?);
        if let Some(data_plane) = &data_plane {
            eprintln!("\nThe end of the log of {kind}:\n{}", data_plane.end_of_log()?);
        }
    }
    outcome?;

    step("Stop the controller");
    let (status, duration) = controller.terminate(PATIENCE).await?;
    ensure!(status.success(), "the controller ended with {status}");
    say(&format!("it ended cleanly {} ms after SIGTERM", duration.as_millis()));
    println!("\nAll of it happened.");
    Ok(())
}

async fn play(cluster: &Cluster, visitors: Option<&Visitors<'_>>) -> Result<()> {
    step("Install the app: an Ingress that anyone can open");
    let app = cluster.install_app().await?;
    print_object("networking.k8s.io/v1", "Ingress", &app)?;
    if let Some(visitors) = visitors {
        visitors.stranger_gets_in().await?;
    }

    step(&format!("Protect it: kubectl annotate ingress {APP} -n {NAMESPACE} {OPT_IN}=true"));
    let start = Instant::now();
    cluster.annotate(Some("true")).await?;
    let app = cluster.until_protected().await?;
    say(&format!(
        "protected {} ms after the request; what the controller made:",
        start.elapsed().as_millis()
    ));
    cluster.print_companions().await?;
    say("and the app's Ingress now:");
    print_object("networking.k8s.io/v1", "Ingress", &app)?;

    if let Some(visitors) = visitors {
        step("A stranger follows a link into the app");
        visitors.stranger_is_sent_to_log_in().await?;
        step("Alice follows the same link and logs in");
        visitors.user_comes_back_to_the_link().await?;
        step("Mallory, who has an account as well, pretends to be Alice");
        visitors.nobody_passes_for_another().await?;
    }

    step(&format!("Change your mind: kubectl annotate ingress {APP} -n {NAMESPACE} {OPT_IN}-"));
    let start = Instant::now();
    cluster.annotate(None).await?;
    let app = cluster.until_nothing_is_left().await?;
    let after = start.elapsed().as_millis();
    say(&format!("all of it is gone {after} ms later; the app's Ingress is as you wrote it:"));
    print_object("networking.k8s.io/v1", "Ingress", &app)?;
    match visitors {
        Some(visitors) => visitors.stranger_gets_in().await,
        None => Ok(()),
    }
}
