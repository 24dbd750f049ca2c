//! From the plan to a [`Program`]: each operation becomes dispatches.

mod attention;
mod elementwise;
mod mixture;
mod projections;
mod recurrent;
mod streams;

use super::format::Format;
use super::fuse::{self, Fused, Node};
use super::kernel::{Arithmetic, Kernel, Lanes, NormTarget, TileSize, act_number};
use super::layout::{Layout, rows_per_part};
use super::program::{Dispatch, Extent, Params, Program, Slot, When};
use crate::backend::KvType;
use crate::model::{Activation, BufId, Op, Plan, Step, WeightId};
use crate::quant::DType;
use crate::{Error, Result};

/// What compiling depends on besides the plan.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Largest storage binding, bytes.
    pub max_binding: u64,
    /// Storage of keys and values.
    pub kv: KvType,
    /// Positions from which attention splits the keys over several workgroups.
    pub split_from: usize,
    /// Whether attention of many tokens runs in tiles.
    pub tiled: bool,
    /// How the adapter runs workgroups.
    pub lanes: Lanes,
    /// Tokens from which products are cut into large tiles; otherwise the shape of the matrix decides.
    pub large_from: Option<usize>,
    /// What products of chunks are computed in where the weights are integers.
    pub arithmetic: Arithmetic,
    /// Most tokens in a chunk of a prompt.
    pub max_chunk: usize,
    /// Most positions of a session.
    pub n_ctx: usize,
}

impl Target {
    /// The tile for little work. Kernels in less than f32 share what they read, whatever that costs: only tests ask for
    /// them where it is much.
    pub fn small_tile(&self) -> TileSize {
        match (self.lanes, self.arithmetic) {
            (Lanes::Imitated, Arithmetic::F32) => TileSize::Alone,
            _ => TileSize::Small,
        }
    }
}

/// Memory for rows of logits; more rows at once are computed in turns.
const LOGITS_BYTES: usize = 8 << 20;

/// Memory for the activations of a chunk.
const ACTIVATION_BYTES: usize = 128 << 20;

/// Tokens that a chunk may have however much memory they take.
const LEAST_LIMIT: usize = 64;

/// Workgroups of the arg-max.
const ARGMAX_BLOCKS: usize = 64;

/// Candidates that a workgroup sorts, as in `shaders/lib/ranking.wgsl`.
const SPAN: usize = 1024;

/// Candidates that it keeps: the largest top-k that the GPU draws from.
pub const KEEP: usize = 64;

/// Compiles `plan`, whose weights are stored as `dtypes`.
///
/// # Errors
/// [`Error::Gpu`] for what the kernels do not take.
pub fn compile(plan: &Plan, dtypes: &[DType], target: Target) -> Result<(Program, Layout)> {
    let format = |id: WeightId| Format::of(dtypes[id.0], plan.weights[id.0].cols);
    let fits = |id: WeightId, rows: usize| {
        rows <= rows_per_part(format(id), plan.weights[id.0].cols, target.max_binding)
    };
    let fused = fuse::fuse(plan, format, fits);
    let layout = Layout::new(plan, dtypes, &fused.groups, target.max_binding)?;
    let mut compiler = Compiler::new(plan, target, &layout, &fused);
    compiler.program.encode = compiler.steps(&plan.encoder)?;
    compiler.program.chunk = compiler.steps(&plan.steps)?;
    // A text that runs in one pass is rarely one token: it needs no list of its own for that.
    for (step, node) in fused.nodes.iter().filter(|_| !plan.whole) {
        compiler.begin(*step, &plan.steps[*step]);
        compiler.node(node)?;
    }
    compiler.program.decode = std::mem::take(&mut compiler.list);
    compiler.label = "choose";
    compiler.choose();
    compiler.program.choose = std::mem::take(&mut compiler.list);
    compiler.sample();
    compiler.program.sample = std::mem::take(&mut compiler.list);
    Ok((compiler.program, layout))
}

#[cfg(test)]
mod tests;

struct Compiler<'a> {
    plan: &'a Plan,
    target: Target,
    layout: &'a Layout,
    program: Program,
    list: Vec<Dispatch>,
    /// Step of the plan (or of its encoder) whose result is made, and its label.
    step: usize,
    label: &'a str,
    /// Whether the operation stands behind `LastRow`.
    tail: bool,
    /// What [`Slot::Packed`] holds.
    packed: Option<BufId>,
    /// Experts of the router whose choices [`Slot::Sorted`] holds.
    sorted: Option<usize>,
}

impl<'a> Compiler<'a> {
    fn new(plan: &'a Plan, target: Target, layout: &'a Layout, fused: &Fused) -> Self {
        let mut program = Program {
            split_from: target.split_from,
            ..Program::default()
        };
        let first_tail = plan.steps.iter().position(|step| ends_rows(&step.op));
        let tail_steps = &plan.steps[first_tail.unwrap_or(plan.steps.len())..];
        let tail_written = tail_steps.iter().map(|step| fuse::written(&step.op));
        let tail_buffers: Vec<BufId> = tail_written.flatten().collect();
        let of_tokens =
            |index: &usize| *index < plan.buffers.len() && !tail_buffers.contains(&BufId(*index));
        let at_once = plan.whole || !plan.encoder.is_empty();
        program.max_tokens = if at_once {
            target.n_ctx
        } else {
            let indices = (0..fused.buffers.len()).filter(of_tokens);
            let width = indices.map(|index| fused.buffers[index]).sum();
            chunk_limit(width, target.max_chunk.min(target.n_ctx))
        };
        let logit_rows = if plan.whole {
            program.max_tokens
        } else {
            (LOGITS_BYTES / 4 / plan.n_vocab.max(1)).clamp(1, program.max_tokens)
        };
        for (index, width) in fused.buffers.iter().enumerate() {
            let rows = match index {
                _ if index >= plan.buffers.len() => 1,
                _ if of_tokens(&index) => program.max_tokens,
                _ => logit_rows,
            };
            program.buffers.push((*width, rows));
        }
        Self {
            plan,
            target,
            layout,
            program,
            list: Vec::new(),
            step: 0,
            label: "",
            tail: false,
            packed: None,
            sorted: None,
        }
    }

    /// The operations as they are, for many tokens.
    fn steps(&mut self, steps: &'a [Step]) -> Result<Vec<Dispatch>> {
        for (index, step) in steps.iter().enumerate() {
            self.begin(index, step);
            self.op(&step.op, self.program.max_tokens)?;
            if fuse::written(&step.op) == self.packed {
                self.packed = None;
            }
            self.tail |= ends_rows(&step.op);
        }
        self.tail = false;
        (self.packed, self.sorted) = (None, None);
        Ok(std::mem::take(&mut self.list))
    }

    fn begin(&mut self, index: usize, step: &'a Step) {
        self.step = index;
        self.label = &step.label;
    }

    fn width(&self, buffer: BufId) -> usize {
        self.program.buffers[buffer.0].0
    }

    fn push(
        &mut self,
        kernel: Kernel,
        params: Params,
        slots: Vec<Slot>,
        grid: [Extent; 3],
        when: When,
    ) {
        let kernel = self.program.kernel(kernel);
        self.list.push(Dispatch {
            step: self.step,
            label: self.label.to_owned(),
            kernel,
            params,
            slots,
            grid,
            when,
        });
    }

    /// Grid of `count` invocations for each row.
    fn per_row(&self, kernel: Kernel, count: usize) -> [Extent; 3] {
        [
            Extent::Fixed(count.div_ceil(kernel.workgroup()) as u32),
            self.rows(1),
            Extent::Fixed(1),
        ]
    }

    fn rows(&self, per: u32) -> Extent {
        if self.tail {
            Extent::Rows(per)
        } else {
            Extent::Tokens(per)
        }
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Plain(op) => self.op(op, 1),
            Node::Embed { op, scale } => self.embed(op, *scale),
            Node::Project { .. } => self.project(node),
            Node::Experts { op, then } => self.experts(op, *then),
            Node::Attention { op, heads } => self.attention(op, 1, Some(*heads)),
            Node::Conv { op, act, gates, at } => self.causal_conv(op, *act, *gates, *at),
            Node::Placed { op, at } => self.placed(op, *at),
            Node::NormGated {
                op,
                act,
                gate,
                at,
                first,
            } => {
                let target = if *first {
                    NormTarget::GateFirst
                } else {
                    NormTarget::ThenGate
                };
                self.norm_with(op, target, Some((*gate, *at, *act)))
            }
            Node::NormResidual { x, norm, out } => {
                let op = Op::Norm {
                    kind: norm.kind,
                    x: *x,
                    weight: Some(norm.weight),
                    bias: norm.bias,
                    eps: norm.eps,
                    width: self.width(*x),
                    out: *out,
                };
                self.norm(&op, NormTarget::Residual)
            }
        }
    }

    fn op(&mut self, op: &Op, tokens: usize) -> Result<()> {
        match *op {
            Op::Embed { .. } => self.embed(op, 1.0),
            Op::Norm { x, out, .. } if x == out => self.norm(op, NormTarget::InPlace),
            Op::Norm { .. } => self.norm(op, NormTarget::Other),
            Op::MatMul { .. } => self.matmul(op),
            Op::Rope { .. } => self.rope(op),
            Op::StoreKv { .. } => self.store_kv(op),
            Op::Attention { .. } if tokens > 1 => self.attention_of_many(op),
            Op::Attention { .. } => self.attention(op, 1, None),
            Op::MoeRoute { .. } => self.route(op, tokens > 1),
            Op::EveryExpert { used, out } => {
                self.every_expert(used, out, tokens > 1);
                Ok(())
            }
            Op::MoeMatMul { .. } => self.expert_matmul(op, tokens > 1),
            Op::CausalConv { .. } => self.causal_conv(op, Activation::Identity, None, 0),
            Op::DeltaNet { .. } => self.delta_net(op, [0; 2]),
            Op::StateScan { .. } => self.state_scan(op, 0),
            Op::TokenShift { .. } | Op::Wkv7 { .. } => self.rwkv(op),
            Op::SelectiveScan { .. } => self.selective_scan(op),
            Op::Place {
                x,
                width,
                stride,
                offset,
                out,
            } if x != out => {
                self.place((x, width), stride, offset, out);
                Ok(())
            }
            Op::Slice {
                x,
                stride,
                offset,
                out,
            } if x != out => {
                self.slice(x, stride, offset, out);
                Ok(())
            }
            _ => self.simple_op(op),
        }
    }

    /// An operation some of whose inputs begin within their buffers.
    fn placed(&mut self, op: &Op, at: [usize; 2]) -> Result<()> {
        match op {
            Op::DeltaNet { .. } => self.delta_net(op, at),
            Op::StateScan { .. } => self.state_scan(op, at[0]),
            _ => Err(self.mismatch()),
        }
    }

    fn norm(&mut self, op: &Op, target: NormTarget) -> Result<()> {
        self.norm_with(op, target, None)
    }

    fn norm_with(
        &mut self,
        op: &Op,
        target: NormTarget,
        gate: Option<(BufId, usize, Activation)>,
    ) -> Result<()> {
        let Op::Norm {
            kind,
            x,
            weight,
            bias,
            eps,
            width,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let stride = self.width(out);
        let own = match weight {
            Some(id) => (self.plan.weights[id.0].cols / width).max(1),
            None => 1,
        };
        let weight = self.optional_vector(weight)?;
        let bias = self.optional_vector(bias)?;
        let kernel = Kernel::Norm {
            kind,
            target,
            weight: weight != Slot::Unused,
            bias: bias != Slot::Unused,
        };
        let input = match gate {
            Some((gate, ..)) => Slot::Buffer(gate),
            None if target == NormTarget::InPlace => Slot::Unused,
            None => Slot::Buffer(x),
        };
        let (at, act) = gate.map_or((0, Activation::Identity), |(_, at, act)| (at, act));
        let params = Params::new()
            .u(width)
            .u(stride)
            .f(eps)
            .u(usize::from(self.tail))
            .u(own)
            .u(target as usize)
            .u(act_number(act))
            .u(at);
        let grid = [
            Extent::Fixed((stride / width) as u32),
            self.rows(1),
            Extent::Fixed(1),
        ];
        self.push(
            kernel,
            params,
            vec![input, weight, bias, Slot::Buffer(out)],
            grid,
            When::Always,
        );
        Ok(())
    }

    fn optional_vector(&self, id: Option<WeightId>) -> Result<Slot> {
        Ok(id
            .map(|id| self.layout.vector(id))
            .transpose()?
            .map_or(Slot::Unused, Slot::Vector))
    }

    fn choose(&mut self) {
        let logits = Slot::Buffer(self.plan.logits);
        let params = Params::new().u(self.plan.n_vocab).u(ARGMAX_BLOCKS);
        let grid = |n: usize| [n as u32, 1, 1].map(Extent::Fixed);
        self.push(
            Kernel::ArgMax,
            params,
            vec![logits, Slot::Candidates],
            grid(ARGMAX_BLOCKS),
            When::Always,
        );
        self.push(
            Kernel::ArgMaxJoin,
            params,
            vec![Slot::Candidates],
            grid(1),
            When::Always,
        );
    }

    /// Narrows the logits down span by span, then draws.
    fn sample(&mut self) {
        let grid = |n: usize| [n as u32, 1, 1].map(Extent::Fixed);
        let mut from = Slot::Buffer(self.plan.logits);
        let mut from_logits = true;
        let mut count = self.plan.n_vocab;
        for turn in [0, 1].into_iter().cycle() {
            if count <= SPAN {
                break;
            }
            let spans = count.div_ceil(SPAN);
            let params = Params::new().u(count).u(usize::from(from_logits));
            let slots = vec![from, Slot::Ranked(turn)];
            self.push(
                Kernel::TopK { from_logits },
                params,
                slots,
                grid(spans),
                When::Always,
            );
            count = spans * KEEP;
            self.program.ranked[turn] = self.program.ranked[turn].max(count);
            (from, from_logits) = (Slot::Ranked(turn), false);
        }
        let params = Params::new()
            .u(count)
            .u(self.plan.n_vocab)
            .u(usize::from(from_logits));
        self.push(
            Kernel::Sample { from_logits },
            params,
            vec![from],
            grid(1),
            When::Always,
        );
    }

    fn mismatch(&self) -> Error {
        Error::Internal(format!("{} was taken for another operation", self.label))
    }
}

/// Most tokens in a chunk, of at most `most`, whose activations, `width` a token, take no more memory than they should.
fn chunk_limit(width: usize, most: usize) -> usize {
    // Widths of a large model times its tokens may be more than a browser's 32 bits count.
    let row_bytes = width.saturating_mul(4);
    let mut limit = most;
    while limit > LEAST_LIMIT && row_bytes.saturating_mul(limit) > ACTIVATION_BYTES {
        limit /= 2;
    }
    limit.max(1)
}

/// Whether later operations see only the rows that are wanted.
pub fn ends_rows(op: &Op) -> bool {
    matches!(op, Op::LastRow { .. } | Op::Pool { .. })
}

/// Bytes of the candidates of the arg-max.
pub const CANDIDATE_BYTES: usize = ARGMAX_BLOCKS * 8;
