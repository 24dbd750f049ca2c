//! Attention over a cache of bytes: products of integers, eight positions or eight elements at once.
//!
//! ```text
//! for each key/value head, for up to four queries that share it        queries as bytes, once
//!   for each block of 64 positions
//!     scores   8 positions × 4 queries, summed over elements           `scores`
//!     weights  as with floats, times the scales of the values, in 14 bits of two planes
//!     out      8 elements × 4 queries, summed over positions           `add_values`
//! ```
//!
//! Weights of a block share one scale, and most of them may be far below the largest (the first position often is): in
//! seven bits they would vanish.

use std::hint::black_box;
use std::ops::Range;

use super::{AttentionShape, BLOCK, State, TILE, Weights};
use crate::backend::cpu::packed::acts::{ActBlock, UP};
use crate::backend::cpu::packed::tile::dots;
use crate::backend::cpu::quantized_kv::{HeadBlock, POSITIONS, QuantizedRows, SPAN, key_zero};
use crate::backend::cpu::simd::{
    self, ByteDot, Dot, DotI8, DotU7, DotValues, F32x4, I32x4, Lane, U8x16,
};

/// The largest weight in two planes of seven bits.
const MOST: f32 = 16383.0;

/// Keys and values of past positions.
#[derive(Debug, Clone, Copy)]
pub struct CachedBytes<'a> {
    /// Keys.
    pub keys: &'a QuantizedRows,
    /// Values.
    pub values: &'a QuantizedRows,
    /// Heads before the first; not 0 when threads share the heads of one token.
    pub first_head: usize,
}

/// As [`attention`](super::attention), over bytes.
pub fn attention_bytes(
    shape: &AttentionShape<'_>,
    q: &[f32],
    cached: &CachedBytes<'_>,
    start: usize,
    out: &mut [f32],
) {
    out.fill(0.0);
    let pass = Pass {
        shape,
        cached,
        start,
        group: shape.n_heads / shape.n_kv_heads,
    };
    let queries = q.len() / (shape.n_kv_heads * shape.head_dim).max(1);
    for head in 0..shape.n_kv_heads {
        for first in (0..queries).step_by(TILE) {
            match queries - first {
                1 => pass.by_machine::<1>(head, first, q, out),
                2 => pass.by_machine::<2>(head, first, q, out),
                3 => pass.by_machine::<3>(head, first, q, out),
                _ => pass.by_machine::<4>(head, first, q, out),
            }
        }
    }
}

/// What all tiles share.
struct Pass<'a> {
    shape: &'a AttentionShape<'a>,
    cached: &'a CachedBytes<'a>,
    start: usize,
    /// Query heads per key/value head.
    group: usize,
}

/// `N` queries of a key/value head.
struct Tile<const N: usize> {
    /// `[span]`
    queries: Vec<ActBlock<N>>,
    states: [State; N],
    /// Where the queries stand in `q` and `out`.
    places: [usize; N],
    /// Positions that they see.
    seen: [Range<usize>; N],
}

/// Weights of `N` queries for a block of positions, as bytes.
struct Planes<const N: usize> {
    /// Upper and lower seven bits, `[position / 4][query][position % 4]`.
    codes: [[[[i8; 4]; N]; POSITIONS / 4]; 2],
    scale: [f32; N],
}

impl Pass<'_> {
    fn by_machine<const N: usize>(&self, head: usize, first: usize, q: &[f32], out: &mut [f32]) {
        match simd::byte_dot() {
            ByteDot::Magnitude | ByteDot::Words => self.tile::<DotI8, N>(head, first, q, out),
            ByteDot::Wrapped | ByteDot::Signed => self.tile::<DotU7, N>(head, first, q, out),
        }
    }

    fn tile<D: Dot<Quad = [i8; 4]>, const N: usize>(
        &self,
        head: usize,
        first: usize,
        q: &[f32],
        out: &mut [f32],
    ) {
        let mut tile = self.gather::<N>(head, first, q);
        let start = tile.seen.iter().map(|seen| seen.start).min().unwrap_or(0);
        let end = tile.seen.iter().map(|seen| seen.end).max().unwrap_or(0);
        let head = head + self.cached.first_head;
        let mut weights: Weights = [[0.0; BLOCK]; TILE];
        let mut planes = Planes {
            codes: [[[[0; 4]; N]; POSITIONS / 4]; 2],
            scale: [0.0; N],
        };
        for block in start / POSITIONS..end.div_ceil(POSITIONS) {
            let (keys, values) = (
                self.cached.keys.block(block, head),
                self.cached.values.block(block, head),
            );
            scores::<D, N>(&keys, &tile.queries, &mut weights);
            let mut changes = [1.0; N];
            for i in 0..N {
                let from = block * POSITIONS;
                let seen = tile.seen[i].start.clamp(from, from + POSITIONS) - from
                    ..tile.seen[i].end.clamp(from, from + POSITIONS) - from;
                let row = &mut weights[i];
                changes[i] = tile.states[i].update::<f32>(row, seen.clone(), self.shape.softcap);
                planes.set(i, row, &seen, values.scales);
            }
            add_values(
                &values,
                &planes,
                &changes,
                self.shape.head_dim,
                &tile.places,
                out,
            );
        }
        for (state, place) in tile.states.iter().zip(tile.places) {
            super::super::scale(&mut out[place..][..self.shape.head_dim], 1.0 / state.sum);
        }
    }

    fn gather<const N: usize>(&self, head: usize, first: usize, q: &[f32]) -> Tile<N> {
        let AttentionShape {
            n_heads, head_dim, ..
        } = *self.shape;
        let head_of = |i: usize| head * self.group + (first + i) % self.group;
        let token_of = |i: usize| (first + i) / self.group;
        let mut tile = Tile {
            queries: vec![ActBlock::ZERO; head_dim.div_ceil(SPAN)],
            states: std::array::from_fn(|i| {
                State::new(self.shape.sinks.map(|sinks| sinks[head_of(i)]))
            }),
            places: std::array::from_fn(|i| (token_of(i) * n_heads + head_of(i)) * head_dim),
            seen: std::array::from_fn(|i| (self.shape.visible)(self.start + token_of(i))),
        };
        for (i, place) in tile.places.iter().enumerate() {
            let q = q[*place..][..head_dim].chunks(SPAN);
            for (q, block) in q.zip(&mut tile.queries) {
                let mut span = [0.0; SPAN];
                span[..q.len()].copy_from_slice(q);
                super::super::scale(&mut span, self.shape.scale);
                block.set(i, &span);
            }
        }
        tile
    }
}

/// Scores of a block of positions.
#[inline(never)]
fn scores<D: Dot<Quad = [i8; 4]>, const N: usize>(
    keys: &HeadBlock<'_>,
    queries: &[ActBlock<N>],
    scores: &mut Weights,
) {
    let zero = i32::from(key_zero());
    let rounds = black_box(SPAN / 4 / STEPS);
    let spans = queries.len();
    let groups = keys.codes.chunks_exact(spans * SPAN / 4);
    let scales = keys.scales.as_chunks::<4>().0.chunks_exact(2 * spans);
    for (group, (codes, scales)) in groups.zip(scales).enumerate() {
        let mut sums = [[F32x4::splat(0.0); 2]; N];
        let codes = codes.as_chunks::<{ SPAN / 4 }>().0;
        for ((codes, q), scales) in codes.iter().zip(queries).zip(scales.as_chunks::<2>().0) {
            let base = std::array::from_fn(|i| I32x4::splat(zero * q.sums[2][i]));
            let dots = dots::<D, N, STEPS, 2>(codes, &q.quads, base, 0, rounds);
            for (i, sums) in sums.iter_mut().enumerate() {
                let q_scale = F32x4::splat(q.scale[i]);
                for (h, sum) in sums.iter_mut().enumerate() {
                    let scale = F32x4::load(&scales[h]) * q_scale;
                    *sum = dots[i][h].finish().to_f32().mul_add(scale, *sum);
                }
            }
        }
        for (sums, scores) in sums.iter().zip(scores.iter_mut()) {
            let (quads, _) = scores[8 * group..8 * group + 8].as_chunks_mut::<4>();
            for (sum, quad) in sums.iter().zip(quads) {
                (*sum * F32x4::splat(1.0 / UP)).store(quad);
            }
        }
    }
}

/// Quads of bytes that narrow sums hold: see `packed::codes::Codes::STEPS`.
const STEPS: usize = if DotValues::NARROW { 2 } else { 1 };

impl<const N: usize> Planes<N> {
    /// Rounds the weights of query `i`, times the values' scales.
    #[inline(always)]
    fn set(&mut self, i: usize, weights: &mut [f32; BLOCK], seen: &Range<usize>, scales: &[f32]) {
        super::super::vector::map2(weights, scales, |w, scale| w * scale);
        if seen.len() < POSITIONS {
            weights[..seen.start].fill(0.0);
            weights[seen.end..].fill(0.0);
        }
        let (quads, _) = weights.as_chunks::<4>();
        let most = quads
            .iter()
            .fold(F32x4::splat(0.0), |most, x| {
                most.max_positive(F32x4::load(x))
            })
            .max_positive_lane();
        self.scale[i] = most / MOST;
        let inverse = if self.scale[i] >= f32::MIN_POSITIVE {
            1.0 / self.scale[i]
        } else {
            0.0
        };
        // Adding this leaves a rounded number in the lowest bits.
        let inverse = F32x4::splat(inverse);
        let (shift, mask) = black_box((F32x4::splat(12_582_912.0), I32x4::splat(127)));
        for (j, quads) in quads.as_chunks::<4>().0.iter().enumerate() {
            let bits = quads
                .each_ref()
                .map(|x| F32x4::load(x).mul_add(inverse, shift).to_bits());
            let upper = U8x16::from_ints(bits.map(|x| x.bits::<7>(mask)));
            let lower = U8x16::from_ints(bits.map(|x| x.bits::<0>(mask)));
            for (plane, bytes) in self.codes.iter_mut().zip([upper, lower]) {
                let bytes: [[i8; 4]; 4] = bytemuck::cast(bytes.to_array());
                for (k, bytes) in bytes.into_iter().enumerate() {
                    plane[4 * j + k][i] = bytes;
                }
            }
        }
    }
}

/// Products of eight elements' values with both planes: `[plane][query][half]`. At once while there are registers, as one
/// plane of few queries has too few sums to keep the multipliers busy.
#[inline(always)]
fn plane_dots<const N: usize>(
    codes: &[[Lane; 2]],
    planes: &[[[[i8; 4]; N]; POSITIONS / 4]; 2],
    rounds: usize,
) -> [[[DotValues; 2]; N]; 2] {
    let zero = I32x4::splat(0);
    let [upper, lower] = planes;
    if N > 2 || DotValues::NARROW {
        let upper = dots::<DotValues, N, STEPS, 2>(codes, upper, [zero; N], 0, rounds);
        let lower = dots::<DotValues, N, STEPS, 2>(codes, lower, [zero; N], 0, rounds);
        return [upper, lower];
    }
    let mut sums = [[[DotValues::start(zero); 2]; N]; 2];
    for ((codes, upper), lower) in codes.iter().zip(upper).zip(lower).take(rounds) {
        let codes = codes.each_ref().map(U8x16::load);
        for (sums, weights) in sums.iter_mut().zip([upper, lower]) {
            for (sums, weights) in sums.iter_mut().zip(weights) {
                let weights = U8x16::splat4(weights);
                for (sum, codes) in sums.iter_mut().zip(codes) {
                    sum.step(DotValues::prepare(codes), weights);
                }
            }
        }
    }
    sums
}

/// `out[places[i] + d] = out[places[i] + d] * changes[i] + sum over p of weights[i][p] * values[p][d]`
#[inline(never)]
fn add_values<const N: usize>(
    values: &HeadBlock<'_>,
    weights: &Planes<N>,
    changes: &[f32; N],
    head_dim: usize,
    places: &[usize; N],
    out: &mut [f32],
) {
    let rounds = black_box(POSITIONS / 4 / STEPS);
    let groups = values.codes.chunks_exact(POSITIONS / 4);
    for (codes, d) in groups.zip((0..head_dim).step_by(8)) {
        let [upper, lower] = plane_dots(codes, &weights.codes, rounds);
        let count = (head_dim - d).min(8);
        for i in 0..N {
            let out = &mut out[places[i] + d..][..count];
            let (change, scale) = (F32x4::splat(changes[i]), F32x4::splat(weights.scale[i]));
            let sum = |half: usize| {
                let (upper, lower) = (upper[i][half].finish(), lower[i][half].finish());
                upper.shl::<7>().wrapping_add(lower).to_f32()
            };
            let (quads, rest) = out.as_chunks_mut::<4>();
            let full = quads.len();
            for (half, quad) in quads.iter_mut().enumerate() {
                let before = F32x4::load(quad) * change;
                sum(half).mul_add(scale, before).store(quad);
            }
            if !rest.is_empty() {
                let before = super::super::vector::padded(rest) * change;
                let sum = sum(full).mul_add(scale, before).to_array();
                rest.copy_from_slice(&sum[..rest.len()]);
            }
        }
    }
}
