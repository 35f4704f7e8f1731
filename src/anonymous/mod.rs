//! Requests of a stranger: what the probe and the knocking have in common.
//!
//! Nothing that could log anyone in is ever sent, redirects are read and not followed, and whoever answers gets little time
//! and little room.

mod connection;
mod login;

pub(crate) use connection::{Connection, Tls, read_start};
pub(crate) use login::Login;

use std::time::Duration;
use thiserror::Error;

/// How long the other side has for each step of a conversation: to be resolved, to take a connection, to answer.
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// How much of a body is read, in bytes.
pub const MAX_BODY: usize = 4096;

/// Why there is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Trouble {
    /// The name does not resolve.
    #[error("the name does not resolve")]
    Unresolved,
    /// Nothing listens at the port.
    #[error("the connection is refused")]
    Refused,
    /// No answer in time: to the lookup, the connection or the request.
    #[error("no answer in time")]
    TimedOut,
    /// TLS cannot be agreed on, by the certificate for the most part.
    #[error("no TLS: {0}")]
    Tls(String),
    /// What listens does not speak HTTP, or broke off.
    #[error("no HTTP: {0}")]
    NoHttp(String),
}
