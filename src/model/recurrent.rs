//! Blocks that keep a state instead of keys and values.

use super::builder::Builder;
use super::config::{Activation, StateConfig};
use super::plan::{BufId, Op, StateId};
use crate::{Error, Result};

impl Builder<'_> {
    /// Gated short convolution of LFM2: `out_proj(c * conv(b * x))` with `b`, `c`, `x` projected from the input.
    pub(super) fn short_conv(&mut self, i: usize, x: BufId, out: BufId) -> Result<()> {
        let d = self.config.d_model;
        let [b, c, v] = ["conv_b", "conv_c", "conv_x"].map(|role| self.scratch(role, d));
        let name = format!("blk.{i}.shortconv.in_proj");
        for (part, buffer) in [b, c, v].into_iter().enumerate() {
            self.project(
                &name,
                &format!("conv_in-{i}.{part}"),
                x,
                part * d,
                d,
                buffer,
            )?;
        }
        let act = Activation::Identity;
        let gated = Op::GatedAct {
            act,
            gate: b,
            up: v,
            out: v,
        };
        self.push(&format!("conv_bx-{i}"), gated);
        self.causal_conv(
            &format!("blk.{i}.shortconv.conv"),
            &format!("conv_conv-{i}"),
            v,
            b,
        )?;
        self.push(
            &format!("conv_gated-{i}"),
            Op::GatedAct {
                act,
                gate: c,
                up: b,
                out: b,
            },
        );
        self.project(
            &format!("blk.{i}.shortconv.out_proj"),
            &format!("conv_out-{i}"),
            b,
            0,
            d,
            out,
        )
    }

    /// Gated delta net of Qwen 3.5: projections, convolution, delta rule, gated norm, output projection.
    pub(super) fn delta_net(&mut self, i: usize, x: BufId, out: BufId) -> Result<()> {
        let StateConfig {
            inner,
            state: head_dim,
            heads,
            groups,
            ..
        } = self.state_config()?;
        if inner != heads * head_dim {
            let key = format!("{}.ssm.inner_size", self.config.arch.name);
            return Err(Error::BadMetadata {
                key,
                reason: "must be heads times state size".into(),
            });
        }
        let qkv_width = 2 * groups * head_dim + inner;
        let (qkv, mixed) = (
            self.scratch("mixer_in", qkv_width),
            self.scratch("mixer_conv", qkv_width),
        );
        let [z, y] = ["mixer_z", "mixer_y"].map(|role| self.scratch(role, inner));
        let [alpha, beta] = ["alpha", "beta"].map(|role| self.scratch(role, heads));
        self.project_layer(i, "attn_qkv", "linear_attn_qkv_mixed", x, 0, qkv)?;
        self.project_layer(i, "attn_gate", "z", x, 0, z)?;
        self.project_layer(i, "ssm_alpha", "alpha", x, 0, alpha)?;
        self.project_layer(i, "ssm_beta", "beta", x, 0, beta)?;
        self.causal_conv(
            &format!("blk.{i}.ssm_conv1d"),
            &format!("conv_output_raw-{i}"),
            qkv,
            mixed,
        )?;
        self.push(
            &format!("conv_output_silu-{i}"),
            Op::Act {
                act: Activation::Silu,
                x: mixed,
            },
        );
        let op = Op::DeltaNet {
            qkv: mixed,
            alpha,
            beta,
            dt: self.vector(&format!("blk.{i}.ssm_dt.bias"), heads)?,
            a: self.vector(&format!("blk.{i}.ssm_a"), heads)?,
            key_heads: groups,
            value_heads: heads,
            head_dim,
            eps: self.config.eps,
            state: self.state(heads * head_dim * head_dim),
            out: y,
        };
        self.push(&format!("attn_output-{i}"), op);
        self.optional_norm(i, "ssm_norm", "attn_out_norm", y)?;
        self.push(
            &format!("final_output-{i}"),
            Op::GatedAct {
                act: Activation::Silu,
                gate: z,
                up: y,
                out: y,
            },
        );
        self.project_layer(i, "ssm_out", "linear_attn_out", y, 0, out)
    }

    /// Adds to `out` what a Mamba 2 gives that the layer has beside its attention (Falcon H1).
    pub(super) fn state_space_beside(&mut self, i: usize, x: BufId, out: BufId) -> Result<()> {
        if !self.has(&format!("blk.{i}.ssm_in.weight")) {
            return Ok(());
        }
        let beside = self.scratch("block_beside", self.config.d_model);
        self.mamba2(i, x, beside)?;
        self.push(
            &format!("layer_out-{i}"),
            Op::Add {
                a: out,
                b: beside,
                out,
            },
        );
        Ok(())
    }

    /// Mamba 2: projections, convolution, scan, gate, norm per group, output projection.
    pub(super) fn mamba2(&mut self, i: usize, x: BufId, out: BufId) -> Result<()> {
        let StateConfig {
            inner,
            state: state_dim,
            heads,
            groups,
            ..
        } = self.state_config()?;
        let xbc_width = inner + 2 * groups * state_dim;
        let (xbc, mixed) = (
            self.scratch("mixer_in", xbc_width),
            self.scratch("mixer_conv", xbc_width),
        );
        let [z, y] = ["mixer_z", "mixer_y"].map(|role| self.scratch(role, inner));
        let dt = self.scratch("mixer_dt", heads);
        self.project_layer(i, "ssm_in", "z", x, 0, z)?;
        self.project_layer(i, "ssm_in", "xBC", x, inner, xbc)?;
        self.project_layer(i, "ssm_in", "dt", x, inner + xbc_width, dt)?;
        self.causal_conv(
            &format!("blk.{i}.ssm_conv1d"),
            &format!("conv_output-{i}"),
            xbc,
            mixed,
        )?;
        self.push(
            &format!("conv_output_silu-{i}"),
            Op::Act {
                act: Activation::Silu,
                x: mixed,
            },
        );
        let op = Op::StateScan {
            xbc: mixed,
            dt,
            dt_bias: self.vector(&format!("blk.{i}.ssm_dt.bias"), heads)?,
            a: self.vector(&format!("blk.{i}.ssm_a"), heads)?,
            skip: self.vector(&format!("blk.{i}.ssm_d"), heads)?,
            heads,
            groups,
            state_dim,
            state: self.state(inner * state_dim),
            out: y,
        };
        self.push(&format!("mamba2_y_add_d-{i}"), op);
        self.push(
            &format!("mamba2_gated-{i}"),
            Op::GatedAct {
                act: Activation::Silu,
                gate: z,
                up: y,
                out: y,
            },
        );
        self.optional_norm(i, "ssm_norm", "mamba2_normed", y)?;
        self.project_layer(i, "ssm_out", "mamba_out", y, 0, out)
    }

    /// Mamba: projection, convolution, step and `B`, `C` made of it, scan, gate, output projection.
    pub(super) fn mamba(&mut self, i: usize, x: BufId, out: BufId) -> Result<()> {
        let StateConfig {
            inner,
            state: state_dim,
            heads: rank,
            ..
        } = self.state_config()?;
        let [taken, mixed, z, dt, y] = ["mixer_in", "mixer_conv", "mixer_z", "mixer_dt", "mixer_y"]
            .map(|role| self.scratch(role, inner));
        self.project_layer(i, "ssm_in", "x", x, 0, taken)?;
        self.project_layer(i, "ssm_in", "z", x, inner, z)?;
        let (name, label) = (format!("blk.{i}.ssm_conv1d"), format!("conv_output-{i}"));
        self.causal_conv(&name, &label, taken, mixed)?;
        let act = Activation::Silu;
        self.push(&format!("conv_output_silu-{i}"), Op::Act { act, x: mixed });
        let step_bc = self.scratch("mixer_step_bc", rank + 2 * state_dim);
        self.project_layer(i, "ssm_x", "x_db", mixed, 0, step_bc)?;
        let step = self.mamba_part(i, "ssm_dt_norm", step_bc, (0, rank))?;
        self.project_layer(i, "ssm_dt", "dt", step, 0, dt)?;
        for (norm, at) in [("ssm_b_norm", rank), ("ssm_c_norm", rank + state_dim)] {
            self.mamba_part(i, norm, step_bc, (at, state_dim))?;
        }
        let op = Op::SelectiveScan {
            x: mixed,
            dt,
            bc: step_bc,
            at: rank,
            a: self.vector(&format!("blk.{i}.ssm_a"), inner * state_dim)?,
            skip: self.vector(&format!("blk.{i}.ssm_d"), inner)?,
            state: self.state(inner * state_dim),
            out: y,
        };
        self.push(&format!("mamba_y-{i}"), op);
        let gate = Op::GatedAct {
            act,
            gate: z,
            up: y,
            out: y,
        };
        self.push(&format!("mamba_gated-{i}"), gate);
        self.project_layer(i, "ssm_out", "mamba_out", y, 0, out)
    }

    /// Some values of `x`, normalised where the model does that, and then in `x` too.
    fn mamba_part(
        &mut self,
        i: usize,
        norm: &str,
        x: BufId,
        (offset, width): (usize, usize),
    ) -> Result<BufId> {
        let part = self.scratch("mixer_part", width);
        let slice = Op::Slice {
            x,
            stride: self.plan.buffers[x.0],
            offset,
            out: part,
        };
        let weighted = self.has(&format!("blk.{i}.{norm}.weight"));
        let normed = weighted || self.state_config()?.normed;
        if normed || offset == 0 {
            self.push(&format!("{norm}_in-{i}"), slice);
        }
        if weighted {
            self.optional_norm(i, norm, norm, part)?;
        } else if normed {
            self.bare_norm(&format!("{norm}-{i}"), part, width, part);
        }
        if normed {
            let place = Op::Place {
                x: part,
                width,
                stride: self.plan.buffers[x.0],
                offset,
                out: x,
            };
            self.push(&format!("{norm}_out-{i}"), place);
        }
        Ok(part)
    }

    fn state_config(&self) -> Result<StateConfig> {
        let missing =
            || Error::MissingMetadata(format!("{}.ssm.inner_size", self.config.arch.name));
        self.config.state.ok_or_else(missing)
    }

    /// Convolution over time of every channel by itself; the tensor holds a row of taps per channel.
    pub(super) fn causal_conv(
        &mut self,
        name: &str,
        label: &str,
        x: BufId,
        out: BufId,
    ) -> Result<()> {
        let channels = self.plan.buffers[x.0];
        let tensor = format!("{name}.weight");
        let taps = self.dim(&tensor, 0)?;
        if taps == 0 {
            let reason = "has no taps".to_owned();
            return Err(Error::BadTensor {
                name: tensor,
                reason,
            });
        }
        let weight = self.vector(&tensor, taps * channels)?;
        let bias = self.optional_vector(&format!("{name}.bias"), channels)?;
        let state = self.state(taps.saturating_sub(1) * channels);
        self.push(
            label,
            Op::CausalConv {
                x,
                weight,
                bias,
                taps,
                state,
                out,
            },
        );
        Ok(())
    }

    /// A new state of that many floats.
    pub(super) fn state(&mut self, size: usize) -> StateId {
        self.plan.states.push(size);
        StateId(self.plan.states.len() - 1)
    }
}
