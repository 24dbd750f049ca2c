//! The K formats: super-blocks of 256 whose sub-blocks have small integer scales under one f16 super-scale.
//!
//! Q4_K and Q5_K have sub-blocks of 32, Q2_K, Q3_K and Q6_K of 16. The elements of a byte lie 32 or 64 apart, so each
//! function walks the sub-blocks in order and computes where their bits stand.

use bytemuck::{Pod, Zeroable};

use super::block::rounding::{extreme, nearest, scale_and_min, super_scale};
use super::block::{Half, SuperBlock};

const LEN: usize = 256;

/// `w = d * scale * q - dmin * min`. `scales` holds scale (low nibble) and min (high nibble) of each sub-block.
/// The 64 bytes of `qs` are two halves of 32; bits `2 * n` of byte `m` of a half are its element `32 * n + m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ2K {
    scales: [u8; 16],
    qs: [u8; 64],
    d: Half,
    dmin: Half,
}

impl SuperBlock for BlockQ2K {
    const SUB: usize = 16;
    const HAS_MIN: bool = true;

    fn nested(&self, q: &mut [i8], scales: &mut [i8], mins: &mut [i8]) -> (f32, f32) {
        for (i, q) in q.chunks_exact_mut(16).enumerate() {
            scales[i] = (self.scales[i] & 15) as i8;
            mins[i] = (self.scales[i] >> 4) as i8;
            let (byte, shift) = two_bit_place(16 * i);
            for (q, byte) in q.iter_mut().zip(&self.qs[byte..]) {
                *q = (byte >> shift & 3) as i8;
            }
        }
        (self.d.to_f32(), self.dmin.to_f32())
    }

    fn quantize(x: &[f32]) -> Self {
        let nested = NestedScales::<16>::new(x, 3, 15);
        let mut block = Self {
            d: nested.d,
            dmin: nested.dmin,
            ..Zeroable::zeroed()
        };
        block.scales = std::array::from_fn(|i| nested.scales[i] | nested.mins[i] << 4);
        for (i, x) in x.iter().enumerate() {
            let (byte, shift) = two_bit_place(i);
            block.qs[byte] |= nested.code(i, *x) << shift;
        }
        block
    }
}

/// `w = d * (scale - 32) * (q - 4)`. The low 2 bits of q stand as in Q2_K; its high bit is bit `i / 32` of byte `i % 32`
/// of `hmask`. The sixteen 6-bit scales: low 4 bits in the nibbles of bytes 0..8 (scale `i` and `i + 8` share a byte),
/// high 2 bits in bytes 8..12 (bits `2 * (i / 4)` of byte `8 + i % 4`).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ3K {
    hmask: [u8; 32],
    qs: [u8; 64],
    scales: [u8; 12],
    d: Half,
}

impl SuperBlock for BlockQ3K {
    const SUB: usize = 16;

    fn nested(&self, q: &mut [i8], scales: &mut [i8], _mins: &mut [i8]) -> (f32, f32) {
        for (i, q) in q.chunks_exact_mut(16).enumerate() {
            let low = self.scales[i % 8] >> (4 * (i / 8)) & 15;
            let high = self.scales[8 + i % 4] >> (2 * (i / 4)) & 3;
            scales[i] = (low | high << 4) as i8 - 32;
            let (byte, shift) = two_bit_place(16 * i);
            let high_bits = &self.hmask[16 * (i % 2)..];
            for ((q, byte), high) in q.iter_mut().zip(&self.qs[byte..]).zip(high_bits) {
                *q = (byte >> shift & 3 | (high >> (i / 2) & 1) << 2) as i8 - 4;
            }
        }
        (self.d.to_f32(), 0.0)
    }

    fn quantize(x: &[f32]) -> Self {
        let scales: [f32; 16] = std::array::from_fn(|i| extreme(&x[16 * i..][..16]) / -4.0);
        let d = Half::from_f32(super_scale(&scales, 31.0));
        let codes = scales.map(|scale| nearest(scale, d.to_f32(), -31, 31));
        let mut block = Self {
            d,
            ..Zeroable::zeroed()
        };
        for (i, code) in codes.iter().enumerate() {
            let bits = (code + 32) as u8;
            block.scales[i % 8] |= (bits & 15) << (4 * (i / 8));
            block.scales[8 + i % 4] |= (bits >> 4) << (2 * (i / 4));
        }
        for (i, x) in x.iter().enumerate() {
            let bits = (nearest(*x, d.to_f32() * codes[i / 16] as f32, -4, 3) + 4) as u8;
            let (byte, shift) = two_bit_place(i);
            block.qs[byte] |= (bits & 3) << shift;
            block.hmask[i % 32] |= (bits >> 2) << (i / 32);
        }
        block
    }
}

/// `w = d * scale * q - dmin * min`. Byte `m` of a group of 32 of `qs` holds elements `m` (low nibble) and `32 + m` (high
/// nibble) of the group's 64.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ4K {
    d: Half,
    dmin: Half,
    scales: PackedScales,
    qs: [[u8; 32]; 4],
}

impl SuperBlock for BlockQ4K {
    const SUB: usize = 32;
    const HAS_MIN: bool = true;

    fn nested(&self, q: &mut [i8], scales: &mut [i8], mins: &mut [i8]) -> (f32, f32) {
        for (i, q) in q.chunks_exact_mut(32).enumerate() {
            let (scale, min) = self.scales.get(i);
            (scales[i], mins[i]) = (scale as i8, min as i8);
            for (q, byte) in q.iter_mut().zip(&self.qs[i / 2]) {
                *q = (byte >> (4 * (i % 2)) & 15) as i8;
            }
        }
        (self.d.to_f32(), self.dmin.to_f32())
    }

    fn quantize(x: &[f32]) -> Self {
        let nested = NestedScales::<8>::new(x, 15, 63);
        let mut block = Self {
            d: nested.d,
            dmin: nested.dmin,
            ..Zeroable::zeroed()
        };
        block.scales = PackedScales::new(&nested);
        for (i, x) in x.iter().enumerate() {
            block.qs[i / 64][i % 32] |= nested.code(i, *x) << (4 * (i / 32 % 2));
        }
        block
    }
}

/// As Q4_K; the fifth bit is bit `i / 32` of byte `i % 32` of `qh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ5K {
    d: Half,
    dmin: Half,
    scales: PackedScales,
    qh: [u8; 32],
    qs: [[u8; 32]; 4],
}

impl SuperBlock for BlockQ5K {
    const SUB: usize = 32;
    const HAS_MIN: bool = true;

    fn nested(&self, q: &mut [i8], scales: &mut [i8], mins: &mut [i8]) -> (f32, f32) {
        for (i, q) in q.chunks_exact_mut(32).enumerate() {
            let (scale, min) = self.scales.get(i);
            (scales[i], mins[i]) = (scale as i8, min as i8);
            for ((q, byte), high) in q.iter_mut().zip(&self.qs[i / 2]).zip(&self.qh) {
                *q = (byte >> (4 * (i % 2)) & 15 | (high >> i & 1) << 4) as i8;
            }
        }
        (self.d.to_f32(), self.dmin.to_f32())
    }

    fn quantize(x: &[f32]) -> Self {
        let nested = NestedScales::<8>::new(x, 31, 63);
        let mut block = Self {
            d: nested.d,
            dmin: nested.dmin,
            ..Zeroable::zeroed()
        };
        block.scales = PackedScales::new(&nested);
        for (i, x) in x.iter().enumerate() {
            let bits = nested.code(i, *x);
            block.qs[i / 64][i % 32] |= (bits & 15) << (4 * (i / 32 % 2));
            block.qh[i % 32] |= (bits >> 4) << (i / 32);
        }
        block
    }
}

/// `w = d * scale * (q - 32)`. In each half of 128, element `32 * n + m` has its low 4 bits in nibble `n / 2` of byte
/// `32 * (n % 2) + m` of `ql`, its high 2 bits at bit `2 * n` of byte `m` of `qh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ6K {
    ql: [[u8; 64]; 2],
    qh: [[u8; 32]; 2],
    scales: [i8; 16],
    d: Half,
}

impl SuperBlock for BlockQ6K {
    const SUB: usize = 16;

    fn nested(&self, q: &mut [i8], scales: &mut [i8], _mins: &mut [i8]) -> (f32, f32) {
        scales[..16].copy_from_slice(&self.scales);
        for (i, q) in q.chunks_exact_mut(32).enumerate() {
            let (half, n) = (i / 4, i % 4);
            let low_bits = &self.ql[half][32 * (n % 2)..];
            for ((q, low), high) in q.iter_mut().zip(low_bits).zip(&self.qh[half]) {
                *q = (low >> (4 * (n / 2)) & 15 | (high >> (2 * n) & 3) << 4) as i8 - 32;
            }
        }
        (self.d.to_f32(), 0.0)
    }

    fn quantize(x: &[f32]) -> Self {
        let scales: [f32; 16] = std::array::from_fn(|i| extreme(&x[16 * i..][..16]) / -32.0);
        let d = Half::from_f32(super_scale(&scales, 127.0));
        let mut block = Self {
            d,
            ..Zeroable::zeroed()
        };
        block.scales = scales.map(|scale| nearest(scale, d.to_f32(), -127, 127) as i8);
        for (i, x) in x.iter().enumerate() {
            let bits =
                (nearest(*x, d.to_f32() * f32::from(block.scales[i / 16]), -32, 31) + 32) as u8;
            let (half, n, m) = (i / 128, i / 32 % 4, i % 32);
            block.ql[half][32 * (n % 2) + m] |= (bits & 15) << (4 * (n / 2));
            block.qh[half][m] |= (bits >> 4) << (2 * n);
        }
        block
    }
}

/// Byte of `qs` and shift of the 2-bit code of element `i` in Q2_K and Q3_K.
fn two_bit_place(i: usize) -> (usize, usize) {
    (32 * (i / 128) + i % 32, 2 * (i / 32 % 4))
}

/// Eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K. Those of sub-blocks 0..4 are the low 6 bits of bytes 0..4
/// (scales) and 4..8 (minima). Byte `4 + i` for the sub-blocks `i` in 4..8 holds the low 4 bits of scale and minimum;
/// their high 2 bits are the top bits of bytes `i - 4` and `i`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
struct PackedScales([u8; 12]);

impl PackedScales {
    /// Scale and minimum of sub-block `i`.
    fn get(&self, i: usize) -> (u8, u8) {
        let bytes = &self.0;
        if i < 4 {
            (bytes[i] & 63, bytes[i + 4] & 63)
        } else {
            let (scale, min) = (bytes[i + 4] & 15, bytes[i + 4] >> 4);
            (scale | bytes[i - 4] >> 6 << 4, min | bytes[i] >> 6 << 4)
        }
    }

    fn new(nested: &NestedScales<8>) -> Self {
        let (scales, mins) = (&nested.scales, &nested.mins);
        let mut bytes = [0; 12];
        for i in 0..4 {
            bytes[i] = scales[i] | scales[i + 4] >> 4 << 6;
            bytes[i + 4] = mins[i] | mins[i + 4] >> 4 << 6;
            bytes[i + 8] = scales[i + 4] & 15 | (mins[i + 4] & 15) << 4;
        }
        Self(bytes)
    }
}

/// Integer scales and minima of the `N` sub-blocks of 256 values, found by plain rounding.
struct NestedScales<const N: usize> {
    d: Half,
    dmin: Half,
    scales: [u8; N],
    mins: [u8; N],
    /// Largest code of an element.
    steps: i32,
}

impl<const N: usize> NestedScales<N> {
    fn new(x: &[f32], steps: u8, scale_steps: u8) -> Self {
        let sub = LEN / N;
        let pairs: [(f32, f32); N] =
            std::array::from_fn(|i| scale_and_min(&x[sub * i..][..sub], f32::from(steps)));
        let (scales, mins) = (pairs.map(|pair| pair.0), pairs.map(|pair| pair.1));
        let round = |values: [f32; N]| {
            let d = Half::from_f32(super_scale(&values, f32::from(scale_steps)));
            (
                d,
                values.map(|v| nearest(v, d.to_f32(), 0, i32::from(scale_steps)) as u8),
            )
        };
        let ((d, scales), (dmin, mins)) = (round(scales), round(mins));
        Self {
            d,
            dmin,
            scales,
            mins,
            steps: i32::from(steps),
        }
    }

    /// Code of element `i` with value `x`.
    fn code(&self, i: usize, x: f32) -> u8 {
        let sub = i / (LEN / N);
        let scale = self.d.to_f32() * f32::from(self.scales[sub]);
        let min = self.dmin.to_f32() * f32::from(self.mins[sub]);
        nearest(x + min, scale, 0, self.steps) as u8
    }
}
