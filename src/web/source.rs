//! Bytes by range from a JS object, usually a slice of a `Blob`.

use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::engine::WeightSource;
use crate::{Error, Result};

#[wasm_bindgen(typescript_custom_section)]
const BYTE_SOURCE: &str = r"
/** One file's bytes by range. */
export interface ByteSource {
  size(): number;
  read(offset: number, length: number): Promise<Uint8Array>;
}
";

#[wasm_bindgen]
extern "C" {
    /// One file's bytes by range.
    #[wasm_bindgen(typescript_type = "ByteSource")]
    pub type ByteSource;

    #[wasm_bindgen(method)]
    fn size(this: &ByteSource) -> f64;

    #[wasm_bindgen(method, catch)]
    fn read(this: &ByteSource, offset: f64, length: f64) -> Result<Promise, JsValue>;
}

/// A [`ByteSource`] as the loader's source.
pub struct JsSource(pub ByteSource);

fn failed(value: &JsValue) -> Error {
    let message = js_sys::Reflect::get(value, &"message".into())
        .ok()
        .and_then(|text| text.as_string());
    Error::Source(
        message
            .or_else(|| value.as_string())
            .unwrap_or_else(|| "unknown error".into()),
    )
}

/// Gives a buffer's memory back at once, where the browser can: the collector would let a whole model pile up.
fn release(buffer: &js_sys::ArrayBuffer) {
    let transfer = js_sys::Reflect::get(buffer, &"transfer".into()).ok();
    if let Some(transfer) = transfer.and_then(|value| value.dyn_into::<js_sys::Function>().ok()) {
        // A buffer that cannot be detached is collected later.
        let _ = transfer.call1(buffer, &0.into());
    }
}

impl WeightSource for JsSource {
    fn size(&self) -> u64 {
        self.0.size() as u64
    }

    async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let promise = self
            .0
            .read(offset as f64, len as f64)
            .map_err(|error| failed(&error))?;
        let bytes = JsFuture::from(promise)
            .await
            .map_err(|error| failed(&error))?;
        let bytes: Uint8Array = bytes
            .dyn_into()
            .map_err(|_| Error::Source("read() gave no bytes".into()))?;
        if bytes.length() as usize != len {
            return Err(Error::Truncated {
                needed: offset + len as u64,
                available: offset + u64::from(bytes.length()),
            });
        }
        let copy = bytes.to_vec();
        release(&bytes.buffer());
        Ok(copy)
    }
}
