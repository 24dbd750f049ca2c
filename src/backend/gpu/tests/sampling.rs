//! Drawing on the GPU against the host's sampler.

use super::*;
use crate::model::{BufId, Op, Step};
use crate::sampling::Sampler;

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
        block_on(gpu.finish(&mut |_, _| Ok(()))).unwrap();
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
