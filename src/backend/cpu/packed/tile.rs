//! Prefill: a group of weights, expanded once to bytes and floats, times tiles of four tokens.
//!
//! ```text
//! group of 8 rows  ->  Expanded blocks (L1)  ->  tile 0, tile 1, tile 2, ...     8 rows × 4 tokens each
//! ```
//!
//! What a format costs to unpack is paid once for all tokens, and one kernel serves all formats. Its inner loop adds four
//! columns to eight sums; it is a loop, not written out, since a compiler that sees all of a block at once orders the
//! products by sum, and then keeps more activations than there are registers.

use std::hint::black_box;

use super::acts::{ActBlock, ActRow, ActSums, TILE};
use super::codes::Codes;
use super::expanded::{Expanded, ExpandedGroup, ExpandedOuter, QUADS};
use super::layout::{Format, QuadOf};
use super::scales::{RUN, Scales};
use crate::backend::cpu::simd::{Dot, F32x4, I32x4, Lane, U8x16};

/// Products of eight rows and four tokens.
#[inline(always)]
pub fn products<F: Format>(
    group: &ExpandedGroup,
    acts: ActRow<'_, TILE, QuadOf<F>>,
) -> [[F32x4; TILE]; 2] {
    let nested = <F::Scales as Scales>::BLOCKS > 1;
    let mins = <F::Scales as Scales>::MINS;
    match (<F::Scales as Scales>::SUBS, mins, nested) {
        (1, false, false) => by_steps::<F, 1, false, false>(group, acts),
        (1, true, false) => by_steps::<F, 1, true, false>(group, acts),
        (1, _, true) => by_steps::<F, 1, false, true>(group, acts),
        (_, _, false) => by_steps::<F, 2, false, false>(group, acts),
        (_, _, true) => by_steps::<F, 2, false, true>(group, acts),
    }
}

#[inline(always)]
fn by_steps<F: Format, const SUBS: usize, const MINS: bool, const NESTED: bool>(
    group: &ExpandedGroup,
    acts: ActRow<'_, TILE, QuadOf<F>>,
) -> [[F32x4; TILE]; 2] {
    // Wide sums need no rounds.
    let steps = if <F::Dot as Dot>::NARROW {
        F::Codes::STEPS.min(QUADS / SUBS)
    } else {
        1
    };
    let kernel = Kernel {
        zero: i32::from(F::ZERO),
        // The length of the inner loop is to be unknown, see above.
        quads: black_box(QUADS / SUBS),
    };
    let mut sums = match steps {
        1 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 1>(group, acts),
        2 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 2>(group, acts),
        4 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 4>(group, acts),
        _ => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 8>(group, acts),
    };
    if NESTED && <F::Scales as Scales>::MINS {
        add_mins::<<F::Dot as Dot>::Expanded, SUBS>(&group.outer, acts.sums, &mut sums);
    }
    sums
}

/// What formats differ in.
#[derive(Clone, Copy)]
struct Kernel {
    /// The code of weight zero.
    zero: i32,
    /// Quads that share scales.
    quads: usize,
}

impl Kernel {
    /// Both halves, at once or one after the other as registers allow.
    #[inline(always)]
    fn run<D: Dot, const SUBS: usize, const MINS: bool, const NESTED: bool, const STEPS: usize>(
        self,
        group: &ExpandedGroup,
        acts: ActRow<'_, TILE, D::Quad>,
    ) -> [[F32x4; TILE]; 2] {
        if D::TILE_HALVES == 2 {
            self.halves::<D, SUBS, MINS, NESTED, STEPS, 2>(group, acts.blocks, 0)
        } else {
            let [first] = self.halves::<D, SUBS, MINS, NESTED, STEPS, 1>(group, acts.blocks, 0);
            let [second] = self.halves::<D, SUBS, MINS, NESTED, STEPS, 1>(group, acts.blocks, 1);
            [first, second]
        }
    }

    /// Products of `H` halves, beginning with `first`. A function of its own, so that nothing else wants its registers.
    #[inline(never)]
    fn halves<
        D: Dot,
        const SUBS: usize,
        const MINS: bool,
        const NESTED: bool,
        const STEPS: usize,
        const H: usize,
    >(
        self,
        group: &ExpandedGroup,
        acts: &[ActBlock<TILE, D::Quad>],
        first: usize,
    ) -> [[F32x4; TILE]; H] {
        // Hidden, since zeros that are known are written by a call.
        let zero = [[black_box(F32x4::splat(0.0)); TILE]; H];
        let mut sums = zero;
        if !NESTED {
            self.blocks::<D, SUBS, MINS, STEPS, H>(&group.blocks, acts, first, &mut sums);
            return sums;
        }
        let runs = group.blocks.chunks_exact(RUN).zip(acts.chunks_exact(RUN));
        for ((weights, acts), outer) in runs.zip(&group.outer) {
            let mut inner = zero;
            self.blocks::<D, SUBS, MINS, STEPS, H>(weights, acts, first, &mut inner);
            let sums = black_box(&mut sums);
            for h in 0..H {
                let d = F32x4::load(&outer.d[first + h]);
                for t in 0..TILE {
                    sums[h][t] = inner[h][t].mul_add(d, sums[h][t]);
                }
            }
        }
        sums
    }

    /// Adds the products of some blocks.
    #[inline(always)]
    fn blocks<D: Dot, const SUBS: usize, const MINS: bool, const STEPS: usize, const H: usize>(
        self,
        weights: &[Expanded],
        acts: &[ActBlock<TILE, D::Quad>],
        first: usize,
        sums: &mut [[F32x4; TILE]; H],
    ) {
        for (weights, acts) in weights.iter().zip(acts) {
            // In memory: the inner loop has no registers for them.
            let sums = black_box(&mut *sums);
            self.block::<D, SUBS, MINS, STEPS, H>(weights, acts, first, sums);
        }
    }

    /// Adds the products of a block.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // as above
    fn block<D: Dot, const SUBS: usize, const MINS: bool, const STEPS: usize, const H: usize>(
        self,
        weights: &Expanded,
        acts: &ActBlock<TILE, D::Quad>,
        first: usize,
        sums: &mut [[F32x4; TILE]; H],
    ) {
        if SUBS == 1 {
            let dots = self.dots::<D, SUBS, STEPS, H>(weights, acts, 0, first);
            for t in 0..TILE {
                let act_scale = F32x4::splat(acts.scale[t]);
                for h in 0..H {
                    let scale = F32x4::load(&weights.scales[0][first + h]) * act_scale;
                    sums[h][t] = dots[t][h].finish().to_f32().mul_add(scale, sums[h][t]);
                }
            }
        } else {
            let mut weighed = [[F32x4::splat(0.0); TILE]; H];
            for sub in 0..SUBS {
                let dots = self.dots::<D, SUBS, STEPS, H>(weights, acts, sub, first);
                for h in 0..H {
                    let scale = F32x4::load(&weights.scales[sub][first + h]);
                    for t in 0..TILE {
                        let dot = dots[t][h].finish().to_f32();
                        weighed[h][t] = if sub == 0 {
                            dot * scale
                        } else {
                            dot.mul_add(scale, weighed[h][t])
                        };
                    }
                }
            }
            for t in 0..TILE {
                let act_scale = F32x4::splat(acts.scale[t]);
                for h in 0..H {
                    sums[h][t] = weighed[h][t].mul_add(act_scale, sums[h][t]);
                }
            }
        }
        if MINS {
            for t in 0..TILE {
                let offset = F32x4::splat(acts.offset[t]);
                for h in 0..H {
                    let min = F32x4::load(&weights.mins[first + h]);
                    sums[h][t] = min.mul_add(offset, sums[h][t]);
                }
            }
        }
    }

    /// Integer products of part `sub` of a block.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // as above
    fn dots<D: Dot, const SUBS: usize, const STEPS: usize, const H: usize>(
        self,
        weights: &Expanded,
        acts: &ActBlock<TILE, D::Quad>,
        sub: usize,
        first: usize,
    ) -> [[D; H]; TILE] {
        let total = if SUBS == 1 { 2 } else { sub };
        let base = std::array::from_fn(|t| I32x4::splat(self.zero * acts.sums[total][t]));
        let from = QUADS / SUBS * sub;
        let mut dots = base.map(|base| [D::start(base); H]);
        let (codes, quads) = (&weights.codes[from..], &acts.quads[from..]);
        let (codes, _) = codes[..self.quads].as_chunks::<STEPS>();
        let (quads, _) = quads[..self.quads].as_chunks::<STEPS>();
        for (codes, quads) in codes.iter().zip(quads) {
            for (codes, acts) in codes.iter().zip(quads) {
                let codes: [_; H] =
                    std::array::from_fn(|h| D::prepare(U8x16::load(&codes[first + h])));
                for t in 0..TILE {
                    let acts = D::splat(&acts[t]);
                    for h in 0..H {
                        dots[t][h].step(codes[h], acts);
                    }
                }
            }
            if D::NARROW {
                dots.iter_mut().flatten().for_each(Dot::flush);
            }
        }
        dots
    }
}

/// Adds what the minima of super-blocks make, first to one another.
#[inline(never)]
#[allow(clippy::needless_range_loop)] // `t` and `h` name places in several arrays
fn add_mins<D: Dot, const SUBS: usize>(
    group: &[ExpandedOuter],
    acts: &[ActSums<TILE, D::Quad>],
    sums: &mut [[F32x4; TILE]; 2],
) {
    let mut offsets = [[F32x4::splat(0.0); TILE]; 2];
    for (outer, acts) in group.iter().zip(acts) {
        let offsets = black_box(&mut offsets);
        let dots = min_dots::<D, SUBS, TILE>(&outer.mins[..2 * SUBS], acts);
        for h in 0..2 {
            let dmin = F32x4::load(&outer.dmin[h]);
            for t in 0..TILE {
                let offset = dots[t][h].to_f32() * F32x4::splat(acts.unit[t]);
                offsets[h][t] = offset.mul_add(dmin, offsets[h][t]);
            }
        }
    }
    for (sum, offset) in sums.iter_mut().flatten().zip(offsets.as_flattened()) {
        *sum = *sum + *offset;
    }
}

/// Products of the minima of a super-block, whose blocks have `SUBS` parts: `[token][half]`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as above
pub fn min_dots<D: Dot, const SUBS: usize, const N: usize>(
    mins: &[[Lane; 2]],
    acts: &ActSums<N, D::Quad>,
) -> [[I32x4; 2]; N] {
    let mut sums = [[I32x4::splat(0); 2]; N];
    for plane in acts.planes::<SUBS>() {
        // The upper bits come first.
        let mut dots = sums.map(|halves| halves.map(|sum| D::start(sum.shl::<7>())));
        for (mins, acts) in mins.iter().zip(plane) {
            let mins = mins.each_ref().map(|lane| D::prepare(U8x16::load(lane)));
            for t in 0..N {
                let acts = D::splat(&acts[t]);
                for h in 0..2 {
                    dots[t][h].step(mins[h], acts);
                }
            }
        }
        sums = dots.map(|halves| halves.map(D::finish));
    }
    sums
}
