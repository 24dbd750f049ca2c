//! The CPU backend: runs a [`Plan`] with one match and a loop.
//!
//! Two precisions share the interpreter: [`Precision::Exact`] is the scalar reference on the file's own weights,
//! [`Precision::Fast`] packs the weights and multiplies them with int8 activations in SIMD.

mod attention;
pub mod float_kv;
mod forward;
mod kv_cache;
mod moe;
pub mod ops;
pub mod packed;
pub mod parallel;
pub mod pool;
mod precision;
mod profile;
pub mod quantized_kv;
mod recurrent;
pub mod reference;
pub mod simd;
mod state;
mod streams;
mod weights;

use crate::model::{BufId, Op, Plan, RopeSpec, Step, WeightId};
use crate::quant::DType;
use crate::{Error, Result};

pub use kv_cache::{KvCache, KvRows, KvType, LayerCache};
use packed::QuantizedActs;
pub use profile::{OpTime, Profile};
use weights::CpuWeight;

/// How numbers are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Scalar, f32 weights and activations, f64 sums: the reference.
    Exact,
    /// Packed weights, int8 activations, SIMD.
    #[default]
    Fast,
}

/// Choices of the CPU backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuOptions {
    /// How numbers are computed.
    pub precision: Precision,
    /// Storage of the cache.
    pub kv_type: KvType,
}

/// Tokens per forward pass: long enough to reuse each weight many times, short enough to cancel between.
const MAX_CHUNK: usize = 64;

/// The same for mixtures of experts, where each expert has a part of the tokens only.
const MAX_CHUNK_OF_EXPERTS: usize = 128;

/// A plan, its weights and its activation buffers.
pub struct CpuBackend {
    plan: Plan,
    options: CpuOptions,
    weights: Vec<Option<CpuWeight>>,
    /// One per plan buffer, `[tokens, width]`.
    buffers: Vec<Vec<f32>>,
    /// Angle per position of each pair, factors applied; one list per rope of the plan.
    rope_freqs: Vec<Vec<f32>>,
    /// `(cos, sin)` of each pair for the tokens of the chunk; one list per rope.
    rope_angles: Vec<Vec<[f32; 2]>>,
    /// int8 form of the last matrix product's input, and whose it is.
    acts: QuantizedActs,
    acts_of: Option<BufId>,
    /// Of attention, one for each thread.
    scratch: Vec<ops::Scratch>,
    /// Of mixtures.
    experts: moe::Scratch,
    /// Position where the second text of a pair begins.
    second_text: Option<usize>,
    /// While profiling.
    clock: Option<profile::Clock>,
    max_chunk: usize,
}

/// Most tokens that a pass takes.
fn longest_pass(plan: &Plan) -> usize {
    let is_mixture = |step: &Step| matches!(step.op, Op::MoeMatMul { .. });
    match plan.steps.iter().any(is_mixture) {
        _ if plan.whole => usize::MAX,
        true => MAX_CHUNK_OF_EXPERTS,
        false => MAX_CHUNK,
    }
}

impl CpuBackend {
    /// A backend without weights yet.
    pub fn new(plan: Plan, options: CpuOptions) -> Self {
        Self {
            weights: plan.weights.iter().map(|_| None).collect(),
            buffers: plan.buffers.iter().map(|_| Vec::new()).collect(),
            rope_freqs: Vec::new(),
            rope_angles: plan.ropes.iter().map(|_| Vec::new()).collect(),
            acts: QuantizedActs::default(),
            acts_of: None,
            scratch: Vec::new(),
            experts: moe::Scratch::default(),
            second_text: None,
            clock: None,
            max_chunk: longest_pass(&plan),
            plan,
            options,
        }
    }

    /// See [`Backend::max_chunk`](super::Backend::max_chunk).
    pub fn max_chunk(&self) -> usize {
        self.max_chunk
    }

    /// See [`Backend::set_second_text`](super::Backend::set_second_text).
    pub fn set_second_text(&mut self, from: Option<usize>) {
        self.second_text = from;
    }

    /// See [`Backend::name`](super::Backend::name).
    pub fn name(&self) -> &'static str {
        match self.options.precision {
            Precision::Exact => "cpu-reference",
            Precision::Fast => simd::NAME,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes that the weights take.
    pub fn weight_bytes(&self) -> usize {
        self.weights.iter().flatten().map(CpuWeight::bytes).sum()
    }

    /// See [`Backend::allocate`](super::Backend::allocate).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn allocate(&mut self, id: WeightId, dtype: DType) -> Result<()> {
        self.weights[id.0] = Some(CpuWeight::new(
            &self.plan.weights[id.0],
            dtype,
            self.options.precision,
        )?);
        Ok(())
    }

    /// See [`Backend::write_rows`](super::Backend::write_rows).
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn write_rows(&mut self, id: WeightId, row_start: usize, bytes: &[u8]) -> Result<()> {
        let weight = self.weights[id.0].as_mut();
        weight
            .ok_or_else(|| Error::Internal("weight was not allocated".into()))?
            .write_rows(row_start, bytes)
    }

    /// See [`Backend::finish`](super::Backend::finish).
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn finish(&mut self) -> Result<()> {
        if let Some(missing) = self.weights.iter().position(Option::is_none) {
            let name = &self.plan.weights[missing].tensor;
            return Err(Error::Internal(format!("weight {name} was never loaded")));
        }
        let freqs = |spec: &RopeSpec| -> Result<Vec<f32>> {
            let Some(id) = spec.factors else {
                return Ok(spec.freqs.clone());
            };
            let factors = self.vector(id)?;
            Ok(spec
                .freqs
                .iter()
                .zip(factors)
                .map(|(freq, factor)| freq / factor)
                .collect())
        };
        self.rope_freqs = self.plan.ropes.iter().map(freqs).collect::<Result<_>>()?;
        Ok(())
    }

    /// See [`Backend::new_cache`](super::Backend::new_cache).
    pub fn new_cache(&self, n_ctx: usize) -> KvCache {
        KvCache::new(&self.plan, self.options.kv_type, n_ctx)
    }

    /// See [`Backend::logits`](super::Backend::logits).
    pub fn logits(&mut self) -> &mut [f32] {
        &mut self.buffers[self.plan.logits.0]
    }

    fn weight(&self, id: WeightId) -> Result<&CpuWeight> {
        self.weights[id.0]
            .as_ref()
            .ok_or_else(|| Error::Internal("weight was not loaded".into()))
    }

    fn vector(&self, id: WeightId) -> Result<&[f32]> {
        match self.weight(id)? {
            CpuWeight::Vector { values, .. } => Ok(values),
            _ => Err(Error::Internal(
                "a matrix stands where a vector should".into(),
            )),
        }
    }
}
