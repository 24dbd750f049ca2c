//! Ways to run a product on a GPU, as texts and numbers for `xtask/browser/bench-kernels.js`, which times them: nothing
//! of this is in the engine that pages download.

use anyhow::Result;
use inkling::backend::gpu::kernel::{
    Arithmetic, Bind, Dialect, Epilogue, Format, Kernel, Lanes, Reduce, RowShape, Team, Tile,
    TileSize,
};
use inkling::model::{Activation, NormKind};
use inkling::quant::DType;
use serde_json::{Value, json};

/// A matrix of a model that people run.
struct Matrix {
    name: &'static str,
    rows: usize,
    cols: usize,
    /// Gate and up, of so many rows each.
    gated: bool,
    types: &'static [DType],
}

const fn matrix(name: &'static str, rows: usize, cols: usize, types: &'static [DType]) -> Matrix {
    Matrix {
        name,
        rows,
        cols,
        gated: false,
        types,
    }
}

const fn gated(name: &'static str, rows: usize, cols: usize, types: &'static [DType]) -> Matrix {
    Matrix {
        gated: true,
        ..matrix(name, rows, cols, types)
    }
}

const FOUR: &[DType] = &[DType::Q4_0];
const MIXED: &[DType] = &[DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::Q8_0];

const MATRICES: [Matrix; 11] = [
    matrix("SmolLM2 query, key, value", 960, 576, FOUR),
    gated("SmolLM2 gate, up", 1536, 576, FOUR),
    matrix("SmolLM2 down", 576, 1536, FOUR),
    matrix("Qwen3-0.6B query, key, value", 4096, 1024, FOUR),
    matrix("Qwen3-0.6B output", 1024, 2048, FOUR),
    gated("Qwen3-0.6B gate, up", 3072, 1024, FOUR),
    matrix("Llama-1B query, key, value", 3072, 2048, FOUR),
    matrix("Llama-1B output", 2048, 2048, FOUR),
    gated("Llama-1B gate, up", 8192, 2048, MIXED),
    matrix("Llama-1B down", 2048, 8192, MIXED),
    matrix("Llama-1B vocabulary", 128_256, 2048, MIXED),
];

/// Sizes of subgroups that may be a workgroup; the page keeps its adapter's.
const SUBGROUPS: [usize; 4] = [4, 8, 32, 64];

/// Prints all cases as one JSON object. `quick`: a few of them.
pub fn print(quick: bool) -> Result<()> {
    let mut cases = Cases::default();
    for matrix in &MATRICES {
        if quick && !matrix.name.starts_with("SmolLM2") {
            continue;
        }
        for dtype in matrix.types {
            cases.rows(matrix, *dtype);
            if !matrix.gated && matrix.rows < 10_000 {
                for tokens in if quick { vec![40] } else { vec![64, 512] } {
                    cases.tiles(matrix, *dtype, tokens);
                }
            }
        }
    }
    println!(
        "{}",
        json!({ "kernels": cases.kernels, "cases": cases.cases })
    );
    Ok(())
}

#[derive(Default)]
struct Cases {
    known: Vec<(Kernel, Reduce)>,
    kernels: Vec<Value>,
    cases: Vec<Value>,
}

impl Cases {
    /// Number of a kernel, whose text is kept once.
    fn kernel(&mut self, kernel: Kernel, reduce: Reduce) -> usize {
        let known = self
            .known
            .iter()
            .position(|known| *known == (kernel, reduce));
        known.unwrap_or_else(|| {
            let kinds = kernel.bindings().iter().map(|bind| match bind {
                Bind::Uniform => "uniform",
                Bind::Read => "read-only-storage",
                Bind::Write => "storage",
            });
            self.kernels.push(json!({
                "text": kernel.source(reduce, Dialect::Browser),
                "bindings": kinds.collect::<Vec<_>>(),
            }));
            self.known.push((kernel, reduce));
            self.known.len() - 1
        })
    }

    /// Matrix times vector, in every shape and with every reduction.
    fn rows(&mut self, matrix: &Matrix, dtype: DType) {
        let format = Format::of(dtype, matrix.cols);
        let units = matrix.cols / 16;
        let all_rows = matrix.rows << usize::from(matrix.gated);
        let sizes = SUBGROUPS.map(|size| (size, Team::Subgroup)).into_iter();
        for (threads, team) in sizes.chain([64, 128].map(|size| (size, Team::Workgroup))) {
            for rows in [1, 2, 4, 8].into_iter().filter(|rows| *rows <= threads) {
                let shape = RowShape {
                    threads,
                    rows,
                    team,
                };
                for reduce in [Reduce::Workgroup, Reduce::Subgroup] {
                    if team == Team::Subgroup && reduce == Reduce::Workgroup {
                        continue;
                    }
                    let kernel = Kernel::MatVec {
                        format,
                        shape,
                        norm: matrix.gated.then_some(NormKind::Rms),
                        epilogue: if matrix.gated {
                            Epilogue::Gated
                        } else {
                            Epilogue::Store
                        },
                        act: matrix.gated.then_some(Activation::Silu),
                        bias: false,
                    };
                    let groups = matrix.rows.div_ceil(rows);
                    let subgroup = (team == Team::Subgroup).then_some(threads);
                    let how = match (reduce, team) {
                        (_, Team::Subgroup) => "one subgroup",
                        (Reduce::Subgroup, _) => "subgroups",
                        (Reduce::Workgroup, _) => "shared memory",
                    };
                    let quants = format.quant_bytes(units * all_rows);
                    let scales = format.scale_bytes(units * all_rows);
                    let chosen = |size: Option<usize>| {
                        let lanes = size.map_or(Lanes::Any, Lanes::Of);
                        RowShape::of(format, units, matrix.rows, matrix.gated, lanes) == shape
                    };
                    let chosen: Vec<_> = [None, Some(4), Some(8), Some(32), Some(64)]
                        .into_iter()
                        .map(|size| (size, chosen(size)))
                        .collect();
                    let case = json!({
                        "test": "matvec",
                        "matrix": format!("{} {}x{}", matrix.name, all_rows, matrix.cols),
                        "type": dtype.to_string(),
                        "variant": format!("{how}, {threads} threads, {rows} rows"),
                        "kernel": self.kernel(kernel, reduce),
                        "subgroup": subgroup,
                        "subgroups": reduce == Reduce::Subgroup,
                        "chosen": chosen,
                        "bytes": quants + scales,
                        "flop": 2 * all_rows * matrix.cols,
                        "tokens": 1,
                        "params": [
                            units, matrix.rows, 0, matrix.rows, 0, 0, groups.min(32_768),
                            1e-5f32.to_bits() as usize, matrix.cols / 4, usize::from(matrix.gated), 0,
                        ],
                        "buffers": [
                            quants, scales, matrix.cols * 4, matrix.cols * 4, 16, 16, matrix.rows * 4,
                        ],
                        "grid": [groups.min(32_768), groups.div_ceil(32_768), 1],
                    });
                    self.cases.push(case);
                }
            }
        }
    }

    /// Matrix times matrix, in every tile.
    fn tiles(&mut self, matrix: &Matrix, dtype: DType, tokens: usize) {
        let format = Format::of(dtype, matrix.cols);
        let units = matrix.cols / 16;
        let shared = |tile: &Tile| !tile.experts && tile.size != TileSize::Alone;
        for tile in Tile::all(format).into_iter().filter(shared) {
            let kernel = Kernel::MatMul {
                format,
                tile,
                bias: false,
            };
            let quants = format.quant_bytes(units * matrix.rows);
            let scales = format.scale_bytes(units * matrix.rows);
            let numbers = match tile.arithmetic {
                Arithmetic::F32 => "f32",
                Arithmetic::F16 => "f16",
                Arithmetic::Int8 => "int8",
            };
            let input = tile.arithmetic.row_bytes(matrix.cols);
            let large = Tile::large_from(matrix.rows).is_some_and(|from| tokens >= from);
            let chosen = [(None::<usize>, large == (tile.size == TileSize::Large))];
            let case = json!({
                "test": "matmul",
                "matrix": format!("{} {}x{}, {tokens} tokens", matrix.name, matrix.rows, matrix.cols),
                "type": dtype.to_string(),
                "variant": format!("{numbers} tile of {}", tile.size.rows()),
                "kernel": self.kernel(kernel, Reduce::Workgroup),
                "subgroup": null,
                "subgroups": false,
                "numbers": numbers,
                "chosen": chosen,
                "bytes": quants + scales,
                "flop": 2 * matrix.rows * matrix.cols * tokens,
                "tokens": tokens,
                "params": [units, matrix.rows, 0, matrix.rows, 0, 0, 0, matrix.cols / 4],
                "buffers": [quants, scales, input * tokens, 16, matrix.rows * 4 * tokens],
                "grid": [matrix.rows.div_ceil(tile.size.rows()), tokens.div_ceil(tile.size.tokens()), 1],
            });
            self.cases.push(case);
        }
    }
}
