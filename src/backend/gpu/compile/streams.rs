//! Operations on several residual streams side by side.

use super::super::kernel::Kernel;
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use crate::Result;
use crate::model::Op;

impl Compiler<'_> {
    pub(super) fn streams(&mut self, op: &Op) -> Result<()> {
        match *op {
            Op::MixStreams {
                x,
                y,
                coefs,
                plus,
                first,
                width,
            } if x != y => {
                let more = Params::new()
                    .u(width)
                    .u(self.width(y) / width)
                    .u(first)
                    .u(usize::from(coefs.is_some()))
                    .f(plus);
                let coefs = coefs.map_or(Slot::Unused, Slot::Buffer);
                self.elementwise(Kernel::MixStreams, &[Slot::Buffer(y), coefs], x, more);
            }
            Op::JoinStreams { first, rest, out } => {
                let width = self.width(first);
                let params = Params::new()
                    .u(width)
                    .u(self.width(rest) / width)
                    .u(usize::from(self.tail));
                let slots = [first, rest, out].map(Slot::Buffer).to_vec();
                let runs = Extent::Fixed((self.width(rest) / width) as u32);
                let grid = [runs, self.rows(1), Extent::Fixed(1)];
                self.push(Kernel::JoinStreams, params, slots, grid, When::Always);
            }
            Op::Sparsify { x, factor } => {
                let params = Params::new()
                    .u(self.width(x))
                    .u(usize::from(self.tail))
                    .f(factor);
                let grid = [Extent::Fixed(1), self.rows(1), Extent::Fixed(1)];
                let slots = vec![Slot::Buffer(x)];
                self.push(Kernel::Sparsify, params, slots, grid, When::Always);
            }
            _ => return Err(self.mismatch()),
        }
        Ok(())
    }
}
