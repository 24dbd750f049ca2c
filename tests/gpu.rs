//! The engine on whatever GPU adapter there is, software ones included: greedy decoding, cut sessions, split files. The
//! fixtures' numbers are compared beside the kernels, in `src/backend/gpu/tests`.
//!
//! Without an adapter each test says "skipped" and passes. On Debian, `mesa-vulkan-drivers` brings lavapipe, a software
//! adapter; `VK_DRIVER_FILES` chooses among several.
#![cfg(feature = "webgpu")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{argmax, floats, json, rel_l2, sources, tokens};
use inkling::backend::gpu::Restrictions;
use inkling::backend::{GpuOptions, LogitRows};
use inkling::engine::{BackendChoice, Engine, KvChoice, LoadOptions};
use pollster::block_on;

/// Limit with an f32 cache: what is left is the order of sums and, for k-quants, the f16 of the scales.
const LIMIT: f64 = 5e-3;

fn load(name: &str, restrictions: Restrictions) -> Option<Engine> {
    let options = LoadOptions {
        backend: BackendChoice::Gpu,
        kv_type: Some(KvChoice::F32),
        context_length: Some(128),
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
        Err(error) => panic!("{name}: {error}"),
    }
}

/// A llama, one in three files, windows, experts, and each kind of recurrent state.
const MODELS: [&str; 9] = [
    "llama-gqa",
    "container-split-00001-of-00003",
    "gemma3",
    "qwen3moe",
    "lfm2",
    "qwen35",
    "granitehybrid",
    "falcon-h1",
    "nemotron_h",
];

#[test]
fn greedy_text_is_llama_cpps() {
    for name in MODELS {
        let Some(mut engine) = load(name, Restrictions::default()) else {
            return;
        };
        let expected = json(&format!("models/{name}.expected.json"));
        for case in expected["greedy"].as_array().unwrap() {
            let mut session = engine.new_session().unwrap();
            let mut next = tokens(&case["prompt"]);
            for (want, margin) in tokens(&case["tokens"])
                .into_iter()
                .zip(floats(&case["margins"]))
            {
                block_on(session.prefill(engine.backend().unwrap(), &next, LogitRows::Last))
                    .unwrap();
                if f64::from(margin) < 0.05 {
                    break;
                }
                let got = argmax(engine.backend().unwrap().logits());
                assert_eq!(got, want, "{name}: greedy");
                next = vec![want];
            }
        }
    }
}

#[test]
fn a_cut_session_goes_on_like_a_fresh_one() {
    for name in MODELS {
        let Some(mut engine) = load(name, Restrictions::default()) else {
            return;
        };
        let expected = json(&format!("models/{name}.expected.json"));
        let sequences = expected["sequences"].as_array().unwrap();
        let longest = sequences.iter().max_by_key(|s| tokens(&s["tokens"]).len());
        let prompt = tokens(&longest.unwrap()["tokens"]);
        let want = floats(&longest.unwrap()["logits"]);
        let mut session = engine.new_session().unwrap();
        let backend = engine.backend().unwrap();
        let keep = prompt.len() / 2;
        let mut other = prompt[..keep].to_vec();
        other.extend([1, 2, 3, 4, 5]);
        block_on(session.prefill(backend, &other, LogitRows::None)).unwrap();
        block_on(session.forward(backend, &[7], LogitRows::Last)).unwrap();
        for _ in 0..2 {
            session.truncate(keep);
            assert!(session.tokens().len() <= keep);
            let rest = &prompt[session.tokens().len()..];
            block_on(session.prefill(backend, rest, LogitRows::Last)).unwrap();
            let error = rel_l2(backend.logits(), &want);
            assert!(error < LIMIT, "{name}: {error:.2e}");
        }
    }
}
