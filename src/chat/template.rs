//! [`ChatTemplate`]: parsing once, rendering conversations.

use std::{fmt, io};

use minijinja::Environment;
use minijinja::value::{Serde, Value as JinjaValue};
use serde_json::{Map, Value};

use super::environment::{self, Raised};
use super::{LocalTime, preprocess};
use crate::error::{Error, Result};

/// What most models without a template of their own were trained with.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
    + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// For base models: a dialogue as one would type it.
const PLAIN: &str = "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}\
    {% else %}{{ message['role'] | capitalize + ': ' + message['content'] + '\\n' }}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}Assistant:{% endif %}";

/// Bytes of a prompt at most, far above any context: a loop must not fill the memory.
const MAX_PROMPT: usize = 64 << 20;

/// Name shown in error messages.
const NAME: &str = "template";

/// A parsed chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
}

/// All that a template may look at.
#[derive(Debug, Clone, Copy)]
pub struct RenderContext<'a> {
    /// The conversation: objects with `role`, `content` and whatever else the template knows.
    pub messages: &'a [Value],
    /// Tool definitions, if any.
    pub tools: Option<&'a Value>,
    /// Ends the prompt with the start of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Text of the beginning-of-sequence token, or "".
    pub bos_token: &'a str,
    /// Text of the end-of-sequence token, or "".
    pub eos_token: &'a str,
    /// Further variables, such as `enable_thinking`; they win over the ones above.
    pub extra: &'a Map<String, Value>,
    /// What `strftime_now` tells; absent: the clock, in UTC.
    pub now: Option<LocalTime>,
}

impl ChatTemplate {
    /// Parses Jinja text.
    pub fn parse(source: &str) -> Result<Self> {
        let mut environment = environment::build();
        let text = preprocess::prepare(source);
        environment
            .add_template_owned(NAME, text)
            .map_err(|error| describe(&error))?;
        Ok(Self {
            environment,
            source: source.to_string(),
        })
    }

    /// The ChatML template.
    pub fn chatml() -> Result<Self> {
        Self::parse(CHATML)
    }

    /// A plain dialogue, for models that know no chat markup.
    pub fn plain() -> Result<Self> {
        Self::parse(PLAIN)
    }

    /// The Jinja text as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation to the prompt's text.
    pub fn render(&self, context: &RenderContext) -> Result<String> {
        let mut variables = Map::new();
        variables.insert("messages".into(), context.messages.into());
        variables.insert("tools".into(), context.tools.cloned().unwrap_or_default());
        variables.insert("documents".into(), Value::Null);
        variables.insert(
            "add_generation_prompt".into(),
            context.add_generation_prompt.into(),
        );
        variables.insert("bos_token".into(), context.bos_token.into());
        variables.insert("eos_token".into(), context.eos_token.into());
        variables.extend(
            context
                .extra
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        self.render_variables(&variables, context.now)
    }

    fn render_variables(
        &self,
        variables: &Map<String, Value>,
        now: Option<LocalTime>,
    ) -> Result<String> {
        let now = now.unwrap_or_else(LocalTime::utc_now);
        let pairs = variables
            .iter()
            .map(|(key, value)| (key.clone(), JinjaValue::from(Serde(value))));
        let clock = ("strftime_now".to_string(), environment::strftime_now(now));
        let context = JinjaValue::from_pairs(std::iter::once(clock).chain(pairs));
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| describe(&error))?;
        let mut prompt = Bounded(Vec::new());
        template
            .render_captured_to(context, &mut prompt)
            .map_err(|error| describe(&error))?;
        String::from_utf8(prompt.0).map_err(|error| Error::Internal(error.to_string()))
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Renders a template with exactly the variables of `context`. A string `now` (`2026-07-04T13:05:09`) sets the
/// clock of `strftime_now`.
pub fn render_template(source: &str, context: &Value) -> Result<String> {
    let Value::Object(variables) = context else {
        return Err(Error::InvalidRequest(
            "the template's context must be a JSON object".into(),
        ));
    };
    let now = match variables.get("now").and_then(Value::as_str) {
        Some(text) => Some(LocalTime::parse(text)?),
        None => None,
    };
    ChatTemplate::parse(source)?.render_variables(variables, now)
}

/// Takes a prompt up to [`MAX_PROMPT`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT {
            return Err(io::Error::other("the prompt grows beyond 64 MB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The template's own refusal if there is one in the chain of causes, else the innermost message with its line.
fn describe(error: &minijinja::Error) -> Error {
    let mut text = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return Error::TemplateRaised(message.clone());
        }
        text = current.to_string();
        cause = current.source();
    }
    Error::Template(text)
}
