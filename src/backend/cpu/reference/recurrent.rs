//! Operations with a state that is carried from token to token.

/// `out[t, c] = bias[c] + Σ_j w[c, j] * x[t - taps + 1 + j, c]`; `state` holds the last `taps - 1` rows before `x`, oldest
/// first, and then those of `x`.
pub fn causal_conv(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    taps: usize,
    state: &mut [f32],
    out: &mut [f32],
) {
    let channels = weight.len() / taps;
    let kept = state.len();
    let history: Vec<f32> = state.iter().chain(x).copied().collect();
    for (t, out) in out.chunks_exact_mut(channels).enumerate() {
        for (c, out) in out.iter_mut().enumerate() {
            let tap = |j: usize| {
                f64::from(weight[c * taps + j]) * f64::from(history[(t + j) * channels + c])
            };
            let sum: f64 = (0..taps).map(tap).sum();
            *out = (sum + bias.map_or(0.0, |bias| f64::from(bias[c]))) as f32;
        }
    }
    state.copy_from_slice(&history[history.len() - kept..]);
}

/// Shape of [`delta_net`].
pub struct DeltaShape {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values; value head `h` looks with key head `h % key_heads`.
    pub value_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// Smallest length that queries and keys are divided by.
    pub eps: f32,
}

/// One token of [`Op::DeltaNet`](crate::model::Op::DeltaNet). `decay` and `beta` are per value head and ready to use;
/// `state` is `[value_heads, head_dim (key), head_dim (value)]`.
pub fn delta_net(
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
    for h in 0..shape.value_heads {
        let part = h % shape.key_heads * n..(h % shape.key_heads + 1) * n;
        let (q, k) = (unit(&q[part.clone()], shape.eps), unit(&k[part], shape.eps));
        let matrix = &mut state[h * n * n..(h + 1) * n * n];
        for j in 0..n {
            // Column `j` of the matrix: what the keys remember of value `j`.
            let mut column: Vec<f64> = (0..n)
                .map(|i| f64::from(matrix[i * n + j]) * decay[h])
                .collect();
            let known: f64 = column.iter().zip(&k).map(|(s, k)| s * k).sum();
            let delta = (f64::from(v[h * n + j]) - known) * beta[h];
            column.iter_mut().zip(&k).for_each(|(s, k)| *s += k * delta);
            let read: f64 = column.iter().zip(&q).map(|(s, q)| s * q).sum();
            out[h * n + j] = (read / (n as f64).sqrt()) as f32;
            column
                .iter()
                .enumerate()
                .for_each(|(i, s)| matrix[i * n + j] = *s as f32);
        }
    }
}

fn unit(x: &[f32], eps: f32) -> Vec<f64> {
    let length = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    x.iter()
        .map(|v| f64::from(*v) / length.max(f64::from(eps)))
        .collect()
}

/// `ln(1 + exp(x))`
pub fn softplus(x: f64) -> f64 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

/// One head and one token of [`Op::StateScan`](crate::model::Op::StateScan): `state` is `[x.len(), b.len()]`.
#[allow(clippy::too_many_arguments, reason = "the terms of the recurrence")]
pub fn state_scan(
    x: &[f32],
    b: &[f32],
    c: &[f32],
    dt: f64,
    a: f32,
    skip: f32,
    state: &mut [f32],
    out: &mut [f32],
) {
    let decay = (f64::from(a) * dt).exp();
    for ((x, out), row) in x.iter().zip(out).zip(state.chunks_exact_mut(b.len())) {
        let mut y = f64::from(skip) * f64::from(*x);
        for ((h, b), c) in row.iter_mut().zip(b).zip(c) {
            let next = f64::from(*h) * decay + f64::from(*b) * f64::from(*x) * dt;
            y += next * f64::from(*c);
            *h = next as f32;
        }
        *out = y as f32;
    }
}

/// One channel and one token of [`Op::SelectiveScan`](crate::model::Op::SelectiveScan), without the skip.
pub fn selective_scan(x: f32, dt: f64, a: &[f32], [b, c]: [&[f32]; 2], state: &mut [f32]) -> f32 {
    let mut read = 0.0;
    for (i, h) in state.iter_mut().enumerate() {
        let kept = f64::from(*h) * (f64::from(a[i]) * dt).exp();
        let next = kept + dt * f64::from(x) * f64::from(b[i]);
        read += next * f64::from(c[i]);
        *h = next as f32;
    }
    read as f32
}
