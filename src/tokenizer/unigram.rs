//! Unigram as T5 uses it (`tokenizer.ggml.model` = `t5`): of all ways to cut the text into tokens the likeliest.
//! Normalization is sentencepiece's (a table in the file, then its space rules), the search the `tokenizers` crate's.

use tokenizers::Model;
use tokenizers::models::unigram::Unigram as UnigramModel;

use super::charsmap::CharsMap;
use super::spm::escape;
use super::vocab::{TokenKind, Vocab};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// SentencePiece's unigram tokenizer.
pub(super) struct Unigram {
    model: UnigramModel,
    charsmap: Option<CharsMap>,
    add_space_prefix: bool,
    remove_extra_spaces: bool,
}

impl Unigram {
    /// Reads scores, the normalization table and space rules.
    pub fn from_gguf(metadata: &Metadata, vocab: &Vocab, unknown: Option<u32>) -> Result<Self> {
        let scores = metadata.f32_array("tokenizer.ggml.scores")?;
        if scores.len() < vocab.len() {
            return Err(Error::BadTokenizer(
                "tokenizer.ggml.scores is shorter than the vocabulary".into(),
            ));
        }
        // Special tokens are no text: give them one that cannot occur.
        let pieces =
            vocab
                .iter()
                .zip(scores.iter())
                .map(|((id, text), &score)| match vocab.kind(id) {
                    TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused => {
                        (text.to_string(), f64::from(score))
                    }
                    _ => (format!("\0{id}"), f64::from(score)),
                });
        let unknown = unknown.or_else(|| {
            vocab
                .iter()
                .map(|(id, _)| id)
                .find(|&id| vocab.kind(id) == TokenKind::Unknown)
        });
        let Some(unknown) = unknown else {
            return Err(Error::BadTokenizer(
                "the vocabulary has no unknown token".into(),
            ));
        };
        let model = UnigramModel::from(
            pieces.collect(),
            Some(unknown as usize),
            vocab.byte_id(0).is_some(),
        )
        .map_err(|error| Error::BadTokenizer(error.to_string()))?;
        let flag = |key, default| Ok::<_, Error>(metadata.opt_bool(key)?.unwrap_or(default));
        let table = metadata
            .opt_int_array("tokenizer.ggml.precompiled_charsmap")?
            .filter(|table| !table.is_empty());
        Ok(Self {
            model,
            charsmap: table
                .map(|table| CharsMap::new(&table.iter().map(|&b| b as u8).collect::<Vec<u8>>()))
                .transpose()?,
            add_space_prefix: flag("tokenizer.ggml.add_space_prefix", true)?,
            remove_extra_spaces: flag("tokenizer.ggml.remove_extra_whitespaces", true)?,
        })
    }

    /// Whether text gets a space in front.
    pub fn adds_space(&self) -> bool {
        self.add_space_prefix
    }

    /// Appends the tokens of a text without special tokens in it.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let normal = self.charsmap.as_ref().map(|map| map.normalize(text));
        let text = escape(
            normal.as_deref().unwrap_or(text),
            self.add_space_prefix,
            self.remove_extra_spaces,
        );
        let tokens = self
            .model
            .tokenize(&text)
            .map_err(|error| Error::BadTokenizer(error.to_string()))?;
        out.extend(tokens.into_iter().map(|token| token.id));
        Ok(())
    }
}
