//! A static file server for this machine only, with the headers that the page needs.
//!
//! Cross-origin isolation (COOP, COEP, CORP) allows threads and exact clocks; ranges let the engine read a model in
//! pieces; ETags let the browser ask whether its copy is still good.

mod files;
mod range;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

/// Browsers open six connections to one host.
const WORKERS: usize = 8;
/// How many ports are tried after the wanted one.
const NEXT_PORTS: u16 = 50;

/// A reply with a body of any kind.
pub type Reply = Response<Box<dyn std::io::Read + Send>>;
/// Answers requests that are not for files (by their path); `None` leaves them to the files.
pub type Handler = Box<dyn Fn(&mut Request, &str) -> Option<Reply> + Send + Sync>;

/// Which files stand under which address.
#[derive(Default)]
pub struct Site {
    mounts: Vec<(String, PathBuf)>,
    handler: Option<Handler>,
}

impl Site {
    /// Serves a folder (`/` or `/name/`) or one file (`/name`). Later mounts win.
    pub fn mount(mut self, address: &str, path: impl Into<PathBuf>) -> Self {
        self.mounts.push((address.to_owned(), path.into()));
        self
    }

    /// Asks `handler` first.
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handler = Some(handler);
        self
    }

    /// The file behind a request path.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let decoded = files::decode(path)?;
        self.mounts.iter().rev().find_map(|(address, target)| {
            if *address == decoded && !address.ends_with('/') {
                return Some(target.clone());
            }
            let rest = decoded.strip_prefix(address.as_str())?;
            if address.ends_with('/') {
                files::within(target, rest)
            } else {
                None
            }
        })
    }

    fn answer(&self, request: &mut Request) -> Reply {
        let path = request
            .url()
            .split(['?', '#'])
            .next()
            .unwrap_or("/")
            .to_owned();
        if let Some(handler) = &self.handler
            && let Some(reply) = handler(request, &path)
        {
            return isolated(reply);
        }
        let reply = match (request.method(), self.file(&path)) {
            (Method::Get | Method::Head, Some(file)) => files::reply(request, &file)
                .unwrap_or_else(|error| text(500, &format!("cannot read the file: {error}"))),
            (Method::Get | Method::Head, None) => text(404, "there is no such file here"),
            _ => text(405, "only GET and HEAD"),
        };
        isolated(reply)
    }
}

/// A running server; it ends with the process.
pub struct Running {
    pub port: u16,
}

impl Running {
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// Serves on 127.0.0.1, on the wanted port or the next free one (0: any free one), in background threads.
pub fn start(site: Site, wanted: u16) -> Result<Running> {
    let server = Arc::new(bind(wanted)?);
    let port = server
        .server_addr()
        .to_ip()
        .context("the server has no port")?
        .port();
    let site = Arc::new(site);
    for _ in 0..WORKERS {
        let (server, site) = (Arc::clone(&server), Arc::clone(&site));
        std::thread::spawn(move || {
            while let Ok(mut request) = server.recv() {
                let reply = site.answer(&mut request);
                // A reader that went away is no concern of ours.
                let _ = request.respond(reply);
            }
        });
    }
    Ok(Running { port })
}

fn bind(wanted: u16) -> Result<Server> {
    let last = if wanted == 0 {
        0
    } else {
        wanted.saturating_add(NEXT_PORTS)
    };
    let mut refusal = None;
    for port in wanted..=last {
        match Server::http(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(server) => return Ok(server),
            Err(error) => refusal = Some(error),
        }
    }
    let refusal = refusal.map(|error| error.to_string()).unwrap_or_default();
    Err(anyhow!("no free port from {wanted} to {last}: {refusal}"))
}

/// A short plain answer.
pub fn text(status: u16, message: &str) -> Reply {
    let reply = Response::from_string(message).with_status_code(StatusCode(status));
    with_header(reply.boxed(), "Content-Type", "text/plain; charset=utf-8")
}

fn with_header(mut reply: Reply, name: &str, value: &str) -> Reply {
    // Refused only where name or value are not ASCII; ours are.
    if let Ok(header) = Header::from_bytes(name, value) {
        reply.add_header(header);
    }
    reply
}

fn isolated(reply: Reply) -> Reply {
    let headers = [
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-cache"),
    ];
    let reply = headers.into_iter().fold(reply, |reply, (name, value)| {
        with_header(reply, name, value)
    });
    // A known length in place of chunks: the page shows progress by it.
    reply.with_chunked_threshold(usize::MAX)
}

#[cfg(test)]
mod tests;
