//! As much of HTTP/1.1 as a browser on the same machine needs: one thread a connection, connections kept open.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const LARGEST_HEAD: usize = 64 << 10;
const LARGEST_BODY: usize = 256 << 20;
const MOST_HEADERS: usize = 64;
/// Browsers open a new connection when they need one.
const IDLE: Duration = Duration::from_secs(60);

pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Bytes(Vec<u8>),
    /// So many bytes from where the file stands.
    Part(File, u64),
}

impl Reply {
    /// A short plain answer.
    pub fn text(status: u16, message: &str) -> Self {
        let reply = Self {
            status,
            headers: Vec::new(),
            body: Body::Bytes(message.as_bytes().to_vec()),
        };
        reply.with("Content-Type", "text/plain; charset=utf-8")
    }

    /// So many bytes of a file, from where it stands.
    pub fn part(status: u16, file: File, length: u64) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Part(file, length),
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn send(self, stream: &mut TcpStream, head_only: bool) -> std::io::Result<()> {
        let length = match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Part(_, length) => *length,
        };
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status != 304 {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if head_only || self.status == 304 {
            return Ok(());
        }
        match self.body {
            Body::Bytes(bytes) => stream.write_all(&bytes),
            Body::Part(file, length) => {
                let sent = std::io::copy(&mut file.take(length), stream)?;
                // The file became shorter: the reader must not take the next reply for the rest.
                if sent == length {
                    Ok(())
                } else {
                    Err(std::io::ErrorKind::UnexpectedEof.into())
                }
            }
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        _ => "Error",
    }
}

/// Answers requests of one connection until either side has enough.
pub fn converse(mut stream: TcpStream, answer: impl Fn(&Request) -> Reply) -> Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    while let Some(request) = receive(&mut stream, &mut unread)? {
        let last = request
            .header("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        answer(&request).send(&mut stream, request.method == "HEAD")?;
        if last {
            break;
        }
    }
    Ok(())
}

/// The next request; nothing when the other side has gone. `unread` keeps what came too early.
fn receive(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Result<Option<Request>> {
    let (mut request, head, length) = loop {
        if let Some(parsed) = parse_head(unread)? {
            break parsed;
        }
        if unread.len() > LARGEST_HEAD {
            bail!("the head of the request is too long");
        }
        if !read_more(stream, unread)? {
            return Ok(None);
        }
    };
    while unread.len() < head + length {
        if !read_more(stream, unread)? {
            return Ok(None);
        }
    }
    request.body = unread[head..head + length].to_vec();
    unread.drain(..head + length);
    Ok(Some(request))
}

fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    let count = stream.read(&mut buffer)?;
    unread.extend_from_slice(&buffer[..count]);
    Ok(count > 0)
}

/// A request without its body, the length of its head and of its body; nothing while the head is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(bytes)? else {
        return Ok(None);
    };
    let target = parsed.path.context("no target")?;
    let request = Request {
        method: parsed.method.context("no method")?.to_owned(),
        path: target.split(['?', '#']).next().unwrap_or("/").to_owned(),
        headers: parsed
            .headers
            .iter()
            .map(|header| {
                (
                    header.name.to_owned(),
                    String::from_utf8_lossy(header.value).into_owned(),
                )
            })
            .collect(),
        body: Vec::new(),
    };
    if request.header("Transfer-Encoding").is_some() {
        bail!("bodies in chunks are not understood");
    }
    let length = match request.header("Content-Length") {
        Some(text) => text.trim().parse().context("Content-Length")?,
        None => 0,
    };
    if length > LARGEST_BODY {
        bail!("the body is too long");
    }
    Ok(Some((request, head, length)))
}
