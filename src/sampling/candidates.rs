//! The tokens still in the race. A vocabulary has up to 262 144 entries and a token is drawn up to hundreds of
//! times a second, so nothing here sorts the whole list: the best k are selected in one pass, and the nucleus is
//! cut off by how much of the probability lies in bands of logits.

use std::cmp::Ordering;

use super::scan::{BLOCK, any_above, exp_negative, finite_top, largest};

/// Candidates that are sorted and weighed one by one.
const FEW: usize = 1024;
/// Bands of logits below the best, and how many there are to a difference of 1.
const BANDS: usize = 512;
const BANDS_PER_UNIT: f32 = 16.0;

/// A token id with its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub id: u32,
    pub logit: f32,
}

/// Best first; equal logits by id, so that the order is the same everywhere.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// A reusable list of candidates.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    list: Vec<Candidate>,
    /// The largest logit.
    best: f32,
    /// Weights of a long list.
    weights: Vec<f32>,
}

impl Candidates {
    /// The `k` best tokens, sorted; all tokens in id order if `k` is 0 or covers the vocabulary.
    pub fn top_k(&mut self, logits: &[f32], k: usize) {
        self.list.clear();
        self.best = largest(logits);
        if k == 0 || k >= logits.len() {
            self.collect(logits, 0, f32::NEG_INFINITY, logits.len());
            return;
        }
        let mut bar = f32::NEG_INFINITY;
        let (blocks, rest) = logits.as_chunks::<BLOCK>();
        for (i, block) in blocks.iter().enumerate() {
            if self.list.len() < k || any_above(block, bar) {
                bar = self.collect(block, i * BLOCK, bar, k);
            }
        }
        self.collect(rest, blocks.len() * BLOCK, bar, k);
        self.keep_best(k);
        self.list.sort_unstable_by(best_first);
    }

    /// Takes in what is above `bar`, and anything while there are fewer than `k`; `id` is the first logit's. Gives the
    /// next bar: that of before, or the `k`-th best logit where the list has grown too long.
    fn collect(&mut self, logits: &[f32], id: usize, bar: f32, k: usize) -> f32 {
        for (i, &logit) in logits.iter().enumerate() {
            if logit > bar || self.list.len() < k {
                self.list.push(Candidate {
                    id: (id + i) as u32,
                    logit: finite_top(logit),
                });
            }
        }
        if self.list.len() < (2 * k).max(256) {
            return bar;
        }
        self.keep_best(k);
        let kept = self.list.iter().map(|c| c.logit);
        kept.fold(f32::INFINITY, f32::min)
    }

    fn keep_best(&mut self, k: usize) {
        if self.list.len() > k {
            self.list.select_nth_unstable_by(k, best_first);
            self.list.truncate(k);
        }
    }

    /// Keeps the fewest best tokens whose probabilities add up to `p` or more, at least one: best first where there were
    /// few candidates.
    pub fn top_p(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        let best = self.best;
        let (mut wanted, mut sum, mut head) = (0.0, 0.0, 0);
        if self.list.len() > FEW {
            (wanted, sum, head) = self.cut_bands(p, best);
        } else {
            for candidate in &self.list {
                wanted += weight(candidate.logit, best) * f64::from(p);
            }
        }
        // From here on one after the other decides.
        self.list[head..].sort_unstable_by(best_first);
        for i in head..self.list.len() {
            sum += weight(self.list[i].logit, best);
            if sum >= wanted {
                return self.list.truncate(i + 1);
            }
        }
    }

    /// Drops what lies below the band of logits in which the sum of probabilities reaches `p`, and moves that band to the
    /// end. Gives the sum that is wanted, the sum before the band and where the band begins.
    fn cut_bands(&mut self, p: f32, best: f32) -> (f64, f64, usize) {
        self.weigh(best, 1.0);
        let mut sums = vec![0.0; BANDS];
        for (candidate, weight) in self.list.iter().zip(&self.weights) {
            sums[band(candidate.logit, best)] += f64::from(*weight);
        }
        let wanted = sums.iter().sum::<f64>() * f64::from(p);
        let (mut last, mut sum) = (0, 0.0);
        while last + 1 < BANDS && sum + sums[last] < wanted {
            sum += sums[last];
            last += 1;
        }
        let mut inside = Vec::new();
        self.list.retain(|c| {
            let place = band(c.logit, best);
            if place == last {
                inside.push(*c);
            }
            place < last
        });
        let head = self.list.len();
        self.list.append(&mut inside);
        (wanted, sum, head)
    }

    /// Weights of all candidates, relative to the best token's, after dividing the logits by `temperature`.
    fn weigh(&mut self, best: f32, temperature: f32) {
        self.weights.resize(self.list.len(), 0.0);
        let scale = 1.0 / temperature;
        for (weight, candidate) in self.weights.iter_mut().zip(&self.list) {
            *weight = exp_negative((candidate.logit - best) * scale);
        }
    }

    /// Drops tokens whose probability is below `p` times that of the best.
    pub fn min_p(&mut self, p: f32) {
        if p > 0.0 {
            let best = self.best;
            let bar = best + p.ln();
            self.list.retain(|c| c.logit >= bar || c.logit == best);
        }
    }

    /// Draws one token after dividing the logits by `temperature`; `unit` is uniform in [0, 1).
    pub fn draw(&mut self, temperature: f32, unit: f64) -> u32 {
        let best = self.best;
        if self.list.len() > FEW && best > f32::NEG_INFINITY {
            self.weigh(best, temperature);
            return self.draw_weighed(unit);
        }
        let temperature = f64::from(temperature);
        let scaled = |c: &Candidate| {
            if c.logit == best {
                1.0
            } else {
                (f64::from(c.logit - best) / temperature).exp()
            }
        };
        let total: f64 = self.list.iter().map(scaled).sum();
        let mut left = unit * total;
        let mut chosen = 0;
        for candidate in &self.list {
            let share = scaled(candidate);
            if share > 0.0 {
                chosen = candidate.id;
                left -= share;
                if left < 0.0 {
                    break;
                }
            }
        }
        chosen
    }

    /// Draws by the weights of a long list: passes over blocks that end before the drawn place.
    fn draw_weighed(&self, unit: f64) -> u32 {
        let sum_of = |block: &[f32]| block.iter().copied().map(f64::from).sum::<f64>();
        let total: f64 = self.weights.chunks(BLOCK).map(sum_of).sum();
        let mut left = unit * total;
        let mut chosen = 0;
        for (block, weights) in self.weights.chunks(BLOCK).enumerate() {
            let sum = sum_of(weights);
            if sum > 0.0 && left < sum {
                for (i, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                    chosen = block * BLOCK + i;
                    left -= f64::from(*weight);
                    if left < 0.0 {
                        break;
                    }
                }
                return self.list[chosen].id;
            }
            left -= sum;
            if let Some(last) = weights.iter().rposition(|weight| *weight > 0.0) {
                chosen = block * BLOCK + last;
            }
        }
        self.list[chosen].id
    }

    #[cfg(test)]
    pub fn ids(&self) -> Vec<u32> {
        self.list.iter().map(|c| c.id).collect()
    }
}

/// The band below the best in which a logit lies.
#[inline(always)]
fn band(logit: f32, best: f32) -> usize {
    // What is not a number, as the difference of infinities, becomes 0.
    (((best - logit) * BANDS_PER_UNIT) as usize).min(BANDS - 1)
}

/// Probability relative to the best token. If all logits are minus infinity, all are equal.
fn weight(logit: f32, best: f32) -> f64 {
    if logit == best {
        1.0
    } else {
        f64::from(logit - best).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive_order(logits: &[f32]) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        ids.sort_by(|&a, &b| {
            logits[b as usize]
                .total_cmp(&logits[a as usize])
                .then(a.cmp(&b))
        });
        ids
    }

    fn naive_top_p(logits: &[f32], p: f32) -> Vec<u32> {
        let order = naive_order(logits);
        let best = logits[order[0] as usize];
        let total: f64 = logits.iter().map(|&l| f64::from(l - best).exp()).sum();
        let mut sum = 0.0;
        let mut kept = Vec::new();
        for id in order {
            kept.push(id);
            sum += f64::from(logits[id as usize] - best).exp();
            if sum >= total * f64::from(p) - 1e-9 * total {
                break;
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn top_k_equals_a_full_sort(logits in prop::collection::vec(-9i8..9, 2..900), k in 1usize..300) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let k = k.min(logits.len() - 1);
            let mut candidates = Candidates::default();
            candidates.top_k(&logits, k);
            prop_assert_eq!(candidates.ids(), &naive_order(&logits)[..k]);
        }

        #[test]
        fn top_p_equals_a_full_sort(logits in prop::collection::vec(-4.0f32..4.0, 1..3000), p in 0.01f32..0.99) {
            let mut candidates = Candidates::default();
            candidates.top_k(&logits, 0);
            candidates.top_p(p);
            let naive = naive_top_p(&logits, p);
            // The sums are rounded differently: the last token may differ at the very edge.
            prop_assert!(candidates.ids().len().abs_diff(naive.len()) <= 1);
            candidates.list.sort_unstable_by(best_first);
            let n = naive.len().min(candidates.ids().len());
            prop_assert_eq!(&candidates.ids()[..n], &naive[..n]);
        }
    }

    #[test]
    fn min_p_is_relative_to_the_best() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
        let mut candidates = Candidates::default();
        candidates.top_k(&logits, 0);
        candidates.min_p(0.25);
        assert_eq!(candidates.ids(), [0, 1, 2]);
    }

    #[test]
    fn long_lists_are_drawn_from_as_short_ones_are() {
        let logits: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.7).sin() * 6.0).collect();
        let mut candidates = Candidates::default();
        candidates.top_k(&logits, 0);
        let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / 0.7).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (id, weight) in weights
            .iter()
            .enumerate()
            .filter(|(_, w)| **w > 1e-6 * total)
        {
            let before = weights[..id].iter().sum::<f64>();
            let middle = (before + weight / 2.0) / total;
            assert_eq!(candidates.draw(0.7, middle), id as u32);
        }
        let mut gone = vec![f32::NEG_INFINITY; 3000];
        gone[2345] = 1.0;
        candidates.top_k(&gone, 0);
        assert_eq!(candidates.draw(1.0, 0.999_999_9), 2345);
        candidates.top_p(0.5);
        assert_eq!(candidates.ids(), [2345]);
    }

    #[test]
    fn draw_follows_the_probabilities() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut candidates = Candidates::default();
        candidates.top_k(&logits, 0);
        let drawn = [0.0, 0.49, 0.51, 0.79, 0.81, 0.999_999];
        let drawn = drawn.map(|unit| candidates.draw(1.0, unit));
        assert_eq!(drawn, [0, 0, 1, 1, 2, 2]);
    }
}
