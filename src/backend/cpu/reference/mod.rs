//! The scalar reference: one plain loop per operation, sums in f64, weights dequantized exactly.
//!
//! Slow on purpose and always compiled: every fast kernel, on any backend, is judged by it.

mod moe;
mod recurrent;
mod rwkv;
mod streams;

use crate::backend::cpu::kv_cache::KvRows;
use crate::model::{Activation, NormKind, Pairing};
use crate::quant::{DType, dequantize};
use crate::{Error, Result};

pub use moe::{route, softmax, weighted_sum};
pub use recurrent::{DeltaShape, causal_conv, delta_net, selective_scan, softplus, state_scan};
pub use rwkv::{WkvTerms, WkvWeights, token_shift, wkv7};
pub use streams::{join_streams, mix_streams, sparsify};

/// A weight matrix in the file's own bytes.
pub struct RawMatrix {
    dtype: DType,
    cols: usize,
    row_bytes: usize,
    bytes: Vec<u8>,
}

impl RawMatrix {
    /// Room for `rows` rows.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::BadTensor`] when `cols` is no multiple of the block.
    pub fn new(dtype: DType, rows: usize, cols: usize) -> Result<Self> {
        let row_bytes = dtype.row_bytes(cols)?;
        let size = row_bytes * rows;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(size)
            .map_err(|_| Error::OutOfMemory { bytes: size as u64 })?;
        bytes.resize(size, 0);
        Ok(Self {
            dtype,
            cols,
            row_bytes,
            bytes,
        })
    }

    /// Copies whole rows in.
    ///
    /// # Errors
    /// [`Error::Internal`] when they do not fit.
    pub fn write_rows(&mut self, row_start: usize, bytes: &[u8]) -> Result<()> {
        let at = row_start * self.row_bytes;
        let room = self.bytes.get_mut(at..at + bytes.len());
        room.ok_or_else(|| Error::Internal("rows beyond the matrix".into()))?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Row `row` as floats.
    ///
    /// # Errors
    /// [`Error::Internal`] when there is no such row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let bytes = self
            .bytes
            .get(row * self.row_bytes..(row + 1) * self.row_bytes);
        dequantize(
            self.dtype,
            bytes.ok_or_else(|| Error::Internal("no such row".into()))?,
            out,
        )
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// `out[t, r] = dot(w[r], x[t])`; `x` is `[T, cols]`, `out` `[T, rows]`.
    ///
    /// # Errors
    /// Those of [`dequantize`].
    pub fn matmul(&self, x: &[f32], out: &mut [f32]) -> Result<()> {
        self.matmul_rows(x, out, 0..self.bytes.len() / self.row_bytes)
    }

    /// The same for some rows only: `out` is `[T, rows.len()]`.
    ///
    /// # Errors
    /// Those of [`dequantize`].
    pub fn matmul_rows(
        &self,
        x: &[f32],
        out: &mut [f32],
        rows: std::ops::Range<usize>,
    ) -> Result<()> {
        let mut row = vec![0.0; self.cols];
        for (i, r) in rows.clone().enumerate() {
            self.dequantize_row(r, &mut row)?;
            for (t, x) in x.chunks_exact(self.cols).enumerate() {
                out[t * rows.len() + i] = dot(&row, x) as f32;
            }
        }
        Ok(())
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

/// Normalises each run of `width` values in place.
pub fn norm(
    kind: NormKind,
    x: &mut [f32],
    width: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
) {
    for (run, row) in x.chunks_exact_mut(width).enumerate() {
        // Weights longer than a run belong to heads in turn.
        let weight = weight.map(|w| &w[run * width % w.len()..][..width]);
        let bias = bias.map(|b| &b[run * width % b.len()..][..width]);
        let n = width as f64;
        let mean = match kind {
            NormKind::Rms => 0.0,
            NormKind::Layer => row.iter().map(|v| f64::from(*v)).sum::<f64>() / n,
        };
        let variance = row
            .iter()
            .map(|v| (f64::from(*v) - mean).powi(2))
            .sum::<f64>()
            / n;
        let scale = 1.0 / (variance + f64::from(eps)).sqrt();
        for (i, v) in row.iter_mut().enumerate() {
            let normed = (f64::from(*v) - mean) * scale;
            let weighted = normed * weight.map_or(1.0, |w| f64::from(w[i]));
            *v = (weighted + bias.map_or(0.0, |b| f64::from(b[i]))) as f32;
        }
    }
}

/// Rotates every head of one position's row in place; `angles[i]` is `(cos, sin)` of pair `i`.
pub fn rope(row: &mut [f32], head_dim: usize, pairing: Pairing, angles: &[[f32; 2]]) {
    for head in row.chunks_exact_mut(head_dim) {
        for (i, [cos, sin]) in angles.iter().enumerate() {
            let (a, b) = match pairing {
                Pairing::Adjacent => (2 * i, 2 * i + 1),
                Pairing::Halves => (i, i + angles.len()),
            };
            let (x, y) = (head[a], head[b]);
            head[a] = x * cos - y * sin;
            head[b] = x * sin + y * cos;
        }
    }
}

/// One head's view of the past.
pub struct HeadView<'a> {
    /// Keys of the layer, `[position, stride]`.
    pub keys: &'a KvRows,
    /// Values of the layer, the same shape.
    pub values: &'a KvRows,
    /// Floats per position.
    pub stride: usize,
    /// First element of this head within a position.
    pub offset: usize,
}

/// How one head's scores are made of dot products.
#[derive(Clone, Copy)]
pub struct Scoring<'a> {
    /// Multiplies the dot product.
    pub scale: f32,
    /// Soft cap.
    pub softcap: Option<f32>,
    /// Score that takes its share and adds nothing.
    pub sink: Option<f32>,
    /// Added to each score of the range.
    pub bias: Option<&'a [f32]>,
}

fn element(rows: &KvRows, index: usize) -> f64 {
    match rows {
        KvRows::F32(rows) => rows.get(index),
        KvRows::F16(rows) => rows.get(index),
        KvRows::Q8_0(rows) => rows.get(index),
    }
}

/// Attention of one query head over the positions `range`; `out` has the head's length.
pub fn attend(
    q: &[f32],
    view: &HeadView<'_>,
    range: std::ops::Range<usize>,
    scoring: &Scoring<'_>,
    out: &mut [f32],
) {
    let Scoring {
        scale,
        softcap,
        sink,
        bias,
    } = *scoring;
    let at = |position: usize| position * view.stride + view.offset;
    let mut scores: Vec<f64> = range
        .clone()
        .map(|p| {
            let dot: f64 = q
                .iter()
                .enumerate()
                .map(|(i, q)| f64::from(*q) * element(view.keys, at(p) + i))
                .sum();
            let score = dot * f64::from(scale);
            let score = score + bias.map_or(0.0, |bias| f64::from(bias[p - range.start]));
            softcap.map_or(score, |cap| {
                f64::from(cap) * (score / f64::from(cap)).tanh()
            })
        })
        .collect();
    let sink = sink.map_or(f64::NEG_INFINITY, f64::from);
    let max = scores.iter().copied().fold(sink, f64::max);
    scores
        .iter_mut()
        .for_each(|score| *score = (*score - max).exp());
    let sum: f64 = scores.iter().sum::<f64>() + (sink - max).exp();
    for (i, out) in out.iter_mut().enumerate() {
        let weighted: f64 = range
            .clone()
            .zip(&scores)
            .map(|(p, w)| w * element(view.values, at(p) + i))
            .sum();
        *out = (weighted / sum) as f32;
    }
}

/// `act(gate) * up`
pub fn gated(act: Activation, gate: f32, up: f32) -> f32 {
    let up = if act == Activation::ClampedSwiglu {
        up.clamp(-7.0, 7.0) + 1.0
    } else {
        up
    };
    activate(act, gate) * up
}

/// Applies the activation to one value.
pub fn activate(act: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match act {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Identity => x,
        Activation::Tanh => x.tanh(),
        Activation::Relu => x.max(0.0),
        Activation::SquaredRelu => x.max(0.0).powi(2),
        Activation::ClampedSwiglu => {
            let x = x.min(7.0);
            x / (1.0 + (-1.702 * x).exp())
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        // Hendrycks & Gimpel 2016, tanh form.
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
    };
    y as f32
}
