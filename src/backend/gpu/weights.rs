//! Weights on the GPU: buffers of every part of every matrix, and one buffer of all vectors.

use super::device::Gpu;
use super::format::{self, Planes};
use super::layout::{Layout, Place};
use super::uploads::Uploads;
use crate::model::{Plan, WeightId};
use crate::quant::DType;
use crate::{Error, Result};

/// Planes of one part of a matrix.
pub struct PartBuffers {
    /// Integers or floats.
    pub quants: wgpu::Buffer,
    /// Scales; a few bytes for floats.
    pub scales: wgpu::Buffer,
}

/// All weights of a model.
pub struct Weights {
    /// Where each lies.
    pub layout: Layout,
    /// Parts of each matrix.
    pub matrices: Vec<Vec<PartBuffers>>,
    /// All vectors.
    pub vectors: wgpu::Buffer,
    /// Values of rope factors, which the host needs to make the tables of angles.
    factors: Vec<(WeightId, Vec<f32>)>,
    dtypes: Vec<DType>,
    written: Vec<bool>,
    planes: Planes,
    uploads: Uploads,
    bytes: u64,
}

impl Weights {
    /// Buffers for the whole model, empty.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with the size of the model.
    pub async fn new(gpu: &Gpu, layout: Layout, dtypes: Vec<DType>) -> Result<Self> {
        let sizes = layout.sizes();
        let vector_bytes = layout.vector_bytes();
        let bytes = layout.bytes();
        let make = || {
            let part = |(quants, scales): &(u64, u64)| PartBuffers {
                quants: gpu.storage("quants", *quants),
                scales: gpu.storage("scales", *scales),
            };
            let matrices: Vec<Vec<_>> = sizes
                .iter()
                .map(|parts| parts.iter().map(part).collect())
                .collect();
            (matrices, gpu.storage("vectors", vector_bytes))
        };
        let (matrices, vectors) = gpu.allocating(bytes, make).await?;
        let written = vec![false; dtypes.len()];
        Ok(Self {
            layout,
            matrices,
            vectors,
            factors: Vec::new(),
            dtypes,
            written,
            planes: Planes::default(),
            uploads: Uploads::default(),
            bytes,
        })
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Storage types in the file.
    pub fn dtypes(&self) -> &[DType] {
        &self.dtypes
    }

    /// Values of a vector that was named in `new`'s plan as rope factors.
    pub fn factors(&self, id: WeightId) -> Option<&[f32]> {
        self.factors
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, values)| values.as_slice())
    }

    /// Takes GGUF bytes of whole rows.
    ///
    /// # Errors
    /// [`Error::Internal`] when they do not fit, [`Error::BadTensor`] for scales beyond f16, [`Error::GpuLost`].
    pub async fn write_rows(
        &mut self,
        gpu: &Gpu,
        plan: &Plan,
        id: WeightId,
        row_start: usize,
        bytes: &[u8],
    ) -> Result<()> {
        let spec = &plan.weights[id.0];
        let dtype = self.dtypes[id.0];
        self.written[id.0] = true;
        match self.layout.places[id.0] {
            Some(Place::Vector { vector, offset }) => {
                let values = format::floats(dtype, bytes, spec.cols)?;
                let first = self.layout.vectors[vector].0 + offset;
                gpu.queue.write_buffer(
                    &self.vectors,
                    first as u64 * 4,
                    bytemuck::cast_slice(&values),
                );
                if plan.ropes.iter().any(|rope| rope.factors == Some(id)) {
                    self.factors.push((id, values));
                }
                Ok(())
            }
            Some(Place::Matrix { matrix, row }) => {
                let row_bytes = dtype.row_bytes(spec.cols)?;
                self.write_matrix_rows(gpu, matrix, row + row_start, dtype, bytes, row_bytes)
                    .await
            }
            None => Err(Error::Internal("a weight has no place".into())),
        }
    }

    async fn write_matrix_rows(
        &mut self,
        gpu: &Gpu,
        matrix: usize,
        row: usize,
        dtype: DType,
        bytes: &[u8],
        row_bytes: usize,
    ) -> Result<()> {
        let shape = &self.layout.matrices[matrix];
        let count = bytes.len() / row_bytes;
        if row + count > shape.rows {
            return Err(Error::Internal("rows beyond the matrix".into()));
        }
        for (part, start) in shape.parts.iter().enumerate() {
            let (from, to) = (row.max(*start), (row + count).min(shape.part_end(part)));
            if from >= to {
                continue;
            }
            self.planes.pack(
                dtype,
                &bytes[(from - row) * row_bytes..(to - row) * row_bytes],
                shape.cols,
            )?;
            let units = (from - start) * shape.units();
            let buffers = &self.matrices[matrix][part];
            let at = shape.format.quant_bytes(units) as u64;
            self.uploads
                .write(gpu, &buffers.quants, at, &self.planes.quants)
                .await?;
            let at = shape.format.scale_bytes(units) as u64;
            self.uploads
                .write(gpu, &buffers.scales, at, &self.planes.scales)
                .await?;
        }
        Ok(())
    }

    /// Sends what is still under way.
    ///
    /// # Errors
    /// [`Error::Internal`] when a weight never came.
    pub fn finish(&mut self, gpu: &Gpu, plan: &Plan) -> Result<()> {
        self.uploads.finish(gpu);
        let missing = self.written.iter().position(|written| !written);
        missing.map_or(Ok(()), |index| {
            let name = &plan.weights[index].tensor;
            Err(Error::Internal(format!("weight {name} was never loaded")))
        })
    }
}
