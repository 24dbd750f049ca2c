//! Attention blocks.

use super::builder::Builder;
use super::config::{Activation, LayerConfig};
use super::plan::{BufId, KvSpec, Op, ScoreBias};
use crate::{Error, Result};

impl Builder<'_> {
    /// Projections, optional q/k norm, RoPE, cache, attention, optional gate, output projection.
    pub(super) fn attention(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        x: BufId,
        out: BufId,
    ) -> Result<()> {
        let config = self.config;
        let head_dim = layer.head_dim;
        let q_width = layer.n_heads * head_dim;
        let own_gate = self.gate_of_its_own(i, x, q_width)?;
        let q = self.scratch("q", q_width);
        let q_and_gate = self.queries(i, layer, x, q)?;
        let cache = match layer.kv_source {
            Some(source) => self.caches[source],
            None => self.keys_and_values(i, layer, x)?,
        };
        self.caches.push(cache);
        let gate = q_and_gate.map(|both| self.split_gates(i, layer, both, q));
        self.normed_and_rotated(i, layer, ("attn_q_norm", "Qcur"), layer.n_heads, q)?;
        self.attention_temperature(i, q);
        let attended = self.scratch("attended", q_width);
        let attention = Op::Attention {
            q,
            layer: cache,
            n_heads: layer.n_heads,
            head_dim,
            scale: config.attention_scale,
            mask: config.mask,
            window: layer.window,
            softcap: config.attention_softcap,
            sinks: self.optional_vector(&format!("blk.{i}.attn_sinks.weight"), layer.n_heads)?,
            bias: config.alibi.map(|steepest| ScoreBias::Slopes { steepest }),
            out: attended,
        };
        self.push(&format!("kqv_out-{i}"), attention);
        if let Some(gate) = gate.or(own_gate) {
            let op = Op::GatedAct {
                act: Activation::Sigmoid,
                gate,
                up: attended,
                out: attended,
            };
            self.push(&format!("attn_gated-{i}"), op);
        }
        self.optional_norm(i, "attn_sub_norm", "attn_sub_norm", attended)?;
        self.project_layer(i, "attn_output", "attn_out", attended, 0, out)
    }

    /// Queries into `q`. Where the tensor is twice as tall each head has a gate after its query: returns both, side by side.
    fn queries(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        x: BufId,
        q: BufId,
    ) -> Result<Option<BufId>> {
        let width = layer.n_heads * layer.head_dim;
        if self.has(&format!("blk.{i}.attn_qkv.weight")) {
            return self
                .project_layer(i, "attn_qkv", "Qcur", x, 0, q)
                .map(|()| None);
        }
        if self.dim(&format!("blk.{i}.attn_q.weight"), 1)? != 2 * width {
            return self
                .project_layer(i, "attn_q", "Qcur", x, 0, q)
                .map(|()| None);
        }
        let both = self.scratch("q_and_gate", 2 * width);
        self.project_layer(i, "attn_q", "Qcur_full", x, 0, both)?;
        Ok(Some(both))
    }

    /// Queries that grow with the position, where the model has that.
    pub(super) fn attention_temperature(&mut self, i: usize, q: BufId) {
        if let Some((factor, length)) = self.config.temperature {
            let op = Op::PositionScale {
                x: q,
                factor,
                length,
            };
            self.push(&format!("Qcur_attn_temp_scaled-{i}"), op);
        }
    }

    /// Gates of the heads' results, or of each element of them, where a matrix of their own makes them.
    fn gate_of_its_own(&mut self, i: usize, x: BufId, width: usize) -> Result<Option<BufId>> {
        let name = format!("blk.{i}.attn_gate.weight");
        if !self.has(&name) {
            return Ok(None);
        }
        let gates = self.dim(&name, 1)?;
        if gates == 0 || !width.is_multiple_of(gates) {
            let reason = format!("{gates} gates do not fit heads of {width} elements");
            return Err(Error::BadTensor { name, reason });
        }
        let gate = self.scratch("q_gate", gates);
        self.project_layer(i, "attn_gate", "attn_gate", x, 0, gate)?;
        Ok(Some(gate))
    }

    /// Takes queries, into `q`, and gates apart; returns the gates.
    fn split_gates(&mut self, i: usize, layer: &LayerConfig, both: BufId, q: BufId) -> BufId {
        let gate = self.scratch("q_gate", layer.n_heads * layer.head_dim);
        for (label, offset, out) in [("Qcur", 0, q), ("gate", layer.head_dim, gate)] {
            let op = Op::Slice {
                x: both,
                stride: 2 * layer.head_dim,
                offset,
                out,
            };
            self.push(&format!("{label}-{i}"), op);
        }
        gate
    }

    /// Keys and values into a cache of the layer's own; returns its number.
    fn keys_and_values(&mut self, i: usize, layer: &LayerConfig, x: BufId) -> Result<usize> {
        let width = layer.n_kv_heads * layer.head_dim;
        let (k, v) = (self.scratch("k", width), self.scratch("v", width));
        if self.has(&format!("blk.{i}.attn_qkv.weight")) {
            let q_width = layer.n_heads * layer.head_dim;
            self.project_layer(i, "attn_qkv", "Kcur", x, q_width, k)?;
            self.project_layer(i, "attn_qkv", "Vcur", x, q_width + width, v)?;
        } else {
            // Without a projection of their own values are the keys as they are before norm and rotation.
            let values = if self.has(&format!("blk.{i}.attn_v.weight")) {
                "attn_v"
            } else {
                "attn_k"
            };
            self.project_layer(i, "attn_k", "Kcur", x, 0, k)?;
            self.project_layer(i, values, "Vcur", x, 0, v)?;
        }
        self.normed_and_rotated(i, layer, ("attn_k_norm", "Kcur"), layer.n_kv_heads, k)?;
        if self.config.arch.value_norm {
            self.bare_norm(&format!("Vcur_normed-{i}"), v, layer.head_dim, v);
        }
        let cache = self.plan.kv.len();
        self.plan.kv.push(KvSpec {
            n_kv_heads: layer.n_kv_heads,
            head_dim: layer.head_dim,
            memory: false,
        });
        self.push(&format!("kv_store-{i}"), Op::StoreKv { k, v, layer: cache });
        Ok(cache)
    }

    /// Norm (where the file has it) and rotation of queries or keys, in the family's order.
    fn normed_and_rotated(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        (norm, label): (&str, &str),
        n_heads: usize,
        x: BufId,
    ) -> Result<()> {
        let after = self.config.arch.qk_norm_after_rope;
        let normed = format!("{label}_normed");
        if !after {
            self.optional_norm(i, norm, &normed, x)?;
        }
        let rope = if layer.window.is_some() {
            self.local_rope
        } else {
            self.global_rope
        };
        if let Some(rope) = rope.filter(|_| layer.rotated) {
            self.push(
                &format!("{label}_rope-{i}"),
                Op::Rope {
                    x,
                    rope,
                    n_heads,
                    head_dim: layer.head_dim,
                },
            );
        }
        if after {
            self.optional_norm(i, norm, &normed, x)?;
        }
        Ok(())
    }
}
