//! Which packed format each GGUF type gets. A new type is one line here.

use std::marker::PhantomData;

use super::acts::Stored;
use super::codes::{
    Bytes, Codes, E2m1Levels, FiveBits, FourBits, Iq1Levels, Iq2Levels, Iq3SLevels, Iq3XxsLevels,
    Iq4Levels, Iq4Raised, SixBits, ThreeBits, TwoBits,
};
use super::scales::{Affine, Block, Nested, NestedAffine, Scales, Symmetric};
use crate::backend::cpu::simd::{
    self, ByteDot, Dot, DotI8, DotI8Signed, DotI8Words, DotU7, DotU7Words, DotU8, Lane,
};
use crate::quant::DType;

/// A packed format: how scales and codes are stored and multiplied.
pub trait Format {
    /// Storage of scales and minima.
    type Scales: Scales;
    /// Storage of codes.
    type Codes: Codes;
    /// Multiplication.
    type Dot: Dot<Quad: Stored>;
    /// The code of weight zero in symmetric formats: `q = code - ZERO`.
    const ZERO: u8;
    /// Bits of a code that count.
    const MASK: u8;
}

/// A block of format `F`.
pub type BlockOf<F> = Block<<F as Format>::Scales, <F as Format>::Codes>;

/// Lanes of a group of rows with so many blocks.
pub fn lanes_of<F: Format>(blocks: usize) -> usize {
    blocks / <F::Scales as Scales>::BLOCKS * (size_of::<BlockOf<F>>() / size_of::<Lane>())
}

/// The form of activations for format `F`.
pub type QuadOf<F> = <<F as Format>::Dot as Dot>::Quad;

/// The one implementation of [`Format`].
pub struct Packed<S, C, D, const ZERO: u8, const MASK: u8>(PhantomData<(S, C, D)>);

impl<S: Scales, C: Codes, D: Dot<Quad: Stored>, const ZERO: u8, const MASK: u8> Format
    for Packed<S, C, D, ZERO, MASK>
{
    type Scales = S;
    type Codes = C;
    type Dot = D;
    const ZERO: u8 = ZERO;
    const MASK: u8 = MASK;
}

/// Something to be done with a format that is known only at run time.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Whether it multiplies: else one kind of products stands for all, and its code is there once.
    const MULTIPLIES: bool = false;
    /// Does it.
    fn visit<F: Format>(self) -> Self::Output;
}

/// The formats in use, by their codes and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 2 bits, -1..=2.
    Two,
    /// Q2_K: 2 bits with a minimum, for 16.
    Two16K,
    /// Q3_K: 3 bits, -4..4, a scale for 16.
    Three16K,
    /// 4 bits, -8..8.
    Four,
    /// 4 bits with a minimum.
    FourMin,
    /// Q4_K: the same, nested.
    FourK,
    /// 5 bits, -16..16.
    Five,
    /// 5 bits with a minimum.
    FiveMin,
    /// Q5_K: the same, nested.
    FiveK,
    /// Q6_K: 6 bits, -32..32, a scale for 16.
    Six16K,
    /// Signed bytes.
    Bytes,
    /// 4 bits, signed bytes from a table.
    Iq4,
    /// 4 bits, -12..=12 from a table.
    E2m1,
    /// The same, a scale for 16.
    E2m1For16,
    /// 3 bits, -9..=9 from a table.
    Iq1,
    /// The same, a scale for 16.
    Iq1For16,
    /// 3 bits, -43..=43 from a table.
    Iq2,
    /// The same, a scale for 16.
    Iq2For16,
    /// 4 bits, -62..=62 from a table.
    Iq3Xxs,
    /// 4 bits, -15..=15 from a table.
    Iq3S,
}

impl Layout {
    /// The format of a type; none for floats, which have no integers.
    pub fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F32 | DType::F16 | DType::BF16 => return None,
            DType::Q1_0 | DType::Q2_0 | DType::TQ1_0 | DType::TQ2_0 => Self::Two,
            DType::Q2_K => Self::Two16K,
            DType::Q3_K => Self::Three16K,
            DType::Q4_0 => Self::Four,
            DType::Q4_1 => Self::FourMin,
            DType::Q4_K => Self::FourK,
            DType::Q5_0 => Self::Five,
            DType::Q5_1 => Self::FiveMin,
            DType::Q5_K => Self::FiveK,
            DType::Q6_K => Self::Six16K,
            DType::Q8_0 => Self::Bytes,
            DType::IQ4_NL | DType::IQ4_XS => Self::Iq4,
            DType::MXFP4 => Self::E2m1,
            DType::NVFP4 => Self::E2m1For16,
            DType::IQ1_S => Self::Iq1,
            DType::IQ1_M => Self::Iq1For16,
            DType::IQ2_XXS => Self::Iq2,
            DType::IQ2_XS | DType::IQ2_S => Self::Iq2For16,
            DType::IQ3_XXS => Self::Iq3Xxs,
            DType::IQ3_S => Self::Iq3S,
        })
    }

    /// Calls `visitor` with the format's types.
    #[rustfmt::skip]
    pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
        match self {
            Self::Two => visit_codes::<V, Symmetric<1>, TwoBits, 1, 3>(visitor),
            Self::Two16K => visit_codes::<V, NestedAffine<2>, TwoBits, 0, 3>(visitor),
            Self::Three16K => visit_codes::<V, Nested<2>, ThreeBits, 4, 7>(visitor),
            Self::Four => visit_nibbles::<V, Symmetric<1>, 8>(visitor),
            Self::FourMin => visit_nibbles::<V, Affine, 0>(visitor),
            Self::FourK => visit_nibbles::<V, NestedAffine<1>, 0>(visitor),
            Self::Five => visit_codes::<V, Symmetric<1>, FiveBits, 16, 31>(visitor),
            Self::FiveMin => visit_codes::<V, Affine, FiveBits, 0, 31>(visitor),
            Self::FiveK => visit_codes::<V, NestedAffine<1>, FiveBits, 0, 31>(visitor),
            Self::Six16K => visit_codes::<V, Nested<2>, SixBits, 32, 63>(visitor),
            Self::Bytes => visit_bytes::<V, Bytes, Bytes>(visitor),
            Self::Iq4 => visit_bytes::<V, Iq4Levels, Iq4Raised>(visitor),
            Self::E2m1 => visit_codes::<V, Symmetric<1>, E2m1Levels, 12, 31>(visitor),
            Self::E2m1For16 => visit_codes::<V, Symmetric<2>, E2m1Levels, 12, 31>(visitor),
            Self::Iq1 => visit_codes::<V, Symmetric<1>, Iq1Levels, 9, 31>(visitor),
            Self::Iq1For16 => visit_codes::<V, Symmetric<2>, Iq1Levels, 9, 31>(visitor),
            Self::Iq2 => visit_codes::<V, Symmetric<1>, Iq2Levels, 43, 127>(visitor),
            Self::Iq2For16 => visit_codes::<V, Symmetric<2>, Iq2Levels, 43, 127>(visitor),
            Self::Iq3Xxs => visit_codes::<V, Symmetric<1>, Iq3XxsLevels, 62, 127>(visitor),
            Self::Iq3S => visit_codes::<V, Symmetric<1>, Iq3SLevels, 15, 31>(visitor),
        }
    }
}

/// Calls `visitor` with the multiplication of bytes below 128 that is fast here.
fn visit_codes<V: Visitor, S: Scales, C: Codes, const ZERO: u8, const MASK: u8>(
    visitor: V,
) -> V::Output {
    match simd::byte_dot() {
        ByteDot::Words if V::MULTIPLIES => visitor.visit::<Packed<S, C, DotU7Words, ZERO, MASK>>(),
        _ => visitor.visit::<Packed<S, C, DotU7, ZERO, MASK>>(),
    }
}

/// The same for codes of four bits, which whole bytes serve better.
fn visit_nibbles<V: Visitor, S: Scales, const ZERO: u8>(visitor: V) -> V::Output {
    match simd::byte_dot() {
        ByteDot::Wrapped if V::MULTIPLIES => {
            visitor.visit::<Packed<S, FourBits, DotU8, ZERO, 15>>()
        }
        _ => visit_codes::<V, S, FourBits, ZERO, 15>(visitor),
    }
}

/// Calls `visitor` with the multiplication of signed bytes that is fast and exact here; `R` has them 128 higher.
fn visit_bytes<V: Visitor, C: Codes, R: Codes>(visitor: V) -> V::Output {
    match simd::byte_dot() {
        ByteDot::Wrapped => visitor.visit::<Packed<Symmetric<1>, R, DotU8, 128, 255>>(),
        ByteDot::Signed if V::MULTIPLIES => {
            visitor.visit::<Packed<Symmetric<1>, C, DotI8Signed, 0, 255>>()
        }
        ByteDot::Words if V::MULTIPLIES => {
            visitor.visit::<Packed<Symmetric<1>, C, DotI8Words, 0, 255>>()
        }
        _ => visitor.visit::<Packed<Symmetric<1>, C, DotI8, 0, 255>>(),
    }
}
