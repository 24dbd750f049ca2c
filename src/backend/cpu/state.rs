//! Recurrent states of one session.

use crate::backend::checkpoints::Checkpoints;

/// The states of one session.
pub struct States {
    /// One per state of the plan.
    pub current: Vec<Vec<f32>>,
    checkpoints: Checkpoints<Vec<Vec<f32>>>,
}

impl States {
    /// All zero.
    pub fn new(sizes: &[usize]) -> Self {
        Self {
            current: sizes.iter().map(|size| vec![0.0; *size]).collect(),
            checkpoints: Checkpoints::new(sizes.iter().sum::<usize>() * 4),
        }
    }

    /// Keeps a copy before a pass of `count` tokens if this is a point worth going back to.
    pub fn before_pass(&mut self, position: usize, count: usize) {
        if self.checkpoints.is_due(position, count) {
            self.checkpoints.keep(position, self.current.clone());
        }
    }

    /// Goes back to the last checkpoint that is not after `len`; returns its position.
    pub fn rewind(&mut self, len: usize) -> usize {
        match self.checkpoints.rewind(len) {
            Some((position, states)) => {
                self.current.clone_from(states);
                position
            }
            None => {
                self.current.iter_mut().for_each(|state| state.fill(0.0));
                0
            }
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        let current: usize = self.current.iter().map(|state| state.len() * 4).sum();
        current + self.checkpoints.bytes()
    }
}
