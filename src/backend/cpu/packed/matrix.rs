//! [`PackedMatrix`]: built row by row from GGUF bytes, multiplied, read back.

use std::ops::Range;

use super::acts::QuantizedActs;
use super::float::FloatKind;
use super::group::{PackGroup, ReadRow, Unpacked};
use super::kernel::Product;
use super::layout::{Format, Layout, Visitor, lanes_of};
use super::{BLOCK, GROUP, float};
use crate::backend::cpu::simd::{Lane, U8x16};
use crate::quant::DType;
use crate::{Error, Result};

/// A weight matrix in the order in which kernels read it.
#[derive(Debug)]
pub struct PackedMatrix {
    dtype: DType,
    rows: usize,
    cols: usize,
    form: Form,
    /// All groups, one after the other.
    lanes: Vec<Lane>,
    /// Power of two of each group's scales.
    factors: Vec<f32>,
}

/// What the lanes hold.
#[derive(Debug, Clone, Copy)]
enum Form {
    Integers(Layout),
    Floats(FloatKind),
}

impl PackedMatrix {
    /// Room for a matrix that is stored as `dtype` in the file; rows follow through [`PackedMatrix::write_rows`].
    ///
    /// # Errors
    /// [`Error::InvalidGguf`] when `cols` are not whole blocks, [`Error::OutOfMemory`] when memory is refused.
    pub fn new(dtype: DType, rows: usize, cols: usize) -> Result<Self> {
        dtype.row_bytes(cols)?;
        let form = match Layout::of(dtype) {
            Some(layout) => Form::Integers(layout),
            None => Form::Floats(FloatKind::of(dtype)?),
        };
        let groups = rows.div_ceil(GROUP);
        let per_group = match form {
            Form::Integers(layout) => Some(layout.visit(GroupLanes(cols / BLOCK))),
            Form::Floats(kind) => kind.lanes_per_col().checked_mul(cols),
        };
        let count = per_group.and_then(|lanes| lanes.checked_mul(groups));
        let count = count.filter(|lanes| *lanes <= isize::MAX as usize / size_of::<Lane>());
        let too_big = |bytes: usize| Error::OutOfMemory {
            bytes: bytes as u64,
        };
        let count = count.ok_or_else(|| too_big(usize::MAX))?;
        let (mut lanes, mut factors) = (Vec::new(), Vec::new());
        lanes
            .try_reserve_exact(count)
            .map_err(|_| too_big(count * size_of::<Lane>()))?;
        lanes.resize(count, Lane::ZERO);
        factors
            .try_reserve_exact(groups)
            .map_err(|_| too_big(groups * size_of::<f32>()))?;
        factors.resize(groups, 1.0);
        Ok(Self {
            dtype,
            rows,
            cols,
            form,
            lanes,
            factors,
        })
    }

    /// Takes whole rows as GGUF stores them. `row_start` is a multiple of 8, and so is the number of rows unless they are
    /// the last ones.
    ///
    /// # Errors
    /// [`Error::Internal`] when the rows do not fit.
    pub fn write_rows(&mut self, row_start: usize, bytes: &[u8]) -> Result<()> {
        let row_bytes = self.dtype.row_bytes(self.cols)?.max(1);
        let (count, rest) = (bytes.len() / row_bytes, bytes.len() % row_bytes);
        let end = row_start.saturating_add(count);
        let aligned =
            row_start.is_multiple_of(GROUP) && (end.is_multiple_of(GROUP) || end == self.rows);
        if rest != 0 || end > self.rows || !aligned {
            return Err(Error::Internal(format!(
                "rows {row_start}..{end} do not fit a matrix of {} rows",
                self.rows
            )));
        }
        let lanes_per_group = self.lanes.len() / self.factors.len().max(1);
        let first = row_start / GROUP;
        let groups = self.lanes[first * lanes_per_group..].chunks_exact_mut(lanes_per_group.max(1));
        let rows = bytes.chunks(row_bytes * GROUP);
        match self.form {
            Form::Integers(layout) => {
                let mut unpacked = Unpacked::new(self.dtype, self.cols);
                for ((rows, group), factor) in rows.zip(groups).zip(&mut self.factors[first..]) {
                    unpacked.read(rows)?;
                    *factor = unpacked.factor();
                    layout.visit(PackGroup {
                        unpacked: &mut unpacked,
                        factor: *factor,
                        out: group,
                    });
                }
            }
            Form::Floats(kind) => {
                rows.zip(groups)
                    .for_each(|(rows, group)| float::pack_group(kind, rows, self.cols, group));
            }
        }
        Ok(())
    }

    /// `out[token, row] = dot(self[row], acts[token])` for the given rows, with `out` as `[tokens, rows of the matrix]`.
    /// `rows` begins at a multiple of 8 and ends at one or at the last row, so that threads can share a matrix.
    pub fn matmul(&self, acts: &QuantizedActs, out: &mut [f32], rows: Range<usize>) {
        self.multiply(acts, out, rows, 0..self.rows);
    }

    /// The same with a place in `out` for the given rows only: `[tokens, rows.len()]`.
    pub fn matmul_rows(&self, acts: &QuantizedActs, out: &mut [f32], rows: Range<usize>) {
        self.multiply(acts, out, rows.clone(), rows);
    }

    fn multiply(
        &self,
        acts: &QuantizedActs,
        out: &mut [f32],
        rows: Range<usize>,
        places: Range<usize>,
    ) {
        debug_assert!(
            acts.cols() == self.cols && rows.start.is_multiple_of(GROUP) && rows.end <= self.rows
        );
        match self.form {
            Form::Integers(layout) => layout.visit(Product {
                lanes: &self.lanes,
                factors: &self.factors,
                blocks: self.cols / BLOCK,
                acts,
                out,
                width: places.len(),
                first: places.start,
                rows,
            }),
            Form::Floats(kind) => float::matmul(kind, &self.lanes, acts, out, places, rows),
        }
    }

    /// Row `row` as floats: what GGUF's row dequantizes to, but for scales rounded to f16.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let lanes_per_group = self.lanes.len() / self.factors.len().max(1);
        let group = &self.lanes[row / GROUP * lanes_per_group..][..lanes_per_group];
        match self.form {
            Form::Integers(layout) => {
                layout.visit(ReadRow {
                    group,
                    row: row % GROUP,
                    factor: self.factors[row / GROUP],
                    out,
                });
            }
            Form::Floats(kind) => float::read_row(kind, group, row % GROUP, out),
        }
    }

    /// Reads every byte once and does next to nothing with it: the speed to measure products against.
    pub fn read(&self) -> [i8; 16] {
        let fold = |sum: U8x16, lane: &Lane| sum ^ U8x16::load(lane);
        self.lanes.iter().fold(U8x16::splat(0), fold).to_array()
    }

    /// Storage in the file.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lanes.as_slice()) + size_of_val(self.factors.as_slice())
    }
}

/// Lanes of a group with so many blocks.
struct GroupLanes(usize);

impl Visitor for GroupLanes {
    type Output = usize;

    fn visit<F: Format>(self) -> usize {
        lanes_of::<F>(self.0)
    }
}
