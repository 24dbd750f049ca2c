//! Attention over the cache, block by block (Dao et al. 2022), with keys and values read once per group of heads.
//!
//! ```text
//! for each block of 64 positions                     in the order in which they are stored
//!   for each key/value head
//!     for up to four queries that share it           heads of the group, and tokens when there are several
//!       scores   s = q · keys * scale                               `product::scores`
//!       weights  p = e^(s - max), and what a new maximum changes    `State`
//!       out      out * change + p · values                          `Tile::add_values`
//! out / sum of weights
//! ```
//!
//! Nothing of the size of `positions` is ever stored.

mod byte_weights;
mod product;
mod quantized;
mod softmax;

use std::ops::Range;

pub use quantized::{CachedBytes, attention_bytes};

use crate::backend::cpu::float_kv::{FloatRows, KvElement, WIDTH};
use crate::backend::cpu::quantized_kv::POSITIONS;
use softmax::State;

/// Positions of a block.
const BLOCK: usize = POSITIONS;

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
    /// What is added to scores before the soft cap.
    pub bias: Option<DistanceBias<'a>>,
}

/// What is added to scores by the distance of the positions.
#[derive(Debug, Clone, Copy)]
pub struct DistanceBias<'a> {
    /// `[n_heads, width]`: of keys from `before` positions before the query on.
    pub table: &'a [f32],
    /// Not less than any query's position.
    pub before: usize,
    /// `before` and the keys there are, in whole blocks, at least.
    pub width: usize,
}

impl<'a> DistanceBias<'a> {
    /// Length of a head's biases for queries at positions up to `before` and keys at positions below `keys`.
    pub fn width(before: usize, keys: usize) -> usize {
        before + keys.next_multiple_of(BLOCK)
    }

    /// Those of a block of keys from position `first` on, for a query at `position`.
    fn of_block(&self, head: usize, position: usize, first: usize) -> &'a [f32] {
        &self.table[head * self.width + self.before + first - position..][..BLOCK]
    }
}

/// Keys and values of past positions.
#[derive(Debug, Clone, Copy)]
pub struct Cached<'a, E> {
    /// Keys.
    pub keys: &'a FloatRows<E>,
    /// Values.
    pub values: &'a FloatRows<E>,
    /// Heads before the first; not 0 when threads share the heads of one token.
    pub first_head: usize,
}

/// Buffers that are kept from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Queries times scale, `[n_kv_heads, tokens, group, head_dim]`.
    queries: Vec<f32>,
    /// One for each query.
    states: Vec<State>,
    /// Keys of a block, widened.
    keys: Vec<[f32; WIDTH]>,
    /// Values of a block, widened.
    values: Vec<[f32; WIDTH]>,
}

/// Weights of a tile's queries for the positions of a block.
type Weights = [[f32; BLOCK]; TILE];

/// Attention of `q`, `[tokens, n_heads * head_dim]` at the positions from `start` on, over the cache, which holds all
/// positions that they see. `out` has the shape of `q`.
///
/// To share a token's heads among threads, give each some key/value heads by `n_heads`, `n_kv_heads` and `first_head`; to
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
    let (first, end) = (pass.visible(0).start, pass.visible(tokens - 1).end);
    for block in first / BLOCK..end.div_ceil(BLOCK) {
        for head in 0..shape.n_kv_heads {
            pass.block(head, block, (end - block * BLOCK).min(BLOCK), scratch, out);
        }
    }
    pass.finish(scratch, out);
}

/// Part of a block.
struct Part {
    head: usize,
    positions: Range<usize>,
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
                scratch.states.push(State::new::<E>(sink));
            }
        }
        super::scale(&mut scratch.queries, self.shape.scale * E::UP);
    }

    /// Adds the first `positions` of a block to all queries of a key/value head.
    fn block(
        &self,
        head: usize,
        block: usize,
        positions: usize,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let of_cache = head + self.cached.first_head;
        let keys = self.cached.keys.block(block, of_cache);
        let values = self.cached.values.block(block, of_cache);
        let first = block * BLOCK;
        let part = Part {
            head,
            positions: first..first + positions,
        };
        let mut states = std::mem::take(&mut scratch.states);
        // With many queries it pays to widen first.
        if self.per_head() > 2 * TILE {
            product::widen(keys, &mut scratch.keys);
            product::widen(values, &mut scratch.values);
            let (keys, values) = (&scratch.keys, &scratch.values);
            self.tiles(&part, keys, values, &scratch.queries, &mut states, out);
        } else {
            self.tiles(&part, keys, values, &scratch.queries, &mut states, out);
        }
        scratch.states = states;
    }

    /// As [`Pass::block`], with keys and values as they are or widened.
    fn tiles<F: KvElement>(
        &self,
        part: &Part,
        keys: &[[F; WIDTH]],
        values: &[[F; WIDTH]],
        queries: &[f32],
        states: &mut [State],
        out: &mut [f32],
    ) {
        let (head_dim, per_head) = (self.shape.head_dim, self.per_head());
        let inside =
            |at: usize| at.clamp(part.positions.start, part.positions.end) - part.positions.start;
        let mut weights: Weights = [[0.0; BLOCK]; TILE];
        for first in (0..per_head).step_by(TILE) {
            let count = (per_head - first).min(TILE);
            let all = self.visible(first / self.group).start
                ..self.visible((first + count - 1) / self.group).end;
            if all.end <= part.positions.start || part.positions.end <= all.start {
                continue;
            }
            let at = part.head * per_head + first;
            let q = &queries[at * head_dim..][..count * head_dim];
            product::scores(q, head_dim, keys, &mut weights);
            let mut changes = [1.0; TILE];
            for (i, state) in states[at..][..count].iter_mut().enumerate() {
                let token = (first + i) / self.group;
                if let Some(bias) = self.shape.bias {
                    let head = part.head * self.group + (first + i) % self.group;
                    let bias = bias.of_block(head, self.start + token, part.positions.start);
                    super::axpy(&mut weights[i], 1.0 / E::DOWN, bias);
                }
                let seen = self.visible(token);
                let seen = inside(seen.start)..inside(seen.end);
                changes[i] = state.update::<E>(&mut weights[i], seen, self.shape.softcap);
            }
            let places = std::array::from_fn(|i| self.place(part.head, first + i.min(count - 1)));
            let tile = product::Tile {
                count,
                weights: &weights,
                changes,
                places,
            };
            tile.add_values(values, part.positions.len(), head_dim, out);
        }
    }

    /// Divides by the sums of weights.
    fn finish(&self, scratch: &Scratch, out: &mut [f32]) {
        for head in 0..self.shape.n_kv_heads {
            for i in 0..self.per_head() {
                let sum = scratch.states[head * self.per_head() + i].sum;
                super::scale(
                    &mut out[self.place(head, i)..][..self.shape.head_dim],
                    E::UP * E::DOWN / sum,
                );
            }
        }
    }
}
