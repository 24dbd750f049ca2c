//! Answers to the questions in a folder: `NAME.expected.json` and `NAME.tokens.json` beside `NAME.gguf`,
//! `jinja-features.json`, `chat-templates.json`. Each gives a `….result.json` of the same order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, bail};
use inkling::engine::{CompletionRequest, Engine, GenerationEvent};
use inkling::model::Pooling;
use pollster::block_on;
use serde_json::{Value, json};

use crate::model::{load, tokens};
use crate::templates;

/// How many tokens a greedy answer has, where the question does not show it.
const GREEDY_TOKENS: usize = 16;

struct Backend<'a> {
    name: &'a str,
    kv_type: &'a str,
}

/// Answers every question of the folder, or those that are named.
pub fn run(
    expected: &Path,
    results: &Path,
    backend: &str,
    kv_type: &str,
    only: &[&str],
) -> Result<()> {
    let backend = Backend {
        name: backend,
        kv_type,
    };
    std::fs::create_dir_all(results)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(expected).with_context(|| expected.display().to_string())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut answered = 0;
    for name in &names {
        let Some((stem, answer)) = question(name) else {
            continue;
        };
        if !only.is_empty() && !only.contains(&stem) {
            continue;
        }
        let path = expected.join(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let result = guarded(|| {
            let question = serde_json::from_str(&text)?;
            answer(&question, &expected.join(format!("{stem}.gguf")), &backend)
        });
        let note = result["error"].as_str().map(|error| format!(": {error}"));
        println!("{stem}{}", note.unwrap_or_default());
        std::fs::write(
            results.join(format!("{stem}.result.json")),
            result.to_string(),
        )?;
        answered += 1;
    }
    if answered == 0 {
        bail!("{} holds no questions", expected.display());
    }
    Ok(())
}

type Answer = fn(&Value, &Path, &Backend) -> Result<Value>;

fn question(name: &str) -> Option<(&str, Answer)> {
    match name {
        "jinja-features.json" => {
            Some(("jinja-features", |file, _, _| Ok(templates::features(file))))
        }
        "chat-templates.json" => Some(("chat-templates", |file, _, _| Ok(templates::chats(file)))),
        _ => match (
            name.strip_suffix(".expected.json"),
            name.strip_suffix(".tokens.json"),
        ) {
            (Some(stem), _) => Some((stem, model)),
            (_, Some(stem)) => Some((stem, tokenizer)),
            _ => None,
        },
    }
}

/// A question that cannot be answered, for whatever reason, must not keep the others from being answered.
fn guarded(answer: impl FnOnce() -> Result<Value>) -> Value {
    match catch_unwind(AssertUnwindSafe(answer)) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => failure(&error),
        Err(_) => json!({ "error": "the engine panicked" }),
    }
}

/// `{"error": …}`, with the engine's code where it has one.
pub fn failure(error: &anyhow::Error) -> Value {
    let mut value = json!({ "error": format!("{error:#}") });
    if let Some(error) = error.downcast_ref::<inkling::Error>() {
        value["code"] = error.code().into();
    }
    value
}

fn model(question: &Value, path: &Path, backend: &Backend) -> Result<Value> {
    match question["kind"].as_str().unwrap_or("causal") {
        "causal" | "encoder-decoder" => {}
        "encoder" => return encoder(question, path, backend),
        kind => bail!("models of kind `{kind}` are not supported yet"),
    }
    let mut result = context(question, path, backend)?;
    if question["long_context"].is_object() {
        result["long_context"] = context(&question["long_context"], path, backend)?;
    }
    Ok(result)
}

/// Embeddings in each pooling, and as the file itself pools.
fn encoder(question: &Value, path: &Path, backend: &Backend) -> Result<Value> {
    let mut engine = load(path, json!({ "backend": backend.name }))?;
    let sequences = question["sequences"].as_array().into_iter().flatten();
    let answers = sequences.map(|sequence| {
        let tokens = tokens(&sequence["tokens"])?;
        Ok(json!({
            "mean": block_on(engine.embed_with(&tokens, Pooling::Mean))?,
            "cls": block_on(engine.embed_with(&tokens, Pooling::First))?,
            "pooled": block_on(engine.embed(&tokens))?,
        }))
    });
    let answers: Vec<Value> = answers
        .map(|answer: Result<Value>| answer.unwrap_or_else(|error| failure(&error)))
        .collect();
    Ok(json!({ "sequences": answers }))
}

/// The sequences and greedy answers for one context length.
fn context(question: &Value, path: &Path, backend: &Backend) -> Result<Value> {
    let mut options = json!({ "backend": backend.name, "kvType": backend.kv_type });
    if let Some(n_ctx) = question["n_ctx"].as_u64() {
        options["contextLength"] = n_ctx.into();
    }
    let mut engine = load(path, options)?;
    let each = |key: &str, answer: &mut dyn FnMut(&Value) -> Result<Value>| -> Vec<Value> {
        let questions = question[key].as_array().into_iter().flatten();
        questions
            .map(|question| answer(question).unwrap_or_else(|error| failure(&error)))
            .collect()
    };
    let sequences = each("sequences", &mut |sequence| {
        let logits = match sequence.get("encoder_tokens") {
            Some(source) => {
                let decoded = tokens(&sequence["decoder_tokens"])?;
                block_on(engine.logits_with_source(&tokens(source)?, &decoded))?
            }
            None => block_on(engine.logits(&tokens(&sequence["tokens"])?))?,
        };
        Ok(json!({ "logits": logits }))
    });
    let greedy = each("greedy", &mut |case| greedy(&mut engine, case));
    Ok(json!({ "sequences": sequences, "greedy": greedy }))
}

/// The answer as the engine generates it for anyone: one token a step, with the cache.
fn greedy(engine: &mut Engine, case: &Value) -> Result<Value> {
    let count = case["tokens"].as_array().map_or(GREEDY_TOKENS, Vec::len);
    let prompt = case.get("encoder_tokens").unwrap_or(&case["prompt"]);
    let request: CompletionRequest = serde_json::from_value(json!({
        "promptTokens": tokens(prompt)?,
        "temperature": 0,
        "maxTokens": count,
        "ignoreEos": true,
    }))?;
    let mut generation = engine.start_completion(&request)?;
    let mut chosen = Vec::new();
    loop {
        match block_on(generation.step(engine))? {
            GenerationEvent::Token { id, .. } => chosen.push(id),
            GenerationEvent::Done { .. } => break,
            GenerationEvent::Prefill { .. } => {}
        }
    }
    Ok(json!({ "tokens": chosen }))
}

fn tokenizer(question: &Value, path: &Path, _: &Backend) -> Result<Value> {
    let engine = load(path, json!({ "vocabOnly": true }))?;
    let tokenizer = engine.tokenizer();
    let cases = question["cases"].as_array().context("`cases` is missing")?;
    let answers = cases.iter().map(|case| {
        let text = case["text"].as_str().context("a case has no text")?;
        let ids = tokenizer.encode(text, false, false)?;
        Ok(json!({
            "ids_special": tokenizer.encode(text, true, true)?,
            "detok": tokenizer.decode(&ids, false),
            "ids": ids,
        }))
    });
    let answers: Vec<Value> = answers
        .map(|answer: Result<Value>| answer.unwrap_or_else(|error| failure(&error)))
        .collect();
    Ok(json!({ "cases": answers }))
}
