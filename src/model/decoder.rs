//! Decoder-only transformers: [`ModelConfig`] to [`Plan`], reading top to bottom as the papers do.

use super::builder::Builder;
use super::config::{LayerConfig, Mixer, ModelConfig};
use super::plan::{BufId, IdSource, Op, Plan, WeightId};
use crate::Result;
use crate::gguf::GgufFile;

/// Builds the forward pass of the model in `file`.
///
/// # Errors
/// [`Error::MissingTensor`] or [`Error::BadTensor`] when a weight is absent, has the wrong shape, or has no place in
/// this architecture (running on without it would give wrong text).
pub fn build(config: &ModelConfig, file: &GgufFile) -> Result<Plan> {
    if config.arch.encoder_decoder {
        return super::encoder_decoder::build(config, file);
    }
    let mut b = Builder::new(config, file)?;
    let x = b.buffer(config.d_model);
    b.embed(x)?;
    let per_layer = b.per_layer_inputs(x)?;
    if b.has_streams() {
        b.altup_layers(x, per_layer)?;
    } else {
        let (loops, norm_between) = config.loops;
        for round in 0..loops {
            if round > 0 && norm_between {
                b.norm(config.arch.output_norm, "loop_norm", x, config.d_model, x)?;
            }
            for (i, layer) in config.layers.iter().enumerate() {
                let input = b.mixer_block(i, layer, x)?;
                b.feed_forward_block(i, layer, input, x)?;
                b.end_of_layer(i, x, per_layer)?;
            }
        }
    }
    let logits = match config.pooling {
        None => b.logits(x)?,
        Some(pooling) => b.pooled(x, pooling)?,
    };
    b.finish(logits)
}

impl Builder<'_> {
    pub(super) fn embed(&mut self, x: BufId) -> Result<()> {
        let (d, n_vocab) = (self.config.d_model, self.config.n_vocab);
        let table = self.matrix("token_embd.weight", 0, n_vocab, d)?;
        self.push(
            "inp_embd",
            Op::Embed {
                table,
                ids: IdSource::Tokens,
                out: x,
            },
        );
        let factor = if self.config.arch.scaled_embedding {
            (d as f32).sqrt()
        } else {
            1.0
        };
        self.scale("inp_scaled", x, factor * self.config.scales.embedding);
        if self.has("token_types.weight") {
            let rows = self.dim("token_types.weight", 1)?;
            let table = self.matrix("token_types.weight", 0, rows, d)?;
            self.add_embedding("type_embd", table, IdSource::Segment, x);
        }
        if self.has("position_embd.weight") {
            let rows = self.dim("position_embd.weight", 1)?;
            let table = self.matrix("position_embd.weight", 0, rows, d)?;
            self.add_embedding("pos_embd", table, IdSource::Positions, x);
            self.plan.max_positions = Some(rows);
        }
        if self.has("token_embd_norm.weight") && self.config.arch.output_norm != "token_embd_norm" {
            self.norm("token_embd_norm", "inp_norm", x, d, x)?;
        }
        Ok(())
    }

    fn add_embedding(&mut self, label: &str, table: WeightId, ids: IdSource, x: BufId) {
        let out = self.scratch("normed", self.config.d_model);
        self.push(label, Op::Embed { table, ids, out });
        self.push(
            &format!("inp_{label}"),
            Op::Add {
                a: x,
                b: out,
                out: x,
            },
        );
    }

    /// Pre-norm, attention or a recurrent block, optional post-norm, residual. Returns what a feed-forward network beside
    /// it, or in its place, reads: the normalised input.
    pub(super) fn mixer_block(&mut self, i: usize, layer: &LayerConfig, x: BufId) -> Result<BufId> {
        let d = self.config.d_model;
        if self.config.arch.route_first {
            self.route(i, x)?;
        }
        let mut input = self.pre_norm(i, "attn_norm", x)?;
        let out = self.scratch("block", d);
        match layer.mixer {
            Mixer::Attention if self.config.latent.is_some() => {
                self.latent_attention(i, layer, input, out)?;
            }
            Mixer::Attention => {
                self.attention(i, layer, input, out)?;
                self.state_space_beside(i, input, out)?;
            }
            Mixer::ShortConv => self.short_conv(i, input, out)?,
            Mixer::DeltaNet => self.delta_net(i, input, out)?,
            Mixer::Mamba => self.mamba(i, input, out)?,
            Mixer::Mamba2 => self.mamba2(i, input, out)?,
            Mixer::Rwkv7 => self.rwkv7(i, input, out)?,
            Mixer::Absent => {}
        }
        if layer.mixer != Mixer::Attention {
            self.caches.push(usize::MAX);
        }
        if layer.mixer == Mixer::Absent {
            return Ok(input);
        }
        if self.config.arch.ffn_norm != "post_attention_norm" {
            self.optional_norm(i, "post_attention_norm", "attn_post_norm", out)?;
        }
        if self.config.parallel {
            input = self.pre_norm(i, self.config.arch.ffn_norm, x)?;
        }
        let before = self.copy_for_second_norm(i, x);
        self.add_residual(&format!("ffn_inp-{i}"), x, out);
        self.optional_norm(i, "attn_output_norm", "attn_out_norm", x)?;
        if let Some(before) = before {
            self.add_residual(&format!("attn_norm_2_in-{i}"), x, before);
            self.optional_norm(i, "attn_norm_2", "attn_norm_2", x)?;
        }
        Ok(input)
    }

    /// The layer's input once more, where it is added again before a second norm (Jina's embeddings of code).
    fn copy_for_second_norm(&mut self, i: usize, x: BufId) -> Option<BufId> {
        if !self.config.arch.encoder || !self.has(&format!("blk.{i}.attn_norm_2.weight")) {
            return None;
        }
        let stride = self.config.d_model;
        let out = self.scratch("layer_input", stride);
        let copy = Op::Slice {
            x,
            stride,
            offset: 0,
            out,
        };
        self.push(&format!("layer_inp-{i}"), copy);
        Some(out)
    }

    /// The norm in front of a block, or `x` itself where the file has none (post-norm models).
    pub(super) fn pre_norm(&mut self, i: usize, name: &str, x: BufId) -> Result<BufId> {
        let tensor = format!("blk.{i}.{name}");
        let d = self.config.d_model;
        if self.config.arch.bare_norms {
            let normed = self.scratch("normed", d);
            self.bare_norm(&format!("{name}-{i}"), x, d, normed);
            return Ok(normed);
        }
        if !self.has(&format!("{tensor}.weight")) && !self.has(&tensor) {
            return Ok(x);
        }
        let normed = self.scratch("normed", d);
        self.norm(&tensor, &format!("{name}-{i}"), x, d, normed)?;
        Ok(normed)
    }

    /// `x += block`, scaled where the family does.
    pub(super) fn add_residual(&mut self, label: &str, x: BufId, block: BufId) {
        self.scale(
            &format!("{label}_scaled"),
            block,
            self.config.scales.residual,
        );
        self.push(
            label,
            Op::Add {
                a: x,
                b: block,
                out: x,
            },
        );
    }

    pub(super) fn scale(&mut self, label: &str, x: BufId, factor: f32) {
        if factor != 1.0 {
            self.push(label, Op::Scale { x, factor });
        }
    }
}
