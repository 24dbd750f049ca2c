//! The engine: a loaded model, its backend, and the conversations it remembers.

mod chat_prompt;
mod embed;
mod generate;
mod loader;
mod session;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, CpuBackend, CpuOptions, KvType, LogitRows, Precision};
use crate::chat::ChatTemplate;
use crate::gguf::GgufFile;
use crate::model::{self, ModelConfig};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

pub use chat_prompt::{ChatRequest, Overflow};
pub use generate::{CompletionRequest, FinishReason, Generation, GenerationEvent, Timings, Usage};
pub use loader::{LoadPhase, LoadProgress, MemorySource, WeightSource, read_header};
pub use session::Session;

/// Context length when the caller names none: enough for a chat, little enough memory for a phone.
const DEFAULT_CONTEXT: usize = 4096;

/// Conversations whose cache is kept at the same time.
const MAX_SESSIONS: usize = 2;

/// Which arithmetic runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// Packed weights, int8 activations, SIMD.
    #[default]
    Cpu,
    /// The scalar reference: exact and slow.
    Reference,
    /// The GPU, through WebGPU.
    #[cfg(feature = "webgpu")]
    Gpu,
}

/// Storage type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvChoice {
    /// Two bytes a value.
    F16,
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

/// What a caller may want to know of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// `general.name`, or the architecture.
    pub name: String,
    /// `general.architecture`.
    pub architecture: String,
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
    /// Threads in use.
    pub threads: usize,
    /// Whether the file brings a chat template.
    pub has_chat_template: bool,
    /// Bytes that the weights take in memory.
    pub memory_bytes: usize,
}

/// Where the weights are, once loaded.
struct Weights {
    config: ModelConfig,
    backend: Backend,
}

/// A loaded model.
pub struct Engine {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// Absent when only the vocabulary was loaded.
    weights: Option<Weights>,
    /// Idle sessions, the most recently used last.
    sessions: Vec<Session>,
}

impl Engine {
    /// Loads a model from its shards (one source for an ordinary file).
    ///
    /// `progress` is called at least every few megabytes and returns whether to go on.
    ///
    /// # Errors
    /// Everything that can be wrong with a file, [`Error::Cancelled`], [`Error::OutOfMemory`], [`Error::Source`].
    pub async fn load<S: WeightSource>(
        sources: Vec<S>,
        options: &LoadOptions,
        mut progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Self> {
        let file = loader::read_headers(&sources, &mut progress).await?;
        loader::report(&mut progress, LoadPhase::Tokenizer, 0, 1)?;
        let tokenizer = Tokenizer::from_gguf(&file.metadata, options.pre_tokenizer.as_deref())?;
        let template = chat_prompt::template(&file, &tokenizer, options.chat_template.as_deref())?;
        loader::report(&mut progress, LoadPhase::Tokenizer, 1, 1)?;
        let mut engine = Self {
            info: describe(&file)?,
            tokenizer,
            template,
            weights: None,
            sessions: Vec::new(),
        };
        if options.vocab_only {
            return Ok(engine);
        }
        #[cfg(not(target_family = "wasm"))]
        crate::backend::cpu::pool::spawn(options.threads.unwrap_or(1));
        let n_ctx = options.context_length.unwrap_or(DEFAULT_CONTEXT);
        let config = ModelConfig::from_gguf(&file, Some(n_ctx))?;
        let mut backend = open_backend(&config, &file, options).await?;
        loader::load_weights(&sources, &file, &mut backend, &mut progress).await?;
        engine.info.context_length = config.n_ctx;
        engine.info.backend = backend.name().to_owned();
        engine.info.threads = crate::backend::cpu::pool::threads();
        engine.info.memory_bytes = backend.weight_bytes();
        engine.weights = Some(Weights { config, backend });
        Ok(engine)
    }

    /// Facts about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Logits after the last of `tokens`, computed from an empty cache.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for no tokens or one outside the vocabulary, [`Error::ContextFull`].
    pub async fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::InvalidRequest("no tokens given".into()));
        }
        self.check_gives_text()?;
        let mut session = self.new_session()?;
        session
            .prefill(self.backend()?, tokens, LogitRows::Last)
            .await?;
        Ok(self.backend()?.logits().to_vec())
    }

    /// Logits after each of `tokens`, `[tokens, n_vocab]`.
    ///
    /// # Errors
    /// As [`Engine::logits`].
    pub async fn logits_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check_gives_text()?;
        let mut session = self.new_session()?;
        let mut all = Vec::new();
        for chunk in tokens.chunks(self.backend()?.max_chunk()) {
            session
                .prefill(self.backend()?, chunk, LogitRows::All)
                .await?;
            all.extend_from_slice(self.backend()?.logits());
        }
        Ok(all)
    }

    /// A session with an empty cache.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when only the vocabulary was loaded.
    pub fn new_session(&self) -> Result<Session> {
        let weights = self.weights.as_ref().ok_or_else(no_weights)?;
        Ok(Session::new(
            weights.backend.new_cache(weights.config.n_ctx),
        ))
    }

    /// The backend.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when only the vocabulary was loaded.
    pub fn backend(&mut self) -> Result<&mut Backend> {
        self.weights
            .as_mut()
            .map(|weights| &mut weights.backend)
            .ok_or_else(no_weights)
    }

    /// Takes the remembered session that shares the longest beginning with `tokens`, cut to that beginning, or a new
    /// one when none shares much.
    fn check_out(&mut self, tokens: &[u32]) -> Result<Session> {
        let best = (0..self.sessions.len()).max_by_key(|i| self.sessions[*i].common_prefix(tokens));
        let shared = best.map_or(0, |i| self.sessions[i].common_prefix(tokens));
        let mut session = match best {
            Some(best) if shared * 2 >= tokens.len() || shared > 64 => self.sessions.remove(best),
            _ if self.sessions.len() < MAX_SESSIONS => self.new_session()?,
            _ => self.sessions.remove(0),
        };
        // The last token is always run again: its logits are what the generation starts from.
        let keep = session
            .common_prefix(tokens)
            .min(tokens.len().saturating_sub(1));
        session.truncate(keep);
        Ok(session)
    }

    /// Remembers a session for its prefix.
    pub fn check_in(&mut self, session: Session) {
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    fn n_ctx(&self) -> Result<usize> {
        self.weights
            .as_ref()
            .map(|weights| weights.config.n_ctx)
            .ok_or_else(no_weights)
    }
}

fn no_weights() -> Error {
    Error::InvalidRequest("only the vocabulary of this model was loaded".into())
}

/// The chosen backend, without weights yet.
async fn open_backend(
    config: &ModelConfig,
    file: &GgufFile,
    options: &LoadOptions,
) -> Result<Backend> {
    let plan = model::build(config, file)?;
    #[cfg(feature = "webgpu")]
    if options.backend == BackendChoice::Gpu {
        let dtype = |spec: &model::WeightSpec| {
            file.tensor(&spec.tensor)
                .map(|t| t.dtype)
                .ok_or_else(|| Error::MissingTensor(spec.tensor.clone()))
        };
        let dtypes = plan.weights.iter().map(dtype).collect::<Result<_>>()?;
        let kv_type = if options.kv_type == Some(KvChoice::F32) {
            KvType::F32
        } else {
            KvType::F16
        };
        let gpu_options = crate::backend::GpuOptions {
            kv_type,
            ..options.gpu
        };
        let gpu = crate::backend::GpuBackend::new(plan, dtypes, config.n_ctx, gpu_options).await?;
        return Ok(Backend::Gpu(Box::new(gpu)));
    }
    Ok(Backend::Cpu(CpuBackend::new(plan, cpu_options(options))))
}

fn cpu_options(options: &LoadOptions) -> CpuOptions {
    let precision = match options.backend {
        BackendChoice::Cpu => Precision::Fast,
        BackendChoice::Reference => Precision::Exact,
        #[cfg(feature = "webgpu")]
        BackendChoice::Gpu => Precision::Fast,
    };
    let kv_type = match (options.kv_type, precision) {
        (Some(KvChoice::F16), _) | (None, Precision::Fast) => KvType::F16,
        (Some(KvChoice::F32), _) | (None, Precision::Exact) => KvType::F32,
    };
    CpuOptions { precision, kv_type }
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
        threads: 1,
        has_chat_template: meta.get("tokenizer.chat_template").is_some(),
        memory_bytes: 0,
        architecture,
    })
}
