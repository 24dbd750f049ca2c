//! Tokens chosen on the GPU: several steps a submit, two submits under way, and the host reads along behind.
//!
//! A browser looks for finished work only every other millisecond, so a loop that reads each token before it asks for
//! the next is bound by that and by nothing else. Here the GPU takes its own token as the next one's input. What the
//! host does not want after all, because a stop string came, is cut from the cache and costs nothing but its time.

use std::collections::VecDeque;
use std::ops::Range;

use web_time::Instant;

use super::compile::KEEP;
use super::program::Pass;
use super::readback::{Reading, Staging};
use super::replay::Replay;
use super::{GpuBackend, KvCache, MAX_TOKENS, STATE_HEAD};
use crate::sampling::SamplingParams;
use crate::{Error, Result};

/// Submits that may be under way at the same time.
const IN_FLIGHT: usize = 2;

/// Most steps in one submit, so that the ring of chosen tokens holds all that are under way.
const MAX_STEPS: usize = MAX_TOKENS / IN_FLIGHT;

/// What one submit should take: text that comes in pieces of this length looks even.
const SUBMIT_MS: f64 = 20.0;

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    seed: u64,
    /// Position whose token is draw 0 of the seed.
    first: usize,
}

impl Rules {
    /// What a request asks for, if the GPU can do it: the choice must depend on the logits alone, and be greedy or from
    /// at most 64 candidates.
    fn of(params: &SamplingParams, seed: u64, first: usize) -> Option<Self> {
        let greedy = params.temperature <= 0.0;
        let fits = params.by_logits_alone() && (greedy || (1..=KEEP).contains(&params.top_k));
        fits.then_some(Self {
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
            min_p: params.min_p,
            seed,
            first,
        })
    }

    /// The dispatches that choose in this way.
    fn list(&self, replay: &Replay) -> Range<usize> {
        if self.temperature <= 0.0 {
            replay.choose()
        } else {
            replay.sample()
        }
    }

    /// The words of the state behind `produced`.
    pub(super) fn words(&self) -> [u32; 7] {
        let log_min_p = if self.min_p > 0.0 {
            self.min_p.ln()
        } else {
            f32::MIN
        };
        [
            self.top_k as u32,
            self.top_p.to_bits(),
            log_min_p.to_bits(),
            self.temperature.to_bits(),
            self.seed as u32,
            (self.seed >> 32) as u32,
            self.first as u32,
        ]
    }
}

/// How many steps to submit at once: one at first, so that text begins soon, few on slow devices, so that it flows, and
/// otherwise what did well in the generation before.
#[derive(Debug)]
struct Pace {
    steps: usize,
    fixed: bool,
    /// When the last submit came back, in milliseconds.
    last: Option<f64>,
}

impl Pace {
    fn new(fixed: Option<usize>, usual: usize) -> Self {
        Self {
            steps: fixed.unwrap_or(usual).clamp(1, MAX_STEPS),
            fixed: fixed.is_some(),
            last: None,
        }
    }

    /// Steps of the submit that follows `submits` others.
    fn steps(&self, submits: usize) -> usize {
        if submits == 0 && !self.fixed {
            1
        } else {
            self.steps
        }
    }

    /// Notes that a submit of so many steps has come back `now`, in milliseconds.
    fn note(&mut self, steps: usize, now: f64) {
        let Some(last) = self.last.replace(now).filter(|_| !self.fixed) else {
            return;
        };
        let ms = now - last;
        let fitting = (SUBMIT_MS * steps as f64 / ms.max(1e-3)) as usize;
        self.steps = fitting.clamp(1, (2 * self.steps).min(MAX_STEPS));
    }
}

/// Steps that were submitted and not collected yet.
struct Submit {
    staging: usize,
    first: usize,
    steps: usize,
    reading: Reading,
}

/// The tokens of one generation, as far as they are chosen ahead of its caller.
pub struct Run {
    rules: Rules,
    pace: Pace,
    began: Instant,
    staging: [Staging; IN_FLIGHT],
    in_flight: VecDeque<Submit>,
    ready: VecDeque<u32>,
    /// Number of the writing of the state that the GPU goes on from; 0 before the first.
    epoch: u64,
    /// Tokens chosen since then.
    produced: usize,
    submits: usize,
}

impl Run {
    /// Tokens chosen or being chosen that the caller has not seen.
    fn ahead(&self) -> usize {
        let in_flight = self.in_flight.iter().map(|submit| submit.steps);
        self.ready.len() + in_flight.sum::<usize>()
    }
}

impl GpuBackend {
    /// Begins to choose tokens for a generation, if its rules let the GPU do that.
    pub fn start_run(&self, params: &SamplingParams, seed: u64, first: usize) -> Option<Run> {
        let rules = Rules::of(params, seed, first).filter(|_| self.chooses);
        Some(Run {
            rules: rules?,
            pace: Pace::new(self.options.steps, self.usual_steps),
            began: Instant::now(),
            staging: [(); IN_FLIGHT].map(|()| Staging::new(&self.gpu, (MAX_TOKENS * 4) as u64)),
            in_flight: VecDeque::new(),
            ready: VecDeque::new(),
            epoch: 0,
            produced: 0,
            submits: 0,
        })
    }

    /// Chooses a token from the logits that the last pass left, as draw 0 of `seed`; nothing where the rules leave that to
    /// the host.
    ///
    /// # Errors
    /// Those of [`GpuBackend::forward`].
    pub async fn choose(
        &mut self,
        cache: &KvCache,
        params: &SamplingParams,
        seed: u64,
    ) -> Result<Option<u32>> {
        let Some(run) = self.start_run(params, seed, cache.len() + 1) else {
            return Ok(None);
        };
        self.write_state(cache, &[0], 1, run.rules);
        let replay = self.ready()?;
        let list = run.rules.list(replay);
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            replay.record(self, &mut pass, list, cache, Pass::last_row(cache.len(), 1));
        }
        let (from, mut chosen) = ((STATE_HEAD * 4) as u64, [0u32]);
        run.staging[0].copy(&mut encoder, &self.buffers.state, from, 4);
        self.gpu.queue.submit([encoder.finish()]);
        run.staging[0].read(&self.gpu, &mut chosen).await?;
        Ok(Some(chosen[0]))
    }

    /// The token that follows `token`, which is the newest one and not in the cache yet. At most `wanted` tokens are
    /// chosen ahead, this one included. The cache counts all that are under way: cut it when the caller has enough.
    ///
    /// # Errors
    /// Those of [`GpuBackend::forward`].
    pub async fn next_token(
        &mut self,
        cache: &mut KvCache,
        run: &mut Run,
        token: u32,
        wanted: usize,
    ) -> Result<u32> {
        if run.ready.is_empty() {
            self.keep_busy(cache, run, token, wanted).await?;
            self.collect(run).await?;
            // The GPU works on while the caller looks at these.
            self.keep_busy(cache, run, token, wanted).await?;
        }
        let next = run.ready.pop_front();
        next.ok_or_else(|| Error::Internal("no token is under way".into()))
    }

    async fn keep_busy(
        &mut self,
        cache: &mut KvCache,
        run: &mut Run,
        token: u32,
        wanted: usize,
    ) -> Result<()> {
        loop {
            // Another user of the device may have overwritten the state: then this run begins anew from its last token,
            // which is known once nothing is under way.
            let goes_on = run.epoch == self.state_epoch && run.in_flight.len() < IN_FLIGHT;
            let ahead = run.ahead();
            if ahead >= wanted || !(goes_on || run.in_flight.is_empty()) {
                return Ok(());
            }
            let steps = run.pace.steps(run.submits).min(wanted - ahead);
            let newest = run.ready.back().copied().unwrap_or(token);
            self.submit_steps(cache, run, newest, steps).await?;
        }
    }

    /// Submits `steps` steps at the end of the cache: each runs a token and chooses the next one.
    async fn submit_steps(
        &mut self,
        cache: &mut KvCache,
        run: &mut Run,
        token: u32,
        steps: usize,
    ) -> Result<()> {
        self.check(cache.len() + steps - 1, &[token])?;
        self.reserve(cache, steps).await?;
        cache.states.before_pass(&self.gpu, cache.len(), 1);
        if run.epoch != self.state_epoch {
            self.write_state(cache, &[token], 1, run.rules);
            run.epoch = self.state_epoch;
            run.produced = 0;
        }
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let replay = self.ready()?;
            let choose = run.rules.list(replay);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for step in 0..steps {
                let token = Pass::last_row(cache.len() + step, 1);
                replay.record(self, &mut pass, replay.decode(), cache, token);
                replay.record(self, &mut pass, choose.clone(), cache, token);
            }
        }
        let staging = run.submits % IN_FLIGHT;
        let (from, bytes) = ((STATE_HEAD * 4) as u64, (MAX_TOKENS * 4) as u64);
        run.staging[staging].copy(&mut encoder, &self.buffers.state, from, bytes);
        let index = self.gpu.queue.submit([encoder.finish()]);
        run.in_flight.push_back(Submit {
            staging,
            first: run.produced,
            steps,
            reading: run.staging[staging].begin(bytes, Some(index)),
        });
        run.produced += steps;
        run.submits += 1;
        cache.advance(steps);
        Ok(())
    }

    /// Waits for the oldest submit.
    async fn collect(&mut self, run: &mut Run) -> Result<()> {
        let Some(submit) = run.in_flight.pop_front() else {
            return Ok(());
        };
        let mut ring = [0u32; MAX_TOKENS];
        run.staging[submit.staging]
            .finish(&self.gpu, submit.reading, &mut ring)
            .await?;
        let chosen = submit.first..submit.first + submit.steps;
        run.ready.extend(chosen.map(|i| ring[i % MAX_TOKENS]));
        let now = run.began.elapsed().as_secs_f64() * 1e3;
        run.pace.note(submit.steps, now);
        self.usual_steps = run.pace.steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GPU and a browser, in milliseconds.
    struct Machine {
        /// Of the GPU for a token.
        token: f64,
        /// Of the host to record one.
        record: f64,
        /// From one look at the GPU to the next.
        look: f64,
    }

    /// What an answer came to.
    #[derive(Debug)]
    struct Outcome {
        /// When each token was there.
        seen: Vec<f64>,
        /// Fewest tokens under way whenever the host began to wait.
        fewest: usize,
        pace: usize,
    }

    /// An answer of so many tokens, as [`GpuBackend::next_token`] makes it.
    fn answer(machine: &Machine, usual: usize, tokens: usize) -> Outcome {
        let mut pace = Pace::new(None, usual);
        let (mut now, mut idle_from, mut submits) = (0.0f64, 0.0f64, 0);
        let mut under_way = VecDeque::new();
        let mut outcome = Outcome {
            seen: Vec::new(),
            fewest: usize::MAX,
            pace: 0,
        };
        let mut ahead = 0;
        while outcome.seen.len() < tokens {
            while under_way.len() < IN_FLIGHT && outcome.seen.len() + ahead < tokens {
                let steps = pace.steps(submits).min(tokens - outcome.seen.len() - ahead);
                now += machine.record * steps as f64;
                idle_from = idle_from.max(now) + machine.token * steps as f64;
                under_way.push_back((idle_from, steps));
                ahead += steps;
                submits += 1;
            }
            if outcome.seen.len() + ahead < tokens && submits > IN_FLIGHT {
                outcome.fewest = outcome.fewest.min(ahead);
            }
            let Some((done, steps)) = under_way.pop_front() else {
                break;
            };
            now = now.max((done / machine.look).ceil() * machine.look);
            pace.note(steps, now);
            ahead -= steps;
            outcome.seen.extend(std::iter::repeat_n(now, steps));
        }
        outcome.pace = pace.steps;
        outcome
    }

    #[test]
    fn the_gpu_is_kept_busy_however_late_a_browser_looks() {
        for (token, record, look) in [
            (0.1, 0.1, 2.0),
            (0.7, 0.3, 2.0),
            (0.7, 0.3, 4.0),
            (0.7, 0.7, 4.0),
            (0.7, 0.3, 9.0),
            (2.5, 0.5, 4.0),
            (6.0, 0.5, 9.0),
            (30.0, 0.5, 4.0),
            (150.0, 0.5, 4.0),
        ] {
            let machine = Machine {
                token,
                record,
                look,
            };
            let first = answer(&machine, 1, 400);
            let then = answer(&machine, first.pace, 400);
            let per_token = token.max(record);
            let of_ideal = |from: usize, outcome: &Outcome| {
                let ms = outcome.seen[399] - outcome.seen[from];
                (399 - from) as f64 * per_token / ms
            };
            let gaps = then.seen.windows(2).map(|pair| pair[1] - pair[0]);
            let gap = gaps.fold(0.0, f64::max);
            let case = format!("{token}, {record}, {look}: {then:?}");
            assert!(of_ideal(99, &first) > 0.9, "{case}");
            // Two steps at first, twice as many with each submit.
            assert!(of_ideal(0, &first) > 0.75, "{case}");
            assert!(of_ideal(0, &then) > 0.8, "{case}");
            assert!(gap < 30.0_f64.max(token + look), "{case}");
            assert!(then.fewest >= if token < 5.0 { 4 } else { 2 }, "{case}");
        }
    }
}
