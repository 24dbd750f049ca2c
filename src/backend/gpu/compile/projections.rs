//! Everything that multiplies with a matrix, and the embedding.

use super::super::format::Format;
use super::super::fuse::{InputNorm, Node, Then};
use super::super::kernel::{Arithmetic, Epilogue, Kernel, PACKED_BLOCK, RowShape, Tile, TileSize};
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use crate::Result;
use crate::model::{Activation, BufId, IdSource, NormKind, Op};

/// Workgroups of a grid in x; a longer row of them goes on in y (65535 is the limit of both).
const GRID_X: usize = 32768;

/// The rows of a weight that lie in one part of its matrix.
pub(super) struct PartRows {
    pub part: usize,
    /// First of them, counted in the weight.
    pub from: usize,
    pub count: usize,
    /// First of them, counted in the part.
    pub local: usize,
}

/// Rows of a matrix times one vector.
struct Product {
    x: BufId,
    matrix: usize,
    /// First row.
    row: usize,
    rows: usize,
    out: BufId,
    out_offset: usize,
    /// Whether the matrix's biases are added.
    bias: bool,
    /// Distance from a gate row to its up row.
    up_offset: usize,
    /// Of the sums.
    factor: f32,
}

impl Compiler<'_> {
    /// Where rows `row .. row + count` of a matrix lie.
    pub(super) fn parts(&self, matrix: usize, row: usize, count: usize) -> Vec<PartRows> {
        let shape = &self.layout.matrices[matrix];
        let mut found = Vec::new();
        for (part, start) in shape.parts.iter().enumerate() {
            let (from, to) = (row.max(*start), (row + count).min(shape.part_end(part)));
            if from < to {
                found.push(PartRows {
                    part,
                    from: from - row,
                    count: to - from,
                    local: from - start,
                });
            }
        }
        found
    }

    pub(super) fn embed(&mut self, op: &Op, scale: f32) -> Result<()> {
        let Op::Embed { table, ids, out } = *op else {
            return Err(self.mismatch());
        };
        let (matrix, row) = self.layout.matrix(table)?;
        let rows = self.plan.weights[table.0].rows;
        let source = match ids {
            IdSource::Tokens => 0,
            IdSource::Positions => 1,
            IdSource::Segment if rows > 1 => 2,
            // Without a second type both texts are the first.
            IdSource::Segment => 3,
        };
        for PartRows {
            part,
            from,
            count,
            local,
        } in self.parts(matrix, row, rows)
        {
            let shape = &self.layout.matrices[matrix];
            let kernel = Kernel::Embed {
                format: shape.format,
            };
            let params = Params::new()
                .u(shape.units())
                .u(from)
                .u(count)
                .u(local)
                .u(source)
                .f(scale)
                .u(shape.quads());
            let slots = vec![
                Slot::Quants(matrix, part),
                Slot::Scales(matrix, part),
                Slot::Buffer(out),
            ];
            let grid = self.per_row(kernel, shape.quads());
            self.push(kernel, params, slots, grid, When::Always);
        }
        Ok(())
    }

    pub(super) fn matmul(&mut self, op: &Op) -> Result<()> {
        let Op::MatMul {
            x,
            weight,
            bias,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let (matrix, row) = self.layout.matrix(weight)?;
        let rows = self.plan.weights[weight.0].rows;
        if self.tail {
            // One row is what a prompt's end needs.
            let product = Product {
                x,
                matrix,
                row,
                rows,
                out,
                out_offset: 0,
                bias: bias.is_some(),
                up_offset: 0,
                factor: 1.0,
            };
            self.rows_product(
                &product,
                (None, [Slot::Unused; 2], 0.0),
                &Then::Store,
                When::OneRow,
            );
        }
        for rows in self.parts(matrix, row, rows) {
            let shape = &self.layout.matrices[matrix];
            let large = self.target.large_from;
            let large = large.or_else(|| Tile::large_from(rows.count));
            let format = shape.format;
            let params = Params::new()
                .u(shape.units())
                .u(rows.count)
                .u(rows.local)
                .u(self.width(out))
                .u(rows.from)
                .u(row + rows.from)
                .u(usize::from(self.tail))
                .u(shape.quads());
            let bias_slot = shape
                .bias
                .filter(|_| bias.is_some())
                .map_or(Slot::Unused, Slot::Vector);
            let cols = self.plan.weights[weight.0].cols;
            let (input, arithmetic) = self.input_of(x, format, cols);
            for (size, when) in self.tiles(large) {
                let tile = Tile {
                    size,
                    experts: false,
                    arithmetic,
                };
                let kernel = Kernel::MatMul {
                    format,
                    tile,
                    bias: bias.is_some(),
                };
                let slots = vec![
                    Slot::Quants(matrix, rows.part),
                    Slot::Scales(matrix, rows.part),
                    input,
                    bias_slot,
                    Slot::Buffer(out),
                ];
                let grid = [
                    Extent::Fixed(rows.count.div_ceil(size.rows()) as u32),
                    self.rows(size.tokens() as u32),
                    Extent::Fixed(1),
                ];
                self.push(kernel, params, slots, grid, when);
            }
        }
        Ok(())
    }

    /// Sizes of tiles for a matrix that is cut into large ones from so many tokens on, if at all.
    fn tiles(&self, large_from: Option<usize>) -> Vec<(TileSize, When)> {
        let small = self.target.small_tile();
        if self.tail {
            return vec![(small, When::SeveralRows)];
        }
        let most = self.program.max_tokens;
        match large_from.filter(|from| *from <= most && small == TileSize::Small) {
            Some(from) => vec![
                (small, When::Below(from)),
                (TileSize::Large, When::From(from)),
            ],
            None => vec![(small, When::Always)],
        }
    }

    /// What a product of many tokens reads, `x` as it is or packed, and what it is computed in.
    pub(super) fn input_of(&mut self, x: BufId, format: Format, cols: usize) -> (Slot, Arithmetic) {
        let arithmetic = self.target.arithmetic;
        // The logits are chosen from: they stay exact.
        if arithmetic == Arithmetic::F32 || self.tail || !arithmetic.takes(format, cols) {
            return (Slot::Buffer(x), Arithmetic::F32);
        }
        if self.packed != Some(x) {
            let blocks = self.width(x) / PACKED_BLOCK;
            let bytes = arithmetic.row_bytes(self.width(x)) * self.program.max_tokens;
            self.program.packed_bytes = self.program.packed_bytes.max(bytes);
            let params = Params::new().u(self.width(x) / 4).u(0);
            let slots = vec![Slot::Buffer(x), Slot::Packed];
            let kernel = Kernel::Pack { arithmetic };
            let grid = self.per_row(kernel, blocks);
            self.push(kernel, params, slots, grid, When::Always);
            self.packed = Some(x);
        }
        (Slot::Packed, arithmetic)
    }

    pub(super) fn project(&mut self, node: &Node) -> Result<()> {
        let Node::Project {
            x,
            weight,
            rows,
            norm,
            factor,
            then,
            out,
            out_offset,
        } = node
        else {
            return Err(self.mismatch());
        };
        let (matrix, row) = self.layout.matrix(*weight)?;
        let up_offset = match then {
            Then::Gated(_, up) => self.layout.matrix(*up)?.1 - row,
            _ => 0,
        };
        let product = Product {
            x: *x,
            matrix,
            row,
            rows: *rows,
            out: *out,
            out_offset: *out_offset,
            bias: self.layout.matrices[matrix].bias.is_some(),
            up_offset,
            factor: *factor,
        };
        let norm = self.input_norm(*norm)?;
        self.rows_product(&product, norm, then, When::Always);
        Ok(())
    }

    /// A product with one vector.
    fn rows_product(
        &mut self,
        product: &Product,
        (norm, norm_slots, eps): (Option<NormKind>, [Slot; 2], f32),
        then: &Then,
        when: When,
    ) {
        let (epilogue, act) = epilogue(then);
        let gated = epilogue == Epilogue::Gated;
        for rows in self.parts(product.matrix, product.row, product.rows) {
            let matrix = &self.layout.matrices[product.matrix];
            let shape = RowShape::of(
                matrix.format,
                matrix.units(),
                rows.count,
                gated,
                self.target.lanes,
            );
            let bias = matrix.bias.filter(|_| product.bias);
            let kernel = Kernel::MatVec {
                format: matrix.format,
                shape,
                norm,
                epilogue,
                act,
                bias: bias.is_some(),
            };
            let groups = rows.count.div_ceil(shape.rows * shape.teams());
            let params = Params::new()
                .u(matrix.units())
                .u(rows.count)
                .u(rows.local)
                .u(product.up_offset)
                .u(product.out_offset + rows.from)
                .u(product.row + rows.from)
                .u(groups.min(GRID_X) * shape.teams())
                .f(eps)
                .u(matrix.quads())
                .u(usize::from(norm == Some(NormKind::Rms)))
                .u(usize::from(epilogue == Epilogue::Residual))
                .f(product.factor);
            let slots = vec![
                Slot::Quants(product.matrix, rows.part),
                Slot::Scales(product.matrix, rows.part),
                Slot::Buffer(product.x),
                norm_slots[0],
                norm_slots[1],
                bias.map_or(Slot::Unused, Slot::Vector),
                Slot::Buffer(product.out),
            ];
            let grid = [groups.min(GRID_X), groups.div_ceil(GRID_X), 1];
            let grid = grid.map(|n| Extent::Fixed(n as u32));
            self.push(kernel, params, slots, grid, when);
        }
    }

    fn input_norm(&self, norm: Option<InputNorm>) -> Result<(Option<NormKind>, [Slot; 2], f32)> {
        let Some(norm) = norm else {
            return Ok((None, [Slot::Unused; 2], 0.0));
        };
        let weight = Slot::Vector(self.layout.vector(norm.weight)?);
        let bias = self.optional_vector(norm.bias)?;
        Ok((Some(norm.kind), [weight, bias], norm.eps))
    }
}

fn epilogue(then: &Then) -> (Epilogue, Option<Activation>) {
    match then {
        Then::Store => (Epilogue::Store, None),
        Then::Act(act) => (Epilogue::Store, Some(*act)),
        Then::Residual => (Epilogue::Residual, None),
        Then::Gated(act, _) => (Epilogue::Gated, Some(*act)),
    }
}
