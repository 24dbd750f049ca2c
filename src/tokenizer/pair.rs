//! Two texts in one sequence, as cross-encoders read them.

use super::{Model, Tokenizer};

impl Tokenizer {
    /// Joins two tokenized texts with the tokens that the model was trained to see around and between them, and says
    /// where the second one begins. BERT and ModernBERT: `[CLS] a [SEP] b [SEP]`; RoBERTa and XLM-R:
    /// `<s> a </s></s> b </s>`.
    pub fn join_pair(&self, first: &[u32], second: &[u32]) -> (Vec<u32>, usize) {
        let end = self.special.end();
        let text_of = |id: Option<u32>| id.and_then(|id| self.token_text(id));
        let roberta = !matches!(self.model, Model::WordPiece(_))
            && text_of(self.special.bos) == Some("<s>")
            && text_of(end) == Some("</s>");
        let mut ids = Vec::with_capacity(first.len() + second.len() + 4);
        if self.special.add_bos == Some(true) {
            ids.extend(self.special.bos);
        }
        ids.extend_from_slice(first);
        ids.extend(end);
        if roberta {
            ids.extend(end);
        }
        let boundary = ids.len();
        ids.extend_from_slice(second);
        ids.extend(end);
        (ids, boundary)
    }

    /// What [`Tokenizer::encode`] puts at the end of a text when asked for special tokens.
    pub fn added_end(&self) -> Option<u32> {
        self.special
            .end()
            .filter(|_| self.special.add_eos == Some(true))
    }

    /// Whether the file says nothing about a token at the end.
    pub fn end_is_unstated(&self) -> bool {
        self.special.add_eos.is_none()
    }
}
