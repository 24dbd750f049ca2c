//! Short convolutions over positions, one for each channel.

use super::vector::{padded, quad, store_part, store_quad};
use crate::backend::cpu::simd::F32x4;

/// As [`reference::causal_conv`](crate::backend::cpu::reference::causal_conv).
pub fn causal_conv(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    taps: usize,
    state: &mut [f32],
    out: &mut [f32],
) {
    let channels = weight.len() / taps;
    if taps == 4 && x.len() == channels {
        return one_token(x, weight, bias, state, out);
    }
    let turned = turn(weight, taps);
    let kept = taps - 1;
    for (t, out) in out.chunks_exact_mut(channels).enumerate() {
        let pair = |j: usize| {
            let row = match (t + j).checked_sub(kept) {
                Some(t) => &x[t * channels..][..channels],
                None => &state[(t + j) * channels..][..channels],
            };
            (&turned[j * channels..][..channels], row)
        };
        match bias {
            Some(bias) => out.copy_from_slice(bias),
            None => out.fill(0.0),
        }
        match taps {
            3 => add_products(out, [0, 1, 2].map(pair)),
            4 => add_products(out, [0, 1, 2, 3].map(pair)),
            _ => (0..taps).for_each(|j| add_products(out, [pair(j)])),
        }
    }
    if x.len() < state.len() {
        state.copy_within(x.len().., 0);
    }
    let new = x.len().min(state.len());
    let start = state.len() - new;
    state[start..].copy_from_slice(&x[x.len() - new..]);
}

/// One token and four taps, which is what decoding does.
fn one_token(x: &[f32], weight: &[f32], bias: Option<&[f32]>, state: &mut [f32], out: &mut [f32]) {
    let channels = x.len();
    let (first, rest) = state.split_at_mut(channels);
    let (second, third) = rest.split_at_mut(channels);
    for i in (0..channels).step_by(4) {
        let taps = [0, 1, 2, 3].map(|c| quad(weight.get(4 * (i + c)..).unwrap_or_default()));
        let rows = [&*first, second, third, x].map(|row| quad(&row[i..]));
        let start = bias.map_or(F32x4::splat(0.0), |bias| quad(&bias[i..]));
        let sum = columns(taps)
            .zip(rows)
            .fold(start, |sum, (w, x)| w.mul_add(x, sum));
        store_quad(sum, &mut out[i..]);
        let kept = [&mut *first, second, third].into_iter().zip(&rows[1..]);
        kept.for_each(|(row, x)| store_quad(*x, &mut row[i..]));
    }
}

/// Columns of four rows.
#[inline(always)]
fn columns([a, b, c, d]: [F32x4; 4]) -> impl Iterator<Item = F32x4> {
    let ([ac, ac_high], [bd, bd_high]) = (a.zip(c), b.zip(d));
    [ac.zip(bd), ac_high.zip(bd_high)].into_iter().flatten()
}

/// A tap's weights of all channels side by side: `[taps, channels]` from `[channels, taps]`.
fn turn(weight: &[f32], taps: usize) -> Vec<f32> {
    let channels = weight.len() / taps;
    let mut turned = vec![0.0; weight.len()];
    let (blocks, _) = weight.as_chunks::<16>();
    let done = if taps == 4 { blocks.len() * 4 } else { 0 };
    for (i, block) in blocks.iter().take(done / 4).enumerate() {
        let quads: &[[f32; 4]; 4] = bytemuck::cast_ref(block);
        for (j, column) in columns(quads.each_ref().map(F32x4::load)).enumerate() {
            store_quad(column, &mut turned[j * channels + i * 4..]);
        }
    }
    for c in done..channels {
        for j in 0..taps {
            turned[j * channels + c] = weight[c * taps + j];
        }
    }
    turned
}

/// `out[i] += Σ_n weights_n[i] * rows_n[i]`
#[inline(always)]
fn add_products<const N: usize>(out: &mut [f32], pairs: [(&[f32], &[f32]); N]) {
    let (quads, rest) = out.as_chunks_mut::<4>();
    let count = quads.len();
    let fours = pairs.map(|(weight, row)| {
        let (weight, row) = (weight.as_chunks::<4>().0, row.as_chunks::<4>().0);
        (&weight[..count], &row[..count])
    });
    for (i, out) in quads.iter_mut().enumerate() {
        let mut sum = F32x4::load(out);
        for (weight, row) in fours {
            sum = F32x4::load(&weight[i]).mul_add(F32x4::load(&row[i]), sum);
        }
        sum.store(out);
    }
    if !rest.is_empty() {
        let mut sum = padded(rest);
        for (weight, row) in pairs {
            let tail = |x: &[f32]| padded(&x[4 * count..]);
            sum = tail(weight).mul_add(tail(row), sum);
        }
        store_part(sum, rest);
    }
}
