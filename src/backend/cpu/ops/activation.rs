//! Activation functions on slices.

use super::vector::{map, map2, quad, store_quad};
use crate::backend::cpu::simd::{F32x4, math};
use crate::model::Activation;

/// `x[i] = act(x[i])`
pub fn activate(act: Activation, x: &mut [f32]) {
    match act {
        Activation::Silu => map(x, math::silu),
        Activation::GeluTanh => map(x, math::gelu_tanh),
        Activation::Sigmoid => map(x, math::sigmoid),
        Activation::ClampedSwiglu => map(x, clamped_silu),
        Activation::Tanh => map(x, math::tanh),
        Activation::Relu => map(x, relu),
        Activation::SquaredRelu => map(x, |x| relu(x) * relu(x)),
        Activation::Identity => {}
    }
}

/// `up[i] *= act(gate[i])`
pub fn gated(act: Activation, gate: &[f32], up: &mut [f32]) {
    match act {
        Activation::Silu => map2(up, gate, |up, gate| up * math::silu(gate)),
        Activation::GeluTanh => map2(up, gate, |up, gate| up * math::gelu_tanh(gate)),
        Activation::Sigmoid => map2(up, gate, |up, gate| up * math::sigmoid(gate)),
        Activation::ClampedSwiglu => map2(up, gate, |up, gate| {
            let up = up.min(F32x4::splat(7.0)).max(F32x4::splat(-7.0));
            (up + F32x4::splat(1.0)) * clamped_silu(gate)
        }),
        Activation::Relu => map2(up, gate, |up, gate| up * relu(gate)),
        Activation::SquaredRelu => map2(up, gate, |up, gate| up * (relu(gate) * relu(gate))),
        Activation::Tanh => map2(up, gate, |up, gate| up * math::tanh(gate)),
        Activation::Identity => map2(up, gate, |up, gate| up * gate),
    }
}

/// `x[i] = ln(1 + e^(x[i] + b[i]))`
pub fn softplus(x: &mut [f32], b: &[f32]) {
    rarely(x, b, |x, b| math::softplus(x + b));
}

/// `x[i] = e^(x[i] * b[i])`
pub fn exp(x: &mut [f32], b: &[f32]) {
    rarely(x, b, |x, b| math::exp(x * b));
}

/// [`map2`] for few numbers: a fifth of its code.
#[inline(always)]
fn rarely(x: &mut [f32], b: &[f32], f: impl Fn(F32x4, F32x4) -> F32x4) {
    for (x, b) in x.chunks_mut(4).zip(b.chunks(4)) {
        store_quad(f(quad(x), quad(b)), x);
    }
}

#[inline(always)]
fn relu(x: F32x4) -> F32x4 {
    x.max(F32x4::splat(0.0))
}

/// See [`Activation::ClampedSwiglu`].
#[inline(always)]
fn clamped_silu(x: F32x4) -> F32x4 {
    let x = x.min(F32x4::splat(7.0));
    x * math::sigmoid(x * F32x4::splat(1.702))
}

/// `x[i] = cap * tanh(x[i] / cap)`
pub fn soft_cap(x: &mut [f32], cap: f32) {
    let (scale, cap) = (F32x4::splat(1.0 / cap), F32x4::splat(cap));
    map(x, |x| cap * math::tanh(x * scale));
}
