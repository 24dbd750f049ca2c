//! The stretch from the projections of queries, keys and values to attention.

use super::{Fuser, InputNorm, NewHeads, Node, Projection, Then};
use crate::model::{Activation, BufId, Mask, NormKind, Op, RopeId, WeightId};

/// A norm of heads, with one weight vector for all that it is applied to.
struct HeadNorm {
    weight: Option<WeightId>,
    eps: f32,
    width: usize,
    /// Whether it comes after the rotation.
    last: bool,
}

/// What is done to the heads of queries, keys or values.
#[derive(Default)]
struct HeadForm {
    norm: Option<HeadNorm>,
    rope: Option<RopeId>,
    growth: Option<(f32, usize)>,
}

impl HeadForm {
    fn width(&self) -> Option<usize> {
        self.norm.as_ref().map(|norm| norm.width)
    }
}

impl<S: Fn(WeightId, WeightId) -> bool, F: Fn(WeightId, usize) -> bool> Fuser<'_, S, F> {
    /// Queries, keys and values up to and including attention.
    pub(super) fn attention_input(
        &mut self,
        at: usize,
        projections: [Projection; 3],
        x: BufId,
        norm: Option<InputNorm>,
    ) -> Option<usize> {
        let (mut op, heads, end) = self.head_steps(at + 3, &projections)?;
        let qkv = self.side_by_side_buffer(projections.iter().map(|p| self.rows(p.weight)).sum());
        self.project_side_by_side(at, &projections, x, norm, qkv);
        if let Op::Attention { q, .. } = &mut op {
            *q = qkv;
        }
        self.push(end - 1, Node::Attention { op, heads });
        Some(end - at)
    }

    /// The steps from `at` on, if they are what one dispatch does to the heads, and then attention: with the number of the
    /// step after it. What is done to queries, to keys and to values may come in any order.
    fn head_steps(&self, at: usize, all: &[Projection; 3]) -> Option<(Op, NewHeads, usize)> {
        let [_, k, v] = all;
        let mut q = all[0].out;
        let mut gate = None;
        let mut forms = [(); 3].map(|()| HeadForm::default());
        let mut stored = None;
        let mut next = at;
        let attention = loop {
            let op = self.op(next)?;
            next += 1;
            match *op {
                Op::StoreKv {
                    k: from_k,
                    v: from_v,
                    layer,
                } if (from_k, from_v) == (k.out, v.out) => stored = Some(layer),
                Op::Attention { .. } => break op.clone(),
                Op::Slice { x, .. } if x == all[0].out && gate.is_none() => {
                    let parts = self.gate_of_queries(next - 1)?;
                    (q, gate) = (parts.0, Some(parts));
                    next += 1;
                }
                _ => {
                    let names = [q, k.out, v.out];
                    let shaped = names.iter().zip(&mut forms).position(|(name, form)| {
                        (*name == q || stored.is_none()) && self.shape_heads(op, *name, form)
                    });
                    shaped?;
                }
            }
        };
        let mut heads = self.new_heads(&attention, all, &forms)?;
        let Op::Attention {
            q: from,
            layer,
            head_dim,
            out,
            ..
        } = attention
        else {
            return None;
        };
        if let Some((_, gate, stride)) = gate {
            heads.gated = true;
            let of_heads = stride == 2 * head_dim && !heads.norm_of_all;
            if !of_heads || !self.is_gated(next, out, gate) {
                return None;
            }
            next += 1;
        }
        let inputs = [all[0].out, q, k.out, v.out];
        let fits = (from, Some(layer)) == (q, stored)
            && inputs.iter().all(|input| self.dead(*input, next));
        fits.then_some((attention, heads, next))
    }

    /// Whether step `at` multiplies `result` with the sigmoid of `gate`, which nobody reads after it.
    fn is_gated(&self, at: usize, result: BufId, gate: BufId) -> bool {
        let gates = Op::GatedAct {
            act: Activation::Sigmoid,
            gate,
            up: result,
            out: result,
        };
        self.op(at) == Some(&gates) && self.dead(gate, at + 1)
    }

    /// Where each head of the projected queries has a gate behind it, and two steps take them apart: what those call queries
    /// and gates, and how far it is from one query to the next.
    fn gate_of_queries(&self, at: usize) -> Option<(BufId, BufId, usize)> {
        let [first, second] = [at, at + 1].map(|at| match self.op(at) {
            Some(Op::Slice {
                x,
                stride,
                offset,
                out,
            }) => Some((*x, *stride, *offset, *out)),
            _ => None,
        });
        let ((x, stride, start, q), (of, other, half, gate)) = (first?, second?);
        let fits = (x, stride) == (of, other) && (start, 2 * half) == (0, stride);
        fits.then_some((q, gate, stride))
    }

    /// The forms of queries, keys and values together, if there is a kernel for that.
    fn new_heads(
        &self,
        attention: &Op,
        projections: &[Projection; 3],
        [q, k, v]: &[HeadForm; 3],
    ) -> Option<NewHeads> {
        let Op::Attention {
            head_dim,
            mask: Mask::Causal,
            sinks,
            bias,
            ..
        } = *attention
        else {
            return None;
        };
        let norms = match (&q.norm, &k.norm) {
            (None, None) => None,
            (Some(a), Some(b)) => Some([a.weight?, b.weight?]),
            _ => return None,
        };
        let rows = |p: &Projection| Some(self.rows(p.weight));
        let of_each = [q, k].map(HeadForm::width) == [Some(head_dim); 2];
        let of_all = [q, k].map(HeadForm::width) == [rows(&projections[0]), rows(&projections[1])];
        let used = || [q, k, v].into_iter().filter_map(|form| form.norm.as_ref());
        let eps = used().next().map_or(0.0, |norm| norm.eps);
        let last = |form: &HeadForm| form.norm.as_ref().is_some_and(|norm| norm.last);
        let turns_alone = q
            .rope
            .is_none_or(|rope| self.plan.ropes[rope.0].magnitude == 1.0);
        let fits = q.rope == k.rope
            && (norms.is_none() || of_each || of_all)
            // There are as many bindings as a kernel may have: norms take that of sinks and biases.
            && (norms.is_none() || (sinks, bias) == (None, None))
            && used().all(|norm| norm.eps == eps)
            && last(q) == last(k)
            // The length of a head is taken before the rotation.
            && (!last(q) || turns_alone)
            && k.growth.is_none()
            && (v.rope, v.growth) == (None, None)
            && v.norm.as_ref().is_none_or(|norm| {
                norm.weight.is_none() && norm.width == head_dim && norms.is_some()
            });
        fits.then_some(NewHeads {
            norms,
            norm_of_all: norms.is_some() && !of_each,
            norm_last: last(q),
            norm_values: v.norm.is_some(),
            gated: false,
            eps,
            rope: q.rope,
            growth: q.growth.unwrap_or((0.0, 1)),
        })
    }

    /// Notes a norm, a rotation or a growth of the heads in `buffer`; false for anything else, and for one too many.
    fn shape_heads(&self, op: &Op, buffer: BufId, form: &mut HeadForm) -> bool {
        match *op {
            Op::Norm {
                kind: NormKind::Rms,
                x,
                weight,
                bias: None,
                eps,
                width,
                out,
            } => {
                let shared = weight.is_none_or(|id| self.plan.weights[id.0].cols == width);
                let free = form.norm.is_none() && form.growth.is_none();
                let takes = (x, out) == (buffer, buffer) && shared && free;
                if takes {
                    form.norm = Some(HeadNorm {
                        weight,
                        eps,
                        width,
                        last: form.rope.is_some(),
                    });
                }
                takes
            }
            Op::Rope { x, rope, .. } => {
                let takes = x == buffer && form.rope.is_none() && form.growth.is_none();
                if takes {
                    form.rope = Some(rope);
                }
                takes
            }
            Op::PositionScale { x, factor, length } => {
                let takes = x == buffer && form.growth.is_none();
                if takes {
                    form.growth = Some((factor, length));
                }
                takes
            }
            _ => false,
        }
    }

    /// As few projections as formats allow, their results side by side in `qkv`.
    pub(super) fn project_side_by_side(
        &mut self,
        at: usize,
        all: &[Projection],
        x: BufId,
        norm: Option<InputNorm>,
        qkv: BufId,
    ) {
        let mut first = 0;
        let mut out_offset = 0;
        while first < all.len() {
            let mut count = all.len() - first;
            while count > 1 && !self.groupable(&all[first..first + count]) {
                count -= 1;
            }
            let run = &all[first..first + count];
            if count > 1 {
                self.group(run);
            }
            let rows = run.iter().map(|p| self.rows(p.weight)).sum();
            let node = Node::Project {
                x,
                weight: run[0].weight,
                rows,
                norm,
                factor: 1.0,
                then: Then::Store,
                out: qkv,
                out_offset,
            };
            self.push(at + first, node);
            out_offset += rows;
            first += count;
        }
    }

    /// The buffer of that width for results side by side.
    pub(super) fn side_by_side_buffer(&mut self, width: usize) -> BufId {
        let known = self.side_by_side.iter().find(|(_, known)| *known == width);
        if let Some((buffer, _)) = known {
            return *buffer;
        }
        self.out.buffers.push(width);
        let buffer = BufId(self.out.buffers.len() - 1);
        self.side_by_side.push((buffer, width));
        buffer
    }
}
