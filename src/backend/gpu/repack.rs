//! Blocks of GGUF become planes on the GPU: they come through the ring as they stand in the file, and one kernel for all types
//! of the model (`shaders/kernels/repack.wgsl`) writes the planes. The CPU looks at the first few weights of each type only, to
//! see whether the kernel is right; where it is not, or knows the type not, the CPU makes the planes.

use super::PARAMS_STRIDE;
use super::device::Gpu;
use super::format::{Format, Planes, UNIT};
use super::kernel::{BlockTypes, Kernel, REPACK_GRAIN, REPACK_RUN};
use super::layout::{Layout, Place};
use super::pipelines::Pipeline;
use super::readback::Staging;
use super::uploads::STAGE_BYTES;
use super::weights::PartBuffers;
use crate::model::WeightId;
use crate::quant::DType;
use crate::{Error, Result};

/// Words of the kernel's parameters.
const PARAMS_WORDS: usize = 5;

/// Jobs that come in one buffer of the ring at most.
pub const MAX_JOBS: usize = 64;

/// Units of a type that are compared with what the CPU makes of them.
const CHECKED_UNITS: usize = 256;

/// The kernel for the types of a model's matrices; none where it knows none of them.
pub fn kernel(layout: &Layout, dtypes: &[DType]) -> Option<Kernel> {
    let matrices = layout.places.iter().zip(dtypes);
    let types = BlockTypes::of(matrices.filter_map(|(place, dtype)| {
        let is_matrix = matches!(place, Some(Place::Matrix { .. }));
        is_matrix.then_some(*dtype)
    }));
    (!types.is_empty()).then_some(Kernel::Repack { types })
}

/// What repacks, for as long as a model is loaded.
pub struct Repack {
    kernel: Option<(Kernel, Pipeline)>,
    /// Types that it repacks.
    types: Vec<DType>,
    /// Those of them that were looked at.
    checked: Vec<DType>,
    /// Types that it should repack and does not, since it is wrong there or was refused.
    wrong: Vec<DType>,
    /// A buffer of the ring once more, since what can be mapped cannot be bound.
    blocks: wgpu::Buffer,
    /// Parameters of its jobs.
    params: wgpu::Buffer,
    /// One more than the number of a weight with a scale beyond f16.
    fault: wgpu::Buffer,
    /// The last one, and its plane of integers: most weights come in several pieces.
    bound: Option<(Target, wgpu::Buffer)>,
}

/// Where blocks of a type go.
#[derive(Clone)]
pub struct Target {
    dtype: DType,
    group: wgpu::BindGroup,
}

/// Some blocks in a buffer of the ring.
pub struct Job {
    target: Target,
    /// Units that they are.
    pub units: usize,
    params: [u32; PARAMS_WORDS],
}

impl Target {
    /// Bytes in multiples of which the blocks of a row may be cut: what is left begins with a whole word of scales too.
    pub fn grain(&self) -> usize {
        (REPACK_GRAIN * UNIT / self.dtype.block_len()).max(1) * self.dtype.block_bytes()
    }

    /// Brings so many bytes of blocks, which begin at byte `from`, to unit `unit` and those that follow.
    pub fn job(&self, from: u64, bytes: usize, weight: WeightId, unit: usize) -> Job {
        let units = bytes / self.dtype.block_bytes() * (self.dtype.block_len() / UNIT);
        // A buffer of the ring and a binding are counted in 32 bits.
        let [from, unit, count, weight] =
            [from as usize, unit, units, weight.0 + 1].map(|word| word as u32);
        let params = [from, unit, count, weight, self.dtype.ggml_id()];
        Job {
            target: self.clone(),
            units,
            params,
        }
    }
}

impl Repack {
    /// Buffers, and no kernel yet.
    pub fn new(gpu: &Gpu) -> Self {
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        Self {
            kernel: None,
            types: Vec::new(),
            checked: Vec::new(),
            wrong: Vec::new(),
            blocks: gpu.storage("blocks", STAGE_BYTES),
            params: gpu.buffer("repack", MAX_JOBS as u64 * PARAMS_STRIDE, uniform),
            fault: gpu.storage("fault", 4),
            bound: None,
        }
    }

    /// Compiles the kernel. Where it is refused the CPU makes all planes.
    ///
    /// # Errors
    /// [`Error::GpuLost`].
    pub async fn compile(&mut self, gpu: &Gpu, kernel: Kernel) -> Result<()> {
        let Kernel::Repack { types } = kernel else {
            return Ok(());
        };
        let compiling = gpu.start_compiling(&[kernel]);
        match compiling.wait(gpu, &mut |_, _| Ok(())).await {
            Ok(mut pipelines) => {
                self.kernel = pipelines.pop().map(|pipeline| (kernel, pipeline));
                self.types = types.iter().collect();
            }
            Err(Error::Gpu(_)) => self.wrong = types.iter().collect(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Where blocks of a type go in a part of a matrix; none where the CPU must make the planes.
    pub fn target(&mut self, gpu: &Gpu, dtype: DType, part: &PartBuffers) -> Option<Target> {
        if let Some((target, quants)) = &self.bound
            && (target.dtype, quants) == (dtype, &part.quants)
        {
            return Some(target.clone());
        }
        let repacks = self.types.contains(&dtype);
        let (_, pipeline) = self.kernel.as_ref().filter(|_| repacks)?;
        let params = wgpu::BufferBinding {
            buffer: &self.params,
            offset: 0,
            size: wgpu::BufferSize::new(PARAMS_WORDS as u64 * 4),
        };
        let resources = [
            self.blocks.as_entire_binding(),
            wgpu::BindingResource::Buffer(params),
            part.quants.as_entire_binding(),
            part.scales.as_entire_binding(),
            self.fault.as_entire_binding(),
        ];
        let entries: Vec<_> = (0..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let target = Target {
            dtype,
            group: gpu.bind_group("repack", &pipeline.layout, &entries),
        };
        self.bound = Some((target.clone(), part.quants.clone()));
        Some(target)
    }

    /// Records the jobs of the first `used` bytes of a buffer of the ring.
    pub fn record(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        stage: &wgpu::Buffer,
        used: u64,
        jobs: &[Job],
    ) {
        let Some((kernel, pipeline)) = &self.kernel else {
            return;
        };
        let stride = PARAMS_STRIDE as usize;
        let mut params = vec![0; jobs.len() * stride / 4];
        for (params, job) in params.chunks_exact_mut(stride / 4).zip(jobs) {
            params[..PARAMS_WORDS].copy_from_slice(&job.params);
        }
        gpu.queue
            .write_buffer(&self.params, 0, bytemuck::cast_slice(&params));
        encoder.copy_buffer_to_buffer(stage, 0, &self.blocks, 0, used);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline.pipeline);
        for (job, offset) in jobs.iter().zip((0..).step_by(stride)) {
            let span = REPACK_RUN * kernel.workgroup();
            pass.set_bind_group(0, &job.target.group, &[offset]);
            pass.dispatch_workgroups(job.units.div_ceil(span) as u32, 1, 1);
        }
    }

    /// Whether the kernel has to be looked at still on this type.
    pub fn is_new(&self, dtype: DType) -> bool {
        !self.checked.contains(&dtype)
    }

    /// Types that the CPU packs since the kernel is wrong there, or was refused.
    pub fn wrong(&self) -> &[DType] {
        &self.wrong
    }

    /// Compares the planes from a unit of a part on with what the CPU makes of their blocks, `bytes` of the tensor `name`; what
    /// was written to the ring must have been sent. The CPU packs a type that is wrong from now on.
    ///
    /// # Errors
    /// [`Error::BadTensor`] for scales beyond f16, [`Error::GpuLost`].
    pub async fn check(
        &mut self,
        gpu: &Gpu,
        (name, dtype): (&str, DType),
        part: &PartBuffers,
        unit: usize,
        bytes: &[u8],
    ) -> Result<bool> {
        let few = CHECKED_UNITS * UNIT / dtype.block_len() * dtype.block_bytes();
        let mut wanted = Planes::default();
        wanted.pack(
            name,
            dtype,
            &bytes[..few.min(bytes.len())],
            dtype.block_len(),
        )?;
        let format = Format::of(dtype, UNIT);
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let lengths = [&wanted.quants, &wanted.scales].map(|plane| plane.len() as u64);
        let total = lengths[0] + lengths[1];
        // What was in the blocks' own buffer has been repacked.
        let mut gather = |buffer, from: usize, to, bytes| {
            encoder.copy_buffer_to_buffer(buffer, from as u64, &self.blocks, to, bytes);
        };
        gather(&part.quants, format.quant_bytes(unit), 0, lengths[0]);
        gather(
            &part.scales,
            format.scale_bytes(unit),
            lengths[0],
            lengths[1],
        );
        let made = read(gpu, encoder, &self.blocks, total).await?;
        let (quants, scales) = made.split_at(wanted.quants.len());
        let is_right = (quants, scales) == (&wanted.quants, &wanted.scales);
        self.checked.push(dtype);
        if !is_right {
            self.bound = None;
            self.types.retain(|of| *of != dtype);
            self.wrong.push(dtype);
        }
        Ok(is_right)
    }

    /// Waits until all is repacked, and gives the memory back. Returns a weight with a scale beyond f16.
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::Gpu`].
    pub async fn finish(&self, gpu: &Gpu) -> Result<Option<WeightId>> {
        let encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let fault = read(gpu, encoder, &self.fault, 4).await;
        for buffer in [&self.blocks, &self.params, &self.fault] {
            buffer.destroy();
        }
        let fault: u32 = bytemuck::pod_read_unaligned(&fault?);
        Ok(fault.checked_sub(1).map(|id| WeightId(id as usize)))
    }
}

/// Submits, and reads the first bytes of a buffer.
async fn read(
    gpu: &Gpu,
    mut encoder: wgpu::CommandEncoder,
    buffer: &wgpu::Buffer,
    bytes: u64,
) -> Result<Vec<u8>> {
    let staging = Staging::new(gpu, bytes);
    staging.copy(&mut encoder, buffer, 0, bytes);
    gpu.queue.submit([encoder.finish()]);
    let mut read = vec![0; bytes as usize];
    staging.read(gpu, &mut read).await?;
    Ok(read)
}
