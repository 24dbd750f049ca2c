//! Rotary embedding, cache and attention.

use super::super::fuse::NewHeads;
use super::super::kernel::{
    HeadVariant, Kernel, MAX_ATTENTION_HEAD, ScoreExtra, TILE_ROWS, attention_threads,
};
use super::super::program::{Extent, Params, SPLITS, Slot, When};
use super::Compiler;
use crate::model::{Mask, Op, RopeId, ScoreBias};
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
        if !spec.head_dim.is_multiple_of(4) || spec.head_dim > MAX_ATTENTION_HEAD {
            return Err(Error::Gpu(format!(
                "heads of length {} have no kernel",
                spec.head_dim
            )));
        }
        Ok(spec.width() / 4)
    }

    /// Attention of many tokens, in tiles of queries if it may.
    pub(super) fn attention_of_many(&mut self, op: &Op) -> Result<()> {
        let Op::Attention {
            layer,
            n_heads,
            head_dim,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let extra = self.score_extra(op)?;
        let tile = Kernel::attention_tile(self.target.kv, head_dim / 4, extra);
        let Some(kernel) = tile.filter(|_| self.target.tiled) else {
            return self.attention(op, self.program.max_tokens, None);
        };
        let kv_heads = self.plan.kv[layer].n_kv_heads;
        let shared_by = n_heads / kv_heads;
        let blocks = kv_heads * shared_by.div_ceil(TILE_ROWS);
        let tile_tokens = TILE_ROWS / shared_by.min(TILE_ROWS);
        let grid = [
            Extent::Fixed(blocks as u32),
            Extent::Tokens(tile_tokens as u32),
            Extent::Fixed(1),
        ];
        let params = self.attention_params(op, 1, None)?;
        let slots = self.attention_slots(op, Slot::Buffer(out))?;
        self.push(kernel, params, slots, grid, When::Always);
        Ok(())
    }

    fn score_extra(&self, op: &Op) -> Result<ScoreExtra> {
        match *op {
            Op::Attention { sinks, bias, .. } => match (sinks, bias) {
                (None, None) => Ok(ScoreExtra::None),
                (Some(_), None) => Ok(ScoreExtra::Sinks),
                (None, Some(ScoreBias::Buckets(bias))) => Ok(ScoreExtra::Bias(bias.buckets)),
                (None, Some(ScoreBias::Slopes { .. })) => Ok(ScoreExtra::Slopes),
                _ => Err(Error::Gpu("sinks with a bias have no kernel".into())),
            },
            _ => Err(self.mismatch()),
        }
    }

    /// Attention by itself for each head and token.
    pub(super) fn attention(
        &mut self,
        op: &Op,
        tokens: usize,
        new: Option<NewHeads>,
    ) -> Result<()> {
        let Op::Attention {
            n_heads,
            mask,
            window,
            bias,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let may_split = tokens == 1
            && mask == Mask::Causal
            && bias.is_none()
            && window.is_none_or(|window| window > self.target.split_from);
        let when = if may_split { When::Short } else { When::Always };
        let kernel = self.attention_kernel(op, false, new)?;
        let heads = Extent::Fixed(n_heads as u32);
        let grid = [heads, Extent::Tokens(1), Extent::Fixed(1)];
        let params = self.attention_params(op, 1, new)?;
        let slots = self.slots_for_heads(op, Slot::Buffer(out), new)?;
        self.push(kernel, params, slots, grid, when);
        if may_split {
            self.split_attention(op, new)?;
        }
        Ok(())
    }

    fn attention_kernel(&self, op: &Op, split: bool, new: Option<NewHeads>) -> Result<Kernel> {
        let new = new.map(|new| HeadVariant {
            qk_norm: new.norms.is_some(),
            rope: new.rope.map(|rope| self.plan.ropes[rope.0].pairing),
        });
        let Op::Attention { head_dim, .. } = *op else {
            return Err(self.mismatch());
        };
        Ok(Kernel::Attention {
            kv: self.target.kv,
            threads: attention_threads(head_dim / 4, self.target.lanes),
            split,
            extra: self.score_extra(op)?,
            new,
        })
    }

    /// Attention of one token to many keys, which several workgroups share.
    fn split_attention(&mut self, op: &Op, new: Option<NewHeads>) -> Result<()> {
        let Op::Attention {
            n_heads,
            head_dim,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let kernel = self.attention_kernel(op, true, new)?;
        let grid = |parts: usize| [n_heads, 1, parts].map(|n| Extent::Fixed(n as u32));
        let params = self.attention_params(op, SPLITS, new)?;
        let slots = self.slots_for_heads(op, Slot::Parts, new)?;
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
        let table = match bias {
            Some(ScoreBias::Buckets(bias)) => Some(bias.table),
            _ => None,
        };
        let extra = self.optional_vector(sinks.or(table))?;
        Ok(vec![
            Slot::Buffer(q),
            Slot::Keys(layer),
            Slot::Values(layer),
            extra,
            out,
        ])
    }

    /// The bindings of `attention.wgsl`.
    fn slots_for_heads(&self, op: &Op, out: Slot, new: Option<NewHeads>) -> Result<Vec<Slot>> {
        let mut slots = self.attention_slots(op, out)?;
        let norms = new.and_then(|new| new.norms);
        if let Some(norms) = norms {
            slots[3] = Slot::Vector(self.layout.vector(norms[0])?);
        }
        slots.push(self.optional_vector(norms.map(|norms| norms[1]))?);
        let rope = new.and_then(|new| new.rope);
        slots.push(rope.map_or(Slot::Unused, |rope| Slot::Rotary(rope.0)));
        Ok(slots)
    }

    fn attention_params(&self, op: &Op, splits: usize, new: Option<NewHeads>) -> Result<Params> {
        let Op::Attention {
            q,
            layer,
            n_heads,
            head_dim,
            scale,
            mask,
            window,
            softcap,
            bias,
            out,
            ..
        } = *op
        else {
            return Err(self.mismatch());
        };
        let steepest = match bias {
            Some(ScoreBias::Slopes { steepest }) => steepest,
            _ => 0.0,
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
            .u(n_heads)
            .f(steepest)
            .then(self.new_heads_params(head_dim, new)))
    }

    /// What attention does with a new token's heads.
    fn new_heads_params(&self, head_dim: usize, new: Option<NewHeads>) -> Params {
        let Some(new) = new else {
            return Params::new();
        };
        let q_head = if new.gated { 2 * head_dim } else { head_dim };
        let pairs = |rope: RopeId| self.plan.ropes[rope.0].n_rot / 2;
        Params::new()
            .u(new.rope.map_or(0, pairs))
            .f(new.eps)
            .u(usize::from(new.norm_of_all))
            .u(usize::from(new.norm_last))
            .u(usize::from(new.norm_values))
            .f(new.growth.0)
            .u(new.growth.1)
            .u(q_head / 4)
    }
}
