//! IQ3_XXS and IQ3_S: 256 and 512 entries of four magnitudes, so two indices and one byte of signs make eight elements.

use bytemuck::{Pod, Zeroable};

use super::{
    Codebook, LEN, OddScales, both_signs, even_signs, expand, nearest_entry, odd_multiple, signed,
    split_signs,
};
use crate::quant::block::{Block, Half};

const MAGNITUDES_XXS: [i8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
const MAGNITUDES_S: [i8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];
/// The values of `q` in IQ3_XXS.
pub(crate) const IQ3_XXS: [i8; 16] = both_signs(&MAGNITUDES_XXS);
/// The values of `q` in IQ3_S.
pub(crate) const IQ3_S: [i8; 16] = both_signs(&MAGNITUDES_S);

static XXS: Codebook<256> =
    Codebook::new(|| expand(include_bytes!("iq3_xxs.bin"), 4, 3, &MAGNITUDES_XXS));
static S: Codebook<512> =
    Codebook::new(|| expand(include_bytes!("iq3_s.bin"), 4, 3, &MAGNITUDES_S));

const UNIT_XXS: f32 = 0.25;
const UNIT_S: f32 = 1.0;

/// `w = d / 4 * (2 * scale + 1) * ±magnitude`. Each 32 elements have eight indices in `qs`, and in `signs_and_scales` a
/// word with four times 7 bits of signs and 4 bits of scale.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::quant) struct BlockIQ3XXS {
    d: Half,
    qs: [[[u8; 2]; 4]; 8],
    signs_and_scales: [[u8; 4]; 8],
}

impl Block for BlockIQ3XXS {
    const LEN: usize = LEN;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        let unit = self.d.to_f32() * UNIT_XXS;
        let codebook = &*XXS;
        let parts = self.qs.iter().zip(&self.signs_and_scales);
        let parts = parts.zip(q.as_chunks_mut::<32>().0).zip(scales);
        for (((indices, word), q), scale) in parts {
            let word = u32::from_le_bytes(*word);
            *scale = odd_multiple(unit, word >> 28);
            let groups = indices.iter().zip(q.as_chunks_mut::<8>().0);
            for (l, (indices, q)) in groups.enumerate() {
                let [first, second] = indices.map(|index| codebook[usize::from(index)]);
                *q = signed(first | second << 32, even_signs(word >> (7 * l)));
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales = OddScales::<8>::new(x, 62.0, UNIT_XXS, 15);
        let mut block = Self {
            d: scales.d,
            ..Zeroable::zeroed()
        };
        for (i, x) in x.chunks_exact(32).enumerate() {
            let mut word = u32::from(scales.codes[i]) << 28;
            for (l, x) in x.chunks_exact(8).enumerate() {
                let (signs, magnitudes) = split_signs(x, true);
                let indices = nearest_pair(&*XXS, &magnitudes, scales.get(i));
                block.qs[i][l] = indices.map(|index| index as u8);
                word |= u32::from(signs & 127) << (7 * l);
            }
            block.signs_and_scales[i] = word.to_le_bytes();
        }
        block
    }
}

/// `w = d * (2 * scale + 1) * ±magnitude`. `qs` holds the low 8 bits of the indices; the ninth bits of eight of them are a
/// byte of `qh`. `scales` holds a nibble for each 32.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::quant) struct BlockIQ3S {
    d: Half,
    qs: [[[u8; 2]; 4]; 8],
    qh: [u8; 8],
    signs: [[u8; 4]; 8],
    scales: [u8; 4],
}

impl Block for BlockIQ3S {
    const LEN: usize = LEN;
    const SUB: usize = 32;

    fn affine(&self, q: &mut [i8], scales: &mut [f32], _mins: &mut [f32]) {
        let unit = self.d.to_f32() * UNIT_S;
        let codebook = &*S;
        let parts = self.qs.iter().zip(&self.qh).zip(&self.signs);
        let parts = parts.zip(q.as_chunks_mut::<32>().0).zip(scales);
        for (i, ((((low, high), signs), q), scale)) in parts.enumerate() {
            let code = self.scales[i / 2] >> (4 * (i % 2)) & 15;
            *scale = odd_multiple(unit, u32::from(code));
            let groups = low.iter().zip(signs).zip(q.as_chunks_mut::<8>().0);
            for (l, (([first, second], signs), q)) in groups.enumerate() {
                let high = u16::from(high >> (2 * l));
                let first = u16::from(*first) | (high & 1) << 8;
                let second = u16::from(*second) | (high >> 1 & 1) << 8;
                let entries = [first, second].map(|index| codebook[usize::from(index)]);
                *q = signed(entries[0] | entries[1] << 32, *signs);
            }
        }
    }

    fn quantize(x: &[f32]) -> Self {
        let scales = OddScales::<8>::new(x, 15.0, UNIT_S, 15);
        let mut block = Self {
            d: scales.d,
            scales: std::array::from_fn(|i| scales.codes[2 * i] | scales.codes[2 * i + 1] << 4),
            ..Zeroable::zeroed()
        };
        for (i, x) in x.chunks_exact(32).enumerate() {
            for (l, x) in x.chunks_exact(8).enumerate() {
                let (signs, magnitudes) = split_signs(x, false);
                let [first, second] = nearest_pair(&*S, &magnitudes, scales.get(i));
                block.signs[i][l] = signs;
                block.qs[i][l] = [first as u8, second as u8];
                block.qh[i] |= ((first >> 8) as u8 | ((second >> 8) as u8) << 1) << (2 * l);
            }
        }
        block
    }
}

/// Indices for the first and the last four of eight magnitudes.
fn nearest_pair(codebook: &[u64], magnitudes: &[f32; 8], scale: f32) -> [usize; 2] {
    [0, 4].map(|at| nearest_entry(codebook, &magnitudes[at..][..4], scale))
}
