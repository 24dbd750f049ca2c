//! The table of architectures: what a family does differently, as data.
//!
//! Much needs no entry here because the file itself says it: biases, query/key norms, post norms, fused
//! projections, an untied head, gated feed-forwards and experts are used when their tensors are there.

use super::config::{Activation, Mixer};
use super::plan::{Gating, NormKind};
use super::rope::Pairing;
use crate::{Error, Result};

/// Which layers use a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowPattern {
    /// No layer, whatever the metadata says.
    Never,
    /// Of every `n` layers the first `n - 1` (0: every layer); `n` from `attention.sliding_window_pattern` or this default.
    /// The window comes from `attention.sliding_window`, or is the second number (0: none).
    AllButEvery(usize, usize),
    /// Of every `n` layers all but the first; else the same.
    AllButFirstOf(usize, usize),
    /// `AllButEvery` in the one size with so many layers, nothing in the others.
    AllButEveryAt(usize, usize, usize),
}

/// Rotary embedding of the layers with a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LocalRope {
    /// That of the other layers.
    Shared,
    /// Without the file's scaling, with this base unless the file says another (`None`: the base of the other layers).
    Unscaled(Option<f32>),
}

/// Constants that multiply the residual stream (maximal update parametrisation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scales {
    /// None.
    One,
    /// `embedding_scale`, `residual_scale`, `logit_scale` of the file; 1 where absent.
    FromFile,
    /// The same, with MiniCPM's constants where absent.
    MiniCpm,
}

/// How experts are chosen, unless the file says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertRule {
    /// From router logits to weights.
    pub gating: Gating,
    /// Whether the weights of the chosen experts are made to add up to 1.
    pub normalize: bool,
}

/// What a family does differently.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Architecture {
    /// `general.architecture`.
    pub name: &'static str,
    /// Kind of normalisation.
    pub norm: NormKind,
    /// Feed-forward activation.
    pub activation: Activation,
    /// Rotary pairing; `None` for learned positions.
    pub rope: Option<Pairing>,
    /// Sliding windows.
    pub window: WindowPattern,
    /// Rotary embedding of the layers with a window.
    pub local_rope: LocalRope,
    /// Of every `n` layers the last goes without positions (NoPE).
    pub unrotated_every: Option<usize>,
    /// Where some layers have a window, those without one go without positions.
    pub unrotated_without_window: bool,
    /// `rope.scaling.finetuned` false means that no layer has positions.
    pub rope_switch: bool,
    /// `rope.scaling.alpha` multiplies the rotary base (NTK-aware scaling).
    pub ntk_alpha: bool,
    /// Reads a text as a whole, in both directions, and gives an embedding.
    pub encoder: bool,
    /// `use_parallel_residual` true means that the feed-forward network runs beside attention, on the layer's input.
    pub parallel_switch: bool,
    /// Has an encoder (tensors `enc.…`) and, beside it or not, a decoder (`dec.…`).
    pub encoder_decoder: bool,
    /// Queries and keys are normalised after their rotation rather than before.
    pub qk_norm_after_rope: bool,
    /// Constants that multiply the residual stream.
    pub scales: Scales,
    /// What layers without key/value heads have instead of attention.
    pub recurrent: Mixer,
    /// A layer is either what mixes tokens or a feed-forward network, which it is where that has a width.
    pub single_block: bool,
    /// Of every `n` layers the last has attention, the others `recurrent`, whatever their key/value heads.
    pub full_attention_every: Option<usize>,
    /// Multiplier of `q·k`; `1/sqrt(head_dim)` where `None`.
    pub attention_scale: Option<f32>,
    /// Values are normalised too, without weights.
    pub value_norm: bool,
    /// Name of the norm before the head.
    pub output_norm: &'static str,
    /// Name of the norm in front of the feed-forward network.
    pub ffn_norm: &'static str,
    /// Choice of experts.
    pub experts: ExpertRule,
    /// Embeddings are multiplied by `sqrt(d_model)`.
    pub scaled_embedding: bool,
    /// Soft cap of attention scores when the file does not say; `None` where the family has none.
    pub attention_softcap: Option<f32>,
    /// Soft cap of the logits when the file does not say; 0 for off, `None` where the family has none.
    pub final_softcap: Option<f32>,
    /// Layer count of the one size whose attention scale is `1/sqrt(d_model / n_heads)` rather than
    /// `1/sqrt(head_dim)` (the 27B Gemmas).
    pub wide_scale_at_layers: Option<usize>,
}

const LLAMA: Architecture = Architecture {
    name: "llama",
    norm: NormKind::Rms,
    activation: Activation::Silu,
    rope: Some(Pairing::Adjacent),
    window: WindowPattern::Never,
    local_rope: LocalRope::Shared,
    unrotated_every: None,
    unrotated_without_window: false,
    rope_switch: false,
    ntk_alpha: false,
    encoder: false,
    encoder_decoder: false,
    parallel_switch: false,
    qk_norm_after_rope: false,
    scales: Scales::One,
    recurrent: Mixer::Attention,
    single_block: false,
    full_attention_every: None,
    attention_scale: None,
    value_norm: false,
    output_norm: "output_norm",
    ffn_norm: "ffn_norm",
    experts: ExpertRule {
        gating: Gating::Softmax,
        normalize: true,
    },
    scaled_embedding: false,
    attention_softcap: None,
    final_softcap: None,
    wide_scale_at_layers: None,
};

const QWEN2: Architecture = Architecture {
    name: "qwen2",
    rope: Some(Pairing::Halves),
    ..LLAMA
};

const GEMMA2: Architecture = Architecture {
    name: "gemma2",
    activation: Activation::GeluTanh,
    rope: Some(Pairing::Halves),
    window: WindowPattern::AllButEvery(2, 4096),
    scaled_embedding: true,
    attention_softcap: Some(50.0),
    final_softcap: Some(30.0),
    wide_scale_at_layers: Some(46),
    ..LLAMA
};

const GPT2: Architecture = Architecture {
    name: "gpt2",
    norm: NormKind::Layer,
    activation: Activation::GeluTanh,
    rope: None,
    ..LLAMA
};

const PHI2: Architecture = Architecture {
    name: "phi2",
    norm: NormKind::Layer,
    activation: Activation::GeluTanh,
    ..QWEN2
};

const GRANITE: Architecture = Architecture {
    name: "granite",
    scales: Scales::FromFile,
    rope_switch: true,
    ..LLAMA
};

const LFM2: Architecture = Architecture {
    name: "lfm2",
    window: WindowPattern::AllButEvery(0, 0),
    recurrent: Mixer::ShortConv,
    output_norm: "token_embd_norm",
    ..QWEN2
};

const BERT: Architecture = Architecture {
    name: "bert",
    norm: NormKind::Layer,
    activation: Activation::GeluTanh,
    rope: None,
    encoder: true,
    ..LLAMA
};

const GEMMA3: Architecture = Architecture {
    name: "gemma3",
    window: WindowPattern::AllButEvery(6, 0),
    attention_softcap: None,
    final_softcap: Some(0.0),
    local_rope: LocalRope::Unscaled(Some(10_000.0)),
    wide_scale_at_layers: Some(62),
    ..GEMMA2
};

const T5: Architecture = Architecture {
    name: "t5",
    activation: Activation::GeluTanh,
    rope: None,
    attention_scale: Some(1.0),
    encoder_decoder: true,
    output_norm: "dec.output_norm",
    ..LLAMA
};

const NOT_NORMALIZED: ExpertRule = ExpertRule {
    gating: Gating::Softmax,
    normalize: false,
};

/// Every architecture that runs, in the order in which documentation lists them.
const ARCHITECTURES: &[Architecture] = &[
    LLAMA,
    QWEN2,
    Architecture {
        name: "qwen3",
        ..QWEN2
    },
    // The text of the models with images: where there is none, all sections of their positions are the same.
    Architecture {
        name: "qwen2vl",
        ..QWEN2
    },
    Architecture {
        name: "qwen3vl",
        ..QWEN2
    },
    Architecture {
        name: "gemma",
        window: WindowPattern::Never,
        attention_softcap: None,
        final_softcap: None,
        wide_scale_at_layers: None,
        ..GEMMA2
    },
    GEMMA2,
    GEMMA3,
    Architecture {
        name: "gemma4",
        window: WindowPattern::AllButEvery(6, 512),
        wide_scale_at_layers: None,
        attention_scale: Some(1.0),
        value_norm: true,
        ..GEMMA3
    },
    Architecture {
        name: "qwen35",
        recurrent: Mixer::DeltaNet,
        full_attention_every: Some(4),
        ffn_norm: "post_attention_norm",
        ..QWEN2
    },
    // llama.cpp runs Phi-3 without its sliding window, since published files disagree on its value.
    Architecture {
        name: "phi3",
        ..QWEN2
    },
    PHI2,
    Architecture {
        name: "gptneox",
        parallel_switch: true,
        ..PHI2
    },
    GPT2,
    Architecture {
        name: "starcoder",
        ..GPT2
    },
    Architecture {
        name: "starcoder2",
        ..PHI2
    },
    Architecture {
        name: "openelm",
        ..QWEN2
    },
    Architecture {
        name: "internlm2",
        ..LLAMA
    },
    Architecture {
        name: "smollm3",
        unrotated_every: Some(4),
        ..LLAMA
    },
    Architecture {
        name: "arcee",
        activation: Activation::SquaredRelu,
        ..LLAMA
    },
    Architecture {
        name: "maincoder",
        qk_norm_after_rope: true,
        ..LLAMA
    },
    Architecture {
        name: "pangu-embedded",
        ..QWEN2
    },
    Architecture {
        name: "mistral3",
        ..LLAMA
    },
    Architecture {
        name: "ernie4_5",
        ..LLAMA
    },
    Architecture {
        name: "minicpm",
        scales: Scales::MiniCpm,
        ..LLAMA
    },
    GRANITE,
    Architecture {
        name: "granitemoe",
        ..GRANITE
    },
    Architecture {
        name: "granite_swa",
        window: WindowPattern::AllButEvery(0, 0),
        ..GRANITE
    },
    Architecture {
        name: "granitehybrid",
        recurrent: Mixer::Mamba2,
        ..GRANITE
    },
    Architecture {
        name: "falcon-h1",
        ..QWEN2
    },
    Architecture {
        name: "nemotron_h",
        activation: Activation::SquaredRelu,
        rope: None,
        recurrent: Mixer::Mamba2,
        single_block: true,
        ..LLAMA
    },
    Architecture {
        name: "olmo2",
        window: WindowPattern::AllButEvery(4, 0),
        local_rope: LocalRope::Unscaled(None),
        ..QWEN2
    },
    Architecture {
        name: "exaone",
        ..QWEN2
    },
    Architecture {
        name: "exaone4",
        window: WindowPattern::AllButEveryAt(64, 4, 4096),
        unrotated_without_window: true,
        ..QWEN2
    },
    Architecture {
        name: "hunyuan-dense",
        ntk_alpha: true,
        qk_norm_after_rope: true,
        ..QWEN2
    },
    Architecture {
        name: "stablelm",
        norm: NormKind::Layer,
        ..QWEN2
    },
    Architecture {
        name: "qwen3moe",
        ..QWEN2
    },
    Architecture {
        name: "qwen2moe",
        experts: NOT_NORMALIZED,
        ..QWEN2
    },
    Architecture {
        name: "olmoe",
        experts: NOT_NORMALIZED,
        ..QWEN2
    },
    Architecture {
        name: "gpt-oss",
        activation: Activation::ClampedSwiglu,
        window: WindowPattern::AllButEvery(2, 128),
        ffn_norm: "post_attention_norm",
        experts: ExpertRule {
            gating: Gating::SoftmaxOfChosen,
            normalize: false,
        },
        ..QWEN2
    },
    BERT,
    Architecture {
        name: "eurobert",
        encoder: true,
        ..QWEN2
    },
    Architecture {
        name: "nomic-bert",
        activation: Activation::Silu,
        rope: Some(Pairing::Halves),
        ..BERT
    },
    Architecture {
        name: "nomic-bert-moe",
        rope: Some(Pairing::Halves),
        experts: NOT_NORMALIZED,
        ..BERT
    },
    Architecture {
        name: "modern-bert",
        rope: Some(Pairing::Halves),
        window: WindowPattern::AllButFirstOf(3, 0),
        local_rope: LocalRope::Unscaled(Some(10_000.0)),
        ..BERT
    },
    Architecture {
        name: "gemma-embedding",
        encoder: true,
        wide_scale_at_layers: None,
        ..GEMMA3
    },
    T5,
    Architecture {
        name: "t5encoder",
        encoder: true,
        ..T5
    },
    LFM2,
    Architecture {
        name: "lfm2moe",
        window: WindowPattern::Never,
        ..LFM2
    },
];

impl Architecture {
    /// Finds the entry of `general.architecture`.
    pub fn by_name(name: &str) -> Result<&'static Self> {
        ARCHITECTURES
            .iter()
            .find(|arch| arch.name == name)
            .ok_or_else(|| Error::UnsupportedArchitecture {
                name: name.to_owned(),
                supported: supported_architectures().join(", "),
            })
    }
}

/// Names of all architectures that run.
pub fn supported_architectures() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|arch| arch.name).collect()
}
