//! The formats with one f16 scale for 32 elements: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Byte `j` of `qs` holds the low bits of element `j` (low nibble) and of element `j + 16` (high nibble). The fifth bit of
//! Q5 stands at bit `i` of the little-endian `qh` for element `i`.

use bytemuck::{Pod, Zeroable};

use super::block::rounding::{extreme, nearest, scale_and_min};
use super::block::{Block, Half};

const LEN: usize = 32;

/// `w = d * (q - 8)`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ4_0 {
    d: Half,
    qs: [u8; 16],
}

impl Block for BlockQ4_0 {
    const LEN: usize = LEN;
    const SUB: usize = LEN;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales[0] = self.d.to_f32();
        unpack_nibbles(&self.qs, q, 8);
    }

    fn quantize(x: &[f32]) -> Self {
        let d = Half::from_f32(extreme(x) / -8.0);
        let scale = d.to_f32();
        let (qs, _) = pack(|i| (nearest(x[i], scale, -8, 7) + 8) as u8);
        Self { d, qs }
    }
}

/// `w = d * q + m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ4_1 {
    d: Half,
    m: Half,
    qs: [u8; 16],
}

impl Block for BlockQ4_1 {
    const LEN: usize = LEN;
    const SUB: usize = LEN;
    const HAS_MIN: bool = true;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
        scales[0] = self.d.to_f32();
        mins[0] = -self.m.to_f32();
        unpack_nibbles(&self.qs, q, 0);
    }

    fn quantize(x: &[f32]) -> Self {
        let (scale, min) = scale_and_min(x, 15.0);
        let (d, m) = (Half::from_f32(scale), Half::from_f32(-min));
        let (scale, low) = (d.to_f32(), m.to_f32());
        let (qs, _) = pack(|i| nearest(x[i] - low, scale, 0, 15) as u8);
        Self { d, m, qs }
    }
}

/// `w = d * (q - 16)`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ5_0 {
    d: Half,
    qh: [u8; 4],
    qs: [u8; 16],
}

impl Block for BlockQ5_0 {
    const LEN: usize = LEN;
    const SUB: usize = LEN;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales[0] = self.d.to_f32();
        unpack_nibbles(&self.qs, q, 16);
        add_fifth_bits(self.qh, q);
    }

    fn quantize(x: &[f32]) -> Self {
        let d = Half::from_f32(extreme(x) / -16.0);
        let scale = d.to_f32();
        let (qs, qh) = pack(|i| (nearest(x[i], scale, -16, 15) + 16) as u8);
        Self { d, qh, qs }
    }
}

/// `w = d * q + m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ5_1 {
    d: Half,
    m: Half,
    qh: [u8; 4],
    qs: [u8; 16],
}

impl Block for BlockQ5_1 {
    const LEN: usize = LEN;
    const SUB: usize = LEN;
    const HAS_MIN: bool = true;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
        scales[0] = self.d.to_f32();
        mins[0] = -self.m.to_f32();
        unpack_nibbles(&self.qs, q, 0);
        add_fifth_bits(self.qh, q);
    }

    fn quantize(x: &[f32]) -> Self {
        let (scale, min) = scale_and_min(x, 31.0);
        let (d, m) = (Half::from_f32(scale), Half::from_f32(-min));
        let (scale, low) = (d.to_f32(), m.to_f32());
        let (qs, qh) = pack(|i| nearest(x[i] - low, scale, 0, 31) as u8);
        Self { d, m, qh, qs }
    }
}

/// `w = d * q`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockQ8_0 {
    d: Half,
    qs: [i8; 32],
}

impl Block for BlockQ8_0 {
    const LEN: usize = LEN;
    const SUB: usize = LEN;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales[0] = self.d.to_f32();
        q.copy_from_slice(&self.qs);
    }

    fn quantize(x: &[f32]) -> Self {
        let d = Half::from_f32(extreme(x).abs() / 127.0);
        let scale = d.to_f32();
        Self {
            d,
            qs: std::array::from_fn(|i| nearest(x[i], scale, -127, 127) as i8),
        }
    }
}

/// Low nibbles become the first half of `q`, high nibbles the second, each less `zero`.
fn unpack_nibbles(qs: &[u8; 16], q: &mut [i8], zero: i8) {
    let (low, high) = q.split_at_mut(LEN / 2);
    for ((byte, low), high) in qs.iter().zip(low).zip(high) {
        *low = (byte & 15) as i8 - zero;
        *high = (byte >> 4) as i8 - zero;
    }
}

fn add_fifth_bits(qh: [u8; 4], q: &mut [i8]) {
    let bits = u32::from_le_bytes(qh);
    for (i, q) in q.iter_mut().enumerate() {
        *q += ((bits >> i & 1) << 4) as i8;
    }
}

/// Nibbles and fifth bits of the 32 codes (0..=31).
fn pack(code: impl Fn(usize) -> u8) -> ([u8; 16], [u8; 4]) {
    let qs = std::array::from_fn(|j| code(j) & 15 | (code(j + 16) & 15) << 4);
    let qh = (0..LEN).fold(0, |bits, i| bits | u32::from(code(i) >> 4) << i);
    (qs, qh.to_le_bytes())
}
