//! The line of a controller beside the outpost: one connection of its own.

use super::{Answer, Line, Question, Trouble, Trust};
use crate::anonymous::{Connection, Tls};
use crate::config::{Address, Scheme};
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use std::sync::Arc;

/// Who asks, in the outpost's log.
const AGENT: &str = concat!("ingress-sso/", env!("CARGO_PKG_VERSION"), " (probe)");

/// Talks to an outpost itself, over a connection that is made for the first question and kept for the next.
#[derive(Debug)]
pub struct Direct {
    address: Address,
    trust: Arc<Trust>,
    connection: Option<Connection>,
}

impl Direct {
    /// A line to `address`; over TLS, certificates are checked against `trust`.
    pub fn new(address: Address, trust: Arc<Trust>) -> Self {
        Self { address, trust, connection: None }
    }

    async fn connect(&self) -> Result<Connection, Trouble> {
        let Address { scheme, host, port } = &self.address;
        let tls = match scheme {
            Scheme::Http => None,
            Scheme::Https => {
                let config = self.trust.client().map_err(|error| Trouble::Tls(error.to_string()))?;
                Some(Tls { config, name: host.clone() })
            }
        };
        Connection::open(host, *port, tls).await
    }
}

impl Direct {
    async fn send(&mut self, connection: Connection, question: &Question) -> Result<Answer, Trouble> {
        let mut request = Request::get(&question.path).header(HOST, &question.host).header(USER_AGENT, AGENT);
        for (name, value) in &question.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Empty::new()).map_err(|error| Trouble::NoHttp(error.to_string()))?;
        let (response, connection) = connection.get(request).await?;
        self.connection = connection;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let (status, location) = (response.status().as_u16(), location.map(str::to_owned));
        Ok(Answer { status, location, body: response.into_body() })
    }
}

impl Line for Direct {
    async fn get(&mut self, question: &Question) -> Result<Answer, Trouble> {
        if let Some(connection) = self.connection.take().filter(Connection::is_open) {
            match self.send(connection, question).await {
                // The other side may have ended it since, which says nothing of this question.
                Err(Trouble::NoHttp(_)) => {}
                answer => return answer,
            }
        }
        let connection = self.connect().await?;
        self.send(connection, question).await
    }
}
