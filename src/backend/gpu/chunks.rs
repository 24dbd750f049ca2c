//! How many tokens of a prompt run at once: many where the GPU is fast, since small products leave it idle; few where it
//! is slow, since a chunk that is under way cannot be cancelled.

use std::collections::VecDeque;

use web_time::Instant;

use super::device::Gpu;
use super::readback::{Reading, Staging};
use crate::Result;

/// Tokens of the first chunk, when nothing is known of the GPU's speed.
const FIRST_CHUNK: usize = 16;

/// Most tokens in a chunk.
pub const MAX_CHUNK: usize = 512;

/// Fewest: below it the weights are read for too little.
const MIN_CHUNK: usize = 8;

/// A chunk that takes less than this, in milliseconds, may be twice as long, or longer, by how much less it takes.
const SHORT_MS: f64 = 60.0;

/// One that takes more is halved: a user who cancels waits for two of them at most.
const LONG_MS: f64 = 90.0;

/// Chunks that may be under way beside the one that is submitted next.
const AHEAD: usize = 1;

/// A chunk that was submitted.
struct Chunk {
    staging: usize,
    reading: Reading,
    tokens: usize,
    since: Instant,
}

/// How many tokens a chunk has.
struct Size {
    tokens: usize,
    most: usize,
    fixed: bool,
}

impl Size {
    /// Learns from a chunk that took so long.
    fn note(&mut self, tokens: usize, ms: f64) {
        if self.fixed {
            return;
        }
        if ms > LONG_MS && tokens <= self.tokens {
            self.tokens = (tokens / 2).max(MIN_CHUNK).min(self.most);
        } else if ms < SHORT_MS && tokens == self.tokens {
            // Time grows no faster than tokens do, so a quick GPU comes to long chunks within its first prompt.
            let times = (SHORT_MS / ms.max(1.0)) as usize;
            let times = 1 << times.max(2).ilog2();
            self.tokens = self.tokens.saturating_mul(times).min(self.most);
        }
    }
}

/// The size of chunks, and those under way.
pub struct Chunks {
    size: Size,
    staging: [Staging; AHEAD + 1],
    submits: usize,
    in_flight: VecDeque<Chunk>,
    /// When the last one was done.
    done: Option<Instant>,
}

impl Chunks {
    /// Chunks of at most `most` tokens, or always of that size.
    pub fn new(gpu: &Gpu, most: usize, fixed: bool) -> Self {
        Self {
            size: Size {
                tokens: if fixed { most } else { most.min(FIRST_CHUNK) },
                most,
                fixed,
            },
            staging: [(); AHEAD + 1].map(|()| Staging::new(gpu, 4)),
            submits: 0,
            in_flight: VecDeque::new(),
            done: None,
        }
    }

    /// Tokens that the next chunk should have.
    pub fn size(&self) -> usize {
        self.size.tokens
    }

    /// The buffer to which the next chunk copies a word when it is done.
    pub fn marker(&self) -> &Staging {
        &self.staging[self.submits % self.staging.len()]
    }

    /// Notes that a chunk was submitted as `index`, then waits until only so many are under way that cancelling stays quick.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when the device fails.
    pub async fn submitted(
        &mut self,
        gpu: &Gpu,
        tokens: usize,
        index: wgpu::SubmissionIndex,
    ) -> Result<()> {
        let reading = self.marker().begin(4, Some(index));
        self.in_flight.push_back(Chunk {
            staging: self.submits % self.staging.len(),
            reading,
            tokens,
            since: Instant::now(),
        });
        self.submits += 1;
        self.wait(gpu, AHEAD).await
    }

    /// Waits until at most `left` chunks are under way.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when the device fails.
    pub async fn wait(&mut self, gpu: &Gpu, left: usize) -> Result<()> {
        while self.in_flight.len() > left {
            let Some(chunk) = self.in_flight.pop_front() else {
                break;
            };
            let mut word = [0u32];
            self.staging[chunk.staging]
                .finish(gpu, chunk.reading, &mut word)
                .await?;
            let now = Instant::now();
            let begun = self.done.map_or(chunk.since, |done| done.max(chunk.since));
            self.size
                .note(chunk.tokens, now.duration_since(begun).as_secs_f64() * 1e3);
            self.done = Some(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_while_they_are_quick_and_shrink_when_they_are_slow() {
        let mut size = Size {
            tokens: 64,
            most: MAX_CHUNK,
            fixed: false,
        };
        let mut after = |tokens, ms| {
            size.note(tokens, ms);
            size.tokens
        };
        assert_eq!(after(64, 40.0), 128);
        assert_eq!(after(5, 1.0), 128, "a short rest proves nothing");
        assert_eq!(after(128, 30.0), 256);
        assert_eq!(after(256, 75.0), 256);
        assert_eq!(after(256, 30.0), 512);
        assert_eq!(after(512, 30.0), MAX_CHUNK);
        assert_eq!(after(512, 400.0), 256);
        assert_eq!(after(256, 400.0), 128);
        assert_eq!(after(128, 400.0), 64);
        assert_eq!(
            after(64, 10.0),
            256,
            "four times as many take less than 60 ms"
        );
        assert_eq!(after(256, 0.0), 512);
        assert_eq!(after(100, 300.0), 50);
        for _ in 0..9 {
            after(50, 1e4);
        }
        assert_eq!(after(8, 1e4), MIN_CHUNK);
    }
}
