//! IQ2_XXS, IQ2_XS and IQ2_S: 256, 512 and 1024 entries of eight magnitudes 8, 25, 43.

use bytemuck::{Pod, Zeroable};

use super::{
    Codebook, LEN, OddScales, both_signs, even_signs, expand, nearest_entry, odd_multiple, signed,
    split_signs,
};
use crate::quant::block::{Block, Half};

static XXS: Codebook<256> =
    Codebook::new(|| expand(include_bytes!("iq2_xxs.bin"), 8, 2, &MAGNITUDES));
static XS: Codebook<512> =
    Codebook::new(|| expand(include_bytes!("iq2_xs.bin"), 8, 2, &MAGNITUDES));
static S: Codebook<1024> = Codebook::new(|| expand(include_bytes!("iq2_s.bin"), 8, 2, &MAGNITUDES));

const MAGNITUDES: [i8; 3] = [8, 25, 43];
/// The values of `q`.
pub(crate) const IQ2: [i8; 16] = both_signs(&MAGNITUDES);
const UNIT: f32 = 0.125;
const TOP: f32 = 43.0;

/// `w = d / 8 * (2 * scale + 1) * ±magnitude`. Each 32 elements have four indices, then a word with four times 7 bits of
/// signs and 4 bits of scale.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::quant) struct BlockIQ2XXS {
    d: Half,
    parts: [PartXXS; 8],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PartXXS {
    indices: [u8; 4],
    signs_and_scale: [u8; 4],
}

impl Block for BlockIQ2XXS {
    const LEN: usize = LEN;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        let unit = self.d.to_f32() * UNIT;
        let codebook = &*XXS;
        let parts = self.parts.iter().zip(q.as_chunks_mut::<32>().0);
        for ((part, q), scale) in parts.zip(scales) {
            let word = u32::from_le_bytes(part.signs_and_scale);
            *scale = odd_multiple(unit, word >> 28);
            let groups = part.indices.iter().zip(q.as_chunks_mut::<8>().0);
            for (l, (index, q)) in groups.enumerate() {
                *q = signed(codebook[usize::from(*index)], even_signs(word >> (7 * l)));
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales = OddScales::<8>::new(x, TOP, UNIT, 15);
        let mut block = Self {
            d: scales.d,
            ..Zeroable::zeroed()
        };
        for (i, x) in x.chunks_exact(32).enumerate() {
            let part = &mut block.parts[i];
            let mut word = u32::from(scales.codes[i]) << 28;
            for (l, x) in x.chunks_exact(8).enumerate() {
                let (signs, magnitudes) = split_signs(x, true);
                part.indices[l] = nearest_entry(&*XXS, &magnitudes, scales.get(i)) as u8;
                word |= u32::from(signs & 127) << (7 * l);
            }
            part.signs_and_scale = word.to_le_bytes();
        }
        block
    }
}

/// As IQ2_XXS. A word of `qs` belongs to 8 elements: 9 bits of index, 7 of signs. `scales` holds a nibble for each 16.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::quant) struct BlockIQ2XS {
    d: Half,
    qs: [[u8; 2]; 32],
    scales: [u8; 8],
}

impl Block for BlockIQ2XS {
    const LEN: usize = LEN;
    const SUB: usize = 16;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        read_scales(self.d, &self.scales, scales);
        let codebook = &*XS;
        for (word, q) in self.qs.iter().zip(q.as_chunks_mut::<8>().0) {
            let word = u16::from_le_bytes(*word);
            let entry = codebook[usize::from(word & 511)];
            *q = signed(entry, even_signs(u32::from(word >> 9)));
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales = OddScales::<16>::new(x, TOP, UNIT, 15);
        let mut block = Self {
            d: scales.d,
            scales: write_scales(&scales.codes),
            ..Zeroable::zeroed()
        };
        let words = block.qs.iter_mut();
        for (g, (word, x)) in words.zip(x.chunks_exact(8)).enumerate() {
            let (signs, magnitudes) = split_signs(x, true);
            let index = nearest_entry(&*XS, &magnitudes, scales.get(g / 2)) as u16;
            *word = (index | u16::from(signs & 127) << 9).to_le_bytes();
        }
        block
    }
}

/// As IQ2_XS, but with all eight signs and the index in two pieces: low 8 bits in `qs`, high 2 bits in `qh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::quant) struct BlockIQ2S {
    d: Half,
    qs: [[u8; 4]; 8],
    signs: [[u8; 4]; 8],
    qh: [u8; 8],
    scales: [u8; 8],
}

impl Block for BlockIQ2S {
    const LEN: usize = LEN;
    const SUB: usize = 16;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        read_scales(self.d, &self.scales, scales);
        let codebook = &*S;
        let parts = self.qs.iter().zip(&self.qh).zip(&self.signs);
        for (((low, high), signs), q) in parts.zip(q.as_chunks_mut::<32>().0) {
            let groups = low.iter().zip(signs).zip(q.as_chunks_mut::<8>().0);
            for (l, ((low, signs), q)) in groups.enumerate() {
                let index = u16::from(*low) | u16::from(high >> (2 * l) & 3) << 8;
                *q = signed(codebook[usize::from(index)], *signs);
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales = OddScales::<16>::new(x, TOP, UNIT, 15);
        let mut block = Self {
            d: scales.d,
            scales: write_scales(&scales.codes),
            ..Zeroable::zeroed()
        };
        for (g, x) in x.chunks_exact(8).enumerate() {
            let (signs, magnitudes) = split_signs(x, false);
            let index = nearest_entry(&*S, &magnitudes, scales.get(g / 2));
            block.signs[g / 4][g % 4] = signs;
            block.qs[g / 4][g % 4] = index as u8;
            block.qh[g / 4] |= ((index >> 8) as u8) << (2 * (g % 4));
        }
        block
    }
}

/// The scales of sub-blocks of 16, one in each nibble.
fn read_scales(d: Half, codes: &[u8; 8], scales: &mut [f32]) {
    let unit = d.to_f32() * UNIT;
    for (codes, [even, odd]) in codes.iter().zip(scales.as_chunks_mut::<2>().0) {
        *even = odd_multiple(unit, u32::from(codes & 15));
        *odd = odd_multiple(unit, u32::from(codes >> 4));
    }
}

fn write_scales(codes: &[u8; 16]) -> [u8; 8] {
    std::array::from_fn(|i| codes[2 * i] | codes[2 * i + 1] << 4)
}
