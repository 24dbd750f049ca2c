//! Recurrent states of one session on the GPU, all in one buffer.

use std::rc::Rc;

use super::device::Gpu;
use crate::Result;
use crate::backend::checkpoints::Checkpoints;

/// Storage buffers are bound at multiples of this many floats (the largest alignment that an adapter may ask for).
const ALIGN: usize = 64;

/// What the states are to become before the next pass.
enum Reset {
    Zero,
    To(Rc<Copy>),
}

/// All states at one position, given back with it as those of a [`LayerCache`](super::kv_cache::LayerCache) are.
struct Copy(wgpu::Buffer);

impl Drop for Copy {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

/// The states of one session.
pub struct States {
    /// First float of each state of the plan, and how many it has.
    places: Vec<(usize, usize)>,
    floats: usize,
    /// Made with the first token.
    buffer: Option<Copy>,
    checkpoints: Checkpoints<Rc<Copy>>,
    reset: Option<Reset>,
}

impl States {
    /// States of so many floats each, all zero.
    pub fn new(sizes: &[usize]) -> Self {
        let mut floats = 0;
        let mut place = |size: &usize| {
            let first = floats;
            floats += size.next_multiple_of(ALIGN);
            (first, *size)
        };
        let places = sizes.iter().map(&mut place).collect();
        Self {
            places,
            floats,
            buffer: None,
            checkpoints: Checkpoints::new(floats * 4),
            reset: None,
        }
    }

    /// Whether the model has any.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.buffer.as_ref().map_or(0, |_| self.floats * 4) + self.checkpoints.bytes()
    }

    /// What shows one state.
    pub fn binding(&self, state: usize) -> Option<wgpu::BindingResource<'_>> {
        let (first, len) = self.places[state];
        let Copy(buffer) = self.buffer.as_ref()?;
        Some(wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset: first as u64 * 4,
            size: wgpu::BufferSize::new(len.max(4) as u64 * 4),
        }))
    }

    /// Makes the buffer, if there is none yet.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub async fn allocate(&mut self, gpu: &Gpu) -> Result<()> {
        if self.buffer.is_none() && !self.is_empty() {
            let bytes = self.floats as u64 * 4;
            let make = || Copy(gpu.storage("states", bytes));
            self.buffer = Some(gpu.allocating(bytes, make).await?);
        }
        Ok(())
    }

    /// Goes back to the last checkpoint that is not after `len`; returns its position. The copy is made with the next
    /// pass.
    pub fn rewind(&mut self, len: usize) -> usize {
        match self.checkpoints.rewind(len) {
            Some((position, copy)) => {
                self.reset = Some(Reset::To(copy.clone()));
                position
            }
            None => {
                self.reset = Some(Reset::Zero);
                0
            }
        }
    }

    /// Before a pass of `count` tokens: goes back where that was asked for, and keeps a copy if this is a point worth
    /// going back to.
    pub fn before_pass(&mut self, gpu: &Gpu, position: usize, count: usize) {
        let Some(Copy(buffer)) = &self.buffer else {
            return;
        };
        let reset = self.reset.take();
        let due = self.checkpoints.is_due(position, count);
        if reset.is_none() && !due {
            return;
        }
        let bytes = self.floats as u64 * 4;
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        match &reset {
            Some(Reset::Zero) => encoder.clear_buffer(buffer, 0, None),
            Some(Reset::To(copy)) => encoder.copy_buffer_to_buffer(&copy.0, 0, buffer, 0, bytes),
            None => {}
        }
        if due {
            let copy = gpu.storage("states", bytes);
            encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, bytes);
            self.checkpoints.keep(position, Rc::new(Copy(copy)));
        }
        gpu.queue.submit([encoder.finish()]);
    }
}
