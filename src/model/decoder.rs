//! Decoder-only transformers: [`ModelConfig`] to [`Plan`], reading top to bottom as the papers do.

use super::builder::Builder;
use super::config::{LayerConfig, ModelConfig};
use super::plan::{BufId, IdSource, KvSpec, Op, Plan};
use crate::Result;
use crate::gguf::GgufFile;

/// Builds the forward pass of the model in `file`.
///
/// # Errors
/// [`Error::MissingTensor`] or [`Error::BadTensor`] when a weight is absent, has the wrong shape, or has no place in
/// this architecture (running on without it would give wrong text).
pub fn build(config: &ModelConfig, file: &GgufFile) -> Result<Plan> {
    let mut b = Builder::new(config, file)?;
    let x = b.buffer(config.d_model);
    b.embed(x)?;
    for (i, layer) in config.layers.iter().enumerate() {
        b.attention_block(i, layer, x)?;
        b.feed_forward_block(i, layer, x)?;
    }
    let last = b.buffer(config.d_model);
    b.push("result_last", Op::LastRow { x, out: last });
    b.norm("output_norm", "result_norm", last, config.d_model, last)?;
    let logits = b.buffer(config.n_vocab);
    let head = if b.has("output.weight") {
        "output"
    } else {
        "token_embd"
    };
    b.project(head, "result_output", last, 0, config.n_vocab, logits)?;
    b.scale("result_output_scaled", logits, config.scales.logits);
    if let Some(cap) = config.final_softcap {
        b.push("result_output_capped", Op::SoftCap { x: logits, cap });
    }
    b.finish(logits)
}

impl Builder<'_> {
    fn embed(&mut self, x: BufId) -> Result<()> {
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
        if self.has("position_embd.weight") {
            let rows = self
                .tensor("position_embd.weight")?
                .shape
                .get(1)
                .copied()
                .unwrap_or(0) as usize;
            let table = self.matrix("position_embd.weight", 0, rows, d)?;
            let positions = self.scratch(0, d);
            self.push(
                "pos_embd",
                Op::Embed {
                    table,
                    ids: IdSource::Positions,
                    out: positions,
                },
            );
            self.push(
                "inpL",
                Op::Add {
                    a: x,
                    b: positions,
                    out: x,
                },
            );
            self.plan.max_positions = Some(rows);
        }
        Ok(())
    }

    /// Pre-norm, projections, optional q/k norm, RoPE, cache, attention, output projection, optional post-norm.
    fn attention_block(&mut self, i: usize, layer: &LayerConfig, x: BufId) -> Result<()> {
        let config = self.config;
        let (d, head_dim) = (config.d_model, config.head_dim);
        let (q_width, kv_width) = (layer.n_heads * head_dim, layer.n_kv_heads * head_dim);
        let normed = self.scratch(0, d);
        self.norm(
            &format!("blk.{i}.attn_norm"),
            &format!("attn_norm-{i}"),
            x,
            d,
            normed,
        )?;

        let (q, k, v) = (
            self.scratch(1, q_width),
            self.scratch(2, kv_width),
            self.scratch(3, kv_width),
        );
        if self.has(&format!("blk.{i}.attn_qkv.weight")) {
            let fused = format!("blk.{i}.attn_qkv");
            self.project(&fused, &format!("Qcur-{i}"), normed, 0, q_width, q)?;
            self.project(&fused, &format!("Kcur-{i}"), normed, q_width, kv_width, k)?;
            self.project(
                &fused,
                &format!("Vcur-{i}"),
                normed,
                q_width + kv_width,
                kv_width,
                v,
            )?;
        } else {
            self.project(
                &format!("blk.{i}.attn_q"),
                &format!("Qcur-{i}"),
                normed,
                0,
                q_width,
                q,
            )?;
            self.project(
                &format!("blk.{i}.attn_k"),
                &format!("Kcur-{i}"),
                normed,
                0,
                kv_width,
                k,
            )?;
            self.project(
                &format!("blk.{i}.attn_v"),
                &format!("Vcur-{i}"),
                normed,
                0,
                kv_width,
                v,
            )?;
        }
        if !config.arch.qk_norm_after_rope {
            self.qk_norm(i, q, k)?;
        }
        let rope = if layer.window.is_some() {
            self.local_rope
        } else {
            self.global_rope
        };
        if let Some(rope) = rope.filter(|_| layer.rotated) {
            self.push(
                &format!("Qcur_rope-{i}"),
                Op::Rope {
                    x: q,
                    rope,
                    n_heads: layer.n_heads,
                    head_dim,
                },
            );
            self.push(
                &format!("Kcur_rope-{i}"),
                Op::Rope {
                    x: k,
                    rope,
                    n_heads: layer.n_kv_heads,
                    head_dim,
                },
            );
        }
        if config.arch.qk_norm_after_rope {
            self.qk_norm(i, q, k)?;
        }
        self.plan.kv.push(KvSpec {
            n_kv_heads: layer.n_kv_heads,
            head_dim,
        });
        self.push(&format!("kv_store-{i}"), Op::StoreKv { k, v, layer: i });
        let attended = self.scratch(4, q_width);
        let attention = Op::Attention {
            q,
            layer: i,
            n_heads: layer.n_heads,
            head_dim,
            scale: config.attention_scale,
            window: layer.window,
            softcap: config.attention_softcap,
            out: attended,
        };
        self.push(&format!("kqv_out-{i}"), attention);
        self.project(
            &format!("blk.{i}.attn_output"),
            &format!("attn_out-{i}"),
            attended,
            0,
            d,
            normed,
        )?;
        self.optional_norm(
            &format!("blk.{i}.post_attention_norm"),
            &format!("attn_post_norm-{i}"),
            normed,
        )?;
        self.add_residual(&format!("ffn_inp-{i}"), x, normed);
        Ok(())
    }

    fn qk_norm(&mut self, i: usize, q: BufId, k: BufId) -> Result<()> {
        self.optional_norm(
            &format!("blk.{i}.attn_q_norm"),
            &format!("Qcur_normed-{i}"),
            q,
        )?;
        self.optional_norm(
            &format!("blk.{i}.attn_k_norm"),
            &format!("Kcur_normed-{i}"),
            k,
        )
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

    fn scale(&mut self, label: &str, x: BufId, factor: f32) {
        if factor != 1.0 {
            self.push(label, Op::Scale { x, factor });
        }
    }
}
