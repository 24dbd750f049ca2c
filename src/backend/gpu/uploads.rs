//! Weights on their way to the GPU: a ring of mapped buffers. While the device copies from one, the next is filled.
//!
//! `queue.writeBuffer` moves everything once more through a small window of the browser's: on the GPU where both were
//! measured it brought 0.4 to 0.8 GB/s, and a ring 3.

#[cfg(target_arch = "wasm32")]
use super::browser::Window;
use super::device::Gpu;
use super::readback::{Reading, map};
use super::repack::{Job, MAX_JOBS, Repack, Target};
use crate::model::WeightId;
use crate::quant::DType;
use crate::{Error, Result};

/// Bytes of a buffer of the ring. All of them count in a page's memory while a model loads.
pub const STAGE_BYTES: u64 = 4 << 20;

/// Buffers in the ring.
const STAGES: usize = 4;

/// Alignment of mapped ranges.
const MAP_ALIGNMENT: u64 = wgpu::MAP_ALIGNMENT;

/// The ring.
pub struct Uploads {
    stages: Vec<Stage>,
    current: usize,
    repack: Repack,
}

/// What becomes of bytes.
pub enum To<'a> {
    /// Whole words that go to a byte of a buffer as they are.
    Buffer(&'a wgpu::Buffer, u64),
    /// Blocks of a weight that become planes, from a unit on.
    Planes(Target, WeightId, usize),
}

/// A buffer of the ring.
struct Stage {
    buffer: wgpu::Buffer,
    /// Under way when the device has it; else it is mapped.
    mapping: Option<Reading>,
    /// While it is mapped and in use.
    window: Option<Window>,
    used: u64,
    copies: Vec<Copy>,
    jobs: Vec<Job>,
}

/// What the device is to copy.
struct Copy {
    from: u64,
    bytes: u64,
    target: wgpu::Buffer,
    at: u64,
}

impl Uploads {
    /// An empty ring.
    pub fn new(repack: Repack) -> Self {
        Self {
            stages: Vec::new(),
            current: 0,
            repack,
        }
    }

    /// What makes planes of blocks.
    pub fn repack(&mut self) -> &mut Repack {
        &mut self.repack
    }

    /// See [`Repack::wrong`].
    pub fn wrong(&self) -> &[DType] {
        self.repack.wrong()
    }

    /// Brings `bytes` to where they belong; they are there for everything that is submitted after [`Uploads::finish`].
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::Gpu`].
    pub async fn write(&mut self, gpu: &Gpu, mut to: To<'_>, bytes: &[u8]) -> Result<()> {
        let grain = match &to {
            To::Buffer(..) => 1,
            To::Planes(target, ..) => target.grain(),
        };
        let mut left = bytes;
        while !left.is_empty() {
            let stage = self.stage(gpu, grain as u64).await?;
            let room = (STAGE_BYTES - stage.used) as usize / grain * grain;
            let (now, later) = left.split_at(room.min(left.len()));
            if let Err(error) = stage.take(now, &mut to) {
                // A device that is lost takes its mappings along.
                gpu.check_again().await?;
                return Err(error);
            }
            left = later;
        }
        Ok(())
    }

    /// Sends what is left, waits until all is repacked, and gives the ring up. Returns a weight with a scale beyond f16.
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::Gpu`].
    pub async fn finish(&mut self, gpu: &Gpu) -> Result<Option<WeightId>> {
        let current = self.stages.get_mut(self.current);
        if let Some(stage) = current.filter(|stage| stage.used > 0) {
            stage.send(gpu, &self.repack);
        }
        // A browser frees what is dropped only when it gets to it.
        for stage in self.stages.drain(..) {
            stage.buffer.destroy();
        }
        self.current = 0;
        self.repack.finish(gpu).await
    }

    /// Hands the current buffer to the device and goes on to the next.
    pub fn send(&mut self, gpu: &Gpu) {
        if let Some(stage) = self.stages.get_mut(self.current) {
            let index = stage.send(gpu, &self.repack);
            let mode = wgpu::MapMode::Write;
            stage.mapping = Some(map(&stage.buffer, mode, STAGE_BYTES, Some(index)));
            self.current = (self.current + 1) % STAGES;
        }
    }

    /// A mapped buffer with room for so many bytes.
    async fn stage(&mut self, gpu: &Gpu, bytes: u64) -> Result<&mut Stage> {
        if let Some(stage) = self.stages.get(self.current)
            && (stage.used + bytes > STAGE_BYTES || stage.jobs.len() == MAX_JOBS)
        {
            self.send(gpu);
        }
        if self.current == self.stages.len() {
            let make = || Stage::new(gpu);
            self.stages.push(gpu.allocating(STAGE_BYTES, make).await?);
        }
        let stage = &mut self.stages[self.current];
        if let Some(mapping) = stage.mapping.take() {
            mapping.arrive(gpu).await?;
        }
        Ok(stage)
    }
}

impl Stage {
    fn new(gpu: &Gpu) -> Self {
        // Not mapped when it is made: where that fails, browsers throw and wgpu panics.
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let buffer = gpu.buffer("upload", STAGE_BYTES, usage);
        Self {
            mapping: Some(map(&buffer, wgpu::MapMode::Write, STAGE_BYTES, None)),
            buffer,
            window: None,
            used: 0,
            copies: Vec::new(),
            jobs: Vec::new(),
        }
    }

    /// Takes bytes, as many as it has room for, and moves `to` behind them.
    fn take(&mut self, bytes: &[u8], to: &mut To<'_>) -> Result<()> {
        if self.window.is_none() {
            self.window = Window::of(&self.buffer);
        }
        let window = self.window.as_ref();
        if !window.is_some_and(|window| window.fill(self.used, bytes)) {
            return Err(Error::Gpu("an upload buffer is not mapped".into()));
        }
        let (from, taken) = (self.used, bytes.len() as u64);
        match to {
            To::Buffer(target, at) => {
                let target = target.clone();
                let (bytes, at) = (taken, std::mem::replace(at, *at + taken));
                self.copies.push(Copy {
                    from,
                    bytes,
                    target,
                    at,
                });
            }
            To::Planes(target, weight, unit) => {
                let job = target.job(from, bytes.len(), *weight, *unit);
                *unit += job.units;
                self.jobs.push(job);
            }
        }
        self.used = (from + taken).next_multiple_of(MAP_ALIGNMENT);
        Ok(())
    }

    /// Hands the buffer to the device.
    fn send(&mut self, gpu: &Gpu, repack: &Repack) -> wgpu::SubmissionIndex {
        self.window = None;
        self.buffer.unmap();
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for copy in self.copies.drain(..) {
            encoder.copy_buffer_to_buffer(
                &self.buffer,
                copy.from,
                &copy.target,
                copy.at,
                copy.bytes,
            );
        }
        if !self.jobs.is_empty() {
            repack.record(gpu, &mut encoder, &self.buffer, self.used, &self.jobs);
        }
        self.jobs.clear();
        self.used = 0;
        gpu.queue.submit([encoder.finish()])
    }
}

/// What a mapped buffer shows.
#[cfg(not(target_arch = "wasm32"))]
struct Window(wgpu::Buffer);

#[cfg(not(target_arch = "wasm32"))]
impl Window {
    fn of(buffer: &wgpu::Buffer) -> Option<Self> {
        Some(Self(buffer.clone()))
    }

    /// Copies `bytes` to byte `at`; false when the buffer is mapped no longer.
    fn fill(&self, at: u64, bytes: &[u8]) -> bool {
        let end = at + (bytes.len() as u64).next_multiple_of(MAP_ALIGNMENT);
        let view = self.0.slice(at..end).get_mapped_range_mut();
        view.map(|mut view| view.slice(..bytes.len()).copy_from_slice(bytes))
            .is_ok()
    }
}
