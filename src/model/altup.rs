//! Gemma 3n: several residual streams of which a layer computes one (AltUp), and a low-rank way beside attention (Laurel).

use super::builder::Builder;
use super::config::{Activation, LayerConfig};
use super::plan::{BufId, Op};
use crate::Result;

/// Layers whose gates are made sparse, and how many deviations above the mean a gate must be to stay.
const SPARSE_LAYERS: usize = 10;
const SPARSITY: f32 = 1.644_853_4;

impl Builder<'_> {
    /// Whether the file has several streams.
    pub(super) fn has_streams(&self) -> bool {
        self.has("altup_proj.weight")
    }

    /// All layers, on streams made from `x`, which then has their mean.
    pub(super) fn altup_layers(&mut self, x: BufId, per_layer: Option<BufId>) -> Result<()> {
        let mut streams = self.first_streams(x)?;
        let mut spare = self.buffer(self.plan.buffers[streams.0]);
        for (i, layer) in self.config.layers.iter().enumerate() {
            self.altup_layer(i, layer, streams, spare, per_layer)?;
            std::mem::swap(&mut streams, &mut spare);
        }
        self.merged_streams(streams, x)
    }

    /// The streams, `[T, n * d]`: the embedding, and projections of it as long as it is.
    fn first_streams(&mut self, x: BufId) -> Result<BufId> {
        let (d, name) = (self.config.d_model, "altup_proj.weight");
        let more = self.dim(name, 2)?;
        let (rest, streams) = (self.buffer(more * d), self.buffer((more + 1) * d));
        let weight = self.expert_matrix(name, d, d, more)?;
        self.push(
            "altup_added",
            Op::MatMul {
                x,
                weight,
                bias: None,
                out: rest,
            },
        );
        self.push(
            "inp_stacked",
            Op::JoinStreams {
                first: x,
                rest,
                out: streams,
            },
        );
        Ok(streams)
    }

    /// A layer on all streams. `spare` is a buffer of their size; what comes out is there.
    fn altup_layer(
        &mut self,
        i: usize,
        layer: &LayerConfig,
        streams: BufId,
        spare: BufId,
        inputs: Option<BufId>,
    ) -> Result<()> {
        let width = self.config.d_model;
        let x = self.scratch("active", width);
        let all = self.plan.buffers[streams.0];
        // What each stream is expected to be, from the streams before the layer.
        self.stream(&format!("altup_active-{i}"), streams, 0, x);
        let n = all / width;
        let coefs = self.coefficients(i, x, "altup_predict_coef", [n, n * n])?;
        self.push(
            &format!("altup_copy-{i}"),
            Op::Slice {
                x: streams,
                stride: all,
                offset: 0,
                out: spare,
            },
        );
        let predict = Op::MixStreams {
            x: spare,
            y: streams,
            coefs: Some(coefs),
            plus: 0.0,
            first: 0,
            width,
        };
        self.push(&format!("predictions-{i}"), predict);
        // The layer itself, on one of them.
        self.stream(&format!("active_prediction-{i}"), spare, 0, x);
        let input = self.mixer_block(i, layer, x)?;
        self.laurel(i, input, x)?;
        self.feed_forward_block(i, layer, input, x)?;
        // All streams learn of the difference that it makes.
        let coefs = self.coefficients(i, x, "altup_correct_coef", [n, n])?;
        let before = self.scratch("block", width);
        self.stream(&format!("before-{i}"), spare, 0, before);
        self.scale(&format!("before_neg-{i}"), before, -1.0);
        self.push(
            &format!("innovation-{i}"),
            Op::Add {
                a: before,
                b: x,
                out: before,
            },
        );
        let correct = Op::MixStreams {
            x: spare,
            y: before,
            coefs: Some(coefs),
            plus: 1.0,
            first: 0,
            width,
        };
        self.push(&format!("corrected-{i}"), correct);
        self.stream(&format!("first_prediction-{i}"), spare, 0, x);
        let weight = self.vector(&format!("blk.{i}.altup_correct_scale.weight"), width)?;
        self.push(
            &format!("first_prediction_in-{i}"),
            Op::ScaleByWeight { x, weight },
        );
        if let Some(y) = self.per_layer_part(i, x, inputs)? {
            let add = Op::MixStreams {
                x: spare,
                y,
                coefs: None,
                plus: 1.0,
                first: 1,
                width,
            };
            self.push(&format!("l_out-{i}.streams"), add);
        }
        Ok(())
    }

    /// The mean of the streams, the others projected back and as long as the first.
    fn merged_streams(&mut self, streams: BufId, x: BufId) -> Result<()> {
        let (d, name) = (self.config.d_model, "altup_unembd_proj.weight");
        let count = self.plan.buffers[streams.0] / d;
        let (stream, projected) = (self.scratch("active", d), self.scratch("normed", d));
        let (pair, first) = (self.buffer(2 * d), self.buffer(d));
        self.stream("altup_first", streams, 0, first);
        self.stream("altup_sum", streams, 0, x);
        for j in 1..count {
            self.stream(&format!("altup_stream.{j}"), streams, j * d, stream);
            let weight = self.part_of_matrices(name, j - 1, count - 1)?;
            self.push(
                &format!("altup_unembd.{j}"),
                Op::MatMul {
                    x: stream,
                    weight,
                    bias: None,
                    out: projected,
                },
            );
            self.push(
                &format!("altup_pair.{j}"),
                Op::JoinStreams {
                    first,
                    rest: projected,
                    out: pair,
                },
            );
            self.stream(&format!("altup_scaled.{j}"), pair, d, stream);
            self.push(
                &format!("altup_sum.{j}"),
                Op::Add {
                    a: x,
                    b: stream,
                    out: x,
                },
            );
        }
        self.scale("unembd_merged", x, 1.0 / count as f32);
        Ok(())
    }

    /// In the first layers only the gates far above the mean stay.
    pub(super) fn sparsify(&mut self, i: usize, gate: BufId) {
        if self.has_streams() && i < SPARSE_LAYERS {
            let factor = SPARSITY;
            self.push(
                &format!("ffn_gate_sparse-{i}"),
                Op::Sparsify { x: gate, factor },
            );
        }
    }

    /// `x = (x + input + norm(R L input)) / sqrt(2)`
    fn laurel(&mut self, i: usize, input: BufId, x: BufId) -> Result<()> {
        let rank = self.dim(&format!("blk.{i}.laurel_l.weight"), 1)?;
        let (low, out) = (
            self.scratch("laurel", rank),
            self.scratch("block", self.config.d_model),
        );
        self.project_layer(i, "laurel_l", "laurel_l", input, 0, low)?;
        self.project_layer(i, "laurel_r", "laurel_r", low, 0, out)?;
        self.optional_norm(i, "laurel_post_norm", "laurel_normed", out)?;
        for (label, part) in [("laurel_out", input), ("attn_laurel", out)] {
            self.push(
                &format!("{label}-{i}"),
                Op::Add {
                    a: x,
                    b: part,
                    out: x,
                },
            );
        }
        self.scale(&format!("attn_laurel_scaled-{i}"), x, 0.5_f32.sqrt());
        Ok(())
    }

    /// Coefficients of a mixture of `n` streams, as the active one asks for them.
    fn coefficients(
        &mut self,
        i: usize,
        x: BufId,
        name: &str,
        [n, count]: [usize; 2],
    ) -> Result<BufId> {
        let d = self.config.d_model;
        let normed = self.pre_norm(i, "altup_router_norm", x)?;
        self.scale(&format!("router_in-{i}"), normed, 1.0 / d as f32);
        let (modalities, coefs) = (self.scratch("modalities", n), self.scratch("coefs", count));
        self.project_layer(i, "altup_router", "router", normed, 0, modalities)?;
        let act = Activation::Tanh;
        self.push(&format!("modalities-{i}"), Op::Act { act, x: modalities });
        self.project_layer(i, name, "all_coefs", modalities, 0, coefs)?;
        Ok(coefs)
    }

    fn stream(&mut self, label: &str, streams: BufId, offset: usize, out: BufId) {
        let stride = self.plan.buffers[streams.0];
        self.push(
            label,
            Op::Slice {
                x: streams,
                stride,
                offset,
                out,
            },
        );
    }
}
