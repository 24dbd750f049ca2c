//! Hyperparameters of a model, read from GGUF metadata.

use super::arch::{Architecture, LocalRope, Scales, WindowPattern};
use super::keys::{Keys, MAX_LAYERS, MAX_WIDTH};
use super::plan::{Gating, Mask, Pooling};
use super::rope::RopeScaling;
use crate::gguf::GgufFile;
use crate::{Error, Result};

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
}

/// What one layer has of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerConfig {
    /// What mixes the tokens.
    pub mixer: Mixer,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Inner width of the feed-forward network.
    pub d_ff: usize,
    /// Sliding window in positions, the current one included.
    pub window: Option<usize>,
    /// Whether queries and keys are rotated.
    pub rotated: bool,
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
    /// Length of one attention head.
    pub head_dim: usize,
    /// Norm epsilon.
    pub eps: f32,
    /// Layers in order.
    pub layers: Vec<LayerConfig>,
    /// Rotated elements of a head.
    pub n_rot: usize,
    /// Rotary base.
    pub rope_base: f32,
    /// Rotary base of the layers with a window.
    pub local_rope_base: f32,
    /// Rotary scaling of the layers without a window (those with one are not scaled).
    pub(super) rope_scaling: RopeScaling,
    /// Experts, where layers have them.
    pub experts: Option<ExpertConfig>,
    /// Constants that multiply the residual stream.
    pub scales: StreamScales,
    /// Which positions a position sees.
    pub mask: Mask,
    /// How a text becomes one vector, where the model gives embeddings or scores instead of logits.
    pub pooling: Option<Pooling>,
    /// Feed-forward activation.
    pub activation: Activation,
    /// Queries are multiplied by `1 + factor * ln(1 + floor(position / length))`: `(factor, length)`.
    pub temperature: Option<(f32, usize)>,
    /// Multiplies `q·k`.
    pub attention_scale: f32,
    /// Soft cap of the attention scores.
    pub attention_softcap: Option<f32>,
    /// Soft cap of the logits.
    pub final_softcap: Option<f32>,
}

impl ModelConfig {
    /// Reads and checks the hyperparameters.
    ///
    /// `n_ctx` is the context length asked for; it is capped at the trained one unless the file has none.
    ///
    /// # Errors
    /// [`Error::UnsupportedArchitecture`], [`Error::MissingMetadata`], [`Error::BadMetadata`].
    pub fn from_gguf(file: &GgufFile, n_ctx: Option<usize>) -> Result<Self> {
        let meta = &file.metadata;
        let name = meta.str("general.architecture")?;
        let arch = Architecture::by_name(name)?;
        let keys = Keys { meta, arch: name };
        let n_layers = keys.size("block_count", MAX_LAYERS)?;
        let d_model = keys.size("embedding_length", MAX_WIDTH)?;
        let layers = read_layers(&keys, arch, n_layers)?;
        let n_heads = layers.first().map_or(1, |layer| layer.n_heads);
        let head_dim = match keys.opt_size("attention.key_length", MAX_WIDTH)? {
            Some(length) => length,
            None => d_model / n_heads,
        };
        if keys
            .opt_size("attention.value_length", MAX_WIDTH)?
            .is_some_and(|length| length != head_dim)
        {
            return Err(keys.bad(
                "attention.value_length",
                "keys and values of different length are not supported",
            ));
        }
        let n_rot = keys
            .opt_size("rope.dimension_count", MAX_WIDTH)?
            .unwrap_or(head_dim);
        if head_dim == 0 || n_rot % 2 != 0 || n_rot > head_dim {
            return Err(keys.bad(
                "rope.dimension_count",
                "must be even and no larger than the head",
            ));
        }
        let n_ctx_train = keys.size("context_length", u64::from(u32::MAX))?;
        let mut rope_base = keys.opt_f32("rope.freq_base")?.unwrap_or(10_000.0);
        if let Some(alpha) = keys
            .opt_f32("rope.scaling.alpha")?
            .filter(|a| arch.ntk_alpha && *a > 0.0)
        {
            let dim = head_dim as f32;
            rope_base *= alpha.powf(dim / (dim - 2.0));
        }
        let local_base = match arch.local_rope {
            LocalRope::Unscaled(Some(base)) => base,
            LocalRope::Unscaled(None) | LocalRope::Shared => rope_base,
        };
        let wide_scale = arch.wide_scale_at_layers == Some(n_layers);
        let scaled_dim = if wide_scale {
            d_model / n_heads
        } else {
            head_dim
        };
        let softcap = |key: &str, default: Option<f32>| -> Result<Option<f32>> {
            let Some(default) = default else {
                return Ok(None);
            };
            let cap = keys.opt_f32(key)?.unwrap_or(default);
            Ok((cap > 0.0).then_some(cap))
        };
        let rope_scaling = RopeScaling::from_metadata(meta, name, n_ctx_train)?;
        Ok(Self {
            arch,
            d_model,
            n_vocab: vocab_rows(file)?,
            n_ctx_train,
            n_ctx: n_ctx.unwrap_or(n_ctx_train).clamp(1, n_ctx_train),
            head_dim,
            eps: keys.eps()?,
            layers,
            n_rot,
            rope_base,
            local_rope_base: keys.opt_f32("rope.freq_base_swa")?.unwrap_or(local_base),
            experts: read_experts(&keys, arch)?,
            mask: read_mask(&keys, arch)?,
            pooling: read_pooling(&keys, arch)?,
            activation: match meta.opt_str(&keys.full("hidden_activation"))? {
                None => arch.activation,
                Some("silu" | "swish" | "swiglu") => Activation::Silu,
                Some(name) if name.contains("gelu") || name == "geglu" => Activation::GeluTanh,
                Some(other) => {
                    let reason = format!("`{other}` is not known; known: gelu, silu");
                    return Err(keys.bad("hidden_activation", &reason));
                }
            },
            temperature: keys
                .opt_f32("attention.temperature_scale")?
                .filter(|factor| *factor != 0.0)
                .map(|factor| (factor, rope_scaling.n_ctx_orig)),
            scales: read_scales(&keys, arch, d_model, n_layers)?,
            rope_scaling,
            attention_scale: match keys.opt_f32("attention.scale")? {
                Some(scale) if scale > 0.0 => scale,
                _ => 1.0 / (scaled_dim as f32).sqrt(),
            },
            attention_softcap: softcap("attn_logit_softcapping", arch.attention_softcap)?,
            final_softcap: softcap("final_logit_softcapping", arch.final_softcap)?,
        })
    }
}

fn read_mask(keys: &Keys, arch: &Architecture) -> Result<Mask> {
    let causal = keys
        .meta
        .opt_bool(&keys.full("attention.causal"))?
        .unwrap_or(!arch.encoder);
    Ok(if causal { Mask::Causal } else { Mask::Full })
}

fn read_pooling(keys: &Keys, arch: &Architecture) -> Result<Option<Pooling>> {
    Ok(match keys.opt_count("pooling_type", u64::from(u32::MAX))? {
        None | Some(0) => arch.encoder.then_some(Pooling::Mean),
        Some(1) => Some(Pooling::Mean),
        Some(2) => Some(Pooling::First),
        Some(3) => Some(Pooling::Last),
        Some(4) => Some(Pooling::Rank),
        Some(other) => return Err(keys.bad("pooling_type", &format!("{other} is not known"))),
    })
}

/// Rows of the embedding matrix.
fn vocab_rows(file: &GgufFile) -> Result<usize> {
    let embedding = file
        .tensor("token_embd.weight")
        .ok_or_else(|| Error::MissingTensor("token_embd.weight".into()))?;
    match embedding.shape.as_slice() {
        [_, rows] => Ok(*rows as usize),
        shape => Err(Error::BadTensor {
            name: embedding.name.clone(),
            reason: format!(
                "an embedding matrix has two dimensions, not {}",
                shape.len()
            ),
        }),
    }
}

fn read_layers(keys: &Keys, arch: &Architecture, n_layers: usize) -> Result<Vec<LayerConfig>> {
    let heads = keys.per_layer("attention.head_count", n_layers)?;
    let kv_heads = match keys.meta.get(&keys.full("attention.head_count_kv")) {
        Some(_) => keys.per_layer("attention.head_count_kv", n_layers)?,
        None => heads.clone(),
    };
    let d_ff = keys
        .opt_per_layer("feed_forward_length", n_layers)?
        .unwrap_or_else(|| vec![0; n_layers]);
    let windows = read_windows(keys, arch, n_layers)?;
    let windowed = windows.iter().any(Option::is_some);
    let finetuned = keys.meta.opt_bool(&keys.full("rope.scaling.finetuned"))?;
    let unrotated = arch.rope_switch && finetuned == Some(false);
    (0..n_layers)
        .map(|i| {
            let mixer = if kv_heads[i] == 0 {
                arch.recurrent
            } else {
                Mixer::Attention
            };
            if mixer == Mixer::Attention
                && (heads[i] == 0 || kv_heads[i] == 0 || heads[i] % kv_heads[i] != 0)
            {
                return Err(keys.bad(
                    "attention.head_count_kv",
                    "must divide the number of query heads",
                ));
            }
            let rotated = !unrotated
                && arch.unrotated_every.is_none_or(|n| (i + 1) % n != 0)
                && (!arch.unrotated_without_window || !windowed || windows[i].is_some());
            Ok(LayerConfig {
                mixer,
                n_heads: heads[i],
                n_kv_heads: kv_heads[i],
                d_ff: d_ff[i],
                window: windows[i],
                rotated,
            })
        })
        .collect()
}

fn read_experts(keys: &Keys, arch: &Architecture) -> Result<Option<ExpertConfig>> {
    let count = keys.opt_count("expert_count", MAX_WIDTH)?.unwrap_or(0);
    if count == 0 {
        return Ok(None);
    }
    let used = keys.size("expert_used_count", MAX_WIDTH)?;
    if used > count {
        return Err(keys.bad("expert_used_count", "is more than expert_count"));
    }
    let gating = match keys.opt_count("expert_gating_func", u64::from(u32::MAX))? {
        None | Some(0) => arch.experts.gating,
        Some(1) => Gating::Softmax,
        Some(2) => Gating::Sigmoid,
        Some(3) => Gating::SoftmaxOfChosen,
        Some(other) => return Err(keys.bad("expert_gating_func", &format!("{other} is not known"))),
    };
    let normalize = keys
        .meta
        .opt_bool(&keys.full("expert_weights_norm"))?
        .unwrap_or(arch.experts.normalize);
    let scale = keys
        .opt_f32("expert_weights_scale")?
        .filter(|scale| *scale != 0.0)
        .unwrap_or(1.0);
    Ok(Some(ExpertConfig {
        count,
        used,
        gating,
        normalize,
        scale,
    }))
}

fn read_scales(
    keys: &Keys,
    arch: &Architecture,
    d_model: usize,
    n_layers: usize,
) -> Result<StreamScales> {
    let one = StreamScales {
        embedding: 1.0,
        residual: 1.0,
        logits: 1.0,
    };
    let default = match arch.scales {
        Scales::One => return Ok(one),
        Scales::FromFile => one,
        // Hu et al. 2024: scale_emb 12, scale_depth 1.4, dim_model_base 256.
        Scales::MiniCpm => StreamScales {
            embedding: 12.0,
            residual: 1.4 / (n_layers as f32).sqrt(),
            logits: 256.0 / d_model as f32,
        },
    };
    let given = |key: &str| Ok::<_, crate::Error>(keys.opt_f32(key)?.filter(|scale| *scale != 0.0));
    Ok(StreamScales {
        embedding: given("embedding_scale")?.unwrap_or(default.embedding),
        residual: given("residual_scale")?.unwrap_or(default.residual),
        logits: given("logit_scale")?.map_or(default.logits, |scale| 1.0 / scale),
    })
}

fn read_windows(keys: &Keys, arch: &Architecture, n_layers: usize) -> Result<Vec<Option<usize>>> {
    let (default, default_window) = match arch.window {
        WindowPattern::AllButEvery(every, window) => (every, window),
        WindowPattern::AllButFirstOf(every, window) => (every, window),
        WindowPattern::AllButEveryAt(layers, every, window) if layers == n_layers => {
            (every, window)
        }
        WindowPattern::AllButEveryAt(..) | WindowPattern::Never => return Ok(vec![None; n_layers]),
    };
    let window = keys
        .opt_count("attention.sliding_window", u64::from(u32::MAX))?
        .unwrap_or(default_window);
    if window == 0 {
        return Ok(vec![None; n_layers]);
    }
    let pattern_key = keys.full("attention.sliding_window_pattern");
    if let Ok(flags) = keys.meta.int_array(&pattern_key) {
        if flags.len() < n_layers {
            return Err(keys.bad(
                "attention.sliding_window_pattern",
                "has fewer entries than layers",
            ));
        }
        return Ok(flags
            .iter()
            .take(n_layers)
            .map(|flag| (*flag != 0).then_some(window))
            .collect());
    }
    let every = keys
        .meta
        .opt_u64(&pattern_key)?
        .map_or(default, |n| n as usize);
    let first = matches!(arch.window, WindowPattern::AllButFirstOf(..));
    let full = if first { 0 } else { every.saturating_sub(1) };
    let local = |i: usize| every == 0 || i % every != full;
    Ok((0..n_layers).map(|i| local(i).then_some(window)).collect())
}
