//! The interpreter: one match over [`Op`].

use std::mem::take;

use web_time::Instant;

use super::reference;
use super::weights::CpuWeight;
use super::{CpuBackend, KvCache, Precision, ops, parallel};
use crate::backend::{LogitRows, pool};
use crate::model::{BufId, IdSource, Op, Step, WeightId};
use crate::{Error, Result};

/// What the operations of one pass share.
pub(super) struct Pass<'a> {
    pub(super) cache: &'a mut KvCache,
    pub(super) tokens: &'a [u32],
    /// Position of the first token.
    pub(super) start: usize,
    /// Rows that operations still work on: all tokens, then those whose logits are wanted.
    pub(super) rows: usize,
    pub(super) wanted: LogitRows,
}

impl CpuBackend {
    /// See [`Backend::forward`](crate::backend::Backend::forward).
    ///
    /// # Errors
    /// As there.
    pub fn forward(
        &mut self,
        cache: &mut KvCache,
        tokens: &[u32],
        wanted: LogitRows,
    ) -> Result<()> {
        let start = cache.len();
        self.check(start, tokens)?;
        cache.reserve(tokens.len())?;
        cache.states.before_pass(start, tokens.len());
        let mut pass = Pass {
            cache,
            tokens,
            start,
            rows: tokens.len(),
            wanted,
        };
        // The steps are taken out so that an operation may borrow the rest of the backend.
        let steps = take(&mut self.plan.steps);
        let result = self.run_all(&steps, &mut pass);
        self.plan.steps = steps;
        result?;
        cache.advance(tokens.len());
        Ok(())
    }

    /// See [`Backend::encode`](crate::backend::Backend::encode).
    ///
    /// # Errors
    /// As there.
    pub fn encode(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<()> {
        if self.plan.encoder.is_empty() {
            return Err(Error::InvalidRequest("this model has no encoder".into()));
        }
        self.check_tokens(tokens)?;
        cache.reserve_memory(tokens.len())?;
        let mut pass = Pass {
            cache,
            tokens,
            start: 0,
            rows: tokens.len(),
            wanted: LogitRows::All,
        };
        let steps = take(&mut self.plan.encoder);
        let result = self.run_all(&steps, &mut pass);
        self.plan.encoder = steps;
        result
    }

    fn run_all(&mut self, steps: &[Step], pass: &mut Pass<'_>) -> Result<()> {
        self.prepare_angles(pass.start, pass.tokens.len());
        let result = steps.iter().try_for_each(|step| match step.op {
            _ if pass.rows == 0 => Ok(()),
            ref op if self.clock.is_some() => self.run_timed(op, pass),
            ref op => self.run(op, pass),
        });
        self.acts_of = None;
        result
    }

    fn run_timed(&mut self, op: &Op, pass: &mut Pass<'_>) -> Result<()> {
        let (name, bytes) = self.describe(op);
        let start = Instant::now();
        let result = self.run(op, pass);
        if let Some(clock) = &mut self.clock {
            clock.note(name, bytes, start);
        }
        result
    }

    fn check(&self, start: usize, tokens: &[u32]) -> Result<()> {
        if tokens.is_empty() || tokens.len() > self.max_chunk() {
            return Err(Error::Internal(format!(
                "a pass takes 1 to {} tokens",
                self.max_chunk()
            )));
        }
        self.check_tokens(tokens)?;
        match self.plan.max_positions {
            Some(n_ctx) if start + tokens.len() > n_ctx => Err(Error::ContextFull {
                needed: start + tokens.len(),
                n_ctx,
            }),
            _ => Ok(()),
        }
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        if let Some(token) = tokens
            .iter()
            .find(|token| **token as usize >= self.plan.n_vocab)
        {
            let n_vocab = self.plan.n_vocab;
            return Err(Error::InvalidRequest(format!(
                "token {token} is outside the vocabulary of {n_vocab}"
            )));
        }
        Ok(())
    }

    /// Cosines and sines of this chunk's positions, once for all layers.
    fn prepare_angles(&mut self, start: usize, count: usize) {
        for (rope, spec) in self.plan.ropes.iter().enumerate() {
            let angles = &mut self.rope_angles[rope];
            angles.clear();
            for position in start..start + count {
                angles.extend(self.rope_freqs[rope].iter().map(|freq| {
                    let (sin, cos) = (position as f64 * f64::from(*freq)).sin_cos();
                    [cos as f32 * spec.magnitude, sin as f32 * spec.magnitude]
                }));
            }
        }
    }

    fn run(&mut self, op: &Op, pass: &mut Pass<'_>) -> Result<()> {
        let precision = self.options.precision;
        match *op {
            Op::Embed { table, ids, out } => return self.embed(table, ids, out, pass),
            Op::MatMul {
                x,
                weight,
                bias,
                out,
            } => return self.matmul(x, weight, bias, out, pass.rows),
            Op::Norm {
                kind,
                x,
                weight,
                bias,
                eps,
                width,
                out,
            } => {
                let mut values = self.copied(x, out, pass.rows);
                let weight = weight.map(|id| self.vector(id)).transpose()?;
                let bias = bias.map(|id| self.vector(id)).transpose()?;
                precision.norm(kind, &mut values, width, weight, bias, eps);
                self.put(out, values);
            }
            Op::Rope {
                x, rope, head_dim, ..
            } => {
                let mut values = take(&mut self.buffers[x.0]);
                let spec = &self.plan.ropes[rope.0];
                let width = self.plan.buffers[x.0];
                let angles = self.rope_angles[rope.0].chunks_exact(spec.n_rot / 2);
                for (row, angles) in values.chunks_exact_mut(width).zip(angles) {
                    precision.rope(row, head_dim, spec.pairing, angles);
                }
                self.put(x, values);
            }
            Op::PositionScale { x, factor, length } => {
                let width = self.plan.buffers[x.0];
                for (t, row) in self.buffers[x.0].chunks_exact_mut(width).enumerate() {
                    let steps = ((pass.start + t) / length) as f64;
                    let scale = 1.0 + f64::from(factor) * (1.0 + steps).ln();
                    row.iter_mut()
                        .for_each(|x| *x = (f64::from(*x) * scale) as f32);
                }
                self.touched(x);
            }
            Op::StoreKv { k, v, layer } => {
                let layer = &mut pass.cache.layers[layer];
                let count = pass.rows * layer.spec.width();
                layer.keys.store(pass.start, &self.buffers[k.0][..count]);
                layer.values.store(pass.start, &self.buffers[v.0][..count]);
            }
            Op::Attention { .. } => return self.attention(op, pass),
            Op::MoeRoute { .. }
            | Op::EveryExpert { .. }
            | Op::MoeMatMul { .. }
            | Op::MoeSum { .. } => {
                return self.mixture(op, pass.rows);
            }
            Op::CausalConv { .. }
            | Op::DeltaNet { .. }
            | Op::StateScan { .. }
            | Op::SelectiveScan { .. }
            | Op::TokenShift { .. }
            | Op::Wkv7 { .. } => return self.recurrent(op, pass),
            Op::Place {
                x,
                width,
                stride,
                offset,
                out,
            } => {
                let mut values = take(&mut self.buffers[out.0]);
                let (x_width, out_width) = (self.plan.buffers[x.0], self.plan.buffers[out.0]);
                values.resize(pass.rows * out_width, 0.0);
                let rows = self.buffers[x.0].chunks_exact(x_width);
                for (x, out) in rows.zip(values.chunks_exact_mut(out_width)) {
                    let runs = x.chunks_exact(width).cycle();
                    for (x, out) in runs.zip(out.chunks_exact_mut(stride)) {
                        out[offset..offset + width].copy_from_slice(x);
                    }
                }
                self.put(out, values);
            }
            Op::Slice {
                x,
                stride,
                offset,
                out,
            } => {
                let count = self.plan.buffers[out.0] / (self.plan.buffers[x.0] / stride);
                let mut values = take(&mut self.buffers[out.0]);
                values.clear();
                let rows = &self.buffers[x.0][..pass.rows * self.plan.buffers[x.0]];
                rows.chunks_exact(stride)
                    .for_each(|run| values.extend_from_slice(&run[offset..offset + count]));
                self.put(out, values);
            }
            Op::ScaleByWeight { x, weight } => {
                let mut values = take(&mut self.buffers[x.0]);
                let factors = self.vector(weight)?;
                for (x, factor) in values.iter_mut().zip(factors.iter().cycle()) {
                    *x *= factor;
                }
                self.put(x, values);
            }
            Op::MixStreams { .. } | Op::JoinStreams { .. } | Op::Sparsify { .. } => {
                self.streams(op, pass.rows);
            }
            Op::GatedAct { act, gate, up, out } => {
                let mut values = self.copied(up, out, pass.rows);
                let narrow = self.plan.buffers[out.0] / self.plan.buffers[gate.0];
                let gate = &self.buffers[gate.0];
                if narrow > 1 {
                    for (up, gate) in values.chunks_exact_mut(narrow).zip(gate) {
                        let gate = reference::activate(act, *gate);
                        up.iter_mut().for_each(|up| *up *= gate);
                    }
                } else {
                    precision.gated(act, gate, &mut values);
                }
                self.put(out, values);
            }
            Op::Act { act, x } => {
                let mut values = take(&mut self.buffers[x.0]);
                precision.activate(act, &mut values);
                self.put(x, values);
            }
            Op::Add { a, b, out } => {
                // Addition commutes: whichever operand is overwritten, the other is added to it.
                let (kept, other) = if out == b { (b, a) } else { (a, b) };
                let mut values = self.copied(kept, out, pass.rows);
                ops::add(&mut values, &self.buffers[other.0]);
                self.put(out, values);
            }
            Op::Scale { x, factor } => {
                ops::scale(&mut self.buffers[x.0], factor);
                self.touched(x);
            }
            Op::SoftCap { x, cap } => {
                precision.soft_cap(&mut self.buffers[x.0], cap);
                self.touched(x);
            }
            Op::Softmax { x } => {
                let width = self.plan.buffers[x.0];
                for row in self.buffers[x.0].chunks_exact_mut(width) {
                    let logits: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
                    let probs = reference::softmax(&logits);
                    row.iter_mut().zip(probs).for_each(|(x, p)| *x = p as f32);
                }
                self.touched(x);
            }
            Op::Pool { x, pooling, out } => {
                let width = self.plan.buffers[x.0];
                let mut values = take(&mut self.buffers[out.0]);
                let rows = &self.buffers[x.0][..pass.rows * width];
                if pass.wanted == LogitRows::All {
                    values.clear();
                    values.extend_from_slice(rows);
                } else {
                    values.resize(width, 0.0);
                    pool(rows, pooling, &mut values);
                    pass.rows = 1;
                }
                self.put(out, values);
            }
            Op::LastRow { x, out } => {
                let width = self.plan.buffers[x.0];
                let first = match pass.wanted {
                    LogitRows::None => pass.rows,
                    LogitRows::Last => pass.rows - 1,
                    LogitRows::All => 0,
                };
                let mut values = take(&mut self.buffers[out.0]);
                values.clear();
                values.extend_from_slice(&self.buffers[x.0][first * width..pass.rows * width]);
                pass.rows -= first;
                self.put(out, values);
            }
        }
        Ok(())
    }

    /// Buffer `out`, taken out and holding a copy of the rows of `x` (nothing is copied where they are the same).
    fn copied(&mut self, x: BufId, out: BufId, rows: usize) -> Vec<f32> {
        let mut values = take(&mut self.buffers[out.0]);
        if x != out {
            values.clear();
            values.extend_from_slice(&self.buffers[x.0][..rows * self.plan.buffers[x.0]]);
        }
        values
    }

    /// Puts rows into a buffer of the plan, as if an operation had left them there.
    pub fn set_rows(&mut self, id: BufId, values: Vec<f32>) {
        self.put(id, values);
    }

    pub(super) fn put(&mut self, id: BufId, values: Vec<f32>) {
        self.buffers[id.0] = values;
        self.touched(id);
    }

    /// Forgets the int8 form of a buffer that has changed.
    fn touched(&mut self, id: BufId) {
        if self.acts_of == Some(id) {
            self.acts_of = None;
        }
    }

    fn embed(&mut self, table: WeightId, ids: IdSource, out: BufId, pass: &Pass<'_>) -> Result<()> {
        let width = self.plan.buffers[out.0];
        // Models without a second type call both texts the first.
        let types = self.plan.weights[table.0].rows;
        let second = self.second_text.filter(|_| types > 1);
        let mut values = take(&mut self.buffers[out.0]);
        values.resize(pass.rows * width, 0.0);
        for (t, row) in values.chunks_exact_mut(width).enumerate() {
            let id = match ids {
                IdSource::Tokens => pass.tokens[t] as usize,
                IdSource::Segment => usize::from(second.is_some_and(|from| pass.start + t >= from)),
                IdSource::Positions => pass.start + t,
            };
            self.weight(table)?.row(id, row)?;
        }
        self.put(out, values);
        Ok(())
    }

    fn matmul(
        &mut self,
        x: BufId,
        weight: WeightId,
        bias: Option<WeightId>,
        out: BufId,
        rows: usize,
    ) -> Result<()> {
        let (n_in, n_out) = (self.plan.buffers[x.0], self.plan.buffers[out.0]);
        let mut values = take(&mut self.buffers[out.0]);
        values.resize(rows * n_out, 0.0);
        if self.acts_of != Some(x) && self.options.precision == Precision::Fast {
            self.acts.quantize(&self.buffers[x.0][..rows * n_in], n_in);
            self.acts_of = Some(x);
        }
        match self.weight(weight)? {
            CpuWeight::Raw(matrix) => {
                matrix.matmul(&self.buffers[x.0][..rows * n_in], &mut values)?
            }
            CpuWeight::Packed(matrix) => {
                parallel::matmul(matrix, &self.acts, &mut values, 0..matrix.rows());
            }
            CpuWeight::Vector { .. } => {
                return Err(Error::Internal(
                    "a vector stands where a matrix should".into(),
                ));
            }
        }
        if let Some(bias) = bias {
            let bias = self.vector(bias)?;
            for row in values.chunks_exact_mut(n_out) {
                ops::add(row, bias);
            }
        }
        self.put(out, values);
        Ok(())
    }
}
