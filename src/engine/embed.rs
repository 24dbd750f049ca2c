//! Embeddings and reranking scores.

use super::Engine;
use crate::backend::{LogitRows, pool};
use crate::model::Pooling;
use crate::{Error, Result};

impl Engine {
    /// Whether the model gives embeddings or scores rather than text.
    pub fn is_embedding_model(&self) -> bool {
        self.weights
            .as_ref()
            .is_some_and(|weights| weights.backend.plan().pooled)
    }

    /// Embedding of a text, pooled as the file says and not normalised; for a reranker, its scores. `tokens` have the
    /// special tokens that the model wants, as the tokenizer adds them.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for no tokens, one outside the vocabulary, or a model that gives text;
    /// [`Error::ContextFull`].
    pub async fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.run_whole(tokens, LogitRows::Last).await
    }

    /// Embedding of a text, pooled in another way than the file says. What follows pooling in the model is applied to
    /// each token before.
    ///
    /// # Errors
    /// As [`Engine::embed`].
    pub async fn embed_with(&mut self, tokens: &[u32], pooling: Pooling) -> Result<Vec<f32>> {
        let rows = self.embed_tokens(tokens).await?;
        let mut out = vec![0.0; rows.len() / tokens.len()];
        pool(&rows, pooling, &mut out);
        Ok(out)
    }

    /// A vector for each token, `[tokens, width]`.
    ///
    /// # Errors
    /// As [`Engine::embed`].
    pub async fn embed_tokens(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.run_whole(tokens, LogitRows::All).await
    }

    async fn run_whole(&mut self, tokens: &[u32], rows: LogitRows) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::InvalidRequest("no tokens given".into()));
        }
        if !self.is_embedding_model() {
            return Err(Error::InvalidRequest(
                "this model gives text, not embeddings".into(),
            ));
        }
        let mut session = self.new_session()?;
        session.prefill(self.backend()?, tokens, rows).await?;
        Ok(self.backend()?.logits().to_vec())
    }

    /// First token of the decoder, in models where the text goes to an encoder.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when only the vocabulary was loaded.
    pub fn decoder_start(&mut self) -> Result<Option<u32>> {
        let plan = self.backend()?.plan();
        Ok((!plan.encoder.is_empty()).then(|| plan.decoder_start.unwrap_or(0)))
    }

    /// Refuses to make text with a model that gives embeddings.
    pub(super) fn check_gives_text(&self) -> Result<()> {
        if self.is_embedding_model() {
            return Err(Error::InvalidRequest(
                "this model gives embeddings, not text".into(),
            ));
        }
        Ok(())
    }
}
