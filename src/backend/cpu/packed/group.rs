//! A group of rows between the file's form and the packed one.

use super::codes::{CodeTable, Codes};
use super::layout::{BlockOf, Format, Visitor, lanes_of};
use super::scales::Scales;
use super::{BLOCK, GROUP};
use crate::Result;
use crate::backend::cpu::simd::Lane;
use crate::quant::{self, DType, Nested};

/// Eight rows in the form of [`quant::affine`], or of [`quant::nested`] where the type has that.
pub struct Unpacked {
    dtype: DType,
    cols: usize,
    /// `[8, cols]`
    q: Vec<i8>,
    /// `[8, cols / sub]`; with nested scales `[8, cols / 256]`.
    scales: Vec<f32>,
    /// The same.
    mins: Vec<f32>,
    /// With nested scales, `[8, cols / sub]`.
    small_scales: Vec<i8>,
    /// The same.
    small_mins: Vec<i8>,
}

impl Unpacked {
    pub fn new(dtype: DType, cols: usize) -> Self {
        let parts = GROUP * cols / dtype.sub_block().max(1);
        let (numbers, small) = if dtype.is_nested() {
            (GROUP * cols / dtype.block_len(), parts)
        } else {
            (parts, 0)
        };
        Self {
            dtype,
            cols,
            q: vec![0; GROUP * cols],
            scales: vec![0.0; numbers],
            mins: vec![0.0; numbers],
            small_scales: vec![0; small],
            small_mins: vec![0; small],
        }
    }

    /// Reads up to eight rows; missing ones become zero.
    pub fn read(&mut self, bytes: &[u8]) -> Result<()> {
        let rows = bytes.len() / self.dtype.row_bytes(self.cols)?.max(1);
        let q = rows * self.cols;
        let numbers = rows * self.scales.len() / GROUP;
        let small = rows * self.small_scales.len() / GROUP;
        self.q[q..].fill(0);
        self.scales[numbers..].fill(0.0);
        self.mins.fill(0.0);
        let q = &mut self.q[..q];
        let (scales, mins) = (&mut self.scales[..numbers], &mut self.mins[..numbers]);
        if !self.dtype.is_nested() {
            return quant::affine(self.dtype, bytes, q, scales, mins);
        }
        let out = Nested {
            d: scales,
            scales: &mut self.small_scales[..small],
            dmin: mins,
            mins: &mut self.small_mins[..small],
        };
        quant::nested(self.dtype, bytes, q, out)
    }

    /// Scale `i` of a row.
    pub fn scale(&self, row: usize, i: usize) -> f32 {
        self.scales[row * (self.scales.len() / GROUP) + i]
    }

    /// Minimum `i` of a row.
    pub fn min(&self, row: usize, i: usize) -> f32 {
        self.mins[row * (self.mins.len() / GROUP) + i]
    }

    /// Integer scale `i` of a row.
    pub fn small_scale(&self, row: usize, i: usize) -> i8 {
        self.small_scales[row * (self.small_scales.len() / GROUP) + i]
    }

    /// Integer minimum `i` of a row.
    pub fn small_min(&self, row: usize, i: usize) -> i8 {
        self.small_mins[row * (self.small_mins.len() / GROUP) + i]
    }

    /// The power of two that brings the largest scale or minimum near the top of f16's range, so that small ones do not
    /// fall below it.
    pub fn factor(&self) -> f32 {
        let most = self
            .scales
            .iter()
            .chain(&self.mins)
            .fold(0.0_f32, |most, x| most.max(x.abs()));
        if !most.is_normal() {
            return 1.0;
        }
        let exponent = most.to_bits() >> 23;
        // 2^(e - 14): `most / factor` lies in 2^14..2^15.
        f32::from_bits(exponent.saturating_sub(14).max(1) << 23)
    }
}

/// Writes one group.
pub struct PackGroup<'a> {
    /// The rows, whose integers become codes.
    pub unpacked: &'a mut Unpacked,
    /// What scales are divided by.
    pub factor: f32,
    /// The group's place.
    pub out: &'a mut [Lane],
}

impl Visitor for PackGroup<'_> {
    type Output = ();

    fn visit<F: Format>(self) {
        // All at once: the compiler vectorises a loop over many, and writes out one over a block's.
        for q in &mut self.unpacked.q {
            *q = (((*q).max(-127) as u8).wrapping_add(F::ZERO) & F::MASK) as i8;
        }
        let q: &[u8] = bytemuck::cast_slice(&self.unpacked.q);
        let cols = self.unpacked.cols;
        let mut codes: CodeTable = [[0; BLOCK]; GROUP];
        let run = <F::Scales as Scales>::BLOCKS;
        let blocks = self.out.chunks_exact_mut(lanes_of::<F>(run));
        for (b, out) in blocks.enumerate() {
            let (scales, code_lanes) = out.split_at_mut(size_of::<F::Scales>() / size_of::<Lane>());
            F::Scales::pack(self.unpacked, b, self.factor, scales);
            let code_lanes = code_lanes.chunks_exact_mut(size_of::<F::Codes>() / size_of::<Lane>());
            for (i, out) in code_lanes.enumerate() {
                for (r, codes) in codes.iter_mut().enumerate() {
                    codes.copy_from_slice(&q[r * cols + (b * run + i) * BLOCK..][..BLOCK]);
                }
                F::Codes::pack(&codes, out);
            }
        }
    }
}

/// Reads one row back.
pub struct ReadRow<'a> {
    /// The group in which it stands.
    pub group: &'a [Lane],
    /// Its number there.
    pub row: usize,
    /// What scales are multiplied with.
    pub factor: f32,
    /// Its place.
    pub out: &'a mut [f32],
}

impl Visitor for ReadRow<'_> {
    type Output = ();

    fn visit<F: Format>(self) {
        let blocks: &[BlockOf<F>] = bytemuck::cast_slice(self.group);
        let (run, subs) = (<F::Scales as Scales>::BLOCKS, <F::Scales as Scales>::SUBS);
        let constants = F::Codes::constants();
        for (i, out) in self.out.chunks_exact_mut(BLOCK / subs).enumerate() {
            let (part, sub) = (i / subs % run, i % subs);
            let block = &blocks[i / subs / run];
            let (scale, min) = block.scales.of_row(part, sub, self.row);
            let (scale, min) = (scale * self.factor, min * self.factor);
            for (j, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let quad = BLOCK / subs / 4 * sub + j;
                let quad = block.codes.as_ref()[part].quad(&constants, self.row / 4, quad);
                for (w, code) in out.iter_mut().zip(&quad.to_array()[4 * (self.row % 4)..]) {
                    *w = scale * f32::from((*code as u8).wrapping_sub(F::ZERO) as i8) - min;
                }
            }
        }
    }
}
