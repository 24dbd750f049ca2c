//! What stands in the buffers while a list runs: the self-check compares it with what should be there.

use std::ops::Range;

use super::compile::ends_rows;
use super::fuse::reads;
use super::generate::Rules;
use super::kernel::{Bind, Reduce};
use super::program::{Dispatch, Slot};
use super::readback::Staging;
use super::{GpuBackend, KvCache};
use crate::Result;
use crate::model::BufId;

/// Which way through the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Operation by operation, as chunks run.
    Plain,
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

impl GpuBackend {
    /// Runs `tokens` at the end of the cache through `list` and tells what the steps in `wanted` read and wrote.
    ///
    /// # Errors
    /// Those of [`GpuBackend::forward`].
    pub async fn tap(
        &mut self,
        cache: &mut KvCache,
        list: List,
        tokens: &[u32],
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
        let result = self.run_tapped(cache, list, tokens.len(), wanted).await;
        self.program.split_from = split_from;
        cache.advance(tokens.len());
        result
    }

    async fn run_tapped(
        &self,
        cache: &KvCache,
        list: List,
        tokens: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Tap>> {
        let replay = self.ready()?;
        let range = if list == List::Plain {
            replay.chunk()
        } else {
            replay.fused()
        };
        let groups = replay.steps(range);
        let (mut taps, mut copies) = (Vec::new(), Vec::new());
        let mut floats = 0;
        for (step, range) in groups.iter().filter(|(step, _)| wanted(*step)) {
            let op = &self.plan.steps[*step].op;
            let inputs = if list == List::Plain {
                reads(op)
            } else {
                Vec::new()
            };
            let outputs = self.written(range.clone());
            let each = inputs.iter().map(|id| (true, *id));
            for (input, buffer) in each.chain(outputs.into_iter().map(|id| (false, id))) {
                let (width, most) = self.program.buffers[buffer.0];
                let rows = self.rows_at(*step, input, tokens).min(most);
                copies.push(Copied {
                    tap: taps.len(),
                    input,
                    buffer,
                    floats: floats..floats + rows * width,
                });
                floats += rows * width;
            }
            taps.push(Tap {
                step: *step,
                kernels: kernels(replay.list(range.clone())),
                ..Tap::default()
            });
        }
        let staging = Staging::new(&self.gpu, floats as u64 * 4);
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let copy = |encoder: &mut wgpu::CommandEncoder, tap: usize, input: bool| {
            let those = |copied: &&Copied| copied.tap == tap && copied.input == input;
            for copied in copies.iter().filter(those) {
                let source = &self.buffers.activations[copied.buffer.0];
                let at = copied.floats.start as u64 * 4;
                staging.copy_at(encoder, source, copied.floats.len() as u64 * 4, at);
            }
        };
        let mut tap = 0;
        for (step, range) in groups {
            if wanted(step) {
                copy(&mut encoder, tap, true);
            }
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                replay.record(self, &mut pass, range, cache, (cache.len(), tokens, 1));
            }
            if wanted(step) {
                copy(&mut encoder, tap, false);
                tap += 1;
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        let mut all = vec![0.0f32; floats];
        staging.read(&self.gpu, &mut all).await?;
        for copied in copies {
            let values = all[copied.floats].to_vec();
            let tap: &mut Tap = &mut taps[copied.tap];
            let list = if copied.input {
                &mut tap.inputs
            } else {
                &mut tap.outputs
            };
            list.push((copied.buffer, values));
        }
        Ok(taps)
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

    /// Steps of the plain list that together use every kernel in it.
    pub fn steps_with_every_kernel(&self) -> Result<Vec<usize>> {
        let replay = self.ready()?;
        let mut seen = Vec::new();
        let mut steps = Vec::new();
        for (step, range) in replay.steps(replay.chunk()) {
            let kernels = kernels(replay.list(range));
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
        Ok(true)
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

    /// The adapter and the text of every kernel in use: a verdict is about these.
    pub fn fingerprint(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for kernel in &self.program.kernels {
            self.gpu.source(kernel, self.gpu.reduce).hash(&mut hasher);
        }
        format!("{} {:016x}", self.gpu.adapter, hasher.finish())
    }
}

fn kernels(list: &[Dispatch]) -> Vec<usize> {
    list.iter().map(|dispatch| dispatch.kernel).collect()
}
