//! Recurrent states and the points to which they can go back.
//!
//! Keys and values of a position can be forgotten; a recurrent state has them all mixed up. So copies are kept, and a
//! cache that is cut goes back to the last copy before the cut: what lies between is run again.

/// Positions between checkpoints while tokens come one by one.
const INTERVAL: usize = 64;

/// Bytes of checkpoints that are kept; beyond it the most crowded ones go.
const BUDGET: usize = 64 << 20;

struct Checkpoint {
    position: usize,
    states: Vec<Vec<f32>>,
}

/// The states of one session.
pub struct States {
    /// One per state of the plan.
    pub current: Vec<Vec<f32>>,
    checkpoints: Vec<Checkpoint>,
    /// Tokens of the pass before.
    previous: usize,
}

impl States {
    /// All zero.
    pub fn new(sizes: &[usize]) -> Self {
        let current = sizes.iter().map(|size| vec![0.0; *size]).collect();
        Self {
            current,
            checkpoints: Vec::new(),
            previous: 0,
        }
    }

    /// Keeps a copy before a pass of `count` tokens if this is a point worth going back to: the beginning of each
    /// chunk of a prompt, the end of a prompt, and now and then in an answer.
    pub fn before_pass(&mut self, position: usize, count: usize) {
        let last = self
            .checkpoints
            .last()
            .map_or(0, |checkpoint| checkpoint.position);
        let due = count > 1 || self.previous > 1 || position >= last + INTERVAL;
        self.previous = count;
        if due && position > last && !self.current.is_empty() {
            self.checkpoints.push(Checkpoint {
                position,
                states: self.current.clone(),
            });
            self.thin(BUDGET);
        }
    }

    /// Goes back to the last checkpoint that is not after `len`; returns its position.
    pub fn rewind(&mut self, len: usize) -> usize {
        self.checkpoints
            .retain(|checkpoint| checkpoint.position <= len);
        self.previous = 0;
        match self.checkpoints.last() {
            Some(checkpoint) => {
                self.current.clone_from(&checkpoint.states);
                checkpoint.position
            }
            None => {
                self.current.iter_mut().for_each(|state| state.fill(0.0));
                0
            }
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.state_bytes() * (1 + self.checkpoints.len())
    }

    fn state_bytes(&self) -> usize {
        self.current.iter().map(|state| state.len() * 4).sum()
    }

    /// Drops checkpoints whose neighbours are closest, never the newest.
    fn thin(&mut self, budget: usize) {
        let most = (budget / self.state_bytes().max(1)).max(1);
        while self.checkpoints.len() > most {
            let position = |i: usize| self.checkpoints[i].position;
            let gap = |i: usize| position(i + 1) - if i == 0 { 0 } else { position(i - 1) };
            let crowded = (0..self.checkpoints.len() - 1)
                .min_by_key(|i| gap(*i))
                .unwrap_or(0);
            self.checkpoints.remove(crowded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_back_to_the_last_checkpoint() {
        let mut states = States::new(&[1]);
        for (position, count) in [(0, 10), (10, 10), (20, 1), (21, 1), (22, 1)] {
            states.before_pass(position, count);
            states.current[0][0] = (position + count) as f32;
        }
        assert_eq!((states.rewind(22), states.current[0][0]), (20, 20.0));
        assert_eq!((states.rewind(19), states.current[0][0]), (10, 10.0));
        assert_eq!((states.rewind(9), states.current[0][0]), (0, 0.0));
    }

    #[test]
    fn keeps_within_the_budget_and_spreads() {
        let mut states = States::new(&[1]);
        for position in 0..100 {
            states.before_pass(position, 2);
            states.thin(16);
        }
        let kept: Vec<usize> = states
            .checkpoints
            .iter()
            .map(|checkpoint| checkpoint.position)
            .collect();
        assert_eq!(kept.len(), 4);
        assert_eq!(kept[3], 99);
    }
}
