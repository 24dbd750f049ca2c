//! Codes of 8 rows × 32 columns in bit planes.
//!
//! Columns are counted in quads of four; rows in halves of four. `quad(half, q)` gives columns `4 * q..4 * q + 4` of rows
//! `4 * half..4 * half + 4`. A lane of the low plane holds two quads: `q` in the low nibbles and `q + 4` in the high ones.
//!
//! ```text
//! plane   lanes                 bits of a byte
//! low     2 * (q % 4) + half    7654 quad q + 4 │ 3210 quad q
//! fifth   half                  bit q: quad q
//! two     2 * (q / 4) + half    bits 2 * (q % 4): quad q
//! bytes   2 * q + half          all: quad q
//! ```

use bytemuck::AnyBitPattern;

use super::{BLOCK, GROUP};
use crate::backend::cpu::simd::{Lane, U8x16};

/// Codes of one block: `[row][column]`.
pub type CodeTable = [[u8; BLOCK]; GROUP];

/// A way of storing the codes of a block.
pub trait Codes: AnyBitPattern {
    /// Steps after which 16-bit sums of `code * 127` must be widened.
    const STEPS: usize;

    /// Stores a block of codes. `out` is as many lanes as `Self` is.
    fn pack(codes: &CodeTable, out: &mut [Lane]);

    /// Four columns of four rows.
    fn quad(&self, half: usize, quad: usize) -> U8x16;
}

/// Up to four bits.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Nibbles([Lane; 8]);

/// Five bits: the low plane and a plane of single bits.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct FiveBits {
    low: Nibbles,
    fifth: [Lane; 2],
}

/// Six bits: the low plane and a plane of pairs.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct SixBits {
    low: Nibbles,
    two: [Lane; 4],
}

/// Signed bytes, above -128.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Bytes([Lane; 16]);

impl Codes for Nibbles {
    const STEPS: usize = 8;

    fn pack(codes: &CodeTable, out: &mut [Lane]) {
        for (i, lane) in out.iter_mut().take(8).enumerate() {
            let (q, half) = (i / 2, i % 2);
            let low = quad_of(codes, half, q);
            let high = quad_of(codes, half, q + 4);
            lane.0 = std::array::from_fn(|k| low[k] & 15 | (high[k] & 15) << 4);
        }
    }

    #[inline(always)]
    fn quad(&self, half: usize, quad: usize) -> U8x16 {
        let lane = U8x16::load(&self.0[2 * (quad % 4) + half]);
        if quad < 4 {
            lane & U8x16::splat(15)
        } else {
            lane.shr::<4>()
        }
    }
}

impl Codes for FiveBits {
    const STEPS: usize = 8;

    fn pack(codes: &CodeTable, out: &mut [Lane]) {
        let (low, fifth) = out.split_at_mut(8);
        Nibbles::pack(codes, low);
        for (half, lane) in fifth.iter_mut().enumerate() {
            for q in 0..8 {
                let quad = quad_of(codes, half, q);
                lane.0
                    .iter_mut()
                    .zip(quad)
                    .for_each(|(byte, code)| *byte |= (code >> 4 & 1) << q);
            }
        }
    }

    #[inline(always)]
    fn quad(&self, half: usize, quad: usize) -> U8x16 {
        let bits = U8x16::load(&self.fifth[half]);
        let bit = match quad {
            0 => bits.shl::<4>(),
            1 => bits.shl::<3>(),
            2 => bits.shl::<2>(),
            3 => bits.shl::<1>(),
            4 => bits,
            5 => bits.shr::<1>(),
            6 => bits.shr::<2>(),
            _ => bits.shr::<3>(),
        };
        self.low.quad(half, quad) | (bit & U8x16::splat(16))
    }
}

impl Codes for SixBits {
    const STEPS: usize = 4;

    fn pack(codes: &CodeTable, out: &mut [Lane]) {
        let (low, two) = out.split_at_mut(8);
        Nibbles::pack(codes, low);
        for (i, lane) in two.iter_mut().enumerate() {
            for k in 0..4 {
                let quad = quad_of(codes, i % 2, 4 * (i / 2) + k);
                lane.0
                    .iter_mut()
                    .zip(quad)
                    .for_each(|(byte, code)| *byte |= (code >> 4 & 3) << (2 * k));
            }
        }
    }

    #[inline(always)]
    fn quad(&self, half: usize, quad: usize) -> U8x16 {
        let pairs = U8x16::load(&self.two[2 * (quad / 4) + half]);
        let pair = match quad % 4 {
            0 => pairs.shl::<4>(),
            1 => pairs.shl::<2>(),
            2 => pairs,
            _ => pairs.shr::<2>(),
        };
        self.low.quad(half, quad) | (pair & U8x16::splat(0x30))
    }
}

impl Codes for Bytes {
    const STEPS: usize = 2;

    fn pack(codes: &CodeTable, out: &mut [Lane]) {
        for (i, lane) in out.iter_mut().take(16).enumerate() {
            lane.0 = quad_of(codes, i % 2, i / 2);
        }
    }

    #[inline(always)]
    fn quad(&self, half: usize, quad: usize) -> U8x16 {
        U8x16::load(&self.0[2 * quad + half])
    }
}

/// Columns `4 * quad..4 * quad + 4` of rows `4 * half..4 * half + 4`, as they stand in a lane.
#[inline(always)]
fn quad_of(codes: &CodeTable, half: usize, quad: usize) -> [u8; 16] {
    std::array::from_fn(|k| codes[4 * half + k / 4][4 * quad + k % 4])
}
