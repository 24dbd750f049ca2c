//! Several residual streams side by side (Gemma 3n).

use super::vector::{map, map2, sum, sum_of};
use super::{axpy, copy, dot};
use crate::backend::cpu::simd::F32x4;

/// As [`reference::mix_streams`](crate::backend::cpu::reference::mix_streams).
pub fn mix_streams(
    x: &mut [f32],
    y: &[f32],
    coefs: Option<&[f32]>,
    plus: f32,
    first: usize,
    width: usize,
) {
    let n = y.len() / width;
    for (j, x) in x.chunks_exact_mut(width).enumerate().skip(first) {
        for (k, y) in y.chunks_exact(width).enumerate() {
            axpy(x, plus + coefs.map_or(0.0, |coefs| coefs[j * n + k]), y);
        }
    }
}

/// As [`reference::join_streams`](crate::backend::cpu::reference::join_streams).
pub fn join_streams(first: &[f32], rest: &[f32], out: &mut [f32]) {
    let wanted = dot(first, first).sqrt();
    let (head, tail) = out.split_at_mut(first.len());
    copy(first, head);
    let runs = rest.chunks_exact(first.len());
    for (run, out) in runs.zip(tail.chunks_exact_mut(first.len())) {
        let factor = F32x4::splat(wanted / dot(run, run).sqrt());
        map2(out, run, |_, x| x * factor);
    }
}

/// As [`reference::sparsify`](crate::backend::cpu::reference::sparsify).
pub fn sparsify(x: &mut [f32], factor: f32) {
    let n = x.len() as f32;
    let mean = F32x4::splat(sum(x) / n);
    map(x, |x| x - mean);
    let squares = sum_of(x, x, |x, y, sum| x.mul_add(y, sum));
    let cut = F32x4::splat(factor * (squares / (n - 1.0)).sqrt());
    map(x, |x| (x - cut).max(F32x4::splat(0.0)));
}
