//! Tokenizer: text to token ids and back, built from the metadata of a GGUF file.
//!
//! ```text
//! text ─ added ─▶ special tokens and text between ─┬─ bpe         cut by pre_tokenizers, bytes as characters, merges
//!                                                  ├─ spm         spaces as ▁, best-scored neighbours first
//!                                                  ├─ unigram     likeliest cut
//!                                                  ├─ word_piece  words, longest match
//!                                                  └─ rwkv        longest match
//! ids ─ token_bytes ─▶ TokenStream ─▶ whole UTF-8
//! ```
//!
//! This is the only place that names the `tokenizers` crate. Answers are those of Hugging Face's tokenizers and of
//! sentencepiece, which the models were trained with; `docs/tokenizers.md` tells where llama.cpp's differ.

mod added;
mod bpe;
mod charsmap;
mod pair;
mod pattern;
mod pre_tokenizers;
mod rwkv;
mod special;
mod spm;
mod stream;
mod unigram;
mod vocab;
mod word_piece;

use std::borrow::Cow;

pub use stream::TokenStream;

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use added::{AddedTokens, Part};
use special::SpecialTokens;
use vocab::{TokenKind, Vocab};

/// Kinds of tokenizers, for messages.
const SUPPORTED: &str = "gpt2, llama, bert, t5, gemma4, rwkv";

/// Text to token ids and back.
pub struct Tokenizer {
    vocab: Vocab,
    model: Model,
    added: AddedTokens,
    special: SpecialTokens,
}

enum Model {
    Bpe(bpe::Bpe),
    Spm(spm::Spm),
    Unigram(unigram::Unigram),
    WordPiece(word_piece::WordPiece),
    Rwkv(rwkv::Rwkv),
}

impl Tokenizer {
    /// Builds the tokenizer of a file. `pre_override` takes the place of `tokenizer.ggml.pre`.
    pub fn from_gguf(metadata: &Metadata, pre_override: Option<&str>) -> Result<Self> {
        let kind = metadata.str("tokenizer.ggml.model")?;
        let mut vocab = Vocab::from_gguf(metadata)?;
        let mut special = SpecialTokens::from_gguf(metadata, &mut vocab)?;
        let unknown = special.unknown;
        let model = match kind {
            "gpt2" | "gemma4" => {
                let name = pre_override
                    .unwrap_or_else(|| special::pre_tokenizer_name(metadata, &vocab, kind));
                let pre = pre_tokenizers::find(name)?;
                special.add_bos = special.add_bos.or(Some(pre.add_bos));
                if name == "gemma4" {
                    // Published files say no and answer badly without it.
                    special.add_bos = Some(true);
                }
                let raw = matches!(name, "gemma4" | "granite-embed-multi-311m");
                Model::Bpe(bpe::Bpe::from_gguf(metadata, &vocab, pre, raw)?)
            }
            "llama" => {
                special.add_bos = special.add_bos.or(Some(true));
                Model::Spm(spm::Spm::from_gguf(metadata, &vocab, unknown)?)
            }
            "t5" => {
                special.add_eos = special.add_eos.or(Some(true));
                Model::Unigram(unigram::Unigram::from_gguf(metadata, &vocab, unknown)?)
            }
            "bert" => {
                special.add_bos = special.add_bos.or(Some(true));
                special.add_eos = special.add_eos.or(Some(true));
                Model::WordPiece(word_piece::WordPiece::from_gguf(metadata, &vocab, unknown)?)
            }
            "rwkv" => Model::Rwkv(rwkv::Rwkv::new(&vocab, unknown)),
            other => {
                return Err(unsupported(other));
            }
        };
        let added = AddedTokens::new(&vocab, special::strips_after_tokens(metadata)?);
        Ok(Self {
            vocab,
            model,
            added,
            special,
        })
    }

    /// Whether the metadata name a tokenizer that is known; reads no vocabulary.
    pub fn check(metadata: &Metadata, pre_override: Option<&str>) -> Result<()> {
        let kind = metadata.str("tokenizer.ggml.model")?;
        if !SUPPORTED.split(", ").any(|known| known == kind) {
            return Err(unsupported(kind));
        }
        let named = metadata.opt_str("tokenizer.ggml.pre")?;
        let name = pre_override.or(named.filter(|name| !name.is_empty()));
        match name {
            Some(name) if kind == "gpt2" => pre_tokenizers::find(name).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Token ids of a text. `add_special` adds what the model wants at the beginning and end; `parse_special`
    /// recognises control tokens written in the text (user-defined tokens always are).
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        if add_special && self.special.add_bos == Some(true) {
            ids.extend(self.special.bos);
        }
        let mut after_special = true;
        for part in self.added.split(&self.vocab, text, parse_special) {
            match (part, &self.model) {
                (Part::Token(id), _) => ids.push(id),
                (Part::Text(text), Model::Bpe(bpe)) => bpe.encode(text, &mut ids)?,
                (Part::Text(text), Model::Spm(spm)) => {
                    spm.encode(&self.vocab, text, after_special, &mut ids)
                }
                (Part::Text(text), Model::Unigram(unigram)) => unigram.encode(text, &mut ids)?,
                (Part::Text(text), Model::Rwkv(rwkv)) => rwkv.encode(text, &mut ids),
                (Part::Text(text), Model::WordPiece(word_piece)) => {
                    word_piece.encode(text, &mut ids)?
                }
            }
            after_special = true;
        }
        if add_special && self.special.add_eos == Some(true) {
            ids.extend(self.special.end());
        }
        Ok(ids)
    }

    /// Text of token ids; invalid UTF-8 becomes U+FFFD. `skip_special` leaves control tokens out.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let shown = ids
            .iter()
            .filter(|&&id| !(skip_special && self.is_control(id)));
        let bytes: Vec<u8> = shown
            .filter_map(|&id| self.token_bytes(id))
            .flat_map(Cow::into_owned)
            .collect();
        let bytes = match bytes.strip_prefix(b" ") {
            Some(rest) if self.adds_space() => rest,
            _ => &bytes,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The bytes that a token stands for; a control token's are its name.
    pub fn token_bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let text = self.vocab.text(id)?;
        if let Some(byte) = self.vocab.byte(id) {
            return Some(Cow::Owned(vec![byte]));
        }
        Some(match (self.vocab.kind(id), &self.model) {
            (TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined, _) => {
                Cow::Borrowed(text.as_bytes())
            }
            (_, Model::Bpe(bpe)) => bpe.bytes(text),
            (_, Model::Rwkv(_)) => {
                let mut bytes = Vec::new();
                rwkv::unescape(text, &mut bytes);
                Cow::Owned(bytes)
            }
            _ => spm::unescape(text),
        })
    }

    /// The text of a token as the file has it.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocab.text(id)
    }

    /// The token with exactly this text.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.vocab.id(text)
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Whether generation ends with this token.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.special.ends.contains(&id)
    }

    /// Whether a token is structure and not text.
    pub fn is_control(&self, id: u32) -> bool {
        matches!(self.vocab.kind(id), TokenKind::Control | TokenKind::Unknown)
    }

    /// Beginning of a sequence.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// End of a sequence.
    pub fn eos(&self) -> Option<u32> {
        self.special.eos
    }

    /// Whether [`Tokenizer::encode`] adds the beginning-of-sequence token when asked for special tokens.
    pub fn adds_bos(&self) -> bool {
        self.special.add_bos == Some(true) && self.special.bos.is_some()
    }

    /// Whether text gets a space in front when encoded, which decoding takes away again.
    fn adds_space(&self) -> bool {
        match &self.model {
            Model::Bpe(_) | Model::Rwkv(_) => false,
            Model::Spm(spm) => spm.adds_space(),
            Model::Unigram(unigram) => unigram.adds_space(),
            Model::WordPiece(_) => true,
        }
    }
}

fn unsupported(kind: &str) -> Error {
    Error::UnsupportedTokenizer {
        name: kind.to_owned(),
        supported: SUPPORTED.to_owned(),
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("tokens", &self.vocab.len())
            .field("special", &self.special)
            .finish()
    }
}
