//! Those who come to the app, and what they get.

use crate::cluster::HOST;
use crate::print::say;
use anyhow::{Context, Result, bail, ensure};
use ingress_sso_testbed::browser::Browser;
use ingress_sso_testbed::echo::{Echo, Echoed};
use ingress_sso_testbed::http::{Request, Response};
use ingress_sso_testbed::ingress_nginx::OVERLAP;
use ingress_sso_testbed::outpost::{Outpost, User};
use ingress_sso_testbed::scene::PATIENCE;
use ingress_sso_testbed::wait::steadily;
use std::net::Ipv4Addr;
use url::Url;

/// A link into the app that a careless setup would cut at its first ampersand.
const LINK: &str = "/workflow/7?tab=runs&page=2";

/// See the module's documentation.
pub(crate) struct Visitors<'a> {
    data_plane: Ipv4Addr,
    outpost: &'a Outpost,
    app: &'a Echo,
}

impl<'a> Visitors<'a> {
    pub(crate) fn new(data_plane: Ipv4Addr, outpost: &'a Outpost, app: &'a Echo) -> Self {
        Self { data_plane, outpost, app }
    }

    /// A stranger gets to the app.
    pub(crate) async fn stranger_gets_in(&self) -> Result<()> {
        let url = link()?;
        steadily("the app to be open", OVERLAP, PATIENCE, || async {
            Ok(self.browser().get(url.as_str()).await?.status == 200)
        })
        .await?;
        say(&format!("a stranger: GET {url}"));
        say("   200, from the app");
        Ok(())
    }

    /// A stranger is sent to log in, step by step, and the app hears nothing of it.
    pub(crate) async fn stranger_is_sent_to_log_in(&self) -> Result<()> {
        self.until_login().await?;
        self.app.clear();
        let (mut browser, mut url) = (self.browser(), link()?);
        while !self.outpost.is_authorize(&url) {
            let response = browser.get(url.as_str()).await?;
            url = tell(&url, &response)?;
        }
        ensure!(self.app.count() == 0, "the stranger reached the app");
        say("   there authentik asks who it is; nothing of this reached the app");
        Ok(())
    }

    /// A user logs in and is where the link leads, and the app knows who it is.
    pub(crate) async fn user_comes_back_to_the_link(&self) -> Result<()> {
        let (mut browser, url) = (self.browser(), link()?);
        let user = User::new("alice", &["editors"]);
        let echoed: Echoed = browser.log_in(url.as_str(), self.outpost, &user).await?.json()?;
        ensure!(echoed.request.target == LINK, "the app was asked for {}", echoed.request.target);
        say(&format!("back at {url}: 200, from the app, which got"));
        say(&format!("   {} {}", echoed.request.method, echoed.request.target));
        for name in ["x-authentik-username", "x-authentik-groups", "x-authentik-email"] {
            let value = echoed.request.header(name).with_context(|| format!("no {name}"))?;
            say(&format!("   {name}: {value}"));
        }
        Ok(())
    }

    /// A forged name does not reach the app, neither without a session nor with one.
    pub(crate) async fn nobody_passes_for_another(&self) -> Result<()> {
        let url = link()?;
        let forged = || Request::to("GET", &url).header("X-authentik-username", "alice");
        self.app.clear();
        let response = self.browser().send(url.as_str(), forged()).await?;
        ensure!(response.status == 302 && self.app.count() == 0, "{} without a session", response.status);
        say("X-authentik-username: alice, without a session: 302 to the login, nothing reached the app");
        let mut browser = self.browser();
        browser.log_in(url.as_str(), self.outpost, &User::new("mallory", &[])).await?;
        let echoed: Echoed = browser.send(url.as_str(), forged()).await?.json()?;
        let names = echoed.request.headers("x-authentik-username");
        ensure!(names == ["mallory"], "the app got {names:?}");
        say("the same with Mallory's session: the app got x-authentik-username: mallory");
        Ok(())
    }

    /// What the API server knows reaches the data plane a moment later, and not all of its workers at once.
    async fn until_login(&self) -> Result<()> {
        steadily("the login", OVERLAP, PATIENCE, || async {
            let (mut browser, mut url) = (self.browser(), link()?);
            while !self.outpost.is_authorize(&url) {
                url = next(&url, &browser.get(url.as_str()).await?)?;
            }
            Ok(true)
        })
        .await
    }

    fn browser(&self) -> Browser {
        Browser::new(self.data_plane.into())
    }
}

fn link() -> Result<Url> {
    Ok(Url::parse(&format!("https://{HOST}{LINK}"))?)
}

/// Where a redirect leads.
fn next(from: &Url, response: &Response) -> Result<Url> {
    match response.header("location") {
        Some(location) if response.status == 302 => Ok(from.join(location)?),
        _ => bail!("{} at {from}, which is no redirect", response.status),
    }
}

/// Says where a redirect leads.
fn tell(from: &Url, response: &Response) -> Result<Url> {
    let next = next(from, response)?;
    say(&format!("GET {from}"));
    say(&format!("   {} {next}", response.status));
    Ok(next)
}
