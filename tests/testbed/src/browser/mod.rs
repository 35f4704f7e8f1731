//! A visitor with a browser: keeps cookies, follows redirects, logs in.

mod websocket;

pub use websocket::{Upgrade, WebSocket};

use crate::http::{Request, Response};
use crate::outpost::{Outpost, User};
use anyhow::{Context, Result, bail, ensure};
use cookie_store::CookieStore;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::sleep;
use url::Url;

/// After so many redirects a browser gives up.
const MAX_REDIRECTS: usize = 10;

/// So often a patient browser asks again.
const RETRIES: usize = 5;

/// A browser to which all hosts are at one address: that of a data plane.
///
/// `https://…` is TLS whose certificate is not verified, with the host as its server name. Cookies are kept and sent
/// by host, path, `Secure` and age, as RFC 6265 has it.
#[derive(Clone)]
pub struct Browser {
    data_plane: IpAddr,
    cookies: CookieStore,
    /// How long to wait before it asks again after an answer that may be better in a moment.
    patience: Option<Duration>,
}

/// Where a browser came to after some redirects.
struct Trail {
    /// A line for each step.
    steps: Vec<String>,
    url: Url,
    response: Response,
}

impl Browser {
    /// A browser without cookies. A URL's own port counts, or else 443 or 80.
    pub fn new(data_plane: IpAddr) -> Self {
        Self { data_plane, cookies: CookieStore::default(), patience: None }
    }

    /// The same, but it asks again `pause` later, a few times, where the answer is 500 or 503: ingress-nginx gives these for
    /// a moment after each reload, also to those whom nothing concerns that changed.
    #[must_use]
    pub fn patient(self, pause: Duration) -> Self {
        Self { patience: Some(pause), ..self }
    }

    /// The cookies it would send to `url`, as one header value.
    pub fn cookies_for(&self, url: &str) -> Result<String> {
        Ok(self.cookie_header(&parse(url)?).unwrap_or_default())
    }

    /// Forgets all cookies.
    pub fn clear(&mut self) {
        self.cookies.clear();
    }

    /// Asks for `url`, and follows no redirect.
    ///
    /// Fails for what is no HTTP URL, and without a complete answer after ten seconds.
    pub async fn get(&mut self, url: &str) -> Result<Response> {
        let parsed = parse(url)?;
        self.send(url, Request::to("GET", &parsed)).await
    }

    /// Sends a request where `url` leads, with the cookies for it and nothing else added; keeps the cookies of the
    /// answer. [`Request::to`] makes the request a browser would send; one with a body or odd headers goes as well.
    ///
    /// Fails like [`Browser::get`].
    pub async fn send(&mut self, url: &str, request: Request) -> Result<Response> {
        let url = parse(url)?;
        let (address, sni) = self.way(&url)?;
        let request = self.with_cookies(&url, request);
        let mut response = request.exchange(address, sni.as_deref()).await?;
        for pause in self.pauses() {
            if !may_pass(&response) {
                break;
            }
            sleep(pause).await;
            response = request.exchange(address, sni.as_deref()).await?;
        }
        self.keep(&url, &response);
        Ok(response)
    }

    /// Asks for `url` and follows redirects, at most ten. Returns where it came to, and what is there.
    ///
    /// Fails like [`Browser::get`], after ten redirects, and at a redirect that leads nowhere, saying each step.
    pub async fn follow(&mut self, url: &str) -> Result<(Url, Response)> {
        let trail = self.trail(parse(url)?, |_| false).await?;
        Ok((trail.url, trail.response))
    }

    /// Asks for `url` as a stranger, goes where that leads, logs in as `user` at authentik, which `outpost` plays, and
    /// goes on. Returns what is at `url` for the user.
    ///
    /// Fails when it does not lead to a login or afterwards not to `url`, saying each step.
    pub async fn log_in(&mut self, url: &str, outpost: &Outpost, user: &User) -> Result<Response> {
        let wanted = parse(url)?;
        let before = self.trail(wanted.clone(), |url| outpost.is_authorize(url)).await?;
        let steps = before.steps.join("\n");
        let Some(location) = before.response.header("location") else {
            bail!("no login:\n{steps}\n{}", before.response.text());
        };
        let callback = outpost.log_in(location, user).with_context(|| steps.clone())?;
        let after = self.trail(parse(&callback)?, |_| false).await.with_context(|| steps.clone())?;
        let steps = format!("{steps}\n(login as {})\n{}", user.username, after.steps.join("\n"));
        ensure!(after.url == wanted, "the login did not end at {wanted}:\n{steps}");
        Ok(after.response)
    }

    /// Follows redirects until there is none, or the next would lead where `is_end` says.
    async fn trail(&mut self, mut url: Url, is_end: impl Fn(&Url) -> bool) -> Result<Trail> {
        let mut steps = Vec::new();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.get(url.as_str()).await.with_context(|| steps.join("\n"))?;
            let location = response.header("location").filter(|_| (300..400).contains(&response.status));
            steps.push(format!("GET {url}: {} {}", response.status, location.unwrap_or_default()));
            let Some(location) = location else { return Ok(Trail { steps, url, response }) };
            let next = url.join(location).with_context(|| format!("a redirect:\n{}", steps.join("\n")))?;
            if is_end(&next) {
                return Ok(Trail { steps, url, response });
            }
            url = next;
        }
        bail!("more than {MAX_REDIRECTS} redirects:\n{}", steps.join("\n"))
    }

    /// How long to wait before each time that it asks again.
    fn pauses(&self) -> impl Iterator<Item = Duration> + use<> {
        self.patience.into_iter().flat_map(|pause| [pause; RETRIES])
    }

    /// Where to connect for a URL, and the name to ask for in TLS if it is one for TLS.
    fn way(&self, url: &Url) -> Result<(SocketAddr, Option<String>)> {
        let is_tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => bail!("{url}: no way to ask for {other}"),
        };
        let port = url.port_or_known_default().context("a URL without a port")?;
        let host = url.host_str().context("a URL without a host")?;
        Ok((SocketAddr::new(self.data_plane, port), is_tls.then(|| host.to_owned())))
    }

    fn with_cookies(&self, url: &Url, request: Request) -> Request {
        match self.cookie_header(url) {
            Some(cookies) => request.header("Cookie", cookies),
            None => request,
        }
    }

    fn cookie_header(&self, url: &Url) -> Option<String> {
        let pairs = self.cookies.get_request_values(url).map(|(name, value)| format!("{name}={value}"));
        let pairs: Vec<_> = pairs.collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn keep(&mut self, url: &Url, response: &Response) {
        for cookie in response.headers("set-cookie") {
            // One that is malformed or for another host is not kept, and no error, like in a browser.
            _ = self.cookies.parse(cookie, url);
        }
    }
}

/// Whether the answer may be better in a moment: see [`Browser::patient`].
fn may_pass(response: &Response) -> bool {
    matches!(response.status, 500 | 503)
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).with_context(|| format!("URL {url:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn kept(from: &str, cookies: &[&str]) -> Browser {
        let mut browser = Browser::new(Ipv4Addr::LOCALHOST.into());
        let headers = cookies.iter().map(|cookie| ("Set-Cookie".to_owned(), (*cookie).to_owned()));
        let response = Response { status: 200, headers: headers.collect(), body: Vec::new() };
        browser.keep(&Url::parse(from).unwrap(), &response);
        browser
    }

    #[test]
    fn cookies_go_where_they_belong() {
        let cookies =
            ["a=1; Path=/", "b=2; Path=/sub", "c=3; Path=/; Secure", "d=4; Domain=example.test; Path=/"];
        let browser = kept("https://app.example.test/", &cookies);
        let sent = |url: &str| {
            let header = browser.cookies_for(url).unwrap();
            let mut names: Vec<_> =
                header.split("; ").map(|pair| pair[..pair.len().min(1)].to_owned()).collect();
            names.sort();
            names.concat()
        };
        assert_eq!(sent("https://app.example.test/sub/x"), "abcd");
        assert_eq!(sent("https://app.example.test:8443/"), "acd");
        assert_eq!(sent("http://app.example.test/"), "ad");
        assert_eq!(sent("https://other.example.test/"), "d");
        assert_eq!(sent("https://other.test/"), "");
    }

    #[test]
    fn cookies_are_replaced_and_deleted() {
        let cookies =
            ["a=1; Path=/", "a=2; Path=/", "b=1; Path=/", "b=; Path=/; Max-Age=0", "x=1; Domain=other.test"];
        let browser = kept("https://app.example.test/", &cookies);
        assert_eq!(browser.cookies_for("https://app.example.test/").unwrap(), "a=2");
        assert_eq!(browser.cookies_for("https://other.test/").unwrap(), "");
    }

    #[test]
    fn the_port_and_the_name_come_from_the_url() {
        let browser = Browser::new(Ipv4Addr::LOCALHOST.into());
        let way = |url: &str| browser.way(&Url::parse(url).unwrap()).unwrap();
        assert_eq!(way("https://a.test/"), (([127, 0, 0, 1], 443).into(), Some("a.test".to_owned())));
        assert_eq!(way("http://a.test:81/"), (([127, 0, 0, 1], 81).into(), None));
        assert!(browser.way(&Url::parse("ftp://a.test/").unwrap()).is_err());
    }
}
