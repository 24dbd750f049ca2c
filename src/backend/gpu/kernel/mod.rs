//! Which kernels there are, how each is put together, and what it binds.
//!
//! A shader is a header of constants, `shaders/lib` modules, perhaps a `shaders/quant` module, one file of
//! `shaders/kernels`, and the entry point. Joining strings is all that happens: no preprocessor, no build script.

mod all;
mod blocks;
mod shape;
mod source;
mod text;

pub use super::format::Format;
use crate::backend::KvType;
use crate::model::{Activation, Gating, NormKind, Pairing, RelativeBuckets};
use crate::quant::DType;
pub use blocks::{BlockTypes, REPACK_GRAIN, REPACK_RUN};
pub use shape::{
    Arithmetic, Lanes, PACKED_BLOCK, RowShape, Team, Tile, TileSize, attention_threads,
};
pub use source::act_number;

/// Most tokens in a chunk.
pub const MAX_TOKENS: usize = 64;

/// Rows of a tile of attention: queries of several tokens, and of the heads that share keys.
pub const TILE_ROWS: usize = 16;

/// Invocations that work on such a tile.
const TILE_WORKGROUP: usize = 128;

/// Longest head of a recurrent layer.
pub const MAX_HEAD: usize = 512;

/// Longest attention head: what DeepSeek 2 has in its cache for all heads together.
pub const MAX_ATTENTION_HEAD: usize = 576;

/// Most experts that a router chooses from.
pub const MAX_EXPERTS: usize = 512;

/// What a binding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bind {
    /// Constants of a dispatch.
    Uniform,
    /// Storage that is only read.
    Read,
    /// Storage that is written.
    Write,
}

/// What a mat-vec does with its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Epilogue {
    /// Stores them.
    Store,
    /// Adds them to what is there.
    Residual,
    /// Multiplies the activated gate row with the up row.
    Gated,
}

/// What a mat-vec with experts does with their sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Experts {
    /// Stores those of each.
    Each,
    /// Multiplies the activated gate row of each with its up row.
    Gated,
    /// Adds them up, each times its weight.
    Sum,
}

/// Where a norm puts its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormTarget {
    /// Another buffer.
    Other,
    /// Its own input.
    InPlace,
    /// Adds it to another buffer.
    Residual,
    /// Its own input, which is then multiplied with an activated gate.
    ThenGate,
    /// The same in the other order.
    GateFirst,
}

/// What attention adds to the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreExtra {
    /// Nothing.
    None,
    /// A score of each head that takes its share of the softmax.
    Sinks,
    /// A bias of each head by distance.
    Bias(RelativeBuckets),
    /// A bias that grows with the distance (ALiBi).
    Slopes,
}

/// What attention does with the heads of a new token by itself, before it looks at those in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadVariant {
    /// Whether queries and keys pass a norm of their own.
    pub qk_norm: bool,
    /// How they are rotated.
    pub rope: Option<Pairing>,
}

/// How a workgroup sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// Shared memory.
    Workgroup,
    /// Subgroup operations.
    Subgroup,
}

/// Who reads the WGSL: they disagree on `enable subgroups;`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// naga, natively: refuses the line.
    Naga,
    /// A browser: demands the line.
    Browser,
}

/// A kernel with what it is for. Some differ only in the parameters of their dispatches: those share text and pipeline, and
/// are checked one by one all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the constants that the kernel's file explains
pub enum Kernel {
    Embed {
        format: Format,
    },
    MatVec {
        format: Format,
        shape: RowShape,
        norm: Option<NormKind>,
        epilogue: Epilogue,
        act: Option<Activation>,
        bias: bool,
    },
    MatMul {
        format: Format,
        tile: Tile,
        bias: bool,
    },
    Pack {
        arithmetic: Arithmetic,
    },
    MoeMatVec {
        format: Format,
        shape: RowShape,
        then: Experts,
        act: Option<Activation>,
        bias: bool,
    },
    MoeRoute {
        gating: Gating,
        bias: bool,
    },
    MoeGroup {
        tile: TileSize,
    },
    EveryExpert,
    MoeSum,
    CausalConv {
        bias: bool,
        gated: bool,
        act: Activation,
    },
    DeltaNet,
    StateScan,
    Norm {
        kind: NormKind,
        target: NormTarget,
        weight: bool,
        bias: bool,
    },
    PositionScale,
    Rope {
        pairing: Pairing,
    },
    StoreKv {
        kv: KvType,
    },
    Attention {
        kv: KvType,
        threads: usize,
        split: bool,
        extra: ScoreExtra,
        new: Option<HeadVariant>,
    },
    AttentionTile {
        kv: KvType,
        slot_rows: usize,
        extra: ScoreExtra,
    },
    AttentionCombine,
    GatedAct {
        act: Activation,
    },
    Act {
        act: Activation,
    },
    Add,
    Scale,
    ScaleByWeight,
    Place,
    SelectiveScan,
    TokenShift,
    Wkv7,
    MixStreams,
    JoinStreams,
    Sparsify,
    Slice,
    SoftCap,
    Softmax,
    LastRow,
    Pool,
    ArgMax,
    ArgMaxJoin,
    TopK {
        from_logits: bool,
    },
    Sample {
        from_logits: bool,
    },
    Repack {
        types: BlockTypes,
    },
}

impl Kernel {
    /// Invocations in a workgroup.
    pub fn workgroup(&self) -> usize {
        match self {
            Self::MatVec { shape, .. } | Self::MoeMatVec { shape, .. } => shape.threads,
            Self::MatMul { tile, .. } => tile.threads(),
            Self::ArgMax
            | Self::ArgMaxJoin
            | Self::MoeGroup { .. }
            | Self::TopK { .. }
            | Self::Sample { .. } => 256,
            Self::Attention { threads, .. } => *threads,
            Self::AttentionTile { .. } | Self::AttentionCombine => 128,
            _ => 64,
        }
    }

    /// Bindings after state (0, read; what has no state reads something else there) and parameters (1, uniform), in order
    /// from 2 on.
    pub fn bindings(&self) -> &'static [Bind] {
        use Bind::{Read, Write};
        match self {
            Self::Embed { .. } => &[Read, Read, Write],
            Self::MatVec { .. } => &[Read, Read, Read, Read, Read, Read, Write],
            Self::MatMul { tile, .. } if tile.experts => &[Read, Read, Read, Read, Write, Read],
            Self::MatMul { .. } => &[Read, Read, Read, Read, Write],
            Self::Norm { .. } => &[Read, Read, Read, Write],
            Self::StoreKv { .. } => &[Read, Read, Write, Write],
            Self::Attention { .. } => &[Read, Write, Write, Read, Write, Read, Read],
            Self::AttentionTile { .. } => &[Read, Read, Read, Read, Write],
            Self::MoeMatVec { .. } => &[Read, Read, Read, Read, Read, Write],
            Self::MoeRoute { .. } | Self::MoeSum | Self::MixStreams | Self::JoinStreams => {
                &[Read, Read, Write]
            }
            Self::CausalConv { .. } => &[Read, Read, Read, Write, Write],
            Self::TokenShift => &[Read, Read, Write, Write],
            Self::Wkv7 => &[Read, Read, Read, Read, Write, Write],
            Self::DeltaNet | Self::StateScan | Self::SelectiveScan => {
                &[Read, Read, Read, Read, Read, Write, Write]
            }
            Self::Softmax | Self::Sparsify => &[Write],
            Self::AttentionCombine
            | Self::Rope { .. }
            | Self::GatedAct { .. }
            | Self::Act { .. }
            | Self::Add
            | Self::Scale
            | Self::ScaleByWeight
            | Self::Slice
            | Self::Place
            | Self::SoftCap
            | Self::LastRow
            | Self::PositionScale
            | Self::EveryExpert
            | Self::Pool
            | Self::ArgMax
            | Self::Pack { .. }
            | Self::MoeGroup { .. }
            | Self::TopK { .. } => &[Read, Write],
            Self::ArgMaxJoin | Self::Sample { .. } => &[Read],
            Self::Repack { .. } => &[Write, Write, Write],
        }
    }

    /// Whether the host says with each dispatch where its parameters stand, rather than once for all.
    pub fn moves_params(&self) -> bool {
        matches!(self, Self::Repack { .. })
    }

    /// Whether the shared state is written.
    pub fn writes_state(&self) -> bool {
        matches!(self, Self::ArgMaxJoin | Self::Sample { .. })
    }

    /// Numbers of its operation and its activation, if it is one of `elementwise.wgsl`.
    pub fn elementwise(&self) -> Option<[usize; 2]> {
        Some(match *self {
            Self::Act { act } => [0, source::act_number(act)],
            Self::GatedAct { act } => [1, source::act_number(act)],
            Self::Add => [2, 0],
            Self::Scale => [3, 0],
            Self::ScaleByWeight => [4, 0],
            Self::SoftCap => [5, 0],
            Self::LastRow => [6, 0],
            Self::PositionScale => [7, 0],
            Self::EveryExpert => [8, 0],
            _ => return None,
        })
    }

    /// Who computes a value together.
    pub fn team(&self) -> Team {
        match self {
            Self::MatVec { shape, .. } | Self::MoeMatVec { shape, .. } => shape.team,
            _ => Team::Workgroup,
        }
    }

    /// What it multiplies in.
    pub fn arithmetic(&self) -> Arithmetic {
        match self {
            Self::MatMul { tile, .. } => tile.arithmetic,
            _ => Arithmetic::F32,
        }
    }

    /// Name for messages: that of the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embed { .. } => "embed",
            Self::MatVec { .. } => "matvec",
            Self::MatMul { tile, .. } => match tile.arithmetic {
                Arithmetic::F32 => "matmul",
                Arithmetic::F16 => "matmul in f16",
                Arithmetic::Int8 => "matmul in int8",
            },
            Self::Pack { .. } => "pack",
            Self::MoeGroup { .. } => "moe_group",
            Self::MoeMatVec { .. } => "moe_matvec",
            Self::MoeRoute { .. } => "moe_route",
            Self::EveryExpert => "every_expert",
            Self::MoeSum => "moe_sum",
            Self::CausalConv { .. } => "causal_conv",
            Self::DeltaNet => "delta_net",
            Self::StateScan => "state_scan",
            Self::Norm { .. } => "norm",
            Self::PositionScale => "position_scale",
            Self::Rope { .. } => "rope",
            Self::StoreKv { .. } => "store_kv",
            Self::Attention { .. } => "attention",
            Self::AttentionTile { .. } => "attention_tile",
            Self::AttentionCombine => "attention_combine",
            Self::GatedAct { .. } => "gated_act",
            Self::Act { .. } => "act",
            Self::Add => "add",
            Self::Scale => "scale",
            Self::ScaleByWeight => "scale_by_weight",
            Self::Place => "place",
            Self::SelectiveScan => "selective_scan",
            Self::TokenShift => "token_shift",
            Self::Wkv7 => "wkv7",
            Self::MixStreams => "mix_streams",
            Self::JoinStreams => "join_streams",
            Self::Sparsify => "sparsify",
            Self::Slice => "slice",
            Self::SoftCap => "softcap",
            Self::Softmax => "softmax",
            Self::LastRow => "last_row",
            Self::Pool => "pool",
            Self::ArgMax => "argmax",
            Self::ArgMaxJoin => "argmax_join",
            Self::TopK { .. } => "top_k",
            Self::Sample { .. } => "sample",
            Self::Repack { .. } => "repack",
        }
    }

    /// The kernel of attention for many positions and heads of so many quads; longer ones than it has invocations have none.
    pub fn attention_tile(kv: KvType, head_quads: usize, extra: ScoreExtra) -> Option<Self> {
        let slots = (TILE_WORKGROUP / head_quads).min(TILE_ROWS);
        (slots > 0).then(|| Self::AttentionTile {
            kv,
            slot_rows: TILE_ROWS.div_ceil(slots),
            extra,
        })
    }
}
