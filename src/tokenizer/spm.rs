//! SentencePiece's byte-pair encoding (`tokenizer.ggml.model` = `llama`): no pre-tokenizer, spaces are `▁`, and of all
//! neighbours whose union is a token the one with the best score is joined first, the leftmost of equals.
//!
//! This is the algorithm of sentencepiece's `bpe_model.cc`. The `tokenizers` crate can imitate it with a merge list made
//! from the scores, but for 262 144 tokens that list costs a second and over 100 MB while loading, and equal scores
//! come out otherwise.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::vocab::{TokenKind, Vocab};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

const SPACE: &str = "▁";

/// SentencePiece's byte-pair encoding.
pub(super) struct Spm {
    scores: Vec<f32>,
    add_space_prefix: bool,
    remove_extra_spaces: bool,
    unknown: Option<u32>,
}

/// A piece of the text, linked to its neighbours.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    /// 0 once it was joined to its left neighbour.
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could be joined.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Length of both when the pair was found; another length now means that it is out of date.
    length: usize,
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        // Zero and minus zero are equal scores.
        (self.score + 0.0)
            .total_cmp(&(other.score + 0.0))
            .then(other.left.cmp(&self.left))
    }
}

impl Spm {
    /// Reads scores and space rules.
    pub fn from_gguf(metadata: &Metadata, vocab: &Vocab, unknown: Option<u32>) -> Result<Self> {
        let scores = metadata.f32_array("tokenizer.ggml.scores")?.into_owned();
        if scores.len() < vocab.len() {
            return Err(Error::BadTokenizer(
                "tokenizer.ggml.scores is shorter than the vocabulary".into(),
            ));
        }
        let flag = |key, default| Ok::<_, Error>(metadata.opt_bool(key)?.unwrap_or(default));
        Ok(Self {
            scores,
            add_space_prefix: flag("tokenizer.ggml.add_space_prefix", true)?,
            remove_extra_spaces: flag("tokenizer.ggml.remove_extra_whitespaces", false)?,
            unknown,
        })
    }

    /// Whether text gets a space in front.
    pub fn adds_space(&self) -> bool {
        self.add_space_prefix
    }

    /// Appends the tokens of a text without special tokens in it.
    pub fn encode(&self, vocab: &Vocab, text: &str, at_start: bool, out: &mut Vec<u32>) {
        let text = escape(
            text,
            self.add_space_prefix && at_start,
            self.remove_extra_spaces,
        );
        let mut symbols = characters(&text);
        let mut queue = BinaryHeap::new();
        for left in 0..symbols.len().saturating_sub(1) {
            self.offer(vocab, &text, &symbols, left, left + 1, &mut queue);
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            if left.length == 0 || right.length == 0 || left.length + right.length != pair.length {
                continue;
            }
            symbols[pair.left].length = pair.length;
            symbols[pair.left].next = right.next;
            symbols[pair.right].length = 0;
            if let Some(next) = right.next {
                symbols[next].previous = Some(pair.left);
                self.offer(vocab, &text, &symbols, pair.left, next, &mut queue);
            }
            if let Some(previous) = left.previous {
                self.offer(vocab, &text, &symbols, previous, pair.left, &mut queue);
            }
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            self.emit(
                vocab,
                &text[symbol.start..symbol.start + symbol.length],
                out,
            );
        }
    }

    fn offer(
        &self,
        vocab: &Vocab,
        text: &str,
        symbols: &[Symbol],
        left: usize,
        right: usize,
        queue: &mut BinaryHeap<Pair>,
    ) {
        let start = symbols[left].start;
        let length = symbols[left].length + symbols[right].length;
        let Some(id) = vocab.id(&text[start..start + length]) else {
            return;
        };
        if vocab.kind(id) != TokenKind::Control {
            queue.push(Pair {
                score: self.scores[id as usize],
                left,
                right,
                length,
            });
        }
    }

    /// A symbol that is no token becomes its bytes.
    fn emit(&self, vocab: &Vocab, symbol: &str, out: &mut Vec<u32>) {
        match vocab
            .id(symbol)
            .filter(|&id| vocab.kind(id) != TokenKind::Control)
        {
            Some(id) => out.push(id),
            None => match symbol
                .bytes()
                .map(|byte| vocab.byte_id(byte))
                .collect::<Option<Vec<u32>>>()
            {
                Some(bytes) => out.extend(bytes),
                None => out.extend(self.unknown),
            },
        }
    }
}

fn characters(text: &str) -> Vec<Symbol> {
    let count = text.chars().count();
    let starts = text.char_indices().enumerate();
    let symbol = |(i, (start, c)): (usize, (usize, char))| Symbol {
        start,
        length: c.len_utf8(),
        previous: i.checked_sub(1),
        next: (i + 1 < count).then_some(i + 1),
    };
    starts.map(symbol).collect()
}

/// Writes spaces as `▁`, with one in front and without repeated ones where the model wants that.
pub(super) fn escape(text: &str, prefix: bool, remove_extra: bool) -> String {
    let text = if remove_extra {
        text.trim_matches(' ')
    } else {
        text
    };
    let mut out = String::with_capacity(text.len() + 16);
    if prefix && !text.is_empty() {
        out.push_str(SPACE);
    }
    let mut space_before = false;
    for c in text.chars() {
        if c != ' ' {
            out.push(c);
        } else if !(remove_extra && space_before) {
            out.push_str(SPACE);
        }
        space_before = c == ' ';
    }
    out
}

/// The bytes of a token's text, `▁` being a space.
pub(super) fn unescape(text: &str) -> Cow<'_, [u8]> {
    if text.contains(SPACE) {
        Cow::Owned(text.replace(SPACE, " ").into_bytes())
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_rules() {
        assert_eq!(escape(" a  b", true, false), "▁▁a▁▁b");
        assert_eq!(escape(" a  b", false, false), "▁a▁▁b");
        assert_eq!(escape("  a   b ", true, true), "▁a▁b");
        assert_eq!(escape("   ", true, true), "");
        assert_eq!(&*unescape("▁a▁"), b" a ");
    }
}
