//! The wasm exports: thin, JSON in and out, errors as JS `Error` objects with a `code`.
//!
//! The only place that names wasm-bindgen and js-sys.

mod lease;
mod source;
mod texts;

use js_sys::{Float32Array, Function, Reflect, Uint32Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

use crate::chat;
use crate::engine::{self, Engine, Generation, Header, LoadOptions, LoadProgress};
use crate::gguf::Headers;
use crate::{Error, Result};

use lease::Shared;
pub use source::ByteSource;
use source::JsSource;

impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        let js = js_sys::Error::new(&error.to_string());
        // Setting a property of a fresh object cannot fail.
        let _ = Reflect::set(&js, &"code".into(), &error.code().into());
        js.into()
    }
}

/// Makes a panic's message and place readable in the console.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))
}

fn from_json<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::InvalidRequest(error.to_string()))
}

/// Tells a JS function and learns from it whether to go on: it says so unless it returns `false` or throws.
fn reporter(on_progress: Function) -> impl FnMut(LoadProgress) -> bool {
    move |progress| {
        let json = to_json(&progress).unwrap_or_default();
        let answer = on_progress.call1(&JsValue::NULL, &json.into());
        !matches!(
            answer.map(|value| value.as_bool()),
            Ok(Some(false)) | Err(_)
        )
    }
}

/// A model whose files are still being fetched: their headers, and what can be done with these.
#[wasm_bindgen]
pub struct WasmHeader {
    options: LoadOptions,
    files: Headers,
    /// Once all are whole.
    header: Option<Header>,
}

#[wasm_bindgen]
impl WasmHeader {
    /// For a model of so many files that will be loaded with these [`LoadOptions`].
    #[wasm_bindgen(constructor)]
    pub fn new(files: usize, options_json: &str) -> Result<WasmHeader, JsValue> {
        Ok(Self {
            options: from_json(options_json)?,
            files: Headers::new(files),
            header: None,
        })
    }

    /// Reads the header of a file from its first bytes. Returns how many it takes, from its start, where these are too few.
    pub fn read(
        &mut self,
        file: usize,
        prefix: &[u8],
        file_size: f64,
    ) -> Result<Option<f64>, JsValue> {
        let needed = self.files.read(file, prefix, file_size as u64)?;
        Ok(needed.map(|bytes| bytes as f64))
    }

    /// Call it when the headers of all files are read. Throws when the model is not one that runs, or one that this device
    /// cannot hold, so that its weights need not be fetched in vain; where only the GPU may run it, or could, the memory is
    /// asked for and given back. The GPU begins to compile, for [`WasmEngine::load`] to go on with.
    pub async fn prepare(&mut self) -> Result<(), JsValue> {
        if let Some(file) = self.files.join()? {
            engine::check_header(&file, &self.options)?;
            self.header
                .insert(Header::new(file))
                .prepare(&self.options)
                .await?;
        }
        Ok(())
    }
}

/// Renders a Jinja chat template as Hugging Face does; the context holds every variable.
#[wasm_bindgen(js_name = renderTemplate)]
pub fn render_template(template: &str, context_json: &str) -> Result<String, JsValue> {
    Ok(chat::render_template(template, &from_json(context_json)?)?)
}

/// Makes the calling worker a helper of the engine's thread pool. Never returns.
#[cfg(target_feature = "atomics")]
#[wasm_bindgen(js_name = joinPool)]
pub fn join_pool() {
    crate::backend::cpu::pool::help()
}

/// A loaded model.
#[wasm_bindgen]
pub struct WasmEngine {
    engine: Shared,
}

#[wasm_bindgen]
impl WasmEngine {
    /// Loads a model from one source per shard, whose headers may be known already. `on_progress` gets JSON and returns
    /// whether to go on.
    pub async fn load(
        sources: Vec<ByteSource>,
        options_json: String,
        on_progress: Function,
        header: Option<WasmHeader>,
    ) -> Result<WasmEngine, JsValue> {
        let options: LoadOptions = from_json(&options_json)?;
        let sources = sources.into_iter().map(JsSource).collect();
        let progress = reporter(on_progress);
        let engine = match header.and_then(|known| known.header) {
            Some(header) => Engine::load_with(header, sources, &options, progress).await?,
            None => Engine::load(sources, &options, progress).await?,
        };
        Ok(Self {
            engine: Shared::new(engine),
        })
    }

    /// Has `on_progress` called, as by [`WasmEngine::load`], while a lost GPU is replaced.
    #[wasm_bindgen(js_name = onRecovery)]
    pub fn on_recovery(&self, on_progress: Function) -> Result<(), JsValue> {
        self.engine.lease()?.on_recovery(reporter(on_progress));
        Ok(())
    }

    /// Facts about the model, as JSON.
    pub fn info(&self) -> Result<String, JsValue> {
        Ok(to_json(self.engine.lease()?.info())?)
    }

    /// How often the backend was replaced, as a lost GPU is: [`WasmEngine::info`] tells something new when this changes.
    pub fn replaced(&self) -> Result<usize, JsValue> {
        Ok(self.engine.lease()?.replaced())
    }

    /// Times of the operations since the last call, as JSON; the first call switches the clock on. `null` on a GPU. For
    /// `cargo xtask bench`; the package does not use it.
    pub fn profile(&self) -> Result<String, JsValue> {
        Ok(to_json(&self.engine.lease()?.backend()?.profile())?)
    }

    /// Text to token ids.
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Uint32Array, JsValue> {
        let tokens = self
            .engine
            .lease()?
            .tokenizer()
            .encode(text, add_special, parse_special)?;
        Ok(Uint32Array::from(tokens.as_slice()))
    }

    /// Token ids to text.
    pub fn detokenize(&self, tokens: &[u32], skip_special: bool) -> Result<String, JsValue> {
        Ok(self
            .engine
            .lease()?
            .tokenizer()
            .decode(tokens, skip_special))
    }

    /// Logits after the last token; `source` is what the encoder reads, in models that have one.
    pub async fn logits(
        &self,
        tokens: Vec<u32>,
        source: Option<Vec<u32>>,
    ) -> Result<Float32Array, JsValue> {
        let mut engine = self.engine.lease()?;
        let logits = match source {
            Some(source) => engine.logits_with_source(&source, &tokens).await?,
            None => engine.logits(&tokens).await?,
        };
        Ok(Float32Array::from(logits.as_slice()))
    }

    /// Starts to answer a conversation.
    #[wasm_bindgen(js_name = startChat)]
    pub fn start_chat(&self, request_json: &str) -> Result<WasmGeneration, JsValue> {
        let generation = self.engine.lease()?.start_chat(&from_json(request_json)?)?;
        Ok(self.generation(generation))
    }

    /// Starts to continue a text.
    #[wasm_bindgen(js_name = startCompletion)]
    pub fn start_completion(&self, request_json: &str) -> Result<WasmGeneration, JsValue> {
        let generation = self
            .engine
            .lease()?
            .start_completion(&from_json(request_json)?)?;
        Ok(self.generation(generation))
    }

    fn generation(&self, generation: Generation) -> WasmGeneration {
        WasmGeneration {
            engine: self.engine.clone(),
            generation: Some(generation),
        }
    }
}

/// A running generation. Freeing it gives its session back to the engine.
#[wasm_bindgen]
pub struct WasmGeneration {
    engine: Shared,
    generation: Option<Generation>,
}

#[wasm_bindgen]
impl WasmGeneration {
    /// Runs one chunk of the prompt or makes one token; returns an event as JSON. Call it until that says `done`.
    pub async fn step(&mut self) -> Result<String, JsValue> {
        let mut engine = self.engine.lease()?;
        let ended = || Error::Internal("the generation has ended".into());
        let generation = self.generation.as_mut().ok_or_else(ended)?;
        Ok(to_json(&generation.step(&mut engine).await?)?)
    }

    /// Asks for the end; the next step reports it.
    pub fn cancel(&mut self) {
        if let Some(generation) = &mut self.generation {
            generation.cancel();
        }
    }
}

impl Drop for WasmGeneration {
    fn drop(&mut self) {
        if let (Some(generation), Ok(mut engine)) = (self.generation.take(), self.engine.lease()) {
            engine.check_in(generation.into_session());
        }
    }
}
