//! Reading an answer: its head, and a body that ends in one of three ways.

use super::Response;
use crate::record::named;
use anyhow::{Context, Result, bail, ensure};
use std::io::ErrorKind;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How many headers an answer may have.
const MAX_HEADERS: usize = 256;

/// A stream, and what was read of it but not yet used.
pub(crate) struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The stream, and the bytes that follow what was read as an answer.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Reads the final answer to a request of this method; 101 is final. Fails when it is not one, or not complete.
    pub(crate) async fn response(&mut self, method: &str) -> Result<Response> {
        let (status, headers) = loop {
            let head = self.head().await?;
            if head.0 >= 200 || head.0 == 101 {
                break head;
            }
        };
        let body = match framing(method, status, &headers)? {
            Framing::None => Vec::new(),
            Framing::Length(length) => self.take(length).await.context("receive the body")?,
            Framing::Chunked => self.chunks().await.context("receive the chunks of the body")?,
            Framing::Close => {
                self.rest().await.context("receive the body up to the end of the connection")?
            }
        };
        Ok(Response { status, headers, body })
    }

    async fn head(&mut self) -> Result<Head> {
        loop {
            if let Some((length, head)) = parse_head(&self.buffer).context("read the head of the answer")? {
                self.buffer.drain(..length);
                return Ok(head);
            }
            ensure!(self.fill().await?, "the connection ended within the head, after {:?}", self.seen());
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            ensure!(self.fill().await?, "the connection ended after {} of {length} bytes", self.buffer.len());
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = self.chunk_size().await?;
            if length == 0 {
                // Trailers are read, so that nothing of the answer is left, and forgotten.
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(length).await?);
            ensure!(self.line().await?.is_empty(), "a chunk is longer than it says");
        }
    }

    async fn chunk_size(&mut self) -> Result<usize> {
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((used, length))) => {
                    self.buffer.drain(..used);
                    return Ok(usize::try_from(length)?);
                }
                Ok(httparse::Status::Partial) => {
                    ensure!(self.fill().await?, "the connection ended before the last chunk");
                }
                Err(_) => bail!("not the size of a chunk: {:?}", self.seen()),
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            ensure!(self.fill().await?, "the connection ended within a line");
        }
    }

    async fn rest(&mut self) -> Result<Vec<u8>> {
        while self.fill().await? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads more; false at the end of the stream. TLS that ends without saying so has ended.
    async fn fill(&mut self) -> Result<bool> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(length) => Ok(length > 0),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error).context("receive"),
        }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(200)]).into_owned()
    }
}

/// Status and headers.
type Head = (u16, Vec<(String, String)>);

/// A head and its length, if it is complete.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Head)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    let status = head.code.context("the answer has no status")?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = head.headers.iter().map(|header| (header.name.to_owned(), text(header.value)));
    Ok(Some((length, (status, headers.collect()))))
}

/// How the end of a body is known (RFC 9112, section 6.3).
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
    Close,
}

fn framing(method: &str, status: u16, headers: &[(String, String)]) -> Result<Framing> {
    if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    if named(headers, "transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing::Chunked);
    }
    match named(headers, "content-length").as_slice() {
        [] => Ok(Framing::Close),
        [length] => {
            Ok(Framing::Length(length.parse().with_context(|| format!("content-length {length:?}"))?))
        }
        several => bail!("several content-lengths: {several:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(method: &str, bytes: &[u8]) -> Result<Response> {
        Reader::new(bytes).response(method).await
    }

    #[tokio::test]
    async fn bodies_end_in_three_ways() {
        let length = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nnoX";
        let chunks =
            b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=1\r\nn\r\n1\r\no\r\n0\r\nTrailer: t\r\n\r\n";
        let close = b"HTTP/1.0 503\r\n\r\nno";
        for bytes in [&length[..], chunks, close] {
            let response = read("GET", bytes).await.unwrap();
            assert_eq!((response.status, response.text().as_str()), (503, "no"));
        }
        assert_eq!(read("HEAD", length).await.unwrap().body, b"");
        assert_eq!(read("GET", b"HTTP/1.1 204 x\r\n\r\n").await.unwrap().status, 204);
    }

    #[tokio::test]
    async fn headers_stay_as_sent() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n";
        let response = read("GET", bytes).await.unwrap();
        assert_eq!(response.headers("SET-COOKIE"), ["a=1", "b=2"]);
        assert_eq!(response.headers[1], ("set-cookie".to_owned(), "b=2".to_owned()));
        assert_eq!(response.header("location"), None);
    }

    #[tokio::test]
    async fn what_is_cut_off_or_no_http_is_an_error() {
        let cut: [&[u8]; 6] = [
            b"",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nno",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nno",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n",
        ];
        for bytes in cut {
            assert!(read("GET", bytes).await.is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[tokio::test]
    async fn what_follows_an_upgrade_is_kept() {
        let mut reader = Reader::new(&b"HTTP/1.1 101 Switching\r\n\r\nframes"[..]);
        assert_eq!(reader.response("GET").await.unwrap().status, 101);
        assert_eq!(reader.into_parts().1, b"frames");
    }
}
