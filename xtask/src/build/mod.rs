//! `cargo xtask build`: wasm module, npm package, page.

mod notices;
mod npm;
mod wasm;

use anyhow::Result;

pub use wasm::{example as wasm_example, lint as wasm_lint};

use crate::project::Project;
use crate::setup::{self, WasmToolchain};

/// How much effort goes into small and fast code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Every variant, as published.
    Publish,
    /// The variants that a current browser and an old one need, as published.
    Release,
    /// Compiles in a fraction of the time; for work on the engine.
    Dev,
}

/// Sets up and builds everything that the page consists of.
pub fn run(project: &Project, effort: Effort) -> Result<()> {
    let toolchain = setup::for_build(project)?;
    all(project, &toolchain, effort)
}

/// Builds everything; quick where nothing has changed.
pub fn all(project: &Project, toolchain: &WasmToolchain, effort: Effort) -> Result<()> {
    wasm::build(project, toolchain, effort)?;
    notices::write(project)?;
    npm::build(project)
}
