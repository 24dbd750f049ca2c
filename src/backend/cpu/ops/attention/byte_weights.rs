//! Weights of a block of positions as bytes.

use std::hint::black_box;
use std::ops::Range;

use super::BLOCK;
use crate::backend::cpu::ops;
use crate::backend::cpu::quantized_kv::POSITIONS;
use crate::backend::cpu::simd::{self, ByteDot, F32x4, I32x4, Quad, U8x16, math};

/// How weights are rounded to bytes: all forms are exact on the machine that they are for.
#[derive(Clone, Copy)]
pub(super) struct WeightBytes {
    /// The byte of the largest.
    most: f32,
    /// What is taken off, where the machine multiplies signed bytes.
    pub bias: i32,
}

impl WeightBytes {
    pub fn of_machine() -> Self {
        let (most, bias) = match simd::byte_dot() {
            ByteDot::Wrapped => (255.0, 0),
            ByteDot::Magnitude if simd::MAGNITUDE_IS_SIGNED => (254.0, 127),
            ByteDot::Magnitude => (127.0, 0),
            ByteDot::Signed | ByteDot::Words => (254.0, 127),
        };
        Self { most, bias }
    }

    /// How much of the sum of weights the largest of a block may be for one plane to do, for all such blocks of a query
    /// together (the root of the sum of squares): 1/32 with all bits of a byte. What rounding moves the output by is 1/200
    /// of that.
    pub fn coarse(self) -> f32 {
        self.most / (32.0 * 254.0)
    }
}

/// Scales of a block's values.
pub(super) struct Norm {
    /// Each over the largest, times the byte of the largest weight.
    factors: [f32; POSITIONS],
    /// What a sum of products of bytes is to be multiplied with where the largest weight is 1.
    pub unit: f32,
}

impl Norm {
    pub fn new(scales: &[f32], seen: &Range<usize>, bytes: WeightBytes) -> Self {
        let mut factors = [0.0; POSITIONS];
        factors[seen.clone()].copy_from_slice(&scales[seen.clone()]);
        let (quads, _) = factors.as_chunks::<4>();
        let most = quads
            .iter()
            .fold(F32x4::splat(0.0), |most, quad| {
                most.max_positive(F32x4::load(quad))
            })
            .max_positive_lane();
        let inverse = if most < f32::MIN_POSITIVE {
            0.0
        } else {
            bytes.most / most
        };
        ops::scale(&mut factors, inverse);
        Self {
            factors,
            unit: most / bytes.most,
        }
    }
}

/// Weights of `N` queries for a block of positions, as bytes.
pub(super) struct Weights<Q, const N: usize> {
    /// `[query][position / 4]`
    pub upper: [[Q; POSITIONS / 4]; N],
    /// The same, worth a 128th.
    pub lower: [[Q; POSITIONS / 4]; N],
    /// Whether there is anything in `lower`.
    pub fine: bool,
    pub scale: [f32; N],
}

impl<Q: Quad, const N: usize> Weights<Q, N> {
    /// None.
    pub const ZERO: Self = Self {
        upper: [[Q::ZERO; POSITIONS / 4]; N],
        lower: [[Q::ZERO; POSITIONS / 4]; N],
        fine: false,
        scale: [0.0; N],
    };

    /// Rounds the weights of query `i`, of whose scores `max` is the largest; gives their sum.
    #[inline(never)]
    pub fn set<const FINE: bool>(
        &mut self,
        i: usize,
        scores: &[f32; BLOCK],
        max: f32,
        norm: &Norm,
        bytes: WeightBytes,
    ) -> f32 {
        // Adding this leaves a rounded number in the lowest bits.
        let shift = if FINE { 98_304.0 } else { 12_582_912.0 } - bytes.bias as f32;
        let (shift, masks) = black_box((F32x4::splat(shift), [255, 127].map(I32x4::splat)));
        let (to_log2, max) = (F32x4::splat(std::f32::consts::LOG2_E), F32x4::splat(-max));
        let mut sum = F32x4::splat(0.0);
        let (scores, _) = scores.as_chunks::<16>();
        let (factors, _) = norm.factors.as_chunks::<16>();
        let (upper, _) = self.upper[i].as_chunks_mut::<4>();
        let (lower, _) = self.lower[i].as_chunks_mut::<4>();
        for (j, (scores, factors)) in scores.iter().zip(factors).enumerate() {
            let (scores, _) = scores.as_chunks::<4>();
            let (factors, _) = factors.as_chunks::<4>();
            let bits: [I32x4; 4] = std::array::from_fn(|k| {
                let score = F32x4::load(&scores[k]).mul_add(to_log2, max);
                let weight = math::exp2_negative(score, 1.0);
                sum = sum + weight;
                weight.mul_add(F32x4::load(&factors[k]), shift).to_bits()
            });
            if FINE {
                store(bits.map(|x| x.bits::<7>(masks[0])), &mut upper[j]);
                store(bits.map(|x| x.bits::<0>(masks[1])), &mut lower[j]);
            } else {
                store(bits.map(|x| x.bits::<0>(masks[0])), &mut upper[j]);
            }
        }
        sum.sum()
    }
}

#[inline(always)]
fn store<Q: Quad>(ints: [I32x4; 4], out: &mut [Q; 4]) {
    let quads: [[i8; 4]; 4] = bytemuck::cast(U8x16::from_ints(ints).to_array());
    *out = quads.map(Q::new);
}
