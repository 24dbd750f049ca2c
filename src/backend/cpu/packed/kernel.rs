//! Packed weights times int8 activations.
//!
//! ```text
//! for some tiles of tokens (their bytes stay in the L2 cache)
//!   for each group of 8 rows (its weights stay in L1)
//!     for each tile:  products of 8 rows × 4 tokens              `tile`
//!
//! for a single token: products of 8 rows and it, group by group  `strip`
//! ```
//!
//! Both walk all columns with their sums in registers: one multiply-add of floats per block, row and token, and integers
//! inside. With a single token a group is read once, from memory, and unpacking and reading are all that counts.

use std::ops::Range;

use super::GROUP;
use super::acts::{ActBlock, QuantizedActs, REST, Stored, TILE};
use super::codes::{Codes, Constants};
use super::layout::{BlockOf, Format, QuadOf, Visitor};
use super::scales::Scales;
use super::tile::{self, Expanded};
use crate::backend::cpu::simd::{Dot, F32x4, HalfMask, I32x4, Lane};

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
    const MULTIPLIES: bool = true;

    fn visit<F: Format>(mut self) {
        if self.blocks == 0 {
            return self.out.fill(0.0);
        }
        let acts = <QuadOf<F> as Stored>::blocks(self.acts);
        let tile_bytes = self.blocks * size_of::<ActBlock<TILE, QuadOf<F>>>();
        let per_chunk = (CHUNK_BYTES / tile_bytes).max(1);
        let mut expanded = Vec::new();
        if !acts.tiles.is_empty() {
            expanded.resize(self.blocks, Expanded::ZERO);
        }
        for (i, tiles) in acts.tiles.chunks(per_chunk * self.blocks).enumerate() {
            self.groups::<F>(|this, row, group| {
                tile::expand::<F>(group, &mut expanded);
                for (j, tile) in tiles.chunks_exact(group.len()).enumerate() {
                    let sums = tile::products::<F>(&expanded, tile);
                    this.store(row, (i * per_chunk + j) * TILE, sums);
                }
            });
        }
        if !acts.single.is_empty() {
            self.groups::<F>(|this, row, group| {
                this.store(row, this.acts.tokens() - 1, strip::<F>(group, &acts.single));
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

/// Eight rows × one token.
#[inline(never)]
fn strip<F: Format>(group: &[BlockOf<F>], acts: &[ActBlock<1, QuadOf<F>>]) -> [[F32x4; 1]; 2] {
    let mut sums = [F32x4::splat(0.0); 2];
    let constants = (F::Codes::constants(), HalfMask::hidden());
    for (weights, acts) in group.iter().zip(acts) {
        if <F::Scales as Scales>::SUBS == 1 {
            part::<F, 8>(weights, acts, &constants, 0, &mut sums);
        } else {
            part::<F, 4>(weights, acts, &constants, 0, &mut sums);
            part::<F, 4>(weights, acts, &constants, 1, &mut sums);
        }
    }
    sums.map(|sum| [sum])
}

/// Adds the products of the `4 * Q` columns of a block that share scales.
#[inline(always)]
fn part<F: Format, const Q: usize>(
    weights: &BlockOf<F>,
    acts: &ActBlock<1, QuadOf<F>>,
    constants: &(Constants, HalfMask),
    sub: usize,
    sums: &mut [F32x4; 2],
) {
    let total = if Q == 8 { 2 } else { sub };
    let start = if F::ZERO != 0 || <F::Dot as Dot>::BIAS != 0 {
        base::<F>(&acts.sums[total][0])
    } else {
        I32x4::splat(0)
    };
    let mut dots = [F::Dot::start(start); 2];
    // Written out, so that every shift and address below is a constant.
    let quad = Q * sub;
    step::<F>(weights, acts, constants, quad, &mut dots);
    step::<F>(weights, acts, constants, quad + 1, &mut dots);
    step::<F>(weights, acts, constants, quad + 2, &mut dots);
    step::<F>(weights, acts, constants, quad + 3, &mut dots);
    if Q == 8 {
        step::<F>(weights, acts, constants, quad + 4, &mut dots);
        step::<F>(weights, acts, constants, quad + 5, &mut dots);
        step::<F>(weights, acts, constants, quad + 6, &mut dots);
        step::<F>(weights, acts, constants, quad + 7, &mut dots);
    }
    let scales = F32x4::load_f16x8_tiny(weights.scales.scale(sub), constants.1);
    let mins = weights
        .scales
        .min(sub)
        .map(|min| F32x4::load_f16x8_tiny(min, constants.1));
    for (h, (sum, dot)) in sums.iter_mut().zip(dots).enumerate() {
        let scale = scales[h] * F32x4::splat(acts.scale[0]);
        *sum = dot.finish().to_f32().mul_add(scale, *sum);
        if let Some(mins) = mins {
            *sum = mins[h].mul_add(F32x4::splat(acts.offsets[total][0]), *sum);
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
fn step<F: Format>(
    weights: &BlockOf<F>,
    acts: &ActBlock<1, QuadOf<F>>,
    constants: &(Constants, HalfMask),
    quad: usize,
    dots: &mut [F::Dot; 2],
) {
    let acts = F::Dot::splat(&acts.quads[quad][0]);
    for (half, dot) in dots.iter_mut().enumerate() {
        dot.step(
            F::Dot::prepare(weights.codes.quad(&constants.0, half, quad)),
            acts,
        );
    }
    if (quad + 1).is_multiple_of(F::Codes::STEPS) {
        dots.iter_mut().for_each(Dot::flush);
    }
}
