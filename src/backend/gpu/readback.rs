//! Getting bytes back: copy to a mappable buffer, wait for the map.
//!
//! In a page the wait is a promise. Natively somebody has to poll the device, so the wait blocks there.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::device::Gpu;
use crate::{Error, Result};

/// A mappable buffer, reused for every readback.
pub struct Staging {
    buffer: wgpu::Buffer,
    bytes: u64,
}

/// Result of a map, shared with the callback that brings it.
#[derive(Default)]
struct Mapped {
    result: Option<std::result::Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
    /// Whether the result has come, taken or not.
    arrived: bool,
}

struct MapFuture(Arc<Mutex<Mapped>>);

/// A map under way.
pub struct Reading {
    mapped: MapFuture,
    after: Option<wgpu::SubmissionIndex>,
}

impl Future for MapFuture {
    type Output = std::result::Result<(), wgpu::BufferAsyncError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut mapped = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match mapped.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                mapped.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Asks for the first `bytes` of a buffer to be mapped.
pub fn map(
    buffer: &wgpu::Buffer,
    mode: wgpu::MapMode,
    bytes: u64,
    after: Option<wgpu::SubmissionIndex>,
) -> Reading {
    let shared = Arc::new(Mutex::new(Mapped::default()));
    let theirs = shared.clone();
    buffer.slice(..bytes).map_async(mode, move |result| {
        let mut mapped = theirs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        mapped.result = Some(result);
        mapped.arrived = true;
        if let Some(waker) = mapped.waker.take() {
            waker.wake();
        }
    });
    Reading {
        mapped: MapFuture(shared),
        after,
    }
}

impl Reading {
    /// Waits for it.
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::Gpu`] for whatever else went wrong on the device.
    pub async fn arrive(self, gpu: &Gpu) -> Result<()> {
        let arrived = self.mapped_by(gpu).await;
        // The device's own word says more than that of the map.
        if arrived.is_err() {
            gpu.check_again().await?;
        }
        gpu.check()?;
        arrived
    }

    async fn mapped_by(self, gpu: &Gpu) -> Result<()> {
        if !cfg!(target_arch = "wasm32") {
            let wait = wgpu::PollType::Wait {
                submission_index: self.after,
                timeout: None,
            };
            if let Err(error) = gpu.device.poll(wait) {
                // A device that is gone does not know the submit; it says so when all before is done.
                let _ = gpu.device.poll(wgpu::PollType::wait_indefinitely());
                return Err(Error::Gpu(error.to_string()));
            }
        }
        #[cfg(target_arch = "wasm32")]
        {
            let mapped = self.mapped.0.clone();
            let arrived = move || {
                mapped
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .arrived
            };
            if !arrived() {
                super::browser::remind(gpu.queue.clone(), arrived);
            }
        }
        self.mapped
            .await
            .map_err(|error| Error::Gpu(error.to_string()))
    }
}

impl Staging {
    /// A buffer of so many bytes.
    pub fn new(gpu: &Gpu, bytes: u64) -> Self {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self {
            buffer: gpu.buffer("readback", bytes, usage),
            bytes: bytes.max(16).next_multiple_of(16),
        }
    }

    /// Gives the memory back at once: a browser would keep it until it collects what was dropped.
    pub fn destroy(self) {
        self.buffer.destroy();
    }

    /// Records the copy of `bytes` from `source`.
    pub fn copy(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        source: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) {
        encoder.copy_buffer_to_buffer(source, offset, &self.buffer, 0, bytes.min(self.bytes));
    }

    /// The same, to byte `at` of this buffer.
    pub fn copy_at(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        source: &wgpu::Buffer,
        bytes: u64,
        at: u64,
    ) {
        encoder.copy_buffer_to_buffer(source, 0, &self.buffer, at, bytes);
    }

    /// Waits for what was submitted and gives the first `out.len()` words to `out`.
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::Gpu`] for whatever else went wrong on the device.
    pub async fn read<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        &self,
        gpu: &Gpu,
        out: &mut [T],
    ) -> Result<()> {
        let reading = self.begin(size_of_val(out) as u64, None);
        self.finish(gpu, reading, out).await
    }

    /// Asks for the first `bytes`, so that they are there as soon as the submit `after` (by default the last one) is done.
    pub fn begin(&self, bytes: u64, after: Option<wgpu::SubmissionIndex>) -> Reading {
        map(&self.buffer, wgpu::MapMode::Read, bytes, after)
    }

    /// Waits for a readback of this buffer and gives its words to `out`.
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::Gpu`] for whatever else went wrong on the device.
    pub async fn finish<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        &self,
        gpu: &Gpu,
        reading: Reading,
        out: &mut [T],
    ) -> Result<()> {
        reading.arrive(gpu).await?;
        let view = self
            .buffer
            .slice(..size_of_val(out) as u64)
            .get_mapped_range();
        let Ok(view) = view else {
            // A device that is lost takes its mappings along.
            gpu.check_again().await?;
            return Err(Error::Gpu("a mapped buffer cannot be read".into()));
        };
        bytemuck::cast_slice_mut::<T, u8>(out).copy_from_slice(&view);
        drop(view);
        self.buffer.unmap();
        Ok(())
    }
}
