//! The questions, and what is concluded from the answers.
//!
//! What outposts answer was read in goauthentik/authentik, `src/outpost/proxy` (from 2026.8) and `internal/outpost/proxyv2`
//! (before). The two differ in little that a stranger sees.

use super::{Answer, Conclusion, Findings, Hole, Line, Question, Target, Trouble};
use crate::anonymous::Login;
use crate::config::ClusterDomain;
use crate::contract::OUTPOST_PATH;
use url::Url;

const PING: &str = "/ping";
const AUTH: &str = "/auth/nginx";
const START: &str = "/start";

/// What an outpost says of a host that none of its providers is for; Go's spells its keys with capitals.
const NO_APP: &str = "no app for hostname";

/// Paths that an outpost takes for its own although they are not, or not once they are cleaned.
const RAW_PATHS: [&str; 3] = ["/..%2fx", "/../x", "x"];

/// What nginx takes for the port of the host and the WHATWG's rules for the path of the URL.
const RAW_PORT: &str = r":\outpost.goauthentik.io\";

/// Asks whether the outpost of `target` serves its host. Names below `cluster_domain` are known inside the cluster only.
pub async fn ask(line: &mut impl Line, target: &Target, cluster_domain: &ClusterDomain) -> Findings {
    let mut asking = Asking { line, target, cluster_domain };
    let unserved = |conclusion, is_reached| Findings { conclusion, is_reached, holes: None };
    let troubled = |trouble, is_reached| unserved(Conclusion::of_trouble(target, trouble), is_reached);
    match asking.reach().await {
        Ok(None) => {}
        Ok(Some(conclusion)) => return unserved(conclusion, false),
        Err(trouble) => return troubled(trouble, false),
    }
    match asking.conclude_for_all().await {
        Ok(Conclusion::Served) => {
            let holes = asking.holes().await.ok();
            Findings { conclusion: Conclusion::Served, is_reached: true, holes }
        }
        Ok(conclusion) => unserved(conclusion, true),
        Err(trouble) => troubled(trouble, true),
    }
}

struct Asking<'a, L> {
    line: &'a mut L,
    target: &'a Target,
    cluster_domain: &'a ClusterDomain,
}

impl<L: Line> Asking<'_, L> {
    /// Whether an outpost answers; or else what does.
    async fn reach(&mut self) -> Result<Option<Conclusion>, Trouble> {
        let status = self.get(PING, &[]).await?.status;
        let (outpost, address) = (self.target.outpost.name.clone(), self.target.outpost.address.clone());
        Ok((status != 204).then_some(Conclusion::NotAnOutpost { outpost, address, status }))
    }

    /// What it does with visitors of the host, and with those who say that they were of another one.
    async fn conclude_for_all(&mut self) -> Result<Conclusion, Trouble> {
        let conclusion = self.conclude().await?;
        if !conclusion.is_served() || !self.target.passes_raw_host {
            return Ok(conclusion);
        }
        let outpost = self.target.outpost.name.clone();
        let raw = self.auth(&self.target.url(&format!("{RAW_PORT}/"))).await?;
        Ok(if raw.status == 200 { Conclusion::OpenByForgedHost { outpost } } else { conclusion })
    }

    /// What it does with visitors of the host.
    async fn conclude(&mut self) -> Result<Conclusion, Trouble> {
        let (outpost, address) = (&self.target.outpost.name, &self.target.outpost.address);
        let auth = self.auth(&self.target.url("/")).await?;
        Ok(match auth.status {
            401 => {
                let start = self.start().await?;
                self.of_start(&start)
            }
            200 => Conclusion::OpenBySkipRule { outpost: outpost.clone(), url: self.target.url("/") },
            400 if auth.body.contains(NO_APP) => Conclusion::no_provider(self.target),
            // An outpost that is a proxy itself sends strangers to its own login, whatever the path.
            302 if auth.location.is_some_and(|location| location.contains(OUTPOST_PATH)) => self.wrong_mode(),
            404 if self.start().await?.status == 302 => self.wrong_mode(),
            404 => Conclusion::no_provider_embedded(self.target),
            status @ 500 if auth.body.contains("configuration error") => {
                let (outpost, address) = (outpost.clone(), address.clone());
                Conclusion::HeaderLost { outpost, address, status }
            }
            status => self.unexpected("the auth check", status),
        })
    }

    /// Where a visitor would be sent to log in, and from there back.
    fn of_start(&self, answer: &Answer) -> Conclusion {
        let target = self.target;
        let location = answer.location.as_deref().filter(|_| answer.status == 302);
        let Some(login) = location.and_then(|location| Login::read(&Url::parse(location).ok()?)) else {
            return self.unexpected("the way to the login", answer.status);
        };
        let host = target.asked_host();
        if !login.leads_back_to(&host) {
            let (url, found) = (target.url(""), login.callback_host().to_owned());
            return Conclusion::OtherExternalHost { host, url, found };
        }
        if is_internal(&login.host, self.cluster_domain) {
            let outpost = target.outpost.name.clone();
            return Conclusion::InternalAuthentik { outpost, found: login.host };
        }
        Conclusion::Served
    }

    /// What the outpost lets strangers do who may choose paths and headers.
    async fn holes(&mut self) -> Result<Vec<Hole>, Trouble> {
        let mut holes = Vec::new();
        for path in RAW_PATHS {
            let url = self.target.url(&format!("{OUTPOST_PATH}{path}"));
            if self.auth(&url).await?.status == 200 {
                holes.push(Hole::RawPaths);
                break;
            }
        }
        let claimed =
            [("x-original-url", self.target.url("/")), ("x-original-uri", format!("{OUTPOST_PATH}/x"))];
        if self.get(AUTH, &claimed).await?.status == 200 {
            holes.push(Hole::OriginalUri);
        }
        Ok(holes)
    }

    async fn auth(&mut self, url: &str) -> Result<Answer, Trouble> {
        self.get(AUTH, &[("x-original-url", url.to_owned())]).await
    }

    async fn start(&mut self) -> Result<Answer, Trouble> {
        let wanted: String = url::form_urlencoded::byte_serialize(self.target.url("/x").as_bytes()).collect();
        self.get(&format!("{START}?rd={wanted}"), &[]).await
    }

    async fn get(&mut self, path: &str, headers: &[(&'static str, String)]) -> Result<Answer, Trouble> {
        let host = self.target.asked_host();
        // The outpost may see the one or the other, by who asks and by its release.
        let forwarded =
            [("x-forwarded-host", host.clone()), ("x-forwarded-proto", self.target.scheme.to_string())];
        let headers = forwarded.into_iter().chain(headers.iter().cloned()).collect();
        self.line.get(&Question { host, path: format!("{OUTPOST_PATH}{path}"), headers }).await
    }

    fn wrong_mode(&self) -> Conclusion {
        Conclusion::WrongMode { host: self.target.host.to_string() }
    }

    fn unexpected(&self, question: &'static str, status: u16) -> Conclusion {
        let (outpost, host) = (self.target.outpost.name.clone(), self.target.host.to_string());
        Conclusion::Unexpected { outpost, host, question, status }
    }
}

/// Whether browsers outside the cluster cannot know the name.
fn is_internal(host: &str, cluster_domain: &ClusterDomain) -> bool {
    let is_loopback =
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let is_address = || host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    host == "localhost"
        || host.rsplit_once('.').is_some_and(|(_, last)| last == "svc")
        || cluster_domain.contains(host)
        || is_loopback()
        || (!host.contains('.') && !is_address())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_browsers_cannot_know() {
        let domain = ClusterDomain::default();
        for internal in [
            "authentik-server",
            "localhost",
            "authentik.authentik.svc",
            "a.b.svc.cluster.local",
            "127.0.0.1",
            "[::1]",
        ] {
            assert!(is_internal(internal, &domain), "{internal}");
        }
        for public in
            ["authentik.example.com", "10.0.0.5", "[2001:db8::1]", "svc.example.com", "auth.home.arpa"]
        {
            assert!(!is_internal(public, &domain), "{public}");
        }
    }
}
