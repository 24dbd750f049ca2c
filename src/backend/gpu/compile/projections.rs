//! Everything that multiplies with a matrix, and the embedding.

use super::super::fuse::{InputNorm, Node, Then};
use super::super::kernel::{Epilogue, Kernel};
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use crate::Result;
use crate::model::{Activation, IdSource, NormKind, Op};

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
        let out_width = self.width(out);
        for PartRows {
            part,
            from,
            count,
            local,
        } in self.parts(matrix, row, rows)
        {
            let shape = &self.layout.matrices[matrix];
            let kernel = Kernel::MatMul {
                format: shape.format,
                bias: bias.is_some(),
            };
            let bias_slot = shape
                .bias
                .filter(|_| bias.is_some())
                .map_or(Slot::Unused, Slot::Vector);
            let params = Params::new()
                .u(shape.units())
                .u(count)
                .u(local)
                .u(out_width)
                .u(from)
                .u(row + from)
                .u(usize::from(self.tail))
                .u(shape.quads());
            let slots = vec![
                Slot::Quants(matrix, part),
                Slot::Scales(matrix, part),
                Slot::Buffer(x),
                bias_slot,
                Slot::Buffer(out),
            ];
            let grid = [
                Extent::Fixed(count.div_ceil(64) as u32),
                self.rows(64),
                Extent::Fixed(1),
            ];
            self.push(kernel, params, slots, grid, When::Always);
        }
        Ok(())
    }

    pub(super) fn project(&mut self, node: &Node) -> Result<()> {
        let Node::Project {
            x,
            weight,
            rows,
            norm,
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
        let (epilogue, act) = epilogue(then);
        let (norm_kind, norm_slots, eps) = self.input_norm(*norm)?;
        for PartRows {
            part,
            from,
            count,
            local,
        } in self.parts(matrix, row, *rows)
        {
            let shape = &self.layout.matrices[matrix];
            let bias = shape.bias.map_or(Slot::Unused, Slot::Vector);
            let kernel = Kernel::MatVec {
                format: shape.format,
                norm: norm_kind,
                epilogue,
                act,
                bias: shape.bias.is_some(),
            };
            let groups = count.div_ceil(4);
            let params = Params::new()
                .u(shape.units())
                .u(count)
                .u(local)
                .u(up_offset)
                .u(out_offset + from)
                .u(row + from)
                .u(groups.min(GRID_X))
                .f(eps)
                .u(shape.quads());
            let slots = vec![
                Slot::Quants(matrix, part),
                Slot::Scales(matrix, part),
                Slot::Buffer(*x),
                norm_slots[0],
                norm_slots[1],
                bias,
                Slot::Buffer(*out),
            ];
            let grid = [groups.min(GRID_X), groups.div_ceil(GRID_X), 1];
            self.push(
                kernel,
                params,
                slots,
                grid.map(|n| Extent::Fixed(n as u32)),
                When::Always,
            );
        }
        Ok(())
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
