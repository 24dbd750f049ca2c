//! One conversation's tokens and their cache.

use crate::Result;
use crate::backend::{Backend, KvCache, LogitRows, Run};

/// The tokens that a cache holds, so that the next prompt can reuse what it shares with them.
pub struct Session {
    tokens: Vec<u32>,
    cache: KvCache,
    /// Which of the engine's backends made the cache.
    backend: usize,
}

impl Session {
    pub(super) fn new(cache: KvCache, backend: usize) -> Self {
        Self {
            tokens: Vec::new(),
            cache,
            backend,
        }
    }

    /// Number of the backend that made the cache.
    pub(super) fn backend(&self) -> usize {
        self.backend
    }

    /// Tokens held.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Number of tokens at the beginning of `other` that are held already.
    pub fn common_prefix(&self, other: &[u32]) -> usize {
        self.tokens
            .iter()
            .zip(other)
            .take_while(|(a, b)| a == b)
            .count()
    }

    /// Forgets every token from `len` on. A model with recurrent states may have to forget more: what is left stands in
    /// [`Session::tokens`].
    pub fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
        self.tokens.truncate(self.cache.len());
    }

    /// Appends `tokens` in chunks; logits are left in the backend as `rows` says.
    ///
    /// # Errors
    /// Those of [`Backend::forward`]. What was appended before the error stays.
    pub async fn prefill(
        &mut self,
        backend: &mut Backend,
        tokens: &[u32],
        rows: LogitRows,
    ) -> Result<()> {
        let mut left = tokens;
        while !left.is_empty() {
            let (chunk, after) = left.split_at(backend.chunk(left.len()));
            let wanted = if after.is_empty() {
                rows
            } else {
                LogitRows::None
            };
            self.forward(backend, chunk, wanted).await?;
            left = after;
        }
        Ok(())
    }

    /// Reads the text that the decoder is to look at, and forgets every token of the decoder.
    ///
    /// # Errors
    /// Those of [`Backend::encode`].
    pub async fn encode(&mut self, backend: &mut Backend, tokens: &[u32]) -> Result<()> {
        self.tokens.clear();
        backend.encode(&mut self.cache, tokens).await
    }

    /// Appends one chunk.
    ///
    /// # Errors
    /// Those of [`Backend::forward`].
    pub async fn forward(
        &mut self,
        backend: &mut Backend,
        tokens: &[u32],
        rows: LogitRows,
    ) -> Result<()> {
        backend.forward(&mut self.cache, tokens, rows).await?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Appends `token` and gives the one that the backend chooses after it; see [`Backend::next_token`].
    ///
    /// # Errors
    /// Those of [`Backend::forward`].
    pub async fn next_token(
        &mut self,
        backend: &mut Backend,
        run: &mut Run,
        token: u32,
        wanted: usize,
    ) -> Result<u32> {
        let next = backend
            .next_token(&mut self.cache, run, token, wanted)
            .await?;
        self.tokens.push(token);
        Ok(next)
    }

    /// Forgets what the backend has run ahead of [`Session::tokens`].
    pub fn forget_ahead(&mut self) {
        self.truncate(self.tokens.len());
    }
}
