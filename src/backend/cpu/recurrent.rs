//! Operations with a state.

use std::mem::take;

use super::forward::Pass;
use super::reference::{self, DeltaShape};
use super::{CpuBackend, Precision, ops, parallel};
use crate::model::{Activation, BufId, Op};
use crate::{Error, Result};

impl CpuBackend {
    /// Runs one of the recurrent operations.
    pub(super) fn recurrent(&mut self, op: &Op, pass: &mut Pass<'_>) -> Result<()> {
        let (out, state) = match *op {
            Op::CausalConv { state, out, .. }
            | Op::DeltaNet { state, out, .. }
            | Op::TokenShift { state, out, .. }
            | Op::Wkv7 { state, out, .. }
            | Op::SelectiveScan { state, out, .. }
            | Op::StateScan { state, out, .. } => (out, state),
            _ => return Err(Error::Internal("not a recurrent operation".into())),
        };
        let mut values = take(&mut self.buffers[out.0]);
        values.resize(pass.rows * self.plan.buffers[out.0], 0.0);
        let state = &mut pass.cache.states.current[state.0];
        match op {
            Op::CausalConv { .. } => self.causal_conv(op, pass.rows, state, &mut values)?,
            Op::DeltaNet { .. } => self.delta_net(op, state, &mut values)?,
            Op::TokenShift { x, weight, .. } => {
                let x = &self.buffers[x.0][..pass.rows * state.len()];
                reference::token_shift(x, self.vector(*weight)?, state, &mut values);
            }
            Op::Wkv7 { .. } => self.wkv7(op, state, &mut values)?,
            Op::SelectiveScan { .. } => self.selective_scan(op, state, &mut values)?,
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
        let (dt, a) = (self.vector(dt)?, self.vector(a)?);
        let tokens = out.len() / (value_heads * head_dim);
        let beta = &self.buffers[beta.0][..tokens * value_heads];
        let alpha = &self.buffers[alpha.0][..tokens * value_heads];
        let width = self.plan.buffers[qkv.0];
        let qkv = &self.buffers[qkv.0][..tokens * width];
        if self.options.precision == Precision::Fast {
            let (mut decay, mut beta) = (alpha.to_vec(), beta.to_vec());
            ops::activate(Activation::Sigmoid, &mut beta);
            for decay in decay.chunks_exact_mut(value_heads) {
                ops::softplus(decay, dt);
                ops::exp(decay, a);
            }
            let net = ops::DeltaNet {
                qkv,
                decay: &decay,
                beta: &beta,
                key_heads,
                value_heads,
                head_dim,
                eps,
            };
            by_heads(value_heads, tokens, state, out, &|h, state, out| {
                net.head(h, state, out);
            });
            return Ok(());
        }
        let beta = beta.iter().map(|b| 1.0 / (1.0 + (-f64::from(*b)).exp()));
        let decay = exact_steps(alpha, dt).enumerate();
        let decay = decay.map(|(i, step)| (f64::from(a[i % value_heads]) * step).exp());
        let (decay, beta): (Vec<f64>, Vec<f64>) = (decay.collect(), beta.collect());
        let shape = DeltaShape {
            key_heads,
            value_heads,
            head_dim,
            eps,
        };
        for (t, qkv) in qkv.chunks_exact(width).enumerate() {
            let heads = t * value_heads..(t + 1) * value_heads;
            let out = &mut out[heads.start * head_dim..heads.end * head_dim];
            reference::delta_net(&shape, qkv, &decay[heads.clone()], &beta[heads], state, out);
        }
        Ok(())
    }

    fn wkv7(&self, op: &Op, state: &mut [f32], out: &mut [f32]) -> Result<()> {
        let Op::Wkv7 {
            rwkva,
            removal,
            replacement,
            bonus,
            head_dim,
            ..
        } = *op
        else {
            return Ok(());
        };
        let packed = self.plan.buffers[rwkva.0];
        let width = packed / 5;
        let (heads, tokens) = (width / head_dim, out.len() / (2 * width));
        let rows = &self.buffers[rwkva.0];
        let [removal, replacement, bonus] = [
            self.vector(removal)?,
            self.vector(replacement)?,
            self.vector(bonus)?,
        ];
        let fast = self.options.precision == Precision::Fast;
        let fast = fast && head_dim.is_multiple_of(ops::WKV_STEP);
        by_heads(heads, tokens, state, out, &|h, state, out| {
            let part = h * head_dim..(h + 1) * head_dim;
            let weights = reference::WkvWeights {
                removal: &removal[part.clone()],
                replacement: &replacement[part.clone()],
                bonus: &bonus[part],
            };
            let terms = |t: usize| {
                let of = |i: usize| &rows[t * packed + i * width + h * head_dim..][..head_dim];
                [0, 1, 2, 3, 4].map(of)
            };
            if fast {
                return ops::wkv7(terms, weights, state, out);
            }
            for (t, out) in out.chunks_exact_mut(2 * head_dim).enumerate() {
                reference::wkv7(&reference::WkvTerms::new(terms(t), weights), state, out);
            }
        });
        Ok(())
    }

    fn selective_scan(&self, op: &Op, state: &mut [f32], out: &mut [f32]) -> Result<()> {
        let Op::SelectiveScan {
            x,
            dt,
            bc,
            at,
            a,
            skip,
            out: result,
            ..
        } = *op
        else {
            return Ok(());
        };
        let channels = self.plan.buffers[result.0];
        let (n, width) = (state.len() / channels, self.plan.buffers[bc.0]);
        let (a, skip) = (self.vector(a)?, self.vector(skip)?);
        let tokens = out.len() / channels;
        let rows = |id: BufId| &self.buffers[id.0][..tokens * self.plan.buffers[id.0]];
        let (x, dt, bc) = (rows(x), rows(dt), rows(bc));
        if self.options.precision == Precision::Fast {
            let scan = ops::SelectiveScan::new([x, dt, a, skip], bc, at);
            let parts = channels / scan.width();
            by_heads(parts, tokens, state, out, &|i, state, out| {
                scan.run(i, state, out)
            });
            return Ok(());
        }
        by_heads(channels, tokens, state, out, &|c, state, out| {
            let a = &a[c * n..(c + 1) * n];
            for (t, out) in out.iter_mut().enumerate() {
                let (x, dt) = (x[t * channels + c], dt[t * channels + c]);
                let dt = reference::softplus(f64::from(dt));
                let parts = [0, n].map(|part| &bc[t * width + at + part..][..n]);
                *out = reference::selective_scan(x, dt, a, parts, state) + skip[c] * x;
            }
        });
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
        let (dt_bias, a, skip) = (self.vector(dt_bias)?, self.vector(a)?, self.vector(skip)?);
        let tokens = out.len() / inner;
        let steps = &self.buffers[dt.0][..tokens * heads];
        let width = self.plan.buffers[xbc.0];
        let xbc = &self.buffers[xbc.0][..tokens * width];
        let shape = ops::ScanShape {
            heads,
            groups,
            head_dim: inner / heads,
            state_dim,
        };
        if self.options.precision == Precision::Fast {
            let mut dt = steps.to_vec();
            dt.chunks_exact_mut(heads)
                .for_each(|dt| ops::softplus(dt, dt_bias));
            let scan = ops::StateScan::new(shape, xbc, &dt);
            by_heads(heads, tokens, state, out, &|h, state, out| {
                scan.head(h, a[h], skip[h], state, out);
            });
            return Ok(());
        }
        let dt: Vec<f64> = exact_steps(steps, dt_bias).collect();
        let rows = xbc.chunks_exact(width).zip(dt.chunks_exact(heads));
        for ((xbc, dt), out) in rows.zip(out.chunks_exact_mut(inner)) {
            exact_scan(&shape, xbc, dt, [a, skip], state, out);
        }
        Ok(())
    }
}

/// `softplus(step + bias)` for tokens of as many heads as there are biases.
fn exact_steps<'a>(steps: &'a [f32], bias: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
    let steps = steps.iter().zip(bias.iter().cycle());
    steps.map(|(step, bias)| reference::softplus(f64::from(*step) + f64::from(*bias)))
}

/// One token of Mamba 2's scan, in f64.
fn exact_scan(
    shape: &ops::ScanShape,
    xbc: &[f32],
    dt: &[f64],
    [a, skip]: [&[f32]; 2],
    state: &mut [f32],
    out: &mut [f32],
) {
    let (n, of_groups) = (shape.state_dim, shape.groups * shape.state_dim);
    let (x, bc) = xbc.split_at(out.len());
    let (b, c) = bc.split_at(of_groups);
    for (h, dt) in dt.iter().enumerate() {
        let part = h * shape.head_dim..(h + 1) * shape.head_dim;
        let group = h / (shape.heads / shape.groups) * n;
        let state = &mut state[part.start * n..part.end * n];
        let (b, c) = (&b[group..group + n], &c[group..group + n]);
        let out = &mut out[part.clone()];
        reference::state_scan(&x[part], b, c, *dt, a[h], skip[h], state, out);
    }
}

/// Runs `head` for each head with its state; what it makes of the tokens, `[tokens, …]`, goes to the head's place in the
/// rows of `out`.
fn by_heads(
    heads: usize,
    tokens: usize,
    state: &mut [f32],
    out: &mut [f32],
    head: parallel::Head<'_>,
) {
    if tokens == 1 {
        return parallel::heads(heads, state, out, head);
    }
    let width = out.len() / tokens / heads;
    let mut apart = vec![0.0; out.len()];
    parallel::heads(heads, state, &mut apart, head);
    for (h, rows) in apart.chunks_exact(tokens * width).enumerate() {
        let places = out.chunks_exact_mut(heads * width);
        for (row, place) in rows.chunks_exact(width).zip(places) {
            ops::copy(row, &mut place[h * width..]);
        }
    }
}
