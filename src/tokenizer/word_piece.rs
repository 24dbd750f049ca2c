//! WordPiece as BERT uses it (`tokenizer.ggml.model` = `bert`): text is cleaned, cut into words and punctuation marks,
//! and each word into the longest tokens. Cleaning follows Hugging Face's `BertNormalizer` and `BertPreTokenizer`, but
//! without their offset bookkeeping and decomposition tables (60 kB of download); the longest match is the `tokenizers`
//! crate's.
//!
//! GGUF files write a token that begins a word as `▁word` and one that continues it as `ing`; WordPiece wants `word`
//! and `##ing`.

use std::collections::HashMap;

use tokenizers::Model;
use tokenizers::models::wordpiece::WordPiece as WordPieceModel;
use unicode_general_category::{GeneralCategory, get_general_category};

use super::vocab::{TokenKind, Vocab};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Characters that lose something when their accents are stripped, one a line, each followed by what stays: canonical
/// decomposition (Unicode 14) without nonspacing marks. Hangul is computed.
const UNACCENTED: &str = include_str!("unaccented.txt");

/// BERT's tokenizer.
pub(super) struct WordPiece {
    model: WordPieceModel,
    lowercase: bool,
    /// Empty if accents stay.
    unaccented: HashMap<char, &'static str>,
    strip_accents: bool,
}

impl WordPiece {
    /// Turns the vocabulary back into WordPiece's spelling.
    pub fn from_gguf(metadata: &Metadata, vocab: &Vocab, unknown: Option<u32>) -> Result<Self> {
        let mut tokens = tokenizers::models::bpe::Vocab::default();
        for (id, text) in vocab.iter() {
            let text = match (vocab.kind(id), text.strip_prefix('▁')) {
                (TokenKind::Control, _) => continue,
                (TokenKind::Unknown, _) => text.to_string(),
                (_, Some(word)) => word.to_string(),
                (_, None) => format!("##{text}"),
            };
            tokens.entry(text).or_insert(id);
        }
        let unknown = unknown.or_else(|| vocab.id("[UNK]"));
        let (Some(id), unknown) = (
            unknown,
            unknown.and_then(|id| vocab.text(id)).unwrap_or_default(),
        ) else {
            return Err(Error::BadTokenizer(
                "the vocabulary has no unknown token".into(),
            ));
        };
        tokens.insert(unknown.to_string(), id);
        let model = WordPieceModel::builder()
            .vocab(tokens)
            .unk_token(unknown.to_string());
        let model = model
            .build()
            .map_err(|error| Error::BadTokenizer(error.to_string()))?;
        let lowercase = metadata
            .opt_bool("tokenizer.ggml.normalizer.lowercase")?
            .unwrap_or(true);
        let strip_accents = metadata
            .opt_bool("tokenizer.ggml.normalizer.strip_accents")?
            .unwrap_or(lowercase);
        let lines = UNACCENTED.lines().filter(|_| strip_accents);
        let unaccented = lines.filter_map(|line| {
            line.char_indices()
                .nth(1)
                .and_then(|(at, _)| Some((line.chars().next()?, &line[at..])))
        });
        Ok(Self {
            model,
            lowercase,
            unaccented: unaccented.collect(),
            strip_accents,
        })
    }

    /// Appends the tokens of a text without special tokens in it.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        for word in self.words(text) {
            let tokens = self
                .model
                .tokenize(&word)
                .map_err(|error| Error::BadTokenizer(error.to_string()))?;
            out.extend(tokens.into_iter().map(|token| token.id));
        }
        Ok(())
    }

    /// Cleaned words; punctuation marks and Chinese characters are words of their own.
    fn words(&self, text: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut clean = String::new();
        for c in text.chars().filter(|&c| !is_removed(c)) {
            let alone = is_chinese(c);
            clean.clear();
            self.clean(c, &mut clean);
            if alone {
                words.push(std::mem::take(&mut clean));
                words.push(String::new());
            }
            for c in clean.chars() {
                if c.is_whitespace() {
                    words.push(String::new());
                } else if is_punctuation(c) {
                    words.extend([c.to_string(), String::new()]);
                } else if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    /// Strips accents, then lowers.
    fn clean(&self, c: char, out: &mut String) {
        let start = out.len();
        match self.unaccented.get(&c) {
            _ if !self.strip_accents => out.push(c),
            Some(base) => out.push_str(base),
            None if get_general_category(c) == GeneralCategory::NonspacingMark => {}
            None => push_jamo(c, out),
        }
        if self.lowercase {
            let lower = out[start..]
                .chars()
                .flat_map(char::to_lowercase)
                .collect::<String>();
            out.replace_range(start.., &lower);
        }
    }
}

/// A Hangul syllable as its letters (Unicode standard, section 3.12); anything else as it is.
fn push_jamo(c: char, out: &mut String) {
    let Some(index) = (c as u32)
        .checked_sub(0xac00)
        .filter(|&index| index < 11_172)
    else {
        return out.push(c);
    };
    let trailing = index % 28;
    let letters = [
        0x1100 + index / 588,
        0x1161 + index % 588 / 28,
        0x11a7 + trailing,
    ];
    out.extend(
        letters
            .iter()
            .take(if trailing == 0 { 2 } else { 3 })
            .filter_map(|&code| char::from_u32(code)),
    );
}

fn is_removed(c: char) -> bool {
    use GeneralCategory::{Control, Format, PrivateUse};
    match c {
        '\t' | '\n' | '\r' => false,
        '\0' | '\u{fffd}' => true,
        _ => matches!(get_general_category(c), Control | Format | PrivateUse),
    }
}

fn is_punctuation(c: char) -> bool {
    use GeneralCategory as G;
    c.is_ascii_punctuation()
        || matches!(
            get_general_category(c),
            G::ConnectorPunctuation
                | G::DashPunctuation
                | G::OpenPunctuation
                | G::ClosePunctuation
                | G::InitialPunctuation
                | G::FinalPunctuation
                | G::OtherPunctuation
        )
}

/// The blocks of Chinese characters that Hugging Face lists (2B920 is theirs).
fn is_chinese(c: char) -> bool {
    matches!(
        c as u32,
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b73f
            | 0x2b740..=0x2b81f
            | 0x2b920..=0x2ceaf
            | 0xf900..=0xfaff
            | 0x2f800..=0x2fa1f
    )
}
