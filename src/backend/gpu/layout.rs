//! Where each weight lies: which matrix and row, or which stretch of the one buffer of vectors.

use super::format::{Format, UNIT};
use crate::model::{Plan, WeightId, WeightKind};
use crate::quant::DType;
use crate::{Error, Result};

/// Rows are padded to this, so that every part begins on a whole word of scales.
const ROW_GROUP: usize = 8;

/// Storage buffers are bound at multiples of this many floats (the largest alignment that an adapter may ask for).
const VECTOR_ALIGN: usize = 64;

/// One or several weights end to end.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Storage.
    pub format: Format,
    /// Row length.
    pub cols: usize,
    /// Rows in all.
    pub rows: usize,
    /// First row of each part: a matrix larger than a binding is cut by rows.
    pub parts: Vec<usize>,
    /// Vector with a bias for every row.
    pub bias: Option<usize>,
}

impl Matrix {
    /// Units per row.
    pub fn units(&self) -> usize {
        self.cols.div_ceil(UNIT)
    }

    /// Vectors of four in a row of what it is multiplied with.
    pub fn quads(&self) -> usize {
        self.cols / 4
    }

    /// End of a part, in rows.
    pub fn part_end(&self, part: usize) -> usize {
        self.parts.get(part + 1).copied().unwrap_or(self.rows)
    }

    /// Rows of a part with padding.
    pub fn part_rows(&self, part: usize) -> usize {
        (self.part_end(part) - self.parts[part]).next_multiple_of(ROW_GROUP)
    }
}

/// Place of one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Rows of a matrix.
    Matrix {
        /// Which.
        matrix: usize,
        /// First row.
        row: usize,
    },
    /// Part of a vector.
    Vector {
        /// Which.
        vector: usize,
        /// First element.
        offset: usize,
    },
}

/// Places of all weights.
#[derive(Debug, Default)]
pub struct Layout {
    /// Matrices.
    pub matrices: Vec<Matrix>,
    /// `(first float, length)` of each vector in the buffer of vectors.
    pub vectors: Vec<(usize, usize)>,
    /// Place of each weight of the plan.
    pub places: Vec<Option<Place>>,
}

/// Most rows of a matrix that fit one binding.
pub fn rows_per_part(format: Format, cols: usize, max_binding: u64) -> usize {
    let group = cols.div_ceil(UNIT) * ROW_GROUP;
    let bytes = format
        .quant_bytes(group)
        .max(format.scale_bytes(group))
        .max(1) as u64;
    let groups = usize::try_from(max_binding / bytes).unwrap_or(usize::MAX / ROW_GROUP);
    groups.saturating_mul(ROW_GROUP)
}

impl Layout {
    /// Places every weight; `groups` as [`super::fuse::Fused::groups`], `biases` of the projections outside groups.
    ///
    /// # Errors
    /// [`Error::Gpu`] for shapes that the kernels do not take.
    pub fn new(
        plan: &Plan,
        dtypes: &[DType],
        groups: &[Vec<(WeightId, Option<WeightId>)>],
        max_binding: u64,
    ) -> Result<Self> {
        let mut layout = Self {
            places: vec![None; plan.weights.len()],
            ..Self::default()
        };
        for group in groups {
            layout.add_matrix(plan, dtypes, group, max_binding)?;
        }
        for step in plan.steps.iter().chain(&plan.encoder) {
            if let crate::model::Op::MatMul { weight, bias, .. } = step.op
                && layout.places[weight.0].is_none()
            {
                layout.add_matrix(plan, dtypes, &[(weight, bias)], max_binding)?;
            }
        }
        for (index, spec) in plan.weights.iter().enumerate() {
            match spec.kind {
                _ if layout.places[index].is_some() => {}
                WeightKind::Matrix => {
                    layout.add_matrix(plan, dtypes, &[(WeightId(index), None)], max_binding)?
                }
                WeightKind::Vector => {
                    let vector = layout.add_vector(spec.cols);
                    layout.places[index] = Some(Place::Vector { vector, offset: 0 });
                }
            }
        }
        Ok(layout)
    }

    /// Bytes of the integers and of the scales of each part of each matrix.
    pub fn sizes(&self) -> Vec<Vec<(u64, u64)>> {
        let of_matrix = |matrix: &Matrix| {
            let size = |part| {
                // A part fits a binding, so it can be counted in 32 bits.
                let units = matrix.part_rows(part) * matrix.units();
                (
                    matrix.format.quant_bytes(units) as u64,
                    matrix.format.scale_bytes(units) as u64,
                )
            };
            (0..matrix.parts.len()).map(size).collect()
        };
        self.matrices.iter().map(of_matrix).collect()
    }

    /// Bytes of the buffer of vectors.
    pub fn vector_bytes(&self) -> u64 {
        self.vector_floats() as u64 * 4
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> u64 {
        let parts = self.sizes().into_iter().flatten();
        let matrices: u64 = parts.map(|(quants, scales)| quants + scales).sum();
        matrices + self.vector_bytes()
    }

    /// Floats in the buffer of vectors.
    pub fn vector_floats(&self) -> usize {
        self.vectors.last().map_or(VECTOR_ALIGN, |(first, len)| {
            first + len.next_multiple_of(VECTOR_ALIGN)
        })
    }

    /// Matrix and row of a weight.
    ///
    /// # Errors
    /// [`Error::Internal`] for a vector.
    pub fn matrix(&self, id: WeightId) -> Result<(usize, usize)> {
        match self.places[id.0] {
            Some(Place::Matrix { matrix, row }) => Ok((matrix, row)),
            _ => Err(Error::Internal(
                "a vector stands where a matrix should".into(),
            )),
        }
    }

    /// Vector of a weight that has one of its own.
    ///
    /// # Errors
    /// [`Error::Internal`] for a matrix or a shared vector.
    pub fn vector(&self, id: WeightId) -> Result<usize> {
        match self.places[id.0] {
            Some(Place::Vector { vector, offset: 0 }) => Ok(vector),
            _ => Err(Error::Internal(
                "a matrix stands where a vector should".into(),
            )),
        }
    }

    fn add_vector(&mut self, len: usize) -> usize {
        self.vectors.push((
            self.vector_floats() * usize::from(!self.vectors.is_empty()),
            len,
        ));
        self.vectors.len() - 1
    }

    fn add_matrix(
        &mut self,
        plan: &Plan,
        dtypes: &[DType],
        members: &[(WeightId, Option<WeightId>)],
        max_binding: u64,
    ) -> Result<()> {
        let Some((first, _)) = members.first() else {
            return Ok(());
        };
        let spec = &plan.weights[first.0];
        let format = Format::of(dtypes[first.0], spec.cols);
        let refuse = |reason: String| Err(Error::Gpu(format!("{}: {reason}", spec.tensor)));
        if !spec.cols.is_multiple_of(4) {
            return refuse(format!(
                "rows of {} elements: the GPU wants multiples of 4",
                spec.cols
            ));
        }
        let rows: usize = members.iter().map(|(id, _)| plan.weights[id.0].rows).sum();
        let per_part = rows_per_part(format, spec.cols, max_binding);
        if per_part == 0 {
            return refuse("a row does not fit a GPU binding".into());
        }
        let bias = members
            .iter()
            .any(|(_, bias)| bias.is_some())
            .then(|| self.add_vector(rows));
        let matrix = self.matrices.len();
        let mut row = 0;
        for (id, bias_id) in members {
            self.places[id.0] = Some(Place::Matrix { matrix, row });
            if let (Some(vector), Some(bias_id)) = (bias, bias_id) {
                self.places[bias_id.0] = Some(Place::Vector {
                    vector,
                    offset: row,
                });
            }
            row += plan.weights[id.0].rows;
        }
        let parts = (0..rows).step_by(per_part).collect();
        self.matrices.push(Matrix {
            format,
            cols: spec.cols,
            rows,
            parts,
            bias,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_beyond_four_gigabytes_is_cut_into_parts_that_fit() {
        let (cols, rows, binding) = (16_384, 700_000, (2 << 30) - 4);
        let format = Format::of(DType::Q4_0, cols);
        let per_part = rows_per_part(format, cols, binding);
        let matrix = Matrix {
            format,
            cols,
            rows,
            parts: (0..rows).step_by(per_part).collect(),
            bias: None,
        };
        let layout = Layout {
            matrices: vec![matrix],
            ..Layout::default()
        };
        let parts = &layout.sizes()[0];
        assert!(parts.len() > 2);
        assert!(parts.iter().all(|(q, s)| *q <= binding && *s <= binding));
        // 32 weights are 16 bytes of nibbles and a scale of two bytes.
        let blocks = (cols * rows / 32) as u64;
        assert_eq!(layout.bytes(), blocks * 18 + layout.vector_bytes());
        assert!(layout.bytes() > u64::from(u32::MAX));
    }
}
