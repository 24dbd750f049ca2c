//! What xtask tells about its work, on standard error: standard output is for results.

use std::time::Instant;

use anyhow::Result;

/// Announces a piece of work that takes time, does it, and says how long it took.
pub fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("• {title} …");
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => eprintln!("  {title}: {seconds:.1} s"),
        Err(_) => eprintln!("  {title}: failed after {seconds:.1} s"),
    }
    result
}

/// Something that was found in order, with nothing to do.
pub fn ready(what: &str) {
    eprintln!("✓ {what}");
}

/// A remark that the reader should not miss.
pub fn note(text: &str) {
    eprintln!("! {text}");
}

/// A number of bytes as people read it.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.2} MB", count as f64 / 1e6),
    }
}
