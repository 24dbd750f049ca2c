//! What a plan becomes, counted without a device.

use super::*;
use crate::gguf::{Parsed, parse};
use crate::model::{ModelConfig, build};

fn compiled(name: &str, max_binding: u64) -> (Plan, Program, Layout) {
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
    let dtypes: Vec<DType> = plan
        .weights
        .iter()
        .map(|spec| file.tensor(&spec.tensor).unwrap().dtype)
        .collect();
    let target = Target {
        max_binding,
        kv: KvType::F16,
        split_from: 512,
        tiled: true,
        subgroup: Some(32),
        large_from: None,
        arithmetic: Arithmetic::Int8,
        max_chunk: 64,
        n_ctx: 128,
    };
    let (program, layout) = compile(&plan, &dtypes, target).unwrap();
    (plan, program, layout)
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
fn a_llama_token_is_six_dispatches_a_layer_and_four_besides() {
    for name in [
        "llama-gqa",
        "llama-q-Q4_0",
        "llama-q-Q8_0",
        "qwen2",
        "qwen3",
        "mistral-like",
        "phi3",
    ] {
        let (plan, program, _) = compiled(name, 128 << 20);
        let (layers, rest) = dispatches(&program);
        assert_eq!((layers, rest), (6 * plan.kv.len(), 4), "{name}");
        assert!(program.sample.len() <= 3, "{name}");
        assert!(
            program.kernels.len() < 25,
            "{name}: {} pipelines",
            program.kernels.len()
        );
    }
}

#[test]
fn post_norms_cost_two_dispatches_a_layer() {
    let (plan, program, _) = compiled("gemma3", 128 << 20);
    assert_eq!(dispatches(&program).0, 8 * plan.kv.len());
}

#[test]
fn a_short_convolution_costs_five_dispatches() {
    let (plan, program, _) = compiled("lfm2", 128 << 20);
    let attention = plan.kv.len();
    let convolutions = plan.states.len();
    assert_eq!(
        dispatches(&program).0,
        6 * attention + 5 * convolutions,
        "{attention} layers of attention"
    );
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
