//! Results against known answers, within the tolerances that `tests/fixtures/README.md` derives.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// Which arithmetic made the results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Exact: f32 all through.
    Reference,
    /// Activations rounded to int8 before each matrix product.
    Cpu,
    /// WebGPU: f32, but with the precision of a GPU's functions and scales of f16.
    Gpu,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

const EXACT: f64 = 2e-5;
/// Where llama.cpp's own answer is off by its half-precision table of GELU.
const EXACT_BY_TABLE: f64 = 2e-3;
const GPU: f64 = 1.5e-2;
const INT8: f64 = 0.06;
const INT8_NATIVE: f64 = 0.02;
/// A rounding can flip an expert or change a mixture: then one sequence may be off.
const INT8_MIXED: f64 = 0.12;
/// A margin between two logits is safe from errors of this many times their typical size.
const SAFETY: f64 = 6.0;

/// The verdict on one file.
pub struct Verdict {
    pub name: String,
    pub finding: Finding,
}

pub enum Finding {
    /// With a word on how close it came.
    Right(String),
    Wrong(String),
}

/// Compares every question of `expected` whose name is `wanted` with its result.
pub fn folder(
    expected: &Path,
    results: &Path,
    backend: Backend,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for entry in std::fs::read_dir(expected).with_context(|| expected.display().to_string())? {
        let path = entry?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some((name, compare)) = comparison(&file).filter(|(name, _)| wanted(name)) else {
            continue;
        };
        let question = read(&path)?;
        let finding = match read(&results.join(format!("{name}.result.json"))) {
            Ok(result) => finding(name, &question, &result, backend, compare),
            Err(error) => Finding::Wrong(format!("no result: {error:#}")),
        };
        verdicts.push(Verdict {
            name: name.to_owned(),
            finding,
        });
    }
    verdicts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(verdicts)
}

type Compare = fn(&str, &Value, &Value, Backend) -> Result<String, String>;

/// Name of the question that a file holds.
pub fn name(file: &str) -> Option<&str> {
    comparison(file).map(|(name, _)| name)
}

fn comparison(file: &str) -> Option<(&str, Compare)> {
    match file {
        "jinja-features.json" => Some(("jinja-features", |_, question, result, _| {
            texts(question, result)
        })),
        _ => match (
            file.strip_suffix(".expected.json"),
            file.strip_suffix(".tokens.json"),
        ) {
            (Some(name), _) => Some((name, model)),
            (_, Some(name)) => Some((name, |_, question, result, _| tokens(question, result))),
            _ => None,
        },
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn finding(
    name: &str,
    question: &Value,
    result: &Value,
    backend: Backend,
    compare: Compare,
) -> Finding {
    match result["error"].as_str() {
        Some(error) => Finding::Wrong(error.to_owned()),
        None => match compare(name, question, result, backend) {
            Ok(closeness) => Finding::Right(closeness),
            Err(difference) => Finding::Wrong(difference),
        },
    }
}

fn model(name: &str, question: &Value, result: &Value, backend: Backend) -> Result<String, String> {
    if question["kind"] == "encoder" {
        return encoder(question, result, backend);
    }
    let mut worst = context(name, question, result, backend)?;
    if question["long_context"].is_object() {
        let long = context(
            name,
            &question["long_context"],
            &result["long_context"],
            backend,
        );
        worst = worst.max(long.map_err(|difference| format!("long context: {difference}"))?);
    }
    Ok(format!("worst relative error {worst:.1e}"))
}

/// Embeddings of an encoder: any of the answers that count for each pooling.
fn encoder(question: &Value, result: &Value, backend: Backend) -> Result<String, String> {
    let limit = match backend {
        Backend::Reference => EXACT_BY_TABLE,
        Backend::Gpu => GPU,
        Backend::Cpu => INT8,
    };
    let mut worst: f64 = 0.0;
    let answers = result["sequences"].as_array().ok_or("no sequences")?;
    let questions = question["sequences"].as_array().into_iter().flatten();
    for (i, (question, answer)) in questions.zip(answers).enumerate() {
        for key in ["mean", "cls", "pooled"]
            .iter()
            .filter(|key| question[**key].is_array())
        {
            let got = floats(&answer[*key]).ok_or_else(|| format!("sequence {i}: {answer}"))?;
            let known = ["", "_f64_tanh_gelu", "_f64_erf_gelu"].map(|form| format!("{key}{form}"));
            let known = known
                .iter()
                .filter_map(|key| floats(&question[key.as_str()]));
            let error = known
                .map(|known| distance(&got, &known))
                .fold(f64::INFINITY, f64::min);
            if error > limit {
                return Err(format!("sequence {i}, {key}: relative error {error:.1e}"));
            }
            worst = worst.max(error);
        }
    }
    Ok(format!("worst relative error {worst:.1e}"))
}

/// Sequences and greedy answers of one context length; the worst relative error of the logits.
fn context(name: &str, question: &Value, result: &Value, backend: Backend) -> Result<f64, String> {
    let mixed = name.contains("moe") || name.starts_with("gemma3-mix");
    let mut worst: f64 = 0.0;
    let mut typical: f64 = 0.0;
    let mut misses = Vec::new();
    for (index, (wanted, got)) in pairs(&question["sequences"], &result["sequences"])?.enumerate() {
        let logits = floats(&got["logits"]).ok_or_else(|| format!("sequence {index}: {got}"))?;
        let exact = floats(&wanted["logits"]).ok_or("no logits to compare with")?;
        let error = distance(&logits, &exact);
        let by_f64 = floats(&wanted["logits_f64"]).map(|f64s| distance(&logits, &f64s));
        let native = floats(&wanted["logits_native"]).map(|native| distance(&logits, &native));
        let right = match (backend, by_f64) {
            (Backend::Reference, Some(by_f64)) => by_f64 <= EXACT && error <= EXACT_BY_TABLE,
            (Backend::Reference, None) if question["gelu"] == true => error <= EXACT_BY_TABLE,
            (Backend::Reference, None) => error <= EXACT,
            (Backend::Gpu, _) => error <= GPU,
            (Backend::Cpu, _) if mixed => error <= INT8_MIXED,
            (Backend::Cpu, _) => {
                error <= INT8 || native.is_some_and(|native| native <= INT8_NATIVE)
            }
        };
        let error = by_f64.unwrap_or(error);
        if !right {
            misses.push(format!("sequence {index}: relative error {error:.1e}"));
        }
        worst = worst.max(error);
        typical = typical.max(norm(&exact) / (exact.len() as f64).sqrt());
    }
    if misses.len() > usize::from(mixed && backend == Backend::Cpu) {
        return Err(misses.join("; "));
    }
    let tolerance = match backend {
        Backend::Reference => EXACT_BY_TABLE,
        Backend::Gpu => GPU,
        Backend::Cpu if mixed => INT8_MIXED,
        Backend::Cpu => INT8,
    };
    for (index, (wanted, got)) in pairs(&question["greedy"], &result["greedy"])?.enumerate() {
        greedy(wanted, got, SAFETY * tolerance * typical)
            .map_err(|error| format!("greedy {index}: {error}"))?;
    }
    Ok(worst)
}

/// The same tokens, up to the first step where two of them were too close to tell.
fn greedy(wanted: &Value, got: &Value, safe: f64) -> Result<(), String> {
    let margins = floats(&wanted["margins"]).unwrap_or_default();
    if let Some(text) = got["text"].as_str() {
        return greedy_text(text, &got["known"], &margins, safe);
    }
    for (step, (want, have)) in pairs(&wanted["tokens"], &got["tokens"])?.enumerate() {
        if margins.get(step).is_some_and(|margin| *margin < safe) {
            return Ok(());
        }
        if want != have {
            return Err(format!("step {step} chose {have}, not {want}"));
        }
    }
    Ok(())
}

/// The same for an answer in text: it must begin with the text of the known tokens. A piece may end inside a character.
fn greedy_text(text: &str, known: &Value, margins: &[f64], safe: f64) -> Result<(), String> {
    let steps = known.as_array().ok_or("no texts to compare with")?;
    for (step, known) in steps.iter().enumerate() {
        if margins.get(step).is_some_and(|margin| *margin < safe) {
            return Ok(());
        }
        let known = known.as_str().unwrap_or_default();
        if !text
            .trim_start()
            .starts_with(known.trim_start().trim_end_matches('\u{fffd}'))
        {
            return Err(format!("step {step} wrote {text:?}, not {known:?}"));
        }
    }
    Ok(())
}

fn tokens(question: &Value, result: &Value) -> Result<String, String> {
    let mut count = 0;
    for (wanted, got) in pairs(&question["cases"], &result["cases"])? {
        // Where llama.cpp and the tokenizer's makers disagree, either counts.
        let second = second_opinion(wanted);
        for key in ["ids", "ids_special"] {
            let other = second
                .as_ref()
                .is_some_and(|second| second.contains(&got[key]));
            if got[key] != wanted[key] && !other {
                return Err(format!(
                    "{key} of {}: {} is not {}",
                    wanted["text"], got[key], wanted[key]
                ));
            }
        }
        count += 1;
    }
    Ok(format!("{count} texts"))
}

/// The other answer that counts, alone and between the special tokens of the first.
fn second_opinion(wanted: &Value) -> Option<[Value; 2]> {
    let second = wanted["second_opinion_ids"].as_array()?;
    let (ids, special) = (wanted["ids"].as_array()?, wanted["ids_special"].as_array()?);
    let before = special
        .windows(ids.len().max(1))
        .position(|window| window == ids.as_slice());
    let (head, tail) = before.map_or((&[][..], &[][..]), |at| {
        (&special[..at], &special[at + ids.len()..])
    });
    let framed = [head, second.as_slice(), tail].concat();
    Some([Value::from(second.clone()), Value::from(framed)])
}

/// Cases that the project has decided to answer differently; docs/templates.md says why.
const OTHER_ANSWERS: [&str; 1] = ["macro_varargs"];

fn texts(question: &Value, result: &Value) -> Result<String, String> {
    let mut count = 0;
    for (wanted, got) in pairs(&question["cases"], &result["cases"])? {
        let right = match wanted["expected"].as_str() {
            Some(text) => got["expected"] == text,
            None => !got["error"].is_null(),
        };
        let known = OTHER_ANSWERS.iter().any(|name| wanted["name"] == *name);
        if !right && !known {
            return Err(format!(
                "{}: {got} is not {}",
                wanted["name"], wanted["expected"]
            ));
        }
        count += 1;
    }
    Ok(format!("{count} templates"))
}

fn pairs<'a>(
    wanted: &'a Value,
    got: &'a Value,
) -> Result<impl Iterator<Item = (&'a Value, &'a Value)>, String> {
    let list = |value: &'a Value| value.as_array().map_or(&[][..], Vec::as_slice);
    let (wanted, got) = (list(wanted), list(got));
    if wanted.len() != got.len() {
        return Err(format!(
            "{} results for {} questions",
            got.len(),
            wanted.len()
        ));
    }
    Ok(wanted.iter().zip(got))
}

pub(super) fn floats(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// `|a - b| / |b|`; infinite where the lengths differ.
pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(question: &Value, result: &Value, backend: Backend) -> bool {
        matches!(
            finding("llama", question, result, backend, model),
            Finding::Right(_)
        )
    }

    #[test]
    fn logits_are_held_to_the_tolerance_of_their_arithmetic() {
        let question =
            json!({ "sequences": [{ "logits": [3.0, 4.0], "logits_native": [3.0, 4.5] }] });
        let result = |a: f64| json!({ "sequences": [{ "logits": [3.0, a] }] });
        assert!(verdict(&question, &result(4.00005), Backend::Reference));
        assert!(!verdict(&question, &result(4.0005), Backend::Reference));
        assert!(verdict(&question, &result(4.2), Backend::Cpu));
        assert!(
            verdict(&question, &result(4.5), Backend::Cpu),
            "equal to llama.cpp's int8 path"
        );
        assert!(!verdict(&question, &result(5.0), Backend::Cpu));
        assert!(!verdict(
            &question,
            &json!({ "sequences": [] }),
            Backend::Cpu
        ));
        assert!(!verdict(&question, &json!({ "error": "no" }), Backend::Cpu));
    }

    #[test]
    fn greedy_tokens_count_while_the_margin_is_safe() {
        let wanted = json!({ "tokens": [1, 2, 3], "margins": [5.0, 0.1, 5.0] });
        let got = |second: u32, first: u32| json!({ "tokens": [first, second, 9] });
        assert!(greedy(&wanted, &got(7, 1), 1.0).is_ok());
        assert!(greedy(&wanted, &got(2, 4), 1.0).is_err());
        assert!(greedy(&wanted, &json!({ "tokens": [1] }), 1.0).is_err());
        let text =
            |text: &str| json!({ "text": text, "known": [" a", " a\u{fffd}", " a\u{fffd}c"] });
        assert!(greedy(&wanted, &text("a other"), 1.0).is_ok());
        assert!(greedy(&wanted, &text(" b"), 1.0).is_err());
    }
}
