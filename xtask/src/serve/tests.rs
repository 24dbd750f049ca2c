//! The server over a real socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use super::*;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

fn ask(port: u16, method: &str, path: &str, headers: &str) -> Answer {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

/// A site in a folder of its own, with a secret beside it.
fn site(name: &str) -> (PathBuf, u16) {
    let folder = std::env::temp_dir().join(format!("inkling-serve-{name}-{}", std::process::id()));
    let root = folder.join("site");
    std::fs::create_dir_all(root.join("assets")).unwrap();
    std::fs::write(root.join("index.html"), "<!doctype html>").unwrap();
    std::fs::write(root.join("assets/a b.mjs"), "export {}").unwrap();
    std::fs::write(root.join("engine.wasm"), vec![7; 100_000]).unwrap();
    let model: Vec<u8> = (0..100).collect();
    std::fs::write(folder.join("some.gguf"), model).unwrap();
    std::fs::write(folder.join("secret"), "secret").unwrap();
    let served = Site::default()
        .mount("/", &root)
        .mount("/local-model.gguf", folder.join("some.gguf"));
    let port = start(served, 0).unwrap().port;
    (folder, port)
}

#[test]
fn files_come_with_type_length_and_isolation() {
    let (folder, port) = site("types");
    for (path, kind, length) in [
        ("/", "text/html; charset=utf-8", "15"),
        ("/index.html?x=1", "text/html; charset=utf-8", "15"),
        ("/assets/a%20b.mjs", "text/javascript; charset=utf-8", "9"),
        ("/engine.wasm", "application/wasm", "100000"),
        ("/local-model.gguf", "application/octet-stream", "100"),
    ] {
        let answer = ask(port, "GET", path, "");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("content-length"), Some(length), "{path}");
        assert_eq!(answer.body.len().to_string(), length, "{path}");
        assert_eq!(
            answer.header("cross-origin-opener-policy"),
            Some("same-origin")
        );
        assert_eq!(
            answer.header("cross-origin-embedder-policy"),
            Some("require-corp")
        );
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some("same-origin")
        );
    }
    assert_eq!(ask(port, "GET", "/nothing", "").status, 404);
    assert_eq!(ask(port, "POST", "/", "Content-Length: 0\r\n").status, 405);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn head_has_the_headers_and_no_body() {
    let (folder, port) = site("head");
    let answer = ask(port, "HEAD", "/engine.wasm", "");
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("100000"))
    );
    assert!(answer.body.is_empty());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn ranges_give_parts() {
    let (folder, port) = site("ranges");
    let answer = ask(port, "GET", "/local-model.gguf", "Range: bytes=10-19\r\n");
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("content-range"), Some("bytes 10-19/100"));
    assert_eq!(answer.body, (10..20).collect::<Vec<u8>>());
    let answer = ask(port, "GET", "/local-model.gguf", "Range: bytes=100-\r\n");
    assert_eq!(
        (answer.status, answer.header("content-range")),
        (416, Some("bytes */100"))
    );
    let stale = "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n";
    assert_eq!(ask(port, "GET", "/local-model.gguf", stale).status, 200);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_connection_serves_many_and_idle_ones_block_nobody() {
    let (folder, port) = site("many");
    // Browsers open connections ahead of need.
    let idle: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    socket.write_all(request.repeat(3).as_bytes()).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("<!doctype html>").count(), 3);
    assert_eq!(ask(port, "GET", "/", "").status, 200);
    drop(idle);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_known_version_is_not_sent_again() {
    let (folder, port) = site("etag");
    let first = ask(port, "GET", "/engine.wasm", "");
    let tag = first.header("etag").unwrap();
    let again = ask(
        port,
        "GET",
        "/engine.wasm",
        &format!("If-None-Match: {tag}\r\n"),
    );
    assert_eq!((again.status, again.body.len()), (304, 0));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_outside_the_folder_is_served() {
    let (folder, port) = site("outside");
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/assets/..%2f..%2fsecret",
        "/assets/..%5c..%5csecret",
        "//secret/../../secret",
        "/%00",
        "/%ff",
        "/%",
    ] {
        assert_eq!(ask(port, "GET", path, "").status, 404, "{path}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.join("secret"), folder.join("site/link")).unwrap();
        assert_eq!(ask(port, "GET", "/link", "").status, 404);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_taken_port_gives_the_next() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let running = start(Site::default(), port).unwrap();
    assert!(running.port > port);
}
