//! What stands in the buffers while a list runs: the self-check compares it with what should be there.

use std::ops::Range;

use super::compile::ends_rows;
use super::fuse::reads;
use super::generate::Rules;
use super::kernel::{Arithmetic, Bind, Reduce};
use super::program::{Dispatch, FEW_TILES, Pass, Slot, When};
use super::readback::Staging;
use super::replay::Replay;
use super::{GpuBackend, KvCache};
use crate::Result;
use crate::model::BufId;

/// Which way through the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Operation by operation, as chunks run.
    Plain,
    /// The same with the kernels of long chunks, however short this one is.
    PlainMany,
    /// Rewritten for one token.
    Fused,
    /// The same with attention split over workgroups, as in long contexts.
    FusedLong,
}

/// One step of the plan, as it ran.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    /// Number of the step.
    pub step: usize,
    /// Kernels that it took.
    pub kernels: Vec<usize>,
    /// What it read, for the plain list; `[rows, width]`.
    pub inputs: Vec<(BufId, Vec<f32>)>,
    /// What it wrote.
    pub outputs: Vec<(BufId, Vec<f32>)>,
}

/// A stretch of the tap's staging buffer.
struct Copied {
    tap: usize,
    input: bool,
    buffer: BufId,
    floats: Range<usize>,
}

/// What is copied on the way, and where to.
#[derive(Default)]
struct Watch {
    taps: Vec<Tap>,
    copies: Vec<Copied>,
    floats: usize,
}

impl Watch {
    /// Adds a buffer of the tap that comes next.
    fn add(&mut self, input: bool, buffer: BufId, floats: usize) {
        self.copies.push(Copied {
            tap: self.taps.len(),
            input,
            buffer,
            floats: self.floats..self.floats + floats,
        });
        self.floats += floats;
    }

    /// What is copied before a tap's step, or behind it.
    fn of(&self, tap: usize, input: bool) -> impl Iterator<Item = &Copied> {
        self.copies
            .iter()
            .filter(move |copied| copied.tap == tap && copied.input == input)
    }

    /// The taps with the values that were read back.
    fn with(mut self, all: &[f32]) -> Vec<Tap> {
        for copied in self.copies {
            let tap = &mut self.taps[copied.tap];
            let list = if copied.input {
                &mut tap.inputs
            } else {
                &mut tap.outputs
            };
            list.push((copied.buffer, all[copied.floats].to_vec()));
        }
        self.taps
    }
}

impl GpuBackend {
    /// Runs `tokens` at the end of the cache through the steps of `list` that `runs` names, and tells what those in
    /// `wanted` read and wrote.
    ///
    /// # Errors
    /// Those of [`GpuBackend::forward`].
    pub async fn tap(
        &mut self,
        cache: &mut KvCache,
        list: List,
        tokens: &[u32],
        runs: impl Fn(usize) -> bool,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Tap>> {
        self.reserve(cache, tokens.len()).await?;
        let start = cache.len();
        cache.states.before_pass(&self.gpu, start, tokens.len());
        self.write_state(cache, tokens, 1, Rules::default());
        let split_from = self.program.split_from;
        if list == List::FusedLong {
            self.program.split_from = 0;
        }
        let mut groups = self.groups(list)?;
        groups.retain(|(step, _)| runs(*step));
        let result = self
            .run_tapped(cache, list, tokens.len(), groups, wanted)
            .await;
        self.program.split_from = split_from;
        cache.advance(tokens.len());
        result
    }

    /// The steps of a list, each with its dispatches.
    fn groups(&self, list: List) -> Result<Vec<(usize, Range<usize>)>> {
        let replay = self.ready()?;
        Ok(replay.steps(match list {
            List::Plain | List::PlainMany => replay.chunk(),
            List::Fused | List::FusedLong => replay.fused(),
        }))
    }

    async fn run_tapped(
        &self,
        cache: &KvCache,
        list: List,
        tokens: usize,
        groups: Vec<(usize, Range<usize>)>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Tap>> {
        let replay = self.ready()?;
        let tapped = Pass {
            few_logits: list == List::PlainMany && self.gpu.software,
            ..Pass::of(list, cache.len(), tokens)
        };
        let watch = self.watch(replay, list, tapped, &groups, &wanted);
        let staging = Staging::new(&self.gpu, watch.floats as u64 * 4);
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut tap = 0;
        for (step, range) in groups {
            let watched = wanted(step);
            if watched {
                self.copy(&mut encoder, &staging, watch.of(tap, true));
            }
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                replay.record(self, &mut pass, range, cache, tapped);
            }
            if watched {
                self.copy(&mut encoder, &staging, watch.of(tap, false));
                tap += 1;
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        let mut all = vec![0.0f32; watch.floats];
        let read = staging.read(&self.gpu, &mut all).await;
        staging.destroy();
        read.map(|()| watch.with(&all))
    }

    /// Plans what to copy around the wanted steps.
    fn watch(
        &self,
        replay: &Replay,
        list: List,
        pass: Pass,
        groups: &[(usize, Range<usize>)],
        wanted: impl Fn(usize) -> bool,
    ) -> Watch {
        let mut watch = Watch::default();
        for (step, range) in groups.iter().filter(|(step, _)| wanted(*step)) {
            let inputs = match list {
                List::Plain | List::PlainMany => reads(&self.plan.steps[*step].op),
                List::Fused | List::FusedLong => Vec::new(),
            };
            let outputs = self.written(range.clone());
            let inputs = inputs.into_iter().map(|id| (true, id));
            for (input, buffer) in inputs.chain(outputs.into_iter().map(|id| (false, id))) {
                let (mut width, most) = self.program.buffers[buffer.0];
                let dispatches = replay.list(range.clone());
                if !input
                    && pass.few_logits
                    && dispatches.iter().any(|d| d.when == When::SeveralRows)
                {
                    width = width.min(FEW_TILES as usize * self.target.small_tile().rows());
                }
                let rows = self.rows_at(*step, input, pass.tokens).min(most);
                watch.add(input, buffer, rows * width);
            }
            watch.taps.push(Tap {
                step: *step,
                kernels: self.kernels(replay.list(range.clone()), pass),
                ..Tap::default()
            });
        }
        watch
    }

    fn copy<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        staging: &Staging,
        copies: impl Iterator<Item = &'a Copied>,
    ) {
        for copied in copies {
            let source = &self.buffers.activations[copied.buffer.0];
            let at = copied.floats.start as u64 * 4;
            staging.copy_at(encoder, source, copied.floats.len() as u64 * 4, at);
        }
    }

    /// Rows that a step reads or writes when the logits of the last of `tokens` are wanted.
    fn rows_at(&self, step: usize, input: bool, tokens: usize) -> usize {
        let mut steps = self.plan.steps.iter();
        match steps.position(|step| ends_rows(&step.op)) {
            Some(last) if step > last || (step == last && !input) => 1,
            _ => tokens,
        }
    }

    /// Activations that some dispatches write.
    fn written(&self, range: Range<usize>) -> Vec<BufId> {
        let mut found = Vec::new();
        for dispatch in self
            .replay
            .iter()
            .flat_map(|replay| replay.list(range.clone()))
        {
            let bindings = self.program.kernels[dispatch.kernel].bindings();
            for (slot, bind) in dispatch.slots.iter().zip(bindings) {
                if let (Slot::Buffer(id), Bind::Write) = (slot, bind)
                    && !found.contains(id)
                {
                    found.push(*id);
                }
            }
        }
        found
    }

    /// Logits that the last pass left for its first row.
    ///
    /// # Errors
    /// [`Error::GpuLost`](crate::Error::GpuLost), [`Error::Gpu`](crate::Error::Gpu).
    pub async fn last_logits(&self) -> Result<Vec<f32>> {
        let buffer = &self.buffers.activations[self.plan.logits.0];
        let mut logits = vec![0.0f32; self.program.buffers[self.plan.logits.0].0];
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.staging
            .copy(&mut encoder, buffer, 0, logits.len() as u64 * 4);
        self.gpu.queue.submit([encoder.finish()]);
        self.staging.read(&self.gpu, &mut logits).await?;
        Ok(logits)
    }

    /// Steps of a list that together use every kernel that it takes for so many tokens; of [`List::PlainMany`] those that
    /// bring a kernel beyond the ones of [`List::Plain`].
    pub fn steps_with_every_kernel(&self, list: List, tokens: usize) -> Result<Vec<usize>> {
        let replay = self.ready()?;
        let pass = Pass::of(list, 0, tokens);
        let mut seen = Vec::new();
        if list == List::PlainMany {
            seen = self.kernels(
                replay.list(replay.chunk()),
                Pass::of(List::Plain, 0, tokens),
            );
        }
        let mut steps = Vec::new();
        for (step, range) in self.groups(list)? {
            let kernels = self.kernels(replay.list(range), pass);
            if kernels.iter().any(|kernel| !seen.contains(kernel)) {
                seen.extend(kernels);
                steps.push(step);
            }
        }
        Ok(steps)
    }

    /// Name of a kernel for people, and the whole of it for a verdict.
    pub fn kernel_names(&self, kernel: usize) -> (&'static str, String) {
        let kernel = &self.program.kernels[kernel];
        (kernel.name(), format!("{kernel:?}"))
    }

    /// Compiles a kernel anew so that it does without subgroup operations; false when it has none.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when it does not compile.
    pub async fn without_subgroups(&mut self, kernel: usize) -> Result<bool> {
        let pipeline = &self.pipelines[kernel];
        if pipeline.reduce == Reduce::Workgroup || !self.program.kernels[kernel].reduces() {
            return Ok(false);
        }
        let plain = &self.program.kernels[kernel];
        self.pipelines[kernel] = self.gpu.compile(plain, Reduce::Workgroup).await?;
        self.without_subgroups.push(*plain);
        Ok(true)
    }

    /// Kernels of the dispatches that run in such a pass.
    fn kernels(&self, list: &[Dispatch], pass: Pass) -> Vec<usize> {
        let runs = |dispatch: &&Dispatch| dispatch.when.holds(pass, self.program.split_from);
        list.iter().filter(runs).map(|d| d.kernel).collect()
    }

    /// What a kernel multiplies in.
    pub fn arithmetic_of(&self, kernel: usize) -> Arithmetic {
        self.program.kernels[kernel].arithmetic()
    }

    /// Kernels in use.
    pub fn kernel_count(&self) -> usize {
        self.program.kernels.len()
    }

    /// Whether single tokens run the fused list.
    pub fn fuses(&self) -> bool {
        self.fuses
    }

    /// Runs single tokens through the plain list from now on.
    pub fn leave_unfused(&mut self) {
        self.fuses = false;
        if let Some(replay) = &mut self.replay {
            replay.leave_unfused();
        }
    }

    /// Whether tokens may be chosen on the GPU.
    pub fn chooses(&self) -> bool {
        self.chooses
    }

    /// Leaves every choice of a token to the host from now on.
    pub fn leave_choice_to_the_host(&mut self) {
        self.chooses = false;
    }

    /// Context length in tokens.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Storage of the cache.
    pub fn kv_type(&self) -> crate::backend::KvType {
        self.options.kv_type
    }

    /// See [`Gpu::fingerprint`].
    pub fn fingerprint(&self) -> String {
        self.gpu.fingerprint(&self.program.kernels)
    }
}

impl Pass {
    /// As a list runs for the check: the logits of the last token are wanted.
    fn of(list: List, position: usize, tokens: usize) -> Self {
        Self {
            as_if_many: list == List::PlainMany,
            ..Self::last_row(position, tokens)
        }
    }
}
