//! From a request to the bytes of a file.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::range::{Wanted, parse};
use super::{Reply, Request};
use anyhow::Result;

/// The path of an address with its `%20` and kin resolved; `None` if it is not UTF-8.
pub fn decode(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(decoded).ok()
}

/// The file below `folder`, and never one elsewhere, whatever the path or a link in the folder says.
pub fn within(folder: &Path, path: &str) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let mut file = folder.clone();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == ".." || part.contains(['\\', '\0', ':']) {
            return None;
        }
        file.push(part);
    }
    if file.is_dir() {
        file.push("index.html");
    }
    let file = file.canonicalize().ok()?;
    (file.starts_with(&folder) && file.is_file()).then_some(file)
}

/// The reply with the file, the part of it that was asked for, or the word that the reader's copy is still good.
pub fn reply(request: &Request, path: &Path) -> Result<Reply> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    let changed = meta.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
    let size = meta.len();
    let etag = format!("\"{size:x}-{changed:x}\"");
    let known = request
        .header("If-None-Match")
        .is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag));
    if known {
        return Ok(Reply::text(304, "").with("ETag", etag));
    }
    // A part of another version of the file would not fit what the reader has.
    let same = request.header("If-Range").is_none_or(|tag| tag == etag);
    let wanted = match request.header("Range") {
        Some(header) if same => parse(header, size),
        _ => Wanted::Everything,
    };
    let (status, first, length) = match wanted {
        Wanted::Everything => (200, 0, size),
        Wanted::Part { first, last } => (206, first, last - first + 1),
        Wanted::Unsatisfiable => {
            let reply = Reply::text(416, "the file has no such range");
            return Ok(reply.with("Content-Range", format!("bytes */{size}")));
        }
    };
    file.seek(SeekFrom::Start(first))?;
    let mut reply = Reply::part(status, file, length);
    if status == 206 {
        let last = first + length - 1;
        reply = reply.with("Content-Range", format!("bytes {first}-{last}/{size}"));
    }
    Ok(reply
        .with("Content-Type", content_type(path))
        .with("Accept-Ranges", "bytes")
        .with("ETag", etag))
}

/// What browsers insist on: modules must be JavaScript, streamed wasm must be `application/wasm`.
fn content_type(path: &Path) -> &'static str {
    match path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
    {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
