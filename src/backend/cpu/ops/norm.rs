//! Normalisation of rows.

use super::vector::{map, map2, sum_of};
use crate::backend::cpu::simd::F32x4;

/// RMSNorm of each run of `width` values of `x`, in place: `x / sqrt(mean(x^2) + eps) * weight + bias`. `weight` and
/// `bias` have `width` values, or several times as many, which belong to the runs in turn.
pub fn rms_norm(
    x: &mut [f32],
    width: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
) {
    for (run, row) in x.chunks_exact_mut(width).enumerate() {
        let weight = weight.map(|weight| &weight[run * width % weight.len()..][..width]);
        let bias = bias.map(|bias| &bias[run * width % bias.len()..][..width]);
        let squares = sum_of(row, row, |x, y, sum| x.mul_add(y, sum));
        let scale = 1.0 / (squares / width as f32 + eps).sqrt();
        apply(row, scale, weight, bias);
    }
}

/// LayerNorm of each run of `width` values of `x`, in place: `(x - mean) / sqrt(var + eps) * weight + bias`.
pub fn layer_norm(
    x: &mut [f32],
    width: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
) {
    for row in x.chunks_exact_mut(width) {
        let mean = sum_of(row, row, |x, _, sum| x + sum) / width as f32;
        let mean = F32x4::splat(mean);
        map(row, |x| x - mean);
    }
    rms_norm(x, width, weight, bias, eps);
}

/// `x * scale * weight + bias`
#[inline(always)]
fn apply(row: &mut [f32], scale: f32, weight: Option<&[f32]>, bias: Option<&[f32]>) {
    let scale = F32x4::splat(scale);
    match weight {
        Some(weight) => map2(row, weight, |x, w| x * scale * w),
        None => map(row, |x| x * scale),
    }
    if let Some(bias) = bias {
        super::add(row, bias);
    }
}
