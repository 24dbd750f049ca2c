//! Blocks that keep a state instead of keys and values.

use super::builder::Builder;
use super::plan::{BufId, Op, StateId};
use crate::Result;
use crate::model::Activation;

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
