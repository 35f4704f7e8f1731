//! What an answer shows to a stranger. Pure.

use super::Door;
use super::trick::{Knock, Trick};
use super::{NotFoundBy, Verdict};
use crate::anonymous::Login;
use crate::config::Scheme;
use crate::contract::OUTPOST_PATH;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderName, LOCATION};
use url::Url;

/// As much of an answer as is judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// HTTP status.
    pub(super) status: u16,
    /// Where it redirects to, whole.
    pub(super) location: Option<Url>,
    /// The header `Content-Type`.
    pub(super) content_type: Option<String>,
    /// The beginning of the body.
    pub(super) body: String,
}

/// Where a visitor is sent to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToLogin {
    /// To the outpost first, which then leads back to this page: ingress-nginx's way.
    Start(Option<Url>),
    /// To authentik at once: Traefik's.
    Authentik(Login),
}

impl Seen {
    /// What is to be judged of the answer to a visitor of `door`, where `scheme` is spoken.
    pub(super) fn read(response: Response<String>, door: &Door, scheme: Scheme) -> Self {
        let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let base = Url::parse(&door.url(scheme)).ok();
        let location = header(LOCATION).and_then(|location| base?.join(location).ok());
        let content_type = header(CONTENT_TYPE).map(str::to_owned);
        Self { status: response.status().as_u16(), location, content_type, body: response.into_body() }
    }

    /// Where it redirects to, if it does.
    pub(super) fn redirect(&self) -> Option<&Url> {
        self.location.as_ref().filter(|_| (300..400).contains(&self.status))
    }

    /// The way to the login, if it is one.
    pub(super) fn to_login(&self, door: &Door) -> Option<ToLogin> {
        let url = self.redirect().filter(|_| matches!(self.status, 302 | 303 | 307))?;
        let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        if is_on(url, door) && url.path() == format!("{OUTPOST_PATH}/start") {
            return Some(ToLogin::Start(Url::parse(&parameter("rd")?).ok()));
        }
        parameter("client_id")?;
        let login = Login::read(url)?;
        (login.callback.path() == format!("{OUTPOST_PATH}/callback")).then_some(ToLogin::Authentik(login))
    }

    /// Whether it leads to the page that was asked for and nowhere else: the same over TLS, or with a clean path.
    fn leads_to_itself(&self, door: &Door, knock: &Knock) -> bool {
        let Some(url) = self.redirect().filter(|url| is_on(url, door)) else { return false };
        let cleaned = url.join(&knock.target).is_ok_and(|cleaned| cleaned.path() == url.path());
        let is_page = || Url::parse(&door.url(Scheme::Https)).is_ok_and(|page| page.path() == url.path());
        matches!(self.status, 301 | 307 | 308) && (cleaned || is_page())
    }

    /// Whether two answers look the same.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        (self.status, &self.content_type, &self.body) == (other.status, &other.content_type, &other.body)
    }

    /// In whose words a 404 comes.
    pub(super) fn not_found_by(&self) -> NotFoundBy {
        let body = self.body.trim();
        if body.contains("<center>nginx</center>") || body == "default backend - 404" {
            NotFoundBy::Nginx
        } else if body == "404 page not found" {
            NotFoundBy::Go
        } else if body.to_lowercase().contains("authentik") {
            NotFoundBy::Authentik
        } else {
            NotFoundBy::Unknown
        }
    }
}

fn is_on(url: &Url, door: &Door) -> bool {
    url.host_str().map(|host| host.trim_end_matches('.')) == Some(door.asked_host().as_str())
}

/// What tricks are compared with.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Where a visitor is sent who plays none.
    pub(super) to_login: Option<ToLogin>,
    /// What the outpost answers to a path of its own that it does not have; `None` where its path is not known to lead to it.
    pub(super) outpost: Option<Seen>,
}

/// What came of `trick`.
pub(super) fn judge(trick: &Trick, knock: &Knock, door: &Door, seen: &Seen, known: &Known) -> Verdict {
    let status = seen.status;
    if let Some(way) = seen.to_login(door) {
        return match &known.to_login {
            Some(usual) if trick.is_claim() && way != *usual => Verdict::Believed { status },
            _ => Verdict::Login,
        };
    }
    match status {
        300..400 if seen.leads_to_itself(door, knock) => Verdict::Refused { status },
        300..400 if seen.redirect().is_none() => Verdict::Unclear { status },
        // So ends an auth check that is told of something that the outpost does not serve, and nothing else was different.
        400 | 404 | 500 if trick.is_claim() && known.to_login.is_some() => Verdict::Believed { status },
        404 if trick.is_path() => match &known.outpost {
            Some(outpost) if seen.looks_like(outpost) => Verdict::Outpost,
            _ if seen.not_found_by() == NotFoundBy::Nginx => Verdict::Refused { status },
            _ => Verdict::Unclear { status },
        },
        400.. => Verdict::Refused { status },
        _ => Verdict::Opens { status, location: seen.redirect().cloned() },
    }
}
