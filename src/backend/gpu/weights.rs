//! Weights on the GPU: buffers of every part of every matrix, and one buffer of all vectors.

use super::device::Gpu;
use super::format::{self, Planes};
use super::layout::{Layout, Place};
use super::repack::{self, Repack};
use super::uploads::{To, Uploads};
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
    /// [`Error::OutOfMemory`] with the size of the model, [`Error::Gpu`] when a kernel does not compile.
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
            let vectors = gpu.storage("vectors", vector_bytes);
            (matrices, vectors, Repack::new(gpu))
        };
        let (matrices, vectors, mut repack) = gpu.allocating(bytes, make).await?;
        if let Some(kernel) = repack::kernel(&layout, &dtypes) {
            repack.compile(gpu, kernel).await?;
        }
        let written = vec![false; dtypes.len()];
        Ok(Self {
            layout,
            matrices,
            vectors,
            factors: Vec::new(),
            dtypes,
            written,
            planes: Planes::default(),
            uploads: Uploads::new(repack),
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

    /// Types that the GPU should repack and that the CPU packs, since the kernel was refused or gave wrong planes.
    pub fn packed_by_the_cpu(&self) -> &[DType] {
        self.uploads.wrong()
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
                let weight = (id, spec.tensor.as_str());
                self.write_matrix_rows(gpu, matrix, row + row_start, weight, bytes)
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
        weight: (WeightId, &str),
        bytes: &[u8],
    ) -> Result<()> {
        let shape = &self.layout.matrices[matrix];
        let row_bytes = self.dtypes[weight.0.0].row_bytes(shape.cols)?;
        let end = row + bytes.len() / row_bytes;
        if end > shape.rows {
            return Err(Error::Internal("rows beyond the matrix".into()));
        }
        let (mut from, mut left) = (row, bytes);
        while from < end {
            let shape = &self.layout.matrices[matrix];
            let part = shape.parts.partition_point(|start| *start <= from) - 1;
            let to = shape.part_end(part).min(end);
            let unit = (from - shape.parts[part]) * shape.units();
            let (rows, later) = left.split_at((to - from) * row_bytes);
            self.write_part(gpu, (matrix, part), unit, weight, rows)
                .await?;
            (from, left) = (to, later);
        }
        Ok(())
    }

    /// Writes whole rows to a part of a matrix, from a unit on.
    async fn write_part(
        &mut self,
        gpu: &Gpu,
        (matrix, part): (usize, usize),
        unit: usize,
        (id, name): (WeightId, &str),
        bytes: &[u8],
    ) -> Result<()> {
        let shape = &self.layout.matrices[matrix];
        let (format, dtype) = (shape.format, self.dtypes[id.0]);
        let part = &self.matrices[matrix][part];
        let quants = To::Buffer(&part.quants, format.quant_bytes(unit) as u64);
        if !format.is_integer() && !format.ragged {
            return self.uploads.write(gpu, quants, bytes).await;
        }
        if let Some(target) = self.uploads.repack().target(gpu, dtype, part) {
            let planes = To::Planes(target, id, unit);
            self.uploads.write(gpu, planes, bytes).await?;
            if !self.uploads.repack().is_new(dtype) {
                return Ok(());
            }
            self.uploads.send(gpu);
            let repack = self.uploads.repack();
            if repack.check(gpu, (name, dtype), part, unit, bytes).await? {
                return Ok(());
            }
        }
        self.planes.pack(name, dtype, bytes, shape.cols)?;
        self.uploads.write(gpu, quants, &self.planes.quants).await?;
        let scales = To::Buffer(&part.scales, format.scale_bytes(unit) as u64);
        self.uploads.write(gpu, scales, &self.planes.scales).await
    }

    /// Sends what is still under way and waits for it.
    ///
    /// # Errors
    /// [`Error::Internal`] when a weight never came, [`Error::BadTensor`] for scales beyond f16, [`Error::GpuLost`].
    pub async fn finish(&mut self, gpu: &Gpu, plan: &Plan) -> Result<()> {
        let name = |id: WeightId| plan.weights[id.0].tensor.as_str();
        if let Some(id) = self.uploads.finish(gpu).await? {
            return Err(format::beyond_f16(name(id)));
        }
        let missing = self.written.iter().position(|written| !written);
        missing.map_or(Ok(()), |index| {
            let name = name(WeightId(index));
            Err(Error::Internal(format!("weight {name} was never loaded")))
        })
    }
}
