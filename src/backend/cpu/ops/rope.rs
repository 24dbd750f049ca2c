//! Rotary position embedding of one position's heads.

use crate::backend::cpu::simd::F32x4;

/// Rotates pairs `(2 i, 2 i + 1)` of each head of `row` (`[n_heads, head_dim]`) in place. `angles[i]` is the cosine and
/// sine of pair `i`; elements beyond the pairs stay as they are.
pub fn rope_adjacent(row: &mut [f32], head_dim: usize, angles: &[[f32; 2]]) {
    let (angle_quads, angle_rest) = angles.as_chunks::<4>();
    for head in row.chunks_exact_mut(head_dim) {
        let (pairs, _) = head[..2 * angles.len()].as_chunks_mut::<8>();
        for (pairs, angles) in pairs.iter_mut().zip(angle_quads) {
            let [cos, sin] = columns(angles);
            let (pairs, _) = pairs.as_chunks_mut::<4>();
            let [x, y] = F32x4::load(&pairs[0]).unzip(F32x4::load(&pairs[1]));
            let [x, y] = rotate(x, y, cos, sin);
            let [first, second] = x.zip(y);
            first.store(&mut pairs[0]);
            second.store(&mut pairs[1]);
        }
        for (i, angle) in angle_rest.iter().enumerate() {
            let i = 4 * angle_quads.len() + i;
            turn(head, 2 * i, 2 * i + 1, angle);
        }
    }
}

/// As [`rope_adjacent`], with pairs `(i, i + n)` where `n` is the number of pairs.
pub fn rope_halves(row: &mut [f32], head_dim: usize, angles: &[[f32; 2]]) {
    let (angle_quads, angle_rest) = angles.as_chunks::<4>();
    for head in row.chunks_exact_mut(head_dim) {
        let (low, high) = head.split_at_mut(angles.len());
        let (low, _) = low.as_chunks_mut::<4>();
        let (high, _) = high.as_chunks_mut::<4>();
        for ((low, high), angles) in low.iter_mut().zip(high).zip(angle_quads) {
            let [cos, sin] = columns(angles);
            let [x, y] = rotate(F32x4::load(low), F32x4::load(high), cos, sin);
            x.store(low);
            y.store(high);
        }
        for (i, angle) in angle_rest.iter().enumerate() {
            let i = 4 * angle_quads.len() + i;
            turn(head, i, i + angles.len(), angle);
        }
    }
}

/// Four cosines and four sines.
#[inline(always)]
fn columns(angles: &[[f32; 2]; 4]) -> [F32x4; 2] {
    let (quads, _) = angles.as_flattened().as_chunks::<4>();
    F32x4::load(&quads[0]).unzip(F32x4::load(&quads[1]))
}

#[inline(always)]
fn rotate(x: F32x4, y: F32x4, cos: F32x4, sin: F32x4) -> [F32x4; 2] {
    [x * cos - y * sin, x * sin + y * cos]
}

fn turn(head: &mut [f32], a: usize, b: usize, [cos, sin]: &[f32; 2]) {
    let (x, y) = (head[a], head[b]);
    head[a] = x * cos - y * sin;
    head[b] = x * sin + y * cos;
}
