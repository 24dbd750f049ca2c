//! Points to which a session with recurrent states can go back.
//!
//! Keys and values of a position can be forgotten; a recurrent state has them all mixed up. So copies are kept, and a
//! cache that is cut goes back to the last copy before the cut: what lies between is run again. What a copy is, is the
//! backend's affair.

/// Positions between checkpoints while tokens come one by one.
const INTERVAL: usize = 64;

/// Bytes of checkpoints that are kept; beyond it the most crowded ones go.
const BUDGET: usize = 64 << 20;

/// Copies of the states of one session, by position.
pub struct Checkpoints<T> {
    points: Vec<(usize, T)>,
    /// Tokens of the pass before.
    previous: usize,
    /// Bytes of one copy.
    bytes: usize,
}

impl<T> Checkpoints<T> {
    /// None yet; a copy takes `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self {
            points: Vec::new(),
            previous: 0,
            bytes,
        }
    }

    /// Whether the point before a pass of `count` tokens at `position` is worth going back to: the beginning of each
    /// chunk of a prompt, the end of a prompt, and now and then in an answer.
    pub fn is_due(&mut self, position: usize, count: usize) -> bool {
        let last = self.points.last().map_or(0, |(at, _)| *at);
        let due = count > 1 || self.previous > 1 || position >= last + INTERVAL;
        self.previous = count;
        due && position > last && self.bytes > 0
    }

    /// Keeps a copy of the states at `position`.
    pub fn keep(&mut self, position: usize, copy: T) {
        self.points.push((position, copy));
        self.thin(BUDGET);
    }

    /// Forgets the copies after `len` and gives the last one that is left, with its position.
    pub fn rewind(&mut self, len: usize) -> Option<(usize, &T)> {
        self.points.retain(|(position, _)| *position <= len);
        self.previous = 0;
        self.points.last().map(|(position, copy)| (*position, copy))
    }

    /// Bytes of all copies.
    pub fn bytes(&self) -> usize {
        self.bytes * self.points.len()
    }

    /// Drops copies whose neighbours are closest, never the newest.
    fn thin(&mut self, budget: usize) {
        let most = (budget / self.bytes.max(1)).max(1);
        while self.points.len() > most {
            let position = |i: usize| self.points[i].0;
            let gap = |i: usize| position(i + 1) - if i == 0 { 0 } else { position(i - 1) };
            let crowded = (0..self.points.len() - 1)
                .min_by_key(|i| gap(*i))
                .unwrap_or(0);
            self.points.remove(crowded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_back_to_the_last_checkpoint() {
        let mut checkpoints = Checkpoints::new(4);
        for (position, count) in [(0, 10), (10, 10), (20, 1), (21, 1), (22, 1)] {
            if checkpoints.is_due(position, count) {
                checkpoints.keep(position, position);
            }
        }
        assert_eq!(checkpoints.rewind(22), Some((20, &20)));
        assert_eq!(checkpoints.rewind(19), Some((10, &10)));
        assert_eq!(checkpoints.rewind(9), None);
    }

    #[test]
    fn keeps_within_the_budget_and_spreads() {
        let mut checkpoints = Checkpoints::new(4);
        for position in 1..100 {
            checkpoints.keep(position, ());
            checkpoints.thin(16);
        }
        assert_eq!(checkpoints.points.len(), 4);
        assert_eq!(checkpoints.points[3].0, 99);
    }

    #[test]
    fn keeps_nothing_where_there_is_no_state() {
        assert!(!Checkpoints::<()>::new(0).is_due(5, 2));
    }
}
