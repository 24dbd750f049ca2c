//! The one table of shaders: which kernels there are, how each is put together, and what it binds.
//!
//! A shader is a header of constants, `shaders/lib` modules, perhaps a `shaders/quant` module, one file of
//! `shaders/kernels`, and the entry point. Joining strings is all that happens: no preprocessor, no build script.

use std::fmt::Write;

use super::format::{Format, Plane, Scale};
use crate::backend::KvType;
use crate::model::{Activation, NormKind, Pairing};

/// Most tokens in a chunk.
pub const MAX_TOKENS: usize = 64;

/// Longest attention head.
pub const MAX_HEAD: usize = 512;

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

/// A kernel with everything that is fixed when it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the constants that the kernel's file explains
pub enum Kernel {
    Embed { format: Format },
    MatVec { format: Format, norm: Option<NormKind>, epilogue: Epilogue, act: Option<Activation>, bias: bool },
    MatMul { format: Format, bias: bool },
    Norm { kind: NormKind, target: NormTarget },
    Rope { pairing: Pairing },
    StoreKv { kv: KvType },
    Heads { qk_norm: bool, rope: Option<Pairing>, kv: KvType },
    Attention { kv: KvType, split: bool },
    AttentionCombine,
    GatedAct { act: Activation },
    Act { act: Activation },
    Add,
    Scale,
    SoftCap,
    LastRow,
    ArgMax,
    ArgMaxJoin,
}

macro_rules! shader {
    ($path:literal) => {
        include_str!(concat!("../../../shaders/", $path))
    };
}

impl Kernel {
    /// Invocations in a workgroup.
    pub fn workgroup(&self) -> usize {
        match self {
            Self::MatMul { .. } | Self::ArgMax | Self::ArgMaxJoin => 256,
            Self::Attention { .. } | Self::AttentionCombine => 128,
            _ => 64,
        }
    }

    /// Bindings after state (0, read) and parameters (1, uniform), in order from 2 on.
    pub fn bindings(&self) -> &'static [Bind] {
        use Bind::{Read, Write};
        match self {
            Self::Embed { .. } => &[Read, Read, Write],
            Self::MatVec { .. } => &[Read, Read, Read, Read, Read, Read, Write],
            Self::MatMul { .. } => &[Read, Read, Read, Read, Write],
            Self::Norm { .. } => &[Read, Read, Read, Write],
            Self::StoreKv { .. } => &[Read, Read, Write, Write],
            Self::Heads { .. } => &[Write, Read, Read, Read, Write, Write],
            Self::Attention { .. } => &[Read, Read, Read, Write],
            Self::AttentionCombine
            | Self::Rope { .. }
            | Self::GatedAct { .. }
            | Self::Act { .. }
            | Self::Add
            | Self::Scale
            | Self::SoftCap
            | Self::LastRow => &[Read, Write],
            Self::ArgMax => &[Read, Write],
            Self::ArgMaxJoin => &[Read],
        }
    }

    /// Whether the shared state is written.
    pub fn writes_state(&self) -> bool {
        matches!(self, Self::ArgMaxJoin)
    }

    /// Name for messages: that of the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embed { .. } => "embed",
            Self::MatVec { .. } => "matvec",
            Self::MatMul { .. } => "matmul",
            Self::Norm { .. } => "norm",
            Self::Rope { .. } => "rope",
            Self::StoreKv { .. } => "store_kv",
            Self::Heads { .. } => "heads",
            Self::Attention { .. } => "attention",
            Self::AttentionCombine => "attention_combine",
            Self::GatedAct { .. } => "gated_act",
            Self::Act { .. } => "act",
            Self::Add => "add",
            Self::Scale => "scale",
            Self::SoftCap => "softcap",
            Self::LastRow => "last_row",
            Self::ArgMax => "argmax",
            Self::ArgMaxJoin => "argmax_join",
        }
    }

    fn file(&self) -> &'static str {
        match self {
            Self::Embed { .. } => shader!("kernels/embed.wgsl"),
            Self::MatVec { .. } => shader!("kernels/matvec.wgsl"),
            Self::MatMul { .. } => shader!("kernels/matmul.wgsl"),
            Self::Norm { .. } => shader!("kernels/norm.wgsl"),
            Self::Rope { .. } => shader!("kernels/rope.wgsl"),
            Self::StoreKv { .. } => shader!("kernels/store_kv.wgsl"),
            Self::Heads { .. } => shader!("kernels/heads.wgsl"),
            Self::Attention { .. } => shader!("kernels/attention.wgsl"),
            Self::AttentionCombine => shader!("kernels/attention_combine.wgsl"),
            Self::GatedAct { .. } => shader!("kernels/gated_act.wgsl"),
            Self::Act { .. } => shader!("kernels/act.wgsl"),
            Self::Add => shader!("kernels/add.wgsl"),
            Self::Scale => shader!("kernels/scale.wgsl"),
            Self::SoftCap => shader!("kernels/softcap.wgsl"),
            Self::LastRow => shader!("kernels/last_row.wgsl"),
            Self::ArgMax => shader!("kernels/argmax.wgsl"),
            Self::ArgMaxJoin => shader!("kernels/argmax_join.wgsl"),
        }
    }

    /// Whether invocations reduce values together.
    fn reduces(&self) -> bool {
        matches!(self, Self::MatVec { .. } | Self::Norm { .. } | Self::Heads { .. } | Self::Attention { .. })
    }

    fn constants(&self) -> Vec<(&'static str, String)> {
        let number = |value: usize| format!("{value}u");
        let mut list =
            vec![("WG", number(self.workgroup())), ("MAX_TOKENS", number(MAX_TOKENS))];
        let norm = |kind: Option<NormKind>| match kind {
            None => 0,
            Some(NormKind::Rms) => 1,
            Some(NormKind::Layer) => 2,
        };
        let act = |act: Option<Activation>| match act {
            None => 0,
            Some(Activation::Silu) => 1,
            Some(Activation::GeluTanh) => 2,
        };
        match *self {
            Self::Embed { format } => format_constants(format, &mut list),
            Self::MatVec { format, norm: kind, epilogue, act: activation, bias } => {
                format_constants(format, &mut list);
                list.push(("NORM", number(norm(kind))));
                list.push(("EPILOGUE", number(epilogue as usize)));
                list.push(("ACT", number(act(activation))));
                list.push(("HAS_BIAS", bias.to_string()));
            }
            Self::MatMul { format, bias } => {
                format_constants(format, &mut list);
                list.push(("HAS_BIAS", bias.to_string()));
            }
            Self::Norm { kind, target } => {
                list.push(("NORM", number(norm(Some(kind)))));
                list.push(("TARGET", number(target as usize)));
            }
            Self::Rope { pairing } => rotary_constants(2, pairing, &mut list),
            Self::Heads { qk_norm, rope, .. } => {
                list.push(("QK_NORM", qk_norm.to_string()));
                list.push(("ROPE", rope.is_some().to_string()));
                list.push(("MAX_HEAD", number(MAX_HEAD)));
                rotary_constants(3, rope.unwrap_or(Pairing::Halves), &mut list);
            }
            Self::Attention { split, .. } => {
                list.push(("SPLIT", split.to_string()));
                list.push(("MAX_HEAD_QUADS", number(MAX_HEAD / 4)));
            }
            Self::GatedAct { act: activation } | Self::Act { act: activation } => {
                list.push(("ACT", number(act(Some(activation)))));
            }
            _ => {}
        }
        list
    }

    fn modules(&self) -> Vec<&'static str> {
        let kv_module = |kv| match kv {
            KvType::F32 => shader!("lib/kv_f32.wgsl"),
            KvType::F16 => shader!("lib/kv_f16.wgsl"),
        };
        match *self {
            Self::Embed { format } | Self::MatMul { format, .. } => format_modules(format),
            Self::MatVec { format, .. } => {
                let mut modules = format_modules(format);
                modules.push(shader!("lib/activation.wgsl"));
                modules
            }
            Self::Rope { .. } => vec![shader!("lib/rotary.wgsl")],
            Self::Heads { kv, .. } => vec![shader!("lib/rotary.wgsl"), kv_module(kv)],
            Self::StoreKv { kv } | Self::Attention { kv, .. } => vec![kv_module(kv)],
            Self::GatedAct { .. } | Self::Act { .. } => vec![shader!("lib/activation.wgsl")],
            _ => Vec::new(),
        }
    }

    /// The whole text of the shader.
    pub fn source(&self, reduce: Reduce, dialect: Dialect) -> String {
        let subgroups = self.reduces() && reduce == Reduce::Subgroup;
        let mut text = String::new();
        if subgroups && dialect == Dialect::Browser {
            text.push_str("enable subgroups;\n");
        }
        for (name, value) in self.constants() {
            let _ = writeln!(text, "const {name} = {value};");
        }
        let state =
            if self.writes_state() { shader!("lib/state_write.wgsl") } else { shader!("lib/state.wgsl") };
        let entry = match (self.reduces(), subgroups) {
            (false, _) => shader!("lib/plain.wgsl"),
            (true, false) => shader!("lib/reduce_workgroup.wgsl"),
            (true, true) => shader!("lib/reduce_subgroup.wgsl"),
        };
        for part in [state].into_iter().chain(self.modules()).chain([entry, self.file()]) {
            text.push('\n');
            text.push_str(part);
        }
        text
    }

    /// Every kernel that some model may use; tests compile each.
    pub fn all() -> Vec<Self> {
        let norms = [None, Some(NormKind::Rms), Some(NormKind::Layer)];
        let acts = [Activation::Silu, Activation::GeluTanh];
        let pairings = [Pairing::Adjacent, Pairing::Halves];
        let mut all = vec![
            Self::AttentionCombine,
            Self::Add,
            Self::Scale,
            Self::SoftCap,
            Self::LastRow,
            Self::ArgMax,
            Self::ArgMaxJoin,
        ];
        for format in Format::all() {
            all.push(Self::Embed { format });
            for bias in [false, true] {
                all.push(Self::MatMul { format, bias });
                for norm in norms {
                    let plain = |epilogue, act| Self::MatVec { format, norm, epilogue, act, bias };
                    all.push(plain(Epilogue::Store, None));
                    all.push(plain(Epilogue::Residual, None));
                    all.extend(acts.map(|act| plain(Epilogue::Store, Some(act))));
                    all.extend(acts.map(|act| plain(Epilogue::Gated, Some(act))));
                }
            }
        }
        for kind in [NormKind::Rms, NormKind::Layer] {
            for target in [NormTarget::Other, NormTarget::InPlace, NormTarget::Residual] {
                all.push(Self::Norm { kind, target });
            }
        }
        all.extend(pairings.map(|pairing| Self::Rope { pairing }));
        all.extend(acts.map(|act| Self::GatedAct { act }));
        all.extend(acts.map(|act| Self::Act { act }));
        for kv in [KvType::F32, KvType::F16] {
            all.push(Self::StoreKv { kv });
            all.extend([false, true].map(|split| Self::Attention { kv, split }));
            for qk_norm in [false, true] {
                let ropes = [None, Some(Pairing::Adjacent), Some(Pairing::Halves)];
                all.extend(ropes.map(|rope| Self::Heads { qk_norm, rope, kv }));
            }
        }
        all
    }
}

fn format_constants(format: Format, list: &mut Vec<(&'static str, String)>) {
    list.push(("SUB", format!("{}u", format.sub)));
    list.push(("ZERO", format!("{}.0", format.zero())));
    list.push(("HAS_MIN", (format.scale == Scale::HalfMin).to_string()));
    list.push(("SCALE_F32", (format.scale == Scale::Single).to_string()));
}

fn rotary_constants(binding: usize, pairing: Pairing, list: &mut Vec<(&'static str, String)>) {
    list.push(("ROTARY_BINDING", binding.to_string()));
    list.push(("HALVES", (pairing == Pairing::Halves).to_string()));
}

fn format_modules(format: Format) -> Vec<&'static str> {
    match format.plane {
        Plane::Q4 => vec![shader!("quant/scales.wgsl"), shader!("quant/q4.wgsl")],
        Plane::Q8 => vec![shader!("quant/scales.wgsl"), shader!("quant/q8.wgsl")],
        Plane::F32 => vec![shader!("quant/f32.wgsl")],
        Plane::F16 => vec![shader!("quant/f16.wgsl")],
        Plane::Bf16 => vec![shader!("quant/bf16.wgsl")],
    }
}
