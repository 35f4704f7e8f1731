//! A browser, a data plane of a few lines, the outpost and the app, together.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ingress_sso_testbed::{
    browser::{Browser, Upgrade},
    echo::{Echo, Echoed},
    http::Request,
    outpost::{Flavour, Outpost, Provider, User},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A data plane: asks `/auth/traefik` about each connection's first request, and passes the connection on to the app,
/// or hands out what the outpost said.
async fn data_plane(outpost: SocketAddr, app: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, outpost, app));
        }
    });
    address
}

async fn serve(mut client: TcpStream, outpost: SocketAddr, app: SocketAddr) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let text = String::from_utf8(head.clone()).unwrap();
    let header = |name: &str| {
        text.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    let question = Request::get("/outpost.goauthentik.io/auth/traefik")
        .header("Host", "outpost.internal")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", header("host").unwrap().1)
        .header("X-Forwarded-Uri", text.split(' ').nth(1).unwrap())
        .header("Cookie", header("cookie").map(|(_, cookies)| cookies).unwrap_or_default());
    let answer = question.send(outpost).await.unwrap();
    if answer.status == 200 {
        let mut upstream = TcpStream::connect(app).await.unwrap();
        upstream.write_all(&head).await.unwrap();
        _ = copy_bidirectional(&mut client, &mut upstream).await;
        return;
    }
    let lines = answer.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
    let lines: Vec<_> = lines.map(|(name, value)| format!("{name}: {value}")).collect();
    let (lines, body) = (lines.join("\r\n"), answer.text());
    let reply = format!("HTTP/1.1 {} x\r\n{lines}\r\n\r\n{body}", answer.status);
    _ = client.write_all(reply.as_bytes()).await;
}

struct Scene {
    outpost: Outpost,
    echo: Echo,
    /// `http://app.example.test:port`
    site: String,
}

async fn scene(flavour: Flavour) -> Scene {
    let echo = Echo::start((HERE, 0).into()).await.unwrap();
    let outpost = Outpost::start((HERE, 0).into(), flavour, Vec::new()).await.unwrap();
    let port = data_plane(outpost.address(), echo.address()).await.port();
    let site = format!("http://app.example.test:{port}");
    outpost.set_providers(vec![
        Provider::forward_single(&site).unwrap(),
        Provider::forward_single("https://b.test").unwrap(),
    ]);
    Scene { outpost, echo, site }
}

#[tokio::test]
async fn logs_in_and_out() {
    for flavour in [Flavour::Rust, Flavour::Go] {
        let Scene { outpost, echo, site } = scene(flavour).await;
        let mut browser = Browser::new(HERE);
        let page = format!("{site}/deep/link?a=b&c=d%26e");
        assert_eq!(browser.get(&page).await.unwrap().status, 302);
        assert_eq!(echo.count(), 0);

        let response = browser.log_in(&page, &outpost, &User::new("u", &[])).await.unwrap();
        let echoed: Echoed = response.json().unwrap();
        assert_eq!(echoed.request.target, "/deep/link?a=b&c=d%26e");
        assert!(echoed.request.header("cookie").unwrap().starts_with("authentik_proxy_"));

        let post =
            Request::new("POST", "/form").header("Host", site.trim_start_matches("http://")).body("hello");
        let echoed: Echoed = browser.send(&format!("{site}/form"), post).await.unwrap().json().unwrap();
        assert_eq!(echoed.body.text.as_deref(), Some("hello"));

        let out = browser.get(&format!("{site}/?X-authentik-logout=true")).await.unwrap();
        assert!(out.header("location").unwrap().contains("/end-session/"));
        assert_eq!(browser.get(&page).await.unwrap().status, 302);
        assert_eq!(echo.count(), 2);
    }
}

#[tokio::test]
async fn websockets_need_a_session() {
    let Scene { outpost, echo, site } = scene(Flavour::Rust).await;
    let mut browser = Browser::new(HERE);
    let socket = format!("{}/socket", site.replace("http", "ws"));
    let Upgrade::Refused(response) = browser.websocket(&socket).await.unwrap() else {
        panic!("a stranger got a WebSocket");
    };
    assert_eq!((response.status, echo.count()), (302, 0));
    browser.log_in(&site, &outpost, &User::new("u", &[])).await.unwrap();
    let Upgrade::Open(mut open) = browser.websocket(&socket).await.unwrap() else {
        panic!("no WebSocket for a user");
    };
    assert_eq!(open.ask("hello").await.unwrap(), "hello");
    assert_eq!(open.ask("again").await.unwrap(), "again");
    assert_eq!(echo.requests().last().unwrap().request.target, "/socket");
}

#[tokio::test]
async fn a_login_that_goes_wrong_says_where() {
    let Scene { outpost, echo, .. } = scene(Flavour::Rust).await;
    let mut browser = Browser::new(HERE);
    let user = User::new("u", &[]);
    let open = format!("http://app.example.test:{}/x", echo.address().port());
    let error = browser.log_in(&open, &outpost, &user).await.unwrap_err().to_string();
    assert!(error.contains("no login") && error.contains(&format!("GET {open}: 200")), "{error}");

    // The outpost alone, and a page that it was not told of as `rd`: the user lands on the external host.
    let home = format!("http://app.example.test:{}/", outpost.address().port());
    outpost.set_providers(vec![Provider::forward_single(&home).unwrap()]);
    let start = format!("{home}outpost.goauthentik.io/start");
    let error = browser.log_in(&start, &outpost, &user).await.unwrap_err().to_string();
    assert!(error.contains(&format!("did not end at {start}")), "{error}");
    assert!(error.contains(&format!("GET {start}: 302 https://authentik.example.test/")), "{error}");
    assert!(error.ends_with(&format!("GET {home}: 404 ")), "{error}");
}

#[tokio::test]
async fn redirects_without_end_are_an_error() {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            _ = stream.read(&mut [0; 1000]).await;
            _ = stream.write_all(b"HTTP/1.1 302 x\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let error = Browser::new(HERE).follow(&format!("http://a.test:{port}/")).await.unwrap_err().to_string();
    assert!(error.starts_with("more than 10 redirects") && error.lines().count() == 12, "{error}");
}

/// Answers with 503 as often as `failures` says, then with 200.
async fn just_reloaded(failures: usize) -> String {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let url = format!("http://app.example.test:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        for answered in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            _ = stream.read(&mut request).await.unwrap();
            let status = if answered < failures { 503 } else { 200 };
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn only_a_patient_browser_asks_again_and_not_for_ever() {
    let pause = Duration::from_millis(1);
    assert_eq!(Browser::new(HERE).get(&just_reloaded(1).await).await.unwrap().status, 503);
    let patient = || Browser::new(HERE).patient(pause);
    assert_eq!(patient().get(&just_reloaded(5).await).await.unwrap().status, 200);
    assert_eq!(patient().get(&just_reloaded(6).await).await.unwrap().status, 503);
}
