//! Reading hyperparameters from GGUF metadata.

use super::arch::{Architecture, LocalRope, Scales};
use super::config::{
    Activation, ExpertConfig, LayerConfig, Mixer, ModelConfig, StateConfig, StreamScales,
};
use super::keys::{Keys, MAX_LAYERS, MAX_WIDTH};
use super::plan::{Gating, Mask, Pooling};
use super::read_layers::{read_latent, read_layers};
use super::rope::RopeScaling;
use crate::gguf::GgufFile;
use crate::{Error, Result};

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
        // Layers that only predict further tokens (MTP) come last and are not run.
        let extra = keys
            .opt_count("nextn_predict_layers", MAX_LAYERS)?
            .unwrap_or(0);
        let n_layers = keys.size("block_count", MAX_LAYERS)?.saturating_sub(extra);
        if n_layers == 0 {
            return Err(keys.bad("block_count", "leaves no layer to run"));
        }
        let d_model = keys.size("embedding_length", MAX_WIDTH)?;
        let layers = read_layers(&keys, arch, n_layers, d_model)?;
        if keys
            .opt_f32("attention.clamp_kqv")?
            .is_some_and(|clamp| clamp > 0.0)
        {
            return Err(keys.bad("attention.clamp_kqv", "is not supported"));
        }
        let n_ctx_train = keys.size("context_length", u64::from(u32::MAX))?;
        let rope_base = read_rope_base(
            &keys,
            arch,
            layers.first().map_or(0, |layer| layer.head_dim),
        )?;
        let local_base = match arch.local_rope {
            LocalRope::Unscaled(Some(base)) => base,
            LocalRope::Unscaled(None) | LocalRope::Shared => rope_base,
        };
        let softcap = |key: &str, default: Option<f32>| -> Result<Option<f32>> {
            let Some(default) = default else {
                return Ok(None);
            };
            let cap = keys.opt_f32(key)?.unwrap_or(default);
            Ok((cap > 0.0).then_some(cap))
        };
        let rope_scaling = RopeScaling::from_metadata(meta, arch, n_ctx_train)?;
        let score_factor = rope_scaling.score_factor;
        let default_head = d_model
            / layers
                .iter()
                .map(|layer| layer.n_heads)
                .max()
                .unwrap_or(0)
                .max(1);
        let temperature = keys
            .opt_f32("attention.temperature_scale")?
            .filter(|factor| *factor != 0.0);
        let (n_rot, local_n_rot) = read_n_rot(&keys, &layers)?;
        Ok(Self {
            arch,
            d_model,
            n_vocab: vocab_rows(file)?,
            n_ctx_train,
            n_ctx: n_ctx.unwrap_or(n_ctx_train).clamp(1, n_ctx_train),
            eps: keys.eps()?,
            n_rot,
            local_n_rot,
            rope_base,
            local_rope_base: keys.opt_f32("rope.freq_base_swa")?.unwrap_or(local_base),
            state: read_state(&keys)?,
            wkv_head_size: keys.opt_size("wkv.head_size", MAX_WIDTH)?,
            decoder_layers: keys.opt_size("decoder_block_count", MAX_LAYERS)?,
            decoder_start: keys
                .opt_count("decoder_start_token_id", u64::from(u32::MAX))?
                .map(|id| id as u32),
            per_layer_width: keys
                .opt_count("embedding_length_per_layer_input", MAX_WIDTH)?
                .filter(|width| *width > 0),
            experts: read_experts(&keys, arch)?,
            parallel: arch.parallel_switch
                && meta.opt_bool(&keys.full("use_parallel_residual"))? != Some(false),
            loops: read_loops(&keys, n_layers)?,
            mask: read_mask(&keys, arch)?,
            pooling: read_pooling(&keys, arch)?,
            activation: read_activation(&keys, arch)?,
            temperature: temperature.map(|factor| (factor, rope_scaling.n_ctx_orig.max(1))),
            alibi: match arch.alibi {
                Some(_) => keys
                    .opt_f32("attention.max_alibi_bias")?
                    .or(arch.alibi)
                    .filter(|steepest| *steepest > 0.0),
                None => None,
            },
            scales: read_scales(&keys, arch, d_model, n_layers)?,
            rope_scaling,
            attention_scale: read_attention_scale(&keys, arch, &layers, d_model)? * score_factor,
            latent: read_latent(&keys, arch, default_head)?,
            attention_softcap: softcap("attn_logit_softcapping", arch.attention_softcap)?,
            final_softcap: softcap("final_logit_softcapping", arch.final_softcap)?,
            layers,
        })
    }
}

/// How often the layers run, and whether the output norm stands between two rounds.
fn read_loops(keys: &Keys, n_layers: usize) -> Result<(usize, bool)> {
    let most = MAX_LAYERS / n_layers as u64;
    let loops = keys.opt_size("num_loops", most)?.unwrap_or(1);
    let skipped = keys.meta.opt_bool(&keys.full("skip_loop_final_norm"))?;
    Ok((loops, skipped != Some(true)))
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
    if embedding.shape.len() > 2 {
        return Err(Error::BadTensor {
            name: embedding.name.clone(),
            reason: format!(
                "an embedding matrix has two dimensions, not {}",
                embedding.shape.len()
            ),
        });
    }
    Ok(embedding.size(1) as usize)
}

fn read_state(keys: &Keys) -> Result<Option<StateConfig>> {
    let Some(inner) = keys.opt_size("ssm.inner_size", MAX_WIDTH)? else {
        return Ok(None);
    };
    let size = |key: &str| keys.size(key, MAX_WIDTH);
    let groups = keys.opt_size("ssm.group_count", MAX_WIDTH)?;
    let state = StateConfig {
        inner,
        state: size("ssm.state_size")?,
        heads: size("ssm.time_step_rank")?,
        groups: groups.unwrap_or(1),
        normed: keys.meta.opt_bool(&keys.full("ssm.dt_b_c_rms"))? == Some(true),
    };
    // Mamba has no heads: there the rank of the step stands in their place.
    if groups.is_none() {
        return Ok(Some(state));
    }
    if !state.inner.is_multiple_of(state.heads) || !state.heads.is_multiple_of(state.groups) {
        return Err(keys.bad(
            "ssm.time_step_rank",
            "must divide the inner size and be divided by the groups",
        ));
    }
    Ok(Some(state))
}

fn read_activation(keys: &Keys, arch: &Architecture) -> Result<Activation> {
    Ok(match keys.meta.opt_str(&keys.full("hidden_activation"))? {
        None => arch.activation,
        Some("silu" | "swish" | "swiglu") => Activation::Silu,
        Some(name) if name.contains("gelu") || name == "geglu" => Activation::GeluTanh,
        Some(other) => {
            let reason = format!("`{other}` is not known; known: gelu, silu");
            return Err(keys.bad("hidden_activation", &reason));
        }
    })
}

/// Multiplier of `q·k`.
fn read_attention_scale(
    keys: &Keys,
    arch: &Architecture,
    layers: &[LayerConfig],
    d_model: usize,
) -> Result<f32> {
    let given = keys
        .opt_f32("attention.scale")?
        .filter(|scale| *scale > 0.0);
    let Some(layer) = layers.iter().find(|layer| layer.mixer == Mixer::Attention) else {
        return Ok(1.0);
    };
    let wide = arch.wide_scale_at_layers == Some(layers.len());
    let dim = if wide {
        d_model / layer.n_heads
    } else {
        layer.head_dim
    };
    Ok(given
        .or(arch.attention_scale)
        .unwrap_or(1.0 / (dim as f32).sqrt()))
}

/// Rotated elements of a head, in layers without and with a window.
fn read_n_rot(keys: &Keys, layers: &[LayerConfig]) -> Result<(usize, usize)> {
    let head_dim = |windowed: bool| {
        let layer = layers
            .iter()
            .find(|layer| layer.window.is_some() == windowed);
        layer.or(layers.first()).map_or(0, |layer| layer.head_dim)
    };
    let read = |key: &str, head_dim: usize, default: usize| {
        let n_rot = keys.opt_size(key, MAX_WIDTH)?.unwrap_or(default);
        if head_dim == 0 || n_rot % 2 != 0 || n_rot > head_dim {
            return Err(keys.bad(key, "must be even and no larger than the head"));
        }
        Ok(n_rot)
    };
    let (full, local) = (head_dim(false), head_dim(true));
    let n_rot = read("rope.dimension_count", full.max(local), full)?;
    let local_default = if full == local { n_rot } else { local };
    Ok((
        n_rot,
        read("rope.dimension_count_swa", local, local_default)?,
    ))
}

fn read_rope_base(keys: &Keys, arch: &Architecture, head_dim: usize) -> Result<f32> {
    let base = keys.opt_f32("rope.freq_base")?.unwrap_or(10_000.0);
    let alpha = keys
        .opt_f32("rope.scaling.alpha")?
        .filter(|alpha| arch.ntk_alpha && *alpha > 0.0);
    let dim = head_dim as f32;
    Ok(alpha.map_or(base, |alpha| base * alpha.powf(dim / (dim - 2.0))))
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
    let groups = keys
        .opt_count("expert_group_count", MAX_WIDTH)?
        .unwrap_or(1);
    if groups > 1 {
        return Err(keys.bad("expert_group_count", "experts in groups are not supported"));
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
        Scales::Logits => {
            let logits = keys.opt_f32("logit_scale")?.filter(|scale| *scale != 0.0);
            let logits = logits.unwrap_or(1.0);
            return Ok(StreamScales { logits, ..one });
        }
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
