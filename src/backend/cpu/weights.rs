//! One weight in the form that its precision wants.

use super::Precision;
use super::packed::PackedMatrix;
use super::reference::RawMatrix;
use crate::model::{WeightKind, WeightSpec};
use crate::quant::{DType, dequantize};
use crate::{Error, Result};

/// A weight of the plan.
pub enum CpuWeight {
    /// Norm weights, biases, rope factors.
    Vector {
        /// Storage in the file.
        dtype: DType,
        /// The values.
        values: Vec<f32>,
    },
    /// The file's own bytes.
    Raw(RawMatrix),
    /// Rows interleaved for SIMD.
    Packed(PackedMatrix),
}

impl CpuWeight {
    /// Room for a weight that is stored as `dtype` in the file.
    pub fn new(spec: &WeightSpec, dtype: DType, precision: Precision) -> Result<Self> {
        Ok(match (spec.kind, precision) {
            (WeightKind::Vector, _) => {
                let mut values = Vec::new();
                let bytes = spec.cols as u64 * 4;
                values
                    .try_reserve_exact(spec.cols)
                    .map_err(|_| Error::OutOfMemory { bytes })?;
                values.resize(spec.cols, 0.0);
                if dtype.is_quantized() {
                    let reason = format!("a vector stored as {} is not supported", dtype.name());
                    return Err(Error::BadTensor {
                        name: spec.tensor.clone(),
                        reason,
                    });
                }
                Self::Vector { dtype, values }
            }
            (WeightKind::Matrix, Precision::Exact) => {
                Self::Raw(RawMatrix::new(dtype, spec.rows, spec.cols)?)
            }
            (WeightKind::Matrix, Precision::Fast) => {
                Self::Packed(PackedMatrix::new(dtype, spec.rows, spec.cols)?)
            }
        })
    }

    /// Takes whole rows of GGUF bytes. A vector comes as one row.
    pub fn write_rows(&mut self, row_start: usize, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Vector { dtype, values } => dequantize(*dtype, bytes, values),
            Self::Raw(matrix) => matrix.write_rows(row_start, bytes),
            Self::Packed(matrix) => matrix.write_rows(row_start, bytes),
        }
    }

    /// Row `row` of a matrix as floats.
    pub fn row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        match self {
            Self::Vector { .. } => Err(Error::Internal("a vector has no rows".into())),
            Self::Raw(matrix) => matrix.dequantize_row(row, out),
            Self::Packed(matrix) => {
                matrix.dequantize_row(row, out);
                Ok(())
            }
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Vector { values, .. } => values.len() * 4,
            Self::Raw(matrix) => matrix.bytes(),
            Self::Packed(matrix) => matrix.bytes(),
        }
    }
}
