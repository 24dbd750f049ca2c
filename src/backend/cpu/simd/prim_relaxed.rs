//! Multiply-add and integer dot products in relaxed SIMD: one instruction on machines that have it.
//!
//! `i32x4_relaxed_dot_i8x16_i7x16_add(a, w, sum)` is defined for signed `a` and for `w` below 128. Weights of up to
//! seven bits are therefore exact everywhere. With the top bit of `w` set machines differ: x86 with VNNI reads an
//! unsigned byte, ARM with SDOT a signed one, older x86 saturates pairs at 16 bits. [`byte_dot`] finds out which machine
//! this is; where neither form is exact, the sign moves from the weight to the activation.

use std::arch::wasm32::*;
use std::hint::black_box;

use super::{ByteDot, Dot, I32x4, U8x16};

pub(super) const NAME: &str = "cpu-relaxed-simd";

/// Whether [`DotValues`] takes negative activations where [`byte_dot`] is [`ByteDot::Magnitude`].
pub const MAGNITUDE_IS_SIGNED: bool = false;

#[inline(always)]
pub(super) fn mul_add(a: v128, b: v128, c: v128) -> v128 {
    f32x4_relaxed_madd(a, b, c)
}

/// In this order a NaN in `a` stays: x86 gives the second operand where one is NaN, ARM gives NaN. (The compiler makes a
/// relaxed maximum of `f32x4_pmax`, in the other order.)
#[inline(always)]
pub(super) fn max(a: v128, b: v128) -> v128 {
    f32x4_relaxed_max(b, a)
}

/// As [`max`].
#[inline(always)]
pub(super) fn min(a: v128, b: v128) -> v128 {
    f32x4_relaxed_min(b, a)
}

#[inline(always)]
pub(super) fn swizzle(table: v128, index: v128) -> v128 {
    i8x16_relaxed_swizzle(table, index)
}

/// The parts of [`Dot`] that all forms share.
macro_rules! relaxed_dot {
    ($(#[$doc:meta])* $name:ident, $whole_bytes:expr, $weights:ty, $prepare:expr, $step:expr,
     $expanded:ty, $expand:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(v128);

        impl Dot for $name {
            type Weights = $weights;
            type Quad = [i8; 4];
            type Acts = U8x16;
            // Both, so that an activation is loaded once for eight rows.
            const TILE_HALVES: usize = 2;
            const WHOLE_BYTES: bool = $whole_bytes;
            const WAITS: bool = true;
            type Expanded = $expanded;
            const NARROW: bool = false;

            #[inline(always)]
            fn start(base: I32x4) -> Self {
                Self(base.0)
            }

            #[inline(always)]
            fn prepare(weights: U8x16) -> $weights {
                $prepare(weights.0)
            }

            #[inline(always)]
            fn expand(weights: U8x16) -> U8x16 {
                U8x16($expand(weights.0))
            }

            #[inline(always)]
            fn splat(acts: &[i8; 4]) -> U8x16 {
                U8x16::splat4(acts)
            }

            #[inline(always)]
            fn step(&mut self, weights: $weights, acts: U8x16) {
                self.0 = $step(weights, acts.0, self.0);
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

relaxed_dot!(
    /// Products of weight bytes below 128, or as the other forms expand them, with signed bytes, summed by four.
    DotU7, false, v128,
    |weights| weights,
    |weights, acts, sum| i32x4_relaxed_dot_i8x16_i7x16_add(acts, weights, sum),
    DotU7, |weights| weights
);

relaxed_dot!(
    /// As [`DotU7`] with the parts exchanged: signed "weights", and activations that are never negative.
    DotValues, false, v128,
    |weights| weights,
    |weights, acts, sum| i32x4_relaxed_dot_i8x16_i7x16_add(weights, acts, sum),
    Self, |weights| weights
);

relaxed_dot!(
    /// The same for any weight bytes, for [`ByteDot::Wrapped`].
    DotU8, true, v128,
    |weights| weights,
    |weights, acts, sum| i32x4_relaxed_dot_i8x16_i7x16_add(acts, weights, sum),
    DotU7, |weights| weights
);

relaxed_dot!(
    /// Products of signed bytes, for [`ByteDot::Signed`].
    DotI8Signed, false, v128,
    |weights| weights,
    |weights, acts, sum| i32x4_relaxed_dot_i8x16_i7x16_add(acts, weights, sum),
    DotU7, |weights| weights
);

relaxed_dot!(
    /// Products of signed bytes on any machine, for weights above -128: magnitude times the activation with the
    /// weight's sign.
    DotI8, false, (v128, v128),
    |weights| (i8x16_abs(weights), i8x16_lt(weights, i8x16_splat(0))),
    |(magnitude, sign), acts, sum| {
        let acts = i8x16_sub(v128_xor(acts, sign), sign);
        i32x4_relaxed_dot_i8x16_i7x16_add(acts, magnitude, sum)
    },
    Self, |weights| weights
);

/// No choice here.
pub type DotU7Words = DotU7;
/// No choice here.
pub type DotI8Words = DotI8;

/// How this machine reads a weight byte with its top bit set.
#[inline]
pub fn byte_dot() -> ByteDot {
    let dot = |weight: u8, act: i8| {
        let (weights, acts) = (black_box(u8x16_splat(weight)), black_box(i8x16_splat(act)));
        i32x4_extract_lane::<0>(i32x4_relaxed_dot_i8x16_i7x16_add(
            acts,
            weights,
            i32x4_splat(0),
        ))
    };
    // The extremes: saturation anywhere on the way would show in one of them.
    match (dot(255, 127), dot(255, -128), dot(128, 127)) {
        (129_540, -130_560, 65_024) => ByteDot::Wrapped,
        (-508, 512, -65_024) => ByteDot::Signed,
        _ => ByteDot::Magnitude,
    }
}
