//! A request, byte for byte.

use super::{Reader, Response, connect, limited};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use url::{Position, Url};

/// A request that is sent as it was written: nothing is added, checked, escaped or put in order.
///
/// So there is no `Host` but a given one, and a header may be there twice, empty, or named with underscores.
/// An exchange takes a connection of its own, closed after the answer.
///
/// ```no_run
/// # use ingress_sso_testbed::http::Request;
/// # async fn example(data_plane: std::net::SocketAddr) -> anyhow::Result<()> {
/// let request = Request::get("http://b.example.test/").header("Host", "a.example.test").header("X_Forwarded_Host", "b");
/// assert_eq!(request.send(data_plane).await?.status, 400);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: Vec<u8>,
    version: &'static str,
    headers: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    /// A request with these two words in its request line. The target may be any bytes.
    pub fn new(method: &str, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref().to_vec();
        Self { method: method.to_owned(), target, version: "1.1", headers: Vec::new(), body: Vec::new() }
    }

    /// A GET for this target.
    pub fn get(target: impl AsRef<[u8]>) -> Self {
        Self::new("GET", target)
    }

    /// What a browser would ask for to show `url`: its path and query, with its host (and port, if unusual) as `Host`.
    pub fn to(method: &str, url: &Url) -> Self {
        let target = &url[Position::BeforePath..Position::AfterQuery];
        Self::new(method, target).header("Host", &url[Position::BeforeHost..Position::AfterPort])
    }

    /// Makes it one of HTTP/1.0, which needs no `Host`.
    #[must_use]
    pub fn http_1_0(self) -> Self {
        Self { version: "1.0", ..self }
    }

    /// Adds a header, after those that are there.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.raw_header([name.as_bytes(), b": ", value.as_ref()].concat())
    }

    /// Adds a header line as it is, without its line end.
    #[must_use]
    pub fn raw_header(mut self, line: impl AsRef<[u8]>) -> Self {
        self.headers.extend_from_slice(line.as_ref());
        self.headers.extend_from_slice(b"\r\n");
        self
    }

    /// Sets the body, and adds a `Content-Length` for it.
    #[must_use]
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        self.raw_body(body).header("Content-Length", length)
    }

    /// Sets what follows the head, and adds no header for it.
    #[must_use]
    pub fn raw_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// All of it, as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let version = self.version.as_bytes();
        let line = [self.method.as_bytes(), b" ", &self.target, b" HTTP/", version, b"\r\n"].concat();
        [&line, self.headers.as_slice(), b"\r\n", &self.body].concat()
    }

    /// Sends it over plain TCP.
    ///
    /// Fails without a connection, without a complete HTTP answer, or after ten seconds.
    pub async fn send(&self, address: SocketAddr) -> Result<Response> {
        self.exchange(address, None).await
    }

    /// Sends it over TLS, asking for the name `sni`, to whoever answers: **no certificate is verified**.
    ///
    /// Fails without a connection, without a complete HTTP answer, or after ten seconds.
    pub async fn send_tls(&self, address: SocketAddr, sni: &str) -> Result<Response> {
        self.exchange(address, Some(sni)).await
    }

    pub(crate) async fn exchange(&self, address: SocketAddr, sni: Option<&str>) -> Result<Response> {
        let exchange = async {
            let mut stream = connect(address, sni).await?;
            // A server may refuse and close before it has read everything: what it said counts.
            let sent = stream.write_all(&self.bytes()).await.context("send");
            let answer = Reader::new(stream).response(&self.method).await;
            answer.or_else(|error| sent.and(Err(error)))
        };
        let what = || format!("{} {} to {address}", self.method, String::from_utf8_lossy(&self.target));
        limited(exchange).await.with_context(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_added_or_put_in_order() {
        let request = Request::new("GET", b"http://b/\xff%2f..?\"")
            .header("x_Odd-Name", "1")
            .header("Host", "a")
            .header("Host", "b")
            .raw_header("no colon")
            .raw_body("rest");
        let wanted = b"GET http://b/\xff%2f..?\" HTTP/1.1\r\nx_Odd-Name: 1\r\nHost: a\r\nHost: b\r\nno colon\r\n\r\nrest";
        assert_eq!(request.bytes(), wanted);
        let body = Request::new("POST", "/").body("four").bytes();
        assert_eq!(body, b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nfour");
    }

    #[test]
    fn a_browsers_request() {
        let url = Url::parse("https://app.example.test:8443/a%2fb?c=d#e").unwrap();
        assert_eq!(
            Request::to("GET", &url).bytes(),
            b"GET /a%2fb?c=d HTTP/1.1\r\nHost: app.example.test:8443\r\n\r\n"
        );
    }
}
