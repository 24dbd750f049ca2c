//! Scales and minima of a block, and the block itself.

use bytemuck::AnyBitPattern;

use crate::backend::cpu::simd::Lane;

/// Scales of 8 rows × 32 columns: one or two f16 a row, and as many minima where the format has them.
pub trait Scales: AnyBitPattern {
    /// Parts of the 32 columns that have a scale of their own: 1 or 2.
    const SUBS: usize;

    /// Whether there are minima.
    const MINS: bool;

    /// Scales of the 8 rows in part `sub`.
    fn scale(&self, sub: usize) -> &Lane;

    /// Minima of the 8 rows in part `sub`, if there are any.
    fn min(&self, sub: usize) -> Option<&Lane>;
}

/// Scales alone.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Symmetric<const SUBS: usize> {
    scales: [Lane; SUBS],
}

/// Scales and minima.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Affine<const SUBS: usize> {
    scales: [Lane; SUBS],
    mins: [Lane; SUBS],
}

/// 8 rows × 32 columns.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Block<S, C> {
    /// First in memory.
    pub scales: S,
    /// Then the codes.
    pub codes: C,
}

impl<const SUBS: usize> Scales for Symmetric<SUBS> {
    const SUBS: usize = SUBS;
    const MINS: bool = false;

    #[inline(always)]
    fn scale(&self, sub: usize) -> &Lane {
        &self.scales[sub]
    }

    #[inline(always)]
    fn min(&self, _sub: usize) -> Option<&Lane> {
        None
    }
}

impl<const SUBS: usize> Scales for Affine<SUBS> {
    const SUBS: usize = SUBS;
    const MINS: bool = true;

    #[inline(always)]
    fn scale(&self, sub: usize) -> &Lane {
        &self.scales[sub]
    }

    #[inline(always)]
    fn min(&self, sub: usize) -> Option<&Lane> {
        Some(&self.mins[sub])
    }
}
