//! Encoders and embedding models against llama.cpp's answers.

#![allow(clippy::unwrap_used)]

mod common;

use common::{floats, load, of_kind, rel_l2, tokens};
use inkling::engine::{Embedding, EmbeddingRequest, Engine, ModelKind};
use inkling::model::Pooling;
use pollster::block_on;
use serde_json::{Value, json as j};

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
    for (name, expected) in of_kind("encoder") {
        check(&name, &expected, &j!({ "backend": "reference" }), 2e-5);
    }
}

#[test]
fn fast_path_stays_within_int8_limits() {
    for (name, expected) in of_kind("encoder") {
        let limit = if name.contains("moe") { 0.12 } else { 0.06 };
        check(&name, &expected, &j!({}), limit);
    }
}

/// The embedding of `{text}` or `{tokens}` with further options.
fn create(engine: &mut Engine, request: Value) -> inkling::Result<Embedding> {
    let request: EmbeddingRequest = serde_json::from_value(request).unwrap();
    block_on(engine.create_embedding(&request))
}

#[test]
fn created_embeddings_are_pooled_cut_and_of_length_one() {
    let mut checked = 0;
    for (name, expected) in of_kind("encoder") {
        let mut engine = load(&name, &j!({ "backend": "reference" })).unwrap();
        if engine.info().kind != ModelKind::Embedding {
            continue;
        }
        for sequence in expected["sequences"].as_array().unwrap() {
            // Fixtures without `pooled` say mean in their metadata.
            let known = sequence.get("pooled").or(sequence.get("mean")).unwrap();
            let want = floats(known);
            let unit = |values: &[f32]| -> Vec<f32> {
                let square: f32 = values.iter().map(|v| v * v).sum();
                values.iter().map(|v| v / square.sqrt()).collect()
            };
            let ids = &sequence["tokens"];
            let got = create(&mut engine, j!({ "tokens": ids })).unwrap();
            assert_eq!(got.tokens, ids.as_array().unwrap().len());
            assert!(rel_l2(&got.embedding, &unit(&want)) < 2e-3, "{name}");
            let got = create(&mut engine, j!({ "tokens": ids, "dimensions": 16 })).unwrap();
            assert!(rel_l2(&got.embedding, &unit(&want[..16])) < 3e-3, "{name}");
            checked += 1;
        }
    }
    assert!(checked > 20);
}

#[test]
fn texts_get_the_tokens_that_their_model_wants() {
    let mut bert = load("bert", &j!({})).unwrap();
    let ids = bert.tokenizer().encode("a small hill", true, true).unwrap();
    assert_eq!(bert.tokenizer().token_text(ids[0]), Some("[CLS]"));
    assert_eq!(
        bert.tokenizer().token_text(ids[ids.len() - 1]),
        Some("[SEP]")
    );
    let by_text = create(&mut bert, j!({ "text": "a small hill" })).unwrap();
    assert_eq!(by_text, create(&mut bert, j!({ "tokens": ids })).unwrap());
    // Pools the last token: the end must be there, once.
    let mut qwen = load("qwen3-embedding", &j!({})).unwrap();
    let mut ids = qwen.tokenizer().encode("a small hill", true, true).unwrap();
    ids.push(qwen.tokenizer().eos().unwrap());
    let by_text = create(&mut qwen, j!({ "text": "a small hill" })).unwrap();
    assert_eq!(by_text, create(&mut qwen, j!({ "tokens": ids })).unwrap());
    let end = qwen.tokenizer().token_text(ids[ids.len() - 1]).unwrap();
    let ended = format!("a small hill{end}");
    assert_eq!(by_text, create(&mut qwen, j!({ "text": ended })).unwrap());
}

#[test]
fn long_texts_are_refused_or_cut() {
    let text = "the river rises in the hills, far from the sea. ".repeat(60);
    for name in ["bert", "modern-bert", "qwen3-embedding"] {
        let mut engine = load(name, &j!({ "contextLength": 80 })).unwrap();
        let error = create(&mut engine, j!({ "text": text })).unwrap_err();
        assert_eq!(error.code(), "context_full", "{name}");
        let cut = create(&mut engine, j!({ "text": text, "truncate": true })).unwrap();
        assert_eq!(cut.tokens, 80);
        let mut ids = engine.tokenizer().encode(&text, true, true).unwrap();
        let end = match name {
            "bert" => ids.last().copied(),
            "qwen3-embedding" => engine.tokenizer().eos(),
            _ => None,
        };
        ids.truncate(80 - usize::from(end.is_some()));
        ids.extend(end);
        assert_eq!(cut, create(&mut engine, j!({ "tokens": ids })).unwrap());
    }
}

#[test]
fn models_of_another_kind_name_the_call_that_fits() {
    let refused = |engine: &mut Engine, request: Value, word: &str| {
        let error = create(engine, request).unwrap_err();
        assert_eq!(error.code(), "invalid_request");
        assert!(error.to_string().contains(word), "{error}");
    };
    let mut bert = load("bert", &j!({})).unwrap();
    assert_eq!(bert.info().kind, ModelKind::Embedding);
    let error = block_on(bert.logits(&[1, 2])).unwrap_err().to_string();
    assert!(error.contains("engine.embeddings.create"), "{error}");
    refused(&mut bert, j!({ "text": "x", "dimensions": 49 }), "1 to 48");
    refused(&mut bert, j!({ "text": "x", "dimensions": 0 }), "1 to 48");
    refused(&mut bert, j!({ "tokens": [99999] }), "vocabulary");
    refused(&mut bert, j!({ "tokens": [] }), "no tokens");
    refused(&mut bert, j!({}), "either");
    let mut llama = load("llama-gqa", &j!({})).unwrap();
    refused(
        &mut llama,
        j!({ "text": "x" }),
        "engine.chat.completions.create",
    );
    assert_eq!(
        block_on(llama.embed(&[1])).unwrap_err().code(),
        "invalid_request"
    );
    let mut rank = load("bert-rank", &j!({})).unwrap();
    refused(&mut rank, j!({ "text": "x" }), "engine.rerank");
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
