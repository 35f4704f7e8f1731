//! A DNS server in the test process, for the names of apps and of Services.
//!
//! There is no cluster DNS and no kube-proxy: a test says what each name leads to, such as
//! `ak-outpost-main.authentik.svc.cluster.local` to the address of its outpost.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use hickory_server::{
    Server,
    net::runtime::Time,
    proto::{
        op::{Header, HeaderCounts, Metadata, ResponseCode},
        rr::{RData, Record, RecordType},
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

use crate::network;

const PORT: u16 = 53;

/// Seconds for which an answer may be remembered. nginx has a minimum of its own for what it resolves itself.
const TTL: u32 = 1;

/// Time for a request over TCP.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers that wait to be sent over one TCP connection.
const BUFFER: usize = 16;

/// A running server, on port 53 of [`network::DNS`]. It ends when it is dropped, or with the runtime that started it.
#[derive(Debug)]
pub struct Dns {
    names: Names,
    server: JoinHandle<()>,
}

impl Dns {
    /// Starts a server that knows no names.
    ///
    /// Fails outside of a private network, and when another one listens.
    pub async fn start() -> Result<Self> {
        network::ensure_inside()?;
        let address = (network::DNS, PORT);
        let udp = UdpSocket::bind(address).await.context("listen for DNS over UDP")?;
        let tcp = TcpListener::bind(address).await.context("listen for DNS over TCP")?;
        let names = Names::default();
        let mut server = Server::new(names.clone());
        server.register_socket(udp);
        server.register_listener(tcp, TIMEOUT, BUFFER);
        let server = tokio::spawn(async move {
            if let Err(error) = server.block_until_done().await {
                eprintln!("testbed: the DNS server stopped: {error}");
            }
        });
        Ok(Self { names, server })
    }

    /// Lets `name` lead to `address`, and not to another any more. `*.nginx.test` stands for every name below
    /// `nginx.test` that has no entry of its own or below a closer `*`.
    pub fn set(&self, name: &str, address: Ipv4Addr) {
        self.names.write(|names| names.insert(normal(name), address));
    }

    /// Takes `name` back, written as it was set. Clients may remember it for a second.
    pub fn remove(&self, name: &str) {
        self.names.write(|names| names.remove(&normal(name)));
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, Debug, Default)]
struct Names(Arc<RwLock<HashMap<String, Ipv4Addr>>>);

impl Names {
    fn write<T>(&self, change: impl FnOnce(&mut HashMap<String, Ipv4Addr>) -> T) {
        // A panic elsewhere leaves the map as valid as it was.
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// What a name leads to, by an entry of its own or by the closest `*`.
    fn find(&self, name: &str) -> Option<Ipv4Addr> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = normal(name);
        if let Some(address) = names.get(&name) {
            return Some(*address);
        }
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(address) = names.get(&format!("*.{parent}")) {
                return Some(*address);
            }
            rest = parent;
        }
        None
    }

    /// The code and the records that answer a request: an unknown name does not exist, and a known one has an address
    /// of version 4 and nothing else.
    fn answer(&self, request: &Request) -> (ResponseCode, Option<Record>) {
        let Ok(info) = request.request_info() else { return (ResponseCode::FormErr, None) };
        let Some(address) = self.find(&info.query.name().to_string()) else {
            return (ResponseCode::NXDomain, None);
        };
        let asked = matches!(info.query.query_type(), RecordType::A | RecordType::ANY);
        let record = || Record::from_rdata(info.query.name().into(), TTL, RData::A(address.into()));
        (ResponseCode::NoError, asked.then(record))
    }
}

#[async_trait]
impl RequestHandler for Names {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let (code, record) = self.answer(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        metadata.response_code = code;
        let builder = MessageResponseBuilder::from_message_request(request);
        let message = builder.build(metadata, record.as_ref(), [], [], []);
        // A client that went away is no matter.
        let sent = response.send_response(message).await;
        sent.unwrap_or_else(|_| Header { metadata, counts: HeaderCounts::default() }.into())
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wildcards() {
        let names = Names::default();
        let [a, b, c] = [1, 2, 3].map(|last| Ipv4Addr::new(10, 201, 0, last));
        for (name, address) in [("*.test", a), ("*.nginx.test", b), ("app.nginx.test", c)] {
            names.write(|names| names.insert(name.to_owned(), address));
        }
        assert_eq!(names.find("App.nginx.test."), Some(c));
        assert_eq!(names.find("other.nginx.test"), Some(b));
        assert_eq!(names.find("a.b.nginx.test"), Some(b));
        assert_eq!(names.find("nginx.test"), Some(a));
        assert_eq!(names.find("test"), None);
        assert_eq!(names.find("nginx.example"), None);
    }
}
