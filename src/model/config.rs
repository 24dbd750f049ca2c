//! Hyperparameters of a model, read from GGUF metadata.

use super::arch::{Architecture, WindowPattern};
use super::rope::RopeScaling;
use crate::gguf::{GgufFile, Metadata};
use crate::{Error, Result};

/// Activation of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)` (SwiGLU when gated).
    Silu,
    /// Tanh approximation of GELU, as llama.cpp uses it (GeGLU when gated).
    GeluTanh,
}

/// What one layer has of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerConfig {
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Inner width of the feed-forward network.
    pub d_ff: usize,
    /// Sliding window in positions, the current one included.
    pub window: Option<usize>,
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
    /// Multiplies `q·k`.
    pub attention_scale: f32,
    /// Soft cap of the attention scores.
    pub attention_softcap: Option<f32>,
    /// Soft cap of the logits.
    pub final_softcap: Option<f32>,
}

/// Upper bounds that no real model reaches; they keep a hostile header from asking for the moon.
const MAX_LAYERS: u64 = 1024;
const MAX_WIDTH: u64 = 1 << 20;

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
        let rope_base = meta
            .opt_f32(&keys.full("rope.freq_base"))?
            .unwrap_or(10_000.0);
        let local = meta
            .opt_f32(&keys.full("rope.freq_base_swa"))?
            .or(arch.local_rope_base);
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
            let cap = meta.opt_f32(&keys.full(key))?.unwrap_or(default);
            Ok((cap > 0.0).then_some(cap))
        };
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
            local_rope_base: local.unwrap_or(rope_base),
            rope_scaling: RopeScaling::from_metadata(meta, name, n_ctx_train)?,
            attention_scale: 1.0 / (scaled_dim as f32).sqrt(),
            attention_softcap: softcap("attn_logit_softcapping", arch.attention_softcap)?,
            final_softcap: softcap("final_logit_softcapping", arch.final_softcap)?,
        })
    }
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
    let d_ff = keys.per_layer("feed_forward_length", n_layers)?;
    let windows = read_windows(keys, arch, n_layers)?;
    (0..n_layers)
        .map(|i| {
            if heads[i] == 0 || kv_heads[i] == 0 || heads[i] % kv_heads[i] != 0 {
                return Err(keys.bad(
                    "attention.head_count_kv",
                    "must divide the number of query heads",
                ));
            }
            Ok(LayerConfig {
                n_heads: heads[i],
                n_kv_heads: kv_heads[i],
                d_ff: d_ff[i],
                window: windows[i],
            })
        })
        .collect()
}

fn read_windows(keys: &Keys, arch: &Architecture, n_layers: usize) -> Result<Vec<Option<usize>>> {
    let WindowPattern::AllButEvery(default, default_window) = arch.window else {
        return Ok(vec![None; n_layers]);
    };
    let window = keys
        .opt_size("attention.sliding_window", u64::from(u32::MAX))?
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
    let local = |i: usize| every == 0 || i % every < every - 1;
    Ok((0..n_layers).map(|i| local(i).then_some(window)).collect())
}

/// Metadata look-ups under the architecture's prefix.
struct Keys<'a> {
    meta: &'a Metadata,
    arch: &'a str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn bad(&self, key: &str, reason: &str) -> Error {
        Error::BadMetadata {
            key: self.full(key),
            reason: reason.to_owned(),
        }
    }

    fn size(&self, key: &str, max: u64) -> Result<usize> {
        self.opt_size(key, max)?
            .ok_or_else(|| Error::MissingMetadata(self.full(key)))
    }

    fn opt_size(&self, key: &str, max: u64) -> Result<Option<usize>> {
        match self.meta.opt_u64(&self.full(key))? {
            None => Ok(None),
            Some(0) if key != "attention.sliding_window" => Err(self.bad(key, "must not be zero")),
            Some(n) if n > max => Err(self.bad(key, &format!("{n} is more than {max}"))),
            Some(n) => Ok(Some(n as usize)),
        }
    }

    /// A number for all layers, or an array with one for each.
    fn per_layer(&self, key: &str, n_layers: usize) -> Result<Vec<usize>> {
        let full = self.full(key);
        if let Ok(values) = self.meta.int_array(&full) {
            if values.len() < n_layers {
                return Err(self.bad(key, "has fewer entries than layers"));
            }
            return values
                .iter()
                .take(n_layers)
                .map(|v| usize::try_from(*v).ok().filter(|v| *v as u64 <= MAX_WIDTH))
                .map(|v| v.ok_or_else(|| self.bad(key, "entry out of range")))
                .collect();
        }
        Ok(vec![self.size(key, MAX_WIDTH)?; n_layers])
    }

    /// RMSNorm's or LayerNorm's epsilon.
    fn eps(&self) -> Result<f32> {
        let rms = self
            .meta
            .opt_f32(&self.full("attention.layer_norm_rms_epsilon"))?;
        let layer = self
            .meta
            .opt_f32(&self.full("attention.layer_norm_epsilon"))?;
        rms.or(layer)
            .ok_or_else(|| Error::MissingMetadata(self.full("attention.layer_norm_rms_epsilon")))
    }
}
