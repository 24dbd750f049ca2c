//! What is measured rather than known: whether products with activations of eight bits are faster here.

use super::GpuBackend;
use super::compile;
use super::kernel::Reduce;
use super::replay::Replay;
use crate::Result;

/// Tokens of the chunk that is timed, and of the longer ones that a quick GPU runs.
const CHUNKS: [usize; 2] = [64, 512];

/// A chunk that takes this long, in milliseconds, is as long as they will be.
const LONG_MS: f64 = 15.0;

/// How many times as fast the rounded products must be to be worth their rounding.
const WORTH: f64 = 1.15;

impl GpuBackend {
    /// Whether products of chunks round activations to eight bits.
    pub fn int8(&self) -> bool {
        self.target.int8
    }

    /// Whether they should: as asked for, or, on a real GPU, as a chunk of this model takes less time.
    ///
    /// # Errors
    /// Those of [`GpuBackend::forward`].
    pub async fn prefers_int8(&mut self) -> Result<bool> {
        if !self.gpu.has_int8 {
            return Ok(false);
        }
        if let Some(asked) = self.gpu.restrictions.int8 {
            return Ok(asked);
        }
        if self.gpu.software || self.plan.whole || !self.plan.encoder.is_empty() {
            return Ok(false);
        }
        let most = self.program.max_tokens.min(self.n_ctx);
        let mut count = CHUNKS[0].min(most);
        let mut exact = self.chunk_ms(count).await?;
        if exact < LONG_MS {
            count = CHUNKS[1].min(most);
            exact = self.chunk_ms(count).await?;
        }
        self.set_int8(true).await?;
        let rounded = self.chunk_ms(count).await;
        self.set_int8(false).await?;
        Ok(exact > rounded? * WORTH)
    }

    /// Rounds activations of chunks to eight bits from now on, or no longer. Caches made before are of no use after it.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when a kernel does not compile; then all is as before.
    pub async fn set_int8(&mut self, int8: bool) -> Result<()> {
        if self.target.int8 == int8 {
            return Ok(());
        }
        let target = compile::Target {
            int8,
            ..self.target
        };
        let (program, _) = compile::compile(&self.plan, self.weights.dtypes(), target)?;
        let compiling = self.gpu.start_compiling(&program.kernels);
        let mut pipelines = compiling.wait(&self.gpu, &mut |_, _| Ok(())).await?;
        for (kernel, pipeline) in program.kernels.iter().zip(&mut pipelines) {
            if self.without_subgroups.contains(kernel) {
                *pipeline = self.gpu.compile(kernel, Reduce::Workgroup).await?;
            }
        }
        let bytes = program.packed_bytes as u64;
        let packed = || self.gpu.storage("packed", bytes);
        self.buffers.packed = self.gpu.allocating(bytes, packed).await?;
        (self.target, self.program, self.pipelines) = (target, program, pipelines);
        if self.replay.is_some() {
            self.replay = Some(Replay::new(self));
        }
        Ok(())
    }

    /// Milliseconds of a chunk at the beginning of a text.
    async fn chunk_ms(&mut self, count: usize) -> Result<f64> {
        let vocab = self.plan.n_vocab.max(1);
        let tokens: Vec<u32> = (0..count).map(|i| (i * 31 % vocab) as u32).collect();
        let mut cache = self.new_cache(count);
        self.pass_ms(&mut cache, &tokens).await
    }
}
