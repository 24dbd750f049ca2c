//! What a family does differently, as data. The families stand in [`table`](super::table).
//!
//! Much needs no entry here because the file itself says it: biases, query/key norms, post norms, fused
//! projections, an untied head, gated feed-forwards and experts are used when their tensors are there.

use super::config::{Activation, Mixer};
use super::plan::{Gating, NormKind, Pooling};
use super::rope::Pairing;
use super::table::ARCHITECTURES;
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
    /// `logit_scale` multiplies the logits.
    Logits,
    /// The same as `FromFile`, with MiniCPM's constants where absent.
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

/// How a reranker that reads in both directions scores a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranker {
    /// What its classifier reads.
    pub pooling: Pooling,
    /// Activation between the two layers of the classifier.
    pub activation: Activation,
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
    /// Experts are chosen by the layer's input as it is, before attention.
    pub route_first: bool,
    /// `use_parallel_residual` true means that the feed-forward network runs beside attention, on the layer's input.
    pub parallel_switch: bool,
    /// The norms in front of blocks and of the head have no weights.
    pub bare_norms: bool,
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
    /// Scores have a bias by distance (ALiBi) with this steepest slope, unless `attention.max_alibi_bias` says another.
    pub alibi: Option<f32>,
    /// Keys and values come from one short vector a token.
    pub latent: bool,
    /// YaRN's magnitude multiplies the scores rather than the rotated elements.
    pub yarn_on_scores: bool,
    /// Positions with sections (images) pair the halves of a head, whatever others do.
    pub sections_pair_halves: bool,
    /// How a reranker scores.
    pub ranker: Ranker,
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

impl Architecture {
    /// The same under another name.
    pub(super) const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

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
