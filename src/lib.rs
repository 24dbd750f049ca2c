//! Inkling: small quantized language models inside a web page.
//!
//! The pipeline on one page:
//!
//! ```text
//! GGUF bytes ─ gguf ─▶ metadata, tensor table ─┬─ tokenizer ─▶ Tokenizer
//!                                              ├─ chat ──────▶ ChatTemplate
//!                                              └─ model ─────▶ ModelConfig ─▶ Plan (the forward pass as data)
//! weights by range ─ engine::loader ─▶ backend (packs them) ─▶ Backend::forward(plan, tokens) ─▶ logits
//! messages ─ chat ─▶ prompt ─ tokenizer ─▶ tokens ─ engine::session ─▶ prefill, decode
//!          ─ sampling ─▶ token ─ tokenizer::TokenStream ─▶ text ─ web ─▶ the page
//! ```
//!
//! Modules use only those to their left:
//! `error` < `gguf`, `quant`, `chat` < `tokenizer`, `sampling`, `model` < `backend` < `engine` < `web`.

pub mod error;

pub mod chat;
pub mod gguf;
pub mod quant;

pub mod model;
pub mod sampling;
pub mod tokenizer;

pub mod backend;
pub mod engine;
#[cfg(target_arch = "wasm32")]
pub mod web;

pub use error::{Error, Result};
