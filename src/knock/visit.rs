//! The knocking itself.

use super::answer::{Known, Seen, ToLogin, judge};
use super::door::port_of;
use super::trick::{Knock, TRICKS, Trick};
use super::{Baseline, Door, Report, SECOND_TRIES, Verdict, unchecked};
use crate::anonymous::{Connection, Tls, Trouble};
use crate::config::Scheme;
use crate::contract::OUTPOST_PATH;
use crate::probe::Trust;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{HOST, USER_AGENT};
use std::time::Duration;
use tokio::time::sleep;
use url::Position;

/// Who knocks, in the logs of all who are passed.
const AGENT: &str = concat!("ingress-sso/", env!("CARGO_PKG_VERSION"), " (knock)");

/// A path that no outpost has.
const NO_PATH: &str = "/ingress-sso-knock";

/// Pause before a second try.
const PAUSE: Duration = Duration::from_secs(1);

/// Knocks at `door`. Over TLS, certificates are checked against `trust`; one that is not accepted is a finding, and the
/// knocking goes on without.
pub async fn knock(door: &Door, trust: &Trust) -> Report {
    let mut visit = Visit::new(door, trust);
    let (baseline, known) = match visit.arrive().await {
        Ok((baseline, to_login)) => (baseline, Known { to_login, outpost: None }),
        Err(trouble) => {
            let url = door.url(visit.scheme);
            (Baseline::of_trouble(trouble, url), Known::default())
        }
    };
    let mut report = Report {
        host: door.host().clone(),
        baseline,
        certificate: None,
        tricks: Vec::new(),
        is_steady: true,
    };
    if report.baseline.is_closed() {
        let known = Known { outpost: visit.outpost().await, ..known };
        report.tricks = visit.play(&known).await;
        let is_over = report.tricks.iter().any(|(_, verdict)| *verdict == Verdict::NotTried);
        report.is_steady = !is_over && visit.is_as_before(&report.baseline, &known).await;
    }
    report.certificate = visit.certificate;
    report
}

struct Visit<'a> {
    door: &'a Door,
    trust: &'a Trust,
    scheme: Scheme,
    address: (String, u16),
    connection: Option<Connection>,
    /// Why the certificate was not accepted; from then on none is checked.
    certificate: Option<String>,
}

impl<'a> Visit<'a> {
    fn new(door: &'a Door, trust: &'a Trust) -> Self {
        let (scheme, address) = (door.scheme(), door.address());
        Self { door, trust, scheme, address, connection: None, certificate: None }
    }

    /// What a visitor meets, and where he is sent to log in.
    async fn arrive(&mut self) -> Result<(Baseline, Option<ToLogin>), Trouble> {
        let mut seen = self.visit(self.door.path()).await?;
        if let Some(port) = self.to_https(&seen) {
            (self.scheme, self.address.1, self.connection) = (Scheme::Https, port, None);
            seen = self.visit(self.door.path()).await?;
        }
        let Some(way) = seen.to_login(self.door) else {
            return Ok((Baseline::of(&seen, self.door, self.scheme), None));
        };
        let url = self.door.url(self.scheme);
        let login = match &way {
            ToLogin::Authentik(login) => login.clone(),
            ToLogin::Start(_) => {
                let start =
                    seen.location.as_ref().map(|url| &url[Position::BeforePath..Position::AfterQuery]);
                let seen = self.visit(start.unwrap_or_default()).await?;
                let Some(ToLogin::Authentik(login)) = seen.to_login(self.door) else {
                    return Ok((Baseline::BrokenStart { url, status: seen.status }, Some(way)));
                };
                login
            }
        };
        let baseline = if login.leads_back_to(&self.door.asked_host()) {
            Baseline::Login { url, authentik: login.host }
        } else {
            Baseline::OtherExternalHost { url, found: login.callback_host().to_owned() }
        };
        Ok((baseline, Some(way)))
    }

    /// The port to go on at, where http leads to https on the same host.
    fn to_https(&self, seen: &Seen) -> Option<u16> {
        let url = seen.redirect().filter(|_| self.scheme == Scheme::Http)?;
        let is_same = url.scheme() == "https" && url.host_str() == Some(self.door.asked_host().as_str());
        is_same.then(|| url.port().unwrap_or(port_of(Scheme::Https)))
    }

    /// How the outpost answers to a path of its own that it does not have, where its path does lead to it.
    async fn outpost(&mut self) -> Option<Seen> {
        let ping = self.visit(&format!("{OUTPOST_PATH}/ping")).await.ok()?;
        if ping.status != 204 {
            return None;
        }
        let seen = self.visit(&format!("{OUTPOST_PATH}{NO_PATH}")).await.ok()?;
        Some(seen).filter(|seen| seen.status == 404)
    }

    /// All tricks, until nobody answers any more.
    async fn play(&mut self, known: &Known) -> Vec<(Trick, Verdict)> {
        let mut played = Vec::new();
        let mut is_over = false;
        let mut second_tries = SECOND_TRIES;
        for trick in TRICKS {
            if is_over {
                played.push((trick, Verdict::NotTried));
                continue;
            }
            let mut verdict = self.try_out(&trick, known).await;
            if is_failure(&verdict) && second_tries > 0 {
                second_tries -= 1;
                sleep(PAUSE).await;
                verdict = self.try_out(&trick, known).await;
            }
            // Whoever only hangs up on one request may answer the next.
            is_over =
                matches!(&verdict, Verdict::NoAnswer(trouble) if !matches!(trouble, Trouble::NoHttp(_)));
            played.push((trick, verdict));
        }
        played
    }

    async fn try_out(&mut self, trick: &Trick, known: &Known) -> Verdict {
        let knock = trick.request(self.door, self.scheme);
        match self.ask(&knock).await {
            Ok(seen) => judge(trick, &knock, self.door, &seen, known),
            Err(trouble) => Verdict::NoAnswer(trouble),
        }
    }

    /// Whether a visitor still meets the same.
    async fn is_as_before(&mut self, baseline: &Baseline, known: &Known) -> bool {
        let Ok(seen) = self.visit(self.door.path()).await else { return false };
        match &known.to_login {
            Some(way) => seen.to_login(self.door).as_ref() == Some(way),
            None => Baseline::of(&seen, self.door, self.scheme) == *baseline,
        }
    }

    /// Asks for a path as a visitor does.
    async fn visit(&mut self, path: &str) -> Result<Seen, Trouble> {
        self.ask(&Knock::at(self.door, path)).await
    }

    async fn ask(&mut self, knock: &Knock) -> Result<Seen, Trouble> {
        let kept = self.connection.take().filter(Connection::is_open);
        let is_kept = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut answer = connection.get(request(knock)?).await;
        // What was kept may have been closed from the other side at the same moment.
        if is_kept && matches!(answer, Err(Trouble::NoHttp(_))) {
            answer = self.connect().await?.get(request(knock)?).await;
        }
        let (response, connection) = answer?;
        self.connection = connection;
        Ok(Seen::read(response, self.door, self.scheme))
    }

    async fn connect(&mut self) -> Result<Connection, Trouble> {
        let (host, port) = &self.address;
        if self.scheme == Scheme::Http {
            return Connection::open(host, *port, None).await;
        }
        let name = self.door.asked_host();
        if self.certificate.is_none() {
            let config = self.trust.client().map_err(|error| Trouble::Tls(error.to_string()))?;
            match Connection::open(host, *port, Some(Tls { config, name: name.clone() })).await {
                Err(Trouble::Tls(error)) => self.certificate = Some(error),
                other => return other,
            }
        }
        let config = unchecked::client().map_err(|error| Trouble::Tls(error.to_string()))?;
        Connection::open(host, *port, Some(Tls { config, name })).await
    }
}

/// Whether it rests on an answer that could be chance, as while an ingress controller reads its configuration anew.
fn is_failure(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Believed { status: 400.. })
}

fn request(knock: &Knock) -> Result<Request<Empty<Bytes>>, Trouble> {
    let request = Request::get(&knock.target).header(HOST, &knock.host).header(USER_AGENT, AGENT);
    let request = match &knock.header {
        Some((name, value)) => request.header(*name, value),
        None => request,
    };
    request.body(Empty::new()).map_err(|error| Trouble::NoHttp(error.to_string()))
}
