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

use super::acts::{ActBlock, TILE};
use super::codes::{Codes, Constants};
use super::layout::{BlockOf, Format, QuadOf};
use super::scales::Scales;
use super::{BLOCK, GROUP};
use crate::backend::cpu::simd::{Dot, F32x4, HalfMask, I32x4, Lane, U8x16};

/// Quads of columns in a block.
const QUADS: usize = BLOCK / 4;

/// 8 rows × 32 columns: bytes and floats. Floats stand as `F32x4::load_f16x8_tiny` gives them.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Expanded {
    /// `[quad of columns][rows 0..4, rows 4..8]`
    codes: [[Lane; 2]; QUADS],
    /// `[part of the columns][row]`
    scales: [[[f32; 4]; GROUP / 4]; 2],
    /// The same.
    mins: [[[f32; 4]; GROUP / 4]; 2],
}

impl Expanded {
    /// All zero.
    pub const ZERO: Self = Self {
        codes: [[Lane::ZERO; 2]; QUADS],
        scales: [[[0.0; 4]; GROUP / 4]; 2],
        mins: [[[0.0; 4]; GROUP / 4]; 2],
    };

    /// Takes a block.
    #[inline(always)]
    fn set<F: Format>(&mut self, block: &BlockOf<F>, constants: &Constants, mask: HalfMask) {
        for (quad, lanes) in self.codes.iter_mut().enumerate() {
            for (half, lane) in lanes.iter_mut().enumerate() {
                F::Dot::expand(block.codes.quad(constants, half, quad)).store(lane);
            }
        }
        for sub in 0..<F::Scales as Scales>::SUBS {
            store(block.scales.scale(sub), mask, &mut self.scales[sub]);
            if let Some(min) = block.scales.min(sub) {
                store(min, mask, &mut self.mins[sub]);
            }
        }
    }
}

/// Widens eight half floats.
#[inline(always)]
fn store(lane: &Lane, mask: HalfMask, out: &mut [[f32; 4]; GROUP / 4]) {
    for (x, out) in F32x4::load_f16x8_tiny(lane, mask).into_iter().zip(out) {
        x.store(out);
    }
}

/// Expands a group.
#[inline(never)]
pub fn expand<F: Format>(group: &[BlockOf<F>], out: &mut [Expanded]) {
    let (constants, mask) = (F::Codes::constants(), HalfMask::hidden());
    for (block, out) in group.iter().zip(out) {
        out.set::<F>(block, &constants, mask);
    }
}

/// Products of eight rows and four tokens.
#[inline(always)]
pub fn products<F: Format>(
    group: &[Expanded],
    acts: &[ActBlock<TILE, QuadOf<F>>],
) -> [[F32x4; TILE]; 2] {
    let zero = i32::from(F::ZERO) + <F::Dot as Dot>::BIAS;
    match (<F::Scales as Scales>::SUBS, <F::Scales as Scales>::MINS) {
        (1, false) => by_steps::<F, 1, false>(zero, group, acts),
        (1, true) => by_steps::<F, 1, true>(zero, group, acts),
        (_, false) => by_steps::<F, 2, false>(zero, group, acts),
        (_, true) => by_steps::<F, 2, true>(zero, group, acts),
    }
}

#[inline(always)]
fn by_steps<F: Format, const SUBS: usize, const MINS: bool>(
    zero: i32,
    group: &[Expanded],
    acts: &[ActBlock<TILE, QuadOf<F>>],
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
        1 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, 1>(group, acts),
        2 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, 2>(group, acts),
        4 => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, 4>(group, acts),
        _ => kernel.run::<<F::Dot as Dot>::Expanded, SUBS, MINS, 8>(group, acts),
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
    fn run<D: Dot, const SUBS: usize, const MINS: bool, const STEPS: usize>(
        self,
        group: &[Expanded],
        acts: &[ActBlock<TILE, D::Quad>],
    ) -> [[F32x4; TILE]; 2] {
        if D::TILE_HALVES == 2 {
            self.halves::<D, SUBS, MINS, STEPS, 2>(group, acts, 0)
        } else {
            let [first] = self.halves::<D, SUBS, MINS, STEPS, 1>(group, acts, 0);
            let [second] = self.halves::<D, SUBS, MINS, STEPS, 1>(group, acts, 1);
            [first, second]
        }
    }

    /// `H` halves, beginning with `first`.
    #[inline(never)]
    #[allow(clippy::needless_range_loop)] // `t` and `h` name places in several arrays
    fn halves<D: Dot, const SUBS: usize, const MINS: bool, const STEPS: usize, const H: usize>(
        self,
        group: &[Expanded],
        acts: &[ActBlock<TILE, D::Quad>],
        first: usize,
    ) -> [[F32x4; TILE]; H] {
        let mut sums = [[F32x4::splat(0.0); TILE]; H];
        for (weights, acts) in group.iter().zip(acts) {
            for sub in 0..SUBS {
                let total = if SUBS == 1 { 2 } else { sub };
                let base = std::array::from_fn(|t| I32x4::splat(self.zero * acts.sums[total][t]));
                let from = QUADS / SUBS * sub;
                let (codes, quads) = (&weights.codes[from..], &acts.quads[from..]);
                let dots = dots::<D, TILE, STEPS, H>(codes, quads, base, first, self.rounds);
                for t in 0..TILE {
                    let scale = F32x4::splat(acts.scale[t]);
                    for h in 0..H {
                        let scale = F32x4::load(&weights.scales[sub][first + h]) * scale;
                        sums[h][t] = dots[t][h].finish().to_f32().mul_add(scale, sums[h][t]);
                    }
                    if MINS {
                        let offset = F32x4::splat(acts.offsets[total][t]);
                        for h in 0..H {
                            let min = F32x4::load(&weights.mins[sub][first + h]);
                            sums[h][t] = min.mul_add(offset, sums[h][t]);
                        }
                    }
                }
            }
        }
        sums
    }
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
