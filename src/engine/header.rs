//! What can be done with a model while only its header is known: refuse it, and have the GPU compile for it, both while
//! gigabytes of weights are still to come.

use super::origin::{Ahead, Origin};
use super::{BackendChoice, DEFAULT_CONTEXT, LoadOptions};
use crate::gguf::GgufFile;
use crate::model::ModelConfig;
use crate::{Error, Result};

/// A model without its weights.
pub struct Header {
    pub(super) file: GgufFile,
    pub(super) ahead: Option<Ahead>,
}

impl Header {
    /// From the header of a file, or the joined ones of a split model.
    pub fn new(file: GgufFile) -> Self {
        Self { file, ahead: None }
    }

    /// Refuses a model that this device cannot hold, if that is certain. Where a GPU may run it, a device is opened and begins
    /// to compile; [`Engine::load_with`](super::Engine::load_with) goes on with it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::NoRoom`]; what speaks against the GPU where nothing else may run the model.
    pub async fn prepare(&mut self, options: &LoadOptions) -> Result<()> {
        if options.vocab_only {
            return Ok(());
        }
        let bytes = weight_bytes(&self.file);
        match (options.backend, addressable(bytes)) {
            (BackendChoice::Cpu | BackendChoice::Reference, on_cpu) => return on_cpu,
            // Whatever speaks against the GPU is told when the model is loaded.
            (BackendChoice::Auto, Ok(())) => self.ahead = self.ask_gpu(options, false).await.ok(),
            (BackendChoice::Auto, Err(_)) => {
                let asked = self.ask_gpu(options, true).await;
                self.ahead = Some(asked.map_err(|error| neither(bytes, error))?);
            }
            (BackendChoice::Gpu, _) => self.ahead = Some(self.ask_gpu(options, true).await?),
        }
        Ok(())
    }

    async fn ask_gpu(&self, options: &LoadOptions, asks_room: bool) -> Result<Ahead> {
        let n_ctx = options.context_length.unwrap_or(DEFAULT_CONTEXT);
        let config = ModelConfig::from_gguf(&self.file, Some(n_ctx))?;
        let origin = Origin::new(Vec::new(), &self.file, &config, options)?;
        origin.prepare_gpu(asks_room).await
    }
}

/// Bytes of all weights.
pub(super) fn weight_bytes(file: &GgufFile) -> u64 {
    file.tensors.iter().map(|tensor| tensor.bytes).sum()
}

/// Whether the CPU can address the weights.
///
/// # Errors
/// [`Error::OutOfMemory`]
pub(super) fn addressable(bytes: u64) -> Result<()> {
    usize::try_from(bytes).map_or(Err(Error::OutOfMemory { bytes }), |_| Ok(()))
}

/// Why a model that the CPU cannot address runs nowhere, when the GPU failed with `error`.
pub(super) fn neither(bytes: u64, error: Error) -> Error {
    let gpu = match error {
        Error::NoRoom(reason) => reason,
        other => other.to_string(),
    };
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    Error::NoRoom(format!(
        "the weights take {:.1} GB, of which the CPU can address {:.1} GB here, and the GPU cannot hold them either: {gpu}",
        gigabytes(bytes),
        gigabytes(usize::MAX as u64),
    ))
}
