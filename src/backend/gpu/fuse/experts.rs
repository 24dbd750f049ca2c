//! Mixtures of experts, for one token: gate and up with the activation behind them, down with the sum of the experts and
//! the residual addition.

use super::{Fuser, Node, Projection, ThenExperts};
use crate::model::{BufId, Op, WeightId};

impl<S: Fn(WeightId, WeightId) -> bool, F: Fn(WeightId, usize) -> bool> Fuser<'_, S, F> {
    /// A product of experts with what follows it; returns how many steps that were.
    pub(super) fn experts(&mut self, at: usize) -> usize {
        let taken = self
            .gated_experts(at)
            .or_else(|| self.activated_experts(at))
            .or_else(|| self.sum_of_experts(at));
        taken.unwrap_or_else(|| self.plain(at))
    }

    fn push_experts(&mut self, at: usize, step: usize, result: BufId, then: ThenExperts) {
        let mut op = self.plan.steps[at].op.clone();
        if let Op::MoeMatMul { x, route, out, .. } = &mut op {
            (*x, *route, *out) = (self.name(*x), self.name(*route), self.name(result));
        }
        self.push(step, Node::Experts { op, then });
    }

    fn gated_experts(&mut self, at: usize) -> Option<usize> {
        let (gate, up) = (self.op(at)?, self.op(at + 1)?);
        let Op::GatedAct {
            act,
            gate: of_gate,
            up: of_up,
            out,
        } = *self.op(at + 2)?
        else {
            return None;
        };
        let (a, b) = (parts(gate)?, parts(up)?);
        let alike = (a.x, a.route, a.stride) == (b.x, b.route, b.stride);
        let results = (of_gate, of_up) == (a.out, b.out) && out == b.out && out != a.x;
        // Biases of weights that lie end to end would have to do so too.
        if !alike || !results || a.biased || b.biased || !self.dead(a.out, at + 3) {
            return None;
        }
        if a.weight == b.weight {
            if !(self.fits)(a.weight, self.rows(a.weight)) {
                return None;
            }
        } else {
            let both = [a, b].map(|part| Projection {
                weight: part.weight,
                bias: None,
                out: part.out,
            });
            if !self.groupable(&both) {
                return None;
            }
            self.group(&both);
        }
        let then = ThenExperts::Gated(act, b.weight, b.offset);
        self.push_experts(at, at + 2, out, then);
        Some(3)
    }

    fn activated_experts(&mut self, at: usize) -> Option<usize> {
        let product = parts(self.op(at)?)?;
        match *self.op(at + 1)? {
            Op::Act { act, x } if x == product.out => {
                self.push_experts(at, at + 1, x, ThenExperts::Act(act));
                Some(2)
            }
            _ => None,
        }
    }

    fn sum_of_experts(&mut self, at: usize) -> Option<usize> {
        let product = parts(self.op(at)?)?;
        let Op::MoeSum { x, route, out, .. } = *self.op(at + 1)? else {
            return None;
        };
        // A workgroup sums what lies in one binding.
        let whole = (self.fits)(product.weight, self.rows(product.weight));
        let ours = (x, route) == (product.out, product.route) && out != product.x;
        if !(whole && ours && self.dead(x, at + 2)) {
            return None;
        }
        match self.op(at + 2) {
            Some(Op::Add { a, b, out: sum })
                if *b == out && a == sum && *a != product.x && self.dead(out, at + 3) =>
            {
                let out = self.name(*a);
                let then = ThenExperts::Sum(out, true);
                self.push_experts(at, at + 2, product.out, then);
                Some(3)
            }
            _ => {
                let then = ThenExperts::Sum(self.name(out), false);
                self.push_experts(at, at + 1, product.out, then);
                Some(2)
            }
        }
    }
}

/// What the patterns look at in a product of experts.
#[derive(Clone, Copy)]
struct Parts {
    x: BufId,
    route: BufId,
    weight: WeightId,
    stride: usize,
    offset: usize,
    biased: bool,
    out: BufId,
}

fn parts(op: &Op) -> Option<Parts> {
    match *op {
        Op::MoeMatMul {
            x,
            route,
            weight,
            stride,
            offset,
            bias,
            out,
            ..
        } => Some(Parts {
            x,
            route,
            weight,
            stride,
            offset,
            biased: bias.is_some(),
            out,
        }),
        _ => None,
    }
}
