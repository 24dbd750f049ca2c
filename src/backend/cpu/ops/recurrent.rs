//! Operations with a state that is carried from token to token, row by row of the state.

use super::vector::{map2, padded};
use super::{axpy, dot, scale};
use crate::backend::cpu::simd::F32x4;

/// As [`reference::causal_conv`](crate::backend::cpu::reference::causal_conv).
pub fn causal_conv(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    taps: usize,
    state: &mut [f32],
    out: &mut [f32],
) {
    let channels = weight.len() / taps;
    let kept = state.len();
    let history: Vec<f32> = state.iter().chain(x).copied().collect();
    // A tap's weights side by side.
    let turned: Vec<f32> = (0..taps)
        .flat_map(|j| weight[j..].iter().step_by(taps).copied())
        .collect();
    for (t, out) in out.chunks_exact_mut(channels).enumerate() {
        match bias {
            Some(bias) => out.copy_from_slice(bias),
            None => out.fill(0.0),
        }
        let rows = history[t * channels..].chunks_exact(channels);
        for (weight, row) in turned.chunks_exact(channels).zip(rows) {
            add_products(out, weight, row);
        }
    }
    state.copy_from_slice(&history[history.len() - kept..]);
}

/// `out[i] += a[i] * b[i]`
fn add_products(out: &mut [f32], a: &[f32], b: &[f32]) {
    let (quads, rest) = out.as_chunks_mut::<4>();
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for ((out, a), b) in quads.iter_mut().zip(a).zip(b) {
        let sum = F32x4::load(a).mul_add(F32x4::load(b), F32x4::load(out));
        sum.store(out);
    }
    if !rest.is_empty() {
        let sum = padded(a_rest).mul_add(padded(b_rest), padded(rest));
        rest.copy_from_slice(&sum.to_array()[..rest.len()]);
    }
}

/// One head and one token of the gated delta rule: `state` is `[key, value]`, `q` and `k` have unit length.
///
/// ```text
/// state   state * decay
/// delta   (v - k · state) * beta
/// state   state + k ⊗ delta
/// out     q · state / sqrt(length)
/// ```
#[allow(clippy::too_many_arguments, reason = "the terms of the recurrence")]
pub fn delta_net(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    decay: f32,
    beta: f32,
    state: &mut [f32],
    delta: &mut Vec<f32>,
    out: &mut [f32],
) {
    delta.clear();
    delta.resize(v.len(), 0.0);
    for (row, k) in state.chunks_exact_mut(v.len()).zip(k) {
        scale(row, decay);
        axpy(delta, *k, row);
    }
    let beta = F32x4::splat(beta);
    map2(delta, v, |known, v| (v - known) * beta);
    out.fill(0.0);
    for ((row, k), q) in state.chunks_exact_mut(v.len()).zip(k).zip(q) {
        axpy(row, *k, delta);
        axpy(out, *q, row);
    }
    scale(out, 1.0 / (q.len() as f32).sqrt());
}

/// `x` divided by its length, which counts as at least `eps`.
pub fn unit(x: &[f32], eps: f32, out: &mut Vec<f32>) {
    out.clear();
    out.extend_from_slice(x);
    scale(out, 1.0 / dot(x, x).sqrt().max(eps));
}

/// As [`reference::state_scan`](crate::backend::cpu::reference::state_scan).
#[allow(clippy::too_many_arguments, reason = "the terms of the recurrence")]
pub fn state_scan(
    x: &[f32],
    b: &[f32],
    c: &[f32],
    dt: f32,
    a: f32,
    skip: f32,
    state: &mut [f32],
    out: &mut [f32],
) {
    let decay = (a * dt).exp();
    for ((x, out), row) in x.iter().zip(out).zip(state.chunks_exact_mut(b.len())) {
        scale(row, decay);
        axpy(row, x * dt, b);
        *out = dot(row, c) + skip * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::reference::{self, DeltaShape};

    fn values(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.37 + seed).sin()).collect()
    }

    fn close(got: &[f32], want: &[f32]) {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "{got} for {want}");
        }
    }

    #[test]
    fn convolution_is_that_of_the_reference() {
        let (channels, taps, tokens) = (10, 4, 3);
        let (x, weight, bias) = (
            values(tokens * channels, 0.1),
            values(40, 0.2),
            values(10, 0.3),
        );
        let mut states = [values(30, 0.4), values(30, 0.4)];
        let mut outs = [vec![0.0; x.len()], vec![0.0; x.len()]];
        let ([fast, exact], [a, b]) = (&mut states, &mut outs);
        causal_conv(&x, &weight, Some(&bias), taps, fast, a);
        reference::causal_conv(&x, &weight, Some(&bias), taps, exact, b);
        close(a, b);
        assert_eq!(fast, exact);
    }

    #[test]
    fn delta_rule_is_that_of_the_reference() {
        let n = 6;
        let qkv = values(3 * n, 0.1);
        let mut states = [values(n * n, 0.2), values(n * n, 0.2)];
        let mut outs = [vec![0.0; n], vec![0.0; n]];
        let ([fast, exact], [a, b]) = (&mut states, &mut outs);
        let (mut q, mut k, mut delta) = (Vec::new(), Vec::new(), Vec::new());
        unit(&qkv[..n], 1e-6, &mut q);
        unit(&qkv[n..2 * n], 1e-6, &mut k);
        delta_net(&q, &k, &qkv[2 * n..], 0.9, 0.7, fast, &mut delta, a);
        let shape = DeltaShape {
            key_heads: 1,
            value_heads: 1,
            head_dim: n,
            eps: 1e-6,
        };
        reference::delta_net(&shape, &qkv, &[0.9], &[0.7], exact, b);
        close(a, b);
        close(fast, exact);
    }

    #[test]
    fn scan_is_that_of_the_reference() {
        let (x, b, c) = (values(5, 0.1), values(7, 0.2), values(7, 0.3));
        let mut states = [values(35, 0.4), values(35, 0.4)];
        let mut outs = [vec![0.0; 5], vec![0.0; 5]];
        let ([fast, exact], [got, want]) = (&mut states, &mut outs);
        state_scan(&x, &b, &c, 0.3, -0.8, 0.5, fast, got);
        reference::state_scan(&x, &b, &c, 0.3, -0.8, 0.5, exact, want);
        close(got, want);
        close(fast, exact);
    }
}
