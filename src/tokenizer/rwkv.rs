//! RWKV's tokenizer (`tokenizer.ggml.model` = `rwkv`): at each place the longest token that matches. Tokens are bytes, written
//! with escapes.

use std::ops::Range;

use super::vocab::Vocab;

/// The longest match.
pub(super) struct Rwkv {
    bytes: Vec<u8>,
    /// Where each token is in `bytes`, in the order of their bytes, and its id.
    sorted: Vec<(Range<u32>, u32)>,
    unknown: Option<u32>,
}

impl Rwkv {
    /// Takes the tokens' bytes.
    pub fn new(vocab: &Vocab, unknown: Option<u32>) -> Self {
        let (mut bytes, mut sorted) = (Vec::new(), Vec::with_capacity(vocab.len()));
        for (id, text) in vocab.iter() {
            let start = bytes.len() as u32;
            unescape(text, &mut bytes);
            if bytes.len() as u32 > start {
                sorted.push((start..bytes.len() as u32, id));
            }
        }
        let of = |range: &Range<u32>| &bytes[range.start as usize..range.end as usize];
        sorted.sort_by(|(a, _), (b, _)| of(a).cmp(of(b)));
        Self {
            bytes,
            sorted,
            unknown,
        }
    }

    /// Appends the tokens of a text without special tokens in it.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (id, length) = self
                .longest(rest)
                .map_or((self.unknown, 1), |(id, length)| (Some(id), length));
            out.extend(id);
            rest = &rest[length..];
        }
    }

    /// The longest token that `text` begins with, and its length. Narrows the sorted tokens down byte by byte.
    fn longest(&self, text: &[u8]) -> Option<(u32, usize)> {
        let mut left = self.sorted.as_slice();
        let mut found = None;
        for (at, byte) in text.iter().enumerate() {
            let of = |(range, _): &(Range<u32>, u32)| {
                let token = &self.bytes[range.start as usize..range.end as usize];
                token.get(at).copied()
            };
            let first = left.partition_point(|token| of(token) < Some(*byte));
            left = &left[first..];
            left = &left[..left.partition_point(|token| of(token) == Some(*byte))];
            let Some((range, id)) = left.first() else {
                break;
            };
            if range.len() == at + 1 {
                found = Some((*id, at + 1));
            }
        }
        found
    }
}

/// Appends what a token's text stands for: `\t`, `\n`, `\r`, `\xHH`, and any other character after a backslash itself.
pub(super) fn unescape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&kind, after)) = rest.split_first() else {
            return;
        };
        rest = after;
        out.push(match kind {
            b't' => b'\t',
            b'n' => b'\n',
            b'r' => b'\r',
            b'x' => {
                let digits = rest.get(..2).and_then(|d| std::str::from_utf8(d).ok());
                let Some(value) = digits.and_then(|d| u8::from_str_radix(d, 16).ok()) else {
                    continue;
                };
                rest = &rest[2..];
                value
            }
            other => other,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let mut bytes = Vec::new();
        unescape(r"a\n\t\\\x00\xff\'", &mut bytes);
        assert_eq!(bytes, b"a\n\t\\\x00\xff'");
    }
}
