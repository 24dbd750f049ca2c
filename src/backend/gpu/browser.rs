//! What a browser can do and wgpu has no call for: compile many pipelines at once without waiting for each.
//!
//! wgpu calls `createComputePipeline`, which compiles one after the other. While [`Ahead`] exists, its device answers
//! that call in our way. The first time the compilation only starts, with `createComputePipelineAsync` and the very same
//! descriptor, and what wgpu gets is good for nothing; after [`Ahead::wait`] the same calls, in the same order, give the
//! compiled pipelines.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{Array, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    /// A `GPUDevice`, as far as it is needed here.
    #[derive(Clone)]
    type Device;

    #[wasm_bindgen(method, js_name = createComputePipelineAsync)]
    fn compile(this: &Device, descriptor: &JsValue) -> Promise;
}

/// The call that is answered in our way.
const CALL: &str = "createComputePipeline";

#[derive(Default)]
struct State {
    started: Vec<Promise>,
    compiled: VecDeque<JsValue>,
}

/// Pipelines that are being compiled.
pub struct Ahead {
    device: Device,
    state: Rc<RefCell<State>>,
    /// What the device calls.
    _answer: Closure<dyn FnMut(JsValue) -> JsValue>,
}

impl Ahead {
    /// From now on, calls for a pipeline start its compilation. None where `device` is no browser's.
    pub fn new(device: &wgpu::Device) -> Option<Self> {
        let device: Device = AsRef::<JsValue>::as_ref(device.as_webgpu()?)
            .clone()
            .unchecked_into();
        let state = Rc::<RefCell<State>>::default();
        let (theirs, on) = (state.clone(), device.clone());
        let answer = Closure::new(move |descriptor: JsValue| {
            let mut state = theirs.borrow_mut();
            state.compiled.pop_front().unwrap_or_else(|| {
                state.started.push(on.compile(&descriptor));
                descriptor
            })
        });
        // An own property hides the method of the prototype; it is a plain object, so this cannot fail.
        let _ = Reflect::set(&device, &CALL.into(), answer.as_ref());
        Some(Self {
            device,
            state,
            _answer: answer,
        })
    }

    /// Waits for all that were started; from then on the calls give them.
    ///
    /// # Errors
    /// Number and message of the first that does not compile.
    pub async fn wait(&self) -> Result<(), (usize, String)> {
        let started: Array = self.state.borrow_mut().started.drain(..).collect();
        // Never rejects: each outcome stands in its place.
        let outcomes = JsFuture::from(Promise::all_settled(&started)).await;
        let outcomes = Array::from(&outcomes.unwrap_or_default());
        for (index, outcome) in outcomes.iter().enumerate() {
            let part = |name: &str| Reflect::get(&outcome, &name.into()).unwrap_or_default();
            if part("status") != "fulfilled" {
                let message = Reflect::get(&part("reason"), &"message".into());
                let message = message.ok().and_then(|message| message.as_string());
                return Err((
                    index,
                    message.unwrap_or_else(|| "it did not compile".into()),
                ));
            }
            self.state.borrow_mut().compiled.push_back(part("value"));
        }
        Ok(())
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let _ = Reflect::delete_property(self.device.unchecked_ref::<Object>(), &CALL.into());
    }
}
