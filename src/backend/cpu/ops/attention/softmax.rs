//! The softmax of a query, block by block.

use std::ops::Range;

use super::BLOCK;
use crate::backend::cpu::float_kv::KvElement;
use crate::backend::cpu::ops;
use crate::backend::cpu::simd::{F32x4, math};

/// Score of positions that a query does not see: its weight comes out as 1e-38.
const UNSEEN: f32 = -1e30;

/// Where the softmax of a query stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Largest score, times the logarithm of e to the base 2.
    max: f32,
    /// Sum of weights, times `UP`.
    pub sum: f32,
}

/// What a block changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Factor for what was summed before.
    pub change: f32,
    /// The block's largest weight.
    pub largest: f32,
    /// The block's largest score, times the logarithm of e to the base 2.
    pub max: f32,
}

impl State {
    /// Before any position.
    pub fn new<E: KvElement>(sink: Option<f32>) -> Self {
        sink.map_or(
            Self {
                max: f32::MIN,
                sum: 0.0,
            },
            |sink| Self {
                max: sink * std::f32::consts::LOG2_E,
                sum: E::UP,
            },
        )
    }

    /// Hides what is not `seen` and takes the largest score into account; gives the maximum before and the block's own.
    #[inline(always)]
    fn see(&mut self, scores: &mut [f32; BLOCK], seen: &Range<usize>, to_log2: f32) -> (f32, f32) {
        if seen.len() < BLOCK {
            scores[..seen.start].fill(UNSEEN);
            scores[seen.end..].fill(UNSEEN);
        }
        let (before, max) = (self.max, largest(scores) * to_log2);
        self.max = max.max(before);
        (before, max)
    }

    /// Takes note of the scores of a block, of which those `seen` take part; the others become so small that their
    /// weight comes out as 1e-38.
    pub fn advance(
        &mut self,
        scores: &mut [f32; BLOCK],
        seen: &Range<usize>,
        softcap: Option<f32>,
    ) -> Step {
        if let Some(cap) = softcap {
            ops::soft_cap(scores, cap);
        }
        let (before, max) = self.see(scores, seen, std::f32::consts::LOG2_E);
        let exponents = F32x4::load(&[before - self.max, max - self.max, 0.0, 0.0]);
        let [change, largest, ..] = math::exp2_negative(exponents, 1.0).to_array();
        self.sum *= change;
        Step {
            change,
            largest,
            max,
        }
    }

    /// Turns scores into weights times `UP`, next to nothing where not `seen`, and gives the factor for what was summed
    /// before.
    #[inline(always)]
    pub fn update<E: KvElement>(
        &mut self,
        scores: &mut [f32; BLOCK],
        seen: Range<usize>,
        softcap: Option<f32>,
    ) -> f32 {
        if seen.is_empty() {
            scores.fill(0.0);
            return 1.0;
        }
        if let Some(cap) = softcap {
            ops::scale(scores, E::DOWN);
            ops::soft_cap(scores, cap);
            ops::scale(scores, 1.0 / E::DOWN);
        }
        let to_log2 = E::DOWN * std::f32::consts::LOG2_E;
        let (before, _) = self.see(scores, &seen, to_log2);
        let (to_log2, max) = (F32x4::splat(to_log2), F32x4::splat(-self.max));
        let [change, ..] = math::exp2_negative(F32x4::splat(before - self.max), 1.0).to_array();
        let mut sum = F32x4::splat(0.0);
        // Four vectors at once, as in `vector::map`.
        for quads in scores.as_chunks_mut::<16>().0 {
            for quad in quads.as_chunks_mut::<4>().0 {
                let score = F32x4::load(quad).mul_add(to_log2, max);
                let weight = math::exp2_negative(score, E::UP);
                sum = sum + weight;
                weight.store(quad);
            }
        }
        self.sum = self.sum * change + sum.sum();
        change
    }
}

/// The largest; any number where there are NaNs.
#[inline(always)]
fn largest(scores: &[f32; BLOCK]) -> f32 {
    let mut most = [F32x4::splat(f32::MIN); 4];
    for quads in scores.as_chunks::<16>().0 {
        for (most, quad) in most.iter_mut().zip(quads.as_chunks::<4>().0) {
            *most = F32x4::load(quad).max(*most);
        }
    }
    most[0].max(most[1]).max(most[2].max(most[3])).max_lane()
}
