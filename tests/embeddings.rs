//! Encoders and embedding models against llama.cpp's answers.

#![allow(clippy::unwrap_used)]

mod common;

use common::{fixtures, floats, json, load, rel_l2, tokens};
use inkling::model::Pooling;
use pollster::block_on;
use serde_json::{Value, json as j};

fn encoders() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(fixtures().join("models")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".expected.json") else {
            continue;
        };
        let expected = json(&format!("models/{file}"));
        if expected["kind"] == "encoder" {
            found.push((name.to_owned(), expected));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Smallest error against any answer that counts.
fn error(got: &[f32], sequence: &Value, keys: &[&str]) -> f64 {
    keys.iter()
        .filter_map(|key| sequence.get(key).filter(|value| value.is_array()))
        .map(|value| rel_l2(got, &floats(value)))
        .fold(f64::INFINITY, f64::min)
}

fn check(name: &str, expected: &Value, options: &Value, limit: f64) {
    let mut engine = load(name, options).unwrap();
    // llama.cpp looks GELU up in a half-precision table.
    let gelu = expected.get("llama_cpp_vs_f64_rel_l2_max").is_some() || expected["gelu"] == true;
    for (i, sequence) in expected["sequences"].as_array().unwrap().iter().enumerate() {
        let ids = tokens(&sequence["tokens"]);
        let close = |got: &[f32], keys: &[&str], limit: f64| {
            let error = error(got, sequence, keys);
            if std::env::var_os("PRINT_AGREEMENT").is_some() {
                eprintln!("{name} {options} {}: {error:.1e}", keys[0]);
            }
            assert!(
                error < limit,
                "{name} {options}, sequence {i}, {}: {error:.2e}",
                keys[0]
            );
        };
        let loose = if gelu { limit.max(2e-3) } else { limit };
        if sequence.get("mean").is_some() {
            let mean = block_on(engine.embed_with(&ids, Pooling::Mean)).unwrap();
            close(&mean, &["mean"], loose);
            if sequence.get("mean_f64_tanh_gelu").is_some() {
                close(&mean, &["mean_f64_tanh_gelu", "mean_f64_erf_gelu"], limit);
            }
            close(
                &block_on(engine.embed_with(&ids, Pooling::First)).unwrap(),
                &["cls"],
                loose,
            );
        }
        if let Some(rows) = sequence.get("per_token").and_then(Value::as_array) {
            let want: Vec<f32> = rows.iter().flat_map(floats).collect();
            let got = block_on(engine.embed_tokens(&ids)).unwrap();
            let error = rel_l2(&got, &want);
            assert!(
                error < loose,
                "{name} {options}, sequence {i}, per token: {error:.2e}"
            );
        }
        if sequence.get("pooled").is_some() {
            close(&block_on(engine.embed(&ids)).unwrap(), &["pooled"], loose);
        }
    }
}

#[test]
fn exact_path_gives_llama_cpp_embeddings() {
    for (name, expected) in encoders() {
        check(&name, &expected, &j!({ "backend": "reference" }), 2e-5);
    }
}

#[test]
fn fast_path_stays_within_int8_limits() {
    for (name, expected) in encoders() {
        let limit = if name.contains("moe") { 0.12 } else { 0.06 };
        check(&name, &expected, &j!({}), limit);
    }
}

#[test]
fn embedding_models_refuse_to_make_text() {
    let mut bert = load("bert", &j!({})).unwrap();
    assert!(bert.is_embedding_model());
    assert_eq!(
        block_on(bert.logits(&[1, 2])).unwrap_err().code(),
        "invalid_request"
    );
    let mut llama = load("llama-gqa", &j!({})).unwrap();
    assert_eq!(
        block_on(llama.embed(&[1, 2])).unwrap_err().code(),
        "invalid_request"
    );
}

#[test]
fn a_text_longer_than_a_chunk_is_read_as_a_whole() {
    let mut engine = load("bert", &j!({ "backend": "reference" })).unwrap();
    let short: Vec<u32> = (10..80).collect();
    let mut long = short.clone();
    long.extend(80..90);
    let a = block_on(engine.embed_tokens(&short)).unwrap();
    let b = block_on(engine.embed_tokens(&long)).unwrap();
    assert!(
        rel_l2(&b[..a.len()], &a) > 1e-3,
        "later tokens must matter to earlier ones"
    );
}
