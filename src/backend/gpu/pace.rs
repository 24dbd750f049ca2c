//! How long a pass takes, without the wait for its end: a browser looks only every few milliseconds whether a GPU is done,
//! which is longer than a pass takes and is no part of the GPU's work. And how much may be asked for at once.

use std::ops::Range;

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

/// Products of a weight and an activation in a submit, roughly: a third of a second for a GPU of a tenth of a teraflop. A
/// system takes a GPU that is busy for seconds with one thing to be hung, and resets it.
const SUBMIT_PRODUCTS: u64 = 1 << 34;

/// Tokens for which the timed part of a model is cut.
const TIMED_TOKENS: usize = 64;

/// A list in parts, so that none of them has much more than `most` of its `products`.
fn parts(list: Range<usize>, products: u64, most: u64) -> impl Iterator<Item = Range<usize>> {
    let count = (products / most.max(1) + 1).min(list.len().max(1) as u64) as usize;
    let cut = move |i: usize| list.start + list.len() * i / count;
    (0..count).map(move |i| cut(i)..cut(i + 1))
}

impl GpuBackend {
    /// A list for so many tokens, cut into submits.
    pub(super) fn submits(
        &self,
        list: Range<usize>,
        tokens: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let most = self.options.restrictions.products;
        let products = self.products * tokens as u64;
        parts(list, products, most.unwrap_or(SUBMIT_PRODUCTS))
    }

    /// Milliseconds of a pass with these tokens at the end of `cache`, which does not count them; of a large model only of
    /// its first layers.
    ///
    /// # Errors
    /// As [`GpuBackend::forward`].
    pub async fn pass_ms(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<f64> {
        self.check(cache.len(), tokens)?;
        self.reserve(cache, tokens.len()).await?;
        // The first one finds everything cold.
        self.timed(cache, tokens, 1).await?;
        let idle = self.timed(cache, tokens, 0).await?;
        let alone = self.timed(cache, tokens, 1).await?;
        if alone > LONG_MS + idle {
            return Ok(alone - idle);
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
                self.submits(self.list_for(tokens)?, TIMED_TOKENS.min(tokens.len()))
                    .next(),
                Pass::last_row(cache.len(), tokens.len()),
            );
            for list in std::iter::repeat_n(list, count).flatten() {
                self.ready()?.record(self, &mut pass, list, cache, of);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_nothing_is_left_out() {
        let cut = |list, products| {
            let parts = parts(list, products, 100);
            parts.map(|part| (part.start, part.end)).collect::<Vec<_>>()
        };
        assert_eq!(cut(3..10, 99), [(3, 10)]);
        assert_eq!(cut(3..10, 250), [(3, 5), (5, 7), (7, 10)]);
        assert_eq!(cut(3..5, 1000), [(3, 4), (4, 5)]);
        assert_eq!(cut(3..3, 1000), [(3, 3)]);
    }
}
