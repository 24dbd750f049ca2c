//! What a plan becomes, counted without a device.

use std::collections::HashSet;

use super::super::kernel::{Dialect, Reduce};
use super::super::repack;
use super::*;
use crate::gguf::{Parsed, parse};
use crate::model::{ModelConfig, WeightKind, WeightSpec, build};

fn plan_of(name: &str) -> (Plan, Vec<DType>) {
    let path = format!(
        "{}/tests/fixtures/models/{name}.gguf",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(path).unwrap();
    let Parsed::Done(file) = parse(&bytes, bytes.len() as u64).unwrap() else {
        panic!("the header is short")
    };
    let config = ModelConfig::from_gguf(&file, Some(128)).unwrap();
    let plan = build(&config, &file).unwrap();
    let dtypes = plan
        .weights
        .iter()
        .map(|spec| file.tensor(&spec.tensor).unwrap().dtype)
        .collect();
    (plan, dtypes)
}

const TARGET: Target = Target {
    max_binding: 128 << 20,
    kv: KvType::F16,
    split_from: 512,
    tiled: true,
    lanes: Lanes::Of(32),
    large_from: None,
    arithmetic: Arithmetic::Int8,
    max_chunk: 64,
    n_ctx: 128,
};

fn compiled(name: &str, max_binding: u64) -> (Plan, Program, Layout) {
    let (plan, dtypes) = plan_of(name);
    let target = Target {
        max_binding,
        ..TARGET
    };
    let (program, layout) = compile(&plan, &dtypes, target).unwrap();
    (plan, program, layout)
}

/// Kernels with different texts, the one that repacks weights included.
fn pipelines(program: &Program, repack: Option<Kernel>) -> usize {
    let text = |kernel: &Kernel| kernel.source(Reduce::Subgroup, Dialect::Browser);
    let texts: HashSet<String> = program.kernels.iter().chain(&repack).map(text).collect();
    texts.len()
}

/// Dispatches of one decoded token: in all layers, and besides them.
fn dispatches(program: &Program) -> (usize, usize) {
    let short = program
        .decode
        .iter()
        .chain(&program.choose)
        .filter(|dispatch| dispatch.when != When::Long);
    let (layers, rest): (Vec<_>, Vec<_>) = short.partition(|dispatch| dispatch.label.contains('-'));
    (layers.len(), rest.len())
}

#[test]
fn a_llama_token_is_five_dispatches_a_layer_and_four_besides() {
    for name in [
        "llama-gqa",
        "llama-q-Q4_0",
        "llama-q-Q8_0",
        "qwen2",
        "qwen3",
        "mistral-like",
        "phi3",
    ] {
        let (plan, program, layout) = compiled(name, 128 << 20);
        let (layers, rest) = dispatches(&program);
        assert_eq!((layers, rest), (5 * plan.kv.len(), 4), "{name}");
        assert!(program.sample.len() <= 3, "{name}");
        // In a long context the keys are split, and the parts joined.
        let of = |when| program.decode.iter().filter(|d| d.when == when).count();
        assert_eq!(
            (of(When::Short), of(When::Long)),
            (plan.kv.len(), 2 * plan.kv.len()),
            "{name}"
        );
        let pipelines = pipelines(&program, repack::kernel(&layout, &plan_of(name).1));
        assert!((10..25).contains(&pipelines), "{name}: {pipelines}");
    }
}

/// A plan whose matrices have so many times the rows and columns.
fn widened(mut plan: Plan, by: usize) -> Plan {
    plan.buffers.iter_mut().for_each(|width| *width *= by);
    for weight in &mut plan.weights {
        weight.cols *= by;
        weight.rows *= if weight.kind == WeightKind::Matrix {
            by
        } else {
            1
        };
    }
    for step in &mut plan.steps {
        if let Op::Norm { width, .. } = &mut step.op {
            *width *= by;
        }
    }
    plan
}

/// What `Q4_K_M` is where rows are no multiple of 256: four types in one model.
#[test]
fn a_mix_of_types_has_few_dispatches_and_pipelines_too() {
    let (plan, _) = plan_of("llama-q-Q4_0");
    // The width of SmolLM2.
    let plan = widened(plan, 9);
    let mix = |spec: &WeightSpec| match spec.tensor.as_str() {
        "token_embd.weight" | "blk.0.attn_v.weight" => DType::Q8_0,
        "blk.0.ffn_down.weight" => DType::Q6_K,
        "blk.1.ffn_down.weight" => DType::Q4_K,
        _ if spec.kind == WeightKind::Vector => DType::F32,
        _ => DType::Q5_0,
    };
    let dtypes: Vec<DType> = plan.weights.iter().map(mix).collect();
    for lanes in [Lanes::Any, Lanes::Of(32), Lanes::Imitated] {
        let target = Target {
            lanes,
            max_chunk: 512,
            n_ctx: 512,
            ..TARGET
        };
        let (program, layout) = compile(&plan, &dtypes, target).unwrap();
        // One more in the layer whose values have another type than its keys.
        assert_eq!(dispatches(&program), (5 + 6, 4));
        let repack = repack::kernel(&layout, &dtypes);
        assert!(matches!(repack, Some(Kernel::Repack { types }) if types.iter().count() == 4));
        let pipelines = pipelines(&program, repack);
        assert!((20..25).contains(&pipelines), "{pipelines}");
    }
}

/// Dispatches of each layer, by family. What a layer of llama does not have costs, and little does.
#[test]
fn other_families_have_few_dispatches_too() {
    for (name, want) in [
        // A gate behind each query; the fixture's delta nets have too few heads for one projection.
        ("qwen35", vec![9, 9, 9, 5]),
        ("lfm2", vec![5; 4]),
        ("granite", vec![5; 2]),
        ("granitehybrid", vec![7, 5, 7]),
        ("falcon-h1", vec![12; 2]),
        // Norms after the rotation, and a growth with the position.
        ("hunyuan-dense", vec![5; 2]),
        ("mistral3", vec![5; 2]),
        // Post-norms: one more for each.
        ("gemma3", vec![7; 7]),
        ("olmo2", vec![7; 2]),
        ("qwen3moe", vec![8; 2]),
    ] {
        let (_, program, _) = compiled(name, 128 << 20);
        let of_layer = |layer: usize| {
            let inside = |dispatch: &&Dispatch| {
                let (_, place) = dispatch.label.rsplit_once('-').unwrap_or_default();
                dispatch.when != When::Long
                    && place.split(['.', '_']).next() == Some(&layer.to_string())
            };
            program.decode.iter().filter(inside).count()
        };
        let got: Vec<usize> = (0..want.len()).map(of_layer).collect();
        assert_eq!(got, want, "{name}");
        assert_eq!(dispatches(&program), (want.iter().sum(), 4), "{name}");
    }
}

#[test]
fn matrices_are_cut_to_the_binding() {
    let (_, whole, _) = compiled("llama-gqa", 128 << 20);
    let (_, cut, layout) = compiled("llama-gqa", 32768);
    assert!(cut.chunk.len() > whole.chunk.len());
    for matrix in &layout.matrices {
        for part in 0..matrix.parts.len() {
            assert!(
                matrix
                    .format
                    .quant_bytes(matrix.part_rows(part) * matrix.units())
                    <= 32768
            );
        }
    }
}

#[test]
fn nothing_is_bound_twice_where_it_is_written() {
    use super::super::kernel::Bind;
    for name in ["llama-gqa", "gemma2", "gpt2", "qwen3moe", "phi3"] {
        let (_, program, _) = compiled(name, 128 << 20);
        for dispatch in program
            .decode
            .iter()
            .chain(&program.chunk)
            .chain(&program.choose)
            .chain(&program.sample)
        {
            let bindings = program.kernels[dispatch.kernel].bindings();
            assert_eq!(
                bindings.len(),
                dispatch.slots.len(),
                "{name}, {}",
                dispatch.label
            );
            for (slot, _) in dispatch
                .slots
                .iter()
                .zip(bindings)
                .filter(|(_, bind)| **bind == Bind::Write)
            {
                let uses = dispatch.slots.iter().filter(|other| *other == slot).count();
                assert_eq!(uses, 1, "{name}, {}: {slot:?}", dispatch.label);
            }
        }
    }
}
