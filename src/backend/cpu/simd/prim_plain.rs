//! Multiply-add and integer dot products in standard SIMD.
//!
//! Bytes are multiplied into 16-bit lanes and summed there for as long as they cannot overflow; `flush` widens the sums.
//! That is the cheapest form on ARM (one `smull`, one `add`), where browsers without relaxed SIMD mostly run.

use std::arch::wasm32::*;

use super::{ByteDot, Dot, I32x4, U8x16};

pub(super) const NAME: &str = "cpu-simd";

/// Four-row halves that a token tile computes at once: more would not fit the registers.
pub const TILE_HALVES: usize = 1;

#[inline(always)]
pub(super) fn mul_add(a: v128, b: v128, c: v128) -> v128 {
    f32x4_add(f32x4_mul(a, b), c)
}

#[inline(always)]
pub(super) fn swizzle(table: v128, index: v128) -> v128 {
    i8x16_swizzle(table, index)
}

/// Products of weight bytes with signed bytes, summed by four.
#[derive(Clone, Copy)]
pub struct DotI8 {
    /// 16-bit sums of rows 0, 1 and of rows 2, 3: four columns each.
    narrow: [v128; 2],
    /// The same, widened and added by pairs.
    wide: [v128; 2],
    base: v128,
}

/// Weight bytes below 128 are signed bytes too.
pub type DotU7 = DotI8;
/// Both factors are signed already.
pub type DotValues = DotI8;
/// No choice here.
pub type DotI8Wrapped = DotI8;
/// No choice here.
pub type DotI8Signed = DotI8;

impl Dot for DotI8 {
    type Weights = U8x16;
    const BIAS: i32 = 0;
    type Expanded = Self;
    const NARROW: bool = true;

    #[inline(always)]
    fn start(base: I32x4) -> Self {
        let zero = i32x4_splat(0);
        Self {
            narrow: [zero; 2],
            wide: [zero; 2],
            base: base.0,
        }
    }

    #[inline(always)]
    fn prepare(weights: U8x16) -> U8x16 {
        weights
    }

    #[inline(always)]
    fn step(&mut self, weights: U8x16, acts: U8x16) {
        let [low, high] = &mut self.narrow;
        *low = i16x8_add(*low, i16x8_extmul_low_i8x16(weights.0, acts.0));
        *high = i16x8_add(*high, i16x8_extmul_high_i8x16(weights.0, acts.0));
    }

    #[inline(always)]
    fn flush(&mut self) {
        for (wide, narrow) in self.wide.iter_mut().zip(&mut self.narrow) {
            *wide = i32x4_add(*wide, i32x4_extadd_pairwise_i16x8(*narrow));
            *narrow = i32x4_splat(0);
        }
    }

    #[inline(always)]
    fn finish(mut self) -> I32x4 {
        self.flush();
        let [low, high] = self.wide;
        let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
        let odd = i32x4_shuffle::<1, 3, 5, 7>(low, high);
        I32x4(i32x4_add(self.base, i32x4_add(even, odd)))
    }
}

/// No choice here.
#[inline(always)]
pub fn byte_dot() -> ByteDot {
    ByteDot::Magnitude
}
