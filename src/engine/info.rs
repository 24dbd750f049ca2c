//! What a caller may want to know of a model and of what runs it.

use serde::Serialize;

use super::{LoadOptions, ModelKind};
use crate::Result;
use crate::gguf::GgufFile;
use crate::model::{self, Architecture, ModelConfig};
use crate::tokenizer::Tokenizer;

/// What a caller may want to know of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// `general.name`, or the architecture.
    pub name: String,
    /// `general.architecture`.
    pub architecture: String,
    /// What the model gives.
    pub kind: ModelKind,
    /// `general.description`.
    pub description: Option<String>,
    /// `general.license`.
    pub license: Option<String>,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of all tensors in the file.
    pub file_size: u64,
    /// Storage type of most of the weights.
    pub quantization: String,
    /// Context length in use, tokens.
    pub context_length: usize,
    /// Context length that the model was trained for, tokens.
    pub trained_context_length: usize,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub embedding_length: usize,
    /// Number of layers.
    pub layers: usize,
    /// Backend in use.
    pub backend: String,
    /// What came of the GPU; absent when none was tried.
    pub gpu: Option<GpuInfo>,
    /// Threads in use.
    pub threads: usize,
    /// Whether the file brings a chat template.
    pub has_chat_template: bool,
    /// Bytes that the weights take in memory.
    pub memory_bytes: u64,
}

/// What came of trying the GPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuInfo {
    /// Name of the adapter; empty when there is none.
    pub adapter: String,
    /// Whether the kernels in use were compared with the scalar reference, now or in the run that `verdict` tells of.
    pub checked: bool,
    /// Bytes that the model takes on the GPU with the whole of its context; 0 when it did not come so far.
    pub memory_bytes: u64,
    /// Kernels that are not used, since they gave wrong results or were refused.
    pub quarantined: Vec<String>,
    /// Outcome of the check for [`LoadOptions::gpu_verdict`](super::LoadOptions::gpu_verdict); empty without one.
    pub verdict: String,
    /// What `verdict` becomes when the GPU is lost once more before the model is loaded.
    #[serde(skip)]
    pub(super) if_lost: String,
    /// Why the CPU runs the model all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a model runs, as far as its header (of a split model the joined one) tells: architecture, types, tokenizer and
/// every tensor.
///
/// # Errors
/// What speaks against it, with what is supported.
pub fn check_header(file: &GgufFile, options: &LoadOptions) -> Result<()> {
    Architecture::by_name(file.metadata.str("general.architecture")?)?;
    Tokenizer::check(&file.metadata, options.pre_tokenizer.as_deref())?;
    if !options.vocab_only {
        let config = ModelConfig::from_gguf(file, None)?;
        model::build(&config, file)?;
    }
    Ok(())
}

/// Facts that stand in the header.
///
/// # Errors
/// [`Error::MissingMetadata`] when the file does not name its architecture.
pub fn describe(file: &GgufFile) -> Result<ModelInfo> {
    let meta = &file.metadata;
    let architecture = meta.str("general.architecture")?.to_owned();
    let text = |key: &str| meta.opt_str(key).ok().flatten().map(str::to_owned);
    let number = |key: &str| {
        meta.opt_u64(&format!("{architecture}.{key}"))
            .ok()
            .flatten()
            .unwrap_or(0) as usize
    };
    let mut by_type: Vec<(&str, u64)> = Vec::new();
    for tensor in file.tensors.iter().filter(|tensor| tensor.shape.len() > 1) {
        let name = tensor.dtype.name();
        match by_type.iter_mut().find(|(known, _)| *known == name) {
            Some((_, bytes)) => *bytes += tensor.bytes,
            None => by_type.push((name, tensor.bytes)),
        }
    }
    let quantization = by_type
        .iter()
        .max_by_key(|(_, bytes)| *bytes)
        .map_or("none", |(name, _)| name);
    Ok(ModelInfo {
        name: text("general.name").unwrap_or_else(|| architecture.clone()),
        description: text("general.description"),
        license: text("general.license"),
        parameters: file
            .tensors
            .iter()
            .map(|tensor| tensor.shape.iter().product::<u64>())
            .sum(),
        file_size: file.tensors.iter().map(|tensor| tensor.bytes).sum(),
        quantization: quantization.to_owned(),
        context_length: number("context_length"),
        trained_context_length: number("context_length"),
        vocab_size: meta
            .str_array("tokenizer.ggml.tokens")
            .map_or(0, <[String]>::len),
        embedding_length: number("embedding_length"),
        layers: number("block_count"),
        backend: "none".to_owned(),
        gpu: None,
        threads: 1,
        has_chat_template: meta.get("tokenizer.chat_template").is_some(),
        memory_bytes: 0,
        kind: ModelKind::of(meta, &architecture),
        architecture,
    })
}
