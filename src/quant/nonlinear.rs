//! The formats whose 4-bit codes index a fixed table: IQ4_NL, IQ4_XS, MXFP4, NVFP4.
//!
//! Byte `j` of 16 holds the codes of element `j` (low nibble) and of element `j + 16` (high nibble), as in Q4_0.

use bytemuck::{Pod, Zeroable};

use super::block::rounding::{extreme, nearest, super_scale};
use super::block::{Block, Half};

/// Levels of IQ4_NL and IQ4_XS, denser around zero as weights are.
pub(crate) const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of the 4-bit float E2M1 (sign, 2 bits of exponent, 1 of mantissa); the scale is halved in return.
pub(crate) const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// `w = d * IQ4[q]`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockIQ4NL {
    d: Half,
    qs: [u8; 16],
}

impl Block for BlockIQ4NL {
    const LEN: usize = 32;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales[0] = self.d.to_f32();
        look_up(&IQ4, &self.qs, q);
    }

    fn quantize(x: &[f32]) -> Self {
        let d = Half::from_f32(extreme(x) / -127.0);
        Self {
            d,
            qs: nearest_codes(&IQ4, x, d.to_f32()),
        }
    }
}

/// `w = d * (scale - 32) * IQ4[q]`; the 6-bit scale of sub-block `i` has its low 4 bits in nibble `i` of `scales_l` and
/// its high 2 bits at bit `2 * i` of `scales_h`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockIQ4XS {
    d: Half,
    scales_h: [u8; 2],
    scales_l: [u8; 4],
    qs: [[u8; 16]; 8],
}

impl Block for BlockIQ4XS {
    const LEN: usize = 256;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        let d = self.d.to_f32();
        let high = u16::from_le_bytes(self.scales_h);
        for (i, (qs, q)) in self.qs.iter().zip(q.chunks_exact_mut(32)).enumerate() {
            let low = self.scales_l[i / 2] >> (4 * (i % 2)) & 15;
            let code = low | ((high >> (2 * i) & 3) << 4) as u8;
            scales[i] = d * (f32::from(code) - 32.0);
            look_up(&IQ4, qs, q);
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales: [f32; 8] = std::array::from_fn(|i| extreme(&x[32 * i..][..32]) / -127.0);
        let d = Half::from_f32(super_scale(&scales, 31.0));
        let mut block = Self {
            d,
            ..Zeroable::zeroed()
        };
        let mut high = 0;
        for (i, x) in x.chunks_exact(32).enumerate() {
            let code = nearest(scales[i], d.to_f32(), -31, 31);
            let bits = (code + 32) as u16;
            high |= (bits >> 4) << (2 * i);
            block.scales_l[i / 2] |= ((bits & 15) as u8) << (4 * (i % 2));
            block.qs[i] = nearest_codes(&IQ4, x, d.to_f32() * code as f32);
        }
        block.scales_h = high.to_le_bytes();
        block
    }
}

/// OCP microscaling: `w = 2^(e - 127) * E2M1 value`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockMXFP4 {
    e: u8,
    qs: [u8; 16],
}

impl Block for BlockMXFP4 {
    const LEN: usize = 32;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        scales[0] = half_power_of_two(self.e);
        look_up(&E2M1, &self.qs, q);
    }

    fn quantize(x: &[f32]) -> Self {
        let most = extreme(x).abs();
        // The largest E2M1 value is 6 = 1.5 * 2^2: its exponent shall be that of the largest weight.
        let e = if most > 0.0 {
            (most.log2().floor() as i32 + 125).clamp(0, 254) as u8
        } else {
            0
        };
        Self {
            e,
            qs: nearest_codes(&E2M1, x, half_power_of_two(e)),
        }
    }
}

/// NVIDIA's microscaling: each sixteen weights have a scale in E4M3, which is never negative.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BlockNVFP4 {
    scales: [u8; 4],
    qs: [[u8; 8]; 4],
}

impl Block for BlockNVFP4 {
    const LEN: usize = 64;
    const SUB: usize = 16;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        for (i, (qs, q)) in self.qs.iter().zip(q.chunks_exact_mut(16)).enumerate() {
            scales[i] = half_of_e4m3(self.scales[i]);
            let (low, high) = q.split_at_mut(8);
            for ((byte, low), high) in qs.iter().zip(low).zip(high) {
                *low = E2M1[usize::from(byte & 15)];
                *high = E2M1[usize::from(byte >> 4)];
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let mut block = Self::zeroed();
        for (i, x) in x.chunks_exact(16).enumerate() {
            let wanted = extreme(x).abs() / 12.0;
            let distance = |code: &u8| (half_of_e4m3(*code) - wanted).abs();
            let nearest = (0..0x7f).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            block.scales[i] = nearest.unwrap_or(0);
            // Laid out as for 32 weights with nothing in the second eight of each half.
            let mut spread = [0.0; 32];
            spread[..8].copy_from_slice(&x[..8]);
            spread[16..24].copy_from_slice(&x[8..]);
            let codes = nearest_codes(&E2M1, &spread, half_of_e4m3(block.scales[i]));
            block.qs[i].copy_from_slice(&codes[..8]);
        }
        block
    }
}

/// Half of the E4M3 number; zero for what is none.
fn half_of_e4m3(bits: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 3 & 15), u32::from(bits & 7));
    match (bits, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => mantissa as f32 / 1024.0,
        _ => f32::from_bits((exponent + 119) << 23 | mantissa << 20),
    }
}

/// `2^(e - 128)`: half of the E8M0 number, exact also where it is subnormal.
fn half_power_of_two(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        _ => u32::from(e - 1) << 23,
    })
}

fn look_up(table: &[i8; 16], qs: &[u8; 16], q: &mut [i8]) {
    let (low, high) = q.split_at_mut(16);
    for ((byte, low), high) in qs.iter().zip(low).zip(high) {
        *low = table[usize::from(byte & 15)];
        *high = table[usize::from(byte >> 4)];
    }
}

/// Codes of the table's entries nearest to `x / scale`, packed.
fn nearest_codes(table: &[i8; 16], x: &[f32], scale: f32) -> [u8; 16] {
    let code = |x: f32| {
        let wanted = if scale == 0.0 { 0.0 } else { x / scale };
        let distance = |code: &u8| (f32::from(table[usize::from(*code)]) - wanted).abs();
        (0..16)
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(0)
    };
    std::array::from_fn(|j| code(x[j]) | code(x[j + 16]) << 4)
}
