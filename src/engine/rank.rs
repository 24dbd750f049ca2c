//! Reranking: how well a document answers a query.

use serde::{Deserialize, Serialize};

use super::kind::RANK_PROMPT;
use super::{Engine, ModelKind};
use crate::gguf::Metadata;
use crate::model::{Mask, ModelConfig, Pooling};
use crate::{Error, Result};

/// A document to score.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RankRequest {
    /// What is looked for.
    pub query: String,
    /// What may answer it.
    pub document: String,
    /// Cut a document that is too long, rather than refuse it.
    pub truncate: bool,
}

/// The score of a document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rank {
    /// 0 (nothing to do with the query) to 1 (answers it).
    pub score: f32,
    /// Tokens that were read.
    pub tokens: usize,
}

/// How texts are put to a model that embeds or ranks them.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Prompt with `{query}` and `{document}`.
    prompt: Option<String>,
    /// Which of the classifier's outputs says yes.
    yes: usize,
    /// Whether no position sees a later one.
    causal: bool,
    /// Whether the last token's vector is the text's.
    pub(super) pools_last: bool,
}

/// The prompt of Qwen 3 Reranker, for files that do not bring it.
const QWEN3_PROMPT: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query \
    and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n\
    <Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n\
    <Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

impl Reading {
    pub(super) fn new(meta: &Metadata, config: &ModelConfig) -> Result<Self> {
        let key = format!("{}.classifier.output_labels", config.arch.name);
        let labels = meta.opt_str_array(&key)?;
        let yes = labels.and_then(|labels| labels.iter().position(|label| label == "yes"));
        Ok(Self {
            prompt: meta.opt_str(RANK_PROMPT)?.map(str::to_owned),
            yes: yes.unwrap_or(0),
            causal: config.mask == Mask::Causal,
            pools_last: config.pooling == Some(Pooling::Last),
        })
    }
}

/// Tokens of a query with a document, and where the document begins.
type Pair = (Vec<u32>, usize);

impl Engine {
    /// Scores a document against a query: a cross-encoder's score through a sigmoid, or the share of "yes" in what a
    /// causal model would answer.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a model of another kind; [`Error::TextTooLong`].
    pub async fn rank(&mut self, request: &RankRequest) -> Result<Rank> {
        self.check_gives(ModelKind::Rerank)?;
        let (tokens, second) = self.fitting_pair(request)?;
        let score = if self.is_embedding_model() {
            let scores = self.embed_pair(&tokens, second).await?;
            self.classified(&scores)?
        } else {
            let logits = self.logits(&tokens).await?;
            self.said_yes(&logits)?
        };
        Ok(Rank {
            score,
            tokens: tokens.len(),
        })
    }

    /// The pair, with a document that is cut where it may be.
    fn fitting_pair(&mut self, request: &RankRequest) -> Result<Pair> {
        let limit = self.longest_text()?;
        let mut document = request.document.clone();
        loop {
            let pair = self.pair(&request.query, &document)?;
            let needed = pair.0.len();
            if needed <= limit {
                return Ok(pair);
            }
            let mut ids = self.tokenizer.encode(&document, false, true)?;
            if !request.truncate || ids.is_empty() {
                return Err(Error::TextTooLong { needed, limit });
            }
            // Tokenized again, the rest may differ at its end: hence the loop.
            ids.truncate(ids.len().saturating_sub(needed - limit));
            let shorter = self.tokenizer.decode(&ids, false);
            document = if shorter.len() < document.len() {
                shorter
            } else {
                String::new()
            };
        }
    }

    fn pair(&self, query: &str, document: &str) -> Result<Pair> {
        let prompt = match &self.reading.prompt {
            Some(prompt) => Some(prompt.as_str()),
            None => self.reading.causal.then_some(QWEN3_PROMPT),
        };
        if let Some(prompt) = prompt {
            let text = filled(prompt, query, document);
            return Ok((self.tokenizer.encode(&text, false, true)?, usize::MAX));
        }
        let query = self.tokenizer.encode(query, false, true)?;
        let document = self.tokenizer.encode(document, false, true)?;
        Ok(self.tokenizer.join_pair(&query, &document))
    }

    /// One score of a classifier's outputs.
    fn classified(&self, scores: &[f32]) -> Result<f32> {
        match scores {
            [score] => Ok(1.0 / (1.0 + (-score).exp())),
            // The plan of a causal reranker ends with a softmax.
            [_, _] if self.reading.causal => Ok(scores[self.reading.yes.min(1)]),
            _ => Err(Error::InvalidRequest(format!(
                "this model sorts texts into {} classes; a reranker gives one score",
                scores.len()
            ))),
        }
    }

    /// Share of "yes" against "no".
    fn said_yes(&self, logits: &[f32]) -> Result<f32> {
        let logit = |word: &str| {
            let id = self.tokenizer.token_id(word);
            id.and_then(|id| logits.get(id as usize)).ok_or_else(|| {
                Error::InvalidRequest(format!(
                    "this model's vocabulary lacks `{word}`, so it cannot rank"
                ))
            })
        };
        Ok(1.0 / (1.0 + (logit("no")? - logit("yes")?).exp()))
    }
}

/// The prompt with both texts in it; a `{document}` within the query stays as it is.
fn filled(prompt: &str, query: &str, document: &str) -> String {
    let in_both = |part: &str| part.replace("{query}", query);
    prompt
        .split("{document}")
        .map(in_both)
        .collect::<Vec<_>>()
        .join(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_in_the_texts_stay() {
        assert_eq!(
            filled("q={query} d={document}.", "{document}", "{query}"),
            "q={document} d={query}."
        );
    }
}
