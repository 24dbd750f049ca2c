//! Cases of attention, against f64.

#![allow(clippy::expect_used)]

use std::ops::Range;

use half::f16;
use inkling::backend::cpu::float_kv::{FloatRows, KvElement};
use inkling::backend::cpu::ops::{
    AttentionShape, Cached, CachedBytes, DistanceBias, Scratch, attention, attention_bytes,
};
use inkling::backend::cpu::quantized_kv::{QuantizedRows, Side};
use inkling::backend::cpu::{KvType, LayerCache, parallel};
use inkling::model::KvSpec;

use crate::cases::{Random, Report};

#[derive(Debug, Clone, Copy)]
struct Case {
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    scale: f32,
    window: Option<usize>,
    softcap: Option<f32>,
    /// Every position sees every other.
    full: bool,
    sinks: bool,
    bias: bool,
    tokens: usize,
    start: usize,
}

impl Case {
    /// Positions that the one at `position` sees.
    fn visible(&self, position: usize) -> Range<usize> {
        let len = self.start + self.tokens;
        match (self.full, self.window) {
            (true, None) => 0..len,
            (true, Some(window)) => {
                position.saturating_sub(window / 2)..(position + window / 2 + 1).min(len)
            }
            (false, window) => (position + 1).saturating_sub(window.unwrap_or(len))..position + 1,
        }
    }

    /// What scores of a head gain by distance.
    fn bias(&self, head: usize, distance: i64) -> f32 {
        if self.bias {
            (distance as f32 * 0.1 + head as f32).sin()
        } else {
            0.0
        }
    }

    /// The same for [`DistanceBias`].
    fn bias_table(&self) -> Option<Vec<f32>> {
        let before = self.start + self.tokens - 1;
        let width = DistanceBias::width(before, before + 1);
        let of = |i: usize| self.bias(i / width, (i % width) as i64 - before as i64);
        self.bias
            .then(|| (0..self.n_heads * width).map(of).collect())
    }

    /// From head `first` on.
    fn bias_of<'a>(&self, table: &'a [f32], first: usize) -> DistanceBias<'a> {
        let before = self.start + self.tokens - 1;
        let width = DistanceBias::width(before, before + 1);
        DistanceBias {
            table: &table[first * width..],
            before,
            width,
        }
    }

    /// Score of a head that has no value.
    fn sink(&self, head: usize) -> f32 {
        head as f32 * 0.7 - 1.0
    }
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let heads = [(4, 2, 16), (3, 3, 64), (9, 3, 64), (8, 1, 24), (14, 2, 12), (5, 1, 80), (2, 1, 7), (4, 4, 128)];
    let places = [(1, 0), (1, 63), (1, 64), (1, 200), (2, 5), (3, 130), (17, 0), (70, 100)];
    let mut cases = Vec::new();
    for (i, (n_heads, n_kv_heads, head_dim)) in heads.into_iter().enumerate() {
        for (j, (tokens, start)) in places.into_iter().enumerate() {
            for (window, softcap) in [(None, None), (Some(16), None), (Some(65), Some(5.0))] {
                let scale = [0.125, 1.0, 0.3][(i + j) % 3];
                let (full, sinks, bias) = ((i + j) % 4 == 3, j % 2 == 1, i % 3 == 1);
                cases.push(Case { n_heads, n_kv_heads, head_dim, scale, window, softcap, full, sinks, bias, tokens, start });
            }
        }
    }
    cases
}

/// Runs all, with all storage types.
pub fn run(report: &mut Report) {
    // Half floats are widened by moving bits, which makes a large number of NaN.
    for kind in [KvType::F32, KvType::Q8_0] {
        broken(kind, report);
    }
    let mut scratch = Scratch::default();
    for (i, case) in cases().iter().enumerate() {
        let mut random = Random(i as u64);
        let len = (case.start + case.tokens) * case.n_kv_heads * case.head_dim;
        let (keys, values) = (random.values(len), random.values(len));
        let q = random.values(case.tokens * case.n_heads * case.head_dim);
        one::<f32>(case, &q, &keys, &values, &mut scratch, report);
        one::<f16>(case, &q, &keys, &values, &mut scratch, report);
        bytes(case, &q, &keys, &values, report);
    }
}

/// A number that is none is not lost on the way, nor taken up from a position that is not seen.
fn broken(kind: KvType, report: &mut Report) {
    let spec = KvSpec {
        n_kv_heads: 1,
        head_dim: 16,
        memory: false,
    };
    for (place, seen) in [(3, true), (70, false), (80, false)] {
        for in_keys in [true, false] {
            let mut layer = LayerCache::new(kind, &spec);
            layer.resize(128).expect("fits");
            let good = vec![0.5; 128 * 16];
            let mut bad = good.clone();
            bad[place * 16 + 5] = f32::NAN;
            layer.keys.store(0, if in_keys { &bad } else { &good });
            layer.values.store(0, if in_keys { &good } else { &bad });
            let shape = AttentionShape {
                n_heads: 1,
                n_kv_heads: 1,
                head_dim: 16,
                scale: 1.0,
                visible: &|position| 0..position + 1,
                softcap: None,
                sinks: None,
                bias: None,
            };
            let mut out = [0.0; 16];
            parallel::attention(&shape, &good[..16], &layer, 69, &mut Vec::new(), &mut out);
            let lost = !out.iter().any(|x| x.is_nan());
            report.check(lost != seen, || {
                format!("NaN at {place} of {kind:?}, in keys {in_keys}: {out:?}")
            });
        }
    }
}

fn one<E: KvElement>(
    case: &Case,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    scratch: &mut Scratch,
    report: &mut Report,
) {
    let (n_heads, n_kv_heads, start) = (case.n_heads, case.n_kv_heads, case.start);
    let width = n_heads * case.head_dim;
    let stored = |side, values: &[f32]| {
        let mut rows = FloatRows::<E>::new(side, n_kv_heads, case.head_dim);
        rows.resize(start + case.tokens).expect("fits");
        rows.store(0, values);
        let back = (0..values.len()).map(|i| rows.get(i)).collect::<Vec<_>>();
        (rows, back)
    };
    let ((keys, wide_keys), (values, wide_values)) =
        (stored(Side::Keys, keys), stored(Side::Values, values));
    let sinks: Vec<f32> = (0..n_heads).map(|head| case.sink(head)).collect();
    let visible = |position| case.visible(position);
    let table = case.bias_table();
    let shape = AttentionShape {
        n_heads,
        n_kv_heads,
        head_dim: case.head_dim,
        scale: case.scale,
        visible: &visible,
        softcap: case.softcap,
        sinks: case.sinks.then_some(&sinks),
        bias: table.as_ref().map(|table| case.bias_of(table, 0)),
    };
    let cached = Cached {
        keys: &keys,
        values: &values,
        first_head: 0,
    };
    let mut out = vec![f32::NAN; q.len()];
    attention(&shape, q, &cached, start, scratch, &mut out);
    let want = reference(case, q, &wide_keys, &wide_values);
    let name = format!("attention of {} bytes, {case:?}", size_of::<E>());
    report.close(&name, &out, &want, |_| 5e-6);

    // A token's heads in two shares.
    if case.tokens == 1 && n_kv_heads % 2 == 0 {
        let (n_heads, n_kv_heads) = (n_heads / 2, n_kv_heads / 2);
        let mut shares = vec![f32::NAN; q.len()];
        let parts = q.chunks(width / 2).zip(shares.chunks_mut(width / 2));
        for (i, (q, out)) in parts.enumerate() {
            let sinks = case.sinks.then(|| &sinks[i * n_heads..]);
            let half = AttentionShape {
                n_heads,
                n_kv_heads,
                sinks,
                bias: table.as_ref().map(|table| case.bias_of(table, i * n_heads)),
                ..shape
            };
            let cached = Cached {
                first_head: i * n_kv_heads,
                ..cached
            };
            attention(&half, q, &cached, start, scratch, out);
        }
        report.check(shares == out, || format!("{name}: shares differ"));
    }
    // Tokens one by one, as decoding goes.
    let mut single = vec![f32::NAN; q.len()];
    for (t, (q, out)) in q.chunks(width).zip(single.chunks_mut(width)).enumerate() {
        attention(&shape, q, &cached, start + t, scratch, out);
    }
    report.close(&format!("{name}, one by one"), &single, &want, |_| 5e-6);
}

/// Over bytes: held to the rounding of queries, which is one of 127 steps and moves every score a little.
fn bytes(case: &Case, q: &[f32], keys: &[f32], values: &[f32], report: &mut Report) {
    let (n_heads, n_kv_heads, start) = (case.n_heads, case.n_kv_heads, case.start);
    let width = n_heads * case.head_dim;
    let stored = |side, values: &[f32]| {
        let mut rows = QuantizedRows::new(side, n_kv_heads, case.head_dim);
        rows.resize(start + case.tokens).expect("fits");
        rows.store(0, values);
        let back = (0..values.len()).map(|i| rows.get(i)).collect::<Vec<_>>();
        (rows, back)
    };
    let ((keys, wide_keys), (values, wide_values)) =
        (stored(Side::Keys, keys), stored(Side::Values, values));
    let sinks: Vec<f32> = (0..n_heads).map(|head| case.sink(head)).collect();
    let visible = |position| case.visible(position);
    let table = case.bias_table();
    let shape = AttentionShape {
        n_heads,
        n_kv_heads,
        head_dim: case.head_dim,
        scale: case.scale,
        visible: &visible,
        softcap: case.softcap,
        sinks: case.sinks.then_some(&sinks),
        bias: table.as_ref().map(|table| case.bias_of(table, 0)),
    };
    let cached = |first_head| CachedBytes {
        keys: &keys,
        values: &values,
        first_head,
    };
    let mut out = vec![f32::NAN; q.len()];
    attention_bytes(&shape, q, &cached(0), start, &mut out);
    let rounded: Vec<f32> = q.chunks(case.head_dim).flat_map(rounded).collect();
    let want = reference(case, &rounded, &wide_keys, &wide_values);
    let name = format!("attention of bytes, {case:?}");
    let largest = wide_values
        .iter()
        .fold(0.0_f64, |most, x| most.max(x.abs()));
    report.close(&name, &out, &want, |_| 4e-4 * largest);

    let mut single = vec![f32::NAN; q.len()];
    for (t, (q, out)) in q.chunks(width).zip(single.chunks_mut(width)).enumerate() {
        attention_bytes(&shape, q, &cached(0), start + t, out);
    }
    report.check(single == out, || format!("{name}: one by one differs"));
    if case.tokens == 1 && n_kv_heads % 2 == 0 {
        let (n_heads, n_kv_heads) = (n_heads / 2, n_kv_heads / 2);
        let parts = q.chunks(width / 2).zip(single.chunks_mut(width / 2));
        for (i, (q, out)) in parts.enumerate() {
            let half = AttentionShape {
                n_heads,
                n_kv_heads,
                sinks: case.sinks.then(|| &sinks[i * n_heads..]),
                bias: table.as_ref().map(|table| case.bias_of(table, i * n_heads)),
                ..shape
            };
            attention_bytes(&half, q, &cached(i * n_kv_heads), start, out);
        }
        report.check(single == out, || format!("{name}: shares differ"));
    }
}

/// A query as it is multiplied: 127 steps for each 32 elements.
fn rounded(q: &[f32]) -> Vec<f32> {
    let round = |q: &[f32]| {
        let most = q.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let step = if most > 0.0 { most / 127.0 } else { 1.0 };
        q.iter()
            .map(|x| (x / step).round_ties_even() * step)
            .collect::<Vec<_>>()
    };
    q.chunks(32).flat_map(round).collect()
}

fn reference(case: &Case, q: &[f32], keys: &[f64], values: &[f64]) -> Vec<f64> {
    let (n_heads, n_kv_heads, head_dim) = (case.n_heads, case.n_kv_heads, case.head_dim);
    let mut out = Vec::new();
    for (i, q) in q.chunks(head_dim).enumerate() {
        let (token, head) = (i / n_heads, i % n_heads / (n_heads / n_kv_heads));
        let at = |p: usize| (p * n_kv_heads + head) * head_dim;
        let score = |p: usize| {
            let dot: f64 = q
                .iter()
                .zip(&keys[at(p)..])
                .map(|(q, k)| f64::from(*q) * k)
                .sum();
            let distance = p as i64 - (case.start + token) as i64;
            let bias = case.bias(i % n_heads, distance);
            let score = dot * f64::from(case.scale) + f64::from(bias);
            case.softcap.map_or(score, |cap| {
                f64::from(cap) * (score / f64::from(cap)).tanh()
            })
        };
        let seen = case.visible(case.start + token);
        let scores: Vec<f64> = seen.clone().map(score).collect();
        let sink = if case.sinks {
            f64::from(case.sink(i % n_heads))
        } else {
            f64::NEG_INFINITY
        };
        let max = scores.iter().copied().fold(sink, f64::max);
        let sum = scores.iter().map(|s| (s - max).exp()).sum::<f64>() + (sink - max).exp();
        out.extend((0..head_dim).map(|d| {
            let weighted = |(p, s): (usize, &f64)| (s - max).exp() / sum * values[at(p) + d];
            seen.clone().zip(&scores).map(weighted).sum::<f64>()
        }));
    }
    out
}
