//! What the header says of layers: plans of models larger than a fixture can be, and headers that cannot be true.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[allow(dead_code, reason = "each test file uses its part")]
mod gguf_support;

use common::{fixtures, patched};
use gguf_support::{ARRAY, BOOL, Builder, F32, array};
use inkling::Error;
use inkling::gguf::{self, GgufFile, Parsed};
use inkling::model::{self, ModelConfig, Op, Plan};

fn parse(bytes: &[u8]) -> GgufFile {
    match gguf::parse(bytes, bytes.len() as u64).unwrap() {
        Parsed::Done(file) => file,
        Parsed::NeedMore(_) => panic!("the whole file is there"),
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(format!("models/{name}.gguf"))).unwrap()
}

fn plan(bytes: &[u8]) -> Result<Plan, Error> {
    let file = parse(bytes);
    model::build(&ModelConfig::from_gguf(&file, None)?, &file)
}

const LAYERS: usize = 25;
/// Layers with keys and values of their own.
const OWN: usize = 20;

/// The header of the fixture `gemma3n` with as many layers as a real one has kinds of.
fn gemma3n() -> Vec<u8> {
    let small = parse(&fixture("gemma3n"));
    let windows: Vec<u8> = (0..LAYERS).map(|i| u8::from((i + 1) % 5 != 0)).collect();
    let pattern = array(BOOL, LAYERS as u64, &windows);
    let mut file = Builder::new().text("general.architecture", "gemma3n");
    for key in [
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.sliding_window",
        "embedding_length_per_layer_input",
        "altup.num_inputs",
        "altup.active_idx",
    ] {
        let key = format!("gemma3n.{key}");
        let value = small.metadata.opt_u64(&key).unwrap().unwrap();
        file = file.u32(&key, value as u32);
    }
    let epsilon = "gemma3n.attention.layer_norm_rms_epsilon";
    file = file
        .u32("gemma3n.block_count", LAYERS as u32)
        .u32("gemma3n.attention.shared_kv_layers", (LAYERS - OWN) as u32)
        .key("gemma3n.attention.sliding_window_pattern", ARRAY, &pattern)
        .key(epsilon, F32, &1e-6f32.to_le_bytes());
    let mut most = 0;
    for tensor in &small.tensors {
        let mut shape = tensor.shape.clone();
        let all_layers = match tensor.name.as_str() {
            "per_layer_token_embd.weight" => Some(0),
            "per_layer_model_proj.weight" => Some(1),
            _ => None,
        };
        if let Some(axis) = all_layers {
            shape[axis] = shape[axis] / 2 * LAYERS as u64;
        }
        most = most.max(tensor.bytes as usize * LAYERS);
        let names = match tensor.name.strip_prefix("blk.0.") {
            Some(name) => (0..LAYERS).map(|i| format!("blk.{i}.{name}")).collect(),
            None if tensor.name.starts_with("blk.") => vec![],
            None => vec![tensor.name.clone()],
        };
        for name in names {
            file = file.tensor(&name, &shape, tensor.dtype.ggml_id(), 0);
        }
    }
    file.data(most).build()
}

#[test]
fn gemma_3n_shares_keys_at_its_end_and_is_sparse_at_its_beginning() {
    let plan = plan(&gemma3n()).unwrap();
    assert_eq!(plan.kv.len(), OWN);
    let caches = plan.steps.iter().filter_map(|step| match step.op {
        Op::Attention { layer, .. } => Some(layer),
        _ => None,
    });
    let caches: Vec<usize> = caches.collect();
    // Of the last five layers, those with a window look at layer 18, the last at layer 19.
    let expected: Vec<usize> = (0..OWN).chain([18, 18, 18, 18, 19]).collect();
    assert_eq!(caches, expected);
    let sparse = |op: &Op| matches!(op, Op::Sparsify { .. });
    let sparse = plan.steps.iter().filter(|step| sparse(&step.op)).count();
    assert_eq!(sparse, 10);
}

#[test]
fn latent_attention_of_impossible_shapes_is_refused_by_name() {
    let split = fixture("deepseek2");
    let whole = fixture("minicpm3");
    for (bytes, key, value) in [
        (&split, "deepseek2.attention.kv_lora_rank", 0),
        (&split, "deepseek2.attention.kv_lora_rank", u32::MAX),
        (&split, "deepseek2.attention.key_length_mla", 4),
        (&split, "deepseek2.attention.key_length_mla", 1 << 21),
        (&split, "deepseek2.attention.value_length_mla", 13),
        (&split, "deepseek2.attention.value_length_mla", 0),
        (&split, "deepseek2.rope.dimension_count", 3),
        (&split, "deepseek2.expert_count", 1 << 21),
        (&split, "deepseek2.expert_used_count", 5),
        (&whole, "minicpm3.attention.key_length", 4),
        (&whole, "minicpm3.attention.value_length", 3),
        (&whole, "minicpm3.attention.value_length", 100),
    ] {
        let bad = patched(bytes, key, 4..8, &value.to_le_bytes());
        match plan(&bad) {
            Err(Error::BadMetadata { .. }) => {}
            other => panic!("{key} {value}: {:?}", other.map(|_| "a plan")),
        }
    }
    // What fits itself and not the tensors.
    for (bytes, key, value) in [
        (&split, "deepseek2.attention.kv_lora_rank", 16),
        (&split, "deepseek2.attention.value_length_mla", 6),
        (&split, "deepseek2.attention.head_count", 2),
        (&split, "deepseek2.expert_count", 8),
        (&whole, "minicpm3.attention.kv_lora_rank", 8),
        (&whole, "minicpm3.attention.value_length", 6),
    ] {
        let bad = patched(bytes, key, 4..8, &u32::to_le_bytes(value));
        match plan(&bad) {
            Err(Error::BadTensor { .. }) => {}
            other => panic!("{key} {value}: {:?}", other.map(|_| "a plan")),
        }
    }
}
