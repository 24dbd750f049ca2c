//! Weights on their way to the GPU: a ring of mapped buffers. While the device copies from one, the next is filled.
//!
//! `queue.writeBuffer` moves everything once more through a small window of the browser's: on the GPU where both were
//! measured it brought 0.4 to 0.8 GB/s, and a ring 3.

#[cfg(target_arch = "wasm32")]
use super::browser::Window;
use super::device::Gpu;
use super::readback::{Reading, map};
use crate::{Error, Result};

/// Bytes of a buffer of the ring. All of them count in a page's memory while a model loads.
const STAGE_BYTES: u64 = 4 << 20;

/// Buffers in the ring.
const STAGES: usize = 4;

/// Alignment of mapped ranges.
const MAP_ALIGNMENT: u64 = wgpu::MAP_ALIGNMENT;

/// The ring.
#[derive(Default)]
pub struct Uploads {
    stages: Vec<Stage>,
    current: usize,
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
}

/// What the device is to copy.
struct Copy {
    from: u64,
    bytes: u64,
    target: wgpu::Buffer,
    at: u64,
}

impl Uploads {
    /// Brings `bytes`, whole words, to byte `at` of `target`; they are there for everything that is submitted after
    /// [`Uploads::finish`].
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::Gpu`].
    pub async fn write(
        &mut self,
        gpu: &Gpu,
        target: &wgpu::Buffer,
        at: u64,
        bytes: &[u8],
    ) -> Result<()> {
        let (mut at, mut left) = (at, bytes);
        while !left.is_empty() {
            let stage = self.stage(gpu).await?;
            let room = (STAGE_BYTES - stage.used) as usize;
            let (now, later) = left.split_at(room.min(left.len()));
            if let Err(error) = stage.put(now, target, at) {
                // A device that is lost takes its mappings along.
                gpu.check_again().await?;
                return Err(error);
            }
            at += now.len() as u64;
            left = later;
        }
        Ok(())
    }

    /// Sends what is left and gives the ring up.
    pub fn finish(&mut self, gpu: &Gpu) {
        if let Some(stage) = self.stages.get_mut(self.current) {
            stage.send(gpu);
        }
        // A browser frees what is dropped only when it gets to it.
        for stage in self.stages.drain(..) {
            stage.buffer.destroy();
        }
        self.current = 0;
    }

    /// A mapped buffer with room.
    async fn stage(&mut self, gpu: &Gpu) -> Result<&mut Stage> {
        if let Some(stage) = self.stages.get_mut(self.current)
            && stage.used >= STAGE_BYTES
        {
            let index = stage.send(gpu);
            stage.mapping = Some(map(
                &stage.buffer,
                wgpu::MapMode::Write,
                STAGE_BYTES,
                Some(index),
            ));
            self.current = (self.current + 1) % STAGES;
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
        }
    }

    fn put(&mut self, bytes: &[u8], target: &wgpu::Buffer, at: u64) -> Result<()> {
        if self.window.is_none() {
            self.window = Window::of(&self.buffer);
        }
        let window = self.window.as_ref();
        if !window.is_some_and(|window| window.fill(self.used, bytes)) {
            return Err(Error::Gpu("an upload buffer is not mapped".into()));
        }
        let end = self.used + bytes.len() as u64;
        self.copies.push(Copy {
            from: self.used,
            bytes: bytes.len() as u64,
            target: target.clone(),
            at,
        });
        self.used = end.next_multiple_of(MAP_ALIGNMENT);
        Ok(())
    }

    /// Hands the buffer to the device.
    fn send(&mut self, gpu: &Gpu) -> wgpu::SubmissionIndex {
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
        let slice = self.0.slice(at..at + bytes.len() as u64);
        let view = slice.get_mapped_range_mut();
        view.map(|mut view| view.copy_from_slice(bytes)).is_ok()
    }
}
