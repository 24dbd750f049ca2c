//! The formats whose codes index a codebook of vectors: IQ1_S, IQ1_M ([`iq1`]), IQ2_XXS, IQ2_XS, IQ2_S ([`iq2`]), IQ3_XXS,
//! IQ3_S ([`iq3`]).
//!
//! An entry of a codebook gives 8 elements at once (4 in IQ3) from a few fixed levels. In IQ2 and IQ3 these are magnitudes
//! and the signs are stored apart; in IQ1 the levels are -1, 0, 1, and all elements of a group are shifted by 1/8 up or
//! down. All levels are integers (in IQ1 once multiplied by 8), so `q` is the level with its sign.
//!
//! Scales are the odd multiples of `d`, times a power of two: `d * unit * (2 * code + 1)`. Every factor is exact in f32.
//!
//! The codebooks are constants of the formats. They come as bytes made by `make_tables.py` (where their coding is told)
//! and are expanded when first used, an entry to a u64 with the first element in its lowest byte.

pub(super) mod iq1;
pub(super) mod iq2;
pub(super) mod iq3;

use std::sync::LazyLock;

use super::block::Half;
use super::block::rounding::{extreme, nearest};

/// Elements of a block of any of these formats.
const LEN: usize = 256;

/// `N` entries, expanded when first used.
type Codebook<const N: usize> = LazyLock<[u64; N]>;

/// Each magnitude with both signs: all that `q` can be, filled up with zeros.
const fn both_signs<const N: usize>(magnitudes: &[i8; N]) -> [i8; 16] {
    let (mut levels, mut i) = ([0; 16], 0);
    while i < N {
        levels[2 * i] = magnitudes[i];
        levels[2 * i + 1] = -magnitudes[i];
        i += 1;
    }
    levels
}

/// Decodes a table: `elements` codes of `bits` bits to an entry, each an index into `levels`.
fn expand<const N: usize>(table: &[u8], elements: u32, bits: u32, levels: &[i8]) -> [u64; N] {
    let mut entries = [0; N];
    let mut bytes = table.iter();
    let mut codes = 0;
    for entry in &mut entries {
        for byte in bytes.by_ref() {
            codes += u32::from(*byte);
            if *byte != 255 {
                break;
            }
        }
        for j in 0..elements {
            let code = codes >> (bits * j) & ((1 << bits) - 1);
            let level = levels.get(code as usize).copied().unwrap_or_default();
            *entry |= u64::from(level as u8) << (8 * j);
        }
    }
    entries
}

/// 1 in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Eight magnitudes (above zero) with the signs of which bit `j` tells that element `j` is negative.
#[inline(always)]
fn signed(magnitudes: u64, signs: u8) -> [i8; 8] {
    // Bit j alone in byte j, then 1 in each byte that is not zero.
    let bits = (u64::from(signs) * ONES) & 0x8040_2010_0804_0201;
    let negative = (bits + 0x7f * ONES) >> 7 & ONES;
    // Byte by byte -x = !x + 1. As x is not zero, nothing is carried.
    let bytes = (magnitudes ^ (negative * 255)) + negative;
    bytemuck::cast(bytes.to_le_bytes())
}

/// Eight signs from the lowest 7 bits: the number of negative ones is even, so the eighth need not be stored.
#[inline(always)]
fn even_signs(bits: u32) -> u8 {
    let bits = bits as u8 & 127;
    bits | (bits.count_ones() as u8 & 1) << 7
}

/// Splits eight values into signs and magnitudes. With `even` and an odd number of signs, the sign of the smallest value
/// is turned around and its magnitude becomes negative.
fn split_signs(x: &[f32], even: bool) -> (u8, [f32; 8]) {
    let mut magnitudes = std::array::from_fn(|j| x[j].abs());
    let mut signs = (0..8).fold(0, |signs, j| signs | u8::from(x[j] < 0.0) << j);
    if even && signs.count_ones() % 2 == 1 {
        let smallest = (0..8).min_by(|a, b| magnitudes[*a].total_cmp(&magnitudes[*b]));
        let smallest = smallest.unwrap_or_default();
        signs ^= 1 << smallest;
        magnitudes[smallest] = -magnitudes[smallest];
    }
    (signs, magnitudes)
}

/// Index of the entry nearest to `x / scale`, by trying all.
fn nearest_entry(codebook: &[u64], x: &[f32], scale: f32) -> usize {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let distance = |entry: &u64| {
        let elements = entry.to_le_bytes().map(|byte| f32::from(byte as i8));
        let errors = x.iter().zip(elements).map(|(x, q)| x * inverse - q);
        errors.map(|error| error * error).sum::<f32>()
    };
    let distances = codebook.iter().map(distance).enumerate();
    let best = distances.min_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(0, |(index, _)| index)
}

/// Scales `d * unit * (2 * code + 1)` of `N` sub-blocks, found by plain rounding.
struct OddScales<const N: usize> {
    d: Half,
    codes: [u8; N],
    unit: f32,
}

impl<const N: usize> OddScales<N> {
    /// `top` is the largest `q`, `steps` the largest code.
    fn new(x: &[f32], top: f32, unit: f32, steps: u8) -> Self {
        let sub = LEN / N;
        let scales: [f32; N] = std::array::from_fn(|i| extreme(&x[sub * i..][..sub]).abs() / top);
        let d = Half::from_f32(extreme(&scales) / (unit * f32::from(2 * steps + 1)));
        let unit = d.to_f32() * unit;
        let codes =
            scales.map(|scale| nearest(scale - unit, 2.0 * unit, 0, i32::from(steps)) as u8);
        Self { d, codes, unit }
    }

    fn get(&self, i: usize) -> f32 {
        odd_multiple(self.unit, u32::from(self.codes[i]))
    }
}

/// `unit * (2 * code + 1)`.
#[inline(always)]
fn odd_multiple(unit: f32, code: u32) -> f32 {
    unit * (2 * code + 1) as f32
}
