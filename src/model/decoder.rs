//! Decoder-only transformers: [`ModelConfig`] to [`Plan`], reading top to bottom as the papers do.

use super::config::{LayerConfig, ModelConfig};
use super::plan::{
    BufId, IdSource, KvSpec, NormKind, Op, Plan, RopeId, Step, WeightId, WeightKind, WeightSpec,
};
use super::rope::{Pairing, RopeScaling};
use crate::gguf::{GgufFile, TensorInfo};
use crate::{Error, Result};

/// Builds the forward pass of the model in `file`.
///
/// # Errors
/// [`Error::MissingTensor`] or [`Error::BadTensor`] when a weight is absent, has the wrong shape, or has no place in
/// this architecture (running on without it would give wrong text).
pub fn build(config: &ModelConfig, file: &GgufFile) -> Result<Plan> {
    let mut b = Builder::new(config, file)?;
    let x = b.buffer(config.d_model);
    b.embed(x)?;
    for (i, layer) in config.layers.iter().enumerate() {
        b.attention_block(i, layer, x)?;
        b.feed_forward_block(i, layer, x)?;
    }
    let last = b.buffer(config.d_model);
    b.push("result_last", Op::LastRow { x, out: last });
    b.norm("output_norm", "result_norm", last, config.d_model, last)?;
    let logits = b.buffer(config.n_vocab);
    let head = if b.has("output.weight") {
        "output"
    } else {
        "token_embd"
    };
    b.project(head, "result_output", last, 0, config.n_vocab, logits)?;
    if let Some(cap) = config.final_softcap {
        b.push("result_output_capped", Op::SoftCap { x: logits, cap });
    }
    b.finish(logits)
}

/// Collects buffers, weights and steps; checks shapes as weights are named.
struct Builder<'a> {
    config: &'a ModelConfig,
    file: &'a GgufFile,
    plan: Plan,
    scratch: Vec<BufId>,
    global_rope: Option<RopeId>,
    local_rope: Option<RopeId>,
}

/// Tensors that a file may carry without the plan naming them.
fn is_optional(name: &str, n_layers: usize) -> bool {
    let extra_layer = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|number| number.parse::<usize>().ok())
        .is_some_and(|number| number >= n_layers);
    extra_layer
        || name.starts_with("rope_freqs.")
        || name.starts_with("rope_factors_")
        || name.ends_with(".rope_freqs.weight")
        || name.ends_with(".attn_rot_embd")
        || name.contains(".rope_factors_")
}

impl<'a> Builder<'a> {
    fn new(config: &'a ModelConfig, file: &'a GgufFile) -> Result<Self> {
        let plan = Plan {
            buffers: Vec::new(),
            weights: Vec::new(),
            ropes: Vec::new(),
            kv: Vec::new(),
            steps: Vec::new(),
            logits: BufId(0),
            n_vocab: config.n_vocab,
            max_positions: None,
        };
        let mut builder = Self {
            config,
            file,
            plan,
            scratch: Vec::new(),
            global_rope: None,
            local_rope: None,
        };
        if let Some(pairing) = config.arch.rope {
            builder.ropes(pairing)?;
        }
        Ok(builder)
    }

    /// The rotary embedding of full layers and, where a model has them, of layers with a window.
    fn ropes(&mut self, pairing: Pairing) -> Result<()> {
        let config = self.config;
        let long = config.n_ctx > config.rope_scaling.n_ctx_orig;
        let names = [
            "rope_freqs.weight",
            if long {
                "rope_factors_long.weight"
            } else {
                "rope_factors_short.weight"
            },
        ];
        let mut factors = None;
        for name in names {
            if self.has(name) {
                factors = Some(self.vector(name, config.n_rot / 2)?);
            }
        }
        let global = config
            .rope_scaling
            .resolve(pairing, config.n_rot, config.rope_base, factors);
        self.plan.ropes.push(global);
        self.global_rope = Some(RopeId(0));
        self.local_rope = self.global_rope;
        if config.arch.local_rope_base.is_some() {
            let unscaled = RopeScaling::none(config.n_ctx_train);
            let local = unscaled.resolve(pairing, config.n_rot, config.local_rope_base, None);
            self.plan.ropes.push(local);
            self.local_rope = Some(RopeId(1));
        }
        Ok(())
    }

    fn embed(&mut self, x: BufId) -> Result<()> {
        let (d, n_vocab) = (self.config.d_model, self.config.n_vocab);
        let table = self.matrix("token_embd.weight", 0, n_vocab, d)?;
        self.push(
            "inp_embd",
            Op::Embed {
                table,
                ids: IdSource::Tokens,
                out: x,
            },
        );
        if self.config.arch.scaled_embedding {
            self.push(
                "inp_scaled",
                Op::Scale {
                    x,
                    factor: (d as f32).sqrt(),
                },
            );
        }
        if self.has("position_embd.weight") {
            let rows = self
                .tensor("position_embd.weight")?
                .shape
                .get(1)
                .copied()
                .unwrap_or(0) as usize;
            let table = self.matrix("position_embd.weight", 0, rows, d)?;
            let positions = self.scratch(0, d);
            self.push(
                "pos_embd",
                Op::Embed {
                    table,
                    ids: IdSource::Positions,
                    out: positions,
                },
            );
            self.push(
                "inpL",
                Op::Add {
                    a: x,
                    b: positions,
                    out: x,
                },
            );
            self.plan.max_positions = Some(rows);
        }
        Ok(())
    }

    /// Pre-norm, projections, optional q/k norm, RoPE, cache, attention, output projection, optional post-norm.
    fn attention_block(&mut self, i: usize, layer: &LayerConfig, x: BufId) -> Result<()> {
        let config = self.config;
        let (d, head_dim) = (config.d_model, config.head_dim);
        let (q_width, kv_width) = (layer.n_heads * head_dim, layer.n_kv_heads * head_dim);
        let normed = self.scratch(0, d);
        self.norm(
            &format!("blk.{i}.attn_norm"),
            &format!("attn_norm-{i}"),
            x,
            d,
            normed,
        )?;

        let (q, k, v) = (
            self.scratch(1, q_width),
            self.scratch(2, kv_width),
            self.scratch(3, kv_width),
        );
        if self.has(&format!("blk.{i}.attn_qkv.weight")) {
            let fused = format!("blk.{i}.attn_qkv");
            self.project(&fused, &format!("Qcur-{i}"), normed, 0, q_width, q)?;
            self.project(&fused, &format!("Kcur-{i}"), normed, q_width, kv_width, k)?;
            self.project(
                &fused,
                &format!("Vcur-{i}"),
                normed,
                q_width + kv_width,
                kv_width,
                v,
            )?;
        } else {
            self.project(
                &format!("blk.{i}.attn_q"),
                &format!("Qcur-{i}"),
                normed,
                0,
                q_width,
                q,
            )?;
            self.project(
                &format!("blk.{i}.attn_k"),
                &format!("Kcur-{i}"),
                normed,
                0,
                kv_width,
                k,
            )?;
            self.project(
                &format!("blk.{i}.attn_v"),
                &format!("Vcur-{i}"),
                normed,
                0,
                kv_width,
                v,
            )?;
        }
        self.optional_norm(
            &format!("blk.{i}.attn_q_norm"),
            &format!("Qcur_normed-{i}"),
            q,
        )?;
        self.optional_norm(
            &format!("blk.{i}.attn_k_norm"),
            &format!("Kcur_normed-{i}"),
            k,
        )?;
        let rope = if layer.window.is_some() {
            self.local_rope
        } else {
            self.global_rope
        };
        if let Some(rope) = rope {
            self.push(
                &format!("Qcur_rope-{i}"),
                Op::Rope {
                    x: q,
                    rope,
                    n_heads: layer.n_heads,
                    head_dim,
                },
            );
            self.push(
                &format!("Kcur_rope-{i}"),
                Op::Rope {
                    x: k,
                    rope,
                    n_heads: layer.n_kv_heads,
                    head_dim,
                },
            );
        }
        self.plan.kv.push(KvSpec {
            n_kv_heads: layer.n_kv_heads,
            head_dim,
        });
        self.push(&format!("kv_store-{i}"), Op::StoreKv { k, v, layer: i });
        let attended = self.scratch(4, q_width);
        let attention = Op::Attention {
            q,
            layer: i,
            n_heads: layer.n_heads,
            head_dim,
            scale: config.attention_scale,
            window: layer.window,
            softcap: config.attention_softcap,
            out: attended,
        };
        self.push(&format!("kqv_out-{i}"), attention);
        self.project(
            &format!("blk.{i}.attn_output"),
            &format!("attn_out-{i}"),
            attended,
            0,
            d,
            normed,
        )?;
        self.optional_norm(
            &format!("blk.{i}.post_attention_norm"),
            &format!("attn_post_norm-{i}"),
            normed,
        )?;
        self.push(
            &format!("ffn_inp-{i}"),
            Op::Add {
                a: x,
                b: normed,
                out: x,
            },
        );
        Ok(())
    }

    /// Pre-norm, gated or plain feed-forward, optional post-norm.
    fn feed_forward_block(&mut self, i: usize, layer: &LayerConfig, x: BufId) -> Result<()> {
        let (d, d_ff, act) = (self.config.d_model, layer.d_ff, self.config.arch.activation);
        let normed = self.scratch(0, d);
        self.norm(
            &format!("blk.{i}.ffn_norm"),
            &format!("ffn_norm-{i}"),
            x,
            d,
            normed,
        )?;
        let up_name = format!("blk.{i}.ffn_up");
        let up_rows = self
            .tensor(&format!("{up_name}.weight"))?
            .shape
            .get(1)
            .copied()
            .unwrap_or(0) as usize;
        let up = self.scratch(6, d_ff);
        if self.has(&format!("blk.{i}.ffn_gate.weight")) {
            let gate = self.scratch(5, d_ff);
            self.project(
                &format!("blk.{i}.ffn_gate"),
                &format!("ffn_gate-{i}"),
                normed,
                0,
                d_ff,
                gate,
            )?;
            self.project(&up_name, &format!("ffn_up-{i}"), normed, 0, d_ff, up)?;
            self.push(
                &format!("ffn_gate_par-{i}"),
                Op::GatedAct {
                    act,
                    gate,
                    up,
                    out: up,
                },
            );
        } else if up_rows == 2 * d_ff {
            // Phi-3 keeps gate and up in one tensor, gate first.
            let gate = self.scratch(5, d_ff);
            self.project(&up_name, &format!("ffn_gate-{i}"), normed, 0, d_ff, gate)?;
            self.project(&up_name, &format!("ffn_up-{i}"), normed, d_ff, d_ff, up)?;
            self.push(
                &format!("ffn_swiglu-{i}"),
                Op::GatedAct {
                    act,
                    gate,
                    up,
                    out: up,
                },
            );
        } else {
            self.project(&up_name, &format!("ffn_up-{i}"), normed, 0, d_ff, up)?;
            self.push(&format!("ffn_act-{i}"), Op::Act { act, x: up });
        }
        self.project(
            &format!("blk.{i}.ffn_down"),
            &format!("ffn_out-{i}"),
            up,
            0,
            d,
            normed,
        )?;
        self.optional_norm(
            &format!("blk.{i}.post_ffw_norm"),
            &format!("ffn_post_norm-{i}"),
            normed,
        )?;
        self.push(
            &format!("l_out-{i}"),
            Op::Add {
                a: x,
                b: normed,
                out: x,
            },
        );
        Ok(())
    }

    /// A norm over runs of `width`, with the bias if the file has one.
    fn norm(&mut self, name: &str, label: &str, x: BufId, width: usize, out: BufId) -> Result<()> {
        let weight = Some(self.vector(&format!("{name}.weight"), width)?);
        let bias_name = format!("{name}.bias");
        let bias = if self.has(&bias_name) {
            Some(self.vector(&bias_name, width)?)
        } else {
            None
        };
        // Norms of queries, keys and the output share the architecture's kind and epsilon.
        let (kind, eps) = (self.config.arch.norm, self.config.eps);
        debug_assert!(kind == NormKind::Layer || bias.is_none());
        self.push(
            label,
            Op::Norm {
                kind,
                x,
                weight,
                bias,
                eps,
                width,
                out,
            },
        );
        Ok(())
    }

    /// A norm in place, only if the file has it: per head or over the whole width, as its length says.
    fn optional_norm(&mut self, name: &str, label: &str, x: BufId) -> Result<()> {
        let weight = format!("{name}.weight");
        if !self.has(&weight) {
            return Ok(());
        }
        let length = self.tensor(&weight)?.shape.first().copied().unwrap_or(0) as usize;
        if length != self.config.head_dim && length != self.plan.buffers[x.0] {
            return Err(Error::BadTensor {
                name: weight,
                reason: format!("unexpected length {length}"),
            });
        }
        self.norm(name, label, x, length, x)
    }

    /// `out = x * rows[row_start ..][.. rows]ᵀ`, with the bias if the file has one.
    fn project(
        &mut self,
        name: &str,
        label: &str,
        x: BufId,
        row_start: usize,
        rows: usize,
        out: BufId,
    ) -> Result<()> {
        let weight = self.matrix(
            &format!("{name}.weight"),
            row_start,
            rows,
            self.plan.buffers[x.0],
        )?;
        let bias_name = format!("{name}.bias");
        let bias = if self.has(&bias_name) {
            let total = self.tensor(&bias_name)?.shape.first().copied().unwrap_or(0) as usize;
            if row_start + rows > total {
                return Err(Error::BadTensor {
                    name: bias_name,
                    reason: format!("has only {total} entries"),
                });
            }
            Some(self.weight(WeightSpec {
                tensor: bias_name,
                row_start,
                rows: 1,
                cols: rows,
                kind: WeightKind::Vector,
            }))
        } else {
            None
        };
        self.push(
            label,
            Op::MatMul {
                x,
                weight,
                bias,
                out,
            },
        );
        Ok(())
    }

    fn push(&mut self, label: &str, op: Op) {
        self.plan.steps.push(Step {
            label: label.to_owned(),
            op,
        });
    }

    fn buffer(&mut self, width: usize) -> BufId {
        self.plan.buffers.push(width);
        BufId(self.plan.buffers.len() - 1)
    }

    /// Buffer of a role that layers share, made anew only where its width differs.
    fn scratch(&mut self, role: usize, width: usize) -> BufId {
        while self.scratch.len() <= role {
            let id = self.buffer(0);
            self.scratch.push(id);
        }
        let id = self.scratch[role];
        if self.plan.buffers[id.0] == 0 {
            self.plan.buffers[id.0] = width;
        }
        if self.plan.buffers[id.0] == width {
            return id;
        }
        let fresh = self.buffer(width);
        self.scratch[role] = fresh;
        fresh
    }

    fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    fn tensor(&self, name: &str) -> Result<&'a TensorInfo> {
        self.file
            .tensor(name)
            .ok_or_else(|| Error::MissingTensor(name.to_owned()))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<WeightId> {
        let shape = &self.tensor(name)?.shape;
        if shape.iter().product::<u64>() != length as u64 {
            return Err(Error::BadTensor {
                name: name.to_owned(),
                reason: format!("shape {shape:?}, expected [{length}]"),
            });
        }
        let spec = WeightSpec {
            tensor: name.to_owned(),
            row_start: 0,
            rows: 1,
            cols: length,
            kind: WeightKind::Vector,
        };
        Ok(self.weight(spec))
    }

    fn matrix(
        &mut self,
        name: &str,
        row_start: usize,
        rows: usize,
        cols: usize,
    ) -> Result<WeightId> {
        let shape = &self.tensor(name)?.shape;
        let fits = matches!(shape.as_slice(), [c, r] if *c == cols as u64 && *r >= (row_start + rows) as u64);
        if !fits {
            return Err(Error::BadTensor {
                name: name.to_owned(),
                reason: format!("shape {shape:?}, expected [{cols}, {}]", row_start + rows),
            });
        }
        Ok(self.weight(WeightSpec {
            tensor: name.to_owned(),
            row_start,
            rows,
            cols,
            kind: WeightKind::Matrix,
        }))
    }

    /// Number of a weight; the same rows of the same tensor are kept once (tied embeddings).
    fn weight(&mut self, spec: WeightSpec) -> WeightId {
        if let Some(index) = self.plan.weights.iter().position(|known| *known == spec) {
            return WeightId(index);
        }
        self.plan.weights.push(spec);
        WeightId(self.plan.weights.len() - 1)
    }

    /// Refuses files with tensors that nothing reads: the plan would silently compute something else.
    fn finish(mut self, logits: BufId) -> Result<Plan> {
        self.plan.logits = logits;
        let n_layers = self.config.layers.len();
        for tensor in &self.file.tensors {
            let used = self
                .plan
                .weights
                .iter()
                .any(|spec| spec.tensor == tensor.name);
            if !used && !is_optional(&tensor.name, n_layers) {
                return Err(Error::BadTensor {
                    name: tensor.name.clone(),
                    reason: format!(
                        "architecture `{}` has no place for it",
                        self.config.arch.name
                    ),
                });
            }
        }
        Ok(self.plan)
    }
}
