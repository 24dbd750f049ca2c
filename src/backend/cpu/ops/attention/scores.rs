//! Products of queries and keys.

use super::{BLOCK, KvElement, Rows, TILE, Weights};
use crate::backend::cpu::simd::{F32x4, HalfMask};

/// Scores of up to [`TILE`] queries (`[count, head_dim]`) from keys as they are stored: for few queries.
pub(super) fn of_rows<E: KvElement>(
    q: &[f32],
    head_dim: usize,
    keys: &Rows<'_, E>,
    scores: &mut Weights,
) {
    match q.len() / head_dim {
        1 => rows::<E, 1, 4>(q, head_dim, keys, scores),
        2 => rows::<E, 2, 4>(q, head_dim, keys, scores),
        3 => rows::<E, 3, 2>(q, head_dim, keys, scores),
        _ => rows::<E, 4, 2>(q, head_dim, keys, scores),
    }
}

/// `N` queries, `P` positions at once, so that sums do not wait for each other.
#[inline(never)]
fn rows<E: KvElement, const N: usize, const P: usize>(
    q: &[f32],
    head_dim: usize,
    keys: &Rows<'_, E>,
    scores: &mut Weights,
) {
    let q: [&[f32]; N] = std::array::from_fn(|i| &q[i * head_dim..][..head_dim]);
    let mut rows = keys.iter(0).map(|row| &row[..head_dim]);
    let (count, mask) = (rows.len(), HalfMask::hidden());
    for first in (0..count).step_by(P) {
        let Some(row) = rows.next() else { return };
        // Beyond the end the first row stands in; nobody looks at those scores.
        let rows: [&[E]; P] = std::array::from_fn(|p| {
            if p == 0 {
                row
            } else {
                rows.next().unwrap_or(row)
            }
        });
        let sums = products(&q, &rows, head_dim, mask);
        for (sums, scores) in sums.iter().zip(scores.iter_mut()) {
            scores[first..first + P].copy_from_slice(sums);
        }
    }
}

/// Products of `N` queries and `P` keys.
#[inline(always)]
fn products<E: KvElement, const N: usize, const P: usize>(
    q: &[&[f32]; N],
    keys: &[&[E]; P],
    head_dim: usize,
    mask: HalfMask,
) -> [[f32; P]; N] {
    let q_quads = q.map(|q| q.as_chunks::<4>().0);
    let key_quads = keys.map(|key| key.as_chunks::<4>().0);
    let mut sums = [[F32x4::splat(0.0); P]; N];
    for d in 0..head_dim / 4 {
        let q = q_quads.map(|q| F32x4::load(&q[d]));
        for p in 0..P {
            let key = E::load(&key_quads[p][d], mask);
            for n in 0..N {
                sums[n][p] = q[n].mul_add(key, sums[n][p]);
            }
        }
    }
    let mut totals = sums.map(lane_sums);
    for d in head_dim / 4 * 4..head_dim {
        for (q, totals) in q.iter().zip(&mut totals) {
            for (key, total) in keys.iter().zip(totals) {
                *total += q[d] * key[d].reduced();
            }
        }
    }
    totals
}

/// Sum within each vector.
#[inline(always)]
fn lane_sums<const P: usize>(sums: [F32x4; P]) -> [f32; P] {
    let mut totals = [0.0; P];
    for (sums, totals) in sums.chunks(4).zip(totals.chunks_mut(4)) {
        if let [a, b, rest @ ..] = sums {
            let [even, odd] = a.unzip(*b);
            let ab = even + odd;
            let cd = if let [c, d] = rest {
                let [even, odd] = c.unzip(*d);
                even + odd
            } else {
                ab
            };
            let [even, odd] = ab.unzip(cd);
            totals.copy_from_slice(&(even + odd).to_array()[..totals.len()]);
        } else {
            totals[0] = sums[0].sum();
        }
    }
    totals
}

/// Writes the keys of a block as `[head_dim, BLOCK]`, divided by `UP * DOWN` as loads are.
pub(super) fn turn<E: KvElement>(keys: &Rows<'_, E>, head_dim: usize, out: &mut Vec<f32>) {
    out.resize(head_dim * BLOCK, 0.0);
    let mask = HalfMask::hidden();
    for (p, row) in keys.iter(0).enumerate() {
        let (quads, rest) = row[..head_dim].as_chunks::<4>();
        for (quad, out) in quads.iter().zip(out.chunks_exact_mut(4 * BLOCK)) {
            for (i, x) in E::load(quad, mask).to_array().into_iter().enumerate() {
                out[i * BLOCK + p] = x;
            }
        }
        for (i, x) in rest.iter().enumerate() {
            out[(quads.len() * 4 + i) * BLOCK + p] = x.reduced();
        }
    }
}

/// Scores of up to [`TILE`] queries from turned keys: a vector holds four positions, so nothing is summed across it.
pub(super) fn of_turned(q: &[f32], head_dim: usize, keys: &[f32], scores: &mut Weights) {
    let last = q.len() / head_dim - 1;
    let q: [&[f32]; TILE] = std::array::from_fn(|i| &q[i.min(last) * head_dim..][..head_dim]);
    for first in (0..BLOCK).step_by(8) {
        strip(&q, keys, first, scores);
    }
}

/// Four queries × eight positions.
#[inline(never)]
fn strip(q: &[&[f32]; TILE], keys: &[f32], first: usize, scores: &mut Weights) {
    let [q0, q1, q2, q3] = *q;
    let mut sums = [[F32x4::splat(0.0); 2]; TILE];
    let rows = keys.as_chunks::<BLOCK>().0.iter();
    for ((((row, q0), q1), q2), q3) in rows.zip(q0).zip(q1).zip(q2).zip(q3) {
        let (quads, _) = row[first..first + 8].as_chunks::<4>();
        let keys = [F32x4::load(&quads[0]), F32x4::load(&quads[1])];
        for (sums, q) in sums.iter_mut().zip([q0, q1, q2, q3]) {
            let q = F32x4::splat(*q);
            *sums = [q.mul_add(keys[0], sums[0]), q.mul_add(keys[1], sums[1])];
        }
    }
    for (sums, scores) in sums.iter().zip(scores) {
        for (sum, scores) in sums.iter().zip(scores[first..].as_chunks_mut::<4>().0) {
            sum.store(scores);
        }
    }
}
