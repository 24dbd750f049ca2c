//! The wasm exports: thin, JSON in and out, errors as JS `Error` objects with a `code`.
//!
//! The only place that names wasm-bindgen and js-sys.

mod lease;
mod source;
mod texts;

use js_sys::{Float32Array, Function, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

use crate::chat;
use crate::engine::{self, Engine, Generation, LoadOptions, LoadProgress};
use crate::gguf::{self, ParsedFiles};
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

/// What the first bytes of a model's files tell.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Inspection {
    NeedMore { file: usize, bytes: u64 },
    Info(engine::ModelInfo),
}

fn parse_files(prefixes: &[Uint8Array], file_sizes: &[f64]) -> Result<ParsedFiles> {
    let sizes = file_sizes.iter().map(|size| *size as u64);
    let prefixes = prefixes.iter().map(Uint8Array::to_vec);
    gguf::parse_files(&prefixes.zip(sizes).collect::<Vec<_>>())
}

/// Reads a byte prefix of each file of a model: `{"needMore": {"file": index, "bytes": count}}` or `{"info": ModelInfo}`.
/// Throws as early as the bytes allow when the model is not one that runs with these [`LoadOptions`].
#[wasm_bindgen]
pub fn inspect(
    prefixes: Vec<Uint8Array>,
    file_sizes: Vec<f64>,
    options_json: &str,
) -> Result<String, JsValue> {
    let inspection = match parse_files(&prefixes, &file_sizes)? {
        ParsedFiles::NeedMore { file, bytes } => Inspection::NeedMore { file, bytes },
        ParsedFiles::Done(file) => {
            engine::check_header(&file, &from_json(options_json)?)?;
            Inspection::Info(engine::describe(&file)?)
        }
    };
    Ok(to_json(&inspection)?)
}

/// Throws when a model of which `prefixes` have the headers cannot be held by this device, so that its weights need not be
/// fetched in vain. Where only the GPU may run it, or could, the memory is asked for and given back.
#[wasm_bindgen(js_name = checkRoom)]
pub async fn check_room(
    prefixes: Vec<Uint8Array>,
    file_sizes: Vec<f64>,
    options_json: String,
) -> Result<(), JsValue> {
    if let ParsedFiles::Done(file) = parse_files(&prefixes, &file_sizes)? {
        engine::check_room(&file, &from_json(&options_json)?).await?;
    }
    Ok(())
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
    /// Loads a model from one source per shard. `on_progress` gets JSON and returns whether to go on.
    pub async fn load(
        sources: Vec<ByteSource>,
        options_json: String,
        on_progress: Function,
    ) -> Result<WasmEngine, JsValue> {
        let options: LoadOptions = from_json(&options_json)?;
        let sources = sources.into_iter().map(JsSource).collect();
        let engine = Engine::load(sources, &options, reporter(on_progress)).await?;
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
