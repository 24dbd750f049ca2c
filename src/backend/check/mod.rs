//! The self-check: every kernel that the model's lists use, on the model's own weights, before anyone reads its text.
//!
//! 1. *Plain against the reference.* A chunk of tokens runs through the plain list. For the first operation of each kernel
//!    the exact CPU backend repeats that operation alone, from the inputs that the GPU had: errors do not add up, and who
//!    disagrees is to blame. Of large matrices it takes a few rows.
//! 2. *Fused against plain.* One token runs through the plain list and, from the same past, through the fused one, with
//!    attention whole and split. Whatever both compute is compared.
//! 3. *Choice against the host.* The token that the GPU chooses is the one that the host's sampler takes.
//!
//! A kernel that disagrees loses its subgroup operations. If that does not help, the fused list goes, or choosing on the
//! GPU; where a plain kernel is wrong without subgroups too, the CPU runs the model. The verdict says what was given up.

mod judge;
mod probe;
mod verdict;

use std::ops::Range;

use crate::backend::gpu::{KvCache, List, Tap};
use crate::backend::{GpuBackend, LogitRows};
use crate::model::{Op, Plan};
use crate::sampling::{Sampler, SamplingParams};
use crate::{Error, Result};

pub use judge::WeightRows;
use judge::{Judge, relative_error};
pub use probe::probe;
use verdict::{GivenUp, Verdict};

/// Largest relative error of a result. Rounding of scales and of the cache to f16 gives up to 1e-3; a lane or a row that
/// is lost gives more than 1e-2.
const LIMIT: f64 = 1e-2;

/// Tokens of the chunk: more than a tile of any kernel is high or wide.
const TOKENS: u32 = 20;

/// What a load learns of its GPU.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is not used, for people.
    pub quarantined: Vec<String>,
    /// For the next load.
    pub verdict: String,
}

impl Outcome {
    fn set(&mut self, verdict: &Verdict) {
        self.quarantined = verdict.quarantined();
        self.verdict = verdict.to_json();
    }
}

/// Something wrong.
enum Fault {
    /// These kernels of the plain list.
    Plain(Vec<usize>),
    /// The fused list, perhaps because of these kernels.
    Fused(Vec<usize>),
    /// The choice of tokens.
    Choice,
}

/// Applies an earlier verdict; false when there is none for this adapter and these kernels.
///
/// # Errors
/// [`Error::Gpu`] when the verdict was that the GPU does not do.
pub async fn recall(
    gpu: &mut GpuBackend,
    json: Option<&str>,
    outcome: &mut Outcome,
) -> Result<bool> {
    let Some(known) = Verdict::known(json, gpu) else {
        return Ok(false);
    };
    outcome.set(&known);
    for given_up in &known.given_up {
        give_up(gpu, given_up).await?;
    }
    known
        .failed
        .map_or(Ok(true), |reason| Err(Error::Gpu(reason)))
}

/// Checks a model that is loaded, and gives up what is wrong.
///
/// # Errors
/// [`Error::Gpu`] when nothing helps; then too `outcome` tells what was found.
pub async fn check(
    gpu: &mut GpuBackend,
    rows: &impl WeightRows,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut verdict = Verdict::new(gpu);
    let result = loop {
        let Some(fault) = find_fault(gpu, rows).await? else {
            break Ok(());
        };
        if let Some(reason) = answer(gpu, &fault, &mut verdict).await? {
            verdict.failed = Some(reason.clone());
            break Err(Error::Gpu(reason));
        }
    };
    outcome.set(&verdict);
    result
}

/// The first thing that is wrong.
async fn find_fault(gpu: &mut GpuBackend, rows: &impl WeightRows) -> Result<Option<Fault>> {
    let room = gpu.n_ctx().saturating_sub(1);
    let most = gpu.plan().n_vocab.min(TOKENS as usize).min(room).max(1);
    let tokens: Vec<u32> = (0..most as u32).collect();
    let wrong = wrong_plain_kernels(gpu, rows, &tokens).await?;
    if !wrong.is_empty() {
        return Ok(Some(Fault::Plain(wrong)));
    }
    if gpu.plan().whole {
        return Ok(None);
    }
    for list in [List::Fused, List::FusedLong] {
        if !gpu.fuses() {
            break;
        }
        if let Some(suspects) = wrong_fused_kernels(gpu, list, &tokens).await? {
            return Ok(Some(Fault::Fused(suspects)));
        }
    }
    let wrong = gpu.chooses() && !chooses_as_the_host(gpu, &tokens).await?;
    Ok(wrong.then_some(Fault::Choice))
}

/// An empty cache; where the model has an encoder, it has read the tokens.
async fn fresh_cache(gpu: &mut GpuBackend, tokens: &[u32]) -> Result<KvCache> {
    let mut cache = gpu.new_cache(gpu.n_ctx());
    if !gpu.plan().encoder.is_empty() {
        gpu.encode(&mut cache, tokens).await?;
    }
    Ok(cache)
}

/// Kernels of the plain list whose results differ from the reference.
async fn wrong_plain_kernels(
    gpu: &mut GpuBackend,
    rows: &impl WeightRows,
    tokens: &[u32],
) -> Result<Vec<usize>> {
    let mut steps = gpu.steps_with_every_kernel()?;
    let plan = gpu.plan().clone();
    // Attention is judged with the keys and values of its layer.
    let attended = |steps: &[usize], step: usize| match plan.steps[step].op {
        Op::StoreKv { layer, .. } => steps.iter().any(
            |other| matches!(plan.steps[*other].op, Op::Attention { layer: of, .. } if of == layer),
        ),
        _ => false,
    };
    let stores = (0..plan.steps.len()).filter(|step| attended(&steps, *step));
    steps = steps.iter().copied().chain(stores).collect();
    let mut cache = fresh_cache(gpu, tokens).await?;
    let taps = gpu
        .tap(&mut cache, List::Plain, tokens, |step| {
            steps.contains(&step)
        })
        .await?;
    let mut wrong = Vec::new();
    for tap in &taps {
        let stored = taps.iter().find(|stored| {
            match (&plan.steps[stored.step].op, &plan.steps[tap.step].op) {
                (Op::StoreKv { layer, .. }, Op::Attention { layer: of, .. }) => layer == of,
                _ => false,
            }
        });
        let judge = Judge::new(&plan, rows, tokens, gpu.kv_type());
        let error = judge.error(tap, stored).await?;
        if error.is_some_and(|error| error.is_nan() || error > LIMIT) {
            wrong.extend(&tap.kernels);
        }
    }
    Ok(wrong)
}

/// Where the fused list departs from the plain one: kernels that ran since they last agreed.
async fn wrong_fused_kernels(
    gpu: &mut GpuBackend,
    list: List,
    tokens: &[u32],
) -> Result<Option<Vec<usize>>> {
    let mut taps = Vec::new();
    for list in [List::Plain, list] {
        let mut cache = fresh_cache(gpu, tokens).await?;
        gpu.tap(&mut cache, List::Plain, tokens, |_| false).await?;
        taps.push(gpu.tap(&mut cache, list, &tokens[..1], |_| true).await?);
    }
    let (fused, plain) = (
        taps.pop().unwrap_or_default(),
        taps.pop().unwrap_or_default(),
    );
    let mut suspects = Vec::new();
    for tap in &fused {
        suspects.extend(&tap.kernels);
        match same_result(gpu.plan(), tap, &fused, &plain) {
            Some(true) => suspects.clear(),
            Some(false) => return Ok(Some(suspects)),
            None => {}
        }
    }
    Ok(None)
}

/// Whether a fused dispatch gave what the plain list gives; nothing where the plain list has no such value.
fn same_result(plan: &Plan, tap: &Tap, fused: &[Tap], plain: &[Tap]) -> Option<bool> {
    let (buffer, got) = tap.outputs.first()?;
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

/// Whether the GPU chooses the tokens that the host would choose from the same logits.
async fn chooses_as_the_host(gpu: &mut GpuBackend, tokens: &[u32]) -> Result<bool> {
    let mut agreed = 0;
    let draws = [0.0, 0.8, 1.0, 1.2].map(|temperature| SamplingParams {
        temperature,
        seed: Some(tokens.len() as u64),
        ..SamplingParams::default()
    });
    for params in &draws {
        let mut cache = fresh_cache(gpu, tokens).await?;
        gpu.forward(&mut cache, &tokens[..1], LogitRows::Last)
            .await?;
        let want = Sampler::new(params.clone()).sample(gpu.logits(), &[]);
        let mut cache = fresh_cache(gpu, tokens).await?;
        let Some(mut run) = gpu.start_run(params, tokens.len() as u64, 1) else {
            return Ok(true);
        };
        let got = gpu.next_token(&mut cache, &mut run, tokens[0], 1).await?;
        agreed += usize::from(got == want);
    }
    // One draw may fall beside the edge between two tokens.
    Ok(agreed + 1 >= draws.len())
}

/// Gives up what may have caused the fault; returns what is wrong where there is nothing left to give up.
async fn answer(
    gpu: &mut GpuBackend,
    fault: &Fault,
    verdict: &mut Verdict,
) -> Result<Option<String>> {
    let kernels = match fault {
        Fault::Plain(kernels) | Fault::Fused(kernels) => kernels.as_slice(),
        Fault::Choice => &[],
    };
    let mut changed = false;
    for index in kernels {
        if gpu.without_subgroups(*index).await? {
            let (name, kernel) = gpu.kernel_names(*index);
            let name = name.to_owned();
            verdict.given_up.push(GivenUp::Subgroups { name, kernel });
            changed = true;
        }
    }
    if changed {
        return Ok(None);
    }
    let mut names: Vec<_> = kernels
        .iter()
        .map(|k| gpu.kernel_names(*k).0.to_owned())
        .collect();
    names.dedup();
    let next = match fault {
        Fault::Plain(_) => return Ok(Some(format!("{} gives wrong results", names.join(", ")))),
        Fault::Fused(_) => GivenUp::Fusion(names),
        Fault::Choice => GivenUp::Choosing,
    };
    give_up(gpu, &next).await?;
    verdict.given_up.push(next);
    Ok(None)
}

async fn give_up(gpu: &mut GpuBackend, what: &GivenUp) -> Result<()> {
    match what {
        GivenUp::Subgroups { kernel, .. } => {
            for index in 0..gpu.kernel_count() {
                if gpu.kernel_names(index).1 == *kernel {
                    gpu.without_subgroups(index).await?;
                }
            }
        }
        GivenUp::Fusion(_) => gpu.leave_unfused(),
        GivenUp::Choosing => gpu.leave_choice_to_the_host(),
    }
    Ok(())
}
