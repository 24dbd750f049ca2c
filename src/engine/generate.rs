//! Generation as a state machine: one step is one chunk of prefill or one token, so that the caller can cancel,
//! draw and answer messages between any two. A GPU may be further ahead; the session counts only what was reported.

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::{ChatRequest, Engine, Session};
use crate::backend::{LogitRows, Run};
use crate::sampling::{Sampler, SamplingParams, StopMatcher};
use crate::tokenizer::TokenStream;
use crate::{Error, Result};

/// A request to continue a text.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompletionRequest {
    /// The text. Special tokens are added as the file says, and recognised.
    pub prompt: Option<String>,
    /// The prompt as tokens, taken as they are.
    pub prompt_tokens: Option<Vec<u32>>,
    /// Run the whole prompt again rather than what is new (for measurements).
    pub ignore_cache: bool,
    /// How to choose tokens and when to stop.
    #[serde(flatten)]
    pub sampling: SamplingParams,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended its turn, or a stop string came.
    Stop,
    /// `maxTokens` or the context was reached.
    Length,
    /// The caller asked to stop.
    Cancelled,
}

/// Tokens counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Tokens of the prompt that were in the cache already.
    pub reused_tokens: usize,
}

/// Time taken.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// From the start to the first token, milliseconds.
    pub ttft_ms: f64,
    /// Prompt tokens that had to be run, per second.
    pub prefill_tps: f64,
    /// Tokens after the first one, per second.
    pub decode_tps: f64,
    /// Time in prefill, milliseconds.
    pub prefill_ms: f64,
    /// Time from the first token to the last, milliseconds.
    pub decode_ms: f64,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum GenerationEvent {
    /// A chunk of the prompt was run, or of prompt and answer again after a GPU was lost.
    Prefill {
        /// Tokens in the cache.
        done: usize,
        /// Tokens that will be there.
        total: usize,
        /// Of them, in the cache before.
        reused: usize,
        /// Messages left out to fit the context.
        dropped_messages: usize,
    },
    /// A token was chosen.
    Token {
        /// Its id.
        id: u32,
        /// Text that has become certain; may be empty.
        text: String,
    },
    /// The end.
    Done {
        /// Why.
        finish_reason: FinishReason,
        /// Text that was held back until now.
        text: String,
        /// Tokens counted.
        usage: Usage,
        /// Messages left out to fit the context.
        dropped_messages: usize,
        /// Time taken.
        timings: Timings,
        /// Tokens in the cache.
        context_used: usize,
    },
}

/// A running generation. Give its session back with [`Generation::into_session`] and [`Engine::check_in`].
pub struct Generation {
    session: Session,
    /// Text for the encoder, and whether it was read.
    source: Option<Vec<u32>>,
    encoded: bool,
    prompt: Vec<u32>,
    sampler: Sampler,
    stops: StopMatcher,
    stream: TokenStream,
    max_tokens: usize,
    ignore_eos: bool,
    /// Tokens that the backend chooses ahead, where it does.
    run: Option<Run>,
    /// Chosen but not yet reported.
    queued: Option<u32>,
    /// Reported but not yet in the cache.
    pending: Option<u32>,
    generated: usize,
    /// Prompt and answer, for the penalties.
    history: Vec<u32>,
    reused: usize,
    dropped_messages: usize,
    started: Instant,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    finished: Option<FinishReason>,
    cancelled: bool,
    stopped_by_text: bool,
}

impl Engine {
    /// Starts to answer a conversation.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], [`Error::Template`], [`Error::TemplateRaised`], [`Error::ContextFull`].
    pub fn start_chat(&mut self, request: &ChatRequest) -> Result<Generation> {
        let prompt = self.chat_prompt(request)?;
        self.forget_if(request.ignore_cache);
        let stream = TokenStream::new();
        self.start(
            prompt.tokens,
            &request.sampling,
            prompt.dropped_messages,
            stream,
        )
    }

    /// Starts to continue a text.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], [`Error::ContextFull`].
    pub fn start_completion(&mut self, request: &CompletionRequest) -> Result<Generation> {
        let tokens = match (&request.prompt, &request.prompt_tokens) {
            (Some(text), None) => self.tokenizer.encode(text, true, true)?,
            (None, Some(tokens)) => tokens.clone(),
            _ => {
                return Err(Error::InvalidRequest(
                    "give either `prompt` or `promptTokens`".into(),
                ));
            }
        };
        self.forget_if(request.ignore_cache);
        self.start(tokens, &request.sampling, 0, TokenStream::continuing())
    }

    fn forget_if(&mut self, wanted: bool) {
        if wanted {
            self.sessions.clear();
        }
    }

    fn start(
        &mut self,
        prompt: Vec<u32>,
        params: &SamplingParams,
        dropped_messages: usize,
        stream: TokenStream,
    ) -> Result<Generation> {
        let started = Instant::now();
        self.check_gives_text()?;
        params.validate(self.backend()?.plan().n_vocab)?;
        let n_ctx = self.n_ctx()?;
        if prompt.is_empty() {
            return Err(Error::InvalidRequest("the prompt has no tokens".into()));
        }
        if prompt.len() >= n_ctx {
            return Err(Error::ContextFull {
                needed: prompt.len() + 1,
                n_ctx,
            });
        }
        let (source, prompt) = match self.decoder_start()? {
            Some(start) => (Some(prompt), vec![start]),
            None => (None, prompt),
        };
        let session = if source.is_some() {
            self.new_session()?
        } else {
            self.check_out(&prompt)?
        };
        Ok(Generation {
            reused: session.tokens().len(),
            session,
            source,
            encoded: false,
            sampler: Sampler::new(params.clone()),
            stops: StopMatcher::new(params.stop.clone()),
            stream,
            max_tokens: params
                .max_tokens
                .unwrap_or(usize::MAX)
                .min(n_ctx - prompt.len()),
            ignore_eos: params.ignore_eos,
            run: None,
            queued: None,
            pending: None,
            generated: 0,
            history: prompt.clone(),
            prompt,
            dropped_messages,
            started,
            first_token: None,
            last_token: None,
            finished: None,
            cancelled: false,
            stopped_by_text: false,
        })
    }
}

impl Generation {
    /// Asks for the end; the next step reports it.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// The session, to be checked in.
    pub fn into_session(mut self) -> Session {
        self.session.forget_ahead();
        self.session
    }

    /// Runs one chunk of the prompt or makes one token. After [`GenerationEvent::Done`] it only repeats that. A GPU that is
    /// lost meanwhile is replaced, which takes a while; then the prompt is run again, with the answer so far.
    ///
    /// # Errors
    /// Those of [`Backend::forward`](crate::backend::Backend::forward).
    pub async fn step(&mut self, engine: &mut Engine) -> Result<GenerationEvent> {
        loop {
            match self.try_step(engine).await {
                Err(Error::GpuLost(reason)) => match engine.recover(reason).await {
                    Err(Error::Cancelled) => self.cancel(),
                    recovered => recovered?,
                },
                other => return other,
            }
        }
    }

    /// A step that can be tried again when the GPU is lost.
    async fn try_step(&mut self, engine: &mut Engine) -> Result<GenerationEvent> {
        if self.cancelled && self.finished.is_none() {
            return Ok(self.finish(FinishReason::Cancelled));
        }
        if let Some(reason) = self.finished {
            return Ok(self.finish(reason));
        }
        if self.session.backend() != engine.backends {
            self.session = engine.new_session()?;
            self.encoded = false;
        }
        if let Some(source) = self.source.as_ref().filter(|_| !self.encoded) {
            self.session.encode(engine.backend()?, source).await?;
            self.encoded = true;
        }
        if self.session.tokens().len() < self.known().len() {
            return self.prefill_step(engine).await;
        }
        if let Some(token) = self.pending {
            self.decode_step(engine, token).await?;
            self.pending = None;
        }
        let Some(token) = self.queued.take() else {
            return Err(Error::Internal("no token was chosen".into()));
        };
        Ok(self.report(engine, token))
    }

    /// What has to be in the cache before the next token: the prompt and, where a GPU was lost, the answer so far.
    fn known(&self) -> &[u32] {
        &self.history[..self.history.len() - usize::from(self.pending.is_some())]
    }

    /// Lets the backend choose tokens from the second one on, if it can.
    fn start_run(&mut self, engine: &mut Engine) -> Result<()> {
        let (params, seed) = (self.sampler.params(), self.sampler.seed());
        let first = self.prompt.len();
        self.run = engine.backend()?.start_run(params, seed, first);
        Ok(())
    }

    async fn prefill_step(&mut self, engine: &mut Engine) -> Result<GenerationEvent> {
        let backend = engine.backend()?;
        let from = self.session.tokens().len();
        let total = self.known().len();
        let to = from + backend.chunk(total - from);
        let last = to == total;
        // Not where a cache is filled again: the next token was chosen before.
        let chooses = last && self.pending.is_none() && self.queued.is_none();
        let rows = if chooses {
            LogitRows::Last
        } else {
            LogitRows::None
        };
        let chunk = &self.history[from..to];
        self.session.forward(backend, chunk, rows).await?;
        if chooses {
            self.choose(engine)?;
        }
        if last {
            self.start_run(engine)?;
        }
        Ok(GenerationEvent::Prefill {
            done: to,
            total,
            reused: self.reused,
            dropped_messages: self.dropped_messages,
        })
    }

    /// Runs the newest token and learns the next one.
    async fn decode_step(&mut self, engine: &mut Engine, token: u32) -> Result<()> {
        let backend = engine.backend()?;
        let Some(run) = &mut self.run else {
            let rows = LogitRows::Last;
            self.session.forward(backend, &[token], rows).await?;
            return self.choose(engine);
        };
        let wanted = self.max_tokens - self.generated;
        let next = self.session.next_token(backend, run, token, wanted).await?;
        self.sampler.skip();
        self.queued = Some(next);
        Ok(())
    }

    /// Samples from the logits at once, since another user of the engine may overwrite them.
    fn choose(&mut self, engine: &mut Engine) -> Result<()> {
        if self.max_tokens > 0 {
            self.queued = Some(
                self.sampler
                    .sample(engine.backend()?.logits(), &self.history),
            );
        } else {
            self.finished = Some(FinishReason::Length);
        }
        Ok(())
    }

    fn report(&mut self, engine: &Engine, token: u32) -> GenerationEvent {
        let now = Instant::now();
        self.first_token.get_or_insert(now);
        if engine.tokenizer.is_end_of_generation(token) && !self.ignore_eos {
            return self.finish(FinishReason::Stop);
        }
        self.last_token = Some(now);
        self.generated += 1;
        self.history.push(token);
        self.pending = Some(token);
        let text = self.stream.push(&engine.tokenizer, token);
        let outcome = self.stops.push(&text);
        if outcome.stopped {
            self.stopped_by_text = true;
            self.finished = Some(FinishReason::Stop);
        } else if self.generated >= self.max_tokens {
            self.finished = Some(FinishReason::Length);
        }
        GenerationEvent::Token {
            id: token,
            text: outcome.emit,
        }
    }

    fn finish(&mut self, reason: FinishReason) -> GenerationEvent {
        self.run = None;
        self.session.forget_ahead();
        // What was held back belongs to the answer unless a stop string swallowed it.
        let mut text = String::new();
        if !self.stopped_by_text {
            let outcome = self.stops.push(&self.stream.flush());
            text = outcome.emit;
            text.push_str(&self.stops.flush());
        }
        self.finished = Some(reason);
        GenerationEvent::Done {
            finish_reason: reason,
            text,
            usage: Usage {
                prompt_tokens: self.prompt.len(),
                completion_tokens: self.generated,
                reused_tokens: self.reused,
            },
            dropped_messages: self.dropped_messages,
            timings: self.timings(),
            context_used: self.session.tokens().len(),
        }
    }

    fn timings(&self) -> Timings {
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let per_second = |count: usize, ms: f64| {
            if ms > 0.0 {
                count as f64 / ms * 1e3
            } else {
                0.0
            }
        };
        let ttft_ms = self
            .first_token
            .map_or(0.0, |first| ms(self.started, first));
        let decode_ms = self
            .first_token
            .zip(self.last_token)
            .map_or(0.0, |(first, last)| ms(first, last));
        Timings {
            ttft_ms,
            prefill_tps: per_second(self.prompt.len() - self.reused, ttft_ms),
            decode_tps: per_second(self.generated.saturating_sub(1), decode_ms),
            prefill_ms: ttft_ms,
            decode_ms,
        }
    }
}
