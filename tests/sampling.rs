//! The sampling chain as a whole, against distributions and rules known beforehand.

use std::collections::BTreeMap;

use inkling::sampling::{Sampler, SamplingParams};

fn params() -> SamplingParams {
    SamplingParams {
        seed: Some(1),
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        temperature: 1.0,
        ..Default::default()
    }
}

fn shares(params: SamplingParams, logits: &[f32], draws: usize) -> Vec<f64> {
    let mut sampler = Sampler::new(params);
    let mut counts = vec![0usize; logits.len()];
    for _ in 0..draws {
        counts[sampler.sample(&mut logits.to_vec(), &[]) as usize] += 1;
    }
    counts
        .into_iter()
        .map(|n| n as f64 / draws as f64)
        .collect()
}

fn assert_close(got: &[f64], want: &[f64]) {
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 0.01, "{got:?} is not {want:?}");
    }
}

#[test]
fn draws_follow_softmax_and_temperature() {
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    assert_close(&shares(params(), &logits, 40_000), &[0.5, 0.3, 0.2]);
    let sharp = SamplingParams {
        temperature: 0.5,
        ..params()
    };
    assert_close(
        &shares(sharp, &logits, 40_000),
        &[25.0 / 38.0, 9.0 / 38.0, 4.0 / 38.0],
    );
}

#[test]
fn filters_cut_before_the_temperature() {
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
    let hot = SamplingParams {
        temperature: 1e6,
        ..params()
    };
    let top_k = SamplingParams {
        top_k: 2,
        ..hot.clone()
    };
    assert_close(&shares(top_k, &logits, 40_000), &[0.5, 0.5, 0.0, 0.0]);
    let top_p = SamplingParams {
        top_p: 0.81,
        ..hot.clone()
    };
    assert_close(
        &shares(top_p, &logits, 40_000),
        &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
    );
    let min_p = SamplingParams { min_p: 0.55, ..hot };
    assert_close(&shares(min_p, &logits, 40_000), &[0.5, 0.5, 0.0, 0.0]);
}

#[test]
fn greedy_takes_the_first_best() {
    let mut sampler = Sampler::new(SamplingParams {
        temperature: 0.0,
        ..Default::default()
    });
    assert_eq!(sampler.sample(&mut [1.0, 3.0, 3.0, 2.0], &[]), 1);
}

#[test]
fn bias_and_penalties() {
    let greedy = SamplingParams {
        temperature: 0.0,
        ..Default::default()
    };
    let biased = SamplingParams {
        logit_bias: BTreeMap::from([(0, 5.0), (1, -100.0)]),
        ..greedy.clone()
    };
    assert_eq!(Sampler::new(biased).sample(&mut [0.0, 4.0, 4.5], &[]), 0);

    let repeated = SamplingParams {
        repetition_penalty: 2.0,
        repetition_window: 2,
        ..greedy.clone()
    };
    let mut logits = [4.0, -1.0, 3.0];
    assert_eq!(Sampler::new(repeated).sample(&mut logits, &[2, 0, 1]), 2);
    assert_eq!(logits, [2.0, -2.0, 3.0]);

    let counted = SamplingParams {
        frequency_penalty: 0.5,
        presence_penalty: 1.0,
        ..greedy.clone()
    };
    let mut logits = [4.0, 4.0, 4.0];
    Sampler::new(counted).sample(&mut logits, &[0, 0, 1, 900]);
    assert_eq!(logits, [2.0, 2.5, 4.0]);

    let off = SamplingParams {
        repetition_penalty: 2.0,
        repetition_window: 0,
        ..greedy
    };
    let mut logits = [4.0, 3.0];
    Sampler::new(off).sample(&mut logits, &[0, 0]);
    assert_eq!(logits, [4.0, 3.0]);
}

#[test]
fn the_same_seed_draws_the_same_tokens() {
    let draw = |seed| {
        let mut sampler = Sampler::new(SamplingParams {
            seed: Some(seed),
            ..params()
        });
        (0..32)
            .map(|_| sampler.sample(&mut [0.0; 64], &[]))
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(42), draw(42));
    assert_ne!(draw(42), draw(43));
    // Threefry-2x32 from an independent program: the same on every target and version.
    assert_eq!(draw(42)[..8], [55, 9, 33, 15, 39, 16, 55, 39]);
    let fresh = || {
        Sampler::new(SamplingParams {
            seed: None,
            ..params()
        })
        .seed()
    };
    assert_ne!(fresh(), fresh());
}

#[test]
fn broken_logits_do_not_break_it() {
    for temperature in [0.0, 0.8] {
        let mut sampler = Sampler::new(SamplingParams {
            temperature,
            ..params()
        });
        assert_eq!(
            sampler.sample(&mut [f32::NAN, 1.0, f32::NAN, f32::NEG_INFINITY], &[]),
            1
        );
        assert_eq!(sampler.sample(&mut [f32::NAN, 1.0, f32::INFINITY], &[]), 2);
        assert!(sampler.sample(&mut [f32::NAN; 4], &[]) < 4);
        assert!(sampler.sample(&mut [f32::NEG_INFINITY; 4], &[]) < 4);
        assert_eq!(sampler.sample(&mut [], &[]), 0);
    }
}

#[test]
fn a_large_vocabulary_is_quick() {
    let logits: Vec<f32> = (0..262_144u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6)
        .collect();
    let mut work = logits.clone();
    for top_k in [40, 0] {
        let mut sampler = Sampler::new(SamplingParams {
            top_k,
            seed: Some(3),
            ..Default::default()
        });
        let start = std::time::Instant::now();
        for _ in 0..10 {
            work.copy_from_slice(&logits);
            sampler.sample(&mut work, &[]);
        }
        let each = start.elapsed() / 10;
        println!("top_k {top_k}: {each:?} a token");
        assert!(each.as_millis() < 60, "top_k {top_k}: {each:?}");
    }
}

#[test]
fn a_history_that_grows_is_counted_as_any_other() {
    let unlimited = SamplingParams {
        temperature: 0.0,
        repetition_penalty: 1.5,
        frequency_penalty: 0.1,
        repetition_window: -1,
        ..params()
    };
    let mut kept = Sampler::new(unlimited.clone());
    let logits = [1.0, 0.9, 0.8, 0.7];
    // Growing, shorter, and other tokens than before.
    let histories: [&[u32]; 6] = [
        &[],
        &[0],
        &[0, 0, 1],
        &[0, 1],
        &[2, 2, 2, 3],
        &[2, 2, 2, 3, 0],
    ];
    for history in histories {
        let (mut got, mut want) = (logits, logits);
        let token = kept.sample(&mut got, history);
        let fresh = Sampler::new(unlimited.clone()).sample(&mut want, history);
        assert_eq!((token, got), (fresh, want), "{history:?}");
    }
}
