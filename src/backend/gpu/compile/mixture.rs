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
            route,
            used,
            weight,
            stride,
            offset,
            bias,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let (matrix, row) = self.layout.matrix(weight)?;
        let cols = self.plan.weights[weight.0].cols;
        let product = ExpertProduct {
            x,
            route,
            used,
            cols,
            rows: self.width(out) / used,
            bias: self.optional_vector(bias)?,
            out,
        };
        let shared = usize::from(self.width(x) == cols);
        for rows in self.parts(matrix, row, self.plan.weights[weight.0].rows) {
            let params = Params::new()
                .u(self.layout.matrices[matrix].units())
                .u(product.rows)
                .u(stride)
                .u(offset)
                .u(rows.from)
                .u(rows.count)
                .u(used)
                .u(shared);
            match self.sorted.filter(|_| many) {
                Some(experts) => self.expert_tiles(&product, (matrix, rows.part), experts, params),
                None => self.expert_rows(&product, (matrix, rows.part), params),
            }
        }
        Ok(())
    }

    /// One part of the matrices, times one vector after the other.
    fn expert_rows(&mut self, product: &ExpertProduct, part: (usize, usize), params: Params) {
        let matrix = &self.layout.matrices[part.0];
        let shape = RowShape::of(
            matrix.format,
            matrix.units(),
            product.rows * product.used,
            false,
            self.target.subgroup,
        );
        let kernel = Kernel::MoeMatVec {
            format: matrix.format,
            shape,
            bias: product.bias != Slot::Unused,
        };
        let params = params.u(usize::from(self.tail)).u(matrix.quads());
        let slots = vec![
            Slot::Quants(part.0, part.1),
            Slot::Scales(part.0, part.1),
            Slot::Buffer(product.x),
            Slot::Buffer(product.route),
            product.bias,
            Slot::Buffer(product.out),
        ];
        let grid = [
            Extent::Fixed(product.rows.div_ceil(shape.rows) as u32),
            Extent::Fixed(product.used as u32),
            self.rows(1),
        ];
        self.push(kernel, params, slots, grid, When::Always);
    }

    /// One part of the matrices, times all vectors that have chosen an expert.
    fn expert_tiles(
        &mut self,
        product: &ExpertProduct,
        part: (usize, usize),
        experts: usize,
        params: Params,
    ) {
        let matrix = &self.layout.matrices[part.0];
        let (format, quads) = (matrix.format, matrix.quads());
        let (input, arithmetic) = self.input_of(product.x, format, product.cols);
        let kernel = Kernel::MatMul {
            format,
            tile: Tile {
                size: Tile::SMALL,
                experts: true,
                arithmetic,
            },
            bias: product.bias != Slot::Unused,
        };
        let slots = vec![
            Slot::Quants(part.0, part.1),
            Slot::Scales(part.0, part.1),
            input,
            product.bias,
            Slot::Buffer(product.out),
            Slot::Sorted,
        ];
        let grid = [
            Extent::Fixed(product.rows.div_ceil(Tile::SMALL) as u32),
            choices(product.used, experts),
            Extent::Fixed(1),
        ];
        self.push(kernel, params.u(quads), slots, grid, When::Always);
    }
}

/// Matrices of experts times the vectors that have chosen them.
struct ExpertProduct {
    x: BufId,
    route: BufId,
    /// Experts that a token chooses.
    used: usize,
    /// Columns of a matrix.
    cols: usize,
    /// Rows of a matrix.
    rows: usize,
    bias: Slot,
    out: BufId,
}

/// Tiles of the choices of one expert.
fn choices(used: usize, experts: usize) -> Extent {
    Extent::Choices {
        per: Tile::SMALL as u32,
        used: used as u32,
        experts: experts as u32,
    }
}
