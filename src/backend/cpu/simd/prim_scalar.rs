//! The primitives over plain arrays: always right, and what native builds and their tests use.

use std::array::from_fn;

use half::f16;

use super::{ByteDot, Dot, Lane};

pub(super) const NAME: &str = "cpu-scalar";

/// Whether [`DotValues`] takes negative activations where [`byte_dot`] is [`ByteDot::Magnitude`].
pub const MAGNITUDE_IS_SIGNED: bool = true;

/// Four floats.
#[derive(Debug, Clone, Copy)]
pub struct F32x4([f32; 4]);

/// Four 32-bit integers.
#[derive(Debug, Clone, Copy)]
pub struct I32x4([i32; 4]);

/// Sixteen bytes, signed or unsigned as each operation says.
#[derive(Debug, Clone, Copy)]
pub struct U8x16([u8; 16]);

/// Of use to vectors only.
#[derive(Debug, Clone, Copy)]
pub struct HalfMask;

impl HalfMask {
    /// To be made once, before a loop.
    #[inline(always)]
    pub fn hidden() -> Self {
        Self
    }
}

impl F32x4 {
    /// The same number four times.
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    /// Four numbers from memory.
    #[inline(always)]
    pub fn load(x: &[f32; 4]) -> Self {
        Self(*x)
    }

    /// Four numbers to memory.
    #[inline(always)]
    pub fn store(self, out: &mut [f32; 4]) {
        *out = self.0;
    }

    /// Eight half floats times `2^-112`, which is cheaper with vectors.
    #[inline(always)]
    pub fn load_f16x8_tiny(lane: &Lane, _: HalfMask) -> [Self; 2] {
        let half = |i: usize| f16::from_le_bytes([lane.0[2 * i], lane.0[2 * i + 1]]).to_f32();
        let down = Self::splat(f32::from_bits((127 - 112) << 23));
        [0, 4].map(|first| Self(from_fn(|i| half(first + i))) * down)
    }

    /// Eight bfloat16 numbers, the even ones and the odd ones.
    #[inline(always)]
    pub fn load_bf16_pairs(lane: &Lane) -> [Self; 2] {
        let wide = |i: usize| f32::from_le_bytes([0, 0, lane.0[2 * i], lane.0[2 * i + 1]]);
        [0, 1].map(|odd| Self(from_fn(|i| wide(2 * i + odd))))
    }

    /// Four half floats.
    #[inline(always)]
    pub fn load_f16x4(x: &[f16; 4]) -> Self {
        Self(x.map(f16::to_f32))
    }

    /// Eight half floats times `2^-112`, the even ones and the odd ones.
    #[inline(always)]
    pub fn load_f16_pairs_tiny(x: &[f16; 8], _: HalfMask) -> [Self; 2] {
        let down = Self::splat(f32::from_bits((127 - 112) << 23));
        [0, 1].map(|odd| Self(from_fn(|i| x[2 * i + odd].to_f32())) * down)
    }

    /// Four numbers, rounded to half floats, to the nearest, ties to even.
    #[inline(always)]
    pub fn store_f16x4(self, out: &mut [f16; 4]) {
        *out = self.0.map(f16::from_f32);
    }

    /// `self * b + c`, rounded once or twice.
    #[inline(always)]
    pub fn mul_add(self, b: Self, c: Self) -> Self {
        Self(from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }

    /// The larger of each pair; NaN where `self` is, perhaps also where `b` is.
    #[inline(always)]
    pub fn max(self, b: Self) -> Self {
        Self(from_fn(|i| {
            if self.0[i] < b.0[i] {
                b.0[i]
            } else {
                self.0[i]
            }
        }))
    }

    /// The smaller of each pair; NaN where `self` is, perhaps also where `b` is.
    #[inline(always)]
    pub fn min(self, b: Self) -> Self {
        Self(from_fn(|i| {
            if b.0[i] < self.0[i] {
                b.0[i]
            } else {
                self.0[i]
            }
        }))
    }

    /// The larger of each pair of numbers that are not negative, NaN where either is.
    #[inline(always)]
    pub fn max_positive(self, b: Self) -> Self {
        Self(from_fn(|i| {
            f32::from_bits(self.0[i].to_bits().max(b.0[i].to_bits()))
        }))
    }

    /// `(a0 a2 b0 b2, a1 a3 b1 b3)`: parts pairs.
    #[inline(always)]
    pub fn unzip(self, b: Self) -> [Self; 2] {
        let (a, b) = (self.0, b.0);
        [
            Self([a[0], a[2], b[0], b[2]]),
            Self([a[1], a[3], b[1], b[3]]),
        ]
    }

    /// `(a0 b0 a1 b1, a2 b2 a3 b3)`: joins pairs.
    #[inline(always)]
    pub fn zip(self, b: Self) -> [Self; 2] {
        let (a, b) = (self.0, b.0);
        [
            Self([a[0], b[0], a[1], b[1]]),
            Self([a[2], b[2], a[3], b[3]]),
        ]
    }

    /// Absolute values.
    #[inline(always)]
    pub fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }

    /// The bits as integers.
    #[inline(always)]
    pub fn to_bits(self) -> I32x4 {
        I32x4(self.0.map(|x| x.to_bits() as i32))
    }

    /// Floats from their bits.
    #[inline(always)]
    pub fn from_bits(bits: I32x4) -> Self {
        Self(bits.0.map(|x| f32::from_bits(x as u32)))
    }

    /// The four numbers.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        self.0
    }

    /// Sum of the four.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        (self.0[0] + self.0[2]) + (self.0[1] + self.0[3])
    }

    /// Largest of the four.
    #[inline(always)]
    pub fn max_lane(self) -> f32 {
        let pair = self.max(Self([self.0[2], self.0[3], self.0[2], self.0[3]]));
        pair.max(Self::splat(pair.0[1])).0[0]
    }

    /// Largest of four numbers that are not negative, NaN if one is.
    #[inline(always)]
    pub fn max_positive_lane(self) -> f32 {
        f32::from_bits(self.0.iter().fold(0, |most, x| most.max(x.to_bits())))
    }
}

macro_rules! float_op {
    ($trait:ident, $name:ident, $op:tt) => {
        impl std::ops::$trait for F32x4 {
            type Output = Self;
            #[inline(always)]
            fn $name(self, b: Self) -> Self {
                Self(from_fn(|i| self.0[i] $op b.0[i]))
            }
        }
    };
}
float_op!(Add, add, +);
float_op!(Sub, sub, -);
float_op!(Mul, mul, *);
float_op!(Div, div, /);

impl I32x4 {
    /// The same number four times.
    #[inline(always)]
    pub fn splat(x: i32) -> Self {
        Self([x; 4])
    }

    /// The same number four times, from memory, times a constant.
    #[inline(always)]
    pub fn splat_times<const N: i32>(x: &i32) -> Self {
        Self([*x * N; 4])
    }

    /// Four integers from memory.
    #[inline(always)]
    pub fn load(x: &[i32; 4]) -> Self {
        Self(*x)
    }

    /// Products with one number, wrapping.
    #[inline(always)]
    pub fn times(self, x: i32) -> Self {
        Self(self.0.map(|y| y.wrapping_mul(x)))
    }

    /// Nearest floats.
    #[inline(always)]
    pub fn to_f32(self) -> F32x4 {
        F32x4(self.0.map(|x| x as f32))
    }

    /// Eight signed bytes.
    #[inline(always)]
    pub fn widen_i8x8(x: &[i8; 8]) -> [Self; 2] {
        [
            Self(from_fn(|i| x[i].into())),
            Self(from_fn(|i| x[i + 4].into())),
        ]
    }

    /// Products, wrapping.
    #[inline(always)]
    pub fn wrapping_mul(self, b: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_mul(b.0[i])))
    }

    /// Sums, wrapping.
    #[inline(always)]
    pub fn wrapping_add(self, b: Self) -> Self {
        Self(from_fn(|i| self.0[i].wrapping_add(b.0[i])))
    }

    /// Bits moved to the right by `N`, of which those of `mask` are taken.
    #[inline(always)]
    pub fn bits<const N: u32>(self, mask: Self) -> Self {
        Self(from_fn(|i| (self.0[i] as u32 >> N) as i32 & mask.0[i]))
    }

    /// Moved to the right, with the sign.
    #[inline(always)]
    pub fn shr<const N: u32>(self) -> Self {
        Self(self.0.map(|x| x >> N))
    }

    /// Bits moved to the left.
    #[inline(always)]
    pub fn shl<const N: u32>(self) -> Self {
        Self(self.0.map(|x| x << N))
    }
}

impl U8x16 {
    /// A lane of memory.
    #[inline(always)]
    pub fn load(lane: &Lane) -> Self {
        Self(lane.0)
    }

    /// To a lane of memory.
    #[inline(always)]
    pub fn store(self, lane: &mut Lane) {
        lane.0 = self.0;
    }

    /// The same byte sixteen times.
    #[inline(always)]
    pub fn splat(x: u8) -> Self {
        Self([x; 16])
    }

    /// The same four bytes four times.
    #[inline(always)]
    pub fn splat4(x: &[i8; 4]) -> Self {
        Self(from_fn(|i| x[i % 4] as u8))
    }

    /// Sixteen floats rounded to the nearest, ties to even, to signed bytes; -128, 127 beyond, 0 for NaN.
    #[inline(always)]
    pub fn from_floats(x: [F32x4; 4]) -> Self {
        Self(from_fn(|i| x[i / 4].0[i % 4].round_ties_even() as i8 as u8))
    }

    /// The same for floats below 2^22 in magnitude, which is cheaper with vectors.
    #[inline(always)]
    pub fn from_small_floats(x: [F32x4; 4]) -> Self {
        Self::from_floats(x)
    }

    /// Sixteen integers from 0 to 255.
    #[inline(always)]
    pub fn from_ints(ints: [I32x4; 4]) -> Self {
        Self(from_fn(|i| ints[i / 4].0[i % 4] as u8))
    }

    /// The bytes, signed.
    #[inline(always)]
    pub fn to_array(self) -> [i8; 16] {
        self.0.map(|x| x as i8)
    }

    /// Sum of the signed bytes.
    #[inline(always)]
    pub fn sum_i8(self) -> i32 {
        self.0.iter().map(|x| i32::from(*x as i8)).sum()
    }

    /// Bytes moved right by `N` bits, of which those of `mask` are taken: at most `8 - N` bits.
    #[inline(always)]
    pub fn bits<const N: u32>(self, mask: Self) -> Self {
        Self(from_fn(|i| self.0[i] >> N & mask.0[i]))
    }

    /// 16-bit words moved right by `N` bits: bytes, where their lowest `N` bits are zero.
    #[inline(always)]
    pub fn shr_words<const N: u32>(self) -> Self {
        Self(self.0.map(|x| x >> N))
    }

    /// `table[self]`, with every byte below 16.
    #[inline(always)]
    pub fn look_up(self, table: Self) -> Self {
        Self(self.0.map(|x| table.0[usize::from(x & 15)]))
    }
}

macro_rules! byte_op {
    ($trait:ident, $name:ident, $op:tt) => {
        impl std::ops::$trait for U8x16 {
            type Output = Self;
            #[inline(always)]
            fn $name(self, b: Self) -> Self {
                Self(from_fn(|i| self.0[i] $op b.0[i]))
            }
        }
    };
}
byte_op!(BitAnd, bitand, &);
byte_op!(BitOr, bitor, |);
byte_op!(BitXor, bitxor, ^);

/// Products of weight bytes below 128 with signed bytes, summed by four.
#[derive(Clone, Copy)]
pub struct DotU7([i32; 4]);

/// Products of signed bytes, summed by four.
pub type DotI8 = DotU7;

impl Dot for DotU7 {
    type Weights = U8x16;
    type Quad = [i8; 4];
    type Acts = U8x16;
    const TILE_HALVES: usize = 1;
    type Expanded = Self;
    const NARROW: bool = false;

    #[inline(always)]
    fn start(base: I32x4) -> Self {
        Self(base.0)
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
        for (i, sum) in self.0.iter_mut().enumerate() {
            let product = |k: usize| {
                i32::from(weights.0[4 * i + k] as i8) * i32::from(acts.0[4 * i + k] as i8)
            };
            *sum += product(0) + product(1) + product(2) + product(3);
        }
    }

    #[inline(always)]
    fn flush(&mut self) {}

    #[inline(always)]
    fn finish(self) -> I32x4 {
        I32x4(self.0)
    }
}

/// Both factors are signed already.
pub type DotValues = DotI8;
/// No choice here.
pub type DotU8 = DotU7;
/// No choice here.
pub type DotI8Signed = DotI8;
/// No choice here.
pub type DotU7Words = DotU7;
/// No choice here.
pub type DotI8Words = DotI8;

/// No choice here.
#[inline(always)]
pub fn byte_dot() -> ByteDot {
    ByteDot::Magnitude
}
