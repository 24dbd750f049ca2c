//! The self-check: every kernel that the model's lists use, on the model's own weights, before anyone reads its text.
//!
//! 1. *Plain against the reference.* A chunk of tokens runs through the plain list. For the first operation of each kernel
//!    the exact CPU backend repeats that operation alone, from the inputs that the GPU had: errors do not add up, and who
//!    disagrees is to blame. Of large matrices it takes a few rows.
//! 2. *Fused against plain.* Two tokens run through the fused list, attention whole and then split, and from the same past
//!    through the plain one. Whatever both compute is compared; the second token reads what the first has appended to the
//!    cache.
//! 3. *Choice against the host.* The token that the GPU chooses is the one that the host's sampler takes from the same
//!    logits.
//! 4. *f16 or integers against the reference*, where a chunk takes less time with them: as 1., by the kernels that this
//!    adds.
//!
//! Only the layers that bring a new kernel run: a few passes through one or two layers, whatever the model's size.
//!
//! A kernel that disagrees loses its subgroup operations. If that does not help, the fused list goes, or choosing on the
//! GPU, or f16 or integers; where a plain kernel is wrong without subgroups too, the CPU runs the model. The verdict says
//! what was given up.

mod judge;
mod passes;
mod probe;
mod verdict;

use crate::backend::GpuBackend;
use crate::backend::gpu::{Arithmetic, Tell};
use crate::{Error, Result};

pub use judge::WeightRows;
use passes::Passes;
pub use probe::probe;
use verdict::{GivenUp, Verdict};

/// Largest relative error of a result. Rounding of scales and of the cache to f16 gives up to 1e-3; a lane or a row that
/// is lost gives more than 1e-2.
const LIMIT: f64 = 1e-2;

/// The same for products of activations that were rounded to eight bits: a block of 32 with one large value loses 1.3e-2.
const INT8_LIMIT: f64 = 3e-2;

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

/// The verdict on a GPU that is lost twice while it loads the model, as it is when a kernel hangs: a system resets a GPU
/// with all that it shows, and that must not happen at every load.
pub fn lost(fingerprint: &str) -> String {
    let reason = "the GPU was lost twice while the model was loaded";
    Verdict::paused(fingerprint, reason.to_owned()).to_json()
}

/// The verdict on a GPU that the CPU is faster than, which need not be found out, nor any kernel be compiled, at every load.
pub fn slower(fingerprint: &str, reason: String) -> String {
    Verdict::paused(fingerprint, reason).to_json()
}

/// An earlier verdict, if there is one for this adapter and these kernels, [`Gpu::fingerprint`](crate::backend::Gpu). One on
/// a GPU that was lost or slow holds for some loads, and not where nothing but the GPU is `wanted`.
///
/// # Errors
/// [`Error::Gpu`] when the verdict was that the GPU does not do, [`Error::GpuUnavailable`] that it is left alone for now.
pub fn recall(
    fingerprint: &str,
    json: Option<&str>,
    wanted: bool,
    outcome: &mut Outcome,
) -> Result<Option<Recalled>> {
    let known = Verdict::known(json, fingerprint);
    let known = known.filter(|known| !(wanted && known.pause.is_some()));
    let Some(known) = known.and_then(Verdict::at_next_load) else {
        return Ok(None);
    };
    outcome.set(&known);
    let recalled = Recalled {
        given_up: known.given_up,
        arithmetic: known.arithmetic,
    };
    match known.failed {
        None => Ok(Some(recalled)),
        Some(reason) if known.pause.is_some() => Err(Error::GpuUnavailable(reason)),
        Some(reason) => Err(Error::Gpu(reason)),
    }
}

/// What an earlier check gave up, and what it chose.
pub struct Recalled {
    given_up: Vec<GivenUp>,
    arithmetic: Arithmetic,
}

impl Recalled {
    /// Does it again, in a model that is loaded.
    ///
    /// # Errors
    /// [`Error::Gpu`] when another variant does not compile.
    pub async fn apply(self, gpu: &mut GpuBackend) -> Result<()> {
        for given_up in &self.given_up {
            give_up(gpu, given_up).await?;
        }
        gpu.set_arithmetic(self.arithmetic).await
    }
}

/// Checks a model that is loaded, and gives up what is wrong. `tell` learns how much of how much is compared.
///
/// # Errors
/// [`Error::Gpu`] when nothing helps; then too `outcome` tells what was found. What `tell` returns.
pub async fn check(
    gpu: &mut GpuBackend,
    rows: &impl WeightRows,
    outcome: &mut Outcome,
    tell: Tell<'_>,
) -> Result<()> {
    let mut verdict = Verdict::new(&gpu.fingerprint());
    let result = loop {
        let mut passes = Passes::new(gpu, rows, &mut *tell)?;
        let Some(fault) = passes.find_fault().await? else {
            break Ok(());
        };
        if let Some(reason) = answer(gpu, &fault, &mut verdict).await? {
            verdict.failed = Some(reason.clone());
            break Err(Error::Gpu(reason));
        }
    };
    if result.is_ok() {
        choose_arithmetic(gpu, rows, &mut verdict, tell).await?;
    }
    outcome.set(&verdict);
    result
}

/// Takes the arithmetic for chunks that is fastest among those that are right.
async fn choose_arithmetic(
    gpu: &mut GpuBackend,
    rows: &impl WeightRows,
    verdict: &mut Verdict,
    tell: Tell<'_>,
) -> Result<()> {
    for arithmetic in gpu.preferred_arithmetic().await? {
        gpu.set_arithmetic(arithmetic).await?;
        // All has been told, but it may be cancelled still.
        let mut done = |_, total| tell(total, total);
        let mut passes = Passes::new(gpu, rows, &mut done)?;
        if passes.chunks_are_right().await? {
            break;
        }
        let wrong = GivenUp::Arithmetic(arithmetic);
        give_up(gpu, &wrong).await?;
        verdict.given_up.push(wrong);
    }
    verdict.arithmetic = gpu.arithmetic();
    Ok(())
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
        GivenUp::Arithmetic(_) => gpu.set_arithmetic(Arithmetic::F32).await?,
        GivenUp::Choosing => gpu.leave_choice_to_the_host(),
    }
    Ok(())
}
