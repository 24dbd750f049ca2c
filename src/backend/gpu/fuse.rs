//! Rewrites the plan for decoding: fewer, larger operations, since every dispatch costs microseconds whatever it does.
//!
//! | in the plan | becomes |
//! | --- | --- |
//! | norm, then projections of its result | projections that normalise their input |
//! | projections of one input with one storage format | one projection of their rows laid end to end |
//! | gate, up, gated activation | one projection with that epilogue |
//! | projection, activation / residual addition | one projection with that epilogue |
//! | query/key norms, RoPE, append to the cache | [`Node::Heads`] |
//! | post-norm, residual addition | one norm |
//!
//! A fusion happens only where nothing else reads the value that vanishes. What fits no pattern stays as it is.

use super::format::Format;
use crate::model::{Activation, BufId, NormKind, Op, Plan, RopeId, WeightId};

/// A norm of the input of a projection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputNorm {
    /// Kind.
    pub kind: NormKind,
    /// Weight vector.
    pub weight: WeightId,
    /// Bias vector.
    pub bias: Option<WeightId>,
    /// Epsilon.
    pub eps: f32,
}

/// What follows the sums of a projection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Then {
    /// Nothing.
    Store,
    /// The activation.
    Act(Activation),
    /// Addition to what `out` holds.
    Residual,
    /// `act(gate) * up`: the rows of `up` follow those of the weight.
    Gated(Activation, WeightId),
}

/// An operation of the rewritten plan.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // as for `Op`, whose terms these are
pub enum Node {
    /// An operation of the plan as it is.
    Plain(Op),
    /// Embedding, scaled.
    Embed { op: Op, scale: f32 },
    /// `out[out_offset..] = then(w[..rows] norm(x))`, where the rows begin with `weight` and may go on into others.
    Project { x: BufId, weight: WeightId, rows: usize, norm: Option<InputNorm>, then: Then, out: BufId, out_offset: usize },
    /// Query/key norms, RoPE and append to the cache, on the queries, keys and values that lie side by side in `qkv`.
    Heads {
        qkv: BufId,
        layer: usize,
        n_heads: usize,
        n_kv_heads: usize,
        head_dim: usize,
        q_norm: Option<(WeightId, f32)>,
        k_norm: Option<WeightId>,
        rope: Option<RopeId>,
    },
    /// `out += norm(x)`
    NormResidual { x: BufId, norm: InputNorm, out: BufId },
}

/// The rewritten plan.
pub struct Fused {
    /// Operations with their labels.
    pub nodes: Vec<(String, Node)>,
    /// Widths of the plan's buffers and of those that fusion adds.
    pub buffers: Vec<usize>,
    /// Weights to be laid end to end, each with the biases of its projections.
    pub groups: Vec<Vec<(WeightId, Option<WeightId>)>>,
}

/// Rewrites `plan`; `format` gives the storage of a matrix, `fits` whether that many rows of its shape fit one binding.
pub fn fuse(plan: &Plan, format: impl Fn(WeightId) -> Format, fits: impl Fn(WeightId, usize) -> bool) -> Fused {
    let mut fuser = Fuser {
        plan,
        same: |a, b| format(a) == format(b),
        fits,
        out: Fused { nodes: Vec::new(), buffers: plan.buffers.clone(), groups: Vec::new() },
        alias: None,
        qkv: None,
    };
    let mut at = 0;
    while at < plan.steps.len() {
        at += fuser.take(at);
    }
    fuser.out
}

/// A projection of the plan.
#[derive(Clone, Copy)]
struct Projection {
    x: BufId,
    weight: WeightId,
    bias: Option<WeightId>,
    out: BufId,
}

struct Fuser<'a, S, F> {
    plan: &'a Plan,
    same: S,
    fits: F,
    out: Fused,
    /// With one token the last row is the only row: its buffer is another name for the one that it is taken from.
    alias: Option<(BufId, BufId)>,
    /// Buffer of queries, keys and values, and its width.
    qkv: Option<(BufId, usize)>,
}

impl<S: Fn(WeightId, WeightId) -> bool, F: Fn(WeightId, usize) -> bool> Fuser<'_, S, F> {
    /// Takes one operation or a pattern that begins with it; returns how many steps it took.
    fn take(&mut self, at: usize) -> usize {
        let op = &self.plan.steps[at].op;
        match *op {
            Op::Embed { out, .. } => {
                let (scale, taken) = match self.op(at + 1) {
                    Some(Op::Scale { x, factor }) if *x == out => (*factor, 2),
                    _ => (1.0, 1),
                };
                self.push(at, Node::Embed { op: op.clone(), scale });
                taken
            }
            Op::LastRow { x, out } => {
                self.alias = Some((out, x));
                1
            }
            Op::Norm { x, weight: Some(weight), bias, kind, eps, width, out } if width == self.plan.buffers[x.0] => {
                let norm = InputNorm { kind, weight, bias, eps };
                let projections = self.projections(at + 1, out);
                let end = at + 1 + projections.len();
                if !projections.is_empty() && self.dead(out, end) {
                    return 1 + self.project(at + 1, &projections, x, Some(norm));
                }
                if let Some(Op::Add { a, b, out: sum }) = self.op(at + 1)
                    && *b == out
                    && a == sum
                    && self.dead(out, at + 2)
                {
                    let node = Node::NormResidual { x: self.name(x), norm, out: self.name(*a) };
                    self.push(at + 1, node);
                    return 2;
                }
                self.plain(at)
            }
            Op::MatMul { x, .. } => {
                let projections = self.projections(at, x);
                self.project(at, &projections, x, None)
            }
            _ => self.plain(at),
        }
    }

    fn op(&self, at: usize) -> Option<&Op> {
        self.plan.steps.get(at).map(|step| &step.op)
    }

    fn push(&mut self, at: usize, node: Node) {
        self.out.nodes.push((self.plan.steps[at].label.clone(), node));
    }

    fn plain(&mut self, at: usize) -> usize {
        let mut op = self.plan.steps[at].op.clone();
        for buffer in buffers_mut(&mut op) {
            *buffer = self.name(*buffer);
        }
        self.push(at, Node::Plain(op));
        1
    }

    fn name(&self, buffer: BufId) -> BufId {
        match self.alias {
            Some((from, to)) if from == buffer => to,
            _ => buffer,
        }
    }

    /// Projections of `x` from step `at` on.
    fn projections(&self, at: usize, x: BufId) -> Vec<Projection> {
        let mut found = Vec::new();
        while let Some(Op::MatMul { x: input, weight, bias, out }) = self.op(at + found.len()) {
            if *input != x || *out == x {
                break;
            }
            found.push(Projection { x, weight: *weight, bias: *bias, out: *out });
        }
        found
    }

    /// Whether nothing reads `buffer` from step `at` on before it is written again.
    fn dead(&self, buffer: BufId, at: usize) -> bool {
        for step in &self.plan.steps[at.min(self.plan.steps.len())..] {
            if reads(&step.op).contains(&buffer) {
                return false;
            }
            if written(&step.op) == Some(buffer) {
                return true;
            }
        }
        buffer != self.plan.logits
    }

    fn rows(&self, weight: WeightId) -> usize {
        self.plan.weights[weight.0].rows
    }

    /// Whether the rows of `projections` may lie end to end in one matrix.
    fn groupable(&self, projections: &[Projection]) -> bool {
        let Some(first) = projections.first() else { return false };
        let uses = |weight: WeightId| {
            let used = |step: &&crate::model::Step| match step.op {
                Op::MatMul { weight: w, .. } | Op::Embed { table: w, .. } => w == weight,
                _ => false,
            };
            self.plan.steps.iter().filter(used).count()
        };
        let total = projections.iter().map(|p| self.rows(p.weight)).sum();
        (self.fits)(first.weight, total)
            && projections.iter().all(|p| {
                (self.same)(p.weight, first.weight) && self.rows(p.weight).is_multiple_of(8) && uses(p.weight) == 1
            })
    }

    fn group(&mut self, projections: &[Projection]) {
        self.out.groups.push(projections.iter().map(|p| (p.weight, p.bias)).collect());
    }

    /// Emits projections with whatever follows them; returns how many steps that were, from `at` on.
    fn project(&mut self, at: usize, projections: &[Projection], x: BufId, norm: Option<InputNorm>) -> usize {
        let x = self.name(x);
        if let [q, k, v] = projections
            && let Some(taken) = self.attention_input(at, [*q, *k, *v], x, norm)
        {
            return taken;
        }
        let end = at + projections.len();
        if let [gate, up] = projections
            && let Some(Op::GatedAct { act, gate: g, up: u, out }) = self.op(end)
            && (*g, *u) == (gate.out, up.out)
            && *out == up.out
            && self.dead(gate.out, end + 1)
            && self.groupable(projections)
        {
            let (then, out) = (Then::Gated(*act, up.weight), *out);
            let node =
                Node::Project { x, weight: gate.weight, rows: self.rows(gate.weight), norm, then, out, out_offset: 0 };
            self.group(projections);
            self.push(end, node);
            return projections.len() + 1;
        }
        let mut taken = projections.len();
        for (i, p) in projections.iter().enumerate() {
            let mut node = Node::Project {
                x,
                weight: p.weight,
                rows: self.rows(p.weight),
                norm,
                then: Then::Store,
                out: self.name(p.out),
                out_offset: 0,
            };
            if i + 1 == projections.len() && self.absorb(end, p, &mut node) {
                taken += 1;
            }
            self.push(at + i, node);
        }
        taken
    }

    /// Takes an activation or a residual addition at step `at` into the projection before it.
    fn absorb(&self, at: usize, p: &Projection, node: &mut Node) -> bool {
        let Node::Project { x, then, out, .. } = node else { return false };
        match self.op(at) {
            Some(Op::Act { act, x }) if *x == p.out => {
                *then = Then::Act(*act);
                true
            }
            Some(Op::Add { a, b, out: sum })
                if *b == p.out && a == sum && self.name(*a) != *x && self.dead(p.out, at + 1) =>
            {
                *then = Then::Residual;
                *out = self.name(*a);
                true
            }
            _ => false,
        }
    }

    /// Queries, keys and values up to and including attention.
    fn attention_input(&mut self, at: usize, [q, k, v]: [Projection; 3], x: BufId, norm: Option<InputNorm>) -> Option<usize> {
        let mut next = at + 3;
        let mut head_norm = |of: BufId| match self.op(next) {
            Some(Op::Norm { kind: NormKind::Rms, x, weight: Some(weight), bias: None, eps, width, out })
                if *x == of && x == out =>
            {
                next += 1;
                Some((*weight, *eps, *width))
            }
            _ => None,
        };
        let (q_norm, k_norm) = (head_norm(q.out), head_norm(k.out));
        let mut rope = |of: BufId| match self.op(next) {
            Some(Op::Rope { x, rope, .. }) if *x == of => {
                next += 1;
                Some(*rope)
            }
            _ => None,
        };
        let (q_rope, k_rope) = (rope(q.out), rope(k.out));
        let Some(Op::StoreKv { k: k_in, v: v_in, layer }) = self.op(next) else { return None };
        let Some(attention @ Op::Attention { q: q_in, n_heads, head_dim, .. }) = self.op(next + 1) else { return None };
        let (layer, n_heads, head_dim) = (*layer, *n_heads, *head_dim);
        let whole_heads = |norm: Option<(WeightId, f32, usize)>| norm.is_none_or(|(_, _, width)| width == head_dim);
        let fits = (*k_in, *v_in, *q_in) == (k.out, v.out, q.out)
            && q_rope == k_rope
            && q_norm.is_some() == k_norm.is_some()
            && whole_heads(q_norm)
            && whole_heads(k_norm)
            && [q.out, k.out, v.out].iter().all(|buffer| self.dead(*buffer, next + 2));
        if !fits {
            return None;
        }
        let mut attention = attention.clone();
        let widths = [q, k, v].map(|p| self.rows(p.weight));
        let qkv = self.qkv_buffer(widths.iter().sum());
        self.project_side_by_side(at, [q, k, v], x, norm, qkv);
        let heads = Node::Heads {
            qkv,
            layer,
            n_heads,
            n_kv_heads: self.plan.kv[layer].n_kv_heads,
            head_dim,
            q_norm: q_norm.map(|(weight, eps, _)| (weight, eps)),
            k_norm: k_norm.map(|(weight, ..)| weight),
            rope: q_rope,
        };
        self.push(next, heads);
        if let Op::Attention { q, .. } = &mut attention {
            *q = qkv;
        }
        self.push(next + 1, Node::Plain(attention));
        Some(next + 2 - at)
    }

    /// As few projections as formats allow, their results side by side in `qkv`.
    fn project_side_by_side(&mut self, at: usize, all: [Projection; 3], x: BufId, norm: Option<InputNorm>, qkv: BufId) {
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
            let node =
                Node::Project { x, weight: run[0].weight, rows, norm, then: Then::Store, out: qkv, out_offset };
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

/// Buffers that an operation reads.
fn reads(op: &Op) -> Vec<BufId> {
    match *op {
        Op::Embed { .. } => vec![],
        Op::Norm { x, .. }
        | Op::MatMul { x, .. }
        | Op::Rope { x, .. }
        | Op::Act { x, .. }
        | Op::Scale { x, .. }
        | Op::SoftCap { x, .. }
        | Op::LastRow { x, .. } => vec![x],
        Op::StoreKv { k, v, .. } => vec![k, v],
        Op::Attention { q, .. } => vec![q],
        Op::GatedAct { gate, up, .. } => vec![gate, up],
        Op::Add { a, b, .. } => vec![a, b],
    }
}

/// Buffer that an operation writes whole.
pub fn written(op: &Op) -> Option<BufId> {
    match *op {
        Op::Embed { out, .. }
        | Op::Norm { out, .. }
        | Op::MatMul { out, .. }
        | Op::Attention { out, .. }
        | Op::GatedAct { out, .. }
        | Op::Add { out, .. }
        | Op::LastRow { out, .. } => Some(out),
        Op::Rope { x, .. } | Op::Act { x, .. } | Op::Scale { x, .. } | Op::SoftCap { x, .. } => Some(x),
        Op::StoreKv { .. } => None,
    }
}

fn buffers_mut(op: &mut Op) -> Vec<&mut BufId> {
    match op {
        Op::Embed { out, .. } => vec![out],
        Op::Norm { x, out, .. } | Op::MatMul { x, out, .. } | Op::LastRow { x, out } => vec![x, out],
        Op::Rope { x, .. } | Op::Act { x, .. } | Op::Scale { x, .. } | Op::SoftCap { x, .. } => vec![x],
        Op::StoreKv { k, v, .. } => vec![k, v],
        Op::Attention { q, out, .. } => vec![q, out],
        Op::GatedAct { gate, up, out, .. } => vec![gate, up, out],
        Op::Add { a, b, out } => vec![a, b, out],
    }
}
