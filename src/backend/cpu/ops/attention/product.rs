//! Sums of products, for scores and for outputs alike: `sums[n][x] += a[n][y] * b[y][x]`.
//!
//! For scores, `a` are queries, `y` elements and `x` positions; for outputs, `a` are weights, `y` positions and `x`
//! elements. A row of `b` is eight numbers wide and serves all queries once it is in registers.

use super::{BLOCK, KvElement, TILE, Weights};
use crate::backend::cpu::float_kv::WIDTH;
use crate::backend::cpu::ops::vector;
use crate::backend::cpu::simd::{F32x4, HalfMask};

/// Most queries of which every second row has sums of its own: with fewer sums than eight, a row would wait for the one
/// before. With more, V8 runs out of registers.
const WAITING: usize = 2;

/// Sums of `N` queries for eight `x`.
type Sums<const N: usize> = [[F32x4; 2]; N];

/// Adds to `sums`. One row after the other: with several streams of rows they come from memory at half the speed.
#[inline(always)]
fn add<E: KvElement, const N: usize>(
    a: &[&[f32]; N],
    b: &[[E; WIDTH]],
    mut sums: Sums<N>,
) -> Sums<N> {
    let mask = HalfMask::hidden();
    let a = a.map(|a| &a[..b.len()]);
    let row = |b: &[E; WIDTH], y: usize, sums: &mut Sums<N>| {
        let [low, high] = E::load(b, mask);
        for (a, sums) in a.iter().zip(sums) {
            let a = F32x4::splat(a[y]);
            *sums = [a.mul_add(low, sums[0]), a.mul_add(high, sums[1])];
        }
    };
    if N > WAITING {
        b.iter().enumerate().for_each(|(y, b)| row(b, y, &mut sums));
        return sums;
    }
    let mut others = [[F32x4::splat(0.0); 2]; N];
    let (pairs, last) = b.as_chunks::<2>();
    for (i, pair) in pairs.iter().enumerate() {
        row(&pair[0], 2 * i, &mut sums);
        row(&pair[1], 2 * i + 1, &mut others);
    }
    for b in last {
        row(b, 2 * pairs.len(), &mut sums);
    }
    std::array::from_fn(|n| std::array::from_fn(|h| sums[n][h] + others[n][h]))
}

/// Scores of one to four queries, `[count, head_dim]`, for a block of keys, `[BLOCK / 8, head_dim]`.
pub(super) fn scores<E: KvElement>(
    q: &[f32],
    head_dim: usize,
    keys: &[[E; WIDTH]],
    scores: &mut Weights,
) {
    match q.len() / head_dim {
        1 => scores_of::<E, 1>(q, head_dim, keys, scores),
        2 => scores_of::<E, 2>(q, head_dim, keys, scores),
        3 => scores_of::<E, 3>(q, head_dim, keys, scores),
        _ => scores_of::<E, 4>(q, head_dim, keys, scores),
    }
}

#[inline(never)]
fn scores_of<E: KvElement, const N: usize>(
    q: &[f32],
    head_dim: usize,
    keys: &[[E; WIDTH]],
    scores: &mut Weights,
) {
    let q: [&[f32]; N] = std::array::from_fn(|i| &q[i * head_dim..][..head_dim]);
    for (i, keys) in keys.chunks_exact(head_dim).enumerate() {
        let sums = add::<E, N>(&q, keys, [[F32x4::splat(0.0); 2]; N]);
        for (sums, scores) in sums.iter().zip(scores.iter_mut()) {
            let (out, _) = scores[i * WIDTH..][..WIDTH].as_chunks_mut::<4>();
            for (sum, out) in sums.iter().zip(out) {
                sum.store(out);
            }
        }
    }
}

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
    /// `out[places[i] + d] = out[places[i] + d] * changes[i] + sum over p of weights[i][p] * values[p][d]` for the first
    /// `positions` of a block of values, `[head_dim / 8, BLOCK]`.
    pub fn add_values<E: KvElement>(
        &self,
        values: &[[E; WIDTH]],
        positions: usize,
        head_dim: usize,
        out: &mut [f32],
    ) {
        match self.count {
            1 => self.columns::<E, 1>(values, positions, head_dim, out),
            2 => self.columns::<E, 2>(values, positions, head_dim, out),
            3 => self.columns::<E, 3>(values, positions, head_dim, out),
            _ => self.columns::<E, 4>(values, positions, head_dim, out),
        }
    }

    #[inline(never)]
    fn columns<E: KvElement, const N: usize>(
        &self,
        values: &[[E; WIDTH]],
        positions: usize,
        head_dim: usize,
        out: &mut [f32],
    ) {
        let weights: [&[f32]; N] = std::array::from_fn(|n| &self.weights[n][..positions]);
        let (groups, _) = values.as_chunks::<BLOCK>();
        for (values, d) in groups.iter().zip((0..head_dim).step_by(WIDTH)) {
            let columns = |n: usize| self.places[n] + d..self.places[n] + head_dim.min(d + WIDTH);
            let before = std::array::from_fn(|n| {
                let change = F32x4::splat(self.changes[n]);
                vector::eight(&out[columns(n)]).map(|before| before * change)
            });
            let sums = add::<E, N>(&weights, &values[..positions], before);
            for (n, sums) in sums.into_iter().enumerate() {
                vector::store_eight(sums, &mut out[columns(n)]);
            }
        }
    }
}

/// Widens numbers to what [`KvElement::load`] gives.
pub(super) fn widen<E: KvElement>(x: &[[E; WIDTH]], out: &mut Vec<[f32; WIDTH]>) {
    let mask = HalfMask::hidden();
    out.clear();
    out.extend(x.iter().map(|x| {
        let halves = E::load(x, mask).map(F32x4::to_array);
        bytemuck::cast::<[[f32; 4]; 2], [f32; WIDTH]>(halves)
    }));
}
