//! How many tokens a second: the cases of `benches/cases.json`, one JSON line for each result.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use inkling::backend::LogitRows;
use inkling::engine::Engine;
use pollster::block_on;
use serde_json::{Value, json};

use crate::model::load;

/// Measures every model with every backend.
pub fn run(cases: &Path, models: &[&str]) -> Result<()> {
    let text = std::fs::read_to_string(cases).with_context(|| cases.display().to_string())?;
    let cases: Value = serde_json::from_str(&text)?;
    for model in models {
        for backend in cases["backends"].as_array().into_iter().flatten() {
            let options = json!({ "backend": backend });
            let mut engine = load(Path::new(model), options)?;
            measure(&cases, model, &mut engine)?;
        }
    }
    Ok(())
}

fn measure(cases: &Value, model: &str, engine: &mut Engine) -> Result<()> {
    let runs = cases["runs"].as_u64().unwrap_or(1);
    for count in cases["prefill"].as_array().into_iter().flatten() {
        let count = count.as_u64().context("prefill: not a number")? as usize;
        if count <= engine.info().context_length {
            let speeds = repeat(runs, || prefill(engine, count))?;
            report(model, engine, "prefill", count, speeds);
        }
    }
    let decode = &cases["decode"];
    let count = decode["tokens"].as_u64().unwrap_or(64) as usize;
    let prompt = decode["prompt"].as_u64().unwrap_or(1) as usize;
    if prompt + count <= engine.info().context_length {
        let speeds = repeat(runs, || self::decode(engine, prompt, count))?;
        report(model, engine, "decode", count, speeds);
    }
    Ok(())
}

/// One run to warm up, then the measured ones.
fn repeat(runs: u64, mut run: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    run()?;
    (0..runs).map(|_| run()).collect()
}

/// Tokens that differ, so that no cache of rows helps more than with a text.
fn prompt(engine: &Engine, count: usize) -> Vec<u32> {
    let size = engine.info().vocab_size.max(1);
    (0..count)
        .map(|i| ((i * 7919 + 13) % size) as u32)
        .collect()
}

/// Tokens a second from nothing to the logits after the prompt.
fn prefill(engine: &mut Engine, count: usize) -> Result<f64> {
    let tokens = prompt(engine, count);
    let start = Instant::now();
    block_on(engine.logits(&tokens))?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// Tokens a second, one at a time, after a short prompt. Sampling is left out: it is not the model's time.
fn decode(engine: &mut Engine, prompt_length: usize, count: usize) -> Result<f64> {
    let tokens = prompt(engine, prompt_length + count);
    let (before, after) = tokens.split_at(prompt_length);
    let mut session = engine.new_session()?;
    let backend = engine.backend()?;
    block_on(session.prefill(backend, before, LogitRows::Last))?;
    let start = Instant::now();
    for token in after {
        block_on(session.forward(backend, &[*token], LogitRows::Last))?;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn report(model: &str, engine: &Engine, test: &str, tokens: usize, mut speeds: Vec<f64>) {
    speeds.sort_by(f64::total_cmp);
    let round = |speed: f64| (speed * 10.0).round() / 10.0;
    let file = Path::new(model)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let line = json!({
        "where": "native",
        "model": file,
        "quantization": engine.info().quantization,
        "backend": engine.info().backend,
        "test": test,
        "tokens": tokens,
        "tokens_per_second": round(speeds[speeds.len() / 2]),
        "runs": speeds.iter().map(|speed| round(*speed)).collect::<Vec<_>>(),
    });
    println!("{line}");
}
