//! Multiply-add and integer dot products in standard SIMD, in two forms, of which [`byte_dot`] picks the machine's.
//!
//! On ARM, where browsers without relaxed SIMD mostly run, bytes are multiplied into 16-bit lanes and summed there for as
//! long as they cannot overflow; `flush` widens the sums. That is one `smull` and one `add` for eight products. On x86 the
//! same takes up to seven instructions, but it has `pmaddwd`: products of 16-bit words, summed by two.

use std::arch::wasm32::*;

use std::hint::black_box;

use super::{ByteDot, Dot, I32x4, U8x16};

pub(super) const NAME: &str = "cpu-simd";

/// Whether [`DotValues`] takes negative activations where [`byte_dot`] is [`ByteDot::Magnitude`].
pub const MAGNITUDE_IS_SIGNED: bool = true;

#[inline(always)]
pub(super) fn mul_add(a: v128, b: v128, c: v128) -> v128 {
    f32x4_add(f32x4_mul(a, b), c)
}

#[inline(always)]
pub(super) fn max(a: v128, b: v128) -> v128 {
    f32x4_pmax(a, b)
}

#[inline(always)]
pub(super) fn min(a: v128, b: v128) -> v128 {
    f32x4_pmin(a, b)
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
pub type DotU8 = DotU7;
/// No choice here.
pub type DotI8Signed = DotI8;

impl Dot for DotI8 {
    type Weights = U8x16;
    type Quad = [i8; 4];
    type Acts = U8x16;
    const TILE_HALVES: usize = 1;
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
    fn splat(acts: &[i8; 4]) -> U8x16 {
        U8x16::splat4(acts)
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

/// Products of words, see [`Quad`](super::Quad). `$first` makes `w0 + 256 * w1` of two bytes, `$second` makes `w1`.
macro_rules! dot_words {
    ($(#[$doc:meta])* $name:ident, $first:expr, $second:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(v128);

        impl Dot for $name {
            type Weights = [v128; 2];
            type Quad = [i16; 4];
            type Acts = [v128; 2];
            const TILE_HALVES: usize = 2;
            type Expanded = Self;
            const NARROW: bool = false;

            #[inline(always)]
            fn start(base: I32x4) -> Self {
                Self(base.0)
            }

            #[inline(always)]
            fn prepare(weights: U8x16) -> [v128; 2] {
                [$first(weights.0), $second(weights.0)]
            }

            #[inline(always)]
            fn splat(acts: &[i16; 4]) -> [v128; 2] {
                let pairs: &[[i16; 2]; 2] = bytemuck::cast_ref(acts);
                // SAFETY: the references cover the 4 bytes that are read; wasm loads need no alignment.
                pairs.each_ref().map(|pair| unsafe { v128_load32_splat(pair.as_ptr().cast()) })
            }

            #[inline(always)]
            fn step(&mut self, weights: [v128; 2], acts: [v128; 2]) {
                let first = i32x4_dot_i16x8(weights[0], acts[0]);
                let second = i32x4_dot_i16x8(weights[1], acts[1]);
                self.0 = i32x4_add(self.0, i32x4_add(first, second));
            }

            #[inline(always)]
            fn flush(&mut self) {}

            #[inline(always)]
            fn finish(self) -> I32x4 {
                I32x4(self.0)
            }
        }
    };
}

dot_words!(
    /// Products of weight bytes below 128 with signed bytes, for [`ByteDot::Words`].
    DotU7Words,
    |weights| weights,
    |weights| u16x8_shr(weights, 8)
);

dot_words!(
    /// Products of signed bytes, for [`ByteDot::Words`].
    DotI8Words,
    |weights| {
        let low = i16x8_splat(0x80);
        i16x8_sub(v128_xor(weights, low), low)
    },
    |weights| i16x8_shr(weights, 8)
);

/// Words on x86, known by the NaN that it makes of 0 / 0: its sign is set there and clear on ARM. A measurement would be
/// no better: this runs before the browser has optimised the module. Both forms give the same sums, so a machine that is
/// taken for another is only slower.
#[inline]
pub fn byte_dot() -> ByteDot {
    let (zero, none) = (black_box(0.0_f32), black_box(0.0_f32));
    if (zero / none).is_sign_negative() {
        ByteDot::Words
    } else {
        ByteDot::Magnitude
    }
}
