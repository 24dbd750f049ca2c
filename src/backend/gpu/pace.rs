//! How long a pass takes, without the wait for its end: a browser looks only every few milliseconds whether a GPU is done,
//! which is longer than a pass takes and is no part of the GPU's work.

use web_time::Instant;

use super::program::Pass;
use super::{GpuBackend, KvCache, Rules};
use crate::Result;

/// A pass that takes this long, in milliseconds, is measured alone.
const LONG_MS: f64 = 12.0;

/// What passes in a row must take beyond a single one, in milliseconds, so that waiting does not blur it.
const ENOUGH_MS: f64 = 20.0;

/// Passes in the first submit of several, and most.
const SEVERAL: std::ops::RangeInclusive<usize> = 16..=256;

impl GpuBackend {
    /// Milliseconds of a pass with these tokens at the end of `cache`, which does not count them.
    ///
    /// # Errors
    /// As [`GpuBackend::forward`].
    pub async fn pass_ms(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<f64> {
        self.check(cache.len(), tokens)?;
        self.reserve(cache, tokens.len()).await?;
        // The first one finds everything cold.
        self.timed(cache, tokens, 1).await?;
        let alone = self.timed(cache, tokens, 1).await?;
        if alone > LONG_MS {
            return Ok(alone);
        }
        let mut count = *SEVERAL.start();
        loop {
            let all = self.timed(cache, tokens, count).await?;
            if all > alone + ENOUGH_MS || count >= *SEVERAL.end() {
                return Ok(((all - alone) / (count - 1) as f64).clamp(0.0, alone));
            }
            count *= 4;
        }
    }

    /// Milliseconds of `count` equal passes in one submit, the end seen.
    async fn timed(&mut self, cache: &KvCache, tokens: &[u32], count: usize) -> Result<f64> {
        self.write_state(cache, tokens, 1, Rules::default());
        let start = Instant::now();
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let (list, of) = (
                self.list_for(tokens)?,
                Pass::last_row(cache.len(), tokens.len()),
            );
            for _ in 0..count {
                self.ready()?
                    .record(self, &mut pass, list.clone(), cache, of);
            }
        }
        let mut word = [0u32];
        self.staging.copy(
            &mut encoder,
            &self.buffers.state,
            0,
            size_of_val(&word) as u64,
        );
        self.gpu.queue.submit([encoder.finish()]);
        self.staging.read(&self.gpu, &mut word).await?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
