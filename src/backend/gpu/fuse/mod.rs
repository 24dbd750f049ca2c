//! Rewrites the plan for decoding: fewer, larger operations, since every dispatch costs microseconds whatever it does.
//!
//! | in the plan | becomes |
//! | --- | --- |
//! | norm, then projections of its result | projections that normalise their input |
//! | projections of one input with one storage format | one projection of their rows laid end to end |
//! | gate, up, gated activation | one projection with that epilogue |
//! | projection, factor, activation / residual addition | one projection with that epilogue |
//! | norms and rotation of heads, append to the cache, attention | [`Node::Attention`] |
//! | convolution, activation; LFM2's gates around one | one convolution |
//! | projections for a recurrent layer | one projection, whose results are read where they lie |
//! | gate, up, gated activation of experts | one product with that epilogue |
//! | down of experts, their sum, residual addition | one product |
//! | post-norm, residual addition; norm and gate behind a recurrence | one norm |
//!
//! A fusion happens only where nothing else reads the value that vanishes. What fits no pattern stays as it is.

mod attention;
mod experts;
mod flow;
mod recurrent;

use super::format::Format;
use crate::model::{Activation, BufId, NormKind, Op, Plan, RopeId, Step, WeightId};
use flow::buffers_mut;
pub use flow::{reads, written};

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

/// What follows the products of a token's experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ThenExperts {
    /// The activation.
    Act(Activation),
    /// `act(gate) * up`: the weight of `up`, and its first row within an expert.
    Gated(Activation, WeightId, usize),
    /// Their sum, each times its weight, into this buffer; added to what it holds if so.
    Sum(BufId, bool),
}

/// What attention does to the heads of a new token before it looks at them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewHeads {
    /// Weights of RMSNorm for queries and for keys.
    pub norms: Option<[WeightId; 2]>,
    /// Whether those norms are over all heads together.
    pub norm_of_all: bool,
    /// Whether those norms come after the rotation.
    pub norm_last: bool,
    /// Whether each head of values passes RMSNorm without weights.
    pub norm_values: bool,
    /// Epsilon of all norms.
    pub eps: f32,
    /// Whether each query is followed by a gate whose sigmoid the result of its head is multiplied with.
    pub gated: bool,
    /// Rotation of queries and keys.
    pub rope: Option<RopeId>,
    /// Growth of queries with the position: factor and positions of a step, as in [`Op::PositionScale`].
    pub growth: (f32, usize),
}

/// An operation of the rewritten plan.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // as for `Op`, whose terms these are
pub enum Node {
    /// An operation of the plan as it is.
    Plain(Op),
    /// Embedding, scaled.
    Embed { op: Op, scale: f32 },
    /// `out[out_offset..] = then(factor * w[..rows] norm(x))`, where the rows begin with `weight` and may go on into others.
    Project {
        x: BufId,
        weight: WeightId,
        rows: usize,
        norm: Option<InputNorm>,
        factor: f32,
        then: Then,
        out: BufId,
        out_offset: usize,
    },
    /// The product of a token's experts, with what follows it.
    Experts { op: Op, then: ThenExperts },
    /// Attention whose input has queries, keys and values of one token side by side, as they were projected. It appends
    /// keys and values to the cache.
    Attention { op: Op, heads: NewHeads },
    /// A convolution, whose input begins `at` an element of its buffer, and the activation of its result. With `gates`,
    /// three rows side by side, `b`, `c` and `v`: `c * conv(b * v)`.
    Conv {
        op: Op,
        act: Activation,
        gates: Option<BufId>,
        at: usize,
    },
    /// A recurrent operation whose inputs from the projections begin `at` these elements of their buffers.
    Placed { op: Op, at: [usize; 2] },
    /// `act(gate) * norm(x)`, or with `first` `norm(act(gate) * x)`, in place; the gate begins `at` an element of its buffer.
    NormGated {
        op: Op,
        act: Activation,
        gate: BufId,
        at: usize,
        first: bool,
    },
    /// `out += norm(x)`
    NormResidual {
        x: BufId,
        norm: InputNorm,
        out: BufId,
    },
}

/// The rewritten plan.
pub struct Fused {
    /// Operations, each with the number of the plan's step whose result it makes.
    pub nodes: Vec<(usize, Node)>,
    /// Widths of the plan's buffers and of those that fusion adds.
    pub buffers: Vec<usize>,
    /// Weights to be laid end to end, each with the biases of its projections.
    pub groups: Vec<Vec<(WeightId, Option<WeightId>)>>,
}

/// Rewrites `plan`; `format` gives the storage of a matrix, `fits` whether that many rows of its shape fit one binding.
pub fn fuse(
    plan: &Plan,
    format: impl Fn(WeightId) -> Format,
    fits: impl Fn(WeightId, usize) -> bool,
) -> Fused {
    let mut fuser = Fuser {
        plan,
        same: |a, b| format(a) == format(b),
        fits,
        out: Fused {
            nodes: Vec::new(),
            buffers: plan.buffers.clone(),
            groups: Vec::new(),
        },
        alias: None,
        side_by_side: Vec::new(),
        placed: Vec::new(),
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
    /// Buffers for the results of several projections, by width.
    side_by_side: Vec<(BufId, usize)>,
    /// Buffers of the plan whose values lie in others.
    placed: Vec<Placed>,
}

/// A buffer of the plan whose values lie `at` an element of another one until step `end`.
struct Placed {
    buffer: BufId,
    lies_in: BufId,
    at: usize,
    end: usize,
}

impl<S: Fn(WeightId, WeightId) -> bool, F: Fn(WeightId, usize) -> bool> Fuser<'_, S, F> {
    /// Takes one operation or a pattern that begins with it; returns how many steps it took.
    fn take(&mut self, at: usize) -> usize {
        let op = &self.plan.steps[at].op;
        if let Some(taken) = self.norm_and_gate(at) {
            return taken;
        }
        match *op {
            Op::Embed { out, .. } => {
                let (scale, taken) = match self.op(at + 1) {
                    Some(Op::Scale { x, factor }) if *x == out => (*factor, 2),
                    _ => (1.0, 1),
                };
                self.push(
                    at + taken - 1,
                    Node::Embed {
                        op: op.clone(),
                        scale,
                    },
                );
                taken
            }
            Op::LastRow { x, out } => {
                self.alias = Some((out, x));
                1
            }
            Op::Norm {
                x,
                width,
                out,
                weight: Some(weight),
                bias,
                kind,
                eps,
            } if width == self.plan.buffers[x.0] => self.take_norm(
                at,
                x,
                InputNorm {
                    kind,
                    weight,
                    bias,
                    eps,
                },
                out,
            ),
            Op::MatMul { x, .. } => {
                let projections = self.projections(at, x);
                self.project(at, &projections, x, None)
            }
            Op::MoeMatMul { .. } => self.experts(at),
            Op::CausalConv { out, .. } => self.convolution(at, out),
            Op::DeltaNet { .. } | Op::StateScan { .. } => self.recurrence(at),
            _ => self.plain(at),
        }
    }

    /// A norm over whole rows, with the projections or the residual addition behind it.
    fn take_norm(&mut self, at: usize, x: BufId, norm: InputNorm, out: BufId) -> usize {
        let projections = self.projections(at + 1, out);
        let end = at + 1 + projections.len();
        let has_kernel = norm.kind == NormKind::Rms || norm.bias.is_some();
        // A dispatch cannot write what its other workgroups still read.
        let apart = projections.iter().all(|p| p.out != x);
        if has_kernel && apart && !projections.is_empty() && self.dead(out, end) {
            return 1 + self.project(at + 1, &projections, x, Some(norm));
        }
        match self.op(at + 1) {
            Some(Op::Add { a, b, out: sum }) if *b == out && a == sum && self.dead(out, at + 2) => {
                let node = Node::NormResidual {
                    x: self.name(x),
                    norm,
                    out: self.name(*a),
                };
                self.push(at + 1, node);
                2
            }
            _ => self.plain(at),
        }
    }

    fn op(&self, at: usize) -> Option<&Op> {
        self.plan.steps.get(at).map(|step| &step.op)
    }

    fn push(&mut self, at: usize, node: Node) {
        self.out.nodes.push((at, node));
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
        while let Some(Op::MatMul {
            x: input,
            weight,
            bias,
            out,
        }) = self.op(at + found.len())
        {
            if *input != x || *out == x {
                break;
            }
            found.push(Projection {
                weight: *weight,
                bias: *bias,
                out: *out,
            });
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
        let Some(first) = projections.first() else {
            return false;
        };
        let uses = |weight: WeightId| {
            let used = |step: &&Step| match step.op {
                Op::MatMul { weight: w, .. }
                | Op::MoeMatMul { weight: w, .. }
                | Op::Embed { table: w, .. } => w == weight,
                _ => false,
            };
            self.plan.steps.iter().filter(used).count()
        };
        let total = projections.iter().map(|p| self.rows(p.weight)).sum();
        (self.fits)(first.weight, total)
            && projections.iter().all(|p| {
                (self.same)(p.weight, first.weight)
                    && self.rows(p.weight).is_multiple_of(8)
                    && uses(p.weight) == 1
            })
    }

    fn group(&mut self, projections: &[Projection]) {
        self.out
            .groups
            .push(projections.iter().map(|p| (p.weight, p.bias)).collect());
    }

    /// Emits projections with whatever follows them; returns how many steps that were, from `at` on.
    fn project(
        &mut self,
        at: usize,
        projections: &[Projection],
        x: BufId,
        norm: Option<InputNorm>,
    ) -> usize {
        let x = self.name(x);
        if let [q, k, v] = projections {
            let all = [*q, *k, *v];
            let attention = self.attention_input(at, all, x, norm);
            if let Some(taken) = attention.or_else(|| self.short_conv(at, all, x, norm)) {
                return taken;
            }
        }
        let end = at + projections.len();
        if self.place(at, projections, x, norm) {
            return projections.len();
        }
        if let [gate, up] = projections
            && let Some(Op::GatedAct {
                act,
                gate: g,
                up: u,
                out,
            }) = self.op(end)
            && (*g, *u) == (gate.out, up.out)
            && *out == up.out
            && self.rows(gate.weight) == self.rows(up.weight)
            && self.dead(gate.out, end + 1)
            && self.groupable(projections)
        {
            let (then, out) = (Then::Gated(*act, up.weight), *out);
            let node = Node::Project {
                x,
                weight: gate.weight,
                rows: self.rows(gate.weight),
                norm,
                factor: 1.0,
                then,
                out,
                out_offset: 0,
            };
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
                factor: 1.0,
                then: Then::Store,
                out: self.name(p.out),
                out_offset: 0,
            };
            let mut step = at + i;
            if i + 1 == projections.len() {
                let absorbed = self.absorb(end, p, &mut node);
                taken += absorbed;
                step += absorbed;
            }
            self.push(step, node);
        }
        taken
    }

    /// Takes a factor and then an activation or a residual addition from step `at` on into the projection before it;
    /// returns how many steps that were.
    fn absorb(&self, at: usize, p: &Projection, node: &mut Node) -> usize {
        let Node::Project {
            x,
            factor,
            then,
            out,
            ..
        } = node
        else {
            return 0;
        };
        let mut end = at;
        if let Some(Op::Scale { x, factor: by }) = self.op(end)
            && *x == p.out
        {
            *factor = *by;
            end += 1;
        }
        match self.op(end) {
            Some(Op::Act { act, x }) if *x == p.out => {
                *then = Then::Act(*act);
                end += 1;
            }
            Some(Op::Add { a, b, out: sum })
                if *b == p.out && a == sum && self.name(*a) != *x && self.dead(p.out, end + 1) =>
            {
                *then = Then::Residual;
                *out = self.name(*a);
                end += 1;
            }
            _ => {}
        }
        end - at
    }
}
