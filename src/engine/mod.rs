//! The engine: a loaded model, its backend, and the conversations it remembers.

mod chat_prompt;
mod embed;
mod encoder_decoder;
mod generate;
mod header;
mod info;
mod kind;
mod loader;
mod options;
mod origin;
mod rank;
mod recovery;
mod session;

use crate::backend::{Backend, LogitRows};
use crate::chat::ChatTemplate;
use crate::model::ModelConfig;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use web_time::Instant;

pub use chat_prompt::{ChatRequest, Overflow};
pub use embed::{Embedding, EmbeddingRequest, PoolingChoice};
pub use generate::{CompletionRequest, FinishReason, Generation, GenerationEvent, Timings, Usage};
pub use header::Header;
pub use info::{GpuInfo, ModelInfo, check_header, describe};
pub use kind::ModelKind;
pub use loader::{LoadPhase, LoadProgress, MemorySource, Progress, WeightSource, read_header};
pub use options::{BackendChoice, KvChoice, LoadOptions};
pub use rank::{Rank, RankRequest};
pub use session::Session;

use loader::Source;
use origin::Origin;

/// Context length when the caller names none: enough for a chat, little enough memory for a phone.
const DEFAULT_CONTEXT: usize = 4096;

/// Conversations whose cache is kept at the same time.
const MAX_SESSIONS: usize = 2;

/// Where the weights are, once loaded.
struct Weights {
    n_ctx: usize,
    backend: Backend,
    /// Kept where the weights may have to be loaded again.
    origin: Option<Origin>,
}

/// A loaded model.
pub struct Engine {
    info: ModelInfo,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// How texts are put to a model that embeds or ranks them.
    reading: rank::Reading,
    /// Absent when only the vocabulary was loaded.
    weights: Option<Weights>,
    /// Idle sessions, the most recently used last.
    sessions: Vec<Session>,
    /// How many backends there were before this one.
    backends: usize,
    /// Is told how far the replacement of a lost one has come.
    on_recovery: Box<Progress<'static>>,
    /// When a GPU was last lost.
    lost_at: Option<Instant>,
}

impl Engine {
    /// Loads a model from its shards (one source for an ordinary file).
    ///
    /// `progress` is called at least every few megabytes and returns whether to go on.
    ///
    /// # Errors
    /// Everything that can be wrong with a file, [`Error::Cancelled`], [`Error::OutOfMemory`], [`Error::Source`].
    pub async fn load<S: WeightSource + 'static>(
        sources: Vec<S>,
        options: &LoadOptions,
        mut progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Self> {
        let file = loader::read_headers(&sources, &mut progress).await?;
        Self::load_with(Header::new(file), sources, options, progress).await
    }

    /// As [`Engine::load`], with the header of these sources, which need not be read again then.
    ///
    /// # Errors
    /// As there.
    pub async fn load_with<S: WeightSource + 'static>(
        Header { file, ahead }: Header,
        sources: Vec<S>,
        options: &LoadOptions,
        mut progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Self> {
        let sources: Vec<Source> = sources.into_iter().map(Source::new).collect();
        loader::report(&mut progress, LoadPhase::Tokenizer, 0, 1)?;
        let tokenizer = Tokenizer::from_gguf(&file.metadata, options.pre_tokenizer.as_deref())?;
        let template = chat_prompt::template(&file, &tokenizer, options.chat_template.as_deref())?;
        loader::report(&mut progress, LoadPhase::Tokenizer, 1, 1)?;
        let mut engine = Self {
            info: describe(&file)?,
            tokenizer,
            template,
            reading: rank::Reading::default(),
            weights: None,
            sessions: Vec::new(),
            backends: 0,
            on_recovery: Box::new(|_| true),
            lost_at: None,
        };
        if options.vocab_only {
            return Ok(engine);
        }
        #[cfg(not(target_family = "wasm"))]
        crate::backend::cpu::pool::spawn(options.threads.unwrap_or(1));
        let n_ctx = options.context_length.unwrap_or(DEFAULT_CONTEXT);
        let config = ModelConfig::from_gguf(&file, Some(n_ctx))?;
        engine.reading = rank::Reading::new(&file.metadata, &config)?;
        let origin = Origin::new(sources, &file, &config, options)?;
        drop(file); // its vocabulary may be large
        let (backend, gpu) = origin.open(ahead, &mut progress).await?;
        engine.info.context_length = config.n_ctx;
        engine.info.threads = crate::backend::cpu::pool::threads();
        engine.info.gpu = gpu;
        engine.use_backend(backend, origin);
        Ok(engine)
    }

    /// Takes a backend into use, with what it was made of.
    fn use_backend(&mut self, backend: Backend, origin: Origin) {
        backend.name().clone_into(&mut self.info.backend);
        self.info.memory_bytes = backend.weight_bytes();
        self.weights = Some(Weights {
            n_ctx: origin.n_ctx(),
            origin: backend.can_be_lost().then_some(origin),
            backend,
        });
    }

    /// Facts about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Logits after the last of `tokens`, computed from an empty cache; in a model with an encoder these go to it, and the
    /// logits are for the answer's first token.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for no tokens or one outside the vocabulary, [`Error::ContextFull`].
    pub async fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.surviving(async |engine| engine.logits_once(tokens).await)
            .await
    }

    async fn logits_once(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::InvalidRequest("no tokens given".into()));
        }
        self.check_gives_text()?;
        if let Some(start) = self.decoder_start()? {
            return self.logits_with_source_once(tokens, &[start]).await;
        }
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
        self.surviving(async |engine| engine.logits_all_once(tokens).await)
            .await
    }

    async fn logits_all_once(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check_gives_text()?;
        let mut session = self.new_session()?;
        let mut all = Vec::new();
        let mut left = tokens;
        while !left.is_empty() {
            let backend = self.backend()?;
            let (chunk, after) = left.split_at(backend.chunk(left.len()));
            session.forward(backend, chunk, LogitRows::All).await?;
            all.extend_from_slice(backend.logits());
            left = after;
        }
        Ok(all)
    }

    /// A session with an empty cache.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when only the vocabulary was loaded.
    pub fn new_session(&self) -> Result<Session> {
        let weights = self.weights.as_ref().ok_or_else(no_weights)?;
        let cache = weights.backend.new_cache(weights.n_ctx);
        Ok(Session::new(cache, self.backends))
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
        if session.backend() != self.backends {
            return;
        }
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    fn n_ctx(&self) -> Result<usize> {
        self.weights
            .as_ref()
            .map(|weights| weights.n_ctx)
            .ok_or_else(no_weights)
    }
}

fn no_weights() -> Error {
    Error::InvalidRequest("only the vocabulary of this model was loaded".into())
}
