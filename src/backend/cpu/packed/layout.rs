//! Which packed format each GGUF type gets. A new type is one line here.

use std::marker::PhantomData;

use super::codes::{
    Bytes, Codes, E2m1Levels, FiveBits, FourBits, Iq1Levels, Iq2Levels, Iq3SLevels, Iq3XxsLevels,
    Iq4Levels, SixBits, ThreeBits, TwoBits,
};
use super::scales::{Affine, Block, Scales, Symmetric};
use crate::backend::cpu::simd::{self, ByteDot, Dot, DotI8, DotI8Signed, DotI8Wrapped, DotU7};
use crate::quant::DType;

/// A packed format: how scales and codes are stored and multiplied.
pub trait Format {
    /// Storage of scales and minima.
    type Scales: Scales;
    /// Storage of codes.
    type Codes: Codes;
    /// Multiplication.
    type Dot: Dot;
    /// The code of weight zero in symmetric formats: `q = code - ZERO`.
    const ZERO: u8;
    /// Bits of a code that count.
    const MASK: u8;
}

/// A block of format `F`.
pub type BlockOf<F> = Block<<F as Format>::Scales, <F as Format>::Codes>;

/// The one implementation of [`Format`].
pub struct Packed<S, C, D, const ZERO: u8, const MASK: u8>(PhantomData<(S, C, D)>);

impl<S: Scales, C: Codes, D: Dot, const ZERO: u8, const MASK: u8> Format
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
    /// Does it.
    fn visit<F: Format>(self) -> Self::Output;
}

/// The formats in use, by their codes and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 2 bits, -2..2.
    Two,
    /// 2 bits with a minimum, for 16.
    TwoMin16,
    /// 3 bits, -4..4, a scale for 16.
    Three16,
    /// 4 bits, -8..8.
    Four,
    /// 4 bits with a minimum.
    FourMin,
    /// 5 bits, -16..16.
    Five,
    /// 5 bits with a minimum.
    FiveMin,
    /// 6 bits, -32..32, a scale for 16.
    Six16,
    /// Signed bytes.
    Bytes,
    /// 4 bits, signed bytes from a table.
    Iq4,
    /// 4 bits, -12..=12 from a table.
    E2m1,
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
            DType::TQ1_0 | DType::TQ2_0 => Self::Two,
            DType::Q2_K => Self::TwoMin16,
            DType::Q3_K => Self::Three16,
            DType::Q4_0 => Self::Four,
            DType::Q4_1 | DType::Q4_K => Self::FourMin,
            DType::Q5_0 => Self::Five,
            DType::Q5_1 | DType::Q5_K => Self::FiveMin,
            DType::Q6_K => Self::Six16,
            DType::Q8_0 => Self::Bytes,
            DType::IQ4_NL | DType::IQ4_XS => Self::Iq4,
            DType::MXFP4 => Self::E2m1,
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
            Self::Two => visitor.visit::<Packed<Symmetric<1>, TwoBits, DotU7, 2, 3>>(),
            Self::TwoMin16 => visitor.visit::<Packed<Affine<2>, TwoBits, DotU7, 0, 3>>(),
            Self::Three16 => visitor.visit::<Packed<Symmetric<2>, ThreeBits, DotU7, 4, 7>>(),
            Self::Four => visitor.visit::<Packed<Symmetric<1>, FourBits, DotU7, 8, 15>>(),
            Self::FourMin => visitor.visit::<Packed<Affine<1>, FourBits, DotU7, 0, 15>>(),
            Self::Five => visitor.visit::<Packed<Symmetric<1>, FiveBits, DotU7, 16, 31>>(),
            Self::FiveMin => visitor.visit::<Packed<Affine<1>, FiveBits, DotU7, 0, 31>>(),
            Self::Six16 => visitor.visit::<Packed<Symmetric<2>, SixBits, DotU7, 32, 63>>(),
            Self::Bytes => visit_bytes::<V, Bytes>(visitor),
            Self::Iq4 => visit_bytes::<V, Iq4Levels>(visitor),
            Self::E2m1 => visitor.visit::<Packed<Symmetric<1>, E2m1Levels, DotU7, 12, 31>>(),
            Self::Iq1 => visitor.visit::<Packed<Symmetric<1>, Iq1Levels, DotU7, 9, 31>>(),
            Self::Iq1For16 => visitor.visit::<Packed<Symmetric<2>, Iq1Levels, DotU7, 9, 31>>(),
            Self::Iq2 => visitor.visit::<Packed<Symmetric<1>, Iq2Levels, DotU7, 43, 127>>(),
            Self::Iq2For16 => visitor.visit::<Packed<Symmetric<2>, Iq2Levels, DotU7, 43, 127>>(),
            Self::Iq3Xxs => visitor.visit::<Packed<Symmetric<1>, Iq3XxsLevels, DotU7, 62, 127>>(),
            Self::Iq3S => visitor.visit::<Packed<Symmetric<1>, Iq3SLevels, DotU7, 15, 31>>(),
        }
    }
}

/// Calls `visitor` with the multiplication of signed bytes that is exact here.
fn visit_bytes<V: Visitor, C: Codes>(visitor: V) -> V::Output {
    match simd::byte_dot() {
        ByteDot::Magnitude => visitor.visit::<Packed<Symmetric<1>, C, DotI8, 0, 255>>(),
        ByteDot::Wrapped => visitor.visit::<Packed<Symmetric<1>, C, DotI8Wrapped, 0, 255>>(),
        ByteDot::Signed => visitor.visit::<Packed<Symmetric<1>, C, DotI8Signed, 0, 255>>(),
    }
}
