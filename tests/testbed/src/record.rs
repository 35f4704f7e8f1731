//! What arrived at a double of ours, kept in order.

use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// Its method, such as `GET`.
    pub method: String,
    /// Path and query, or whatever else stood in the request line, as it was sent. A `#` and what follows is lost.
    pub target: String,
    /// All headers in order: names in lower case, values as they were sent (what is no UTF-8 is replaced). Those of
    /// one name stand together, in their order, where the first of them stood.
    pub headers: Vec<(String, String)>,
    /// Who sent it.
    pub peer: SocketAddr,
}

impl Arrived {
    pub(crate) fn new(peer: SocketAddr, parts: &Parts) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        Self {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: headers.collect(),
            peer,
        }
    }

    /// Value of the first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// Values of all headers of this name, in whatever case.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        named(&self.headers, name)
    }
}

/// Values of all headers of this name, in whatever case.
pub(crate) fn named<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let is_named = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
    headers.iter().filter(is_named).map(|(_, value)| value.as_str()).collect()
}

/// A list that grows.
#[derive(Debug)]
pub(crate) struct Log<T>(Mutex<Vec<T>>);

impl<T: Clone> Log<T> {
    pub(crate) fn push(&self, entry: T) {
        lock(&self.0).push(entry);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        lock(&self.0).clone()
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Locks; a thread that panicked with the lock held is a test that failed, and no reason for others to.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
