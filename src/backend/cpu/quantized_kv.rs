//! Keys and values as bytes, in the order in which attention multiplies them.
//!
//! ```text
//! block of 64 positions
//!   key/value head
//!     keys     8 groups of 8 positions:  for each four elements   positions 0..4 │ positions 4..8    (a lane each)
//!     values   groups of 8 elements:     for each four positions  elements 0..4  │ elements 4..8
//! ```
//!
//! Scores are sums over elements and outputs are sums over positions, so the two are interleaved differently; both look
//! like a group of packed weights to the kernel. Keys have a scale for each 32 elements, as Q8_0 has; values have one a
//! head, since it is multiplied into the weight of the position.

use crate::Result;
use crate::backend::cpu::simd::{self, ByteDot, F32x4, Lane, U8x16};

/// Positions of a block.
pub const POSITIONS: usize = 64;

/// Elements of a key that share a scale.
pub const SPAN: usize = 32;

/// What a byte of keys is stored with: see [`simd::ByteDot::Wrapped`].
pub fn key_zero() -> u8 {
    match simd::byte_dot() {
        ByteDot::Wrapped => 128,
        ByteDot::Magnitude | ByteDot::Signed | ByteDot::Words => 0,
    }
}

/// Whose rows they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Multiplied with queries.
    Keys,
    /// Summed up.
    Values,
}

/// One layer's keys or values.
#[derive(Debug)]
pub struct QuantizedRows {
    side: Side,
    heads: usize,
    head_dim: usize,
    /// What is added to stored bytes.
    zero: u8,
    /// `[block][head][..]`, see above.
    codes: Vec<Lane>,
    /// Keys: `[block][head][group of 8 positions][span][position]`. Values: `[block][head][position]`.
    scales: Vec<f32>,
    /// Values: sums of the bytes of a block's positions, `[block][head][element / 8]`.
    sums: Vec<[[i32; 4]; 2]>,
    /// A head of the row that is being stored, padded: as it came, and as bytes.
    row: (Vec<f32>, Vec<i8>),
}

/// One head's part of a block.
#[derive(Debug, Clone, Copy)]
pub struct HeadBlock<'a> {
    /// Bytes.
    pub codes: &'a [[Lane; 2]],
    /// Scales.
    pub scales: &'a [f32],
    /// Sums of a value's bytes over all positions of the block.
    pub sums: &'a [[[i32; 4]; 2]],
}

impl QuantizedRows {
    /// No rows yet, of `heads` × `head_dim` elements.
    pub fn new(side: Side, heads: usize, head_dim: usize) -> Self {
        let zero = if side == Side::Keys { key_zero() } else { 0 };
        Self {
            side,
            heads,
            head_dim,
            zero,
            codes: Vec::new(),
            scales: Vec::new(),
            sums: Vec::new(),
            row: {
                let padded = head_dim.next_multiple_of(SPAN);
                (vec![0.0; padded], vec![0; padded])
            },
        }
    }

    /// Elements of a head with those that fill up the last span.
    pub fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(SPAN)
    }

    /// Elements of a position.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn lanes_per_head(&self) -> usize {
        POSITIONS * self.padded() / size_of::<Lane>()
    }

    fn scales_per_head(&self) -> usize {
        match self.side {
            Side::Keys => POSITIONS * self.padded() / SPAN,
            Side::Values => POSITIONS,
        }
    }

    fn sums_per_head(&self) -> usize {
        match self.side {
            Side::Keys => 0,
            Side::Values => self.padded() / 8,
        }
    }

    /// Makes room for `positions`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn resize(&mut self, positions: usize) -> Result<()> {
        let heads = positions.div_ceil(POSITIONS) * self.heads;
        let (lanes, scales) = (self.lanes_per_head(), self.scales_per_head());
        super::kv_cache::grow(&mut self.codes, heads * lanes, Lane([self.zero; 16]))?;
        let sums = heads * self.sums_per_head();
        super::kv_cache::grow(&mut self.sums, sums, [[0; 4]; 2])?;
        super::kv_cache::grow(&mut self.scales, heads * scales, 0.0)
    }

    /// Writes whole rows, from position `at` on.
    pub fn store(&mut self, at: usize, values: &[f32]) {
        let (mut row, mut bytes) = std::mem::take(&mut self.row);
        for (i, values) in values.chunks_exact(self.width()).enumerate() {
            for (head, values) in values.chunks_exact(self.head_dim).enumerate() {
                row[..self.head_dim].copy_from_slice(values);
                match self.side {
                    Side::Keys => self.store_key(at + i, head, &row, &mut bytes),
                    Side::Values => self.store_value(at + i, head, &row, &mut bytes),
                }
            }
        }
        self.row = (row, bytes);
    }

    fn store_key(&mut self, position: usize, head: usize, row: &[f32], bytes: &mut [i8]) {
        let (block, p) = (position / POSITIONS, position % POSITIONS);
        let (group, spans) = (p / 8, row.len() / SPAN);
        let place = block * self.heads + head;
        let scales = &mut self.scales[place * spans * POSITIONS + group * 8 * spans..];
        let lanes = &mut self.codes[place * POSITIONS * row.len() / 16 + group * row.len() / 2..];
        for (span, x) in row.chunks_exact(SPAN).enumerate() {
            scales[span * 8 + p % 8] = quantize(x, &mut bytes[span * SPAN..][..SPAN]);
        }
        for (quad, bytes) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let lane = &mut lanes[2 * quad + p % 8 / 4].0[p % 4 * 4..][..4];
            for (out, byte) in lane.iter_mut().zip(bytes) {
                *out = *byte as u8 ^ self.zero;
            }
        }
    }

    fn store_value(&mut self, position: usize, head: usize, row: &[f32], bytes: &mut [i8]) {
        let (block, p) = (position / POSITIONS, position % POSITIONS);
        let place = block * self.heads + head;
        self.scales[place * POSITIONS + p] = quantize(row, bytes);
        let lanes = &mut self.codes[place * POSITIONS * row.len() / 16..];
        let sums = &mut self.sums[place * row.len() / 8..];
        for (quad, bytes) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let lane = &mut lanes[quad / 2 * POSITIONS / 2 + p / 4 * 2 + quad % 2].0;
            for (i, byte) in bytes.iter().enumerate() {
                let before = std::mem::replace(&mut lane[4 * i + p % 4], *byte as u8) as i8;
                sums[quad / 2][quad % 2][i] += i32::from(*byte) - i32::from(before);
            }
        }
    }

    /// One head of the block of positions from `block * POSITIONS` on.
    pub fn block(&self, block: usize, head: usize) -> HeadBlock<'_> {
        let place = block * self.heads + head;
        let (lanes, scales) = (self.lanes_per_head(), self.scales_per_head());
        let sums = self.sums_per_head();
        HeadBlock {
            codes: self.codes[place * lanes..][..lanes].as_chunks::<2>().0,
            scales: &self.scales[place * scales..][..scales],
            sums: &self.sums[place * sums..][..sums],
        }
    }

    /// Element `index` of all rows, as it was rounded.
    pub fn get(&self, index: usize) -> f64 {
        let (position, element) = (index / self.width(), index % self.width());
        let (head, d) = (element / self.head_dim, element % self.head_dim);
        let (block, p) = (position / POSITIONS, position % POSITIONS);
        let HeadBlock { codes, scales, .. } = self.block(block, head);
        let quads = self.padded() / 4;
        let (lane, byte, scale) = match self.side {
            Side::Keys => (
                &codes[p / 8 * quads + d / 4][p % 8 / 4],
                p % 4 * 4 + d % 4,
                scales[(p / 8 * (self.padded() / SPAN) + d / SPAN) * 8 + p % 8],
            ),
            Side::Values => (
                &codes[d / 8 * (POSITIONS / 4) + p / 4][d % 8 / 4],
                d % 4 * 4 + p % 4,
                scales[p],
            ),
        };
        f64::from((lane.0[byte] ^ self.zero) as i8) * f64::from(scale)
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        size_of_val(self.codes.as_slice())
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.sums.as_slice())
    }
}

/// Rounds a multiple of 16 floats to bytes; gives their scale. Anything not finite makes it NaN.
pub fn quantize(x: &[f32], bytes: &mut [i8]) -> f32 {
    let (quads, _) = x.as_chunks::<4>();
    let most = quads
        .iter()
        .fold(F32x4::splat(0.0), |most, x| {
            most.max_positive(F32x4::load(x).abs())
        })
        .max_positive_lane();
    let scale = if most.is_finite() {
        most / 127.0
    } else {
        f32::NAN
    };
    // Subnormal maxima have no finite inverse; such numbers are zero for all purposes.
    let inverse = if scale >= f32::MIN_POSITIVE {
        1.0 / scale
    } else {
        0.0
    };
    let inverse = F32x4::splat(inverse);
    for (x, out) in quads.chunks_exact(4).zip(bytes.as_chunks_mut::<16>().0) {
        *out = U8x16::from_floats(std::array::from_fn(|i| F32x4::load(&x[i]) * inverse)).to_array();
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_stored() {
        for side in [Side::Keys, Side::Values] {
            for (heads, head_dim) in [(3, 64), (2, 24), (1, 80)] {
                let mut rows = QuantizedRows::new(side, heads, head_dim);
                rows.resize(130).unwrap();
                let width = heads * head_dim;
                let values: Vec<f32> = (0..130 * width).map(|i| (i as f32 * 0.7).sin()).collect();
                rows.store(0, &values[..100 * width]);
                rows.store(100, &values[100 * width..]);
                for (i, value) in values.iter().enumerate() {
                    let error = (rows.get(i) - f64::from(*value)).abs();
                    assert!(error <= 0.5 / 127.0 * 1.001, "{side:?} {i}: {error}");
                }
            }
        }
    }
}
