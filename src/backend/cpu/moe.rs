//! Mixtures of experts: each expert that any token of the chunk has chosen runs once, on the rows of those tokens.

use std::mem::take;
use std::ops::Range;

use super::{CpuBackend, Precision, ops, reference};
use crate::backend::cpu::weights::CpuWeight;
use crate::model::{BufId, Op, WeightId};
use crate::{Error, Result};

/// Rows that packed matrices interleave.
const GROUP: usize = 8;

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
        let (cols, n_out) = (
            self.plan.weights[weight.0].cols,
            self.plan.buffers[out.0] / used,
        );
        let n_experts = self.plan.weights[weight.0].rows / stride;
        let shared_input = self.plan.buffers[x.0] == cols;
        let mut values = take(&mut self.buffers[out.0]);
        values.resize(rows * used * n_out, 0.0);
        for expert in 0..n_experts {
            let slots = self.slots_of(expert, route, used, rows);
            if slots.is_empty() {
                continue;
            }
            let mut inputs = Vec::with_capacity(slots.len() * cols);
            for slot in &slots {
                let row = if shared_input { slot / used } else { *slot };
                inputs.extend_from_slice(&self.buffers[x.0][row * cols..][..cols]);
            }
            let first = expert * stride + offset;
            // Packed rows come in groups of eight: a product begins with a group.
            let begin = first - first % GROUP;
            let width = first + n_out - begin;
            let mut products = vec![0.0; slots.len() * width];
            self.product(weight, &inputs, &mut products, begin..first + n_out)?;
            let bias = bias.map(|id| self.vector(id)).transpose()?;
            for (slot, product) in slots.iter().zip(products.chunks_exact(width)) {
                let out = &mut values[slot * n_out..][..n_out];
                out.copy_from_slice(&product[first - begin..]);
                if let Some(bias) = bias {
                    ops::add(out, &bias[first..]);
                }
            }
        }
        self.put(out, values);
        Ok(())
    }

    /// `out = x * rowsᵀ`
    fn product(
        &mut self,
        weight: WeightId,
        x: &[f32],
        out: &mut [f32],
        rows: Range<usize>,
    ) -> Result<()> {
        if self.options.precision == Precision::Fast {
            self.acts.quantize(x, self.plan.weights[weight.0].cols);
            self.acts_of = None;
        }
        match self.weight(weight)? {
            CpuWeight::Raw(matrix) => matrix.matmul_rows(x, out, rows)?,
            CpuWeight::Packed(matrix) => matrix.matmul_rows(&self.acts, out, rows),
            CpuWeight::Vector { .. } => {
                return Err(Error::Internal(
                    "a vector stands where a matrix should".into(),
                ));
            }
        }
        Ok(())
    }

    /// Places `token * used + j` at which tokens have chosen `expert`.
    fn slots_of(&self, expert: usize, route: BufId, used: usize, rows: usize) -> Vec<usize> {
        let chosen = |slot: &usize| {
            self.buffers[route.0][slot / used * 2 * used + slot % used] as usize == expert
        };
        (0..rows * used).filter(chosen).collect()
    }
}
