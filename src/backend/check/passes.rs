//! The passes of a check, and what they are compared with.
//!
//! Only some layers run, as few as have every kernel: the rest would repeat what these show. What belongs to no layer
//! (embedding, output) runs too. A step's inputs are then not those of the whole model, but real ones all the same.

use std::ops::Range;

use super::judge::{Judge, relative_error};
use super::{Fault, INT8_LIMIT, LIMIT, WeightRows};
use crate::Result;
use crate::backend::GpuBackend;
use crate::backend::gpu::{Arithmetic, KvCache, List, Tap, Tell};
use crate::model::{Op, Plan};
use crate::sampling::{Sampler, SamplingParams};

/// Tokens of the chunk: more than a tile of any kernel is high or wide.
const TOKENS: u32 = 20;

/// Lists of the tokens that run by themselves after the chunk, one each: the second reads the keys and values that the
/// first has left in the cache, and nobody before it.
const SINGLES: [List; 2] = [List::Fused, List::FusedLong];

/// One run of the check over everything.
pub(super) struct Passes<'a, R> {
    gpu: &'a mut GpuBackend,
    rows: &'a R,
    plan: Plan,
    tokens: Vec<u32>,
    /// Steps of the plan that run.
    runs: Vec<bool>,
    /// Those that run for what only long chunks have.
    runs_of_many: Vec<bool>,
    /// Steps that are compared with the reference, of short and of long chunks.
    judged: [(List, Vec<usize>); 2],
    tell: Tell<'a>,
    done: usize,
}

impl<'a, R: WeightRows> Passes<'a, R> {
    pub(super) fn new(gpu: &'a mut GpuBackend, rows: &'a R, tell: Tell<'a>) -> Result<Self> {
        let plan = gpu.plan().clone();
        // The rest is for the tokens that run by themselves.
        let room = gpu.n_ctx().saturating_sub(SINGLES.len());
        let most = plan.n_vocab.min(TOKENS as usize).min(room).max(1);
        let every = |list| gpu.steps_with_every_kernel(list, most);
        let mut judged = [
            (List::PlainMany, every(List::PlainMany)?),
            (List::Plain, every(List::Plain)?),
        ];
        let mut wanted = every(List::Fused)?;
        wanted.extend(&judged[1].1);
        let runs = layers_around(&plan, &wanted);
        let runs_of_many = layers_around(&plan, &judged[0].1);
        for (_, judged) in &mut judged {
            // Attention is judged with the keys and values of its layer.
            let stores = |step: &usize| match plan.steps[*step].op {
                Op::StoreKv { layer, .. } => attended(&plan, judged, layer),
                _ => false,
            };
            let more: Vec<usize> = (0..plan.steps.len()).filter(stores).collect();
            judged.extend(more);
            judged.sort_unstable();
            judged.dedup();
        }
        Ok(Self {
            gpu,
            rows,
            tokens: (0..most as u32).collect(),
            runs,
            runs_of_many,
            judged,
            plan,
            tell,
            done: 0,
        })
    }

    /// Tells how far the check has come: a part for each step that is judged, for each list and for the choice.
    fn tell(&mut self) -> Result<()> {
        let judged: usize = self.judged.iter().map(|(_, steps)| steps.len()).sum();
        let total = judged + if self.plan.whole { 0 } else { 3 };
        (self.tell)(self.done.min(total), total)?;
        self.done += 1;
        Ok(())
    }

    /// Kernels that are wrong in chunks; where products are not computed in f32, of those products. The last chunk is left
    /// in the cache.
    async fn wrong_in_chunks(&mut self, cache: &mut KvCache) -> Result<Vec<usize>> {
        self.tell()?;
        let mut wrong = Vec::new();
        for (list, steps) in self.judged.clone() {
            if !steps.is_empty() {
                *cache = self.fresh_cache().await?;
                let taps = self.pass(cache, list, true, &steps).await?;
                wrong.extend(self.wrong_plain_kernels(&taps).await?);
            }
        }
        Ok(wrong)
    }

    /// Whether chunks are computed rightly.
    pub(super) async fn chunks_are_right(&mut self) -> Result<bool> {
        let mut cache = self.fresh_cache().await?;
        Ok(self.wrong_in_chunks(&mut cache).await?.is_empty())
    }

    /// The first thing that is wrong.
    pub(super) async fn find_fault(&mut self) -> Result<Option<Fault>> {
        let mut cache = self.fresh_cache().await?;
        let wrong = self.wrong_in_chunks(&mut cache).await?;
        if !wrong.is_empty() {
            return Ok(Some(Fault::Plain(wrong)));
        }
        if self.plan.whole {
            return Ok(None);
        }
        if let Some(suspects) = self.wrong_in_singles(&mut cache).await? {
            return Ok(Some(Fault::Fused(suspects)));
        }
        self.tell()?;
        let wrong = self.gpu.chooses() && !self.chooses_as_the_host(&cache).await?;
        Ok(wrong.then_some(Fault::Choice))
    }

    /// Kernels of the fused list that may be wrong, after the chunk in the cache.
    async fn wrong_in_singles(&mut self, cache: &mut KvCache) -> Result<Option<Vec<usize>>> {
        let all: Vec<usize> = (0..self.plan.steps.len()).collect();
        if !self.gpu.fuses() {
            // The logits of one token are still wanted.
            self.pass(cache, List::Plain, false, &[]).await?;
            return Ok(None);
        }
        let mut fused = Vec::new();
        for list in SINGLES {
            self.tell()?;
            fused.push(self.pass(cache, list, false, &all).await?);
        }
        self.back_to_the_chunk(cache).await?;
        for fused in &fused {
            let plain = self.pass(cache, List::Plain, false, &all).await?;
            if let Some(suspects) = wrong_fused_kernels(&self.plan, fused, &plain) {
                return Ok(Some(suspects));
            }
        }
        Ok(None)
    }

    /// An empty cache; where the model has an encoder, it has read the tokens.
    async fn fresh_cache(&mut self) -> Result<KvCache> {
        let mut cache = self.gpu.new_cache(self.gpu.n_ctx());
        if !self.plan.encoder.is_empty() {
            self.gpu.encode(&mut cache, &self.tokens).await?;
        }
        Ok(cache)
    }

    /// One pass of the chunk, or else of a single token, with taps at some steps.
    async fn pass(
        &mut self,
        cache: &mut KvCache,
        list: List,
        chunk: bool,
        taps: &[usize],
    ) -> Result<Vec<Tap>> {
        let tokens = if chunk {
            &self.tokens
        } else {
            &self.tokens[..1]
        };
        // Nothing reads what comes behind the last step that is judged there.
        let last = taps.iter().max().copied().unwrap_or(0);
        let runs = |step: usize| match list {
            List::PlainMany => self.runs_of_many[step] && step <= last,
            _ => self.runs[step],
        };
        let wanted = |step: usize| taps.contains(&step);
        self.gpu.tap(cache, list, tokens, runs, wanted).await
    }

    /// Takes the tokens after the chunk back.
    async fn back_to_the_chunk(&mut self, cache: &mut KvCache) -> Result<()> {
        if self.plan.states.is_empty() {
            cache.truncate(self.tokens.len());
        } else {
            // A recurrent state does not go back to any place.
            *cache = self.fresh_cache().await?;
            self.pass(cache, List::Plain, true, &[]).await?;
        }
        Ok(())
    }

    /// Kernels of the plain list whose results differ from the reference.
    async fn wrong_plain_kernels(&mut self, taps: &[Tap]) -> Result<Vec<usize>> {
        let mut wrong = Vec::new();
        for tap in taps {
            self.tell()?;
            let stored = taps.iter().find(|stored| {
                match (
                    &self.plan.steps[stored.step].op,
                    &self.plan.steps[tap.step].op,
                ) {
                    (Op::StoreKv { layer, .. }, Op::Attention { layer: of, .. }) => layer == of,
                    _ => false,
                }
            });
            let mut kernels = tap.kernels.iter();
            let rounds = self.gpu.arithmetic();
            if !kernels.any(|kernel| self.gpu.arithmetic_of(*kernel) == rounds) {
                continue; // judged before, in f32
            }
            let limit = match rounds {
                Arithmetic::F32 | Arithmetic::F16 => LIMIT,
                Arithmetic::Int8 => INT8_LIMIT,
            };
            let judge = Judge::new(&self.plan, self.rows, &self.tokens, self.gpu.kv_type());
            let error = judge.error(tap, stored).await?;
            if error.is_some_and(|error| error.is_nan() || error > limit) {
                wrong.extend(&tap.kernels);
            }
        }
        Ok(wrong)
    }

    /// Whether the GPU chooses the tokens that the host would choose from the same logits.
    async fn chooses_as_the_host(&mut self, cache: &KvCache) -> Result<bool> {
        let logits = self.gpu.last_logits().await?;
        let mut agreed = 0;
        let draws = [0.0, 0.8, 1.0, 1.2].map(|temperature| SamplingParams {
            temperature,
            seed: Some(u64::from(TOKENS)),
            ..SamplingParams::default()
        });
        for params in &draws {
            let want = Sampler::new(params.clone()).sample(&mut logits.clone(), &[]);
            let Some(got) = self.gpu.choose(cache, params, u64::from(TOKENS)).await? else {
                return Ok(true);
            };
            agreed += usize::from(got == want);
        }
        // One draw may fall beside the edge between two tokens.
        Ok(agreed + 1 >= draws.len())
    }
}

/// Whether one of these steps attends to the cache of a layer.
fn attended(plan: &Plan, steps: &[usize], layer: usize) -> bool {
    steps
        .iter()
        .any(|step| matches!(plan.steps[*step].op, Op::Attention { layer: of, .. } if of == layer))
}

/// The layers of some steps, those that fill caches for them, and what belongs to no layer.
fn layers_around(plan: &Plan, wanted: &[usize]) -> Vec<bool> {
    // `Kcur-3`, `conv_in-3.0`, `l_out-3_scaled`
    let layer = |step: usize| -> Option<usize> {
        let (_, place) = plan.steps[step].label.rsplit_once('-')?;
        place.split(['.', '_']).next()?.parse().ok()
    };
    let mut layers: Vec<_> = wanted.iter().map(|step| layer(*step)).collect();
    let inside = |layers: &[Option<usize>]| -> Vec<usize> {
        let steps = 0..plan.steps.len();
        let runs = |step: &usize| layer(*step).is_none() || layers.contains(&layer(*step));
        steps.filter(runs).collect()
    };
    let first = inside(&layers);
    for (index, step) in plan.steps.iter().enumerate() {
        if let Op::StoreKv { layer: kv, .. } = step.op
            && attended(plan, &first, kv)
        {
            layers.push(layer(index));
        }
    }
    let all = inside(&layers);
    (0..plan.steps.len())
        .map(|step| all.contains(&step))
        .collect()
}

/// Where the fused list departs from the plain one: kernels that ran since they last agreed.
fn wrong_fused_kernels(plan: &Plan, fused: &[Tap], plain: &[Tap]) -> Option<Vec<usize>> {
    let mut suspects = Vec::new();
    for tap in fused {
        suspects.extend(&tap.kernels);
        match same_result(plan, tap, fused, plain) {
            Some(true) => suspects.clear(),
            Some(false) => return Some(suspects),
            None => {}
        }
    }
    None
}

/// Whether a fused dispatch gave what the plain list gives; nothing where the plain list has no such value.
fn same_result(plan: &Plan, tap: &Tap, fused: &[Tap], plain: &[Tap]) -> Option<bool> {
    let (buffer, got) = tap.outputs.first()?;
    if matches!(plan.steps[tap.step].op, Op::Place { .. }) {
        return None; // what it leaves as it was may be of another pass
    }
    let result = |step: usize| {
        let tap = plain.iter().find(|plain| plain.step == step)?;
        tap.outputs.first().map(|(_, values)| values.as_slice())
    };
    let steps = if buffer.0 < plan.buffers.len() {
        tap.step..tap.step + 1
    } else {
        // Queries, keys and values side by side: whole when the last of their projections has run.
        let run = projections_around(plan, tap.step)?;
        let later = |other: &Tap| run.contains(&other.step) && other.step > tap.step;
        if fused.iter().any(later) {
            return None;
        }
        run
    };
    let want: Vec<f32> = steps.filter_map(result).flatten().copied().collect();
    let error = (want.len() == got.len()).then(|| relative_error(got, &want));
    error.map(|error| error <= LIMIT)
}

/// The matrix products beside a step that is one.
fn projections_around(plan: &Plan, step: usize) -> Option<Range<usize>> {
    let projects = |step: &usize| {
        let step = plan.steps.get(*step);
        step.is_some_and(|step| matches!(step.op, Op::MatMul { .. }))
    };
    let end = (step..).find(|step| !projects(step))?;
    let before = (0..step).rev().take_while(projects).count();
    (end > step).then_some(step - before..end)
}
