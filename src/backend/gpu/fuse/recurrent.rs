//! Convolutions over time with what stands around them.

use super::{Fuser, InputNorm, Node, Projection};
use crate::model::{Activation, BufId, Op, WeightId};

impl<S: Fn(WeightId, WeightId) -> bool, F: Fn(WeightId, usize) -> bool> Fuser<'_, S, F> {
    /// A convolution, with the activation behind it if there is one; returns how many steps it took.
    pub(super) fn convolution(&mut self, at: usize, out: BufId) -> usize {
        let Some(Op::Act { act, x }) = self.op(at + 1) else {
            return self.plain(at);
        };
        if *x != out {
            return self.plain(at);
        }
        let node = Node::Conv {
            op: self.plan.steps[at].op.clone(),
            act: *act,
            gates: None,
        };
        self.push(at + 1, node);
        2
    }

    /// A gated short convolution (LFM2), from the projections of its gates and values on: `c * conv(b * v)`.
    pub(super) fn short_conv(
        &mut self,
        at: usize,
        [b, c, v]: [Projection; 3],
        x: BufId,
        norm: Option<InputNorm>,
    ) -> Option<usize> {
        let end = at + 6;
        let before = self.product(at + 3)?;
        let Some(Op::CausalConv {
            x: convolved, out, ..
        }) = self.op(at + 4)
        else {
            return None;
        };
        let (convolved, out) = (*convolved, *out);
        let after = self.product(at + 5)?;
        let rows = self.rows(b.weight);
        let fits = (before, convolved) == ((b.out, v.out), v.out)
            && after == (c.out, out)
            && [c.out, v.out]
                .iter()
                .all(|gone| *gone != out && self.dead(*gone, end))
            && (b.out == out || self.dead(b.out, end))
            && [c, v].iter().all(|p| self.rows(p.weight) == rows);
        if !fits {
            return None;
        }
        let gates = self.side_by_side_buffer(3 * rows);
        self.project_side_by_side(at, [b, c, v], x, norm, gates);
        let node = Node::Conv {
            op: self.plan.steps[at + 4].op.clone(),
            act: Activation::Identity,
            gates: Some(gates),
        };
        self.push(at + 5, node);
        Some(end - at)
    }

    /// Gate and result of a product in place.
    fn product(&self, at: usize) -> Option<(BufId, BufId)> {
        match self.op(at)? {
            Op::GatedAct {
                act: Activation::Identity,
                gate,
                up,
                out,
            } if up == out && self.plan.buffers[gate.0] == self.plan.buffers[out.0] => {
                Some((*gate, *out))
            }
            _ => None,
        }
    }
}
