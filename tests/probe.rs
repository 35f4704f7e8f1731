//! What the probe concludes, by real HTTP from doubles of both outposts and from servers that are none.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use anyhow::Result;
use ingress_sso::config::{Address, ClusterDomain, Scheme};
use ingress_sso::facts::Host;
use ingress_sso::plan::outpost::Outpost as Known;
use ingress_sso::probe::{Conclusion, Direct, Findings, Hole, Target, Trust, ask};
use ingress_sso_testbed::outpost::{Flavour, Outpost, Provider};
use ingress_sso_testbed::port;
use regex::Regex;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

const BOTH: [Flavour; 2] = [Flavour::Rust, Flavour::Go];
const APP: &str = "app.example.com";

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn provider() -> Provider {
    Provider::forward_single("https://app.example.com").unwrap()
}

/// One more, since an outpost of Go with a single provider serves every host by it.
fn other() -> Provider {
    Provider::forward_single("https://other.example.com").unwrap()
}

fn target(host: &str, at: SocketAddr) -> Target {
    let address = Address { scheme: Scheme::Http, host: at.ip().to_string(), port: at.port() };
    let outpost = Known { name: "proxy".to_owned(), address };
    Target { outpost, host: Host::parse(host).unwrap(), scheme: Scheme::Https, passes_raw_host: false }
}

async fn probe_trusting(target: &Target, trust: Trust) -> Findings {
    let mut line = Direct::new(target.outpost.address.clone(), Arc::new(trust));
    ask(&mut line, target, &ClusterDomain::default()).await
}

async fn probe(target: &Target) -> Findings {
    probe_trusting(target, Trust::default()).await
}

async fn conclusion(host: &str, outpost: &Outpost) -> Conclusion {
    probe(&target(host, outpost.address())).await.conclusion
}

/// Reason and message, of which the important parts are `parts`.
fn says(conclusion: &Conclusion, reason: &str, parts: &[&str]) {
    let text = conclusion.to_string();
    assert_eq!(conclusion.reason(), reason, "{text}");
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

#[tokio::test]
async fn a_host_with_a_provider_of_its_own_is_served() -> Result<()> {
    for flavour in BOTH {
        for providers in [vec![provider()], vec![other(), provider()]] {
            let outpost = Outpost::start(anywhere(), flavour, providers.clone()).await?;
            assert_eq!(conclusion(APP, &outpost).await, Conclusion::Served, "{flavour:?}");
            let embedded = Outpost::start_embedded(anywhere(), flavour, providers).await?;
            assert_eq!(conclusion(APP, &embedded).await, Conclusion::Served, "{flavour:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_host_below_the_domain_of_a_provider_is_served_and_so_is_a_wildcard() -> Result<()> {
    for flavour in BOTH {
        let domain = Provider::forward_domain("https://login.example.com", "example.com")?;
        let outpost = Outpost::start(anywhere(), flavour, vec![domain, provider()]).await?;
        for host in ["any.example.com", "*.example.com", APP] {
            assert_eq!(conclusion(host, &outpost).await, Conclusion::Served, "{flavour:?} {host}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_host_without_a_provider() -> Result<()> {
    for flavour in BOTH {
        let second = Provider::forward_single("https://second.example.com")?;
        let outpost = Outpost::start(anywhere(), flavour, vec![other(), second.clone()]).await?;
        let url = "External host https://app.example.com";
        says(
            &conclusion(APP, &outpost).await,
            "NoProvider",
            &["proxy", url, "Applications > Outposts > proxy"],
        );
        let embedded = Outpost::start_embedded(anywhere(), flavour, vec![other(), second]).await?;
        says(
            &conclusion(APP, &embedded).await,
            "NoProviderEmbedded",
            &["404", url, "Embedded Outpost > Edit"],
        );
        says(&conclusion("*.app.com", &outpost).await, "NoProvider", &["*.app.com", "(domain level)"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_a_proxy_itself() -> Result<()> {
    for flavour in BOTH {
        let providers = vec![other(), Provider::proxy("https://app.example.com")?];
        let outpost = Outpost::start(anywhere(), flavour, providers.clone()).await?;
        says(&conclusion(APP, &outpost).await, "WrongMode", &[APP, "\"Proxy\"", "Forward auth"]);
        let embedded = Outpost::start_embedded(anywhere(), flavour, providers).await?;
        says(&conclusion(APP, &embedded).await, "WrongMode", &[APP]);
    }
    // With a rule that lets everybody in, the question reaches the app behind it.
    let start = ("/start", "", "302 Found\r\nlocation: https://sso.example.com/");
    let open = answering(&[("/ping", "", "204 No Content"), ("/auth", "", "404 Not Found"), start]).await?;
    says(&probe(&target(APP, open)).await.conclusion, "WrongMode", &[APP]);
    Ok(())
}

/// authentik's own URL as the External host is how visitors end up on its home page.
#[tokio::test]
async fn an_external_host_that_is_not_the_apps() -> Result<()> {
    let home = Provider::forward_single("https://authentik.example.com")?;
    let outpost = Outpost::start(anywhere(), Flavour::Go, vec![home]).await?;
    let parts = ["External host authentik.example.com", "set it to https://app.example.com"];
    says(&conclusion(APP, &outpost).await, "OtherExternalHost", &parts);
    Ok(())
}

#[tokio::test]
async fn a_login_at_a_name_that_only_the_cluster_knows() -> Result<()> {
    for flavour in BOTH {
        for name in ["authentik-server", "authentik.authentik.svc.cluster.local", "localhost"] {
            let authentik = Url::parse(&format!("http://{name}:9000/"))?;
            let providers = vec![other(), Provider { authentik, ..provider() }];
            let outpost = Outpost::start(anywhere(), flavour, providers).await?;
            let parts = [name, "authentik_host_browser", "Applications > Outposts > proxy"];
            says(&conclusion(APP, &outpost).await, "InternalAuthentik", &parts);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_rule_that_lets_everybody_in() -> Result<()> {
    let (anywhere_in_it, at_its_start) = (Regex::new("/")?, Regex::new("^/webhook/")?);
    for flavour in BOTH {
        let open = Provider { skip_paths: vec![anywhere_in_it.clone()], ..provider() };
        let outpost = Outpost::start(anywhere(), flavour, vec![other(), open]).await?;
        says(
            &conclusion(APP, &outpost).await,
            "OpenBySkipRule",
            &["https://app.example.com/", "Unauthenticated"],
        );
        let webhooks = Provider { skip_paths: vec![at_its_start.clone()], ..provider() };
        outpost.set_providers(vec![other(), webhooks]);
        assert_eq!(conclusion(APP, &outpost).await, Conclusion::Served);
    }
    Ok(())
}

/// Only where the data plane passes it on, and to outposts that read it so: the parser of Go's allows only digits there.
#[tokio::test]
async fn a_forged_host() -> Result<()> {
    for (flavour, passes_raw_host, wanted) in [
        (Flavour::Rust, true, Conclusion::OpenByForgedHost { outpost: "proxy".to_owned() }),
        (Flavour::Rust, false, Conclusion::Served),
        (Flavour::Go, true, Conclusion::Served),
    ] {
        let outpost = Outpost::start(anywhere(), flavour, vec![other(), provider()]).await?;
        let target = Target { passes_raw_host, ..target(APP, outpost.address()) };
        assert_eq!(probe(&target).await.conclusion, wanted, "{flavour:?}");
        outpost.set_providers(vec![other()]);
        let reason = probe(&target).await.conclusion.reason();
        assert!(!["Served", "OpenByForgedHost"].contains(&reason), "what is missing comes first: {reason}");
    }
    Ok(())
}

#[tokio::test]
async fn holes_of_the_outpost() -> Result<()> {
    for flavour in BOTH {
        let outpost = Outpost::start(anywhere(), flavour, vec![other(), provider()]).await?;
        let target = target(APP, outpost.address());
        assert_eq!(probe(&target).await.holes, Some(vec![Hole::RawPaths]), "{flavour:?}");
        let old = Provider { believes_x_original_uri: true, ..provider() };
        outpost.set_providers(vec![other(), old]);
        assert_eq!(probe(&target).await.holes, Some(vec![Hole::RawPaths, Hole::OriginalUri]));
        outpost.set_providers(vec![other()]);
    }
    // None of today's outposts is without the first, so this one is no double of any.
    let cleaning = answering(&[
        ("/ping", "", "204 No Content"),
        ("/auth/nginx", "", "401 Unauthorized"),
        (
            "/start",
            "",
            "302 Found\r\nlocation: https://sso.example.com/?redirect_uri=https://app.example.com/",
        ),
    ]);
    let findings = probe(&target(APP, cleaning.await?)).await;
    assert_eq!(
        findings,
        Findings { conclusion: Conclusion::Served, is_reached: true, holes: Some(Vec::new()) }
    );
    Ok(())
}

#[tokio::test]
async fn an_outpost_that_cannot_be_reached() -> Result<()> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
    let found = probe(&target(APP, nowhere)).await.conclusion;
    says(&found, "OutpostConnectionRefused", &["proxy", &nowhere.to_string(), "Pods"]);

    let mut unknown = target(APP, nowhere);
    // A label longer than DNS has, so that no server is asked.
    unknown.outpost.address.host = format!("ak-outpost-{}.sso.svc.cluster.local", "x".repeat(64));
    let found = probe(&unknown).await.conclusion;
    says(&found, "OutpostUnresolved", &["does not resolve", "kubectl get service,endpointslices -n sso"]);

    let silent = TcpListener::bind(anywhere()).await?;
    let found = probe(&target(APP, silent.local_addr()?)).await.conclusion;
    says(&found, "OutpostTimedOut", &["does not answer in time", "NetworkPolicies"]);

    let other = answering(&[("", "", "200 OK")]).await?;
    let found = probe(&target(APP, other)).await.conclusion;
    says(&found, "NotAnOutpost", &["/outpost.goauthentik.io/ping gives 200", "--outpost proxy=URL"]);
    Ok(())
}

#[tokio::test]
async fn certificates_are_checked() -> Result<()> {
    let (outpost, certificate) = Outpost::start_tls(anywhere(), Flavour::Rust, vec![provider()]).await?;
    let mut target = target(APP, outpost.address());
    let plain = probe(&target).await.conclusion;
    says(&plain, "OutpostNoHttp", &["does not speak http", "9443 for https"]);

    target.outpost.address.scheme = Scheme::Https;
    target.outpost.address.host = "localhost".to_owned();
    let found = probe(&target).await.conclusion;
    says(&found, "OutpostTls", &["https://localhost", "UnknownIssuer", "--outpost-ca"]);
    assert!(outpost.requests().is_empty(), "it was asked in spite of its certificate");

    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, certificate)?;
    let trust = || Trust::new(Some(file.path()));
    assert_eq!(probe_trusting(&target, trust()?).await.conclusion, Conclusion::Served);
    target.outpost.address.host = "127.0.0.1".to_owned();
    let found = probe_trusting(&target, trust()?).await.conclusion;
    says(&found, "OutpostTls", &["not valid for name"]);

    let plain = Outpost::start(anywhere(), Flavour::Rust, vec![provider()]).await?;
    target.outpost.address.port = plain.address().port();
    says(&probe(&target).await.conclusion, "OutpostNoHttp", &["does not speak https"]);
    Ok(())
}

#[test]
fn a_file_without_certificates_is_an_error() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let error = |path| Trust::new(Some(path)).unwrap_err().to_string();
    assert!(error(file.path()).contains("it holds no certificate"));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    assert!(error(file.path()).contains("--outpost-ca"));
    assert!(error("/nowhere".as_ref()).contains("No such file"));
    Ok(())
}

#[tokio::test]
async fn answers_of_what_stands_in_between() -> Result<()> {
    let ping = ("/ping", "", "204 No Content");
    let lost =
        answering(&[ping, ("/auth/nginx", "configuration error", "500 Internal Server Error")]).await?;
    says(&probe(&target(APP, lost)).await.conclusion, "HeaderLost", &["X-Original-URL", "service mesh"]);
    for status in ["500 Internal Server Error", "403 Forbidden", "400 Bad Request", "302 Found"] {
        let odd = answering(&[ping, ("/auth/nginx", "", status)]).await?;
        says(
            &probe(&target(APP, odd)).await.conclusion,
            "UnexpectedAnswer",
            &[&status[..3], "the auth check"],
        );
    }
    for start in
        ["200 OK", "302 Found", "302 Found\r\nlocation: /relative", "302 Found\r\nlocation: https://sso/?x"]
    {
        let odd = answering(&[ping, ("/auth/nginx", "", "401 Unauthorized"), ("/start", "", start)]).await?;
        says(&probe(&target(APP, odd)).await.conclusion, "UnexpectedAnswer", &["the way to the login"]);
    }
    Ok(())
}

/// Such as a provider of the type Proxy with an app behind it that hangs.
#[tokio::test]
async fn an_outpost_that_answers_for_other_hosts_is_reached() -> Result<()> {
    let hanging = answering(&[("/ping", "", "204 No Content"), ("/auth/nginx", "", "")]).await?;
    let findings = probe(&target(APP, hanging)).await;
    says(&findings.conclusion, "OutpostNoHttp", &[]);
    assert!(findings.is_reached);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
    assert!(!probe(&target(APP, nowhere)).await.is_reached);
    Ok(())
}

/// Without a word before.
#[tokio::test]
async fn an_outpost_that_ends_its_connections_is_asked_over_new_ones() -> Result<()> {
    let listener = TcpListener::bind(anywhere()).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await?;
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).await?;
            let start =
                "302 Found\r\nlocation: https://sso.example.com/?redirect_uri=https://app.example.com/";
            let status = match String::from_utf8_lossy(&request[..length]).split('/').nth(2) {
                Some(path) if path.starts_with("ping") => "204 No Content",
                Some(path) if path.starts_with("start") => start,
                _ => "401 Unauthorized",
            };
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
            // The next one gets no answer here.
            _ = stream.read(&mut request).await?;
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    });
    assert_eq!(probe(&target(APP, address)).await.conclusion, Conclusion::Served);
    Ok(())
}

/// An endless body, an endless head, and a connection that ends in the middle.
#[tokio::test]
async fn a_hostile_server_gets_little_attention() -> Result<()> {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "HTTP/1.1 200 OK\r\nx: "] {
        let listener = TcpListener::bind(anywhere()).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(answer.as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
            #[allow(unreachable_code)]
            anyhow::Ok(())
        });
        let found = probe(&target(APP, address)).await.conclusion;
        assert!(matches!(found.reason(), "NotAnOutpost" | "OutpostNoHttp"), "{found}");
    }
    let cut = answering(&[("", "", "")]).await?;
    says(&probe(&target(APP, cut)).await.conclusion, "OutpostNoHttp", &["does not speak http"]);
    Ok(())
}

/// What is not read to its end keeps the connection, and the next question needs another.
#[tokio::test]
async fn a_long_body_does_not_spoil_the_next_answer() -> Result<()> {
    let long: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let login = "302 Found\r\nlocation: https://sso.example.com/?redirect_uri=https://app.example.com/";
    let answers =
        [("/ping", "", "204 No Content"), ("/auth/nginx", long, "401 Unauthorized"), ("/start", long, login)];
    let findings = probe(&target(APP, answering(&answers).await?)).await;
    assert_eq!(
        findings,
        Findings { conclusion: Conclusion::Served, is_reached: true, holes: Some(Vec::new()) }
    );
    Ok(())
}

#[tokio::test]
async fn nothing_is_sent_that_could_log_anyone_in() -> Result<()> {
    let outpost = Outpost::start(anywhere(), Flavour::Go, vec![other(), provider()]).await?;
    let target = Target { passes_raw_host: true, ..target(APP, outpost.address()) };
    assert_eq!(probe(&target).await.conclusion, Conclusion::Served);
    let requests = outpost.requests();
    assert_eq!(requests.len(), 6, "ping, auth check, login; a host, a path and a header: {requests:#?}");
    let allowed =
        ["host", "user-agent", "x-forwarded-host", "x-forwarded-proto", "x-original-url", "x-original-uri"];
    for recorded in &requests {
        assert_eq!((recorded.request.method.as_str(), recorded.host.as_str()), ("GET", APP));
        for (name, _) in &recorded.request.headers {
            assert!(allowed.contains(&name.as_str()), "{name}");
        }
    }
    let peers: BTreeSet<SocketAddr> = requests.iter().map(|recorded| recorded.request.peer).collect();
    assert_eq!(peers.len(), 1, "one connection is enough");
    Ok(())
}

#[test]
fn each_conclusion_has_a_reason_of_its_own() {
    let reasons: BTreeSet<&str> = Conclusion::REASONS.into_iter().collect();
    assert_eq!(reasons.len(), Conclusion::REASONS.len());
}

/// A server that answers by the first of `answers` with whose path the asked one begins below the outpost's: path, body, and
/// status line with further headers.
async fn answering(answers: &[(&'static str, &'static str, &'static str)]) -> Result<SocketAddr> {
    let answers = answers.to_vec();
    let listener = TcpListener::bind(anywhere()).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await?;
            let answers = answers.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 8192];
                while let Ok(length @ 1..) = stream.read(&mut request).await {
                    let text = String::from_utf8_lossy(&request[..length]).into_owned();
                    let path = text.strip_prefix("GET /outpost.goauthentik.io").unwrap_or_default();
                    let found = answers.iter().find(|(start, ..)| path.starts_with(start));
                    let Some((_, body, status)) = found.filter(|(_, _, status)| !status.is_empty()) else {
                        return;
                    };
                    let length = body.len();
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    });
    Ok(address)
}
