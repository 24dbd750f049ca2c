//! The one table of shaders: which kernels there are, how each is put together, and what it binds.
//!
//! A shader is a header of constants, `shaders/lib` modules, perhaps a `shaders/quant` module, one file of
//! `shaders/kernels`, and the entry point. Joining strings is all that happens: no preprocessor, no build script.

mod blocks;
mod shape;
mod source;
mod text;

pub use super::format::Format;
use crate::backend::KvType;
use crate::model::{Activation, Gating, NormKind, Pairing, RelativeBuckets};
use crate::quant::DType;
pub use blocks::REPACK_RUN;
pub use shape::{Arithmetic, PACKED_BLOCK, RowShape, Tile};

/// Most tokens in a chunk.
pub const MAX_TOKENS: usize = 64;

/// Rows of a tile of attention: queries of several tokens, and of the heads that share keys.
pub const TILE_ROWS: usize = 16;

/// Invocations that work on such a tile.
const TILE_WORKGROUP: usize = 128;

/// Longest attention head.
pub const MAX_HEAD: usize = 512;

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

/// Where a norm puts its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormTarget {
    /// Another buffer.
    Other,
    /// Its own input.
    InPlace,
    /// Adds it to another buffer.
    Residual,
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
        bias: bool,
    },
    MoeRoute {
        gating: Gating,
        bias: bool,
    },
    MoeGroup,
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
    Heads {
        qk_norm: bool,
        rope: Option<Pairing>,
        kv: KvType,
    },
    Attention {
        kv: KvType,
        split: bool,
        extra: ScoreExtra,
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
        dtype: DType,
    },
}

impl Kernel {
    /// Invocations in a workgroup.
    pub fn workgroup(&self) -> usize {
        match self {
            Self::MatVec { shape, .. } | Self::MoeMatVec { shape, .. } => shape.threads,
            Self::MatMul { tile, .. } => tile.side() * tile.side(),
            Self::ArgMax
            | Self::ArgMaxJoin
            | Self::MoeGroup
            | Self::TopK { .. }
            | Self::Sample { .. } => 256,
            // One workgroup has all positions of a head: the more at a time, the fewer turns one after the other.
            Self::Attention { .. } => 256,
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
            Self::Heads { .. } => &[Write, Read, Read, Read, Write, Write],
            Self::Attention { .. } | Self::AttentionTile { .. } => &[Read, Read, Read, Read, Write],
            Self::MoeMatVec { .. } => &[Read, Read, Read, Read, Read, Write],
            Self::MoeRoute { .. } | Self::MoeSum => &[Read, Read, Write],
            Self::CausalConv { .. } => &[Read, Read, Read, Write, Write],
            Self::DeltaNet | Self::StateScan => &[Read, Read, Read, Read, Read, Write, Write],
            Self::Softmax => &[Write],
            Self::AttentionCombine
            | Self::Rope { .. }
            | Self::GatedAct { .. }
            | Self::Act { .. }
            | Self::Add
            | Self::Scale
            | Self::ScaleByWeight
            | Self::Slice
            | Self::SoftCap
            | Self::LastRow
            | Self::PositionScale
            | Self::Pool
            | Self::ArgMax
            | Self::Pack { .. }
            | Self::MoeGroup
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
            _ => return None,
        })
    }

    /// Whether the workgroup is one subgroup, if it has subgroup operations at all.
    pub fn is_subgroup(&self) -> bool {
        match self {
            Self::MatVec { shape, .. } | Self::MoeMatVec { shape, .. } => shape.lanes,
            _ => false,
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
            Self::MoeGroup => "moe_group",
            Self::MoeMatVec { .. } => "moe_matvec",
            Self::MoeRoute { .. } => "moe_route",
            Self::MoeSum => "moe_sum",
            Self::CausalConv { .. } => "causal_conv",
            Self::DeltaNet => "delta_net",
            Self::StateScan => "state_scan",
            Self::Norm { .. } => "norm",
            Self::PositionScale => "position_scale",
            Self::Rope { .. } => "rope",
            Self::StoreKv { .. } => "store_kv",
            Self::Heads { .. } => "heads",
            Self::Attention { .. } => "attention",
            Self::AttentionTile { .. } => "attention_tile",
            Self::AttentionCombine => "attention_combine",
            Self::GatedAct { .. } => "gated_act",
            Self::Act { .. } => "act",
            Self::Add => "add",
            Self::Scale => "scale",
            Self::ScaleByWeight => "scale_by_weight",
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

    /// The kernel of attention for many positions and heads of so many quads.
    pub fn attention_tile(kv: KvType, head_quads: usize, extra: ScoreExtra) -> Self {
        let slots = (TILE_WORKGROUP / head_quads).clamp(1, TILE_ROWS);
        Self::AttentionTile {
            kv,
            slot_rows: TILE_ROWS.div_ceil(slots),
            extra,
        }
    }

    /// Every kernel that some model may use; tests compile each.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::AttentionCombine,
            Self::Add,
            Self::Scale,
            Self::ScaleByWeight,
            Self::Slice,
            Self::SoftCap,
            Self::Softmax,
            Self::LastRow,
            Self::Pool,
            Self::DeltaNet,
            Self::StateScan,
            Self::PositionScale,
            Self::MoeGroup,
            Self::MoeSum,
            Self::ArgMax,
            Self::ArgMaxJoin,
        ];
        all.extend(Arithmetic::PACKED.map(|arithmetic| Self::Pack { arithmetic }));
        Format::all()
            .into_iter()
            .for_each(|format| all.extend(Self::all_of(format)));
        for from_logits in [false, true] {
            all.push(Self::TopK { from_logits });
            all.push(Self::Sample { from_logits });
        }
        all.extend(DType::ALL.iter().copied().filter_map(Self::repack));
        for bias in [false, true] {
            all.push(Self::CausalConv {
                bias,
                gated: true,
                act: Activation::Identity,
            });
            all.extend(ACTIVATIONS.map(|act| Self::CausalConv {
                bias,
                gated: false,
                act,
            }));
            for gating in [Gating::Softmax, Gating::Sigmoid, Gating::SoftmaxOfChosen] {
                all.push(Self::MoeRoute { gating, bias });
            }
            for (kind, weight) in [NormKind::Rms, NormKind::Layer]
                .into_iter()
                .zip([false, true])
            {
                for target in [NormTarget::Other, NormTarget::InPlace, NormTarget::Residual] {
                    all.push(Self::Norm {
                        kind,
                        target,
                        weight,
                        bias,
                    });
                }
            }
        }
        all.extend(PAIRINGS.map(|pairing| Self::Rope { pairing }));
        all.extend(ACTIVATIONS.map(|act| Self::GatedAct { act }));
        all.extend(ACTIVATIONS.map(|act| Self::Act { act }));
        for kv in [KvType::F32, KvType::F16] {
            all.push(Self::StoreKv { kv });
            for extra in [ScoreExtra::None, ScoreExtra::Sinks] {
                all.extend([false, true].map(|split| Self::Attention { kv, split, extra }));
            }
            let buckets = |both_ways| {
                ScoreExtra::Bias(RelativeBuckets {
                    buckets: 32,
                    both_ways,
                })
            };
            all.push(Self::Attention {
                kv,
                split: false,
                extra: buckets(false),
            });
            let extras = [ScoreExtra::None, ScoreExtra::Sinks, buckets(true)];
            for slot_rows in [1, 2, 4, 8, 16] {
                all.extend(extras.map(|extra| Self::AttentionTile {
                    kv,
                    slot_rows,
                    extra,
                }));
            }
            for qk_norm in [false, true] {
                let ropes = PAIRINGS.map(Some).into_iter().chain([None]);
                all.extend(ropes.map(|rope| Self::Heads { qk_norm, rope, kv }));
            }
        }
        all
    }

    /// The kernels that multiply with a matrix of this format.
    fn all_of(format: Format) -> Vec<Self> {
        let mut all = vec![Self::Embed { format }];
        let shape = RowShape::of(format, 128, 4096, true, None);
        let product = |shape, norm, epilogue, act| Self::MatVec {
            format,
            shape,
            norm,
            epilogue,
            act,
            bias: false,
        };
        for shape in RowShape::all() {
            let (rms, act) = (Some(NormKind::Rms), Some(Activation::Silu));
            all.push(product(shape, rms, Epilogue::Gated, act));
            all.push(product(shape, None, Epilogue::Residual, None));
        }
        for bias in [false, true] {
            let tiles = Tile::all(format).into_iter();
            all.extend(tiles.map(|tile| Self::MatMul { format, tile, bias }));
            all.push(Self::MoeMatVec {
                format,
                shape,
                bias,
            });
            for norm in [None, Some(NormKind::Rms), Some(NormKind::Layer)] {
                let plain = |epilogue, act| Self::MatVec {
                    format,
                    shape,
                    norm,
                    epilogue,
                    act,
                    bias,
                };
                all.push(plain(Epilogue::Store, None));
                all.push(plain(Epilogue::Residual, None));
                all.extend(ACTIVATIONS.map(|act| plain(Epilogue::Store, Some(act))));
                all.extend(ACTIVATIONS.map(|act| plain(Epilogue::Gated, Some(act))));
            }
        }
        all
    }
}

const PAIRINGS: [Pairing; 2] = [Pairing::Adjacent, Pairing::Halves];

const ACTIVATIONS: [Activation; 7] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::Sigmoid,
    Activation::ClampedSwiglu,
    Activation::Relu,
    Activation::Tanh,
    Activation::Identity,
];
