//! The tokens still in the race. A vocabulary has up to 262 144 entries and a token is drawn up to hundreds of
//! times a second, so nothing here sorts the whole list: the best k are selected in one pass, and the nucleus is
//! looked for in a growing head of the list.

use std::cmp::Ordering;

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
}

impl Candidates {
    /// The `k` best tokens, sorted; all tokens in id order if `k` is 0 or covers the vocabulary.
    pub fn top_k(&mut self, logits: &[f32], k: usize) {
        self.list.clear();
        if k == 0 || k >= logits.len() {
            let all = logits.iter().enumerate();
            self.list.extend(all.map(|(id, &logit)| Candidate {
                id: id as u32,
                logit,
            }));
            return;
        }
        // Collect what beats the k-th best seen so far; when the buffer is full, keep its best k.
        let room = (2 * k).max(256);
        let mut bar = f32::NEG_INFINITY;
        for (id, &logit) in logits.iter().enumerate() {
            if logit > bar || self.list.len() < k {
                self.list.push(Candidate {
                    id: id as u32,
                    logit,
                });
                if self.list.len() == room {
                    self.keep_best(k);
                    bar = self
                        .list
                        .iter()
                        .fold(f32::INFINITY, |low, c| low.min(c.logit));
                }
            }
        }
        self.keep_best(k);
        self.list.sort_unstable_by(best_first);
    }

    fn keep_best(&mut self, k: usize) {
        if self.list.len() > k {
            self.list.select_nth_unstable_by(k, best_first);
            self.list.truncate(k);
        }
    }

    /// Keeps the fewest best tokens whose probabilities add up to `p` or more, at least one, best first.
    pub fn top_p(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        let best = self.best_logit();
        let total: f64 = self.list.iter().map(|c| weight(c.logit, best)).sum();
        let wanted = total * f64::from(p);
        let mut head = 0;
        let mut sum = 0.0;
        while head < self.list.len() {
            // Sort the next stretch of the list, four times as long as before.
            let next = (head * 4).max(256).min(self.list.len());
            if next < self.list.len() {
                self.list[head..].select_nth_unstable_by(next - head, best_first);
            }
            self.list[head..next].sort_unstable_by(best_first);
            for i in head..next {
                sum += weight(self.list[i].logit, best);
                if sum >= wanted {
                    return self.list.truncate(i + 1);
                }
            }
            head = next;
        }
    }

    /// Drops tokens whose probability is below `p` times that of the best.
    pub fn min_p(&mut self, p: f32) {
        if p > 0.0 {
            let bar = self.best_logit() + p.ln();
            let best = self.best_logit();
            self.list.retain(|c| c.logit >= bar || c.logit == best);
        }
    }

    /// Draws one token after dividing the logits by `temperature`; `unit` is uniform in [0, 1).
    pub fn draw(&self, temperature: f32, unit: f64) -> u32 {
        let best = self.best_logit();
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

    fn best_logit(&self) -> f32 {
        self.list
            .iter()
            .fold(f32::NEG_INFINITY, |best, c| best.max(c.logit))
    }

    #[cfg(test)]
    pub fn ids(&self) -> Vec<u32> {
        self.list.iter().map(|c| c.id).collect()
    }
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
            // The sums are taken in another order: the last token may differ at the very edge.
            prop_assert!(candidates.ids().len().abs_diff(naive.len()) <= 1);
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
    fn draw_follows_the_probabilities() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut candidates = Candidates::default();
        candidates.top_k(&logits, 0);
        let drawn = [0.0, 0.49, 0.51, 0.79, 0.81, 0.999_999].map(|u| candidates.draw(1.0, u));
        assert_eq!(drawn, [0, 0, 1, 1, 2, 2]);
    }
}
