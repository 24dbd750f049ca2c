//! The scan of Mamba 2.
//!
//! The state `s` of a head takes in one token after the other, `s = d s + dt x ⊗ b`, and answers `s c`. Tokens go through
//! it in blocks: what they read of it as it was before the block, and what they leave in it, takes one way through the
//! state for all of them; what they read of each other needs only the products `b_j · c_i` (Dao and Gu 2024,
//! "Transformers are SSMs", section 6).

use super::dot;
use super::vector::{padded, quad, store_part};
use crate::backend::cpu::simd::F32x4;

/// Tokens of a block.
const BLOCK: usize = 4;

/// Sizes of a scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanShape {
    /// Heads.
    pub heads: usize,
    /// Groups of heads with the same `b` and `c`.
    pub groups: usize,
    /// Rows of a head's state, as many as it has inputs.
    pub head_dim: usize,
    /// Length of these rows.
    pub state_dim: usize,
}

/// What the heads of a chunk of tokens share.
pub struct StateScan<'a> {
    shape: ScanShape,
    xbc: &'a [f32],
    dt: &'a [f32],
    /// `[tokens / 4, groups]`
    blocks: Vec<Shared<BLOCK>>,
    /// The tokens left over, `[tokens % 4, groups]`.
    singles: Vec<Shared<1>>,
}

/// What `N` tokens in a row are to the heads of a group.
struct Shared<const N: usize> {
    /// Four elements each of `b` and of `c`, padded with zeros.
    quads: Vec<[[[f32; 4]; N]; 2]>,
    /// `b_j · c_i`, `[i][j]`.
    products: [[f32; N]; N],
}

impl<'a> StateScan<'a> {
    /// Prepares a chunk: `xbc` is `[tokens, inner + 2 * groups * state_dim]`, the inputs of the heads, then `b` and `c` of
    /// each group; `dt` are the step sizes, `[tokens, heads]`.
    pub fn new(shape: ScanShape, xbc: &'a [f32], dt: &'a [f32]) -> Self {
        let mut scan = Self {
            shape,
            xbc,
            dt,
            blocks: Vec::new(),
            singles: Vec::new(),
        };
        let tokens = dt.len() / shape.heads;
        let whole = tokens - tokens % BLOCK;
        let places = |step: usize, range: std::ops::Range<usize>| {
            let starts = range.step_by(step);
            starts.flat_map(|t| (0..shape.groups).map(move |g| (t, g)))
        };
        scan.blocks = places(BLOCK, 0..whole)
            .map(|(t, g)| scan.shared([t, t + 1, t + 2, t + 3], g))
            .collect();
        scan.singles = places(1, whole..tokens)
            .map(|(t, g)| scan.shared([t], g))
            .collect();
        scan
    }

    fn part(&self, t: usize, start: usize, len: usize) -> &'a [f32] {
        let ScanShape {
            heads,
            groups,
            head_dim,
            state_dim,
        } = self.shape;
        let width = heads * head_dim + 2 * groups * state_dim;
        &self.xbc[t * width + start..][..len]
    }

    fn shared<const N: usize>(&self, tokens: [usize; N], group: usize) -> Shared<N> {
        let ScanShape {
            heads,
            groups,
            head_dim,
            state_dim,
        } = self.shape;
        let first = heads * head_dim + group * state_dim;
        let b = tokens.map(|t| self.part(t, first, state_dim));
        let c = tokens.map(|t| self.part(t, first + groups * state_dim, state_dim));
        let quad = |x: &[f32], start: usize| quad(&x[start..]).to_array();
        let starts = (0..state_dim).step_by(4);
        let quads = starts.map(|i| [b.map(|b| quad(b, i)), c.map(|c| quad(c, i))]);
        Shared {
            quads: quads.collect(),
            products: c.map(|c| b.map(|b| dot(b, c))),
        }
    }

    /// Runs head `h` with decay rate `a` over its state, `[head_dim, state_dim]`; `out` is `[tokens, head_dim]`.
    pub fn head(&self, h: usize, a: f32, skip: f32, state: &mut [f32], out: &mut [f32]) {
        let ScanShape {
            heads,
            groups,
            head_dim,
            ..
        } = self.shape;
        let shared = |block: usize| block * groups + h / (heads / groups);
        let whole = self.blocks.len() / groups * BLOCK;
        for (i, out) in out.chunks_mut(BLOCK * head_dim).enumerate() {
            let t = i * BLOCK;
            if t < whole {
                let block = &self.blocks[shared(i)];
                self.block::<BLOCK, 1>([t, t + 1, t + 2, t + 3], h, [a, skip], block, state, out);
                continue;
            }
            for (i, out) in out.chunks_exact_mut(head_dim).enumerate() {
                let single = &self.singles[shared(i)];
                self.block::<1, 4>([t + i], h, [a, skip], single, state, out);
            }
        }
    }

    /// `N` tokens in a row; `U` vectors of a row of the state are taken at once.
    fn block<const N: usize, const U: usize>(
        &self,
        tokens: [usize; N],
        h: usize,
        [a, skip]: [f32; 2],
        shared: &Shared<N>,
        state: &mut [f32],
        out: &mut [f32],
    ) {
        let ScanShape {
            heads,
            head_dim,
            state_dim,
            ..
        } = self.shape;
        let x = tokens.map(|t| self.part(t, h * head_dim, head_dim));
        let dt = tokens.map(|t| self.dt[t * heads + h]);
        let decays = dt.map(|dt| (a * dt).exp());
        // What is left at token `i` of what was there before token `j`.
        let left = |j: usize, i: usize| decays[j..=i].iter().product::<f32>();
        let mut mixed = [[0.0; N]; N];
        for (i, (mixed, products)) in mixed.iter_mut().zip(&shared.products).enumerate() {
            for j in 0..=i {
                mixed[j] = left(j + 1, i) * dt[j] * products[j];
            }
            mixed[i] += skip;
        }
        let before: [f32; N] = std::array::from_fn(|i| left(0, i));
        let taken: [f32; N] = std::array::from_fn(|j| left(j + 1, N - 1) * dt[j]);
        for (p, row) in state.chunks_exact_mut(state_dim).enumerate() {
            let x = x.map(|x| x[p]);
            let weights = std::array::from_fn(|j| taken[j] * x[j]);
            let read = pass::<N, U>(row, &shared.quads, before[N - 1], weights);
            for i in 0..N {
                let own: f32 = (0..=i).map(|j| mixed[i][j] * x[j]).sum();
                out[i * head_dim + p] = before[i] * read[i] + own;
            }
        }
    }
}

/// Gives `row · c_n`, and leaves `decay * row + Σ_n weights_n b_n`.
#[inline(always)]
fn pass<const N: usize, const U: usize>(
    row: &mut [f32],
    shared: &[[[[f32; 4]; N]; 2]],
    decay: f32,
    weights: [f32; N],
) -> [f32; N] {
    let (keep, weights) = (F32x4::splat(decay), weights.map(F32x4::splat));
    let mut sums = [[F32x4::splat(0.0); U]; N];
    let mut step = |old: F32x4, [b, c]: &[[[f32; 4]; N]; 2], u: usize| {
        let mut new = old * keep;
        for n in 0..N {
            sums[n][u] = old.mul_add(F32x4::load(&c[n]), sums[n][u]);
            new = weights[n].mul_add(F32x4::load(&b[n]), new);
        }
        new
    };
    let (quads, rest) = row.as_chunks_mut::<4>();
    let (shared, last) = shared.split_at(quads.len());
    let (quads, quads_left) = quads.as_chunks_mut::<U>();
    let (shared, shared_left) = shared.as_chunks::<U>();
    for (quads, shared) in quads.iter_mut().zip(shared) {
        for u in 0..U {
            step(F32x4::load(&quads[u]), &shared[u], u).store(&mut quads[u]);
        }
    }
    for (quad, shared) in quads_left.iter_mut().zip(shared_left) {
        step(F32x4::load(quad), shared, 0).store(quad);
    }
    if let Some(shared) = last.first() {
        store_part(step(padded(rest), shared, 0), rest);
    }
    sums.map(|sums| {
        let all = sums.into_iter().reduce(|a, b| a + b);
        all.map_or(0.0, F32x4::sum)
    })
}
