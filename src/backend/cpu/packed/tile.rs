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
    let zero = i32::from(F::ZERO) + <F::Dot as Dot>::BIAS;
    let nested = <F::Scales as Scales>::BLOCKS > 1;
    match (
        <F::Scales as Scales>::SUBS,
        <F::Scales as Scales>::MINS,
        nested,
    ) {
        (1, false, false) => by_steps::<F, 1, false, false>(zero, group, acts),
        (1, false, true) => by_steps::<F, 1, false, true>(zero, group, acts),
        (1, true, false) => by_steps::<F, 1, true, false>(zero, group, acts),
        (1, true, true) => by_steps::<F, 1, true, true>(zero, group, acts),
        (_, false, false) => by_steps::<F, 2, false, false>(zero, group, acts),
        (_, false, true) => by_steps::<F, 2, false, true>(zero, group, acts),
        (_, true, _) => by_steps::<F, 2, true, true>(zero, group, acts),
    }
}

#[inline(always)]
fn by_steps<F: Format, const SUBS: usize, const MINS: bool, const NESTED: bool>(
    zero: i32,
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
        zero,
        // The length of the inner loop is to be unknown, see above.
        rounds: black_box(QUADS / SUBS / steps),
    };
    match steps {
        1 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 1>(group, acts),
        2 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 2>(group, acts),
        4 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 4>(group, acts),
        _ => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, NESTED, 8>(group, acts),
    }
}

/// What formats differ in.
#[derive(Clone, Copy)]
struct Kernel {
    /// The code of weight zero.
    zero: i32,
    /// Rounds of `STEPS` quads that share scales.
    rounds: usize,
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
            self.halves::<D, SUBS, MINS, NESTED, STEPS, 2>(group, acts, 0)
        } else {
            let [first] = self.halves::<D, SUBS, MINS, NESTED, STEPS, 1>(group, acts, 0);
            let [second] = self.halves::<D, SUBS, MINS, NESTED, STEPS, 1>(group, acts, 1);
            [first, second]
        }
    }

    /// `H` halves, beginning with `first`.
    #[inline(always)]
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
        acts: ActRow<'_, TILE, D::Quad>,
        first: usize,
    ) -> [[F32x4; TILE]; H] {
        if !NESTED {
            return self.blocks::<D, SUBS, MINS, STEPS, H>(&group.blocks, acts.blocks, first);
        }
        let mut sums = [[F32x4::splat(0.0); TILE]; H];
        let weights = group.blocks.chunks_exact(RUN).zip(&group.outer);
        let acts = acts.blocks.chunks_exact(RUN).zip(acts.sums);
        for ((weights, outer), (acts, act_sums)) in weights.zip(acts) {
            let inner = self.blocks::<D, SUBS, false, STEPS, H>(weights, acts, first);
            outer.add::<D, SUBS, MINS, H>(&inner, act_sums, first, &mut sums);
        }
        sums
    }

    /// Products of some blocks. A function of its own, so that nothing else wants its registers.
    #[inline(never)]
    fn blocks<D: Dot, const SUBS: usize, const MINS: bool, const STEPS: usize, const H: usize>(
        self,
        weights: &[Expanded],
        acts: &[ActBlock<TILE, D::Quad>],
        first: usize,
    ) -> [[F32x4; TILE]; H] {
        let mut sums = [[F32x4::splat(0.0); TILE]; H];
        for (weights, acts) in weights.iter().zip(acts) {
            self.block::<D, SUBS, MINS, STEPS, H>(weights, acts, first, &mut sums);
        }
        sums
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
        let (codes, quads) = (&weights.codes[from..], &acts.quads[from..]);
        dots::<D, TILE, STEPS, H>(codes, quads, base, first, self.rounds)
    }
}

impl ExpandedOuter {
    /// Adds the products of `H` halves of a super-block, whose blocks have given `inner`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // `t` and `h` name places in several arrays
    fn add<D: Dot, const SUBS: usize, const MINS: bool, const H: usize>(
        &self,
        inner: &[[F32x4; TILE]; H],
        acts: &ActSums<TILE, D::Quad>,
        first: usize,
        sums: &mut [[F32x4; TILE]; H],
    ) {
        // First what takes most registers.
        let mins = if MINS {
            min_dots::<D, SUBS, TILE, H>(&self.mins[..2 * SUBS], acts, first)
        } else {
            [[I32x4::splat(0); H]; TILE]
        };
        for h in 0..H {
            let d = F32x4::load(&self.d[first + h]);
            let dmin = F32x4::load(&self.dmin[first + h]);
            for t in 0..TILE {
                sums[h][t] = inner[h][t].mul_add(d, sums[h][t]);
                if MINS {
                    let offset = mins[t][h].to_f32() * F32x4::splat(acts.unit[t]);
                    sums[h][t] = offset.mul_add(dmin, sums[h][t]);
                }
            }
        }
    }
}

/// Products of the minima of a super-block, whose blocks have `SUBS` parts: `[token][half]`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // as above
pub fn min_dots<D: Dot, const SUBS: usize, const N: usize, const H: usize>(
    mins: &[[Lane; 2]],
    acts: &ActSums<N, D::Quad>,
    first: usize,
) -> [[I32x4; H]; N] {
    let mut sums = [[I32x4::splat(0); H]; N];
    for plane in acts.planes::<SUBS>() {
        // The upper bits come first.
        let mut dots = sums.map(|halves| halves.map(|sum| D::start(sum.shl::<7>())));
        for (mins, acts) in mins.iter().zip(plane) {
            let mins: [_; H] = std::array::from_fn(|h| D::prepare(U8x16::load(&mins[first + h])));
            for t in 0..N {
                let acts = D::splat(&acts[t]);
                for h in 0..H {
                    dots[t][h].step(mins[h], acts);
                }
            }
        }
        sums = dots.map(|halves| halves.map(D::finish));
    }
    sums
}

/// Integer products of `H` halves of eight rows, beginning with `first`, and `N` tokens, from `base` on: `[token][half]`.
/// `weights` and `acts` are quads of columns, of which `rounds` times `STEPS` are taken.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // `t` and `h` name places in several arrays
pub fn dots<D: Dot, const N: usize, const STEPS: usize, const H: usize>(
    weights: &[[Lane; 2]],
    acts: &[[D::Quad; N]],
    base: [I32x4; N],
    first: usize,
    rounds: usize,
) -> [[D; H]; N] {
    let mut dots = base.map(|base| [D::start(base); H]);
    let (weights, _) = weights.as_chunks::<STEPS>();
    let (acts, _) = acts.as_chunks::<STEPS>();
    for (weights, acts) in weights.iter().zip(acts).take(rounds) {
        for (codes, acts) in weights.iter().zip(acts) {
            let codes: [_; H] = std::array::from_fn(|h| D::prepare(U8x16::load(&codes[first + h])));
            for t in 0..N {
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
