//! Convolutions over time with what stands around them.

use super::{Fuser, InputNorm, Node, Placed, Projection, reads, written};
use crate::model::{Activation, BufId, Op, WeightId};

impl<S: Fn(WeightId, WeightId) -> bool, F: Fn(WeightId, usize) -> bool> Fuser<'_, S, F> {
    /// A convolution, with the activation behind it if there is one; returns how many steps it took.
    pub(super) fn convolution(&mut self, at: usize, result: BufId) -> usize {
        let mut op = self.plan.steps[at].op.clone();
        let mut place = 0;
        if let Op::CausalConv { x, .. } = &mut op {
            (*x, place) = self.place_of(*x, at);
        }
        let (act, taken) = match self.op(at + 1) {
            Some(Op::Act { act, x }) if *x == result => (*act, 2),
            _ => (Activation::Identity, 1),
        };
        let node = Node::Conv {
            op,
            act,
            gates: None,
            at: place,
        };
        self.push(at + taken - 1, node);
        taken
    }

    /// A delta net or a state scan.
    pub(super) fn recurrence(&mut self, at: usize) -> usize {
        let mut op = self.plan.steps[at].op.clone();
        let mut places = [0; 2];
        match &mut op {
            Op::DeltaNet { alpha, beta, .. } => {
                (*alpha, places[0]) = self.place_of(*alpha, at);
                (*beta, places[1]) = self.place_of(*beta, at);
            }
            Op::StateScan { dt, .. } => (*dt, places[0]) = self.place_of(*dt, at),
            _ => return self.plain(at),
        }
        self.push(at, Node::Placed { op, at: places });
        1
    }

    /// A norm in place and a gate, in either order; returns how many steps that were.
    pub(super) fn norm_and_gate(&mut self, at: usize) -> Option<usize> {
        let gate_first = matches!(self.op(at)?, Op::GatedAct { .. });
        let (norm, gate) = if gate_first {
            (at + 1, at)
        } else {
            (at, at + 1)
        };
        let op = self.op(norm)?.clone();
        let Op::GatedAct { act, gate, up, out } = *self.op(gate)? else {
            return None;
        };
        let one_by_one = gate != out && self.plan.buffers[gate.0] == self.plan.buffers[out.0];
        let in_place = matches!(op, Op::Norm { x, out: normed, .. } if (x, normed) == (out, out));
        if up != out || !one_by_one || !in_place {
            return None;
        }
        let (gate, place) = self.place_of(gate, at);
        let node = Node::NormGated {
            op,
            act,
            gate,
            at: place,
            first: gate_first,
        };
        self.push(at + 1, node);
        Some(2)
    }

    /// Whether the gate of a step is taken together with a norm beside it.
    fn beside_norm(&self, gate: usize, buffer: BufId) -> bool {
        [gate.wrapping_sub(1), gate + 1].into_iter().any(|at| {
            matches!(self.op(at), Some(Op::Norm { x, out, .. }) if (*x, *out) == (buffer, buffer))
        })
    }

    /// Where the values of a buffer lie at some step.
    fn place_of(&self, buffer: BufId, at: usize) -> (BufId, usize) {
        let placed = self.placed.iter().rev();
        let mut placed = placed.filter(|placed| placed.buffer == buffer && at < placed.end);
        placed
            .next()
            .map_or((buffer, 0), |placed| (placed.lies_in, placed.at))
    }

    /// Makes one projection of several, if some may lie end to end and whoever reads their results can do so where they
    /// lie then.
    pub(super) fn place(
        &mut self,
        at: usize,
        projections: &[Projection],
        x: BufId,
        norm: Option<InputNorm>,
    ) -> bool {
        let end = at + projections.len();
        let saves = projections.windows(2).any(|pair| self.groupable(pair));
        let ends = projections.iter().map(|p| self.placeable(p.out, end));
        let Some(ends) = ends.collect::<Option<Vec<_>>>().filter(|_| saves) else {
            return false;
        };
        let lies_in =
            self.side_by_side_buffer(projections.iter().map(|p| self.rows(p.weight)).sum());
        let mut first = 0;
        for (p, end) in projections.iter().zip(ends) {
            self.placed.push(Placed {
                buffer: p.out,
                lies_in,
                at: first,
                end,
            });
            first += self.rows(p.weight);
        }
        self.project_side_by_side(at, projections, x, norm, lies_in);
        true
    }

    /// The step that writes a buffer again, if all that read it from step `at` on can read it elsewhere.
    fn placeable(&self, buffer: BufId, at: usize) -> Option<usize> {
        for (index, step) in self.plan.steps.iter().enumerate().skip(at) {
            let takes = match step.op {
                Op::CausalConv { x, .. } => x == buffer,
                Op::DeltaNet { qkv, .. } => qkv != buffer,
                Op::StateScan { xbc, .. } => xbc != buffer,
                Op::GatedAct { gate, up, out, .. } => {
                    let wide = self.plan.buffers[gate.0] == self.plan.buffers[out.0];
                    gate == buffer && up == out && wide && self.beside_norm(index, out)
                }
                _ => false,
            };
            if reads(&step.op).contains(&buffer) && !takes {
                return None;
            }
            if written(&step.op) == Some(buffer) {
                return Some(index);
            }
        }
        (buffer != self.plan.logits).then_some(self.plan.steps.len())
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
        self.project_side_by_side(at, &[b, c, v], x, norm, gates);
        let node = Node::Conv {
            op: self.plan.steps[at + 4].op.clone(),
            act: Activation::Identity,
            gates: Some(gates),
            at: 0,
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
