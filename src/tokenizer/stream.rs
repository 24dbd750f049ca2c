//! Tokens as they are generated become text: a token may end inside a character, so bytes wait until it is whole.

use super::Tokenizer;

/// Turns a stream of tokens into whole UTF-8. All pieces together are what [`Tokenizer::decode`] gives for all tokens.
#[derive(Debug, Default, Clone)]
pub struct TokenStream {
    bytes: Vec<u8>,
    keep_space: bool,
    started: bool,
}

impl TokenStream {
    /// A stream whose text stands for itself, such as an answer in a chat: where the tokenizer puts a space in front of
    /// text, the first one is dropped, as [`Tokenizer::decode`] does.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream that continues a text: its first space is kept.
    pub fn continuing() -> Self {
        Self {
            keep_space: true,
            ..Self::default()
        }
    }

    /// Takes the next token; gives the text that is complete by now. Control tokens give none.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if tokenizer.is_control(id) {
            return String::new();
        }
        let Some(mut piece) = tokenizer.token_bytes(id) else {
            return String::new();
        };
        if !self.started && !piece.is_empty() {
            self.started = true;
            if !self.keep_space && tokenizer.adds_space() && piece.first() == Some(&b' ') {
                piece.to_mut().remove(0);
            }
        }
        self.bytes.extend_from_slice(&piece);
        self.take_whole()
    }

    /// The rest, once no more tokens come; bytes of an incomplete character become U+FFFD.
    pub fn flush(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.bytes).into_owned();
        self.bytes.clear();
        rest
    }

    /// Everything but an incomplete character at the end; bytes that can never be text become U+FFFD.
    fn take_whole(&mut self) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.bytes.clear();
                    return text;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.bytes[..valid]));
                    let Some(bad) = error.error_len() else {
                        self.bytes.drain(..valid);
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.drain(..valid + bad);
                }
            }
        }
    }
}
