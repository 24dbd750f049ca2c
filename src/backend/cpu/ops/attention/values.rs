//! Sums of values.

use super::{KvElement, Rows, TILE, Weights};
use crate::backend::cpu::simd::{F32x4, HalfMask};

/// Queries that are worked on at once, with their weights for the positions of a block.
pub(super) struct Tile<'a> {
    /// Number of queries.
    pub count: usize,
    pub weights: &'a Weights,
    /// Factors of what was summed before.
    pub changes: [f32; TILE],
    /// Where the queries' sums stand in `out`.
    pub places: [usize; TILE],
}

impl Tile<'_> {
    /// `out[places[i] + d] = out[places[i] + d] * changes[i] + sum over p of weights[i][p] * values[p][d]`
    pub fn add<E: KvElement>(&self, values: &Rows<'_, E>, head_dim: usize, out: &mut [f32]) {
        match self.count {
            1 => self.columns::<E, 1, 4>(values, head_dim, out),
            2 => self.columns::<E, 2, 4>(values, head_dim, out),
            3 => self.columns::<E, 3, 2>(values, head_dim, out),
            _ => self.columns::<E, 4, 2>(values, head_dim, out),
        }
    }

    /// `N` queries, `C` vectors of columns at once; then what is left of the columns.
    #[inline(always)]
    fn columns<E: KvElement, const N: usize, const C: usize>(
        &self,
        values: &Rows<'_, E>,
        head_dim: usize,
        out: &mut [f32],
    ) {
        let mut d = 0;
        while d + 4 * C <= head_dim {
            self.strip::<E, N, C>(values, d, out);
            d += 4 * C;
        }
        while d + 4 <= head_dim {
            self.strip::<E, N, 1>(values, d, out);
            d += 4;
        }
        for d in d..head_dim {
            for n in 0..N {
                let out = &mut out[self.places[n] + d];
                let rows = values.iter(d).zip(&self.weights[n]);
                let sum: f32 = rows.map(|(row, weight)| weight * row[0].reduced()).sum();
                *out = *out * self.changes[n] + sum;
            }
        }
    }

    /// `N` queries × `4 * C` columns from `d` on.
    #[inline(never)]
    #[allow(clippy::needless_range_loop)] // `n` names a place in two arrays
    fn strip<E: KvElement, const N: usize, const C: usize>(
        &self,
        values: &Rows<'_, E>,
        d: usize,
        out: &mut [f32],
    ) {
        let mask = HalfMask::hidden();
        let mut sums = [[F32x4::splat(0.0); C]; N];
        for (n, sums) in sums.iter_mut().enumerate() {
            let (quads, _) = out[self.places[n] + d..][..4 * C].as_chunks::<4>();
            for (sum, quad) in sums.iter_mut().zip(quads) {
                *sum = F32x4::load(quad) * F32x4::splat(self.changes[n]);
            }
        }
        for (p, row) in values.iter(d).enumerate() {
            let (quads, _) = row[..4 * C].as_chunks::<4>();
            let values: [F32x4; C] = std::array::from_fn(|c| E::load(&quads[c], mask));
            for n in 0..N {
                let weight = F32x4::splat(self.weights[n][p]);
                for c in 0..C {
                    sums[n][c] = weight.mul_add(values[c], sums[n][c]);
                }
            }
        }
        for (n, sums) in sums.iter().enumerate() {
            let (quads, _) = out[self.places[n] + d..][..4 * C].as_chunks_mut::<4>();
            for (sum, quad) in sums.iter().zip(quads) {
                sum.store(quad);
            }
        }
    }
}

/// Writes the values of a block as `[positions, head_dim]`, reduced as [`KvElement::load`] gives them.
pub(super) fn widen<E: KvElement>(values: &Rows<'_, E>, head_dim: usize, out: &mut Vec<f32>) {
    let (rows, mask) = (values.iter(0), HalfMask::hidden());
    out.resize(rows.len() * head_dim, 0.0);
    for (row, out) in rows.zip(out.chunks_exact_mut(head_dim)) {
        let (quads, rest) = row[..head_dim].as_chunks::<4>();
        let (out_quads, out_rest) = out.as_chunks_mut::<4>();
        for (quad, out) in quads.iter().zip(out_quads) {
            E::load(quad, mask).store(out);
        }
        for (x, out) in rest.iter().zip(out_rest) {
            *out = x.reduced();
        }
    }
}
