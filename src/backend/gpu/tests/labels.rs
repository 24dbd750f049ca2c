//! Each label of the plan against the scalar reference, and what depends on chunks and on the device's limits.

use super::*;

/// The plan up to one step, whose result takes the place of the logits.
fn up_to(plan: &Plan, step: usize) -> Option<Plan> {
    let logits = super::super::fuse::written(&plan.steps[step].op)?;
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
fn chunks_do_not_change_a_bit() {
    let free = Restrictions::default();
    let Some(gpu) = open(free) else {
        return;
    };
    let tokens: Vec<u32> = (1..100).collect();
    for name in ["llama-gqa", "gemma3", "gpt-oss-q-MXFP4"] {
        let model = Model::open(name);
        let windows = model.plan.steps.iter().filter(|step| {
            matches!(step.op, crate::model::Op::Attention { window: Some(window), .. } if window < 64)
        });
        assert_eq!(windows.count() > 0, name != "llama-gqa", "{name}");
        let mut gpu = model.gpu(&gpu, model.plan.clone(), KvType::F32, free);
        let mut first = None;
        for size in [99, 33, 45, 9] {
            let mut cache = gpu.new_cache(128);
            for chunk in tokens.chunks(size) {
                block_on(gpu.forward(&mut cache, chunk, LogitRows::Last)).unwrap();
            }
            let logits = first.get_or_insert_with(|| gpu.logits().to_vec());
            assert!(logits == gpu.logits(), "{name}, chunks of {size}");
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

#[test]
fn a_token_makes_no_buffer_and_no_bind_group() {
    // A device of its own: what other tests make must not count.
    let Some(device) = open_anew(FREE) else {
        return;
    };
    let model = Model::open("qwen3");
    let mut gpu = model.gpu(&device, model.plan.clone(), KvType::F16, FREE);
    let mut cache = gpu.new_cache(128);
    block_on(gpu.forward(&mut cache, &[1, 2, 3], LogitRows::Last)).unwrap();
    let mut run = gpu.start_run(&SamplingParams::default(), 7, 0).unwrap();
    let before = device.created();
    for token in 0..4 {
        block_on(gpu.forward(&mut cache, &[token], LogitRows::Last)).unwrap();
    }
    for left in (1..=8).rev() {
        block_on(gpu.next_token(&mut cache, &mut run, 5, left)).unwrap();
    }
    assert_eq!(device.created() - before, 0);
}
