//! Per-layer embeddings (Gemma 3n and 4): each layer takes a little from the token directly.

use super::builder::Builder;
use super::plan::{BufId, IdSource, Op};
use crate::Result;

impl Builder<'_> {
    /// What all layers take, `[T, layers * width]`: from the token's own table and projected from its embedding.
    pub(super) fn per_layer_inputs(&mut self, x: BufId) -> Result<Option<BufId>> {
        let Some(width) = self.config.per_layer_width else {
            return Ok(None);
        };
        let total = width * self.config.layers.len();
        let (table, projected) = (self.buffer(total), self.buffer(total));
        let weight = self.matrix("per_layer_token_embd.weight", 0, self.config.n_vocab, total)?;
        self.push(
            "inp_per_layer_selected",
            Op::Embed {
                table: weight,
                ids: IdSource::Tokens,
                out: table,
            },
        );
        self.push(
            "inp_per_layer_scaled",
            Op::Scale {
                x: table,
                factor: (width as f32).sqrt(),
            },
        );
        self.project(
            "per_layer_model_proj",
            "per_layer_proj",
            x,
            0,
            total,
            projected,
        )?;
        let factor = 1.0 / (self.config.d_model as f32).sqrt();
        self.push(
            "per_layer_proj_scaled",
            Op::Scale {
                x: projected,
                factor,
            },
        );
        self.norm(
            "per_layer_proj_norm",
            "per_layer_proj_normed",
            projected,
            width,
            projected,
        )?;
        self.push(
            "inp_per_layer_sum",
            Op::Add {
                a: projected,
                b: table,
                out: table,
            },
        );
        self.push(
            "inp_per_layer",
            Op::Scale {
                x: table,
                factor: 0.5_f32.sqrt(),
            },
        );
        Ok(Some(table))
    }

    /// What layer `i` takes from the token, gated by `x`.
    pub(super) fn per_layer_part(
        &mut self,
        i: usize,
        x: BufId,
        inputs: Option<BufId>,
    ) -> Result<Option<BufId>> {
        let (Some(inputs), Some(width)) = (inputs, self.config.per_layer_width) else {
            return Ok(None);
        };
        let (gate, part) = (
            self.scratch("per_layer_gate", width),
            self.scratch("per_layer", width),
        );
        let out = self.scratch("block", self.config.d_model);
        self.project_layer(i, "inp_gate", "per_layer_gate", x, 0, gate)?;
        let stride = self.plan.buffers[inputs.0];
        self.push(
            &format!("per_layer_inp-{i}"),
            Op::Slice {
                x: inputs,
                stride,
                offset: i * width,
                out: part,
            },
        );
        let act = self.config.activation;
        self.push(
            &format!("per_layer_gated-{i}"),
            Op::GatedAct {
                act,
                gate,
                up: part,
                out: part,
            },
        );
        self.project_layer(i, "proj", "per_layer_out", part, 0, out)?;
        self.optional_norm(i, "post_norm", "per_layer_embd_out", out)?;
        Ok(Some(out))
    }

    /// Adds the part of layer `i` to the stream, then scales the stream where the file says so.
    pub(super) fn end_of_layer(&mut self, i: usize, x: BufId, inputs: Option<BufId>) -> Result<()> {
        if let Some(out) = self.per_layer_part(i, x, inputs)? {
            self.push(
                &format!("per_layer_add-{i}"),
                Op::Add {
                    a: x,
                    b: out,
                    out: x,
                },
            );
        }
        let name = format!("blk.{i}.layer_output_scale.weight");
        if let Some(weight) = self.optional_vector(&name, 1)? {
            self.push(&format!("out_scaled-{i}"), Op::ScaleByWeight { x, weight });
        }
        Ok(())
    }
}
