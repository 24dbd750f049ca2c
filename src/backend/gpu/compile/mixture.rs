//! Mixtures of experts.

use super::super::kernel::{Kernel, MAX_EXPERTS, RowShape, Tile};
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use crate::model::{BufId, Op};
use crate::{Error, Result};

/// Sums of experts' weights are divided by at least this, as llama.cpp does.
const SMALLEST_SUM: f32 = 6.103_515_6e-5;

impl Compiler<'_> {
    /// The choice of experts, for one token or, `many`, for those of a chunk.
    pub(super) fn route(&mut self, op: &Op, many: bool) -> Result<()> {
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
        if many {
            self.group(out, experts, used);
        }
        Ok(())
    }

    /// Sorts the choices that were just made; the products of the experts go by them.
    fn group(&mut self, route: BufId, experts: usize, used: usize) {
        let tile = choices(used, experts);
        let rows = self.program.max_tokens;
        let slots_at = 4 + 4 * tile.of(rows as u32, 0) as usize;
        let words = slots_at + rows * used;
        self.program.sorted_words = self.program.sorted_words.max(words);
        let params = Params::new()
            .u(experts)
            .u(used)
            .u(usize::from(self.tail))
            .u(slots_at);
        let slots = vec![Slot::Buffer(route), Slot::Sorted];
        let grid = [1; 3].map(Extent::Fixed);
        self.push(Kernel::MoeGroup, params, slots, grid, When::Always);
        self.sorted = Some(experts);
    }

    /// The product of experts, for one token or, `many`, for those of a chunk.
    pub(super) fn expert_matmul(&mut self, op: &Op, many: bool) -> Result<()> {
        let Op::MoeMatMul {
            x,
            used,
            weight,
            stride,
            offset,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let (matrix, row) = self.layout.matrix(weight)?;
        let n_out = self.width(out) / used;
        let shared = usize::from(self.width(x) == self.plan.weights[weight.0].cols);
        for rows in self.parts(matrix, row, self.plan.weights[weight.0].rows) {
            let params = Params::new()
                .u(self.layout.matrices[matrix].units())
                .u(n_out)
                .u(stride)
                .u(offset)
                .u(rows.from)
                .u(rows.count)
                .u(used)
                .u(shared);
            match self.sorted.filter(|_| many) {
                Some(experts) => self.expert_tiles(op, (matrix, rows.part), experts, params)?,
                None => self.expert_rows(op, (matrix, rows.part), params)?,
            }
        }
        Ok(())
    }

    /// One part of the matrices, times one vector after the other.
    fn expert_rows(&mut self, op: &Op, part: (usize, usize), params: Params) -> Result<()> {
        let Op::MoeMatMul {
            x,
            route,
            used,
            bias,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let matrix = &self.layout.matrices[part.0];
        let rows = self.width(out) / used;
        let shape = RowShape::of(
            matrix.format,
            matrix.units(),
            rows * used,
            false,
            self.target.subgroup,
        );
        let kernel = Kernel::MoeMatVec {
            format: matrix.format,
            shape,
            bias: bias.is_some(),
        };
        let params = params.u(usize::from(self.tail)).u(matrix.quads());
        let slots = vec![
            Slot::Quants(part.0, part.1),
            Slot::Scales(part.0, part.1),
            Slot::Buffer(x),
            Slot::Buffer(route),
            self.optional_vector(bias)?,
            Slot::Buffer(out),
        ];
        let grid = [
            Extent::Fixed(rows.div_ceil(shape.rows) as u32),
            Extent::Fixed(used as u32),
            self.rows(1),
        ];
        self.push(kernel, params, slots, grid, When::Always);
        Ok(())
    }

    /// One part of the matrices, times all vectors that have chosen an expert.
    fn expert_tiles(
        &mut self,
        op: &Op,
        part: (usize, usize),
        experts: usize,
        params: Params,
    ) -> Result<()> {
        let Op::MoeMatMul {
            x,
            used,
            weight,
            bias,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let matrix = &self.layout.matrices[part.0];
        let (format, quads) = (matrix.format, matrix.quads());
        let (input, int8) = self.input_of(x, format, self.plan.weights[weight.0].cols);
        let tile = Tile {
            size: Tile::SMALL,
            experts: true,
            int8,
        };
        let kernel = Kernel::MatMul {
            format,
            tile,
            bias: bias.is_some(),
        };
        let slots = vec![
            Slot::Quants(part.0, part.1),
            Slot::Scales(part.0, part.1),
            input,
            self.optional_vector(bias)?,
            Slot::Buffer(out),
            Slot::Sorted,
        ];
        let rows = self.width(out) / used;
        let grid = [
            Extent::Fixed(rows.div_ceil(Tile::SMALL) as u32),
            choices(used, experts),
            Extent::Fixed(1),
        ];
        self.push(kernel, params.u(quads), slots, grid, When::Always);
        Ok(())
    }
}

/// Tiles of the choices of one expert.
fn choices(used: usize, experts: usize) -> Extent {
    Extent::Choices {
        per: Tile::SMALL as u32,
        used: used as u32,
        experts: experts as u32,
    }
}
