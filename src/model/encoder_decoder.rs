//! T5 (Raffel et al. 2020): an encoder that reads the text in both directions, a decoder that looks at what it made of it.

use super::builder::Builder;
use super::config::{Activation, ModelConfig};
use super::plan::{
    BufId, KvSpec, Mask, Op, Plan, Pooling, RelativeBias, RelativeBuckets, ScoreBias,
};
use crate::gguf::GgufFile;
use crate::{Error, Result};

/// Builds encoder and decoder; of a file with an encoder alone, an embedding model.
///
/// # Errors
/// As [`build`](super::decoder::build).
pub(super) fn build(config: &ModelConfig, file: &GgufFile) -> Result<Plan> {
    let mut b = Builder::new(config, file)?;
    let n_layers = config.layers.len();
    let x = b.buffer(config.d_model);
    b.embed(x)?;
    for i in 0..n_layers {
        let bias = b.relative_bias("enc.", i, true)?;
        b.self_attention("enc.", i, x, Mask::Full, bias)?;
        b.network("enc.", i, x)?;
    }
    b.norm("enc.output_norm", "result_norm_enc", x, config.d_model, x)?;
    if !b.has("dec.blk.0.attn_norm.weight") {
        b.plan.pooled = true;
        b.plan.whole = true;
        let out = b.buffer(config.d_model);
        let pooling = config.pooling.unwrap_or(Pooling::Mean);
        b.push("result_embd_pooled", Op::Pool { x, pooling, out });
        return b.finish(out);
    }
    let n_decoder = config.decoder_layers.unwrap_or(n_layers);
    let first_cross = b.plan.kv.len();
    for i in 0..n_decoder {
        b.store_memory(i, x)?;
    }
    b.plan.encoder = std::mem::take(&mut b.plan.steps);
    b.plan.decoder_start = config.decoder_start;
    let y = b.buffer(config.d_model);
    b.embed(y)?;
    for i in 0..n_decoder {
        let bias = b.relative_bias("dec.", i, false)?;
        b.self_attention("dec.", i, y, Mask::Causal, bias)?;
        b.cross_attention(i, y, first_cross + i)?;
        b.network("dec.", i, y)?;
    }
    let logits = b.logits(y)?;
    b.finish(logits)
}

impl Builder<'_> {
    /// Bias of the scores by distance; layers without a table of their own use the first one's.
    fn relative_bias(
        &mut self,
        side: &str,
        i: usize,
        both_ways: bool,
    ) -> Result<Option<ScoreBias>> {
        let own = format!("{side}blk.{i}.attn_rel_b.weight");
        let name = if self.has(&own) {
            own
        } else {
            format!("{side}blk.0.attn_rel_b.weight")
        };
        if !self.has(&name) {
            return Ok(None);
        }
        let (n_heads, buckets) = (self.dim(&name, 0)?, self.dim(&name, 1)?);
        if buckets < 4 || n_heads < self.config.layers[0].n_heads {
            let reason = format!("{buckets} buckets for {n_heads} heads");
            return Err(Error::BadTensor { name, reason });
        }
        let table = self.vector(&name, n_heads * buckets)?;
        let buckets = RelativeBuckets { buckets, both_ways };
        Ok(Some(ScoreBias::Buckets(RelativeBias { table, buckets })))
    }

    fn self_attention(
        &mut self,
        side: &str,
        i: usize,
        x: BufId,
        mask: Mask,
        bias: Option<ScoreBias>,
    ) -> Result<()> {
        let (q_width, kv) = self.widths(i);
        let width = kv.width();
        let normed = self.scratch("normed", self.config.d_model);
        let name = |part: &str| format!("{side}blk.{i}.{part}");
        let label = |part: &str| format!("{side}{part}-{i}");
        self.norm(
            &name("attn_norm"),
            &label("attn_norm"),
            x,
            self.config.d_model,
            normed,
        )?;
        let [q, k, v] = [("q", q_width), ("k", width), ("v", width)]
            .map(|(role, width)| self.scratch(role, width));
        self.project(&name("attn_q"), &label("Qcur"), normed, 0, q_width, q)?;
        self.project(&name("attn_k"), &label("Kcur"), normed, 0, width, k)?;
        self.project(&name("attn_v"), &label("Vcur"), normed, 0, width, v)?;
        let beside_decoder = mask == Mask::Full && self.has("dec.blk.0.attn_norm.weight");
        let layer = self.plan.kv.len();
        self.plan.kv.push(KvSpec {
            memory: beside_decoder,
            ..kv
        });
        self.push(&label("kv_store"), Op::StoreKv { k, v, layer });
        self.attend(
            &name("attn_o"),
            &label("attn_out"),
            i,
            x,
            q,
            (layer, mask, bias),
        )
    }

    /// Keys and values that the decoder's layer `i` will look for in the encoder's output.
    fn store_memory(&mut self, i: usize, x: BufId) -> Result<()> {
        let (_, kv) = self.widths(i);
        let (k, v) = (self.scratch("k", kv.width()), self.scratch("v", kv.width()));
        let name = |part: &str| format!("dec.blk.{i}.{part}");
        self.project(
            &name("cross_attn_k"),
            &format!("Kcur_cross-{i}"),
            x,
            0,
            kv.width(),
            k,
        )?;
        self.project(
            &name("cross_attn_v"),
            &format!("Vcur_cross-{i}"),
            x,
            0,
            kv.width(),
            v,
        )?;
        let layer = self.plan.kv.len();
        self.plan.kv.push(KvSpec { memory: true, ..kv });
        self.push(&format!("kv_store_cross-{i}"), Op::StoreKv { k, v, layer });
        Ok(())
    }

    fn cross_attention(&mut self, i: usize, x: BufId, layer: usize) -> Result<()> {
        let (q_width, _) = self.widths(i);
        let (normed, q) = (
            self.scratch("normed", self.config.d_model),
            self.scratch("q", q_width),
        );
        let name = |part: &str| format!("dec.blk.{i}.{part}");
        let label = format!("attn_norm_cross-{i}");
        self.norm(
            &name("cross_attn_norm"),
            &label,
            x,
            self.config.d_model,
            normed,
        )?;
        self.project(
            &name("cross_attn_q"),
            &format!("Qcur_cross-{i}"),
            normed,
            0,
            q_width,
            q,
        )?;
        let out = name("cross_attn_o");
        self.attend(
            &out,
            &format!("cross_out-{i}"),
            i,
            x,
            q,
            (layer, Mask::Memory, None),
        )
    }

    /// Attention, output projection, residual.
    fn attend(
        &mut self,
        name: &str,
        label: &str,
        i: usize,
        x: BufId,
        q: BufId,
        (layer, mask, bias): (usize, Mask, Option<ScoreBias>),
    ) -> Result<()> {
        let spec = &self.config.layers[i.min(self.config.layers.len() - 1)];
        let (n_heads, head_dim) = (spec.n_heads, spec.head_dim);
        let attended = self.scratch("attended", n_heads * head_dim);
        let out = self.scratch("block", self.config.d_model);
        let (scale, window, softcap, sinks) = (self.config.attention_scale, None, None, None);
        let op = Op::Attention {
            q,
            layer,
            n_heads,
            head_dim,
            scale,
            mask,
            window,
            softcap,
            sinks,
            bias,
            out: attended,
        };
        self.push(&format!("{label}.kqv"), op);
        self.project(name, label, attended, 0, self.config.d_model, out)?;
        self.push(
            &format!("{label}.add"),
            Op::Add {
                a: x,
                b: out,
                out: x,
            },
        );
        Ok(())
    }

    /// Feed-forward network: gated GELU, or ReLU without a gate (the first T5).
    fn network(&mut self, side: &str, i: usize, x: BufId) -> Result<()> {
        let (d, d_ff) = (
            self.config.d_model,
            self.dim(&format!("{side}blk.{i}.ffn_up.weight"), 1)?,
        );
        let (normed, up, out) = (
            self.scratch("normed", d),
            self.scratch("ffn_up", d_ff),
            self.scratch("block", d),
        );
        let name = |part: &str| format!("{side}blk.{i}.{part}");
        let label = |part: &str| format!("{side}{part}-{i}");
        self.norm(&name("ffn_norm"), &label("ffn_norm"), x, d, normed)?;
        self.project(&name("ffn_up"), &label("ffn_up"), normed, 0, d_ff, up)?;
        if self.has(&name("ffn_gate.weight")) {
            let gate = self.scratch("ffn_gate", d_ff);
            self.project(&name("ffn_gate"), &label("ffn_gate"), normed, 0, d_ff, gate)?;
            let act = self.config.activation;
            self.push(
                &label("ffn_gate_par"),
                Op::GatedAct {
                    act,
                    gate,
                    up,
                    out: up,
                },
            );
        } else {
            self.push(
                &label("ffn_act"),
                Op::Act {
                    act: Activation::Relu,
                    x: up,
                },
            );
        }
        self.project(&name("ffn_down"), &label("ffn_out"), up, 0, d, out)?;
        self.push(
            &label("l_out"),
            Op::Add {
                a: x,
                b: out,
                out: x,
            },
        );
        Ok(())
    }

    /// Width of the queries and shape of keys and values.
    fn widths(&self, i: usize) -> (usize, KvSpec) {
        let layer = &self.config.layers[i.min(self.config.layers.len() - 1)];
        let kv = KvSpec {
            n_kv_heads: layer.n_kv_heads,
            head_dim: layer.head_dim,
            memory: false,
        };
        (layer.n_heads * layer.head_dim, kv)
    }
}
