//! What knocking at a door brings to light, by real HTTP from data planes in little, each with a weakness, in front of doubles of
//! both outposts; and from servers that answer one thing.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::Request as Asked;
use axum::http::header::LOCATION;
use axum::response::Response;
use ingress_sso::config::Scheme;
use ingress_sso::contract::OUTPOST_PATH;
use ingress_sso::facts::Host;
use ingress_sso::knock::{
    Baseline, Door, Finding, Grade, MAX_KNOCKS, Report, SECOND_TRIES, TRICKS, Through, Verdict, knock,
};
use ingress_sso::probe::{Trouble, Trust};
use ingress_sso_testbed::http::Request;
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider};
use ingress_sso_testbed::port;
use regex::Regex;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

const BOTH: [Flavour; 2] = [Flavour::Rust, Flavour::Go];
const APP: &str = "app.example.com";
const X_ORIGINAL_URL: &str = "X-Original-URL to the outpost's path";
const X_ORIGINAL_URI: &str = "X-Original-URI to the outpost's path";
const X_FORWARDED_URI: &str = "X-Forwarded-Uri to the outpost's path";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host of nobody";

/// Where a visitor is sent to log in.
const LOGIN_URL: &str = "https://sso.example.com/?client_id=a&redirect_uri=https://app.example.com/outpost.goauthentik.io/callback";

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn door(at: SocketAddr) -> Door {
    door_of(APP, Scheme::Http, at)
}

fn door_of(host: &str, scheme: Scheme, at: SocketAddr) -> Door {
    let through = Through { scheme, host: at.ip().to_string(), port: at.port() };
    Door::through(Host::parse(host).unwrap(), &through)
}

async fn knock_at(at: SocketAddr) -> Report {
    knock(&door(at), &Trust::default()).await
}

async fn outpost(flavour: Flavour, change: impl FnOnce(Provider) -> Provider) -> Outpost {
    // One more, since an outpost of Go with a single provider serves every host by it.
    let other = Provider::forward_single("https://other.example.com").unwrap();
    let app = change(Provider::forward_single("http://app.example.com").unwrap());
    Outpost::start(anywhere(), flavour, vec![other, app]).await.unwrap()
}

/// How a data plane asks its outpost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// As ingress-nginx does.
    Nginx,
    /// As Traefik does.
    Traefik,
    /// As Traefik does that has the annotations of ingress-nginx.
    Clone,
}

/// A data plane in little, without a weakness as [`Plane::new`] makes it.
#[derive(Clone)]
struct Plane {
    check: Check,
    outpost: SocketAddr,
    /// Rejects paths that outposts take for their own, as the lines in docs/data-planes.md do.
    rejects_odd_paths: bool,
    /// What of the visitor's own headers reaches the outpost.
    believes: &'static [&'static str],
    /// What the app answers to a path that it does not have; to `/` it answers 200.
    unknown: u16,
    /// With this header the first request gets 500, as while an ingress controller reads its configuration anew.
    fails_once_with: Option<&'static str>,
    /// What came from visitors.
    log: Arc<Mutex<Vec<Arrived>>>,
}

struct Arrived {
    method: String,
    target: String,
    headers: Vec<String>,
}

impl Plane {
    fn new(check: Check, outpost: &Outpost) -> Self {
        let log = Arc::default();
        Self {
            check,
            outpost: outpost.address(),
            rejects_odd_paths: true,
            believes: &[],
            unknown: 404,
            fails_once_with: None,
            log,
        }
    }

    async fn start(&self) -> SocketAddr {
        let plane = self.clone();
        serving(move |asked| {
            let plane = plane.clone();
            async move { plane.answer(asked).await.unwrap() }
        })
        .await
    }

    async fn answer(&self, asked: Asked) -> Result<Response> {
        let (parts, _) = asked.into_parts();
        let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let arrived = Arrived {
            method: parts.method.to_string(),
            target: target.clone(),
            headers: parts.headers.keys().map(ToString::to_string).collect(),
        };
        let has = |arrived: &Arrived| {
            self.fails_once_with.is_some_and(|name| arrived.headers.contains(&name.to_owned()))
        };
        let is_first = has(&arrived) && !self.log.lock().unwrap().iter().any(has);
        self.log.lock().unwrap().push(arrived);
        if is_first {
            return Ok(answer(500, "", &[]));
        }
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let host = parts.uri.host().map(str::to_owned).or(header("host")).unwrap_or_default();
        let host = host.trim_end_matches(":80").to_lowercase();
        if host != APP {
            return Ok(answer(404, "<center>nginx</center>", &[]));
        }
        let decoded = decode(parts.uri.path());
        let path = Url::parse(&format!("http://a{decoded}"))?.path().to_owned();
        let is_outposts = path.starts_with(&format!("{OUTPOST_PATH}/"));
        let is_odd = decoded.contains("..") || path.starts_with(OUTPOST_PATH) && !is_outposts;
        if self.rejects_odd_paths && is_odd {
            return Ok(answer(400, "", &[]));
        }
        if is_outposts {
            return self.ask(Request::get(target).header("Host", &host)).await;
        }
        // Only nginx tells the outpost the raw path.
        let told = if self.check == Check::Nginx { &target } else { &path };
        let mut told = vec![
            ("x-forwarded-host", host.clone()),
            ("x-forwarded-proto", "http".to_owned()),
            ("x-forwarded-uri", told.clone()),
            ("x-original-url", format!("http://{host}{told}")),
            ("x-original-uri", String::new()),
            ("forwarded", String::new()),
        ];
        for (name, value) in &mut told {
            if let Some(own) = header(name).filter(|_| self.believes.contains(name)) {
                *value = own;
            } else if *name == "x-original-url" && self.check != Check::Nginx {
                value.clear();
            }
        }
        let at = if self.check == Check::Traefik { "traefik" } else { "nginx" };
        let check = Request::get(format!("{OUTPOST_PATH}/auth/{at}")).header("Host", &host);
        let told = told.iter().filter(|(_, value)| !value.is_empty());
        let checked = self.ask(told.fold(check, |check, (name, value)| check.header(name, value))).await?;
        Ok(match checked.status().as_u16() {
            200 if path == "/" => answer(200, "the app", &[]),
            200 => answer(self.unknown, "the app does not have that", &[]),
            401 => answer(302, "", &[(LOCATION.as_str(), &start(&host, &target))]),
            // nginx knows three answers to its auth check, Traefik hands on what it got.
            _ if self.check == Check::Nginx => answer(500, "<center>nginx</center>", &[]),
            _ => checked,
        })
    }

    async fn ask(&self, request: Request) -> Result<Response> {
        let asked = request.send(self.outpost).await?;
        let headers = ["location", "content-type"].map(|name| (name, asked.header(name)));
        let headers: Vec<_> = headers.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
        Ok(answer(asked.status, asked.text().as_ref(), &headers))
    }
}

/// What tricks escape, as letters.
fn decode(path: &str) -> String {
    path.replace("%2e", ".").replace("%2f", "/").replace("%6f", "o")
}

fn start(host: &str, target: &str) -> String {
    format!("http://{host}{OUTPOST_PATH}/start?rd=http://{host}{target}")
}

fn answer(status: u16, body: &str, headers: &[(&str, &str)]) -> Response {
    let response = Response::builder().status(status);
    let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Body::from(body.to_owned())).unwrap()
}

async fn serving<F>(answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static) -> SocketAddr
where
    F: Future<Output = Response> + Send + 'static,
{
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

/// A server that answers everything alike.
async fn saying(
    status: u16,
    body: &'static str,
    headers: &'static [(&'static str, &'static str)],
) -> SocketAddr {
    serving(move |_| async move { answer(status, body, headers) }).await
}

/// Names of the tricks with this reason.
fn with_reason(report: &Report, reason: &str) -> Vec<&'static str> {
    let found = report.tricks.iter().filter(|(_, verdict)| verdict.reason() == reason);
    found.map(|(trick, _)| trick.name).collect()
}

fn open(report: &Report) -> Vec<&'static str> {
    with_reason(report, "TrickOpens")
}

fn believed(report: &Report) -> Vec<&'static str> {
    with_reason(report, "TrickBelieved")
}

/// What it says of this reason, of which the important parts are `parts`.
fn says(report: &Report, reason: &str, grade: Grade, parts: &[&str]) {
    let findings = report.findings();
    let found = findings.iter().find(|finding| finding.reason == reason);
    assert!(found.is_some(), "no {reason} among {findings:#?}");
    let found = found.unwrap();
    assert_eq!(found.grade, grade, "{found}");
    for part in parts {
        assert!(found.text.contains(part), "{:?} lacks {part:?}", found.text);
    }
}

#[tokio::test]
async fn a_closed_door_is_closed() {
    for flavour in BOTH {
        let outpost = outpost(flavour, |provider| provider).await;
        for check in [Check::Nginx, Check::Traefik] {
            let plane = Plane::new(check, &outpost);
            let report = knock_at(plane.start().await).await;
            assert!(report.is_closed(), "{report:#?}");
            assert_eq!(report.tricks.len(), TRICKS.len());
            let findings = report.findings();
            let reasons: Vec<&str> = findings.iter().map(|finding| finding.reason).collect();
            assert_eq!(reasons, ["Login", "TricksFail"]);
            says(&report, "Login", Grade::Good, &["http://app.example.com/", "authentik.example.test"]);
            says(&report, "TricksFail", Grade::Good, &["20 of 20 tricks open nothing"]);
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_that_could_log_anyone_in_or_out() {
    let outpost = outpost(Flavour::Rust, |provider| provider).await;
    let plane = Plane::new(Check::Nginx, &outpost);
    assert!(knock_at(plane.start().await).await.is_closed());
    let arrived = plane.log.lock().unwrap();
    assert_eq!(arrived.len(), MAX_KNOCKS - SECOND_TRIES - 1, "all but a redirect to https");
    let allowed = [
        "host",
        "user-agent",
        "connection",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "x-original-uri",
        "x-original-url",
    ];
    let starts = arrived.iter().filter(|arrived| arrived.target.contains("/start")).count();
    assert_eq!(starts, 1, "the way to the login is gone once");
    for Arrived { method, target, headers } in arrived.iter() {
        assert_eq!(method, "GET");
        for header in headers {
            assert!(allowed.contains(&header.as_str()), "{header}");
        }
        for forbidden in ["/callback", "/sign_out", "X-authentik"] {
            assert!(!target.contains(forbidden), "{target}");
        }
    }
}

#[tokio::test]
async fn annotations_of_nginx_behind_traefik_are_open_to_x_original_url() {
    for flavour in BOTH {
        let outpost = outpost(flavour, |provider| provider).await;
        let plane = Plane { believes: &["x-original-url"], ..Plane::new(Check::Clone, &outpost) };
        let report = knock_at(plane.start().await).await;
        assert_eq!(open(&report), [X_ORIGINAL_URL], "{report:#?}");
        says(&report, "HeaderLost", Grade::Wrong, &["500", "--class"]);
        let parts = [X_ORIGINAL_URL, "OPEN: the answer is 200", "--class CLASS=traefik-nginx"];
        says(&report, "TrickOpens", Grade::Wrong, &parts);
        assert!(!report.is_closed());
    }
}

#[tokio::test]
async fn an_old_authentik_is_open_to_x_original_uri() {
    for flavour in BOTH {
        let old = |provider| Provider { believes_x_original_uri: true, ..provider };
        let outpost = outpost(flavour, old).await;
        let plane = Plane { believes: &["x-original-uri"], ..Plane::new(Check::Nginx, &outpost) };
        let report = knock_at(plane.start().await).await;
        assert_eq!(open(&report), [X_ORIGINAL_URI], "{report:#?}");
        says(&report, "TrickOpens", Grade::Wrong, &["GHSA-5wcc-hf24-rf5h", "Update authentik"]);
        assert!(knock_at(Plane::new(Check::Nginx, &outpost).start().await).await.is_closed());
    }
}

/// Nobody gets in by these alone, but who is logged in to another app does.
#[tokio::test]
async fn headers_that_are_believed_show_in_the_login() {
    for flavour in BOTH {
        let outpost = outpost(flavour, |provider| provider).await;
        for (check, header, trick) in [
            (Check::Traefik, "x-forwarded-uri", X_FORWARDED_URI),
            (Check::Traefik, "x-forwarded-host", X_FORWARDED_HOST),
            (Check::Nginx, "x-forwarded-host", X_FORWARDED_HOST),
        ] {
            let believes: &[&str] = Box::leak(Box::new([header]));
            let plane = Plane { believes, ..Plane::new(check, &outpost) };
            let report = knock_at(plane.start().await).await;
            assert!(believed(&report).contains(&trick), "{report:#?}");
            assert!(open(&report).is_empty() && report.baseline.is_login() && !report.is_closed());
            says(
                &report,
                "TrickBelieved",
                Grade::Wrong,
                &["forwardedHeaders.insecure", "auth-proxy-set-headers"],
            );
        }
    }
}

#[tokio::test]
async fn an_error_by_chance_is_no_finding() {
    let outpost = outpost(Flavour::Rust, |provider| provider).await;
    let plane = Plane { fails_once_with: Some("x-forwarded-host"), ..Plane::new(Check::Nginx, &outpost) };
    let report = knock_at(plane.start().await).await;
    assert!(report.is_closed(), "{report:#?}");
    assert_eq!(plane.log.lock().unwrap().len(), MAX_KNOCKS - SECOND_TRIES, "one was tried twice");
}

/// A rule of the provider for its own paths is nobody's business; one for all paths makes the app open.
#[tokio::test]
async fn unauthenticated_paths() {
    for (rule, is_open) in [("^/public$", false), ("/", true)] {
        let skip = |provider| Provider { skip_paths: vec![Regex::new(rule).unwrap()], ..provider };
        let outpost = outpost(Flavour::Go, skip).await;
        let report = knock_at(Plane::new(Check::Nginx, &outpost).start().await).await;
        assert_eq!(report.is_closed(), !is_open, "{report:#?}");
        if is_open {
            says(
                &report,
                "Open",
                Grade::Wrong,
                &["OPEN: http://app.example.com/ answers 200", "Unauthenticated Paths"],
            );
            assert!(report.tricks.is_empty(), "there is nothing to get past");
        }
    }
}

#[tokio::test]
async fn raw_paths_that_the_outpost_takes_for_its_own() {
    let cleans = [
        "the outpost's path and /../",
        "the outpost's path and /%2e%2e/",
        "the outpost's path and /..%2f",
        "the outpost's path and %2f..%2f",
    ];
    let begins = ["a path that begins like the outpost's", "a path that begins like the outpost's, escaped"];
    for flavour in BOTH {
        let outpost = outpost(flavour, |provider| provider).await;
        // `url` cleans in Rust what it knows, and decodes nothing.
        let (cleans, begins) =
            if flavour == Flavour::Rust { (&cleans[2..], &begins[..1]) } else { (&cleans[..], &begins[..]) };
        let plane = Plane { rejects_odd_paths: false, ..Plane::new(Check::Nginx, &outpost) };
        let report = knock_at(plane.start().await).await;
        assert_eq!(open(&report), cleans, "{report:#?}");
        says(&report, "TrickOpens", Grade::Wrong, &["Dot segments"]);
        // The app's 404 is another than the outpost's, and that is all that can be seen.
        assert_eq!(with_reason(&report, "TrickUnclear"), begins);
        says(&report, "TrickUnclear", Grade::Catch, &["404", "cannot be told apart", "the app's log"]);

        let shows_all = Plane { unknown: 200, ..plane };
        let report = knock_at(shows_all.start().await).await;
        assert_eq!(open(&report), [cleans, begins].concat());

        let traefik = Plane { rejects_odd_paths: false, ..Plane::new(Check::Traefik, &outpost) };
        let report = knock_at(traefik.start().await).await;
        assert!(report.is_closed(), "{report:#?}");
    }
}

/// To be sent to the page itself is no way in, and to be sent into the app is one.
#[tokio::test]
async fn redirects_to_the_page_and_past_it() {
    for (status, to, is_open) in [
        (301, "/", false),
        (308, "https://app.example.com/", false),
        (302, "/", true),
        (301, "/welcome", true),
        (308, "https://other.example.com/", true),
    ] {
        let at = serving(move |asked: Asked| async move {
            let is_trick =
                asked.uri().path().contains("..") || asked.headers().contains_key("x-forwarded-proto");
            let to = if is_trick { (status, to) } else { (302, LOGIN_URL) };
            answer(to.0, "", &[("location", to.1)])
        });
        let report = knock_at(at.await).await;
        let expected: &[&str] = if is_open {
            &[
                "X-Forwarded-Proto: http",
                "the outpost's path and /../",
                "the outpost's path and /..%2f",
                "the outpost's path and %2f..%2f",
            ]
        } else {
            &[]
        };
        assert_eq!(open(&report), expected, "{status} {to}");
        assert_eq!(report.is_closed(), !is_open, "{status} {to}: {report:#?}");
        if is_open {
            says(&report, "TrickOpens", Grade::Wrong, &[&format!("{status} to http"), to]);
        }
    }
}

/// What an outpost answers to its own paths is no app that is open.
#[tokio::test]
async fn the_outposts_own_answers_open_nothing() {
    for flavour in BOTH {
        let outpost = outpost(flavour, |provider| provider).await;
        let (plane, at) = (Plane::new(Check::Traefik, &outpost), outpost.address());
        // It goes by how raw paths begin, and leaves them to the outpost.
        let report = knock_at(
            serving(move |asked: Asked| {
                let plane = plane.clone();
                async move {
                    let target = asked.uri().path_and_query().unwrap().to_string();
                    if target.starts_with(OUTPOST_PATH) {
                        let request = Request::get(target).header("Host", APP);
                        let seen = request.send(at).await.unwrap();
                        let headers = ["location", "content-type"];
                        let headers: Vec<_> =
                            headers.into_iter().filter_map(|name| Some((name, seen.header(name)?))).collect();
                        return answer(seen.status, seen.text().as_ref(), &headers);
                    }
                    plane.answer(asked).await.unwrap()
                }
            })
            .await,
        )
        .await;
        assert!(with_reason(&report, "TrickToOutpost").len() >= 5, "{report:#?}");
        assert!(report.is_closed());
    }
}

/// An app whose path the outpost's is too, since nothing else routes it.
#[tokio::test]
async fn a_404_is_not_the_outposts_where_its_path_leads_elsewhere() {
    let at = serving(move |asked: Asked| async move {
        match asked.uri().path() {
            path if path.contains("tpost") => answer(404, "", &[]),
            _ => answer(302, "", &[("location", LOGIN_URL)]),
        }
    });
    let report = knock_at(at.await).await;
    assert_eq!(with_reason(&report, "TrickUnclear").len(), 7, "{report:#?}");
    assert!(report.baseline.is_login() && !report.is_closed());
}

/// Status, body and headers.
type Answer = (u16, &'static str, &'static [(&'static str, &'static str)]);

#[tokio::test]
async fn answers_that_are_no_login() {
    let nginx = "<html><center>nginx</center></html>";
    let authentik = "<title>Not Found - authentik</title>";
    let cases: &[(Answer, &str, &[&str])] = &[
        ((200, "", &[]), "Open", &["OPEN", "status", "Unauthenticated Paths"]),
        ((204, "", &[]), "Open", &["204"]),
        (
            (302, "", &[("location", "/login")]),
            "Elsewhere",
            &["http://app.example.com/login", "the app is open"],
        ),
        ((301, "", &[("location", "https://www.example.com/")]), "Elsewhere", &["www.example.com", "CDN"]),
        ((308, "", &[("location", "/")]), "RedirectLoop", &["for ever", "X-Forwarded-Proto"]),
        ((302, "", &[]), "UnexpectedAnswer", &["302"]),
        ((400, "{\"Message\": \"no app for hostname\"}", &[]), "NoProvider", &["External host"]),
        ((400, "", &[]), "UnexpectedAnswer", &["400"]),
        ((401, "", &[]), "Denied", &["401", "auth-signin", "allow list"]),
        ((403, "", &[]), "Denied", &["403"]),
        ((404, nginx, &[]), "NotFound", &["nginx, where no Ingress", "the app is open"]),
        ((404, "default backend - 404", &[]), "NotFound", &["nginx, where no Ingress"]),
        ((404, "404 page not found\n", &[]), "NotFound", &["Traefik", "authentik up to 2026.5"]),
        ((404, authentik, &[]), "NotFound", &["embedded outpost"]),
        ((404, "", &[]), "NotFound", &["cannot be told"]),
        ((500, "", &[]), "AuthCheckFailed", &["nobody can log in", "has a provider"]),
        ((500, "configuration error\n", &[]), "HeaderLost", &["/auth/nginx"]),
        ((502, "", &[]), "Unavailable", &["502", "endpointslices"]),
        ((503, "", &[]), "Unavailable", &["503"]),
        ((429, "", &[]), "UnexpectedAnswer", &["429"]),
    ];
    for ((status, body, headers), reason, parts) in cases {
        let report = knock_at(saying(*status, body, headers).await).await;
        says(&report, reason, Grade::Wrong, parts);
        assert!(!report.is_closed() && !report.baseline.is_login());
        let is_answered_by_nobody = matches!(*reason, "Open" | "Elsewhere" | "RedirectLoop");
        assert_eq!(report.tricks.is_empty(), is_answered_by_nobody, "{reason}");
        assert!(open(&report).is_empty() && believed(&report).is_empty(), "{report:#?}");
    }
}

#[tokio::test]
async fn logins_that_are_not_the_apps() {
    // What else has a parameter of that name is not authentik's.
    for location in [
        "https://sso.example.com/?client_id=a&redirect_uri=https://app.example.com/oauth2/callback",
        "https://sso.example.com/?redirect_uri=https://app.example.com/outpost.goauthentik.io/callback",
        "http://other.example.com/outpost.goauthentik.io/start?rd=http://app.example.com/",
    ] {
        let at = serving(move |_| async move { answer(302, "", &[("location", location)]) });
        says(&knock_at(at.await).await, "Elsewhere", Grade::Wrong, &["not the login"]);
    }
    let home = Provider::forward_single("https://authentik.example.com").unwrap();
    let outpost = Outpost::start(anywhere(), Flavour::Go, vec![home]).await.unwrap();
    let report = knock_at(Plane::new(Check::Nginx, &outpost).start().await).await;
    says(&report, "OtherExternalHost", Grade::Wrong, &["authentik.example.com", "External host"]);
}

#[tokio::test]
async fn a_way_to_the_login_that_ends_at_the_outpost() {
    for status in [200, 404, 500, 502] {
        let at = serving(move |asked: Asked| async move {
            match asked.uri().path() {
                "/outpost.goauthentik.io/start" => answer(status, "", &[]),
                path => answer(302, "", &[("location", &start(APP, path))]),
            }
        });
        let parts = [&*status.to_string(), "/outpost.goauthentik.io/start", "kubectl get ingress"];
        says(&knock_at(at.await).await, "BrokenStart", Grade::Wrong, &parts);
    }
}

/// A provider for a domain logs in at a host of its own, and a wildcard is knocked at by one of its names.
#[tokio::test]
async fn a_wildcard_with_a_login_for_the_domain() {
    let provider = Provider::forward_domain("https://login.example.com", "example.com").unwrap();
    let outpost = Outpost::start(anywhere(), Flavour::Rust, vec![provider]).await.unwrap();
    let at = outpost.address();
    let gate = serving(move |asked: Asked| async move {
        let host = asked.headers()["host"].to_str().unwrap().to_lowercase();
        let check = Request::get(format!("{OUTPOST_PATH}/auth/traefik"));
        let check = check.header("Host", host.trim_end_matches(":80")).header("X-Forwarded-Proto", "http");
        let check = check.header("X-Forwarded-Host", host.trim_end_matches(":80"));
        let seen = check.header("X-Forwarded-Uri", "/").send(at).await.unwrap();
        answer(seen.status, "", &[("location", seen.header("location").unwrap_or_default())])
    });
    let report = knock(&door_of("*.example.com", Scheme::Http, gate.await), &Trust::default()).await;
    says(&report, "Login", Grade::Good, &["http://ingress-sso-knock.example.com/"]);
    assert_eq!(report.host.as_str(), "*.example.com");
}

#[tokio::test]
async fn doors_that_nobody_answers_at() -> Result<()> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
    says(
        &knock_at(nowhere).await,
        "DoorConnectionRefused",
        Grade::Wrong,
        &["http://app.example.com/", "--through"],
    );

    // A label longer than DNS has, so that no server is asked.
    let unknown = Door::new(Host::parse(&format!("{}.example.com", "x".repeat(64))).unwrap(), Scheme::Http);
    let report = knock(&unknown, &Trust::default()).await;
    says(&report, "DoorUnresolved", Grade::Wrong, &["does not resolve", "DNS record"]);

    let silent = TcpListener::bind(anywhere()).await?;
    says(&knock_at(silent.local_addr()?).await, "DoorTimedOut", Grade::Wrong, &["no answer in time"]);

    let plain = saying(200, "", &[]).await;
    let report = knock(&door_of(APP, Scheme::Https, plain), &Trust::default()).await;
    says(&report, "DoorNoHttp", Grade::Wrong, &["https://app.example.com/", "PROXY protocol"]);
    assert!(report.tricks.is_empty());
    Ok(())
}

/// Nothing secret is sent, so an unknown certificate is told of and does not end the knocking.
#[tokio::test]
async fn a_certificate_that_does_not_hold_is_a_finding_of_its_own() -> Result<()> {
    let provider = Provider::forward_single("https://localhost")?;
    let (outpost, certificate) = Outpost::start_tls(anywhere(), Flavour::Rust, vec![provider]).await?;
    let door = door_of("localhost", Scheme::Https, outpost.address());
    let report = knock(&door, &Trust::default()).await;
    says(&report, "BadCertificate", Grade::Catch, &["localhost", "UnknownIssuer", "spec.tls"]);
    // An outpost alone is no door: it says 404 to whatever is not below its path.
    says(&report, "NotFound", Grade::Wrong, &["https://localhost/"]);
    assert_eq!(report.tricks.len(), TRICKS.len());

    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, certificate)?;
    let report = knock(&door, &Trust::new(Some(file.path()))?).await;
    assert_eq!((report.certificate, report.baseline.reason()), (None, "NotFound"));

    // From http it goes on to https, once, and the tricks with it.
    let to: &'static str =
        Box::leak(format!("https://localhost:{}/", outpost.address().port()).into_boxed_str());
    outpost.clear();
    let redirecting = serving(move |_| async move { answer(308, "", &[("location", to)]) }).await;
    let report =
        knock(&door_of("localhost", Scheme::Http, redirecting), &Trust::new(Some(file.path()))?).await;
    says(&report, "NotFound", Grade::Wrong, &["https://localhost/"]);
    let peers: BTreeSet<SocketAddr> =
        outpost.requests().iter().map(|recorded| recorded.request.peer).collect();
    assert_eq!(peers.len(), 1, "one connection is enough");
    assert!(outpost.requests().len() < MAX_KNOCKS);
    Ok(())
}

/// Who refuses everybody after a few requests proves nothing.
#[tokio::test]
async fn a_door_that_changes_its_mind_is_not_called_closed() {
    let count = Arc::new(AtomicUsize::new(0));
    let at = serving(move |_| {
        let is_tired = count.fetch_add(1, Ordering::Relaxed) > 5;
        async move { if is_tired { answer(429, "", &[]) } else { answer(302, "", &[("location", LOGIN_URL)]) } }
    });
    let report = knock_at(at.await).await;
    assert!(report.baseline.is_login() && !report.is_closed(), "{report:#?}");
    says(&report, "Unsteady", Grade::Unknown, &["refusals mean little", "again in a minute"]);
}

/// Speaks HTTP by hand: the answer to the request of this number, or none and the end of the connection.
async fn by_hand(answer: impl Fn(usize) -> Option<String> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            while let Ok(1..) = stream.read(&mut request).await {
                count += 1;
                let Some(answer) = answer(count) else { break };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

fn login() -> String {
    format!("HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: {LOGIN_URL}\r\n\r\n")
}

#[tokio::test]
async fn connections_may_break() {
    // Each second request is the last of its connection, so it is sent again on another.
    let at = by_hand(|count| (count % 2 == 1).then(login)).await;
    assert!(knock_at(at).await.is_closed());
    // From the third on everything is met with silence: a trick without an answer is no proof of anything.
    let at = by_hand(|count| (count < 3).then(login)).await;
    let report = knock_at(at).await;
    assert_eq!(with_reason(&report, "TrickUnanswered").len(), TRICKS.len(), "{report:#?}");
    says(&report, "TricksUnanswered", Grade::Unknown, &["20 of 20", "firewall"]);
    assert!(!report.is_closed());
}

#[tokio::test]
async fn who_no_longer_answers_is_left_alone() {
    let at = by_hand(|count| Some(if count < 6 { login() } else { String::new() })).await;
    let report = knock_at(at).await;
    let unanswered: Vec<&Verdict> = report.tricks.iter().map(|(_, verdict)| verdict).collect();
    assert!(unanswered.contains(&&Verdict::NoAnswer(Trouble::TimedOut)), "{report:#?}");
    assert!(with_reason(&report, "TrickNotTried").len() > 10);
    assert!(!report.is_closed() && !report.is_steady);
}

/// The status comes first, and an app that goes on for ever is as open as another.
#[tokio::test]
async fn an_endless_page_is_open() {
    for head in ["content-length: 99999999999", "transfer-encoding: chunked"] {
        let at = by_hand(move |_| Some(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))).await;
        says(&knock_at(at).await, "Open", Grade::Wrong, &["200"]);
    }
}

#[test]
fn each_finding_has_a_reason_of_its_own() {
    let reasons: BTreeSet<&str> = Baseline::REASONS.into_iter().chain(Verdict::REASONS).collect();
    assert_eq!(reasons.len(), Baseline::REASONS.len() + Verdict::REASONS.len());
    let finding = Finding { grade: Grade::Good, reason: "Login", text: "text".to_owned() };
    assert_eq!(finding.to_string(), "text");
}
