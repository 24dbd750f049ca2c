//! The primitives that plain and relaxed wasm share: one instruction each, as far as there is one.

use std::arch::wasm32::*;

use half::f16;

use super::Lane;

/// Four floats.
#[derive(Debug, Clone, Copy)]
pub struct F32x4(pub(super) v128);

/// Four 32-bit integers.
#[derive(Debug, Clone, Copy)]
pub struct I32x4(pub(super) v128);

/// Sixteen bytes, signed or unsigned as each operation says.
#[derive(Debug, Clone, Copy)]
pub struct U8x16(pub(super) v128);

/// `2^112`: what the exponent of a half float lacks after its bits were moved to those of a float.
const HALF_BIAS: f32 = f32::from_bits((127 + 112) << 23);

/// Moves sign, exponent and fraction of half floats, widened with their sign, to their places in floats.
#[inline(always)]
fn move_halves(halves: v128, mask: HalfMask) -> F32x4 {
    F32x4(v128_and(i32x4_shl(halves, 13), mask.0))
}

/// The bits of a float that a half float has, hidden from the compiler: V8 makes a constant that it knows anew wherever it
/// is used.
#[derive(Debug, Clone, Copy)]
pub struct HalfMask(v128);

impl HalfMask {
    /// To be made once, before a loop.
    #[inline(always)]
    pub fn hidden() -> Self {
        Self(std::hint::black_box(i32x4_splat(0x8FFF_E000_u32 as i32)))
    }
}

impl F32x4 {
    /// The same number four times.
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        Self(f32x4_splat(x))
    }

    /// Four numbers from memory.
    #[inline(always)]
    pub fn load(x: &[f32; 4]) -> Self {
        // SAFETY: the reference covers the 16 bytes that are read; wasm loads need no alignment.
        Self(unsafe { v128_load(x.as_ptr().cast()) })
    }

    /// Four numbers to memory.
    #[inline(always)]
    pub fn store(self, out: &mut [f32; 4]) {
        // SAFETY: the reference covers the 16 bytes that are written; wasm stores need no alignment.
        unsafe { v128_store(out.as_mut_ptr().cast(), self.0) }
    }

    /// Eight half floats times `2^-112`, which is cheaper.
    #[inline(always)]
    pub fn load_f16x8_tiny(lane: &Lane, mask: HalfMask) -> [Self; 2] {
        let halves: &[[f16; 4]; 2] = bytemuck::cast_ref(lane);
        halves.each_ref().map(|x| Self::load_f16x4_tiny(x, mask))
    }

    /// Eight bfloat16 numbers, the even ones and the odd ones.
    #[inline(always)]
    pub fn load_bf16_pairs(lane: &Lane) -> [Self; 2] {
        let pairs = U8x16::load(lane).0;
        let upper = i32x4_shl(i32x4_shr(pairs, 16), 16);
        [Self(i32x4_shl(pairs, 16)), Self(upper)]
    }

    /// Four half floats; infinities become 65536.
    #[inline(always)]
    pub fn load_f16x4(x: &[f16; 4]) -> Self {
        Self::load_f16x4_tiny(x, HalfMask(i32x4_splat(0x8FFF_E000_u32 as i32)))
            * Self::splat(HALF_BIAS)
    }

    /// Four half floats times `2^-112`, which is cheaper.
    #[inline(always)]
    fn load_f16x4_tiny(x: &[f16; 4], mask: HalfMask) -> Self {
        // SAFETY: the reference covers the 8 bytes that are read; wasm loads need no alignment.
        move_halves(unsafe { i32x4_load_extend_i16x4(x.as_ptr().cast()) }, mask)
    }

    /// Eight half floats times `2^-112`, the even ones and the odd ones: five operations, where eight in their
    /// order take six.
    #[inline(always)]
    pub fn load_f16_pairs_tiny(x: &[f16; 8], mask: HalfMask) -> [Self; 2] {
        // SAFETY: the reference covers the 16 bytes that are read; wasm loads need no alignment.
        let pairs = unsafe { v128_load(x.as_ptr().cast()) };
        let move_upper = |x| Self(v128_and(i32x4_shr(x, 3), mask.0));
        [move_upper(i32x4_shl(pairs, 16)), move_upper(pairs)]
    }

    /// Four numbers, rounded to half floats, to the nearest, ties to even.
    ///
    /// Adding a power of two that is as far above the number as a half float's last bit needs rounds it there
    /// (Maratyszcza, FP16 library); the bits then only move.
    #[inline(always)]
    pub fn store_f16x4(self, out: &mut [f16; 4]) {
        let sign = v128_and(self.0, i32x4_splat(i32::MIN));
        let magnitude = v128_xor(self.0, sign);
        let overflow = f32x4_splat(f32::from_bits(0x7780_0000));
        let underflow = f32x4_splat(f32::from_bits(0x0880_0000));
        let scaled = f32x4_mul(f32x4_mul(magnitude, overflow), underflow);
        let exponent = v128_and(i32x4_shl(self.0, 1), i32x4_splat(0xFF00_0000_u32 as i32));
        let exponent = u32x4_max(exponent, u32x4_splat(0x7100_0000));
        let bias = i32x4_add(u32x4_shr(exponent, 1), i32x4_splat(0x0780_0000));
        let rounded = f32x4_add(bias, scaled);
        let bits = i32x4_add(
            v128_and(u32x4_shr(rounded, 13), i32x4_splat(0x7C00)),
            v128_and(rounded, i32x4_splat(0x0FFF)),
        );
        let is_nan = f32x4_ne(self.0, self.0);
        let bits = v128_bitselect(i32x4_splat(0x7E00), bits, is_nan);
        let bits = v128_or(bits, u32x4_shr(sign, 16));
        let packed = u16x8_narrow_i32x4(bits, bits);
        // SAFETY: the reference covers the 8 bytes that are written; wasm stores need no alignment.
        unsafe { v128_store64_lane::<0>(packed, out.as_mut_ptr().cast()) }
    }

    /// `self * b + c`, rounded once or twice.
    #[inline(always)]
    pub fn mul_add(self, b: Self, c: Self) -> Self {
        Self(super::fused::mul_add(self.0, b.0, c.0))
    }

    /// The larger of each pair; NaN where `self` is, perhaps also where `b` is.
    #[inline(always)]
    pub fn max(self, b: Self) -> Self {
        Self(super::fused::max(self.0, b.0))
    }

    /// The smaller of each pair; NaN where `self` is, perhaps also where `b` is.
    #[inline(always)]
    pub fn min(self, b: Self) -> Self {
        Self(super::fused::min(self.0, b.0))
    }

    /// The larger of each pair of numbers that are not negative, NaN where either is: such floats sort as integers.
    #[inline(always)]
    pub fn max_positive(self, b: Self) -> Self {
        Self(i32x4_max(self.0, b.0))
    }

    /// `(a0 a2 b0 b2, a1 a3 b1 b3)`: parts pairs.
    #[inline(always)]
    pub fn unzip(self, b: Self) -> [Self; 2] {
        [
            Self(i32x4_shuffle::<0, 2, 4, 6>(self.0, b.0)),
            Self(i32x4_shuffle::<1, 3, 5, 7>(self.0, b.0)),
        ]
    }

    /// `(a0 b0 a1 b1, a2 b2 a3 b3)`: joins pairs.
    #[inline(always)]
    pub fn zip(self, b: Self) -> [Self; 2] {
        [
            Self(i32x4_shuffle::<0, 4, 1, 5>(self.0, b.0)),
            Self(i32x4_shuffle::<2, 6, 3, 7>(self.0, b.0)),
        ]
    }

    /// Absolute values.
    #[inline(always)]
    pub fn abs(self) -> Self {
        Self(f32x4_abs(self.0))
    }

    /// The bits as integers.
    #[inline(always)]
    pub fn to_bits(self) -> I32x4 {
        I32x4(self.0)
    }

    /// Floats from their bits.
    #[inline(always)]
    pub fn from_bits(bits: I32x4) -> Self {
        Self(bits.0)
    }

    /// The four numbers.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        let mut out = [0.0; 4];
        self.store(&mut out);
        out
    }

    /// Sum of the four.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let pair = f32x4_add(self.0, i32x4_shuffle::<2, 3, 2, 3>(self.0, self.0));
        f32x4_extract_lane::<0>(pair) + f32x4_extract_lane::<1>(pair)
    }

    /// Largest of the four.
    #[inline(always)]
    pub fn max_lane(self) -> f32 {
        let pair = f32x4_pmax(self.0, i32x4_shuffle::<2, 3, 2, 3>(self.0, self.0));
        let one = f32x4_pmax(pair, i32x4_shuffle::<1, 1, 1, 1>(pair, pair));
        f32x4_extract_lane::<0>(one)
    }

    /// Largest of four numbers that are not negative, NaN if one is.
    #[inline(always)]
    pub fn max_positive_lane(self) -> f32 {
        let pair = i32x4_max(self.0, i32x4_shuffle::<2, 3, 2, 3>(self.0, self.0));
        let one = i32x4_max(pair, i32x4_shuffle::<1, 1, 1, 1>(pair, pair));
        f32x4_extract_lane::<0>(one)
    }
}

macro_rules! operator {
    ($type:ident, $trait:ident, $name:ident, $instruction:ident) => {
        impl std::ops::$trait for $type {
            type Output = Self;
            #[inline(always)]
            fn $name(self, b: Self) -> Self {
                Self($instruction(self.0, b.0))
            }
        }
    };
}
operator!(F32x4, Add, add, f32x4_add);
operator!(F32x4, Sub, sub, f32x4_sub);
operator!(F32x4, Mul, mul, f32x4_mul);
operator!(F32x4, Div, div, f32x4_div);
operator!(U8x16, BitAnd, bitand, v128_and);
operator!(U8x16, BitOr, bitor, v128_or);
operator!(U8x16, BitXor, bitxor, v128_xor);

impl I32x4 {
    /// The same number four times.
    #[inline(always)]
    pub fn splat(x: i32) -> Self {
        Self(i32x4_splat(x))
    }

    /// The same number four times, from memory, times a constant.
    #[inline(always)]
    pub fn splat_times<const N: i32>(x: &i32) -> Self {
        Self(i32x4_mul(i32x4_splat(*x), i32x4_splat(N)))
    }

    /// Four integers from memory.
    #[inline(always)]
    pub fn load(x: &[i32; 4]) -> Self {
        // SAFETY: the reference covers the 16 bytes that are read; wasm loads need no alignment.
        Self(unsafe { v128_load(x.as_ptr().cast()) })
    }

    /// Products with one number, wrapping.
    #[inline(always)]
    pub fn times(self, x: i32) -> Self {
        Self(i32x4_mul(self.0, i32x4_splat(x)))
    }

    /// Nearest floats.
    #[inline(always)]
    pub fn to_f32(self) -> F32x4 {
        F32x4(f32x4_convert_i32x4(self.0))
    }

    /// Eight signed bytes.
    #[inline(always)]
    pub fn widen_i8x8(x: &[i8; 8]) -> [Self; 2] {
        // SAFETY: the reference covers the 8 bytes that are read; wasm loads need no alignment.
        let words = unsafe { i16x8_load_extend_i8x8(x.as_ptr()) };
        [
            Self(i32x4_extend_low_i16x8(words)),
            Self(i32x4_extend_high_i16x8(words)),
        ]
    }

    /// Products, wrapping.
    #[inline(always)]
    pub fn wrapping_mul(self, b: Self) -> Self {
        Self(i32x4_mul(self.0, b.0))
    }

    /// Sums, wrapping.
    #[inline(always)]
    pub fn wrapping_add(self, b: Self) -> Self {
        Self(i32x4_add(self.0, b.0))
    }

    /// Bits moved to the right by `N`, of which those of `mask` are taken.
    #[inline(always)]
    pub fn bits<const N: u32>(self, mask: Self) -> Self {
        Self(v128_and(u32x4_shr(self.0, N), mask.0))
    }

    /// Moved to the right, with the sign.
    #[inline(always)]
    pub fn shr<const N: u32>(self) -> Self {
        Self(i32x4_shr(self.0, N))
    }

    /// Bits moved to the left.
    #[inline(always)]
    pub fn shl<const N: u32>(self) -> Self {
        Self(i32x4_shl(self.0, N))
    }
}

impl U8x16 {
    /// A lane of memory.
    #[inline(always)]
    pub fn load(lane: &Lane) -> Self {
        // SAFETY: the reference covers the 16 bytes that are read.
        Self(unsafe { v128_load(lane.0.as_ptr().cast()) })
    }

    /// To a lane of memory.
    #[inline(always)]
    pub fn store(self, lane: &mut Lane) {
        // SAFETY: the reference covers the 16 bytes that are written.
        unsafe { v128_store(lane.0.as_mut_ptr().cast(), self.0) }
    }

    /// The same byte sixteen times.
    #[inline(always)]
    pub fn splat(x: u8) -> Self {
        Self(u8x16_splat(x))
    }

    /// The same four bytes four times.
    #[inline(always)]
    pub fn splat4(x: &[i8; 4]) -> Self {
        // SAFETY: the reference covers the 4 bytes that are read; wasm loads need no alignment.
        Self(unsafe { v128_load32_splat(x.as_ptr().cast()) })
    }

    /// Sixteen floats rounded to the nearest, ties to even, to signed bytes; -128, 127 beyond, 0 for NaN.
    #[inline(always)]
    pub fn from_floats(x: [F32x4; 4]) -> Self {
        let [a, b, c, d] = x.map(|x| i32x4_trunc_sat_f32x4(f32x4_nearest(x.0)));
        Self(i8x16_narrow_i16x8(
            i16x8_narrow_i32x4(a, b),
            i16x8_narrow_i32x4(c, d),
        ))
    }

    /// The same for floats below 2^22 in magnitude, which is cheaper; some byte for NaN. Adding `1.5 * 2^23` leaves the
    /// nearest integer in the low bits.
    #[inline(always)]
    pub fn from_small_floats(x: [F32x4; 4]) -> Self {
        const SHIFT: f32 = 12_582_912.0;
        let base = i32x4_splat(SHIFT.to_bits() as i32);
        let [a, b, c, d] = x.map(|x| i32x4_sub(f32x4_add(x.0, f32x4_splat(SHIFT)), base));
        Self(i8x16_narrow_i16x8(
            i16x8_narrow_i32x4(a, b),
            i16x8_narrow_i32x4(c, d),
        ))
    }

    /// Sixteen integers from 0 to 255.
    #[inline(always)]
    pub fn from_ints([a, b, c, d]: [I32x4; 4]) -> Self {
        Self(u8x16_narrow_i16x8(
            i16x8_narrow_i32x4(a.0, b.0),
            i16x8_narrow_i32x4(c.0, d.0),
        ))
    }

    /// The bytes, signed.
    #[inline(always)]
    pub fn to_array(self) -> [i8; 16] {
        let mut out = [0; 16];
        // SAFETY: `out` is the 16 bytes that are written; wasm stores need no alignment.
        unsafe { v128_store(out.as_mut_ptr().cast(), self.0) };
        out
    }

    /// Sum of the signed bytes.
    #[inline(always)]
    pub fn sum_i8(self) -> i32 {
        let pairs = i32x4_extadd_pairwise_i16x8(i16x8_extadd_pairwise_i8x16(self.0));
        let pair = i32x4_add(pairs, i32x4_shuffle::<2, 3, 2, 3>(pairs, pairs));
        i32x4_extract_lane::<0>(pair) + i32x4_extract_lane::<1>(pair)
    }

    /// 16-bit words moved right by `N` bits: bytes, where their lowest `N` bits are zero.
    #[inline(always)]
    pub fn shr_words<const N: u32>(self) -> Self {
        Self(u16x8_shr(self.0, N))
    }

    /// Bytes moved right by `N` bits, of which those of `mask` are taken: at most `8 - N` bits. What the shift of
    /// words (x86 has none of bytes) brings in from the neighbour falls to the mask.
    #[inline(always)]
    pub fn bits<const N: u32>(self, mask: Self) -> Self {
        Self(v128_and(u16x8_shr(self.0, N), mask.0))
    }

    /// `table[self]`, with every byte below 16.
    #[inline(always)]
    pub fn look_up(self, table: Self) -> Self {
        Self(super::fused::swizzle(table.0, self.0))
    }
}
