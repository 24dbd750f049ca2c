//! Scales and minima, and the block itself.

use bytemuck::AnyBitPattern;

use super::codes::Codes;
use super::group::Unpacked;
use super::{BLOCK, GROUP};
use crate::backend::cpu::simd::{F32x4, HalfMask, I32x4, Lane};

/// Scales of 8 rows, for one block of 32 columns or for a super-block of eight.
pub trait Scales: AnyBitPattern {
    /// Parts of a block that have a scale of their own: 1 or 2.
    const SUBS: usize;

    /// Whether there are minima.
    const MINS: bool;

    /// Blocks of a super-block, or 1.
    const BLOCKS: usize;

    /// Codes of those blocks.
    type Run<C: Codes>: AnyBitPattern + AsRef<[C]>;

    /// Scales of part `sub` of block `block`; floats as [`F32x4::load_f16x8_tiny`] gives them, integers in super-blocks.
    fn scale(&self, block: usize, sub: usize, mask: HalfMask) -> [F32x4; 2];

    /// The integer products of a block's two parts, each times its scale, added up. `parts` is two.
    #[inline(always)]
    fn weigh(
        &self,
        block: usize,
        _parts: usize,
        dots: impl Fn(usize) -> [I32x4; 2],
        mask: HalfMask,
    ) -> [F32x4; 2] {
        let scales = [0, 1].map(|sub| self.scale(block, sub, mask));
        let dots = [dots(0), dots(1)];
        std::array::from_fn(|h| {
            let first = dots[0][h].to_f32() * scales[0][h];
            dots[1][h].to_f32().mul_add(scales[1][h], first)
        })
    }

    /// Minima of a single block.
    #[inline(always)]
    fn min(&self, _mask: HalfMask) -> Option<[F32x4; 2]> {
        None
    }

    /// What integers of a super-block are multiplied with.
    #[inline(always)]
    fn outer(&self) -> Option<Outer<'_>> {
        None
    }

    /// Scale and minimum of row `row` in part `sub` of block `block`, as numbers.
    fn of_row(&self, block: usize, sub: usize, row: usize) -> (f32, f32);

    /// Stores those of block or super-block `at`, under the group's `factor`. `out` is as many lanes as `Self` is.
    fn pack(source: &Unpacked, at: usize, factor: f32, out: &mut [Lane]);
}

/// The upper level of nested scales.
pub struct Outer<'a> {
    /// A half float a row.
    pub d: &'a Lane,
    /// The same for minima, and the integer minima, in quads of parts as codes are in quads of columns.
    pub mins: Option<(&'a Lane, &'a [[Lane; 2]])>,
}

/// Scales alone, half floats.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Symmetric<const SUBS: usize> {
    scales: [Lane; SUBS],
}

/// Scales and minima, half floats.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Affine {
    scales: Lane,
    mins: Lane,
}

/// Integer scales under a half float for a super-block: as the K types have them, without loss.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Nested<const SUBS: usize> {
    d: Lane,
    /// `[block][part][row]`
    scales: [[[i8; GROUP]; SUBS]; RUN],
}

/// The same with minima.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct NestedAffine<const SUBS: usize> {
    dmin: Lane,
    /// `[half of the super-block's parts][quad][rows 0..4, rows 4..8]`
    mins: [[[Lane; 2]; 2]; SUBS],
    scales: Nested<SUBS>,
}

/// Blocks of a super-block.
pub const RUN: usize = 8;

/// 8 rows of a block or super-block.
#[derive(Debug, Clone, Copy, AnyBitPattern)]
#[repr(C)]
pub struct Block<S, C>
where
    S: Scales,
    C: Codes,
{
    /// First in memory.
    pub scales: S,
    /// Then the codes.
    pub codes: S::Run<C>,
}

impl<const SUBS: usize> Scales for Symmetric<SUBS> {
    const SUBS: usize = SUBS;
    const MINS: bool = false;
    const BLOCKS: usize = 1;
    type Run<C: Codes> = [C; 1];

    #[inline(always)]
    fn scale(&self, _block: usize, sub: usize, mask: HalfMask) -> [F32x4; 2] {
        F32x4::load_f16x8_tiny(&self.scales[sub], mask)
    }

    fn of_row(&self, _block: usize, sub: usize, row: usize) -> (f32, f32) {
        (half(&self.scales[sub], row), 0.0)
    }

    fn pack(source: &Unpacked, at: usize, factor: f32, out: &mut [Lane]) {
        for (sub, lane) in out.iter_mut().enumerate() {
            *lane = halves(|row| source.scale(row, at * SUBS + sub) / factor);
        }
    }
}

impl Scales for Affine {
    const SUBS: usize = 1;
    const MINS: bool = true;
    const BLOCKS: usize = 1;
    type Run<C: Codes> = [C; 1];

    #[inline(always)]
    fn scale(&self, _block: usize, _sub: usize, mask: HalfMask) -> [F32x4; 2] {
        F32x4::load_f16x8_tiny(&self.scales, mask)
    }

    #[inline(always)]
    fn min(&self, mask: HalfMask) -> Option<[F32x4; 2]> {
        Some(F32x4::load_f16x8_tiny(&self.mins, mask))
    }

    fn of_row(&self, _block: usize, _sub: usize, row: usize) -> (f32, f32) {
        (half(&self.scales, row), half(&self.mins, row))
    }

    fn pack(source: &Unpacked, at: usize, factor: f32, out: &mut [Lane]) {
        out[0] = halves(|row| source.scale(row, at) / factor);
        out[1] = halves(|row| source.min(row, at) / factor);
    }
}

impl<const SUBS: usize> Scales for Nested<SUBS> {
    const SUBS: usize = SUBS;
    const MINS: bool = false;
    const BLOCKS: usize = RUN;
    type Run<C: Codes> = [C; RUN];

    #[inline(always)]
    fn scale(&self, block: usize, sub: usize, _mask: HalfMask) -> [F32x4; 2] {
        I32x4::widen_i8x8(&self.scales[block][sub]).map(I32x4::to_f32)
    }

    /// In integers: the same numbers, since floats hold them all (24 bits), with fewer conversions.
    #[inline(always)]
    fn weigh(
        &self,
        block: usize,
        parts: usize,
        dots: impl Fn(usize) -> [I32x4; 2],
        _mask: HalfMask,
    ) -> [F32x4; 2] {
        let mut sums = [I32x4::splat(0); 2];
        for (sub, scales) in self.scales[block][..parts].iter().enumerate() {
            let (dots, scales) = (dots(sub), I32x4::widen_i8x8(scales));
            sums = std::array::from_fn(|h| sums[h].wrapping_add(dots[h].wrapping_mul(scales[h])));
        }
        sums.map(I32x4::to_f32)
    }

    #[inline(always)]
    fn outer(&self) -> Option<Outer<'_>> {
        let d = &self.d;
        Some(Outer { d, mins: None })
    }

    fn of_row(&self, block: usize, sub: usize, row: usize) -> (f32, f32) {
        let scale = f32::from(self.scales[block][sub][row]);
        (half(&self.d, row) * scale, 0.0)
    }

    fn pack(source: &Unpacked, at: usize, factor: f32, out: &mut [Lane]) {
        out[0] = halves(|row| source.scale(row, at) / factor);
        let bytes: &mut [i8] = bytemuck::cast_slice_mut(&mut out[1..]);
        for (part, rows) in bytes.chunks_exact_mut(GROUP).enumerate() {
            for (row, scale) in rows.iter_mut().enumerate() {
                *scale = source.small_scale(row, at * RUN * SUBS + part);
            }
        }
    }
}

impl<const SUBS: usize> Scales for NestedAffine<SUBS> {
    const SUBS: usize = SUBS;
    const MINS: bool = true;
    const BLOCKS: usize = RUN;
    type Run<C: Codes> = [C; RUN];

    #[inline(always)]
    fn scale(&self, block: usize, sub: usize, mask: HalfMask) -> [F32x4; 2] {
        self.scales.scale(block, sub, mask)
    }

    #[inline(always)]
    fn weigh(
        &self,
        block: usize,
        parts: usize,
        dots: impl Fn(usize) -> [I32x4; 2],
        mask: HalfMask,
    ) -> [F32x4; 2] {
        self.scales.weigh(block, parts, dots, mask)
    }

    #[inline(always)]
    fn outer(&self) -> Option<Outer<'_>> {
        Some(Outer {
            d: &self.scales.d,
            mins: Some((&self.dmin, self.mins.as_flattened())),
        })
    }

    fn of_row(&self, block: usize, sub: usize, row: usize) -> (f32, f32) {
        let part = block * SUBS + sub;
        let min = self.mins.as_flattened()[part / 4][row / 4].0[4 * (row % 4) + part % 4];
        let (scale, _) = self.scales.of_row(block, sub, row);
        (scale, half(&self.dmin, row) * f32::from(min))
    }

    fn pack(source: &Unpacked, at: usize, factor: f32, out: &mut [Lane]) {
        let (mins, scales) = out.split_at_mut(1 + 4 * SUBS);
        Nested::<SUBS>::pack(source, at, factor, scales);
        mins[0] = halves(|row| source.min(row, at) / factor);
        for (i, lane) in mins[1..].iter_mut().enumerate() {
            lane.0 = std::array::from_fn(|k| {
                let (row, part) = (4 * (i % 2) + k / 4, 4 * (i / 2) + k % 4);
                source.small_min(row, at * RUN * SUBS + part) as u8
            });
        }
    }
}

/// Half float `row` of a lane.
fn half(lane: &Lane, row: usize) -> f32 {
    half::f16::from_le_bytes([lane.0[2 * row], lane.0[2 * row + 1]]).to_f32()
}

/// Eight numbers, rounded to half floats.
fn halves(values: impl Fn(usize) -> f32) -> Lane {
    let halves: [[u8; 2]; GROUP] =
        std::array::from_fn(|r| half::f16::from_f32(values(r)).to_le_bytes());
    Lane(bytemuck::cast(halves))
}

const _: () = assert!(RUN * BLOCK == 256, "a super-block of the K types");
