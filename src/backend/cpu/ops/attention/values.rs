//! Sums of values.

use super::{KvElement, Rows, TILE, Weights};
use crate::backend::cpu::simd::F32x4;

/// `out[places[i]..][d] = out[places[i]..][d] * changes[i] + sum over p of weights[i][p] * values[p][d]` for `count`
/// queries.
pub(super) fn add<E: KvElement>(
    count: usize,
    weights: &Weights,
    changes: &[f32; TILE],
    values: &Rows<'_, E>,
    head_dim: usize,
    places: &[usize; TILE],
    out: &mut [f32],
) {
    match count {
        1 => columns::<E, 1, 4>(weights, changes, values, head_dim, places, out),
        2 => columns::<E, 2, 4>(weights, changes, values, head_dim, places, out),
        3 => columns::<E, 3, 2>(weights, changes, values, head_dim, places, out),
        _ => columns::<E, 4, 2>(weights, changes, values, head_dim, places, out),
    }
}

/// `N` queries, `C` vectors of columns at once; then what is left of the columns.
#[inline(always)]
fn columns<E: KvElement, const N: usize, const C: usize>(
    weights: &Weights,
    changes: &[f32; TILE],
    values: &Rows<'_, E>,
    head_dim: usize,
    places: &[usize; TILE],
    out: &mut [f32],
) {
    let mut d = 0;
    while d + 4 * C <= head_dim {
        strip::<E, N, C>(weights, changes, values, d, places, out);
        d += 4 * C;
    }
    while d + 4 <= head_dim {
        strip::<E, N, 1>(weights, changes, values, d, places, out);
        d += 4;
    }
    for d in d..head_dim {
        for n in 0..N {
            let out = &mut out[places[n] + d];
            let term = |(row, weight): (&[E], &f32)| weight * (row[0].to_f32() / E::UP / E::DOWN);
            *out = *out * changes[n] + values.iter(d).zip(&weights[n]).map(term).sum::<f32>();
        }
    }
}

/// `N` queries × `4 * C` columns from `d` on.
#[inline(never)]
fn strip<E: KvElement, const N: usize, const C: usize>(
    weights: &Weights,
    changes: &[f32; TILE],
    values: &Rows<'_, E>,
    d: usize,
    places: &[usize; TILE],
    out: &mut [f32],
) {
    let mut sums = [[F32x4::splat(0.0); C]; N];
    for (n, sums) in sums.iter_mut().enumerate() {
        let (quads, _) = out[places[n] + d..][..4 * C].as_chunks::<4>();
        for (sum, quad) in sums.iter_mut().zip(quads) {
            *sum = F32x4::load(quad) * F32x4::splat(changes[n]);
        }
    }
    for (p, row) in values.iter(d).enumerate() {
        let (quads, _) = row[..4 * C].as_chunks::<4>();
        let values: [F32x4; C] = std::array::from_fn(|c| E::load(&quads[c]));
        for n in 0..N {
            let weight = F32x4::splat(weights[n][p]);
            for c in 0..C {
                sums[n][c] = weight.mul_add(values[c], sums[n][c]);
            }
        }
    }
    for (n, sums) in sums.iter().enumerate() {
        let (quads, _) = out[places[n] + d..][..4 * C].as_chunks_mut::<4>();
        for (sum, quad) in sums.iter().zip(quads) {
            sum.store(quad);
        }
    }
}
