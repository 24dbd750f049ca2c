//! Loading fixtures and comparing logits.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::path::{Path, PathBuf};

use inkling::engine::{Engine, LoadOptions, MemorySource};
use serde_json::Value;

/// Folder of the fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Reads a fixture's JSON.
pub fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(fixtures().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Names and known answers of all fixture models of a kind: `causal`, `encoder`, ….
pub fn of_kind(kind: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(fixtures().join("models")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".expected.json") else {
            continue;
        };
        let expected = json(&format!("models/{file}"));
        if expected["kind"] == kind {
            found.push((name.to_owned(), expected));
        }
    }
    assert!(!found.is_empty(), "no model of kind {kind}");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Shards of a fixture model, given the name of its expected file.
pub fn sources(name: &str) -> Vec<MemorySource> {
    let read =
        |file: String| MemorySource(std::fs::read(fixtures().join("models").join(file)).unwrap());
    match name.split_once("-00001-of-") {
        None => vec![read(format!("{name}.gguf"))],
        Some((stem, count)) => {
            let n: usize = count.parse().unwrap();
            (1..=n)
                .map(|i| read(format!("{stem}-{i:05}-of-{count}.gguf")))
                .collect()
        }
    }
}

/// Loads a fixture model.
pub fn load(name: &str, options: &Value) -> inkling::Result<Engine> {
    let options: LoadOptions = serde_json::from_value(options.clone()).unwrap();
    pollster::block_on(Engine::load(sources(name), &options, |_| true))
}

/// A file with other bytes in a place that is counted from the end of the first `after`.
pub fn patched(bytes: &[u8], after: &str, place: Range<usize>, with: &[u8]) -> Vec<u8> {
    let mut windows = bytes.windows(after.len());
    let found = windows.position(|window| window == after.as_bytes());
    let end = found.unwrap() + after.len();
    let mut bytes = bytes.to_vec();
    bytes.splice(end + place.start..end + place.end, with.iter().copied());
    bytes
}

/// Numbers of a JSON array.
pub fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect()
}

/// Token ids of a JSON array.
pub fn tokens(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

/// `|a - b| / |b|`
pub fn rel_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let diff: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let norm: f64 = b.iter().map(|b| f64::from(*b).powi(2)).sum();
    (diff / norm).sqrt()
}

/// Index of the largest.
pub fn argmax(values: &[f32]) -> u32 {
    let best = values
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .unwrap();
    best.0 as u32
}
