//! Keys and values of one session on the GPU, and the bind groups that show them.
//!
//! The cache grows in steps: then buffers and bind groups are made anew, and never in between.

use super::device::Gpu;
use super::state::States;
use crate::backend::KvType;
use crate::model::{KvSpec, Plan};
use crate::{Error, Result};

/// Positions by which the cache grows at least.
const GROWTH: usize = 256;

/// One layer. Its buffers are given back with it: a browser would keep them until it collects what was dropped, and does
/// not count the memory of a GPU when it thinks about that.
pub struct LayerCache {
    /// `[position, width]`
    pub keys: wgpu::Buffer,
    /// `[position, width]`
    pub values: wgpu::Buffer,
}

impl Drop for LayerCache {
    fn drop(&mut self) {
        self.keys.destroy();
        self.values.destroy();
    }
}

/// Cache of one session.
pub struct KvCache {
    /// Layer by layer; empty before the first token.
    pub layers: Vec<LayerCache>,
    /// Bind groups of the dispatches that touch the cache, in the order of the programs; `None` for all others.
    pub groups: Vec<Option<wgpu::BindGroup>>,
    /// Recurrent states.
    pub states: States,
    /// Positions of the encoder's text.
    pub memory: usize,
    specs: Vec<KvSpec>,
    kind: KvType,
    len: usize,
    capacity: usize,
    n_ctx: usize,
}

impl KvCache {
    /// An empty cache for up to `n_ctx` positions.
    pub fn new(plan: &Plan, kind: KvType, n_ctx: usize) -> Self {
        Self {
            layers: Vec::new(),
            groups: Vec::new(),
            states: States::new(&plan.states),
            memory: 0,
            specs: plan.kv.clone(),
            kind,
            len: 0,
            capacity: 0,
            n_ctx,
        }
    }

    /// Bytes of the keys of each layer with so many positions; values take as many.
    pub fn sizes(plan: &Plan, kind: KvType, positions: usize) -> Vec<u64> {
        let of_layer = |spec: &KvSpec| (row_bytes(spec, kind) * positions) as u64;
        plan.kv.iter().map(of_layer).collect()
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets every position from `len` on, and some before it where there is a recurrent state: see
    /// [`KvCache::len`] for what is left.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = if self.states.is_empty() {
                len
            } else {
                self.states.rewind(len)
            };
        }
    }

    /// Empties the cache for a new text of `count` tokens, which the encoder reads.
    pub fn begin_memory(&mut self, count: usize) {
        self.len = 0;
        self.memory = count;
    }

    /// Marks `count` more positions as held.
    pub fn advance(&mut self, count: usize) {
        self.len += count;
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> usize {
        let rows = self.specs.iter().map(|spec| 2 * self.row_bytes(spec));
        rows.sum::<usize>() * self.capacity + self.states.bytes()
    }

    fn row_bytes(&self, spec: &KvSpec) -> usize {
        row_bytes(spec, self.kind)
    }

    /// Makes room for `count` more positions; true when the buffers are new, so that bind groups must be made anew.
    ///
    /// # Errors
    /// [`Error::ContextFull`], [`Error::OutOfMemory`] (the cache stays as it was).
    pub async fn reserve(&mut self, gpu: &Gpu, count: usize) -> Result<bool> {
        let needed = self.len + count;
        if needed > self.n_ctx {
            return Err(Error::ContextFull {
                needed,
                n_ctx: self.n_ctx,
            });
        }
        if needed <= self.capacity {
            return Ok(false);
        }
        let capacity = needed
            .max(self.capacity * 2)
            .next_multiple_of(GROWTH)
            .min(self.n_ctx);
        let sizes: Vec<u64> = self
            .specs
            .iter()
            .map(|spec| (self.row_bytes(spec) * capacity) as u64)
            .collect();
        let total = sizes.iter().sum::<u64>() * 2;
        if let Some(bytes) = sizes.iter().copied().find(|bytes| *bytes > gpu.max_binding) {
            return Err(Error::OutOfMemory { bytes });
        }
        let make = || {
            let layer = |bytes: &u64| LayerCache {
                keys: gpu.storage("keys", *bytes),
                values: gpu.storage("values", *bytes),
            };
            sizes.iter().map(layer).collect::<Vec<_>>()
        };
        let layers = gpu.allocating(total, make).await?;
        self.states.allocate(gpu).await?;
        self.copy_into(gpu, &layers);
        self.layers = layers;
        self.capacity = capacity;
        Ok(true)
    }

    fn copy_into(&self, gpu: &Gpu, layers: &[LayerCache]) {
        let held = self.len.max(self.memory).min(self.capacity);
        if held == 0 {
            return;
        }
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for ((old, new), spec) in self.layers.iter().zip(layers).zip(&self.specs) {
            let bytes = (self.row_bytes(spec) * held).next_multiple_of(4) as u64;
            encoder.copy_buffer_to_buffer(&old.keys, 0, &new.keys, 0, bytes);
            encoder.copy_buffer_to_buffer(&old.values, 0, &new.values, 0, bytes);
        }
        gpu.queue.submit([encoder.finish()]);
    }
}

fn row_bytes(spec: &KvSpec, kind: KvType) -> usize {
    spec.width() * if kind == KvType::F32 { 4 } else { 2 }
}
