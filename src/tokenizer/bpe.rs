//! Byte-pair encoding after GPT-2: text is cut by the pre-tokenizer, its bytes are written as printable characters,
//! and pairs are merged by rank. The merging is the `tokenizers` crate's.

use std::borrow::Cow;

use tokenizers::Model;
use tokenizers::models::bpe::BPE;

use super::pattern::Pattern;
use super::pre_tokenizers::{PreTokenizer, cut};
use super::vocab::{TokenKind, Vocab};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Byte-pair encoding.
pub(super) struct Bpe {
    model: BPE,
    patterns: Vec<Pattern>,
    alphabet: Alphabet,
}

/// How text is written in the vocabulary.
enum Alphabet {
    /// Each byte is a character of GPT-2's table.
    Bytes(Box<[char; 256]>),
    /// As it is, but spaces are `▁`; what is missing falls back to byte tokens.
    Raw,
}

impl Bpe {
    /// Takes merges from `tokenizer.ggml.merges`.
    pub fn from_gguf(
        metadata: &Metadata,
        vocab: &Vocab,
        pre: &PreTokenizer,
        raw: bool,
    ) -> Result<Self> {
        let lines = metadata
            .opt_str_array("tokenizer.ggml.merges")?
            .unwrap_or_default();
        let tokens = vocab
            .iter()
            .filter(|&(id, _)| vocab.kind(id) != TokenKind::Control);
        let tokens: Vec<(String, u32)> = tokens
            .filter(|&(id, text)| vocab.id(text) == Some(id))
            .map(|(id, text)| (text.to_string(), id))
            .collect();
        let model = BPE::builder()
            .vocab_and_merges(
                tokens
                    .into_iter()
                    .collect::<tokenizers::models::bpe::Vocab>(),
                merges(lines, vocab)?,
            )
            .ignore_merges(pre.ignore_merges)
            .byte_fallback(raw)
            .build()
            .map_err(|error| Error::BadTokenizer(error.to_string()))?;
        let alphabet = if raw {
            Alphabet::Raw
        } else {
            Alphabet::Bytes(Box::new(byte_characters()))
        };
        Ok(Self {
            model,
            patterns: pre.patterns()?,
            alphabet,
        })
    }

    /// Appends the tokens of a text without special tokens in it.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let mut failed = None;
        let mut written = String::new();
        cut(&self.patterns, text, &mut |piece| {
            // Line ends are tokens as they stand, whatever their number; no merges lead there.
            let is_raw = matches!(self.alphabet, Alphabet::Raw);
            if let (true, Some(id)) = (
                is_raw && piece.starts_with('\n'),
                self.model.token_to_id(piece),
            ) {
                return out.push(id);
            }
            written.clear();
            match &self.alphabet {
                Alphabet::Bytes(characters) => {
                    written.extend(piece.bytes().map(|b| characters[b as usize]))
                }
                Alphabet::Raw => written.push_str(&piece.replace(' ', "▁")),
            }
            match self.model.tokenize(&written) {
                Ok(tokens) => out.extend(tokens.into_iter().map(|token| token.id)),
                Err(error) => failed = Some(Error::BadTokenizer(error.to_string())),
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// What a token's text stands for.
    pub fn bytes<'v>(&self, text: &'v str) -> Cow<'v, [u8]> {
        match &self.alphabet {
            Alphabet::Raw => super::spm::unescape(text),
            Alphabet::Bytes(_) => {
                let bytes: Option<Vec<u8>> = text.chars().map(character_byte).collect();
                // Tokens added later may be written plainly.
                bytes.map_or(Cow::Borrowed(text.as_bytes()), Cow::Owned)
            }
        }
    }
}

/// Lines of the form `left right`; a merge whose parts or result are not tokens can never apply.
fn merges(lines: &[String], vocab: &Vocab) -> Result<Vec<(String, String)>> {
    let mut merges = Vec::with_capacity(lines.len());
    let mut joined = String::new();
    for line in lines {
        // A token may begin with a space, hence the search after the first character.
        let first = line.chars().next().map_or(0, char::len_utf8);
        let Some(space) = line[first..].find(' ') else {
            return Err(Error::BadTokenizer(format!(
                "the merge `{line}` is not a pair"
            )));
        };
        let (left, right) = (&line[..first + space], &line[first + space + 1..]);
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if [left, right, &joined].into_iter().all(|text| {
            vocab
                .id(text)
                .is_some_and(|id| vocab.kind(id) != TokenKind::Control)
        }) {
            merges.push((left.to_string(), right.to_string()));
        }
    }
    Ok(merges)
}

/// GPT-2's table: printable Latin-1 bytes are themselves, the others follow from U+0100.
fn byte_characters() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let code = if is_printable(byte as u32) {
            byte as u32
        } else {
            next
        };
        next += u32::from(!is_printable(byte as u32));
        char::from_u32(code).unwrap_or_default()
    })
}

fn is_printable(byte: u32) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The inverse of [`byte_characters`].
fn character_byte(c: char) -> Option<u8> {
    let code = c as u32;
    match code {
        _ if is_printable(code) => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_table() {
        let table = byte_characters();
        assert_eq!(
            (
                table[b'a' as usize],
                table[b' ' as usize],
                table[b'\n' as usize]
            ),
            ('a', 'Ġ', 'Ċ')
        );
        for byte in 0..=255u8 {
            assert_eq!(character_byte(table[byte as usize]), Some(byte));
        }
        assert_eq!(
            (
                character_byte('\u{144}'),
                character_byte(' '),
                character_byte('日')
            ),
            (None, None, None)
        );
    }
}
