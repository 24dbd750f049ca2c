//! Operations on each value by itself, or on rows as they are.

use super::super::kernel::Kernel;
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use crate::model::{BufId, Op, Pooling};
use crate::{Error, Result};

impl Compiler<'_> {
    /// The operations on each value by itself.
    pub(super) fn simple_op(&mut self, op: &Op) -> Result<()> {
        let none = Params::new();
        match *op {
            Op::GatedAct { act, gate, up, out } if up == out && gate != out => {
                let share = none.u(self.width(out) / self.width(gate));
                self.elementwise(Kernel::GatedAct { act }, &[Slot::Buffer(gate)], out, share);
            }
            Op::PositionScale { x, factor, length } => {
                let more = none.u(length).f(factor);
                self.elementwise(Kernel::PositionScale, &[Slot::Unused], x, more);
            }
            Op::MoeSum {
                x,
                route,
                used,
                out,
            } => {
                self.elementwise(
                    Kernel::MoeSum,
                    &[Slot::Buffer(x), Slot::Buffer(route)],
                    out,
                    none.u(used),
                );
            }
            Op::GatedAct { act, gate, up, out } if up != out && gate != out => {
                self.copy(up, out);
                let op = Op::GatedAct {
                    act,
                    gate,
                    up: out,
                    out,
                };
                self.simple_op(&op)?;
            }
            Op::ScaleByWeight { x, weight } => {
                let count = self.plan.weights[weight.0].cols;
                let weight = Slot::Vector(self.layout.vector(weight)?);
                self.elementwise(Kernel::ScaleByWeight, &[weight], x, none.u(count));
            }
            Op::MixStreams { .. } | Op::JoinStreams { .. } | Op::Sparsify { .. } => {
                self.streams(op)?;
            }
            Op::Act { act, x } => self.elementwise(Kernel::Act { act }, &[Slot::Unused], x, none),
            Op::Add { a, b, out } if a == out && b != out => {
                self.elementwise(Kernel::Add, &[Slot::Buffer(b)], out, none);
            }
            Op::Add { a, b, out } if b == out && a != out => {
                self.elementwise(Kernel::Add, &[Slot::Buffer(a)], out, none);
            }
            Op::Add { a, b, out } if a != out && b != out => {
                self.copy(a, out);
                self.elementwise(Kernel::Add, &[Slot::Buffer(b)], out, none);
            }
            Op::Scale { x, factor } => {
                self.elementwise(Kernel::Scale, &[Slot::Unused], x, none.u(1).f(factor));
            }
            Op::SoftCap { x, cap } => {
                self.elementwise(Kernel::SoftCap, &[Slot::Unused], x, none.u(1).f(cap));
            }
            Op::Softmax { x } => {
                let params = none.u(self.width(x)).u(usize::from(self.tail));
                let grid = [Extent::Fixed(1), self.rows(1), Extent::Fixed(1)];
                let slots = vec![Slot::Buffer(x)];
                self.push(Kernel::Softmax, params, slots, grid, When::Always);
            }
            Op::LastRow { x, out }
            | Op::Pool {
                x,
                pooling: Pooling::Last,
                out,
            } if x != out => {
                self.tail = true;
                self.elementwise(Kernel::LastRow, &[Slot::Buffer(x)], out, none);
            }
            Op::Pool { x, pooling, out } if x != out => {
                self.tail = true;
                let first = usize::from(pooling != Pooling::Mean);
                self.elementwise(Kernel::Pool, &[Slot::Buffer(x)], out, none.u(first));
            }
            _ => return Err(Error::Gpu(format!("no kernel for {}: {op:?}", self.label))),
        }
        Ok(())
    }

    pub(super) fn slice(&mut self, x: BufId, stride: usize, offset: usize, out: BufId) {
        let x_width = self.width(x);
        let count = self.width(out) / (x_width / stride);
        let more = Params::new().u(count).u(stride).u(offset).u(x_width);
        self.elementwise(Kernel::Slice, &[Slot::Buffer(x)], out, more);
    }

    pub(super) fn place(
        &mut self,
        (x, run): (BufId, usize),
        stride: usize,
        offset: usize,
        out: BufId,
    ) {
        let width = self.width(out) / stride * run;
        let params = Params::new().u(width).u(usize::from(self.tail));
        let params = params.u(offset).u(self.width(out));
        let params = params.u(run).u(stride).u(self.width(x));
        let slots = [x, out].map(Slot::Buffer).to_vec();
        let grid = self.per_row(Kernel::Place, width);
        self.push(Kernel::Place, params, slots, grid, When::Always);
    }

    fn copy(&mut self, x: BufId, out: BufId) {
        self.slice(x, self.width(x), 0, out);
    }

    /// A kernel over every value of `out`; `more` are its parameters beyond the width, the tail and which of
    /// `elementwise.wgsl` it is.
    pub(super) fn elementwise(
        &mut self,
        kernel: Kernel,
        inputs: &[Slot],
        out: BufId,
        more: Params,
    ) {
        let width = self.width(out);
        let which = kernel.elementwise().into_iter().flatten();
        let params = which.fold(Params::new().u(width).u(usize::from(self.tail)), Params::u);
        let slots = inputs.iter().copied().chain([Slot::Buffer(out)]).collect();
        self.push(
            kernel,
            params.then(more),
            slots,
            self.per_row(kernel, width),
            When::Always,
        );
    }
}
