//! Each label of the plan on the GPU against the scalar reference, and what depends on the device's limits.
//!
//! Without an adapter the tests print "skipped".

use pollster::block_on;

use super::{Gpu, GpuBackend, GpuOptions, Restrictions};
use crate::backend::{CpuBackend, CpuOptions, KvType, LogitRows, Precision};
use crate::gguf::{GgufFile, Parsed, parse};
use crate::model::{self, BufId, ModelConfig, Op, Plan, Step, WeightId, WeightKind};
use crate::quant::DType;
use crate::sampling::{Sampler, SamplingParams};

/// A fixture and its plan.
struct Model {
    bytes: Vec<u8>,
    file: GgufFile,
    plan: Plan,
}

impl Model {
    fn open(name: &str) -> Self {
        let path = format!(
            "{}/tests/fixtures/models/{name}.gguf",
            env!("CARGO_MANIFEST_DIR")
        );
        let bytes = std::fs::read(path).unwrap();
        let Parsed::Done(file) = parse(&bytes, bytes.len() as u64).unwrap() else {
            panic!("the header is short")
        };
        let config = ModelConfig::from_gguf(&file, Some(128)).unwrap();
        let plan = model::build(&config, &file).unwrap();
        Self { bytes, file, plan }
    }

    fn dtypes(&self) -> Vec<DType> {
        self.plan
            .weights
            .iter()
            .map(|spec| self.file.tensor(&spec.tensor).unwrap().dtype)
            .collect()
    }

    /// Bytes of a weight of the plan.
    fn weight(&self, id: WeightId) -> &[u8] {
        let spec = &self.plan.weights[id.0];
        let tensor = self.file.tensor(&spec.tensor).unwrap();
        let row_bytes = tensor.dtype.row_bytes(spec.cols).unwrap();
        let skipped = match spec.kind {
            WeightKind::Matrix => spec.row_start * row_bytes,
            WeightKind::Vector => tensor.dtype.row_bytes(spec.row_start).unwrap(),
        };
        &self.bytes[tensor.offset as usize + skipped..][..spec.rows * row_bytes]
    }

    fn gpu(
        &self,
        gpu: &Gpu,
        plan: Plan,
        kv_type: KvType,
        restrictions: Restrictions,
    ) -> GpuBackend {
        let options = GpuOptions {
            kv_type,
            restrictions,
            ..GpuOptions::default()
        };
        let mut backend = block_on(GpuBackend::on(
            gpu.clone(),
            plan,
            self.dtypes(),
            128,
            options,
        ))
        .unwrap();
        for id in (0..self.plan.weights.len()).map(WeightId) {
            backend.write_rows(id, 0, self.weight(id)).unwrap();
        }
        backend.finish().unwrap();
        backend
    }

    fn reference(&self, plan: Plan) -> CpuBackend {
        let options = CpuOptions {
            precision: Precision::Exact,
            kv_type: KvType::F32,
        };
        let mut backend = CpuBackend::new(plan, options);
        for (index, dtype) in self.dtypes().into_iter().enumerate() {
            backend.allocate(WeightId(index), dtype).unwrap();
            backend
                .write_rows(WeightId(index), 0, self.weight(WeightId(index)))
                .unwrap();
        }
        backend.finish().unwrap();
        backend
    }
}

fn open(restrictions: Restrictions) -> Option<Gpu> {
    match block_on(Gpu::open(restrictions)) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn rel_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let diff: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let norm: f64 = b.iter().map(|b| f64::from(*b).powi(2)).sum();
    (diff / norm).sqrt()
}

/// The plan up to one step, whose result takes the place of the logits.
fn up_to(plan: &Plan, step: usize) -> Option<Plan> {
    let logits = super::fuse::written(&plan.steps[step].op)?;
    let steps = plan.steps[..=step].to_vec();
    Some(Plan {
        steps,
        logits,
        n_vocab: plan.buffers[logits.0],
        ..plan.clone()
    })
}

#[test]
fn every_label_agrees_with_the_reference() {
    let Some(gpu) = open(Restrictions::default()) else {
        return;
    };
    for name in ["qwen3", "gpt2"] {
        let model = Model::open(name);
        let tokens: Vec<u32> = (1..8).collect();
        let first_layers = |label: &str| !label.contains('-') || label.ends_with("-0");
        for step in 0..model.plan.steps.len() {
            let label = &model.plan.steps[step].label;
            let Some(plan) = up_to(&model.plan, step).filter(|_| first_layers(label)) else {
                continue;
            };
            let mut cpu = model.reference(plan.clone());
            let mut cache = cpu.new_cache(128);
            cpu.forward(&mut cache, &tokens, LogitRows::All).unwrap();
            let want = cpu.logits().to_vec();
            let mut gpu = model.gpu(&gpu, plan, KvType::F32, Restrictions::default());
            let mut cache = gpu.new_cache(128);
            block_on(gpu.forward(&mut cache, &tokens, LogitRows::All)).unwrap();
            let got = gpu.logits();
            let error = rel_l2(got, &want[..got.len()]);
            assert!(error < 1e-5, "{name}, {label}, chunk: {error:.2e}");
        }
    }
}

#[test]
fn token_by_token_equals_a_chunk_in_every_configuration() {
    let small = Restrictions {
        max_binding: Some(32768),
        no_subgroups: true,
        ..Restrictions::default()
    };
    let split = Restrictions {
        split_from: Some(4),
        ..Restrictions::default()
    };
    let tokens: Vec<u32> = (1..40).collect();
    for (name, restrictions) in [
        ("llama-gqa", small),
        ("llama-gqa", split),
        ("gemma2", split),
        ("llama-q-Q8_0", small),
    ] {
        let Some(gpu) = open(restrictions) else {
            return;
        };
        let model = Model::open(name);
        let mut cpu = model.reference(model.plan.clone());
        let mut cache = cpu.new_cache(128);
        cpu.forward(&mut cache, &tokens, LogitRows::Last).unwrap();
        let want = cpu.logits().to_vec();
        let mut gpu = model.gpu(&gpu, model.plan.clone(), KvType::F32, restrictions);
        for size in [1, 7, 64] {
            let mut cache = gpu.new_cache(128);
            for chunk in tokens.chunks(size) {
                block_on(gpu.forward(&mut cache, chunk, LogitRows::Last)).unwrap();
            }
            let error = rel_l2(gpu.logits(), &want);
            assert!(
                error < 1e-4,
                "{name}, chunks of {size}, {restrictions:?}: {error:.2e}"
            );
        }
    }
}

#[test]
fn cut_cache_equals_a_fresh_one_and_growth_keeps_it() {
    let Some(gpu) = open(Restrictions::default()) else {
        return;
    };
    let model = Model::open("llama-gqa");
    let mut gpu = model.gpu(
        &gpu,
        model.plan.clone(),
        KvType::F16,
        Restrictions::default(),
    );
    let mut fresh = gpu.new_cache(128);
    block_on(gpu.forward(&mut fresh, &[1, 2, 3, 7, 8], LogitRows::Last)).unwrap();
    let want = gpu.logits().to_vec();
    let mut cut = gpu.new_cache(128);
    block_on(gpu.forward(&mut cut, &[1, 2, 3, 4, 5, 6], LogitRows::None)).unwrap();
    cut.truncate(3);
    block_on(gpu.forward(&mut cut, &[7, 8], LogitRows::Last)).unwrap();
    assert!(rel_l2(gpu.logits(), &want) < 1e-5);
    assert_eq!(
        block_on(gpu.forward(&mut cut, &[1; 64], LogitRows::None)),
        Ok(())
    );
    assert_eq!(
        block_on(gpu.forward(&mut cut, &[1; 64], LogitRows::None))
            .unwrap_err()
            .code(),
        "context_full"
    );
    assert_eq!(
        block_on(gpu.forward(&mut cut, &[1 << 30], LogitRows::None))
            .unwrap_err()
            .code(),
        "invalid_request"
    );
}

#[test]
fn tokens_chosen_on_the_gpu_are_those_of_the_host() {
    let Some(gpu) = open(Restrictions::default()) else {
        return;
    };
    let model = Model::open("llama-mha-untied");
    let mut gpu = model.gpu(
        &gpu,
        model.plan.clone(),
        KvType::F32,
        Restrictions::default(),
    );
    let mut cache = gpu.new_cache(128);
    let mut want = Vec::new();
    let mut next = 5;
    for _ in 0..12 {
        block_on(gpu.forward(&mut cache, &[next], LogitRows::Last)).unwrap();
        let best = gpu
            .logits()
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        next = best.0 as u32;
        want.push(next);
    }
    let greedy = SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    };
    for steps in [1, 4] {
        gpu.options.steps = Some(steps);
        let mut cache = gpu.new_cache(128);
        let mut run = gpu.start_run(&greedy, 0, 0).unwrap();
        let mut got: Vec<u32> = Vec::new();
        for left in (1..=12).rev() {
            let last = got.last().copied().unwrap_or(5);
            got.push(block_on(gpu.next_token(&mut cache, &mut run, last, left)).unwrap());
        }
        assert_eq!(got, want);
        assert_eq!(cache.len(), 12);
    }
}

/// A plan whose result is its one buffer, whatever stands in it.
fn bare_logits(n_vocab: usize) -> Plan {
    let logits = BufId(0);
    let op = Op::Scale {
        x: logits,
        factor: 1.0,
    };
    Plan {
        buffers: vec![n_vocab],
        weights: Vec::new(),
        ropes: Vec::new(),
        kv: Vec::new(),
        steps: vec![Step {
            label: "logits".into(),
            op,
        }],
        logits,
        n_vocab,
        ..Model::open("llama-gqa").plan
    }
}

#[test]
fn tokens_drawn_on_the_gpu_are_those_of_the_host() {
    let Some(gpu) = open(Restrictions::default()) else {
        return;
    };
    let params = |temperature, top_k, top_p, min_p| SamplingParams {
        temperature,
        top_k,
        top_p,
        min_p,
        seed: Some(0x1234_5678_9ABC),
        ..SamplingParams::default()
    };
    let cases = [
        SamplingParams {
            seed: Some(3),
            ..SamplingParams::default()
        },
        params(1.0, 64, 1.0, 0.0),
        params(1.5, 1, 1.0, 0.0),
        params(0.7, 50, 0.8, 0.0),
        params(2.0, 40, 1.0, 0.2),
        params(0.01, 10, 0.0, 1.0),
        params(1e9, 7, 0.9, 0.05),
    ];
    for n_vocab in [100, 1024, 1030, 150_000] {
        let options = GpuOptions::default();
        let plan = bare_logits(n_vocab);
        let mut gpu =
            block_on(GpuBackend::on(gpu.clone(), plan, Vec::new(), 128, options)).unwrap();
        gpu.finish().unwrap();
        let mut logits: Vec<f32> = (0..n_vocab)
            .map(|i| ((i * 2_654_435_761 + 13) % (1 << 24)) as f32 / (1 << 24) as f32 * 9.0)
            .collect();
        logits[1] = f32::NAN;
        logits[3] = f32::NEG_INFINITY;
        for case in &cases {
            let mut sampler = Sampler::new(case.clone());
            let mut cache = gpu.new_cache(128);
            let mut run = gpu.start_run(case, sampler.seed(), 1).unwrap();
            for draw in 0..24 {
                let want = sampler.sample(&mut logits.clone(), &[]);
                // Other logits each time, by a turn.
                let buffer = &gpu.buffers.activations[0];
                gpu.gpu
                    .queue
                    .write_buffer(buffer, 0, bytemuck::cast_slice(&logits));
                let got = block_on(gpu.next_token(&mut cache, &mut run, 0, 1)).unwrap();
                assert_eq!(got, want, "{n_vocab}, draw {draw}, {case:?}");
                let turn = (draw * 31) % n_vocab;
                logits.rotate_left(turn);
            }
        }
    }
}

#[test]
fn what_the_gpu_cannot_choose_is_left_to_the_host() {
    let Some(gpu) = open(Restrictions::default()) else {
        return;
    };
    let model = Model::open("llama-gqa");
    let gpu = model.gpu(
        &gpu,
        model.plan.clone(),
        KvType::F32,
        Restrictions::default(),
    );
    let starts = |params: SamplingParams| gpu.start_run(&params, 0, 0).is_some();
    let base = SamplingParams::default;
    assert!(starts(base()));
    assert!(starts(SamplingParams {
        temperature: 0.0,
        top_k: 0,
        ..base()
    }));
    for params in [
        SamplingParams { top_k: 0, ..base() },
        SamplingParams {
            top_k: 65,
            ..base()
        },
        SamplingParams {
            repetition_penalty: 1.1,
            ..base()
        },
        SamplingParams {
            logit_bias: [(1, 1.0)].into(),
            ..base()
        },
    ] {
        assert!(!starts(params));
    }
}
