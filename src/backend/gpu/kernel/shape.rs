//! How the work of a product is cut: chosen by the shapes of its matrices, so that the smallest fill a large GPU too.

use serde::{Deserialize, Serialize};

use super::super::format::{Format, Plane};

/// Invocations that a large GPU wants to have under way, to hide how far away its memory is.
const BUSY: usize = 1 << 16;

/// How an adapter runs workgroups, as far as work is cut by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// In subgroups whose size is not known, if at all.
    Any,
    /// In subgroups of one size, and kernels may use them.
    Of(usize),
    /// One subgroup after another, on a CPU: each waits at every barrier until all others have come there too. That takes
    /// longer than the work in between, so products have none.
    Imitated,
}

/// Invocations of a workgroup that a CPU imitates: one subgroup, or two.
pub const IMITATED: usize = 8;

/// Who shares a row of a matrix, a part of it each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Team {
    /// All invocations of a workgroup, through shared memory.
    Workgroup,
    /// Those of a workgroup that is one subgroup, without.
    Subgroup,
    /// Nobody: each invocation has rows of its own.
    Alone,
}

/// How matrix times vector is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowShape {
    /// Invocations in a workgroup. Each takes 16 columns at a time.
    pub threads: usize,
    /// Rows of a team: the more, the less often the vector is read.
    pub rows: usize,
    /// Who shares them.
    pub team: Team,
}

impl RowShape {
    /// For `rows` rows of `units` units. `gated`: each has another one beside it.
    pub fn of(format: Format, units: usize, rows: usize, gated: bool, lanes: Lanes) -> Self {
        // More would not fit the registers.
        let most = match format.plane {
            Plane::F32 => 2,
            Plane::F16 | Plane::Bf16 => 4,
            _ => 8,
        } >> usize::from(gated);
        let one = match lanes {
            Lanes::Imitated => {
                return Self {
                    threads: IMITATED,
                    rows: most,
                    team: Team::Alone,
                };
            }
            Lanes::Of(size) => Some(size).filter(|size| units <= 2 * size),
            Lanes::Any => None,
        };
        let threads = one.unwrap_or(if units <= 64 { 64 } else { 128 });
        let fills = |count: &usize| rows.div_ceil(*count) * threads >= BUSY;
        let fitting = [8, 4, 2].into_iter().filter(|n| *n <= most.min(threads));
        Self {
            threads,
            rows: fitting.into_iter().find(fills).unwrap_or(1),
            team: match one {
                Some(_) => Team::Subgroup,
                None => Team::Workgroup,
            },
        }
    }

    /// Teams in a workgroup.
    pub fn teams(self) -> usize {
        match self.team {
            Team::Alone => self.threads,
            Team::Subgroup | Team::Workgroup => 1,
        }
    }

    /// Every shape that the tests compile.
    pub fn all() -> Vec<Self> {
        let sizes = [
            (4, Team::Subgroup),
            (8, Team::Subgroup),
            (32, Team::Subgroup),
            (IMITATED, Team::Alone),
            (64, Team::Workgroup),
            (128, Team::Workgroup),
        ];
        let shapes = sizes.map(|(threads, team)| {
            let rows = [1, 2, 4, 8].into_iter().filter(move |n| *n <= threads);
            rows.map(move |rows| Self {
                threads,
                rows,
                team,
            })
        });
        shapes.into_iter().flatten().collect()
    }
}

/// Invocations that work on a head of so many quads for one token: each has a position at a time, so the more they are, the
/// fewer turns there are one after the other. At least one for each quad.
pub fn attention_threads(quads: usize, lanes: Lanes) -> usize {
    match lanes {
        Lanes::Any | Lanes::Of(_) => ATTENTION_THREADS,
        Lanes::Imitated => quads.next_power_of_two().max(IMITATED),
    }
}

/// The most of them.
pub const ATTENTION_THREADS: usize = 256;

/// What products of many tokens are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Arithmetic {
    /// As everything else.
    #[default]
    F32,
    /// Halves, for a few columns; weights are the integers that they are. Needs `shader-f16`.
    F16,
    /// Bytes: activations are rounded to them.
    Int8,
}

impl Arithmetic {
    /// Those that need activations in a form of their own, the more exact ones first.
    pub const PACKED: [Self; 2] = [Self::F16, Self::Int8];

    /// Whether rows of `cols` weights can be multiplied so.
    pub fn takes(self, format: Format, cols: usize) -> bool {
        self == Self::F32 || (format.is_integer() && cols.is_multiple_of(PACKED_BLOCK))
    }

    /// Bytes of a row of `cols` activations: packed ones have a vector of factors beside each block.
    pub fn row_bytes(self, cols: usize) -> usize {
        match self {
            Self::F32 => cols * 4,
            Self::F16 => cols / PACKED_BLOCK * (PACKED_BLOCK * 2 + 16),
            Self::Int8 => cols / PACKED_BLOCK * (PACKED_BLOCK + 16),
        }
    }
}

/// Activations that share a factor when they are packed.
pub const PACKED_BLOCK: usize = 32;

/// The part of a product of matrices that a workgroup makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TileSize {
    /// Where there is much to do.
    Large,
    /// Where there is little: more workgroups, each with less.
    Small,
    /// Of invocations that share nothing.
    Alone,
}

impl TileSize {
    /// Its rows.
    pub const fn rows(self) -> usize {
        match self {
            Self::Large | Self::Alone => 64,
            Self::Small => 32,
        }
    }

    /// Its tokens.
    pub const fn tokens(self) -> usize {
        match self {
            Self::Large => 64,
            Self::Small => 32,
            Self::Alone => 8,
        }
    }
}

/// How matrix times matrix is cut, and in what it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// What a workgroup makes.
    pub size: TileSize,
    /// Whether its rows are those of an expert, for the tokens that have chosen it.
    pub experts: bool,
    /// What it computes in.
    pub arithmetic: Arithmetic,
}

/// Workgroups below which a large GPU is not filled.
const FILLING: usize = 192;

/// Most tokens that may be asked for before tiles are large: half of the longest chunk.
const LATEST: usize = 256;

impl Tile {
    /// Tokens from which a matrix of `rows` rows is cut into large tiles, if at all: only the longest chunks would fill a
    /// GPU with those of a small matrix, and that is not worth a pipeline.
    pub fn large_from(rows: usize) -> Option<usize> {
        let (large, small) = (TileSize::Large, TileSize::Small);
        let tiles = FILLING.div_ceil(rows.div_ceil(large.rows()));
        let tokens = ((tiles - 1) * large.tokens()).max(small.tokens()) + 1;
        (tokens <= LATEST).then_some(tokens)
    }

    /// Invocations of a workgroup.
    pub fn threads(self) -> usize {
        match self.size {
            TileSize::Alone => IMITATED,
            TileSize::Large | TileSize::Small => self.side() * self.side(),
        }
    }

    /// Those along a side of a tile that they share: each makes 4 x 4 values.
    pub fn side(self) -> usize {
        self.size.rows() / 4
    }

    /// Every tile of a format.
    pub fn all(format: Format) -> Vec<Self> {
        let mut all = Vec::new();
        for arithmetic in [Arithmetic::F32, Arithmetic::F16, Arithmetic::Int8] {
            for (size, experts) in [
                (TileSize::Large, false),
                (TileSize::Small, false),
                (TileSize::Small, true),
                (TileSize::Alone, false),
                (TileSize::Alone, true),
            ] {
                all.push(Self {
                    size,
                    experts,
                    arithmetic,
                });
            }
        }
        all.retain(|tile| tile.arithmetic.takes(format, PACKED_BLOCK));
        all.retain(|tile| tile.arithmetic == Arithmetic::F32 || tile.size != TileSize::Alone);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::DType;

    #[test]
    fn short_matrices_are_cut_finely_and_tall_ones_coarsely() {
        let format = Format::of(DType::Q4_0, 2048);
        let of = |units, rows, gated, lanes| {
            let shape = RowShape::of(format, units, rows, gated, lanes);
            (shape.threads, shape.rows, shape.team)
        };
        assert_eq!(
            of(36, 576, false, Lanes::Of(32)),
            (32, 1, Team::Subgroup),
            "SmolLM2"
        );
        assert_eq!(of(36, 576, false, Lanes::Any), (64, 1, Team::Workgroup));
        assert_eq!(
            of(128, 2048, false, Lanes::Of(32)),
            (128, 4, Team::Workgroup),
            "Llama 1B"
        );
        assert_eq!(
            of(128, 8192, true, Lanes::Of(32)),
            (128, 4, Team::Workgroup)
        );
        assert_eq!(
            of(128, 128_256, false, Lanes::Of(32)),
            (128, 8, Team::Workgroup)
        );
        assert_eq!(of(2, 49_152, false, Lanes::Of(4)), (4, 2, Team::Subgroup));
        assert_eq!(of(36, 576, false, Lanes::Imitated), (8, 8, Team::Alone));
        assert_eq!(of(36, 576, true, Lanes::Imitated), (8, 4, Team::Alone));
        assert_eq!(Tile::large_from(8192), Some(65), "128 tiles of rows");
        assert_eq!(Tile::large_from(1 << 20), Some(33));
        assert_eq!(Tile::large_from(576), None);
    }
}
