//! Several residual streams side by side (Gemma 3n).

/// Adds to each run of `width` values of `x`, from the run `first` on, a mixture of the runs of `y`:
/// `x_j += Σ_k (plus + coefs[j * n + k]) * y_k`. All are one token's.
pub fn mix_streams(
    x: &mut [f32],
    y: &[f32],
    coefs: Option<&[f32]>,
    plus: f32,
    first: usize,
    width: usize,
) {
    let n = y.len() / width;
    for (j, x) in x.chunks_exact_mut(width).enumerate().skip(first) {
        for (k, y) in y.chunks_exact(width).enumerate() {
            let factor = plus + coefs.map_or(0.0, |coefs| coefs[j * n + k]);
            x.iter_mut().zip(y).for_each(|(x, y)| *x += factor * y);
        }
    }
}

/// One token's `first` and after it the runs of `rest`, each brought to the Euclidean length of `first`.
pub fn join_streams(first: &[f32], rest: &[f32], out: &mut [f32]) {
    let length = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let wanted = length(first);
    let (head, tail) = out.split_at_mut(first.len());
    head.copy_from_slice(first);
    let runs = rest.chunks_exact(first.len());
    for (run, out) in runs.zip(tail.chunks_exact_mut(first.len())) {
        let factor = wanted / length(run);
        let scaled = run.iter().map(|x| (f64::from(*x) * factor) as f32);
        out.iter_mut().zip(scaled).for_each(|(out, x)| *out = x);
    }
}

/// `x = max(x - mean - factor * deviation, 0)` of one token.
pub fn sparsify(x: &mut [f32], factor: f32) {
    let n = x.len() as f64;
    let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let squares = x.iter().map(|x| (f64::from(*x) - mean).powi(2));
    let deviation = (squares.sum::<f64>() / (n - 1.0)).sqrt();
    let cut = mean + f64::from(factor) * deviation;
    x.iter_mut()
        .for_each(|x| *x = (f64::from(*x) - cut).max(0.0) as f32);
}
