//! Exports for models that give vectors or scores instead of text.

use wasm_bindgen::prelude::*;

use super::{WasmEngine, from_json, to_json};
use crate::engine::{EmbeddingRequest, RankRequest};

#[wasm_bindgen]
impl WasmEngine {
    /// Embedding of one text, as JSON `{"embedding": [...], "tokens": count}`.
    pub async fn embed(&self, request_json: String) -> Result<String, JsValue> {
        let request: EmbeddingRequest = from_json(&request_json)?;
        Ok(to_json(
            &self.engine.lease()?.create_embedding(&request).await?,
        )?)
    }

    /// Score of one document, as JSON `{"score": 0..1, "tokens": count}`.
    pub async fn rank(&self, request_json: String) -> Result<String, JsValue> {
        let request: RankRequest = from_json(&request_json)?;
        Ok(to_json(&self.engine.lease()?.rank(&request).await?)?)
    }
}
