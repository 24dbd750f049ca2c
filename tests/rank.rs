//! Reranking: scores of documents against a query.

#![allow(clippy::unwrap_used)]

mod common;

use common::{floats, json, load, patched, tokens};
use inkling::engine::{Engine, MemorySource, ModelKind, Rank, RankRequest};
use pollster::block_on;
use serde_json::json as j;

fn rank(engine: &mut Engine, document: &str) -> inkling::Result<Rank> {
    block_on(engine.rank(&RankRequest {
        query: "where does the river rise".into(),
        document: document.into(),
        truncate: false,
    }))
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn token_types_of_a_pair_agree_with_llama_cpp() {
    let expected = json("models/bert-rank.expected.json");
    let mut engine = load("bert-rank", &j!({ "backend": "reference" })).unwrap();
    for pair in expected["pairs"].as_array().unwrap() {
        let second = pair["second"].as_u64().unwrap() as usize;
        let ids = tokens(&pair["tokens"]);
        let want = floats(&pair["pooled"])[0];
        let got = block_on(engine.embed_pair(&ids, second)).unwrap()[0];
        // llama.cpp looks GELU up in a half-precision table.
        assert!((got - want).abs() < 2e-3 * want.abs(), "{got} {want}");
        let alone = block_on(engine.embed(&ids)).unwrap()[0];
        assert!((alone - want).abs() > 1e-2, "the types must matter");
    }
}

/// The same file as GGML writes it: without a size of 1 at the end of a shape. What comes behind stays where it is, since
/// the name of the model grows by as much.
fn without_last_size(bytes: &[u8], tensor: &str) -> Vec<u8> {
    // How many sizes there are, then the sizes; of a key's value its type, its length, then the text.
    let bytes = patched(bytes, tensor, 0..4, &1u32.to_le_bytes());
    let bytes = patched(&bytes, tensor, 12..20, &[]);
    let name = "fixture-bert-rank";
    let longer = (name.len() as u64 + 8).to_le_bytes();
    let bytes = patched(&bytes, "general.name", 4..12, &longer);
    patched(&bytes, name, 0..0, b" renamed")
}

#[test]
fn a_size_of_one_may_be_left_out() {
    let path = common::fixtures().join("models/bert-rank.gguf");
    let bytes = without_last_size(&std::fs::read(path).unwrap(), "cls.output.weight");
    let options = j!({ "backend": "reference" });
    let parsed = serde_json::from_value(options.clone()).unwrap();
    let source = MemorySource(bytes);
    let mut engine = block_on(Engine::load(vec![source], &parsed, |_| true)).unwrap();
    let mut usual = load("bert-rank", &options).unwrap();
    let of = |engine: &mut Engine| rank(engine, "in the hills").unwrap();
    assert_eq!(of(&mut engine), of(&mut usual));
}

#[test]
fn cross_encoders_read_both_texts_between_separators() {
    for name in ["bert-rank", "modern-bert-rank"] {
        let mut engine = load(name, &j!({ "backend": "reference" })).unwrap();
        assert_eq!(engine.info().kind, ModelKind::Rerank);
        let tokenizer = engine.tokenizer();
        let query = tokenizer
            .encode("where does the river rise", false, true)
            .unwrap();
        let document = tokenizer.encode("in the hills", false, true).unwrap();
        let (pair, second) = tokenizer.join_pair(&query, &document);
        let ranked = rank(&mut engine, "in the hills").unwrap();
        let raw = block_on(engine.embed_pair(&pair, second)).unwrap()[0];
        assert_eq!(ranked.score, sigmoid(raw));
        assert_eq!(ranked.tokens, pair.len());
        assert_ne!(ranked, rank(&mut engine, "a loaf of bread").unwrap());
    }
    let bert = load("bert-rank", &j!({ "vocabOnly": true })).unwrap();
    let id = |name: &str| bert.tokenizer().token_id(name).unwrap();
    let (cls, sep) = (id("[CLS]"), id("[SEP]"));
    let pair = bert.tokenizer().join_pair(&[7, 8], &[9]);
    assert_eq!(pair, (vec![cls, 7, 8, sep, 9, sep], 4));
}

#[test]
fn qwen3_says_how_much_it_means_yes() {
    let mut engine = load("qwen3-rerank", &j!({ "backend": "reference" })).unwrap();
    let prompt = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
        Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: \
        Given a web search query, retrieve relevant passages that answer the query\n<Query>: where does the river \
        rise\n<Document>: in the hills<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    let ids = engine.tokenizer().encode(prompt, false, true).unwrap();
    let shares = block_on(engine.embed(&ids)).unwrap();
    let ranked = rank(&mut engine, "in the hills").unwrap();
    assert_eq!(ranked.score, shares[0]);
    assert_eq!(ranked.tokens, ids.len());
}

#[test]
fn long_documents_are_refused_or_cut() {
    for name in ["bert-rank", "modern-bert-rank", "qwen3-rerank"] {
        let mut engine = load(name, &j!({ "contextLength": 400 })).unwrap();
        let document = "the river rises in the hills, far from the sea. ".repeat(60);
        let refused = rank(&mut engine, &document).unwrap_err();
        assert_eq!(refused.code(), "context_full", "{name}");
        assert!(refused.to_string().contains("truncate"), "{refused}");
        let request = RankRequest {
            query: "river".into(),
            document,
            truncate: true,
        };
        let cut = block_on(engine.rank(&request)).unwrap();
        assert!(
            cut.tokens <= 400 && cut.tokens > 380,
            "{name}: {}",
            cut.tokens
        );
        let hopeless = RankRequest {
            query: "river ".repeat(900),
            ..request
        };
        let error = block_on(engine.rank(&hopeless)).unwrap_err();
        assert_eq!(error.code(), "context_full", "{name}");
    }
}

#[test]
fn other_models_name_the_call_that_fits() {
    for (name, call) in [
        ("llama-gqa", "engine.complete"),
        ("bert", "engine.embeddings.create"),
    ] {
        let mut engine = load(name, &j!({})).unwrap();
        let error = rank(&mut engine, "x").unwrap_err();
        assert_eq!(error.code(), "invalid_request");
        assert!(error.to_string().contains(call), "{error}");
    }
}
