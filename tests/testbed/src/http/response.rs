//! An answer.

use crate::record::named;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// An answer, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status, such as 200.
    pub status: u16,
    /// All headers in order, as they were sent. What is no UTF-8 in a value is replaced.
    pub headers: Vec<(String, String)>,
    /// The body, out of its chunks if it came in such.
    pub body: Vec<u8>,
}

impl Response {
    /// Value of the first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// Values of all headers of this name, in whatever case.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        named(&self.headers, name)
    }

    /// The body as text. Bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Fails, with the status and the body, when it is none or another.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let what = || format!("not the JSON expected, but status {} with {:?}", self.status, self.text());
        serde_json::from_slice(&self.body).with_context(what)
    }
}
