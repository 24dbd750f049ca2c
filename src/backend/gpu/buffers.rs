//! Buffers that belong to no weight and no session, and the tables of angles.

use super::STATE_TOKENS;
use super::compile::CANDIDATE_BYTES;
use super::device::Gpu;
use super::program::Program;
use crate::Result;
use crate::model::{Plan, RopeSpec};

/// Rows of a rotary table for the low part of a position.
const ROTARY_LOW: usize = 256;

/// Buffers that belong to no weight and no session.
pub struct Buffers {
    /// Position, tokens and rules of a step.
    pub state: wgpu::Buffer,
    /// Activations, as numbered in the program.
    pub activations: Vec<wgpu::Buffer>,
    /// Angles of each rotary embedding.
    pub rotary: Vec<wgpu::Buffer>,
    /// What attention leaves when it splits the keys.
    pub parts: wgpu::Buffer,
    /// Activations as products in f16 or int8 take them.
    pub packed: wgpu::Buffer,
    /// What tokens have chosen, sorted by expert.
    pub sorted: wgpu::Buffer,
    /// Candidates of the arg-max.
    pub candidates: wgpu::Buffer,
    /// Best candidates of each span of the logits.
    pub ranked: [wgpu::Buffer; 2],
    /// For bindings that a kernel does not look at.
    pub unused: wgpu::Buffer,
}

impl Buffers {
    /// Makes all of them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub async fn new(gpu: &Gpu, plan: &Plan, program: &Program, n_ctx: usize) -> Result<Self> {
        let make = || Self {
            state: gpu.storage("state", ((STATE_TOKENS + program.max_tokens) * 4) as u64),
            activations: activations(program)
                .map(|bytes| gpu.storage("activations", bytes))
                .collect(),
            rotary: plan
                .ropes
                .iter()
                .map(|spec| gpu.storage("rotary", rotary_bytes(spec, n_ctx)))
                .collect(),
            parts: gpu.storage("attention parts", program.parts_floats as u64 * 4),
            packed: gpu.storage("packed", program.packed_bytes as u64),
            sorted: gpu.storage("sorted", program.sorted_words as u64 * 4),
            candidates: gpu.storage("candidates", CANDIDATE_BYTES as u64),
            ranked: program
                .ranked
                .map(|count| gpu.storage("ranked", count as u64 * 8)),
            unused: gpu.storage("unused", 16),
        };
        gpu.allocating(bytes(plan, program, n_ctx), make).await
    }
}

/// Bytes of all of them, but for some small ones.
pub fn bytes(plan: &Plan, program: &Program, n_ctx: usize) -> u64 {
    let rotary = plan.ropes.iter().map(|spec| rotary_bytes(spec, n_ctx));
    activations(program).chain(rotary).sum::<u64>() + program.parts_floats as u64 * 4
}

/// Bytes of each buffer of activations.
pub fn activations(program: &Program) -> impl Iterator<Item = u64> {
    let sizes = program.buffers.iter();
    sizes.map(|(width, rows)| *width as u64 * *rows as u64 * 4)
}

fn rotary_bytes(spec: &RopeSpec, n_ctx: usize) -> u64 {
    (rotary_rows(n_ctx) * spec.n_rot / 2 * 8) as u64
}

fn rotary_rows(n_ctx: usize) -> usize {
    ROTARY_LOW + n_ctx.div_ceil(ROTARY_LOW)
}

/// `(cos, sin)` of each pair for the low part of a position, with the magnitude, then for the multiples of it.
pub fn rotary_table(spec: &RopeSpec, factors: Option<&[f32]>, n_ctx: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity(rotary_rows(n_ctx) * spec.n_rot);
    for row in 0..rotary_rows(n_ctx) {
        let low = row < ROTARY_LOW;
        let position = if low {
            row
        } else {
            (row - ROTARY_LOW) * ROTARY_LOW
        };
        for (i, freq) in spec.freqs.iter().enumerate() {
            let freq = factors
                .and_then(|factors| factors.get(i))
                .map_or(*freq, |factor| freq / factor);
            let (sin, cos) = (position as f64 * f64::from(freq)).sin_cos();
            let magnitude = if low { spec.magnitude } else { 1.0 };
            table.extend([cos as f32 * magnitude, sin as f32 * magnitude]);
        }
    }
    table
}
