//! Backends: interpreters of a [`Plan`](crate::model::Plan).

#[cfg(feature = "webgpu")]
pub mod check;
mod checkpoints;
pub mod cpu;
#[cfg(feature = "webgpu")]
pub mod gpu;

use crate::Result;
use crate::model::{Plan, Pooling, WeightId};
use crate::quant::DType;
use crate::sampling::SamplingParams;

pub use cpu::{CpuBackend, CpuOptions, KvType, Precision};
#[cfg(feature = "webgpu")]
pub use gpu::{Gpu, GpuBackend, GpuOptions};

/// Which rows of logits a forward pass is to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows {
    /// None: the chunk is only to fill the cache.
    None,
    /// Those of the last token.
    Last,
    /// Those of every token of the chunk.
    All,
}

/// Makes one vector of a text's rows.
pub fn pool(rows: &[f32], pooling: Pooling, out: &mut [f32]) {
    let width = out.len();
    match pooling {
        Pooling::First | Pooling::Rank => out.copy_from_slice(&rows[..width]),
        Pooling::Last => out.copy_from_slice(&rows[rows.len() - width..]),
        Pooling::Mean => {
            let count = (rows.len() / width) as f64;
            for (i, out) in out.iter_mut().enumerate() {
                let sum: f64 = rows[i..].iter().step_by(width).map(|v| f64::from(*v)).sum();
                *out = (sum / count) as f32;
            }
        }
    }
}

/// A backend with its weights.
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Backend {
    /// The CPU, in this thread.
    Cpu(CpuBackend),
    /// A GPU, through WebGPU.
    #[cfg(feature = "webgpu")]
    Gpu(Box<GpuBackend>),
}

/// Tokens that a backend chooses by itself, ahead of its caller.
pub enum Run {
    /// On the GPU.
    #[cfg(feature = "webgpu")]
    Gpu(Box<gpu::Run>),
}

/// Keys and values of one session, on the side of the backend that made it.
pub enum KvCache {
    /// In this process's memory.
    Cpu(cpu::KvCache),
    /// On the GPU.
    #[cfg(feature = "webgpu")]
    Gpu(gpu::KvCache),
}

impl Backend {
    /// Most tokens that one [`Backend::forward`] takes.
    pub fn max_chunk(&self) -> usize {
        match self {
            Self::Cpu(cpu) => cpu.max_chunk(),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.max_chunk(),
        }
    }

    /// How many of the `left` tokens of a prompt the next [`Backend::forward`] should take. It leaves no single token for
    /// the end: that would run as a step of decoding, which sums in another order, and where chunks end depends on how
    /// fast the device was.
    pub fn chunk(&self, left: usize) -> usize {
        let most = self.max_chunk();
        if most > 2 && left.checked_sub(1) == Some(most) {
            most - 1
        } else {
            left.min(most)
        }
    }

    /// Name for people and logs, such as `cpu-simd128`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cpu(cpu) => cpu.name(),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.name(),
        }
    }

    /// Whether it may cease to work at any time, as a GPU may.
    pub fn can_be_lost(&self) -> bool {
        !matches!(self, Self::Cpu(_))
    }

    /// The plan that this backend runs.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Cpu(cpu) => cpu.plan(),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.plan(),
        }
    }

    /// Bytes that the weights take.
    pub fn weight_bytes(&self) -> u64 {
        match self {
            Self::Cpu(cpu) => cpu.weight_bytes() as u64,
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.weight_bytes(),
        }
    }

    /// Times of the operations since the last call; none at the first, which switches the clock on. The CPU's only.
    pub fn profile(&mut self) -> Option<cpu::Profile> {
        match self {
            Self::Cpu(cpu) => Some(cpu.profile()),
            #[cfg(feature = "webgpu")]
            Self::Gpu(_) => None,
        }
    }

    /// Makes room for a weight of the plan. Its rows follow through [`Backend::write_rows`].
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn allocate(&mut self, id: WeightId, dtype: DType) -> Result<()> {
        match self {
            Self::Cpu(cpu) => cpu.allocate(id, dtype),
            // The GPU has made room for the whole model at once.
            #[cfg(feature = "webgpu")]
            Self::Gpu(_) => Ok(()),
        }
    }

    /// Takes the GGUF bytes of whole rows; `row_start` counts within the weight and is a multiple of 8.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) when the rows do not fit the weight.
    pub async fn write_rows(&mut self, id: WeightId, row_start: usize, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Cpu(cpu) => cpu.write_rows(id, row_start, bytes),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.write_rows(id, row_start, bytes).await,
        }
    }

    /// Completes loading: everything that depends on the weights and not on the token. `tell` learns how many of how many
    /// kernels are compiled, where they are.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) when a weight was never written; [`Error::Gpu`](crate::Error::Gpu)
    /// when a kernel does not compile; what `tell` returns.
    #[cfg_attr(not(feature = "webgpu"), expect(unused_variables))]
    pub async fn finish(&mut self, tell: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<()> {
        match self {
            Self::Cpu(cpu) => cpu.finish(),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.finish(tell).await,
        }
    }

    /// An empty cache for up to `n_ctx` positions.
    pub fn new_cache(&self, n_ctx: usize) -> KvCache {
        match self {
            Self::Cpu(cpu) => KvCache::Cpu(cpu.new_cache(n_ctx)),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => KvCache::Gpu(gpu.new_cache(n_ctx)),
        }
    }

    /// Says at which position the second text of a pair begins, for models that tell the two apart; holds until it is
    /// called again.
    pub fn set_second_text(&mut self, from: Option<usize>) {
        match self {
            Self::Cpu(cpu) => cpu.set_second_text(from),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.set_second_text(from),
        }
    }

    /// Runs `tokens` at the positions that follow those in the cache and appends them to it.
    ///
    /// # Errors
    /// [`Error::ContextFull`](crate::Error::ContextFull), [`Error::InvalidRequest`](crate::Error::InvalidRequest) for
    /// a token outside the vocabulary, [`Error::OutOfMemory`](crate::Error::OutOfMemory) when the cache cannot grow.
    pub async fn forward(
        &mut self,
        cache: &mut KvCache,
        tokens: &[u32],
        rows: LogitRows,
    ) -> Result<()> {
        match (self, cache) {
            (Self::Cpu(cpu), KvCache::Cpu(cache)) => cpu.forward(cache, tokens, rows),
            #[cfg(feature = "webgpu")]
            (Self::Gpu(gpu), KvCache::Gpu(cache)) => gpu.forward(cache, tokens, rows).await,
            #[cfg(feature = "webgpu")]
            _ => Err(crate::Error::Internal(
                "the cache belongs to another backend".into(),
            )),
        }
    }

    /// Begins to choose tokens where the logits are, if the backend does that and these rules allow it. Draw 0 of `seed`
    /// is the token at position `first`.
    #[cfg_attr(
        not(feature = "webgpu"),
        allow(unused_variables, reason = "the CPU leaves the choice to the sampler")
    )]
    pub fn start_run(&self, params: &SamplingParams, seed: u64, first: usize) -> Option<Run> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => {
                let run = gpu.start_run(params, seed, first)?;
                Some(Run::Gpu(Box::new(run)))
            }
        }
    }

    /// The token after `token`, which is the newest one and not in the cache yet. At most `wanted` tokens are chosen
    /// ahead, this one included. Afterwards the cache holds `token` and perhaps more: cut it to what is known when the
    /// run ends.
    ///
    /// # Errors
    /// Those of [`Backend::forward`].
    #[cfg_attr(not(feature = "webgpu"), expect(unused_variables))]
    pub async fn next_token(
        &mut self,
        cache: &mut KvCache,
        run: &mut Run,
        token: u32,
        wanted: usize,
    ) -> Result<u32> {
        match (self, cache, run) {
            #[cfg(feature = "webgpu")]
            (Self::Gpu(gpu), KvCache::Gpu(cache), Run::Gpu(run)) => {
                gpu.next_token(cache, run, token, wanted).await
            }
            _ => Err(crate::Error::Internal(
                "the run belongs to another backend".into(),
            )),
        }
    }

    /// Reads the text for a model with encoder and decoder, and empties the cache of what was decoded.
    ///
    /// # Errors
    /// As [`Backend::forward`]; [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a model without an encoder.
    pub async fn encode(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<()> {
        match (self, cache) {
            (Self::Cpu(cpu), KvCache::Cpu(cache)) => cpu.encode(cache, tokens),
            #[cfg(feature = "webgpu")]
            (Self::Gpu(gpu), KvCache::Gpu(cache)) => gpu.encode(cache, tokens).await,
            #[cfg(feature = "webgpu")]
            _ => Err(crate::Error::Internal(
                "the cache belongs to another backend".into(),
            )),
        }
    }

    /// Logits of the last forward pass, `[rows, n_vocab]`.
    pub fn logits(&mut self) -> &mut [f32] {
        match self {
            Self::Cpu(cpu) => cpu.logits(),
            #[cfg(feature = "webgpu")]
            Self::Gpu(gpu) => gpu.logits(),
        }
    }
}

impl KvCache {
    /// Positions held.
    pub fn len(&self) -> usize {
        match self {
            Self::Cpu(cache) => cache.len(),
            #[cfg(feature = "webgpu")]
            Self::Gpu(cache) => cache.len(),
        }
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets every position from `len` on; a model with recurrent states forgets back to its last checkpoint before
    /// `len`, so look at [`KvCache::len`] for what is left.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Cpu(cache) => cache.truncate(len),
            #[cfg(feature = "webgpu")]
            Self::Gpu(cache) => cache.truncate(len),
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Cpu(cache) => cache.bytes(),
            #[cfg(feature = "webgpu")]
            Self::Gpu(cache) => cache.bytes(),
        }
    }
}
