//! Choices that are made when a model is loaded.

use serde::Deserialize;

/// Which arithmetic runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// Packed weights, int8 activations, SIMD.
    #[default]
    Cpu,
    /// The scalar reference: exact and slow.
    Reference,
    /// The GPU, through WebGPU; an error where it cannot run the model.
    Gpu,
    /// The GPU where there is one that runs the model rightly and faster, else the CPU.
    Auto,
}

/// Storage type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvChoice {
    /// Two bytes a value.
    F16,
    /// One byte a value and some scales; on the GPU as `F16`.
    #[serde(rename = "q8_0")]
    Q8,
    /// Four bytes a value.
    F32,
}

/// Options of [`Engine::load`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadOptions {
    /// Context length in tokens; capped at the trained one. Default: 4096 or the trained one if that is shorter.
    pub context_length: Option<usize>,
    /// Arithmetic.
    pub backend: BackendChoice,
    /// KV cache type. Default: f16, or f32 for the reference.
    pub kv_type: Option<KvChoice>,
    /// Threads to run on. In a page they are workers that must have joined the pool before; natively they are started.
    /// Default: one.
    pub threads: Option<usize>,
    /// [`GpuInfo::verdict`](super::GpuInfo::verdict) of an earlier load, so that kernels known to be right on this
    /// adapter are not checked again. One that does not fit is ignored.
    pub gpu_verdict: Option<String>,
    /// Load the tokenizer and the chat template only.
    pub vocab_only: bool,
    /// Use this pre-tokenizer instead of the one that the file names.
    pub pre_tokenizer: Option<String>,
    /// Use this Jinja chat template instead of the file's.
    pub chat_template: Option<String>,
    /// What the GPU backend is to do without; for tests.
    #[cfg(feature = "webgpu")]
    #[serde(skip)]
    pub gpu: crate::backend::GpuOptions,
}
