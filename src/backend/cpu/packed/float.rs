//! Float matrices: groups of eight rows, column by column, multiplied in f32.
//!
//! ```text
//! F16, BF16   one lane a column:  8 × 16 bits, rows 0 4 1 5 2 6 3 7
//! F32         two lanes a column: rows 0..4, rows 4..8
//! ```
//!
//! In this order two halves of a lane become floats with the fewest operations. Half floats lack `2^112` then; activations
//! make up for a part of it and sums for the rest, so that neither leaves the range of floats.

use std::ops::Range;

use super::GROUP;
use super::acts::QuantizedActs;
use crate::backend::cpu::simd::{F32x4, HalfMask, Lane};
use crate::quant::DType;
use crate::{Error, Result};

/// Width and meaning of the floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatKind {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
    /// The upper 16 bits of an f32.
    BF16,
}

impl FloatKind {
    /// The kind of a float type.
    pub fn of(dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32),
            DType::F16 => Ok(Self::F16),
            DType::BF16 => Ok(Self::BF16),
            _ => Err(Error::Internal(format!("{dtype} is no float type"))),
        }
    }

    /// Bytes of a number.
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Lanes of a column of eight rows.
    pub fn lanes_per_col(self) -> usize {
        self.size() * GROUP / size_of::<Lane>()
    }
}

/// Reads one column of eight rows.
trait Column {
    /// Lanes of a column.
    const LANES: usize;
    /// What activations are multiplied with, and what sums are.
    const LACKS: [f32; 2] = [1.0; 2];
    /// Rows 0..4 and rows 4..8, divided by what they lack.
    fn load(lanes: &[Lane], mask: HalfMask) -> [F32x4; 2];
}

struct Single;
struct Half;
struct Brain;

impl Column for Single {
    const LANES: usize = 2;

    #[inline(always)]
    fn load(lanes: &[Lane], _: HalfMask) -> [F32x4; 2] {
        [
            F32x4::load(bytemuck::cast_ref(&lanes[0])),
            F32x4::load(bytemuck::cast_ref(&lanes[1])),
        ]
    }
}

impl Column for Half {
    const LANES: usize = 1;
    const LACKS: [f32; 2] = [
        f32::from_bits((127 + 64) << 23),
        f32::from_bits((127 + 112 - 64) << 23),
    ];

    #[inline(always)]
    fn load(lanes: &[Lane], mask: HalfMask) -> [F32x4; 2] {
        F32x4::load_f16_pairs_tiny(bytemuck::cast_ref(&lanes[0]), mask)
    }
}

impl Column for Brain {
    const LANES: usize = 1;

    #[inline(always)]
    fn load(lanes: &[Lane], _: HalfMask) -> [F32x4; 2] {
        F32x4::load_bf16_pairs(&lanes[0])
    }
}

/// Where a row stands in a column.
fn place(kind: FloatKind, row: usize) -> usize {
    match kind {
        FloatKind::F32 => row,
        FloatKind::F16 | FloatKind::BF16 => row % 4 * 2 + row / 4,
    }
}

/// Interleaves up to eight rows of GGUF bytes.
pub fn pack_group(kind: FloatKind, rows: &[u8], cols: usize, out: &mut [Lane]) {
    let size = kind.size();
    let out: &mut [u8] = bytemuck::cast_slice_mut(out);
    for (r, row) in rows.chunks_exact(size * cols).enumerate() {
        let r = place(kind, r);
        for (c, number) in row.chunks_exact(size).enumerate() {
            out[(c * GROUP + r) * size..][..size].copy_from_slice(number);
        }
    }
}

/// Reads a row of a group back.
pub fn read_row(kind: FloatKind, group: &[Lane], row: usize, out: &mut [f32]) {
    match kind {
        FloatKind::F32 => read_column::<Single>(group, row, out),
        FloatKind::F16 => read_column::<Half>(group, row, out),
        FloatKind::BF16 => read_column::<Brain>(group, row, out),
    }
}

fn read_column<C: Column>(group: &[Lane], row: usize, out: &mut [f32]) {
    let mask = HalfMask::hidden();
    for (lanes, out) in group.chunks_exact(C::LANES).zip(out) {
        let number = C::load(lanes, mask)[row / 4].to_array()[row % 4];
        *out = number * C::LACKS[0] * C::LACKS[1];
    }
}

/// See [`PackedMatrix::matmul`](super::PackedMatrix::matmul).
pub fn matmul(
    kind: FloatKind,
    lanes: &[Lane],
    acts: &QuantizedActs,
    out: &mut [f32],
    places: Range<usize>,
    rows: Range<usize>,
) {
    match kind {
        FloatKind::F32 => multiply::<Single>(lanes, acts, out, places, rows),
        FloatKind::F16 => multiply::<Half>(lanes, acts, out, places, rows),
        FloatKind::BF16 => multiply::<Brain>(lanes, acts, out, places, rows),
    }
}

fn multiply<C: Column>(
    lanes: &[Lane],
    acts: &QuantizedActs,
    out: &mut [f32],
    places: Range<usize>,
    rows: Range<usize>,
) {
    let cols = acts.cols();
    let mut scaled = Vec::new();
    if C::LACKS[0] != 1.0 {
        scaled.extend(acts.floats().iter().map(|x| x * C::LACKS[0]));
    }
    let floats = if scaled.is_empty() {
        acts.floats()
    } else {
        &scaled
    };
    for row in rows.clone().step_by(GROUP) {
        let group = &lanes[row / GROUP * cols * C::LANES..][..cols * C::LANES];
        let count = (rows.end - row).min(GROUP);
        let mut token = 0;
        for x in floats.chunks(4 * cols) {
            let tokens = x.len() / cols;
            let mut store = |t: usize, sums: [F32x4; 2]| {
                let sums = sums.map(|x| (x * F32x4::splat(C::LACKS[1])).to_array());
                let sums: [f32; GROUP] = bytemuck::cast(sums);
                out[(token + t) * places.len() + row - places.start..][..count]
                    .copy_from_slice(&sums[..count]);
            };
            if tokens == 4 {
                let x = std::array::from_fn(|t| &x[t * cols..][..cols]);
                tile::<C>(group, x)
                    .into_iter()
                    .enumerate()
                    .for_each(|(t, sums)| store(t, sums));
            } else {
                x.chunks_exact(cols)
                    .enumerate()
                    .for_each(|(t, x)| store(t, single::<C>(group, x)));
            }
            token += tokens;
        }
    }
}

/// Eight rows × four tokens.
#[inline(never)]
fn tile<C: Column>(group: &[Lane], x: [&[f32]; 4]) -> [[F32x4; 2]; 4] {
    let mask = HalfMask::hidden();
    let mut sums = [[F32x4::splat(0.0); 2]; 4];
    let [x0, x1, x2, x3] = x;
    for ((((lanes, x0), x1), x2), x3) in
        group.chunks_exact(C::LANES).zip(x0).zip(x1).zip(x2).zip(x3)
    {
        let [low, high] = C::load(lanes, mask);
        for (sums, x) in sums.iter_mut().zip([x0, x1, x2, x3]) {
            let x = F32x4::splat(*x);
            *sums = [low.mul_add(x, sums[0]), high.mul_add(x, sums[1])];
        }
    }
    sums
}

/// Eight rows × one token: four columns at a time, so that sums do not wait for each other.
#[inline(never)]
fn single<C: Column>(group: &[Lane], x: &[f32]) -> [F32x4; 2] {
    let mask = HalfMask::hidden();
    let mut sums = [[F32x4::splat(0.0); 2]; 4];
    let add = |sums: &mut [F32x4; 2], lanes: &[Lane], x: f32| {
        let ([low, high], x) = (C::load(lanes, mask), F32x4::splat(x));
        *sums = [low.mul_add(x, sums[0]), high.mul_add(x, sums[1])];
    };
    let (fours, rest) = x.as_chunks::<4>();
    let (lanes, last) = group.split_at(fours.len() * 4 * C::LANES);
    for (lanes, x) in lanes.chunks_exact(4 * C::LANES).zip(fours) {
        for (i, sums) in sums.iter_mut().enumerate() {
            add(sums, &lanes[i * C::LANES..][..C::LANES], x[i]);
        }
    }
    for (lanes, x) in last.chunks_exact(C::LANES).zip(rest) {
        add(&mut sums[0], lanes, *x);
    }
    std::array::from_fn(|half| (sums[0][half] + sums[1][half]) + (sums[2][half] + sums[3][half]))
}
