//! The gated delta rule.
//!
//! The state `S` of a head is a table of values by keys. A token lets it fade, corrects what it answers to the token's key,
//! and asks it: `S = d S`, `δ = β (v - Sᵀ k)`, `S = S + k ⊗ δ`, `o = Sᵀ q`. Tokens go through it in blocks, as in
//! [`state_scan`](super::state_scan): the state before the block is asked by all their keys and queries at once, then the
//! corrections follow from each other by the products `k_j · k_i`, and all are written at once (Yang et al. 2024, "Gated
//! Delta Networks", section 3).

use super::{axpy, dot, scale};
use crate::backend::cpu::simd::F32x4;

/// Tokens of a block.
const BLOCK: usize = 4;
/// Columns of the state that go through all tokens together, out of memory of their own.
const COLS: usize = 8;

type Eight = [f32; COLS];

/// What all heads of a chunk of tokens share.
pub struct DeltaNet<'a> {
    /// `[tokens, (2 * key_heads + value_heads) * head_dim]`: queries, keys, values.
    pub qkv: &'a [f32],
    /// What is left of the state, `[tokens, value_heads]`.
    pub decay: &'a [f32],
    /// Strength of the correction, `[tokens, value_heads]`.
    pub beta: &'a [f32],
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values; value head `h` looks with key head `h % key_heads`.
    pub value_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// Smallest length that queries and keys are divided by.
    pub eps: f32,
}

/// Queries and keys of a block, the tokens of each element side by side, and what they mean to each other.
struct Block {
    keys: Vec<[f32; BLOCK]>,
    queries: Vec<[f32; BLOCK]>,
    beta: [f32; BLOCK],
    /// What is left of the state from before the block, at each token.
    before: [f32; BLOCK],
    /// What is left of each token's correction at the end.
    after: [f32; BLOCK],
    /// How much of the correction of token `j` the key of token `i` meets, `[i][j]`, and its query.
    met: [[f32; BLOCK]; BLOCK],
    asked: [[f32; BLOCK]; BLOCK],
}

impl DeltaNet<'_> {
    /// Runs value head `h` over its state, `[head_dim (key), head_dim (value)]`; `out` is `[tokens, head_dim]`.
    pub fn head(&self, h: usize, state: &mut [f32], out: &mut [f32]) {
        let n = self.head_dim;
        let tokens = self.decay.len() / self.value_heads;
        let whole = if n.is_multiple_of(COLS) {
            tokens - tokens % BLOCK
        } else {
            0
        };
        if whole > 0 {
            let blocks: Vec<Block> = (0..whole)
                .step_by(BLOCK)
                .map(|t| self.block(t, h))
                .collect();
            let mut columns = vec![[0.0; COLS]; n];
            for first in (0..n).step_by(COLS) {
                for (column, row) in columns.iter_mut().zip(state.chunks_exact(n)) {
                    column.copy_from_slice(&row[first..first + COLS]);
                }
                for (i, block) in blocks.iter().enumerate() {
                    let values =
                        std::array::from_fn(|t| eight(&self.value(i * BLOCK + t, h)[first..]));
                    for (t, row) in block.run(&mut columns, values).into_iter().enumerate() {
                        let out = &mut out[(i * BLOCK + t) * n + first..][..COLS];
                        out.copy_from_slice(&row);
                    }
                }
                for (column, row) in columns.iter().zip(state.chunks_exact_mut(n)) {
                    row[first..first + COLS].copy_from_slice(column);
                }
            }
        }
        for t in whole..tokens {
            self.step(t, h, state, &mut out[t * n..][..n]);
        }
    }

    fn part(&self, t: usize, head: usize) -> &[f32] {
        let width = (2 * self.key_heads + self.value_heads) * self.head_dim;
        &self.qkv[t * width + head * self.head_dim..][..self.head_dim]
    }

    fn value(&self, t: usize, h: usize) -> &[f32] {
        self.part(t, 2 * self.key_heads + h)
    }

    /// Query and key of a token, divided by their lengths, the query also by the root of its number of elements.
    fn query_and_key(&self, t: usize, h: usize) -> [Vec<f32>; 2] {
        let head = h % self.key_heads;
        let mut pair = [head, self.key_heads + head].map(|head| {
            let x = self.part(t, head);
            let mut unit = x.to_vec();
            scale(&mut unit, 1.0 / dot(x, x).sqrt().max(self.eps));
            unit
        });
        scale(&mut pair[0], 1.0 / (self.head_dim as f32).sqrt());
        pair
    }

    fn block(&self, start: usize, h: usize) -> Block {
        let pairs: [[Vec<f32>; 2]; BLOCK] =
            std::array::from_fn(|t| self.query_and_key(start + t, h));
        let at = |t: usize| (start + t) * self.value_heads + h;
        let decays: [f32; BLOCK] = std::array::from_fn(|t| self.decay[at(t)]);
        // What is left at token `i` of what was there before token `j`.
        let left = |j: usize, i: usize| decays[j..=i].iter().product::<f32>();
        let by_element = |which: usize| {
            let all = 0..self.head_dim;
            all.map(|i| pairs.each_ref().map(|pair| pair[which][i]))
                .collect()
        };
        let mut block = Block {
            queries: by_element(0),
            keys: by_element(1),
            beta: std::array::from_fn(|t| self.beta[at(t)]),
            before: std::array::from_fn(|i| left(0, i)),
            after: std::array::from_fn(|j| left(j + 1, BLOCK - 1)),
            met: [[0.0; BLOCK]; BLOCK],
            asked: [[0.0; BLOCK]; BLOCK],
        };
        for (i, [query, key]) in pairs.iter().enumerate() {
            for (j, [_, other]) in pairs.iter().enumerate().take(i + 1) {
                block.met[i][j] = left(j + 1, i) * dot(key, other);
                block.asked[i][j] = left(j + 1, i) * dot(query, other);
            }
        }
        block
    }

    /// One token, row by row of the state.
    fn step(&self, t: usize, h: usize, state: &mut [f32], out: &mut [f32]) {
        let n = self.head_dim;
        let [query, key] = self.query_and_key(t, h);
        let at = t * self.value_heads + h;
        let (decay, beta) = (self.decay[at], self.beta[at]);
        let mut delta = vec![0.0; n];
        out.fill(0.0);
        ask(state, [&key, &query], [&mut delta, out]);
        for (delta, value) in delta.iter_mut().zip(self.value(t, h)) {
            *delta = beta * (value - decay * *delta);
        }
        scale(out, decay);
        axpy(out, dot(&key, &query), &delta);
        for (row, key) in state.chunks_exact_mut(n).zip(&key) {
            fade_and_add(row, decay, *key, &delta);
        }
    }
}

impl Block {
    /// Takes some columns of the state through the block; gives the answers to its tokens.
    #[inline(always)]
    fn run(&self, state: &mut [Eight], values: [[F32x4; 2]; BLOCK]) -> [Eight; BLOCK] {
        let known = project(state, &self.keys);
        let mut deltas = [[F32x4::splat(0.0); 2]; BLOCK];
        for i in 0..BLOCK {
            let (before, beta) = (F32x4::splat(self.before[i]), F32x4::splat(self.beta[i]));
            for half in 0..2 {
                let mut answer = known[i][half] * before;
                for (met, delta) in self.met[i].iter().zip(&deltas[..i]) {
                    answer = F32x4::splat(*met).mul_add(delta[half], answer);
                }
                deltas[i][half] = (values[i][half] - answer) * beta;
            }
        }
        let answers = project(state, &self.queries);
        let out = std::array::from_fn(|i| {
            let mut answer = answers[i].map(|x| x * F32x4::splat(self.before[i]));
            for (asked, delta) in self.asked[i].iter().zip(&deltas[..=i]) {
                let asked = F32x4::splat(*asked);
                answer = std::array::from_fn(|half| asked.mul_add(delta[half], answer[half]));
            }
            bytemuck::cast(answer.map(F32x4::to_array))
        });
        let deltas = std::array::from_fn(|j| deltas[j].map(|x| x * F32x4::splat(self.after[j])));
        write(state, &self.keys, self.before[BLOCK - 1], deltas);
        out
    }
}

fn eight(x: &[f32]) -> [F32x4; 2] {
    super::vector::eight(&x[..COLS])
}

/// `Σ_i rows[i][t] * state[i]` for each of the tokens `t`.
#[inline(always)]
fn project(state: &[Eight], rows: &[[f32; BLOCK]]) -> [[F32x4; 2]; BLOCK] {
    let mut sums = [[F32x4::splat(0.0); 2]; BLOCK];
    for (state, row) in state.iter().zip(rows) {
        let [low, high] = halves(state);
        for (sum, x) in sums.iter_mut().zip(row) {
            let x = F32x4::splat(*x);
            *sum = [low.mul_add(x, sum[0]), high.mul_add(x, sum[1])];
        }
    }
    sums
}

/// `state[i] = decay * state[i] + Σ_t keys[i][t] * deltas[t]`
#[inline(always)]
fn write(state: &mut [Eight], keys: &[[f32; BLOCK]], decay: f32, deltas: [[F32x4; 2]; BLOCK]) {
    let decay = F32x4::splat(decay);
    for (state, key) in state.iter_mut().zip(keys) {
        let mut sum = halves(state).map(|x| x * decay);
        for (delta, x) in deltas.iter().zip(key) {
            let x = F32x4::splat(*x);
            sum = std::array::from_fn(|half| delta[half].mul_add(x, sum[half]));
        }
        *state = bytemuck::cast(sum.map(F32x4::to_array));
    }
}

#[inline(always)]
fn halves(x: &Eight) -> [F32x4; 2] {
    let halves: &[[f32; 4]; 2] = bytemuck::cast_ref(x);
    halves.each_ref().map(F32x4::load)
}

/// `sums_s += Σ_i by_s[i] * state[i]`, four rows of the state at a time.
fn ask(state: &[f32], by: [&[f32]; 2], [first, second]: [&mut [f32]; 2]) {
    let n = first.len();
    let fours = if n.is_multiple_of(4) {
        by[0].len() / 4 * 4
    } else {
        0
    };
    for i in (0..fours).step_by(4) {
        let rows: [&[[f32; 4]]; 4] =
            std::array::from_fn(|r| state[(i + r) * n..][..n].as_chunks::<4>().0);
        let weights = by.map(|by| std::array::from_fn::<_, 4, _>(|r| F32x4::splat(by[i + r])));
        let (first, second) = (first.as_chunks_mut::<4>().0, second.as_chunks_mut::<4>().0);
        for (q, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let mut sums = [F32x4::load(first), F32x4::load(second)];
            for r in 0..4 {
                let x = F32x4::load(&rows[r][q]);
                sums = [
                    weights[0][r].mul_add(x, sums[0]),
                    weights[1][r].mul_add(x, sums[1]),
                ];
            }
            sums[0].store(first);
            sums[1].store(second);
        }
    }
    for i in fours..by[0].len() {
        axpy(first, by[0][i], &state[i * n..][..n]);
        axpy(second, by[1][i], &state[i * n..][..n]);
    }
}

/// `row = decay * row + factor * x`
fn fade_and_add(row: &mut [f32], decay: f32, factor: f32, x: &[f32]) {
    let (decay, factor) = (F32x4::splat(decay), F32x4::splat(factor));
    super::vector::map2(row, x, |row, x| factor.mul_add(x, row * decay));
}
