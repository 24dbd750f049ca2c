//! RWKV 7 (Peng et al. 2025).

/// `out[t, j] = x[t] + (x[t - 1] - x[t]) * weight[j]` for each row of `weight`, side by side; `state` is the row before the
/// first, and then the last of `x`.
pub fn token_shift(x: &[f32], weight: &[f32], state: &mut [f32], out: &mut [f32]) {
    let width = state.len();
    let rows = x.chunks_exact(width);
    for (x, out) in rows.zip(out.chunks_exact_mut(weight.len())) {
        let parts = out.chunks_exact_mut(width);
        for (out, weight) in parts.zip(weight.chunks_exact(width)) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = x[i] + (state[i] - x[i]) * weight[i];
            }
        }
        state.copy_from_slice(x);
    }
}

/// What one token is to one head of [`Op::Wkv7`](crate::model::Op::Wkv7): all of the head's length but `bonus`.
pub struct WkvTerms<'a> {
    /// Receptance.
    pub r: &'a [f32],
    /// Values.
    pub v: &'a [f32],
    /// Multiplies each column of the state.
    pub decay: Vec<f32>,
    /// Keys.
    pub k: Vec<f32>,
    /// What is taken out of the state: a key of length 1.
    pub removed: Vec<f32>,
    /// How much of that.
    pub rate: Vec<f32>,
    /// Multiplies the values in the second half of the result.
    pub bonus: f32,
}

/// Weights of one head.
#[derive(Debug, Clone, Copy)]
pub struct WkvWeights<'a> {
    /// Turns keys into what is removed.
    pub removal: &'a [f32],
    /// How far keys follow the rate.
    pub replacement: &'a [f32],
    /// Of the bonus.
    pub bonus: &'a [f32],
}

impl<'a> WkvTerms<'a> {
    /// From `r`, `w`, `k`, `v` and `a` as they were projected.
    pub fn new([r, w, k, v, a]: [&'a [f32]; 5], weights: WkvWeights<'_>) -> Self {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
        let decay = w.iter().map(|w| (-0.606_531 * sigmoid(*w)).exp() as f32);
        let rate: Vec<f32> = a.iter().map(|a| sigmoid(*a) as f32).collect();
        let scaled: Vec<f64> = k
            .iter()
            .zip(weights.removal)
            .map(|(k, w)| f64::from(*k) * f64::from(*w))
            .collect();
        let length = scaled.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
        let keys: Vec<f32> = (0..k.len())
            .map(|i| k[i] * (1.0 + (rate[i] - 1.0) * weights.replacement[i]))
            .collect();
        let products =
            (0..k.len()).map(|i| f64::from(keys[i] * r[i]) * f64::from(weights.bonus[i]));
        Self {
            r,
            v,
            decay: decay.collect(),
            removed: scaled.iter().map(|x| (x / length) as f32).collect(),
            rate,
            bonus: products.sum::<f64>() as f32,
            k: keys,
        }
    }
}

/// One token of one head; `state` is `[v.len(), k.len()]`, `out` twice as long as `v`.
pub fn wkv7(terms: &WkvTerms<'_>, state: &mut [f32], out: &mut [f32]) {
    let n = terms.k.len();
    for (i, row) in state.chunks_exact_mut(n).enumerate() {
        let known = row.iter().zip(&terms.removed);
        let known: f64 = known.map(|(s, k)| f64::from(*s) * f64::from(*k)).sum();
        let mut sum = 0.0;
        for (j, s) in row.iter_mut().enumerate() {
            let kept = f64::from(*s) * f64::from(terms.decay[j]);
            let taken = known * f64::from(terms.removed[j]) * f64::from(terms.rate[j]);
            let next = kept + f64::from(terms.v[i]) * f64::from(terms.k[j]) - taken;
            sum += next * f64::from(terms.r[j]);
            *s = next as f32;
        }
        out[i] = sum as f32;
        out[n + i] = terms.bonus * terms.v[i];
    }
}
