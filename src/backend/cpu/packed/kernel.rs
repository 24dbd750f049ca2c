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
use super::acts::{ActBlock, ActRow, ActSums, QuantizedActs, REST, Stored, TILE};
use super::codes::{Codes, Constants};
use super::expanded::ExpandedGroup;
use super::layout::{BlockOf, Format, QuadOf, Visitor, lanes_of};
use super::scales::{Outer, RUN, Scales};
use super::tile;
use crate::backend::cpu::simd::{Dot, F32x4, HalfMask, I32x4, Lane};

/// Bytes of activations that are worked on before the weights are read again.
const CHUNK_BYTES: usize = 640 << 10;

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
        let acts = <QuadOf<F> as Stored>::of(self.acts);
        let tiles = acts.tiles.count();
        if tiles > 0 {
            let tile_bytes = self.blocks * size_of::<ActBlock<TILE, QuadOf<F>>>();
            let per_chunk = (CHUNK_BYTES / tile_bytes).max(1);
            let mut expanded = ExpandedGroup::default();
            for first in (0..tiles).step_by(per_chunk) {
                self.groups::<F>(|this, row, group| {
                    expanded.set::<F>(group);
                    for tile in first..tiles.min(first + per_chunk) {
                        let sums = tile::products::<F>(&expanded, acts.tiles.row(tile));
                        this.store(row, tile * TILE, sums);
                    }
                });
            }
        }
        if acts.single.count() > 0 {
            self.strips::<F>(acts.single.row(0));
        }
    }
}

impl Product<'_> {
    /// Calls `work` with the first row and the blocks of each group.
    #[inline(always)]
    fn groups<F: Format>(&mut self, mut work: impl FnMut(&mut Self, usize, &[BlockOf<F>])) {
        let lanes = self.lanes;
        let len = lanes_of::<F>(self.blocks);
        for row in self.rows.clone().step_by(GROUP) {
            let group = bytemuck::cast_slice(&lanes[row / GROUP * len..][..len]);
            work(self, row, group);
        }
    }

    /// All groups × the last token, which stands alone.
    #[inline(never)]
    fn strips<F: Format>(&mut self, acts: ActRow<'_, 1, QuadOf<F>>) {
        let constants = (F::Codes::constants(), HalfMask::hidden());
        let token = self.acts.tokens() - 1;
        self.groups::<F>(|this, row, group| {
            this.store(row, token, strip::<F>(group, acts, &constants));
        });
    }

    /// Writes the sums of a group for `N` tokens from `token` on; tokens and rows that only fill up are left out.
    #[inline(never)]
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
#[inline(always)]
fn strip<F: Format>(
    group: &[BlockOf<F>],
    acts: ActRow<'_, 1, QuadOf<F>>,
    constants: &(Constants, HalfMask),
) -> [[F32x4; 1]; 2] {
    let mut sums = [F32x4::splat(0.0); 2];
    if <F::Scales as Scales>::BLOCKS == 1 {
        for (weights, acts) in group.iter().zip(acts.blocks) {
            let codes = &weights.codes.as_ref()[0];
            block::<F>(&weights.scales, 0, codes, acts, constants, &mut sums);
        }
        return sums.map(|sum| [sum]);
    }
    let mut offsets = [F32x4::splat(0.0); 2];
    let runs = acts.blocks.chunks_exact(RUN);
    for ((weights, blocks), acts) in group.iter().zip(runs).zip(acts.sums) {
        let mut inner = [F32x4::splat(0.0); 2];
        for (i, (codes, acts)) in weights.codes.as_ref().iter().zip(blocks).enumerate() {
            block::<F>(&weights.scales, i, codes, acts, constants, &mut inner);
        }
        if let Some(outer) = weights.scales.outer() {
            super_block::<F>(&outer, acts, constants.1, inner, &mut sums, &mut offsets);
        }
    }
    std::array::from_fn(|h| [sums[h] + offsets[h]])
}

/// Adds the products of a block.
#[inline(always)]
fn block<F: Format>(
    scales: &F::Scales,
    place: usize,
    codes: &F::Codes,
    acts: &ActBlock<1, QuadOf<F>>,
    constants: &(Constants, HalfMask),
    sums: &mut [F32x4; 2],
) {
    let act_scale = F32x4::splat(acts.scale[0]);
    if <F::Scales as Scales>::SUBS == 1 {
        let dots = part::<F, 8>(codes, acts, &constants.0, 0);
        let scales = scales.scale(place, 0, constants.1);
        for h in 0..2 {
            sums[h] = dots[h].to_f32().mul_add(scales[h] * act_scale, sums[h]);
        }
    } else {
        let dots = |sub| part::<F, 4>(codes, acts, &constants.0, sub);
        let parts = constants.0.parts::<F::Codes>();
        let weighed = scales.weigh(place, parts, dots, constants.1);
        for h in 0..2 {
            sums[h] = weighed[h].mul_add(act_scale, sums[h]);
        }
    }
    if let Some(mins) = scales.min(constants.1) {
        let offset = F32x4::splat(acts.offset[0]);
        for (sum, min) in sums.iter_mut().zip(mins) {
            *sum = min.mul_add(offset, *sum);
        }
    }
}

/// Adds the products of a super-block, whose blocks have given `inner`; to `offsets` those of its minima.
#[inline(always)]
fn super_block<F: Format>(
    outer: &Outer<'_>,
    acts: &ActSums<1, QuadOf<F>>,
    mask: HalfMask,
    inner: [F32x4; 2],
    sums: &mut [F32x4; 2],
    offsets: &mut [F32x4; 2],
) {
    let d = F32x4::load_f16x8_tiny(outer.d, mask);
    for h in 0..2 {
        sums[h] = inner[h].mul_add(d[h], sums[h]);
    }
    if let Some((dmin, mins)) = outer.mins {
        let dmin = F32x4::load_f16x8_tiny(dmin, mask);
        let [dots] = if <F::Scales as Scales>::SUBS == 1 {
            tile::min_dots::<F::Dot, 1, 1>(mins, acts)
        } else {
            tile::min_dots::<F::Dot, 2, 1>(mins, acts)
        };
        let unit = F32x4::splat(acts.unit[0]);
        for h in 0..2 {
            offsets[h] = (dots[h].to_f32() * unit).mul_add(dmin[h], offsets[h]);
        }
    }
}

/// Products of the `4 * Q` columns of a block that share scales.
#[inline(always)]
fn part<F: Format, const Q: usize>(
    codes: &F::Codes,
    acts: &ActBlock<1, QuadOf<F>>,
    constants: &Constants,
    sub: usize,
) -> [I32x4; 2] {
    let total = if Q == 8 { 2 } else { sub };
    let start = if F::ZERO != 0 {
        base::<F>(&acts.sums[total][0])
    } else {
        I32x4::splat(0)
    };
    if Q == 8 {
        return codes.products::<F::Dot>(&acts.quads, constants, start);
    }
    let mut dots = [F::Dot::start(start); 2];
    // Written out, so that every shift and address below is a constant.
    let quad = Q * sub;
    step::<F>(codes, acts, constants, quad, &mut dots);
    step::<F>(codes, acts, constants, quad + 1, &mut dots);
    step::<F>(codes, acts, constants, quad + 2, &mut dots);
    step::<F>(codes, acts, constants, quad + 3, &mut dots);
    dots.map(Dot::finish)
}

/// What the offset of codes takes off a product: `-ZERO` times the sum of the activations.
#[inline(always)]
fn base<F: Format>(sum: &i32) -> I32x4 {
    // Powers of two in all cases, and constants.
    match i32::from(F::ZERO) {
        2 => I32x4::splat_times::<2>(sum),
        4 => I32x4::splat_times::<4>(sum),
        8 => I32x4::splat_times::<8>(sum),
        16 => I32x4::splat_times::<16>(sum),
        32 => I32x4::splat_times::<32>(sum),
        64 => I32x4::splat_times::<64>(sum),
        128 => I32x4::splat_times::<128>(sum),
        other => I32x4::splat(other * sum),
    }
}

/// Adds the products of four columns.
#[inline(always)]
fn step<F: Format>(
    codes: &F::Codes,
    acts: &ActBlock<1, QuadOf<F>>,
    constants: &Constants,
    quad: usize,
    dots: &mut [F::Dot; 2],
) {
    let acts = F::Dot::splat(&acts.quads[quad][0]);
    for (half, dot) in dots.iter_mut().enumerate() {
        dot.step(F::Dot::prepare(codes.quad(constants, half, quad)), acts);
    }
    if (quad + 1).is_multiple_of(F::Codes::STEPS) {
        dots.iter_mut().for_each(Dot::flush);
    }
}
