//! IQ1_S and IQ1_M: 2048 entries of eight levels -1, 0, 1, shifted by 1/8. With the scale divided by 8, `q` is
//! `8 * level + 1` or `8 * level - 1`.

use bytemuck::{Pod, Zeroable};

use super::{Codebook, LEN, ONES, OddScales, both_signs, expand, nearest_entry, odd_multiple};
use crate::quant::block::{Block, Half};

/// The values of `q`.
pub(crate) const IQ1: [i8; 16] = both_signs(&[1, 7, 9]);

/// Eight times the levels.
static CODEBOOK: Codebook<2048> =
    Codebook::new(|| expand(include_bytes!("iq1_s.bin"), 8, 2, &[-8, 0, 8]));

const UNIT: f32 = 0.125;
const TOP: f32 = 9.0;

/// `w = d * (2 * scale + 1) * (level + shift)`. A group of 8 has the low 8 bits of its index in `qs`. A word of `qh`
/// belongs to 32 elements: the high 3 bits of four indices from the lowest bit up, 3 bits of scale, and the shift's sign.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::quant) struct BlockIQ1S {
    d: Half,
    qs: [[u8; 4]; 8],
    qh: [[u8; 2]; 8],
}

impl Block for BlockIQ1S {
    const LEN: usize = LEN;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        let unit = self.d.to_f32() * UNIT;
        let codebook = &*CODEBOOK;
        let parts = self.qs.iter().zip(&self.qh).zip(q.as_chunks_mut::<32>().0);
        for (((low, high), q), scale) in parts.zip(scales) {
            let high = u16::from_le_bytes(*high);
            *scale = odd_multiple(unit, u32::from(high >> 12 & 7));
            let down = high >> 15 != 0;
            for (l, (low, q)) in low.iter().zip(q.as_chunks_mut::<8>().0).enumerate() {
                let index = u16::from(*low) | (high >> (3 * l) & 7) << 8;
                *q = shifted(codebook[usize::from(index)], down);
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales = OddScales::<8>::new(x, TOP, UNIT, 7);
        let mut block = Self {
            d: scales.d,
            ..Zeroable::zeroed()
        };
        for (i, x) in x.chunks_exact(32).enumerate() {
            let scale = scales.get(i);
            let down = x.iter().sum::<f32>() < 0.0;
            let mut high = u16::from(scales.codes[i]) << 12 | u16::from(down) << 15;
            for (l, x) in x.chunks_exact(8).enumerate() {
                let index = nearest_index(x, scale, down);
                block.qs[i][l] = index as u8;
                high |= index >> 8 << (3 * l);
            }
            block.qh[i] = high.to_le_bytes();
        }
        block
    }
}

/// As IQ1_S, but a nibble of `qh` belongs to a group of 8: the high 3 bits of its index and its shift's sign. A word of
/// `scales` holds the 3-bit scales of four sub-blocks of 16, and in its highest 4 bits a quarter of `d`, an f16.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::quant) struct BlockIQ1M {
    qs: [[u8; 2]; 16],
    qh: [u8; 16],
    scales: [[u8; 2]; 4],
}

impl Block for BlockIQ1M {
    const LEN: usize = LEN;
    const SUB: usize = 16;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        let words = self.scales.map(u16::from_le_bytes);
        let d = (0..4).fold(0, |d, n| d | words[n] >> 12 << (4 * n));
        let unit = half::f16::from_bits(d).to_f32() * UNIT;
        let codebook = &*CODEBOOK;
        let parts = self.qs.iter().zip(&self.qh).zip(q.as_chunks_mut::<16>().0);
        for (i, (((low, high), q), scale)) in parts.zip(scales).enumerate() {
            *scale = odd_multiple(unit, u32::from(words[i / 4] >> (3 * (i % 4)) & 7));
            for (l, (low, q)) in low.iter().zip(q.as_chunks_mut::<8>().0).enumerate() {
                let high = u16::from(high >> (4 * l));
                let down = high & 8 != 0;
                let index = u16::from(*low) | (high & 7) << 8;
                *q = shifted(codebook[usize::from(index)], down);
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales = OddScales::<16>::new(x, TOP, UNIT, 7);
        let mut block = Self::zeroed();
        let d = half::f16::from_f32(scales.d.to_f32()).to_bits();
        let word = |n: usize| {
            let codes = scales.codes[4 * n..][..4].iter().rev();
            codes.fold(d >> (4 * n) & 15, |word, code| word << 3 | u16::from(*code))
        };
        block.scales = std::array::from_fn(|n| word(n).to_le_bytes());
        for (g, x) in x.chunks_exact(8).enumerate() {
            let down = x.iter().sum::<f32>() < 0.0;
            let index = nearest_index(x, scales.get(g / 2), down);
            block.qs[g / 2][g % 2] = index as u8;
            block.qh[g / 2] |= ((index >> 8) as u8 | u8::from(down) << 3) << (4 * (g % 2));
        }
        block
    }
}

/// The elements of an entry, all less or more by 1.
#[inline(always)]
fn shifted(entry: u64, down: bool) -> [i8; 8] {
    const HIGHEST: u64 = 0x80 * ONES;
    let shift = if down { 255 * ONES } else { ONES };
    // Byte by byte: the highest bits are added apart, so nothing is carried.
    let low = (entry & !HIGHEST) + (shift & !HIGHEST);
    bytemuck::cast((low ^ ((entry ^ shift) & HIGHEST)).to_le_bytes())
}

/// Index of the entry that is nearest once shifted.
fn nearest_index(x: &[f32], scale: f32, down: bool) -> u16 {
    let shift = if down { -scale } else { scale };
    let x: [f32; 8] = std::array::from_fn(|j| x[j] - shift);
    nearest_entry(&*CODEBOOK, &x, scale) as u16
}
