//! Hyperparameters of a model, read from GGUF metadata.

use super::arch::Architecture;
use super::plan::{Gating, Mask, Pooling};
use super::rope::RopeScaling;

/// Activation of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)` (SwiGLU when gated).
    Silu,
    /// Tanh approximation of GELU, as llama.cpp uses it (GeGLU when gated).
    GeluTanh,
    /// `1 / (1 + exp(-x))`, as a gate.
    Sigmoid,
    /// `x * sigmoid(1.702 x)` of a gate that is clamped to at most 7, times one more than the other factor, which is
    /// clamped to ±7 (gpt-oss).
    ClampedSwiglu,
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)^2` (So et al. 2021).
    SquaredRelu,
    /// `tanh(x)`
    Tanh,
    /// `x`: a plain product, as a gate.
    Identity,
}

/// What mixes the tokens of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// Attention.
    Attention,
    /// Gated short convolution (LFM2).
    ShortConv,
    /// Gated delta rule (Qwen 3.5).
    DeltaNet,
    /// Selective state space (Mamba).
    Mamba,
    /// Selective state space (Mamba 2).
    Mamba2,
    /// RWKV 7.
    Rwkv7,
    /// Nothing: the layer is a feed-forward network alone.
    Absent,
}

/// What one layer has of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerConfig {
    /// What mixes the tokens.
    pub mixer: Mixer,
    /// Query heads.
    pub n_heads: usize,
    /// Length of one attention head.
    pub head_dim: usize,
    /// Layer whose keys and values are used instead of own ones.
    pub kv_source: Option<usize>,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Inner width of the feed-forward network.
    pub d_ff: usize,
    /// Sliding window in positions, the current one included.
    pub window: Option<usize>,
    /// Whether queries and keys are rotated.
    pub rotated: bool,
}

/// Attention whose keys and values come from one short vector a token (MLA, DeepSeek-AI 2024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentConfig {
    /// Length of that vector.
    pub rank: usize,
    /// Elements of a head's key that come from it.
    pub plain: usize,
    /// Elements that follow them, which are rotated and the same for all heads.
    pub rotated: usize,
    /// Length of a head's value.
    pub value: usize,
}

/// Experts of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertConfig {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that a token uses.
    pub used: usize,
    /// From router logits to weights.
    pub gating: Gating,
    /// Whether the weights of the chosen experts are made to add up to 1.
    pub normalize: bool,
    /// Multiplies the weights.
    pub scale: f32,
}

/// Shape of recurrent layers (keys `ssm.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateConfig {
    /// Width of the values of all heads.
    pub inner: usize,
    /// Width of keys and queries of a head or group.
    pub state: usize,
    /// Heads of values.
    pub heads: usize,
    /// Heads of keys and queries.
    pub groups: usize,
    /// Whether step, `B` and `C` of Mamba are normalised without weights (Falcon Mamba).
    pub normed: bool,
}

/// Constants that multiply the residual stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamScales {
    /// Multiplies embeddings.
    pub embedding: f32,
    /// Multiplies what a block adds.
    pub residual: f32,
    /// Multiplies logits.
    pub logits: f32,
}

/// Hyperparameters.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Entry of the architecture table.
    pub arch: &'static Architecture,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Entries of the vocabulary: rows of the embedding matrix.
    pub n_vocab: usize,
    /// Context length that the model was trained for.
    pub n_ctx_train: usize,
    /// Context length in use.
    pub n_ctx: usize,
    /// Norm epsilon.
    pub eps: f32,
    /// Layers in order.
    pub layers: Vec<LayerConfig>,
    /// Rotated elements of a head.
    pub n_rot: usize,
    /// The same in layers with a window.
    pub local_n_rot: usize,
    /// Rotary base.
    pub rope_base: f32,
    /// Rotary base of the layers with a window.
    pub local_rope_base: f32,
    /// Rotary scaling of the layers without a window (those with one are not scaled).
    pub(super) rope_scaling: RopeScaling,
    /// Shape of attention by a latent vector.
    pub latent: Option<LatentConfig>,
    /// Shape of recurrent layers.
    pub state: Option<StateConfig>,
    /// How often all layers run one after the other, and whether the output norm stands between two rounds (Nanbeige).
    pub loops: (usize, bool),
    /// Length of a head of RWKV.
    pub wkv_head_size: Option<usize>,
    /// Layers of the decoder, where there is an encoder too.
    pub decoder_layers: Option<usize>,
    /// First token of such a decoder.
    pub decoder_start: Option<u32>,
    /// Width of what each layer takes from the token directly (Gemma 4).
    pub per_layer_width: Option<usize>,
    /// Experts, where layers have them.
    pub experts: Option<ExpertConfig>,
    /// Constants that multiply the residual stream.
    pub scales: StreamScales,
    /// Which positions a position sees.
    pub mask: Mask,
    /// Whether attention and the feed-forward network, each with a norm, both read the layer's input.
    pub parallel: bool,
    /// How a text becomes one vector, where the model gives embeddings or scores instead of logits.
    pub pooling: Option<Pooling>,
    /// Feed-forward activation.
    pub activation: Activation,
    /// Queries are multiplied by `1 + factor * ln(1 + floor(position / length))`: `(factor, length)`.
    pub temperature: Option<(f32, usize)>,
    /// Steepest slope of the bias by distance (ALiBi), as a negative exponent of two.
    pub alibi: Option<f32>,
    /// Multiplies `q·k`.
    pub attention_scale: f32,
    /// Soft cap of the attention scores.
    pub attention_softcap: Option<f32>,
    /// Soft cap of the logits.
    pub final_softcap: Option<f32>,
}
