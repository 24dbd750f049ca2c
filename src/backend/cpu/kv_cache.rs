//! Keys and values of past positions, `[position, n_kv_heads * head_dim]` per layer, each storage type in an order of its
//! own.

use half::f16;

use super::float_kv::FloatRows;
use super::quantized_kv::{QuantizedRows, Side};
use super::state::States;
use crate::model::{KvSpec, Plan};
use crate::{Error, Result};

/// Storage type of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// 4 bytes a value: exact.
    F32,
    /// 2 bytes a value.
    #[default]
    F16,
    /// About 9 bits a value, and products of integers: the fastest in long contexts.
    #[allow(non_camel_case_types)] // as the weights' type is called
    Q8_0,
}

/// Rows of one layer's keys or values.
pub enum KvRows {
    /// Exact.
    F32(FloatRows<f32>),
    /// Half the memory.
    F16(FloatRows<f16>),
    /// A good quarter.
    Q8_0(QuantizedRows),
}

/// Positions by which the cache grows.
const GROWTH: usize = 256;

impl KvRows {
    fn new(kind: KvType, side: Side, spec: &KvSpec) -> Self {
        let (heads, head_dim) = (spec.n_kv_heads, spec.head_dim);
        match kind {
            KvType::F32 => Self::F32(FloatRows::new(side, heads, head_dim)),
            KvType::F16 => Self::F16(FloatRows::new(side, heads, head_dim)),
            KvType::Q8_0 => Self::Q8_0(QuantizedRows::new(side, heads, head_dim)),
        }
    }

    /// Makes room for `positions`.
    fn resize(&mut self, positions: usize) -> Result<()> {
        match self {
            Self::F32(rows) => rows.resize(positions),
            Self::F16(rows) => rows.resize(positions),
            Self::Q8_0(rows) => rows.resize(positions),
        }
    }

    /// Writes whole rows, from `position` on.
    pub fn store(&mut self, position: usize, values: &[f32]) {
        match self {
            Self::F32(rows) => rows.store(position, values),
            Self::F16(rows) => rows.store(position, values),
            Self::Q8_0(rows) => rows.store(position, values),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(rows) => rows.bytes(),
            Self::F16(rows) => rows.bytes(),
            Self::Q8_0(rows) => rows.bytes(),
        }
    }
}

/// Lengthens `rows` to `len`.
pub(super) fn grow<T: Clone>(rows: &mut Vec<T>, len: usize, zero: T) -> Result<()> {
    if len > rows.len() {
        let more = len - rows.len();
        rows.try_reserve_exact(more)
            .map_err(|_| Error::OutOfMemory {
                bytes: (len * size_of::<T>()) as u64,
            })?;
        rows.resize(len, zero);
    }
    Ok(())
}

/// Cache of one layer.
pub struct LayerCache {
    /// Keys, rotated.
    pub keys: KvRows,
    /// Values.
    pub values: KvRows,
    /// Shape of a position.
    pub spec: KvSpec,
}

impl LayerCache {
    /// No positions yet.
    pub fn new(kind: KvType, spec: &KvSpec) -> Self {
        Self {
            keys: KvRows::new(kind, Side::Keys, spec),
            values: KvRows::new(kind, Side::Values, spec),
            spec: *spec,
        }
    }

    /// Makes room for `positions`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn resize(&mut self, positions: usize) -> Result<()> {
        self.keys.resize(positions)?;
        self.values.resize(positions)
    }
}

/// Cache of one session.
pub struct KvCache {
    /// Layer by layer.
    pub layers: Vec<LayerCache>,
    /// Recurrent states.
    pub states: States,
    /// Positions of the encoder's text.
    pub memory: usize,
    len: usize,
    capacity: usize,
    n_ctx: usize,
}

impl KvCache {
    /// An empty cache for up to `n_ctx` positions; memory is taken as the conversation grows.
    pub fn new(plan: &Plan, kind: KvType, n_ctx: usize) -> Self {
        Self {
            layers: plan
                .kv
                .iter()
                .map(|spec| LayerCache::new(kind, spec))
                .collect(),
            states: States::new(&plan.states),
            memory: 0,
            len: 0,
            capacity: 0,
            n_ctx,
        }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets every position from `len` on, and some before it where there is a recurrent state: see
    /// [`KvCache::len`] for what is left.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let recurrent = !self.states.current.is_empty();
            self.len = if recurrent {
                self.states.rewind(len)
            } else {
                len
            };
        }
    }

    /// Marks `count` more positions as held, after a forward pass has stored them.
    pub fn advance(&mut self, count: usize) {
        self.len += count;
    }

    /// Makes room for `count` more positions.
    ///
    /// # Errors
    /// [`Error::ContextFull`] beyond the context, [`Error::OutOfMemory`] when memory is refused (the cache stays as it
    /// was).
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        let needed = self.len + count;
        if needed > self.n_ctx {
            return Err(Error::ContextFull {
                needed,
                n_ctx: self.n_ctx,
            });
        }
        if needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed
            .max(self.capacity * 3 / 2)
            .next_multiple_of(GROWTH)
            .min(self.n_ctx);
        for layer in self.layers.iter_mut().filter(|layer| !layer.spec.memory) {
            layer.resize(capacity)?;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Empties the cache and makes room for the encoder's text.
    ///
    /// # Errors
    /// As [`KvCache::reserve`].
    pub fn reserve_memory(&mut self, count: usize) -> Result<()> {
        if count > self.n_ctx {
            return Err(Error::ContextFull {
                needed: count,
                n_ctx: self.n_ctx,
            });
        }
        for layer in self.layers.iter_mut().filter(|layer| layer.spec.memory) {
            layer.resize(count)?;
        }
        self.len = 0;
        self.memory = count;
        Ok(())
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter();
        let rows: usize = layers
            .map(|layer| layer.keys.bytes() + layer.values.bytes())
            .sum();
        rows + self.states.bytes()
    }
}
