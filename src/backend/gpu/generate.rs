//! Several tokens a submit: the chosen token stays on the GPU, and the host reads along behind.
//!
//! A browser looks for finished work only every other millisecond, so a loop that reads each token before it asks for
//! the next is bound by that and by nothing else. Here the host submits some steps, submits the next ones, and only
//! then waits for the first.

use super::{GpuBackend, KvCache, MAX_TOKENS, STATE_HEAD};
use crate::{Error, Result};

/// Submits that may be under way at the same time.
pub const IN_FLIGHT: usize = 2;

/// Most steps in one submit, so that the ring of chosen tokens holds all that are under way.
pub const MAX_STEPS: usize = MAX_TOKENS / IN_FLIGHT;

/// Steps that were submitted and not collected yet.
#[derive(Debug)]
#[must_use = "collect it, in the order of submission"]
pub struct Pending {
    staging: usize,
    first: usize,
    steps: usize,
}

/// The greedy tokens under way.
#[derive(Debug, Default)]
pub struct Run {
    produced: usize,
    submits: usize,
}

impl Run {
    /// How many tokens were submitted.
    pub fn submitted(&self) -> usize {
        self.produced
    }
}

impl GpuBackend {
    /// Submits `steps` greedy steps at the end of `cache`: each runs a token and chooses the most likely next one. The
    /// first submit of a run begins with `token`; the following ones go on from what the GPU has chosen. The cache
    /// counts all of them at once: cut it when a stop comes earlier.
    ///
    /// # Errors
    /// [`Error::ContextFull`], [`Error::OutOfMemory`], [`Error::InvalidRequest`] as in [`GpuBackend::forward`].
    pub async fn submit_greedy(
        &mut self,
        cache: &mut KvCache,
        run: &mut Run,
        token: u32,
        steps: usize,
    ) -> Result<Pending> {
        if steps == 0 || steps > MAX_STEPS {
            return Err(Error::Internal(format!(
                "1 to {MAX_STEPS} steps in a submit"
            )));
        }
        let end = cache.len() + steps;
        self.check(end - 1, &[token])?;
        self.reserve(cache, steps).await?;
        if run.submits == 0 {
            self.write_state(cache.len(), &[token], 1);
        }
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let replay = self.ready()?;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for step in 0..steps {
                let place = (cache.len() + step, 1, 1);
                replay.record(self, &mut pass, replay.decode(), cache, place);
                replay.record(self, &mut pass, replay.choose(), cache, place);
            }
        }
        let staging = run.submits % IN_FLIGHT;
        let from = ((STATE_HEAD + MAX_TOKENS) * 4) as u64;
        self.chosen[staging].copy(
            &mut encoder,
            &self.buffers.state,
            from,
            (MAX_TOKENS * 4) as u64,
        );
        self.gpu.queue.submit([encoder.finish()]);
        let pending = Pending {
            staging,
            first: run.produced,
            steps,
        };
        run.produced += steps;
        run.submits += 1;
        cache.advance(steps);
        Ok(pending)
    }

    /// Waits for the tokens of a submit.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn collect(&self, pending: Pending) -> Result<Vec<u32>> {
        let mut ring = [0u32; MAX_TOKENS];
        self.chosen[pending.staging]
            .read(&self.gpu, &mut ring)
            .await?;
        Ok((pending.first..pending.first + pending.steps)
            .map(|i| ring[i % MAX_TOKENS])
            .collect())
    }
}
