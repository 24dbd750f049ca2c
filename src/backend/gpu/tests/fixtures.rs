//! Every fixture against llama.cpp's answers: prompts in chunks and token by token, with both caches, with and without
//! subgroups, within the adapter's limits and within WebGPU's.

use serde_json::Value;

use super::super::kernel::Arithmetic;
use super::*;
use crate::backend::pool;
use crate::model::Pooling;

/// Limit with an f32 cache: what is left is the order of sums and, for k-quants, the f16 of the scales.
const F32_LIMIT: f64 = 5e-3;

/// Limit of the fixtures' notes for f16 caches.
const F16_LIMIT: f64 = 1.5e-2;

/// GELU in llama.cpp is a table of half precision.
const GELU_LIMIT: f64 = 2e-3;

/// Fixtures of a kind in one file, by name. `FIXTURES=plm,minicpm3` in the environment chooses among them.
fn expected(kind: &str) -> Vec<(String, Value)> {
    let chosen = std::env::var("FIXTURES").ok();
    let folder = format!("{}/tests/fixtures/models", env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".expected.json") else {
            continue;
        };
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let wanted = |chosen: &str| chosen.split(',').any(|one| one == name);
        let wanted = chosen.as_deref().is_none_or(wanted);
        if value["kind"] == kind && !name.contains("-of-") && wanted {
            found.push((name.to_owned(), value));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn floats(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|v| v.as_f64().unwrap() as f32).collect()
}

fn tokens(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|v| v.as_u64().unwrap() as u32).collect()
}

/// Runs `tokens` in chunks of `size` from an empty cache; logits of the last of them.
fn run(gpu: &mut GpuBackend, tokens: &[u32], size: usize) -> Vec<f32> {
    let mut cache = gpu.new_cache(1 << 20);
    for chunk in tokens.chunks(size) {
        block_on(gpu.forward(&mut cache, chunk, LogitRows::Last)).unwrap();
    }
    gpu.logits().to_vec()
}

/// The longest sequence in chunks and a short one token by token.
fn check_causal(kv: KvType, limit: f64, restrictions: Restrictions, single: usize) {
    let has = |device: &Gpu| restrictions.arithmetic.is_none_or(|a| device.has(a));
    let Some(device) = open(restrictions).filter(has) else {
        return println!("skipped");
    };
    let fixtures = expected("causal");
    let arithmetic = restrictions.arithmetic;
    let concerned = |name: &str| arithmetic.is_none() || name.contains("-q-");
    for (name, expected) in fixtures.into_iter().filter(|(name, _)| concerned(name)) {
        let long = expected.get("long_context").filter(|long| long.is_object());
        for expected in [Some(&expected), long].into_iter().flatten() {
            let n_ctx = expected["n_ctx"].as_u64().unwrap() as usize;
            let model = Model::with_context(&name, n_ctx);
            let mut gpu = model.gpu(&device, model.plan.clone(), kv, restrictions);
            if let Some(arithmetic) = arithmetic {
                block_on(gpu.set_arithmetic(arithmetic)).unwrap();
            }
            let mut worst = 0.0f64;
            for sequence in expected["sequences"].as_array().unwrap() {
                let prompt = tokens(&sequence["tokens"]);
                let want = floats(sequence.get("logits_f64").unwrap_or(&sequence["logits"]));
                let sizes = [
                    (prompt.len() >= 33).then_some(gpu.max_chunk()),
                    (prompt.len() == single).then_some(1),
                ];
                for size in sizes.into_iter().flatten() {
                    let error = rel_l2(&run(&mut gpu, &prompt, size), &want);
                    let count = prompt.len();
                    assert!(
                        error < limit,
                        "{name}, {count} tokens by {size}: {error:.2e}"
                    );
                    worst = worst.max(error);
                }
            }
            println!("{name:34} {worst:.1e}");
        }
    }
}

#[test]
fn causal_models_with_f32_cache() {
    check_causal(KvType::F32, F32_LIMIT, FREE, 33);
}

#[test]
fn causal_models_with_f16_cache_and_default_limits() {
    check_causal(KvType::F16, F16_LIMIT, PLAIN, 7);
}

#[test]
fn causal_models_as_software_adapters_run_them() {
    check_causal(KvType::F32, F32_LIMIT, SOFTWARE, 7);
}

#[test]
fn quantized_models_in_halves() {
    let restrictions = Restrictions {
        arithmetic: Some(Arithmetic::F16),
        ..FREE
    };
    check_causal(KvType::F16, F16_LIMIT, restrictions, 0);
}

#[test]
fn encoders() {
    let Some(device) = open(FREE) else {
        return;
    };
    for (name, expected) in self::expected("encoder") {
        let model = Model::with_context(&name, 256);
        let mut gpu = model.gpu(&device, model.plan.clone(), KvType::F32, FREE);
        for sequence in expected["sequences"].as_array().unwrap() {
            let ids = tokens(&sequence["tokens"]);
            let mut cache = gpu.new_cache(256);
            block_on(gpu.forward(&mut cache, &ids, LogitRows::All)).unwrap();
            let rows = gpu.logits().to_vec();
            let pooled = |pooling: Pooling| {
                let mut out = vec![0.0; rows.len() / ids.len()];
                pool(&rows, pooling, &mut out);
                out
            };
            let mut cache = gpu.new_cache(256);
            block_on(gpu.forward(&mut cache, &ids, LogitRows::Last)).unwrap();
            let cases = [
                ("pooled", gpu.logits().to_vec()),
                ("mean", pooled(Pooling::Mean)),
                ("cls", pooled(Pooling::First)),
            ];
            for (key, got) in cases {
                let Some(want) = sequence.get(key).filter(|want| want.is_array()) else {
                    continue;
                };
                let error = rel_l2(&got, &floats(want));
                println!("{name:34} {key:8} {:3} {error:.1e}", ids.len());
                assert!(error < GELU_LIMIT, "{name}, {key}: {error:.2e}");
            }
        }
    }
}

#[test]
fn encoder_and_decoder() {
    let Some(device) = open(FREE) else {
        return;
    };
    for (name, expected) in expected("encoder-decoder") {
        let model = Model::with_context(&name, 256);
        let mut gpu = model.gpu(&device, model.plan.clone(), KvType::F32, FREE);
        for sequence in expected["sequences"].as_array().unwrap() {
            let text = tokens(&sequence["encoder_tokens"]);
            let decoder = tokens(&sequence["decoder_tokens"]);
            for size in [1, 64] {
                let mut cache = gpu.new_cache(256);
                block_on(gpu.encode(&mut cache, &text)).unwrap();
                for chunk in decoder.chunks(size) {
                    block_on(gpu.forward(&mut cache, chunk, LogitRows::Last)).unwrap();
                }
                let error = rel_l2(gpu.logits(), &floats(&sequence["logits"]));
                println!("{name:34} {:3} by {size} {error:.1e}", decoder.len());
                assert!(error < GELU_LIMIT, "{name}, by {size}: {error:.2e}");
            }
        }
    }
}
