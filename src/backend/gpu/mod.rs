//! The GPU backend: compiles a [`Plan`] once into a list of dispatches and replays it for each step.
//!
//! Right within WebGPU's default limits, without `shader-f16` and without `subgroups`. Buffers, bind groups and
//! pipelines are made when the model is loaded (those of the cache when it grows); a step writes 32 bytes and its tokens
//! and replays the list in one compute pass.

#[cfg(target_arch = "wasm32")]
mod browser;
mod buffers;
mod chunks;
mod compile;
mod device;
mod format;
mod fuse;
mod generate;
mod health;
pub mod kernel;
mod kv_cache;
mod layout;
mod pace;
mod pipelines;
mod program;
mod readback;
mod repack;
mod replay;
mod room;
mod state;
mod tap;
#[cfg(test)]
mod tests;
mod tune;
mod uploads;
mod weights;

use crate::backend::{KvType, LogitRows};
use crate::model::{Plan, WeightId};
use crate::quant::DType;
use crate::{Error, Result};

use buffers::{Buffers, rotary_table};
use chunks::{Chunks, MAX_CHUNK};
use compile::Target;
pub use device::{Gpu, Restrictions, Software};
use generate::Rules;
pub use generate::Run;
pub use kernel::Arithmetic;
use kernel::MAX_TOKENS;
pub use kv_cache::KvCache;
use pipelines::Pipeline;
pub use pipelines::{Compiling, Tell};
use program::{Params, Pass, Program};
use readback::Staging;
use replay::Replay;
pub use room::{Need, Survey};
pub use tap::{List, Tap};
use weights::Weights;

/// Choices of the GPU backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct GpuOptions {
    /// Storage of the cache.
    pub kv_type: KvType,
    /// What to do without.
    pub restrictions: Restrictions,
    /// Steps in a submit, whatever time they take; for tests.
    pub steps: Option<usize>,
}

/// Positions from which attention splits the keys over several workgroups.
const SPLIT_FROM: usize = 512;

/// Words of the state before its tokens.
const STATE_HEAD: usize = 16;

/// Words of the state before the tokens of the chunk: its head and the ring of chosen tokens.
const STATE_TOKENS: usize = STATE_HEAD + MAX_TOKENS;

/// A model on the GPU.
pub struct GpuBackend {
    gpu: Gpu,
    plan: Plan,
    options: GpuOptions,
    target: Target,
    program: Program,
    /// Until [`GpuBackend::finish`] has waited for them.
    compiling: Option<Compiling>,
    pipelines: Vec<Pipeline>,
    /// Kernels that were found wrong with subgroup operations.
    without_subgroups: Vec<kernel::Kernel>,
    weights: Weights,
    /// Products of a weight and an activation for a token, at most.
    products: u64,
    buffers: Buffers,
    /// Made by [`GpuBackend::finish`].
    replay: Option<Replay>,
    staging: Staging,
    /// How often the state was written: who goes on from it must know whose it is.
    state_epoch: u64,
    chunks: Chunks,
    logits: Vec<f32>,
    /// Whether single tokens run the fused list.
    fuses: bool,
    /// Steps that a submit of the last generation had.
    usual_steps: usize,
    /// Whether tokens may be chosen on the GPU.
    chooses: bool,
    n_ctx: usize,
    second_text: Option<usize>,
    name: &'static str,
}

impl Target {
    /// What this device and these choices ask of a program.
    fn of(gpu: &Gpu, n_ctx: usize, options: GpuOptions) -> Self {
        Self {
            max_binding: gpu.max_binding,
            kv: options.kv_type,
            split_from: options.restrictions.split_from.unwrap_or(SPLIT_FROM),
            tiled: !options.restrictions.untiled,
            lanes: gpu.lanes,
            large_from: options.restrictions.large_from,
            arithmetic: Arithmetic::F32,
            max_chunk: options.restrictions.chunk.unwrap_or(MAX_CHUNK),
            n_ctx,
        }
    }
}

impl GpuBackend {
    /// Opens a device, begins to compile the kernels that `plan` needs and makes room for its weights, which are stored as
    /// `dtypes` in the file. Sessions will have up to `n_ctx` positions.
    ///
    /// # Errors
    /// [`Error::GpuUnavailable`] without an adapter, [`Error::OutOfMemory`], [`Error::Gpu`] for what no kernel takes. In
    /// each case the CPU may still do.
    pub async fn new(
        plan: Plan,
        dtypes: Vec<DType>,
        n_ctx: usize,
        options: GpuOptions,
    ) -> Result<Self> {
        Self::on(
            Gpu::open(options.restrictions).await?,
            plan,
            dtypes,
            n_ctx,
            options,
        )
        .await
    }

    /// As [`GpuBackend::new`], on a device that is open already.
    ///
    /// # Errors
    /// As there.
    pub async fn on(
        gpu: Gpu,
        plan: Plan,
        dtypes: Vec<DType>,
        n_ctx: usize,
        options: GpuOptions,
    ) -> Result<Self> {
        let target = Target::of(&gpu, n_ctx, options);
        let (program, layout) = compile::compile(&plan, &dtypes, target)?;
        let weights = Weights::new(&gpu, layout, dtypes).await?;
        let buffers = Buffers::new(&gpu, &plan, &program, n_ctx).await?;
        // Last, since whoever gives up before must not leave the compiler working.
        let compiling = gpu.start_compiling(&program.kernels);
        let (width, rows) = program.buffers[plan.logits.0];
        let staging = Staging::new(&gpu, (width * rows * 4) as u64);
        let fixed = options.restrictions.chunk.is_some();
        let chunks = Chunks::new(&gpu, program.max_tokens, fixed);
        let name = if gpu.reduce == kernel::Reduce::Subgroup {
            "webgpu-subgroups"
        } else {
            "webgpu"
        };
        let sizes = plan.weights.iter();
        let sizes = sizes.map(|spec| spec.rows as u64 * spec.cols as u64);
        Ok(Self {
            products: sizes.sum(),
            gpu,
            plan,
            options,
            target,
            compiling: Some(compiling),
            pipelines: Vec::new(),
            without_subgroups: Vec::new(),
            program,
            weights,
            buffers,
            replay: None,
            staging,
            state_epoch: 1,
            chunks,
            logits: Vec::new(),
            fuses: true,
            usual_steps: 1,
            chooses: true,
            n_ctx,
            second_text: None,
            name,
        })
    }

    /// See [`Backend::max_chunk`](super::Backend::max_chunk).
    pub fn max_chunk(&self) -> usize {
        if self.plan.whole {
            usize::MAX
        } else {
            self.chunks.size()
        }
    }

    /// See [`Backend::set_second_text`](super::Backend::set_second_text).
    pub fn set_second_text(&mut self, from: Option<usize>) {
        self.second_text = from;
    }

    /// See [`Backend::name`](super::Backend::name).
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The adapter's name.
    pub fn adapter(&self) -> &str {
        &self.gpu.adapter
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes that the weights take.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// See [`Weights::packed_by_the_cpu`].
    pub fn packed_by_the_cpu(&self) -> &[DType] {
        self.weights.packed_by_the_cpu()
    }

    /// See [`Backend::write_rows`](super::Backend::write_rows).
    ///
    /// # Errors
    /// [`Error::Internal`], [`Error::BadTensor`].
    pub async fn write_rows(&mut self, id: WeightId, row_start: usize, bytes: &[u8]) -> Result<()> {
        self.weights
            .write_rows(&self.gpu, &self.plan, id, row_start, bytes)
            .await
    }

    /// See [`Backend::finish`](super::Backend::finish).
    ///
    /// # Errors
    /// [`Error::Internal`], [`Error::Gpu`] when a kernel does not compile, what `tell` returns.
    pub async fn finish(&mut self, tell: Tell<'_>) -> Result<()> {
        if let Some(compiling) = self.compiling.take() {
            self.pipelines = compiling.wait(&self.gpu, tell).await?;
        }
        self.weights.finish(&self.gpu, &self.plan).await?;
        for (spec, buffer) in self.plan.ropes.iter().zip(&self.buffers.rotary) {
            let factors = spec.factors.and_then(|id| self.weights.factors(id));
            let table = rotary_table(spec, factors, self.n_ctx);
            self.gpu
                .queue
                .write_buffer(buffer, 0, bytemuck::cast_slice(&table));
        }
        self.replay = Some(Replay::new(self));
        Ok(())
    }

    /// See [`Backend::new_cache`](super::Backend::new_cache).
    pub fn new_cache(&self, n_ctx: usize) -> KvCache {
        KvCache::new(&self.plan, self.options.kv_type, n_ctx.min(self.n_ctx))
    }

    /// See [`Backend::logits`](super::Backend::logits).
    pub fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    fn check(&self, start: usize, tokens: &[u32]) -> Result<()> {
        // A whole text may be too long for the context, which is told below.
        let most = if self.plan.whole {
            usize::MAX
        } else {
            self.program.max_tokens
        };
        if tokens.is_empty() || tokens.len() > most {
            return Err(Error::Internal(format!("a pass takes 1 to {most} tokens")));
        }
        self.check_tokens(start, tokens)
    }

    fn check_tokens(&self, start: usize, tokens: &[u32]) -> Result<()> {
        let n_vocab = self.plan.n_vocab;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= n_vocab) {
            return Err(Error::InvalidRequest(format!(
                "token {token} is outside the vocabulary of {n_vocab}"
            )));
        }
        let n_ctx = self
            .plan
            .max_positions
            .unwrap_or(self.n_ctx)
            .min(self.n_ctx);
        if start + tokens.len() > n_ctx {
            return Err(Error::ContextFull {
                needed: start + tokens.len(),
                n_ctx,
            });
        }
        Ok(())
    }

    /// See [`Backend::forward`](super::Backend::forward).
    ///
    /// # Errors
    /// As there, and [`Error::Gpu`] when the device fails.
    pub async fn forward(
        &mut self,
        cache: &mut KvCache,
        tokens: &[u32],
        wanted: LogitRows,
    ) -> Result<()> {
        self.check(cache.len(), tokens)?;
        self.reserve(cache, tokens.len()).await?;
        cache
            .states
            .before_pass(&self.gpu, cache.len(), tokens.len());
        self.logits.clear();
        // Every row at once may be more than the buffer of logits holds.
        let (width, most_rows) = self.program.buffers[self.plan.logits.0];
        let at_once = if wanted == LogitRows::All {
            most_rows
        } else {
            tokens.len()
        };
        for tokens in tokens.chunks(at_once) {
            let rows = match wanted {
                LogitRows::None => 0,
                LogitRows::Last => 1,
                LogitRows::All => tokens.len(),
            };
            let index = self.submit(cache, tokens, rows)?;
            if rows == 0 {
                self.chunks
                    .submitted(&self.gpu, tokens.len(), index)
                    .await?;
            } else {
                let from = self.logits.len();
                self.logits.resize(from + rows * width, 0.0);
                self.staging
                    .read(&self.gpu, &mut self.logits[from..])
                    .await?;
                self.chunks.wait(&self.gpu, 0).await?;
            }
            cache.advance(tokens.len());
        }
        Ok(())
    }

    async fn reserve(&self, cache: &mut KvCache, count: usize) -> Result<()> {
        if cache.reserve(&self.gpu, count).await? {
            cache.groups = self.ready()?.cache_groups(self, cache);
        }
        Ok(())
    }

    fn ready(&self) -> Result<&Replay> {
        self.replay
            .as_ref()
            .ok_or_else(|| Error::Internal("the weights are not loaded yet".into()))
    }

    /// See [`Backend::encode`](super::Backend::encode).
    ///
    /// # Errors
    /// As there, and [`Error::Gpu`] when the device fails.
    pub async fn encode(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<()> {
        if self.plan.encoder.is_empty() {
            return Err(Error::InvalidRequest("this model has no encoder".into()));
        }
        cache.begin_memory(0);
        self.check_tokens(0, tokens)?;
        self.reserve(cache, tokens.len()).await?;
        cache.begin_memory(tokens.len());
        let list = self.ready()?.encode();
        let index = self.run(cache, list, tokens, 0)?;
        self.chunks.submitted(&self.gpu, tokens.len(), index).await
    }

    /// Runs one chunk at the end of the cache and copies `rows` rows of logits to the staging buffer.
    fn submit(
        &mut self,
        cache: &KvCache,
        tokens: &[u32],
        rows: usize,
    ) -> Result<wgpu::SubmissionIndex> {
        self.run(cache, self.list_for(tokens)?, tokens, rows)
    }

    /// The dispatches for some tokens.
    fn list_for(&self, tokens: &[u32]) -> Result<std::ops::Range<usize>> {
        let replay = self.ready()?;
        Ok(if tokens.len() == 1 && !self.plan.whole {
            replay.decode()
        } else {
            replay.chunk()
        })
    }

    /// Runs one list for `tokens` at the end of the cache.
    fn run(
        &mut self,
        cache: &KvCache,
        list: std::ops::Range<usize>,
        tokens: &[u32],
        rows: usize,
    ) -> Result<wgpu::SubmissionIndex> {
        self.write_state(cache, tokens, rows, Rules::default());
        let pass = Pass {
            position: cache.len(),
            tokens: tokens.len(),
            rows,
            ..Pass::last_row(cache.len(), tokens.len())
        };
        for part in self.submits(list.clone(), tokens.len()) {
            let last = part.end == list.end;
            let mut encoder = self
                .gpu
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut compute =
                    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.ready()?.record(self, &mut compute, part, cache, pass);
            }
            if last {
                self.copy_result(&mut encoder, rows);
            }
            let index = self.gpu.queue.submit([encoder.finish()]);
            if last {
                return Ok(index);
            }
        }
        Err(Error::Internal("nothing was submitted".into()))
    }

    /// Copies `rows` rows of logits to where they are read, or a word that says that a pass is done.
    fn copy_result(&self, encoder: &mut wgpu::CommandEncoder, rows: usize) {
        if rows == 0 {
            let marker = self.chunks.marker();
            marker.copy(encoder, &self.buffers.state, 0, 4);
        } else {
            let bytes = (rows * self.program.buffers[self.plan.logits.0].0 * 4) as u64;
            let logits = &self.buffers.activations[self.plan.logits.0];
            self.staging.copy(encoder, logits, 0, bytes);
        }
    }

    fn write_state(&mut self, cache: &KvCache, tokens: &[u32], rows: usize, rules: Rules) {
        self.state_epoch += 1;
        let (count, first_row) = (tokens.len(), tokens.len() - rows);
        let second = self.second_text.unwrap_or(u32::MAX as usize);
        let mut state = Vec::with_capacity(STATE_TOKENS + count);
        state.extend([cache.len(), count, first_row, rows, 0].map(|n| n as u32));
        state.extend(rules.words());
        state.extend([cache.memory, second].map(|n| n as u32));
        state.resize(STATE_TOKENS, 0);
        state.extend_from_slice(tokens);
        self.gpu
            .queue
            .write_buffer(&self.buffers.state, 0, bytemuck::cast_slice(&state));
    }
}

/// Bytes between parameter structs: the largest alignment of uniforms that an adapter may ask for.
const PARAMS_STRIDE: u64 = 256;

/// Bytes of a parameter struct.
const PARAMS_BYTES: u64 = (Params::WORDS * 4) as u64;
