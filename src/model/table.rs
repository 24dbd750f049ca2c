//! The table of architectures.

use super::arch::{Architecture, ExpertRule, LocalRope, Ranker, Scales, WindowPattern};
use super::bases::{
    BERT, COMMAND_R, GEMMA2, GEMMA3, GPT2, GRANITE, LFM2, LLAMA, NEMOTRON, NOT_NORMALIZED, PHI2,
    QWEN2, STABLELM, T5,
};
use super::config::{Activation, Mixer};
use super::plan::{Gating, NormKind, Pooling};
use super::rope::Pairing;

/// Every architecture that runs, in the order in which documentation lists them.
pub(super) const ARCHITECTURES: &[Architecture] = &[
    LLAMA,
    QWEN2,
    QWEN2.named("qwen3"),
    // The text of the models with images: where there is none, all sections of their positions are the same.
    QWEN2.named("qwen2vl"),
    QWEN2.named("qwen3vl"),
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
        name: "gemma3n",
        window: WindowPattern::AllButEvery(5, 0),
        final_softcap: Some(30.0),
        wide_scale_at_layers: None,
        attention_scale: Some(1.0),
        value_norm: true,
        ..GEMMA3
    },
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
    QWEN2.named("phi3"),
    PHI2,
    Architecture {
        name: "gptneox",
        parallel_switch: true,
        ..PHI2
    },
    PHI2.named("falcon"),
    GPT2,
    GPT2.named("starcoder"),
    Architecture {
        name: "bloom",
        alibi: Some(8.0),
        ..GPT2
    },
    Architecture {
        name: "mpt",
        alibi: Some(0.0),
        ..GPT2
    },
    Architecture {
        name: "refact",
        rope: None,
        alibi: Some(8.0),
        ..LLAMA
    },
    PHI2.named("starcoder2"),
    PHI2.named("codeshell"),
    QWEN2.named("openelm"),
    LLAMA.named("internlm2"),
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
    QWEN2.named("pangu-embedded"),
    LLAMA.named("mistral3"),
    LLAMA.named("ernie4_5"),
    LLAMA.named("ernie4_5-moe"),
    LLAMA.named("chatglm"),
    Architecture {
        name: "glm4",
        sections_pair_halves: true,
        ..LLAMA
    },
    LLAMA.named("xverse"),
    LLAMA.named("nanbeige"),
    Architecture {
        name: "deepseek",
        experts: NOT_NORMALIZED,
        ..LLAMA
    },
    Architecture {
        name: "deepseek2",
        latent: true,
        yarn_on_scores: true,
        experts: NOT_NORMALIZED,
        ..LLAMA
    },
    Architecture {
        name: "minicpm3",
        latent: true,
        scales: Scales::MiniCpm,
        ..QWEN2
    },
    Architecture {
        name: "plm",
        activation: Activation::SquaredRelu,
        latent: true,
        ..LLAMA
    },
    Architecture {
        name: "bailingmoe",
        experts: NOT_NORMALIZED,
        ..LLAMA
    },
    Architecture {
        name: "afmoe",
        window: WindowPattern::AllButEvery(4, 0),
        unrotated_every: Some(4),
        scaled_embedding: true,
        experts: ExpertRule {
            gating: Gating::Sigmoid,
            normalize: false,
        },
        ..QWEN2
    },
    Architecture {
        name: "mellum",
        window: WindowPattern::AllButEvery(4, 0),
        local_rope: LocalRope::Unscaled(None),
        ..QWEN2
    },
    Architecture {
        name: "spark2_5",
        activation: Activation::GeluTanh,
        window: WindowPattern::AllButEvery(0, 0),
        ..QWEN2
    },
    Architecture {
        name: "minicpm",
        scales: Scales::MiniCpm,
        ..LLAMA
    },
    GRANITE,
    GRANITE.named("granitemoe"),
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
    QWEN2.named("falcon-h1"),
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
    QWEN2.named("exaone"),
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
    STABLELM,
    STABLELM.named("orion"),
    NEMOTRON,
    NEMOTRON.named("jais2"),
    COMMAND_R,
    Architecture {
        name: "cohere2",
        window: WindowPattern::AllButEvery(4, 0),
        unrotated_without_window: true,
        ..COMMAND_R
    },
    QWEN2.named("bitnet"),
    Architecture {
        name: "seed_oss",
        ffn_norm: "post_attention_norm",
        ..QWEN2
    },
    Architecture {
        name: "olmo",
        norm: NormKind::Layer,
        bare_norms: true,
        ..LLAMA
    },
    Architecture {
        name: "smallthinker",
        activation: Activation::Relu,
        window: WindowPattern::AllButFirstOf(4, 0),
        unrotated_without_window: true,
        route_first: true,
        ..QWEN2
    },
    Architecture {
        name: "hunyuan-moe",
        qk_norm_after_rope: true,
        ..QWEN2
    },
    QWEN2.named("qwen3moe"),
    QWEN2.named("qwen3vlmoe"),
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
        name: "llama-embed",
        encoder: true,
        ..LLAMA
    },
    Architecture {
        name: "neo-bert",
        encoder: true,
        output_norm: "enc.output_norm",
        ..LLAMA
    },
    Architecture {
        name: "jina-bert-v2",
        alibi: Some(8.0),
        ..BERT
    },
    Architecture {
        name: "jina-bert-v3",
        rope: Some(Pairing::Halves),
        ..BERT
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
        ranker: Ranker {
            pooling: Pooling::Mean,
            activation: Activation::GeluTanh,
        },
        ..BERT
    },
    Architecture {
        name: "gemma-embedding",
        encoder: true,
        wide_scale_at_layers: None,
        ..GEMMA3
    },
    Architecture {
        name: "rwkv7",
        norm: NormKind::Layer,
        rope: None,
        recurrent: Mixer::Rwkv7,
        ffn_norm: "attn_norm_2",
        ..LLAMA
    },
    Architecture {
        name: "mamba",
        rope: None,
        recurrent: Mixer::Mamba,
        single_block: true,
        ..LLAMA
    },
    Architecture {
        name: "jamba",
        rope: None,
        recurrent: Mixer::Mamba,
        experts: NOT_NORMALIZED,
        ..LLAMA
    },
    Architecture {
        name: "mamba2",
        rope: None,
        recurrent: Mixer::Mamba2,
        single_block: true,
        ..LLAMA
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
