//! Mixtures of experts: each expert that any token of the chunk has chosen runs once, on the rows of those tokens.

use std::mem::take;
use std::ops::Range;

use super::{CpuBackend, Precision, ops, parallel, reference};
use crate::backend::cpu::weights::CpuWeight;
use crate::model::{Op, WeightId};
use crate::{Error, Result};

/// Rows that packed matrices interleave.
const GROUP: usize = 8;

/// What products of experts need, kept from use to use.
#[derive(Default)]
pub(super) struct Scratch {
    /// Experts and the places `token * used + j` at which tokens have chosen them, in order.
    chosen: Vec<(usize, usize)>,
    /// Rows of the tokens of one expert.
    inputs: Vec<f32>,
    /// What it makes of them.
    products: Vec<f32>,
}

impl CpuBackend {
    /// Runs one of the operations of mixtures.
    pub(super) fn mixture(&mut self, op: &Op, rows: usize) -> Result<()> {
        match *op {
            Op::MoeRoute {
                x,
                bias,
                used,
                gating,
                normalize,
                scale,
                out,
            } => {
                let mut values = take(&mut self.buffers[out.0]);
                values.resize(rows * 2 * used, 0.0);
                let bias = bias.map(|id| self.vector(id)).transpose()?;
                let logits = self.buffers[x.0].chunks_exact(self.plan.buffers[x.0]);
                for (logits, out) in logits.zip(values.chunks_exact_mut(2 * used)) {
                    reference::route(logits, bias, gating, normalize, scale, out);
                }
                self.put(out, values);
            }
            Op::EveryExpert { used, out } => {
                let mut values = take(&mut self.buffers[out.0]);
                values.clear();
                for _ in 0..rows {
                    values.extend((0..used).map(|j| j as f32));
                    values.resize(values.len() + used, 1.0);
                }
                self.put(out, values);
            }
            Op::MoeMatMul { .. } => return self.expert_matmul(op, rows),
            Op::MoeSum {
                x,
                route,
                used,
                out,
            } => {
                let width = self.plan.buffers[out.0];
                let mut values = take(&mut self.buffers[out.0]);
                values.resize(rows * width, 0.0);
                let inputs = self.buffers[x.0].chunks_exact(used * width);
                let routes = self.buffers[route.0].chunks_exact(2 * used);
                for ((x, route), out) in inputs.zip(routes).zip(values.chunks_exact_mut(width)) {
                    if self.options.precision == Precision::Fast {
                        out.fill(0.0);
                        for (x, weight) in x.chunks_exact(width).zip(&route[used..]) {
                            ops::axpy(out, *weight, x);
                        }
                    } else {
                        reference::weighted_sum(x, &route[used..], out);
                    }
                }
                self.put(out, values);
            }
            _ => return Err(Error::Internal("not an operation of mixtures".into())),
        }
        Ok(())
    }

    fn expert_matmul(&mut self, op: &Op, rows: usize) -> Result<()> {
        let Op::MoeMatMul {
            x,
            route,
            used,
            weight,
            bias,
            stride,
            offset,
            out,
        } = *op
        else {
            return Ok(());
        };
        let cols = self.plan.weights[weight.0].cols;
        let n_out = self.plan.buffers[out.0] / used;
        let shared_input = self.plan.buffers[x.0] == cols;
        let mut values = take(&mut self.buffers[out.0]);
        values.resize(rows * used * n_out, 0.0);
        let mut scratch = take(&mut self.experts);
        scratch.choose(&self.buffers[route.0], used, rows);
        for slots in scratch.chosen.chunk_by(|a, b| a.0 == b.0) {
            let first = slots[0].0 * stride + offset;
            // Packed rows come in groups of eight: a product begins with a group.
            let begin = first - first % GROUP;
            let width = first + n_out - begin;
            scratch.products.resize(slots.len() * width, 0.0);
            if rows > 1 || !shared_input || self.acts_of != Some(x) {
                scratch.inputs.clear();
                for (_, slot) in slots {
                    let row = if shared_input { slot / used } else { *slot };
                    let row = &self.buffers[x.0][row * cols..][..cols];
                    scratch.inputs.extend_from_slice(row);
                }
                if self.options.precision == Precision::Fast {
                    self.acts.quantize(&scratch.inputs, cols);
                    // All experts of a single token may have the same input.
                    self.acts_of = (rows == 1 && shared_input).then_some(x);
                }
            }
            let products = &mut scratch.products;
            self.product(weight, &scratch.inputs, products, begin..first + n_out)?;
            let bias = bias.map(|id| self.vector(id)).transpose()?;
            for ((_, slot), product) in slots.iter().zip(products.chunks_exact(width)) {
                let out = &mut values[slot * n_out..][..n_out];
                out.copy_from_slice(&product[first - begin..]);
                if let Some(bias) = bias {
                    ops::add(out, &bias[first..]);
                }
            }
        }
        self.experts = scratch;
        self.put(out, values);
        Ok(())
    }

    /// `out = x * rowsᵀ`, of packed matrices with the activations that were quantized last.
    fn product(
        &self,
        weight: WeightId,
        x: &[f32],
        out: &mut [f32],
        rows: Range<usize>,
    ) -> Result<()> {
        match self.weight(weight)? {
            CpuWeight::Raw(matrix) => matrix.matmul_rows(x, out, rows)?,
            CpuWeight::Packed(matrix) => parallel::matmul(matrix, &self.acts, out, rows),
            CpuWeight::Vector { .. } => {
                return Err(Error::Internal(
                    "a vector stands where a matrix should".into(),
                ));
            }
        }
        Ok(())
    }
}

impl Scratch {
    /// Takes the experts of `rows` tokens from `route`, `[rows, 2 * used]`.
    fn choose(&mut self, route: &[f32], used: usize, rows: usize) {
        self.chosen.clear();
        for (token, route) in route.chunks_exact(2 * used).take(rows).enumerate() {
            let slots = route[..used].iter().enumerate();
            self.chosen
                .extend(slots.map(|(j, expert)| (*expert as usize, token * used + j)));
        }
        self.chosen.sort_unstable();
    }
}
