//! Writes the JavaScript bindings of a compiled wasm module.
//!
//! `xtask-bindgen INPUT.wasm OUT_DIR OUT_NAME`: what the `wasm-bindgen` command does, through the library behind it, so
//! that nothing has to be installed and the version cannot drift from the one in `Cargo.lock`.
//! It stands apart from xtask because it takes minutes to compile and never changes.

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [input, out_dir, out_name] = args.as_slice() else {
        bail!("usage: xtask-bindgen INPUT.wasm OUT_DIR OUT_NAME");
    };
    Bindgen::new()
        .input_path(input)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .out_name(out_name)
        .generate(out_dir)
        .with_context(|| format!("bindings for {input}"))
}
