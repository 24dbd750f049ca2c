//! Keys and values of one session on the GPU, and the bind groups that show them.
//!
//! The cache grows in steps: then buffers and bind groups are made anew, and never in between.

use super::device::Gpu;
use crate::backend::KvType;
use crate::model::KvSpec;
use crate::{Error, Result};

/// Positions by which the cache grows at least.
const GROWTH: usize = 256;

/// One layer.
pub struct LayerCache {
    /// `[position, width]`
    pub keys: wgpu::Buffer,
    /// `[position, width]`
    pub values: wgpu::Buffer,
}

/// Cache of one session.
pub struct KvCache {
    /// Layer by layer; empty before the first token.
    pub layers: Vec<LayerCache>,
    /// Bind groups of the dispatches that touch the cache, in the order of the programs; `None` for all others.
    pub groups: Vec<Option<wgpu::BindGroup>>,
    specs: Vec<KvSpec>,
    kind: KvType,
    len: usize,
    capacity: usize,
    n_ctx: usize,
}

impl KvCache {
    /// An empty cache for up to `n_ctx` positions.
    pub fn new(specs: &[KvSpec], kind: KvType, n_ctx: usize) -> Self {
        Self {
            layers: Vec::new(),
            groups: Vec::new(),
            specs: specs.to_vec(),
            kind,
            len: 0,
            capacity: 0,
            n_ctx,
        }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets every position from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Marks `count` more positions as held.
    pub fn advance(&mut self, count: usize) {
        self.len += count;
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> usize {
        self.specs
            .iter()
            .map(|spec| 2 * self.row_bytes(spec) * self.capacity)
            .sum()
    }

    fn row_bytes(&self, spec: &KvSpec) -> usize {
        spec.width() * if self.kind == KvType::F32 { 4 } else { 2 }
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
        self.copy_into(gpu, &layers);
        self.layers = layers;
        self.capacity = capacity;
        Ok(true)
    }

    fn copy_into(&self, gpu: &Gpu, layers: &[LayerCache]) {
        if self.len == 0 {
            return;
        }
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for ((old, new), spec) in self.layers.iter().zip(layers).zip(&self.specs) {
            let bytes = (self.row_bytes(spec) * self.len).next_multiple_of(4) as u64;
            encoder.copy_buffer_to_buffer(&old.keys, 0, &new.keys, 0, bytes);
            encoder.copy_buffer_to_buffer(&old.values, 0, &new.values, 0, bytes);
        }
        gpu.queue.submit([encoder.finish()]);
    }
}
