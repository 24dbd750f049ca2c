//! Every causal fixture against llama.cpp's answers, and the invariants that need no oracle.

#![allow(clippy::unwrap_used)]

mod common;

use common::{argmax, fixtures, floats, json, load, of_kind, patched, rel_l2, tokens};
use inkling::backend::LogitRows;
use inkling::engine::{Engine, LoadOptions, MemorySource};
use pollster::block_on;
use serde_json::{Value, json as j};

/// Greedy continuation, compared while the margin is above the tolerance.
fn check_greedy(engine: &mut Engine, case: &Value, tolerance: f64) {
    let margins = floats(&case["margins"]);
    let mut session = engine.new_session().unwrap();
    let mut next = tokens(&case["prompt"]);
    for (want, margin) in tokens(&case["tokens"]).into_iter().zip(margins) {
        let backend = engine.backend().unwrap();
        block_on(session.prefill(backend, &next, LogitRows::Last)).unwrap();
        if f64::from(margin) < tolerance {
            return;
        }
        assert_eq!(argmax(backend.logits()), want);
        next = vec![want];
    }
}

fn check(name: &str, expected: &Value, options: &Value, tolerance: f64, native: f64, margin: f64) {
    let mut engine = load(name, options).unwrap();
    // llama.cpp looks GELU up in a half-precision table.
    let gelu = expected["gelu"] == true;
    let (tolerance, margin) = if gelu {
        (tolerance.max(2e-3), margin.max(0.1))
    } else {
        (tolerance, margin)
    };
    let mut misses = Vec::new();
    let (mut worst, mut worst_native) = (0.0_f64, 0.0_f64);
    let sequences = expected["sequences"].as_array().unwrap();
    for (i, sequence) in sequences.iter().enumerate() {
        let logits = block_on(engine.logits(&tokens(&sequence["tokens"]))).unwrap();
        let exact = sequence.get("logits_f64").unwrap_or(&sequence["logits"]);
        let error = rel_l2(&logits, &floats(exact));
        let error_native = match sequence.get("logits_native") {
            Some(native) => rel_l2(&logits, &floats(native)),
            None => f64::INFINITY,
        };
        worst = worst.max(error);
        worst_native = worst_native.max(error_native);
        if error > tolerance && error_native > native {
            misses.push(format!(
                "sequence {i}: {error:.2e} (native {error_native:.2e})"
            ));
        }
        if let Some(all) = sequence.get("logits_all").filter(|all| all.is_array()) {
            let got = block_on(engine.logits_all(&tokens(&sequence["tokens"]))).unwrap();
            let want: Vec<f32> = all.as_array().unwrap().iter().flat_map(floats).collect();
            // llama.cpp looks GELU up in a half-precision table; `logits_f64` marks such models.
            let limit = if sequence.get("logits_f64").is_some() {
                tolerance.max(2e-3)
            } else {
                tolerance
            };
            let error = rel_l2(&got, &want);
            assert!(error < limit, "{name}: all positions {error:.2e}");
        }
    }
    if std::env::var_os("PRINT_AGREEMENT").is_some() {
        eprintln!(
            "{name} {options}: worst {worst:.1e}, of llama.cpp's own arithmetic {worst_native:.1e}"
        );
    }
    // A rounding can flip an expert or a mixture's argmax: the fixtures' notes allow one sequence.
    let allowed = usize::from(tolerance > 0.1);
    assert!(misses.len() <= allowed, "{name}: {misses:?}");
    for case in expected["greedy"].as_array().unwrap() {
        check_greedy(&mut engine, case, margin);
    }
}

#[test]
fn exact_path_gives_llama_cpp_logits() {
    for (name, expected) in of_kind("causal") {
        let n_ctx = expected["n_ctx"].clone();
        let options = j!({ "backend": "reference", "contextLength": n_ctx });
        check(&name, &expected, &options, 2e-5, 0.0, 1e-3);
        if let Some(long) = expected.get("long_context").filter(|long| long.is_object()) {
            let options = j!({ "backend": "reference", "contextLength": long["n_ctx"] });
            check(&name, long, &options, 2e-5, 0.0, 1e-3);
        }
    }
}

/// The same limits for a cache of bytes: rounding keys and values to bytes is of the size of rounding activations to them.
fn stays_within_int8_limits(kv_type: &str) {
    for (name, expected) in of_kind("causal") {
        let options = j!({ "contextLength": expected["n_ctx"], "kvType": kv_type });
        let rounding_flips = name.starts_with("gemma3-mix") || name.contains("moe");
        let tolerance = if rounding_flips { 0.12 } else { 0.06 };
        check(&name, &expected, &options, tolerance, 0.02, 1.0);
    }
}

#[test]
fn fast_path_stays_within_int8_limits() {
    stays_within_int8_limits("f16");
}

#[test]
fn byte_cache_stays_within_int8_limits() {
    stays_within_int8_limits("q8_0");
}

#[test]
fn prefill_chunks_and_single_steps_agree() {
    for name in [
        "llama-gqa",
        "gemma3",
        "phi3",
        "gpt2",
        "llama-q-Q4_K",
        "qwen3moe",
        "lfm2",
        "qwen35",
        "rwkv7",
        "jamba",
        "granitehybrid",
        "falcon-h1",
        "nemotron_h",
    ] {
        let expected = json(&format!("models/{name}.expected.json"));
        let prompt = tokens(&expected["sequences"][3]["tokens"]);
        for (backend, cache) in [("reference", "f32"), ("cpu", "f32"), ("cpu", "q8_0")] {
            let mut engine = load(name, &j!({ "backend": backend, "kvType": cache })).unwrap();
            let whole = block_on(engine.logits(&prompt)).unwrap();
            for size in [1, 5, 33] {
                let mut session = engine.new_session().unwrap();
                let backend = engine.backend().unwrap();
                for chunk in prompt.chunks(size) {
                    block_on(session.prefill(backend, chunk, LogitRows::Last)).unwrap();
                }
                let error = rel_l2(backend.logits(), &whole);
                // A number in the middle between two bytes may be rounded to either.
                let limit = if cache == "q8_0" { 1e-2 } else { 1e-5 };
                assert!(error < limit, "{name}, chunks of {size}: {error:.2e}");
            }
        }
    }
}

#[test]
fn truncated_cache_equals_a_fresh_one() {
    for (name, expected) in of_kind("causal") {
        let prompt = tokens(&expected["sequences"][3]["tokens"]);
        let mut engine = load(&name, &j!({ "backend": "reference" })).unwrap();
        // 37 tokens are shared, the session goes on differently for another 20, some of them one by one.
        let mut changed = prompt.clone();
        changed[37..].rotate_left(7);
        let mut session = engine.new_session().unwrap();
        let backend = engine.backend().unwrap();
        for chunk in [0..20, 20..45, 45..46, 46..47, 47..57] {
            block_on(session.prefill(backend, &changed[chunk], LogitRows::None)).unwrap();
        }
        session.truncate(37);
        let kept = session.tokens().len();
        assert!((20..=37).contains(&kept), "{name}: {kept}");
        block_on(session.prefill(backend, &prompt[kept..], LogitRows::Last)).unwrap();
        let reused = backend.logits().to_vec();
        let fresh = block_on(engine.logits(&prompt)).unwrap();
        let error = rel_l2(&reused, &fresh);
        assert!(error < 1e-5, "{name}: {error:.2e}");
    }
}

#[test]
fn unknown_architecture_is_named() {
    let bytes = std::fs::read(fixtures().join("models/llama-gqa.gguf")).unwrap();
    let bytes = patched(&bytes, "general.architecture", 12..17, b"grok1");
    let options = LoadOptions::default();
    let load = Engine::load(vec![MemorySource(bytes)], &options, |_| true);
    let error = block_on(load).err().unwrap();
    assert_eq!(error.code(), "unsupported_architecture");
    assert!(error.to_string().contains("grok1") && error.to_string().contains("qwen35"));
}

/// A key and its number as GGUF has them, filled up to a multiple of the alignment by a key without a meaning.
fn number(key: &str, value: u32) -> Vec<u8> {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut bytes = [&string(key)[..], &4u32.to_le_bytes(), &value.to_le_bytes()].concat();
    bytes.extend([&string("fill")[..], &8u32.to_le_bytes()].concat());
    let left = 32 - (bytes.len() + 8) % 32;
    bytes.extend(string(&" ".repeat(left)));
    bytes
}

#[test]
fn lfm2_may_have_a_window() {
    let bytes = std::fs::read(fixtures().join("models/lfm2.gguf")).unwrap();
    // Behind the magic, the version and the number of tensors stands that of keys, then the keys.
    let bytes = patched(&bytes, "GGUF", 12..13, &[bytes[16] + 2]);
    let window = number("lfm2.attention.sliding_window", 24);
    let bytes = patched(&bytes, "GGUF", 20..20, &window);
    let options: LoadOptions = serde_json::from_value(j!({ "backend": "reference" })).unwrap();
    let load = Engine::load(vec![MemorySource(bytes)], &options, |_| true);
    let sequence = &json("models/lfm2.expected.json")["sequences"][3];
    let logits = block_on(block_on(load).unwrap().logits(&tokens(&sequence["tokens"]))).unwrap();
    // What llama.cpp gives for this file.
    let want = [
        -4.65765, 6.68624, 3.87653, 5.61458, 1.15433, -0.13321, -1.7403, 3.12427,
    ];
    assert!(rel_l2(&logits[..8], &want) < 2e-5);
}

#[test]
fn token_outside_the_vocabulary_is_refused() {
    let mut engine = load("llama-gqa", &j!({})).unwrap();
    assert_eq!(
        block_on(engine.logits(&[100_000])).unwrap_err().code(),
        "invalid_request"
    );
    assert_eq!(
        block_on(engine.logits(&[])).unwrap_err().code(),
        "invalid_request"
    );
}

#[test]
fn full_context_is_an_error() {
    let mut engine = load("llama-gqa", &j!({ "contextLength": 8 })).unwrap();
    assert_eq!(
        block_on(engine.logits(&[1; 9])).unwrap_err().code(),
        "context_full"
    );
    assert!(block_on(engine.logits(&[1; 8])).is_ok());
}
