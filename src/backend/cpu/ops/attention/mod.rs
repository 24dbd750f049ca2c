//! Attention over the cache, block by block (Dao et al. 2022), with keys and values read once per group of heads.
//!
//! ```text
//! for each block of 64 positions                     keys and values of a block stay in the cache
//!   for each key/value head
//!     for up to four queries that share it           heads of the group, and tokens when there are several
//!       scores   s = q · keys * scale                               `scores`
//!       weights  p = e^(s - max), and what a new maximum changes    `State`
//!       out      out * change + p · values                          `values`
//! out / sum of weights
//! ```
//!
//! Nothing of the size of `positions` is ever stored. Half floats are widened by moving bits alone, which leaves them too
//! small by 2^112; the other factor of each product makes up for most of it and the last multiplication for the rest.

mod quantized;
mod scores;
mod values;

use std::ops::Range;

use half::f16;

pub use quantized::{CachedBytes, attention_bytes};

use crate::backend::cpu::simd::{F32x4, HalfMask, math};

/// Positions of a block.
const BLOCK: usize = 64;

/// Score of positions that a query does not see: its weight comes out as 1e-38.
const UNSEEN: f32 = -1e30;

/// Queries that are worked on at once.
const TILE: usize = 4;

/// Shape and variant of an attention.
#[derive(Clone, Copy)]
pub struct AttentionShape<'a> {
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; query head `h` uses number `h / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// Multiplies scores.
    pub scale: f32,
    /// Positions that the query at a position sees, never none. Neither end decreases with the position.
    pub visible: &'a (dyn Fn(usize) -> Range<usize> + Sync),
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// A score of each query head that takes part in the softmax and has no value, `[n_heads]`.
    pub sinks: Option<&'a [f32]>,
}

/// Keys and values of past positions. Head `h` of position `p` begins at `p * stride + offset + h * head_dim`.
#[derive(Debug, Clone, Copy)]
pub struct Cached<'a, E> {
    /// Keys, `[positions, stride]`.
    pub keys: &'a [E],
    /// Values, `[positions, stride]`.
    pub values: &'a [E],
    /// Elements of a position.
    pub stride: usize,
    /// Elements before the first head; not 0 when threads share the heads of one token.
    pub offset: usize,
}

/// A storage type of the cache.
pub trait KvElement: Copy {
    /// Multiplies the other factor.
    const UP: f32;
    /// Multiplies the product.
    const DOWN: f32;
    /// Four elements, divided by `UP * DOWN`.
    fn load(x: &[Self; 4], mask: HalfMask) -> F32x4;
    /// One element.
    fn to_f32(self) -> f32;
    /// One element, divided by `UP * DOWN`.
    #[inline(always)]
    fn reduced(self) -> f32 {
        self.to_f32() / Self::UP / Self::DOWN
    }
}

impl KvElement for f32 {
    const UP: f32 = 1.0;
    const DOWN: f32 = 1.0;

    #[inline(always)]
    fn load(x: &[Self; 4], _: HalfMask) -> F32x4 {
        F32x4::load(x)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl KvElement for f16 {
    const UP: f32 = f32::from_bits((127 + 100) << 23);
    const DOWN: f32 = f32::from_bits((127 + 12) << 23);

    #[inline(always)]
    fn load(x: &[Self; 4], mask: HalfMask) -> F32x4 {
        F32x4::load_f16x4_tiny(x, mask)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

/// Buffers that are kept from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Queries times scale, `[n_kv_heads, tokens, group, head_dim]`.
    queries: Vec<f32>,
    /// One for each query.
    states: Vec<State>,
    /// Keys of a block, `[head_dim, BLOCK]`.
    keys: Vec<f32>,
    /// Values of a block, `[BLOCK, head_dim]`.
    values: Vec<f32>,
}

/// Where the softmax of a query stands.
#[derive(Debug, Clone, Copy)]
struct State {
    max: f32,
    sum: f32,
}

/// Weights of a tile's queries for the positions of a block.
type Weights = [[f32; BLOCK]; TILE];

/// Attention of `q`, `[tokens, n_heads * head_dim]` at the positions from `start` on, over the cache, which holds all
/// positions that they see. `out` has the shape of `q`.
///
/// To share a token's heads among threads, give each some key/value heads by `n_heads`, `n_kv_heads` and `offset`; to
/// share tokens, give each some rows of `q` and `out` and move `start`.
pub fn attention<E: KvElement>(
    shape: &AttentionShape<'_>,
    q: &[f32],
    cached: &Cached<'_, E>,
    start: usize,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let width = shape.n_heads * shape.head_dim;
    let tokens = q.len() / width.max(1);
    if tokens == 0 {
        return;
    }
    let pass = Pass {
        shape,
        cached,
        start,
        tokens,
        group: shape.n_heads / shape.n_kv_heads,
    };
    pass.prepare(q, scratch);
    out.fill(0.0);
    let (mut first, end) = (pass.visible(0).start, pass.visible(tokens - 1).end);
    while first < end {
        let block = first..(first + BLOCK).min(end);
        for head in 0..shape.n_kv_heads {
            pass.block(head, block.clone(), scratch, out);
        }
        first = block.end;
    }
    pass.finish(scratch, out);
}

/// What all steps of a call share.
struct Pass<'a, E> {
    shape: &'a AttentionShape<'a>,
    cached: &'a Cached<'a, E>,
    start: usize,
    tokens: usize,
    /// Query heads per key/value head.
    group: usize,
}

impl<E: KvElement> Pass<'_, E> {
    /// Positions that token `t` sees.
    fn visible(&self, t: usize) -> Range<usize> {
        (self.shape.visible)(self.start + t)
    }

    /// Queries per key/value head.
    fn per_head(&self) -> usize {
        self.tokens * self.group
    }

    /// Where query `i` of a key/value head stands in `q` and `out`.
    fn place(&self, head: usize, i: usize) -> usize {
        let (token, member) = (i / self.group, i % self.group);
        (token * self.shape.n_heads + head * self.group + member) * self.shape.head_dim
    }

    /// Gathers the queries by the head that they share.
    fn prepare(&self, q: &[f32], scratch: &mut Scratch) {
        let head_dim = self.shape.head_dim;
        scratch.states.clear();
        scratch.queries.clear();
        for head in 0..self.shape.n_kv_heads {
            for i in 0..self.per_head() {
                let place = self.place(head, i);
                scratch.queries.extend_from_slice(&q[place..][..head_dim]);
                let sink = self
                    .shape
                    .sinks
                    .map(|sinks| sinks[place / head_dim % self.shape.n_heads]);
                scratch.states.push(State::new(sink));
            }
        }
        super::scale(&mut scratch.queries, self.shape.scale * E::UP);
    }

    /// Adds a block of positions to all queries of a key/value head.
    fn block(&self, head: usize, block: Range<usize>, scratch: &mut Scratch, out: &mut [f32]) {
        let (head_dim, stride) = (self.shape.head_dim, self.cached.stride);
        let at = self.cached.offset + head * head_dim;
        let rows = block.start * stride..block.end * stride;
        let keys = Rows {
            rows: &self.cached.keys[rows.clone()],
            stride,
            at,
        };
        let values = Rows {
            rows: &self.cached.values[rows],
            stride,
            at,
        };
        let queries = head * self.per_head()..(head + 1) * self.per_head();
        // With many queries it pays to turn the keys and to widen the values first.
        let turned = queries.len() > 2 * TILE;
        if turned {
            scores::turn(&keys, head_dim, &mut scratch.keys);
            values::widen(&values, head_dim, &mut scratch.values);
        }
        let mut weights: Weights = [[0.0; BLOCK]; TILE];
        for first in (0..queries.len()).step_by(TILE) {
            let count = (queries.len() - first).min(TILE);
            let all = self.visible(first / self.group).start
                ..self.visible((first + count - 1) / self.group).end;
            if all.end <= block.start || block.end <= all.start {
                continue;
            }
            let q = &scratch.queries[(queries.start + first) * head_dim..][..count * head_dim];
            if turned {
                scores::of_turned(q, head_dim, &scratch.keys, &mut weights);
            } else {
                scores::of_rows(q, head_dim, &keys, &mut weights);
            }
            let mut changes = [1.0; TILE];
            let states = &mut scratch.states[queries.start + first..][..count];
            for (i, state) in states.iter_mut().enumerate() {
                let visible = self.visible((first + i) / self.group);
                let seen = visible.start.max(block.start)..visible.end.min(block.end);
                let seen =
                    seen.start.saturating_sub(block.start)..seen.end.saturating_sub(block.start);
                changes[i] = state.update::<E>(&mut weights[i], seen, self.shape.softcap);
            }
            let places = std::array::from_fn(|i| self.place(head, first + i.min(count - 1)));
            let tile = values::Tile {
                count,
                weights: &weights,
                changes,
                places,
            };
            if turned {
                let rows = &scratch.values[..block.len() * head_dim];
                tile.add(
                    &Rows {
                        rows,
                        stride: head_dim,
                        at: 0,
                    },
                    head_dim,
                    out,
                );
            } else {
                tile.add(&values, head_dim, out);
            }
        }
    }

    /// Divides by the sums of weights.
    fn finish(&self, scratch: &Scratch, out: &mut [f32]) {
        for head in 0..self.shape.n_kv_heads {
            for i in 0..self.per_head() {
                let sum = scratch.states[head * self.per_head() + i].sum;
                super::scale(
                    &mut out[self.place(head, i)..][..self.shape.head_dim],
                    E::DOWN / sum,
                );
            }
        }
    }
}

impl State {
    /// Before any position.
    fn new(sink: Option<f32>) -> Self {
        sink.map_or(
            Self {
                max: f32::MIN,
                sum: 0.0,
            },
            |max| Self { max, sum: 1.0 },
        )
    }

    /// Turns scores into weights, zero where not `seen`, and gives the factor for what was summed before.
    fn update<E: KvElement>(
        &mut self,
        scores: &mut [f32; BLOCK],
        seen: Range<usize>,
        softcap: Option<f32>,
    ) -> f32 {
        if seen.is_empty() {
            scores.fill(0.0);
            return 1.0;
        }
        if let Some(cap) = softcap {
            super::scale(scores, E::DOWN);
            super::soft_cap(scores, cap);
            super::scale(scores, 1.0 / E::DOWN);
        }
        let before = self.max;
        self.max = (super::vector::max(&scores[seen.clone()]) * E::DOWN).max(before);
        let max = F32x4::splat(self.max);
        let [change, ..] = math::exp(F32x4::splat(before) - max).to_array();
        if seen.len() < BLOCK {
            scores[..seen.start].fill(UNSEEN);
            scores[seen.end..].fill(UNSEEN);
        }
        let (down, up) = (F32x4::splat(E::DOWN), F32x4::splat(E::UP));
        let mut sum = F32x4::splat(0.0);
        // Four vectors at once, as in `vector::map`.
        for block in scores.as_chunks_mut::<16>().0 {
            for quad in block.as_chunks_mut::<4>().0 {
                let weight = math::exp(F32x4::load(quad).mul_add(down, F32x4::splat(0.0) - max));
                sum = sum + weight;
                (weight * up).store(quad);
            }
        }
        self.sum = self.sum * change + sum.sum();
        change
    }
}

/// Rows of a block; those of one head begin at `at`.
struct Rows<'a, E> {
    rows: &'a [E],
    stride: usize,
    at: usize,
}

impl<'a, E> Rows<'a, E> {
    /// Each row from element `from` of the head on.
    #[inline(always)]
    fn iter(&self, from: usize) -> impl ExactSizeIterator<Item = &'a [E]> + use<'a, E> {
        let from = self.at + from;
        self.rows
            .chunks_exact(self.stride)
            .map(move |row| &row[from..])
    }
}
