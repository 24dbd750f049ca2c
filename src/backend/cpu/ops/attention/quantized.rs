//! Attention over a cache of bytes: products of integers, eight positions or eight elements at once.
//!
//! ```text
//! for each block of 64 positions, for each key/value head              in the order in which they are stored
//!   for up to four queries that share it                               queries as bytes, once
//!     scores   8 positions × 4 queries, summed over elements           `scores`
//!     weights  over the largest of the block, times the scales of the values, in 8 bits or in 15
//!     out      8 elements × 4 queries, summed over positions           `add_values`
//! ```
//!
//! Weights of a block share one scale, and most of them may be far below the largest (the first position often is): in
//! eight bits they would vanish. So there is a second plane of bits, which is left out where the block weighs little.

use std::hint::black_box;
use std::ops::Range;

use super::byte_weights::{Norm, WeightBytes, Weights};
use super::softmax::{State, Step};
use super::{AttentionShape, BLOCK, TILE};
use crate::backend::cpu::ops::{self, vector};
use crate::backend::cpu::quantized_kv::{
    HeadBlock, POSITIONS, QuantizedRows, SPAN, key_zero, quantize,
};
use crate::backend::cpu::simd::{
    self, ByteDot, Dot, DotI8, DotI8Words, DotU7, DotValues, F32x4, I32x4, Lane, Quad, U8x16,
};

/// Quads of elements that share a scale.
const QUADS: usize = SPAN / 4;

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
    match simd::byte_dot() {
        ByteDot::Magnitude => by_machine::<DotI8, DotValues>(shape, q, cached, start, out),
        ByteDot::Words => by_machine::<DotI8Words, DotI8Words>(shape, q, cached, start, out),
        ByteDot::Wrapped | ByteDot::Signed => {
            by_machine::<DotU7, DotValues>(shape, q, cached, start, out);
        }
    }
}

/// `K` multiplies keys, `V` values.
fn by_machine<K: Dot, V: Dot>(
    shape: &AttentionShape<'_>,
    q: &[f32],
    cached: &CachedBytes<'_>,
    start: usize,
    out: &mut [f32],
) {
    out.fill(0.0);
    let pass = Pass {
        shape,
        q,
        start,
        bytes: WeightBytes::of_machine(),
    };
    let per_head = q.len() / (shape.n_kv_heads * shape.head_dim).max(1);
    let mut tiles: Vec<Vec<AnyTile<K::Quad>>> = (0..shape.n_kv_heads)
        .map(|head| {
            let firsts = (0..per_head).step_by(TILE);
            firsts
                .map(|first| pass.tile(head, first, per_head - first))
                .collect()
        })
        .collect();
    let seen = tiles.iter().flatten().flat_map(|tile| tile.seen());
    let (first, end) = seen.fold((usize::MAX, 0), |(first, end), seen| {
        (first.min(seen.start), end.max(seen.end))
    });
    for block in first / POSITIONS..end.div_ceil(POSITIONS) {
        for (head, tiles) in tiles.iter_mut().enumerate() {
            let head = head + cached.first_head;
            let values = cached.values.block(block, head);
            let block = Block {
                keys: cached.keys.block(block, head),
                norm: Norm::new(values.scales, &(0..POSITIONS), pass.bytes),
                values,
                start: block * POSITIONS,
            };
            for tile in tiles {
                tile.add::<K, V>(&pass, &block, out);
            }
        }
    }
    for tile in tiles.iter().flatten() {
        tile.finish(shape.head_dim, out);
    }
}

/// One head of a block of positions.
struct Block<'a> {
    keys: HeadBlock<'a>,
    values: HeadBlock<'a>,
    /// Of all positions.
    norm: Norm,
    /// The first position.
    start: usize,
}

/// What tiles are made from.
struct Pass<'a> {
    shape: &'a AttentionShape<'a>,
    q: &'a [f32],
    start: usize,
    bytes: WeightBytes,
}

/// 32 elements of `N` queries.
struct QuerySpan<Q, const N: usize> {
    /// Bytes, `[element / 4][query]`.
    quads: [[Q; N]; QUADS],
    scale: [f32; N],
    /// What sums of products begin at, since bytes of keys are stored with [`key_zero`].
    base: [i32; N],
}

/// `N` queries of a key/value head.
struct Tile<Q, const N: usize> {
    queries: Vec<QuerySpan<Q, N>>,
    states: [State; N],
    /// Head and position of each query.
    of: [(usize, usize); N],
    /// Sums of squares of the largest weights of blocks that were rounded to one plane.
    coarse: [f32; N],
    /// Where the queries stand in `q` and `out`.
    places: [usize; N],
    /// Positions that they see.
    seen: [Range<usize>; N],
}

/// One to four queries.
enum AnyTile<Q> {
    One(Tile<Q, 1>),
    Two(Tile<Q, 2>),
    Three(Tile<Q, 3>),
    Four(Tile<Q, 4>),
}

macro_rules! any {
    ($self:ident, $tile:ident => $run:expr) => {
        match $self {
            AnyTile::One($tile) => $run,
            AnyTile::Two($tile) => $run,
            AnyTile::Three($tile) => $run,
            AnyTile::Four($tile) => $run,
        }
    };
}

impl<Q: Quad> AnyTile<Q> {
    fn seen(&self) -> &[Range<usize>] {
        any!(self, tile => &tile.seen)
    }

    fn add<K: Dot<Quad = Q>, V: Dot>(
        &mut self,
        pass: &Pass<'_>,
        block: &Block<'_>,
        out: &mut [f32],
    ) {
        any!(self, tile => tile.add::<K, V>(pass, block, out));
    }

    fn finish(&self, head_dim: usize, out: &mut [f32]) {
        any!(self, tile => for (state, place) in tile.states.iter().zip(tile.places) {
            ops::scale(&mut out[place..][..head_dim], 1.0 / state.sum);
        });
    }
}

impl Pass<'_> {
    /// The queries of a key/value head from `first` on, of which there are `left`.
    fn tile<Q: Quad>(&self, head: usize, first: usize, left: usize) -> AnyTile<Q> {
        match left {
            1 => AnyTile::One(self.gather(head, first)),
            2 => AnyTile::Two(self.gather(head, first)),
            3 => AnyTile::Three(self.gather(head, first)),
            _ => AnyTile::Four(self.gather(head, first)),
        }
    }

    fn gather<Q: Quad, const N: usize>(&self, head: usize, first: usize) -> Tile<Q, N> {
        let AttentionShape {
            n_heads, head_dim, ..
        } = *self.shape;
        let group = n_heads / self.shape.n_kv_heads;
        let head_of = |i: usize| head * group + (first + i) % group;
        let token_of = |i: usize| (first + i) / group;
        let sink = |i| self.shape.sinks.map(|sinks| sinks[head_of(i)]);
        let places: [usize; N] =
            std::array::from_fn(|i| (token_of(i) * n_heads + head_of(i)) * head_dim);
        let queries = places.map(|place| &self.q[place..][..head_dim]);
        Tile {
            queries: (0..head_dim)
                .step_by(SPAN)
                .map(|from| QuerySpan::new(&queries, from, self.shape.scale))
                .collect(),
            states: std::array::from_fn(|i| State::new::<f32>(sink(i))),
            of: std::array::from_fn(|i| (head_of(i), self.start + token_of(i))),
            coarse: [0.0; N],
            places,
            seen: std::array::from_fn(|i| (self.shape.visible)(self.start + token_of(i))),
        }
    }
}

impl<Q: Quad, const N: usize> QuerySpan<Q, N> {
    /// Elements from `from` on, times `scale`.
    fn new(queries: &[&[f32]; N], from: usize, scale: f32) -> Self {
        let mut span = Self {
            quads: [[Q::ZERO; N]; QUADS],
            scale: [0.0; N],
            base: [0; N],
        };
        let zero = i32::from(key_zero());
        for (i, q) in queries.iter().enumerate() {
            let (mut floats, mut bytes) = ([0.0; SPAN], [0; SPAN]);
            let q = &q[from..][..(q.len() - from).min(SPAN)];
            floats[..q.len()].copy_from_slice(q);
            ops::scale(&mut floats, scale);
            span.scale[i] = quantize(&floats, &mut bytes);
            span.base[i] = -zero * bytes.iter().map(|x| i32::from(*x)).sum::<i32>();
            for (quad, bytes) in span.quads.iter_mut().zip(bytes.as_chunks::<4>().0) {
                quad[i] = Q::new(*bytes);
            }
        }
        span
    }
}

impl<Q: Quad, const N: usize> Tile<Q, N> {
    /// Adds a block of positions.
    fn add<K: Dot<Quad = Q>, V: Dot>(
        &mut self,
        pass: &Pass<'_>,
        block: &Block<'_>,
        out: &mut [f32],
    ) {
        let places = block.start..block.start + POSITIONS;
        let inside = |at: usize| at.clamp(places.start, places.end) - places.start;
        let seen = self
            .seen
            .each_ref()
            .map(|seen| inside(seen.start)..inside(seen.end));
        if seen.iter().all(Range::is_empty) {
            return;
        }
        let mut products = [[0.0; BLOCK]; N];
        scores::<K, N>(&block.keys, &self.queries, &mut products);
        let mut steps = [None; N];
        for (i, seen) in seen.iter().enumerate() {
            if !seen.is_empty() {
                let scores = &mut products[i];
                if let Some(bias) = pass.shape.bias {
                    let (head, position) = self.of[i];
                    ops::axpy(scores, 1.0, bias.of_block(head, position, block.start));
                }
                let step = self.states[i].advance(scores, seen, pass.shape.softcap);
                if step.change != 1.0 {
                    let out = &mut out[self.places[i]..][..pass.shape.head_dim];
                    ops::scale(out, step.change);
                }
                steps[i] = Some(step);
            }
        }
        let mut weights = Weights::<V::Quad, N>::ZERO;
        for (i, step) in steps.iter().enumerate() {
            let Some(step) = step else { continue };
            let own;
            let norm = if seen[i].len() == POSITIONS {
                &block.norm
            } else {
                own = Norm::new(block.values.scales, &seen[i], pass.bytes);
                &own
            };
            let fine = self.is_fine(i, step, pass.bytes);
            weights.fine |= fine;
            let set = if fine {
                Weights::set::<true>
            } else {
                Weights::set::<false>
            };
            let sum = set(&mut weights, i, &products[i], step.max, norm, pass.bytes);
            self.states[i].sum += step.largest * sum;
            weights.scale[i] = step.largest * norm.unit;
        }
        let (places, head_dim) = (&self.places, pass.shape.head_dim);
        add_values::<V, N>(
            &block.values,
            &weights,
            pass.bytes.bias,
            places,
            head_dim,
            out,
        );
    }

    /// Whether the weights of a block need both planes.
    fn is_fine(&mut self, i: usize, step: &Step, bytes: WeightBytes) -> bool {
        let before = self.coarse[i] * step.change * step.change;
        let with = before + step.largest * step.largest;
        let sum = bytes.coarse() * self.states[i].sum.max(step.largest);
        let fine = with > sum * sum;
        self.coarse[i] = if fine { before } else { with };
        fine
    }
}

/// Scores of a block of positions.
#[inline(never)]
fn scores<D: Dot, const N: usize>(
    keys: &HeadBlock<'_>,
    queries: &[QuerySpan<D::Quad, N>],
    scores: &mut [[f32; BLOCK]; N],
) {
    // The length of the inner loop is to be unknown: see `packed::tile`.
    let rounds = black_box(QUADS);
    let spans = queries.len();
    let groups = keys.codes.chunks_exact(spans * QUADS);
    let scales = keys.scales.as_chunks::<4>().0.chunks_exact(2 * spans);
    for (group, (codes, scales)) in groups.zip(scales).enumerate().take(POSITIONS / 8) {
        let mut sums = [[F32x4::splat(0.0); 2]; N];
        let codes = codes.as_chunks::<QUADS>().0;
        for ((codes, q), scales) in codes.iter().zip(queries).zip(scales.as_chunks::<2>().0) {
            let base = q.base.map(|base| [I32x4::splat(base); 2]);
            let dots = dots::<D, N>(codes, |i, n| &q.quads[i][n], base, rounds);
            for ((sums, dots), q_scale) in sums.iter_mut().zip(dots).zip(q.scale) {
                let q_scale = F32x4::splat(q_scale);
                for ((sum, dot), scale) in sums.iter_mut().zip(dots).zip(scales) {
                    let scale = F32x4::load(scale) * q_scale;
                    *sum = dot.to_f32().mul_add(scale, *sum);
                }
            }
        }
        for (sums, scores) in sums.iter().zip(scores.iter_mut()) {
            let (quads, _) = scores[8 * group..8 * group + 8].as_chunks_mut::<4>();
            for (sum, quad) in sums.iter().zip(quads) {
                sum.store(quad);
            }
        }
    }
}

/// Sums of products of eight rows with those of `N` queries, from `base` on: `[query][half]`. Of a narrow kind, sums are
/// made room in after two quads.
#[inline(always)]
fn dots<'a, D: Dot, const N: usize>(
    codes: &[[Lane; 2]],
    quad: impl Fn(usize, usize) -> &'a D::Quad,
    base: [[I32x4; 2]; N],
    rounds: usize,
) -> [[I32x4; 2]; N]
where
    D::Quad: 'a,
{
    let mut sums = base.map(|base| base.map(D::start));
    for (j, codes) in codes.iter().enumerate().take(rounds) {
        let codes = codes.each_ref().map(|lane| D::prepare(U8x16::load(lane)));
        for (n, sums) in sums.iter_mut().enumerate() {
            let acts = D::splat(quad(j, n));
            sums[0].step(codes[0], acts);
            sums[1].step(codes[1], acts);
        }
        if D::NARROW && j % 2 == 1 {
            sums.iter_mut().flatten().for_each(Dot::flush);
        }
    }
    sums.map(|sums| sums.map(Dot::finish))
}

/// `out[places[i] + d] += sum over p of weights[i][p] * values[p][d]`
#[inline(never)]
fn add_values<V: Dot, const N: usize>(
    values: &HeadBlock<'_>,
    weights: &Weights<V::Quad, N>,
    bias: i32,
    places: &[usize; N],
    head_dim: usize,
    out: &mut [f32],
) {
    let rounds = black_box(POSITIONS / 4);
    let (groups, _) = values.codes.as_chunks::<{ POSITIONS / 4 }>();
    for (codes, d) in groups.iter().zip((0..head_dim).step_by(8)) {
        let base = if bias == 0 {
            [I32x4::splat(0); 2]
        } else {
            values.sums[d / 8]
                .each_ref()
                .map(|sums| I32x4::load(sums).times(bias))
        };
        let of_plane = |plane: &[[V::Quad; POSITIONS / 4]; N], base| {
            dots::<V, N>(codes, |i, n| &plane[n][i], [base; N], rounds)
        };
        let upper = of_plane(&weights.upper, base);
        let sums: [[F32x4; 2]; N] = if weights.fine {
            let lower = of_plane(&weights.lower, [I32x4::splat(0); 2]);
            let join = |i: usize, h: usize| {
                let sum = upper[i][h].shl::<7>().wrapping_add(lower[i][h]);
                sum.to_f32() * F32x4::splat(1.0 / 128.0)
            };
            std::array::from_fn(|i| [join(i, 0), join(i, 1)])
        } else {
            upper.map(|sums| sums.map(I32x4::to_f32))
        };
        for ((sums, place), scale) in sums.into_iter().zip(places).zip(weights.scale) {
            let out = &mut out[place + d..place + head_dim.min(d + 8)];
            let (before, scale) = (vector::eight(out), F32x4::splat(scale));
            let sums = std::array::from_fn(|h| sums[h].mul_add(scale, before[h]));
            vector::store_eight(sums, out);
        }
    }
}
