//! Attention blocks.

use super::builder::Builder;
use super::config::LayerConfig;
use super::plan::{BufId, KvSpec, Op};
use crate::Result;

impl Builder<'_> {
    /// Projections, optional q/k norm, RoPE, cache, attention, output projection.
    pub(super) fn attention(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        x: BufId,
        out: BufId,
    ) -> Result<()> {
        let config = self.config;
        let head_dim = config.head_dim;
        let (q_width, kv_width) = (layer.n_heads * head_dim, layer.n_kv_heads * head_dim);
        let [q, k, v] = [("q", q_width), ("k", kv_width), ("v", kv_width)]
            .map(|(role, width)| self.scratch(role, width));
        self.project_qkv(i, x, [q, k, v])?;
        if !config.arch.qk_norm_after_rope {
            self.qk_norm(i, q, k)?;
        }
        self.rotate(i, layer, q, k);
        if config.arch.qk_norm_after_rope {
            self.qk_norm(i, q, k)?;
        }
        if let Some((factor, length)) = config.temperature {
            self.push(
                &format!("Qcur_attn_temp_scaled-{i}"),
                Op::PositionScale {
                    x: q,
                    factor,
                    length,
                },
            );
        }
        let cache = self.plan.kv.len();
        self.plan.kv.push(KvSpec {
            n_kv_heads: layer.n_kv_heads,
            head_dim,
        });
        self.push(&format!("kv_store-{i}"), Op::StoreKv { k, v, layer: cache });
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
            out: attended,
        };
        self.push(&format!("kqv_out-{i}"), attention);
        self.project_layer(i, "attn_output", "attn_out", attended, 0, out)
    }

    /// Queries, keys and values from three tensors or one.
    fn project_qkv(&mut self, i: usize, x: BufId, [q, k, v]: [BufId; 3]) -> Result<()> {
        let fused = self.has(&format!("blk.{i}.attn_qkv.weight"));
        let mut start = 0;
        for (name, label, out) in [
            ("attn_q", "Qcur", q),
            ("attn_k", "Kcur", k),
            ("attn_v", "Vcur", v),
        ] {
            if fused {
                self.project_layer(i, "attn_qkv", label, x, start, out)?;
                start += self.plan.buffers[out.0];
            } else {
                self.project_layer(i, name, label, x, 0, out)?;
            }
        }
        Ok(())
    }

    fn rotate(&mut self, i: usize, layer: &LayerConfig, q: BufId, k: BufId) {
        let head_dim = self.config.head_dim;
        let rope = if layer.window.is_some() {
            self.local_rope
        } else {
            self.global_rope
        };
        if let Some(rope) = rope.filter(|_| layer.rotated) {
            let (n_heads, n_kv_heads) = (layer.n_heads, layer.n_kv_heads);
            self.push(
                &format!("Qcur_rope-{i}"),
                Op::Rope {
                    x: q,
                    rope,
                    n_heads,
                    head_dim,
                },
            );
            self.push(
                &format!("Kcur_rope-{i}"),
                Op::Rope {
                    x: k,
                    rope,
                    n_heads: n_kv_heads,
                    head_dim,
                },
            );
        }
    }

    fn qk_norm(&mut self, i: usize, q: BufId, k: BufId) -> Result<()> {
        self.optional_norm(i, "attn_q_norm", "Qcur_normed", q)?;
        self.optional_norm(i, "attn_k_norm", "Kcur_normed", k)
    }
}
