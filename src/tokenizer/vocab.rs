//! The vocabulary of a GGUF file: texts, kinds and a lookup from text to id.
//! Up to 262 144 texts live in one buffer and the lookup is an open-addressed table of ids, so that a vocabulary
//! takes a few megabytes of the little memory a page has.

use crate::error::{Error, Result};
use crate::gguf::Metadata;

const EMPTY: u32 = u32::MAX;

/// `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Stands for what cannot be encoded.
    Unknown,
    /// Structure, such as the end of a turn; not text.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// A place kept free.
    Unused,
    /// A single byte, written `<0xNN>`.
    Byte,
}

impl TokenKind {
    fn from_ggml(kind: i64) -> Self {
        match kind {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// Texts and kinds of all tokens.
#[derive(Debug)]
pub(super) struct Vocab {
    texts: String,
    /// `ends[id]` is where the text of `id` ends in `texts`.
    ends: Vec<u32>,
    kinds: Vec<TokenKind>,
    slots: Vec<u32>,
}

impl Vocab {
    /// Reads `tokenizer.ggml.tokens` and `tokenizer.ggml.token_type`.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let tokens = metadata.str_array("tokenizer.ggml.tokens")?;
        let kinds = metadata
            .opt_int_array("tokenizer.ggml.token_type")?
            .unwrap_or_default();
        if tokens.is_empty() {
            return Err(Error::BadTokenizer("the vocabulary is empty".into()));
        }
        if !kinds.is_empty() && kinds.len() < tokens.len() {
            return Err(Error::BadTokenizer(
                "tokenizer.ggml.token_type is shorter than the vocabulary".into(),
            ));
        }
        let kinds = (0..tokens.len()).map(|id| {
            kinds
                .get(id)
                .map_or(TokenKind::Normal, |&k| TokenKind::from_ggml(k))
        });
        Self::new(tokens, kinds.collect())
    }

    fn new(tokens: &[String], kinds: Vec<TokenKind>) -> Result<Self> {
        let bytes: usize = tokens.iter().map(String::len).sum();
        if u32::try_from(bytes).is_err() || u32::try_from(tokens.len()).is_err() {
            return Err(Error::BadTokenizer("the vocabulary is too large".into()));
        }
        let mut vocab = Self {
            texts: String::with_capacity(bytes),
            ends: Vec::with_capacity(tokens.len()),
            kinds,
            slots: vec![EMPTY; (tokens.len() * 2).next_power_of_two()],
        };
        for (id, token) in tokens.iter().enumerate() {
            vocab.texts.push_str(token);
            vocab.ends.push(vocab.texts.len() as u32);
            // Of two equal texts the first keeps its place.
            let slot = vocab.slot(token);
            if vocab.slots[slot] == EMPTY {
                vocab.slots[slot] = id as u32;
            }
        }
        Ok(vocab)
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Text of a token as the file has it.
    pub fn text(&self, id: u32) -> Option<&str> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = if id == 0 {
            0
        } else {
            self.ends[id - 1] as usize
        };
        Some(&self.texts[start..end])
    }

    /// Token with exactly this text.
    pub fn id(&self, text: &str) -> Option<u32> {
        let id = self.slots[self.slot(text)];
        (id != EMPTY).then_some(id)
    }

    /// Token that stands for one byte.
    pub fn byte_id(&self, byte: u8) -> Option<u32> {
        self.id(&format!("<0x{byte:02X}>"))
    }

    /// The byte that a token stands for.
    pub fn byte(&self, id: u32) -> Option<u8> {
        let hex = self.text(id)?.strip_prefix("<0x")?.strip_suffix('>')?;
        (self.kind(id) == TokenKind::Byte && hex.len() == 2)
            .then(|| u8::from_str_radix(hex, 16).ok())?
    }

    /// What a token is; unknown ids are unused.
    pub fn kind(&self, id: u32) -> TokenKind {
        self.kinds
            .get(id as usize)
            .copied()
            .unwrap_or(TokenKind::Unused)
    }

    /// Corrects the kind of a token.
    pub fn set_kind(&mut self, id: u32, kind: TokenKind) {
        if let Some(place) = self.kinds.get_mut(id as usize) {
            *place = kind;
        }
    }

    /// Ids and texts in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        (0..self.len() as u32).filter_map(|id| Some((id, self.text(id)?)))
    }

    /// Where a text is, or where it would be put.
    fn slot(&self, text: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(text.as_bytes()) as usize & mask;
        while self.slots[slot] != EMPTY && self.text(self.slots[slot]) != Some(text) {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// FNV-1a, folded.
fn hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_holds() {
        let tokens: Vec<String> = (0..5000)
            .map(|i| format!("t{i}"))
            .chain(["".into(), "t7".into()])
            .collect();
        let vocab = Vocab::new(&tokens, vec![TokenKind::Normal; tokens.len()]).unwrap();
        for (id, text) in vocab.iter() {
            assert_eq!(
                vocab.id(text),
                Some(if id == 5001 { 7 } else { id }),
                "{text}"
            );
        }
        assert_eq!(
            (vocab.id("x"), vocab.text(5002), vocab.text(5001)),
            (None, None, Some("t7"))
        );
    }

    #[test]
    fn byte_tokens() {
        let tokens = ["<0x0A>".to_string(), "<0x0A>x".into(), "<0xé>".into()];
        let vocab = Vocab::new(&tokens, vec![TokenKind::Byte; 3]).unwrap();
        assert_eq!(
            (vocab.byte(0), vocab.byte(1), vocab.byte(2), vocab.byte(3)),
            (Some(10), None, None, None)
        );
        assert_eq!(vocab.byte_id(10), Some(0));
    }
}
