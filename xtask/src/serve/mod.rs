//! A static file server for this machine only, with the headers that the page needs.
//!
//! Cross-origin isolation (COOP, COEP, CORP) allows threads and exact clocks; ranges let the engine read a model in
//! pieces; ETags let the browser ask whether its copy is still good.

mod files;
mod http;
mod range;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

pub use files::decode;
pub use http::{Reply, Request};

/// How many ports are tried after the wanted one.
const NEXT_PORTS: u16 = 50;

/// Answers requests that are not for files; `None` leaves them to the files.
pub type Handler = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

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

    fn answer(&self, request: &Request) -> Reply {
        let handled = self.handler.as_ref().and_then(|handler| handler(request));
        let reply =
            handled.unwrap_or_else(
                || match (request.method.as_str(), self.file(&request.path)) {
                    ("GET" | "HEAD", Some(file)) => {
                        files::reply(request, &file).unwrap_or_else(|error| {
                            Reply::text(500, &format!("cannot read the file: {error}"))
                        })
                    }
                    ("GET" | "HEAD", None) => Reply::text(404, "there is no such file here"),
                    _ => Reply::text(405, "only GET and HEAD"),
                },
            );
        reply
            .with("Cross-Origin-Opener-Policy", "same-origin")
            .with("Cross-Origin-Embedder-Policy", "require-corp")
            .with("Cross-Origin-Resource-Policy", "same-origin")
            .with("X-Content-Type-Options", "nosniff")
            .with("Cache-Control", "no-cache")
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
    let listener = bind(wanted)?;
    let port = listener.local_addr()?.port();
    let site = Arc::new(site);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let site = Arc::clone(&site);
            // A browser that breaks off or talks nonsense is no concern of ours.
            std::thread::spawn(move || http::converse(stream, |request| site.answer(request)).ok());
        }
    });
    Ok(Running { port })
}

fn bind(wanted: u16) -> Result<TcpListener> {
    let last = if wanted == 0 {
        0
    } else {
        wanted.saturating_add(NEXT_PORTS)
    };
    for port in wanted..=last {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if port == last => {
                return Err(error).context(format!("no free port from {wanted} to {last}"));
            }
            Err(_) => {}
        }
    }
    bail!("no port to try")
}

#[cfg(test)]
mod tests;
