//! The chain of steps that turns logits into a token. Each step is one line of [`Sampler::sample`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::candidates::Candidates;
use super::scan::{finite_top, first_best};
use super::{SamplingParams, random};

/// Draws tokens as its [`SamplingParams`] say. The same seed draws the same numbers on every target.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    seed: u64,
    /// Tokens chosen so far.
    draws: u64,
    candidates: Candidates,
    /// How often each of the tokens `counted` occurs there.
    counts: BTreeMap<u32, u32>,
    counted: Vec<u32>,
}

impl Sampler {
    /// Prepares the chain; without a seed in `params` each sampler gets its own.
    pub fn new(params: SamplingParams) -> Self {
        let seed = params.seed.unwrap_or_else(fresh_seed);
        Self {
            params,
            seed,
            draws: 0,
            candidates: Candidates::default(),
            counts: BTreeMap::new(),
            counted: Vec::new(),
        }
    }

    /// The seed in use, for whoever wants the same answer again.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The parameters in use.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Counts a token that was chosen elsewhere by the same rules.
    pub fn skip(&mut self) {
        self.draws += 1;
    }

    /// Chooses the next token. Biases and penalties change `logits` in place; `history` are the tokens so far, newest last.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> u32 {
        let unit = random::uniform(self.seed, self.draws);
        self.draws += 1;
        self.add_bias(logits);
        self.penalize(logits, history);
        if self.params.temperature <= 0.0 {
            return first_best(logits);
        }
        self.candidates.top_k(logits, self.params.top_k);
        self.candidates.top_p(self.params.top_p);
        self.candidates.min_p(self.params.min_p);
        self.candidates.draw(self.params.temperature, unit)
    }

    fn add_bias(&self, logits: &mut [f32]) {
        for (&id, &bias) in &self.params.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = finite_top(finite_top(*logit) + bias);
            }
        }
    }

    /// Repetition penalty (Keskar et al. 2019, CTRL), then frequency and presence penalties (OpenAI's formula).
    fn penalize(&mut self, logits: &mut [f32], history: &[u32]) {
        let p = &self.params;
        if !p.penalizes() {
            return;
        }
        let window = usize::try_from(p.repetition_window).unwrap_or(usize::MAX);
        let recent = &history[history.len().saturating_sub(window)..];
        // A window that holds all there is only grows.
        if !recent.starts_with(&self.counted) {
            self.counts.clear();
            self.counted.clear();
        }
        let new = &recent[self.counted.len()..];
        for &id in new {
            *self.counts.entry(id).or_insert(0) += 1;
        }
        self.counted.extend_from_slice(new);
        for (&id, &count) in &self.counts {
            let Some(logit) = logits.get_mut(id as usize) else {
                continue;
            };
            let known = finite_top(*logit);
            let scaled = if known > 0.0 {
                known / p.repetition_penalty
            } else {
                known * p.repetition_penalty
            };
            *logit = finite_top(scaled - count as f32 * p.frequency_penalty - p.presence_penalty);
        }
    }
}

/// The clock and a counter: samplers made in the same instant differ too.
fn fresh_seed() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = web_time::SystemTime::now()
        .duration_since(web_time::UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // Fits a JavaScript number, so that the seed can be shown and given back.
    ((now.as_nanos() as u64) ^ count.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 11
}
