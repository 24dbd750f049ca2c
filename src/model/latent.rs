//! Attention whose keys and values come from one short vector a token: multi-head latent attention (DeepSeek-AI 2024).
//!
//! A head's key is `[plain | rotated]`: the plain part is made of the latent vector, the rotated one is the same for all
//! heads. Files come in two forms, and each is run as it is stored:
//!
//! - **whole** (`attn_kv_b`): plain keys and values of all heads are one product of the latent vector. They go to the cache as
//!   those of any model, `heads * key` elements each.
//! - **split** (`attn_k_b`, transposed, and `attn_v_b`): the product of the keys is applied to the queries instead, that of
//!   the values to the result. The cache has latent vector and rotated part alone, once for all heads.

use super::builder::Builder;
use super::config::{LatentConfig, LayerConfig};
use super::plan::{BufId, KvSpec, Op, WeightId};
use crate::{Error, Result};

impl Builder<'_> {
    /// Attention of a latent vector, from the normalised input to the output projection.
    pub(super) fn latent_attention(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        x: BufId,
        out: BufId,
    ) -> Result<()> {
        let missing =
            || Error::MissingMetadata(format!("{}.attention.kv_lora_rank", self.config.arch.name));
        let latent = self.config.latent.ok_or_else(missing)?;
        let q = self.latent_queries(i, layer, x)?;
        let q_rotated = self.scratch("q_rotated", layer.n_heads * latent.rotated);
        self.slice_heads(
            &format!("q_pe-{i}"),
            q,
            layer.head_dim,
            latent.plain,
            q_rotated,
        );
        self.rotate(
            &format!("q_pe_rope-{i}"),
            q_rotated,
            layer.n_heads,
            latent.rotated,
        );
        let (vector, key) = self.latent_vector(i, &latent, x)?;
        let values = self.scratch("latent_values", layer.n_heads * latent.value);
        if self.has(&format!("blk.{i}.attn_kv_b.weight")) {
            let k = self.scratch("k", layer.n_heads * layer.head_dim);
            let v = self.scratch("v", layer.n_heads * layer.head_dim);
            self.whole_keys_and_values(i, layer, &latent, vector, (k, v))?;
            for (label, x, to) in [("Qcur", q_rotated, q), ("Kcur", key, k)] {
                let head = (layer.head_dim, latent.plain, latent.rotated);
                self.place_heads(&format!("{label}-{i}"), x, head, to);
            }
            // Only the end of what is stored as a value is one.
            let skipped = layer.head_dim - latent.value;
            self.latent_scores(
                i,
                layer,
                (layer.n_heads, layer.head_dim),
                (q, k, v),
                skipped,
                values,
            )?;
        } else {
            self.split_attention(i, layer, &latent, (q, q_rotated), (vector, key), values)?;
        }
        self.project_layer(i, "attn_output", "attn_out", values, 0, out)
    }

    /// Queries of all heads, by way of a short vector of their own where the file has that.
    fn latent_queries(&mut self, i: usize, layer: &LayerConfig, x: BufId) -> Result<BufId> {
        let q = self.scratch("q", layer.n_heads * layer.head_dim);
        let down = format!("blk.{i}.attn_q_a.weight");
        if !self.has(&down) {
            self.project_layer(i, "attn_q", "q", x, 0, q)?;
            return Ok(q);
        }
        let rank = self.dim(&down, 1)?;
        let short = self.scratch("q_short", rank);
        self.project_layer(i, "attn_q_a", "q_a", x, 0, short)?;
        self.norm(
            &format!("blk.{i}.attn_q_a_norm"),
            &format!("q_a_norm-{i}"),
            short,
            rank,
            short,
        )?;
        self.project_layer(i, "attn_q_b", "q", short, 0, q)?;
        Ok(q)
    }

    /// The normalised latent vector and the rotated part of the keys.
    fn latent_vector(
        &mut self,
        i: usize,
        latent: &LatentConfig,
        x: BufId,
    ) -> Result<(BufId, BufId)> {
        let width = latent.rank + latent.rotated;
        let both = self.scratch("kv_short", width);
        self.project_layer(i, "attn_kv_a_mqa", "kv_cmpr_pe", x, 0, both)?;
        let vector = self.scratch("latent", latent.rank);
        self.slice_heads(&format!("kv_cmpr-{i}"), both, width, 0, vector);
        let (norm, label) = (
            format!("blk.{i}.attn_kv_a_norm"),
            format!("kv_cmpr_norm-{i}"),
        );
        self.norm(&norm, &label, vector, latent.rank, vector)?;
        let key = self.scratch("k_rotated", latent.rotated);
        self.slice_heads(&format!("k_pe-{i}"), both, width, latent.rank, key);
        self.rotate(&format!("k_pe_rope-{i}"), key, 1, latent.rotated);
        Ok((vector, key))
    }

    /// Plain keys and values of each head, side by side in one product: `k` gets each head's key with room for the rotated part
    /// behind it, `v` its value behind as much of the key as makes it as long.
    fn whole_keys_and_values(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        latent: &LatentConfig,
        vector: BufId,
        (k, v): (BufId, BufId),
    ) -> Result<()> {
        let both = latent.plain + latent.value;
        let kv = self.scratch("kv", layer.n_heads * both);
        self.project_layer(i, "attn_kv_b", "kv", vector, 0, kv)?;
        self.slice_heads(&format!("k_nope-{i}"), kv, both, 0, k);
        self.slice_heads(&format!("Vcur-{i}"), kv, both, both - layer.head_dim, v);
        Ok(())
    }

    /// Attention over latent vectors: queries are brought to their space, results back from it.
    fn split_attention(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        latent: &LatentConfig,
        (q, q_rotated): (BufId, BufId),
        (vector, key): (BufId, BufId),
        values: BufId,
    ) -> Result<()> {
        let (heads, width) = (layer.n_heads, latent.rank + latent.rotated);
        let plain = self.scratch("q_plain", heads * latent.plain);
        self.slice_heads(&format!("q_nope-{i}"), q, layer.head_dim, 0, plain);
        let every = self.scratch("every_head", 2 * heads);
        let op = Op::EveryExpert {
            used: heads,
            out: every,
        };
        self.push(&format!("heads-{i}"), op);
        let name = format!("blk.{i}.attn_k_b.weight");
        let weight = self.expert_matrix(&name, latent.rank, latent.plain, heads)?;
        let absorbed = self.scratch("q_latent", heads * latent.rank);
        self.product_of_heads(
            &format!("q_nope_absorbed-{i}"),
            plain,
            every,
            weight,
            absorbed,
        );
        let q = self.scratch("q_and_rotated", heads * width);
        self.place_heads(
            &format!("q_absorbed-{i}"),
            absorbed,
            (width, 0, latent.rank),
            q,
        );
        self.place_heads(
            &format!("Qcur-{i}"),
            q_rotated,
            (width, latent.rank, latent.rotated),
            q,
        );
        let k = self.scratch("kv_short", width);
        self.place_heads(&format!("k_latent-{i}"), vector, (width, 0, latent.rank), k);
        self.place_heads(
            &format!("Kcur-{i}"),
            key,
            (width, latent.rank, latent.rotated),
            k,
        );
        let attended = self.scratch("latent_attended", heads * latent.rank);
        self.latent_scores(i, layer, (1, width), (q, k, k), 0, attended)?;
        let name = format!("blk.{i}.attn_v_b.weight");
        let weight = self.expert_matrix(&name, latent.value, latent.rank, heads)?;
        self.product_of_heads(&format!("kqv-{i}"), attended, every, weight, values);
        Ok(())
    }

    /// Cache and attention; `out` gets of each head's result what comes after `skipped` elements.
    fn latent_scores(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        (n_kv_heads, head_dim): (usize, usize),
        (q, k, v): (BufId, BufId, BufId),
        skipped: usize,
        out: BufId,
    ) -> Result<()> {
        let config = self.config;
        self.attention_temperature(i, q);
        let cache = self.plan.kv.len();
        self.plan.kv.push(KvSpec {
            n_kv_heads,
            head_dim,
            memory: false,
        });
        self.caches.push(cache);
        self.push(&format!("kv_store-{i}"), Op::StoreKv { k, v, layer: cache });
        let attended = self.scratch("attended", layer.n_heads * head_dim);
        let attention = Op::Attention {
            q,
            layer: cache,
            n_heads: layer.n_heads,
            head_dim,
            scale: config.attention_scale,
            mask: config.mask,
            window: layer.window,
            softcap: None,
            sinks: None,
            bias: None,
            out: attended,
        };
        self.push(&format!("kqv_out-{i}"), attention);
        self.slice_heads(&format!("kqv_values-{i}"), attended, head_dim, skipped, out);
        Ok(())
    }

    fn rotate(&mut self, label: &str, x: BufId, n_heads: usize, head_dim: usize) {
        if let Some(rope) = self.global_rope {
            let op = Op::Rope {
                x,
                rope,
                n_heads,
                head_dim,
            };
            self.push(label, op);
        }
    }

    /// Of each head of `x`, `stride` long, as much from `offset` on as fills `out`.
    fn slice_heads(&mut self, label: &str, x: BufId, stride: usize, offset: usize, out: BufId) {
        let op = Op::Slice {
            x,
            stride,
            offset,
            out,
        };
        self.push(label, op);
    }

    /// Each head of `x`, `width` long, or its only one, to `offset` in a head of `out`.
    fn place_heads(
        &mut self,
        label: &str,
        x: BufId,
        (stride, offset, width): (usize, usize, usize),
        out: BufId,
    ) {
        let op = Op::Place {
            x,
            width,
            stride,
            offset,
            out,
        };
        self.push(label, op);
    }

    /// Each head of `x` times the matrix of its own.
    fn product_of_heads(
        &mut self,
        label: &str,
        x: BufId,
        every: BufId,
        weight: WeightId,
        out: BufId,
    ) {
        let used = self.plan.buffers[every.0] / 2;
        let op = Op::MoeMatMul {
            x,
            route: every,
            used,
            weight,
            bias: None,
            stride: self.plan.buffers[out.0] / used,
            offset: 0,
            out,
        };
        self.push(label, op);
    }
}
