//! Cases of attention, against f64.

use half::f16;
use inkling::backend::cpu::ops::{AttentionShape, Cached, KvElement, Scratch, attention};

use crate::cases::{Random, Report};

struct Case {
    shape: AttentionShape,
    tokens: usize,
    start: usize,
}

/// `(heads, key/value heads, head length)`, then what varies.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes = [
        (4, 2, 16),
        (3, 3, 64),
        (9, 3, 64),
        (8, 1, 24),
        (14, 2, 12),
        (5, 1, 80),
        (2, 1, 7),
        (4, 4, 128),
    ];
    for (i, (n_heads, n_kv_heads, head_dim)) in shapes.into_iter().enumerate() {
        for (j, (tokens, start)) in [
            (1, 0),
            (1, 63),
            (1, 64),
            (1, 200),
            (2, 5),
            (3, 130),
            (17, 0),
            (70, 100),
        ]
        .into_iter()
        .enumerate()
        {
            for (window, softcap) in [(None, None), (Some(16), None), (Some(65), Some(5.0))] {
                let scale = [0.125, 1.0, 0.3][(i + j) % 3];
                let shape = AttentionShape {
                    n_heads,
                    n_kv_heads,
                    head_dim,
                    scale,
                    window,
                    softcap,
                };
                cases.push(Case {
                    shape,
                    tokens,
                    start,
                });
            }
        }
    }
    cases
}

/// Runs all, with both storage types.
pub fn run(report: &mut Report) {
    let mut scratch = Scratch::default();
    for (i, case) in cases().iter().enumerate() {
        let mut random = Random(i as u64);
        let len = (case.start + case.tokens) * case.shape.n_kv_heads * case.shape.head_dim;
        let (keys, values) = (random.values(len), random.values(len));
        let q = random.values(case.tokens * case.shape.n_heads * case.shape.head_dim);
        one(case, &q, &keys, &values, &mut scratch, report);
        let narrow = |x: Vec<f32>| x.into_iter().map(f16::from_f32).collect::<Vec<_>>();
        one(
            case,
            &q,
            &narrow(keys),
            &narrow(values),
            &mut scratch,
            report,
        );
    }
}

fn one<E: KvElement>(
    case: &Case,
    q: &[f32],
    keys: &[E],
    values: &[E],
    scratch: &mut Scratch,
    report: &mut Report,
) {
    let Case {
        shape,
        tokens,
        start,
    } = case;
    let stride = shape.n_kv_heads * shape.head_dim;
    let cached = Cached {
        keys,
        values,
        stride,
        offset: 0,
    };
    let mut out = vec![f32::NAN; q.len()];
    attention(shape, q, &cached, *start, scratch, &mut out);
    let wide = |x: &[E]| x.iter().map(|x| f64::from(x.to_f32())).collect::<Vec<_>>();
    let want = reference(case, q, &wide(keys), &wide(values));
    let name = || {
        format!(
            "attention of {} bytes, {shape:?}, {tokens} tokens from {start}",
            size_of::<E>()
        )
    };
    report.close(&name(), &out, &want, |_| 5e-6);

    // A token's heads in two shares.
    if *tokens == 1 && shape.n_kv_heads % 2 == 0 {
        let half = AttentionShape {
            n_heads: shape.n_heads / 2,
            n_kv_heads: shape.n_kv_heads / 2,
            ..*shape
        };
        let middle = q.len() / 2;
        let mut shares = vec![f32::NAN; q.len()];
        attention(
            &half,
            &q[..middle],
            &cached,
            *start,
            scratch,
            &mut shares[..middle],
        );
        let upper = Cached {
            offset: stride / 2,
            ..cached
        };
        attention(
            &half,
            &q[middle..],
            &upper,
            *start,
            scratch,
            &mut shares[middle..],
        );
        report.check(shares == out, || format!("{}: shares differ", name()));
    }
    // Tokens one by one, as decoding goes.
    let width = shape.n_heads * shape.head_dim;
    let mut single = vec![f32::NAN; q.len()];
    for (t, (q, out)) in q.chunks(width).zip(single.chunks_mut(width)).enumerate() {
        attention(shape, q, &cached, start + t, scratch, out);
    }
    report.close(&format!("{}, one by one", name()), &single, &want, |_| 5e-6);
}

fn reference(case: &Case, q: &[f32], keys: &[f64], values: &[f64]) -> Vec<f64> {
    let AttentionShape {
        n_heads,
        n_kv_heads,
        head_dim,
        scale,
        window,
        softcap,
    } = case.shape;
    let mut out = Vec::new();
    for (i, q) in q.chunks(head_dim).enumerate() {
        let (token, head) = (i / n_heads, i % n_heads / (n_heads / n_kv_heads));
        let end = case.start + token + 1;
        let at = |p: usize| (p * n_kv_heads + head) * head_dim;
        let score = |p: usize| {
            let dot: f64 = q
                .iter()
                .zip(&keys[at(p)..])
                .map(|(q, k)| f64::from(*q) * k)
                .sum();
            let score = dot * f64::from(scale);
            softcap.map_or(score, |cap| {
                f64::from(cap) * (score / f64::from(cap)).tanh()
            })
        };
        let seen = end.saturating_sub(window.unwrap_or(end))..end;
        let scores: Vec<f64> = seen.clone().map(score).collect();
        let max = scores.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        out.extend((0..head_dim).map(|d| {
            let weighted = |(p, s): (usize, &f64)| (s - max).exp() / sum * values[at(p) + d];
            seen.clone().zip(&scores).map(weighted).sum::<f64>()
        }));
    }
    out
}
