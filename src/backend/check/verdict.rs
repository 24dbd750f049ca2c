//! What a check found, in a form that the caller keeps and gives back at the next load.

use serde::{Deserialize, Serialize};

use crate::backend::gpu::Arithmetic;

/// Outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Version of this crate.
    version: String,
    /// Adapter and kernels that it is about.
    about: String,
    /// What is left out, in the order in which it was given up.
    pub(super) given_up: Vec<GivenUp>,
    /// What products of chunks are computed in.
    #[serde(default)]
    pub(super) arithmetic: Arithmetic,
    /// Why the GPU cannot run the model at all.
    pub(super) failed: Option<String>,
    /// Where it was lost, or slower than the CPU, the loads that are to do without it before it is tried again.
    #[serde(default)]
    pub(super) pause: Option<u8>,
}

/// Loads that do without a GPU that was lost or slow: few enough to find out that a driver was mended.
const PAUSE: u8 = 8;

/// A variant that gave wrong results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum GivenUp {
    /// The subgroup operations of a kernel.
    Subgroups {
        /// Its name.
        name: String,
        /// All of it.
        kernel: String,
    },
    /// The list of fused operations, in which one of these kernels is wrong.
    Fusion(Vec<String>),
    /// Choosing tokens on the GPU.
    Choosing,
    /// Products of chunks in less than f32.
    Arithmetic(Arithmetic),
}

impl GivenUp {
    /// What people call it.
    fn describe(&self) -> String {
        match self {
            Self::Subgroups { name, .. } => format!("{name} with subgroups"),
            Self::Fusion(names) => format!("fused kernels ({})", names.join(", ")),
            Self::Arithmetic(arithmetic) => format!("products in {arithmetic:?}"),
            Self::Choosing => "choosing tokens on the GPU".to_owned(),
        }
    }
}

impl Verdict {
    /// Nothing found yet.
    pub(super) fn new(fingerprint: &str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            about: fingerprint.to_owned(),
            given_up: Vec::new(),
            arithmetic: Arithmetic::F32,
            failed: None,
            pause: None,
        }
    }

    /// On a GPU that is left alone for some loads.
    pub(super) fn paused(fingerprint: &str, reason: String) -> Self {
        Self {
            failed: Some(reason),
            pause: Some(PAUSE),
            ..Self::new(fingerprint)
        }
    }

    /// What is left of it at the next load; nothing when the GPU is to be tried again.
    pub(super) fn at_next_load(mut self) -> Option<Self> {
        if let Some(pause) = &mut self.pause {
            *pause = pause.checked_sub(1)?;
        }
        Some(self)
    }

    /// An earlier verdict, if it is about this adapter, these kernels and this version.
    pub(super) fn known(json: Option<&str>, fingerprint: &str) -> Option<Self> {
        let known: Self = serde_json::from_str(json?).ok()?;
        let fresh = Self::new(fingerprint);
        (known.version == fresh.version && known.about == fresh.about).then_some(known)
    }

    /// What is not used, for people.
    pub(super) fn quarantined(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let found = self.given_up.iter().map(GivenUp::describe);
        for name in found.chain(self.failed.clone()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// For the caller to keep.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
