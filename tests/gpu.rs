//! The GPU backend on whatever adapter there is, software ones included, against llama.cpp's answers.
//!
//! Without an adapter each test says "skipped" and passes. On Debian, `mesa-vulkan-drivers` brings lavapipe, a software
//! adapter; `VK_DRIVER_FILES` chooses among several.
#![cfg(feature = "webgpu")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{argmax, fixtures, floats, json, rel_l2, sources, tokens};
use inkling::backend::gpu::Restrictions;
use inkling::backend::{GpuOptions, LogitRows};
use inkling::engine::{BackendChoice, Engine, KvChoice, LoadOptions};
use pollster::block_on;
use serde_json::Value;

/// Limit of the fixtures' notes for f16 caches and GPUs.
const F16_LIMIT: f64 = 1.5e-2;

/// Limit with an f32 cache: what is left is the order of sums and, for k-quants, the f16 of the scales.
const F32_LIMIT: f64 = 5e-3;

/// Models with an operation or a shape that has no kernel yet: they are refused at load, and the CPU runs them.
const WITHOUT_KERNELS: &[&str] = &["gemma4", "granitehybrid", "lfm2", "lfm2moe", "qwen35"];

fn load(name: &str, kv: KvChoice, n_ctx: usize, restrictions: Restrictions) -> Option<Engine> {
    let options = LoadOptions {
        backend: BackendChoice::Gpu,
        kv_type: Some(kv),
        context_length: Some(n_ctx),
        gpu: GpuOptions {
            restrictions,
            ..GpuOptions::default()
        },
        ..LoadOptions::default()
    };
    match block_on(Engine::load(sources(name), &options, |_| true)) {
        Ok(engine) => Some(engine),
        Err(error) if error.code() == "gpu_unavailable" => {
            println!("skipped: {error}");
            None
        }
        Err(error) if error.code() == "gpu" && WITHOUT_KERNELS.contains(&name) => {
            println!("{name}: {error}");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Every causal fixture of an architecture that runs.
fn causal_models() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(fixtures().join("models")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".expected.json") else {
            continue;
        };
        let expected = json(&format!("models/{file}"));
        let options = serde_json::json!({ "vocabOnly": true });
        let runs = common::load(name, &options).is_ok_and(|engine| {
            inkling::model::supported_architectures().contains(&&*engine.info().architecture)
        });
        if expected["kind"] == "causal" && runs {
            found.push((name.to_owned(), expected));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 30, "only {} fixtures found", found.len());
    found
}

/// Prefill of each sequence, all positions where known, and greedy decoding; returns the worst error.
fn check(name: &str, expected: &Value, engine: &mut Engine, limit: f64) -> f64 {
    let mut worst = 0.0f64;
    for (i, sequence) in expected["sequences"].as_array().unwrap().iter().enumerate() {
        let prompt = tokens(&sequence["tokens"]);
        let exact = floats(sequence.get("logits_f64").unwrap_or(&sequence["logits"]));
        let prefill = block_on(engine.logits(&prompt)).unwrap();
        let error = rel_l2(&prefill, &exact);
        assert!(error < limit, "{name}, sequence {i}, prefill: {error:.2e}");
        worst = worst.max(error);
        if let Some(all) = sequence.get("logits_all").filter(|all| all.is_array()) {
            let want: Vec<f32> = all.as_array().unwrap().iter().flat_map(floats).collect();
            let error = rel_l2(&block_on(engine.logits_all(&prompt)).unwrap(), &want);
            assert!(
                error < limit.max(2e-3),
                "{name}, sequence {i}, all positions: {error:.2e}"
            );
        }
        let mut session = engine.new_session().unwrap();
        for token in &prompt {
            block_on(session.forward(engine.backend().unwrap(), &[*token], LogitRows::Last))
                .unwrap();
        }
        let error = rel_l2(engine.backend().unwrap().logits(), &exact);
        assert!(
            error < limit,
            "{name}, sequence {i}, token by token: {error:.2e}"
        );
        worst = worst.max(error);
    }
    for case in expected["greedy"].as_array().unwrap() {
        let mut session = engine.new_session().unwrap();
        let mut next = tokens(&case["prompt"]);
        for (want, margin) in tokens(&case["tokens"])
            .into_iter()
            .zip(floats(&case["margins"]))
        {
            block_on(session.prefill(engine.backend().unwrap(), &next, LogitRows::Last)).unwrap();
            if f64::from(margin) < 0.05 {
                break;
            }
            assert_eq!(
                argmax(engine.backend().unwrap().logits()),
                want,
                "{name}: greedy"
            );
            next = vec![want];
        }
    }
    worst
}

fn check_all(kv: KvChoice, limit: f64, restrictions: Restrictions) {
    for (name, expected) in causal_models() {
        let long = expected.get("long_context").filter(|long| long.is_object());
        for expected in [Some(&expected), long].into_iter().flatten() {
            let n_ctx = expected["n_ctx"].as_u64().unwrap() as usize;
            let Some(mut engine) = load(&name, kv, n_ctx, restrictions) else {
                continue;
            };
            let worst = check(&name, expected, &mut engine, limit);
            println!("{name:34} {:18} {worst:.1e}", engine.info().backend);
        }
    }
}

#[test]
fn fixtures_with_f32_cache() {
    check_all(KvChoice::F32, F32_LIMIT, Restrictions::default());
}

#[test]
fn fixtures_with_f16_cache_and_default_limits() {
    let restrictions = Restrictions {
        default_limits: true,
        no_subgroups: true,
        ..Restrictions::default()
    };
    check_all(KvChoice::F16, F16_LIMIT, restrictions);
}

#[test]
fn auto_takes_the_gpu_only_where_it_helps() {
    let options = |trust_software| LoadOptions {
        backend: BackendChoice::Auto,
        gpu: GpuOptions {
            restrictions: Restrictions {
                trust_software,
                ..Restrictions::default()
            },
            ..GpuOptions::default()
        },
        ..LoadOptions::default()
    };
    let load = |name: &str, trust: bool| {
        block_on(Engine::load(sources(name), &options(trust), |_| true)).unwrap()
    };
    // A software adapter, or none at all.
    let engine = load("llama-gqa", false);
    let gpu = engine.info().gpu.clone().unwrap();
    println!("{gpu:?}");
    if engine.info().backend.starts_with("cpu") {
        assert!(gpu.reason.is_some());
    }
    if gpu.adapter.is_empty() {
        return println!("skipped: {gpu:?}");
    }
    let engine = load("bert", true);
    assert!(engine.info().backend.starts_with("cpu"));
    let reason = engine.info().gpu.clone().unwrap().reason.unwrap();
    assert!(reason.contains("no kernel"), "{reason}");
    let engine = load("llama-gqa", true);
    assert!(engine.info().backend.starts_with("webgpu"));
}
