//! What a browser can do and wgpu has no call for: wait, write to mapped memory without a copy of it, and compile many
//! pipelines at once without waiting for each.
//!
//! wgpu calls `createComputePipeline`, which compiles one after the other. While [`Ahead`] exists, its device answers
//! that call in our way. The first time the compilation only starts, with `createComputePipelineAsync` and the very same
//! descriptor, and what wgpu gets is good for nothing; after [`Ahead::wait`] the same calls, in the same order, give the
//! compiled pipelines.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::Result;

#[wasm_bindgen]
extern "C" {
    /// A `GPUDevice`, as far as it is needed here.
    #[derive(Clone)]
    type Device;

    #[wasm_bindgen(method, js_name = createComputePipelineAsync)]
    fn compile(this: &Device, descriptor: &JsValue) -> Promise;

    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(then: &Function, ms: u32);
}

/// Lets the browser do other things for so many milliseconds.
pub async fn pause(ms: u32) {
    // It never rejects.
    let _ = JsFuture::from(timer(ms)).await;
}

fn timer(ms: u32) -> Promise {
    Promise::new(&mut |resolve, _| set_timeout(&resolve, ms))
}

/// Milliseconds between two reminders while a wait is short, and the part of a longer wait between them.
const REMIND_MS: u32 = 4;
const REMIND_PART: u32 = 4;

/// Has the browser look whether the device is done, now and then until something has `arrived`. Chromium looks every
/// other millisecond by itself; Firefox ten times a second, but whenever something is submitted too.
pub fn remind(queue: wgpu::Queue, arrived: impl Fn() -> bool + 'static) {
    wasm_bindgen_futures::spawn_local(async move {
        let mut waited = 0;
        loop {
            let ms = REMIND_MS.max(waited / REMIND_PART);
            pause(ms).await;
            if arrived() {
                break;
            }
            queue.submit([]);
            waited += ms;
        }
    });
}

/// The call that is answered in our way.
const CALL: &str = "createComputePipeline";

#[derive(Default)]
struct State {
    started: Vec<Promise>,
    /// How many of them are done.
    done: usize,
    compiled: VecDeque<JsValue>,
}

/// How often a caller learns how far the compiler has come, in milliseconds.
const TELL_MS: u32 = 100;

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
                let started = on.compile(&descriptor);
                let theirs = theirs.clone();
                let watched = started.clone();
                wasm_bindgen_futures::spawn_local(async move {
                    // Its outcome is looked at when all are done.
                    let _ = JsFuture::from(watched).await;
                    theirs.borrow_mut().done += 1;
                });
                state.started.push(started);
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

    /// Waits for all that were started, and says of each whether it compiled; from then on the calls give those that did. Now
    /// and then `tell` learns how many are done.
    ///
    /// # Errors
    /// What `tell` returns.
    pub async fn wait(&self, tell: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<bool>> {
        let started: Array = self.state.borrow_mut().started.drain(..).collect();
        // Never rejects: each outcome stands in its place.
        let all = Promise::all_settled(&started);
        let outcomes = loop {
            let tick = timer(TELL_MS);
            let first = JsFuture::from(Promise::race(&Array::of2(&all, &tick))).await;
            let done = self.state.borrow().done;
            tell(done)?;
            if let Some(outcomes) = first.unwrap_or_default().dyn_ref::<Array>() {
                break outcomes.clone();
            }
        };
        let compiled = |outcome: JsValue| {
            // Absent in one that was refused.
            let pipeline = Reflect::get(&outcome, &"value".into()).unwrap_or_default();
            let is_there = pipeline.is_object();
            if is_there {
                self.state.borrow_mut().compiled.push_back(pipeline);
            }
            is_there
        };
        Ok(outcomes.iter().map(compiled).collect())
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let _ = Reflect::delete_property(self.device.unchecked_ref::<Object>(), &CALL.into());
    }
}

/// What a mapped buffer shows: wgpu's own view would copy it into the wasm memory first.
pub struct Window(Uint8Array);

impl Window {
    /// The whole of a buffer, if it is mapped.
    pub fn of(buffer: &wgpu::Buffer) -> Option<Self> {
        let view = buffer.slice(..).get_mapped_range().ok()?;
        Some(Self(view.as_uint8array().clone()))
    }

    /// Copies `bytes` to byte `at`; false when the buffer is mapped no longer. A device that is lost takes the memory
    /// away, and whoever touches it then gets an exception.
    pub fn fill(&self, at: u64, bytes: &[u8]) -> bool {
        let mapped = u64::from(self.0.length()) >= at + bytes.len() as u64;
        if mapped {
            let (from, to) = (at as u32, at as u32 + bytes.len() as u32);
            self.0.subarray(from, to).copy_from(bytes);
        }
        mapped
    }
}
