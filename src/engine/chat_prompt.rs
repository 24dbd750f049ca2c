//! From messages to prompt tokens, leaving out the oldest turns when they no longer fit.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Engine;
use crate::chat::{ChatTemplate, LocalTime, RenderContext};
use crate::gguf::GgufFile;
use crate::sampling::SamplingParams;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// What to do when a conversation outgrows the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// The oldest turns leave; the system prompt stays.
    #[default]
    Truncate,
    /// [`Error::ContextFull`].
    Error,
}

/// A request to answer a conversation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChatRequest {
    /// Messages in OpenAI's shape.
    pub messages: Vec<Value>,
    /// Tools for the template, in OpenAI's shape.
    pub tools: Option<Value>,
    /// Further variables for the template, such as `enable_thinking`.
    pub template_options: Map<String, Value>,
    /// What the caller's clock shows, such as `2026-07-04T13:05:09`, for templates that tell the model; absent: UTC.
    pub now: Option<String>,
    /// What to do when the conversation outgrows the context.
    pub overflow: Overflow,
    /// Run the whole prompt again rather than what is new (for measurements).
    pub ignore_cache: bool,
    /// How to choose tokens and when to stop.
    #[serde(flatten)]
    pub sampling: SamplingParams,
}

/// Room that is kept for the answer when the request does not say how long it may get: this share of the context.
const ANSWER_SHARE: usize = 4;

/// A prompt made of a conversation.
pub(super) struct ChatPrompt {
    pub tokens: Vec<u32>,
    pub dropped_messages: usize,
}

/// The template to use: the caller's, the file's, or one that fits the vocabulary.
pub(super) fn template(
    file: &GgufFile,
    tokenizer: &Tokenizer,
    given: Option<&str>,
) -> Result<ChatTemplate> {
    match given.map_or_else(
        || file.metadata.opt_str("tokenizer.chat_template"),
        |text| Ok(Some(text)),
    )? {
        Some(text) => ChatTemplate::parse(text),
        None if tokenizer.token_id("<|im_start|>").is_some() => ChatTemplate::chatml(),
        None => ChatTemplate::plain(),
    }
}

impl Engine {
    /// Renders and tokenizes a conversation so that it fits the context with room for an answer.
    pub(super) fn chat_prompt(&self, request: &ChatRequest) -> Result<ChatPrompt> {
        let n_ctx = self.n_ctx()?;
        let share = n_ctx / ANSWER_SHARE;
        let reserve = request
            .sampling
            .max_tokens
            .map_or(share, |max| max.min(share))
            .max(1);
        if request.messages.is_empty() {
            return Err(Error::InvalidRequest("`messages` is empty".into()));
        }
        let mut messages = request.messages.clone();
        loop {
            let tokens = self.render(&messages, request)?;
            let roomy = tokens.len() + reserve <= n_ctx;
            let may_drop = !roomy && request.overflow == Overflow::Truncate;
            if may_drop && drop_oldest_turn(&mut messages) {
                continue;
            }
            // The newest turn alone may take the room of the answer, if it leaves any.
            if tokens.len() >= n_ctx {
                let needed = tokens.len() + 1;
                return Err(Error::ContextFull { needed, n_ctx });
            }
            let dropped_messages = request.messages.len() - messages.len();
            return Ok(ChatPrompt {
                tokens,
                dropped_messages,
            });
        }
    }

    fn render(&self, messages: &[Value], request: &ChatRequest) -> Result<Vec<u32>> {
        let text_of = |id: Option<u32>| {
            id.and_then(|id| self.tokenizer.token_text(id))
                .unwrap_or_default()
        };
        let prompt = self.template.render(&RenderContext {
            messages,
            tools: request.tools.as_ref(),
            add_generation_prompt: true,
            bos_token: text_of(self.tokenizer.bos()),
            eos_token: text_of(self.tokenizer.eos()),
            extra: &request.template_options,
            now: request.now.as_deref().map(LocalTime::parse).transpose()?,
        })?;
        // As Hugging Face does, a template of the file is trusted to write the special tokens itself.
        self.tokenizer
            .encode(&prompt, !self.info.has_chat_template, true)
    }
}

/// Removes the oldest user message and what answered it; `false` when only the newest turn is left.
fn drop_oldest_turn(messages: &mut Vec<Value>) -> bool {
    let role = |message: &Value| {
        message
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let is_instruction = |message: &Value| matches!(role(message).as_str(), "system" | "developer");
    let Some(first) = messages.iter().position(|message| !is_instruction(message)) else {
        return false;
    };
    let next_turn = messages
        .iter()
        .skip(first + 1)
        .position(|message| role(message) == "user");
    match next_turn {
        Some(offset) => {
            messages.drain(first..first + 1 + offset);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn oldest_turn_leaves_and_system_stays() {
        let mut messages = vec![
            json!({"role": "system", "content": "s"}),
            json!({"role": "user", "content": "1"}),
            json!({"role": "assistant", "content": "a"}),
            json!({"role": "user", "content": "2"}),
        ];
        assert!(drop_oldest_turn(&mut messages));
        let left: Vec<&str> = messages
            .iter()
            .filter_map(|m| m["content"].as_str())
            .collect();
        assert_eq!(left, ["s", "2"]);
        assert!(!drop_oldest_turn(&mut messages));
    }
}
