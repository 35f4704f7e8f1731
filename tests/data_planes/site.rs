//! Where one test happens: a namespace with outposts, apps and a controller of its own.

use crate::app::App;
use crate::lane::Lane;
use crate::stage::Stage;
use anyhow::Result;
use ingress_sso_testbed::browser::Browser;
use ingress_sso_testbed::builders::IngressBuilder;
use ingress_sso_testbed::controller::Controller;
use ingress_sso_testbed::ingress_nginx::OVERLAP;
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider, Recorded};
use ingress_sso_testbed::scene::Scene;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");

/// See the module's documentation.
pub(crate) struct Site {
    pub(crate) stage: &'static Stage,
    pub(crate) lane: Lane,
    pub(crate) scene: Scene,
    number: u8,
    /// Last part of the next address.
    next: AtomicU8,
}

/// The usual site: one protected app with its outpost and its controller.
pub(crate) struct Guarded {
    pub(crate) site: Site,
    pub(crate) app: App,
    pub(crate) outpost: Outpost,
    pub(crate) controller: Controller,
}

impl Site {
    pub(crate) async fn new(lane: Lane) -> Result<Self> {
        let stage = Stage::get().await?;
        let scene = Scene::new(PROGRAM).await?;
        Ok(Self { stage, lane, scene, number: stage.number(), next: AtomicU8::new(1) })
    }

    /// An address that nobody has yet.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Stage::address(self.number, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The host `label` of this site, which leads to its data plane.
    pub(crate) fn host(&self, label: &str) -> String {
        let host = format!("{label}-{}.{}.test", self.number, self.lane);
        self.stage.dns.set(&host, self.lane.address());
        host
    }

    /// A browser without cookies.
    pub(crate) fn stranger(&self) -> Browser {
        let browser = Browser::new(self.lane.address().into());
        // All scenes of a lane share one nginx, which reloads for each of them.
        if self.lane.is_nginx() { browser.patient(OVERLAP) } else { browser }
    }

    /// Where the data plane takes https.
    pub(crate) fn https(&self) -> SocketAddr {
        SocketAddr::new(self.lane.address().into(), 443)
    }

    /// Starts the outpost `name` with these providers.
    pub(crate) async fn outpost(&self, name: &str, providers: Vec<Provider>) -> Result<Outpost> {
        self.outpost_of(Flavour::Rust, name, providers).await
    }

    /// The same in this flavour.
    pub(crate) async fn outpost_of(
        &self,
        flavour: Flavour,
        name: &str,
        providers: Vec<Provider>,
    ) -> Result<Outpost> {
        let address = self.address();
        self.stage.dns.set(&self.outpost_host(name), address);
        Outpost::start(SocketAddr::new(address.into(), 9000), flavour, providers).await
    }

    /// Starts a controller that knows the outposts `names`, and asks them.
    pub(crate) async fn controller(&self, names: &[&str], arguments: &[&str]) -> Result<Controller> {
        let outposts = self.outposts(names);
        let outposts: Vec<&str> = outposts.iter().map(String::as_str).collect();
        self.scene
            .controller_with(&[&outposts, self.lane.arguments(), &["--probe=true"], arguments].concat())
            .await
    }

    /// Arguments that name these outposts.
    pub(crate) fn outposts(&self, names: &[&str]) -> Vec<String> {
        let argument = |name: &&str| format!("--outpost={name}=http://{}:9000", self.outpost_host(name));
        names.iter().map(argument).collect()
    }

    fn outpost_host(&self, name: &str) -> String {
        format!("ak-outpost-{name}.{}.svc.cluster.local", self.scene.namespace())
    }
}

/// What `outpost` was asked, but by the probe of the controller, which asks again whenever it likes.
pub(crate) fn unasked_by_probe(outpost: &Outpost) -> Vec<Recorded> {
    let is_probe = |recorded: &Recorded| {
        recorded.request.header("User-Agent").is_some_and(|agent| agent.ends_with(" (probe)"))
    };
    outpost.requests().into_iter().filter(|recorded| !is_probe(recorded)).collect()
}

impl Guarded {
    /// One protected app, `app`, guarded by the outpost `main` of authentik's present release.
    pub(crate) async fn new(lane: Lane) -> Result<Self> {
        Self::with(lane, Flavour::Rust, |provider| provider, |ingress| ingress).await
    }

    /// The same with changes to the provider and to the app's Ingress.
    pub(crate) async fn with(
        lane: Lane,
        flavour: Flavour,
        provider: impl FnOnce(Provider) -> Provider,
        change: impl FnOnce(IngressBuilder) -> IngressBuilder,
    ) -> Result<Self> {
        let site = Site::new(lane).await?;
        let app = App::open(&site, "app", change).await?;
        let provider = provider(Provider::forward_single(&app.url(""))?);
        let outpost = site.outpost_of(flavour, "main", vec![provider]).await?;
        let controller = site.controller(&["main"], &[]).await?;
        app.protect(&site).await?;
        app.echo.clear();
        outpost.clear();
        Ok(Self { site, app, outpost, controller })
    }
}
