//! The engine on the host, for `cargo xtask conformance` and `cargo xtask bench`.
//!
//! A program of its own, so that xtask itself does not wait for the engine to compile.
//!
//! - `xtask-native conformance EXPECTED_DIR RESULTS_DIR reference|cpu|gpu f32|f16 [NAME …]`
//! - `xtask-native bench CASES.json MODEL.gguf …`
//! - `xtask-native kernels [quick]`, with the feature `webgpu`

mod bench;
mod conformance;
#[cfg(feature = "webgpu")]
mod kernels;
mod model;
mod templates;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [
            "conformance",
            expected,
            results,
            backend,
            kv_type,
            only @ ..,
        ] => conformance::run(
            Path::new(expected),
            Path::new(results),
            backend,
            kv_type,
            only,
        ),
        ["bench", cases, models @ ..] => bench::run(Path::new(cases), models),
        #[cfg(feature = "webgpu")]
        ["kernels", quick @ ..] => kernels::print(quick.contains(&"quick")),
        _ => bail!("this program is run by `cargo xtask conformance` and `cargo xtask bench`"),
    }
}
