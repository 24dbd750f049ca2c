//! What goes wrong on the device without being anyone's result: its loss, and errors outside every error scope.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, GpuBackend};
use crate::{Error, Result};

/// What the device's callbacks have told. Clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    lost: Option<String>,
    error: Option<Error>,
}

impl Health {
    /// Listens to a device.
    pub fn of(device: &wgpu::Device) -> Self {
        let health = Self::default();
        let told = health.clone();
        device.set_device_lost_callback(move |reason, message| {
            told.note(|told| told.lost = Some(format!("{message} ({reason:?})")));
        });
        let told = health.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let error = match error {
                // How much was asked for is known to nobody here.
                wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { bytes: 0 },
                other => Error::Gpu(other.to_string()),
            };
            // The first one is the cause of those that follow.
            told.note(|told| _ = told.error.get_or_insert(error));
        }));
        health
    }

    fn note(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells of a loss for good, of another error once.
    ///
    /// # Errors
    /// [`Error::GpuLost`], [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn check(&self) -> Result<()> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let error = told.error.take();
        if let Some(reason) = &told.lost {
            return Err(Error::GpuLost(reason.clone()));
        }
        error.map_or(Ok(()), Err)
    }
}

/// How long a loss may be on its way when a wait has failed already, in steps of milliseconds.
const WORD_MS: [u32; 6] = [0, 5, 20, 50, 100, 200];

impl Gpu {
    /// What became of the device, after something failed on it without a reason: browsers end all waits for a device that
    /// is lost, and tell of the loss itself a little later.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub async fn check_again(&self) -> Result<()> {
        for ms in WORD_MS {
            self.check()?;
            pause(ms).await;
        }
        self.check()
    }
}

/// Lets the device's callbacks come.
pub async fn pause(ms: u32) {
    #[cfg(target_arch = "wasm32")]
    super::browser::pause(ms).await;
    // They have come: whoever waits here polls the device before.
    #[cfg(not(target_arch = "wasm32"))]
    let _ = ms;
}

impl GpuBackend {
    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Destroys the device, as the system may do at any time. For tests; not in releases.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub fn lose(&self) {
        self.gpu.device.destroy();
    }
}
