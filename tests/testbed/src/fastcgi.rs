//! An app that speaks `FastCGI`: it answers every request with the parameters that reached it, as JSON.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Types of records, as the specification of `FastCGI` numbers them.
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// Longest content of one record.
const MAX_CONTENT: usize = 0xffff;

/// The app, served until it is dropped.
pub struct FastCgi {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl FastCgi {
    /// Serves on `listen`; port 0 takes a free one. Fails when the address is taken.
    pub async fn start(listen: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // A client that breaks off is no failure of the app.
                tokio::spawn(async move { _ = answer(connection).await });
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for FastCgi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request, to the end of its body, and answers it.
async fn answer(mut connection: TcpStream) -> Result<()> {
    let mut params = Vec::new();
    loop {
        let mut header = [0; 8];
        connection.read_exact(&mut header).await?;
        let [_, kind, _, _, high, low, padding, _] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let mut content = vec![0; length + usize::from(padding)];
        connection.read_exact(&mut content).await?;
        content.truncate(length);
        match kind {
            PARAMS => params.extend(content),
            STDIN if content.is_empty() => break,
            _ => {}
        }
    }
    let json = serde_json::to_string(&pairs(&params).context("cut parameters")?)?;
    let text = format!("Status: 200\r\nContent-Type: application/json\r\n\r\n{json}");
    for part in text.as_bytes().chunks(MAX_CONTENT) {
        connection.write_all(&record(STDOUT, part)?).await?;
    }
    connection.write_all(&record(STDOUT, &[])?).await?;
    connection.write_all(&record(END_REQUEST, &[0; 8])?).await?;
    Ok(())
}

fn record(kind: u8, content: &[u8]) -> Result<Vec<u8>> {
    let [high, low] = u16::try_from(content.len())?.to_be_bytes();
    // Version 1, and the request 1: nginx has no more than one on a connection.
    Ok([&[1, kind, 0, 1, high, low, 0, 0], content].concat())
}

/// Names and values, each before its text with its length in one byte or, marked by the highest bit, in four.
fn pairs(mut bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    while !bytes.is_empty() {
        let (name, value) = (length(&mut bytes)?, length(&mut bytes)?);
        let (name, rest) = bytes.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        bytes = rest;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        pairs.insert(text(name), text(value));
    }
    Some(pairs)
}

fn length(bytes: &mut &[u8]) -> Option<usize> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(first.into());
    }
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*four) & 0x7fff_ffff).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_however_long_they_are() {
        let long = "v".repeat(300);
        let bytes = [b"\x01\x02abc", &b"\x01\x80\x00\x01\x2cx"[..], long.as_bytes()].concat();
        let read = pairs(&bytes).unwrap();
        assert_eq!(read, BTreeMap::from([("a".to_owned(), "bc".to_owned()), ("x".to_owned(), long)]));
        assert_eq!(pairs(&bytes[..bytes.len() - 1]), None);
        assert_eq!(pairs(b""), Some(BTreeMap::new()));
    }
}
