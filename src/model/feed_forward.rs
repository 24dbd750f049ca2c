//! Feed-forward blocks: dense, gated, and mixtures of experts.

use super::builder::Builder;
use super::config::{Activation, ExpertConfig, LayerConfig, Mixer};
use super::plan::{BufId, Op};
use crate::{Error, Result};

impl Builder<'_> {
    /// Pre-norm, dense network or experts, optional post-norm, residual.
    ///
    /// Without a norm of its own, or where the family wants that, the network runs beside the mixer, on `mixer_input` (in
    /// post-norm models that is `x`, which by now has the mixer's output in it).
    pub(super) fn feed_forward_block(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        mixer_input: BufId,
        x: BufId,
    ) -> Result<()> {
        let config = self.config;
        if config.arch.single_block && layer.mixer != Mixer::Absent {
            return Ok(());
        }
        let normed = if config.parallel {
            x
        } else {
            self.pre_norm(i, config.arch.ffn_norm, x)?
        };
        let input = if normed == x { mixer_input } else { normed };
        let out = self.scratch("block", self.config.d_model);
        if self.has(&format!("blk.{i}.ffn_gate_inp.weight")) {
            self.experts(i, input, out)?;
        } else if layer.mixer == Mixer::Rwkv7 {
            self.channel_mix(i, layer.d_ff, input, out)?;
        } else {
            self.dense(i, "", layer.d_ff, input, out)?;
        }
        self.optional_norm(i, "post_ffw_norm", "ffn_post_norm", out)?;
        self.add_residual(&format!("l_out-{i}"), x, out);
        self.optional_norm(i, "layer_output_norm", "layer_out_norm", x)
    }

    /// Gated or plain network of the tensors `ffn_up{suffix}`, `ffn_gate{suffix}`, `ffn_down{suffix}`.
    fn dense(&mut self, i: usize, suffix: &str, d_ff: usize, x: BufId, out: BufId) -> Result<()> {
        let (d, act) = (self.config.d_model, self.config.activation);
        let name = |part: &str| format!("blk.{i}.ffn_{part}{suffix}");
        let label = |part: &str| format!("ffn_{part}{suffix}-{i}");
        let (up_name, gate_name) = (name("up"), name("gate"));
        let gate_in_up = self.dim(&format!("{up_name}.weight"), 1)? == 2 * d_ff;
        let up = self.scratch("ffn_up", d_ff);
        if gate_in_up || self.has(&format!("{gate_name}.weight")) {
            let gate = self.scratch("ffn_gate", d_ff);
            // Phi-3 keeps gate and up in one tensor, gate first.
            let (gate_name, up_start) = if gate_in_up {
                (&up_name, d_ff)
            } else {
                (&gate_name, 0)
            };
            self.project(gate_name, &label("gate"), x, 0, d_ff, gate)?;
            self.sparsify(i, gate);
            self.project(&up_name, &label("up"), x, up_start, d_ff, up)?;
            self.push(
                &label("gate_par"),
                Op::GatedAct {
                    act,
                    gate,
                    up,
                    out: up,
                },
            );
        } else {
            self.project(&up_name, &label("up"), x, 0, d_ff, up)?;
            self.push(&label("act"), Op::Act { act, x: up });
        }
        self.optional_norm(i, "ffn_sub_norm", "ffn_sub_norm", up)?;
        self.project(&name("down"), &label("out"), up, 0, d, out)
    }

    /// Mixture of experts (Shazeer et al. 2017) and, where the file has it, the expert that all tokens share.
    fn experts(&mut self, i: usize, x: BufId, out: BufId) -> Result<()> {
        let experts = self.expert_config()?;
        let d = self.config.d_model;
        let shared_name = format!("blk.{i}.ffn_up_shexp.weight");
        let shared = if self.has(&shared_name) {
            let d_ff = self.dim(&shared_name, 1)?;
            let shared = self.scratch("shared_expert", d);
            self.dense(i, "_shexp", d_ff, x, shared)?;
            self.gate_shared_expert(i, x, shared)?;
            Some(shared)
        } else {
            None
        };
        let route = if self.config.arch.route_first {
            self.scratch("route", 2 * experts.used)
        } else {
            self.route(i, x)?
        };
        self.routed_experts(i, &experts, x, route, out)?;
        if let Some(shared) = shared {
            self.push(
                &format!("ffn_out-{i}"),
                Op::Add {
                    a: out,
                    b: shared,
                    out,
                },
            );
        }
        Ok(())
    }

    /// Qwen 2 MoE lets a sigmoid decide how much of the shared expert comes in.
    fn gate_shared_expert(&mut self, i: usize, x: BufId, shared: BufId) -> Result<()> {
        let name = format!("blk.{i}.ffn_gate_inp_shexp.weight");
        if self.has(&name) {
            let gate = self.scratch("shared_gate", 1);
            let weight = self.row_matrix(&name, self.config.d_model)?;
            self.push(
                &format!("shared_expert_gate-{i}"),
                Op::MatMul {
                    x,
                    weight,
                    bias: None,
                    out: gate,
                },
            );
            let act = Activation::Sigmoid;
            self.push(
                &format!("ffn_shexp_gated-{i}"),
                Op::GatedAct {
                    act,
                    gate,
                    up: shared,
                    out: shared,
                },
            );
        }
        Ok(())
    }

    fn expert_config(&self) -> Result<ExpertConfig> {
        let missing = || Error::MissingMetadata(format!("{}.expert_count", self.config.arch.name));
        self.config.experts.ok_or_else(missing)
    }

    /// The choice of experts by `x`.
    pub(super) fn route(&mut self, i: usize, x: BufId) -> Result<BufId> {
        let experts = self.expert_config()?;
        let logits = self.scratch("router", experts.count);
        let label = format!("ffn_moe_logits-{i}");
        self.project(
            &format!("blk.{i}.ffn_gate_inp"),
            &label,
            x,
            0,
            experts.count,
            logits,
        )?;
        let bias_name = format!("blk.{i}.exp_probs_b.bias");
        let bias = if self.has(&bias_name) {
            Some(self.vector(&bias_name, experts.count)?)
        } else {
            None
        };
        let route = self.scratch("route", 2 * experts.used);
        let ExpertConfig {
            used,
            gating,
            normalize,
            scale,
            ..
        } = experts;
        let op = Op::MoeRoute {
            x: logits,
            bias,
            used,
            gating,
            normalize,
            scale,
            out: route,
        };
        self.push(&format!("ffn_moe_topk-{i}"), op);
        Ok(route)
    }

    fn routed_experts(
        &mut self,
        i: usize,
        experts: &ExpertConfig,
        x: BufId,
        route: BufId,
        out: BufId,
    ) -> Result<()> {
        let (d, used) = (self.config.d_model, experts.used);
        let down_name = format!("blk.{i}.ffn_down_exps");
        let d_ff = self.dim(&format!("{down_name}.weight"), 0)?;
        let (gate, up) = (
            self.scratch("moe_gate", used * d_ff),
            self.scratch("moe_up", used * d_ff),
        );
        self.expert_inner(i, experts, (x, route), d_ff, gate, up)?;
        let down = self.scratch("moe_down", used * d);
        self.expert_product(
            &down_name,
            &format!("ffn_moe_down-{i}"),
            experts,
            up,
            route,
            (d, 0),
            down,
        )?;
        self.push(
            &format!("ffn_moe_out-{i}"),
            Op::MoeSum {
                x: down,
                route,
                used,
                out,
            },
        );
        Ok(())
    }

    /// `up = act(gate) * up` of the chosen experts, or `act(up)` where they have no gate.
    fn expert_inner(
        &mut self,
        i: usize,
        experts: &ExpertConfig,
        (x, route): (BufId, BufId),
        d_ff: usize,
        gate: BufId,
        up: BufId,
    ) -> Result<()> {
        let act = self.config.activation;
        let fused = format!("blk.{i}.ffn_gate_up_exps");
        let (gate_name, up_name) = (
            format!("blk.{i}.ffn_gate_exps"),
            format!("blk.{i}.ffn_up_exps"),
        );
        let parts = if self.has(&format!("{fused}.weight")) {
            vec![
                (&fused, "gate", (2 * d_ff, 0), gate),
                (&fused, "up", (2 * d_ff, d_ff), up),
            ]
        } else if self.has(&format!("{gate_name}.weight")) {
            vec![
                (&gate_name, "gate", (d_ff, 0), gate),
                (&up_name, "up", (d_ff, 0), up),
            ]
        } else {
            vec![(&up_name, "up", (d_ff, 0), up)]
        };
        let gated = parts.len() == 2;
        for (name, part, cut, out) in parts {
            self.expert_product(
                name,
                &format!("ffn_moe_{part}-{i}"),
                experts,
                x,
                route,
                cut,
                out,
            )?;
        }
        if gated {
            self.push(
                &format!("ffn_moe_gate_par-{i}"),
                Op::GatedAct {
                    act,
                    gate,
                    up,
                    out: up,
                },
            );
        } else {
            self.push(&format!("ffn_moe_act-{i}"), Op::Act { act, x: up });
        }
        Ok(())
    }

    /// Product with the chosen experts' rows; `(stride, offset)` cut fused tensors.
    #[allow(clippy::too_many_arguments, reason = "the fields of one operation")]
    fn expert_product(
        &mut self,
        name: &str,
        label: &str,
        experts: &ExpertConfig,
        x: BufId,
        route: BufId,
        (stride, offset): (usize, usize),
        out: BufId,
    ) -> Result<()> {
        let tensor = format!("{name}.weight");
        let cols = self.dim(&tensor, 0)?;
        let width = self.plan.buffers[x.0];
        if stride == 0 || (width != cols && width != cols * experts.used) {
            let reason = format!("rows of {cols} do not fit an input of {width}");
            return Err(Error::BadTensor {
                name: tensor,
                reason,
            });
        }
        let weight = self.expert_matrix(&tensor, stride, cols, experts.count)?;
        let bias_name = format!("{name}.bias");
        let bias = if self.has(&bias_name) {
            Some(self.vector(&bias_name, stride * experts.count)?)
        } else {
            None
        };
        let op = Op::MoeMatMul {
            x,
            route,
            used: experts.used,
            weight,
            bias,
            stride,
            offset,
            out,
        };
        self.push(label, op);
        Ok(())
    }
}
