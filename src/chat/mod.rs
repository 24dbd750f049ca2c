//! Chat: messages and templates.
