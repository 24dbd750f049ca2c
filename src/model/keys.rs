//! Metadata look-ups under the architecture's prefix, with bounds.

use crate::gguf::Metadata;
use crate::{Error, Result};

/// Upper bounds that no real model reaches; they keep a hostile header from asking for the moon.
pub(super) const MAX_LAYERS: u64 = 1024;
/// See [`MAX_LAYERS`].
pub(super) const MAX_WIDTH: u64 = 1 << 20;

/// Metadata under `{arch}.`.
pub(super) struct Keys<'a> {
    pub meta: &'a Metadata,
    pub arch: &'a str,
}

impl Keys<'_> {
    pub fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    pub fn bad(&self, key: &str, reason: &str) -> Error {
        Error::BadMetadata {
            key: self.full(key),
            reason: reason.to_owned(),
        }
    }

    pub fn size(&self, key: &str, max: u64) -> Result<usize> {
        self.opt_size(key, max)?
            .ok_or_else(|| Error::MissingMetadata(self.full(key)))
    }

    pub fn opt_size(&self, key: &str, max: u64) -> Result<Option<usize>> {
        match self.opt_count(key, max)? {
            Some(0) => Err(self.bad(key, "must not be zero")),
            size => Ok(size),
        }
    }

    /// Like [`Keys::opt_size`], where zero has a meaning.
    pub fn opt_count(&self, key: &str, max: u64) -> Result<Option<usize>> {
        match self.meta.opt_u64(&self.full(key))? {
            Some(n) if n > max => Err(self.bad(key, &format!("{n} is more than {max}"))),
            count => Ok(count.map(|n| n as usize)),
        }
    }

    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>> {
        self.meta.opt_f32(&self.full(key))
    }

    /// A number for all layers, or an array with one for each.
    pub fn opt_per_layer(&self, key: &str, n_layers: usize) -> Result<Option<Vec<usize>>> {
        if let Ok(values) = self.meta.int_array(&self.full(key)) {
            if values.len() < n_layers {
                return Err(self.bad(key, "has fewer entries than layers"));
            }
            return values
                .iter()
                .take(n_layers)
                .map(|v| usize::try_from(*v).ok().filter(|v| *v as u64 <= MAX_WIDTH))
                .map(|v| v.ok_or_else(|| self.bad(key, "entry out of range")))
                .collect::<Result<_>>()
                .map(Some);
        }
        Ok(self
            .opt_count(key, MAX_WIDTH)?
            .map(|value| vec![value; n_layers]))
    }

    /// As [`Keys::opt_per_layer`], for what every model has.
    pub fn per_layer(&self, key: &str, n_layers: usize) -> Result<Vec<usize>> {
        self.opt_per_layer(key, n_layers)?
            .ok_or_else(|| Error::MissingMetadata(self.full(key)))
    }

    /// RMSNorm's or LayerNorm's epsilon.
    pub fn eps(&self) -> Result<f32> {
        let rms = self.opt_f32("attention.layer_norm_rms_epsilon")?;
        let layer = self.opt_f32("attention.layer_norm_epsilon")?;
        rms.or(layer)
            .ok_or_else(|| Error::MissingMetadata(self.full("attention.layer_norm_rms_epsilon")))
    }
}
