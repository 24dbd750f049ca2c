//! One engine for many JS objects: whoever calls has it alone until the call ends.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::engine::Engine;
use crate::{Error, Result};

/// Where the engine lies while nobody uses it.
#[derive(Clone)]
pub struct Shared(Rc<Cell<Option<Box<Engine>>>>);

impl Shared {
    /// Puts an engine there.
    pub fn new(engine: Engine) -> Self {
        Self(Rc::new(Cell::new(Some(Box::new(engine)))))
    }

    /// Takes the engine for a call, across awaits too.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] while another call has it.
    pub fn lease(&self) -> Result<Lease> {
        let busy = || Error::InvalidRequest("the engine is busy with another call".into());
        let engine = self.0.take().ok_or_else(busy)?;
        Ok(Lease {
            engine: Some(engine),
            home: self.clone(),
        })
    }
}

/// The engine for the time of a call; goes back when dropped.
pub struct Lease {
    /// Always there until the drop.
    engine: Option<Box<Engine>>,
    home: Shared,
}

impl Deref for Lease {
    type Target = Engine;

    #[allow(clippy::expect_used, reason = "only `drop` takes the engine out")]
    fn deref(&self) -> &Engine {
        self.engine.as_ref().expect("leased")
    }
}

impl DerefMut for Lease {
    #[allow(clippy::expect_used, reason = "only `drop` takes the engine out")]
    fn deref_mut(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("leased")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.home.0.set(self.engine.take());
    }
}
