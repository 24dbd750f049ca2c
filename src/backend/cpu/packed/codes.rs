//! Codes of 8 rows × 32 columns in bit planes.
//!
//! Columns are counted in quads of four, rows in halves of four. `quad(half, q)` gives columns `4 * q..4 * q + 4` of rows
//! `4 * half..4 * half + 4`: sixteen bytes. Those of eight quads stand in as few lanes as their bits fill: quads with a
//! lane of their own in the low bits, the others cut up among the high bits of several. Both halves follow each other.
//!
//! ```text
//! bits of a byte, quads by number       7 6 5 4 3 2 1 0
//!
//! 2 bits, 2 lanes, v < 2                └v+6┘└v+4┘└v+2┘└─v─┘   (v counts 0 and 1 as quads 0, 4)
//! 3 bits, 3 lanes, v < 3                 pieces │2v+1 │ 2v
//! 4 bits, 4 lanes, v < 4                    v + 4     │ v
//! 5 bits, 5 lanes, v < 5                 pieces │     v
//! 6 bits, 6 lanes, v < 3                 pieces │     v        (and as much again for quads 4 to 7)
//! 8 bits, 8 lanes, v < 8                              v
//! ```
//!
//! Formats with at most 16 different levels store their numbers in 3 or 4 bits, and look them up as they are read.

use std::hint::black_box;

use bytemuck::{Pod, Zeroable};

use super::expanded::QUADS;
use super::sums::{Acts, Sums};
use super::{BLOCK, GROUP};
use crate::backend::cpu::simd::{Dot, I32x4, Lane, U8x16};
use crate::quant;

/// Codes of one block: `[row][column]`.
pub type CodeTable = [[u8; BLOCK]; GROUP];

/// A way of storing the codes of a block.
pub trait Codes: Pod {
    /// Steps after which 16-bit sums of `code * 127` must be widened.
    const STEPS: usize;

    /// Whether the first and the last four quads stand alike, so that a loop may take both.
    const ALIKE: bool = false;

    /// Where the bits of codes go; each place of a lane at most once.
    const PIECES: &'static [Piece];

    /// Masks of which [`Codes::quad`] makes use, by number.
    const MASKS: [u8; 5];

    /// Table of levels.
    const TABLE: Lane = Lane::ZERO;

    /// What `quad` wants: made once, before a loop.
    #[inline(always)]
    fn constants() -> Constants {
        black_box(Constants {
            masks: Self::MASKS.map(U8x16::splat),
            table: U8x16::load(&Self::TABLE),
            lanes: 4,
        })
    }

    /// Four columns of four rows.
    fn quad(&self, constants: &Constants, half: usize, quad: usize) -> U8x16;

    /// `base` and the products of all columns with a token's.
    #[inline(always)]
    fn products<D: Dot>(&self, acts: &Acts<D>, constants: &Constants, base: I32x4) -> [I32x4; 2] {
        let mut sums = Sums::<D>::start(base);
        // Written out, so that every shift and address is a constant.
        sums.add_quads(self, acts, constants, 0);
        sums.add_quads(self, acts, constants, 1);
        sums.add_quads(self, acts, constants, 2);
        sums.add_quads(self, acts, constants, 3);
        sums.finish()
    }

    /// Stores a block of codes. `out` is as many lanes as `Self` is.
    fn pack(codes: &CodeTable, out: &mut [Lane]) {
        out.fill(Lane::ZERO);
        for piece in Self::PIECES {
            // Four bytes at once: what a shift brings in from the neighbour falls to the mask.
            let mask = u32::from_ne_bytes([piece.mask; 4]);
            for half in 0..2 {
                let words: &mut [u32; 4] = bytemuck::cast_mut(&mut out[2 * piece.lane + half]);
                for (word, row) in words.iter_mut().zip(&codes[4 * half..]) {
                    let quad = u32::from_ne_bytes(row.as_chunks().0[piece.quad]);
                    *word |= (quad >> piece.from & mask) << piece.to;
                }
            }
        }
    }
}

/// Masks and a table, hidden from the compiler: V8 makes a constant that it knows anew wherever it is used, and that takes
/// three instructions.
#[derive(Clone, Copy)]
pub struct Constants {
    masks: [U8x16; 5],
    table: U8x16,
    /// Four: how often the loops over codes turn. Hidden too, since the compiler orders what it sees of a block by sum, and
    /// then has too few registers; V8 writes the loop out again, in its order.
    lanes: usize,
}

impl Constants {
    /// Parts of a block with two scales: two, hidden where they are alike.
    #[inline(always)]
    pub fn parts<C: Codes>(&self) -> usize {
        if C::ALIKE { self.lanes / 2 } else { 2 }
    }

    /// Bits that mask `I` leaves after moving right by `N`.
    #[inline(always)]
    fn bits<const N: u32, const I: usize>(&self, x: U8x16) -> U8x16 {
        x.bits::<N>(self.masks[I])
    }

    /// Bits that mask `I` leaves, moved right by `N`.
    #[inline(always)]
    fn moved<const N: u32, const I: usize>(&self, x: U8x16) -> U8x16 {
        (x & self.masks[I]).shr_words::<N>()
    }

    /// Bits that mask `I` leaves.
    #[inline(always)]
    fn low<const I: usize>(&self, x: U8x16) -> U8x16 {
        x & self.masks[I]
    }
}

/// Some bits of a quad's codes: `mask` after moving right by `from`, at bit `to` of a lane.
pub struct Piece {
    quad: usize,
    lane: usize,
    from: u32,
    mask: u8,
    to: u32,
}

/// A list of pieces: `quad: lane, from, mask, to`.
macro_rules! pieces {
    ($($quad:literal: $lane:literal, $from:literal, $mask:literal, $to:literal;)*) => {
        &[$(Piece { quad: $quad, lane: $lane, from: $from, mask: $mask, to: $to }),*]
    };
}

/// Up to two bits.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct TwoBits([[Lane; 2]; 2]);

/// Up to three bits.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct ThreeBits([[Lane; 2]; 3]);

/// Up to four bits.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct FourBits([[Lane; 2]; 4]);

/// Five bits.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct FiveBits([[Lane; 2]; 5]);

/// Six bits.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct SixBits([[Lane; 2]; 6]);

/// Signed bytes above -128, or any bytes below 128.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Bytes([[Lane; 2]; 8]);

/// Codes that number the levels of IQ4_NL, which are signed bytes.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Iq4Levels(FourBits);

/// The same, of which 128 is to be taken off.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Iq4Raised(FourBits);

/// Codes that number the levels of MXFP4, which are -12..=12, plus 12.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct E2m1Levels(FourBits);

/// Codes that number the values of IQ1, which are -9..=9, plus 9.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Iq1Levels(ThreeBits);

/// Codes that number the values of IQ2, which are -43..=43, plus 43.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Iq2Levels(ThreeBits);

/// Codes that number the values of IQ3_XXS, which are -62..=62, plus 62.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Iq3XxsLevels(FourBits);

/// Codes that number the values of IQ3_S, which are -15..=15, plus 15.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Iq3SLevels(FourBits);

impl Codes for TwoBits {
    const MASKS: [u8; 5] = [3, 0, 0, 0, 0];
    const STEPS: usize = 8;
    #[rustfmt::skip]
    const PIECES: &'static [Piece] = pieces! {
        0: 0, 0, 3, 0;  1: 0, 0, 3, 2;  2: 0, 0, 3, 4;  3: 0, 0, 3, 6;
        4: 1, 0, 3, 0;  5: 1, 0, 3, 2;  6: 1, 0, 3, 4;  7: 1, 0, 3, 6;
    };

    #[inline(always)]
    fn quad(&self, c: &Constants, half: usize, quad: usize) -> U8x16 {
        let lane = U8x16::load(&self.0[quad / 4][half]);
        match quad % 4 {
            0 => c.low::<0>(lane),
            1 => c.bits::<2, 0>(lane),
            2 => c.bits::<4, 0>(lane),
            _ => c.bits::<6, 0>(lane),
        }
    }
}

impl Codes for ThreeBits {
    const MASKS: [u8; 5] = [7, 4, 3, 0, 0];
    const STEPS: usize = 8;
    #[rustfmt::skip]
    const PIECES: &'static [Piece] = pieces! {
        0: 0, 0, 7, 0;  1: 0, 0, 7, 3;  6: 0, 0, 3, 6;
        2: 1, 0, 7, 0;  3: 1, 0, 7, 3;  6: 1, 2, 1, 6;  7: 1, 2, 1, 7;
        4: 2, 0, 7, 0;  5: 2, 0, 7, 3;  7: 2, 0, 3, 6;
    };

    #[inline(always)]
    fn quad(&self, c: &Constants, half: usize, quad: usize) -> U8x16 {
        let lane = |i: usize| U8x16::load(&self.0[i][half]);
        match quad {
            6 => c.bits::<6, 2>(lane(0)) | c.bits::<4, 1>(lane(1)),
            7 => c.bits::<6, 2>(lane(2)) | c.bits::<5, 1>(lane(1)),
            quad if quad % 2 == 0 => c.low::<0>(lane(quad / 2)),
            quad => c.bits::<3, 0>(lane(quad / 2)),
        }
    }
}

impl Codes for FourBits {
    const MASKS: [u8; 5] = [15, 0xF0, 0, 0, 0];
    const STEPS: usize = 8;
    #[rustfmt::skip]
    const PIECES: &'static [Piece] = pieces! {
        0: 0, 0, 15, 0;  1: 1, 0, 15, 0;  2: 2, 0, 15, 0;  3: 3, 0, 15, 0;
        4: 0, 0, 15, 4;  5: 1, 0, 15, 4;  6: 2, 0, 15, 4;  7: 3, 0, 15, 4;
    };

    #[inline(always)]
    fn quad(&self, c: &Constants, half: usize, quad: usize) -> U8x16 {
        let lane = U8x16::load(&self.0[quad % 4][half]);
        if quad < 4 {
            c.low::<0>(lane)
        } else {
            c.bits::<4, 0>(lane)
        }
    }

    #[inline(always)]
    fn products<D: Dot>(&self, acts: &Acts<D>, c: &Constants, base: I32x4) -> [I32x4; 2] {
        let mut sums = Sums::<D>::start(base);
        let (low, high) = acts.split_at(QUADS / 2);
        for ((lanes, low), high) in self.0[..c.lanes].iter().zip(low).zip(high) {
            let lanes = lanes.each_ref().map(U8x16::load);
            let raised = if D::WHOLE_BYTES {
                lanes.map(|lane| c.low::<1>(lane))
            } else {
                lanes.map(|lane| c.bits::<4, 0>(lane))
            };
            sums.add([lanes.map(|lane| c.low::<0>(lane)), raised], [low, high]);
        }
        if D::WHOLE_BYTES {
            sums.finish_raised()
        } else {
            sums.finish()
        }
    }
}

impl Codes for FiveBits {
    const MASKS: [u8; 5] = [31, 7, 0x18, 0x08, 0x10];
    const STEPS: usize = 8;
    #[rustfmt::skip]
    const PIECES: &'static [Piece] = pieces! {
        0: 0, 0, 31, 0;  1: 1, 0, 31, 0;  2: 2, 0, 31, 0;  3: 3, 0, 31, 0;  4: 4, 0, 31, 0;
        5: 0, 0, 7, 5;   5: 1, 3, 3, 5;
        6: 2, 0, 7, 5;   6: 3, 3, 3, 5;
        7: 4, 0, 7, 5;   7: 1, 3, 1, 7;   7: 3, 4, 1, 7;
    };

    #[inline(always)]
    fn quad(&self, c: &Constants, half: usize, quad: usize) -> U8x16 {
        let lane = |i: usize| U8x16::load(&self.0[i][half]);
        match quad {
            5 => c.bits::<5, 1>(lane(0)) | c.bits::<2, 2>(lane(1)),
            6 => c.bits::<5, 1>(lane(2)) | c.bits::<2, 2>(lane(3)),
            7 => c.bits::<5, 1>(lane(4)) | c.bits::<4, 3>(lane(1)) | c.bits::<3, 4>(lane(3)),
            quad => c.low::<0>(lane(quad)),
        }
    }
}

impl Codes for SixBits {
    const MASKS: [u8; 5] = [63, 0xC0, 0, 0, 0];
    const STEPS: usize = 4;
    const ALIKE: bool = true;
    #[rustfmt::skip]
    const PIECES: &'static [Piece] = pieces! {
        0: 0, 0, 63, 0;  1: 1, 0, 63, 0;  2: 2, 0, 63, 0;
        3: 0, 0, 3, 6;   3: 1, 2, 3, 6;   3: 2, 4, 3, 6;
        4: 3, 0, 63, 0;  5: 4, 0, 63, 0;  6: 5, 0, 63, 0;
        7: 3, 0, 3, 6;   7: 4, 2, 3, 6;   7: 5, 4, 3, 6;
    };

    #[inline(always)]
    fn quad(&self, c: &Constants, half: usize, quad: usize) -> U8x16 {
        let lanes = &self.0.as_chunks::<3>().0[quad / 4];
        let lane = |i: usize| U8x16::load(&lanes[i][half]);
        match quad % 4 {
            // One mask instead of three: what a compiler keeps in registers.
            3 => c.moved::<6, 1>(lane(0)) | c.moved::<4, 1>(lane(1)) | c.moved::<2, 1>(lane(2)),
            i => c.low::<0>(lane(i)),
        }
    }
}

impl Codes for Bytes {
    const MASKS: [u8; 5] = [0; 5];
    const STEPS: usize = 2;
    #[rustfmt::skip]
    const PIECES: &'static [Piece] = pieces! {
        0: 0, 0, 255, 0;  1: 1, 0, 255, 0;  2: 2, 0, 255, 0;  3: 3, 0, 255, 0;
        4: 4, 0, 255, 0;  5: 5, 0, 255, 0;  6: 6, 0, 255, 0;  7: 7, 0, 255, 0;
    };

    #[inline(always)]
    fn quad(&self, _: &Constants, half: usize, quad: usize) -> U8x16 {
        U8x16::load(&self.0[quad][half])
    }

    #[inline(always)]
    fn products<D: Dot>(&self, acts: &Acts<D>, c: &Constants, base: I32x4) -> [I32x4; 2] {
        let mut sums = Sums::<D>::start(base);
        let (lanes, acts) = (self.0.as_chunks::<2>().0, acts.as_chunks::<2>().0);
        for (lanes, acts) in lanes[..c.lanes].iter().zip(acts) {
            let codes = lanes
                .each_ref()
                .map(|lanes| lanes.each_ref().map(U8x16::load));
            sums.add(codes, acts.each_ref());
            sums.flush();
        }
        sums.finish()
    }
}

/// [`Codes`] by a table of levels, each increased by `$zero`, whose numbers are stored as `$codes`.
macro_rules! levels {
    ($name:ident, $codes:ty $(, lanes $field:tt)?; $levels:expr, $zero:literal, $steps:literal) => {
        impl Codes for $name {
            const STEPS: usize = $steps;
            const PIECES: &'static [Piece] = <$codes>::PIECES;
            const MASKS: [u8; 5] = <$codes>::MASKS;
            const TABLE: Lane = Lane(raised(&$levels, $zero));

            #[inline(always)]
            fn quad(&self, c: &Constants, half: usize, quad: usize) -> U8x16 {
                self.0.quad(c, half, quad).look_up(c.table)
            }

            $(
                #[inline(always)]
                fn products<D: Dot>(&self, acts: &Acts<D>, c: &Constants, base: I32x4) -> [I32x4; 2] {
                    let mut sums = Sums::<D>::start(base);
                    let (low, high) = acts.split_at(QUADS / 2);
                    for ((lanes, low), high) in self.0.$field[..c.lanes].iter().zip(low).zip(high) {
                        let lanes = lanes.each_ref().map(U8x16::load);
                        let codes = [
                            lanes.map(|lane| c.low::<0>(lane).look_up(c.table)),
                            lanes.map(|lane| c.bits::<4, 0>(lane).look_up(c.table)),
                        ];
                        sums.add(codes, [low, high]);
                        if $steps == 2 {
                            sums.flush();
                        }
                    }
                    sums.finish()
                }
            )?

            fn pack(levels: &CodeTable, out: &mut [Lane]) {
                const NUMBERS: [u8; 256] = numbers(&raised(&$levels, $zero));
                let number = |level| NUMBERS[usize::from(level)];
                <$codes>::pack(&levels.map(|row| row.map(number)), out);
            }
        }
    };
}

levels!(Iq4Levels, FourBits, lanes 0; quant::IQ4, 0, 2);
levels!(Iq4Raised, FourBits, lanes 0; quant::IQ4, 128, 2);
levels!(E2m1Levels, FourBits, lanes 0; quant::E2M1, 12, 8);
levels!(Iq1Levels, ThreeBits; quant::IQ1, 9, 8);
levels!(Iq2Levels, ThreeBits; quant::IQ2, 43, 2);
levels!(Iq3XxsLevels, FourBits, lanes 0; quant::IQ3_XXS, 62, 2);
levels!(Iq3SLevels, FourBits, lanes 0; quant::IQ3_S, 15, 8);

/// Levels plus `zero`, as bytes.
const fn raised(levels: &[i8; 16], zero: u8) -> [u8; 16] {
    let (mut bytes, mut i) = ([0; 16], 0);
    while i < 16 {
        bytes[i] = (levels[i] as u8).wrapping_add(zero);
        i += 1;
    }
    bytes
}

/// Number of each level.
const fn numbers(levels: &[u8; 16]) -> [u8; 256] {
    let (mut numbers, mut i) = ([0; 256], 0);
    while i < 16 {
        numbers[levels[i] as usize] = i as u8;
        i += 1;
    }
    numbers
}
