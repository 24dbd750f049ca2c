//! Activation functions on slices.

use super::vector::{map, map2};
use crate::backend::cpu::simd::{F32x4, math};

/// `x[i] = x[i] * sigmoid(x[i])`
pub fn silu(x: &mut [f32]) {
    map(x, math::silu);
}

/// `x[i] = gelu(x[i])`, the tanh form.
pub fn gelu(x: &mut [f32]) {
    map(x, math::gelu_tanh);
}

/// `up[i] *= silu(gate[i])` (SwiGLU)
pub fn silu_mul(gate: &[f32], up: &mut [f32]) {
    map2(up, gate, |up, gate| up * math::silu(gate));
}

/// `up[i] *= gelu(gate[i])`, the tanh form (GeGLU)
pub fn gelu_mul(gate: &[f32], up: &mut [f32]) {
    map2(up, gate, |up, gate| up * math::gelu_tanh(gate));
}

/// `x[i] = cap * tanh(x[i] / cap)`
pub fn soft_cap(x: &mut [f32], cap: f32) {
    let (scale, cap) = (F32x4::splat(1.0 / cap), F32x4::splat(cap));
    map(x, |x| cap * math::tanh(x * scale));
}
