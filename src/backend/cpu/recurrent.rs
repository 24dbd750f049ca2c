//! Operations with a state.

use std::mem::take;

use super::forward::Pass;
use super::reference::{self, DeltaShape};
use super::{CpuBackend, Precision, ops};
use crate::model::Op;
use crate::{Error, Result};

impl CpuBackend {
    /// Runs one of the recurrent operations.
    pub(super) fn recurrent(&mut self, op: &Op, pass: &mut Pass<'_>) -> Result<()> {
        let (out, state) = match *op {
            Op::CausalConv { state, out, .. }
            | Op::DeltaNet { state, out, .. }
            | Op::StateScan { state, out, .. } => (out, state),
            _ => return Err(Error::Internal("not a recurrent operation".into())),
        };
        let mut values = take(&mut self.buffers[out.0]);
        values.resize(pass.rows * self.plan.buffers[out.0], 0.0);
        let state = &mut pass.cache.states.current[state.0];
        match op {
            Op::CausalConv { .. } => self.causal_conv(op, pass.rows, state, &mut values)?,
            Op::DeltaNet { .. } => self.delta_net(op, state, &mut values)?,
            _ => self.state_scan(op, state, &mut values)?,
        }
        self.put(out, values);
        Ok(())
    }

    fn causal_conv(&self, op: &Op, rows: usize, state: &mut [f32], out: &mut [f32]) -> Result<()> {
        let Op::CausalConv {
            x,
            weight,
            bias,
            taps,
            ..
        } = *op
        else {
            return Ok(());
        };
        let bias = bias.map(|id| self.vector(id)).transpose()?;
        let x = &self.buffers[x.0][..rows * self.plan.buffers[x.0]];
        let conv = match self.options.precision {
            Precision::Exact => reference::causal_conv,
            Precision::Fast => ops::causal_conv,
        };
        conv(x, self.vector(weight)?, bias, taps, state, out);
        Ok(())
    }

    fn delta_net(&self, op: &Op, state: &mut [f32], out: &mut [f32]) -> Result<()> {
        let Op::DeltaNet {
            qkv,
            alpha,
            beta,
            dt,
            a,
            key_heads,
            value_heads,
            head_dim,
            eps,
            ..
        } = *op
        else {
            return Ok(());
        };
        let shape = DeltaShape {
            key_heads,
            value_heads,
            head_dim,
            eps,
        };
        let (dt, a) = (self.vector(dt)?, self.vector(a)?);
        let row = |id: crate::model::BufId, t: usize| {
            let width = self.plan.buffers[id.0];
            &self.buffers[id.0][t * width..(t + 1) * width]
        };
        for (t, out) in out.chunks_exact_mut(value_heads * head_dim).enumerate() {
            let (alpha, beta) = (row(alpha, t), row(beta, t));
            let decay = |h: usize| {
                (f64::from(a[h]) * reference::softplus(f64::from(alpha[h]) + f64::from(dt[h])))
                    .exp()
            };
            let decay: Vec<f64> = (0..value_heads).map(decay).collect();
            let beta: Vec<f64> = beta
                .iter()
                .map(|b| 1.0 / (1.0 + (-f64::from(*b)).exp()))
                .collect();
            match self.options.precision {
                Precision::Exact => {
                    reference::delta_net(&shape, row(qkv, t), &decay, &beta, state, out);
                }
                Precision::Fast => delta_net(&shape, row(qkv, t), &decay, &beta, state, out),
            }
        }
        Ok(())
    }

    fn state_scan(&self, op: &Op, state: &mut [f32], out: &mut [f32]) -> Result<()> {
        let Op::StateScan {
            xbc,
            dt,
            dt_bias,
            a,
            skip,
            heads,
            groups,
            state_dim,
            out: result,
            ..
        } = *op
        else {
            return Ok(());
        };
        let inner = self.plan.buffers[result.0];
        let head_dim = inner / heads;
        let (dt_bias, a, skip) = (self.vector(dt_bias)?, self.vector(a)?, self.vector(skip)?);
        let exact = self.options.precision == Precision::Exact;
        let tokens = self.buffers[xbc.0].chunks_exact(self.plan.buffers[xbc.0]);
        let steps = self.buffers[dt.0].chunks_exact(heads);
        for ((xbc, dt), out) in tokens.zip(steps).zip(out.chunks_exact_mut(inner)) {
            let (x, bc) = xbc.split_at(inner);
            let (b, c) = bc.split_at(groups * state_dim);
            for h in 0..heads {
                let (part, group) = (
                    h * head_dim..(h + 1) * head_dim,
                    h / (heads / groups) * state_dim,
                );
                let dt = reference::softplus(f64::from(dt[h]) + f64::from(dt_bias[h]));
                let (x, b, c) = (
                    &x[part.clone()],
                    &b[group..group + state_dim],
                    &c[group..group + state_dim],
                );
                let state = &mut state[part.start * state_dim..part.end * state_dim];
                let out = &mut out[part];
                if exact {
                    reference::state_scan(x, b, c, dt, a[h], skip[h], state, out);
                } else {
                    ops::state_scan(x, b, c, dt as f32, a[h], skip[h], state, out);
                }
            }
        }
        Ok(())
    }
}

/// [`reference::delta_net`] in SIMD.
fn delta_net(
    shape: &DeltaShape,
    qkv: &[f32],
    decay: &[f64],
    beta: &[f64],
    state: &mut [f32],
    out: &mut [f32],
) {
    let n = shape.head_dim;
    let (q, rest) = qkv.split_at(shape.key_heads * n);
    let (k, v) = rest.split_at(shape.key_heads * n);
    let (mut q_unit, mut k_unit, mut delta) = (Vec::new(), Vec::new(), Vec::new());
    let heads = state.chunks_exact_mut(n * n).zip(out.chunks_exact_mut(n));
    for (h, ((state, out), v)) in heads.zip(v.chunks_exact(n)).enumerate() {
        let part = h % shape.key_heads * n..(h % shape.key_heads + 1) * n;
        ops::unit(&q[part.clone()], shape.eps, &mut q_unit);
        ops::unit(&k[part], shape.eps, &mut k_unit);
        let (decay, beta) = (decay[h] as f32, beta[h] as f32);
        ops::delta_net(&q_unit, &k_unit, v, decay, beta, state, &mut delta, out);
    }
}
