//! The text of each kernel: constants, modules, kernel file, entry point.

use std::fmt::Write;

use super::super::format::{Format, Plane, Scale};
use super::blocks::{repack_constants, repack_modules};
use super::{
    Arithmetic, Dialect, Epilogue, Experts, Kernel, MAX_ATTENTION_HEAD, MAX_EXPERTS, MAX_HEAD,
    MAX_TOKENS, Reduce, ScoreExtra, Team, TileSize,
};
use crate::backend::KvType;
use crate::model::{Activation, NormKind, Pairing, RelativeBuckets};

macro_rules! shader {
    ($path:literal) => {{
        use crate::backend::gpu::kernel::text::{as_text, strip, stripped_len};
        const TEXT: &str = include_str!(concat!("../../../../shaders/", $path));
        const STRIPPED: [u8; stripped_len(TEXT)] = strip(TEXT);
        const { as_text(&STRIPPED) }
    }};
}
pub(super) use shader;

impl Kernel {
    fn file(&self) -> &'static str {
        match self {
            Self::Embed { .. } => shader!("kernels/embed.wgsl"),
            Self::MatVec { .. } => shader!("kernels/matvec.wgsl"),
            Self::MatMul { tile, .. } => match (tile.arithmetic, tile.size) {
                (Arithmetic::F32, TileSize::Alone) => shader!("kernels/matmul_alone.wgsl"),
                (Arithmetic::F32, _) => shader!("kernels/matmul.wgsl"),
                _ => shader!("kernels/matmul_packed.wgsl"),
            },
            Self::Pack { .. } => shader!("kernels/pack.wgsl"),
            Self::MoeGroup { .. } => shader!("kernels/moe_group.wgsl"),
            Self::MoeMatVec { .. } => shader!("kernels/moe_matvec.wgsl"),
            Self::MoeRoute { .. } => shader!("kernels/moe_route.wgsl"),
            Self::MoeSum => shader!("kernels/moe_sum.wgsl"),
            Self::CausalConv { .. } => shader!("kernels/causal_conv.wgsl"),
            Self::DeltaNet => shader!("kernels/delta_net.wgsl"),
            Self::StateScan => shader!("kernels/state_scan.wgsl"),
            Self::Norm { .. } => shader!("kernels/norm.wgsl"),
            Self::Rope { .. } => shader!("kernels/rope.wgsl"),
            Self::StoreKv { .. } => shader!("kernels/store_kv.wgsl"),
            Self::Attention { .. } => shader!("kernels/attention.wgsl"),
            Self::AttentionTile { .. } => shader!("kernels/attention_tile.wgsl"),
            Self::AttentionCombine => shader!("kernels/attention_combine.wgsl"),
            Self::Act { .. }
            | Self::GatedAct { .. }
            | Self::Add
            | Self::Scale
            | Self::ScaleByWeight
            | Self::SoftCap
            | Self::LastRow
            | Self::EveryExpert
            | Self::PositionScale => shader!("kernels/elementwise.wgsl"),
            Self::Place => shader!("kernels/place.wgsl"),
            Self::SelectiveScan => shader!("kernels/selective_scan.wgsl"),
            Self::TokenShift => shader!("kernels/token_shift.wgsl"),
            Self::Wkv7 => shader!("kernels/wkv7.wgsl"),
            Self::MixStreams => shader!("kernels/mix_streams.wgsl"),
            Self::JoinStreams => shader!("kernels/join_streams.wgsl"),
            Self::Sparsify => shader!("kernels/sparsify.wgsl"),
            Self::Slice => shader!("kernels/slice.wgsl"),
            Self::Softmax => shader!("kernels/softmax.wgsl"),
            Self::Pool => shader!("kernels/pool.wgsl"),
            Self::ArgMax => shader!("kernels/argmax.wgsl"),
            Self::ArgMaxJoin => shader!("kernels/argmax_join.wgsl"),
            Self::TopK { .. } => shader!("kernels/top_k.wgsl"),
            Self::Sample { .. } => shader!("kernels/sample.wgsl"),
            Self::Repack { .. } => shader!("kernels/repack.wgsl"),
        }
    }

    /// Whether invocations reduce values together.
    pub fn reduces(&self) -> bool {
        matches!(
            self,
            Self::MatVec { .. }
                | Self::MoeMatVec { .. }
                | Self::MoeRoute { .. }
                | Self::Norm { .. }
                | Self::Softmax
                | Self::JoinStreams
                | Self::Wkv7
                | Self::Sparsify
                | Self::DeltaNet
                | Self::Attention { .. }
        )
    }

    fn constants(&self) -> Constants {
        let mut list = Constants(String::new());
        match self.team() {
            Team::Workgroup | Team::Subgroup => list.number("WG", self.workgroup()),
            Team::Alone => {
                list.number("WG", 1);
                list.number("CROWD", self.workgroup());
            }
        }
        list.number("MAX_TOKENS", MAX_TOKENS);
        match *self {
            Self::Embed { format } => list.format(format),
            Self::MatVec {
                format,
                shape,
                norm,
                epilogue,
                act,
                bias,
            } => {
                list.format(format);
                list.number("ROWS", shape.rows);
                list.flag("GATED", epilogue == Epilogue::Gated);
                list.flag("LAYER_NORM", norm == Some(NormKind::Layer));
                list.number("ACT", act.map_or(0, act_number));
                list.flag("HAS_BIAS", bias);
            }
            Self::MatMul { format, tile, bias } => {
                list.format(format);
                list.number("TILE_ROWS", tile.size.rows());
                list.number("TILE_TOKENS", tile.size.tokens());
                list.number("SIDE", tile.side());
                let center = match tile.arithmetic {
                    Arithmetic::F16 => format.center(),
                    Arithmetic::F32 | Arithmetic::Int8 => 0,
                };
                list.set("CENTER", format_args!("{center}.0"));
                list.flag("HAS_BIAS", bias);
            }
            Self::MoeGroup { tile } => {
                list.number("TILE_TOKENS", tile.tokens());
                list.number("MAX_EXPERTS", MAX_EXPERTS);
            }
            Self::MoeMatVec {
                format,
                shape,
                then,
                act,
                bias,
            } => {
                list.format(format);
                list.number("ROWS", shape.rows);
                list.flag("GATED", then == Experts::Gated);
                list.flag("SUM", then == Experts::Sum);
                list.number("ACT", act.map_or(0, act_number));
                list.flag("HAS_BIAS", bias);
            }
            Self::MoeRoute { gating, bias } => {
                list.number("GATING", gating as usize);
                list.number("MAX_EXPERTS", MAX_EXPERTS);
                list.flag("HAS_BIAS", bias);
            }
            Self::Norm {
                kind, weight, bias, ..
            } => {
                list.number("NORM", norm_number(kind));
                list.flag("WEIGHT", weight);
                list.flag("BIAS", bias);
            }
            Self::CausalConv { bias, gated, act } => {
                list.flag("HAS_BIAS", bias);
                list.flag("GATED", gated);
                list.number("ACT", act_number(act));
            }
            Self::DeltaNet => list.number("MAX_HEAD", MAX_HEAD),
            Self::Rope { pairing } => list.rotary(2, pairing),
            Self::Attention { extra, new, .. } => {
                let rope = new.and_then(|new| new.rope);
                list.flag("NEW", new.is_some());
                list.flag("QK_NORM", new.is_some_and(|new| new.qk_norm));
                list.flag("ROPE", rope.is_some());
                list.rotary(8, rope.unwrap_or(Pairing::Halves));
                list.flag("SINKS", extra == ScoreExtra::Sinks);
                list.relative_bias(extra);
                list.number("MAX_HEAD_QUADS", MAX_ATTENTION_HEAD / 4);
            }
            Self::AttentionTile {
                slot_rows, extra, ..
            } => {
                list.number("SLOT_ROWS", slot_rows);
                list.flag("SINKS", extra == ScoreExtra::Sinks);
                list.relative_bias(extra);
            }
            Self::Repack { types } => repack_constants(&mut list, types),
            _ => {}
        }
        list
    }

    fn modules(&self) -> Vec<&'static str> {
        let kv_module = |kv| match kv {
            KvType::F32 => shader!("lib/kv_f32.wgsl"),
            // There are no bytes here; the engine does not ask for them.
            KvType::F16 | KvType::Q8_0 => shader!("lib/kv_f16.wgsl"),
        };
        match *self {
            Self::Embed { format } => format_modules(format),
            Self::MatMul { format, tile, .. } => {
                let mut modules = format_modules(format);
                modules.push(if tile.experts {
                    shader!("lib/tile_experts.wgsl")
                } else {
                    shader!("lib/tile_tokens.wgsl")
                });
                match tile.arithmetic {
                    Arithmetic::F32 => {}
                    Arithmetic::F16 => modules.push(shader!("lib/words_f16.wgsl")),
                    Arithmetic::Int8 => modules.push(shader!("lib/words_int8.wgsl")),
                }
                modules
            }
            Self::MatVec { format, .. } | Self::MoeMatVec { format, .. } => {
                let mut modules = format_modules(format);
                modules.push(match self.team() {
                    Team::Alone => shader!("lib/rows_alone.wgsl"),
                    Team::Workgroup | Team::Subgroup => shader!("lib/rows.wgsl"),
                });
                modules.push(shader!("lib/activation.wgsl"));
                modules
            }
            Self::Pack {
                arithmetic: Arithmetic::F16,
            } => vec![shader!("lib/pack_f16.wgsl")],
            Self::Pack { .. } => vec![shader!("lib/pack_int8.wgsl")],
            Self::Rope { .. } => vec![shader!("lib/rotary.wgsl")],
            Self::StoreKv { kv } => vec![kv_module(kv)],
            Self::Attention { kv, .. } => vec![
                kv_module(kv),
                shader!("lib/attention.wgsl"),
                shader!("lib/rotary.wgsl"),
            ],
            Self::AttentionTile { kv, .. } => {
                vec![kv_module(kv), shader!("lib/attention.wgsl")]
            }
            Self::CausalConv { .. } | Self::Norm { .. } => vec![shader!("lib/activation.wgsl")],
            Self::MoeSum | Self::Pool | Self::Slice | Self::Place | Self::MixStreams => {
                vec![shader!("lib/values.wgsl")]
            }
            _ if self.elementwise().is_some() => {
                vec![shader!("lib/activation.wgsl"), shader!("lib/values.wgsl")]
            }
            Self::ArgMax | Self::ArgMaxJoin => vec![shader!("lib/best.wgsl")],
            Self::TopK { .. } => vec![shader!("lib/ranking.wgsl")],
            Self::Sample { .. } => vec![shader!("lib/ranking.wgsl"), shader!("lib/random.wgsl")],
            Self::DeltaNet | Self::StateScan | Self::SelectiveScan => {
                vec![shader!("lib/softplus.wgsl")]
            }
            Self::Repack { types } => repack_modules(types),
            _ => Vec::new(),
        }
    }

    /// The whole text of the shader.
    pub fn source(&self, reduce: Reduce, dialect: Dialect) -> String {
        let together = self.reduces() && self.team() != Team::Alone;
        let subgroups = together && reduce == Reduce::Subgroup;
        let mut text = String::new();
        if subgroups && dialect == Dialect::Browser {
            text.push_str("enable subgroups;\n");
        }
        if self.arithmetic() == Arithmetic::F16 {
            text.push_str("enable f16;\n");
        }
        text.push_str(&self.constants().0);
        let state: &[&str] = match self {
            Self::Repack { .. } => &[],
            _ if self.writes_state() => {
                &[shader!("lib/state.wgsl"), shader!("lib/state_write.wgsl")]
            }
            _ => &[shader!("lib/state.wgsl"), shader!("lib/state_read.wgsl")],
        };
        let entry = match self.team() {
            _ if !self.reduces() => shader!("lib/plain.wgsl"),
            Team::Alone => shader!("lib/reduce_alone.wgsl"),
            _ if !subgroups => shader!("lib/reduce_workgroup.wgsl"),
            Team::Subgroup => shader!("lib/reduce_lanes.wgsl"),
            Team::Workgroup => shader!("lib/reduce_subgroup.wgsl"),
        };
        let state = state.iter().copied();
        for part in state.chain(self.modules()).chain([entry, self.file()]) {
            text.push('\n');
            text.push_str(part);
        }
        text
    }
}

/// The header of a shader.
pub(super) struct Constants(String);

impl Constants {
    pub(super) fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "const {name} = {value};");
    }

    pub(super) fn number(&mut self, name: &str, value: usize) {
        self.set(name, format_args!("{value}u"));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.set(name, value);
    }

    fn format(&mut self, format: Format) {
        self.flag("RAGGED", format.ragged);
        self.number("SUB", format.sub);
        self.set("ZERO", format_args!("{}.0", format.zero()));
        self.flag("HAS_MIN", format.scale == Scale::HalfMin);
        self.flag("SCALE_F32", format.scale == Scale::Single);
        if let Some(table) = format.table() {
            let word = |i: usize| {
                let bytes = [0, 1, 2, 3].map(|j| table[4 * i + j] as u8);
                format!("{}u", u32::from_le_bytes(bytes))
            };
            let words = [0, 1, 2, 3].map(word).join(", ");
            self.set("TABLE", format_args!("vec4<u32>({words})"));
        }
    }

    /// The bucket of a distance, as a sum over the distances at which the next bucket begins.
    fn relative_bias(&mut self, extra: ScoreExtra) {
        self.flag("BIAS", matches!(extra, ScoreExtra::Bias(_)));
        self.flag("SLOPES", extra == ScoreExtra::Slopes);
        let (mut sum, mut later) = (String::from("0u"), 0);
        if let ScoreExtra::Bias(buckets) = extra {
            for distance in 1..=RelativeBuckets::FARTHEST {
                let more = buckets.of(-distance) - buckets.of(1 - distance);
                if more > 0 {
                    let _ = write!(sum, " + {more}u * u32(distance >= {distance}u)");
                }
            }
            later = buckets.of(1).saturating_sub(buckets.of(-1)) * usize::from(buckets.both_ways);
        }
        let _ = writeln!(
            self.0,
            "fn bucket_of(distance: u32) -> u32 {{ return {sum}; }}"
        );
        self.number("LATER_BUCKETS", later);
    }

    fn rotary(&mut self, binding: usize, pairing: Pairing) {
        self.set("ROTARY_BINDING", binding);
        self.flag("HALVES", pairing == Pairing::Halves);
    }
}

fn norm_number(kind: NormKind) -> usize {
    match kind {
        NormKind::Rms => 1,
        NormKind::Layer => 2,
    }
}

/// The number of an activation in `lib/activation.wgsl`.
pub fn act_number(act: Activation) -> usize {
    match act {
        Activation::Identity => 0,
        Activation::Silu => 1,
        Activation::GeluTanh => 2,
        Activation::Sigmoid => 3,
        Activation::ClampedSwiglu => 4,
        Activation::Relu => 5,
        Activation::Tanh => 6,
        Activation::SquaredRelu => 7,
    }
}

fn format_modules(format: Format) -> Vec<&'static str> {
    match format.plane {
        Plane::Q4 => nibbles(shader!("quant/q4.wgsl")),
        Plane::Iq4 | Plane::E2m1 => nibbles(shader!("quant/table4.wgsl")),
        Plane::Q6 => vec![shader!("quant/scales.wgsl"), shader!("quant/q6.wgsl")],
        Plane::Q8 => vec![shader!("quant/scales.wgsl"), shader!("quant/q8.wgsl")],
        Plane::F32 => vec![shader!("quant/f32.wgsl")],
        Plane::F16 => vec![shader!("quant/f16.wgsl"), shader!("quant/halves.wgsl")],
        Plane::Bf16 => vec![shader!("quant/bf16.wgsl"), shader!("quant/halves.wgsl")],
    }
}

fn nibbles(numbers: &'static str) -> Vec<&'static str> {
    vec![
        shader!("quant/scales.wgsl"),
        shader!("quant/nibbles.wgsl"),
        numbers,
    ]
}
