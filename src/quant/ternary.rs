//! The formats of models trained with two, three or four values: TQ1_0 and TQ2_0 (-1, 0 and 1, one f16 scale for 256),
//! Q1_0 (-1 and 1, for 128), Q2_0 (-1 to 2, for 64).

use bytemuck::{Pod, Zeroable};

use super::block::rounding::{extreme, nearest};
use super::block::{Block, Half};

const LEN: usize = 256;

/// One bit to an element, the lowest first: 1, or -1 where it is clear.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ1_0 {
    d: Half,
    qs: [u8; 16],
}

impl Block for BlockQ1_0 {
    const LEN: usize = 128;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales.fill(self.d.to_f32());
        for (q, byte) in q.chunks_exact_mut(8).zip(self.qs) {
            for (bit, q) in q.iter_mut().enumerate() {
                *q = (byte >> bit & 1) as i8 * 2 - 1;
            }
        }
    }

    /// The mean is the scale that is wrong by least.
    fn quantize(x: &[f32]) -> Self {
        let mean = x.iter().map(|x| x.abs()).sum::<f32>() / x.len() as f32;
        let mut block = Self {
            d: Half::from_f32(mean),
            ..Zeroable::zeroed()
        };
        for (byte, x) in block.qs.iter_mut().zip(x.chunks_exact(8)) {
            *byte = (0..8).fold(0, |byte, bit| byte | u8::from(x[bit] >= 0.0) << bit);
        }
        block
    }
}

/// Two bits to an element, the lowest first.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ2_0 {
    d: Half,
    qs: [u8; 16],
}

impl Block for BlockQ2_0 {
    const LEN: usize = 64;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales.fill(self.d.to_f32());
        for (q, byte) in q.chunks_exact_mut(4).zip(self.qs) {
            for (i, q) in q.iter_mut().enumerate() {
                *q = (byte >> (2 * i) & 3) as i8 - 1;
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let d = Half::from_f32(extreme(x).abs());
        let mut block = Self {
            d,
            ..Zeroable::zeroed()
        };
        for (byte, x) in block.qs.iter_mut().zip(x.chunks_exact(4)) {
            let code = |i: usize| (nearest(x[i], d.to_f32(), -1, 2) + 1) as u8;
            *byte = (0..4).fold(0, |byte, i| byte | code(i) << (2 * i));
        }
        block
    }
}

/// Five base-3 digits to a byte, four in `qh`. A byte is the fraction `digits / 3^5` rounded up to 8 bits, so that a
/// digit is the carry of a multiplication by 3.
///
/// The 48 bytes of `qs` are one group of 32 and one of 16; digit `n` of byte `m` of a group is its element
/// `n * group + m`. Then the same with the 4 bytes of `qh` and four digits.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockTQ1 {
    qs: [u8; 48],
    qh: [u8; 4],
    d: Half,
}

/// Powers of three that bring digit `n` to the front of a byte (wrapping at 256).
const POW3: [u8; 5] = [1, 3, 9, 27, 81];

impl Block for BlockTQ1 {
    const LEN: usize = LEN;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales.fill(self.d.to_f32());
        let (wide, rest) = q.split_at_mut(160);
        let (narrow, last) = rest.split_at_mut(80);
        for (bytes, q) in [
            (&self.qs[..32], wide),
            (&self.qs[32..], narrow),
            (&self.qh[..], last),
        ] {
            for (q, power) in q.chunks_exact_mut(bytes.len()).zip(POW3) {
                for (q, byte) in q.iter_mut().zip(bytes) {
                    let fraction = byte.wrapping_mul(power);
                    *q = ((u16::from(fraction) * 3) >> 8) as i8 - 1;
                }
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let d = Half::from_f32(extreme(x).abs());
        let digit = |x: f32| (nearest(x, d.to_f32(), -1, 1) + 1) as u16;
        // A missing fifth digit counts as zero; the division by 3^5 rounds up.
        let byte = |x: &[f32], group: usize, m: usize| {
            let digits = (0..5).map(|n| x.get(n * group + m).map_or(0, |x| digit(*x)));
            let number = digits.fold(0, |number, digit| number * 3 + digit);
            (number * 256).div_ceil(243) as u8
        };
        let mut block = Self {
            d,
            ..Zeroable::zeroed()
        };
        for m in 0..32 {
            block.qs[m] = byte(&x[..160], 32, m);
        }
        for m in 0..16 {
            block.qs[32 + m] = byte(&x[160..240], 16, m);
        }
        for m in 0..4 {
            block.qh[m] = byte(&x[240..], 4, m);
        }
        block
    }
}

/// Two bits to an element: bits `2 * n` of byte `m` of a group of 32 are its element `32 * n + m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockTQ2 {
    qs: [[u8; 32]; 2],
    d: Half,
}

impl Block for BlockTQ2 {
    const LEN: usize = LEN;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales.fill(self.d.to_f32());
        for (i, q) in q.chunks_exact_mut(32).enumerate() {
            let shift = 2 * (i % 4);
            for (q, byte) in q.iter_mut().zip(&self.qs[i / 4]) {
                *q = (byte >> shift & 3) as i8 - 1;
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let d = Half::from_f32(extreme(x).abs());
        let mut block = Self {
            d,
            ..Zeroable::zeroed()
        };
        for (i, x) in x.iter().enumerate() {
            let code = (nearest(*x, d.to_f32(), -1, 1) + 1) as u8;
            block.qs[i / 128][i % 32] |= code << (2 * (i / 32 % 4));
        }
        block
    }
}
