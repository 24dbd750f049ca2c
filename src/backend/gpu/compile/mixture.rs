//! Mixtures of experts.

use super::super::kernel::{Kernel, MAX_EXPERTS};
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use super::projections::PartRows;
use crate::model::Op;
use crate::{Error, Result};

/// Sums of experts' weights are divided by at least this, as llama.cpp does.
const SMALLEST_SUM: f32 = 6.103_515_6e-5;

impl Compiler<'_> {
    pub(super) fn route(&mut self, op: &Op) -> Result<()> {
        let Op::MoeRoute {
            x,
            bias,
            used,
            gating,
            normalize,
            scale,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let experts = self.width(x);
        if experts > MAX_EXPERTS {
            return Err(Error::Gpu(format!("{experts} experts have no kernel")));
        }
        let kernel = Kernel::MoeRoute {
            gating,
            bias: bias.is_some(),
        };
        let params = Params::new()
            .u(experts)
            .u(used)
            .u(usize::from(self.tail))
            .u(usize::from(normalize))
            .f(scale)
            .f(SMALLEST_SUM);
        let slots = vec![
            Slot::Buffer(x),
            self.optional_vector(bias)?,
            Slot::Buffer(out),
        ];
        let grid = [Extent::Fixed(1), self.rows(1), Extent::Fixed(1)];
        self.push(kernel, params, slots, grid, When::Always);
        Ok(())
    }

    pub(super) fn expert_matmul(&mut self, op: &Op) -> Result<()> {
        let Op::MoeMatMul {
            x,
            route,
            used,
            weight,
            bias,
            stride,
            offset,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let (matrix, row) = self.layout.matrix(weight)?;
        let bias_slot = self.optional_vector(bias)?;
        let n_out = self.width(out) / used;
        let shared = usize::from(self.width(x) == self.plan.weights[weight.0].cols);
        for PartRows {
            part, from, count, ..
        } in self.parts(matrix, row, self.plan.weights[weight.0].rows)
        {
            let shape = &self.layout.matrices[matrix];
            let kernel = Kernel::MoeMatVec {
                format: shape.format,
                bias: bias.is_some(),
            };
            let params = Params::new()
                .u(shape.units())
                .u(n_out)
                .u(stride)
                .u(offset)
                .u(from)
                .u(count)
                .u(used)
                .u(shared)
                .u(usize::from(self.tail))
                .u(shape.quads());
            let slots = vec![
                Slot::Quants(matrix, part),
                Slot::Scales(matrix, part),
                Slot::Buffer(x),
                Slot::Buffer(route),
                bias_slot,
                Slot::Buffer(out),
            ];
            let grid = [
                Extent::Fixed(n_out.div_ceil(4) as u32),
                Extent::Fixed(used as u32),
                self.rows(1),
            ];
            self.push(kernel, params, slots, grid, When::Always);
        }
        Ok(())
    }
}
