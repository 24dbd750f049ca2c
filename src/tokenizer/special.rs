//! Tokens with a meaning: beginning, end, unknown, and whatever ends an answer.

use std::collections::BTreeSet;

use super::vocab::{TokenKind, Vocab};
use crate::error::Result;
use crate::gguf::Metadata;

/// Names of tokens that end an answer, whatever the file says about them (list of llama.cpp's `llama-vocab.cpp`).
const END_NAMES: [&str; 21] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "</s>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
];

/// Special tokens of a file.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unknown: Option<u32>,
    separator: Option<u32>,
    /// Every token that ends an answer.
    pub ends: BTreeSet<u32>,
    /// `None`: the file does not say.
    pub add_bos: Option<bool>,
    /// `None`: the file does not say.
    pub add_eos: Option<bool>,
}

impl SpecialTokens {
    /// Reads ids and flags; tokens that end an answer become control tokens.
    pub fn from_gguf(metadata: &Metadata, vocab: &mut Vocab) -> Result<Self> {
        let id = |name: &str| -> Result<Option<u32>> {
            let id = metadata
                .opt_u64(&format!("tokenizer.ggml.{name}_token_id"))?
                .and_then(|id| u32::try_from(id).ok());
            Ok(id.filter(|&id| (id as usize) < vocab.len()))
        };
        let flag = |name: &str| metadata.opt_bool(&format!("tokenizer.ggml.add_{name}_token"));
        let is_bert = metadata.opt_str("tokenizer.ggml.model")? == Some("bert");
        let mut special = Self {
            bos: if is_bert {
                id("cls")?.or(id("bos")?)
            } else {
                id("bos")?
            },
            eos: id("eos")?,
            unknown: id("unknown")?,
            // Early files misspell it.
            separator: if is_bert {
                id("separator")?.or(id("seperator")?)
            } else {
                None
            },
            ends: BTreeSet::new(),
            add_bos: flag("bos")?,
            add_eos: if is_bert { flag("sep")? } else { flag("eos")? },
        };
        let known = [special.eos, id("eot")?, id("eom")?];
        special.ends.extend(known.into_iter().flatten());
        // Gemma's vocabulary has HTML in it: there `</s>` is text like any other.
        let turns = ["<start_of_turn>", "<turn|>"];
        let html = turns.iter().any(|name| vocab.id(name).is_some());
        let is_text = |id: &u32| html && vocab.text(*id) == Some("</s>");
        let named = END_NAMES.iter().filter_map(|name| vocab.id(name));
        special
            .ends
            .extend(named.filter(|id| !is_bert && !is_text(id)));
        // gpt-oss ends a part of its answer with `<|end|>` and goes on.
        let harmony = ["<|return|>", "<|call|>"]
            .iter()
            .all(|name| vocab.id(name).is_some());
        if let (true, Some(end)) = (harmony, vocab.id("<|end|>")) {
            special.ends.remove(&end);
        }
        for &id in &special.ends {
            if vocab.kind(id) != TokenKind::Unknown {
                vocab.set_kind(id, TokenKind::Control);
            }
        }
        Ok(special)
    }

    /// What is put at the end of a text.
    pub fn end(&self) -> Option<u32> {
        self.separator.or(self.eos)
    }
}

/// `tokenizer.ggml.pre`; where an old file lacks it, what its architecture uses.
pub(super) fn pre_tokenizer_name<'m>(metadata: &'m Metadata, vocab: &Vocab, kind: &str) -> &'m str {
    if kind == "gemma4" {
        return "gemma4";
    }
    match metadata.opt_str("tokenizer.ggml.pre") {
        Ok(Some(name)) if !name.is_empty() => name,
        _ => match metadata.opt_str("general.architecture") {
            Ok(Some("gpt2")) => "gpt-2",
            Ok(Some("qwen2" | "qwen2moe" | "qwen3" | "qwen3moe")) => "qwen2",
            Ok(Some("starcoder" | "starcoder2")) => "starcoder",
            Ok(Some("falcon")) => "falcon",
            Ok(Some("bloom")) => "bloom",
            _ if vocab.id("<|begin_of_text|>").is_some() => "llama-bpe",
            _ => "default",
        },
    }
}

/// Phi-3's control tokens swallow the whitespace after them, but for those of the Llama tokenizer that it is made from; the
/// file cannot say so.
pub(super) fn strips_after_tokens(metadata: &Metadata) -> Result<bool> {
    let name = metadata
        .opt_str("general.name")?
        .unwrap_or_default()
        .to_lowercase();
    Ok(["phi-3", "phi3"].iter().any(|phi| name.contains(phi)))
}
