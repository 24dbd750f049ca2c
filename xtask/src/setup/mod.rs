//! Makes sure that the tools are there, before any command needs them.
//!
//! Whatever is missing is installed through the package client it belongs to (rustup, apt, npm); where that is not
//! possible, the error says exactly what to run. xtask itself downloads nothing.

mod apt;
mod browser;
mod gpu;
mod node;
mod rust;

use std::path::PathBuf;

use anyhow::Result;

pub use rust::WasmToolchain;

use crate::browser::Browser;
use crate::progress::note;
use crate::project::Project;

/// What the tests need beyond a build.
pub struct TestTools {
    pub wasm: WasmToolchain,
    pub chromium: PathBuf,
    /// Absent where it can be neither found nor installed.
    pub firefox: Option<PathBuf>,
    /// The same.
    pub webkit: Option<PathBuf>,
}

/// What a build needs: a Rust toolchain that can make wasm, Node.js, the npm packages of the lock file.
pub fn for_build(project: &Project) -> Result<WasmToolchain> {
    let wasm = rust::wasm_toolchain()?;
    node::ready(project)?;
    Ok(wasm)
}

/// What the tests need: the build's tools, a linter for wasm, a browser, a driver for the GPU tests.
pub fn for_tests(project: &Project) -> Result<TestTools> {
    let wasm = for_build(project)?;
    rust::linters(&wasm)?;
    let chromium = browser::find_or_install(Browser::Chromium)?;
    let other = |browser| {
        browser::find_or_install(browser)
            .map_err(|error| note(&format!("{error:#}; its tests will be skipped")))
            .ok()
    };
    let (firefox, webkit) = (other(Browser::Firefox), other(Browser::WebKit));
    gpu::find_or_install();
    Ok(TestTools {
        wasm,
        chromium,
        firefox,
        webkit,
    })
}

/// A browser for the commands that measure in one.
pub fn browser(browser: Browser) -> Result<PathBuf> {
    browser::find_or_install(browser)
}
