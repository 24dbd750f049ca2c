//! What a model is for, and what to call when it is for something else.

use serde::Serialize;

use super::Engine;
use crate::gguf::Metadata;
use crate::model::Architecture;
use crate::{Error, Result};

/// What a model gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Text.
    Text,
    /// A vector for a text.
    Embedding,
    /// A score for a document, given a query.
    Rerank,
}

/// `pooling_type` of a model with a classifier.
const RANK: u64 = 4;

/// GGUF key of a prompt that makes a reranker of a causal model; `{query}` and `{document}` stand for the texts.
pub(super) const RANK_PROMPT: &str = "tokenizer.chat_template.rerank";

impl ModelKind {
    /// As the metadata say.
    pub(super) fn of(meta: &Metadata, architecture: &str) -> Self {
        let encoder = Architecture::by_name(architecture).is_ok_and(|arch| arch.encoder);
        let pooling = meta.opt_u64(&format!("{architecture}.pooling_type"));
        match pooling.ok().flatten() {
            Some(RANK) => Self::Rerank,
            None | Some(0) if !encoder => {
                if ranks_by_words(meta, architecture) {
                    Self::Rerank
                } else {
                    Self::Text
                }
            }
            _ => Self::Embedding,
        }
    }
}

/// Whether a causal model was trained to say how relevant a document is: early files of Qwen 3 Reranker show it by
/// their prompt or their name only.
fn ranks_by_words(meta: &Metadata, architecture: &str) -> bool {
    let named = || {
        let name = meta.opt_str("general.name").ok().flatten();
        name.is_some_and(|name| name.to_lowercase().contains("rerank"))
    };
    architecture == "qwen3" && (meta.get(RANK_PROMPT).is_some() || named())
}

impl Engine {
    /// Refuses to ask a model for what it does not give.
    pub(super) fn check_gives(&self, wanted: ModelKind) -> Result<()> {
        let call = match (self.info.kind, wanted) {
            (has, wanted) if has == wanted => return Ok(()),
            // It is a text model all the same.
            (ModelKind::Rerank, ModelKind::Text) if !self.is_embedding_model() => return Ok(()),
            (ModelKind::Text, _) => {
                "gives text: call `engine.chat.completions.create` or `engine.complete`"
            }
            (ModelKind::Embedding, _) => "gives embeddings: call `engine.embeddings.create`",
            (ModelKind::Rerank, _) => "scores documents against a query: call `engine.rerank`",
        };
        Err(Error::InvalidRequest(format!("this model {call}")))
    }
}
