//! What happens when the GPU is lost: a new device with the same weights, and at the second loss within a minute the CPU.
//!
//! Sessions belong to the backend that made them. One of an earlier backend is recognised by its number, and whoever
//! holds it runs its tokens again.

use std::time::Duration;

use web_time::Instant;

use super::Engine;
use super::loader::{self, LoadPhase, LoadProgress};
use crate::{Error, Result};

/// A second loss within this time means that the GPU will not do.
const SOON: Duration = Duration::from_secs(60);

impl Engine {
    /// How many backends there were before this one: a caller sees by it that [`Engine::info`] tells something new.
    pub fn replaced(&self) -> usize {
        self.backends
    }

    /// Has `progress` told how far the replacement of a lost GPU has come, in the phases of loading; the first report comes
    /// before anything is done, with a total of 0. Where it answers no, the call that waits for the GPU ends with
    /// [`Error::Cancelled`] (a generation with the text so far), and the next call that needs a GPU tries again.
    pub fn on_recovery(&mut self, progress: impl FnMut(LoadProgress) -> bool + 'static) {
        self.on_recovery = Box::new(progress);
    }

    /// Runs `attempt`, and runs it again on another backend whenever the GPU is lost meanwhile.
    pub(super) async fn surviving<T>(
        &mut self,
        mut attempt: impl AsyncFnMut(&mut Self) -> Result<T>,
    ) -> Result<T> {
        loop {
            match attempt(self).await {
                Err(Error::GpuLost(reason)) => self.recover(reason).await?,
                other => return other,
            }
        }
    }

    /// Puts a new backend in the place of a GPU that was lost for `reason`.
    ///
    /// # Errors
    /// [`Error::GpuLost`] when there is nothing to rebuild from; [`Error::Cancelled`]; those of the source of the weights.
    pub(super) async fn recover(&mut self, reason: String) -> Result<()> {
        let soon = self.lost_at.is_some_and(|at| at.elapsed() < SOON);
        self.sessions.clear();
        let origin = self
            .weights
            .as_mut()
            .and_then(|weights| weights.origin.take());
        let Some(origin) = origin else {
            return Err(Error::GpuLost(reason));
        };
        let known = self.info.gpu.clone().unwrap_or_default();
        let reopened = match loader::report(&mut *self.on_recovery, LoadPhase::Weights, 0, 0) {
            Ok(()) => origin.reopen(soon, known, &mut *self.on_recovery).await,
            Err(error) => Err(error),
        };
        // Not one that was given up: the next attempt is at the same loss. Counted from the end, since loading again may
        // have taken most of a minute by itself.
        if !matches!(reopened, Err(Error::Cancelled)) {
            self.lost_at = Some(Instant::now());
        }
        match reopened {
            Ok((backend, gpu)) => {
                self.backends += 1;
                self.info.gpu = Some(gpu);
                self.use_backend(backend, origin);
                Ok(())
            }
            Err(error) => {
                if let Some(weights) = &mut self.weights {
                    weights.origin = Some(origin);
                }
                Err(error)
            }
        }
    }
}
