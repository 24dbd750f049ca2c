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
