//! Chat: from messages to a prompt.
//!
//! A GGUF file carries its chat template as Jinja text written for Hugging Face's `apply_chat_template`.
//! [`ChatTemplate`] renders it the same way (see `docs/templates.md` for what differs).

mod args;
mod environment;
mod filters;
mod json;
mod methods;
mod preprocess;
mod template;
mod text;
mod time;

pub use template::{ChatTemplate, RenderContext, render_template};
pub use time::LocalTime;
