//! The state of RWKV 7: see [`Op::Wkv7`](crate::model::Op::Wkv7).

use super::vector::{quad, store_quad};
use crate::backend::cpu::reference::WkvWeights;
use crate::backend::cpu::simd::{F32x4, math};
use crate::model::MAX_WKV_HEAD;

/// Rows of the state that a token goes through at once.
const ROWS: usize = 4;

/// What the lengths of heads are multiples of here.
pub const WKV_STEP: usize = 8;

/// A number for each element of a head, eight to an entry.
type Elements = [[[f32; 4]; 2]; MAX_WKV_HEAD / WKV_STEP];

/// What a token is to a head.
struct Terms {
    /// Multiplies each column of the state.
    decay: Elements,
    /// Keys.
    k: Elements,
    /// What is taken out of the state: a key of length 1.
    removed: Elements,
    /// The same, times how much of it.
    taken: Elements,
    /// Receptance.
    r: Elements,
    /// Multiplies the values in the second half of the result.
    bonus: f32,
}

/// Runs the tokens of a head over its state, `[n, n]` (values by keys), with `n` a multiple of [`WKV_STEP`]. `terms(t)` are
/// the token's `r`, `w`, `k`, `v` and `a` as they were projected, `n` numbers each; `out` is `[tokens, 2 * n]`.
pub fn wkv7<'a>(
    terms: impl Fn(usize) -> [&'a [f32]; 5],
    weights: WkvWeights<'_>,
    state: &mut [f32],
    out: &mut [f32],
) {
    let n = weights.removal.len();
    let mut own = Terms::ZERO;
    for (t, out) in out.chunks_exact_mut(2 * n).enumerate() {
        let [r, w, k, v, a] = terms(t);
        own.prepare([r, w, k, a], weights);
        let (read, bonus) = out.split_at_mut(n);
        let outs = read
            .chunks_exact_mut(ROWS)
            .zip(bonus.chunks_exact_mut(ROWS));
        let rows = state.chunks_exact_mut(ROWS * n).zip(v.chunks_exact(ROWS));
        for ((rows, v), (read, bonus)) in rows.zip(outs) {
            let v = quad(v);
            store_quad(own.step(rows, v), read);
            store_quad(F32x4::splat(own.bonus) * v, bonus);
        }
    }
}

impl Terms {
    const ZERO: Self = {
        let none = [[[0.0; 4]; 2]; MAX_WKV_HEAD / WKV_STEP];
        Self {
            decay: none,
            k: none,
            removed: none,
            taken: none,
            r: none,
            bonus: 0.0,
        }
    };

    fn prepare(&mut self, [r, w, k, a]: [&[f32]; 4], weights: WkvWeights<'_>) {
        let one = F32x4::splat(1.0);
        let (mut squares, mut bonus) = (F32x4::splat(0.0), F32x4::splat(0.0));
        for (q, i) in (0..k.len()).step_by(4).enumerate() {
            let (entry, half) = (q / 2, q % 2);
            let at = |x: &[f32]| quad(&x[i..]);
            let (r, k, rate) = (at(r), at(k), math::sigmoid(at(a)));
            let removed = k * at(weights.removal);
            squares = removed.mul_add(removed, squares);
            let k = k * (rate - one).mul_add(at(weights.replacement), one);
            bonus = (k * r).mul_add(at(weights.bonus), bonus);
            let decay = math::exp(F32x4::splat(-0.606_531) * math::sigmoid(at(w)));
            decay.store(&mut self.decay[entry][half]);
            k.store(&mut self.k[entry][half]);
            r.store(&mut self.r[entry][half]);
            removed.store(&mut self.removed[entry][half]);
            rate.store(&mut self.taken[entry][half]);
        }
        self.bonus = bonus.sum();
        let unit = F32x4::splat(1.0 / squares.sum().sqrt().max(1e-12));
        let pairs = self.removed.iter_mut().zip(&mut self.taken);
        for (removed, taken) in pairs.take(k.len() / WKV_STEP) {
            for (removed, taken) in removed.iter_mut().zip(taken) {
                let key = F32x4::load(removed) * unit;
                key.store(removed);
                (key * F32x4::load(taken)).store(taken);
            }
        }
    }

    /// Takes the token through some rows of the state, whose values are `v`; gives what they answer.
    #[inline(always)]
    fn step(&self, rows: &mut [f32], v: F32x4) -> F32x4 {
        let n = rows.len() / ROWS;
        let count = n / WKV_STEP;
        let mut rows = rows.chunks_exact_mut(n);
        let mut rows: [_; ROWS] = std::array::from_fn(|_| {
            let row = rows.next().unwrap_or_default();
            &mut row.as_chunks_mut::<4>().0.as_chunks_mut::<2>().0[..count]
        });
        let mut known = [[F32x4::splat(0.0); 2]; ROWS];
        for (i, removed) in self.removed[..count].iter().enumerate() {
            for half in 0..2 {
                let key = F32x4::load(&removed[half]);
                for (known, row) in known.iter_mut().zip(&rows) {
                    known[half] = key.mul_add(F32x4::load(&row[i][half]), known[half]);
                }
            }
        }
        let known = known.map(|[a, b]| F32x4::splat(-(a + b).sum()));
        let v = v.to_array().map(F32x4::splat);
        let mut sums = [F32x4::splat(0.0); ROWS];
        let [decay, k, taken, r] = [&self.decay, &self.k, &self.taken, &self.r];
        for i in 0..count {
            for half in 0..2 {
                let at = |x: &Elements| F32x4::load(&x[i][half]);
                let (decay, k, taken, r) = (at(decay), at(k), at(taken), at(r));
                for (j, row) in rows.iter_mut().enumerate() {
                    let new = v[j].mul_add(k, F32x4::load(&row[i][half]) * decay);
                    let new = known[j].mul_add(taken, new);
                    sums[j] = r.mul_add(new, sums[j]);
                    new.store(&mut row[i][half]);
                }
            }
        }
        F32x4::load(&sums.map(F32x4::sum))
    }
}
