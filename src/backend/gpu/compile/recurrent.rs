//! Operations with a state that goes from token to token. Each invocation carries its part of it through the chunk.

use super::super::kernel::{Kernel, MAX_HEAD};
use super::super::program::{Extent, Params, Slot, When};
use super::Compiler;
use crate::model::{Activation, BufId, Op};
use crate::{Error, Result};

impl Compiler<'_> {
    /// With `gates` they are the input, and multiply the result. The input begins `at` an element of its buffer.
    pub(super) fn causal_conv(
        &mut self,
        op: &Op,
        act: Activation,
        gates: Option<BufId>,
        at: usize,
    ) -> Result<()> {
        let Op::CausalConv {
            x,
            weight,
            bias,
            taps,
            state,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let x = gates.unwrap_or(x);
        if x == out {
            return Err(Error::Gpu("a convolution in place has no kernel".into()));
        }
        let channels = self.width(out);
        let kernel = Kernel::CausalConv {
            bias: bias.is_some(),
            gated: gates.is_some(),
            act,
        };
        let slots = vec![
            Slot::Buffer(x),
            Slot::Vector(self.layout.vector(weight)?),
            self.optional_vector(bias)?,
            Slot::State(state.0),
            Slot::Buffer(out),
        ];
        let params = Params::new().u(channels).u(taps).u(at);
        let blocks = channels.div_ceil(kernel.workgroup());
        self.push(kernel, params, slots, fixed(blocks, 1), When::Always);
        Ok(())
    }

    /// Alpha and beta begin `at` these elements of their buffers.
    pub(super) fn delta_net(&mut self, op: &Op, at: [usize; 2]) -> Result<()> {
        let Op::DeltaNet {
            qkv,
            alpha,
            beta,
            dt,
            a,
            key_heads,
            value_heads,
            head_dim,
            eps,
            state,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        if head_dim > MAX_HEAD {
            return Err(Error::Gpu(format!("heads of {head_dim} have no kernel")));
        }
        let slots = vec![
            Slot::Buffer(qkv),
            Slot::Buffer(alpha),
            Slot::Buffer(beta),
            Slot::Vector(self.layout.vector(dt)?),
            Slot::Vector(self.layout.vector(a)?),
            Slot::State(state.0),
            Slot::Buffer(out),
        ];
        let params = Params::new()
            .u(key_heads)
            .u(value_heads)
            .u(head_dim)
            .f(eps)
            .u(at[0])
            .u(at[1]);
        self.columns(Kernel::DeltaNet, params, slots, value_heads, head_dim);
        Ok(())
    }

    /// `dt` begins `at` an element of its buffer.
    pub(super) fn state_scan(&mut self, op: &Op, at: usize) -> Result<()> {
        let Op::StateScan {
            xbc,
            dt,
            dt_bias,
            a,
            skip,
            heads,
            groups,
            state_dim,
            state,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let head_dim = self.width(out) / heads;
        let slots = vec![
            Slot::Buffer(xbc),
            Slot::Buffer(dt),
            Slot::Vector(self.layout.vector(dt_bias)?),
            Slot::Vector(self.layout.vector(a)?),
            Slot::Vector(self.layout.vector(skip)?),
            Slot::State(state.0),
            Slot::Buffer(out),
        ];
        let params = Params::new()
            .u(heads)
            .u(head_dim)
            .u(groups)
            .u(state_dim)
            .u(at);
        self.columns(Kernel::StateScan, params, slots, heads, head_dim);
        Ok(())
    }

    /// The scan of Mamba.
    pub(super) fn selective_scan(&mut self, op: &Op) -> Result<()> {
        let Op::SelectiveScan {
            x,
            dt,
            bc,
            at,
            a,
            skip,
            state,
            out,
        } = *op
        else {
            return Err(self.mismatch());
        };
        let channels = self.width(out);
        let slots = vec![
            Slot::Buffer(x),
            Slot::Buffer(dt),
            Slot::Buffer(bc),
            Slot::Vector(self.layout.vector(a)?),
            Slot::Vector(self.layout.vector(skip)?),
            Slot::State(state.0),
            Slot::Buffer(out),
        ];
        let state_dim = self.plan.weights[a.0].cols / channels;
        let params = Params::new().u(channels).u(state_dim);
        let params = params.u(self.width(bc)).u(at);
        let kernel = Kernel::SelectiveScan;
        let grid = fixed(channels.div_ceil(kernel.workgroup()), 1);
        self.push(kernel, params, slots, grid, When::Always);
        Ok(())
    }

    /// The operations of RWKV.
    pub(super) fn rwkv(&mut self, op: &Op) -> Result<()> {
        match *op {
            Op::TokenShift {
                x,
                weight,
                state,
                out,
            } if x != out => {
                let channels = self.width(x);
                let slots = vec![
                    Slot::Buffer(x),
                    Slot::Vector(self.layout.vector(weight)?),
                    Slot::State(state.0),
                    Slot::Buffer(out),
                ];
                let params = Params::new().u(channels).u(self.width(out) / channels);
                let kernel = Kernel::TokenShift;
                let grid = fixed(channels.div_ceil(kernel.workgroup()), 1);
                self.push(kernel, params, slots, grid, When::Always);
            }
            Op::Wkv7 {
                rwkva,
                removal,
                replacement,
                bonus,
                head_dim,
                state,
                out,
            } if head_dim <= Kernel::Wkv7.workgroup() => {
                let heads = self.width(out) / (2 * head_dim);
                let weight = |id| self.layout.vector(id).map(Slot::Vector);
                let slots = vec![
                    Slot::Buffer(rwkva),
                    weight(removal)?,
                    weight(replacement)?,
                    weight(bonus)?,
                    Slot::State(state.0),
                    Slot::Buffer(out),
                ];
                let params = Params::new().u(heads).u(head_dim);
                self.push(Kernel::Wkv7, params, slots, fixed(heads, 1), When::Always);
            }
            _ => return Err(Error::Gpu(format!("no kernel for {}", self.label))),
        }
        Ok(())
    }

    /// A kernel with an invocation for each of `columns` columns of each head.
    fn columns(
        &mut self,
        kernel: Kernel,
        params: Params,
        slots: Vec<Slot>,
        heads: usize,
        columns: usize,
    ) {
        let blocks = columns.div_ceil(kernel.workgroup());
        self.push(kernel, params, slots, fixed(heads, blocks), When::Always);
    }
}

fn fixed(x: usize, y: usize) -> [Extent; 3] {
    [x, y, 1].map(|n| Extent::Fixed(n as u32))
}
