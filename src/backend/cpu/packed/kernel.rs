//! Packed weights times int8 activations.
//!
//! ```text
//! for some tiles of tokens (their bytes stay in the L2 cache)
//!   for each group of 8 rows (its weights stay in L1)
//!     for each tile:  strip(group, tile)  ->  8 rows × 4 tokens, or × 1
//! ```
//!
//! `strip` walks all columns with its sums in registers: one multiply-add of floats per block, row and token, and
//! integers inside. A single token is a tile of one: then a group is read once, from memory, and nothing else counts.

use std::ops::Range;

use super::GROUP;
use super::acts::{ActBlock, QuantizedActs, REST, TILE};
use super::codes::Codes;
use super::layout::{BlockOf, Format, Visitor};
use super::scales::Scales;
use crate::backend::cpu::simd::{Dot, F32x4, I32x4, Lane, TILE_HALVES, U8x16};

/// Bytes of activations that are worked on before the weights are read again.
const CHUNK_BYTES: usize = 256 << 10;

/// A product to be computed: `out[token, row] = dot(weights[row], acts[token])` for some rows.
pub struct Product<'a> {
    /// The matrix, group by group.
    pub lanes: &'a [Lane],
    /// Power of two of each group's scales.
    pub factors: &'a [f32],
    /// Blocks of a row.
    pub blocks: usize,
    /// The other factor.
    pub acts: &'a QuantizedActs,
    /// `[tokens, width]`.
    pub out: &'a mut [f32],
    /// Rows that `out` has a place for.
    pub width: usize,
    /// First of them.
    pub first: usize,
    /// Rows to compute; begins with a group.
    pub rows: Range<usize>,
}

impl Visitor for Product<'_> {
    type Output = ();

    fn visit<F: Format>(mut self) {
        if self.blocks == 0 {
            return self.out.fill(0.0);
        }
        let acts = self.acts;
        let per_chunk = (CHUNK_BYTES / (self.blocks * size_of::<ActBlock<TILE>>())).max(1);
        for (i, tiles) in acts.tiles().chunks(per_chunk * self.blocks).enumerate() {
            self.groups::<F>(|this, row, group| {
                for (j, tile) in tiles.chunks_exact(group.len()).enumerate() {
                    this.store(
                        row,
                        (i * per_chunk + j) * TILE,
                        tile_strip::<F>(group, tile),
                    );
                }
            });
        }
        if !acts.single().is_empty() {
            self.groups::<F>(|this, row, group| {
                this.store(
                    row,
                    acts.tokens() - 1,
                    strip::<F, 1, 2>(group, acts.single(), 0),
                );
            });
        }
    }
}

impl Product<'_> {
    /// Calls `work` with the first row and the blocks of each group.
    #[inline(always)]
    fn groups<F: Format>(&mut self, mut work: impl FnMut(&mut Self, usize, &[BlockOf<F>])) {
        let lanes = self.lanes;
        let len = self.blocks * size_of::<BlockOf<F>>() / size_of::<Lane>();
        for row in self.rows.clone().step_by(GROUP) {
            let group = bytemuck::cast_slice(&lanes[row / GROUP * len..][..len]);
            work(self, row, group);
        }
    }

    /// Writes the sums of a group for `N` tokens from `token` on; tokens and rows that only fill up are left out.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // `t` names a place in two arrays
    fn store<const N: usize>(&mut self, row: usize, token: usize, sums: [[F32x4; N]; 2]) {
        let factor = F32x4::splat(self.factors[row / GROUP] * REST);
        let count = (self.rows.end - row).min(GROUP);
        for t in 0..N.min(self.acts.tokens() - token) {
            let out = &mut self.out[(token + t) * self.width + row - self.first..][..count];
            let (quads, rest) = out.as_chunks_mut::<4>();
            let full = quads.len();
            for (half, quad) in quads.iter_mut().enumerate() {
                (sums[half][t] * factor).store(quad);
            }
            if !rest.is_empty() {
                rest.copy_from_slice(&(sums[full][t] * factor).to_array()[..rest.len()]);
            }
        }
    }
}

/// Eight rows × four tokens, at once or by halves as registers allow.
#[inline(always)]
fn tile_strip<F: Format>(group: &[BlockOf<F>], tile: &[ActBlock<TILE>]) -> [[F32x4; TILE]; 2] {
    if TILE_HALVES == 2 {
        strip::<F, TILE, 2>(group, tile, 0)
    } else {
        let [first] = strip::<F, TILE, 1>(group, tile, 0);
        let [second] = strip::<F, TILE, 1>(group, tile, 1);
        [first, second]
    }
}

/// Products of `H` halves of a group, beginning with `first`, and `N` tokens.
#[inline(never)]
fn strip<F: Format, const N: usize, const H: usize>(
    group: &[BlockOf<F>],
    acts: &[ActBlock<N>],
    first: usize,
) -> [[F32x4; N]; H] {
    let mut sums = [[F32x4::splat(0.0); N]; H];
    for (weights, acts) in group.iter().zip(acts) {
        if <F::Scales as Scales>::SUBS == 1 {
            part::<F, N, H, 8>(weights, acts, first, 0, &mut sums);
        } else {
            part::<F, N, H, 4>(weights, acts, first, 0, &mut sums);
            part::<F, N, H, 4>(weights, acts, first, 1, &mut sums);
        }
    }
    sums
}

/// Adds the products of the `4 * Q` columns of a block that share scales.
#[inline(always)]
fn part<F: Format, const N: usize, const H: usize, const Q: usize>(
    weights: &BlockOf<F>,
    acts: &ActBlock<N>,
    first: usize,
    sub: usize,
    sums: &mut [[F32x4; N]; H],
) {
    let total = if Q == 8 { 2 } else { sub };
    let mut dots = [[F::Dot::start(I32x4::splat(0)); N]; H];
    if F::ZERO != 0 || <F::Dot as Dot>::BIAS != 0 {
        for dots in &mut dots {
            for (dot, sum) in dots.iter_mut().zip(&acts.sums[total]) {
                *dot = F::Dot::start(base::<F>(sum));
            }
        }
    }
    // Written out, so that every shift and address below is a constant.
    let quad = Q * sub;
    step::<F, N, H>(weights, acts, first, quad, &mut dots);
    step::<F, N, H>(weights, acts, first, quad + 1, &mut dots);
    step::<F, N, H>(weights, acts, first, quad + 2, &mut dots);
    step::<F, N, H>(weights, acts, first, quad + 3, &mut dots);
    if Q == 8 {
        step::<F, N, H>(weights, acts, first, quad + 4, &mut dots);
        step::<F, N, H>(weights, acts, first, quad + 5, &mut dots);
        step::<F, N, H>(weights, acts, first, quad + 6, &mut dots);
        step::<F, N, H>(weights, acts, first, quad + 7, &mut dots);
    }
    let scales = F32x4::load_f16x8_tiny(weights.scales.scale(sub));
    let mins = weights.scales.min(sub).map(F32x4::load_f16x8_tiny);
    for (h, sums) in sums.iter_mut().enumerate() {
        for (t, sum) in sums.iter_mut().enumerate() {
            let scale = scales[first + h] * F32x4::splat(acts.scale[t]);
            *sum = dots[h][t].finish().to_f32().mul_add(scale, *sum);
            if let Some(mins) = mins {
                *sum = mins[first + h].mul_add(F32x4::splat(acts.offsets[total][t]), *sum);
            }
        }
    }
}

/// What the offset of codes takes off a product: `-(ZERO + BIAS)` times the sum of the activations.
#[inline(always)]
fn base<F: Format>(sum: &i32) -> I32x4 {
    // Powers of two in all cases, and constants.
    match i32::from(F::ZERO) + <F::Dot as Dot>::BIAS {
        2 => I32x4::splat_times::<2>(sum),
        4 => I32x4::splat_times::<4>(sum),
        8 => I32x4::splat_times::<8>(sum),
        16 => I32x4::splat_times::<16>(sum),
        32 => I32x4::splat_times::<32>(sum),
        64 => I32x4::splat_times::<64>(sum),
        other => I32x4::splat(other * sum),
    }
}

/// Adds the products of four columns.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // `t` and `h` name places in two arrays
fn step<F: Format, const N: usize, const H: usize>(
    weights: &BlockOf<F>,
    acts: &ActBlock<N>,
    first: usize,
    quad: usize,
    dots: &mut [[F::Dot; N]; H],
) {
    for h in 0..H {
        let codes = F::Dot::prepare(weights.codes.quad(first + h, quad));
        for t in 0..N {
            dots[h][t].step(codes, U8x16::splat4(&acts.quads[quad][t]));
        }
    }
    if (quad + 1).is_multiple_of(F::Codes::STEPS) {
        dots.iter_mut().flatten().for_each(Dot::flush);
    }
}
