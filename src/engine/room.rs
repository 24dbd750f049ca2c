//! Whether a model fits, as far as its header tells: asked before gigabytes of weights are downloaded.

use super::origin::Origin;
use super::{BackendChoice, DEFAULT_CONTEXT, LoadOptions};
use crate::gguf::GgufFile;
use crate::model::ModelConfig;
use crate::{Error, Result};

/// Refuses a model that this device cannot hold, if that is certain. `file` is the joined header of a split model.
///
/// # Errors
/// [`Error::OutOfMemory`], [`Error::NoRoom`]; what speaks against the GPU where nothing else may run the model.
pub async fn check_room(file: &GgufFile, options: &LoadOptions) -> Result<()> {
    if options.vocab_only {
        return Ok(());
    }
    let bytes = weight_bytes(file);
    match (options.backend, addressable(bytes)) {
        (BackendChoice::Cpu | BackendChoice::Reference, on_cpu) => on_cpu,
        (BackendChoice::Auto, Ok(())) => Ok(()),
        (BackendChoice::Auto, Err(_)) => ask_gpu(file, options)
            .await
            .map_err(|error| neither(bytes, error)),
        (BackendChoice::Gpu, _) => ask_gpu(file, options).await,
    }
}

async fn ask_gpu(file: &GgufFile, options: &LoadOptions) -> Result<()> {
    let n_ctx = options.context_length.unwrap_or(DEFAULT_CONTEXT);
    let config = ModelConfig::from_gguf(file, Some(n_ctx))?;
    let origin = Origin::new(Vec::new(), file.clone(), &config, options)?;
    origin.check_gpu_room().await
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
