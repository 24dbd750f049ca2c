//! Element-wise operations and sums on slices. A second operand may be longer than the first; the rest is not used.

use half::f16;

use crate::backend::cpu::simd::{F32x4, math};

/// Replaces vectors of four by `f` of them; what is left over is filled up with zeros. Four vectors at once: V8 makes
/// constants anew in each round of a loop.
#[inline(always)]
pub(super) fn map(x: &mut [f32], f: impl Fn(F32x4) -> F32x4) {
    let (blocks, rest) = x.as_chunks_mut::<16>();
    for block in blocks {
        for quad in block.as_chunks_mut::<4>().0 {
            f(F32x4::load(quad)).store(quad);
        }
    }
    let (quads, rest) = rest.as_chunks_mut::<4>();
    for quad in quads {
        f(F32x4::load(quad)).store(quad);
    }
    if !rest.is_empty() {
        store_part(f(padded(rest)), rest);
    }
}

/// As [`map`], with a second operand.
#[inline(always)]
pub(super) fn map2(x: &mut [f32], b: &[f32], f: impl Fn(F32x4, F32x4) -> F32x4) {
    let (b_blocks, b_rest) = b[..x.len()].as_chunks::<16>();
    let (blocks, rest) = x.as_chunks_mut::<16>();
    for (block, b) in blocks.iter_mut().zip(b_blocks) {
        let quads = block.as_chunks_mut::<4>().0.iter_mut();
        for (quad, b) in quads.zip(b.as_chunks::<4>().0) {
            f(F32x4::load(quad), F32x4::load(b)).store(quad);
        }
    }
    let (b_quads, b_rest) = b_rest.as_chunks::<4>();
    let (quads, rest) = rest.as_chunks_mut::<4>();
    for (quad, b) in quads.iter_mut().zip(b_quads) {
        f(F32x4::load(quad), F32x4::load(b)).store(quad);
    }
    if !rest.is_empty() {
        store_part(f(padded(rest), padded(b_rest)), rest);
    }
}

/// Sum of `term` over vectors of four, in four sums that do not wait for each other. `term(a, b, sum)` adds to `sum`,
/// and nothing for zeros.
#[inline(always)]
pub(super) fn sum_of(a: &[f32], b: &[f32], term: impl Fn(F32x4, F32x4, F32x4) -> F32x4) -> f32 {
    let (b, b_rest) = b[..a.len()].as_chunks::<16>();
    let (a, a_rest) = a.as_chunks::<16>();
    let mut sums = [F32x4::splat(0.0); 4];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
        for i in 0..4 {
            sums[i] = term(F32x4::load(&a[i]), F32x4::load(&b[i]), sums[i]);
        }
    }
    for (a, b) in a_rest.chunks(4).zip(b_rest.chunks(4)) {
        sums[0] = term(padded(a), padded(b), sums[0]);
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// Up to four numbers, then zeros. A function of its own, since few rows have such an end and every loop has room for one.
#[inline(never)]
pub(super) fn padded(x: &[f32]) -> F32x4 {
    let mut quad = [0.0; 4];
    quad.iter_mut().zip(x).for_each(|(out, x)| *out = *x);
    F32x4::load(&quad)
}

/// As many of four numbers as `out` has room for.
#[inline(never)]
pub(super) fn store_part(x: F32x4, out: &mut [f32]) {
    out.iter_mut()
        .zip(x.to_array())
        .for_each(|(out, x)| *out = x);
}

/// The first four numbers; zeros where there are fewer.
#[inline(always)]
pub(super) fn quad(x: &[f32]) -> F32x4 {
    x.first_chunk().map_or_else(|| padded(x), F32x4::load)
}

/// As many of four numbers as `out` has room for.
#[inline(always)]
pub(super) fn store_quad(x: F32x4, out: &mut [f32]) {
    match out.first_chunk_mut() {
        Some(out) => x.store(out),
        None => store_part(x, out),
    }
}

/// Up to eight numbers, then zeros.
#[inline(always)]
pub(super) fn eight(x: &[f32]) -> [F32x4; 2] {
    if let Some(x) = x.first_chunk::<8>() {
        let halves: &[[f32; 4]; 2] = bytemuck::cast_ref(x);
        return halves.each_ref().map(F32x4::load);
    }
    let (low, high) = x.split_at(x.len().min(4));
    [padded(low), padded(high)]
}

/// As many of eight numbers as `out` has room for.
#[inline(always)]
pub(super) fn store_eight(x: [F32x4; 2], out: &mut [f32]) {
    if let Some(out) = out.first_chunk_mut::<8>() {
        let halves: &mut [[f32; 4]; 2] = bytemuck::cast_mut(out);
        x.into_iter().zip(halves).for_each(|(x, out)| x.store(out));
    } else {
        for (x, out) in x.into_iter().zip(out.chunks_mut(4)) {
            store_part(x, out);
        }
    }
}

/// Copies `x` to the front of `out`: of few numbers, a loop is faster than the instruction that copies memory.
pub fn copy(x: &[f32], out: &mut [f32]) {
    map2(&mut out[..x.len()], x, |_, x| x);
}

/// `sum(a[i] * b[i])`
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b, sum| a.mul_add(b, sum))
}

/// `x[i] += factor * b[i]`
pub fn axpy(x: &mut [f32], factor: f32, b: &[f32]) {
    let factor = F32x4::splat(factor);
    map2(x, b, |x, b| factor.mul_add(b, x));
}

/// `x[i] += b[i]`
pub fn add(x: &mut [f32], b: &[f32]) {
    map2(x, b, |x, b| x + b);
}

/// `x[i] *= factor`
pub fn scale(x: &mut [f32], factor: f32) {
    let factor = F32x4::splat(factor);
    map(x, |x| x * factor);
}

/// The largest; any number where there are NaNs.
pub(super) fn max(x: &[f32]) -> f32 {
    let (quads, rest) = x.as_chunks::<4>();
    let Some(first) = x.first() else {
        return f32::MIN;
    };
    let most = quads
        .iter()
        .fold(F32x4::splat(*first), |most, x| F32x4::load(x).max(most));
    rest.iter().fold(most.max_lane(), |most, x| most.max(*x))
}

/// The sum.
pub(super) fn sum(x: &[f32]) -> f32 {
    sum_of(x, x, |x, _, sum| x + sum)
}

/// Replaces `x` by `e^(x[i] - max)`, divided by their sum.
pub fn softmax(x: &mut [f32]) {
    let most = F32x4::splat(max(x));
    map(x, |x| math::exp(x - most));
    scale(x, 1.0 / sum(x));
}

/// Rounds to half floats, to the nearest.
pub fn store_f16(x: &[f32], out: &mut [f16]) {
    let (quads, rest) = x.as_chunks::<4>();
    let (out_quads, out_rest) = out.as_chunks_mut::<4>();
    for (x, out) in quads.iter().zip(out_quads) {
        F32x4::load(x).store_f16x4(out);
    }
    for (x, out) in rest.iter().zip(out_rest) {
        *out = f16::from_f32(*x);
    }
}

/// Widens half floats.
pub fn load_f16(x: &[f16], out: &mut [f32]) {
    let (quads, rest) = x.as_chunks::<4>();
    let (out_quads, out_rest) = out.as_chunks_mut::<4>();
    for (x, out) in quads.iter().zip(out_quads) {
        F32x4::load_f16x4(x).store(out);
    }
    for (x, out) in rest.iter().zip(out_rest) {
        *out = x.to_f32();
    }
}
