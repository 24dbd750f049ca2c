//! What is measured rather than known: what products of chunks are computed in fastest here.

use super::GpuBackend;
use super::compile;
use super::kernel::{Arithmetic, Reduce};
use super::replay::Replay;
use crate::{Error, Result};

/// Tokens of the chunk that is timed, and of the longer ones that a quick GPU runs.
const CHUNKS: [usize; 2] = [64, 512];

/// A chunk that takes this long, in milliseconds, is as long as they will be.
const LONG_MS: f64 = 15.0;

impl Arithmetic {
    /// How many times as fast as in f32 a chunk must be to be worth the rounding.
    fn worth(self) -> f64 {
        match self {
            Self::F32 => 1.0,
            Self::F16 => 1.05,
            Self::Int8 => 1.15,
        }
    }
}

impl GpuBackend {
    /// What products of chunks are computed in.
    pub fn arithmetic(&self) -> Arithmetic {
        self.target.arithmetic
    }

    /// What they should be computed in rather than in f32, the best first: as asked for, or, on a real GPU, as a chunk of
    /// this model takes less time.
    ///
    /// # Errors
    /// Those of [`GpuBackend::forward`].
    pub async fn preferred_arithmetic(&mut self) -> Result<Vec<Arithmetic>> {
        let mut possible = Arithmetic::PACKED.to_vec();
        possible.retain(|arithmetic| self.gpu.has(*arithmetic));
        if let Some(asked) = self.gpu.restrictions.arithmetic {
            possible.retain(|arithmetic| *arithmetic == asked);
            return Ok(possible);
        }
        if self.gpu.software || self.plan.whole || !self.plan.encoder.is_empty() {
            return Ok(Vec::new());
        }
        let most = self.program.max_tokens.min(self.n_ctx);
        let mut count = CHUNKS[0].min(most);
        let mut exact = self.chunk_ms(count).await?;
        if exact < LONG_MS {
            count = CHUNKS[1].min(most);
            exact = self.chunk_ms(count).await?;
        }
        let mut times = Vec::new();
        for arithmetic in possible {
            match self.set_arithmetic(arithmetic).await {
                // One that does not compile is not needed.
                Err(Error::Gpu(_)) => continue,
                set => set?,
            }
            times.push((arithmetic, self.chunk_ms(count).await?));
        }
        self.set_arithmetic(Arithmetic::F32).await?;
        if !times.is_empty() {
            // A GPU that was asleep is slow at first.
            exact = exact.min(self.chunk_ms(count).await?);
        }
        Ok(ranked(exact, times))
    }

    /// Computes products of chunks so from now on, where weights are integers. Caches made before are of no use after it.
    ///
    /// # Errors
    /// [`Error::Gpu`] when a kernel does not compile; then all is as before.
    pub async fn set_arithmetic(&mut self, arithmetic: Arithmetic) -> Result<()> {
        if self.target.arithmetic == arithmetic {
            return Ok(());
        }
        let target = compile::Target {
            arithmetic,
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

/// Those whose time is worth it beside that of f32, `exact`, the best first.
fn ranked(exact: f64, times: Vec<(Arithmetic, f64)>) -> Vec<Arithmetic> {
    let weighed = times.into_iter().map(|(a, ms)| (a, ms * a.worth()));
    let mut worth: Vec<_> = weighed.filter(|(_, cost)| *cost < exact).collect();
    worth.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    worth
        .into_iter()
        .map(|(arithmetic, _)| arithmetic)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_must_pay() {
        let choose =
            |f16, int8| ranked(10.0, vec![(Arithmetic::F16, f16), (Arithmetic::Int8, int8)]);
        assert_eq!(choose(10.0, 9.0), []);
        assert_eq!(choose(9.0, 12.0), [Arithmetic::F16]);
        assert_eq!(choose(6.0, 5.9), [Arithmetic::F16, Arithmetic::Int8]);
        assert_eq!(choose(6.0, 4.0), [Arithmetic::Int8, Arithmetic::F16]);
    }
}
