//! The engine on the embedded model: llama.cpp's greedy answers, prefix reuse, stopping, overflow.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use inkling::engine::{
    ChatRequest, CompletionRequest, Engine, FinishReason, Generation, GenerationEvent, LoadOptions,
    MemorySource, Usage,
};
use pollster::block_on;
use serde_json::{Value, json as j};

fn models() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// The model that is served with the page.
fn embedded(options: Value) -> Engine {
    let default = std::fs::read_to_string(models().join("default.json")).unwrap();
    let default: Value = serde_json::from_str(&default).unwrap();
    let bytes = std::fs::read(models().join(default["file"].as_str().unwrap())).unwrap();
    let options: LoadOptions = serde_json::from_value(options).unwrap();
    block_on(Engine::load(vec![MemorySource(bytes)], &options, |_| true)).unwrap()
}

fn chat(request: Value) -> ChatRequest {
    serde_json::from_value(request).unwrap()
}

/// What a whole generation gave.
#[derive(Debug, PartialEq)]
struct Answer {
    tokens: Vec<u32>,
    text: String,
    reason: FinishReason,
    usage: Usage,
    dropped: usize,
}

fn finish(engine: &mut Engine, mut generation: Generation) -> Answer {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    loop {
        match block_on(generation.step(engine)).unwrap() {
            GenerationEvent::Prefill { .. } => {}
            GenerationEvent::Token { id, text: piece } => {
                tokens.push(id);
                text.push_str(&piece);
            }
            GenerationEvent::Done {
                finish_reason,
                text: rest,
                usage,
                dropped_messages,
                ..
            } => {
                text.push_str(&rest);
                engine.check_in(generation.into_session());
                return Answer {
                    tokens,
                    text,
                    reason: finish_reason,
                    usage,
                    dropped: dropped_messages,
                };
            }
        }
    }
}

fn answer(engine: &mut Engine, request: Value) -> Answer {
    let generation = engine.start_chat(&chat(request)).unwrap();
    finish(engine, generation)
}

#[test]
fn embedded_model_answers_as_llama_cpp_does() {
    let expected = std::fs::read_dir(models()).unwrap().filter_map(Result::ok);
    let expected = expected
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".greedy.json"));
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(expected.unwrap()).unwrap()).unwrap();
    for backend in ["cpu", "reference"] {
        let mut engine = embedded(j!({ "backend": backend }));
        let mut different = 0;
        for case in expected["cases"].as_array().unwrap() {
            let messages = j!([{ "role": "user", "content": case["user"] }]);
            let request = j!({ "messages": messages, "temperature": 0, "maxTokens": 200 });
            let got = answer(&mut engine, request);
            assert_eq!(
                got.usage.prompt_tokens,
                case["prompt_tokens"].as_array().unwrap().len()
            );
            if got.text != case["text"].as_str().unwrap() {
                println!("{backend}: {:?}\n  instead of {}", got.text, case["text"]);
                different += 1;
            }
        }
        // llama.cpp's answers come from its own int8 rounding; a near-tie may fall the other way here.
        assert!(different <= 1, "{different} answers differ on {backend}");
    }
}

#[test]
fn second_turn_runs_only_what_is_new_and_answers_the_same() {
    let first = j!([{ "role": "user", "content": "Hello!" }]);
    let mut engine = embedded(j!({}));
    let reply = answer(&mut engine, j!({ "messages": first, "temperature": 0 })).text;
    let second = j!([
        { "role": "user", "content": "Hello!" },
        { "role": "assistant", "content": reply },
        { "role": "user", "content": "What is the opposite of hot?" },
    ]);
    let request = j!({ "messages": second, "temperature": 0, "maxTokens": 40 });
    let reused = answer(&mut engine, request.clone());
    let fresh = answer(&mut embedded(j!({})), request);
    assert!(reused.usage.reused_tokens > 20, "{:?}", reused.usage);
    assert_eq!(fresh.usage.reused_tokens, 0);
    assert_eq!(reused.tokens, fresh.tokens);
}

#[test]
fn same_seed_same_text() {
    let mut engine = embedded(j!({}));
    let messages = j!([{ "role": "user", "content": "Tell me a short story about a fox." }]);
    let request = j!({ "messages": messages, "temperature": 1.2, "seed": 7, "maxTokens": 40 });
    let first = answer(&mut engine, request.clone());
    assert_eq!(first.text, answer(&mut engine, request).text);
}

#[test]
fn stop_string_is_never_shown() {
    let mut engine = embedded(j!({}));
    let messages = j!([{ "role": "user", "content": "Who are you?" }]);
    let got = answer(
        &mut engine,
        j!({ "messages": messages, "temperature": 0, "stop": ["language"] }),
    );
    assert_eq!(got.text, "I am a very small ");
    assert_eq!(got.reason, FinishReason::Stop);
}

#[test]
fn max_tokens_ends_with_length() {
    let mut engine = embedded(j!({}));
    let messages = j!([{ "role": "user", "content": "Who are you?" }]);
    let got = answer(
        &mut engine,
        j!({ "messages": messages, "temperature": 0, "maxTokens": 3 }),
    );
    assert_eq!((got.tokens.len(), got.reason), (3, FinishReason::Length));
}

#[test]
fn cancelled_generation_leaves_the_engine_usable() {
    let mut engine = embedded(j!({}));
    let request =
        chat(j!({ "messages": [{ "role": "user", "content": "Who are you?" }], "temperature": 0 }));
    let whole = engine.start_chat(&request).unwrap();
    let whole = finish(&mut engine, whole);
    let mut generation = engine.start_chat(&request).unwrap();
    for _ in 0..4 {
        block_on(generation.step(&mut engine)).unwrap();
    }
    generation.cancel();
    assert_eq!(
        finish(&mut engine, generation).reason,
        FinishReason::Cancelled
    );
    let again = engine.start_chat(&request).unwrap();
    assert_eq!(finish(&mut engine, again).text, whole.text);
}

#[test]
fn oldest_turns_leave_a_full_context() {
    let mut engine = embedded(j!({}));
    let mut messages = vec![j!({ "role": "system", "content": "Be kind." })];
    for i in 0..40 {
        messages.push(j!({ "role": "user", "content": format!("Number {i}: tell me about the weather in spring.") }));
        messages.push(
            j!({ "role": "assistant", "content": "It is mild, with some rain and a little sun." }),
        );
    }
    messages.push(j!({ "role": "user", "content": "Hello!" }));
    let request = j!({ "messages": messages, "temperature": 0, "maxTokens": 20 });
    let got = answer(&mut engine, request);
    assert!(
        got.dropped > 0 && got.dropped.is_multiple_of(2),
        "{}",
        got.dropped
    );
    assert!(got.usage.prompt_tokens <= 512 - 20);
    let strict = chat(j!({ "messages": messages, "overflow": "error" }));
    assert_eq!(
        engine.start_chat(&strict).err().unwrap().code(),
        "context_full"
    );
    let huge = chat(j!({ "messages": [{ "role": "user", "content": "word ".repeat(2000) }] }));
    assert_eq!(
        engine.start_chat(&huge).err().unwrap().code(),
        "context_full"
    );
}

#[test]
fn generation_fills_the_context_and_ends() {
    let mut engine = embedded(j!({ "contextLength": 48 }));
    let request: CompletionRequest = serde_json::from_value(
        j!({ "prompt": "Once upon a time", "temperature": 0, "ignoreEos": true }),
    )
    .unwrap();
    let generation = engine.start_completion(&request).unwrap();
    let got = finish(&mut engine, generation);
    assert_eq!(got.reason, FinishReason::Length);
    assert_eq!(got.usage.prompt_tokens + got.usage.completion_tokens, 48);
}

#[test]
fn loading_can_be_cancelled() {
    let default = std::fs::read_to_string(models().join("default.json")).unwrap();
    let default: Value = serde_json::from_str(&default).unwrap();
    let bytes = std::fs::read(models().join(default["file"].as_str().unwrap())).unwrap();
    let options = LoadOptions::default();
    let mut calls = 0;
    let load = Engine::load(vec![MemorySource(bytes)], &options, |_| {
        calls += 1;
        calls < 4
    });
    assert_eq!(block_on(load).err().unwrap().code(), "cancelled");
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let mut engine = embedded(j!({}));
    let empty = engine
        .start_chat(&chat(j!({ "messages": [] })))
        .err()
        .unwrap();
    assert_eq!(empty.code(), "invalid_request");
    let hot = chat(j!({ "messages": [{ "role": "user", "content": "x" }], "temperature": -1 }));
    assert_eq!(
        engine.start_chat(&hot).err().unwrap().code(),
        "invalid_request"
    );
    let both: CompletionRequest =
        serde_json::from_value(j!({ "prompt": "x", "promptTokens": [1] })).unwrap();
    assert_eq!(
        engine.start_completion(&both).err().unwrap().code(),
        "invalid_request"
    );
}

#[cfg(not(feature = "webgpu"))]
#[test]
fn without_a_gpu_backend_auto_is_the_cpu() {
    let engine = embedded(j!({ "backend": "auto" }));
    assert!(engine.info().backend.starts_with("cpu"));
    assert_eq!(engine.info().gpu, None);
    let default = std::fs::read_to_string(models().join("default.json")).unwrap();
    let default: Value = serde_json::from_str(&default).unwrap();
    let bytes = std::fs::read(models().join(default["file"].as_str().unwrap())).unwrap();
    let options: LoadOptions = serde_json::from_value(j!({ "backend": "gpu" })).unwrap();
    let refused = block_on(Engine::load(vec![MemorySource(bytes)], &options, |_| true));
    assert_eq!(refused.err().unwrap().code(), "gpu_unavailable");
}
