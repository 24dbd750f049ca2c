//! SentencePiece's `precompiled_charsmap`: which strings are replaced by which before tokenizing.
//!
//! ```text
//! u32 size of the trie in bytes   trie: u32 units of a double array (darts-clone)   replacements, each ended by a 0
//! ```
//! Source: sentencepiece's `normalizer.cc` and darts-clone's `darts.h`.

use crate::error::{Error, Result};

/// A replacement table.
pub(super) struct CharsMap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl CharsMap {
    /// Reads the table as the file has it.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let broken = || Error::BadTokenizer("the normalization table is damaged".into());
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(broken)?;
        let (trie, replacements) = rest
            .split_at_checked(u32::from_le_bytes(*size) as usize)
            .ok_or_else(broken)?;
        let (units, []) = trie.as_chunks::<4>() else {
            return Err(broken());
        };
        let units = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Ok(Self {
            units,
            replacements: replacements.to_vec(),
        })
    }

    /// Replaces the longest match at each place.
    pub fn normalize(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match self
                .longest(&text.as_bytes()[at..])
                .filter(|&(length, _)| text.is_char_boundary(at + length))
            {
                Some((length, replacement)) => {
                    out.push_str(&String::from_utf8_lossy(replacement));
                    at += length;
                }
                None => {
                    let c = text[at..].chars().next().unwrap_or_default();
                    out.push(c);
                    at += c.len_utf8();
                }
            }
        }
        out
    }

    /// Length of the longest key that `text` starts with, and its replacement.
    fn longest(&self, text: &[u8]) -> Option<(usize, &[u8])> {
        let mut found = None;
        let mut node = self.offset(0)?;
        for (i, &byte) in text.iter().enumerate() {
            node ^= byte as usize;
            let (Some(&unit), Some(offset)) = (self.units.get(node), self.offset(node)) else {
                break;
            };
            if unit & 0x8000_00ff != u32::from(byte) {
                break;
            }
            node ^= offset;
            if unit >> 8 & 1 == 1 {
                let value = *self.units.get(node)? & 0x7fff_ffff;
                found = Some((i + 1, self.replacement(value as usize)?));
            }
        }
        found
    }

    fn offset(&self, node: usize) -> Option<usize> {
        let unit = *self.units.get(node)?;
        Some(((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize)
    }

    fn replacement(&self, start: usize) -> Option<&[u8]> {
        let rest = self.replacements.get(start..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

#[cfg(test)]
mod tests {
    use super::CharsMap;

    /// A table that replaces `A` by `a` and `AB` by `é`, built by hand.
    fn table() -> Vec<u8> {
        let mut units = vec![0u32; 512];
        units[0] = 256 << 10;
        let a = 256 ^ b'A' as usize;
        units[a] = u32::from(b'A') | 1 << 8 | ((a as u32) ^ 448) << 10;
        units[448] = 1 << 31;
        let ab = 448 ^ b'B' as usize;
        units[ab] = u32::from(b'B') | 1 << 8 | ((ab as u32) ^ 32) << 10;
        units[32] = 1 << 31 | 2;
        let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend("a\0é\0".as_bytes());
        bytes
    }

    #[test]
    fn the_longest_key_is_replaced() {
        let map = CharsMap::new(&table()).unwrap();
        assert_eq!(map.normalize("xAABÄAé A"), "xaéÄaé a");
        assert_eq!(map.normalize(""), "");
    }

    #[test]
    fn damaged_tables_do_no_harm() {
        assert!(CharsMap::new(&[1, 2]).is_err());
        assert!(CharsMap::new(&table()[..100]).is_err());
        for at in 0..table().len() {
            let mut bytes = table();
            bytes[at] ^= 0xff;
            if let Ok(map) = CharsMap::new(&bytes) {
                map.normalize("xAABÄ");
            }
        }
    }
}
