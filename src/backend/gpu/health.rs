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

impl GpuBackend {
    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Destroys the device, as the system may do at any time; for tests.
    pub fn lose(&self) {
        self.gpu.device.destroy();
    }
}
