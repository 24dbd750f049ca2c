//! Models with an encoder for the text and a decoder for the answer.

use super::Engine;
use crate::backend::LogitRows;
use crate::{Error, Result};

impl Engine {
    /// First token of the decoder, in models where the text goes to an encoder.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when only the vocabulary was loaded.
    pub fn decoder_start(&mut self) -> Result<Option<u32>> {
        let plan = self.backend()?.plan();
        Ok((!plan.encoder.is_empty()).then(|| plan.decoder_start.unwrap_or(0)))
    }

    /// Logits after the last of the decoder's `tokens`, with `source` read by the encoder.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a model without an encoder, for no tokens or one outside the vocabulary;
    /// [`Error::ContextFull`].
    pub async fn logits_with_source(&mut self, source: &[u32], tokens: &[u32]) -> Result<Vec<f32>> {
        self.surviving(async |engine| engine.logits_with_source_once(source, tokens).await)
            .await
    }

    pub(super) async fn logits_with_source_once(
        &mut self,
        source: &[u32],
        tokens: &[u32],
    ) -> Result<Vec<f32>> {
        self.check_gives_text()?;
        if source.is_empty() || tokens.is_empty() {
            return Err(Error::InvalidRequest("no tokens given".into()));
        }
        if self.decoder_start()?.is_none() {
            return Err(Error::InvalidRequest("this model has no encoder".into()));
        }
        let mut session = self.new_session()?;
        session.encode(self.backend()?, source).await?;
        session
            .prefill(self.backend()?, tokens, LogitRows::Last)
            .await?;
        Ok(self.backend()?.logits().to_vec())
    }
}
