//! From the plan to a [`Program`]: each operation becomes dispatches.

use super::format::Format;
use super::fuse::{self, Fused, InputNorm, Node, Then};
use super::kernel::{Epilogue, Kernel, MAX_HEAD, MAX_TOKENS, NormTarget};
use super::layout::{Layout, rows_per_part};
use super::program::{Dispatch, Extent, Params, Program, SPLIT_FROM, SPLITS, Slot, When};
use crate::backend::KvType;
use crate::model::{BufId, IdSource, NormKind, Op, Plan, WeightId};
use crate::quant::DType;
use crate::{Error, Result};

/// What compiling depends on besides the plan.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Largest storage binding, bytes.
    pub max_binding: u64,
    /// Storage of keys and values.
    pub kv: KvType,
}

/// Memory for rows of logits; more rows at once are computed in turns.
const LOGITS_BYTES: usize = 8 << 20;

/// Workgroups of a grid in x; a longer row of them goes on in y (65535 is the limit of both).
const GRID_X: usize = 32768;

/// Workgroups of the arg-max.
const ARGMAX_BLOCKS: usize = 64;

/// Compiles `plan`, whose weights are stored as `dtypes`.
///
/// # Errors
/// [`Error::BadTensor`] and [`Error::Internal`] for what the kernels do not take.
pub fn compile(plan: &Plan, dtypes: &[DType], target: Target) -> Result<(Program, Layout)> {
    let format = |id: WeightId| Format::of(dtypes[id.0]);
    let fits = |id: WeightId, rows: usize| rows <= rows_per_part(format(id), plan.weights[id.0].cols, target.max_binding);
    let fused = fuse::fuse(plan, format, fits);
    let layout = Layout::new(plan, dtypes, &fused.groups, target.max_binding)?;
    let mut compiler = Compiler::new(plan, target, &layout, &fused);
    for step in &plan.steps {
        compiler.label = &step.label;
        compiler.op(&step.op, MAX_TOKENS)?;
        compiler.tail |= matches!(step.op, Op::LastRow { .. });
    }
    compiler.program.chunk = std::mem::take(&mut compiler.list);
    compiler.tail = false;
    for (label, node) in &fused.nodes {
        compiler.label = label;
        compiler.node(node)?;
    }
    compiler.program.decode = std::mem::take(&mut compiler.list);
    compiler.label = "choose";
    compiler.choose();
    compiler.program.choose = std::mem::take(&mut compiler.list);
    Ok((compiler.program, layout))
}

struct Compiler<'a> {
    plan: &'a Plan,
    target: Target,
    layout: &'a Layout,
    program: Program,
    list: Vec<Dispatch>,
    label: &'a str,
    /// Whether the operation stands behind `LastRow`.
    tail: bool,
}

impl<'a> Compiler<'a> {
    fn new(plan: &'a Plan, target: Target, layout: &'a Layout, fused: &Fused) -> Self {
        let mut program = Program::default();
        let first_tail = plan.steps.iter().position(|step| matches!(step.op, Op::LastRow { .. }));
        let tail_steps = &plan.steps[first_tail.unwrap_or(plan.steps.len())..];
        let logit_rows = (LOGITS_BYTES / 4 / plan.n_vocab.max(1)).clamp(1, MAX_TOKENS);
        for (index, width) in fused.buffers.iter().enumerate() {
            let is_tail = tail_steps.iter().any(|step| fuse::written(&step.op) == Some(BufId(index)));
            let rows = match index {
                _ if index >= plan.buffers.len() => 1,
                _ if is_tail => logit_rows,
                _ => MAX_TOKENS,
            };
            program.buffers.push((*width, rows));
        }
        Self { plan, target, layout, program, list: Vec::new(), label: "", tail: false }
    }

    fn width(&self, buffer: BufId) -> usize {
        self.program.buffers[buffer.0].0
    }

    fn push(&mut self, kernel: Kernel, params: Params, slots: Vec<Slot>, grid: [Extent; 3], when: When) {
        let kernel = self.program.kernel(kernel);
        self.list.push(Dispatch { label: self.label.to_owned(), kernel, params, slots, grid, when });
    }

    /// Grid of `count` invocations for each row.
    fn per_row(&self, kernel: Kernel, count: usize) -> [Extent; 3] {
        [Extent::Fixed(count.div_ceil(kernel.workgroup()) as u32), self.rows(1), Extent::Fixed(1)]
    }

    fn rows(&self, per: u32) -> Extent {
        if self.tail { Extent::Rows(per) } else { Extent::Tokens(per) }
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Plain(op) => self.op(op, 1),
            Node::Embed { op, scale } => self.embed(op, *scale),
            Node::Project { .. } => self.project(node),
            Node::Heads { .. } => self.heads(node),
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
            Op::Norm { x, out, .. } => {
                self.norm(op, if x == out { NormTarget::InPlace } else { NormTarget::Other })
            }
            Op::MatMul { .. } => self.matmul(op),
            Op::Rope { .. } => self.rope(op),
            Op::StoreKv { k, v, layer } => {
                let quads = self.kv_quads(layer)?;
                let kernel = Kernel::StoreKv { kv: self.target.kv };
                let slots = vec![Slot::Buffer(k), Slot::Buffer(v), Slot::Keys(layer), Slot::Values(layer)];
                self.push(kernel, Params::new().u(quads), slots, self.per_row(kernel, quads), When::Always);
                Ok(())
            }
            Op::Attention { .. } => self.attention(op, tokens),
            Op::GatedAct { act, gate, up, out } if up == out && gate != out => {
                self.elementwise(Kernel::GatedAct { act }, Slot::Buffer(gate), out, None);
                Ok(())
            }
            Op::Act { act, x } => {
                self.elementwise(Kernel::Act { act }, Slot::Unused, x, None);
                Ok(())
            }
            Op::Add { a, b, out } if a == out && b != out => {
                self.elementwise(Kernel::Add, Slot::Buffer(b), out, None);
                Ok(())
            }
            Op::Add { a, b, out } if b == out && a != out => {
                self.elementwise(Kernel::Add, Slot::Buffer(a), out, None);
                Ok(())
            }
            Op::Scale { x, factor } => {
                self.elementwise(Kernel::Scale, Slot::Unused, x, Some(factor));
                Ok(())
            }
            Op::SoftCap { x, cap } => {
                self.elementwise(Kernel::SoftCap, Slot::Unused, x, Some(cap));
                Ok(())
            }
            Op::LastRow { x, out } if x != out => {
                self.tail = true;
                self.elementwise(Kernel::LastRow, Slot::Buffer(x), out, None);
                Ok(())
            }
            _ => Err(Error::Internal(format!("the GPU has no kernel for {}: {op:?}", self.label))),
        }
    }

    fn elementwise(&mut self, kernel: Kernel, input: Slot, out: BufId, factor: Option<f32>) {
        let width = self.width(out);
        let params = Params::new().u(width).u(usize::from(self.tail)).f(factor.unwrap_or(0.0));
        self.push(kernel, params, vec![input, Slot::Buffer(out)], self.per_row(kernel, width), When::Always);
    }

    fn embed(&mut self, op: &Op, scale: f32) -> Result<()> {
        let Op::Embed { table, ids, out } = *op else { return Err(self.mismatch()) };
        let (matrix, row) = self.layout.matrix(table)?;
        let rows = self.plan.weights[table.0].rows;
        let by_position = usize::from(ids == IdSource::Positions);
        for (part, from, count, local) in self.parts(matrix, row, rows) {
            let shape = &self.layout.matrices[matrix];
            let kernel = Kernel::Embed { format: shape.format };
            let params = Params::new().u(shape.units()).u(from).u(count).u(local).u(by_position).f(scale);
            let slots = vec![Slot::Quants(matrix, part), Slot::Scales(matrix, part), Slot::Buffer(out)];
            let grid = self.per_row(kernel, shape.units() * 4);
            self.push(kernel, params, slots, grid, When::Always);
        }
        Ok(())
    }

    /// The parts of a matrix in which rows `row .. row + count` lie: part, first of these rows, number, row in the part.
    fn parts(&self, matrix: usize, row: usize, count: usize) -> Vec<(usize, usize, usize, usize)> {
        let shape = &self.layout.matrices[matrix];
        let mut found = Vec::new();
        for (part, start) in shape.parts.iter().enumerate() {
            let (from, to) = (row.max(*start), (row + count).min(shape.part_end(part)));
            if from < to {
                found.push((part, from - row, to - from, from - start));
            }
        }
        found
    }

    fn norm(&mut self, op: &Op, target: NormTarget) -> Result<()> {
        let Op::Norm { kind, x, weight: Some(weight), bias, eps, width, out } = *op else {
            return Err(self.mismatch());
        };
        let stride = self.width(out);
        let weight = Slot::Vector(self.layout.vector(weight)?);
        let bias = bias.map(|id| self.layout.vector(id)).transpose()?.map_or(Slot::Unused, Slot::Vector);
        // LayerNorm without a bias: the weight stands in, and only RMSNorm may have none.
        if kind == NormKind::Layer && bias == Slot::Unused {
            return Err(Error::Internal("LayerNorm without bias is not supported on the GPU".into()));
        }
        let input = if target == NormTarget::InPlace { Slot::Unused } else { Slot::Buffer(x) };
        let params = Params::new().u(width).u(stride).f(eps).u(usize::from(self.tail));
        let grid = [Extent::Fixed((stride / width) as u32), self.rows(1), Extent::Fixed(1)];
        self.push(Kernel::Norm { kind, target }, params, vec![input, weight, bias, Slot::Buffer(out)], grid, When::Always);
        Ok(())
    }

    fn matmul(&mut self, op: &Op) -> Result<()> {
        let Op::MatMul { x, weight, bias, out } = *op else { return Err(self.mismatch()) };
        let (matrix, row) = self.layout.matrix(weight)?;
        let rows = self.plan.weights[weight.0].rows;
        let out_width = self.width(out);
        for (part, from, count, local) in self.parts(matrix, row, rows) {
            let shape = &self.layout.matrices[matrix];
            let kernel = Kernel::MatMul { format: shape.format, bias: bias.is_some() };
            let bias_slot = shape.bias.filter(|_| bias.is_some()).map_or(Slot::Unused, Slot::Vector);
            let params = Params::new()
                .u(shape.units())
                .u(count)
                .u(local)
                .u(out_width)
                .u(from)
                .u(row + from)
                .u(usize::from(self.tail));
            let slots = vec![
                Slot::Quants(matrix, part),
                Slot::Scales(matrix, part),
                Slot::Buffer(x),
                bias_slot,
                Slot::Buffer(out),
            ];
            let grid = [Extent::Fixed(count.div_ceil(64) as u32), self.rows(64), Extent::Fixed(1)];
            self.push(kernel, params, slots, grid, When::Always);
        }
        Ok(())
    }

    fn project(&mut self, node: &Node) -> Result<()> {
        let Node::Project { x, weight, rows, norm, then, out, out_offset } = node else {
            return Err(self.mismatch());
        };
        let (matrix, row) = self.layout.matrix(*weight)?;
        let up_offset = match then {
            Then::Gated(_, up) => self.layout.matrix(*up)?.1 - row,
            _ => 0,
        };
        let (epilogue, act) = match then {
            Then::Store => (Epilogue::Store, None),
            Then::Act(act) => (Epilogue::Store, Some(*act)),
            Then::Residual => (Epilogue::Residual, None),
            Then::Gated(act, _) => (Epilogue::Gated, Some(*act)),
        };
        let (norm_kind, norm_slots, eps) = self.input_norm(*norm)?;
        for (part, from, count, local) in self.parts(matrix, row, *rows) {
            let shape = &self.layout.matrices[matrix];
            let bias = shape.bias.map_or(Slot::Unused, Slot::Vector);
            let kernel = Kernel::MatVec { format: shape.format, norm: norm_kind, epilogue, act, bias: shape.bias.is_some() };
            let groups = count.div_ceil(4);
            let params = Params::new()
                .u(shape.units())
                .u(count)
                .u(local)
                .u(up_offset)
                .u(out_offset + from)
                .u(row + from)
                .u(groups.min(GRID_X))
                .f(eps);
            // The row that a bias belongs to is counted from the start of the matrix, that of the output from the weight.
            let slots = vec![
                Slot::Quants(matrix, part),
                Slot::Scales(matrix, part),
                Slot::Buffer(*x),
                norm_slots[0],
                norm_slots[1],
                bias,
                Slot::Buffer(*out),
            ];
            let grid = [groups.min(GRID_X), groups.div_ceil(GRID_X), 1].map(|n| Extent::Fixed(n as u32));
            self.push(kernel, params, slots, grid, When::Always);
        }
        Ok(())
    }

    fn input_norm(&self, norm: Option<InputNorm>) -> Result<(Option<NormKind>, [Slot; 2], f32)> {
        let Some(norm) = norm else { return Ok((None, [Slot::Unused; 2], 0.0)) };
        let weight = Slot::Vector(self.layout.vector(norm.weight)?);
        let bias = match (norm.bias, norm.kind) {
            (Some(bias), _) => Slot::Vector(self.layout.vector(bias)?),
            (None, NormKind::Rms) => Slot::Unused,
            (None, NormKind::Layer) => return Err(Error::Internal("LayerNorm without bias".into())),
        };
        Ok((Some(norm.kind), [weight, bias], norm.eps))
    }

    fn rope(&mut self, op: &Op) -> Result<()> {
        let Op::Rope { x, rope, n_heads, head_dim } = *op else { return Err(self.mismatch()) };
        let spec = &self.plan.ropes[rope.0];
        let pairs = spec.n_rot / 2;
        let kernel = Kernel::Rope { pairing: spec.pairing };
        let params = Params::new().u(n_heads).u(head_dim).u(pairs);
        let grid = self.per_row(kernel, n_heads * pairs);
        self.push(kernel, params, vec![Slot::Rotary(rope.0), Slot::Buffer(x)], grid, When::Always);
        Ok(())
    }

    /// Vectors of four per position of a layer's keys.
    fn kv_quads(&self, layer: usize) -> Result<usize> {
        let spec = self.plan.kv[layer];
        if !spec.head_dim.is_multiple_of(4) || spec.head_dim > MAX_HEAD {
            return Err(Error::Internal(format!("heads of length {} are not supported on the GPU", spec.head_dim)));
        }
        Ok(spec.width() / 4)
    }

    fn heads(&mut self, node: &Node) -> Result<()> {
        let Node::Heads { qkv, layer, n_heads, n_kv_heads, head_dim, q_norm, k_norm, rope } = *node else {
            return Err(self.mismatch());
        };
        self.kv_quads(layer)?;
        let spec = rope.map(|rope| &self.plan.ropes[rope.0]);
        let kernel = Kernel::Heads { qk_norm: q_norm.is_some(), rope: spec.map(|s| s.pairing), kv: self.target.kv };
        let pairs = spec.map_or(0, |spec| spec.n_rot / 2);
        let eps = q_norm.map_or(0.0, |(_, eps)| eps);
        let vector = |id: Option<WeightId>| -> Result<Slot> {
            Ok(id.map(|id| self.layout.vector(id)).transpose()?.map_or(Slot::Unused, Slot::Vector))
        };
        let slots = vec![
            Slot::Buffer(qkv),
            rope.map_or(Slot::Unused, |rope| Slot::Rotary(rope.0)),
            vector(q_norm.map(|(id, _)| id))?,
            vector(k_norm)?,
            Slot::Keys(layer),
            Slot::Values(layer),
        ];
        let params = Params::new().u(n_heads).u(n_kv_heads).u(head_dim).u(pairs).f(eps);
        let grid = [n_heads + 2 * n_kv_heads, 1, 1].map(|n| Extent::Fixed(n as u32));
        self.push(kernel, params, slots, grid, When::Always);
        Ok(())
    }

    fn attention(&mut self, op: &Op, tokens: usize) -> Result<()> {
        let Op::Attention { q, layer, n_heads, head_dim, scale, window, softcap, out } = *op else {
            return Err(self.mismatch());
        };
        let kv_stride = self.kv_quads(layer)?;
        let quads = head_dim / 4;
        let params = |splits: usize| {
            Params::new()
                .u(quads)
                .u(n_heads / self.plan.kv[layer].n_kv_heads)
                .u(self.width(q) / 4)
                .u(kv_stride)
                .u(self.width(out) / 4)
                .u(window.unwrap_or(u32::MAX as usize))
                .f(scale)
                .f(softcap.unwrap_or(0.0))
                .u(splits)
        };
        let (whole, split) = (params(1), params(SPLITS));
        let kv = self.target.kv;
        let slots = |out| vec![Slot::Buffer(q), Slot::Keys(layer), Slot::Values(layer), out];
        let heads = Extent::Fixed(n_heads as u32);
        let may_split = tokens == 1 && window.is_none_or(|window| window > SPLIT_FROM);
        let when = if may_split { When::Short } else { When::Always };
        let grid = [heads, Extent::Tokens(1), Extent::Fixed(1)];
        self.push(Kernel::Attention { kv, split: false }, whole, slots(Slot::Buffer(out)), grid, when);
        if may_split {
            let grid = [heads, Extent::Fixed(1), Extent::Fixed(SPLITS as u32)];
            self.push(Kernel::Attention { kv, split: true }, split, slots(Slot::Parts), grid, When::Long);
            let join = Params::new().u(quads).u(SPLITS);
            let grid = [heads, Extent::Fixed(1), Extent::Fixed(1)];
            self.push(Kernel::AttentionCombine, join, vec![Slot::Parts, Slot::Buffer(out)], grid, When::Long);
            let floats = n_heads * SPLITS * (quads + 1) * 4;
            self.program.parts_floats = self.program.parts_floats.max(floats);
        }
        Ok(())
    }

    fn choose(&mut self) {
        let logits = Slot::Buffer(self.plan.logits);
        let params = Params::new().u(self.plan.n_vocab).u(ARGMAX_BLOCKS);
        let grid = |n: usize| [n as u32, 1, 1].map(Extent::Fixed);
        self.push(Kernel::ArgMax, params, vec![logits, Slot::Candidates], grid(ARGMAX_BLOCKS), When::Always);
        self.push(Kernel::ArgMaxJoin, params, vec![Slot::Candidates], grid(1), When::Always);
    }

    fn mismatch(&self) -> Error {
        Error::Internal(format!("{} was taken for another operation", self.label))
    }
}

/// Bytes of the candidates of the arg-max.
pub const CANDIDATE_BYTES: usize = ARGMAX_BLOCKS * 8;

