//! Whether a model fits, as far as its header tells: asked before gigabytes of weights are downloaded.

use super::origin::Origin;
use super::{BackendChoice, DEFAULT_CONTEXT, LoadOptions};
use crate::gguf::GgufFile;
use crate::model::ModelConfig;
use crate::{Error, Result};

/// Refuses a model that this device cannot hold, if that is certain. A split model, of which the first header tells
/// little, passes.
///
/// # Errors
/// [`Error::OutOfMemory`], [`Error::GpuMemory`]; what speaks against the GPU where nothing else could run the model.
pub async fn check_room(file: &GgufFile, options: &LoadOptions) -> Result<()> {
    if options.vocab_only || file.split_count()? != 1 {
        return Ok(());
    }
    let bytes: u64 = file.tensors.iter().map(|tensor| tensor.bytes).sum();
    let on_cpu = usize::try_from(bytes).is_ok();
    match options.backend {
        BackendChoice::Cpu | BackendChoice::Reference if on_cpu => return Ok(()),
        BackendChoice::Cpu | BackendChoice::Reference => return Err(Error::OutOfMemory { bytes }),
        BackendChoice::Auto if on_cpu => return Ok(()),
        BackendChoice::Auto | BackendChoice::Gpu => {}
    }
    let n_ctx = options.context_length.unwrap_or(DEFAULT_CONTEXT);
    let config = ModelConfig::from_gguf(file, Some(n_ctx))?;
    let origin = Origin::new(Vec::new(), file.clone(), &config, options)?;
    origin.check_gpu_room().await
}
