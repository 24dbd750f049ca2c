//! The scan of Mamba: every element of a channel's state decays at a rate of its own.
//!
//! Channels next to each other go through the tokens together, since what is read for them lies side by side; through a
//! block of tokens each takes its state in registers.

use super::vector::{quad, store_quad};
use crate::backend::cpu::simd::{F32x4, math};

/// Most channels that go through the tokens together.
const CHANNELS: usize = 16;
/// Tokens of a block.
const TOKENS: usize = 8;
/// Vectors of a state that are in registers at once.
const QUADS: usize = 4;

/// The scan of a chunk of tokens.
pub struct SelectiveScan<'a> {
    /// Inputs, `[tokens, channels]`.
    x: &'a [f32],
    /// Steps before the softplus, `[tokens, channels]`.
    dt: &'a [f32],
    /// Rates of decay, `[channels, state_dim]`.
    a: &'a [f32],
    /// What an input adds to its own output, `[channels]`.
    skip: &'a [f32],
    /// Length of a channel's state.
    state_dim: usize,
    /// Four elements each of `b` and `c`, padded with zeros, `[tokens, state_dim / 4]`.
    shared: Vec<[[f32; 4]; 2]>,
}

/// What a block of tokens is to some channels, `[tokens, channels]`.
#[derive(Default)]
struct Block {
    /// Steps, times what makes powers of two of exponentials.
    steps: [[f32; CHANNELS]; TOKENS],
    /// Inputs times their steps.
    inputs: [[f32; CHANNELS]; TOKENS],
    results: [[f32; CHANNELS]; TOKENS],
}

impl<'a> SelectiveScan<'a> {
    /// Prepares a chunk: `x` and `dt` are `[tokens, channels]`, `a` is `[channels, state_dim]` and negative, `skip` is
    /// `[channels]`. A token's `b`, `state_dim` elements, and then its `c` are in a row of `bc` from `at` on.
    pub fn new([x, dt, a, skip]: [&'a [f32]; 4], bc: &[f32], at: usize) -> Self {
        let (channels, tokens) = (skip.len(), x.len() / skip.len());
        let state_dim = a.len() / channels;
        let rows = bc.chunks_exact(bc.len() / tokens);
        let parts = rows.map(|row| row[at..at + 2 * state_dim].split_at(state_dim));
        let shared = parts.flat_map(|(b, c)| {
            let starts = (0..state_dim).step_by(4);
            starts.map(move |i| [&b[i..], &c[i..]].map(|x| quad(x).to_array()))
        });
        Self {
            x,
            dt,
            a,
            skip,
            state_dim,
            shared: shared.collect(),
        }
    }

    /// Channels that [`run`](Self::run) takes: as many as it can and as divide them all.
    pub fn width(&self) -> usize {
        CHANNELS.min(1 << self.skip.len().trailing_zeros())
    }

    /// Runs [`width`](Self::width) channels, the `part`th of them, over their states, `[width, state_dim]`; `out` is
    /// `[tokens, width]`.
    pub fn run(&self, part: usize, state: &mut [f32], out: &mut [f32]) {
        let (width, n) = (self.width(), self.state_dim);
        let first = part * width;
        let exp2 = math::Exp2::hidden();
        let (quads, whole) = (n.div_ceil(4), n / (4 * QUADS) * QUADS);
        let blocks = out.chunks_mut(TOKENS * width);
        for (i, (out, shared)) in blocks.zip(self.shared.chunks(TOKENS * quads)).enumerate() {
            let mut block = Block::default();
            for t in 0..out.len() / width {
                block.begin(t, self.rows(i * TOKENS + t, first));
            }
            for (c, state) in state.chunks_exact_mut(n).enumerate() {
                let a = &self.a[(first + c) * n..][..n];
                let mut pass = |q: usize, full: bool| {
                    let (a, state, shared) = (&a[4 * q..], &mut state[4 * q..], &shared[q..]);
                    match full {
                        true => block.pass::<QUADS>(c, a, state, shared, quads, exp2),
                        false => block.pass::<1>(c, a, state, shared, quads, exp2),
                    }
                };
                (0..whole).step_by(QUADS).for_each(|q| pass(q, true));
                (whole..quads).for_each(|q| pass(q, false));
            }
            for (row, out) in block.results.iter().zip(out.chunks_exact_mut(width)) {
                for (c, out) in out.chunks_mut(4).enumerate() {
                    store_quad(quad(&row[4 * c..]), out);
                }
            }
        }
    }

    /// Input and step of token `t` and the skips, from channel `first` on.
    fn rows(&self, t: usize, first: usize) -> [&[f32]; 3] {
        let width = self.width();
        let at = t * self.skip.len() + first;
        [
            &self.x[at..at + width],
            &self.dt[at..at + width],
            &self.skip[first..first + width],
        ]
    }
}

impl Block {
    /// Prepares token `t`.
    fn begin(&mut self, t: usize, [x, dt, skip]: [&[f32]; 3]) {
        for c in (0..x.len()).step_by(4) {
            let [x, dt, skip] = [x, dt, skip].map(|row| quad(&row[c..]));
            let step = math::softplus(dt);
            store_quad(
                step * F32x4::splat(std::f32::consts::LOG2_E),
                &mut self.steps[t][c..],
            );
            store_quad(step * x, &mut self.inputs[t][c..]);
            store_quad(skip * x, &mut self.results[t][c..]);
        }
    }

    /// Takes `U` vectors of the state of channel `c` through the tokens. `a`, `state` and the rows of `shared`, `quads` long,
    /// begin with the first of them.
    #[inline(always)]
    fn pass<const U: usize>(
        &mut self,
        c: usize,
        a: &[f32],
        state: &mut [f32],
        shared: &[[[f32; 4]; 2]],
        quads: usize,
        exp2: math::Exp2,
    ) {
        let a: [F32x4; U] = std::array::from_fn(|u| quad(&a[4 * u..]));
        let mut h: [F32x4; U] = std::array::from_fn(|u| quad(&state[4 * u..]));
        let rows = shared
            .chunks(quads)
            .filter_map(|row| row.first_chunk::<U>());
        for (t, row) in rows.enumerate() {
            let step = F32x4::splat(self.steps[t][c]);
            let input = F32x4::splat(self.inputs[t][c]);
            let mut sum = F32x4::splat(0.0);
            for u in 0..U {
                let [b, c] = row[u].each_ref().map(F32x4::load);
                h[u] = input.mul_add(b, h[u] * exp2.negative(a[u] * step));
                sum = h[u].mul_add(c, sum);
            }
            self.results[t][c] += sum.sum();
        }
        for (u, h) in h.into_iter().enumerate() {
            store_quad(h, &mut state[4 * u..]);
        }
    }
}
