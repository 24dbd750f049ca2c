//! Keys and values as floats, in the order in which attention multiplies them.
//!
//! ```text
//! block of 64 positions
//!   key/value head
//!     keys     8 groups of 8 positions:  for each element    the 8 positions
//!     values   groups of 8 elements:     for each position   the 8 elements
//! ```
//!
//! So what is summed runs along memory and what is not lies side by side: nothing is ever summed across a vector, and a
//! head's part of a block is read from one end to the other.

use half::f16;

use crate::Result;
use crate::backend::cpu::quantized_kv::{POSITIONS, Side};
use crate::backend::cpu::simd::{F32x4, HalfMask};

/// Numbers side by side.
pub const WIDTH: usize = 8;

/// A storage type of the cache.
pub trait KvElement: Copy {
    /// Multiplies the other factor.
    const UP: f32;
    /// Multiplies the product.
    const DOWN: f32;
    /// Zero.
    const ZERO: Self;
    /// Where each of eight numbers is stored.
    const PLACES: [usize; WIDTH];
    /// Eight numbers in their order, divided by `UP * DOWN`.
    fn load(x: &[Self; WIDTH], mask: HalfMask) -> [F32x4; 2];
    /// Rounds all.
    fn round(x: &[f32], out: &mut [Self]);
    /// Widens.
    fn to_f32(self) -> f32;
}

impl KvElement for f32 {
    const UP: f32 = 1.0;
    const DOWN: f32 = 1.0;
    const ZERO: Self = 0.0;
    const PLACES: [usize; WIDTH] = [0, 1, 2, 3, 4, 5, 6, 7];

    #[inline(always)]
    fn load(x: &[Self; WIDTH], _: HalfMask) -> [F32x4; 2] {
        let halves: &[[f32; 4]; 2] = bytemuck::cast_ref(x);
        halves.each_ref().map(F32x4::load)
    }

    fn round(x: &[f32], out: &mut [Self]) {
        out.copy_from_slice(x);
    }

    fn to_f32(self) -> f32 {
        self
    }
}

/// Widened by moving bits alone, which leaves numbers too small by `2^112`: the other factor of each product makes up for
/// most of it and the last multiplication for the rest. Pairs of numbers share 32 bits, which is what two vectors are
/// cheapest made from.
impl KvElement for f16 {
    const UP: f32 = f32::from_bits((127 + 100) << 23);
    const DOWN: f32 = f32::from_bits((127 + 12) << 23);
    const ZERO: Self = Self::ZERO;
    const PLACES: [usize; WIDTH] = [0, 2, 4, 6, 1, 3, 5, 7];

    #[inline(always)]
    fn load(x: &[Self; WIDTH], mask: HalfMask) -> [F32x4; 2] {
        F32x4::load_f16_pairs_tiny(x, mask)
    }

    fn round(x: &[f32], out: &mut [Self]) {
        super::ops::store_f16(x, out);
    }

    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }
}

/// One layer's keys or values.
#[derive(Debug)]
pub struct FloatRows<E> {
    side: Side,
    heads: usize,
    head_dim: usize,
    /// `[block][head][..]`, see above.
    numbers: Vec<[E; WIDTH]>,
}

impl<E: KvElement> FloatRows<E> {
    /// No rows yet, of `heads` × `head_dim` elements.
    pub fn new(side: Side, heads: usize, head_dim: usize) -> Self {
        Self {
            side,
            heads,
            head_dim,
            numbers: Vec::new(),
        }
    }

    /// Elements of a position.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Length of a head's part of a block.
    fn per_head(&self) -> usize {
        match self.side {
            Side::Keys => POSITIONS / WIDTH * self.head_dim,
            Side::Values => self.head_dim.div_ceil(WIDTH) * POSITIONS,
        }
    }

    /// Makes room for `positions`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn resize(&mut self, positions: usize) -> Result<()> {
        let len = positions.div_ceil(POSITIONS) * self.heads * self.per_head();
        super::kv_cache::grow(&mut self.numbers, len, [E::ZERO; WIDTH])
    }

    /// Writes whole rows, from position `at` on.
    pub fn store(&mut self, at: usize, values: &[f32]) {
        for (i, values) in values.chunks_exact(self.width().max(1)).enumerate() {
            for (head, values) in values.chunks_exact(self.head_dim).enumerate() {
                let (place, lane, step) = self.place(at + i, head);
                for (group, values) in values.chunks(WIDTH).enumerate() {
                    let mut rounded = [E::ZERO; WIDTH];
                    let rounded = &mut rounded[..values.len()];
                    E::round(values, rounded);
                    match self.side {
                        Side::Keys => {
                            let keys = &mut self.numbers[place + group * WIDTH..];
                            for (out, x) in keys.iter_mut().zip(rounded) {
                                out[lane] = *x;
                            }
                        }
                        Side::Values => {
                            let out = &mut self.numbers[place + group * step];
                            for (place, x) in E::PLACES.into_iter().zip(rounded) {
                                out[place] = *x;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Where a position's part of a head begins, in which lane, and how far it is to the next numbers.
    fn place(&self, position: usize, head: usize) -> (usize, usize, usize) {
        let (block, p) = (position / POSITIONS, position % POSITIONS);
        let from = (block * self.heads + head) * self.per_head();
        match self.side {
            Side::Keys => (from + p / WIDTH * self.head_dim, E::PLACES[p % WIDTH], 1),
            Side::Values => (from + p, 0, POSITIONS),
        }
    }

    /// One head of the block of positions from `block * POSITIONS` on.
    pub fn block(&self, block: usize, head: usize) -> &[[E; WIDTH]] {
        let len = self.per_head();
        &self.numbers[(block * self.heads + head) * len..][..len]
    }

    /// Element `index` of all rows, as it was rounded.
    pub fn get(&self, index: usize) -> f64 {
        let (position, element) = (index / self.width(), index % self.width());
        let (head, d) = (element / self.head_dim, element % self.head_dim);
        let (place, lane, step) = self.place(position, head);
        let x = match self.side {
            Side::Keys => self.numbers[place + d][lane],
            Side::Values => self.numbers[place + d / WIDTH * step][E::PLACES[d % WIDTH]],
        };
        f64::from(x.to_f32())
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        size_of_val(self.numbers.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_stored() {
        for side in [Side::Keys, Side::Values] {
            for (heads, head_dim) in [(3, 64), (2, 24), (1, 7)] {
                let mut rows = FloatRows::<f16>::new(side, heads, head_dim);
                rows.resize(130).unwrap();
                let width = heads * head_dim;
                let values: Vec<f32> = (0..130 * width).map(|i| (i as f32 * 0.7).sin()).collect();
                rows.store(0, &values[..100 * width]);
                rows.store(100, &values[100 * width..]);
                for (i, value) in values.iter().enumerate() {
                    assert_eq!(rows.get(i), f16::from_f32(*value).to_f64(), "{side:?} {i}");
                }
            }
        }
    }
}
