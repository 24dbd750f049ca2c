//! Mixtures of experts.

use super::super::fuse::ThenExperts;
use super::super::kernel::{Experts, Kernel, MAX_EXPERTS, RowShape, Tile, TileSize};
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use super::projections::PartRows;
use crate::model::{Activation, BufId, Op, WeightId};
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

    /// The choice of all experts, as [`Self::route`].
    pub(super) fn every_expert(&mut self, used: usize, out: BufId, many: bool) {
        let share = Params::new().u(used);
        self.elementwise(Kernel::EveryExpert, &[Slot::Unused], out, share);
        if many {
            self.group(out, used, used);
        }
    }

    /// Sorts the choices that were just made; the products of the experts go by them.
    fn group(&mut self, route: BufId, experts: usize, used: usize) {
        let size = self.target.small_tile();
        let tile = choices(size, used, experts);
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
        self.push(
            Kernel::MoeGroup { tile: size },
            params,
            slots,
            grid,
            When::Always,
        );
        self.sorted = Some(experts);
    }

    /// The product of experts, for one token or, `many`, for those of a chunk.
    pub(super) fn expert_matmul(&mut self, op: &Op, many: bool) -> Result<()> {
        let product = self.expert_product(op)?;
        let weight_rows = self.plan.weights[product.weight.0].rows;
        for part in self.parts(product.matrix, product.row, weight_rows) {
            match self.sorted.filter(|_| many) {
                Some(experts) => self.expert_tiles(&product, &part, experts),
                None => self.expert_rows(&product, &part, &Then::each(None, &product)),
            }
        }
        Ok(())
    }

    /// The product of a token's experts with what follows it.
    pub(super) fn experts(&mut self, op: &Op, then: ThenExperts) -> Result<()> {
        let product = self.expert_product(op)?;
        let then = match then {
            ThenExperts::Act(act) => Then::each(Some(act), &product),
            ThenExperts::Gated(act, up, offset) => {
                let row = self.layout.matrix(up)?.1 + offset;
                Then {
                    kind: Experts::Gated,
                    up_offset: row - product.row - product.offset,
                    ..Then::each(Some(act), &product)
                }
            }
            ThenExperts::Sum(out, residual) => Then {
                kind: Experts::Sum,
                experts: 1,
                out,
                residual,
                ..Then::each(None, &product)
            },
        };
        let weight_rows = self.plan.weights[product.weight.0].rows;
        for part in self.parts(product.matrix, product.row, weight_rows) {
            self.expert_rows(&product, &part, &then);
        }
        Ok(())
    }

    fn expert_product(&self, op: &Op) -> Result<ExpertProduct> {
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
        Ok(ExpertProduct {
            x,
            route,
            used,
            weight,
            matrix,
            row,
            stride,
            offset,
            cols: self.plan.weights[weight.0].cols,
            rows: self.width(out) / used,
            bias: self.optional_vector(bias)?,
            out,
        })
    }

    /// What the kernels of a part begin their parameters with.
    fn expert_params(&self, product: &ExpertProduct, part: &PartRows) -> Params {
        Params::new()
            .u(self.layout.matrices[product.matrix].units())
            .u(product.rows)
            .u(product.stride)
            .u(product.row + product.offset)
            .u(product.row + part.from - part.local)
            .u(part.local + part.count)
            .u(product.used)
            .u(usize::from(self.width(product.x) == product.cols))
    }

    /// One part of the matrices, times one vector after the other.
    fn expert_rows(&mut self, product: &ExpertProduct, part: &PartRows, then: &Then) {
        let matrix = &self.layout.matrices[product.matrix];
        let shape = RowShape::of(
            matrix.format,
            matrix.units(),
            product.rows * then.experts,
            then.kind == Experts::Gated,
            self.target.lanes,
        );
        let kernel = Kernel::MoeMatVec {
            format: matrix.format,
            shape,
            then: then.kind,
            act: then.act,
            bias: product.bias != Slot::Unused,
        };
        let params = self
            .expert_params(product, part)
            .u(usize::from(self.tail))
            .u(matrix.quads())
            .u(then.up_offset)
            .u(usize::from(then.residual));
        let slots = vec![
            Slot::Quants(product.matrix, part.part),
            Slot::Scales(product.matrix, part.part),
            Slot::Buffer(product.x),
            Slot::Buffer(product.route),
            product.bias,
            Slot::Buffer(then.out),
        ];
        let grid = [
            Extent::Fixed(product.rows.div_ceil(shape.rows * shape.teams()) as u32),
            Extent::Fixed(then.experts as u32),
            self.rows(1),
        ];
        self.push(kernel, params, slots, grid, When::Always);
    }

    /// One part of the matrices, times all vectors that have chosen an expert.
    fn expert_tiles(&mut self, product: &ExpertProduct, part: &PartRows, experts: usize) {
        let params = self.expert_params(product, part);
        let matrix = &self.layout.matrices[product.matrix];
        let (format, quads) = (matrix.format, matrix.quads());
        let (input, arithmetic) = self.input_of(product.x, format, product.cols);
        let size = self.target.small_tile();
        let kernel = Kernel::MatMul {
            format,
            tile: Tile {
                size,
                experts: true,
                arithmetic,
            },
            bias: product.bias != Slot::Unused,
        };
        let slots = vec![
            Slot::Quants(product.matrix, part.part),
            Slot::Scales(product.matrix, part.part),
            input,
            product.bias,
            Slot::Buffer(product.out),
            Slot::Sorted,
        ];
        let grid = [
            Extent::Fixed(product.rows.div_ceil(size.rows()) as u32),
            choices(size, product.used, experts),
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
    weight: WeightId,
    /// Where the weight lies.
    matrix: usize,
    row: usize,
    /// Rows from one expert to the next.
    stride: usize,
    /// First row within an expert.
    offset: usize,
    /// Columns of a matrix.
    cols: usize,
    /// Rows of a matrix.
    rows: usize,
    bias: Slot,
    out: BufId,
}

/// What follows the sums of experts' rows.
struct Then {
    kind: Experts,
    act: Option<Activation>,
    /// Distance from a gate row to its up row.
    up_offset: usize,
    /// Experts that make results of their own.
    experts: usize,
    out: BufId,
    /// Whether the result is added to what `out` holds.
    residual: bool,
}

impl Then {
    /// Results of each expert.
    fn each(act: Option<Activation>, product: &ExpertProduct) -> Self {
        Self {
            kind: Experts::Each,
            act,
            up_offset: 0,
            experts: product.used,
            out: product.out,
            residual: false,
        }
    }
}

/// Tiles of the choices of one expert.
fn choices(size: TileSize, used: usize, experts: usize) -> Extent {
    Extent::Choices {
        per: size.tokens() as u32,
        used: used as u32,
        experts: experts as u32,
    }
}
