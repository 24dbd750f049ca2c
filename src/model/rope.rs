//! Rotary position embedding: frequencies of all scaling variants, resolved at load.
//!
//! RoPE (Su et al. 2021) rotates pair `i` of a head by `pos * freq[i]`. Every scaling variant found in GGUF files
//! (linear, YaRN, Llama 3 factors, LongRoPE) only changes the constant `freq[i]` and one magnitude, so the whole
//! variety is a small table that does not depend on the position. Formulas follow YaRN (Peng et al. 2023) with
//! ggml's conventions (`ggml_rope_ext`).

use super::arch::Architecture;
use super::plan::WeightId;
use crate::gguf::Metadata;
use crate::{Error, Result};

/// Which elements of a head form a rotated pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `(0, 1), (2, 3), …`, as in the original paper and llama files ("norm").
    Adjacent,
    /// `(0, n/2), (1, n/2 + 1), …` ("NeoX").
    Halves,
}

/// A resolved rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    /// Pairing of elements.
    pub pairing: Pairing,
    /// Elements of a head that are rotated; the rest pass through.
    pub n_rot: usize,
    /// Angle per position of each pair, `n_rot / 2` of them, before `factors`.
    pub freqs: Vec<f32>,
    /// Divides `freqs` element by element (Llama 3, LongRoPE).
    pub factors: Option<WeightId>,
    /// Multiplies sine and cosine.
    pub magnitude: f32,
}

/// The scaling that a file's metadata asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RopeScaling {
    /// Reciprocal of the context extension factor.
    pub freq_scale: f32,
    /// Share of extrapolation in YaRN; 0 for the others.
    pub ext_factor: f32,
    /// Extra magnitude.
    pub attn_factor: f32,
    pub beta_fast: f32,
    pub beta_slow: f32,
    /// Context length of the model before extension.
    pub n_ctx_orig: usize,
    /// Multiplies attention scores.
    pub score_factor: f32,
}

impl RopeScaling {
    /// No scaling.
    pub fn none(n_ctx_orig: usize) -> Self {
        Self {
            freq_scale: 1.0,
            ext_factor: 0.0,
            attn_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            n_ctx_orig,
            score_factor: 1.0,
        }
    }

    /// Reads `{arch}.rope.scaling.*`.
    pub fn from_metadata(meta: &Metadata, arch: &Architecture, n_ctx_train: usize) -> Result<Self> {
        let key = |name: &str| format!("{}.rope.scaling.{name}", arch.name);
        let mut scaling = Self::none(n_ctx_train);
        if let Some(n) = meta.opt_u64(&key("original_context_length"))? {
            scaling.n_ctx_orig = n as usize;
        }
        if let Some(factor) = meta.opt_f32(&key("attn_factor"))? {
            scaling.attn_factor = factor;
        }
        let kind = meta.opt_str(&key("type"))?.unwrap_or("linear");
        let factor = match meta.opt_f32(&key("factor"))? {
            Some(factor) => factor,
            None => meta
                .opt_f32(&format!("{}.rope.scale_linear", arch.name))?
                .unwrap_or(0.0),
        };
        match kind {
            "none" => {}
            "linear" | "longrope" | "yarn" => {
                if factor > 0.0 {
                    scaling.freq_scale = 1.0 / factor;
                }
            }
            other => {
                return Err(Error::BadMetadata {
                    key: key("type"),
                    reason: format!(
                        "unknown rope scaling `{other}`; known: none, linear, yarn, longrope"
                    ),
                });
            }
        }
        if kind == "yarn" {
            let all_dims = meta
                .opt_f32(&key("yarn_log_multiplier"))?
                .filter(|m| *m != 0.0);
            let magnitude = |weight: f32| yarn_magnitude(scaling.freq_scale, weight);
            if arch.yarn_on_scores {
                // DeepSeek's mscale_all_dim, which its files have times 0.1, leaves rotated elements as they are.
                let factor = magnitude(all_dims.map_or(1.0, |m| m / 0.1));
                scaling.score_factor = factor * factor;
                if all_dims.is_some() {
                    scaling.attn_factor /= magnitude(1.0);
                }
            } else if let Some(all_dims) = all_dims {
                // Takes back part of YaRN's own magnitude.
                scaling.attn_factor /= magnitude(all_dims);
            }
            scaling.ext_factor = meta.opt_f32(&key("yarn_ext_factor"))?.unwrap_or(1.0);
            scaling.attn_factor *= meta.opt_f32(&key("yarn_attn_factor"))?.unwrap_or(1.0);
            scaling.beta_fast = meta.opt_f32(&key("yarn_beta_fast"))?.unwrap_or(32.0);
            scaling.beta_slow = meta.opt_f32(&key("yarn_beta_slow"))?.unwrap_or(1.0);
        }
        Ok(scaling)
    }

    /// Resolves the angles of `n_rot / 2` pairs.
    pub fn resolve(
        &self,
        pairing: Pairing,
        n_rot: usize,
        base: f32,
        factors: Option<WeightId>,
    ) -> RopeSpec {
        let (low, high) = self.correction_range(n_rot, base);
        let freqs = (0..n_rot / 2)
            .map(|i| {
                let extrapolated = f64::from(base).powf(-2.0 * i as f64 / n_rot as f64);
                let interpolated = extrapolated * f64::from(self.freq_scale);
                let ramp = 1.0 - ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                let mix = ramp * f64::from(self.ext_factor);
                (interpolated * (1.0 - mix) + extrapolated * mix) as f32
            })
            .collect();
        let yarn = if self.ext_factor == 0.0 {
            1.0
        } else {
            yarn_magnitude(self.freq_scale, 1.0)
        };
        RopeSpec {
            pairing,
            n_rot,
            freqs,
            factors,
            magnitude: self.attn_factor * yarn,
        }
    }

    /// Pairs between which YaRN blends from extrapolation to interpolation.
    fn correction_range(&self, n_rot: usize, base: f32) -> (f64, f64) {
        let n_rot = n_rot as f64;
        let pair = |beta: f32| {
            let turns = self.n_ctx_orig as f64 / (f64::from(beta) * 2.0 * std::f64::consts::PI);
            n_rot * turns.ln() / (2.0 * f64::from(base).ln())
        };
        let low = pair(self.beta_fast).floor().max(0.0);
        let high = pair(self.beta_slow).ceil().min(n_rot - 1.0);
        (low, high)
    }
}

/// YaRN's magnitude for a frequency scale, weighted.
fn yarn_magnitude(freq_scale: f32, weight: f32) -> f32 {
    if freq_scale < 1.0 {
        1.0 + 0.1 * weight * (1.0 / freq_scale).ln()
    } else {
        1.0
    }
}
