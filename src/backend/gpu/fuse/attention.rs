//! The stretch from the projections of queries, keys and values to attention.

use super::{Fuser, InputNorm, Node, Projection, Then};
use crate::model::{BufId, NormKind, Op, RopeId, WeightId};

/// A norm of every head, with one weight vector for all of them.
struct HeadNorm {
    weight: WeightId,
    eps: f32,
    width: usize,
}

/// What stands between the projections and the end of attention.
struct HeadSteps {
    q_norm: Option<HeadNorm>,
    k_norm: Option<HeadNorm>,
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
        let steps = self.head_steps(at + 3, &projections)?;
        let Op::Attention {
            layer,
            n_heads,
            head_dim,
            ..
        } = steps.attention
        else {
            return None;
        };
        let qkv = self.qkv_buffer(projections.iter().map(|p| self.rows(p.weight)).sum());
        self.project_side_by_side(at, projections, x, norm, qkv);
        let heads = Node::Heads {
            qkv,
            layer,
            n_heads,
            n_kv_heads: self.plan.kv[layer].n_kv_heads,
            head_dim,
            q_norm: steps.q_norm.map(|norm| (norm.weight, norm.eps)),
            k_norm: steps.k_norm.map(|norm| norm.weight),
            rope: steps.rope,
        };
        self.push(steps.end - 2, heads);
        let mut attention = steps.attention;
        if let Op::Attention { q, .. } = &mut attention {
            *q = qkv;
        }
        self.push(steps.end - 1, Node::Plain(attention));
        Some(steps.end - at)
    }

    /// The steps from `at` on, if they are what one dispatch does to the heads, and then attention.
    fn head_steps(&self, at: usize, [q, k, v]: &[Projection; 3]) -> Option<HeadSteps> {
        let mut next = at;
        let (q_norm, k_norm) = (
            self.head_norm(&mut next, q.out),
            self.head_norm(&mut next, k.out),
        );
        let (q_rope, k_rope) = (
            self.head_rope(&mut next, q.out),
            self.head_rope(&mut next, k.out),
        );
        let (stored, layer) = match self.op(next)? {
            Op::StoreKv { k, v, layer } => ((*k, *v), *layer),
            _ => return None,
        };
        let attention = self.op(next + 1)?.clone();
        let Op::Attention {
            q: queries,
            layer: of,
            head_dim,
            ..
        } = attention
        else {
            return None;
        };
        let end = next + 2;
        let whole =
            |norm: &Option<HeadNorm>| norm.as_ref().is_none_or(|norm| norm.width == head_dim);
        let fits = (queries, stored, of) == (q.out, (k.out, v.out), layer)
            && q_rope == k_rope
            && q_norm.is_some() == k_norm.is_some()
            && whole(&q_norm)
            && whole(&k_norm)
            && [q, k, v].iter().all(|p| self.dead(p.out, end));
        fits.then_some(HeadSteps {
            q_norm,
            k_norm,
            rope: q_rope,
            attention,
            end,
        })
    }

    fn head_norm(&self, next: &mut usize, of: BufId) -> Option<HeadNorm> {
        match *self.op(*next)? {
            Op::Norm {
                kind: NormKind::Rms,
                x,
                weight: Some(weight),
                bias: None,
                eps,
                width,
                out,
            } if x == of && x == out && self.plan.weights[weight.0].cols == width => {
                *next += 1;
                Some(HeadNorm { weight, eps, width })
            }
            _ => None,
        }
    }

    fn head_rope(&self, next: &mut usize, of: BufId) -> Option<RopeId> {
        match *self.op(*next)? {
            Op::Rope { x, rope, .. } if x == of => {
                *next += 1;
                Some(rope)
            }
            _ => None,
        }
    }

    /// As few projections as formats allow, their results side by side in `qkv`.
    fn project_side_by_side(
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

    fn qkv_buffer(&mut self, width: usize) -> BufId {
        if let Some((buffer, known)) = self.qkv
            && known == width
        {
            return buffer;
        }
        self.out.buffers.push(width);
        let buffer = BufId(self.out.buffers.len() - 1);
        self.qkv = Some((buffer, width));
        buffer
    }
}
