//! A group of weights, expanded to bytes and floats.

use super::codes::Codes;
use super::layout::{BlockOf, Format};
use super::scales::{RUN, Scales};
use super::{BLOCK, GROUP};
use crate::backend::cpu::simd::{Dot, F32x4, HalfMask, Lane};

/// Quads of columns in a block.
pub const QUADS: usize = BLOCK / 4;

/// 8 rows × 32 columns: bytes and floats. Floats stand as `F32x4::load_f16x8_tiny` gives them; in super-blocks scales are
/// integers.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Expanded {
    /// `[quad of columns][rows 0..4, rows 4..8]`
    pub codes: [[Lane; 2]; QUADS],
    /// `[part of the columns][row]`
    pub scales: [[[f32; 4]; GROUP / 4]; 2],
    /// `[row]`
    pub mins: [[f32; 4]; GROUP / 4],
}

/// The upper level of a super-block.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ExpandedOuter {
    /// `[row]`
    pub d: [[f32; 4]; GROUP / 4],
    /// The same.
    pub dmin: [[f32; 4]; GROUP / 4],
    /// `[quad of parts][rows 0..4, rows 4..8]`
    pub mins: [[Lane; 2]; RUN / 2],
}

impl Expanded {
    const ZERO: Self = Self {
        codes: [[Lane::ZERO; 2]; QUADS],
        scales: [[[0.0; 4]; GROUP / 4]; 2],
        mins: [[0.0; 4]; GROUP / 4],
    };
}

impl ExpandedOuter {
    const ZERO: Self = Self {
        d: [[0.0; 4]; GROUP / 4],
        dmin: [[0.0; 4]; GROUP / 4],
        mins: [[Lane::ZERO; 2]; RUN / 2],
    };
}

/// A group of rows.
#[derive(Debug, Default)]
pub struct ExpandedGroup {
    /// Block by block.
    pub blocks: Vec<Expanded>,
    /// For each eight blocks, in formats of super-blocks.
    pub outer: Vec<ExpandedOuter>,
}

impl ExpandedGroup {
    /// Expands a group.
    #[inline(never)]
    pub fn set<F: Format>(&mut self, group: &[BlockOf<F>]) {
        let run = <F::Scales as Scales>::BLOCKS;
        let (constants, mask) = (F::Codes::constants(), HalfMask::hidden());
        self.blocks.resize(group.len() * run, Expanded::ZERO);
        self.outer.resize(group.len(), ExpandedOuter::ZERO);
        let places = self.blocks.chunks_exact_mut(run).zip(&mut self.outer);
        for (block, (places, outer_place)) in group.iter().zip(places) {
            for (i, (codes, out)) in block.codes.as_ref().iter().zip(places).enumerate() {
                for (quad, lanes) in out.codes.iter_mut().enumerate() {
                    for (half, lane) in lanes.iter_mut().enumerate() {
                        F::Dot::expand(codes.quad(&constants, half, quad)).store(lane);
                    }
                }
                for sub in 0..<F::Scales as Scales>::SUBS {
                    store(block.scales.scale(i, sub, mask), &mut out.scales[sub]);
                }
                if let Some(min) = block.scales.min(mask) {
                    store(min, &mut out.mins);
                }
            }
            if let Some(outer) = block.scales.outer() {
                store(F32x4::load_f16x8_tiny(outer.d, mask), &mut outer_place.d);
                if let Some((dmin, mins)) = outer.mins {
                    store(F32x4::load_f16x8_tiny(dmin, mask), &mut outer_place.dmin);
                    outer_place.mins[..mins.len()].copy_from_slice(mins);
                }
            }
        }
    }
}

/// Eight floats.
#[inline(always)]
fn store(x: [F32x4; 2], out: &mut [[f32; 4]; GROUP / 4]) {
    for (x, out) in x.into_iter().zip(out) {
        x.store(out);
    }
}
