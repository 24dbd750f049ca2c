//! One engine for many JS objects: whoever calls has it alone until the call ends.

use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::engine::Engine;
use crate::{Error, Result};

/// Where the engine lies.
#[derive(Clone)]
pub struct Shared(Rc<RefCell<Engine>>);

impl Shared {
    /// Puts an engine there.
    pub fn new(engine: Engine) -> Self {
        Self(Rc::new(RefCell::new(engine)))
    }

    /// The engine for a call, across awaits too.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] while another call has it.
    pub fn lease(&self) -> Result<Lease<'_>> {
        let busy = |_| Error::InvalidRequest("the engine is busy with another call".into());
        self.0.try_borrow_mut().map(Lease).map_err(busy)
    }
}

/// The engine for the time of a call; free again when dropped, with the future of the call too.
pub struct Lease<'a>(RefMut<'a, Engine>);

impl Deref for Lease<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.0
    }
}
