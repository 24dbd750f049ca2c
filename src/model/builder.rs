//! What the builders of all model kinds share: buffers, weights with their shapes checked, norms and projections.

use super::arch::LocalRope;
use super::config::{LayerConfig, ModelConfig};
use super::plan::{
    BufId, Mask, NormKind, Op, Plan, RopeId, Step, WeightId, WeightKind, WeightSpec,
};
use super::rope::{Pairing, RopeScaling};
use crate::gguf::{GgufFile, TensorInfo};
use crate::{Error, Result};

/// Collects buffers, weights and steps; checks shapes as weights are named.
pub(super) struct Builder<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) file: &'a GgufFile,
    pub(super) plan: Plan,
    pub(super) scratch: Vec<(&'static str, BufId)>,
    pub(super) global_rope: Option<RopeId>,
    pub(super) local_rope: Option<RopeId>,
    /// Number of each layer's cache.
    pub(super) caches: Vec<usize>,
}

/// Tensors that a file may carry without the plan naming them.
fn is_optional(name: &str, layers: &[LayerConfig]) -> bool {
    let of_layer = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest)));
    let unused_in_layer = of_layer.is_some_and(|(number, rest)| match layers.get(number) {
        // Gemma 3n's files have keys and values for layers that use those of another.
        Some(layer) => {
            layer.kv_source.is_some() && (rest.starts_with("attn_k") || rest.starts_with("attn_v."))
        }
        None => true,
    });
    unused_in_layer
        // RWKV's first layer has no values before it.
        || name.starts_with("blk.0.time_mix_v0.")
        || name.starts_with("blk.0.time_mix_v1.")
        || name.starts_with("blk.0.time_mix_v2.")
        || name.starts_with("rope_freqs.")
        || name.starts_with("rope_factors_")
        || name.ends_with(".rope_freqs.weight")
        // What NVFP4's files have for engines that round activations to the same type.
        || name.ends_with(".input_scale")
        || name.ends_with(".attn_rot_embd")
        || name.contains(".rope_factors_")
}

impl<'a> Builder<'a> {
    pub(super) fn new(config: &'a ModelConfig, file: &'a GgufFile) -> Result<Self> {
        let plan = Plan {
            buffers: Vec::new(),
            weights: Vec::new(),
            ropes: Vec::new(),
            states: Vec::new(),
            kv: Vec::new(),
            encoder: Vec::new(),
            decoder_start: None,
            steps: Vec::new(),
            logits: BufId(0),
            n_vocab: config.n_vocab,
            pooled: false,
            whole: config.mask == Mask::Full || config.pooling.is_some(),
            max_positions: None,
        };
        let mut builder = Self {
            config,
            file,
            plan,
            scratch: Vec::new(),
            global_rope: None,
            local_rope: None,
            caches: Vec::new(),
        };
        if let Some(pairing) = config.arch.rope {
            let sections = format!("{}.rope.dimension_sections", config.arch.name);
            let sections = file.metadata.int_array(&sections).unwrap_or_default();
            let halves = config.arch.sections_pair_halves && sections.iter().any(|n| *n != 0);
            let pairing = if halves { Pairing::Halves } else { pairing };
            builder.ropes(pairing)?;
        }
        Ok(builder)
    }

    /// The rotary embedding of full layers and, where a model has them, of layers with a window.
    pub(super) fn ropes(&mut self, pairing: Pairing) -> Result<()> {
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
        let unscaled = RopeScaling::none(config.n_ctx_train);
        let (scaling, factors) = match config.arch.local_rope {
            LocalRope::Unscaled(_) => (&unscaled, None),
            LocalRope::Shared => (&config.rope_scaling, factors),
        };
        let local = scaling.resolve(pairing, config.local_n_rot, config.local_rope_base, factors);
        if config.layers.iter().any(|layer| layer.window.is_some()) && local != self.plan.ropes[0] {
            self.plan.ropes.push(local);
            self.local_rope = Some(RopeId(1));
        }
        Ok(())
    }

    /// A norm over runs of `width`, with the bias if the file has one.
    pub(super) fn norm(
        &mut self,
        name: &str,
        label: &str,
        x: BufId,
        width: usize,
        out: BufId,
    ) -> Result<()> {
        // Falcon H1's files leave the end of the name off.
        let bare = self.has(name);
        let tensor = if bare {
            name
        } else {
            &format!("{name}.weight")
        };
        let weight = Some(self.vector(tensor, width)?);
        let bias = self.optional_vector(&format!("{name}.bias"), width)?;
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

    /// A norm over runs of `width` without weights.
    pub(super) fn bare_norm(&mut self, label: &str, x: BufId, width: usize, out: BufId) {
        let (kind, eps) = (self.config.arch.norm, self.config.eps);
        let op = Op::Norm {
            kind,
            x,
            weight: None,
            bias: None,
            eps,
            width,
            out,
        };
        self.push(label, op);
    }

    /// A norm of layer `i` in place, only if the file has it: per head, per head with weights of each head's own, or
    /// over the whole width, as its shape says.
    pub(super) fn optional_norm(
        &mut self,
        i: usize,
        name: &str,
        label: &str,
        x: BufId,
    ) -> Result<()> {
        let name = format!("blk.{i}.{name}");
        let tensor = format!("{name}.weight");
        if !self.has(&tensor) {
            return Ok(());
        }
        let shape = &self.tensor(&tensor)?.shape;
        let length = shape.iter().product::<u64>() as usize;
        let width = shape.first().copied().unwrap_or(0) as usize;
        let row = self.plan.buffers[x.0];
        if width == 0 || !row.is_multiple_of(width) || (length != width && length != row) {
            return Err(Error::BadTensor {
                name: tensor.clone(),
                reason: format!("unexpected shape {shape:?}"),
            });
        }
        let weight = Some(self.vector(&tensor, length)?);
        let bias = self.optional_vector(&format!("{name}.bias"), length)?;
        let (kind, eps) = (self.config.arch.norm, self.config.eps);
        let op = Op::Norm {
            kind,
            x,
            weight,
            bias,
            eps,
            width,
            out: x,
        };
        self.push(&format!("{label}-{i}"), op);
        Ok(())
    }

    /// A projection of layer `i` that fills `out`.
    pub(super) fn project_layer(
        &mut self,
        i: usize,
        name: &str,
        label: &str,
        x: BufId,
        row_start: usize,
        out: BufId,
    ) -> Result<()> {
        let rows = self.plan.buffers[out.0];
        self.project(
            &format!("blk.{i}.{name}"),
            &format!("{label}-{i}"),
            x,
            row_start,
            rows,
            out,
        )
    }

    /// `out = x * rows[row_start ..][.. rows]ᵀ`, with the bias if the file has one.
    pub(super) fn project(
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
        // BitNet's and NVFP4's files have a number for each matrix, before the bias.
        let scale = self.optional_vector(&format!("{name}.scale"), 1)?;
        if scale.is_some() && bias.is_some() {
            let reason = "a scale and a bias for one matrix are not supported".to_owned();
            return Err(Error::BadTensor {
                name: format!("{name}.scale"),
                reason,
            });
        }
        self.push(
            label,
            Op::MatMul {
                x,
                weight,
                bias,
                out,
            },
        );
        if let Some(weight) = scale {
            self.push(
                &format!("{label}.scaled"),
                Op::ScaleByWeight { x: out, weight },
            );
        }
        Ok(())
    }

    fn check_matrices(&self, name: &str, rows: usize, cols: usize, count: usize) -> Result<()> {
        let tensor = self.tensor(name)?;
        if tensor.is_shaped(&[cols as u64, rows as u64, count as u64]) {
            return Ok(());
        }
        let shape = &tensor.shape;
        Err(Error::BadTensor {
            name: name.to_owned(),
            reason: format!("shape {shape:?}, expected [{cols}, {rows}, {count}]"),
        })
    }

    /// The `rows` rows of each of `count` experts in a three-dimensional tensor, as one matrix.
    pub(super) fn expert_matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        count: usize,
    ) -> Result<WeightId> {
        self.check_matrices(name, rows, cols, count)?;
        let kind = WeightKind::Matrix;
        Ok(self.weight(WeightSpec {
            tensor: name.to_owned(),
            row_start: 0,
            rows: rows * count,
            cols,
            kind,
        }))
    }

    /// Matrix number `index` of the `count` square ones in a three-dimensional tensor.
    pub(super) fn part_of_matrices(
        &mut self,
        name: &str,
        index: usize,
        count: usize,
    ) -> Result<WeightId> {
        let d = self.config.d_model;
        self.check_matrices(name, d, d, count)?;
        Ok(self.weight(WeightSpec {
            tensor: name.to_owned(),
            row_start: index * d,
            rows: d,
            cols: d,
            kind: WeightKind::Matrix,
        }))
    }

    /// Length of one dimension of a tensor.
    pub(super) fn dim(&self, name: &str, axis: usize) -> Result<usize> {
        Ok(self.tensor(name)?.size(axis) as usize)
    }

    pub(super) fn push(&mut self, label: &str, op: Op) {
        self.plan.steps.push(Step {
            label: label.to_owned(),
            op,
        });
    }

    pub(super) fn buffer(&mut self, width: usize) -> BufId {
        self.plan.buffers.push(width);
        BufId(self.plan.buffers.len() - 1)
    }

    /// Buffer of a role that layers share.
    pub(super) fn scratch(&mut self, role: &'static str, width: usize) -> BufId {
        let known = self
            .scratch
            .iter()
            .find(|(name, id)| *name == role && self.plan.buffers[id.0] == width);
        if let Some((_, id)) = known {
            return *id;
        }
        let id = self.buffer(width);
        self.scratch.push((role, id));
        id
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    pub(super) fn tensor(&self, name: &str) -> Result<&'a TensorInfo> {
        self.file
            .tensor(name)
            .ok_or_else(|| Error::MissingTensor(name.to_owned()))
    }

    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<WeightId> {
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

    pub(super) fn optional_vector(
        &mut self,
        name: &str,
        length: usize,
    ) -> Result<Option<WeightId>> {
        if self.has(name) {
            self.vector(name, length).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn matrix(
        &mut self,
        name: &str,
        row_start: usize,
        rows: usize,
        cols: usize,
    ) -> Result<WeightId> {
        let tensor = self.tensor(name)?;
        let fits = tensor.size(1) >= (row_start + rows) as u64;
        if !fits || !tensor.is_shaped(&[cols as u64, tensor.size(1)]) {
            let shape = &tensor.shape;
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

    /// A vector of the file as the one row of a matrix.
    pub(super) fn row_matrix(&mut self, name: &str, cols: usize) -> Result<WeightId> {
        let shape = &self.tensor(name)?.shape;
        if shape.iter().product::<u64>() != cols as u64 {
            let reason = format!("shape {shape:?}, expected [{cols}]");
            return Err(Error::BadTensor {
                name: name.to_owned(),
                reason,
            });
        }
        Ok(self.weight(WeightSpec {
            tensor: name.to_owned(),
            row_start: 0,
            rows: 1,
            cols,
            kind: WeightKind::Matrix,
        }))
    }

    /// Number of a weight; the same rows of the same tensor are kept once (tied embeddings).
    pub(super) fn weight(&mut self, spec: WeightSpec) -> WeightId {
        if let Some(index) = self.plan.weights.iter().position(|known| *known == spec) {
            return WeightId(index);
        }
        self.plan.weights.push(spec);
        WeightId(self.plan.weights.len() - 1)
    }

    /// Refuses files with tensors that nothing reads: the plan would silently compute something else.
    pub(super) fn finish(mut self, logits: BufId) -> Result<Plan> {
        self.plan.logits = logits;
        for tensor in &self.file.tensors {
            let used = self
                .plan
                .weights
                .iter()
                .any(|spec| spec.tensor == tensor.name);
            if !used && !is_optional(&tensor.name, &self.config.layers) {
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
