//! What comes after the last layer: logits, or one vector for the text.

use super::builder::Builder;
use super::plan::{BufId, Mask, NormKind, Op, Pooling};
use crate::Result;

impl Builder<'_> {
    /// Norm and head of the rows whose logits are wanted.
    pub(super) fn logits(&mut self, x: BufId) -> Result<BufId> {
        let config = self.config;
        let last = self.buffer(config.d_model);
        self.push("result_last", Op::LastRow { x, out: last });
        let (d, label) = (config.d_model, "result_norm");
        if config.arch.bare_norms {
            self.bare_norm(label, last, d, last);
        } else {
            self.norm(config.arch.output_norm, label, last, d, last)?;
        }
        let logits = self.buffer(config.n_vocab);
        let head = if self.has("output.weight") {
            "output"
        } else {
            "token_embd"
        };
        self.project(head, "result_output", last, 0, config.n_vocab, logits)?;
        self.scale("result_output_scaled", logits, config.scales.logits);
        if let Some(cap) = config.final_softcap {
            self.push("result_output_capped", Op::SoftCap { x: logits, cap });
        }
        Ok(logits)
    }

    /// Norm, pooling, and the dense layers or the classifier that follow.
    pub(super) fn pooled(&mut self, x: BufId, pooling: Pooling) -> Result<BufId> {
        let config = self.config;
        self.plan.pooled = true;
        if self.has(&format!("{}.weight", config.arch.output_norm)) {
            self.norm(config.arch.output_norm, "result_norm", x, config.d_model, x)?;
        }
        let mut out = self.buffer(config.d_model);
        let rows = match pooling {
            Pooling::Rank if config.mask == Mask::Causal => Pooling::Last,
            Pooling::Rank => config.arch.ranker.pooling,
            other => other,
        };
        self.push(
            "result_embd_pooled",
            Op::Pool {
                x,
                pooling: rows,
                out,
            },
        );
        let heads: &[&str] = if pooling == Pooling::Rank {
            &["cls", "cls.output"]
        } else {
            &["dense_2", "dense_3"]
        };
        for name in heads {
            if self.has(&format!("{name}.weight")) {
                let width = self.dim(&format!("{name}.weight"), 1)?;
                let projected = self.buffer(width);
                self.project(name, name, out, 0, width, projected)?;
                out = projected;
                if *name == "cls" {
                    self.classifier_activation(out)?;
                }
            }
        }
        if pooling == Pooling::Rank && config.mask == Mask::Causal {
            // Qwen 3 Reranker scores "yes" against "no".
            self.push("result_rank", Op::Softmax { x: out });
        }
        Ok(out)
    }

    fn classifier_activation(&mut self, x: BufId) -> Result<()> {
        let act = self.config.arch.ranker.activation;
        self.push("cls_act", Op::Act { act, x });
        let width = self.plan.buffers[x.0];
        if let Some(weight) = self.optional_vector("cls.norm.weight", width)? {
            let (kind, eps) = (NormKind::Layer, self.config.eps);
            let op = Op::Norm {
                kind,
                x,
                weight: Some(weight),
                bias: None,
                eps,
                width,
                out: x,
            };
            self.push("cls_norm", op);
        }
        Ok(())
    }
}
