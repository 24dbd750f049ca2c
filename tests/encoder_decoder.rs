//! T5 against llama.cpp's answers.

#![allow(clippy::unwrap_used)]

mod common;

use common::{argmax, floats, json, load, rel_l2, tokens};
use inkling::backend::LogitRows;
use inkling::engine::{Engine, Session};
use pollster::block_on;
use serde_json::json as j;

/// A session that has read the text, and logits after `decoder`.
fn run(engine: &mut Engine, text: &[u32], decoder: &[u32]) -> (Session, Vec<f32>) {
    let mut session = engine.new_session().unwrap();
    let backend = engine.backend().unwrap();
    block_on(session.encode(backend, text)).unwrap();
    block_on(session.prefill(backend, decoder, LogitRows::Last)).unwrap();
    (session, backend.logits().to_vec())
}

#[test]
fn logits_agree() {
    let expected = json("models/t5.expected.json");
    for (backend, limit) in [("reference", 2e-5), ("cpu", 0.06)] {
        let mut engine = load("t5", &j!({ "backend": backend })).unwrap();
        for sequence in expected["sequences"].as_array().unwrap() {
            let text = tokens(&sequence["encoder_tokens"]);
            let (_, logits) = run(&mut engine, &text, &tokens(&sequence["decoder_tokens"]));
            let error = rel_l2(&logits, &floats(&sequence["logits_f64"]));
            if std::env::var_os("PRINT_AGREEMENT").is_some() {
                eprintln!("t5 {backend}: {error:.1e}");
            }
            assert!(error < limit, "{backend}: {error:.2e}");
        }
    }
}

#[test]
fn greedy_continuations_agree() {
    let expected = json("models/t5.expected.json");
    let mut engine = load("t5", &j!({ "backend": "reference" })).unwrap();
    for case in expected["greedy"].as_array().unwrap() {
        let text = tokens(&case["encoder_tokens"]);
        let (mut session, mut logits) = run(&mut engine, &text, &[0]);
        for (want, margin) in tokens(&case["tokens"])
            .into_iter()
            .zip(floats(&case["margins"]))
        {
            if margin < 0.02 {
                break;
            }
            assert_eq!(argmax(&logits), want);
            let backend = engine.backend().unwrap();
            block_on(session.prefill(backend, &[want], LogitRows::Last)).unwrap();
            logits = backend.logits().to_vec();
        }
    }
}

#[test]
fn generation_reads_the_prompt_with_the_encoder() {
    let expected = json("models/t5.expected.json");
    let case = &expected["greedy"][0];
    let mut engine = load("t5", &j!({ "backend": "reference" })).unwrap();
    let text = tokens(&case["encoder_tokens"]);
    let request = serde_json::from_value(j!({
        "promptTokens": text, "temperature": 0, "maxTokens": 1, "ignoreEos": true,
    }));
    let mut generation = engine.start_completion(&request.unwrap()).unwrap();
    loop {
        let event = serde_json::to_value(block_on(generation.step(&mut engine)).unwrap()).unwrap();
        if event["type"] == "token" {
            assert_eq!(event["id"], case["tokens"][0]);
            break;
        }
        assert_ne!(event["type"], "done");
    }
}
