//! RWKV 7 (Peng et al. 2025): a state instead of keys and values, and inputs mixed with those of the token before.

use super::builder::Builder;
use super::config::Activation;
use super::plan::{BufId, NormKind, Op};
use crate::{Error, Result};

/// Epsilon of the norm of each head.
const HEAD_EPS: f32 = 64e-5;

/// Longest head: a state has its square.
pub const MAX_WKV_HEAD: usize = 256;

/// What is projected for the state, in the order of their mixed inputs.
const PARTS: usize = 5;

impl Builder<'_> {
    /// The block that mixes tokens.
    pub(super) fn rwkv7(&mut self, i: usize, x: BufId, out: BufId) -> Result<()> {
        let d = self.config.d_model;
        let missing = || Error::MissingMetadata(format!("{}.wkv.head_size", self.config.arch.name));
        let head_dim = self.config.wkv_head_size.ok_or_else(missing)?;
        let gated = self.has(&format!("blk.{i}.time_mix_g1.weight"));
        let inputs = PARTS + usize::from(gated);
        let shifted = self.token_shift(i, "time_mix_lerp_fused", x, inputs)?;
        let packed = self.scratch("rwkva", PARTS * d);
        let part = self.scratch("wkv_part", d);
        for (j, name) in ["receptance", "w", "key", "value", "a"]
            .into_iter()
            .enumerate()
        {
            let mixed = self.mixed(i, shifted, j);
            match name {
                "w" => self.low_rank(i, name, mixed, Some(Activation::Tanh), part)?,
                "a" => self.low_rank(i, name, mixed, None, part)?,
                _ => {
                    let (tensor, label) = (format!("time_mix_{name}"), format!("{name}_cur"));
                    self.project_layer(i, &tensor, &label, mixed, 0, part)?;
                }
            }
            if name == "value" {
                self.value_residual(i, mixed, part)?;
            }
            let offset = j * d;
            let place = Op::Place {
                x: part,
                width: self.plan.buffers[part.0],
                stride: self.plan.buffers[packed.0],
                offset,
                out: packed,
            };
            self.push(&format!("wkv_{name}-{i}"), place);
        }
        let y = self.wkv7(i, packed, head_dim)?;
        if gated {
            let mixed = self.mixed(i, shifted, PARTS);
            self.low_rank(i, "g", mixed, Some(Activation::Sigmoid), part)?;
            let gate = Op::GatedAct {
                act: Activation::Identity,
                gate: part,
                up: y,
                out: y,
            };
            self.push(&format!("wkv_gated-{i}"), gate);
        }
        self.project_layer(i, "time_mix_output", "time_mix_out", y, 0, out)
    }

    /// The feed-forward block.
    pub(super) fn channel_mix(
        &mut self,
        i: usize,
        d_ff: usize,
        x: BufId,
        out: BufId,
    ) -> Result<()> {
        let shifted = self.token_shift(i, "channel_mix_lerp_k", x, 1)?;
        let key = self.scratch("ffn_up", d_ff);
        self.project_layer(i, "channel_mix_key", "channel_key", shifted, 0, key)?;
        let act = Activation::SquaredRelu;
        self.push(&format!("channel_act-{i}"), Op::Act { act, x: key });
        self.project_layer(i, "channel_mix_value", "channel_out", key, 0, out)
    }

    /// `x` mixed with the row before it, once for each of the `inputs` rows of the weights.
    fn token_shift(&mut self, i: usize, name: &str, x: BufId, inputs: usize) -> Result<BufId> {
        let d = self.config.d_model;
        let out = self.scratch("shifted", inputs * d);
        let op = Op::TokenShift {
            x,
            weight: self.vector(&format!("blk.{i}.{name}.weight"), inputs * d)?,
            state: self.state(d),
            out,
        };
        self.push(&format!("{name}-{i}"), op);
        Ok(out)
    }

    /// Input `j` of those that [`Builder::token_shift`] has made.
    fn mixed(&mut self, i: usize, shifted: BufId, j: usize) -> BufId {
        let d = self.config.d_model;
        let out = self.scratch("mixed", d);
        let slice = Op::Slice {
            x: shifted,
            stride: self.plan.buffers[shifted.0],
            offset: j * d,
            out,
        };
        self.push(&format!("mixed_{j}-{i}"), slice);
        out
    }

    /// `out = W2 act(W1 x) + w0` of the tensors `time_mix_{part}…`.
    fn low_rank(
        &mut self,
        i: usize,
        part: &str,
        x: BufId,
        act: Option<Activation>,
        out: BufId,
    ) -> Result<()> {
        let name = |n: usize| format!("blk.{i}.time_mix_{part}{n}.weight");
        let rank = self.dim(&name(1), 1)?;
        let low = self.scratch("low_rank", rank);
        self.project_layer(
            i,
            &format!("time_mix_{part}1"),
            &format!("{part}_low"),
            x,
            0,
            low,
        )?;
        if let Some(act) = act {
            self.push(&format!("{part}_act-{i}"), Op::Act { act, x: low });
        }
        let d = self.config.d_model;
        let op = Op::MatMul {
            x: low,
            weight: self.matrix(&name(2), 0, d, rank)?,
            bias: self.optional_vector(&name(0), d)?,
            out,
        };
        self.push(&format!("{part}-{i}"), op);
        Ok(())
    }

    /// The first layer keeps its values; the others move theirs towards them: `v += (first - v) * sigmoid(…)`.
    fn value_residual(&mut self, i: usize, mixed: BufId, v: BufId) -> Result<()> {
        let d = self.config.d_model;
        let (first, way) = (
            self.scratch("first_values", d),
            self.scratch("value_way", d),
        );
        let copy = |out| Op::Slice {
            x: v,
            stride: d,
            offset: 0,
            out,
        };
        if i == 0 {
            self.push("first_values", copy(first));
            return Ok(());
        }
        self.push(&format!("value_copy-{i}"), copy(way));
        self.scale(&format!("value_neg-{i}"), way, -1.0);
        let add = |a, b| Op::Add { a, b, out: a };
        self.push(&format!("value_way-{i}"), add(way, first));
        let gate = self.scratch("value_gate", d);
        self.low_rank(i, "v", mixed, None, gate)?;
        let gated = Op::GatedAct {
            act: Activation::Sigmoid,
            gate,
            up: way,
            out: way,
        };
        self.push(&format!("value_gated-{i}"), gated);
        self.push(&format!("value_mixed-{i}"), add(v, way));
        Ok(())
    }

    /// What the state answers, normalised by head, and the bonus.
    fn wkv7(&mut self, i: usize, packed: BufId, head_dim: usize) -> Result<BufId> {
        let d = self.config.d_model;
        let name = |part: &str| format!("blk.{i}.time_mix_{part}");
        if !d.is_multiple_of(head_dim) || head_dim > MAX_WKV_HEAD {
            let key = format!("{}.wkv.head_size", self.config.arch.name);
            let reason = format!("must divide the width and be at most {MAX_WKV_HEAD}");
            return Err(Error::BadMetadata { key, reason });
        }
        let both = self.scratch("wkv_out", 2 * d);
        let op = Op::Wkv7 {
            rwkva: packed,
            removal: self.vector(&name("k_k.weight"), d)?,
            replacement: self.vector(&name("k_a.weight"), d)?,
            bonus: self.vector(&name("r_k.weight"), d)?,
            head_dim,
            state: self.state(d * head_dim),
            out: both,
        };
        self.push(&format!("wkv-{i}"), op);
        let (y, bonus) = (self.scratch("wkv_y", d), self.scratch("wkv_bonus", d));
        for (label, offset, out) in [("wkv_y", 0, y), ("wkv_bonus", head_dim, bonus)] {
            let slice = Op::Slice {
                x: both,
                stride: 2 * head_dim,
                offset,
                out,
            };
            self.push(&format!("{label}-{i}"), slice);
        }
        let norm = Op::Norm {
            kind: NormKind::Layer,
            x: y,
            weight: self.optional_vector(&name("ln.weight"), d)?,
            bias: self.optional_vector(&name("ln.bias"), d)?,
            eps: HEAD_EPS,
            width: head_dim,
            out: y,
        };
        self.push(&format!("wkv_normed-{i}"), norm);
        let add = Op::Add {
            a: y,
            b: bonus,
            out: y,
        };
        self.push(&format!("wkv_sum-{i}"), add);
        Ok(y)
    }
}
