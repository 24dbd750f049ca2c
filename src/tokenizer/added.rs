//! Special tokens inside text: user-defined ones always, control tokens where asked for. As Hugging Face does, the
//! leftmost match wins, and of those that start at the same place the longest.

use std::collections::BTreeMap;

use super::vocab::{TokenKind, Vocab};

/// Finds special tokens.
#[derive(Debug)]
pub(super) struct AddedTokens {
    /// Lengths of the tokens that begin with a byte, longest first.
    lengths: BTreeMap<u8, Vec<usize>>,
    /// Whitespace after a control token belongs to it (Phi-3).
    strip_after: bool,
}

/// Control tokens to which it never does.
const NEVER_STRIPPING: [&str; 2] = ["<s>", "<|endoftext|>"];

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Ordinary text, not empty.
    Text(&'t str),
    /// A special token.
    Token(u32),
}

impl AddedTokens {
    /// Gathers the special tokens of a vocabulary.
    pub fn new(vocab: &Vocab, strip_after: bool) -> Self {
        let mut lengths: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for (id, text) in vocab.iter() {
            if let (true, Some(&first)) = (is_added(vocab.kind(id)), text.as_bytes().first()) {
                lengths.entry(first).or_default().push(text.len());
            }
        }
        for list in lengths.values_mut() {
            list.sort_unstable_by(|a, b| b.cmp(a));
            list.dedup();
        }
        Self {
            lengths,
            strip_after,
        }
    }

    /// Cuts a text at its special tokens.
    pub fn split<'t>(&self, vocab: &Vocab, text: &'t str, parse_special: bool) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let mut gap = 0;
        let mut at = 0;
        while at < text.len() {
            match self.token_at(vocab, text, at, parse_special) {
                Some((id, length)) => {
                    if gap < at {
                        parts.push(Part::Text(&text[gap..at]));
                    }
                    parts.push(Part::Token(id));
                    let token = &text[at..at + length];
                    at += length;
                    let strips =
                        vocab.kind(id) == TokenKind::Control && !NEVER_STRIPPING.contains(&token);
                    if self.strip_after && strips {
                        at = text.len() - text[at..].trim_start().len();
                    }
                    gap = at;
                }
                None => at += 1,
            }
        }
        if gap < text.len() {
            parts.push(Part::Text(&text[gap..]));
        }
        parts
    }

    fn token_at(
        &self,
        vocab: &Vocab,
        text: &str,
        at: usize,
        parse_special: bool,
    ) -> Option<(u32, usize)> {
        let lengths = self.lengths.get(text.as_bytes().get(at)?)?;
        lengths.iter().find_map(|&length| {
            let id = vocab.id(text.get(at..at + length)?)?;
            let kind = vocab.kind(id);
            (is_added(kind) && (parse_special || kind == TokenKind::UserDefined))
                .then_some((id, length))
        })
    }
}

fn is_added(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined
    )
}
