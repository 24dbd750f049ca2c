//! Mixtures of experts: which experts, with which weights.

use crate::model::Gating;

/// Smallest sum of weights that is divided by: the smallest normal number of f16, as llama.cpp has it.
const SMALLEST_SUM: f64 = 6.103_515_625e-5;

/// Chooses `out.len() / 2` experts of one token; `out` gets their numbers, then their weights.
pub fn route(
    logits: &[f32],
    bias: Option<&[f32]>,
    gating: Gating,
    normalize: bool,
    scale: f32,
    out: &mut [f32],
) {
    let used = out.len() / 2;
    let logits: Vec<f64> = logits.iter().map(|v| f64::from(*v)).collect();
    let probs = match gating {
        Gating::Softmax => softmax(&logits),
        Gating::Sigmoid => logits.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
        Gating::SoftmaxOfChosen => logits.clone(),
    };
    let score = |e: usize| probs[e] + bias.map_or(0.0, |bias| f64::from(bias[e]));
    let mut order: Vec<usize> = (0..probs.len()).collect();
    order.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
    let mut weights: Vec<f64> = order[..used].iter().map(|e| probs[*e]).collect();
    if gating == Gating::SoftmaxOfChosen {
        weights = softmax(&weights);
    }
    let sum: f64 = weights.iter().sum();
    let divisor = if normalize {
        sum.max(SMALLEST_SUM)
    } else {
        1.0
    };
    for j in 0..used {
        out[j] = order[j] as f32;
        out[used + j] = (weights[j] / divisor * f64::from(scale)) as f32;
    }
}

/// Softmax in f64.
pub fn softmax(values: &[f64]) -> Vec<f64> {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = values.iter().map(|v| (v - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

/// Sum of the rows of one token (`[weights.len(), out.len()]`), each times its weight.
pub fn weighted_sum(rows: &[f32], weights: &[f32], out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        let terms = weights.iter().enumerate();
        *out = terms
            .map(|(j, w)| f64::from(*w) * f64::from(rows[j * (rows.len() / weights.len()) + i]))
            .sum::<f64>() as f32;
    }
}
