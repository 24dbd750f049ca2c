//! Embeddings: one vector for a text.

use serde::{Deserialize, Serialize};

use super::{Engine, ModelKind};
use crate::backend::{LogitRows, pool};
use crate::model::Pooling;
use crate::{Error, Result};

/// A text to embed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmbeddingRequest {
    /// The text. Special tokens are added as the model wants them, and recognised.
    pub text: Option<String>,
    /// The text as tokens, taken as they are.
    pub tokens: Option<Vec<u32>>,
    /// Keep only so many of the first values; for models trained so that these make an embedding of their own.
    pub dimensions: Option<usize>,
    /// Cut a text that is longer than the model reads, rather than refuse it.
    pub truncate: bool,
    /// How to make one vector of the tokens'; absent: as the file says.
    pub pooling: Option<PoolingChoice>,
    /// Leave the vector as long as the model makes it; from a reranker these are its scores.
    pub raw: bool,
}

/// Pooling in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolingChoice {
    /// The mean of all tokens.
    Mean,
    /// The first token.
    Cls,
    /// The last token.
    Last,
}

impl From<PoolingChoice> for Pooling {
    fn from(choice: PoolingChoice) -> Self {
        match choice {
            PoolingChoice::Mean => Self::Mean,
            PoolingChoice::Cls => Self::First,
            PoolingChoice::Last => Self::Last,
        }
    }
}

/// The vector of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Embedding {
    /// Of length one, unless it was asked for raw.
    pub embedding: Vec<f32>,
    /// Tokens that were read.
    pub tokens: usize,
}

impl Engine {
    /// Whether the model gives embeddings or scores rather than text.
    pub fn is_embedding_model(&self) -> bool {
        self.weights
            .as_ref()
            .is_some_and(|weights| weights.backend.plan().pooled)
    }

    /// Embedding of a text, pooled as the file says, cut to `dimensions`, of length one.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a model of another kind, a text without tokens, a token outside the vocabulary or
    /// more dimensions than there are; [`Error::TextTooLong`].
    pub async fn create_embedding(&mut self, request: &EmbeddingRequest) -> Result<Embedding> {
        if !(request.raw && self.is_embedding_model()) {
            self.check_gives(ModelKind::Embedding)?;
        }
        let mut tokens = match (&request.text, &request.tokens) {
            (Some(text), None) => self.embedding_tokens(text)?,
            (None, Some(tokens)) => tokens.clone(),
            _ => {
                return Err(Error::InvalidRequest(
                    "give either `text` or `tokens`".into(),
                ));
            }
        };
        self.fit(&mut tokens, request.truncate)?;
        let mut embedding = match request.pooling {
            Some(pooling) => self.embed_with(&tokens, pooling.into()).await?,
            None => self.embed(&tokens).await?,
        };
        if let Some(wanted) = request.dimensions {
            let width = embedding.len();
            if wanted == 0 || wanted > width {
                return Err(Error::InvalidRequest(format!(
                    "`dimensions` is {wanted}, but this model gives 1 to {width}"
                )));
            }
            embedding.truncate(wanted);
        }
        if !request.raw {
            normalise(&mut embedding);
        }
        Ok(Embedding {
            embedding,
            tokens: tokens.len(),
        })
    }

    fn embedding_tokens(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.tokenizer.encode(text, true, true)?;
        // The last token is all that such a model is asked for: it was trained with the end there.
        if self.reading.pools_last && self.tokenizer.end_is_unstated() {
            let end = self.tokenizer.eos();
            if tokens.last().copied() != end {
                tokens.extend(end);
            }
        }
        Ok(tokens)
    }

    /// Most tokens of a text that is read as a whole.
    pub(super) fn longest_text(&mut self) -> Result<usize> {
        let n_ctx = self.n_ctx()?;
        let positions = self.backend()?.plan().max_positions;
        Ok(positions.map_or(n_ctx, |positions| positions.min(n_ctx)))
    }

    /// Cuts a text to what the model reads, keeping the token at its end, or says that it is too long.
    fn fit(&mut self, tokens: &mut Vec<u32>, truncate: bool) -> Result<()> {
        let limit = self.longest_text()?;
        let needed = tokens.len();
        if needed <= limit {
            return Ok(());
        }
        if !truncate {
            return Err(Error::TextTooLong { needed, limit });
        }
        let ends = [self.tokenizer.added_end(), self.tokenizer.eos()];
        let end = tokens
            .last()
            .copied()
            .filter(|id| ends.contains(&Some(*id)));
        tokens.truncate(limit - usize::from(end.is_some()));
        tokens.extend(end);
        Ok(())
    }

    /// Embedding of a text, pooled as the file says and not normalised; for a reranker, its scores. `tokens` have the
    /// special tokens that the model wants, as the tokenizer adds them.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for no tokens, one outside the vocabulary, or a model that gives text;
    /// [`Error::ContextFull`].
    pub async fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.run_whole(tokens, LogitRows::Last, None).await
    }

    /// Scores of a pair of texts; `second` is where the second one begins, for models that tell the two apart.
    ///
    /// # Errors
    /// As [`Engine::embed`].
    pub async fn embed_pair(&mut self, tokens: &[u32], second: usize) -> Result<Vec<f32>> {
        self.run_whole(tokens, LogitRows::Last, Some(second)).await
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
        self.run_whole(tokens, LogitRows::All, None).await
    }

    async fn run_whole(
        &mut self,
        tokens: &[u32],
        rows: LogitRows,
        second: Option<usize>,
    ) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::InvalidRequest("no tokens given".into()));
        }
        if !self.is_embedding_model() {
            self.check_gives(ModelKind::Embedding)?;
        }
        self.surviving(async |engine| {
            let mut session = engine.new_session()?;
            let backend = engine.backend()?;
            backend.set_second_text(second);
            session.prefill(backend, tokens, rows).await?;
            Ok(backend.logits().to_vec())
        })
        .await
    }

    /// Refuses to make text with a model that gives embeddings or scores.
    pub(super) fn check_gives_text(&self) -> Result<()> {
        self.check_gives(ModelKind::Text)
    }
}

/// Makes the vector's length one; a vector of zeros stays.
fn normalise(values: &mut [f32]) {
    let square: f64 = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    if square > 0.0 {
        let factor = 1.0 / square.sqrt();
        for value in values {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
}
