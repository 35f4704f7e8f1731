//! One app behind a data plane.

use crate::site::Site;
use anyhow::{Context, Result, bail, ensure};
use ingress_sso_testbed::builders::{IngressBuilder, ingress, service_to};
use ingress_sso_testbed::echo::{Echo, Echoed};
use ingress_sso_testbed::http::Response;
use ingress_sso_testbed::ingress_nginx::OVERLAP;
use ingress_sso_testbed::outpost::{Outpost, User};
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, PATIENCE, annotation};
use ingress_sso_testbed::wait::{eventually, steadily};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use std::net::SocketAddrV4;
use std::time::Duration;
use url::Url;

/// An app with a host, and the server behind it.
pub(crate) struct App {
    /// Name of its Ingress and its Service.
    pub(crate) name: String,
    /// Its first host.
    pub(crate) host: String,
    /// What answers for it, and remembers what reached it.
    pub(crate) echo: Echo,
}

impl App {
    /// Installs an app without protection and waits until its data plane serves it; `change` is what its Ingress has beyond
    /// one host, in the usual form.
    pub(crate) async fn open(
        site: &Site,
        name: &str,
        change: impl FnOnce(IngressBuilder) -> IngressBuilder,
    ) -> Result<Self> {
        let app = Self::backend(site, name).await?;
        site.scene.create::<Ingress>(change(app.ingress(site)).build()).await?;
        app.until_served(site).await?;
        Ok(app)
    }

    /// Everything but the Ingress.
    pub(crate) async fn backend(site: &Site, name: &str) -> Result<Self> {
        let address = SocketAddrV4::new(site.address(), 8080);
        let echo = Echo::start(address.into()).await?;
        let (service, endpoints) = service_to(site.scene.namespace(), name, address);
        site.scene.create::<Service>(service).await?;
        site.scene.create::<EndpointSlice>(endpoints).await?;
        Ok(Self { name: name.to_owned(), host: site.host(name), echo })
    }

    /// The Ingress of the usual form: one host, one path.
    pub(crate) fn ingress(&self, site: &Site) -> IngressBuilder {
        ingress(site.scene.namespace(), &self.name).class(site.lane.class()).host(&self.host)
    }

    /// The URL of a path of the app.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.host)
    }

    /// Waits until strangers get to the app.
    pub(crate) async fn until_served(&self, site: &Site) -> Result<()> {
        self.until(site, "the open app", async |app| {
            app.ask(site, "/").await.map(|answer| answer.status == 200)
        })
        .await
    }

    /// Asks for protection, and waits until the controller says that it stands and strangers are sent to log in.
    pub(crate) async fn protect(&self, site: &Site) -> Result<()> {
        site.scene.annotate(&self.name, OPT_IN, Some("true")).await?;
        site.scene.until_protected(&self.name).await?;
        self.until_login(site, "/").await
    }

    /// Waits until strangers who ask for `path` come to authentik's login.
    pub(crate) async fn until_login(&self, site: &Site, path: &str) -> Result<()> {
        self.until(site, "a login", async |app| {
            let answer = app.ask(site, path).await?;
            let location = answer.header("location").filter(|_| is_login(&answer));
            let Some(location) = location else { bail!("{}", answer.status) };
            // nginx first sends to the outpost, which is there up to a second later than what sends there.
            let start =
                if location.contains("/start?") { site.stranger().get(location).await? } else { answer };
            Ok(is_login(&start))
        })
        .await
    }

    /// Waits until `is_so` holds, and goes on to hold for as long as workers of nginx live on that a reload replaces.
    pub(crate) async fn until(
        &self,
        site: &Site,
        what: &str,
        is_so: impl AsyncFn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let overlap = if site.lane.is_nginx() { OVERLAP } else { Duration::ZERO };
        steadily(format!("{what} at {}", self.host), overlap, PATIENCE, || is_so(self)).await
    }

    /// Waits until nginx's configuration of the app's host is so, and all workers go by it; without a request.
    pub(crate) async fn until_nginx_has(
        &self,
        site: &Site,
        what: &str,
        is_so: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let start = format!("## start server {}\n", self.host);
        eventually(format!("{what} in nginx's configuration of {}", self.host), PATIENCE, || async {
            let configuration = site.stage.nginx.configuration()?;
            let (_, server) = configuration.split_once(&start).context("no server for the host")?;
            let (server, _) = server.split_once("## end server").context("it does not end")?;
            Ok(is_so(server).then_some(()))
        })
        .await?;
        tokio::time::sleep(2 * OVERLAP).await;
        Ok(())
    }

    /// What a stranger gets at `path`.
    pub(crate) async fn ask(&self, site: &Site, path: &str) -> Result<Response> {
        site.stranger().get(&self.url(path)).await
    }

    /// A stranger who asks for `/` has to be sent to log in, and nothing may reach the app.
    pub(crate) async fn is_closed(&self, site: &Site) -> Result<()> {
        let before = self.echo.count();
        let response = site.stranger().get(&self.url("/")).await?;
        ensure!(is_login(&response), "not a login but {}: {}", response.status, response.text());
        ensure!(self.echo.count() == before, "a stranger reached the app");
        Ok(())
    }
}

/// Whether an answer sends the visitor to log in: at once to authentik, or first to the outpost.
pub(crate) fn is_login(response: &Response) -> bool {
    let location = response.header("location").unwrap_or_default();
    let Ok(url) = Url::parse(location) else { return false };
    let is_start = url.path() == "/outpost.goauthentik.io/start";
    response.status == 302 && (is_start || url.path() == "/application/o/authorize/")
}

/// A stranger who asks for `url` can log in at `outpost`, and the app is then asked for `wanted`.
pub(crate) async fn leads_back_to(site: &Site, outpost: &Outpost, url: &str, wanted: &str) -> Result<()> {
    let response = site.stranger().log_in(url, outpost, &User::new("alice", &[])).await?;
    let echoed: Echoed = response.json()?;
    ensure!(echoed.request.target == wanted, "the app was asked for {:?}", echoed.request.target);
    Ok(())
}

/// What the controller says on an Ingress about why it is not protected.
pub(crate) fn message(ingress: &Ingress) -> Result<&str> {
    annotation(ingress, MESSAGE).context("no message")
}
