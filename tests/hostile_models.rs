//! Files whose header lies: loading and running them gives an answer or a typed error, never a panic.

#![allow(clippy::unwrap_used)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use inkling::engine::{Engine, LoadOptions, MemorySource};
use pollster::block_on;

/// Small models of different make-up.
const MODELS: [&str; 13] = [
    "llama-gqa",
    "gemma3",
    "phi3-longrope",
    "gpt2",
    "lfm2",
    "qwen3moe",
    "llama-q-Q4_K",
    "nomic-bert",
    "gemma3n",
    "rwkv7",
    "jamba",
    "deepseek2",
    "deepseek2-whole",
];

/// Broken copies of each model.
const CASES: u64 = 1500;

/// A small generator of numbers (Steele et al. 2014, SplitMix64): the cases are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Where values and shapes stand: behind each metadata key and its type, behind each tensor name and its rank.
fn telling_places(bytes: &[u8], header: usize) -> Vec<usize> {
    let is_name =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    let mut places = Vec::new();
    let mut length = 0;
    for (i, byte) in bytes[..header].iter().enumerate() {
        if is_name(byte) {
            length += 1;
            continue;
        }
        if length > 8 && bytes[i - length..i].contains(&b'.') {
            places.extend(i + 4..(i + 12).min(header));
        }
        length = 0;
    }
    places
}

/// Loads and runs; what comes out does not matter.
fn use_model(bytes: Vec<u8>, backend: &str) {
    let options: LoadOptions =
        serde_json::from_value(serde_json::json!({ "backend": backend, "contextLength": 64 }))
            .unwrap();
    let Ok(mut engine) = block_on(Engine::load(vec![MemorySource(bytes)], &options, |_| true))
    else {
        return;
    };
    let _ = engine.tokenizer().encode("Hello <s> wörld", true, true);
    let _ = block_on(engine.logits(&[1, 2, 3, 4, 5]));
    let _ = block_on(engine.embed(&[1, 2, 3]));
}

#[test]
fn broken_headers_do_not_panic() {
    let mut panics = Vec::new();
    for (m, model) in MODELS.iter().enumerate() {
        let path = common::fixtures().join(format!("models/{model}.gguf"));
        let whole = std::fs::read(path).unwrap();
        // Metadata that matters and the tensor table stand before the weights.
        let places = telling_places(&whole, whole.len().min(40_000));
        assert!(places.len() > 200, "{model}");
        for case in 0..CASES {
            let mut numbers = Numbers((m as u64) << 32 | case);
            let mut bytes = whole.clone();
            for _ in 0..1 + numbers.below(4) {
                let at = places[numbers.below(places.len())];
                bytes[at] = match numbers.below(4) {
                    0 => numbers.next() as u8,
                    1 => bytes[at] ^ 1 << numbers.below(8),
                    2 => 0,
                    _ => bytes[at].wrapping_add(1),
                };
            }
            let backend = if case % 2 == 0 { "cpu" } else { "reference" };
            if catch_unwind(AssertUnwindSafe(|| use_model(bytes, backend))).is_err() {
                panics.push(format!("{model}, case {case}"));
            }
        }
    }
    assert!(panics.is_empty(), "{} panics: {panics:?}", panics.len());
}
