//! What a model takes on the GPU, known from its header, and whether the GPU gives that.
//!
//! WebGPU does not tell how much memory there is. So the buffers are asked for, and given back.

use super::device::Gpu;
use super::kernel::Kernel;
use super::pipelines::Compiling;
use super::program::Program;
use super::{GpuOptions, KvCache, Target};
use super::{buffers, compile, repack};
use crate::model::Plan;
use crate::quant::DType;
use crate::{Error, Result};

/// Bytes on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Weights, as they are stored there.
    pub weights: u64,
    /// Keys and values of one session with the whole context.
    pub cache: u64,
    /// Everything else.
    pub work: u64,
    /// Context length in tokens.
    n_ctx: usize,
}

/// Bytes that are asked for at once: where they are refused, no more than that is asked for in vain.
const STEP: u64 = 256 << 20;

impl Need {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.cache + self.work
    }

    /// The error for a GPU that gave no more than `granted`.
    pub fn refused(&self, granted: u64) -> Error {
        let gb = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        Error::NoRoom(format!(
            "this model needs {} on the GPU (weights {}, cache for {} tokens {}, work {}), and it refused more than {}",
            gb(self.total()),
            gb(self.weights),
            self.n_ctx,
            gb(self.cache),
            gb(self.work),
            gb(granted)
        ))
    }
}

impl Need {
    /// The error for a GPU whose kernels see less of a buffer at once than the longest one has.
    fn unbound(&self, bytes: u64, binding: u64) -> Error {
        Error::NoRoom(format!(
            "for {} tokens at once this model needs a buffer of {} MB, of which the GPU's kernels see {} MB",
            self.n_ctx,
            bytes / 1_000_000,
            binding / 1_000_000
        ))
    }
}

/// What is known of a model on a device from its header.
pub struct Survey {
    /// The memory that it takes.
    pub need: Need,
    /// What a verdict on it is about.
    pub fingerprint: String,
    kernels: Vec<Kernel>,
}

impl Survey {
    /// Of a model whose weights are stored as `dtypes`, for sessions of `n_ctx` positions.
    ///
    /// # Errors
    /// [`Error::Gpu`] for what no kernel takes, [`Error::NoRoom`] for a context that is too long for one binding.
    pub fn new(
        gpu: &Gpu,
        plan: &Plan,
        dtypes: &[DType],
        n_ctx: usize,
        options: GpuOptions,
    ) -> Result<Self> {
        let target = Target::of(gpu, n_ctx, options);
        let (program, layout) = compile::compile(plan, dtypes, target)?;
        let cache = KvCache::sizes(plan, options.kv_type, n_ctx);
        let need = Need {
            weights: layout.bytes(),
            cache: 2 * cache.iter().sum::<u64>(),
            work: work(plan, &program, n_ctx),
            n_ctx,
        };
        // A whole text at once may make longer activations than a kernel can bind.
        let largest = cache
            .into_iter()
            .chain(buffers::activations(&program))
            .max();
        if let Some(bytes) = largest.filter(|bytes| *bytes > gpu.max_binding) {
            return Err(need.unbound(bytes, gpu.max_binding));
        }
        let fingerprint = gpu.fingerprint(&program.kernels);
        let mut kernels = program.kernels;
        kernels.extend(repack::kernel(&layout, dtypes));
        Ok(Self {
            need,
            fingerprint,
            kernels,
        })
    }

    /// Begins to compile what the model needs, before its weights are there.
    pub fn start_compiling(&self, gpu: &Gpu) -> Compiling {
        gpu.start_compiling(&self.kernels)
    }
}

fn work(plan: &Plan, program: &Program, n_ctx: usize) -> u64 {
    let (width, rows) = program.buffers[plan.logits.0];
    buffers::bytes(plan, program, n_ctx) + width as u64 * rows as u64 * 4
}

impl Gpu {
    /// Whether the device gives so much memory: asks for it and returns it. A device that refuses may be lost.
    ///
    /// # Errors
    /// [`Error::NoRoom`] with what is needed.
    pub async fn check_room(&self, need: &Need) -> Result<()> {
        let mut held = Vec::new();
        let mut granted = 0;
        let step = STEP.min(self.max_binding);
        let refused = loop {
            let bytes = step.min(need.total() - granted);
            if bytes == 0 {
                break None;
            }
            match self.allocating(bytes, || self.storage("room", bytes)).await {
                Ok(buffer) => held.push(buffer),
                // Some browsers lose the device over it.
                Err(_) => break Some(need.refused(granted)),
            }
            granted += bytes;
        };
        for buffer in held {
            buffer.destroy();
        }
        refused.map_or(Ok(()), Err)
    }
}
