//! The choice between the reference and the vector version of an operation, made in one place.

use super::{Precision, ops, reference};
use crate::model::{Activation, NormKind, Pairing};

impl Precision {
    /// Normalises each run of `width` values in place.
    pub fn norm(
        self,
        kind: NormKind,
        x: &mut [f32],
        width: usize,
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        eps: f32,
    ) {
        match (self, kind) {
            (Self::Exact, _) => reference::norm(kind, x, width, weight, bias, eps),
            (Self::Fast, NormKind::Rms) => ops::rms_norm(x, width, weight, bias, eps),
            (Self::Fast, NormKind::Layer) => ops::layer_norm(x, width, weight, bias, eps),
        }
    }

    /// Rotates every head of one position's row in place.
    pub fn rope(self, row: &mut [f32], head_dim: usize, pairing: Pairing, angles: &[[f32; 2]]) {
        match (self, pairing) {
            (Self::Exact, _) => reference::rope(row, head_dim, pairing, angles),
            (Self::Fast, Pairing::Adjacent) => ops::rope_adjacent(row, head_dim, angles),
            (Self::Fast, Pairing::Halves) => ops::rope_halves(row, head_dim, angles),
        }
    }

    /// `up = act(gate) * up`
    pub fn gated(self, act: Activation, gate: &[f32], up: &mut [f32]) {
        match self {
            Self::Exact => {
                let pairs = up.iter_mut().zip(gate);
                pairs.for_each(|(up, gate)| *up = reference::gated(act, *gate, *up));
            }
            Self::Fast => ops::gated(act, gate, up),
        }
    }

    /// `x = act(x)`
    pub fn activate(self, act: Activation, x: &mut [f32]) {
        match self {
            Self::Exact => x.iter_mut().for_each(|x| *x = reference::activate(act, *x)),
            Self::Fast => ops::activate(act, x),
        }
    }

    /// `x = cap * tanh(x / cap)`
    pub fn soft_cap(self, x: &mut [f32], cap: f32) {
        match self {
            Self::Exact => x.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh()),
            Self::Fast => ops::soft_cap(x, cap),
        }
    }
}
