//! Rotary embedding, cache and attention.

use super::super::fuse::Node;
use super::super::kernel::{Kernel, MAX_HEAD, ScoreExtra, TILE_ROWS};
use super::super::program::{Extent, Params, SPLITS, Slot, When};
use super::Compiler;
use crate::model::{Mask, Op};
use crate::{Error, Result};

/// Positions to either side where there is no window: more than any context, and no sum of it overflows.
const UNBOUNDED: usize = 1 << 30;

impl Compiler<'_> {
    pub(super) fn rope(&mut self, op: &Op) -> Result<()> {
        let Op::Rope {
            x,
            rope,
            n_heads,
            head_dim,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let spec = &self.plan.ropes[rope.0];
        let pairs = spec.n_rot / 2;
        let kernel = Kernel::Rope {
            pairing: spec.pairing,
        };
        let params = Params::new().u(n_heads).u(head_dim).u(pairs);
        let grid = self.per_row(kernel, n_heads * pairs);
        self.push(
            kernel,
            params,
            vec![Slot::Rotary(rope.0), Slot::Buffer(x)],
            grid,
            When::Always,
        );
        Ok(())
    }

    pub(super) fn store_kv(&mut self, op: &Op) -> Result<()> {
        let Op::StoreKv { k, v, layer } = *op else {
            return Err(self.mismatch());
        };
        let quads = self.kv_quads(layer)?;
        let kernel = Kernel::StoreKv { kv: self.target.kv };
        let slots = vec![
            Slot::Buffer(k),
            Slot::Buffer(v),
            Slot::Keys(layer),
            Slot::Values(layer),
        ];
        self.push(
            kernel,
            Params::new().u(quads),
            slots,
            self.per_row(kernel, quads),
            When::Always,
        );
        Ok(())
    }

    /// Vectors of four per position of a layer's keys.
    pub(super) fn kv_quads(&self, layer: usize) -> Result<usize> {
        let spec = self.plan.kv[layer];
        if !spec.head_dim.is_multiple_of(4) || spec.head_dim > MAX_HEAD {
            return Err(Error::Gpu(format!(
                "heads of length {} have no kernel",
                spec.head_dim
            )));
        }
        Ok(spec.width() / 4)
    }

    pub(super) fn heads(&mut self, node: &Node) -> Result<()> {
        let Node::Heads {
            qkv,
            layer,
            n_heads,
            n_kv_heads,
            head_dim,
            q_norm,
            k_norm,
            rope,
        } = *node
        else {
            return Err(self.mismatch());
        };
        self.kv_quads(layer)?;
        let spec = rope.map(|rope| &self.plan.ropes[rope.0]);
        let kernel = Kernel::Heads {
            qk_norm: q_norm.is_some(),
            rope: spec.map(|s| s.pairing),
            kv: self.target.kv,
        };
        let pairs = spec.map_or(0, |spec| spec.n_rot / 2);
        let eps = q_norm.map_or(0.0, |(_, eps)| eps);
        let slots = vec![
            Slot::Buffer(qkv),
            rope.map_or(Slot::Unused, |rope| Slot::Rotary(rope.0)),
            self.optional_vector(q_norm.map(|(id, _)| id))?,
            self.optional_vector(k_norm)?,
            Slot::Keys(layer),
            Slot::Values(layer),
        ];
        let params = Params::new()
            .u(n_heads)
            .u(n_kv_heads)
            .u(head_dim)
            .u(pairs)
            .f(eps);
        let grid = [n_heads + 2 * n_kv_heads, 1, 1].map(|n| Extent::Fixed(n as u32));
        self.push(kernel, params, slots, grid, When::Always);
        Ok(())
    }

    /// Attention over the cache: in tiles of queries for many tokens, else by itself for each head and token.
    pub(super) fn attention(&mut self, op: &Op, tokens: usize) -> Result<()> {
        let Op::Attention {
            layer,
            n_heads,
            head_dim,
            mask,
            window,
            sinks,
            bias,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let kv = self.target.kv;
        let extra = match (sinks, bias) {
            (None, None) => ScoreExtra::None,
            (Some(_), None) => ScoreExtra::Sinks,
            (None, Some(bias)) => ScoreExtra::Bias(bias.buckets),
            _ => return Err(Error::Gpu("sinks with a bias have no kernel".into())),
        };
        let params = self.attention_params(op, 1)?;
        let slots = self.attention_slots(op, Slot::Buffer(out))?;
        if tokens > 1 && self.target.tiled {
            let kernel = Kernel::attention_tile(kv, head_dim / 4, extra);
            let kv_heads = self.plan.kv[layer].n_kv_heads;
            let shared_by = n_heads / kv_heads;
            let blocks = kv_heads * shared_by.div_ceil(TILE_ROWS);
            let tile_tokens = TILE_ROWS / shared_by.min(TILE_ROWS);
            let grid = [
                Extent::Fixed(blocks as u32),
                Extent::Tokens(tile_tokens as u32),
                Extent::Fixed(1),
            ];
            self.push(kernel, params, slots, grid, When::Always);
            return Ok(());
        }
        let may_split = tokens == 1
            && mask == Mask::Causal
            && bias.is_none()
            && window.is_none_or(|window| window > self.target.split_from);
        let when = if may_split { When::Short } else { When::Always };
        let kernel = Kernel::Attention {
            kv,
            split: false,
            extra,
        };
        let heads = Extent::Fixed(n_heads as u32);
        let grid = [heads, Extent::Tokens(1), Extent::Fixed(1)];
        self.push(kernel, params, slots, grid, when);
        if may_split {
            self.split_attention(op, extra)?;
        }
        Ok(())
    }

    /// Attention of one token to many keys, which several workgroups share.
    fn split_attention(&mut self, op: &Op, extra: ScoreExtra) -> Result<()> {
        let Op::Attention {
            n_heads,
            head_dim,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let kernel = Kernel::Attention {
            kv: self.target.kv,
            split: true,
            extra,
        };
        let grid = |parts: usize| [n_heads, 1, parts].map(|n| Extent::Fixed(n as u32));
        let params = self.attention_params(op, SPLITS)?;
        let slots = self.attention_slots(op, Slot::Parts)?;
        self.push(kernel, params, slots, grid(SPLITS), When::Long);
        let quads = head_dim / 4;
        let join = Params::new().u(quads).u(SPLITS);
        let slots = vec![Slot::Parts, Slot::Buffer(out)];
        self.push(Kernel::AttentionCombine, join, slots, grid(1), When::Long);
        let floats = n_heads * SPLITS * (quads + 1) * 4;
        self.program.parts_floats = self.program.parts_floats.max(floats);
        Ok(())
    }

    fn attention_slots(&self, op: &Op, out: Slot) -> Result<Vec<Slot>> {
        let Op::Attention {
            q,
            layer,
            sinks,
            bias,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let extra = self.optional_vector(sinks.or(bias.map(|bias| bias.table)))?;
        Ok(vec![
            Slot::Buffer(q),
            Slot::Keys(layer),
            Slot::Values(layer),
            extra,
            out,
        ])
    }

    fn attention_params(&self, op: &Op, splits: usize) -> Result<Params> {
        let Op::Attention {
            q,
            layer,
            n_heads,
            head_dim,
            scale,
            mask,
            window,
            softcap,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let (back, ahead) = match (mask, window) {
            (Mask::Causal, window) => (window.map_or(UNBOUNDED, |window| window - 1), 0),
            (_, None) => (UNBOUNDED, UNBOUNDED),
            (_, Some(window)) => (window / 2, window / 2),
        };
        Ok(Params::new()
            .u(head_dim / 4)
            .u(n_heads / self.plan.kv[layer].n_kv_heads)
            .u(self.width(q) / 4)
            .u(self.kv_quads(layer)?)
            .u(self.width(out) / 4)
            .u(back)
            .u(ahead)
            .u(usize::from(mask == Mask::Memory))
            .f(scale)
            .f(softcap.unwrap_or(0.0))
            .u(splits)
            .u(n_heads))
    }
}
