//! Rows that stand for several families: the [table](super::table) derives the others from them.

use super::arch::{Architecture, ExpertRule, LocalRope, Ranker, Scales, WindowPattern};
use super::config::{Activation, Mixer};
use super::plan::{Gating, NormKind, Pooling};
use super::rope::Pairing;

pub(super) const LLAMA: Architecture = Architecture {
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
    route_first: false,
    parallel_switch: false,
    bare_norms: false,
    qk_norm_after_rope: false,
    scales: Scales::One,
    recurrent: Mixer::Attention,
    single_block: false,
    full_attention_every: None,
    alibi: None,
    latent: false,
    yarn_on_scores: false,
    sections_pair_halves: false,
    ranker: Ranker {
        pooling: Pooling::First,
        activation: Activation::Tanh,
    },
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

pub(super) const QWEN2: Architecture = Architecture {
    name: "qwen2",
    rope: Some(Pairing::Halves),
    ..LLAMA
};

pub(super) const GEMMA2: Architecture = Architecture {
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

pub(super) const GPT2: Architecture = Architecture {
    name: "gpt2",
    norm: NormKind::Layer,
    activation: Activation::GeluTanh,
    rope: None,
    ..LLAMA
};

pub(super) const PHI2: Architecture = Architecture {
    name: "phi2",
    norm: NormKind::Layer,
    activation: Activation::GeluTanh,
    ..QWEN2
};

pub(super) const NEMOTRON: Architecture = Architecture {
    name: "nemotron",
    norm: NormKind::Layer,
    activation: Activation::SquaredRelu,
    ..QWEN2
};

pub(super) const STABLELM: Architecture = Architecture {
    name: "stablelm",
    norm: NormKind::Layer,
    ..QWEN2
};

pub(super) const COMMAND_R: Architecture = Architecture {
    name: "command-r",
    norm: NormKind::Layer,
    scales: Scales::Logits,
    ..LLAMA
};

pub(super) const GRANITE: Architecture = Architecture {
    name: "granite",
    scales: Scales::FromFile,
    rope_switch: true,
    ..LLAMA
};

pub(super) const LFM2: Architecture = Architecture {
    name: "lfm2",
    window: WindowPattern::AllButEvery(0, 0),
    recurrent: Mixer::ShortConv,
    output_norm: "token_embd_norm",
    ..QWEN2
};

pub(super) const BERT: Architecture = Architecture {
    name: "bert",
    norm: NormKind::Layer,
    activation: Activation::GeluTanh,
    rope: None,
    encoder: true,
    ..LLAMA
};

pub(super) const GEMMA3: Architecture = Architecture {
    name: "gemma3",
    window: WindowPattern::AllButEvery(6, 0),
    attention_softcap: None,
    final_softcap: Some(0.0),
    local_rope: LocalRope::Unscaled(Some(10_000.0)),
    wide_scale_at_layers: Some(62),
    ..GEMMA2
};

pub(super) const T5: Architecture = Architecture {
    name: "t5",
    activation: Activation::GeluTanh,
    rope: None,
    attention_scale: Some(1.0),
    encoder_decoder: true,
    output_norm: "dec.output_norm",
    ..LLAMA
};

pub(super) const NOT_NORMALIZED: ExpertRule = ExpertRule {
    gating: Gating::Softmax,
    normalize: false,
};
