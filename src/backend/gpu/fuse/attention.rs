//! The stretch from the projections of queries, keys and values to attention.

use super::{Fuser, HeadNorms, InputNorm, Node, Projection, Then};
use crate::model::{BufId, Mask, NormKind, Op, RopeId, WeightId};

/// A norm of every head, with one weight vector for all of them.
struct HeadNorm {
    weight: WeightId,
    eps: f32,
    width: usize,
}

/// What is done to the heads of queries or of keys.
#[derive(Default)]
struct HeadForm {
    norm: Option<HeadNorm>,
    rope: Option<RopeId>,
}

impl HeadForm {
    /// Whether a norm, if there is one, is over whole heads of this length.
    fn is_of(&self, head_dim: usize) -> bool {
        self.norm.as_ref().is_none_or(|norm| norm.width == head_dim)
    }
}

/// What stands between the projections and the end of attention.
struct HeadSteps {
    norms: Option<HeadNorms>,
    rope: Option<RopeId>,
    attention: Op,
    /// Number of the step after attention.
    end: usize,
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
        let mut steps = self.head_steps(at + 3, &projections)?;
        let qkv = self.side_by_side_buffer(projections.iter().map(|p| self.rows(p.weight)).sum());
        self.project_side_by_side(at, projections, x, norm, qkv);
        if let Op::Attention { q, .. } = &mut steps.attention {
            *q = qkv;
        }
        let node = Node::Attention {
            op: steps.attention,
            norms: steps.norms,
            rope: steps.rope,
        };
        self.push(steps.end - 1, node);
        Some(steps.end - at)
    }

    /// The steps from `at` on, if they are what one dispatch does to the heads, and then attention. Those of the queries
    /// and those of the keys may come in any order.
    fn head_steps(&self, at: usize, [q, k, v]: &[Projection; 3]) -> Option<HeadSteps> {
        let (mut queries, mut keys) = (HeadForm::default(), HeadForm::default());
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
                } if (from_k, from_v) == (k.out, v.out) => {
                    stored = Some(layer);
                }
                Op::Attention { .. } => break op.clone(),
                _ if self.shape_heads(op, q.out, &mut queries) => {}
                _ if stored.is_none() && self.shape_heads(op, k.out, &mut keys) => {}
                _ => return None,
            }
        };
        let Op::Attention {
            q: from,
            layer,
            head_dim,
            mask: Mask::Causal,
            sinks,
            bias,
            ..
        } = attention
        else {
            return None;
        };
        let norms = match (&queries.norm, &keys.norm) {
            (None, None) => None,
            // There are as many bindings as a kernel may have: norms take that of sinks and biases.
            (Some(q), Some(k)) if q.eps == k.eps && sinks.is_none() && bias.is_none() => {
                Some(HeadNorms {
                    weights: [q.weight, k.weight],
                    eps: q.eps,
                })
            }
            _ => return None,
        };
        let fits = (from, Some(layer)) == (q.out, stored)
            && queries.rope == keys.rope
            && queries.is_of(head_dim)
            && keys.is_of(head_dim)
            && [q, k, v].iter().all(|p| self.dead(p.out, next));
        fits.then_some(HeadSteps {
            norms,
            rope: queries.rope,
            attention,
            end: next,
        })
    }

    /// Notes a norm or a rotation of the heads in `buffer`; false for anything else, and for a norm after the rotation.
    fn shape_heads(&self, op: &Op, buffer: BufId, form: &mut HeadForm) -> bool {
        match *op {
            Op::Norm {
                kind: NormKind::Rms,
                x,
                weight: Some(weight),
                bias: None,
                eps,
                width,
                out,
            } => {
                let shared = self.plan.weights[weight.0].cols == width;
                let free = form.norm.is_none() && form.rope.is_none();
                let takes = (x, out) == (buffer, buffer) && shared && free;
                if takes {
                    form.norm = Some(HeadNorm { weight, eps, width });
                }
                takes
            }
            Op::Rope { x, rope, .. } if x == buffer && form.rope.is_none() => {
                form.rope = Some(rope);
                true
            }
            _ => false,
        }
    }

    /// As few projections as formats allow, their results side by side in `qkv`.
    pub(super) fn project_side_by_side(
        &mut self,
        at: usize,
        all: [Projection; 3],
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
