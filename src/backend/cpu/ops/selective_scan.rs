//! The scan of Mamba: every element of a channel's state decays at a rate of its own.

use super::vector::padded;
use crate::backend::cpu::simd::{F32x4, math};

/// One channel and one token with the input `x` and the step `dt`: `state = state * exp(a * dt) + dt * x * b`; gives
/// `state · c`. All have the state's length.
pub fn selective_scan(x: f32, dt: f32, a: &[f32], [b, c]: [&[f32]; 2], state: &mut [f32]) -> f32 {
    let (step, input) = (F32x4::splat(dt), F32x4::splat(dt * x));
    let mut sum = F32x4::splat(0.0);
    let mut advance = |old: F32x4, at: usize| {
        let part = |x: &[f32]| padded(&x[at..x.len().min(at + 4)]);
        let new = input.mul_add(part(b), old * math::exp(part(a) * step));
        sum = new.mul_add(part(c), sum);
        new
    };
    let length = state.len();
    let (quads, rest) = state.as_chunks_mut::<4>();
    for (q, quad) in quads.iter_mut().enumerate() {
        advance(F32x4::load(quad), 4 * q).store(quad);
    }
    if !rest.is_empty() {
        let new = advance(padded(rest), length - rest.len()).to_array();
        rest.copy_from_slice(&new[..rest.len()]);
    }
    sum.sum()
}
