//! The state of RWKV 7: see [`Op::Wkv7`](crate::model::Op::Wkv7).

use super::dot;
use super::vector::padded;
use crate::backend::cpu::reference::WkvTerms;
use crate::backend::cpu::simd::F32x4;

/// One token of one head; `state` is `[v.len(), k.len()]`, `out` twice as long as `v`.
pub fn wkv7(terms: &WkvTerms<'_>, state: &mut [f32], out: &mut [f32]) {
    let n = terms.k.len();
    let (values, bonus) = out.split_at_mut(n);
    let taken = terms.removed.iter().zip(&terms.rate);
    let taken: Vec<f32> = taken.map(|(key, rate)| key * rate).collect();
    for (i, row) in state.chunks_exact_mut(n).enumerate() {
        let known = F32x4::splat(-dot(row, &terms.removed));
        let v = F32x4::splat(terms.v[i]);
        let mut sum = F32x4::splat(0.0);
        let mut step = |old: F32x4, at: usize| {
            let part = |x: &[f32]| padded(&x[at..n.min(at + 4)]);
            let new = old * part(&terms.decay);
            let new = v.mul_add(part(&terms.k), known.mul_add(part(&taken), new));
            sum = new.mul_add(part(terms.r), sum);
            new
        };
        let (quads, rest) = row.as_chunks_mut::<4>();
        for (q, quad) in quads.iter_mut().enumerate() {
            step(F32x4::load(quad), 4 * q).store(quad);
        }
        if !rest.is_empty() {
            let new = step(padded(rest), n - rest.len()).to_array();
            rest.copy_from_slice(&new[..rest.len()]);
        }
        values[i] = sum.sum();
        bonus[i] = terms.bonus * terms.v[i];
    }
}
