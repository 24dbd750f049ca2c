//! Attention over the cache.

use std::mem::take;
use std::ops::Range;

use super::forward::Pass;
use super::ops::{AttentionShape, DistanceBias};
use super::reference::{self, HeadView, Scoring};
use super::{CpuBackend, LayerCache, Precision, parallel};
use crate::Result;
use crate::model::{Mask, Op, ScoreBias};

impl CpuBackend {
    /// Runs [`Op::Attention`].
    pub(super) fn attention(&mut self, op: &Op, pass: &Pass<'_>) -> Result<()> {
        let Op::Attention {
            q,
            layer,
            n_heads,
            head_dim,
            scale,
            mask,
            window,
            softcap,
            sinks,
            bias,
            out,
        } = *op
        else {
            return Ok(());
        };
        let mut values = take(&mut self.buffers[out.0]);
        let width = n_heads * head_dim;
        values.resize(pass.rows * width, 0.0);
        let mut scratch = take(&mut self.scratch);
        let sinks = sinks.map(|id| self.vector(id)).transpose()?;
        let layer = &pass.cache.layers[layer];
        let len = if mask == Mask::Memory {
            pass.cache.memory
        } else {
            pass.start + pass.rows
        };
        if self.options.precision == Precision::Fast {
            let before = pass.start + pass.rows - 1;
            let table = match bias {
                Some(bias) => self.distances(&bias, n_heads, before, len)?,
                None => Vec::new(),
            };
            let shape = AttentionShape {
                n_heads,
                n_kv_heads: layer.spec.n_kv_heads,
                head_dim,
                scale,
                visible: &|position| visible(mask, window, position, len),
                softcap,
                sinks,
                bias: bias.map(|_| DistanceBias {
                    table: &table,
                    before,
                    width: DistanceBias::width(before, len),
                }),
            };
            let q = &self.buffers[q.0][..pass.rows * width];
            parallel::attention(&shape, q, layer, pass.start, &mut scratch, &mut values);
        } else {
            let queries = self.buffers[q.0].chunks_exact(width);
            for (t, (q, out)) in queries.zip(values.chunks_exact_mut(width)).enumerate() {
                let position = pass.start + t;
                let range = visible(mask, window, position, len);
                for head in 0..n_heads {
                    let bias = match bias {
                        Some(bias) => Some(self.relative(&bias, n_heads, head, position, &range)?),
                        None => None,
                    };
                    let (sink, bias) = (sinks.map(|sinks| sinks[head]), bias.as_deref());
                    let scoring = Scoring {
                        scale,
                        softcap,
                        sink,
                        bias,
                    };
                    attend_head(q, layer, head, n_heads, range.clone(), &scoring, out);
                }
            }
        }
        self.scratch = scratch;
        self.put(out, values);
        Ok(())
    }

    /// Biases by distance for queries at positions up to `before` and `len` keys: see [`DistanceBias`].
    fn distances(
        &self,
        bias: &ScoreBias,
        n_heads: usize,
        before: usize,
        len: usize,
    ) -> Result<Vec<f32>> {
        let before = before as i64;
        let end = DistanceBias::width(before as usize, len) as i64 - before;
        let mut table = Vec::new();
        for head in 0..n_heads {
            self.biases(bias, (head, n_heads), -before..end, &mut table)?;
        }
        Ok(table)
    }

    /// Appends the biases of one of the heads for the distances `key - query`.
    fn biases(
        &self,
        bias: &ScoreBias,
        (head, n_heads): (usize, usize),
        distances: impl Iterator<Item = i64>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        match bias {
            ScoreBias::Buckets(bias) => {
                let table = self.vector(bias.table)?;
                out.extend(distances.map(|d| table[bias.buckets.of(d) * n_heads + head]));
            }
            ScoreBias::Slopes { steepest } => {
                let slope = ScoreBias::slope(*steepest, head, n_heads);
                out.extend(distances.map(|d| -slope * d.abs() as f32));
            }
        }
        Ok(())
    }

    /// Biases of one head's scores over `range`.
    fn relative(
        &self,
        bias: &ScoreBias,
        n_heads: usize,
        head: usize,
        position: usize,
        range: &Range<usize>,
    ) -> Result<Vec<f32>> {
        let distances = range.clone().map(|key| key as i64 - position as i64);
        let mut biases = Vec::new();
        self.biases(bias, (head, n_heads), distances, &mut biases)?;
        Ok(biases)
    }
}

/// One head of one token by the reference.
fn attend_head(
    q: &[f32],
    layer: &LayerCache,
    head: usize,
    n_heads: usize,
    range: Range<usize>,
    scoring: &Scoring<'_>,
    out: &mut [f32],
) {
    let head_dim = layer.spec.head_dim;
    let view = HeadView {
        keys: &layer.keys,
        values: &layer.values,
        stride: layer.spec.width(),
        offset: head / (n_heads / layer.spec.n_kv_heads) * head_dim,
    };
    let part = head * head_dim..(head + 1) * head_dim;
    reference::attend(&q[part.clone()], &view, range, scoring, &mut out[part]);
}

/// Positions that a query at `position` sees of the `len` that there are.
fn visible(mask: Mask, window: Option<usize>, position: usize, len: usize) -> Range<usize> {
    match (mask, window) {
        (Mask::Causal, None) => 0..position + 1,
        (Mask::Causal, Some(window)) => (position + 1).saturating_sub(window)..position + 1,
        (Mask::Full | Mask::Memory, None) => 0..len,
        (Mask::Full | Mask::Memory, Some(window)) => {
            position.saturating_sub(window / 2)..(position + window / 2 + 1).min(len)
        }
    }
}
