//! Products of a block's codes with a single token, summed.

use super::codes::{Codes, Constants};
use super::expanded::QUADS;
use crate::backend::cpu::simd::{Dot, I32x4, U8x16};

/// A token's activations of a block.
pub type Acts<D> = [[<D as Dot>::Quad; 1]; QUADS];

/// Sums of eight rows, of products of a block with a token.
pub struct Sums<D> {
    dots: [D; 2],
    /// Of every second quad, where steps wait for each other: two short chains instead of a long one.
    others: [D; 2],
}

impl<D: Dot> Sums<D> {
    /// Sums that begin at `base`.
    #[inline(always)]
    pub fn start(base: I32x4) -> Self {
        Self {
            dots: [D::start(base); 2],
            others: [D::start(I32x4::splat(0)); 2],
        }
    }

    /// Adds two quads of columns, `[quad][rows 0..4, rows 4..8]`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // `half` names a place in several arrays
    pub fn add(&mut self, codes: [[U8x16; 2]; 2], acts: [&[D::Quad; 1]; 2]) {
        let acts = acts.map(|quad| D::splat(&quad[0]));
        for half in 0..2 {
            self.dots[half].step(D::prepare(codes[0][half]), acts[0]);
            let second = if D::WAITS {
                &mut self.others[half]
            } else {
                &mut self.dots[half]
            };
            second.step(D::prepare(codes[1][half]), acts[1]);
        }
    }

    /// Adds quads `i` and `i + 4`.
    #[inline(always)]
    pub fn add_quads<C: Codes>(
        &mut self,
        codes: &C,
        acts: &Acts<D>,
        constants: &Constants,
        i: usize,
    ) {
        let quads = [i, i + QUADS / 2];
        let codes = quads.map(|quad| [0, 1].map(|half| codes.quad(constants, half, quad)));
        self.add(codes, quads.map(|quad| &acts[quad]));
        if (2 * i + 2).is_multiple_of(C::STEPS) {
            self.flush();
        }
    }

    /// Makes room for more where sums are narrow.
    #[inline(always)]
    pub fn flush(&mut self) {
        self.dots.iter_mut().for_each(Dot::flush);
    }

    /// The sums of rows 0..4 and of rows 4..8.
    #[inline(always)]
    pub fn finish(self) -> [I32x4; 2] {
        self.join(|sum| sum)
    }

    /// The same where each second code was 16 times too high.
    #[inline(always)]
    pub fn finish_raised(self) -> [I32x4; 2] {
        self.join(I32x4::shr::<4>)
    }

    #[inline(always)]
    fn join(self, other: impl Fn(I32x4) -> I32x4) -> [I32x4; 2] {
        std::array::from_fn(|half| {
            let sum = self.dots[half].finish();
            if D::WAITS {
                sum.wrapping_add(other(self.others[half].finish()))
            } else {
                sum
            }
        })
    }
}
