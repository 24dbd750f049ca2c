//! Mixtures of experts: each expert that any token of the chunk has chosen runs once, on the rows of those tokens.

use std::mem::take;
use std::ops::Range;

use super::{CpuBackend, Precision, QuantizedActs, ops, parallel, reference};
use crate::backend::cpu::weights::CpuWeight;
use crate::model::Op;
use crate::{Error, Result};

/// Rows that packed matrices interleave.
const GROUP: usize = 8;

/// What products of experts need, kept from use to use.
#[derive(Default)]
pub(super) struct Scratch {
    /// Experts and the places `token * used + j` at which tokens have chosen them, in order.
    chosen: Vec<(usize, usize)>,
    /// Tokens of one expert, their rows, and these as integers.
    tokens: Vec<usize>,
    inputs: Vec<f32>,
    acts: QuantizedActs,
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
        if self.options.precision == Precision::Fast && shared_input && self.acts_of != Some(x) {
            self.acts.quantize(&self.buffers[x.0][..rows * cols], cols);
            self.acts_of = Some(x);
        }
        let mut scratch = take(&mut self.experts);
        scratch.choose(&self.buffers[route.0], used, rows);
        let chosen = take(&mut scratch.chosen);
        for slots in chosen.chunk_by(|a, b| a.0 == b.0) {
            let first = slots[0].0 * stride + offset;
            // Packed rows come in groups of eight: a product begins with a group.
            let begin = first - first % GROUP;
            let width = first + n_out - begin;
            scratch.products.resize(slots.len() * width, 0.0);
            let per_slot = if shared_input { used } else { 1 };
            scratch.tokens.clear();
            let tokens = slots.iter().map(|(_, slot)| slot / per_slot);
            scratch.tokens.extend(tokens);
            self.expert_product(op, &mut scratch, rows, begin..first + n_out)?;
            let bias = bias.map(|id| self.vector(id)).transpose()?;
            let products = scratch.products.chunks_exact(width);
            for ((_, slot), product) in slots.iter().zip(products) {
                let out = &mut values[slot * n_out..][..n_out];
                out.copy_from_slice(&product[first - begin..]);
                if let Some(bias) = bias {
                    ops::add(out, &bias[first..]);
                }
            }
        }
        scratch.chosen = chosen;
        self.experts = scratch;
        self.put(out, values);
        Ok(())
    }

    /// `products = inputs * rowsᵀ` of one expert: inputs are those of the scratch's tokens, rows of the matrix `range`.
    fn expert_product(
        &self,
        op: &Op,
        scratch: &mut Scratch,
        rows: usize,
        range: Range<usize>,
    ) -> Result<()> {
        let Op::MoeMatMul { x, weight, .. } = *op else {
            return Ok(());
        };
        let cols = self.plan.weights[weight.0].cols;
        let weight = self.weight(weight)?;
        let Scratch {
            tokens,
            inputs,
            acts,
            products,
            ..
        } = scratch;
        let shared_input = self.plan.buffers[x.0] == cols;
        let rounded = shared_input && self.acts_of == Some(x);
        if let (CpuWeight::Packed(matrix), true) = (weight, rounded) {
            if rows == 1 {
                parallel::matmul(matrix, &self.acts, products, range);
            } else {
                acts.gather(&self.acts, tokens);
                parallel::matmul(matrix, acts, products, range);
            }
            return Ok(());
        }
        inputs.clear();
        for token in tokens {
            inputs.extend_from_slice(&self.buffers[x.0][*token * cols..][..cols]);
        }
        match weight {
            CpuWeight::Raw(matrix) => matrix.matmul_rows(inputs, products, range)?,
            CpuWeight::Packed(matrix) => {
                acts.quantize(inputs, cols);
                parallel::matmul(matrix, acts, products, range);
            }
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
