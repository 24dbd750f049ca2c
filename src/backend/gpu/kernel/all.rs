//! The table of all variants.

use super::{
    Arithmetic, BlockTypes, Epilogue, Experts, Format, HeadVariant, Kernel, Lanes, NormTarget,
    RowShape, ScoreExtra, Tile, TileSize,
};
use crate::backend::KvType;
use crate::model::{Activation, Gating, NormKind, Pairing, RelativeBuckets};
use crate::quant::DType;

impl Kernel {
    /// Every kernel that some model may use; tests compile each.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::AttentionCombine,
            Self::Add,
            Self::Scale,
            Self::ScaleByWeight,
            Self::Place,
            Self::SelectiveScan,
            Self::TokenShift,
            Self::Wkv7,
            Self::MixStreams,
            Self::JoinStreams,
            Self::Sparsify,
            Self::Slice,
            Self::SoftCap,
            Self::Softmax,
            Self::LastRow,
            Self::Pool,
            Self::DeltaNet,
            Self::StateScan,
            Self::PositionScale,
            Self::EveryExpert,
            Self::MoeSum,
            Self::ArgMax,
            Self::ArgMaxJoin,
        ];
        let sizes = [TileSize::Small, TileSize::Alone];
        all.extend(sizes.map(|tile| Self::MoeGroup { tile }));
        all.extend(Arithmetic::PACKED.map(|arithmetic| Self::Pack { arithmetic }));
        Format::all()
            .into_iter()
            .for_each(|format| all.extend(Self::all_of(format)));
        for from_logits in [false, true] {
            all.push(Self::TopK { from_logits });
            all.push(Self::Sample { from_logits });
        }
        let types = BlockTypes::of(DType::ALL.iter().copied());
        all.push(Self::Repack { types });
        all.extend(types.iter().map(|dtype| Self::Repack {
            types: BlockTypes::of([dtype]),
        }));
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
                for target in [
                    NormTarget::Other,
                    NormTarget::InPlace,
                    NormTarget::Residual,
                    NormTarget::ThenGate,
                    NormTarget::GateFirst,
                ] {
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
            let buckets = |both_ways| {
                ScoreExtra::Bias(RelativeBuckets {
                    buckets: 32,
                    both_ways,
                })
            };
            let extras = [
                ScoreExtra::None,
                ScoreExtra::Sinks,
                ScoreExtra::Slopes,
                buckets(false),
            ];
            for new in HeadVariant::all() {
                for threads in [8, 16, 32, 64, 128, 256] {
                    all.extend(extras.map(|extra| Self::Attention {
                        kv,
                        threads,
                        split: false,
                        extra,
                        new,
                    }));
                }
            }
            let extras = [
                ScoreExtra::None,
                ScoreExtra::Sinks,
                ScoreExtra::Slopes,
                buckets(true),
            ];
            for slot_rows in [1, 2, 4, 8, 16] {
                all.extend(extras.map(|extra| Self::AttentionTile {
                    kv,
                    slot_rows,
                    extra,
                }));
            }
        }
        all
    }

    /// The kernels that multiply with a matrix of this format.
    fn all_of(format: Format) -> Vec<Self> {
        let mut all = vec![Self::Embed { format }];
        let shape = RowShape::of(format, 128, 4096, true, Lanes::Any);
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
            let experts = |then, act| Self::MoeMatVec {
                format,
                shape,
                then,
                act,
                bias,
            };
            all.push(experts(Experts::Each, None));
            all.push(experts(Experts::Sum, None));
            all.extend(ACTIVATIONS.map(|act| experts(Experts::Each, Some(act))));
            all.extend(ACTIVATIONS.map(|act| experts(Experts::Gated, Some(act))));
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

impl HeadVariant {
    /// Every kind, and none.
    fn all() -> Vec<Option<Self>> {
        let ropes = PAIRINGS.map(Some).into_iter().chain([None]);
        let kinds = ropes.flat_map(|rope| [false, true].map(|qk_norm| Self { qk_norm, rope }));
        kinds.map(Some).chain([None]).collect()
    }
}

const PAIRINGS: [Pairing; 2] = [Pairing::Adjacent, Pairing::Halves];

const ACTIVATIONS: [Activation; 8] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::Sigmoid,
    Activation::ClampedSwiglu,
    Activation::Relu,
    Activation::SquaredRelu,
    Activation::Tanh,
    Activation::Identity,
];
